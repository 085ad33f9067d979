"""Commits and tags of git as text: headers, a message, and where the signature lies.

Documentation: git's "signature-format" and "hash-function-transition".  A header is a name, a space
and a value up to the line's end; lines that begin with a space go on with it.  The first empty line
ends the headers.  A commit's signature is its header ``gpgsig`` (``gpgsig-sha256`` where objects
are named by SHA-256), and what is signed is the commit without that header and its other-named
twin.  A tag's is the end of its message, from the last line that begins an armoured block.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterator

from signward.errors import AmbiguousError, LimitError, MalformedError
from signward.frozen import Frozen
from signward.state import Region

MAX_OBJECT = 16 * 1024 * 1024
"""Octets of a commit or tag: those of the largest known (merges of many signed tags) are 200 KB."""

MAX_HEADERS = 100_000
"""Headers of one object: git's own limit of parents is far below."""

BEGINNINGS = (b"-----BEGIN PGP SIGNATURE-----", b"-----BEGIN PGP MESSAGE-----",
              b"-----BEGIN SIGNED MESSAGE-----", b"-----BEGIN SSH SIGNATURE-----")  # fmt: skip
"""What git takes for the beginning of a signature (gpg-interface.c)."""

_NAMES = {False: b"gpgsig", True: b"gpgsig-sha256"}
"""The header of the signature over an object's own form, by whether that is SHA-256's."""

_HEX = r"(?:[0-9a-f]{40}|[0-9a-f]{64})"
_RAW = re.compile(rb"(?:tree %b\n(?:parent|author) |object %b\ntype [a-z]{4,6}\ntag )"
                  % (_HEX.encode(), _HEX.encode()))  # fmt: skip
_LOOSE = re.compile(rb"(commit|tag) (0|[1-9][0-9]{0,8})\0")
_ID = re.compile(_HEX)
_ORDER = {"commit": ("tree", "parent", "author", "committer"), "tag": ("object", "type", "tag")}
"""The headers that an object begins with, in this order; there may be any number of parents."""

_WHAT = "git object"
_CLAUSE = "git fsck"


class Header(Frozen, frozen=True, kw_only=True):
    """One header, and its place; of one in several lines ``value`` has them without the spaces."""

    name: bytes
    value: bytes
    start: int
    end: int


class GitText(Frozen, frozen=True, kw_only=True):
    """A commit or tag: ``payload`` is what is signed, ``signature`` is empty if there is none.

    ``place`` is where the signature's octets are, or would go; ``name`` the header's name, empty
    in a tag.  ``regions`` are octets that no signature of this form of the object is over.
    """

    kind: str
    raw: bytes
    headers: tuple[Header, ...]
    payload: bytes
    signature: bytes
    place: tuple[int, int]
    name: bytes
    regions: tuple[Region, ...]

    def told(self, name: str) -> str:
        """Return what the first header of a name says; empty where there is none."""
        wanted = name.encode()
        found = next((one.value for one in self.headers if one.name == wanted), b"")
        return found.decode("utf-8", "backslashreplace")

    @property
    def algorithm(self) -> str:
        """What objects of its repository are named by."""
        return "sha256" if len(self.headers[0].value) == 64 else "sha1"

    @property
    def object_id(self) -> str:
        """The object's name (hex), computed anew."""
        head = f"{self.kind} {len(self.raw)}\0".encode()
        return hashlib.new(self.algorithm, head + self.raw, usedforsecurity=False).hexdigest()


def looks_like_one(head: bytes) -> bool:
    """Say whether octets begin as a commit or tag does, by itself or packed as a loose object."""
    if _RAW.match(head):
        return True
    return head[:1] == b"\x78" and _LOOSE.match(_begun(head[:256])) is not None


def _begun(head: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(head, 32)
    except zlib.error:
        return b""


def unpacked(data: bytes) -> tuple[str, bytes, int]:
    """Return the kind of a loose object, its octets, and how long the packed stream is.

    Raises ``MalformedError`` and ``LimitError``.
    """
    unpacker = zlib.decompressobj()
    try:
        plain = unpacker.decompress(data, MAX_OBJECT + 32)
    except zlib.error as error:
        raise MalformedError(_WHAT, f"data that does not unpack ({error})", "zlib") from None
    found = _LOOSE.match(plain)
    if found is None or len(plain) - found.end() > MAX_OBJECT:
        raise LimitError(_WHAT, "no commit or tag, or a large one", f"at most {MAX_OBJECT} octets")
    raw = plain[found.end() :]
    if not unpacker.eof or len(raw) != int(found[2]):
        raise MalformedError(_WHAT, f"{len(raw)} octets", f"{int(found[2])}, as it says", _CLAUSE)
    return found[1].decode(), raw, len(data) - len(unpacker.unused_data)


def read_text(raw: bytes, kind: str = "") -> GitText:
    """Return what a commit or tag says.  ``kind`` is what a repository calls it.

    Raises ``MalformedError``, ``AmbiguousError`` for two signatures, ``LimitError``.
    """
    if len(raw) > MAX_OBJECT:
        raise LimitError(_WHAT, f"{len(raw)} octets", f"at most {MAX_OBJECT}")
    if b"\0" in raw:
        raise MalformedError(_WHAT, "a NUL, behind which git shows nothing", "none", _CLAUSE)
    headers, body = _headers(raw)
    found = "commit" if headers[0].name == b"tree" else "tag"
    if kind and kind != found:
        raise MalformedError(_WHAT, f"a {found}", f"a {kind}", _CLAUSE)
    _check_order(found, headers)
    make = _commit if found == "commit" else _tag
    return make(raw, headers, body)


def _headers(raw: bytes) -> tuple[tuple[Header, ...], int]:
    """Return the headers and where they end."""
    headers, position = list[Header](), 0
    while position < len(raw) and raw[position : position + 1] != b"\n":
        end = _end_of(raw, position)
        while raw[end : end + 1] == b" ":
            end = _end_of(raw, end)
        name, space, value = raw[position:end].partition(b" ")
        if not name or b"\n" in name or not space or len(headers) == MAX_HEADERS:
            raise MalformedError(_WHAT, "a line that is no header", "a name and a value", _CLAUSE,
                                 offset=position)  # fmt: skip
        value = value.removesuffix(b"\n").replace(b"\n ", b"\n")
        headers.append(Header(name=name, value=value, start=position, end=end))
        position = end
    if not headers:
        raise MalformedError(_WHAT, "no header", "a commit's or a tag's", _CLAUSE)
    return tuple(headers), position


def _end_of(raw: bytes, position: int) -> int:
    end = raw.find(b"\n", position)
    if end < 0:
        raise MalformedError(_WHAT, "a header that does not end", "a whole line", _CLAUSE)
    return end + 1


def _check_order(kind: str, headers: tuple[Header, ...]) -> None:
    """Raise ``MalformedError`` for headers in another order, or one twice, as ``git fsck`` does."""
    names = [header.name.decode("latin-1") for header in headers]
    wanted = list(_ORDER[kind])
    if kind == "commit":
        wanted[1:2] = ["parent"] * names.count("parent")
    once = {*_ORDER[kind], "tagger", "encoding"} - {"parent"}
    doubled = [name for name in once if names.count(name) > 1]
    if names[: len(wanted)] != wanted or doubled:
        raise MalformedError(_WHAT, f"headers {', '.join(names[:8])}", f"{', '.join(wanted[:8])}, "
                             "each once, then others", _CLAUSE)  # fmt: skip
    ids = [h.value.decode("latin-1") for h in headers if h.name in (b"tree", b"parent", b"object")]
    if not all(map(_ID.fullmatch, ids)) or len({len(one) for one in ids}) > 1:
        raise MalformedError(_WHAT, "names of objects that are none", "40 or 64 digits", _CLAUSE)


def _commit(raw: bytes, headers: tuple[Header, ...], body: int) -> GitText:
    name = _NAMES[len(headers[0].value) == 64]
    signatures = [header for header in headers if header.name == name]
    if len(signatures) > 1:
        raise AmbiguousError("commit", f"{len(signatures)} headers {name.decode()}", "one",
                             hint="git hands both to one verifier")  # fmt: skip
    dropped = [header for header in headers if header.name.startswith(b"gpgsig")]
    kept, position = list[bytes](), 0
    for header in dropped:
        kept.append(raw[position : header.start])
        position = header.end
    own = signatures[0] if signatures else None
    return GitText(
        kind="commit", raw=raw, headers=headers, name=name,
        payload=b"".join(kept) + raw[position:],
        signature=own.value + b"\n" if own else b"",
        place=(own.start, own.end) if own else (body, body),
        regions=tuple(_others(dropped, name)),
    )  # fmt: skip


def _others(dropped: list[Header], own: bytes) -> Iterator[Region]:
    """Yield the headers that are no part of what is signed and not the signature either."""
    for header in dropped:
        if header.name != own:
            twin = header.name in _NAMES.values()
            yield Region(
                start=header.start, end=header.end,
                what=f"header {header.name[:40].decode('latin-1')}",
                exempt="git's hash function transition: over the object's other form"
                if twin else "",
            )  # fmt: skip


def _tag(raw: bytes, headers: tuple[Header, ...], body: int) -> GitText:
    found = [raw.rfind(b"\n" + beginning, body) for beginning in BEGINNINGS]
    start = max(found) + 1 or len(raw)
    dropped = [header for header in headers if header.name.startswith(b"gpgsig")]
    if dropped:
        raise MalformedError("tag", "a signature among its headers", "one at its end", _CLAUSE)
    return GitText(
        kind="tag", raw=raw, headers=headers, payload=raw[:start], signature=raw[start:],
        place=(start, len(raw)), name=b"", regions=(),
    )  # fmt: skip
