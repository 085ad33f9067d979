"""Debian packages (deb(5)): which members there are, and what their control data says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from signward.errors import AmbiguousError, LimitError, MalformedError
from signward.frozen import Frozen
from signward.state import Source
from signward.wire.ar import Member, read_ar
from signward.wire.compressed import compression_of, unpack
from signward.wire.deb822 import read_paragraph
from signward.wire.tar import tar_members

VERSION = "debian-binary"
SIGNATURE = "_gpg"
"""How names of members that hold signatures begin; what follows is called the role."""

MAX_VERSION = 64
"""Octets of the first member: it says "2.0"."""

MAX_CONTROL = 64 * 1024 * 1024
"""Octets that control data may take, packed or not; the largest of Debian's have some 5 MB."""

MAX_PARAGRAPH = 1024 * 1024
"""Octets of the file ``control``; real ones have a few thousand."""

_PACKED = {"": "", ".gz": "gzip", ".xz": "xz", ".zst": "zstd", ".bz2": "bzip2", ".lzma": "lzma"}
_CONTROL = re.compile(r"control\.tar(|\.gz|\.xz|\.zst)\Z")
_DATA = re.compile(r"data\.tar(|\.gz|\.xz|\.zst|\.bz2|\.lzma)\Z")
_NUMBER = re.compile(rb"2\.[0-9]{1,4}\n\Z")
_TAR = b"ustar"
_FACTS = ("package", "version", "architecture")
_WHAT = "Debian package"
_CLAUSE = "deb(5)"


class Layout(Frozen, frozen=True, kw_only=True):
    """Where things lie.  ``others`` are members that no signature is over."""

    version: Member
    control: Member
    data: Member
    signatures: tuple[Member, ...]
    others: tuple[Member, ...]

    @property
    def covered(self) -> tuple[Member, ...]:
        """The members that are signed, in the order in which they are."""
        return (self.version, self.control, self.data)


def read_layout(source: Source) -> Layout:
    """Return where things lie; signatures stand behind what they are over.

    Raises ``MalformedError``, ``AmbiguousError`` for two members that could be meant, and
    ``LimitError``.
    """
    members = read_ar(source)
    if not members or members[0].name != VERSION:
        raise MalformedError(_WHAT, "another member in front", VERSION, _CLAUSE)
    for pattern in (_CONTROL, _DATA):
        named = [one.name for one in members if pattern.match(one.name)]
        if len(named) > 1:
            raise AmbiguousError(_WHAT, " and ".join(named), "one of them", _CLAUSE)
    parts = [one for one in members[1:] if not one.name.startswith("_")]
    if len(parts) < 2 or not (_CONTROL.match(parts[0].name) and _DATA.match(parts[1].name)):
        found = ", ".join(one.name for one in parts[:2]) or "nothing else"
        raise MalformedError(_WHAT, found, "control.tar and data.tar in this order", _CLAUSE)
    control, data = parts[:2]
    signatures = tuple(one for one in members if one.name.startswith(SIGNATURE))
    for one in signatures:
        if one.start < data.start:
            raise MalformedError(_WHAT, f"{one.name} in front of {data.name}", "it behind",
                                 _CLAUSE, offset=one.start)  # fmt: skip
    known = {one.name for one in (members[0], control, data, *signatures)}
    return Layout(
        version=members[0], control=control, data=data, signatures=signatures,
        others=tuple(one for one in members if one.name not in known),
    )  # fmt: skip


def read_control(source: Source, layout: Layout) -> Mapping[str, str]:
    """Return what the control data says of the package, and make sure that it ends where it ends.

    Signatures are over the members' content without their names and sizes.  What keeps anybody
    from moving the border between two of them is that the first says its version in one line,
    that the second is one stream to its last octet, and that the third begins as its name says.
    Raises ``MalformedError``, ``AmbiguousError``, ``LimitError`` and ``ExtraMissingError``.
    """
    version = layout.version
    if version.size > MAX_VERSION or not _NUMBER.match(source.read(version.content, version.size)):
        raise MalformedError(VERSION, f"{version.size} octets", "one line: 2.0", _CLAUSE)
    _check_start(source, layout.data, _DATA)
    texts = [body for name, body in _files(source, layout.control) if name == "control"]
    if len(texts) != 1:
        raise MalformedError(layout.control.name, f"{len(texts)} files named control", "one",
                             _CLAUSE)  # fmt: skip
    fields = read_paragraph(texts[0])
    return MappingProxyType({name: fields[name] for name in _FACTS if name in fields})


def _check_start(source: Source, member: Member, pattern: re.Pattern[str]) -> str:
    """Return how a member is packed, by its name and its first octets alike."""
    head = source.read(member.content, min(member.size, 512))
    named = pattern.match(member.name)
    packed = _PACKED[named[1]] if named else ""
    if compression_of(head) != packed or (not packed and head[257:262] != _TAR):
        raise MalformedError(member.name, "content of another kind", packed or "tar", _CLAUSE,
                             offset=member.content)  # fmt: skip
    return packed


def _files(source: Source, member: Member) -> Iterator[tuple[str, bytes]]:
    """Yield the files in the control data by name, to its end."""
    packed = _check_start(source, member, _CONTROL)
    if member.size > MAX_CONTROL:
        raise LimitError(member.name, f"{member.size} octets", f"at most {MAX_CONTROL}")
    octets = source.read(member.content, member.size)
    if packed:
        octets, end = unpack(octets, MAX_CONTROL, member.name)
        if end != member.size:
            raise MalformedError(member.name, f"{member.size - end} octets behind its stream",
                                 "none", _CLAUSE, offset=member.content + end)  # fmt: skip
    for one in tar_members(iter((octets,))):
        name = one.name.removeprefix("./")
        if one.size > MAX_PARAGRAPH and name == "control":
            raise LimitError(name, f"{one.size} octets", f"at most {MAX_PARAGRAPH}")
        yield name, b"".join(one.pieces) if name == "control" else b""
