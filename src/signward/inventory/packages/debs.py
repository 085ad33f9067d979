"""What a Debian package brings: its control data and every file, link and special file in it.

Read as dpkg reads it (deb(5)), and only after the whole package's SHA-256 was found in a signed
list: this says what is in it, not whether it counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from signward.errors import AmbiguousError, LimitError, MalformedError
from signward.frozen import Frozen
from signward.inventory.packages import FILE, LINK, OTHER, Entry, Package
from signward.inventory.packages.deb822 import lines, paragraphs
from signward.state import Source
from signward.wire.ar import Member, read_ar
from signward.wire.compressed import compression_of, unpacked
from signward.wire.tar import TarMember, tar_members

MAX_CONTROL = 64 * 1024 * 1024
"""Octets of control data unpacked; the lists of digests of the largest packages have 10 million."""

MAX_DATA = 16 * 1024 * 1024 * 1024
"""Octets of files unpacked; Debian's largest packages hold some 3 thousand million."""

MAX_ENTRIES = 1_000_000
"""Files and links of one package."""

MAX_TEXT = 16 * 1024 * 1024
"""Octets of ``control`` or ``conffiles``."""

_CLAUSE = "deb(5)"
_WHAT = "Debian package"


class Deb(Frozen, frozen=True, kw_only=True):
    """A package, and what it brings."""

    package: Package
    entries: tuple[Entry, ...]


def read_deb(source: Source) -> Deb:
    """Return what a package brings.  Raises ``BadInputError``.

    Of a path that stands twice the last counts, as dpkg unpacks it.
    """
    control, data = _parts(source)
    told = _texts(source, control)
    listed = told.get("conffiles", b"").decode("utf-8", "surrogateescape")
    config = frozenset(_path(line.split()[-1]) for line in lines(listed))
    found: dict[str, Entry] = {}
    for entry in _entries(source, data, config):
        found[entry.path] = _resolved(entry, found)
        if len(found) > MAX_ENTRIES:
            raise LimitError(_WHAT, "more files", f"at most {MAX_ENTRIES}")
    return Deb(package=_package(told.get("control", b"")), entries=tuple(found.values()))


def _parts(source: Source) -> tuple[Member, Member]:
    """Return the members with control data and with files; ``_…`` between them are others'."""
    members = read_ar(source)
    if not members or members[0].name != "debian-binary":
        raise MalformedError(_WHAT, "no debian-binary first", "it", _CLAUSE)
    version = source.read(members[0].content, min(members[0].size, 16))
    if not version.startswith(b"2."):
        raise MalformedError(_WHAT, f"format {version[:8]!r}", "2.", _CLAUSE)
    known = [one for one in members[1:] if not one.name.startswith("_")][:2]
    names = [one.name.partition(".")[0] for one in known]
    if names != ["control", "data"]:
        raise MalformedError(_WHAT, f"members {names}", "control and data", _CLAUSE)
    return known[0], known[1]


def _texts(source: Source, member: Member) -> dict[str, bytes]:
    """Return control files that are read here, by name."""
    found: dict[str, bytes] = {}
    for one in _members(source, member, MAX_CONTROL):
        name = one.name.removeprefix("./")
        if one.special or name not in ("control", "conffiles"):
            continue
        if name in found:
            raise AmbiguousError(_WHAT, f"{name} twice", "once", _CLAUSE)
        if one.size > MAX_TEXT:
            raise LimitError(_WHAT, f"{name} of {one.size} octets", f"at most {MAX_TEXT}")
        found[name] = b"".join(one.pieces)
    return found


def _members(source: Source, member: Member, most: int) -> Iterator[TarMember]:
    """Yield the members of a tar archive, compressed or not as its name says."""
    span = (member.content, member.end)
    packed = member.name.rpartition(".")[2] != "tar"
    plain = _plain(source, span)
    if packed:
        kind = compression_of(source.read(member.content, min(member.size, 8)))
        plain = unpacked(plain, kind, member.name)
    yield from tar_members(_bounded(plain, most), specials=True)


def _plain(source: Source, span: tuple[int, int]) -> Iterator[bytes]:
    piece = 256 * 1024
    for at in range(*span, piece):
        yield source.read(at, min(piece, span[1] - at))


def _bounded(plain: Iterator[bytes], most: int) -> Iterator[bytes]:
    left = most
    for piece in plain:
        left -= len(piece)
        if left < 0:
            raise LimitError(_WHAT, f"more than {most} octets unpacked", f"at most {most}")
        yield piece


def _package(control: bytes) -> Package:
    found = list(paragraphs(control, "control"))
    one = found[0] if len(found) == 1 else {}
    name, version, architecture = (one.get(key, "") for key in ("package", "version",
                                                                "architecture"))  # fmt: skip
    if not (name and version and architecture):
        raise MalformedError(_WHAT, "control data without a name, version or architecture",
                             "one paragraph with all three", "deb-control(5)")  # fmt: skip
    return Package(name=name, version=version, architecture=architecture)


def _entries(source: Source, data: Member, config: frozenset[str]) -> Iterator[Entry]:
    for one in _members(source, data, MAX_DATA):
        path = _path(one.name)
        if one.special:
            kind = FILE if one.hard else LINK if one.link else OTHER
            target = _path(one.link) if one.hard else one.link
            yield Entry(path, kind, one.mode, target=target)
            continue
        hasher = hashlib.sha256()
        for piece in one.pieces:
            hasher.update(piece)
        digest = hasher.digest()
        yield Entry(path, FILE, one.mode, one.size, "sha256", digest, "", path in config)


def _resolved(entry: Entry, before: dict[str, Entry]) -> Entry:
    """Return another name of a file with that file's content (tar's hard links)."""
    if entry.kind != FILE or entry.algorithm:
        return entry
    first = before.get(entry.target)
    if first is None or not first.algorithm:
        raise MalformedError(_WHAT, f"{entry.path}, another name of {entry.target}",
                             "a file that stands before it", _CLAUSE)  # fmt: skip
    return Entry(entry.path, FILE, first.mode, first.size, first.algorithm, first.digest)


def _path(name: str) -> str:
    """Return a member's name as a path in the system.  Raises ``MalformedError``."""
    path = "/" + name.removeprefix(".").lstrip("/")
    if ".." in path.split("/"):
        raise MalformedError(_WHAT, f"a member {name[:80]!r}", "a path without ..", _CLAUSE)
    return path
