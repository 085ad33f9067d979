"""Signed scripts: PowerShell's families and Windows Script Host's.

No specification is published.  The rules below are those that the signers follow
(PowerShell's pwrshsip.dll and WSH's wshext.dll as jsign, osslsigncode and
OpenAuthenticode describe and test them), checked by experiment on files that Microsoft
signed and on osslsigncode's.

**The block.**  A begin line, lines of base64 and an end line, each a comment of the
language; the line break before the begin line belongs to the block.

**What is hashed.**  The text in front of the block as UTF-16LE.  PowerShell's families
hash a byte order mark as U+FEFF.  WSH's (js, vbs, wsf) leave the mark out, hash what
follows the block too (wsf only: the block stands inside the last ``<job>``), and add the
length of that text in UTF-16 units as 32 bits, little-endian.  osslsigncode signs js by
PowerShell's rule and says so in SpcSipInfo: the rule a signature names is the one used.

**Text without a byte order mark.**  A signer read it as UTF-8 or in the machine's ANSI code
page; nothing in the file says which.  Both readings are tried (the ANSI one as
Windows-1252, whose five holes map to themselves as Windows does it); each is one-to-one on
the bytes it accepts.  PowerShell text that is not UTF-8 reads differently in Windows
PowerShell (ANSI) and in PowerShell 7 (UTF-8): which of the two was signed cannot be told,
so that is ambiguous, never accepted.
"""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from signward.envelopes.cms import SlotReader, open_signatures
from signward.errors import (
    BadInputError,
    LimitError,
    MalformedError,
    NotSignableError,
    UncoveredError,
)
from signward.findings import Code, Effect, Finding
from signward.formats import Existing, Match, ParseOptions, Peek, Request, Signing, may_sign
from signward.formats._script_text import (
    BASE64,
    CLAUSE,
    LINE_ENDS,
    POWERSHELL,
    SHEBANG,
    STYLES,
    Block,
    Reading,
    Style,
    find_block,
    mentions_block,
    readings_of,
)
from signward.formats._spc import SIP_INFO, read_slots
from signward.state import (
    ClaimedSignature,
    Manifest,
    Region,
    SignedArtifact,
    Slot,
    Source,
    Wanted,
)
from signward.wire.patch import PatchSet

MAX_SCRIPT = 64 * 1024 * 1024
"""Largest script read; it is decoded in memory."""

TEXT = "text"
"""The slot of PowerShell's rule: the text in front of the block."""

MEASURED_TEXT = "text:measured"
"""The slot of WSH's rule: the text without block and byte order mark, and its length."""

WHOLE_FILE = "file"
"""The slot of all bytes, as catalogs hold it."""


class ScriptFormat:
    """The script format."""

    name = "script"
    spec = "PowerShell and Windows Script Host signature blocks (no published specification)"
    extensions: tuple[str, ...] = tuple(STYLES)

    def recognise(self, peek: Peek) -> Match:
        """Recognise by extension, or by a shebang that names PowerShell."""
        if peek.extension in STYLES:
            return Match.EXTENSION
        return Match.MAGIC if SHEBANG.match(peek.head) else Match.NO

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:
        """Find the text and the signature in its block, if there is one."""
        if source.length > MAX_SCRIPT:
            raise LimitError("script", f"{source.length} bytes", f"at most {MAX_SCRIPT}")
        style = _style(source, options.extension)
        data = source.read(0, source.length)
        if not mentions_block(data, style):
            return SignedArtifact(format=self.name, source=source, signatures=(), layout=style)
        readings = readings_of(data, style)
        block = find_block(readings[0], style)
        if block is None:
            return SignedArtifact(format=self.name, source=source, signatures=(), layout=style)
        behind = "" if style.inside else readings[0].text[block.end :]
        try:
            signatures = _open_block(block, style)
        except BadInputError:
            if behind in LINE_ENDS:
                raise
            raise UncoveredError(
                "script", "text behind the end marker of a block that holds no signature",
                "at most one line ending", CLAUSE, offset=readings[0].offset(block.end),
            ) from None  # fmt: skip
        return SignedArtifact(
            format=self.name,
            source=source,
            signatures=signatures,
            required={s.label: frozenset((s.slots[0].name,)) for s in signatures},
            regions=tuple(_regions(readings[0], block, style, len(data))),
            findings=(*_encoding_findings(readings, style), *_line_findings(readings[0], block)),
            layout=style,
        )

    options: Mapping[str, str] = MappingProxyType({})

    def sign(self, source: Source, request: Request) -> Signing:
        """Sign the text; a nested signature goes into the block's own."""
        from signward.envelopes.cms_draft import with_nested
        from signward.formats._script_sign import draft_text

        style, reading, block = _opened(source, request.extension)
        existing = _blob(block, style) if block else b""
        may_sign(bool(existing), request, "script")
        sealed = yield draft_text(request, style, reading, block)
        if existing and request.existing is Existing.NESTED:
            sealed = with_nested(existing, sealed)
        return _with_block(source, request.extension, sealed)

    def envelopes(self, source: Source) -> tuple[bytes, ...]:
        """Return the PKCS#7 in the block, if there is one."""
        style, _, block = _opened(source, "")
        return (_blob(block, style),) if block else ()

    def embed(self, source: Source, envelopes: tuple[bytes, ...]) -> PatchSet:
        """Return the patch that writes the block anew, or takes it away."""
        return _with_block(source, "", *envelopes)

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute the digests of the text, by the reading of its bytes that a signature claims.

        Where no reading fits, the digest is that of the first.  ``file`` is the digest of
        all bytes, which is what catalogs hold.
        """
        source = artifact.source
        data = source.read(0, source.length)
        claimed = {(s.name, s.algorithm, s.digest) for c in artifact.signatures for s in c.slots}
        computed = {}
        for name, algorithm in wanted:
            if name == WHOLE_FILE:
                digests = [hashlib.new(algorithm, data, usedforsecurity=False).digest()]
            elif name in (TEXT, MEASURED_TEXT):
                digests = _digests(data, artifact.layout, name, algorithm)
            else:
                continue
            fits = [d for d in digests if (name, algorithm, d) in claimed]
            computed[name, algorithm] = (fits or digests)[0]
        return computed


def _style(source: Source, extension: str) -> Style:
    extension = extension or Peek(source.name, b"", b"", source.length).extension
    return STYLES.get(extension, POWERSHELL)


def _opened(source: Source, extension: str) -> tuple[Style, Reading, Block | None]:
    """Return a script's style, the reading a signer takes, and its block."""
    if source.length > MAX_SCRIPT:
        raise LimitError("script", f"{source.length} bytes", f"at most {MAX_SCRIPT}")
    style = _style(source, extension)
    data = source.read(0, source.length)
    readings = readings_of(data, style)
    for finding in _encoding_findings(readings, style):
        raise NotSignableError("script", finding.found, finding.required, finding.hint)
    block = find_block(readings[0], style) if mentions_block(data, style) else None
    return style, readings[0], block


def _with_block(source: Source, extension: str, *envelopes: bytes) -> PatchSet:
    from signward.formats._script_sign import block_patch

    return block_patch(source, *_opened(source, extension), envelopes)


def _blob(block: Block, style: Style) -> bytes:
    """Return the PKCS#7 that a block's lines hold in base64."""
    encoded = []
    for line in block.lines:
        value = line[len(style.open) : len(line) - len(style.close)]
        if line != f"{style.open}{value}{style.close}" or not BASE64.match(value):
            raise MalformedError(
                "signature block", f"the line {line[:80]!r}", f"{style.open}BASE64{style.close}",
                CLAUSE, hint="a line that is no comment of the signature would run",
            )  # fmt: skip
        encoded.append(value)
    return _decoded("".join(encoded))


def _decoded(encoded: str) -> bytes:
    try:
        blob = binascii.a2b_base64(encoded, strict_mode=True)
    except binascii.Error as error:
        raise MalformedError("signature block", str(error), "base64", "RFC 4648 4") from None
    if binascii.b2a_base64(blob, newline=False).decode() != encoded:
        raise MalformedError(
            "signature block", "bits behind the last octet", "zeros", "RFC 4648 3.5"
        )
    return blob


def _open_block(block: Block, style: Style) -> tuple[ClaimedSignature, ...]:
    """Return the signatures in a block's base64."""
    blob = _blob(block, style)
    signatures = open_signatures(blob, _slot_reader(style), label="1", uniform_digest=True)
    if not signatures:
        raise MalformedError("signature block", "a PKCS#7 without signers", "one", "RFC 5652 5.1")
    return signatures


def _slot_reader(style: Style) -> SlotReader:
    """Return a reader that names the slot by the rule its SpcSipInfo asks for.

    What follows a block is in WSH's digest only, so a block inside the text needs that.  The
    package must be the family's own: the same text may be a script of another language.
    """
    ours = read_slots(
        TEXT if style.mark_is_text else MEASURED_TEXT, kind=SIP_INFO, package=style.package
    )
    theirs = read_slots(TEXT, kind=SIP_INFO, package=POWERSHELL.package)

    def read(content_type: str, content: bytes) -> tuple[Slot, ...]:
        by_other = POWERSHELL.package in content and not (style.mark_is_text or style.inside)
        return (theirs if by_other else ours)(content_type, content)

    return read


def _digests(data: bytes, style: Style, name: str, algorithm: str) -> list[bytes]:
    """Return the digest under each reading of the bytes, and each count a WSH signer adds."""
    digests = []
    for reading in readings_of(data, style):
        block = find_block(reading, style) if mentions_block(data, style) else None
        text, position = reading.text, len(reading.text)
        if block is not None:
            position = block.start
            text = text[:position] + (text[block.end :] if style.inside else "")
        encoded = text.encode("utf-16-le", "surrogatepass")
        mark = b"\xff\xfe" if reading.mark and name == TEXT else b""
        counts = _counts(text, position) if name == MEASURED_TEXT else [b""]
        digests += [
            hashlib.new(algorithm, mark + encoded + count, usedforsecurity=False).digest()
            for count in counts
        ]
    return digests


def _counts(text: str, position: int) -> list[bytes]:
    """Return the 32-bit counts of UTF-16 units that signers add: the length, or the place.

    jsign first added the text's length and, later, the block's position: the same but for
    wsf, whose block has one place anyway.
    """
    ends = dict.fromkeys((len(text), position))
    units = [len(text[:end].encode("utf-16-le", "surrogatepass")) // 2 for end in ends]
    return [unit.to_bytes(4, "little") for unit in units]


def _regions(reading: Reading, block: Block, style: Style, length: int) -> Iterator[Region]:
    start, end = reading.offset(block.start), reading.offset(block.end)
    yield Region(start=start, end=end, what="signature block", exempt=CLAUSE)
    if reading.mark and not style.mark_is_text:
        yield Region(start=0, end=len(reading.mark), what="byte order mark", exempt=CLAUSE)
    behind = reading.text[block.end :]
    if not style.inside and behind:
        exempt = CLAUSE if behind in LINE_ENDS else ""
        yield Region(start=end, end=length, what="text behind the end marker", exempt=exempt)


def _encoding_findings(readings: list[Reading], style: Style) -> Iterator[Finding]:
    only = readings[0]
    if style.mark_is_text and len(readings) == 1 and not only.mark and not only.text.isascii():
        yield Finding(
            code=Code.AMBIGUOUS,
            effect=Effect.UNKNOWN,
            subject="script",
            found="text that is neither UTF-8 nor marked",
            required="UTF-8, or a byte order mark",
            clause=CLAUSE,
            hint="Windows PowerShell reads it in the machine's code page, PowerShell 7 as UTF-8",
        )


def _line_findings(reading: Reading, block: Block) -> Iterator[Finding]:
    """Report a block whose lines do not end as signers write them: Windows would not see it.

    The text in front was converted with it, so that its digest does not fit either; a text
    without line breaks keeps its digest and must not slip through.
    """
    if block.line_end != "\r\n":
        yield Finding(
            code=Code.DIGEST_MISMATCH,
            effect=Effect.REJECT,
            subject="signature block",
            found="lines that end in LF",
            required="CR LF, as every signer writes them",
            clause=CLAUSE,
            hint="line endings were converted after signing (by git or an editor, say)",
            offset=reading.offset(block.start),
        )


FORMAT = ScriptFormat()
