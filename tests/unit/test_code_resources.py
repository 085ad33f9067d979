"""CodeResources: read, written, and its rules applied as Apple's framework applies them."""

from __future__ import annotations

import plistlib
from typing import Any

import pytest

from signward.errors import AmbiguousError, BadInputError, LimitError, MalformedError
from signward.formats._code_resources import (
    Sealed,
    read_resources,
    read_rules,
    standard_rules,
    weaknesses,
    write_resources,
)

APP = "Mitmproxy Redirector.app"


def _list(**changes: Any) -> bytes:
    first, second = standard_rules("Resources/")
    whole = {"files": {}, "files2": {}, "rules": first, "rules2": second}
    return plistlib.dumps({k: v for k, v in (whole | changes).items() if v is not None})


def test_what_is_written_is_what_codesign_writes(corpus: Any) -> None:
    path = corpus("mitmproxy-app") / APP / "Contents/_CodeSignature/CodeResources"
    data = path.read_bytes()
    whole = plistlib.loads(data)
    sealed = [
        Sealed(path=name, sha256=seal["hash2"], sha1=whole["files"].get(name, bytes(20)))
        for name, seal in whole["files2"].items()
    ]
    assert write_resources(sealed, "Resources/") == data
    assert set(read_resources(data).seals) == set(whole["files2"])


def test_every_kind_of_seal_is_read_as_written() -> None:
    data = write_resources(
        [
            Sealed(path="Resources/a", sha1=b"1" * 20, sha256=b"2" * 32),
            Sealed(path="Resources/en.lproj/b", sha1=b"1" * 20, sha256=b"3" * 32, optional=True),
            Sealed(path="Resources/link", target="a"),
            Sealed(path="MacOS/tool", requirement='identifier "tool"', cdhash=b"4" * 20),
        ],
        "Resources/",
    )
    seals = read_resources(data).seals
    assert (seals["Resources/a"].algorithm, seals["Resources/a"].digest) == ("sha256", b"2" * 32)
    assert seals["Resources/en.lproj/b"].optional
    assert seals["Resources/link"].target == "a"
    assert seals["MacOS/tool"].kind == "code"
    assert seals["MacOS/tool"].cdhash == b"4" * 20
    old = plistlib.loads(data)["files"]
    assert old == {
        "Resources/a": b"1" * 20, "Resources/en.lproj/b": {"hash": b"1" * 20, "optional": True},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "omit", "nested", "optional"),
    [
        ("Resources/a", False, False, False),
        ("Resources/.DS_Store", True, False, False),
        (".DS_Store", True, False, False),
        ("Resources/x.DS_Store", False, False, False),
        ("Resources/en.lproj/a.strings", False, False, True),
        ("Resources/Base.lproj/a.nib", False, False, False),
        ("Resources/en.lproj/locversion.plist", True, False, False),
        ("Info.plist", True, False, False),
        ("Info.plist\n", False, True, False),
        ("InfoXplist", False, True, False),
        ("PkgInfo", True, False, False),
        ("MacOS/tool", False, True, False),
        ("MacOS/tool.dSYM/Contents/Info.plist", False, False, False),
        ("Frameworks/A.framework", False, True, False),
        ("Library/SystemExtensions/a.systemextension", False, False, False),
        ("Library/LoginItems/a.app", False, True, False),
        ("embedded.provisionprofile", False, False, False),
        ("tool", False, True, False),
    ],
)
def test_rules_find_what_they_find_on_macos(
    path: str, omit: bool, nested: bool, optional: bool
) -> None:
    rule = read_resources(_list()).rule_for(path)
    assert rule is not None
    assert (rule.omit, rule.nested, rule.optional) == (omit, nested, optional)


def test_standard_rules_are_not_weak() -> None:
    assert weaknesses(read_resources(_list()), "Resources/") == ()
    flat = standard_rules("")[1]
    assert weaknesses(read_resources(_list(rules2=flat)), "") == ()


@pytest.mark.parametrize(
    "rules",
    [
        {"^.*": True, "^Resources/evil": {"omit": True, "weight": 30}},
        {"^.*": True, "^MacOS/": False},
        {"^Resources/": True},
        {"^.*": {"optional": True}},
        {"^.*": {"omit": True}},
        {},
    ],
)
def test_rules_that_leave_much_out_are_weak(rules: dict[str, Any]) -> None:
    assert weaknesses(read_resources(_list(rules2=rules)), "Resources/")


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", MalformedError),
        (b"<plist><array/></plist>", MalformedError),
        (_list(files2=None), MalformedError),
        (_list(rules2=None), MalformedError),
        (_list(files2={"../a": {"hash2": bytes(32)}}), MalformedError),
        (_list(files2={"/a": {"hash2": bytes(32)}}), MalformedError),
        (_list(files2={"a//b": {"hash2": bytes(32)}}), MalformedError),
        (_list(files2={"a" * 2000: {"hash2": bytes(32)}}), MalformedError),
        (_list(files2={"a": {"hash2": bytes(31)}}), MalformedError),
        (_list(files2={"a": {}}), MalformedError),
        (_list(files2={"a": 3}), MalformedError),
        (_list(files2={"a": {"symlink": ""}}), MalformedError),
        (_list(files2={"a": {"symlink": "b", "hash2": bytes(32)}}), AmbiguousError),
        (_list(files2={"a": {"symlink": "b", "requirement": "c"}}), AmbiguousError),
        (_list(files2={"\u00e9": bytes(20), "e\u0301": bytes(20)}), AmbiguousError),
        (_list(rules2={"^.*": 3}), MalformedError),
        (_list(rules2={"^.*": {"weight": "x"}}), MalformedError),
        (_list(rules2={"^.*": {"weight": float("inf")}}), MalformedError),
        (_list(rules2={"^.*": {"weight": -1}}), MalformedError),
        (_list(rules2={"[": True}), MalformedError),
        (_list(rules2={"^(a*)*$": True}), LimitError),
        (_list(rules2={"^a*a*a*$": True}), LimitError),
        (_list(rules2={r"\bx": True}), LimitError),
        (_list(rules2={".*x.*y": True}), LimitError),
        (_list(rules2={"^" + "x?" * 60 + "x" * 60 + "$": True}), LimitError),
        (_list(rules2={f"^{n}.*{n}": True for n in range(30)}), LimitError),
        (_list(rules2={f"^{n}": True for n in range(300)}), LimitError),
        (_list().replace(b"<key>files2</key>", b"<key>files</key>", 1), AmbiguousError),
    ],
)
def test_faults_are_named(data: bytes, error: type[BadInputError]) -> None:
    with pytest.raises(error):
        read_resources(data)


def test_a_hostile_rule_costs_little() -> None:
    rules = read_rules({"^x.*y.*z$": True, "^.*": True})
    resources = read_resources(_list(rules2={rule.pattern: True for rule in rules}))
    assert resources.rule_for("x" + "y" * 1000) is not None


def test_entities_and_depth_are_refused() -> None:
    bomb = b'<?xml version="1.0"?><!DOCTYPE p [<!ENTITY a "aaaa">]><plist><dict/></plist>'
    with pytest.raises(MalformedError):
        read_resources(bomb)
    deep: Any = {}
    for _ in range(80):
        deep = {"a": deep}
    for form in (plistlib.FMT_XML, plistlib.FMT_BINARY):
        with pytest.raises(LimitError):
            read_resources(plistlib.dumps(deep, fmt=form))
