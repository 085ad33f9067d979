"""Clear-signed text: only what is signed comes out, and only of files that are one block."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signward.envelopes import openpgp_clear
from signward.envelopes.openpgp_clear import (
    open_clear,
    read_clear,
    unescaped,
    write_clear,
)
from signward.errors import (
    AmbiguousError,
    BadInputError,
    LimitError,
    MalformedError,
    UncoveredError,
)
from signward.findings import Code, Effect
from signward.integrity import check_value
from signward.state import Algorithm
from signward.wire.clear_text import is_clear
from tests.builders.openpgp import Key
from tests.builders.openpgp_clear import BEGIN, armour, clear, escaped

TEXT = b"Origin: Test\n- dash\n--- more\n\nFrom here  \n\t\nlast line \t\n"
SIGNED = b"Origin: Test\n- dash\n--- more\n\nFrom here\n\nlast line\n"
KEY = Key()


def test_the_text_comes_without_escapes_and_unsigned_spaces() -> None:
    data = clear(TEXT, KEY)
    found = read_clear(data)
    assert is_clear(data)
    assert found.text == SIGNED
    assert found.hashed == SIGNED.removesuffix(b"\n").replace(b"\n", b"\r\n")
    assert found.digests == ("sha256",)
    assert [data[start:end] for start, end in found.spaces] == [b"  ", b"\t", b" \t"]
    assert found.only_spaces == data.index(b"\n\t\n") + 1
    assert data[found.start : found.end] == escaped(TEXT) + b"\n"
    assert data[found.end :].startswith(b"-----BEGIN PGP SIGNATURE-----\n")


def test_line_endings_of_windows_are_no_part_of_the_text() -> None:
    unix, windows = clear(TEXT, KEY), clear(TEXT, KEY).replace(b"\n", b"\r\n")
    one, other = read_clear(unix), read_clear(windows)
    assert (one.text, one.hashed, one.signature) == (other.text, other.hashed, other.signature)
    assert [windows[start:end] for start, end in other.spaces] == [b"  ", b"\t", b" \t"]
    assert windows[other.end :].startswith(b"-----BEGIN PGP SIGNATURE-----\r\n")


def test_what_is_hashed_is_what_the_signer_signed() -> None:
    found = read_clear(clear(TEXT, KEY, Key(version=6), digest="sha512"))
    assert [one.claimed.over for one in open_clear(found, "text")] == ["text:1", "text:2"]
    one = open_clear(found, "text")[0]
    digest = hashlib.sha512(one.before + found.hashed + one.behind).digest()
    spki = bytes.fromhex("302a300506032b6570032100") + KEY.private.public_key().public_bytes_raw()
    check_value(spki, Algorithm(scheme="ed25519"), digest, one.claimed.value)
    assert one.claimed.findings == ()


def test_a_text_without_lines_and_one_of_an_empty_line() -> None:
    behind = armour(b"")
    none = read_clear(BEGIN + b"\n" + behind)
    assert (none.text, none.hashed, none.digests) == (b"", b"", ())
    empty = read_clear(BEGIN + b"\n\n" + behind)
    assert (empty.text, empty.hashed) == (b"\n", b"")
    two = read_clear(BEGIN + b"\n\n\n" + behind)
    assert (two.text, two.hashed) == (b"\n\n", b"\r\n")


def test_who_made_the_armour_may_be_told() -> None:
    told = b"SIGNATURE-----\nVersion: GnuPG v2.0.22 (GNU/Linux)\nComment: Using GnuPG - http://x.org/\n\n"
    assert read_clear(clear(TEXT, KEY).replace(b"SIGNATURE-----\n\n", told)).text == SIGNED


def test_the_last_line_ending_may_be_missing() -> None:
    assert read_clear(clear(TEXT, KEY).removesuffix(b"\n")).text == SIGNED


GOOD = clear(b"one\ntwo\n", KEY)
BAD: dict[str, tuple[bytes, type[BadInputError]]] = {
    "text before": (b"one\n" + GOOD, UncoveredError),
    "an empty line before": (b"\n" + GOOD, UncoveredError),
    "a byte order mark": (b"\xef\xbb\xbf" + GOOD, MalformedError),
    "text behind": (GOOD + b"one\n", UncoveredError),
    "an empty line behind": (GOOD + b"\n", UncoveredError),
    "a space behind": (GOOD + b" ", UncoveredError),
    "two blocks": (GOOD + GOOD, AmbiguousError),
    "text and a block behind": (GOOD + b"one\n" + GOOD, AmbiguousError),
    "a block within": (clear(b"one\n", KEY, header=b"\n" + GOOD), MalformedError),
    "no begin": (GOOD.removeprefix(BEGIN), MalformedError),
    "nothing": (b"", MalformedError),
    "a begin with a space": (GOOD.replace(b"MESSAGE-----\n", b"MESSAGE----- \n"), MalformedError),
    "a line unescaped": (GOOD.replace(b"\ntwo", b"\n-two"), MalformedError),
    "a dash alone": (GOOD.replace(b"\ntwo", b"\n-"), MalformedError),
    "an end with a space": (GOOD.replace(b"SIGNATURE-----\n\n", b"SIGNATURE----- \n\n"),
                            MalformedError),
    "no signature": (GOOD[: GOOD.index(b"-----BEGIN PGP SIGNATURE")], MalformedError),
    "cut short": (GOOD[:-20], MalformedError),
    "an armour of another kind": (GOOD.replace(b"PGP SIGNATURE", b"PGP MESSAGE"), MalformedError),
    "two armours": (GOOD + armour(b"\xc2\x00"), UncoveredError),
    "a comment as header": (clear(b"one\n", KEY, header=b"Comment: pay\n"), MalformedError),
    "NotDashEscaped": (clear(b"one\n", KEY, header=b"NotDashEscaped: yes\n"), MalformedError),
    "text in a header": (clear(b"one\n", KEY, header=b"Hash: SHA256\x0b\x0bpay\n"),
                         MalformedError),
    "an unknown digest": (clear(b"one\n", KEY, header=b"Hash: PAY-ANN\n"), MalformedError),
    "an empty header": (clear(b"one\n", KEY, header=b"Hash: \n"), MalformedError),
    "a header without empty line": (BEGIN + b"Hash: SHA256\n" + armour(b""), MalformedError),
    "a space on the empty line": (GOOD.replace(b"SHA256\n\n", b"SHA256\n \n"), MalformedError),
    "many headers": (clear(b"one\n", KEY, header=b"Hash: SHA256\n" * 17), MalformedError),
    "a command in the armour": (GOOD.replace(b"SIGNATURE-----\n\n",
                                             b"SIGNATURE-----\nComment: x; pay ann\n\n"),
                                UncoveredError),
    "an unknown armour header": (GOOD.replace(b"SIGNATURE-----\n\n",
                                              b"SIGNATURE-----\nPay: Ann\n\n"), UncoveredError),
    "a NUL": (clear(b"one\0\n", KEY), MalformedError),
    "a carriage return": (clear(b"one\rpay\n", KEY), AmbiguousError),
    "two carriage returns": (clear(b"one\r\r\n", KEY), AmbiguousError),
    "mixed endings": (GOOD.replace(b"one\n", b"one\r\n"), AmbiguousError),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_files_that_readers_differ_about_are_refused(name: str) -> None:
    data, error = BAD[name]
    with pytest.raises(error) as raised:
        read_clear(data)
    assert type(raised.value) is error


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LimitError):
        read_clear(clear(b"one \n" * (openpgp_clear.MAX_SPACED + 1), KEY))
    monkeypatch.setattr(openpgp_clear, "MAX_OCTETS", len(GOOD))
    assert read_clear(GOOD).text == b"one\ntwo\n"
    with pytest.raises(LimitError):
        read_clear(GOOD + b"\n")


@pytest.mark.parametrize(
    ("header", "lies"),
    [(b"", False), (b"Hash: SHA256, SHA512\n", False), (b"Hash: SHA512\nHash: SHA256\n", False),
     (b"Hash: SHA512\n", True), (b"Hash: SHA3-256,SHA1\n", True)],
)  # fmt: skip
def test_a_hash_header_that_lies_is_told(header: bytes, lies: bool) -> None:
    (opened,) = open_clear(read_clear(clear(b"one\n", KEY, header=header)), "text")
    found = [(one.code, one.effect) for one in opened.claimed.findings]
    assert found == ([(Code.ALGORITHM_INCONSISTENT, Effect.REJECT)] if lies else [])


@pytest.mark.parametrize("kind", [0x00, 0x02, 0x10])
def test_signatures_of_another_type_are_refused(kind: int) -> None:
    (opened,) = open_clear(read_clear(clear(b"one\n", KEY, kind=kind)), "text")
    assert [one.code for one in opened.claimed.findings] == [Code.ATTRIBUTE_RULE]


def test_a_block_without_signature_packets_is_refused() -> None:
    with pytest.raises(MalformedError):
        open_clear(read_clear(BEGIN + b"\none\n" + armour(b"")), "text")


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
@pytest.mark.parametrize(
    "text", [b"", b"\n", TEXT, b"-----BEGIN PGP SIGNATURE-----\n", b"- a\n-\n"]
)
def test_what_is_written_is_read(text: bytes, ending: bytes) -> None:
    text = text.replace(b"\n", ending)
    data = write_clear(text, ["sha512", "sha256", "sha512"], b"packets")
    found = read_clear(data)
    assert unescaped(data, found) == text
    assert (found.digests, found.signature) == (("sha512", "sha256"), b"packets")
    assert found.ending == ending or not text
    assert data.endswith(found.ending)


@given(st.lists(st.binary(max_size=12), max_size=8))
def test_every_text_comes_back(parts: list[bytes]) -> None:
    text = b"".join(part.translate(None, b"\0\r\n") + b"\n" for part in parts)
    found = read_clear(BEGIN + b"\n" + (escaped(text) + b"\n" if text else b"") + armour(b""))
    assert found.text == b"".join(line.rstrip(b" \t") + b"\n" for line in text.split(b"\n")[:-1])


@given(st.binary(max_size=200), st.integers(0, len(GOOD)))
def test_nothing_but_refusals_comes_of_rubbish(data: bytes, at: int) -> None:
    for one in (data, BEGIN + data, GOOD[:at] + data + GOOD[at:]):
        try:
            open_clear(read_clear(one), "text")
        except BadInputError:
            continue
