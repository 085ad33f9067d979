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
import re
from collections.abc import Iterator

from signward.envelopes.cms import SlotReader, open_signatures
from signward.errors import (
    AmbiguousError,
    BadInputError,
    LimitError,
    MalformedError,
    UncoveredError,
)
from signward.findings import Code, Effect, Finding
from signward.formats import Match, ParseOptions, Peek
from signward.formats._spc import read_slots
from signward.frozen import Frozen
from signward.state import (
    ClaimedSignature,
    Manifest,
    Region,
    SignedArtifact,
    Slot,
    Source,
    Wanted,
)

MAX_SCRIPT = 64 * 1024 * 1024
"""Largest script read; it is decoded in memory."""

MAX_BLOCK_LINES = 1 << 18
"""Lines in a signature block: 12 MiB of base64 in lines of 64."""

TEXT = "text"
"""The slot of PowerShell's rule: the text in front of the block."""

MEASURED_TEXT = "text:measured"
"""The slot of WSH's rule: the text without block and byte order mark, and its length."""

WHOLE_FILE = "file"
"""The slot of all bytes, as catalogs hold it."""

_WSH_SIPS = frozenset(
    bytes.fromhex(guid)
    for guid in (
        "10e0c906ce38d411a2a300104bd35090",
        "4ef029169927b54d8fe5ace10f17ebab",
        "7005611ace38d411a2a300104bd35090",
    )
)
"""SpcSipInfo's identifiers of WSH's three subject interface packages (js, vbs, wsf)."""

_JOB_END = "</job>"

_CLAUSE = "PowerShell and WSH script signatures"


class Style(Frozen, frozen=True, kw_only=True):
    """How one family of scripts writes a signature block.

    ``open`` and ``close`` surround each line of base64; ``mark_is_text`` says whether the
    byte order mark is hashed, ``ansi_first`` which reading Windows tries on text without.
    """

    begin: str
    end: str
    open: str
    close: str = ""
    mark_is_text: bool = True
    ansi_first: bool = False
    inside: bool = False


def _sig_hash(open_: str, close: str = "", *, ansi_first: bool = False) -> Style:
    return Style(
        begin=f"{open_}SIG # Begin signature block{close}",
        end=f"{open_}SIG # End signature block{close}",
        open=open_,
        close=close,
        ansi_first=ansi_first,
    )


def _wsh(open_: str) -> Style:
    return Style(
        begin=f"{open_}Begin signature block",
        end=f"{open_}End signature block",
        open=open_,
        mark_is_text=False,
        ansi_first=True,
    )


_POWERSHELL = _sig_hash("# ")
_XML = _sig_hash("<!-- ", " -->", ansi_first=True)
_WSF = Style(
    begin="<signature>",
    end="</signature>",
    open="** SIG ** ",
    mark_is_text=False,
    inside=True,
)

STYLES = {
    ".ps1": _POWERSHELL,
    ".psm1": _POWERSHELL,
    ".psd1": _POWERSHELL,
    ".ps1xml": _XML,
    ".psc1": _XML,
    ".cdxml": _XML,
    ".mof": _sig_hash("/* ", " */"),
    ".js": _wsh("// SIG // "),
    ".vbs": _wsh("'' SIG '' "),
    ".wsf": _WSF,
}
"""Families by extension."""

_LINE_ENDS = ("", "\r\n", "\n", "\r")
"""What may stand behind the end marker."""

_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_SHEBANG = re.compile(rb"#![^\n]*\b(?:pwsh|powershell)\b")
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}\Z")

_ANSI = {code: chr(code) for code in range(256)}
for _byte in range(0x80, 0xA0):
    _ANSI[_byte] = bytes([_byte]).decode("cp1252", "ignore") or chr(_byte)


class _Reading(Frozen, frozen=True, kw_only=True):
    """One reading of a script's bytes: the codec and the text behind the byte order mark."""

    codec: str
    mark: bytes
    text: str

    def offset(self, characters: int) -> int:
        """Return where in the file the text's first ``characters`` end."""
        if self.codec == "ansi":
            return len(self.mark) + characters
        errors = "strict" if self.codec == "utf-8" else "surrogatepass"
        return len(self.mark) + len(self.text[:characters].encode(self.codec, errors))


class _Block(Frozen, frozen=True, kw_only=True):
    """A signature block in a text: from the line break before its begin line to ``end``.

    ``line_end`` breaks its lines: CR LF as signers write it, or LF where a tool converted it.
    """

    start: int
    end: int
    lines: tuple[str, ...]
    line_end: str


class ScriptFormat:
    """The script format."""

    name = "script"
    spec = "PowerShell and Windows Script Host signature blocks (no published specification)"
    extensions: tuple[str, ...] = tuple(STYLES)

    def recognise(self, peek: Peek) -> Match:
        """Recognise by extension, or by a shebang that names PowerShell."""
        if peek.extension in STYLES:
            return Match.EXTENSION
        return Match.MAGIC if _SHEBANG.match(peek.head) else Match.NO

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:
        """Find the text and the signature in its block, if there is one."""
        if source.length > MAX_SCRIPT:
            raise LimitError("script", f"{source.length} bytes", f"at most {MAX_SCRIPT}")
        extension = options.extension or Peek(source.name, b"", b"", source.length).extension
        style = STYLES.get(extension, _POWERSHELL)
        data = source.read(0, source.length)
        if not _mentions_block(data, style):
            return SignedArtifact(format=self.name, source=source, signatures=(), layout=style)
        readings = _readings(data, style)
        block = _find_block(readings[0], style)
        if block is None:
            return SignedArtifact(format=self.name, source=source, signatures=(), layout=style)
        behind = "" if style.inside else readings[0].text[block.end :]
        try:
            signatures = _open_block(block, style)
        except BadInputError:
            if behind in _LINE_ENDS:
                raise
            raise UncoveredError(
                "script", "text behind the end marker of a block that holds no signature",
                "at most one line ending", _CLAUSE, offset=readings[0].offset(block.end),
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


def _mentions_block(data: bytes, style: Style) -> bool:
    """Return whether a begin marker stands anywhere; refuse one in UTF-16 without its mark."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return True
    if any(style.begin.encode(codec) in data for codec in ("utf-16-le", "utf-16-be")):
        raise MalformedError(
            "script", "a signature block in UTF-16 without a byte order mark",
            "one, or text no reader takes for another", _CLAUSE,
        )  # fmt: skip
    return style.begin.encode() in data


def _readings(data: bytes, style: Style) -> list[_Reading]:
    """Return every reading of the bytes: one if a byte order mark names it, else up to two."""
    for mark, codec in _MARKS:
        if data.startswith(mark):
            return [_marked(data, mark, codec)]
    if data.isascii():
        return [_Reading(codec="ansi", mark=b"", text=data.decode("ascii"))]
    ansi = _Reading(codec="ansi", mark=b"", text=data.decode("latin-1").translate(_ANSI))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return [ansi]
    utf8 = _Reading(codec="utf-8", mark=b"", text=text)
    return [ansi, utf8] if style.ansi_first else [utf8, ansi]


def _marked(data: bytes, mark: bytes, codec: str) -> _Reading:
    """Decode what a byte order mark announced; lone surrogates are kept as Windows keeps them."""
    try:
        errors = "strict" if codec == "utf-8" else "surrogatepass"
        return _Reading(codec=codec, mark=mark, text=data[len(mark) :].decode(codec, errors))
    except UnicodeDecodeError as error:
        raise MalformedError(
            "script", f"bytes that are no {codec}", "the encoding its byte order mark names",
            _CLAUSE, offset=len(mark) + error.start,
        ) from None  # fmt: skip


def _find_block(reading: _Reading, style: Style) -> _Block | None:
    """Return the one signature block; None where no line begins one.

    A begin or end marker that starts any other line makes two readers choose differently
    (the first, the last): that is refused, in a here-string as anywhere.
    """
    text = reading.text
    begins = _marker_lines(text, style.begin)
    if not begins:
        return None
    ends = _marker_lines(text, style.end)
    if len(begins) > 1 or len(ends) > 1:
        raise AmbiguousError(
            "script", f"{len(begins)} begin and {len(ends)} end markers", "exactly one of each",
            _CLAUSE, offset=reading.offset(begins[-1]),
        )  # fmt: skip
    start = begins[0]
    if not ends or ends[0] < start:
        raise _malformed(reading, start, "a begin marker without an end marker", "both")
    line_end = "\r\n" if text.endswith("\r\n", 0, start) else "\n"
    if not text.endswith(line_end, 0, start):
        raise _malformed(reading, start, "a block without a line break in front", "CR LF")
    end = ends[0] + len(style.end)
    lines = text[start : ends[0]].split(line_end)
    if len(lines) > MAX_BLOCK_LINES:
        raise LimitError("script", f"{len(lines)} lines", f"at most {MAX_BLOCK_LINES} in a block")
    if lines[0] != style.begin or lines[-1]:
        raise _malformed(reading, start, "a begin or end marker that is not alone on its line",
                         "markers alone, lines broken by CR LF")  # fmt: skip
    if style.inside:
        end += len(line_end) if text.startswith(line_end, end) else 0
        last = text.rfind(_JOB_END)
        if last < end or text[end:last].strip():
            # A length does not bind the block's place, so there is only this one.
            raise _malformed(reading, start, "a block elsewhere", "in front of the last </job>")
    return _Block(start=start - len(line_end), end=end, lines=tuple(lines[1:-1]), line_end=line_end)


def _marker_lines(text: str, marker: str) -> list[int]:
    """Return where lines start with ``marker``, two at most."""
    found: list[int] = []
    position = text.find(marker)
    while position >= 0 and len(found) < 2:
        if position == 0 or text[position - 1] in "\r\n":
            found.append(position)
        position = text.find(marker, position + 1)
    return found


def _open_block(block: _Block, style: Style) -> tuple[ClaimedSignature, ...]:
    """Return the signatures in a block's base64."""
    encoded = []
    for line in block.lines:
        value = line[len(style.open) : len(line) - len(style.close)]
        if line != f"{style.open}{value}{style.close}" or not _BASE64.match(value):
            raise MalformedError(
                "signature block", f"the line {line[:80]!r}", f"{style.open}BASE64{style.close}",
                _CLAUSE, hint="a line that is no comment of the signature would run",
            )  # fmt: skip
        encoded.append(value)
    try:
        blob = binascii.a2b_base64("".join(encoded), strict_mode=True)
    except binascii.Error as error:
        raise MalformedError("signature block", str(error), "base64", "RFC 4648 4") from None
    if binascii.b2a_base64(blob, newline=False).decode() != "".join(encoded):
        raise MalformedError(
            "signature block", "bits behind the last octet", "zeros", "RFC 4648 3.5"
        )
    signatures = open_signatures(blob, _slot_reader(style), label="1", uniform_digest=True)
    if not signatures:
        raise MalformedError("signature block", "a PKCS#7 without signers", "one", "RFC 5652 5.1")
    return signatures


def _slot_reader(style: Style) -> SlotReader:
    """Return a reader that names the slot by the rule its SpcSipInfo asks for.

    What follows a block is in WSH's digest only, so a block inside the text needs that.
    """

    def read(content_type: str, content: bytes) -> tuple[Slot, ...]:
        measured = style.inside or (
            not style.mark_is_text and any(sip in content for sip in _WSH_SIPS)
        )
        return read_slots(MEASURED_TEXT if measured else TEXT)(content_type, content)

    return read


def _digests(data: bytes, style: Style, name: str, algorithm: str) -> list[bytes]:
    """Return the digest under each reading of the bytes, and each count a WSH signer adds."""
    digests = []
    for reading in _readings(data, style):
        block = _find_block(reading, style) if _mentions_block(data, style) else None
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


def _regions(reading: _Reading, block: _Block, style: Style, length: int) -> Iterator[Region]:
    start, end = reading.offset(block.start), reading.offset(block.end)
    yield Region(start=start, end=end, what="signature block", exempt=_CLAUSE)
    if reading.mark and not style.mark_is_text:
        yield Region(start=0, end=len(reading.mark), what="byte order mark", exempt=_CLAUSE)
    behind = reading.text[block.end :]
    if not style.inside and behind:
        exempt = _CLAUSE if behind in _LINE_ENDS else ""
        yield Region(start=end, end=length, what="text behind the end marker", exempt=exempt)


def _encoding_findings(readings: list[_Reading], style: Style) -> Iterator[Finding]:
    only = readings[0]
    if style.mark_is_text and len(readings) == 1 and not only.mark and not only.text.isascii():
        yield Finding(
            code=Code.AMBIGUOUS,
            effect=Effect.UNKNOWN,
            subject="script",
            found="text that is neither UTF-8 nor marked",
            required="UTF-8, or a byte order mark",
            clause=_CLAUSE,
            hint="Windows PowerShell reads it in the machine's code page, PowerShell 7 as UTF-8",
        )


def _line_findings(reading: _Reading, block: _Block) -> Iterator[Finding]:
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
            clause=_CLAUSE,
            hint="line endings were converted after signing (by git or an editor, say)",
            offset=reading.offset(block.start),
        )


def _malformed(reading: _Reading, position: int, found: str, required: str) -> MalformedError:
    return MalformedError(
        "script", found, required, _CLAUSE, offset=reading.offset(max(0, position))
    )


FORMAT = ScriptFormat()
