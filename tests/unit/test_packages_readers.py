"""Readers of what Debian's tools write: bounds, both forms, what readers could differ in."""

from __future__ import annotations

import lzma
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signward.errors import AmbiguousError, BadInputError, LimitError, MalformedError
from signward.inventory.packages import (
    FILE,
    LINK,
    Entry,
    Package,
    deb822,
    debs,
    dpkg,
    release,
    sources,
)
from signward.inventory.packages.debs import read_deb
from signward.inventory.packages.rooted import NOWHERE, Root
from signward.wire.source import BytesSource
from tests.builders.debian import Deb, File, ar, tar

TOOL = Package(name="tool", version="1:1.0-1", architecture="amd64")
DIGEST = "ab" * 32


def test_a_paragraph_has_fields_and_continued_lines() -> None:
    data = b"# comment\nName: value \nOther:\n one\n two\n\n\nName: x\n"
    found = list(deb822.paragraphs(data, "list"))
    assert found == [{"name": "value", "other": "\n one\n two"}, {"name": "x"}]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"Name: 1\nname: 2\n", AmbiguousError),
        (b" continued\n", MalformedError),
        (b"no colon\n", MalformedError),
        (b"Na me: 1\n", MalformedError),
        (b": 1\n", MalformedError),
    ],
)
def test_odd_paragraphs_are_refused(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        list(deb822.paragraphs(data, "list"))


def test_lists_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deb822, "MAX_OCTETS", 4)
    with pytest.raises(LimitError):
        list(deb822.paragraphs(b"Name: 1\n", "list"))
    monkeypatch.undo()
    monkeypatch.setattr(deb822, "MAX_PARAGRAPH", 4)
    with pytest.raises(LimitError):
        list(deb822.paragraphs(b"Name: 1\n", "list"))


def test_dpkg_says_what_is_installed() -> None:
    told = "Package: {}\nStatus: install ok {}\nVersion: 1\nArchitecture: amd64\n{}"
    states = ["installed", "triggers-pending", "unpacked", "not-installed", "config-files"]
    data = "\n".join(told.format(state, state, "") for state in states)
    data += "\n" + told.format("lib", "installed", "Multi-Arch: same\nConffiles:\n /etc/l abc\n")
    found = dpkg.read_status(data.encode())
    assert [one.list_name for one in found] == [*states[:3], "lib:amd64"]
    assert found[-1].config == {"/etc/l"}


@pytest.mark.parametrize("missing", ["Package", "Version", "Architecture"])
def test_a_package_has_all_its_names(missing: str) -> None:
    told = "Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\n"
    with pytest.raises(MalformedError):
        dpkg.read_status(told.replace(missing, "X-Other").encode())


def test_a_package_is_no_path() -> None:
    told = b"Package: ../a\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\n"
    with pytest.raises(MalformedError):
        dpkg.read_status(told)


def test_diversions_and_modes() -> None:
    told = b"/a\n/a.real\nother\n/b\n/b.real\n:\n"
    assert [one.package for one in dpkg.read_diversions(told)] == ["other", ""]
    with pytest.raises(MalformedError):
        dpkg.read_diversions(told + b"/c\n")
    assert dpkg.read_overrides(b"root root 4755 /bin/a b\n") == {"/bin/a b": 0o4755}
    for odd in (b"root root 4795 /a\n", b"root root /a\n", b"root root x /a\n"):
        with pytest.raises(MalformedError):
            dpkg.read_overrides(odd)


RELEASE = f"Suite: stable\nDate: Sat, 11 Jul 2026 10:16:37 UTC\nSHA256:\n {DIGEST} 3 main/x\n"


def test_a_release_names_files() -> None:
    found = release.read_release(RELEASE.encode())
    assert found.date == datetime(2026, 7, 11, 10, 16, 37, tzinfo=UTC)
    assert found.files["main/x"].size == 3
    assert found.valid_until is None


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (RELEASE.replace("Sat, 11", "Xxx, 99"), MalformedError),
        (RELEASE.replace("Date:", "Day:"), MalformedError),
        (RELEASE + "Valid-Until: soon\n", MalformedError),
        (RELEASE.replace(DIGEST, DIGEST[2:]), MalformedError),
        (RELEASE.replace(DIGEST, "zz" * 32), MalformedError),
        (RELEASE.replace(" 3 ", " three "), MalformedError),
        (RELEASE.replace(" 3 ", " "), MalformedError),
        (RELEASE + f" {'cd' * 32} 3 main/x\n", AmbiguousError),
        (RELEASE + "\nSuite: other\n", MalformedError),
    ],
)
def test_odd_releases_are_refused(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        release.read_release(text.encode())


def test_only_what_is_wanted_is_read_of_a_list() -> None:
    told = f"Version: 1:1.0-1\nArchitecture: amd64\nSize: 5\nSHA256: {DIGEST}\n"
    data = f"Package: tool\n{told}\nPackage: other\nbroken paragraph\n\nPackage: tool\n{told}\n"
    data = data.replace("broken paragraph", "Broken: but not asked for")
    found = list(release.read_packages(data.encode(), {TOOL}))
    assert [one.package for one in found] == [TOOL, TOOL]
    weak = told.replace("SHA256", "MD5sum")
    assert list(release.read_packages(f"Package: tool\n{weak}".encode(), {TOOL})) == []
    late = f"{told}Package: tool\n"
    assert [one.package for one in release.read_packages(late.encode(), {TOOL})] == [TOOL]


def test_sources_have_two_forms() -> None:
    lines = (
        "# comment\ndeb [arch=amd64 signed-by=/k/a.gpg,/k/b.asc] http://u@h.example/debian s main x"
        "\ndeb-src http://h.example/debian s main\ndeb file:/srv/repo ./\n"
        "deb [trusted=yes] http://h.example:80/~a_b t\n"
    )
    found = sources.read_sources(lines.encode(), "sources.list")
    assert [one.prefix for one in found] == [
        "h.example_debian_dists_s_", "_srv_repo_._", "h.example:80_%7ea%5fb_dists_t_",
    ]  # fmt: skip
    assert found[0].signed_by == ("/k/a.gpg", "/k/b.asc")
    assert [one.trusted for one in found] == [False, False, True]
    paragraphs = (
        "Types: deb deb-src\nURIs: http://a http://b\nSuites: s t\nComponents: main\nSigned-By:\n"
        " -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQ==\n -----END PGP PUBLIC KEY BLOCK-----\n\n"
        "Types: deb\nURIs: http://c\nSuites: s\nEnabled: no\n\nTypes: deb-src\nURIs: http://d\n"
    )
    found = sources.read_sources(paragraphs.encode(), "x.sources")
    assert [one.prefix for one in found] == [
        "a_dists_s_", "a_dists_t_", "b_dists_s_", "b_dists_t_",
    ]  # fmt: skip
    assert found[0].keys.startswith("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ==\n-----END")


def test_a_line_that_is_none_is_refused() -> None:
    with pytest.raises(MalformedError):
        sources.read_sources(b"debian http://x y z\n", "sources.list")


def brought(files: dict[str, File], **how: object) -> dict[str, Entry]:
    found = read_deb(BytesSource("x.deb", Deb(name="x", files=files, **how).data))  # type: ignore[arg-type]
    return {entry.path: entry for entry in found.entries}


def test_a_package_brings_files_links_and_other_names() -> None:
    long = "/usr/share/" + "d" * 90 + "/" + "f" * 150
    found = brought(
        {
            "/bin/a": File(b"one", 0o4755), "/bin/b": File(hard="/bin/a"), "/bin/c": File(link="a"),
            long: File(b"long"), "/etc/x": File(b"x"),
        },
        config=("/etc/x",),
    )  # fmt: skip
    assert (found["/bin/a"].kind, found["/bin/a"].mode, found["/bin/a"].size) == (FILE, 0o4755, 3)
    assert found["/bin/b"].digest == found["/bin/a"].digest
    assert (found["/bin/c"].kind, found["/bin/c"].target) == (LINK, "a")
    assert found[long].size == 4
    assert [path for path, entry in found.items() if entry.config] == ["/etc/x"]


GOOD = Deb(name="x", files={"/bin/a": File(b"one")})
CONTROL = {"/control": File(GOOD.control)}


def made(members: dict[str, bytes]) -> bytes:
    return ar(members)


def whole(control: bytes | None = None, data: bytes | None = None) -> dict[str, bytes]:
    return {
        "debian-binary": b"2.0\n",
        "control.tar": tar(CONTROL) if control is None else control,
        "data.tar": tar(GOOD.files) if data is None else data,
    }


def test_members_need_not_be_compressed_and_others_may_stand_between() -> None:
    parts = whole()
    parts = {"debian-binary": parts.pop("debian-binary"), "_gpgorigin": b"x", **parts}
    assert read_deb(BytesSource("x", made(parts))).package.name == "x"


ODD: dict[str, Callable[[], bytes]] = {
    "no members": lambda: b"!<arch>\n",
    "format 3": lambda: made(whole() | {"debian-binary": b"3.0\n"}),
    "no data": lambda: made({k: v for k, v in whole().items() if k != "data.tar"}),
    "swapped": lambda: made(dict(sorted(whole().items(), reverse=True))),
    "no control": lambda: made(whole(control=tar({"/other": File(b"")}))),
    "control without version": lambda: made(whole(control=tar({"/control": File(b"Package: x")}))),
    "outside": lambda: made(whole(data=tar({"/a/../../b": File(b"")}))),
    "another name of nothing": lambda: made(whole(data=tar({"/a": File(hard="/b")}))),
}


@pytest.mark.parametrize("what", sorted(ODD))
def test_odd_packages_are_refused(what: str) -> None:
    with pytest.raises(BadInputError):
        read_deb(BytesSource("x", ODD[what]()))


def test_packages_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    source = BytesSource("x", GOOD.data)
    for name, value in (("MAX_DATA", 100), ("MAX_CONTROL", 100), ("MAX_ENTRIES", 0),
                        ("MAX_TEXT", 3)):  # fmt: skip
        monkeypatch.setattr(debs, name, value)
        with pytest.raises(LimitError):
            read_deb(source)
        monkeypatch.undo()


@given(st.integers(0, len(GOOD.data) - 1), st.integers(1, 255))
def test_whatever_is_damaged_nothing_but_bad_input_is_raised(at: int, by: int) -> None:
    data = bytearray(GOOD.data)
    data[at] ^= by
    with suppress(BadInputError):
        read_deb(BytesSource("x", bytes(data)))


def test_a_package_is_one_stream() -> None:
    """What stands behind the stream is no part of the package, so it is none."""
    for more in (b"more", lzma.compress(tar(GOOD.files))):
        parts = whole()
        del parts["data.tar"]
        parts["data.tar.xz"] = lzma.compress(tar(GOOD.files)) + more
        with pytest.raises(MalformedError):
            read_deb(BytesSource("x", made(parts)))
    parts["data.tar.xz"] = lzma.compress(tar(GOOD.files))[:-3]
    with pytest.raises(MalformedError):
        read_deb(BytesSource("x", made(parts)))


def test_links_stay_in_their_root(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/a").symlink_to("/b/../c")
    (tmp_path / "etc/loop").symlink_to("loop")
    (tmp_path / "etc/up").symlink_to("../../../../x")
    root = Root(str(tmp_path))
    assert root.place("/etc/a") == f"{tmp_path}/c"
    assert root.place("/etc/up") == f"{tmp_path}/x"
    assert root.place("/etc/loop") == f"{tmp_path}{NOWHERE}"
    assert root.inside(f"{tmp_path}/c") == "/c"
    assert root.inside("/elsewhere") is None
    assert root.inside(f"{tmp_path}x/c") is None
    assert root.read("/etc/none", 10) is None


READERS: dict[str, Callable[[bytes], object]] = {
    "status": dpkg.read_status,
    "list": dpkg.read_list,
    "diversions": dpkg.read_diversions,
    "statoverride": dpkg.read_overrides,
    "Release": release.read_release,
    "Packages": lambda data: list(release.read_packages(data, {TOOL})),
    "sources.list": lambda data: sources.read_sources(data, "sources.list"),
    ".sources": lambda data: sources.read_sources(data, "x.sources"),
}
TEXT = {
    "status": b"Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\n",
    "Release": RELEASE.encode(),
    "Packages": f"Package: tool\nVersion: 1:1.0-1\nArchitecture: amd64\nSize: 5\nSHA256: {DIGEST}"
    "\n".encode(),
    "sources.list": b"deb [signed-by=/k] http://[h/ s main\n",
    ".sources": b"Types: deb\nURIs: http://[h/\nSuites: s\nSigned-By: /k\n",
    "statoverride": b"root root 4755 /bin/a\n",
}


@pytest.mark.parametrize("what", sorted(READERS))
@given(data=st.data())
def test_readers_raise_nothing_but_bad_input(what: str, data: st.DataObject) -> None:
    good = bytearray(TEXT.get(what, b"/a\n/b\nc\n"))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(good) - 1))
        good[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
        good = good or bytearray(b"\n")
    with suppress(BadInputError):
        READERS[what](bytes(good))
