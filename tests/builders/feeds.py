"""Revocation feeds made to order, with keys of the tests' own."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from conformance.authenticode.keys import Key, key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signward.authority import feed as writing
from signward.envelopes.dsse import DsseDraft
from signward.trust.feed import Entry, RevokedCertificate
from signward.trust.x509 import load_certificate

ISSUED = datetime(2026, 9, 1, 12, tzinfo=UTC)
"""When feeds of the tests were made, unless a test says otherwise."""


@cache
def feed_key(kind: str = "ed25519", name: str = "feed") -> Key:
    """Return a key that feeds are signed with."""
    return key(kind, name)


def spki(of: Key) -> bytes:
    """Return a key's DER SubjectPublicKeyInfo."""
    form = PublicFormat.SubjectPublicKeyInfo
    made: bytes = of.private.public_key().public_bytes(Encoding.DER, form)
    return made


def public_pem(of: Key | None = None) -> bytes:
    """Return a key's public half as PEM."""
    form = PublicFormat.SubjectPublicKeyInfo
    made: bytes = (of or feed_key()).private.public_key().public_bytes(Encoding.PEM, form)
    return made


def drafted(
    *entries: Entry,
    version: int = 1,
    issued: datetime = ISSUED,
    hours: int = 24,
    of: Key | None = None,
) -> DsseDraft:
    """Return a feed that lacks its signature."""
    made = writing.document("Test Ltd", version, issued, hours, entries)
    return writing.draft(made, spki(of or feed_key()))


def sealed(draft: DsseDraft, of: Key | None = None) -> bytes:
    """Return an envelope with the signature of a key, whatever key id it names."""
    return draft.seal((of or feed_key()).sign(draft.to_be_signed, draft.algorithm.digest))


def feed(*entries: Entry, of: Key | None = None, **fields: object) -> bytes:
    """Return a signed feed."""
    return sealed(drafted(*entries, of=of, **fields), of)  # type: ignore[arg-type]


def of_certificate(der: bytes, revoked: datetime, **fields: Any) -> RevokedCertificate:
    """Return the entry that names a certificate in every way."""
    seen = load_certificate(der)
    return RevokedCertificate(
        issuer=seen.issuer.hex(), serial=f"{seen.serial:x}", sha256=seen.sha256.hex(),
        revoked=revoked, **fields,
    )  # fmt: skip


def files(folder: Path, data: bytes, of: Key | None = None) -> tuple[str, str]:
    """Write a feed and its public key; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "feed.json").write_bytes(data)
    (folder / "feed.pem").write_bytes(public_pem(of))
    return str(folder / "feed.json"), str(folder / "feed.pem")
