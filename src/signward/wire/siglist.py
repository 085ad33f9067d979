"""UEFI signature lists and authenticated variables, read and written.

Source: UEFI 2.10, 8.2.2 (EFI_VARIABLE_AUTHENTICATION_2) and 32.4.1 (EFI_SIGNATURE_LIST).  All
numbers are little-endian; GUIDs stand as their structure does, the first three fields swapped.
In Python they are lower-case text without braces.
"""

from __future__ import annotations

import itertools
import struct
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from signward.errors import LimitError, MalformedError
from signward.frozen import Frozen

SHA256 = "c1c41626-504c-4092-aca9-41f936934328"
X509 = "a5c059a1-94e4-4aa7-87b5-ab155c2bf072"
X509_SHA256 = "3bd2a492-96c0-4079-b420-fcf98ef103ed"
X509_SHA384 = "7076876e-80c2-4ee6-aad2-28b349a6865b"
X509_SHA512 = "446dbf63-2502-4cda-bcfa-2465d2b0fe9d"

GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
IMAGE_SECURITY = "d719b2cb-3d3a-4596-a3bc-dad00e67656f"
VENDORS = {"PK": GLOBAL, "KEK": GLOBAL, "db": IMAGE_SECURITY, "dbx": IMAGE_SECURITY}
"""The variables of Secure Boot, each with the GUID it stands under."""

PKCS7 = "4aafd29d-68df-49ee-8aa9-347d375665a7"

ATTRIBUTES = 0x27
"""NON_VOLATILE, BOOTSERVICE_ACCESS, RUNTIME_ACCESS, TIME_BASED_AUTHENTICATED_WRITE_ACCESS."""
APPEND = 0x40
"""APPEND_WRITE: the entries are added to those that stand there."""

MAX_OCTETS = 16 * 1024 * 1024
"""Largest list read; firmware gives a variable some 64 KiB."""

MAX_ENTRIES = 1 << 18
"""Most entries: a SHA-256 entry takes 48 octets, so this is as much as `MAX_OCTETS` nearly."""

_HEADER = struct.Struct("<16sIII")
_TIME = struct.Struct("<HBBBBBxIhBx")
_CERTIFICATE = struct.Struct("<IHH16s")
_REVISION, _KIND = 0x0200, 0x0EF1
_WHAT = "signature list"
_CLAUSE = "UEFI 2.10 32.4.1"


class Entry(Frozen, frozen=True, kw_only=True):
    """One EFI_SIGNATURE_DATA: what kind it is, who put it there, and the octets.

    ``data`` is a digest, a certificate (DER), or a TBSCertificate's digest with an EFI_TIME.
    """

    kind: str
    owner: str
    data: bytes


class Update(Frozen, frozen=True, kw_only=True):
    """An authenticated write: its time (UTC), the SignedData over it, what is written."""

    at: datetime
    signed_data: bytes
    content: bytes


def read_lists(data: bytes) -> tuple[Entry, ...]:
    """Return the entries of a variable's content.

    Raises ``MalformedError`` and ``LimitError``.
    """
    if len(data) > MAX_OCTETS:
        raise LimitError(_WHAT, f"{len(data)} octets", f"at most {MAX_OCTETS}")
    entries = tuple(itertools.islice(_entries(data), MAX_ENTRIES + 1))
    if len(entries) > MAX_ENTRIES:
        raise LimitError(_WHAT, "more entries", f"at most {MAX_ENTRIES}")
    return entries


def _entries(data: bytes) -> Iterator[Entry]:
    at = 0
    while at < len(data):
        if len(data) - at < _HEADER.size:
            raise _malformed(f"{len(data) - at} octets left", f"a header of {_HEADER.size}", at)
        kind, size, header, each = _HEADER.unpack_from(data, at)
        body = size - _HEADER.size - header
        if size > len(data) - at or body < 0:
            raise _malformed(f"a list of {size} octets with a header of {header}",
                             f"at most {len(data) - at} in all", at)  # fmt: skip
        if each < 16 or body % each:
            raise _malformed(f"{body} octets of entries of {each}", "whole entries, an owner each",
                             at)  # fmt: skip
        start = at + _HEADER.size + header
        for place in range(start, at + size, each):
            owner = data[place : place + 16]
            yield Entry(kind=_text(kind), owner=_text(owner), data=data[place + 16 : place + each])
        at += size


def _malformed(found: str, required: str, offset: int) -> MalformedError:
    return MalformedError(_WHAT, found, required, _CLAUSE, offset=offset)


def write_lists(entries: Iterable[Entry]) -> bytes:
    """Return the signature lists of these entries.

    Neighbours of one kind and length share a list; a certificate has one to itself, as
    firmware that was not written for more expects.
    """
    lists = []
    for (kind, size, _), group in itertools.groupby(enumerate(entries), _sharing):
        body = b"".join(_octets(entry.owner) + entry.data for _, entry in group)
        lists.append(_HEADER.pack(_octets(kind), _HEADER.size + len(body), 0, 16 + size) + body)
    return b"".join(lists)


def _sharing(numbered: tuple[int, Entry]) -> tuple[str, int, int]:
    number, entry = numbered
    return entry.kind, len(entry.data), number if entry.kind == X509 else 0


def revoked_tbs(digest: bytes, at: datetime | None = None) -> bytes:
    """Return the data of an EFI_CERT_X509_SHA*: all that is signed since ``at``, None: ever."""
    return digest + (efi_time(at) if at else bytes(_TIME.size))


def efi_time(at: datetime) -> bytes:
    """Return an EFI_TIME in whole seconds; its zone, nanoseconds and padding are zero (8.2.2)."""
    at = at.astimezone(UTC)
    return _TIME.pack(at.year, at.month, at.day, at.hour, at.minute, at.second, 0, 0, 0)


def to_be_signed(name: str, content: bytes, at: datetime, *, append: bool = False) -> bytes:
    """Return the octets that a write of one of `VENDORS` signs (UEFI 2.10 8.2.2, step 2)."""
    attributes = ATTRIBUTES | (APPEND if append else 0)
    return b"".join((
        name.encode("utf-16-le"), _octets(VENDORS[name]), struct.pack("<I", attributes),
        efi_time(at), content,
    ))  # fmt: skip


def authenticated(update: Update) -> bytes:
    """Return an EFI_VARIABLE_AUTHENTICATION_2 with the content behind it, as SetVariable takes it.

    ``signed_data`` is the SignedData itself, without a ContentInfo around it.
    """
    size = _CERTIFICATE.size + len(update.signed_data)
    head = _CERTIFICATE.pack(size, _REVISION, _KIND, _octets(PKCS7))
    return efi_time(update.at) + head + update.signed_data + update.content


def read_update(data: bytes) -> Update:
    """Return what an authenticated write holds.  Raises ``MalformedError`` and ``LimitError``."""
    what, clause = "authenticated variable", "UEFI 2.10 8.2.2"
    if len(data) > MAX_OCTETS:
        raise LimitError(what, f"{len(data)} octets", f"at most {MAX_OCTETS}")
    least = _TIME.size + _CERTIFICATE.size
    if len(data) < least:
        raise MalformedError(what, f"{len(data)} octets", f"at least {least}", clause)
    size, revision, kind, guid = _CERTIFICATE.unpack_from(data, _TIME.size)
    if (revision, kind, _text(guid)) != (_REVISION, _KIND, PKCS7):
        raise MalformedError(what, f"revision {revision:#x}, type {kind:#x}, {_text(guid)}",
                             "a PKCS#7 signature", clause, offset=_TIME.size)  # fmt: skip
    end = _TIME.size + size
    if size < _CERTIFICATE.size or end > len(data):
        raise MalformedError(what, f"a signature of {size} octets", f"at most {len(data)} in all",
                             clause, offset=_TIME.size)  # fmt: skip
    return Update(at=_read_time(data, what, clause), signed_data=data[least:end],
                  content=data[end:])  # fmt: skip


def _read_time(data: bytes, what: str, clause: str) -> datetime:
    year, month, day, hour, minute, second, nano, zone, daylight = _TIME.unpack_from(data)
    try:
        at = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise MalformedError(what, str(error), "an EFI_TIME", clause, offset=0) from None
    if (nano, zone, daylight) != (0, 0, 0):
        raise MalformedError(what, "nanoseconds or a zone", "none", clause, offset=0)
    return at


def _text(guid: bytes) -> str:
    return str(uuid.UUID(bytes_le=guid))


def _octets(guid: str) -> bytes:
    return uuid.UUID(guid).bytes_le
