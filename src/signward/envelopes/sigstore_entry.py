"""Entries of Sigstore's log (Rekor): what the log says was signed, by whom, and with what value.

An entry's body is JSON in canonical form (RFC 8785), whose octets are the leaf of the log's tree.
Kinds read: ``hashedrekord`` 0.0.1 and 0.0.2 (a digest and a value over it), ``dsse`` 0.0.1 and
0.0.2 and ``intoto`` 0.0.2 (a DSSE envelope's payload and value).  An entry that is not about the
very signature beside it proves nothing of it (CVE-2022-36056, CVE-2026-22703).
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from signward.errors import MalformedError
from signward.frozen import Frozen, decoder

_T = TypeVar("_T")

_WHAT = "log entry"
_CLAUSE = "Rekor, types"
_PEM = re.compile(
    rb"-----BEGIN (CERTIFICATE|PUBLIC KEY)-----\s([A-Za-z0-9+/=\s]++)-----END \1-----\s*+"
)
"""One block of text; nothing in it can be read in two ways, so that none takes long to refuse."""

_DIGESTS = {
    "sha256": "sha256",
    "sha384": "sha384",
    "sha512": "sha512",
    "SHA2_256": "sha256",
    "SHA2_384": "sha384",
    "SHA2_512": "sha512",
}
"""Digest names of both generations of Rekor, by hashlib's."""


class Logged(Frozen, frozen=True, kw_only=True):
    """What an entry says: ``value`` by ``verifier`` (DER certificate or SubjectPublicKeyInfo).

    ``digest`` is of what was signed, or where ``of_payload`` of a DSSE envelope's payload.
    """

    algorithm: str
    digest: bytes
    of_payload: bool
    value: bytes
    verifier: bytes


class _Hash(msgspec.Struct, frozen=True):
    algorithm: str
    value: str


class _Pem(msgspec.Struct, frozen=True):
    content: str


class _Signed(msgspec.Struct, frozen=True, rename="camel"):
    content: str
    public_key: _Pem


class _Data(msgspec.Struct, frozen=True):
    hash: _Hash


class _HashedRekord1(msgspec.Struct, frozen=True):
    data: _Data
    signature: _Signed


class _DsseSignature(msgspec.Struct, frozen=True):
    signature: str
    verifier: str


class _Dsse1(msgspec.Struct, frozen=True, rename="camel"):
    payload_hash: _Hash
    signatures: tuple[_DsseSignature, ...]


class _IntotoSignature(msgspec.Struct, frozen=True, rename="camel"):
    sig: str
    public_key: str


class _IntotoEnvelope(msgspec.Struct, frozen=True):
    signatures: tuple[_IntotoSignature, ...]


class _IntotoContent(msgspec.Struct, frozen=True, rename="camel"):
    envelope: _IntotoEnvelope
    payload_hash: _Hash


class _Intoto2(msgspec.Struct, frozen=True):
    content: _IntotoContent


class _Raw(msgspec.Struct, frozen=True, rename="camel"):
    raw_bytes: str


class _Verifier(msgspec.Struct, frozen=True, rename={"certificate": "x509Certificate",
                                                     "public_key": "publicKey"}):  # fmt: skip
    certificate: _Raw | None = None
    public_key: _Raw | None = None


class _Value(msgspec.Struct, frozen=True):
    content: str
    verifier: _Verifier


class _Digest(msgspec.Struct, frozen=True):
    algorithm: str
    digest: str


class _HashedRekord2Spec(msgspec.Struct, frozen=True):
    data: _Digest
    signature: _Value


class _HashedRekord2(msgspec.Struct, frozen=True, rename={"spec": "hashedRekordV002"}):
    spec: _HashedRekord2Spec


class _Dsse2Spec(msgspec.Struct, frozen=True, rename="camel"):
    payload_hash: _Digest
    signatures: tuple[_Value, ...]


class _Dsse2(msgspec.Struct, frozen=True, rename={"spec": "dsseV002"}):
    spec: _Dsse2Spec


class _Body(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str
    kind: str
    spec: msgspec.Raw


def read_body(body: bytes, kind: str, version: str) -> Logged | None:
    """Return what an entry says; None for a kind that is not known.

    ``kind`` and ``version`` are what is claimed beside it, empty where nothing is.  Raises
    ``MalformedError``.
    """
    read = _decode(body, _Body)
    if (kind or read.kind, version or read.api_version) != (read.kind, read.api_version):
        raise MalformedError(
            _WHAT, f"a {read.kind[:40]} {read.api_version[:20]}", f"a {kind} {version}", _CLAUSE
        )
    reader = _READERS.get((read.kind, read.api_version))
    return reader(bytes(read.spec)) if reader else None


def _hashedrekord_1(spec: bytes) -> Logged:
    read = _decode(spec, _HashedRekord1)
    return Logged(
        algorithm=_digest_name(read.data.hash.algorithm),
        digest=_unhex(read.data.hash.value),
        of_payload=False,
        value=unbase64(read.signature.content),
        verifier=_from_pem(read.signature.public_key.content),
    )


def _hashedrekord_2(spec: bytes) -> Logged:
    read = _decode(spec, _HashedRekord2).spec
    return Logged(
        algorithm=_digest_name(read.data.algorithm),
        digest=unbase64(read.data.digest),
        of_payload=False,
        value=unbase64(read.signature.content),
        verifier=_verifier(read.signature.verifier),
    )


def _dsse_1(spec: bytes) -> Logged:
    read = _decode(spec, _Dsse1)
    _check_single(len(read.signatures))
    return Logged(
        algorithm=_digest_name(read.payload_hash.algorithm),
        digest=_unhex(read.payload_hash.value),
        of_payload=True,
        value=unbase64(read.signatures[0].signature),
        verifier=_from_pem(read.signatures[0].verifier),
    )


def _dsse_2(spec: bytes) -> Logged:
    read = _decode(spec, _Dsse2).spec
    _check_single(len(read.signatures))
    return Logged(
        algorithm=_digest_name(read.payload_hash.algorithm),
        digest=unbase64(read.payload_hash.digest),
        of_payload=True,
        value=unbase64(read.signatures[0].content),
        verifier=_verifier(read.signatures[0].verifier),
    )


def _intoto_2(spec: bytes) -> Logged:
    """Read an entry whose values stand in Base64 twice."""
    read = _decode(spec, _Intoto2).content
    signatures = read.envelope.signatures
    _check_single(len(signatures))
    return Logged(
        algorithm=_digest_name(read.payload_hash.algorithm),
        digest=_unhex(read.payload_hash.value),
        of_payload=True,
        value=unbase64(unbase64(signatures[0].sig).decode("ascii", "replace")),
        verifier=_from_pem(signatures[0].public_key),
    )


_READERS: dict[tuple[str, str], Callable[[bytes], Logged]] = {
    ("hashedrekord", "0.0.1"): _hashedrekord_1,
    ("hashedrekord", "0.0.2"): _hashedrekord_2,
    ("dsse", "0.0.1"): _dsse_1,
    ("dsse", "0.0.2"): _dsse_2,
    ("intoto", "0.0.2"): _intoto_2,
}


def _decode(data: bytes, kind: type[_T]) -> _T:
    try:
        return decoder(kind).decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(_WHAT, str(error)[:200], "an entry of its kind", _CLAUSE) from None


def _check_single(count: int) -> None:
    if count != 1:
        raise MalformedError(_WHAT, f"{count} signatures", "one", _CLAUSE)


def _digest_name(name: str) -> str:
    if name not in _DIGESTS:
        raise MalformedError(_WHAT, f"digest {name[:40]!r}", "SHA-2", _CLAUSE)
    return _DIGESTS[name]


def _unhex(text: str) -> bytes:
    try:
        return binascii.unhexlify(text)
    except (binascii.Error, ValueError):
        raise MalformedError(_WHAT, repr(text[:80]), "hexadecimal", _CLAUSE) from None


def unbase64(text: str) -> bytes:
    """Return what Base64 (RFC 4648 4, padded) stands for.  Raises ``MalformedError``."""
    try:
        return binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        raise MalformedError(_WHAT, repr(text[:80]), "Base64", "RFC 4648 4") from None


def _verifier(given: _Verifier) -> bytes:
    raw = given.certificate or given.public_key
    if raw is None:
        raise MalformedError(_WHAT, "no verifier", "a certificate or a key", _CLAUSE)
    return unbase64(raw.raw_bytes)


def _from_pem(text: str) -> bytes:
    """Return the DER in one PEM block, itself in Base64 (RFC 7468)."""
    block = _PEM.fullmatch(unbase64(text))
    if block is None:
        raise MalformedError(_WHAT, "another verifier", "a certificate or key in PEM", _CLAUSE)
    return unbase64(b"".join(block[2].split()).decode())
