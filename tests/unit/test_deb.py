"""Debian packages with signatures inside: debsigs' and dpkg-sig's (THREATS 43)."""

from __future__ import annotations

import hashlib
import lzma
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signward.errors import BadInputError, LimitError, MalformedError, NotSignableError
from signward.findings import Code
from signward.formats import (
    Existing,
    Match,
    ParseOptions,
    Peek,
    _deb_layout,
    _deb_signature,
    peek_at,
)
from signward.formats.deb import FORMAT
from signward.integrity import wanted_slots
from signward.inventory.classify import classify
from signward.state import Outcome, Verdict
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.verify import assess
from signward.wire.ar import MAGIC, header
from signward.wire.patch import Patched, pieces
from signward.wire.source import BytesSource
from tests.builders import openpgp as pgp
from tests.builders.openpgp import Key
from tests.builders.openpgp_clear import clear
from tests.samples.deb import CONTROL, archive, deb, member, split, tar
from tests.signing import sign_bytes

NOW = datetime(2024, 6, 1, tzinfo=UTC)
NAME = "hello.deb"


@cache
def key(kind: str = "ed25519", which: int = 0) -> Key:
    return Key(kind)


def signature(data: bytes, by: Key, **how: Any) -> bytes:
    """Return debsigs' signature over a package's three members."""
    content = b"".join(body for name, body in split(data) if not name.startswith("_"))
    return pgp.packet(2, by.sign(content, **how))


def signed(data: bytes, *roles: str, by: Key | None = None, **how: Any) -> bytes:
    blob = signature(data, by or key(), **how)
    return data + b"".join(member(f"_gpg{role}", blob) for role in roles or ("origin",))


def listing(data: bytes, role: str = "builder", *, without: str = "") -> bytes:
    """Return dpkg-sig's list of a package's members."""
    lines = [f"\t{hashlib.md5(body).hexdigest()} {hashlib.sha1(body).hexdigest()} "
             f"{len(body)} {name}\n" for name, body in split(data) if name != without]  # fmt: skip
    text = "Version: 4\nSigner: Ann <ann@example.org>\nDate: Mon Jan  1 00:00:00 2024\n"
    return (text + f"Role: {role}\nFiles: \n" + "".join(lines)).encode()


def listed(data: bytes, text: bytes | None = None, role: str = "builder", **how: Any) -> bytes:
    """Return a package with dpkg-sig's list in it."""
    text = clear(listing(data, role) if text is None else text, how.pop("by", key()), **how)
    return data + member(f"_gpg{role}", text)


def judged(data: bytes, folder: Path, *keys: Key) -> Verdict:
    ring = folder / "ring.gpg"
    ring.write_bytes(b"".join(map(pgp.certificate, keys or (key(),))))
    return assess(BytesSource(NAME, data), Context(Options(keyrings=(str(ring),), at=NOW)))


@pytest.mark.parametrize("packed", ["", "gz", "xz", "bz2"])
def test_debsigs_signature_is_accepted(packed: str, tmp_path: Path) -> None:
    data = deb(packed=packed) if packed != "bz2" else archive(
        ("debian-binary", b"2.0\n"), ("control.tar.gz", tar(("control", CONTROL))),
        ("data.tar.bz2", tar(packed="bz2")),
    )  # fmt: skip
    verdict = judged(signed(data), tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
    assert dict(verdict.facts) == {
        "package": "hello", "version": "1.0-1", "architecture": "all",
    }  # fmt: skip
    assert verdict.publisher is not None
    assert verdict.publisher.identity == f"openpgp:{key().fingerprint.hex()}"
    assert judged(data, tmp_path).cause is Code.UNSIGNED


def test_it_is_recognised() -> None:
    peek = peek_at(BytesSource(NAME, deb()))
    assert classify(peek) == "deb"
    assert FORMAT.recognise(peek) is Match.SPECIFIC
    other = archive(("control.tar.gz", b""), ("debian-binary", b"2.0\n"))
    assert FORMAT.recognise(Peek(NAME, other, other, len(other))) is Match.NO


def swapped(data: bytes) -> bytes:
    version, control, content, *rest = split(data)
    return archive(version, content, control, *rest)


def moved(data: bytes, by: int) -> bytes:
    """Return a package the border between whose two archives lies elsewhere."""
    version, (name, control), (other, content), *rest = split(data)
    both = control + content
    at = len(control) + by
    return archive(version, (name, both[:at]), (other, both[at:]), *rest)


def edited(data: bytes, name: str, content: bytes) -> bytes:
    return archive(*((n, content if n == name else body) for n, body in split(data)))


def renamed(data: bytes, old: str, new: str) -> bytes:
    return archive(*((new if n == old else n, body) for n, body in split(data)))


def with_member(data: bytes, name: str, content: bytes = b"pay", at: int = 99) -> bytes:
    members = split(data)
    members.insert(at, (name, content))
    return archive(*members)


GOOD = signed(deb())
REFUSED: dict[str, tuple[Code, Callable[[], bytes]]] = {
    "a changed archive": (Code.SIGNATURE_MISMATCH,
                          lambda: edited(GOOD, "data.tar.gz", tar(("a", b"b")))),
    "a changed control": (Code.SIGNATURE_MISMATCH,
                          lambda: edited(GOOD, "control.tar.gz", tar(("control", b"A: x\n")))),
    "another version": (Code.SIGNATURE_MISMATCH,
                        lambda: edited(GOOD, "debian-binary", b"2.1\n")),
    "a second version line": (Code.MALFORMED,
                              lambda: edited(GOOD, "debian-binary", b"2.0\nx\n")),
    "control and data swapped": (Code.MALFORMED, lambda: swapped(GOOD)),
    "control short": (Code.MALFORMED, lambda: moved(GOOD, -1)),
    "control long": (Code.MALFORMED, lambda: moved(GOOD, 1)),
    "all in control": (Code.MALFORMED, lambda: moved(GOOD, len(split(GOOD)[2][1]))),
    "a member behind": (Code.UNCOVERED_CONTENT, lambda: with_member(GOOD, "pay.sh")),
    "a member between": (Code.UNCOVERED_CONTENT, lambda: with_member(GOOD, "_pay", at=1)),
    "a member in front of the signature": (Code.UNCOVERED_CONTENT,
                                           lambda: with_member(GOOD, "pay", at=3)),
    "two data archives": (Code.AMBIGUOUS, lambda: with_member(GOOD, "data.tar.xz", at=2)),
    "two data archives, the other behind": (Code.AMBIGUOUS,
                                            lambda: with_member(GOOD, "data.tar")),
    "two control archives": (Code.AMBIGUOUS, lambda: with_member(GOOD, "control.tar", at=1)),
    "a name twice": (Code.AMBIGUOUS, lambda: GOOD + member("data.tar.gz", b"pay")),
    "a name twice with a slash": (Code.AMBIGUOUS, lambda: GOOD + member("data.tar.gz/", b"pay")),
    "a signature in front": (Code.MALFORMED, lambda: with_member(deb(), "_gpgorigin", b"x", 1)),
    "a signature without role": (Code.MALFORMED, lambda: renamed(GOOD, "_gpgorigin", "_gpg")),
    "a signature by another name": (Code.UNSIGNED, lambda: renamed(GOOD, "_gpgorigin", "_sig")),
    "data by another name": (Code.MALFORMED, lambda: renamed(GOOD, "data.tar.gz", "data.tar.xz")),
    "data as if unpacked": (Code.MALFORMED, lambda: renamed(GOOD, "data.tar.gz", "data.tar")),
    "control by another name": (Code.MALFORMED,
                                lambda: renamed(GOOD, "control.tar.gz", "control.tar.xz")),
    "no data": (Code.MALFORMED, lambda: archive(*split(GOOD)[:2])),
    "bytes behind": (Code.MALFORMED, lambda: GOOD + b"pay"),
    "an empty signature": (Code.MALFORMED, lambda: with_member(deb(), "_gpgorigin", b"")),
    "a signature over text": (Code.ATTRIBUTE_RULE, lambda: signed(deb(), kind=1)),
    "SHA-1": (Code.WEAK_DIGEST, lambda: signed(deb(), digest="sha1")),
    "somebody else's": (Code.KEY_MISSING, lambda: signed(deb(), by=key("p256"))),
    "another package's": (Code.SIGNATURE_MISMATCH, lambda: deb() + member(
        "_gpgorigin", signature(deb(packed="xz"), key()))),
    "two files named control": (Code.MALFORMED, lambda: signed(archive(
        ("debian-binary", b"2.0\n"),
        ("control.tar.gz", tar(("control", CONTROL), ("./control", CONTROL))),
        ("data.tar.gz", tar())))),
    "dpkg-sig's list": (Code.WEAK_DIGEST, lambda: listed(deb())),
    "dpkg-sig's list, changed": (Code.DIGEST_MISMATCH, lambda: edited(
        listed(deb()), "data.tar.gz", tar(("a", b"b")))),
    "dpkg-sig's list without data": (Code.SLOT_MISSING, lambda: listed(
        deb(), listing(deb(), without="data.tar.gz"))),
    "dpkg-sig's list of more": (Code.DIGEST_MISMATCH, lambda: listed(
        deb(), listing(deb(("more", b""))))),
    "dpkg-sig's list by another": (Code.SIGNATURE_MISMATCH,
                                   lambda: listed(deb()).replace(b"Version: 4", b"Version: 5")),
    "dpkg-sig's list in another role": (Code.ATTRIBUTE_RULE, lambda: renamed(
        listed(deb()), "_gpgbuilder", "_gpgorigin")),
    "text around dpkg-sig's list": (Code.UNCOVERED_CONTENT, lambda: with_member(
        deb(), "_gpgbuilder", b"pay\n" + clear(listing(deb()), key()))),
    "another line in dpkg-sig's list": (Code.MALFORMED, lambda: listed(
        deb(), listing(deb()) + b"\tpay\n")),
    "spaces in dpkg-sig's list": (Code.AMBIGUOUS, lambda: listed(deb(), listing(deb()) + b" \n")),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, tmp_path: Path) -> None:
    code, make = REFUSED[name]
    verdict = judged(make(), tmp_path)
    assert (verdict.outcome is Outcome.ACCEPTED, verdict.cause) == (False, code), verdict.findings


def test_a_moved_border_is_found_without_packing(tmp_path: Path) -> None:
    """Zeros end a tar archive: one more of them could be either member's."""
    plain = signed(deb(packed=""))
    assert judged(plain, tmp_path).outcome is Outcome.ACCEPTED
    for by in (-512, -1, 1, 512, 1536):
        assert judged(moved(plain, by), tmp_path).outcome is not Outcome.ACCEPTED


def test_several_signers_and_dpkg_sig_beside_them(tmp_path: Path) -> None:
    data = deb()
    both = signed(data, by=key("p256")) + member("_gpgmaint", signature(data, key()))
    assert judged(both, tmp_path, key()).outcome is Outcome.ACCEPTED
    assert judged(both, tmp_path, key(), key("p256")).outcome is Outcome.ACCEPTED
    beside = listed(data) + member("_gpgorigin", signature(data, key()))
    verdict = judged(beside, tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
    assert verdict.judged == 1
    wrong = listed(data, listing(deb(packed="xz"))) + member("_gpgorigin", signature(data, key()))
    assert judged(wrong, tmp_path).outcome is Outcome.REJECTED


def test_a_role_decides_nothing(tmp_path: Path) -> None:
    for role in ("origin", "maint", "archive", "vendor"):
        assert judged(renamed(GOOD, "_gpgorigin", f"_gpg{role}"), tmp_path).cause is None


def test_names_with_a_slash_are_the_same_names(tmp_path: Path) -> None:
    """GNU ar ends names so; dpkg reads both."""
    slashed = MAGIC + b"".join(
        header(f"{name}/", len(body)) + body + b"\n" * (len(body) % 2) for name, body in split(GOOD)
    )
    assert judged(slashed, tmp_path).outcome is Outcome.ACCEPTED


def test_what_nothing_covers_is_named() -> None:
    artifact = FORMAT.parse(BytesSource(NAME, GOOD), ParseOptions())
    assert all(region.exempt for region in artifact.regions)
    assert {one.what for one in artifact.regions} >= {"_gpgorigin"}
    computed = FORMAT.digests(artifact, wanted_slots(artifact) | {("nowhere", "sha256")})
    assert set(computed) == {("part:package:1", "sha256")}


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    source = BytesSource(NAME, GOOD)
    layout = _deb_layout.read_layout(source)
    for name, value in (("MAX_CONTROL", 100), ("MAX_PARAGRAPH", 10)):
        with monkeypatch.context() as patched:
            patched.setattr(_deb_layout, name, value)
            with pytest.raises(LimitError):
                _deb_layout.read_control(source, layout)
    bomb = lzma.compress(bytes(1 << 20))
    packed = archive(("debian-binary", b"2.0\n"), ("control.tar.xz", bomb),
                     ("data.tar.xz", tar(packed="xz")))  # fmt: skip
    monkeypatch.setattr(_deb_layout, "MAX_CONTROL", 1 << 16)
    with pytest.raises(LimitError):
        FORMAT.parse(BytesSource(NAME, signed(packed)), ParseOptions())
    monkeypatch.setattr(_deb_signature, "MAX_OCTETS", 10)
    with pytest.raises(LimitError):
        FORMAT.parse(source, ParseOptions())


@given(st.integers(0, len(GOOD)), st.binary(max_size=40))
def test_nothing_but_refusals_comes_of_rubbish(at: int, data: bytes) -> None:
    for one in (GOOD[:at] + data, GOOD[:at] + data + GOOD[at:]):
        try:
            artifact = FORMAT.parse(BytesSource(NAME, one), ParseOptions())
            FORMAT.digests(artifact, wanted_slots(artifact))
        except BadInputError:
            continue


# --- signing -------------------------------------------------------------------------


def by_us(data: bytes, role: str = "", existing: Existing = Existing.REFUSE) -> bytes:
    options = {"role": role} if role else {}
    return sign_bytes(NAME, data, held=True, options=options, existing=existing)


def names(data: bytes) -> list[str]:
    return [name for name, _ in split(data)][3:]


def test_roles() -> None:
    first = by_us(deb())
    assert names(first) == ["_gpgorigin"]
    both = by_us(first, "maint", Existing.NESTED)
    assert names(both) == ["_gpgorigin", "_gpgmaint"]
    assert names(by_us(both, "archive", Existing.REPLACE)) == ["_gpgarchive"]
    with pytest.raises(NotSignableError, match="one of each role"):
        by_us(both, "maint", Existing.NESTED)
    with pytest.raises(NotSignableError, match="origin or maint or archive"):
        by_us(deb(), "builder")
    with pytest.raises(NotSignableError, match="a signature"):
        by_us(first)


def test_what_could_not_be_judged_is_not_signed() -> None:
    with pytest.raises(NotSignableError, match=r"pay\.sh"):
        by_us(with_member(deb(), "pay.sh"))
    with pytest.raises(MalformedError):
        by_us(edited(deb(), "control.tar.gz", b"\x1f\x8b\x08"))


def test_signatures_are_put_back_under_their_names() -> None:
    both = by_us(by_us(deb(), "maint"), "origin", Existing.NESTED)
    source = BytesSource(NAME, both)
    held = FORMAT.envelopes(source)
    again = b"".join(pieces(Patched(source, FORMAT.embed(source, held))))
    assert again == both
    bare = BytesSource(NAME, deb())
    there = b"".join(pieces(Patched(bare, FORMAT.embed(bare, held))))
    assert names(there) == ["_gpgorigin", "_gpgmaint"]
    with pytest.raises(NotSignableError):
        FORMAT.embed(bare, held * 2)
