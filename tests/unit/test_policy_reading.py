"""Policies as people write them: what is read, what is refused, and what is written again."""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signward.errors import PolicyError
from signward.policy.rules.force import in_force
from signward.policy.rules.material import material
from signward.policy.rules.model import (
    Action,
    Document,
    KeyKind,
    KeySource,
    Mode,
    PublisherMatch,
    Requirements,
    Rule,
    RuleSet,
    Waiver,
)
from signward.policy.rules.reading import merge, read_document
from signward.policy.rules.writing import to_toml
from signward.verbs.policies.load import key_reader, load_rules
from signward.wire.folders import make_whole
from tests.builders.policies import AT, pem, publishers, rules

BASE = """schema = 1
name = "base"
version = 1
"""


def document(text: str) -> Document:
    return read_document("policy.toml", text.encode())


def merged(*texts: str) -> RuleSet:
    return merge([document(text) for text in texts], lambda _policy, _file: b"")


def rule(name: str, action: str = "allow", condition: str = 'path = ["/opt/x"]') -> str:
    return f'\n[[rule]]\nid = "{name}"\naction = "{action}"\n{condition}\n'


def waiver(name: str, expires: str = "2027-01-01T00:00:00Z", more: str = "") -> str:
    return (
        f'\n[[exception]]\nid = "{name}"\nowner = "ops"\nreason = "migration"\n'
        f'expires = {expires}\npath = ["/opt/x"]\n{more}\n'
    )


def test_a_supplement_adds_to_its_base() -> None:
    extra = 'schema = 1\nname = "extra"\nversion = 4\nsupplements = "base"\n' + rule("b")
    both = merged(BASE + rule("a"), extra)
    assert [r.id for r in both.rules] == ["a", "b"]
    assert [(layer.name, layer.version, sorted(layer.rules)) for layer in both.layers] == [
        ("base", 1, ["a"]),
        ("extra", 4, ["b"]),
    ]
    assert both.mode is Mode.ENFORCE


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (["schema = 2"], "schema"),
        (["not toml ="], "TOML"),
        ([BASE + rule("a", condition=f'digest = ["file:sha256:{"0" * 62}"]')], "64 hexadecimal"),
        ([BASE + rule("a", condition=f'digest = ["cdhash:sha256:{"0" * 64}"]')], "40 hexadecimal"),
        ([BASE + rule("a", condition=f'publisher = {{ tbs = "sha384:{"0" * 64}" }}')], "96 hexa"),
        ([BASE + rule("a", condition='product = { minimum_version = "1.70000" }')], "65535"),
        ([BASE + f"huge = {'1' * 5000}"], "4300 digits"),
        ([BASE + waiver("w", expires="9999-12-31T23:59:59-05:00")], "years 1 to 9999"),
        ([BASE + rule("a", condition='identity = { identity = "a)|(b", issuer = "i" }')],
         "regular expression"),
        ([BASE + "polcy = 1"], "unknown field `polcy`"),
        ([BASE + '[[rule]]\nid = "a"\naction = "allow"\n'], "matches everything"),
        ([BASE + rule("a", condition="publisher = {}")], "matches everybody"),
        ([BASE + rule("a", condition="product = {}")], "matches everything"),
        ([BASE + rule("A b")], "Expected `str` matching"),
        ([BASE + rule("a", condition='digest = ["sha256:00"]')], "digest"),
        ([BASE + rule("a", condition='publisher = { key = "none" }')], "key 'none'"),
        ([BASE + rule("a") + rule("a")], "it twice"),
        ([BASE + rule("a") + waiver("a")], "it twice"),
        ([BASE + waiver("w", more='spares = ["a"]') + rule("a")], "spares a"),
        ([BASE + waiver("w", expires="2027-01-01T00:00:00")], "without its zone"),
        ([BASE.replace("1\n", '1\nsupplements = "x"\n', 1)], "a supplement of x"),
        ([BASE, BASE], "supplements = ''"),
        ([BASE, 'schema = 1\nname = "s"\nversion = 1\nsupplements = "base"\nmode = "monitor"'],
         "mode"),
        ([BASE + rule("a", condition="signers = { least = 2, of = [{ team_id = 'ABCDEFGHIJ' }] }")],
         "least must not exceed"),
    ],
)  # fmt: skip
def test_what_is_no_policy_is_refused(texts: list[str], told: str) -> None:
    with pytest.raises(PolicyError) as refused:
        merged(*texts)
    assert told in str(refused.value)


def test_keys_lie_below_the_policy(tmp_path: Path) -> None:
    first, _ = publishers()
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "ca.pem").write_bytes(pem(first.authority))
    (tmp_path / "secret.pem").write_bytes(pem(first.authority))
    policy = tmp_path / "p" / "policy.toml"
    policy.write_text(BASE + '[keys.ca]\nfile = "ca.pem"\n')
    assert load_rules([policy]).keys["ca"].kind is KeyKind.CERTIFICATE
    policy.write_text(BASE + '[keys.ca]\nfile = "../secret.pem"\n')
    with pytest.raises(PolicyError, match="below its folder"):
        load_rules([policy])
    policy.write_text(BASE + '[keys.ca]\nfile = "absent.pem"\n')
    with pytest.raises(PolicyError, match=r"absent\.pem"):
        load_rules([policy])


@pytest.mark.parametrize(
    "data",
    [b"", b"\x30\x00", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
     b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"ssh-rsa !!",
     b"ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ", b"x" * 2**21,
     b"-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n"],
)  # fmt: skip
def test_what_is_no_key_is_refused(data: bytes) -> None:
    policy = document(BASE + '[keys.k]\nfile = "k"\n')
    with pytest.raises(PolicyError):
        merge([policy], lambda _policy, _file: data)


def test_a_key_file_holds_one_thing() -> None:
    """Whoever reads the keys of a block in another way would trust the others too."""
    block = b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabcd\n-----END PGP PUBLIC KEY BLOCK-----\n"
    private = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
    first, second = (pem(one.authority) for one in publishers())
    assert material("k", b"text\n" + block).kind is KeyKind.OPENPGP
    for several in (block + block, block + private, private + block, block + first, first + second):
        with pytest.raises(PolicyError, match="2 PEM blocks"):
            material("k", several)


@pytest.mark.parametrize(
    ("octets", "told"),
    [(b"\xc5\x01\x04", "private"), (b"\x95\x01\x04", "private"), (b"\xc6\x01", "Base64"),
     (b"\xc6\x01\x04", "")],
)  # fmt: skip
def test_armor_holds_a_public_key(octets: bytes, told: str) -> None:
    text = base64.b64encode(octets).rstrip(b"=")
    label = b"PGP PUBLIC KEY BLOCK-----\n"
    data = b"-----BEGIN " + label + b"Comment: x\r\n\r\n" + text + b"\n=abcd\n-----END " + label
    if told:
        with pytest.raises(PolicyError, match=told):
            material("k", data)
    else:
        assert material("k", data).kind is KeyKind.OPENPGP


@pytest.mark.parametrize(
    "data", [b"-----BEGIN A-----\n" * 40_000, b"ssh-ed25519 AAAA" + b" " * 500_000 + b"\nx"]
)
def test_a_key_file_is_refused_at_once(data: bytes) -> None:
    began = time.process_time()
    with pytest.raises(PolicyError):
        material("k", data)
    assert time.process_time() - began < 2


def test_a_name_of_a_key_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    for name in ("a\0b", "circle/x"):
        with pytest.raises(PolicyError):
            key_reader("p", tmp_path)(name)


def test_an_exception_ends_in_utc() -> None:
    rules = merged(BASE + waiver("w", expires="2027-01-01T00:00:00+02:00"))
    (ends,) = (w.expires for w in rules.waivers)
    assert ends.isoformat() == "2026-12-31T22:00:00+00:00"


def test_exceptions_end() -> None:
    rules = merged(BASE + rule("no", "deny") + waiver("w", more='spares = ["no"]') + waiver("v"))
    before = in_force(rules, AT)
    assert [r.id for r in before.rules] == ["no", "v"]
    assert [w.id for w in before.spared["no"]] == ["w"]
    after = in_force(rules, datetime(2027, 1, 1, tzinfo=UTC))
    assert [r.id for r in after.rules] == ["no"]
    assert after.spared == {}
    assert in_force(rules, datetime(2027, 1, 1, tzinfo=UTC) - timedelta(seconds=1)) == before


def test_lockdown_takes_weak_rules_away() -> None:
    text = BASE.replace("version", 'mode = "lockdown"\nversion')
    digest = f'digest = ["file:sha256:{"0" * 64}"]'
    rules = merged(
        text
        + rule("path")
        + rule("hash", condition=digest)
        + rule("watch", "audit", digest)
        + rule("never", "deny")
        + waiver("w")
    )
    assert [r.id for r in in_force(rules, AT).rules] == ["hash", "never"]


@given(drawn=rules(), note=st.text(max_size=40))
def test_what_is_written_is_read_again(drawn: tuple[Rule, ...], note: str) -> None:
    whole = Document(
        schema=1,
        name="written",
        version=7,
        mode=Mode.MONITOR,
        note=note.encode("utf-8", "replace").decode(),
        requirements=Requirements(timestamp=True, max_age_days=5),
        keys={"ca": KeySource(file="a b.pem")},
        rule=(
            *drawn,
            Rule(id="strict", action=Action.ALLOW, publisher=PublisherMatch(organization='A"\\\n'),
                 requires=Requirements(log=True)),
        ),
        exception=(Waiver(id="w", owner="o", reason="r", expires=AT, kind=("script",)),),
        targets={"x": {"flag": True, "names": ["a", "b" * 90], "a.b": 1}},
    )  # fmt: skip
    assert document(to_toml(whole)) == whole


def test_what_is_written_shows_all_it_says() -> None:
    """A note that clears the screen or turns text around is seen as what it is."""
    note = "a\x9b2J \u202eb\u2066 \u200b \U000e0001 \x7f \ud800 ü"
    written = to_toml(Document(schema=1, name="w", version=1, note=note))
    assert all(c.isprintable() or c == "\n" for c in written)
    assert "ü" in written
    assert document(written).note == note.replace("\ud800", "\ufffd")


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    make_whole(tmp_path / "out", {"a/b": b"1", "c": b"2"})
    assert (tmp_path / "out" / "a" / "b").read_bytes() == b"1"
    with pytest.raises(FileExistsError):
        make_whole(tmp_path / "out", {"d": b"3"})
    for name in ("../x", "/x", ""):
        with pytest.raises(ValueError, match="leads out"):
            make_whole(tmp_path / "new", {"ok": b"", name: b""})
    with pytest.raises(OSError, match="exists"):
        make_whole(tmp_path / "new", {"a": b"", "a/b": b""})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
