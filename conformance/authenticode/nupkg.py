"""Signed NuGet packages: a ZIP archive, and the CMS in its last entry.

The signed content names the digest of the archive as it is without that entry.  An author's
signature says so by its commitment type (RFC 5126 5.11.1), and names its certificate with
issuer and serial number (RFC 5035).
"""

from __future__ import annotations

import base64
import hashlib
import io
import warnings
import zipfile
from collections.abc import Mapping
from typing import Any

from conformance.authenticode import cms
from conformance.authenticode.pki import LEAF_BEGIN, Identity, default_pki
from signward.wire import der

SIGNATURE = ".signature.p7s"

FILES = {
    "example.nuspec": b"<?xml version='1.0'?><package/>",
    "lib/net8.0/example.dll": b"MZ" + bytes(range(256)),
}

ORIGIN, RECEIPT = (f"1.2.840.113549.1.9.16.6.{number}" for number in (1, 2))
"""Commitment types: proof of origin (an author's), proof of receipt (a repository's)."""

SERVICE_INDEX = "1.3.6.1.4.1.311.84.2.1.1.1"

_SHA256 = "2.16.840.1.101.3.4.2.1"
_COMMITMENT = "1.2.840.113549.1.9.16.2.16"
_SIGNING_CERTIFICATE = "1.2.840.113549.1.9.16.2.47"


def archive(files: Mapping[str, bytes] = FILES) -> bytes:
    """Return an unsigned package: entries stored, without times."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as written:
        for name, data in files.items():
            written.writestr(zipfile.ZipInfo(name), data)
    return out.getvalue()


def content(data: bytes, *, version: str = "1", oid: str = _SHA256) -> bytes:
    """Return the signed content that speaks of a package."""
    encoded = base64.b64encode(hashlib.sha256(data).digest()).decode()
    return f"Version:{version}\n\n{oid}-Hash:{encoded}\n\n".encode()


def named_certificate(identity: Identity, *, serial: bool = True) -> bytes:
    """Return signing-certificate-v2 by SHA-256, with issuer and ``serial`` if asked for."""
    parts = [der.octet_string(hashlib.sha256(identity.certificate).digest())]
    if serial:
        issuer = der.sequence(der.context(4, identity.issuer_subject))
        parts.append(der.sequence(issuer, der.integer(identity.serial)))
    return cms.attribute(_SIGNING_CERTIFICATE, der.sequence(der.sequence(der.sequence(*parts))))


def commitment(kind: str) -> bytes:
    """Return the commitment-type-indication attribute."""
    return cms.attribute(_COMMITMENT, der.sequence(der.oid(kind)))


def envelope(
    spoken: bytes, *, extra: tuple[bytes, ...] | None = None, time: bool = True, **fields: Any
) -> bytes:
    """Return the CMS over signed content; ``extra`` are the attributes NuGet asks for."""
    pki = default_pki()
    if extra is None:
        extra = (commitment(ORIGIN), named_certificate(pki.leaf))
    signer = cms.Signer(
        identity=pki.leaf, signing_time=LEAF_BEGIN if time else None, extra=extra, **fields
    )
    return cms.sign(
        spoken, signer, content_type=cms.DATA, certificates=pki.chain, octets=True, version=3
    )


def signed(
    data: bytes | None = None,
    *,
    spoken: bytes | None = None,
    packed: bool = False,
    copies: int = 1,
    after: Mapping[str, bytes] | None = None,
    **fields: Any,
) -> bytes:
    """Return a signed package.

    ``spoken`` replaces the signed content; ``packed`` deflates the signature's entry, ``copies``
    is how often it is there, ``after`` are entries added behind it.
    """
    data = archive() if data is None else data
    blob = envelope(content(data) if spoken is None else spoken, **fields)
    entries = [(zipfile.ZipInfo(SIGNATURE), blob) for _ in range(copies)]
    for entry, _ in entries:
        entry.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    return appended(data, entries + _entries(after or {}))


def appended(data: bytes, entries: list[tuple[zipfile.ZipInfo, bytes]]) -> bytes:
    """Return an archive with entries more, its directory written anew."""
    out = io.BytesIO(data)
    with warnings.catch_warnings(), zipfile.ZipFile(out, "a") as written:
        warnings.simplefilter("ignore")  # of two entries with one name
        for entry, value in entries:
            written.writestr(entry, value)
            entry.external_attr = 0  # the directory, written last, tells of no mode
    return out.getvalue()


def _entries(files: Mapping[str, bytes]) -> list[tuple[zipfile.ZipInfo, bytes]]:
    return [(zipfile.ZipInfo(name), value) for name, value in files.items()]
