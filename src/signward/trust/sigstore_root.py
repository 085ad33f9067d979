"""Trust roots of Sigstore: whose certificates, logs and timestamps count, and when.

``trusted_root.json`` as Sigstore publishes it (protobuf-specs, ``sigstore_trustroot.proto``,
versions 0.1 and 0.2): authorities of certificates and timestamps with their chains, logs of
signatures and of certificates with their keys, each with the period in which it served.  A period
must say when it begins; one that does not end serves still.  What a key of a kind not known here
signs counts for nothing.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from signward.errors import BadInputError, EvidenceError
from signward.frozen import Frozen, decoder
from signward.state import Algorithm
from signward.trust.x509 import Certificate, load_certificate
from signward.wire import der
from signward.wire.algorithms import RSA

MAX_OCTETS = 4 * 1024 * 1024
"""Largest trust root read; the public one has 7 kB."""

MAX_MEMBERS = 256
"""Authorities or logs of one kind; the public root has two of each."""

_MEDIA_TYPE = "application/vnd.dev.sigstore.trustedroot"
_VERSIONS = (
    f"{_MEDIA_TYPE}+json;version=0.1",
    f"{_MEDIA_TYPE}+json;version=0.2",
    f"{_MEDIA_TYPE}.v0.2+json",
)
_PKCS1 = "PKCS1_RSA_PKCS1V5"
_RSA_SHA256 = Algorithm(scheme="rsa-pkcs1v15", digest="sha256")
_KEYS = {
    "PKIX_ECDSA_P256_SHA_256": Algorithm(scheme="ecdsa", digest="sha256"),
    "PKIX_ECDSA_P384_SHA_384": Algorithm(scheme="ecdsa", digest="sha384"),
    "PKIX_ECDSA_P521_SHA_512": Algorithm(scheme="ecdsa", digest="sha512"),
    "PKIX_ED25519": Algorithm(scheme="ed25519"),
    "PKIX_RSA_PKCS1V5": _RSA_SHA256,
    "PKIX_RSA_PKCS1V15_2048_SHA256": _RSA_SHA256,
    "PKIX_RSA_PKCS1V15_3072_SHA256": _RSA_SHA256,
    "PKIX_RSA_PKCS1V15_4096_SHA256": _RSA_SHA256,
    _PKCS1: _RSA_SHA256,
}
"""How keys sign, by their details (``sigstore_common.proto``, PublicKeyDetails)."""

Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class Window(Frozen, frozen=True, kw_only=True):
    """A period, both ends included; ``end`` is None for one that lasts."""

    start: datetime
    end: datetime | None

    def holds(self, instant: datetime) -> bool:
        """Say whether an instant is in it."""
        return self.start <= instant and (self.end is None or instant <= self.end)


class Log(Frozen, frozen=True, kw_only=True):
    """A log: what entries name it by, its address, its key (DER SubjectPublicKeyInfo)."""

    log_id: bytes
    url: str
    spki: bytes
    algorithm: Algorithm
    window: Window


class Authority(Frozen, frozen=True, kw_only=True, gc=True):
    """An authority of certificates or timestamps; the last of ``chain`` is its root."""

    chain: tuple[Certificate, ...]
    window: Window


class TrustedRoot(Frozen, frozen=True, kw_only=True, gc=True):
    """All that one Sigstore is trusted by; ``name`` is how it was named."""

    name: str
    authorities: tuple[Authority, ...] = ()
    timestamping: tuple[Authority, ...] = ()
    logs: tuple[Log, ...] = ()
    certificate_logs: tuple[Log, ...] = ()


class _Raw(msgspec.Struct, frozen=True, rename="camel"):
    raw_bytes: bytes


class _Window(msgspec.Struct, frozen=True):
    start: Instant
    end: Instant | None = None


class _Key(msgspec.Struct, frozen=True, rename="camel"):
    raw_bytes: bytes
    key_details: str
    valid_for: _Window


class _LogId(msgspec.Struct, frozen=True, rename="camel"):
    key_id: bytes


class _Log(msgspec.Struct, frozen=True, rename="camel"):
    public_key: _Key
    log_id: _LogId
    base_url: str = ""


class _Chain(msgspec.Struct, frozen=True):
    certificates: tuple[_Raw, ...]


class _Authority(msgspec.Struct, frozen=True, rename="camel"):
    cert_chain: _Chain
    valid_for: _Window


class _Root(msgspec.Struct, frozen=True, rename="camel"):
    media_type: str
    tlogs: tuple[_Log, ...] = ()
    certificate_authorities: tuple[_Authority, ...] = ()
    ctlogs: tuple[_Log, ...] = ()
    timestamp_authorities: tuple[_Authority, ...] = ()


def read_trusted_root(name: str, data: bytes) -> TrustedRoot:
    """Return a trust root.  Raises ``EvidenceError`` for one that is not whole."""
    if len(data) > MAX_OCTETS:
        raise EvidenceError(f"{name}: found {len(data)} octets, required at most {MAX_OCTETS}")
    try:
        read = decoder(_Root).decode(data)
        if read.media_type not in _VERSIONS:
            raise EvidenceError(
                f"{name}: found media type {read.media_type[:80]!r}, required {_VERSIONS[0]}"
            )
        _check_counts(name, read)
        return TrustedRoot(
            name=name,
            authorities=_authorities(read.certificate_authorities),
            timestamping=_authorities(read.timestamp_authorities),
            logs=_logs(read.tlogs),
            certificate_logs=_logs(read.ctlogs),
        )
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, BadInputError) as error:
        raise EvidenceError(f"{name}: {str(error)[:300]}, required a Sigstore trust root") from None


def _check_counts(name: str, read: _Root) -> None:
    members = (read.tlogs, read.ctlogs, read.certificate_authorities, read.timestamp_authorities)
    if max(map(len, members)) > MAX_MEMBERS:
        raise EvidenceError(f"{name}: found more than {MAX_MEMBERS} of a kind, required fewer")


def _authorities(given: tuple[_Authority, ...]) -> tuple[Authority, ...]:
    return tuple(
        Authority(
            chain=tuple(load_certificate(raw.raw_bytes) for raw in one.cert_chain.certificates),
            window=_window(one.valid_for),
        )
        for one in given
        if one.cert_chain.certificates
    )


def _logs(given: tuple[_Log, ...]) -> tuple[Log, ...]:
    return tuple(
        Log(
            log_id=one.log_id.key_id,
            url=one.base_url,
            spki=_spki(one.public_key),
            algorithm=_KEYS[one.public_key.key_details],
            window=_window(one.public_key.valid_for),
        )
        for one in given
        if one.public_key.key_details in _KEYS
    )


def _spki(key: _Key) -> bytes:
    """Return a key's SubjectPublicKeyInfo, also of one given as bare numbers (RFC 8017 A.1.1)."""
    if key.key_details != _PKCS1:
        return key.raw_bytes
    return der.sequence(der.sequence(der.oid(RSA), der.null()), der.bit_string(key.raw_bytes))


def _window(given: _Window) -> Window:
    return Window(start=given.start, end=given.end)
