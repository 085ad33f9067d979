"""The list in a catalog: writing one, and taking it out of its envelope.

Source: [MS-CAESO] 4.4.5.3.1.  A member of version 2 is named by its SHA-256 digest; what the
digest was taken over stands in its SpcIndirectDataContent.  An unsigned catalog is a
SignedData without signers, as makecat writes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime

from signward.envelopes.cms import SIGNED_DATA
from signward.envelopes.cms_draft import attribute, digest_algorithm
from signward.errors import MalformedError
from signward.formats._ctl import CTL_CONTENT
from signward.formats._spc import INDIRECT_DATA, PE_IMAGE_DATA
from signward.formats._spc_draft import CAB_DATA, indirect_data, obsolete_link
from signward.frozen import Frozen
from signward.wire import der

CATALOG_LIST = "1.3.6.1.4.1.311.12.1.1"
MEMBER_DIGEST = "sha256"
"""The digest of members in a list of version 2."""

_MEMBER_V2 = "1.3.6.1.4.1.311.12.1.3"
_NAME_VALUE = "1.3.6.1.4.1.311.12.2.1"
_NAME_FLAGS = 0x10010001
"""CatalogNameValue's flags: an authenticated, ASCII-named attribute of the member."""

_WHAT = "catalog"


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


def list_of(data: bytes) -> bytes:
    """Return the list in a catalog, signed or not, as one DER SEQUENCE.

    Raises ``MalformedError``.
    """
    fields = _signed_data(data)
    content = fields[2].fields(_WHAT, 2)
    if content[0].oid(_WHAT) != CTL_CONTENT or content[1].tag != 0xA0:
        raise MalformedError(_WHAT, "another content", CTL_CONTENT, "[MS-CAESO] 4.4.5.3.1")
    inner = content[1].children()
    if len(inner) != 1:
        raise MalformedError(_WHAT, f"{len(inner)} contents", "one list", "RFC 5652 5.2")
    if inner[0].tag == der.SEQUENCE:
        return inner[0].der()
    return der.parse(inner[0].octets(_WHAT), _WHAT).expect(der.SEQUENCE, _WHAT).raw


def unsigned_list(data: bytes) -> bytes | None:
    """Return the contents of the list in a catalog that has no signer; None if it has one."""
    signers = _signed_data(data)[-1]
    if signers.tag != der.SET or signers.children():
        return None
    return der.parse(list_of(data), _WHAT).content


def _signed_data(data: bytes) -> list[der.Node]:
    outer = der.parse(data, _WHAT, trailing=True).fields(_WHAT, 2)
    if outer[0].oid(_WHAT) != SIGNED_DATA or not outer[1].children():
        raise MalformedError(_WHAT, "no SignedData", "one", "RFC 5652 3")
    return outer[1].children()[0].fields(_WHAT, 4)
