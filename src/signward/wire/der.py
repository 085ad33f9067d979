"""ASN.1: a bounded BER reader that keeps offsets, and a DER writer (X.690).

Real signatures hold BER: indefinite lengths, constructed OCTET STRINGs, unsorted
SET OF.  The reader accepts those and nothing stranger: lengths of more than four
octets, tag numbers above 30, nesting deeper than ``MAX_DEPTH`` and contents that
overrun their parent are malformed.  Integers are big-endian two's complement.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import msgspec

from signward.errors import LimitError, MalformedError

MAX_DEPTH = 40
"""Deepest nesting read; the deepest real signature seen (nested, timestamped) has 24."""

MAX_INTEGER_OCTETS = 1024
"""Longest INTEGER converted to a Python int: keys are not read here, and past 1785 octets
an int cannot be printed (``sys.get_int_max_str_digits``: 4300)."""

MAX_OID_OCTETS = 64

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, NULL, OID = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06
ENUMERATED, UTF8_STRING, PRINTABLE_STRING, TELETEX_STRING, IA5_STRING = 0x0A, 0x0C, 0x13, 0x14, 0x16
UTC_TIME, GENERALIZED_TIME, UNIVERSAL_STRING, BMP_STRING = 0x17, 0x18, 0x1C, 0x1E
SEQUENCE, SET = 0x30, 0x31
_CONSTRUCTED = 0x20
_CLAUSE = "X.690 8.1"

_STRING_CODECS = {
    UTF8_STRING: "utf-8",
    PRINTABLE_STRING: "ascii",
    TELETEX_STRING: "latin-1",
    IA5_STRING: "ascii",
    0x12: "ascii",
    0x1A: "ascii",
    UNIVERSAL_STRING: "utf-32-be",
    BMP_STRING: "utf-16-be",
}


class Node(msgspec.Struct, frozen=True, gc=False, eq=False):
    """One element: ``data[offset:start]`` is its header, ``data[start:end]`` its contents.

    ``next`` is where its successor begins (``end``, plus the two end-of-contents
    octets for an indefinite length).  Positional, and unknown to the garbage collector (it
    holds octets and numbers): a signature has hundreds.  For the same reason methods look
    at fields themselves, not through properties or `expect`, where nothing is wrong.
    """

    data: bytes
    tag: int
    offset: int
    start: int
    end: int
    next: int
    depth: int

    @property
    def content(self) -> bytes:
        """The contents octets, as they stand."""
        return self.data[self.start : self.end]

    @property
    def raw(self) -> bytes:
        """Header and contents, as they stand."""
        return self.data[self.offset : self.next]

    @property
    def indefinite(self) -> bool:
        """Whether the length was given by an end-of-contents marker."""
        return self.next != self.end

    def __repr__(self) -> str:
        return f"<Node {self.tag:#04x} at {self.offset}, {self.end - self.start} bytes>"

    def expect(self, tag: int, what: str) -> Node:
        """Return self if its tag is ``tag``; otherwise raise ``MalformedError``."""
        if self.tag != tag:
            raise MalformedError(
                what, f"tag {self.tag:#04x}", f"tag {tag:#04x}", _CLAUSE, offset=self.offset
            )
        return self

    def children(self) -> list[Node]:
        """Return the elements inside a constructed element, in order."""
        if not self.tag & _CONSTRUCTED:
            raise MalformedError(
                "ASN.1", f"primitive tag {self.tag:#04x}", "a constructed element",
                _CLAUSE, offset=self.offset,
            )  # fmt: skip
        nodes: list[Node] = []
        data, position, end, depth = self.data, self.start, self.end, self.depth + 1
        # Lengths of one octet and of two behind 0x82, inlined: nearly all elements, nearly all
        # of the time spent.  ``_read`` takes the others, and refuses what is wrong.
        easy = end - 3 if depth <= MAX_DEPTH else 0
        while position < end:
            if position < easy:
                tag, length = data[position], data[position + 1]
                start = position + 2
                if length >= 0x80:
                    if length == 0x82:
                        length = data[start] << 8 | data[start + 1]
                        start += 2
                    elif length == 0x81:
                        length = data[start]
                        start += 1
                    else:
                        length = end
                stop = start + length
                if stop <= end and tag & 0x1F != 0x1F:
                    nodes.append(Node(data, tag, position, start, stop, stop, depth))
                    position = stop
                    continue
            node = _read(data, position, end, depth)
            nodes.append(node)
            position = node.next
        return nodes

    def fields(self, what: str, least: int = 0, tag: int = SEQUENCE) -> list[Node]:
        """Return the children of a SEQUENCE (or ``tag``) with at least ``least`` of them."""
        if self.tag != tag:
            self.expect(tag, what)
        nodes = self.children()
        if len(nodes) < least:
            raise MalformedError(
                what, f"{len(nodes)} fields", f"at least {least}", offset=self.offset
            )
        return nodes

    def integer(self, what: str = "INTEGER", tag: int = INTEGER) -> int:
        """Return an INTEGER (or ENUMERATED, named by ``tag``) as a signed int."""
        if self.tag != tag:
            self.expect(tag, what)
        if not 0 < self.end - self.start <= MAX_INTEGER_OCTETS:
            raise LimitError(
                what, f"{self.end - self.start} octets", f"1 to {MAX_INTEGER_OCTETS}",
                "X.690 8.3", offset=self.offset,
            )  # fmt: skip
        return int.from_bytes(self.data[self.start : self.end], "big", signed=True)

    def boolean(self, what: str = "BOOLEAN") -> bool:
        """Return a BOOLEAN; any non-zero octet is true (X.690 8.2)."""
        if self.expect(BOOLEAN, what).end - self.start != 1:
            raise MalformedError(
                what, f"{self.end - self.start} octets", "1", "X.690 8.2", offset=self.offset
            )
        return self.data[self.start] != 0

    def oid(self, what: str = "OBJECT IDENTIFIER") -> str:
        """Return an OBJECT IDENTIFIER in dotted decimal."""
        if self.tag != OID:
            self.expect(OID, what)
        try:
            return _dotted(self.data[self.start : self.end])
        except ValueError as error:
            raise MalformedError(
                what, str(error), "an OBJECT IDENTIFIER", "X.690 8.19", offset=self.offset
            ) from None

    def octets(self, what: str = "OCTET STRING", tag: int = OCTET_STRING) -> bytes:
        """Return the octets of an OCTET STRING, joining constructed segments.

        ``tag`` is the primitive tag; an implicitly tagged string names its own.
        """
        if self.tag == tag:
            return self.data[self.start : self.end]
        self.expect(tag | _CONSTRUCTED, what)
        return b"".join(child.octets(what) for child in self.children())

    def bits(self, what: str = "BIT STRING") -> bytes:
        """Return a BIT STRING of whole octets; unused bits must be zero in number."""
        content = self.expect(BIT_STRING, what).content
        if not content or content[0] != 0:
            raise MalformedError(
                what, "unused bits", "whole octets", "X.690 8.6", offset=self.offset
            )
        return content[1:]

    def text(self, what: str = "string") -> str:
        """Return a character string of any ASN.1 string type."""
        codec = _STRING_CODECS.get(self.tag)
        try:
            if codec:
                return self.content.decode(codec)
        except UnicodeDecodeError as error:
            raise MalformedError(
                what, f"octets that are no {codec}", "text", offset=self.offset
            ) from error
        raise MalformedError(what, f"tag {self.tag:#04x}", "a string type", offset=self.offset)

    def time(self, what: str = "Time") -> datetime:
        """Return a UTCTime or GeneralizedTime as an aware UTC datetime."""
        try:
            return _instant(self.tag, self.content.decode("ascii"))
        except ValueError:
            raise MalformedError(
                what, repr(self.content[:32]), "UTCTime or GeneralizedTime",
                "RFC 5280 4.1.2.5", offset=self.offset,
            ) from None  # fmt: skip

    def implicit(self, tag: int) -> Node:
        """Return the same element seen with the universal ``tag`` it stands for."""
        return Node(self.data, tag, self.offset, self.start, self.end, self.next, self.depth)

    def der(self, tag: int | None = None) -> bytes:
        """Return the element with a definite length, re-encoded only where it must be.

        ``tag`` replaces the outermost tag (signed attributes are hashed as a SET,
        RFC 5652 5.4).  Order is kept: signers hash what they wrote.
        """
        tag = self.tag if tag is None else tag
        if not (self.tag & _CONSTRUCTED and _has_indefinite(self)):
            return encode(tag, self.content)
        return encode(tag, b"".join(child.der() for child in self.children()))


def parse(data: bytes, what: str, *, trailing: bool = False) -> Node:
    """Return the one element ``data`` holds.

    Bytes behind it raise ``MalformedError`` unless ``trailing`` is set; the caller
    then looks at ``node.next`` itself.
    """
    node = _read(data, 0, len(data), 0)
    if node.next != len(data) and not trailing:
        raise MalformedError(
            what, f"{len(data) - node.next} bytes behind the structure", "none",
            "X.690 8.1", offset=node.next,
        )  # fmt: skip
    return node


def _read(data: bytes, position: int, limit: int, depth: int) -> Node:
    if depth > MAX_DEPTH:
        raise LimitError("ASN.1", f"nesting beyond {MAX_DEPTH}", "less", offset=position)
    if position + 2 > limit:
        raise MalformedError("ASN.1", "a truncated header", "2 octets", _CLAUSE, offset=position)
    tag, length = data[position], data[position + 1]
    if tag & 0x1F == 0x1F:
        raise MalformedError(
            "ASN.1", "a tag number above 30", "a low tag", "X.690 8.1.2.4", offset=position
        )
    start = position + 2
    if length == 0x80:
        return _read_indefinite(data, tag, position, start, limit, depth)
    if length > 0x80:
        count = length & 0x7F
        if count > 4 or start + count > limit:
            raise MalformedError(
                "ASN.1", f"a length of {count} octets", "at most 4, inside its parent",
                "X.690 8.1.3.5", offset=position,
            )  # fmt: skip
        length = int.from_bytes(data[start : start + count], "big")
        start += count
    end = start + length
    if end > limit:
        raise MalformedError(
            "ASN.1", f"contents of {length} bytes", f"at most the {limit - start} of its parent",
            _CLAUSE, offset=position,
        )  # fmt: skip
    return Node(data, tag, position, start, end, end, depth)


def _read_indefinite(
    data: bytes, tag: int, offset: int, start: int, limit: int, depth: int
) -> Node:
    if not tag & _CONSTRUCTED:
        raise MalformedError(
            "ASN.1", "a primitive of indefinite length", "a definite one",
            "X.690 8.1.3.2", offset=offset,
        )  # fmt: skip
    position = start
    while data[position : position + 2] != b"\0\0" or position + 2 > limit:
        position = _read(data, position, limit, depth + 1).next
    return Node(data, tag, offset, start, position, position + 2, depth)


_MAYBE_INDEFINITE = re.compile(rb"[\x20-\x3f\x60-\x7f\xa0-\xbf\xe0-\xff]\x80")
"""A constructed tag and the octet that makes its length indefinite (or octets that look so)."""


def _has_indefinite(node: Node) -> bool:
    """Say whether a length in here is indefinite: some octets rule that out without a look inside.

    Its length octet is 0x80 and two zeros end it; signed attributes seldom hold the former.
    """
    data, start, end = node.data, node.start, node.end
    if node.indefinite:
        return True
    if data.find(b"\x80", start, end) < 0 or data.find(b"\0\0", start, end) < 0:
        return False
    if not _MAYBE_INDEFINITE.search(data, start, end):
        return False
    return any(child.tag & _CONSTRUCTED and _has_indefinite(child) for child in node.children())


@lru_cache(maxsize=4096)
def _dotted(content: bytes) -> str:
    if not content or content[-1] & 0x80 or len(content) > MAX_OID_OCTETS:
        raise ValueError("a truncated or oversized OBJECT IDENTIFIER")
    arcs, value = [], 0
    for octet in content:
        if value == 0 and octet == 0x80:
            raise ValueError("a padded OBJECT IDENTIFIER arc")
        value = value << 7 | octet & 0x7F
        if not octet & 0x80:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, [first, arcs[0] - 40 * first, *arcs[1:]]))


def _instant(tag: int, text: str) -> datetime:
    if tag == UTC_TIME:
        if not text[:2].isdigit():
            raise ValueError("no year")
        year = int(text[:2])
        text = f"{2000 + year if year < 50 else 1900 + year}{text[2:]}"
    elif tag != GENERALIZED_TIME:
        raise ValueError("not a time type")
    if not text.isascii() or text[-1:] != "Z":
        raise ValueError("not in UTC")
    digits, dot, fraction = text[:-1].partition(".")
    if not digits.isdigit() or len(digits) not in (12, 14) or (dot and not fraction.isdigit()):
        raise ValueError("not YYYYMMDDHHMM[SS[.f]]Z")
    instant = datetime(
        int(digits[:4]), int(digits[4:6]), int(digits[6:8]),
        int(digits[8:10]), int(digits[10:12]), int(digits[12:] or 0), tzinfo=UTC,
    )  # fmt: skip
    return instant + timedelta(microseconds=int(f"{fraction:0<6.6}")) if fraction else instant


def encode(tag: int, content: bytes) -> bytes:
    """Return one DER element with the given identifier octet."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def sequence(*parts: bytes) -> bytes:
    """Return a SEQUENCE of already encoded parts."""
    return encode(SEQUENCE, b"".join(parts))


def set_of(*parts: bytes) -> bytes:
    """Return a SET OF with its parts in DER order (X.690 11.6)."""
    return encode(SET, b"".join(sorted(parts)))


def integer(value: int) -> bytes:
    """Return an INTEGER in the fewest octets."""
    return encode(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def boolean(value: bool) -> bytes:  # noqa: FBT001 - the value is the argument
    """Return a DER BOOLEAN."""
    return encode(BOOLEAN, b"\xff" if value else b"\0")


def octet_string(content: bytes) -> bytes:
    """Return a primitive OCTET STRING."""
    return encode(OCTET_STRING, content)


def bit_string(content: bytes) -> bytes:
    """Return a BIT STRING of whole octets."""
    return encode(BIT_STRING, b"\0" + content)


def null() -> bytes:
    """Return NULL."""
    return b"\x05\0"


@lru_cache(maxsize=1024)
def oid(dotted: str) -> bytes:
    """Return an OBJECT IDENTIFIER from dotted decimal."""
    first, second, *rest = map(int, dotted.split("."))
    out = bytearray()
    for arc in (40 * first + second, *rest):
        septets = [arc & 0x7F]
        while arc := arc >> 7:
            septets.append(arc & 0x7F | 0x80)
        out += bytes(reversed(septets))
    return encode(OID, bytes(out))


def context(number: int, content: bytes, *, constructed: bool = True) -> bytes:
    """Return a context-specific element: ``[number]``."""
    return encode(0x80 | (_CONSTRUCTED if constructed else 0) | number, content)


def utc_time(instant: datetime) -> bytes:
    """Return a Time as RFC 5280 4.1.2.5 asks: UTCTime through 2049, else GeneralizedTime."""
    if 1950 <= instant.year < 2050:
        return encode(UTC_TIME, instant.strftime("%y%m%d%H%M%SZ").encode())
    return generalized_time(instant)


def generalized_time(instant: datetime) -> bytes:
    """Return a GeneralizedTime in whole seconds, UTC."""
    return encode(GENERALIZED_TIME, instant.strftime("%Y%m%d%H%M%SZ").encode())


def printable(text: str) -> bytes:
    """Return a PrintableString."""
    return encode(PRINTABLE_STRING, text.encode("ascii"))


def utf8(text: str) -> bytes:
    """Return a UTF8String."""
    return encode(UTF8_STRING, text.encode())
