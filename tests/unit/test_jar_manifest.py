"""The text of manifests and signature files: what is read, what is refused, what is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signward.errors import AmbiguousError, BadInputError, LimitError, MalformedError
from signward.formats import _jar_manifest as jar

TEXT = (
    b"Manifest-Version: 1.0\r\nCreated-By: me\r\n\r\n"
    b"Name: a/long\n er.class\nSHA-256-Digest: AAAA\n\n"
    b"Name: b\rSHA1-Digest: AQID\rOther: x: y\r\r"
)


def test_sections_keep_where_they_lie() -> None:
    found = jar.read_sections(TEXT, "manifest")
    assert found.main.value("manifest-version") == "1.0"
    assert found.octets(found.main) == TEXT[: TEXT.index(b"Name")]
    assert list(found.entries) == ["a/longer.class", "b"]
    one, two = found.entries.values()
    assert one.digests() == {"sha256": b"\0\0\0"}
    assert two.digests() == {"sha1": b"\1\2\3"}
    assert two.value("other") == "x: y"
    assert two.value("absent") is None
    assert found.octets(one) == found.octets(one, bare=True) + b"\n"
    assert b"".join(map(found.octets, (found.main, one, two))) == TEXT


def test_a_section_may_end_with_the_file() -> None:
    found = jar.read_sections(b"A: 1\r\n\r\n\r\n\r\nName: x\r\nB: 2\r\n", "manifest")
    assert found.octets(found.entries["x"]) == b"Name: x\r\nB: 2\r\n"


def test_kinds_of_digests_are_told_apart_by_their_suffix() -> None:
    main = jar.read_sections(
        b"SHA-256-Digest-Manifest: AAAA\nSHA-256-Digest-Manifest-Main-Attributes: AAAB\n"
        b"Whirlpool-Digest: AAAC\n",
        "f",
    )
    assert main.main.digests(jar.OF_MANIFEST) == {"sha256": b"\0\0\0"}
    assert main.main.digests(jar.OF_MAIN) == {"sha256": b"\0\0\1"}
    assert main.main.digests() == {"whirlpool": b"\0\0\2"}


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", MalformedError),
        (b"A: 1", MalformedError),
        (b"A: 1\n\nName: x\nB: 2", MalformedError),
        (b"A: \0\n", MalformedError),
        (b"A: \xff\n", MalformedError),
        (b"A 1\n", MalformedError),
        (b"A:1\n", MalformedError),
        (b" A: 1\n", MalformedError),
        (b"\xc3\xa9: 1\n", MalformedError),
        (b"A: 1\n\nB: 2\n", MalformedError),
        (b"A: 1\n\nName: \nB: 2\n", MalformedError),
        (b"A: 1\n\nName: x\nname: y\n", MalformedError),
        (b"A: 1\n\nName: x\nB: 1\n\nName: x\nB: 2\n", AmbiguousError),
        (b"A: 1\n" * (jar.MAX_OCTETS // 5 + 1), LimitError),
    ],
)
def test_what_is_refused(data: bytes, error: type[BadInputError]) -> None:
    with pytest.raises(error):
        jar.read_sections(data, "manifest")


def test_attributes_that_stand_twice_are_refused_where_they_are_asked_for() -> None:
    main = jar.read_sections(b"A: 1\na: 2\nSHA1-Digest: AA==\nSHA-1-Digest: AA==\n", "m").main
    with pytest.raises(AmbiguousError):
        main.value("A")
    with pytest.raises(AmbiguousError):
        main.digests()


def test_a_digest_in_no_base64_is_refused() -> None:
    with pytest.raises(MalformedError):
        jar.read_sections(b"SHA1-Digest: A===A\n", "m").main.digests()


@given(st.text(st.characters(exclude_characters="\r\n\0", codec="utf-8"), min_size=1))
def test_what_is_written_is_read_again(value: str) -> None:
    written = jar.write_section([("A", "1")]) + jar.write_section([("Name", value), ("B", "2")])
    assert max(map(len, written.split(b"\r\n"))) <= jar.MAX_LINE
    assert list(jar.read_sections(written, "m").entries) == [value]


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        found = jar.read_sections(data, "m")
    except BadInputError:
        return
    assert all(found.octets(section) in data for section in found.entries.values())


def test_a_digest_is_named_as_it_is_read() -> None:
    written = jar.write_section([jar.digest_pair("sha384", b"x" * 48, jar.OF_MANIFEST)])
    main = jar.read_sections(written, "m").main
    assert main.digests(jar.OF_MANIFEST) == {"sha384": b"x" * 48}
