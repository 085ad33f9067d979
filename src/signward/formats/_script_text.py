"""Script texts: families, encodings, and where a signature block stands.

The rules are those of ``script``, which says where they come from.
"""

from __future__ import annotations

import re

from signward.errors import AmbiguousError, LimitError, MalformedError
from signward.frozen import Frozen

MAX_BLOCK_LINES = 1 << 18
"""Lines in a signature block: 12 MiB of base64 in lines of 64."""

JOB_END = "</job>"

CLAUSE = "PowerShell and WSH script signatures"


class Style(Frozen, frozen=True, kw_only=True):
    """How one family of scripts writes a signature block.

    ``open`` and ``close`` surround each line of base64; ``mark_is_text`` says whether the
    byte order mark is hashed, ``ansi_first`` which reading Windows tries on text without.
    ``package`` is the GUID of the subject interface package that SpcSipInfo names.
    """

    package: bytes

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
        package=_POWERSHELL_PACKAGE,
        close=close,
        ansi_first=ansi_first,
    )


def _wsh(open_: str, package: str) -> Style:
    return Style(
        begin=f"{open_}Begin signature block",
        end=f"{open_}End signature block",
        open=open_,
        package=bytes.fromhex(package),
        mark_is_text=False,
        ansi_first=True,
    )


_POWERSHELL_PACKAGE = bytes.fromhex("1fcc3b60594b084eb724d2c6297ef351")
POWERSHELL = _sig_hash("# ")
_XML = _sig_hash("<!-- ", " -->", ansi_first=True)
_WSF = Style(
    begin="<signature>",
    end="</signature>",
    open="** SIG ** ",
    package=bytes.fromhex("7005611ace38d411a2a300104bd35090"),
    mark_is_text=False,
    inside=True,
)

STYLES = {
    ".ps1": POWERSHELL,
    ".psm1": POWERSHELL,
    ".psd1": POWERSHELL,
    ".ps1xml": _XML,
    ".psc1": _XML,
    ".cdxml": _XML,
    ".mof": _sig_hash("/* ", " */"),
    ".js": _wsh("// SIG // ", "10e0c906ce38d411a2a300104bd35090"),
    ".vbs": _wsh("'' SIG '' ", "4ef029169927b54d8fe5ace10f17ebab"),
    ".wsf": _WSF,
}
"""Families by extension."""

LINE_ENDS = ("", "\r\n", "\n", "\r")
"""What may stand behind the end marker."""

_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
SHEBANG = re.compile(rb"#![^\n]*\b(?:pwsh|powershell)\b")
BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}\Z")

_ANSI = {code: chr(code) for code in range(256)}
for _byte in range(0x80, 0xA0):
    _ANSI[_byte] = bytes([_byte]).decode("cp1252", "ignore") or chr(_byte)


class Reading(Frozen, frozen=True, kw_only=True):
    """One reading of a script's bytes: the codec and the text behind the byte order mark."""

    codec: str
    mark: bytes
    text: str

    def offset(self, characters: int) -> int:
        """Return where in the file the text's first ``characters`` end."""
        if self.codec == "ansi":
            return len(self.mark) + characters
        return len(self.mark) + len(self.encode(self.text[:characters]))

    def encode(self, text: str) -> bytes:
        """Return text in the file's encoding; what a block holds is ASCII in all of them."""
        if self.codec == "ansi":
            return text.encode("ascii")
        return text.encode(self.codec, "strict" if self.codec == "utf-8" else "surrogatepass")


class Block(Frozen, frozen=True, kw_only=True):
    """A signature block in a text: from the line break before its begin line to ``end``.

    ``line_end`` breaks its lines: CR LF as signers write it, or LF where a tool converted it.
    """

    start: int
    end: int
    lines: tuple[str, ...]
    line_end: str


def mentions_block(data: bytes, style: Style) -> bool:
    """Return whether a begin marker stands anywhere; refuse one in UTF-16 without its mark."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return True
    if any(style.begin.encode(codec) in data for codec in ("utf-16-le", "utf-16-be")):
        raise MalformedError(
            "script", "a signature block in UTF-16 without a byte order mark",
            "one, or text no reader takes for another", CLAUSE,
        )  # fmt: skip
    return style.begin.encode() in data


def readings_of(data: bytes, style: Style) -> list[Reading]:
    """Return every reading of the bytes: one if a byte order mark names it, else up to two."""
    for mark, codec in _MARKS:
        if data.startswith(mark):
            return [_marked(data, mark, codec)]
    if data.isascii():
        return [Reading(codec="ansi", mark=b"", text=data.decode("ascii"))]
    ansi = Reading(codec="ansi", mark=b"", text=data.decode("latin-1").translate(_ANSI))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return [ansi]
    utf8 = Reading(codec="utf-8", mark=b"", text=text)
    return [ansi, utf8] if style.ansi_first else [utf8, ansi]


def _marked(data: bytes, mark: bytes, codec: str) -> Reading:
    """Decode what a byte order mark announced; lone surrogates are kept as Windows keeps them."""
    try:
        errors = "strict" if codec == "utf-8" else "surrogatepass"
        return Reading(codec=codec, mark=mark, text=data[len(mark) :].decode(codec, errors))
    except UnicodeDecodeError as error:
        raise MalformedError(
            "script", f"bytes that are no {codec}", "the encoding its byte order mark names",
            CLAUSE, offset=len(mark) + error.start,
        ) from None  # fmt: skip


def find_block(reading: Reading, style: Style) -> Block | None:
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
            CLAUSE, offset=reading.offset(begins[-1]),
        )  # fmt: skip
    start = begins[0]
    if not ends or ends[0] < start:
        raise malformed_script(reading, start, "a begin marker without an end marker", "both")
    line_end = "\r\n" if text.endswith("\r\n", 0, start) else "\n"
    if not text.endswith(line_end, 0, start):
        raise malformed_script(reading, start, "a block without a line break in front", "CR LF")
    end = ends[0] + len(style.end)
    lines = text[start : ends[0]].split(line_end)
    if len(lines) > MAX_BLOCK_LINES:
        raise LimitError("script", f"{len(lines)} lines", f"at most {MAX_BLOCK_LINES} in a block")
    if lines[0] != style.begin or lines[-1]:
        raise malformed_script(
            reading, start, "a begin or end marker that is not alone on its line",
            "markers alone, lines broken by CR LF",
        )  # fmt: skip
    if style.inside:
        end += len(line_end) if text.startswith(line_end, end) else 0
        last = text.rfind(JOB_END)
        if last < end or text[end:last].strip():
            # A length does not bind the block's place, so there is only this one.
            raise malformed_script(
                reading, start, "a block elsewhere", "in front of the last </job>"
            )
    return Block(start=start - len(line_end), end=end, lines=tuple(lines[1:-1]), line_end=line_end)


def _marker_lines(text: str, marker: str) -> list[int]:
    """Return where lines start with ``marker``, two at most."""
    found: list[int] = []
    position = text.find(marker)
    while position >= 0 and len(found) < 2:
        if position == 0 or text[position - 1] in "\r\n":
            found.append(position)
        position = text.find(marker, position + 1)
    return found


def malformed_script(reading: Reading, position: int, found: str, required: str) -> MalformedError:
    """Return the error for a block that is not written as signers write it."""
    return MalformedError(
        "script", found, required, CLAUSE, offset=reading.offset(max(0, position))
    )
