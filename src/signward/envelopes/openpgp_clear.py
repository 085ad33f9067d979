"""Clear-signed text (RFC 9580 7): the text that is signed, and the signatures behind it.

Only what is signed is handed out, and only a file that is one block and nothing else is read:
readers have disagreed for decades about text before, between and behind blocks, about headers
that print like text, and about what ends a line.  So line endings are LF or CR LF throughout, no
line has a carriage return or a NUL in it, every line that begins with a dash is escaped, and the
only header is ``Hash``.

Spaces and tabs at the ends of lines are not signed (7.2): the text comes without them, and the
file's own are told, for they can be changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from signward.envelopes.openpgp import Opened, open_packets
from signward.envelopes.openpgp_packets import armour, dearmour
from signward.envelopes.openpgp_signature import TEXT
from signward.errors import AmbiguousError, LimitError, MalformedError, UncoveredError
from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen, replace
from signward.wire.clear_text import BEGIN

MAX_OCTETS = 16 * 1024 * 1024
"""Octets of a file; the release file of a distribution's largest suite has some 300,000."""

MAX_HASHES = 16
"""``Hash`` headers; writers put one, with a name for each signature."""

MAX_SPACED = 10_000
"""Lines with spaces or tabs behind them that are told one by one; a long change log has dozens."""

_SIGNATURE = b"-----BEGIN PGP SIGNATURE-----"
_END = b"-----END PGP SIGNATURE-----"
_HASH = re.compile(rb"Hash: ([A-Z0-9-]{1,16}(?:, ?[A-Z0-9-]{1,16}){0,15})\Z")
_HEADER = re.compile(rb"(?:Version|Comment|Charset|MessageID): [A-Za-z0-9 .,:()/_+@#=~-]{0,80}\Z")
_HASHES = {
    "MD5": "md5", "SHA1": "sha1", "RIPEMD160": "ripemd160", "SHA224": "sha224",
    "SHA256": "sha256", "SHA384": "sha384", "SHA512": "sha512", "SHA3-256": "sha3_256",
    "SHA3-512": "sha3_512",
}  # fmt: skip
"""Digests by their text names (RFC 9580 9.5)."""

_NAMES = {digest: name for name, digest in _HASHES.items()}
_DASH = re.compile(rb"^-", re.MULTILINE)
_ESCAPE = re.compile(rb"^- ", re.MULTILINE)
_WHAT = "clear-signed text"
_CLAUSE = "RFC 9580 7"


class ClearText(Frozen, frozen=True, kw_only=True):
    """A block: all offsets are those of the file.

    ``text`` is what is signed, each line ended by LF; ``hashed`` the same as signatures hash it
    (CR LF between lines, none behind the last); it stands from ``start`` to ``end``, and from
    there to the file's end the signatures, ``signature`` as packets.  ``digests`` is what ``Hash``
    headers name (hashlib's names), ``ending`` what ends lines.  ``spaces`` are the ranges of
    spaces and tabs at the ends of lines, and ``only_spaces`` is where the first line begins that
    has nothing else, None without any: to some readers such a line is empty, to others not.
    """

    text: bytes
    hashed: bytes
    start: int
    end: int
    ending: bytes
    digests: tuple[str, ...]
    signature: bytes
    spaces: tuple[tuple[int, int], ...]
    only_spaces: int | None


def read_clear(data: bytes) -> ClearText:
    """Return the one block that is the whole file; at most one line ending follows it.

    Raises ``UncoveredError`` for octets outside the block, ``AmbiguousError`` for several blocks
    and for line endings that readers differ about, ``MalformedError``, ``LimitError``.
    """
    if len(data) > MAX_OCTETS:
        raise LimitError(_WHAT, f"{len(data)} octets", f"at most {MAX_OCTETS}")
    ending = line_ending(data)
    lines = data.split(ending)
    if lines[0] != BEGIN:
        raise _outside(lines)
    digests, first = _headers(lines)
    last = _find(lines, _SIGNATURE, first)
    start = sum(map(len, lines[:first])) + first * len(ending)
    text = _Text(lines[first:last], start, ending)
    tail = _find(lines, _END, last)
    _plain_headers(lines[last + 1 : tail])
    _nothing_behind(lines[tail + 1 :])
    block = b"\n".join((*lines[last : tail + 1], b""))
    return ClearText(
        text=b"".join(line + b"\n" for line in text.lines),
        hashed=b"\r\n".join(text.lines),
        start=start,
        end=text.end,
        ending=ending,
        digests=digests,
        signature=dearmour(block, "SIGNATURE", alone=True),
        spaces=tuple(text.spaces),
        only_spaces=text.only_spaces,
    )


def open_clear(clear: ClearText, slot: str, first: int = 1) -> tuple[Opened, ...]:
    """Return the signatures; each is over ``slot`` and its label, and hashes `ClearText.hashed`.

    Labels are numbers from ``first`` on.  Raises ``MalformedError`` and ``LimitError``.
    """
    opened = open_packets(clear.signature, slot, (TEXT,), first)
    return tuple(_as_announced(one, clear.digests) for one in opened)


def line_ending(data: bytes) -> bytes:
    """Return what ends lines, the same everywhere.

    Raises ``AmbiguousError`` for several and for other carriage returns, ``MalformedError``.
    """
    if b"\0" in data:
        raise MalformedError(_WHAT, "a NUL", "text", _CLAUSE, offset=data.index(b"\0"))
    returns, pairs, feeds = data.count(b"\r"), data.count(b"\r\n"), data.count(b"\n")
    if returns != pairs:
        raise AmbiguousError(_WHAT, "a carriage return within a line", "none", "RFC 9580 7.2")
    if pairs not in (0, feeds):
        raise AmbiguousError(_WHAT, f"{pairs} lines of {feeds} that end in CR LF", "all or none",
                             "RFC 9580 7.2")  # fmt: skip
    return b"\r\n" if pairs else b"\n"


def _outside(lines: list[bytes]) -> MalformedError | UncoveredError:
    if BEGIN in lines:
        return UncoveredError(_WHAT, "text before the block", "the block and nothing else",
                              _CLAUSE, offset=0)  # fmt: skip
    return MalformedError(_WHAT, "no line that begins a block", BEGIN.decode(), _CLAUSE)


def _headers(lines: list[bytes]) -> tuple[tuple[str, ...], int]:
    """Return the digests that headers name, and which line the text begins with."""
    named = list[str]()
    for number, line in enumerate(lines[1 : MAX_HASHES + 2], 1):
        if not line:
            return tuple(named), number + 1
        header = _HASH.match(line)
        names = [one.strip() for one in header[1].decode().split(",")] if header else []
        if not names or not _HASHES.keys() >= set(names):
            raise MalformedError(_WHAT, f"header {line[:60]!r}", "Hash and names of digests",
                                 "RFC 9580 7.1")  # fmt: skip
        named += [_HASHES[name] for name in names]
    raise MalformedError(_WHAT, "no empty line behind its headers", "one", _CLAUSE)


def _find(lines: list[bytes], wanted: bytes, start: int) -> int:
    try:
        return lines.index(wanted, start)
    except ValueError:
        raise MalformedError(_WHAT, "no end", wanted.decode(), _CLAUSE) from None


def _nothing_behind(rest: list[bytes]) -> None:
    """Raise for octets behind the block's last line but the one line ending that ends it."""
    if BEGIN in rest:
        raise AmbiguousError(_WHAT, "several blocks", "one", _CLAUSE)
    if rest not in ([], [b""]):
        raise UncoveredError(_WHAT, "text behind the block", "the block and nothing else", _CLAUSE)


def _plain_headers(armoured: list[bytes]) -> None:
    """Raise for headers of the signatures' armour that say more than who made it.

    Nobody signs them, and they stand in a text that people read and shells run.
    """
    for line in armoured:
        if not line:
            return
        if not _HEADER.match(line):
            raise UncoveredError(_WHAT, f"armour header {line[:60]!r}",
                                 "Version or Comment, in plain words", _CLAUSE)  # fmt: skip


class _Text:
    """The lines of a text without dash escapes and unsigned spaces, and where those are."""

    def __init__(self, raw: list[bytes], start: int, ending: bytes) -> None:
        self.lines, self.spaces = list[bytes](), list[tuple[int, int]]()
        self.only_spaces: int | None = None
        self.end = start
        for line in raw:
            self._take(line)
            self.end += len(line) + len(ending)

    def _take(self, line: bytes) -> None:
        bare = line.removeprefix(b"- ")
        if line.startswith(b"-") and not line.startswith(b"- "):
            raise MalformedError(_WHAT, f"a line {line[:40]!r}", "a dash and a space before it",
                                 "RFC 9580 7.2", offset=self.end)  # fmt: skip
        signed = bare.rstrip(b" \t")
        if len(signed) < len(bare):
            if len(self.spaces) == MAX_SPACED:
                raise LimitError(_WHAT, "more lines with spaces behind them",
                                 f"at most {MAX_SPACED}")  # fmt: skip
            whole = self.end + len(line)
            self.spaces.append((whole - len(bare) + len(signed), whole))
            if not signed and self.only_spaces is None:
                self.only_spaces = self.end
        self.lines.append(signed)


def write_clear(
    text: bytes, digests: Iterable[str], packets: bytes, *, checksum: bool = True
) -> bytes:
    """Return the block of a text (escaped here) and signatures' packets, line endings as it has.

    ``digests`` (hashlib's names) are told in front, but for those without a text name.  ``text``
    ends with a line ending, or is empty; ``checksum`` is `armour`'s.  Raises as `line_ending` does.
    """
    ending = line_ending(text)
    names = ", ".join(_NAMES[one] for one in dict.fromkeys(digests) if one in _NAMES)
    header = [f"Hash: {names}".encode("ascii")] if names else []
    behind = armour(packets, "SIGNATURE", checksum=checksum).replace(b"\n", ending)
    return ending.join((BEGIN, *header, b"", _DASH.sub(b"- -", text) + behind))


def unescaped(data: bytes, clear: ClearText) -> bytes:
    """Return the text of a block as it stood before: with its spaces and line endings."""
    return _ESCAPE.sub(b"", data[clear.start : clear.end])


def _as_announced(opened: Opened, digests: tuple[str, ...]) -> Opened:
    """Return a signature, refused if headers name digests and not its own."""
    claimed = opened.claimed
    if not digests or claimed.algorithm.digest in digests:
        return opened
    lie = Finding(
        code=Code.ALGORITHM_INCONSISTENT, effect=Effect.REJECT,
        subject=f"signature {claimed.label}", found=f"digest {claimed.algorithm.digest}",
        required=f"one that a Hash header names: {', '.join(digests)}", clause="RFC 9580 7.1",
    )  # fmt: skip
    return replace(opened, claimed=replace(claimed, findings=(*claimed.findings, lie)))
