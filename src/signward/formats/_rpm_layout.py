"""Where an RPM's parts lie, and what its signature header says: claims, digests, nothing else.

That header is itself covered by nothing.  What stands in it is used, or told apart: a tag that
no reader knows, octets between values or in reserved space are content that nobody signed.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping

from signward.envelopes.openpgp import Opened, open_detached
from signward.errors import LimitError, MalformedError
from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen, replace
from signward.state import Region, Slot, Source
from signward.wire.rpm import (
    BINARY,
    ENTRY,
    IMMUTABLE,
    INT32,
    INT64,
    INTRO,
    SIGNATURES,
    STRING,
    STRINGS,
    Header,
    read_package_header,
)

LEAD = 96
LEAD_MAGIC = b"\xed\xab\xee\xdb"

HEADER, PACKAGE, PAYLOAD, UNPACKED = "header", "package", "payload", "payload:unpacked"
"""Slots: the header, header and payload, the payload as it stands and what it unpacks to."""

_PART = "part:"
_KNOWN_BY = "sha256"
"""A package is known by this digest of header and payload; all others are parts of its check."""

DSA_HEADER, RSA_HEADER, OPENPGP = 267, 268, 278
PGP, GPG = 1002, 1005
SIZE, LONG_SIZE, MD5, RESERVED, OLD_RESERVED = 1000, 270, 1004, 999, 1008
SHA1, SHA256, SHA3_256 = 269, 273, 279
IMA, IMA_LENGTH, VERITY, VERITY_ALGORITHM = 274, 275, 276, 277
_PAYLOAD_SIZE, _LONG_PAYLOAD_SIZE = 1007, 271
"""Tags of the signature header."""

OF_HEADER = (OPENPGP, RSA_HEADER, DSA_HEADER)
OF_PACKAGE = (PGP, GPG)
"""Tags of signatures over the header, and of the old ones over header and payload."""

KINDS: Mapping[int, int] = {
    **dict.fromkeys((DSA_HEADER, RSA_HEADER, PGP, GPG, MD5, RESERVED, OLD_RESERVED), BINARY),
    **dict.fromkeys((SHA1, SHA256, SHA3_256), STRING),
    **dict.fromkeys((OPENPGP, IMA, VERITY), STRINGS),
    **dict.fromkeys((SIZE, _PAYLOAD_SIZE, IMA_LENGTH, VERITY_ALGORITHM), INT32),
    **dict.fromkeys((LONG_SIZE, _LONG_PAYLOAD_SIZE), INT64),
}
"""The types of all tags that rpm knows in a signature header."""

MAX_SIGNATURES = 32
"""Signatures of one package; those in the wild have one or two."""

_DIGESTS = {SHA1: "sha1", SHA256: "sha256", SHA3_256: "sha3_256"}
_SPARE = (RESERVED, OLD_RESERVED)
_LEAD_CLAUSE = "RPM package format, lead"
_CLAUSE = "RPM package format, signature header"
_UNREAD: Mapping[int, str] = {
    **dict.fromkeys(
        (_PAYLOAD_SIZE, _LONG_PAYLOAD_SIZE), "RPM package format, signature header: informative"
    ),
    **dict.fromkeys(
        (IMA, IMA_LENGTH, VERITY, VERITY_ALGORITHM),
        "RPM package format, file signatures: each a signature itself",
    ),
}
"""Tags that nothing covers, and why that is no harm."""


class Package(Frozen, frozen=True, kw_only=True):
    """The parts: the signature header ends at ``padding``, the header is ``start`` to ``payload``.

    From ``payload`` on all is payload.
    """

    signature: Header
    header: Header
    padding: int
    start: int
    payload: int


def read_package(source: Source) -> Package:
    """Return the parts.  Raises ``MalformedError``, ``AmbiguousError`` and ``LimitError``."""
    if source.length < LEAD:
        raise MalformedError("RPM lead", f"{source.length} octets", str(LEAD), _LEAD_CLAUSE)
    _check_lead(source.read(0, LEAD))
    signature, padding = read_package_header(source, LEAD, SIGNATURES, "RPM signature header")
    for tag, entry in signature.entries.items():
        if entry.kind != KINDS.get(tag, entry.kind):
            raise MalformedError(signature.what, f"tag {tag} of type {entry.kind}",
                                 str(KINDS[tag]), _CLAUSE)  # fmt: skip
    start = padding + -padding % 8
    if source.length < start or any(source.read(padding, start - padding)):
        raise MalformedError(signature.what, "something else behind it", "zeros, to a multiple "
                             "of eight octets", _CLAUSE, offset=padding)  # fmt: skip
    header, payload = read_package_header(source, start, IMMUTABLE, "RPM header")
    return Package(
        signature=signature, header=header, padding=padding, start=start, payload=payload
    )


def _check_lead(lead: bytes) -> None:
    """Ask of the lead what rpm asks: magic, version 3 or 4, signatures of type 5 (a header)."""
    version = lead[4:6] in (b"\3\0", b"\4\0")
    if lead[:4] != LEAD_MAGIC or not version or lead[78:80] != b"\0\5":
        raise MalformedError("RPM lead", f"{lead[:6].hex()}, signature type {lead[78:80].hex()}",
                             "edabeedb, version 3 or 4, type 0005", _LEAD_CLAUSE)  # fmt: skip


def signatures_of(header: Header) -> Iterator[tuple[str, Opened]]:
    """Yield each signature and the slot it is over, those over the header first.

    New writers put a signature in twice, where old readers look for it as well: it counts once.
    Raises ``MalformedError`` and ``LimitError``.
    """
    seen = set[tuple[str, bytes]]()
    for slot, packet in packets_of(header):
        if (slot, packet) in seen:
            continue
        seen.add((slot, packet))
        if len(seen) > MAX_SIGNATURES:
            raise LimitError(header.what, "more signatures", f"at most {MAX_SIGNATURES}")
        opened = open_detached(packet, _PART + slot, first=len(seen))
        if len(opened) > 1:
            raise MalformedError(header.what, f"{len(opened)} signatures in one value", "one",
                                 _CLAUSE)  # fmt: skip
        yield slot, _of_octets(opened[0])


def _of_octets(opened: Opened) -> Opened:
    """Return a signature with the objection that it is over text, where it says so."""
    if not opened.text:
        return opened
    finding = Finding(
        code=Code.ATTRIBUTE_RULE, effect=Effect.REJECT,
        subject=f"signature {opened.claimed.label}", found="a signature over text (type 0x01)",
        required="one over octets (type 0x00): a header has no lines", clause="RFC 9580 5.2.1",
    )  # fmt: skip
    claimed = replace(opened.claimed, findings=(*opened.claimed.findings, finding))
    return replace(opened, claimed=claimed)


def packets_of(header: Header) -> Iterator[tuple[str, bytes]]:
    """Yield each signature as a packet, and the slot it is over.  Raises ``MalformedError``."""
    for text in header.strings(OPENPGP):
        try:
            packet = binascii.a2b_base64(text, strict_mode=True)
        except binascii.Error as error:
            raise MalformedError(header.what, str(error), "Base64", _CLAUSE) from None
        if base64.b64encode(packet) != text:
            raise MalformedError(header.what, "Base64 with bits behind its end", "none", _CLAUSE)
        yield HEADER, packet
    for slot, tags in ((HEADER, OF_HEADER[1:]), (PACKAGE, OF_PACKAGE)):
        for tag in tags:
            octets = header.octets(tag)
            if octets is not None:
                yield slot, octets


def digests_of(header: Header) -> Iterator[Slot]:
    """Yield the digests that a signature header tells: nobody signed them, but they must match."""
    for tag, algorithm in _DIGESTS.items():
        text = header.text(tag)
        if text is not None:
            yield digest_slot(HEADER, algorithm, hexadecimal(text, header))
    digest = header.octets(MD5)
    if digest is not None:
        yield digest_slot(PACKAGE, "md5", digest)


def digest_slot(of: str, algorithm: str, digest: bytes) -> Slot:
    """Return a digest of one of the slots, under a name that verdicts show or do not."""
    shown = algorithm == _KNOWN_BY and of in (HEADER, PAYLOAD)
    return Slot(name=of if shown else _PART + of, algorithm=algorithm, digest=digest)


def slot_of(name: str) -> str:
    """Return what a slot's name is of."""
    return name.removeprefix(_PART)


def hexadecimal(text: str, header: Header) -> bytes:
    """Return the octets of a digest as headers tell it.  Raises ``MalformedError``."""
    try:
        octets = bytes.fromhex(text)
    except ValueError:
        octets = b""
    if not octets or octets.hex() != text:
        raise MalformedError(header.what, f"digest {text[:80]!r}", "lower-case hexadecimal",
                             _CLAUSE)  # fmt: skip
    return octets


def regions_of(package: Package) -> Iterator[Region]:
    """Yield what nothing covers: the lead, and parts of the signature header."""
    yield Region(start=0, end=LEAD, what="lead", exempt="RPM package format, lead: obsolete")
    header = package.signature
    at = LEAD + INTRO + (len(header.entries) + 1) * ENTRY
    end = 0
    for tag, entry in header.entries.items():
        octets = header.store[entry.start : entry.end]
        aligned = end + -end % entry.width
        if aligned != entry.start or any(header.store[end:aligned]):
            yield Region(start=at + end, end=at + entry.start, what="signature header, gap")
        if tag not in KINDS or (tag in _SPARE and octets.count(0) < len(octets)):
            what = f"signature header, tag {tag}"
            yield Region(start=at + entry.start, end=at + entry.end, what=what)
        elif tag in _UNREAD:
            what, why = f"signature header, tag {tag}", _UNREAD[tag]
            yield Region(start=at + entry.start, end=at + entry.end, what=what, exempt=why)
        end = entry.end
    if end < len(header.store) - ENTRY:
        yield Region(start=at + end, end=package.padding - ENTRY, what="signature header, gap")
