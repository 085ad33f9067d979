"""Signing PE images: the content to sign, and the certificate table that carries it.

Sources: "Windows Authenticode Portable Executable Signature Format" (2008), "PE Format"
(attribute certificate table), UEFI 2.10 section 32.  The image is padded with zeros to a
multiple of eight bytes, hashed as padded, and the table put behind it.
"""

from __future__ import annotations

from signward.envelopes.cms_draft import CmsDraft, attribute
from signward.errors import NotSignableError
from signward.formats import Request
from signward.formats._pe_checksum import checksum
from signward.formats._pe_layout import PAGE_SIZE, Layout
from signward.formats._spc import PAGE_HASH_CLASS, PAGE_HASHES, PE_IMAGE_DATA
from signward.formats._spc_draft import draft_indirect, obsolete_link
from signward.frozen import replace
from signward.state import Manifest, Source
from signward.wire import der
from signward.wire.patch import Edit, Patched, PatchSet

_PAGE_OIDS = {name: oid for oid, name in PAGE_HASHES.items()}
_ALIGNMENT = 8

MAX_CONTENT = 0xFFFFFFF8
"""Where a certificate table may begin: its offset has 32 bits, and is a multiple of eight."""

_WHAT = "PE image"


def check_room(source: Source, layout: Layout) -> None:
    """Raise ``NotSignableError`` for an image whose certificate table cannot be set.

    It has no room to point at one, ends where no offset of 32 bits leads, or has bytes that a
    new table would lose: behind the one it has, or in it and in a section too.
    """
    if layout.directory_offset is None:
        raise NotSignableError(
            _WHAT, "headers without a security directory", "one (entry 4)",
            hint="link the image with all sixteen data directories",
        )  # fmt: skip
    start, size = layout.table
    if layout.content_end > MAX_CONTENT:
        raise NotSignableError(_WHAT, f"{layout.content_end} bytes", f"at most {MAX_CONTENT}",
                               hint="a certificate table is found by 32 bits")  # fmt: skip
    end = start + size
    behind = layout.length - end if size else 0
    misplaced = start < layout.headers_end or not 0 <= behind < _ALIGNMENT
    if size and (misplaced or any(source.read(end, behind)) or _is_mapped(layout, start, end)):
        raise NotSignableError(
            _WHAT, f"a certificate table of {size} bytes at {start} in {layout.length}",
            "one at the file's end, as embedding a signature leaves it",
            hint="what stands behind it would be lost",
        )  # fmt: skip


def _is_mapped(layout: Layout, start: int, end: int) -> bool:
    return any(max(start, s.start) < min(end, s.end) for s in layout.sections)


def bare(source: Source, layout: Layout) -> tuple[Patched, Layout]:
    """Return the image as it is before its signature is embedded: no table, padded to eight.

    Its layout with it.  Raises ``NotSignableError``.
    """
    patch = table_patch(source, layout, ())
    end = layout.content_end
    padding = Edit(start=end, end=layout.length, data=bytes(-end % _ALIGNMENT))
    image = Patched(source, PatchSet(edits=(patch.edits[0], padding)))
    return image, replace(layout, length=image.length, table=(0, 0), page_size=PAGE_SIZE)


def draft_image(request: Request, layout: Layout, digest: bytes, pages: Manifest) -> CmsDraft:
    """Return the draft of an image's signature, with page hashes where ``pages`` has any."""
    link = _page_link(request, layout, pages) if pages else obsolete_link()
    flags = der.encode(der.BIT_STRING, b"\0")
    return draft_indirect(request, PE_IMAGE_DATA, der.sequence(flags, der.context(0, link)), digest)


def page_digest(request: Request) -> str:
    """Return the digest of page hashes, empty where none are asked for.

    Raises ``NotSignableError`` for a digest that page hashes have no name for.
    """
    if not request.page_hashes:
        return ""
    if request.signer.digest not in _PAGE_OIDS:
        raise NotSignableError(
            "--page-hashes", request.signer.digest, " or ".join(_PAGE_OIDS),
            hint="Windows defines page hashes for these digests only",
        )  # fmt: skip
    return request.signer.digest


def _page_link(request: Request, layout: Layout, pages: Manifest) -> bytes:
    """Return the SpcLink that holds the page hash table: an SpcSerializedObject."""
    name = page_digest(request)
    table = b"".join(
        start.to_bytes(4, "little") + pages[f"page:{start}", name] for start, _ in layout.pages()
    )
    values = der.set_of(attribute(_PAGE_OIDS[name], der.octet_string(table)))
    return der.context(1, der.octet_string(PAGE_HASH_CLASS) + der.octet_string(values))


def table_patch(source: Source, layout: Layout, entries: tuple[bytes, ...]) -> PatchSet:
    """Return the patch that makes ``entries`` (PKCS#7) the image's certificate table.

    The checksum is not among its edits: it depends on them.  Raises ``NotSignableError``.
    """
    check_room(source, layout)
    assert layout.directory_offset is not None  # noqa: S101 - `check_room` refused such an image
    end = layout.content_end
    padding = bytes(-end % _ALIGNMENT) if entries else b""
    table = b"".join(map(_win_certificate, entries))
    start = end + len(padding) if entries else 0
    directory = start.to_bytes(4, "little") + len(table).to_bytes(4, "little")
    offset = layout.directory_offset
    return PatchSet(
        edits=(
            Edit(start=offset, end=offset + 8, data=directory),
            Edit(start=end, end=layout.length, data=padding + table),
        )
    )


def embedded(source: Source, layout: Layout, envelopes: tuple[bytes, ...]) -> PatchSet:
    """Return the patch of ``PeFormat.embed`` for a source of this layout."""
    patch = table_patch(source, layout, envelopes)
    offset = layout.checksum_offset
    value = checksum(Patched(source, patch), layout).to_bytes(4, "little")
    return PatchSet(edits=(Edit(start=offset, end=offset + 4, data=value), *patch.edits))


def _win_certificate(blob: bytes) -> bytes:
    """Return a WIN_CERTIFICATE of revision 2.0 and type PKCS_SIGNED_DATA, padded to eight."""
    padded = blob + bytes(-(8 + len(blob)) % _ALIGNMENT)
    return (8 + len(padded)).to_bytes(4, "little") + b"\x00\x02\x02\x00" + padded
