"""Signing scripts: the text's digest, and the block of comments that carries the signature.

The rules are those of ``script``, which says where they come from: PowerShell's families
hash the text with its byte order mark, WSH's without, the block's position behind it.
"""

from __future__ import annotations

import base64
import hashlib

from signward.envelopes.cms_draft import CmsDraft
from signward.errors import NotSignableError
from signward.formats import Request
from signward.formats._script_text import CLAUSE, JOB_END, Block, Reading, Style
from signward.formats._spc import SIP_INFO
from signward.formats._spc_draft import draft_indirect, sip_info
from signward.state import Source
from signward.wire.patch import Edit, PatchSet

_LINE = 64
"""Characters of base64 in a line of the block."""

_POWERSHELL_VERSION = 65536
"""SpcSipInfo's version as PowerShell's package writes it; WSH's writes 1."""


def draft_text(request: Request, style: Style, reading: Reading, block: Block | None) -> CmsDraft:
    """Return the draft of a signature over the text without its block."""
    text, place = _without_block(style, reading, block)
    octets = text.encode("utf-16-le", "surrogatepass")
    if not style.mark_is_text:
        units = len(text[:place].encode("utf-16-le", "surrogatepass")) // 2
        octets += units.to_bytes(4, "little")
    elif reading.mark:
        octets = b"\xff\xfe" + octets
    digest = hashlib.new(request.signer.digest, octets, usedforsecurity=False).digest()
    version = _POWERSHELL_VERSION if style.mark_is_text else 1
    return draft_indirect(request, SIP_INFO, sip_info(style.package, version), digest)


def block_patch(
    source: Source,
    style: Style,
    reading: Reading,
    block: Block | None,
    envelopes: tuple[bytes, ...],
) -> PatchSet:
    """Return the patch that puts the first of ``envelopes`` into the text's one block."""
    _, place = _without_block(style, reading, block)
    start = reading.offset(place)
    end = start
    if block is not None:
        end = reading.offset(block.end) if style.inside else source.length
    written = _block(style, envelopes[0]) if envelopes else ""
    return PatchSet(edits=(Edit(start=start, end=end, data=reading.encode(written)),))


def _without_block(style: Style, reading: Reading, block: Block | None) -> tuple[str, int]:
    """Return the text that is signed, and where in it the block belongs."""
    text = reading.text
    if block is not None:
        return text[: block.start] + (text[block.end :] if style.inside else ""), block.start
    if not style.inside:
        return text, len(text)
    place = text.rfind(JOB_END)
    if place < 0:
        raise NotSignableError(
            "script", f"no {JOB_END}", "one: the signature stands in front of it", CLAUSE
        )
    return text, place


def _block(style: Style, blob: bytes) -> str:
    """Return the block with the line breaks around it."""
    text = base64.b64encode(blob).decode()
    lines = [f"{style.open}{text[i : i + _LINE]}{style.close}" for i in range(0, len(text), _LINE)]
    return "\r\n".join(["", style.begin, *lines, style.end, ""])
