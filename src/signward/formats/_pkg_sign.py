"""Signing xar archives: a table of contents with places for signatures, and the heap moved behind.

The checksum that is signed covers the table, and the table says where the signatures lie and how
large they are: room is kept for a CMS with a timestamp before anything is signed, as Apple's own
tools do it.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterator, Sequence

from signward.envelopes import Signer
from signward.envelopes.cms_detached import draft_detached
from signward.errors import NotSignableError
from signward.formats import Existing, Request, Signing, may_sign
from signward.formats._pkg_signature import envelope_of
from signward.formats._pkg_ticket import read_trailer
from signward.frozen import Frozen
from signward.state import Algorithm, Source
from signward.wire.certificate import outline
from signward.wire.patch import Edit, PatchSet
from signward.wire.spki import rsa_numbers
from signward.wire.xar import (
    CHECKSUMS,
    HEADER,
    MAGIC,
    Member,
    SignatureNode,
    Xar,
    read_xar,
    stored_elements,
)
from signward.wire.xar_toc import WHAT, Element, read_toc

TOKEN_ROOM = 8 * 1024
"""Octets kept for a timestamp: tokens with their certificates have 3 to 7 KiB."""

ATTRIBUTES_ROOM = 1024
"""Octets kept for what a CMS has beside certificates, value and token; some 400 are used."""

LEVEL = 9
"""zlib's best compression: the table is small, and signing it twice gives the same octets."""

_WHAT = "xar archive"
_STRONG = frozenset({"sha256", "sha384", "sha512"})
_NUMBERS = {name: number for number, name in CHECKSUMS.items()}


class RsaDraft(Frozen, frozen=True, kw_only=True):
    """The bare RSA signature over a table (an ``envelopes.Draft``): it has no envelope at all."""

    to_be_signed: bytes
    algorithm: Algorithm

    def seal(self, value: bytes, _tokens: Sequence[bytes] = ()) -> bytes:
        """Return the value as it is."""
        return value

    def stamped(self, _value: bytes) -> None:
        """Return None: there is no place for a timestamp."""


class _Place(Frozen, frozen=True, kw_only=True):
    """Room for a signature in the new table."""

    name: str
    style: str
    length: int
    certificates: tuple[bytes, ...]


def signed(source: Source, request: Request) -> Signing:
    """Sign an archive: yield the drafts of CMS and RSA, return the patch (``Format.sign``)."""
    archive = read_xar(source)
    may_sign(bool(archive.signature or archive.x_signature), request, _WHAT)
    if request.existing is Existing.NESTED and (archive.signature or archive.x_signature):
        raise NotSignableError(_WHAT, "--nested", "one signer: a xar has places for no more")
    check_movable(source, archive)
    value = _value_length(request.signer)
    certificates = request.signer.certificates
    room = ATTRIBUTES_ROOM + 2 * value + sum(map(len, certificates)) + TOKEN_ROOM
    places = (
        _Place(name="signature", style="RSA", length=value, certificates=certificates),
        _Place(name="x-signature", style="CMS", length=room, certificates=certificates),
    )
    checksum = request.signer.digest
    packed, table = _new_table(source, archive, checksum, places)
    stored = hashlib.new(checksum, packed).digest()
    content = hashlib.new(checksum, stored).digest()
    cms = yield draft_detached(content, request.signer, request.at)
    rsa = yield RsaDraft(to_be_signed=packed, algorithm=request.signer.algorithm)
    heap = stored + _fitted("RSA", rsa, value) + _fitted("CMS", cms, room)
    return _replaced(source, archive, _header(packed, table, checksum) + packed + heap)


def embedded(source: Source, archive: Xar, envelopes: tuple[bytes, ...]) -> PatchSet:
    """Return the patch of ``Format.embed``."""
    nodes = [node for node in (archive.x_signature, archive.signature) if node]
    if not envelopes:
        return _stripped(source, archive) if nodes else PatchSet()
    if len(envelopes) != len(nodes):
        raise NotSignableError(
            _WHAT, f"places for {len(nodes)} signatures", f"for {len(envelopes)}",
            hint="its table says what is signed and where: sign it anew",
        )  # fmt: skip
    pairs = sorted(zip(nodes, envelopes, strict=True), key=lambda pair: pair[0].start)
    return PatchSet(edits=tuple(_filled(archive, node, data) for node, data in pairs))


def check_movable(source: Source, archive: Xar) -> None:
    """Raise ``NotSignableError`` where octets would stay uncovered, or be lost."""
    behind = archive.heap + archive.end
    if archive.gaps or (behind < source.length and not read_trailer(source, behind)):
        raise NotSignableError(_WHAT, "octets its table does not speak of", "none")
    starts = [member.start for member in archive.members if member.length]
    if starts and _moved(archive) > min(starts):
        raise NotSignableError(_WHAT, "files in front of signatures", "signatures first")


def _value_length(signer: Signer) -> int:
    """Return the octets of the signer's RSA values.

    Raises ``NotSignableError`` for other algorithms: a xar's table has no names for them.
    """
    algorithm, checksum = signer.algorithm, signer.digest
    numbers = rsa_numbers(outline(signer.certificates[0]).spki)
    if algorithm.scheme != "rsa-pkcs1v15" or numbers is None:
        raise NotSignableError(_WHAT, str(algorithm), "RSA, PKCS#1 v1.5: it knows no other")
    if checksum not in _NUMBERS or checksum not in _STRONG or algorithm.digest != checksum:
        raise NotSignableError(_WHAT, f"digest {checksum}", "sha256 or sha512")
    return (numbers[0].bit_length() + 7) // 8


def _fitted(style: str, envelope: bytes, length: int) -> bytes:
    if len(envelope) > length or (style == "RSA" and len(envelope) < length):
        raise NotSignableError(
            _WHAT, f"a {style} signature of {len(envelope)} octets", f"{length} as the table says",
            hint="a shorter certification path or a smaller timestamp leaves more room",
        )  # fmt: skip
    return envelope.ljust(length, b"\0")


def _filled(archive: Xar, node: SignatureNode, envelope: bytes) -> Edit:
    start = archive.heap + node.start
    data = _fitted(node.style, envelope, node.length)
    return Edit(start=start, end=start + node.length, data=data)


def _stripped(source: Source, archive: Xar) -> PatchSet:
    """Return the patch that takes signatures and their places away; the checksum stays."""
    check_movable(source, archive)
    for node in (archive.signature, archive.x_signature):
        if node:
            envelope_of(source, archive, node)  # refuses what would be lost
    packed, table = _new_table(source, archive, archive.checksum, ())
    stored = hashlib.new(archive.checksum, packed, usedforsecurity=False).digest()
    header = _header(packed, table, archive.checksum)
    return _replaced(source, archive, header + packed + stored)


def _replaced(source: Source, archive: Xar, front: bytes) -> PatchSet:
    """Return the patch that puts ``front`` before the files; a ticket, which it voids, goes."""
    return PatchSet(
        edits=(
            Edit(start=0, end=archive.heap + _moved(archive), data=front),
            Edit(start=archive.heap + archive.end, end=source.length, data=b""),
        )
    )


def _moved(archive: Xar) -> int:
    """Return where checksum and signatures end in the heap: what comes behind moves."""
    nodes = (archive.signature, archive.x_signature)
    return max(len(archive.stored), *(node.start + node.length if node else 0 for node in nodes))


def _header(packed: bytes, table: bytes, checksum: str) -> bytes:
    number = _NUMBERS.get(checksum)
    if number is None:
        raise NotSignableError(_WHAT, f"checksum {checksum}", "one that a header has a number for")
    return HEADER.pack(MAGIC, HEADER.size, 1, len(packed), len(table), number)


def _new_table(
    source: Source, archive: Xar, checksum: str, places: Sequence[_Place]
) -> tuple[bytes, bytes]:
    """Return the table with ``places``, compressed and not; files' offsets are moved along."""
    if archive.table[:2] in (b"\xfe\xff", b"\xff\xfe") or b"\0" in archive.table:
        raise NotSignableError(WHAT, "UTF-16", "UTF-8")
    size = hashlib.new(checksum, usedforsecurity=False).digest_size
    shift = size + sum(place.length for place in places) - _moved(archive)
    toc = read_toc(archive.table).one("toc")
    elements = [element for _, element in stored_elements(toc)]
    stored = list(zip(archive.members, elements, strict=True))
    edits = [*_nodes(archive.table, toc, _written(checksum, size, places))]
    edits += _renumbered(stored, shift)
    if places:
        edits += _rechecked(source, archive, stored, checksum)
    table = _edited(archive.table, edits)
    return zlib.compress(table, LEVEL), table


_TextEdit = tuple[int, int, bytes]
"""Octets of the table from and to, and what stands there instead."""


def _edited(table: bytes, edits: Sequence[_TextEdit]) -> bytes:
    parts, at = [], 0
    for start, end, text in sorted(edits):
        parts += [table[at:start], text]
        at = end
    return b"".join((*parts, table[at:]))


def _written(checksum: str, size: int, places: Sequence[_Place]) -> str:
    """Return the elements of checksum and signatures, each in its place behind the other."""
    text = (
        f'\n  <checksum style="{checksum}">\n   <offset>0</offset>\n   <size>{size}</size>'
        "\n  </checksum>"
    )
    at = size
    for place in places:
        listed = "".join(
            f"\n     <X509Certificate>{base64.b64encode(one).decode()}</X509Certificate>"
            for one in place.certificates
        )
        text += (
            f'\n  <{place.name} style="{place.style}">\n   <offset>{at}</offset>'
            f"\n   <size>{place.length}</size>"
            '\n   <KeyInfo xmlns="http://www.w3.org/2000/09/xmldsig#">\n    <X509Data>'
            f"{listed}\n    </X509Data>\n   </KeyInfo>\n  </{place.name}>"
        )
        at += place.length
    return text


_Stored = Sequence[tuple[Member, Element]]
"""Members, each with its element in the table."""


def _nodes(table: bytes, toc: Element, text: str) -> Iterator[_TextEdit]:
    """Put ``text`` where the first of the old elements stands, or first of all; they go."""
    old = [
        element for element in toc.children
        if element.name in ("checksum", "signature", "x-signature")
    ]  # fmt: skip
    if not old:
        yield toc.inner, toc.inner, text.encode()
    for number, element in enumerate(old):
        start = len(table[: element.start].rstrip())
        yield start, element.end, text.encode() if number == 0 else b""


def _renumbered(stored: _Stored, shift: int) -> Iterator[_TextEdit]:
    for member, element in stored:
        if member.length:
            yield _content(element.one("offset"), str(member.start + shift))


def _rechecked(source: Source, archive: Xar, stored: _Stored, checksum: str) -> Iterator[_TextEdit]:
    """Replace checksums of files that are weak or absent: they are what covers the files."""
    for member, parent in stored:
        if member.algorithm in _STRONG:
            continue
        text = _archived_checksum(source, archive, member, checksum)
        element = parent.at_most_one("archived-checksum")
        if element is None:
            yield parent.close, parent.close, text
        else:
            yield element.start, element.end, text


def _archived_checksum(source: Source, archive: Xar, member: Member, checksum: str) -> bytes:
    hasher = hashlib.new(checksum)
    source.feed([(archive.heap + member.start, archive.heap + member.end)], [hasher])
    return (
        f'<archived-checksum style="{checksum}">{hasher.hexdigest()}</archived-checksum>'
    ).encode()


def _content(element: Element, text: str) -> _TextEdit:
    return element.inner, element.close, text.encode()
