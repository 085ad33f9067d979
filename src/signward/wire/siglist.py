"""UEFI signature lists and authenticated variables, read and written.

Source: UEFI 2.10, 8.2.2 (EFI_VARIABLE_AUTHENTICATION_2) and 32.4.1 (EFI_SIGNATURE_LIST).  All
numbers are little-endian; GUIDs stand as their structure does, the first three fields swapped.
In Python they are lower-case text without braces.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from signward.errors import LimitError, MalformedError
from signward.frozen import Frozen

SHA256 = "c1c41626-504c-4092-aca9-41f936934328"
X509 = "a5c059a1-94e4-4aa7-87b5-ab155c2bf072"
X509_SHA256 = "3bd2a492-96c0-4079-b420-fcf98ef103ed"
X509_SHA384 = "7076876e-80c2-4ee6-aad2-28b349a6865b"
X509_SHA512 = "446dbf63-2502-4cda-bcfa-2465d2b0fe9d"


class Form(NamedTuple):
    """A signature type: its short name, and the octets of its data (0: any, a certificate)."""

    name: str
    size: int


FORMS = {
    SHA256: Form("sha256", 32),
    X509: Form("x509", 0),
    X509_SHA256: Form("x509-sha256", 48),
    X509_SHA384: Form("x509-sha384", 64),
    X509_SHA512: Form("x509-sha512", 80),
    "826ca512-cf10-4ac9-b187-be01496631bd": Form("sha1", 20),
    "0b6e5233-a65c-44c9-9407-d9ab83bfc8bd": Form("sha224", 28),
    "ff3e5307-9fd0-48c9-85f1-8ad56c701e01": Form("sha384", 48),
    "093e0fae-a6c4-4f50-9f1b-d41e2b89c19a": Form("sha512", 64),
    "3c5766e8-269c-4e34-aa14-ed776e85b3b6": Form("rsa2048", 256),
    "e2b36190-879b-4a3d-ad8d-f2e7bba32784": Form("rsa2048-sha256", 256),
    "67f8444f-8743-48f1-a328-1eaab8736080": Form("rsa2048-sha1", 256),
}
"""The signature types of UEFI 2.10 32.4.1; a TBSCertificate's digest has a time behind it."""


GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
IMAGE_SECURITY = "d719b2cb-3d3a-4596-a3bc-dad00e67656f"
VENDORS = {"PK": GLOBAL, "KEK": GLOBAL} | dict.fromkeys(("db", "dbx", "dbt", "dbr"), IMAGE_SECURITY)
"""The variables of Secure Boot, each with the GUID it stands under (UEFI 2.10 32.4, 32.5)."""

SVN_OWNER = "9d132b6c-59d5-4388-ab1c-185cfcb2eb92"
"""Who owns a dbx entry that is no digest: a least security version of a Windows boot program."""

SVN_PROGRAMS = {
    "9d132b61-59d5-4388-ab1c-185c3cb2eb92": "bootmgfw.efi",
    "e8f82e9d-e127-4158-a488-4c18abe2f284": "cdboot.efi",
    "c999cac2-7ffe-496f-8127-9e2a8a535976": "wdsmgfw.efi",
}
"""The programs with such versions (Microsoft's dbx_info)."""

PKCS7 = "4aafd29d-68df-49ee-8aa9-347d375665a7"

ATTRIBUTES = 0x27
"""NON_VOLATILE, BOOTSERVICE_ACCESS, RUNTIME_ACCESS, TIME_BASED_AUTHENTICATED_WRITE_ACCESS."""
APPEND = 0x40
"""APPEND_WRITE: the entries are added to those that stand there."""

MAX_OCTETS = 16 * 1024 * 1024
"""Largest list read; firmware gives a variable some 64 KiB."""

MAX_ENTRIES = 1 << 18
"""Most entries: a SHA-256 entry takes 48 octets, so this is as much as `MAX_OCTETS` nearly."""

NO_TIME = datetime.min.replace(tzinfo=UTC)
"""The time of a write that bears none (an EFI_TIME of zeros): older than any other."""

_HEADER = struct.Struct("<16sIII")
_TIME = struct.Struct("<HBBBBBBIhBB")
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


class Svn(Frozen, frozen=True, kw_only=True):
    """The least security version of a Windows boot program: ``major.minor``."""

    program: str
    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.program} {self.major}.{self.minor}"


class Stored(Frozen, frozen=True, kw_only=True):
    """A file about a variable: its content, and what stood around it, if anything did."""

    content: bytes
    update: Update | None = None
    attributes: int | None = None


class Update(Frozen, frozen=True, kw_only=True):
    """An authenticated write: its time (UTC), the SignedData over it, what is written.

    ``time`` is the EFI_TIME as it stands in the file: tools write some that no calendar has.
    """

    at: datetime
    signed_data: bytes
    content: bytes
    time: bytes = b""


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
        form = FORMS.get(_text(kind))
        if form and (header or (form.size and each != 16 + form.size)):
            raise _malformed(f"a header of {header}, entries of {each}",
                             f"none, {16 + form.size or 'any'} for {form.name}", at)  # fmt: skip
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
    return _TIME.pack(at.year, at.month, at.day, at.hour, at.minute, at.second, 0, 0, 0, 0, 0)


def to_be_signed(
    name: str,
    content: bytes,
    at: datetime,
    *,
    append: bool = False,
    guid: str = "",
    time: bytes = b"",
) -> bytes:
    """Return the octets that a write of a variable signs (UEFI 2.10 8.2.2, step 2).

    Without ``guid`` it is one of `VENDORS`; ``time`` is an EFI_TIME that stands in for ``at``.
    """
    attributes = ATTRIBUTES | (APPEND if append else 0)
    return b"".join((
        name.encode("utf-16-le"), _octets(guid or VENDORS[name]), struct.pack("<I", attributes),
        time or efi_time(at), content,
    ))  # fmt: skip


def authenticated(update: Update) -> bytes:
    """Return an EFI_VARIABLE_AUTHENTICATION_2 with the content behind it, as SetVariable takes it.

    ``signed_data`` is the SignedData itself, without a ContentInfo around it.
    """
    size = _CERTIFICATE.size + len(update.signed_data)
    head = _CERTIFICATE.pack(size, _REVISION, _KIND, _octets(PKCS7))
    return (update.time or efi_time(update.at)) + head + update.signed_data + update.content


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
                  content=data[end:], time=data[: _TIME.size])  # fmt: skip


def _read_time(data: bytes, what: str, clause: str) -> datetime:
    """Return an EFI_TIME, or the nearest day that the calendar has; `NO_TIME` for all zeros.

    Firmware compares field by field and asks no calendar; sbvarsign counts months from zero.
    """
    year, month, day, hour, minute, second, *rest = _TIME.unpack_from(data)
    if not any(data[: _TIME.size]):
        return NO_TIME
    try:
        at = datetime(
            year, max(month, 1), min(max(day, 1), _EVERY_MONTH), hour, minute, second, tzinfo=UTC
        )
    except ValueError as error:
        raise MalformedError(what, str(error), "an EFI_TIME", clause, offset=0) from None
    if day > _LAST_DAY:
        raise MalformedError(what, f"day {day}", "an EFI_TIME", clause, offset=0)
    while at.day < day and (at + timedelta(days=1)).month == at.month:
        at += timedelta(days=1)
    if any(rest):
        raise MalformedError(what, "nanoseconds, a zone or padding", "zeros", clause, offset=0)
    return at


def stored(data: bytes) -> Stored:
    """Return what a file about a variable holds, by its own shape.

    That is an authenticated write, a file of efivarfs (attributes of four octets, then the
    content), or the content alone.  Raises ``MalformedError`` and ``LimitError``.
    """
    if is_update(data):
        update = read_update(data)
        return Stored(content=update.content, update=update)
    if len(data) == _ATTRIBUTES_SIZE or (data[:16] not in KINDS and data[4:20] in KINDS):
        return Stored(content=data[4:], attributes=int.from_bytes(data[:4], "little"))
    return Stored(content=data)


def is_update(head: bytes) -> bool:
    """Say whether octets begin as an authenticated write does: a time, then a PKCS#7."""
    at = _TIME.size + 4
    return head[at : at + 20] == _SIGNED


def is_content(head: bytes) -> bool:
    """Say whether octets begin as a signature list of a known type, or its efivarfs file."""
    return head[:16] in KINDS or head[4:20] in KINDS


def svn(entry: Entry) -> Svn | None:
    """Return the security version that a dbx entry holds; None for every other entry.

    Its 32 octets are a version (1), the program's GUID, minor and major of two octets each
    (little-endian) and zeros.
    """
    if entry.kind != SHA256 or entry.owner != SVN_OWNER:
        return None
    program = _text(entry.data[1:17])
    minor, major = struct.unpack_from("<HH", entry.data, 17)
    return Svn(program=SVN_PROGRAMS.get(program, program), major=major, minor=minor)


def revocation_time(entry: Entry) -> datetime | None:
    """Return since when a TBSCertificate's digest is revoked (UTC); None: ever.

    Raises ``MalformedError``.
    """
    raw = entry.data[-_TIME.size :]
    return _read_time(raw, _WHAT, _CLAUSE) if any(raw) else None


def _text(guid: bytes) -> str:
    swapped = (guid[3::-1], guid[5:3:-1], guid[7:5:-1], guid[8:10], guid[10:])
    return "-".join(part.hex() for part in swapped)


def _octets(guid: str) -> bytes:
    raw = bytes.fromhex(guid.replace("-", ""))
    return raw[3::-1] + raw[5:3:-1] + raw[7:5:-1] + raw[8:]


KINDS = frozenset(map(_octets, FORMS))
"""How a list begins: the GUID of its type."""

_ATTRIBUTES_SIZE = 4
_EVERY_MONTH, _LAST_DAY = 28, 31
_SIGNED = struct.pack("<HH", _REVISION, _KIND) + _octets(PKCS7)
