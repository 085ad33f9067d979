"""Detached OpenPGP signatures, and the certificates they are judged by (THREATS 44)."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signward.cli.commands import run
from signward.envelopes.openpgp import MAX_OCTETS, open_detached
from signward.envelopes.openpgp_cert import binary, keys_of, read_certificate, split_keyring
from signward.envelopes.openpgp_packets import crc24, dearmour, packets
from signward.envelopes.openpgp_text import LineEnds, TextHasher
from signward.errors import BadInputError, EvidenceError, MalformedError
from signward.findings import Code, Effect
from signward.policy.record import record
from signward.state import OpenPgpCert, Outcome, TrustedSignature, Verdict
from signward.verbs.context import Context
from signward.verbs.detached import form_of
from signward.verbs.keyrings import load_keyrings
from signward.verbs.options import Options
from signward.verbs.verify import assess_as
from signward.wire.source import BytesSource
from tests.builders import openpgp as pgp
from tests.builders.openpgp import BORN, Key

CONTENT = b"any file at all" * 1000
NOW = datetime(2024, 6, 1, tzinfo=UTC)
LATER = BORN + timedelta(days=100)
KINDS = ("rsa", "dsa", "p256", "eddsa", "ed25519", "ed448")


@cache
def key(kind: str = "ed25519", version: int = 4, which: int = 0) -> Key:
    return Key(kind, version)


def signature(by: Key, content: bytes = CONTENT, **how: Any) -> bytes:
    return pgp.packet(2, by.sign(content, **{"made": LATER, **how}))


def judged(
    ring: bytes, blob: bytes, folder: Path, content: bytes = CONTENT, **options: Any
) -> Verdict:
    path = folder / "ring.gpg"
    path.write_bytes(ring)
    context = Context(Options(**{"keyrings": (str(path),), "at": NOW, **options}))
    return assess_as(form_of(blob), BytesSource("file.bin", content), context)


def cause(*arguments: Any, **options: Any) -> Code | None:
    return judged(*arguments, **options).cause


@pytest.mark.parametrize("digest", ["sha256", "sha512"])
@pytest.mark.parametrize(
    ("kind", "version"),
    [(kind, version) for kind in KINDS for version in (4, 6) if (kind, version) != ("eddsa", 6)],
)
def test_every_kind_of_key(kind: str, version: int, digest: str, tmp_path: Path) -> None:
    own = key(kind, version)
    ring = pgp.certificate(own, pgp.direct(own), pgp.user_id(own))
    verdict = judged(ring, signature(own, digest=digest), tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
    made = verdict.signatures[0]
    assert isinstance(made, TrustedSignature)
    assert made.judged_at == LATER
    assert isinstance(made.basis, OpenPgpCert)
    assert made.basis.fingerprint == own.fingerprint.hex()
    publisher = verdict.publisher
    assert publisher is not None
    assert publisher.name == "Ann <ann@example.org>"
    assert publisher.identity == f"openpgp:{own.fingerprint.hex()}"
    assert cause(ring, signature(own, digest=digest), tmp_path, CONTENT + b"x") is (
        Code.SIGNATURE_MISMATCH
    )


def test_an_rsa_value_that_begins_with_zeros(tmp_path: Path) -> None:
    own = key("rsa")
    made = (own.sign(CONTENT, made=LATER + timedelta(seconds=i)) for i in range(10_000))
    full = max(len(next(made)) for _ in range(8))
    short = next(body for body in made if len(body) < full)
    assert cause(pgp.certificate(own), pgp.packet(2, short), tmp_path) is None


def test_a_record_tells_the_holder(tmp_path: Path) -> None:
    own = key()
    told = record(judged(pgp.certificate(own), signature(own), tmp_path)).signatures[0]
    assert told.signer is None
    assert told.path is None
    assert told.holder is not None
    assert told.holder.identity == told.holder.key == own.fingerprint.hex()
    assert told.holder.names == ("Ann <ann@example.org>",)


def test_no_keyring_and_another_keyring(tmp_path: Path) -> None:
    own, other = key(), key(which=1)
    assert cause(pgp.certificate(other), signature(own), tmp_path) is Code.KEY_MISSING
    assert cause(b"", signature(own), tmp_path, keyrings=()) is Code.KEY_MISSING


def test_a_key_id_finds_keys_and_only_the_value_tells_whose_it_is(tmp_path: Path) -> None:
    own, other = key(), key(which=1)
    by_id = signature(own, issuer=pgp.subpacket(16, own.fingerprint[-8:]))
    assert cause(pgp.certificate(own), by_id, tmp_path) is None
    lie = signature(other, issuer=pgp.subpacket(16, own.fingerprint[-8:]))
    assert cause(pgp.certificate(own), lie, tmp_path) is Code.SIGNATURE_MISMATCH
    lie = signature(other, issuer=own.issuer)
    assert cause(pgp.certificate(own), lie, tmp_path) is Code.SIGNATURE_MISMATCH
    assert cause(pgp.certificate(own), signature(own, issuer=b""), tmp_path) is Code.KEY_MISSING


@pytest.mark.parametrize("option", ["authenticode", "uefi", "linux-kernel", "pinned"])
def test_another_profile_never_trusts_a_keyring(option: str, tmp_path: Path) -> None:
    own = key()
    stores: dict[str, Any] = {} if option == "pinned" else {"anchors": ()}
    verdict = judged(pgp.certificate(own), signature(own), tmp_path, profile=option, **stores)
    expected = Outcome.ACCEPTED if option == "pinned" else Outcome.INDETERMINATE
    assert verdict.outcome is expected


Made = Callable[[Key], tuple[bytes, bytes]]
_DAY = 86400


def _by(own: Key, *parts: bytes, **how: Any) -> tuple[bytes, bytes]:
    return pgp.certificate(own, *parts), signature(own, **how)


REFUSED: dict[str, tuple[Code, Made]] = {
    "sha1": (Code.WEAK_DIGEST, lambda k: _by(k, digest="sha1")),
    "md5": (Code.WEAK_DIGEST, lambda k: _by(k, digest="md5")),
    "version 3": (
        Code.MALFORMED,
        lambda k: (pgp.certificate(k), pgp.packet(2, b"\x03" + signature(k)[7:])),
    ),
    "future": (Code.NOT_YET_VALID, lambda k: _by(k, made=NOW + timedelta(seconds=1))),
    "ended": (Code.EXPIRED, lambda k: _by(k, more=(pgp.seconds(3, _DAY),))),
    "before its key": (Code.NOT_YET_VALID, lambda k: _by(k, made=BORN - timedelta(days=1))),
    "type": (Code.ATTRIBUTE_RULE, lambda k: _by(k, kind=0x10)),
    "critical notation": (
        Code.ATTRIBUTE_RULE,
        lambda k: _by(k, more=(pgp.subpacket(20, bytes(8), critical=True),)),
    ),
    "critical unknown": (
        Code.ATTRIBUTE_RULE,
        lambda k: _by(k, more=(pgp.subpacket(100, b"?", critical=True),)),
    ),
    "key ended": (
        Code.EXPIRED,
        lambda k: _by(k, pgp.user_id(k, more=(pgp.flags(3), pgp.seconds(9, _DAY)))),
    ),
    "no user id, no word": (Code.CERTIFICATE_SIGNATURE, lambda k: _by(k, pgp.packet(13, b"x"))),
    "somebody else's word": (
        Code.CERTIFICATE_SIGNATURE,
        lambda k: _by(k, pgp.user_id(key(which=1), issuer=k.issuer)),
    ),
    "word about another name": (
        Code.CERTIFICATE_SIGNATURE,
        lambda k: _by(k, pgp.user_id(k, b"Ann").replace(b"Ann", b"Eve")),
    ),
    "word with SHA-1 after the cut-off": (
        Code.WEAK_DIGEST,
        lambda k: _by(k, pgp.user_id(k, digest="sha1")),
    ),
    "word of the future": (
        Code.CERTIFICATE_SIGNATURE,
        lambda k: _by(k, pgp.user_id(k, made=NOW + timedelta(1))),
    ),
    "word with a critical unknown": (
        Code.CERTIFICATE_SIGNATURE,
        lambda k: _by(k, pgp.user_id(k, more=(pgp.subpacket(99, b"", critical=True),))),
    ),
    "not for signing": (Code.WRONG_USAGE, lambda k: _by(k, pgp.user_id(k, more=(pgp.flags(1),)))),
    "revoked, no reason": (
        Code.REVOKED,
        lambda k: _by(k, pgp.revocation(k, k.hashed, made=NOW), pgp.user_id(k)),
    ),
    "revoked as compromised, since": (
        Code.REVOKED,
        lambda k: _by(k, pgp.revocation(k, k.hashed, reason=2, made=NOW), pgp.user_id(k)),
    ),
    "retired before": (
        Code.REVOKED,
        lambda k: _by(k, pgp.revocation(k, k.hashed, reason=3, made=LATER), pgp.user_id(k)),
    ),
    "revoked with SHA-1": (
        Code.REVOKED,
        lambda k: _by(k, pgp.revocation(k, k.hashed, digest="sha1"), pgp.user_id(k)),
    ),
    "revoked behind everything else": (
        Code.REVOKED,
        lambda k: _by(k, pgp.user_id(k), pgp.subkey(k, key(which=2)),
                      pgp.revocation(k, k.hashed, made=NOW)),
    ),
    "revoked with a digest that is not known": (
        Code.REVOCATION_UNKNOWN,
        lambda k: _by(k, _of_ripemd(pgp.revocation(k, k.hashed)), pgp.user_id(k)),
    ),
    "revoked by whom its holder entitled before a newer word": (
        Code.REVOCATION_UNKNOWN,
        lambda k: _by(
            k, pgp.direct(k, more=(pgp.flags(3), pgp.subpacket(12, bytes([0x80, 27]) + bytes(20)))),
            pgp.direct(k, made=LATER), pgp.revocation(key(which=1), k.hashed),
        ),
    ),
    "every user id withdrawn": (
        Code.CERTIFICATE_SIGNATURE,
        lambda k: _by(k, pgp.user_id(k, b"A"), pgp.revocation(
            k, k.hashed + b"\xb4\0\0\0\x01A", kind=0x30, made=LATER)),
    ),
    "revoked by whom its holder entitled": (
        Code.REVOCATION_UNKNOWN,
        lambda k: _by(
            k, pgp.direct(k, more=(pgp.flags(3), pgp.subpacket(12, bytes([0x80, 27]) + bytes(20)))),
            pgp.revocation(key(which=1), k.hashed),
        ),
    ),
}  # fmt: skip


def _of_ripemd(packet: bytes) -> bytes:
    """A signature's packet, its digest another: RIPEMD-160, which older keys are revoked with."""
    body = bytearray(next(packets(packet)).body)
    body[3] = 3
    return pgp.packet(2, bytes(body))


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_accepted(case: str, tmp_path: Path) -> None:
    code, make = REFUSED[case]
    ring, blob = make(key())
    verdict = judged(ring, blob, tmp_path)
    assert verdict.cause is code, verdict.findings
    unknown = (Code.UNSUPPORTED_ALGORITHM, Code.REVOCATION_UNKNOWN)
    wanted = Outcome.INDETERMINATE if code in unknown else Outcome.REJECTED
    assert verdict.outcome is wanted


TAKEN: dict[str, Made] = {
    "retired since": lambda k: _by(
        k, pgp.revocation(k, k.hashed, reason=3, made=NOW), pgp.user_id(k)
    ),
    "revoked by a stranger": lambda k: _by(
        k, pgp.revocation(key(which=1), k.hashed, issuer=k.issuer), pgp.user_id(k)
    ),
    "expiration moved since": lambda k: _by(
        k,
        pgp.user_id(k, more=(pgp.flags(3), pgp.seconds(9, _DAY)))
        + pgp.user_id(k, made=NOW)[len(pgp.packet(13, b"Ann <ann@example.org>")) :],
    ),
    "SHA-1 before the cut-off": lambda k: _by(
        k, pgp.user_id(k, digest="sha1", made=datetime(2015, 1, 1, tzinfo=UTC))
    ),
    "ended since": lambda k: _by(
        k, pgp.user_id(k, more=(pgp.flags(3), pgp.seconds(9, 200 * _DAY)))
    ),
    "no flags": lambda k: _by(k, pgp.user_id(k, more=())),
    "a notation": lambda k: _by(k, more=(pgp.subpacket(20, bytes(8)),)),
    "a word of before beside one of the future": lambda k: _by(
        k, pgp.user_id(k), pgp.user_id(k, made=NOW + timedelta(1), more=(pgp.flags(1),))
    ),
}


@pytest.mark.parametrize("case", TAKEN)
def test_what_is_accepted(case: str, tmp_path: Path) -> None:
    ring, blob = TAKEN[case](key())
    assert cause(ring, blob, tmp_path) is None


def test_what_was_signed_before_a_key_retired_is_told(tmp_path: Path) -> None:
    verdict = judged(*TAKEN["retired since"](key()), tmp_path)
    assert (Code.SIGNED_BEFORE_REVOCATION, Effect.WARN) in {
        (finding.code, finding.effect) for finding in verdict.findings
    }


def test_weak_keys(tmp_path: Path) -> None:
    weak = key("weak")
    assert cause(pgp.certificate(weak), signature(weak), tmp_path) is Code.WEAK_KEY
    own = key()
    ring = pgp.certificate(weak, pgp.user_id(weak), pgp.subkey(weak, own))
    assert cause(ring, signature(own), tmp_path) is Code.WEAK_KEY


def test_a_primary_user_id_is_the_name_and_withdrawn_ones_are_none(tmp_path: Path) -> None:
    own = key()
    withdrawn = pgp.revocation(own, own.hashed + b"\xb4\0\0\0\x01C", kind=0x30, made=LATER)
    ring = pgp.certificate(
        own,
        pgp.user_id(own, b"A", made=LATER),
        pgp.user_id(own, b"\xff B", more=(pgp.flags(3), pgp.subpacket(25, b"\x01"))),
        pgp.user_id(own, b"C") + withdrawn,
        pgp.packet(13, b"nobody's word"),
    )
    basis = judged(ring, signature(own), tmp_path).signatures[0].basis  # type: ignore[union-attr]
    assert isinstance(basis, OpenPgpCert)
    assert basis.user_ids == ("\\xff B", "A")


# --- subkeys -------------------------------------------------------------------------


def _with_subkey(own: Key, sub: Key, **how: Any) -> bytes:
    return pgp.certificate(own, pgp.user_id(own, more=(pgp.flags(1),)), pgp.subkey(own, sub, **how))


SUBKEYS: dict[str, tuple[Code, Callable[[Key, Key], bytes]]] = {
    "no back signature": (
        Code.CERTIFICATE_SIGNATURE, lambda k, s: _with_subkey(k, s, back=b"")),
    "back signature by another": (
        Code.CERTIFICATE_SIGNATURE,
        lambda k, s: _with_subkey(k, s, back=key(which=5).sign(k.hashed + s.hashed, kind=0x19))),
    "back signature for another": (
        Code.CERTIFICATE_SIGNATURE,
        lambda k, s: _with_subkey(
            k, s, back=s.sign(key(which=5).hashed + s.hashed, kind=0x19))),
    "back signature of another type": (
        Code.CERTIFICATE_SIGNATURE,
        lambda k, s: _with_subkey(k, s, back=s.sign(k.hashed + s.hashed, kind=0x18))),
    "binding by another": (
        Code.CERTIFICATE_SIGNATURE,
        lambda k, s: pgp.certificate(k, pgp.user_id(k), pgp.subkey(key(which=5), s))),
    "not for signing": (
        Code.WRONG_USAGE, lambda k, s: _with_subkey(k, s, more=(pgp.flags(0x0C),))),
    "ended": (
        Code.EXPIRED,
        lambda k, s: _with_subkey(k, s, more=(pgp.flags(2), pgp.seconds(9, _DAY)))),
    "binding ended": (
        Code.CERTIFICATE_SIGNATURE,
        lambda k, s: _with_subkey(k, s, more=(pgp.flags(2), pgp.seconds(3, _DAY)))),
    "binding with SHA-1": (
        Code.WEAK_DIGEST, lambda k, s: _with_subkey(k, s, digest="sha1")),
    "revoked": (
        Code.REVOKED,
        lambda k, s: _with_subkey(k, s) + pgp.revocation(k, k.hashed + s.hashed, kind=0x28)),
    "primary revoked": (
        Code.REVOKED,
        lambda k, s: pgp.certificate(
            k, pgp.revocation(k, k.hashed), pgp.user_id(k), pgp.subkey(k, s))),
    "primary ended": (
        Code.EXPIRED,
        lambda k, s: pgp.certificate(
            k, pgp.user_id(k, more=(pgp.flags(1), pgp.seconds(9, _DAY))), pgp.subkey(k, s))),
}  # fmt: skip


def test_a_subkey_revoked_with_a_digest_that_is_not_known(tmp_path: Path) -> None:
    own, sub = key(), key(which=2)
    withdrawn = _of_ripemd(pgp.revocation(own, own.hashed + sub.hashed, kind=0x28))
    ring = _with_subkey(own, sub) + withdrawn
    assert cause(ring, signature(sub), tmp_path) is Code.REVOCATION_UNKNOWN


@pytest.mark.parametrize("case", SUBKEYS)
def test_subkeys_that_do_not_count(case: str, tmp_path: Path) -> None:
    code, make = SUBKEYS[case]
    own, sub = key(), key(which=2)
    verdict = judged(make(own, sub), signature(sub), tmp_path)
    assert verdict.cause is code, verdict.findings
    assert verdict.outcome is Outcome.REJECTED


def _revoked_subkey(own: Key, sub: Key) -> bytes:
    return pgp.subkey(own, sub) + pgp.revocation(own, own.hashed + sub.hashed, kind=0x28)


def test_a_subkey_that_stands_twice_is_revoked_by_either(tmp_path: Path) -> None:
    own, sub = key(), key(which=2)
    parts = pgp.subkey(own, sub), _revoked_subkey(own, sub)
    for both in (parts, parts[::-1]):
        ring = pgp.certificate(own, pgp.user_id(own), *both)
        assert cause(ring, signature(sub), tmp_path) is Code.REVOKED


def test_a_user_id_that_stands_twice_is_withdrawn_by_either(tmp_path: Path) -> None:
    own, text = key(), b"Ann"
    over = own.hashed + b"\xb4" + len(text).to_bytes(4, "big") + text
    withdrawn = pgp.user_id(own, text) + pgp.revocation(own, over, kind=0x30, made=LATER)
    ring = pgp.certificate(own, pgp.user_id(own, text), withdrawn)
    assert cause(ring, signature(own), tmp_path) is Code.CERTIFICATE_SIGNATURE


def test_an_older_copy_of_a_certificate_hides_no_revocation(tmp_path: Path) -> None:
    own, sub = key(), key(which=2)
    old = pgp.certificate(own, pgp.user_id(own), pgp.subkey(own, sub))
    for new in (
        pgp.certificate(own, pgp.user_id(own), _revoked_subkey(own, sub)),
        pgp.certificate(own, pgp.revocation(own, own.hashed), pgp.user_id(own)),
    ):
        for ring in (old + new, new + old):
            assert cause(ring, signature(sub), tmp_path) is Code.REVOKED
        (tmp_path / "new.gpg").write_bytes(new)
        rings = str(tmp_path / "ring.gpg"), str(tmp_path / "new.gpg")
        verdict = judged(old, signature(sub), tmp_path, keyrings=rings)
        assert verdict.cause is Code.REVOKED, verdict.findings


def test_a_revocation_behind_many_that_fit_nothing_is_not_overlooked(tmp_path: Path) -> None:
    own, stranger = key(), key("p256")
    made = [LATER + timedelta(seconds=second) for second in range(64)]
    flood = b"".join(pgp.revocation(stranger, own.hashed, made=one) for one in made)
    named = b"".join(
        pgp.revocation(stranger, own.hashed, made=one, issuer=own.issuer) for one in made
    )
    withdrawn = pgp.revocation(own, own.hashed)
    ring = pgp.certificate(own, flood, withdrawn, pgp.user_id(own))
    assert cause(ring, signature(own), tmp_path) is Code.REVOKED
    ring = pgp.certificate(own, named, withdrawn, pgp.user_id(own))
    verdict = judged(ring, signature(own), tmp_path)
    assert verdict.outcome is not Outcome.ACCEPTED
    assert verdict.cause is Code.LIMIT_EXCEEDED, verdict.findings


@pytest.mark.parametrize("version", [4, 6])
def test_a_subkey_both_agreed_to(version: int, tmp_path: Path) -> None:
    own, sub = key(version=version), key("p256", version)
    parts = (pgp.direct(own), pgp.user_id(own), pgp.subkey(own, sub))
    verdict = judged(pgp.certificate(own, *parts), signature(sub), tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
    basis = verdict.signatures[0].basis  # type: ignore[union-attr]
    assert isinstance(basis, OpenPgpCert)
    assert (basis.fingerprint, basis.key) == (own.fingerprint.hex(), sub.fingerprint.hex())


def test_a_key_of_another_version_is_no_signer(tmp_path: Path) -> None:
    own = key(version=6)
    ring = pgp.certificate(own, pgp.direct(own), pgp.user_id(own))
    assert cause(ring, signature(own, version=4), tmp_path) is Code.ALGORITHM_INCONSISTENT


# --- several signatures, and bytes that are none -------------------------------------


def test_several_signatures(tmp_path: Path) -> None:
    own, other = key(), key(which=1)
    ring, both = pgp.certificate(own), signature(own) + signature(other)
    assert cause(ring, both, tmp_path) is None, "who is not asked for says nothing"
    assert cause(pgp.certificate(key(which=2)), both, tmp_path) is Code.KEY_MISSING
    assert cause(ring + pgp.certificate(other), both, tmp_path) is None
    bad = signature(own) + signature(other, b"another file")
    assert cause(ring + pgp.certificate(other), bad, tmp_path) is Code.SIGNATURE_MISMATCH


def armour(label: str, octets: bytes, checksum: int | None = None) -> bytes:
    crc = crc24(octets) if checksum is None else checksum
    lines = [b64encode(octets[i : i + 48]).decode() for i in range(0, len(octets), 48)]
    text = "\n".join([f"-----BEGIN PGP {label}-----", "Comment: x", "", *lines,
                      "=" + b64encode(crc.to_bytes(3, "big")).decode(),
                      f"-----END PGP {label}-----", ""])  # fmt: skip
    return text.encode()


def test_armour(tmp_path: Path) -> None:
    own = key()
    ring = b"a key:\n" + armour("PUBLIC KEY BLOCK", pgp.certificate(own))
    blob = armour("SIGNATURE", signature(own))
    assert cause(ring, blob, tmp_path) is None
    assert cause(ring, blob.replace(b"\n", b"\r\n"), tmp_path) is None
    wrong = (
        armour("SIGNATURE", signature(own), 0), b"text before\n" + blob, blob + blob,
        blob.replace(b"SIGNATURE", b"MESSAGE"), blob.replace(b"\n\n", b"\n"), blob[:-10],
        blob.replace(b"Comment: x\n\n", b"Comment: x\n\n!"),
    )  # fmt: skip
    for one in wrong:
        assert cause(ring, one, tmp_path) is Code.MALFORMED


@pytest.mark.parametrize(
    "blob",
    [
        b"\x88", b"\xc2\xff\0\0", b"\x8b\0", b"\xc2\xe1" + bytes(2), pgp.packet(6, b""),
        b"\x88\x05\x04\0\0\0\0", pgp.packet(2, b""),
        pgp.packet(2, bytes([4, 0, 27, 8, 0xFF, 0xFF])),
        pgp.packet(2, bytes([4, 0, 27, 8, 0, 0, 0, 0, 0, 0]) + bytes(64)),
    ],
)  # fmt: skip
def test_octets_that_are_no_signature(blob: bytes) -> None:
    with pytest.raises(BadInputError):
        open_detached(blob, "file")


def told_bits(blob: bytes, bits: int, front: bytes = b"") -> bytes:
    """An RSA signature of 2048 bits, its count of bits another and octets put in front."""
    at = len(blob) - 256 - 2
    return pgp.packet(2, blob[:at] + bits.to_bytes(2, "big") + front + blob[at + 2 :])


def short_value(own: pgp.Key) -> bytes:
    """A signature whose number has 2047 bits, in 256 octets."""
    blobs = (own.sign(CONTENT, made=LATER + timedelta(seconds=one)) for one in range(999))
    return next(blob for blob in blobs if blob[-258:-256] == b"\x07\xff")


def test_numbers_written_in_two_ways(tmp_path: Path) -> None:
    own = key("rsa")
    blob, ring = short_value(own), pgp.certificate(own)
    assert cause(ring, told_bits(blob, 2046), tmp_path) is Code.MALFORMED
    assert cause(ring, told_bits(blob, 2055, b"\0"), tmp_path) is Code.MALFORMED
    longer = told_bits(blob, 2056, b"\0")
    assert cause(ring, longer, tmp_path) is Code.SIGNATURE_MISMATCH


def test_an_rsa_number_counted_in_the_octets_of_the_modulus(tmp_path: Path) -> None:
    """As Go's writers count, whose signatures GitHub's commits and many releases bear."""
    own = key("rsa")
    blob = short_value(own)
    assert cause(pgp.certificate(own), told_bits(blob, 2048), tmp_path) is None


def test_no_flipped_octet_lets_another_file_in(tmp_path: Path) -> None:
    own, ring = key(), pgp.certificate(key())
    blob = signature(own)
    path = tmp_path / "ring"
    path.write_bytes(ring)
    context = Context(Options(keyrings=(str(path),), at=NOW))
    for offset in range(len(blob)):
        changed = bytearray(blob)
        changed[offset] ^= 1 << offset % 8
        verdict = assess_as(form_of(bytes(changed)), BytesSource("f", CONTENT + b"!"), context)
        assert verdict.outcome is not Outcome.ACCEPTED, offset


@pytest.mark.parametrize("line", [b"-----BEGIN PGP SIGNATURE-----\n", b"a:\n", b"\n"])
def test_armour_is_read_in_one_pass(line: bytes) -> None:
    """Frames in frames, and headers, took time by the square of their number."""
    head = b"-----BEGIN PGP SIGNATURE-----\n"
    data = head + line * ((MAX_OCTETS - 100) // len(line)) + b"-----END PGP SIGNATURE-----\n"
    started = time.process_time()
    with pytest.raises(MalformedError):
        open_detached(data, "file")
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    "text",
    [
        b"-----END PGP SIGNATURE-----\n",
        b"-----BEGIN PGP SIGNATURE-----\n\n",
        b"-----BEGIN PGP SIGNATURE-----\n\n-----END PGP MESSAGE-----\n",
        b"-----BEGIN PGP A-----\n-----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----\n",
    ],
)
def test_frames_that_no_block_has(text: bytes) -> None:
    with pytest.raises(MalformedError, match=r"RFC 9580 6\.2"):
        dearmour(text, "SIGNATURE", alone=False)


@given(st.binary(max_size=200))
def test_any_octets(data: bytes) -> None:
    readers = (lambda d: open_detached(d, "file"), lambda d: list(split_keyring(d)),
               lambda d: list(packets(d)), read_certificate, binary, keys_of)  # fmt: skip
    for read in readers:
        try:
            read(data)
        except BadInputError:
            continue


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_certificate_with_an_octet_changed(offset: int, octet: int) -> None:
    own, sub = key(), key("p256")
    data = bytearray(pgp.certificate(own, pgp.user_id(own), pgp.subkey(own, sub)))
    data[offset % len(data)] = octet
    for one in (bytes(data), bytes(data[: offset % len(data)])):
        try:
            certificates = list(split_keyring(one))
        except BadInputError:
            continue
        for certificate in certificates:
            keys_of(certificate)


# --- keyrings ------------------------------------------------------------------------


def test_folders_of_keyrings(tmp_path: Path) -> None:
    folder = tmp_path / "keyrings"
    folder.mkdir()
    (folder / "a.gpg").write_bytes(pgp.certificate(key()))
    (folder / "b.asc").write_bytes(armour("PUBLIC KEY BLOCK", pgp.certificate(key(which=1))))
    (folder / "README").write_bytes(b"text")
    ring = load_keyrings((str(folder),))
    assert {one.key_id for one in ring.keys} == {key().fingerprint, key(which=1).fingerprint}
    assert sorted(ring.files.values()) == [str(folder / "a.gpg"), str(folder / "b.asc")]


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (bytes(8) + b"KBXf" + bytes(20), "GnuPG's own key database"),
        (pgp.packet(5, b"\x04"), "a secret key"),
        (b"neither", "octet 0x6e"),
        (pgp.packet(10, b"PGP"), "no public key"),
        (pgp.packet(13, b"x"), "packet 13 first"),
        (b"", "no public key"),
    ],
)
def test_files_that_are_no_keyring(data: bytes, found: str, tmp_path: Path) -> None:
    path = tmp_path / "ring"
    path.write_bytes(data)
    with pytest.raises(EvidenceError, match=found):
        load_keyrings((str(path),))


def test_a_folder_without_keyrings(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="found 0 keyrings"):
        load_keyrings((str(tmp_path),))


def test_a_certificate_that_cannot_be_read_leaves_the_others(tmp_path: Path) -> None:
    own = key()
    ring = pgp.packet(6, b"\x03" + bytes(20)) + pgp.certificate(own)
    assert cause(ring, signature(own), tmp_path) is None


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = key()
    for name, data in (("f", CONTENT), ("f.sig", signature(own)), ("k", pgp.certificate(own))):
        (tmp_path / name).write_bytes(data)
    asked = ["verify", "--detached", str(tmp_path / "f.sig"), str(tmp_path / "f")]
    assert run([*asked, "--keyring", str(tmp_path / "k")]) == 0
    assert "Ann <ann@example.org>" in capsys.readouterr().out
    assert run(asked) == 3
    assert "key-missing" in capsys.readouterr().out
    publisher = ["--publisher", f"openpgp:{own.fingerprint.hex()}"]
    assert run([*asked, "--keyring", str(tmp_path / "k"), *publisher]) == 0
    assert run([*asked, "--keyring", str(tmp_path / "k"), "--publisher", "Eve"]) == 1


# --- text, and what the value does not cover ---------------------------------------------


def text_signature(own: Key, content: bytes) -> bytes:
    canonical = content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return signature(own, canonical, kind=0x01)


@pytest.mark.parametrize("text", [b"", b"no line's end", b"one\r\ntwo\r\n", b"\r\n" * 9])
def test_text_of_which_every_octet_is_signed(text: bytes, tmp_path: Path) -> None:
    own = key()
    ring = pgp.certificate(own)
    verdict = judged(ring, text_signature(own, text), tmp_path, text)
    assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
    assert cause(ring, text_signature(own, text), tmp_path, text + b"!") is Code.SIGNATURE_MISMATCH


@pytest.mark.parametrize("text", [b"one\ntwo\n", b"one\r\ntwo\n", b"\n", b"#!/bin/sh\r\n\nx"])
def test_line_ends_that_are_not_signed(text: bytes, tmp_path: Path) -> None:
    own = key()
    ring, blob = pgp.certificate(own), text_signature(own, text)
    verdict = judged(ring, blob, tmp_path, text)
    assert (verdict.outcome, verdict.cause) == (
        Outcome.INDETERMINATE, Code.UNSUPPORTED_ALGORITHM,
    )  # fmt: skip
    assert "line endings are not signed" in str(verdict.findings)
    assert cause(ring, blob, tmp_path, text + b"!") is Code.SIGNATURE_MISMATCH


@pytest.mark.parametrize("text", [b"a lone \r", b"one\rtwo\r\n", b"one\r\r\ntwo\r\n"])
def test_a_lone_carriage_return_is_never_accepted(text: bytes, tmp_path: Path) -> None:
    own = key()
    for blob in (text_signature(own, text), signature(own, text, kind=0x01)):
        assert cause(pgp.certificate(own), blob, tmp_path, text) is not None


@given(st.lists(st.sampled_from([b"\r", b"\n", b"x", b"\r\n", b"\r\n"])), st.data())
def test_text_is_hashed_the_same_in_pieces(parts: list[bytes], data: Any) -> None:
    text = b"".join(parts)
    cut = data.draw(st.integers(0, len(text)))
    seen, ends = bytearray(), LineEnds()

    class Sink:
        def update(self, octets: memoryview) -> None:
            seen.extend(octets)

    hasher = TextHasher(Sink())
    for piece in (text[:cut], text[cut:]):
        hasher.update(piece)
        ends.update(piece)
    hasher.finish()
    assert bytes(seen) == text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    bare = text.replace(b"\r\n", b"")
    assert ends.signed is not (b"\r" in bare or b"\n" in bare) or b"\r\r\n" in text
    if ends.signed:
        assert bytes(seen) == text


@pytest.mark.parametrize("version", [4, 6])
def test_the_start_of_the_digest_must_be_told_right(version: int, tmp_path: Path) -> None:
    own = key("rsa", version)
    ring = pgp.certificate(own, pgp.direct(own), pgp.user_id(own))
    body = own.sign(CONTENT, made=LATER)
    unhashed = b"\0\0" if version == 4 else bytes(4)
    value = own.private.key_size // 8 + 2
    salt = 0 if version == 4 else 17
    at = len(body) - value - salt - 2
    assert body[at - len(unhashed) : at] == unhashed
    changed = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
    assert cause(ring, pgp.packet(2, body), tmp_path) is None
    verdict = judged(ring, pgp.packet(2, changed), tmp_path)
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.SIGNATURE_MISMATCH)
    assert "a digest said to begin with" in str(verdict.findings)
