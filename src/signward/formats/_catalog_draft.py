"""Writing catalogs: the list of files, and the unsigned catalog around it.

Source: [MS-CAESO] 4.4.5.3.1.  A member of version 2 is named by its SHA-256 digest; what the
digest was taken over stands in its SpcIndirectDataContent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime

from signward.envelopes.cms import SIGNED_DATA
from signward.envelopes.cms_draft import attribute, digest_algorithm
from signward.formats._catalog_list import CATALOG_LIST
from signward.formats._ctl import CTL_CONTENT
from signward.formats._spc import CAB_DATA, INDIRECT_DATA, PE_IMAGE_DATA
from signward.formats._spc_draft import indirect_data, obsolete_link
from signward.frozen import Frozen
from signward.wire import der

MEMBER_DIGEST = "sha256"
"""The digest of members in a list of version 2."""

_MEMBER_V2 = "1.3.6.1.4.1.311.12.1.3"
_NAME_VALUE = "1.3.6.1.4.1.311.12.2.1"
_NAME_FLAGS = 0x10010001
"""CatalogNameValue's flags: an authenticated, ASCII-named attribute of the member."""


class Member(Frozen, frozen=True, kw_only=True):
    """A file that a catalog is to list: its name and SHA-256 digest.

    ``image`` says that the digest is a PE image's hash, not that of all bytes.
    """

    name: str
    digest: bytes
    image: bool = False


def unsigned_catalog(members: Iterable[Member], at: datetime) -> bytes:
    """Return an unsigned catalog that lists ``members``, made at ``at`` (aware UTC).

    Its identifier is a digest of the members, so that one list is always the same octets.
    """
    subjects = sorted({_subject(member) for member in members})
    identifier = hashlib.sha256(b"".join(subjects)).digest()[:16]
    return bare_list(
        der.sequence(
            der.sequence(der.oid(CATALOG_LIST)),
            der.octet_string(identifier),
            der.utc_time(at),
            der.sequence(der.oid(_MEMBER_V2), der.null()),
            der.sequence(*subjects),
        )
    )


def _subject(member: Member) -> bytes:
    kind, value = CAB_DATA, obsolete_link()
    if member.image:
        flags = der.encode(der.BIT_STRING, b"\0")
        kind, value = PE_IMAGE_DATA, der.sequence(flags, der.context(0, obsolete_link()))
    indirect = indirect_data(kind, value, MEMBER_DIGEST, member.digest)
    attributes = (attribute(INDIRECT_DATA, indirect), _file_name(member.name))
    return der.sequence(der.octet_string(member.digest), der.set_of(*attributes))


def _file_name(name: str) -> bytes:
    """Return the CatalogNameValue ``File``: tag as BMPString, value as UTF-16LE with its zero."""
    return attribute(
        _NAME_VALUE,
        der.sequence(
            der.encode(der.BMP_STRING, "File".encode("utf-16-be")),
            der.integer(_NAME_FLAGS),
            der.octet_string((name + "\0").encode("utf-16-le")),
        ),
    )


def bare_list(members: bytes) -> bytes:
    """Return the unsigned catalog of a list (a DER SEQUENCE): a SignedData without signers."""
    signed_data = der.sequence(
        der.integer(1),
        der.set_of(digest_algorithm(MEMBER_DIGEST)),
        der.sequence(der.oid(CTL_CONTENT), der.context(0, members)),
        der.set_of(),
    )
    return der.sequence(der.oid(SIGNED_DATA), der.context(0, signed_data))
