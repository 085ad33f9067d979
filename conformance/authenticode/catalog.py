"""Security catalogs: a signed list of member digests (a certificate trust list in PKCS#7).

Version 1 names members by the hexadecimal SHA-1 digest as UTF-16LE text, version 2 by the raw
SHA-256 digest.  A PE member's digest is its Authenticode digest, any other member's that of
the whole file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from conformance.authenticode import cms, pe
from conformance.authenticode.pki import instant
from signward.wire import der

CATALOG_LIST = "1.3.6.1.4.1.311.12.1.1"
_MEMBER_V1, _MEMBER_V2 = "1.3.6.1.4.1.311.12.1.2", "1.3.6.1.4.1.311.12.1.3"
_NAME_VALUE = "1.3.6.1.4.1.311.12.2.1"
_SPC_CAB_DATA = "1.3.6.1.4.1.311.2.1.25"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One catalog member: its digest, how it was made, and the file name that is noted."""

    digest: str
    octets: bytes
    image: bool = False
    file: str = ""


def member(data: bytes, digest: str = "sha256", file: str = "") -> Member:
    """Return the member that speaks for these file octets."""
    if data[:2] == b"MZ":
        return Member(digest=digest, octets=pe.image_digest(data, digest), image=True, file=file)
    return Member(digest=digest, octets=hashlib.new(digest, data).digest(), file=file)


def content(
    members: Sequence[Member], *, version: int = 2, made_at: datetime | None = None
) -> bytes:
    """Return the CertificateTrustList that a catalog signs."""
    subjects = sorted(_trusted_subject(one, version) for one in members)
    return der.sequence(
        der.sequence(der.oid(CATALOG_LIST)),
        der.octet_string(hashlib.sha256(b"".join(subjects)).digest()[:16]),
        der.utc_time(made_at or instant(2025)),
        der.sequence(der.oid(_MEMBER_V1 if version == 1 else _MEMBER_V2), der.null()),
        der.sequence(*subjects),
    )


def _trusted_subject(one: Member, version: int) -> bytes:
    identifier = one.octets.hex().upper().encode("utf-16-le") if version == 1 else one.octets
    if one.image:
        indirect = cms.indirect_data(
            pe.SPC_PE_IMAGE_DATA, pe.pe_image_data(), one.digest, one.octets
        )
    else:
        text = der.context(0, "<<<Obsolete>>>".encode("utf-16-be"), constructed=False)
        link = der.context(2, text)
        indirect = cms.indirect_data(_SPC_CAB_DATA, link, one.digest, one.octets)
    attributes = [cms.attribute(cms.SPC_INDIRECT_DATA, indirect)]
    if one.file:
        attributes.append(_name_value("File", one.file))
    return der.sequence(der.octet_string(identifier), der.set_of(*attributes))


def _name_value(tag: str, value: str) -> bytes:
    """CatalogNameValue: BMPString tag, flags, UTF-16LE value with its final zero."""
    parts = (
        der.encode(der.BMP_STRING, tag.encode("utf-16-be")),
        der.integer(0x10010001),
        der.octet_string((value + "\0").encode("utf-16-le")),
    )
    return cms.attribute(_NAME_VALUE, der.sequence(*parts))


def signed(
    members: Sequence[Member],
    *signers: cms.Signer,
    certificates: Sequence[bytes] = (),
    version: int = 2,
    trailing: bytes = b"",
) -> bytes:
    """Return a signed catalog; the content stands bare in the PKCS#7, as Windows writes it."""
    return cms.sign(
        content(members, version=version),
        *signers,
        content_type=cms.CTL,
        certificates=certificates,
        trailing=trailing,
    )
