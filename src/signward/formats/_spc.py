"""Authenticode's SpcIndirectDataContent: what a Windows signature says it covers.

Source: "Windows Authenticode Portable Executable Signature Format", 2008.  Shared by
every format whose signature is an embedded PKCS#7 of that kind.
"""

from __future__ import annotations

from signward.envelopes.cms import SlotReader, open_signatures
from signward.errors import LimitError, MalformedError
from signward.state import ClaimedSignature, Slot
from signward.wire import der
from signward.wire.algorithms import digest_name
from signward.wire.repeated import kept

INDIRECT_DATA = "1.3.6.1.4.1.311.2.1.4"
PAGE_HASHES = {"1.3.6.1.4.1.311.2.3.1": "sha1", "1.3.6.1.4.1.311.2.3.2": "sha256"}
PAGE_HASH_CLASS = bytes.fromhex("a6b586d5b4a12466ae05a217da8e60d6")
"""SpcUuid of the SpcSerializedObject that holds page hashes."""

_DIGEST_SIZES = {"sha1": 20, "sha256": 32}

MAX_PAGES = 1 << 20
"""Pages of 4 KiB in the largest image PE can describe (4 GiB)."""

SIP_INFO = "1.3.6.1.4.1.311.2.1.30"
"""SpcSipInfo: the digest is made as a subject interface package decides."""

CAB_DATA = "1.3.6.1.4.1.311.2.1.25"
"""SpcLink: the digest of a cabinet, or of all bytes of a catalog's member."""

PE_IMAGE_DATA = "1.3.6.1.4.1.311.2.1.15"
"""SpcPeImageData: the digest is a PE image's hash."""

PE_OF_SBSIGN = "1.3.6.1.4.1.311.2.1.21"
"""What some releases of sbsign write in its place (Debian's fwupd has it): an EKU, which no
other format writes there.  Firmware does not look, Windows does."""

_WHAT = "SpcIndirectDataContent"
_CLAUSE = "Authenticode PE"


def open_embedded(
    blob: bytes, content_slot: str, *, label: str = "1", kind: str = "", also: str = ""
) -> tuple[ClaimedSignature, ...]:
    """Return the signatures in an embedded Authenticode PKCS#7.

    Their first slot is ``content_slot``; page hashes follow as ``page:<offset>``.
    ``kind`` and ``also`` are as in `read_slots`.  Raises ``BadInputError``.
    """
    reader = read_slots(content_slot, kind=kind, also=also)
    return open_signatures(blob, reader, label=label, uniform_digest=True)


def read_slots(
    content_slot: str, *, kind: str = "", package: bytes = b"", also: str = ""
) -> SlotReader:
    """Return a reader of SpcIndirectDataContent that names the content's slot.

    ``kind`` is the OID of what must have been digested (empty: of anything), ``also`` another one
    that will do, ``package`` the GUID (16 octets, as stored) that an SpcSipInfo must have: what
    is digested may be the same bytes in files of different formats.
    """

    def read(content_type: str, content: bytes) -> tuple[Slot, ...]:
        if content_type != INDIRECT_DATA:
            raise MalformedError(
                "signature", f"content type {content_type}", INDIRECT_DATA, _CLAUSE,
                hint="the signature speaks of something other than this file",
            )  # fmt: skip
        fields = _indirect_data(content)
        if kind:
            attribute = fields[0].fields(_WHAT, 1)
            if not also or attribute[0].oid(_WHAT) != also:
                _check_kind(attribute, kind, package)
        digest_info = fields[1].fields(_WHAT, 2)
        own = Slot(
            name=content_slot,
            algorithm=digest_name(digest_info[0], _WHAT),
            digest=digest_info[1].octets(_WHAT),
        )
        return (own, *kept(fields[0], _WHAT, _page_hashes))

    return read


def _check_kind(attribute: list[der.Node], kind: str, package: bytes) -> None:
    """Refuse SpcAttributeTypeAndOptionalValue of another kind, or of another package."""
    found = attribute[0].oid(_WHAT)
    value = attribute[1].fields(_WHAT, 2) if package and found == kind and attribute[1:] else []
    made = value[1].octets(_WHAT) if value else b""
    if found != kind or made != package:
        raise MalformedError(
            "signature", f"a digest of {f'{found} {made.hex()}'.strip()}",
            f"of {f'{kind} {package.hex()}'.strip()}", _CLAUSE,
            hint="the signature speaks of a file of another format",
        )  # fmt: skip


def _indirect_data(content: bytes) -> list[der.Node]:
    """Return the fields of SpcIndirectDataContent.

    PKCS#7 1.5 signs the SEQUENCE's contents; CMS (RFC 5652 5.2, which .NET's signers
    follow) puts the whole SEQUENCE in an OCTET STRING: then it is the one child.
    """
    fields = der.parse(der.encode(der.SEQUENCE, content), _WHAT).fields(_WHAT, 1)
    return fields if len(fields) > 1 else fields[0].fields(_WHAT, 2)


def _page_hashes(attribute: der.Node, what: str) -> tuple[Slot, ...]:
    """Return page hashes in SpcAttributeTypeAndOptionalValue -> SpcPeImageData -> SpcLink."""
    fields = attribute.fields(what, 1)
    if len(fields) < 2 or fields[1].tag != der.SEQUENCE:
        return ()
    for part in fields[1].children():
        if part.tag != 0xA0:
            continue
        link = part.children()[0] if part.end > part.start else None
        if link is None or link.tag != 0xA1:
            continue
        moniker = link.children()
        if len(moniker) == 2 and moniker[0].octets(what) == PAGE_HASH_CLASS:
            return _page_table(moniker[1].octets(what))
    return ()


def _page_table(serialized: bytes) -> tuple[Slot, ...]:
    """Read SpcSerializedObject: a SET of one attribute whose value holds (offset, digest) pairs.

    Offsets are 32-bit little-endian; the table ends with the file's size and a zero digest.
    """
    slots: list[Slot] = []
    for attribute in der.parse(serialized, _WHAT).fields(_WHAT, 1, der.SET):
        fields = attribute.fields(_WHAT, 2)
        algorithm = PAGE_HASHES.get(fields[0].oid(_WHAT))
        if algorithm is None:
            continue
        for value in fields[1].fields(_WHAT, 1, der.SET):
            slots += _pairs(value.octets(_WHAT), algorithm)
    return tuple(slots)


def _pairs(table: bytes, algorithm: str) -> list[Slot]:
    width = 4 + _DIGEST_SIZES[algorithm]
    if len(table) % width or not table:
        raise MalformedError("page hashes", f"{len(table)} bytes", f"pairs of {width}", _CLAUSE)
    if len(table) // width > MAX_PAGES:
        raise LimitError("page hashes", f"{len(table) // width} pages", f"at most {MAX_PAGES}")
    return [
        Slot(
            name=f"page:{int.from_bytes(table[i : i + 4], 'little')}",
            algorithm=algorithm,
            digest=table[i + 4 : i + width],
        )
        for i in range(0, len(table), width)
    ]
