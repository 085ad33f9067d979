"""Revocation feeds: one signed document with everything an authority has revoked.

The document is JSON in a DSSE envelope (``envelopes.dsse``) of type ``PAYLOAD_TYPE``.  It has
a version that only grows and an end; whoever holds an older or ended one knows less than he
should.  It says what is revoked and never what is good, so its silence proves nothing.

A certificate is named by its issuer's Name (DER, hex) and serial number, by its SHA-256, or by
both; either suffices, because a certificate can be encoded anew under the same serial.  Instants
are RFC 3339 with an offset, digests, serials and names lower-case hexadecimal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cached_property
from typing import Annotated, Literal, TypeVar

import msgspec

from signward.errors import BadInputError, EvidenceError
from signward.frozen import Frozen, decoder
from signward.trust.names import normalized_name
from signward.trust.sealed import open_sealed
from signward.trust.x509 import Certificate

PAYLOAD_TYPE = "application/vnd.signward.revocations+json"
FORMAT: Literal["signward-revocations"] = "signward-revocations"
SCHEMA: Literal[1] = 1

MAX_ENTRIES = 100_000
"""Entries of one kind; Windows' own list of disallowed certificates has a few hundred."""

MAX_VERSION = 2**53 - 1
"""Largest version: the largest integer that every JSON reader holds exactly (RFC 8259 6)."""

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Hex = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]*\Z", max_length=4096)]
Serial = Annotated[str, msgspec.Meta(pattern=r"^(|0|[1-9a-f][0-9a-f]{0,63})\Z")]
Words = Annotated[str, msgspec.Meta(max_length=1024)]
Reason = Literal[
    "", "unspecified", "keyCompromise", "cACompromise", "affiliationChanged", "superseded",
    "cessationOfOperation", "certificateHold", "privilegeWithdrawn", "aACompromise",
]  # fmt: skip
"""CRLReason (RFC 5280 5.3.1) by name; empty where none is given."""

_Entry = TypeVar("_Entry", bound="Entry")


class Entry(Frozen, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What every entry says: since when it is revoked, and what is told of it.

    ``invalid_from`` is the invalidity date (RFC 5280 5.3.2) where it lies before ``revoked``.
    """

    revoked: Instant
    invalid_from: Instant | None = None
    note: Words = ""

    @property
    def since(self) -> datetime:
        """The instant from which the entry counts: the earlier of its two dates."""
        return min(self.revoked, self.invalid_from) if self.invalid_from else self.revoked


class RevokedCertificate(Entry, frozen=True, kw_only=True, forbid_unknown_fields=True,
                         omit_defaults=True):  # fmt: skip
    """A certificate: ``issuer`` is the raw Name in hex; it needs a serial, or ``sha256``."""

    issuer: Hex = ""
    serial: Serial = ""
    sha256: Hex = ""
    reason: Reason = ""


class RevokedPublisher(Entry, frozen=True, kw_only=True, forbid_unknown_fields=True,
                       omit_defaults=True):  # fmt: skip
    """A publisher, by the identity that ``policy.publisher`` gives it."""

    identity: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]


class RevokedDigest(Entry, frozen=True, kw_only=True, forbid_unknown_fields=True,
                    omit_defaults=True):  # fmt: skip
    """A file: the digest of all its octets, or of its signed content (the Authenticode digest)."""

    of: Literal["file", "content"]
    algorithm: Literal["sha1", "sha256", "sha384", "sha512"]
    digest: Hex


class Document(Frozen, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The payload.  ``authority`` is the name of whoever publishes it."""

    format: Literal["signward-revocations"] = FORMAT
    schema: Literal[1] = SCHEMA
    authority: Words
    version: Annotated[int, msgspec.Meta(ge=1, le=MAX_VERSION)]
    issued: Instant
    expires: Instant
    certificates: tuple[RevokedCertificate, ...] = ()
    publishers: tuple[RevokedPublisher, ...] = ()
    digests: tuple[RevokedDigest, ...] = ()


class Feed:
    """A document whose signature was checked, indexed.  Producer: :func:`open_feed`.

    Immutable; equal when the payload is.  Raises ``BadInputError`` for an issuer that is no
    Name.
    """

    def __init__(self, document: Document, payload: bytes) -> None:
        self.document, self.payload = document, payload
        self.sha256 = hashlib.sha256(payload).digest()
        self._by_name = _indexed(
            ((normalized_name(bytes.fromhex(c.issuer)), int(c.serial, 16)), c)
            for c in document.certificates
            if c.serial
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Feed) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    @property
    def label(self) -> str:
        """How messages name it."""
        return f"the feed of {self.document.authority}, version {self.document.version}"

    def is_over(self, at: datetime) -> bool:
        """Say whether the document has ended at ``at``."""
        return self.document.expires <= at

    def certificate(self, certificate: Certificate) -> RevokedCertificate | None:
        """Return the entry about a certificate; of several the one that counts earliest."""
        named = normalized_name(certificate.issuer), certificate.serial
        found = (self._by_digest.get(certificate.sha256), self._by_name.get(named))
        return _earliest(entry for entry in found if entry)

    def publisher(self, identity: str) -> RevokedPublisher | None:
        """Return the entry about a publisher's identity, whatever its case."""
        return self._publishers.get(identity.casefold())

    def digest(self, of: str, algorithm: str, value: bytes) -> RevokedDigest | None:
        """Return the entry about a digest."""
        return self._digests.get((of, algorithm, value))

    @cached_property
    def file_algorithms(self) -> frozenset[str]:
        """The algorithms by which whole files are named."""
        return frozenset(d.algorithm for d in self.document.digests if d.of == "file")

    @cached_property
    def content_algorithms(self) -> frozenset[str]:
        """The algorithms by which signed content is named."""
        return frozenset(d.algorithm for d in self.document.digests if d.of == "content")

    @cached_property
    def _by_digest(self) -> dict[bytes, RevokedCertificate]:
        named = ((bytes.fromhex(c.sha256), c) for c in self.document.certificates if c.sha256)
        return _indexed(named)

    @cached_property
    def _publishers(self) -> dict[str, RevokedPublisher]:
        return _indexed((p.identity.casefold(), p) for p in self.document.publishers)

    @cached_property
    def _digests(self) -> dict[tuple[str, str, bytes], RevokedDigest]:
        return _indexed(
            ((d.of, d.algorithm, bytes.fromhex(d.digest)), d) for d in self.document.digests
        )


_Key = TypeVar("_Key")


def _indexed(pairs: Iterable[tuple[_Key, _Entry]]) -> dict[_Key, _Entry]:
    """Return entries by what they name; of several the one that counts earliest."""
    index: dict[_Key, _Entry] = {}
    for key, entry in pairs:
        known = index.get(key)
        if known is None or entry.since < known.since:
            index[key] = entry
    return index


def _earliest(entries: Iterable[RevokedCertificate]) -> RevokedCertificate | None:
    return min(entries, key=lambda entry: entry.since, default=None)


def open_feed(name: str, data: bytes, keys: Sequence[bytes]) -> Feed:
    """Return the feed in an envelope that one of ``keys`` (DER) signed.

    Whether it has ended, or is older than another, is the caller's question.  Raises
    ``EvidenceError``: no envelope, another payload, no signature by these keys, no document.
    """
    payload = open_sealed(name, data, keys, PAYLOAD_TYPE)
    try:
        return Feed(_document(name, payload), payload)
    except BadInputError as error:
        raise EvidenceError(f"{name}: {error}") from None


def _document(name: str, payload: bytes) -> Document:
    try:
        read = decoder(Document).decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EvidenceError(f"{name}: {str(error)[:200]}") from None
    for kind in (read.certificates, read.publishers, read.digests):
        if len(kind) > MAX_ENTRIES:
            raise EvidenceError(f"{name}: {len(kind)} entries of a kind, at most {MAX_ENTRIES}")
    for entry in read.certificates:
        if len(entry.issuer) % 2 or len(entry.sha256) % 2:
            raise EvidenceError(f"{name}: found hexadecimal of an odd length")
        if bool(entry.issuer) != bool(entry.serial) or not (entry.serial or entry.sha256):
            raise EvidenceError(f"{name}: found a certificate without issuer and serial or SHA-256")
    if any(len(listed.digest) % 2 for listed in read.digests):
        raise EvidenceError(f"{name}: found hexadecimal of an odd length")
    return read
