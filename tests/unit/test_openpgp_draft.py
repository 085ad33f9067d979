"""Drafts of OpenPGP signatures: what comes of them is what our reader and gpgv take."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from signward.envelopes import Signer
from signward.envelopes.openpgp_cert import keys_of
from signward.envelopes.openpgp_draft import OpenPgpDraft, draft_openpgp
from signward.envelopes.openpgp_packets import armour, dearmour, packets, write_length, write_packet
from signward.envelopes.openpgp_signature import TEXT, read_signature
from signward.errors import NotSignableError
from signward.findings import Code
from signward.frozen import replace
from signward.keys._local import LocalKey
from signward.state import HeldKey, Outcome
from signward.verbs.context import Context
from signward.verbs.credential import algorithm_for
from signward.verbs.detached import form_of
from signward.verbs.options import Options
from signward.verbs.verify import assess_as
from signward.wire.source import BytesSource
from tests.builders import openpgp as pgp
from tests.builders.openpgp import Key

CONTENT = b"any file at all" * 1000
AT = datetime(2024, 5, 1, 12, 30, 15, 999, tzinfo=UTC)
KINDS = [("rsa", 4), ("p256", 4), ("eddsa", 4), ("ed25519", 4), ("rsa", 6), ("p256", 6),
         ("ed25519", 6)]  # fmt: skip


def certificate(own: Key) -> bytes:
    return pgp.certificate(own, pgp.direct(own), pgp.user_id(own))


def signer(own: Key, digest: str = "") -> tuple[Signer, LocalKey]:
    local = LocalKey("test", own.private)
    held = keys_of(certificate(own))[0]
    assert held.spki == local.public_key
    algorithm, content = algorithm_for(local.public_key, digest)
    return Signer(certificates=(), algorithm=algorithm, digest=content, holder=held), local


def drafted(who: Signer, content: bytes = CONTENT, **how: int) -> OpenPgpDraft:
    def feed(hashers: object) -> None:
        for hasher in hashers:  # type: ignore[attr-defined]
            hasher.update(content)

    return draft_openpgp(who, AT, feed, **how)


def signed(own: Key, content: bytes = CONTENT, digest: str = "", **how: int) -> bytes:
    who, local = signer(own, digest)
    draft = drafted(who, content, **how)
    return draft.seal(local.sign(draft.to_be_signed, draft.algorithm))


@pytest.mark.parametrize("digest", ["", "sha512"])
@pytest.mark.parametrize(("kind", "version"), KINDS)
def test_what_is_drafted_is_accepted(kind: str, version: int, digest: str, tmp_path: Path) -> None:
    own = Key(kind, version)
    (tmp_path / "ring").write_bytes(certificate(own))
    context = Context(Options(keyrings=(str(tmp_path / "ring"),)))
    blob = signed(own, digest=digest)
    for one in (blob, armour(blob, "SIGNATURE")):
        verdict = assess_as(form_of(one), BytesSource("file", CONTENT), context)
        assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
        assert verdict.signatures[0].judged_at == AT.replace(microsecond=0)  # type: ignore[union-attr]
        other = assess_as(form_of(one), BytesSource("file", CONTENT + b"!"), context)
        assert other.cause is Code.SIGNATURE_MISMATCH


@pytest.mark.parametrize(("kind", "version"), KINDS)
def test_what_the_packet_says(kind: str, version: int) -> None:
    own = Key(kind, version)
    (packet,) = packets(signed(own, digest="sha512"))
    made = read_signature(packet.body)
    assert (made.version, made.algorithm.digest) == (version, "sha512")
    assert [one.kind for one in made.hashed] == [2, 33]
    assert made.told(33) == bytes([version]) + own.fingerprint
    assert [one.kind for one in made.unhashed] == ([16] if version == 4 else [])
    assert made.issuer == (own.fingerprint, own.fingerprint[-8:] if version == 4 else b"")


def test_a_salt_is_never_the_same() -> None:
    who, _ = signer(Key("ed25519", 6))
    first, second = drafted(who), drafted(who)
    assert first.to_be_signed != second.to_be_signed
    (packet,) = packets(first.seal(bytes(64)))
    assert len(read_signature(packet.body).salt) == 32  # of SHA-512 (9.5)


def test_version_4_is_the_same_twice() -> None:
    own = Key("ed25519", 4)
    assert signed(own) == signed(own)


def test_text_is_told() -> None:
    (packet,) = packets(signed(Key("ed25519"), b"one\r\ntwo\r\n", kind=TEXT))
    assert read_signature(packet.body).kind == TEXT


def test_keys_that_are_none_of_openpgp() -> None:
    who, _ = signer(Key("rsa"))
    pinned = HeldKey(kind="minisign", key_id=b"8 octets", spki=b"", holder=b"")
    unnamed = replace(who.holder or pinned, key_id=bytes(20))
    damaged = replace(who.holder or pinned, holder=b"\xc6\x01\x04")
    for holder in (None, pinned, unnamed, damaged):
        with pytest.raises(NotSignableError, match="that no OpenPGP certificate holds"):
            drafted(replace(who, holder=holder))


def test_what_openpgp_has_no_number_for() -> None:
    who, _ = signer(Key("rsa"))
    pss, _ = algorithm_for(who.holder.spki if who.holder else b"", pss=True)
    with pytest.raises(NotSignableError, match="what OpenPGP has a number for"):
        drafted(replace(who, algorithm=pss))
    with pytest.raises(NotSignableError, match="found digest blake2b"):
        drafted(replace(who, digest="blake2b"))
    with pytest.raises(NotSignableError, match="one from 1970 to 2106"):
        draft_openpgp(who, datetime(2107, 1, 1, tzinfo=UTC), lambda hashers: None)


def test_armour_is_read_back() -> None:
    for size in (1, 2, 3, 48, 49, 1000):
        octets = bytes(range(256)) * 4
        bare = armour(octets[:size], "SIGNATURE", checksum=False)
        assert dearmour(bare, "SIGNATURE", alone=True) == octets[:size]
        text = armour(octets[:size], "SIGNATURE")
        assert len(text) == len(bare) + len("=abcd\n")
        assert dearmour(text, "SIGNATURE", alone=True) == octets[:size]
        assert max(map(len, text.split(b"\n"))) <= 64


@pytest.mark.parametrize("size", [0, 191, 192, 8383, 8384, 70000])
def test_packets_are_read_back(size: int) -> None:
    (packet,) = packets(write_packet(2, bytes(size)))
    assert len(packet.body) == size
    least = 1 if size < 192 else 2 if size < 8384 else 5
    assert len(write_length(size)) == least
