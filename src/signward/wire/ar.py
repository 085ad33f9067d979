"""Ar archives as VIBs are: members with short names, one after the other, nothing in between.

Source: the System V/BSD archive layout (Debian's ar(5)).  Eight octets of magic; each member has
sixty octets of header, all ASCII, then its content, then a line feed where that is of odd length.
Tables of symbols and of long names are refused: readers differ in what they make of them.
"""

from __future__ import annotations

import re

from signward.errors import AmbiguousError, LimitError, MalformedError
from signward.frozen import Frozen
from signward.state import Source

MAGIC = b"!<arch>\n"
HEADER = 60
MAX_MEMBERS = 1024
"""Most members read; a VIB of a driver has three, the largest (ESXi's base) some 150."""

_END = b"`\n"
_NAME = re.compile(rb"([A-Za-z0-9_.+@~-][A-Za-z0-9_.+@~ -]*?)/? *\Z")
_SIZE = re.compile(rb"([0-9]{1,10}) *\Z")
_CLAUSE = "ar(5)"
_WHAT = "archive"


class Member(Frozen, frozen=True, kw_only=True):
    """One member: its header starts at ``start``, its content at ``content``; sizes in octets."""

    name: str
    start: int
    size: int

    @property
    def content(self) -> int:
        """Where the content starts."""
        return self.start + HEADER

    @property
    def end(self) -> int:
        """Where the content ends."""
        return self.content + self.size

    @property
    def next(self) -> int:
        """Where what follows starts: behind the octet that makes the length even."""
        return self.end + self.size % 2


def read_ar(source: Source) -> tuple[Member, ...]:
    """Return the members, in order; they fill the archive.

    Raises ``MalformedError``, ``AmbiguousError`` for a name that stands twice, ``LimitError``.
    """
    if source.length < len(MAGIC) or source.read(0, len(MAGIC)) != MAGIC:
        raise MalformedError(_WHAT, "no magic", "!<arch>", _CLAUSE)
    members: list[Member] = []
    at, names = len(MAGIC), set[str]()
    while at < source.length:
        if len(members) == MAX_MEMBERS:
            raise LimitError(_WHAT, "more members", f"at most {MAX_MEMBERS}")
        member = _member(source, at)
        if member.name in names:
            raise AmbiguousError(_WHAT, f"{member.name} twice", "each member once", _CLAUSE)
        names.add(member.name)
        members.append(member)
        at = member.next
    return tuple(members)


def header(name: str, size: int, like: bytes = b"") -> bytes:
    """Return a member's header; times, owners and mode are those of the header ``like``."""
    middle = like[16:48] if like else b"0           0     0     100644  "
    return f"{name:<16}".encode("ascii") + middle + f"{size:<10}".encode("ascii") + _END


def _member(source: Source, at: int) -> Member:
    if at + HEADER > source.length:
        raise MalformedError(_WHAT, "a header cut short", f"{HEADER} octets", _CLAUSE, offset=at)
    head = source.read(at, HEADER)
    name, size = _NAME.match(head[:16]), _SIZE.match(head[48:58])
    if head[58:] != _END or name is None or size is None:
        raise MalformedError(_WHAT, "a header that is none", "name, size and end mark", _CLAUSE,
                             offset=at)  # fmt: skip
    member = Member(name=name[1].decode("ascii"), start=at, size=int(size[1]))
    if member.next > source.length:
        raise MalformedError(_WHAT, f"{member.name} cut short", f"{member.size} octets", _CLAUSE,
                             offset=at)  # fmt: skip
    if member.next > member.end and source.read(member.end, 1) != b"\n":
        raise MalformedError(_WHAT, f"something behind {member.name}", "a line feed", _CLAUSE,
                             offset=member.end)  # fmt: skip
    return member
