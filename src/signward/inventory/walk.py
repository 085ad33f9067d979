"""A bounded walk over trees: every regular file once, everything else as a finding.

Symbolic links are not followed (but a root may be one), each directory is entered
once, FIFOs, sockets and devices are reported and never opened, kernel file systems
are left out unless they are the root asked for.  Names are ``str`` with
``surrogateescape`` (PEP 383): :func:`printable` makes them fit for output.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import attrgetter
from pathlib import Path

import msgspec

from signward.findings import Code, Effect, Finding
from signward.formats import HEAD
from signward.frozen import Frozen
from signward.inventory.classify import (
    QUICK_HEAD,
    QUICK_TAIL,
    needs_head,
    needs_tail,
    quick_kind,
    refine_with_tail,
)
from signward.wire.source import Identity

DIRECTORY_ENTRIES = 1_000_000
"""Entries read from one directory; they are sorted, so they are held at once."""

FOLDER_FILES = 4096
"""Files handed out at once; a directory that holds more comes in numbered parts."""

TREE_DEPTH = 512
"""Directories below a root (Linux's own PATH_MAX of 4096 usually ends it sooner)."""

PSEUDO_FILE_SYSTEMS = frozenset(
    {"proc", "sysfs", "debugfs", "tracefs", "securityfs", "cgroup", "cgroup2", "pstore", "bpf"}
    | {"configfs", "devpts", "mqueue", "efivarfs", "fusectl", "binfmt_misc", "autofs", "nsfs"}
)
"""File systems whose files are the kernel's answers, not somebody's code (proc(5))."""

_OCTAL = re.compile(r"\\([0-7]{3})")
"""How mountinfo writes white space and backslashes."""

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

_SWAPPED = frozenset({errno.ENOTDIR, errno.ELOOP})
"""How opening fails where a directory became something else since its parent was read."""

_OPEN_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | os.O_NOFOLLOW


class Trouble(msgspec.Struct, frozen=True):
    """A path that is not walked or not read, and the finding that says why."""

    path: str
    finding: Finding


class Folder(msgspec.Struct, frozen=True, gc=False):
    """The files of one directory, or a part of them, in the order of the walk.

    The directory is open only until the next item of the walk is asked for: so long the
    status of its entries can be had.  ``part`` counts from 0, the last one is ``last``.
    Part 0 names the directories ``below`` it, left out ones too.
    """

    path: str
    part: int
    last: bool
    items: Sequence[os.DirEntry[str] | Trouble]
    below: tuple[str, ...] = ()


class WalkOptions(Frozen, frozen=True, kw_only=True):
    """How far a walk goes."""

    one_file_system: bool = False
    stable: bool = True
    exclude: frozenset[str] = frozenset()


def printable(name: str) -> str:
    r"""Return ``name`` for output: control characters and stray bytes as ``\xNN``.

    A file name may hold terminal escapes, line breaks and bytes that are not UTF-8.
    """
    if name.isprintable():
        return name
    return "".join(c if c.isprintable() else _escaped(c) for c in name)


def _escaped(character: str) -> str:
    point = ord(character)
    if 0xDC80 <= point <= 0xDCFF:
        return f"\\x{point - 0xDC00:02x}"
    if point < 0x100:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def walk(roots: Sequence[str], options: WalkOptions | None = None) -> Iterator[str | Trouble]:
    """Yield the path of every regular file below ``roots``, and what was not walked.

    The order is that of :func:`walk_folders`.
    """
    for item in walk_folders(roots, options):
        if isinstance(item, Folder):
            for entry in item.items:
                yield entry if isinstance(entry, Trouble) else join(item.path, entry.name)
        else:
            yield item


def walk_folders(
    roots: Sequence[str], options: WalkOptions | None = None
) -> Iterator[str | Folder | Trouble]:
    """Yield the regular files below ``roots`` by directory, and what was not walked.

    A root that is itself a file comes as its path.  With ``stable`` the order is the
    same on every run: a directory's files by name, then its directories by name.
    """
    options = options or WalkOptions()
    walker = _Walker(options, _pseudo_mounts())
    for root in roots:
        yield from walker.root(root)


class _Walker:
    """The state of one walk: directories already entered."""

    __slots__ = ("_entered", "_options", "_pseudo")

    def __init__(self, options: WalkOptions, pseudo: frozenset[str]) -> None:
        self._options, self._pseudo = options, pseudo
        self._entered: set[tuple[int, int]] = set()

    def root(self, path: str) -> Iterator[str | Folder | Trouble]:
        """Walk one root: a file, or a directory and all below it."""
        try:
            status = os.stat(path)  # noqa: PTH116  a root may be a symbolic link
        except (OSError, ValueError) as error:
            yield unreadable(path, error)
            return
        if stat.S_ISREG(status.st_mode):
            yield str(Path(path).resolve()) if Path(path).is_symlink() else path
        elif stat.S_ISDIR(status.st_mode):
            yield from self._tree(path, status.st_dev)
        else:
            yield special(path, status.st_mode)

    def _tree(self, root: str, device: int) -> Iterator[Folder | Trouble]:
        stack = [(root, 0)]
        while stack:
            path, depth = stack.pop()
            below: list[str] = []
            yield from self._folder(path, depth, device, below)
            stack.extend((join(path, name), depth + 1) for name in reversed(below))

    def _folder(
        self, path: str, depth: int, device: int, below: list[str]
    ) -> Iterator[Folder | Trouble]:
        """Yield the files of one directory; add the names of those to enter to ``below``."""
        if depth and path in self._pseudo:  # opening an automount point would mount it
            yield _left_out(path, "a kernel file system")
            return
        try:
            opened, status = _open_folder(path, follow=depth == 0)
        except OSError as error:
            swapped = depth > 0 and error.errno in _SWAPPED
            yield _changed(path) if swapped else unreadable(path, error)
            return
        try:
            identity = (status.st_dev, status.st_ino)
            if identity in self._entered:
                return
            if trouble := self._left_out(path, depth, foreign=status.st_dev != device):
                yield trouble
                return
            self._entered.add(identity)
            yield from self._files(path, opened, below)
        finally:
            os.close(opened)

    def _left_out(self, path: str, depth: int, *, foreign: bool) -> Trouble | None:
        """Return what to say about leaving a directory out, or None to enter it."""
        if depth and foreign and self._options.one_file_system:
            return _left_out(path, "another file system")
        if depth > TREE_DEPTH:
            return _too_much(path, f"directories nested deeper than {TREE_DEPTH}", TREE_DEPTH)
        return None

    def _files(self, path: str, opened: int, below: list[str]) -> Iterator[Folder | Trouble]:
        try:
            entries, whole = _entries(opened, stable=self._options.stable)
        except OSError as error:
            yield unreadable(path, error)
            return
        items, named = _sorted_out(entries, path)
        below += [name for name in named if name not in self._options.exclude]
        for part, start in enumerate(range(0, len(items) or 1, FOLDER_FILES)):
            end = start + FOLDER_FILES
            told = tuple(named) if part == 0 else ()
            yield Folder(path, part, end >= len(items), items[start:end], told)
        if not whole:
            yield _too_much(path, f"more than {DIRECTORY_ENTRIES} entries", DIRECTORY_ENTRIES)


def _sorted_out(
    entries: Iterable[os.DirEntry[str]], path: str
) -> tuple[list[os.DirEntry[str] | Trouble], list[str]]:
    """Return a directory's files, with what to say of what is none, and its directories."""
    items: list[os.DirEntry[str] | Trouble] = []
    named: list[str] = []
    for entry in entries:
        try:
            if entry.is_file(follow_symlinks=False):
                items.append(entry)
            elif entry.is_dir(follow_symlinks=False):
                named.append(entry.name)
            elif not entry.is_symlink():
                mode = entry.stat(follow_symlinks=False).st_mode
                items.append(special(join(path, entry.name), mode))
        except OSError as error:
            items.append(unreadable(join(path, entry.name), error))
    return items, named


def join(path: str, name: str) -> str:
    """Return the path of what is called ``name`` in the directory ``path``."""
    return f"{path}{name}" if path.endswith("/") else f"{path}/{name}"


def _open_folder(path: str, *, follow: bool) -> tuple[int, os.stat_result]:
    """Open a directory, which may be a symbolic link if ``follow``."""
    opened = os.open(path, _FOLDER_FLAGS | (0 if follow else os.O_NOFOLLOW))
    return opened, os.fstat(opened)


def _entries(opened: int, *, stable: bool) -> tuple[list[os.DirEntry[str]], bool]:
    """Return a directory's entries (by name if ``stable``) and whether these are all."""
    with os.scandir(opened) as iterator:
        entries = list(islice(iterator, DIRECTORY_ENTRIES))
        whole = next(iterator, None) is None
    if stable:
        entries.sort(key=attrgetter("name"))
    return entries, whole


def _pseudo_mounts() -> frozenset[str]:
    """Return the mount points of kernel file systems (proc(5), mountinfo)."""
    try:
        text = Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
    except OSError:
        return frozenset()
    return frozenset(_pseudo_points(text.splitlines()))


def _pseudo_points(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        before, separator, after = line.partition(" - ")
        fields = before.split()
        if separator and len(fields) > 4 and after.split()[:1][0] in PSEUDO_FILE_SYSTEMS:
            yield _OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4])


class Glance(msgspec.Struct, frozen=True, gc=False):
    """A file seen by the quick look: its kind and the identity it had then."""

    path: str
    kind: str
    identity: Identity


def glance(path: str) -> Glance | Trouble:
    """Open ``path`` without blocking, read its first 4 KiB, classify, close.

    Never raises: a file that vanished, changed its type or may not be read gives a
    ``Trouble``.
    """
    try:
        fd = os.open(path, _OPEN_FLAGS)
    except (OSError, ValueError) as error:
        return unreadable(path, error)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return special(path, status.st_mode)
        length = status.st_size
        head = os.pread(fd, QUICK_HEAD, 0)
        kind = quick_kind(path, head, length)
        if needs_head(kind):
            kind = quick_kind(path, os.pread(fd, HEAD, 0), length)
        if needs_tail(kind, path, head):
            tail = os.pread(fd, QUICK_TAIL, max(0, length - QUICK_TAIL))
            kind = refine_with_tail(kind, head, tail)
        return Glance(path, kind, Identity.of(status))
    except OSError as error:
        return unreadable(path, error)
    finally:
        os.close(fd)


def unreadable(path: str, error: Exception) -> Trouble:
    """Return the trouble of a path that the system would not open or read."""
    reason = getattr(error, "strerror", None) or str(error)
    hint = "check the path and its permissions"
    return Trouble(path, _finding(Code.UNREADABLE, path, reason.lower(), "a readable path", hint))


_SPECIAL = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
}


def special(path: str, mode: int) -> Trouble:
    """Return the trouble of what is no regular file: it is named and never opened."""
    what = _SPECIAL.get(stat.S_IFMT(mode), "a special file")
    return Trouble(path, _finding(Code.NOT_A_FILE, path, what, "a regular file"))


def _changed(path: str) -> Trouble:
    found = "a directory that became something else during the walk"
    return Trouble(path, _finding(Code.CHANGED_WHILE_READ, path, found, "a tree at rest"))


def _left_out(path: str, what: str) -> Trouble:
    finding = _finding(Code.NOT_A_FILE, path, what, "a directory inside the walk")
    return Trouble(path, finding.with_effect(Effect.NOTE))


def _too_much(path: str, found: str, bound: int) -> Trouble:
    return Trouble(path, _finding(Code.LIMIT_EXCEEDED, path, found, f"at most {bound}"))


def _finding(code: Code, path: str, found: str, required: str, hint: str = "") -> Finding:
    return Finding(
        code=code,
        effect=Effect.UNKNOWN,
        subject=printable(path),
        found=found,
        required=required,
        hint=hint,
    )
