"""Signed notes and the checkpoints in them, as they are read; nothing in them is checked.

A note (c2sp.org/signed-note) is text, a blank line and signature lines; a checkpoint
(c2sp.org/tlog-checkpoint) is a note whose text states a log's size and root.
"""

from __future__ import annotations

import base64
import binascii
import re

from signward.errors import LimitError, MalformedError
from signward.frozen import Frozen
from signward.wire.merkle import EMPTY_ROOT, HASH_OCTETS

MAX_NOTE = 256 * 1024
"""Octets of a note: 16 signatures must be taken, and post-quantum ones have nearly 5 kB."""

MAX_SIGNATURES = 64
"""Signature lines of a note; readers must take 16 (c2sp.org/signed-note)."""

MAX_SIZE = 2**63 - 1
"""Most entries of a tree: what databases and other clients count with."""

ID_OCTETS = 4
"""Octets of a key id."""

_CLAUSE = "c2sp.org/signed-note"
_CHECKPOINT = "c2sp.org/tlog-checkpoint"
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
"""The specification forbids those below U+0020; the others drive terminals just as well."""

DASH = "\N{EM DASH} "
"""How a signature line begins."""

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_LEAST_LINES = 3


class NoteSignature(Frozen, frozen=True, kw_only=True):
    """One signature line as it stands there: ``value`` is what follows the key id."""

    name: str
    key_id: bytes
    value: bytes


class ClaimedNote(Frozen, frozen=True, kw_only=True):
    """A note that parses; ``text`` ends with a newline.  Nobody has checked a signature."""

    text: str
    signatures: tuple[NoteSignature, ...]


class Checkpoint(Frozen, frozen=True, kw_only=True):
    """A tree's head: ``origin`` names the log, ``root`` has 32 octets.

    ``extensions`` are further lines; we write none.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The note's text, with the final newline."""
        root = base64.b64encode(self.root).decode()
        return "".join(f"{x}\n" for x in (self.origin, self.size, root, *self.extensions))


def check_name(name: str) -> None:
    """Raise ``MalformedError`` for what is no name of a key."""
    if not name or "+" in name or any(c.isspace() or c < " " for c in name):
        raise MalformedError("key name", repr(name[:80]), "text without blanks and plus", _CLAUSE)


def unbase64(text: str, what: str) -> bytes:
    """Return what a text encodes, in the one way there is (RFC 4648 4).

    Raises ``MalformedError``.
    """
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        data = b""
    if base64.b64encode(data).decode() != text:
        raise MalformedError(what, repr(text[:80]), "base64", "RFC 4648 4")
    return data


def parse(data: bytes) -> ClaimedNote:
    """Return the note that ``data`` is.  Raises ``MalformedError``, ``LimitError``."""
    if len(data) > MAX_NOTE:
        raise LimitError("note", f"{len(data)} octets", f"at most {MAX_NOTE}", _CLAUSE)
    try:
        whole = data.decode()
    except UnicodeDecodeError:
        raise MalformedError("note", "octets that are no UTF-8", "UTF-8", _CLAUSE) from None
    if _CONTROL.search(whole):
        raise MalformedError("note", "control characters", "none but newlines", _CLAUSE)
    text, blank, lines = whole.rpartition("\n\n")
    if not blank or not lines.endswith("\n"):
        raise MalformedError("note", "no signature lines", "text, blank line, signatures", _CLAUSE)
    signatures = lines[:-1].split("\n")
    if len(signatures) > MAX_SIGNATURES:
        raise LimitError("note", f"{len(signatures)} signatures", f"at most {MAX_SIGNATURES}")
    return ClaimedNote(text=text + "\n", signatures=tuple(map(_signature, signatures)))


def _signature(line: str) -> NoteSignature:
    name, blank, encoded = line.removeprefix(DASH).partition(" ")
    if not line.startswith(DASH) or not blank:
        raise MalformedError("note", repr(line[:80]), "a signature line", _CLAUSE)
    check_name(name)
    raw = unbase64(encoded, f"the signature of {name}")
    if len(raw) <= ID_OCTETS:
        raise MalformedError(f"the signature of {name}", f"{len(raw)} octets", "more", _CLAUSE)
    return NoteSignature(name=name, key_id=raw[:ID_OCTETS], value=raw[ID_OCTETS:])


def parse_text(text: str) -> Checkpoint:
    """Return the head that a note's text states.  Raises ``MalformedError``."""
    lines = text.removesuffix("\n").split("\n")
    if len(lines) < _LEAST_LINES or not all(lines) or not text.endswith("\n"):
        raise MalformedError("checkpoint", f"{len(lines)} lines", "three or more, none empty",
                             _CHECKPOINT)  # fmt: skip
    origin, size, root, *extensions = lines
    if not _SIZE.fullmatch(size) or int(size) > MAX_SIZE:
        raise MalformedError("checkpoint", f"size {size[:40]!r}", f"0 to {MAX_SIZE}", _CHECKPOINT)
    head = Checkpoint(
        origin=origin, size=int(size), root=unbase64(root, "root hash"),
        extensions=tuple(extensions),
    )  # fmt: skip
    if len(head.root) != HASH_OCTETS or (not head.size and head.root != EMPTY_ROOT):
        raise MalformedError(
            "checkpoint", f"root {root[:60]}", "SHA-256 of the tree", "RFC 6962 2.1"
        )
    return head
