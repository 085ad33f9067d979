"""OpenPGP packets (RFC 9580 4) and armour (6): cut apart, not understood.

Integers are big-endian.  Both packet headers are read; packets of indeterminate and of partial
length are refused: signatures and keys may have neither (4.2.1.4).
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator

from signward.errors import LimitError, MalformedError
from signward.frozen import Frozen

MAX_PACKETS = 100_000
"""Packets of one file: a distribution's keyring has a few thousand."""

MAX_PACKET_OCTETS = 16 * 1024 * 1024
"""Octets of one packet: a user attribute may hold a picture."""

SIGNATURE, SECRET_KEY, PUBLIC_KEY, SECRET_SUBKEY = 2, 5, 6, 7
MARKER, TRUST, USER_ID, PUBLIC_SUBKEY, USER_ATTRIBUTE, PADDING = 10, 12, 13, 14, 17, 21
"""Packet type ids (RFC 9580 5)."""

FIRST_NONCRITICAL = 40
"""Packet types from here on may be passed over by whoever does not know them (4.3)."""

_WHAT = "OpenPGP packet"
_HEADERS = "RFC 9580 4.2"
_ARMOUR = "OpenPGP armour"
_FRAME = re.compile(rb"-----(BEGIN|END) PGP ([A-Z ]{1,40})-----\Z")
_COLUMNS = 64
"""Characters of Base64 in a line; at most 76 (6.3)."""

_CRC_INIT, _CRC_POLYNOMIAL = 0xB704CE, 0x1864CFB


class Packet(Frozen, frozen=True, kw_only=True):
    """One packet: its type id, its body, and the offset of its header."""

    tag: int
    body: bytes
    offset: int


def write_packet(tag: int, body: bytes) -> bytes:
    """Return a packet, its header in the present form (RFC 9580 4.2.1)."""
    return bytes([0xC0 | tag]) + write_length(len(body)) + body


def write_length(length: int) -> bytes:
    """Return a length, of a packet or a subpacket, in the fewest octets (RFC 9580 4.2.1)."""
    if length < 192:
        return bytes([length])
    if length < 8384:
        return bytes([(length - 192 >> 8) + 192, (length - 192) & 0xFF])
    return b"\xff" + length.to_bytes(4, "big")


def packets(data: bytes) -> Iterator[Packet]:
    """Yield the packets in ``data``, to its very end.

    Raises ``MalformedError`` and ``LimitError``.
    """
    position = count = 0
    while position < len(data):
        count += 1
        if count > MAX_PACKETS:
            raise LimitError(_WHAT, f"more than {MAX_PACKETS} packets", "fewer")
        tag, start, length = _header(data, position)
        if length > MAX_PACKET_OCTETS:
            raise LimitError(_WHAT, f"{length} octets", f"at most {MAX_PACKET_OCTETS}")
        if start + length > len(data):
            raise MalformedError(
                _WHAT, f"{length} octets that end beyond the data",
                f"at most {len(data) - start}", _HEADERS, offset=position,
            )  # fmt: skip
        yield Packet(tag=tag, body=data[start : start + length], offset=position)
        position = start + length


def _header(data: bytes, position: int) -> tuple[int, int, int]:
    """Return the type id, where the body starts, and its length."""
    first = data[position]
    if not first & 0x80:
        raise MalformedError(_WHAT, f"octet {first:#04x}", "one with the highest bit set",
                             _HEADERS, offset=position)  # fmt: skip
    if first & 0x40:
        length, start = new_length(data, position + 1, partial=True)
        return first & 0x3F, start, length
    size = {0: 1, 1: 2, 2: 4}.get(first & 3)
    if size is None:
        raise MalformedError(_WHAT, "an indeterminate length", "a length",
                             "RFC 9580 4.2.2", offset=position)  # fmt: skip
    start = position + 1 + size
    return first >> 2 & 0xF, start, int.from_bytes(_octets(data, position + 1, size), "big")


def new_length(data: bytes, position: int, *, partial: bool = False) -> tuple[int, int]:
    """Return a length in one, two or five octets and where it ends (RFC 9580 4.2.1).

    Where ``partial`` lengths could stand they are refused; subpackets have none (5.2.3.7).
    """
    first = _octets(data, position, 1)[0]
    if first < 192:
        return first, position + 1
    if first == 0xFF:
        return int.from_bytes(_octets(data, position + 1, 4), "big"), position + 5
    if partial and first >= 0xE0:
        raise MalformedError(_WHAT, "a partial length", "the whole packet in one piece",
                             "RFC 9580 4.2.1.4", offset=position)  # fmt: skip
    second = _octets(data, position + 1, 1)[0]
    return ((first - 192) << 8) + second + 192, position + 2


def _octets(data: bytes, position: int, size: int) -> bytes:
    found = data[position : position + size]
    if len(found) < size:
        raise MalformedError(_WHAT, "a header that ends early", "a whole one", _HEADERS,
                             offset=position)  # fmt: skip
    return found


def is_armoured(data: bytes) -> bool:
    """Say whether data are text with an armoured block in it, not packets."""
    return not (data[:1] and data[0] & 0x80) and b"-----BEGIN PGP " in data


def armour(octets: bytes, label: str, *, checksum: bool = True) -> bytes:
    """Return octets as an armoured block (RFC 9580 6.2), its lines ended by LF.

    GnuPG 2.2 does not see where a block ends that has neither padding nor ``checksum``; around
    packets of version 6, which it does not know, none may stand (6.1).
    """
    text = binascii.b2a_base64(octets, newline=False)
    lines = [text[at : at + _COLUMNS] for at in range(0, len(text), _COLUMNS)]
    if checksum:
        told = crc24(octets).to_bytes(3, "big")
        lines.append(b"=" + binascii.b2a_base64(told, newline=False))
    name = label.encode("ascii")
    return b"\n".join(
        (b"-----BEGIN PGP %b-----" % name, b"", *lines, b"-----END PGP %b-----" % name, b"")
    )


def dearmour(data: bytes, label: str, *, alone: bool) -> bytes:
    """Return the octets in the blocks of one ``label``, one behind the other.

    ``alone`` asks for one block with nothing around it: what a reader of a signature does not
    see must not be there.  Raises ``MalformedError``.
    """
    blocks, around = _cut(data)
    wanted = [lines for found, lines in blocks if found == label]
    if not wanted:
        found = blocks[0][0] if blocks else "no whole block"
        raise MalformedError(_ARMOUR, found, label, "RFC 9580 6.2")
    if alone and (len(blocks) > 1 or around):
        found = "text around the block" if around else f"{len(blocks)} blocks"
        raise MalformedError(_ARMOUR, found, "one block and nothing else", "RFC 9580 6.2")
    return b"".join(map(_decoded, wanted))


def _cut(data: bytes) -> tuple[list[tuple[str, list[bytes]]], bool]:
    """Return the blocks, each its label and the lines inside, and whether text is around them.

    One pass over the lines, which come without spaces at their ends.  Raises ``MalformedError``
    for a frame's line that stands where it should not: blocks follow one another.
    """
    blocks, around = list[tuple[str, list[bytes]]](), False
    ends = b""  # what ends the block that is open
    for line in map(bytes.rstrip, data.split(b"\n")):
        frame = _FRAME.match(line)
        if frame and (frame[1] == b"END" if not ends else line != ends):
            raise MalformedError(_ARMOUR, line.decode("ascii"), ends.decode("ascii") or "a block",
                                 "RFC 9580 6.2")  # fmt: skip
        if frame and not ends:
            blocks.append((frame[2].decode("ascii"), []))
            ends = line.replace(b"BEGIN", b"END", 1)
        elif frame:
            ends = b""
        elif ends:
            blocks[-1][1].append(line)
        else:
            around = around or bool(line)
    if ends:
        raise MalformedError(_ARMOUR, "no whole block", ends.decode("ascii"), "RFC 9580 6.2")
    return blocks, around


def _decoded(lines: list[bytes]) -> bytes:
    """Return what one block's lines stand for; its checksum must fit if there is one."""
    plain = (at for at, line in enumerate(lines) if b": " not in line and not line.endswith(b":"))
    start = next(plain, len(lines))
    if lines[start : start + 1] != [b""]:
        raise MalformedError(_ARMOUR, "no empty line behind its headers", "one", "RFC 9580 6.2")
    base64 = b"".join(lines[start:])
    body, mark, checksum = base64, b"", b""
    if base64[-5:-4] == b"=":
        body, mark, checksum = base64[:-5], b"=", base64[-4:]
    try:
        octets = binascii.a2b_base64(body, strict_mode=True)
        told = binascii.a2b_base64(checksum, strict_mode=True)
    except binascii.Error as error:
        raise MalformedError(_ARMOUR, f"damaged Base64: {error}", "Base64", "RFC 9580 6") from None
    if binascii.b2a_base64(octets, newline=False) != body:
        raise MalformedError(_ARMOUR, "Base64 with bits behind its end", "none", "RFC 4648 3.5")
    if mark and told != crc24(octets).to_bytes(3, "big"):
        raise MalformedError(_ARMOUR, f"checksum {told.hex()}", f"{crc24(octets):06x}",
                             "RFC 9580 6.1.1")  # fmt: skip
    return octets


def crc24(octets: bytes) -> int:
    """Return the checksum of RFC 9580 6.1.1."""
    crc = _CRC_INIT
    for octet in octets:
        crc = (crc << 8 & 0xFFFFFF) ^ _CRC_TABLE[crc >> 16 ^ octet]
    return crc


def _crc_of(octet: int) -> int:
    crc = octet << 16
    for _ in range(8):
        crc <<= 1
        if crc & 0x1000000:
            crc ^= _CRC_POLYNOMIAL
    return crc


_CRC_TABLE = tuple(map(_crc_of, range(256)))
