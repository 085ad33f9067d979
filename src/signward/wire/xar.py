"""Xar archives: the header, the table of contents, and who owns which octets of the heap.

Source: the xar project's "xarformat" page, and Apple's xar, which added two checksums.  All
numbers of the header are big-endian.  Behind header and compressed table lies the heap; offsets
in the table count from there.  A signature is over the checksum of the *compressed* table, which
stands at the heap's start; the table holds a checksum of each file's archived octets.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
import zlib
from collections.abc import Iterator, Mapping
from itertools import pairwise

from signward.errors import AmbiguousError, LimitError, MalformedError
from signward.frozen import Frozen
from signward.state import Source
from signward.wire.xar_toc import CLAUSE, WHAT, Element, read_toc

MAGIC = b"xar!"
HEADER = struct.Struct(">4sHHQQI")
"""Magic, size of the header, version, octets of the table compressed and not, checksum."""

MAX_HEADER = 64
"""Octets of the longest header: one that names a checksum of its own has 36 octets for it."""

MAX_TOC = 16 * 1024 * 1024
"""Octets of a table, uncompressed: some 10,000 files; installer packages have 20 kB."""

MAX_PATH = 1024
"""Characters kept of a file's path, for messages and slots (macOS has PATH_MAX 1024)."""

MAX_CERTIFICATES = 16
"""Certificates of one signature in the table."""

CHECKSUMS: Mapping[int, str] = {0: "none", 1: "sha1", 2: "md5", 3: "sha256", 4: "sha512"}
"""What the header's number means; 3 and 4 are Apple's.  xar itself means by 3 "named below"."""

_NAMED = 3
_DIGEST_NAMES = frozenset({"sha1", "md5", "sha256", "sha384", "sha512"})
"""hashlib's names, which are also the table's, whatever the case there."""


class Member(Frozen, frozen=True, kw_only=True):
    """Octets of a file, or of one of its extended attributes, as they lie in the heap.

    ``start`` counts from the heap.  ``digest`` is the archived checksum by ``algorithm`` (a
    hashlib name), empty where the table has none.
    """

    name: str
    start: int
    length: int
    algorithm: str
    digest: bytes

    @property
    def end(self) -> int:
        """Where the octets end, from the heap."""
        return self.start + self.length


class SignatureNode(Frozen, frozen=True, kw_only=True):
    """A signature of the table: its place in the heap, and certificates (DER, leaf first)."""

    style: str
    start: int
    length: int
    certificates: tuple[bytes, ...]


class Xar(Frozen, frozen=True, kw_only=True):
    """An archive: ``heap`` is an offset in the file, everything else in it counts from there.

    ``packed`` is the table as it lies in the file, ``table`` the same uncompressed.
    ``signature`` is RSA over the checksum, ``x_signature`` CMS; ``end`` is where the last octet
    that the table speaks of ends.
    """

    heap: int
    packed: bytes
    table: bytes
    checksum: str
    stored: bytes
    signature: SignatureNode | None
    x_signature: SignatureNode | None
    members: tuple[Member, ...]
    gaps: tuple[tuple[int, int], ...]
    end: int


def read_xar(source: Source) -> Xar:
    """Return the archive's layout.  Raises ``BadInputError``."""
    size, packed_size, table_size, checksum = _read_header(source)
    packed = source.read(size, packed_size)
    table = _unpacked(packed, table_size)
    toc = read_toc(table).one("toc")
    heap = size + packed_size
    stored, place = _stored_checksum(source, toc, heap, checksum)
    signature = _signature_node(toc, "signature", "RSA")
    x_signature = _signature_node(toc, "x-signature", "CMS")
    if (signature or x_signature) and not stored:
        raise MalformedError(WHAT, "a signature without a checksum", "both", CLAUSE)
    members = tuple(_member(element, name) for name, element in stored_elements(toc))
    owned = [(node.start, node.start + node.length) for node in (signature, x_signature) if node]
    gaps, end = _check_places([place, *owned], members, source.length - heap)
    return Xar(
        heap=heap, packed=packed, table=table, checksum=checksum, stored=stored,
        signature=signature, x_signature=x_signature, members=members, gaps=gaps, end=end,
    )  # fmt: skip


def _read_header(source: Source) -> tuple[int, int, int, str]:
    """Return the header's size, the table's two sizes, and the name of its checksum."""
    what = "xar header"
    magic, size, version, packed, table, number = HEADER.unpack(source.read(0, HEADER.size))
    if magic != MAGIC or version != 1 or not HEADER.size <= size <= MAX_HEADER:
        found = f"{magic!r}, version {version}, {size} octets"
        raise MalformedError(what, found, "xar!, version 1, 28 to 64 octets", CLAUSE)
    if table > MAX_TOC or packed > MAX_TOC:
        raise LimitError(what, f"a table of {packed} octets for {table}", f"at most {MAX_TOC}")
    named = source.read(HEADER.size, size - HEADER.size)
    checksum = CHECKSUMS.get(number, "")
    if number == _NAMED and named:
        name, _, rest = named.partition(b"\0")
        checksum = "" if rest.strip(b"\0") else name.decode("latin-1")
    elif named.strip(b"\0"):
        raise MalformedError(what, "octets behind its fields", "none", CLAUSE)
    if checksum not in _DIGEST_NAMES | {"none"}:
        raise MalformedError(what, f"checksum {number}", "one that is known", CLAUSE)
    return size, packed, table, checksum


def _unpacked(packed: bytes, size: int) -> bytes:
    """Return the table, which must have the promised size to the octet and end its stream."""
    unpacker = zlib.decompressobj()
    try:
        table = unpacker.decompress(packed, size + 1)
    except zlib.error as error:
        raise MalformedError(WHAT, f"no zlib stream: {error}", "one", "RFC 1950") from None
    if len(table) != size or not unpacker.eof or unpacker.unused_data:
        raise MalformedError(
            WHAT, f"{len(table)} octets or more in its stream", f"one of {size}, and no more",
            CLAUSE,
        )  # fmt: skip
    return table


def _stored_checksum(
    source: Source, toc: Element, heap: int, checksum: str
) -> tuple[bytes, tuple[int, int]]:
    """Return the checksum at the heap's start, and its place; both empty where there is none.

    Any other place is refused: what is checked and what is signed must be the same octets.
    """
    element = toc.at_most_one("checksum")
    style = element.attributes.get("style", "").lower() if element else "none"
    if element is None or style == "none":
        if checksum != "none":
            raise MalformedError(WHAT, "no checksum", f"{checksum}, as the header says", CLAUSE)
        return b"", (0, 0)
    if style != checksum:
        raise AmbiguousError(WHAT, f"checksum {style[:20]}", f"{checksum}, the header's", CLAUSE)
    wanted = hashlib.new(checksum, usedforsecurity=False).digest_size
    place = element.number("offset"), element.number("size")
    if place != (0, wanted):
        raise MalformedError(
            WHAT, f"a checksum of {place[1]} octets at {place[0]}", f"{wanted} octets at 0", CLAUSE,
            hint="readers have disagreed about which octets are the checksum",
        )  # fmt: skip
    return source.read(heap, wanted), (0, wanted)


def _signature_node(toc: Element, name: str, style: str) -> SignatureNode | None:
    """Return a signature of the table; there must be no second one of its name."""
    element = toc.at_most_one(name)
    if element is None:
        return None
    found = element.attributes.get("style", "")
    if found != style:
        raise MalformedError(WHAT, f"{name} of style {found[:20]!r}", style, CLAUSE)
    listed = list(element.below("X509Certificate"))
    if len(listed) > MAX_CERTIFICATES:
        raise LimitError(WHAT, f"{len(listed)} certificates", f"at most {MAX_CERTIFICATES}")
    return SignatureNode(
        style=style,
        start=element.number("offset"),
        length=element.number("size"),
        certificates=tuple(_decoded(one) for one in listed),
    )


def _decoded(element: Element) -> bytes:
    try:
        return base64.b64decode("".join(element.text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedError(WHAT, f"a certificate: {error}", "base64", "RFC 4648 4") from None


def stored_elements(parent: Element, folder: str = "") -> Iterator[tuple[str, Element]]:
    """Yield what says where files and their extended attributes lie, folders' files too.

    With each goes the path of its file.
    """
    for number, file in enumerate(parent.all("file"), 1):
        names = file.all("name")
        path = f"{folder}{names[0].text.strip() if names else f'#{number}'}"[:MAX_PATH]
        data = file.at_most_one("data")
        if data is not None:
            yield path, data
        for index, extra in enumerate(file.all("ea"), 1):
            yield f"{path}, attribute {index}", extra
        yield from stored_elements(file, f"{path}/")


def _member(data: Element, name: str) -> Member:
    element = data.at_most_one("archived-checksum")
    style = element.attributes.get("style", "").lower() if element else ""
    algorithm, digest = "", b""
    if element is not None and style != "none":
        if style not in _DIGEST_NAMES:
            raise MalformedError(WHAT, f"checksum {style[:20]!r}", "one that is known", CLAUSE)
        algorithm = style
        digest = _hexadecimal(element.text.strip(), algorithm)
    return Member(
        name=name,
        start=data.number("offset"),
        length=data.number("length"),
        algorithm=algorithm,
        digest=digest,
    )


def _hexadecimal(text: str, algorithm: str) -> bytes:
    wanted = hashlib.new(algorithm, usedforsecurity=False).digest_size
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(digest) != wanted:
        raise MalformedError(WHAT, f"{algorithm} {text[:20]!r}", f"{wanted} octets in hex", CLAUSE)
    return digest


def _check_places(
    owned: list[tuple[int, int]], members: tuple[Member, ...], length: int
) -> tuple[tuple[tuple[int, int], ...], int]:
    """Return the gaps between what the table speaks of, and where that ends.

    Files that lie in the very same octets are one and the same; nothing else may overlap.
    """
    files = {(member.start, member.end) for member in members if member.length}
    places = sorted([*(place for place in owned if place[1] > place[0]), *files])
    places.insert(0, (0, 0))
    gaps = []
    for (_, end), (start, last) in pairwise(places):
        if start < end or last > length:
            raise MalformedError(
                "xar heap", f"{last - start} octets at {start}",
                f"octets of their own behind {end}, inside {length}", CLAUSE,
            )  # fmt: skip
        if start > end:
            gaps.append((end, start))
    return tuple(gaps), places[-1][1]
