"""Trees: a folder that is one artifact, walked once and read through no link.

Whoever made the folder chose its names and links.  So every file is opened component by
component from the folder's own descriptor (``openat`` with ``O_NOFOLLOW``), names are those
that the walk saw, and each file must still be the one the walk saw.
"""

from __future__ import annotations

import errno
import os
import stat
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter
from types import TracebackType
from typing import Self

from signward.errors import LimitError, MalformedError, UnreadableError
from signward.findings import Code, Effect, Finding
from signward.frozen import replace
from signward.state import Hasher, Source, Tree, TreeEntry
from signward.wire.source import FileSource, Identity

MAX_ENTRIES = 500_000
"""Names in one tree: the largest applications in use have some 400,000."""

MAX_DEPTH = 64
"""Folders inside folders; frameworks inside applications inside applications reach about 30."""

MAX_LINK = 4096
"""Octets of a link's target (``PATH_MAX``)."""

OPEN_FILES = 32
"""Files held open at once: a bundle has thousands, a process may have 1,024."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY


_SWAPPED = frozenset({errno.ELOOP, errno.ENOENT, errno.ENOTDIR})


class FolderTree:
    """A folder on disk; ``name`` is what it was asked for by.  Close it after use.

    Raises ``UnreadableError`` where the folder or something in it cannot be read, ``LimitError``
    beyond the bounds.
    """

    def __init__(self, path: str | os.PathLike[str], name: str = "") -> None:
        """Open the folder, which may itself be reached by a link: whoever asks chose that.

        ``name`` is for messages, where the folder stands in for another.
        """
        self.name = name or os.fspath(path)
        self._path = os.fspath(path)
        with _told_of(self.name, swapped=False):
            self._root = os.open(path, _FOLDER & ~os.O_NOFOLLOW)
        self._entries: tuple[TreeEntry, ...] | None = None
        self._identities: dict[str, Identity] = {}
        self._open: OrderedDict[str, FileSource] = OrderedDict()
        self._descriptors: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the folder and every file that is open."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()
        self._open.clear()
        os.close(self._root)

    def entries(self) -> Sequence[TreeEntry]:
        """Return everything below, sorted by path; links are told, never followed."""
        if self._entries is None:
            walked = self._walked()
            self._identities = {entry.path: identity for entry, identity in walked}
            self._entries = tuple(entry for entry, _ in walked)
        return self._entries

    def open(self, path: str) -> Source:
        """Return the regular file at a relative path, reached through no link.

        It stays open as long as the tree.  Raises ``MalformedError`` where there is none.
        """
        self.entries()
        if path not in self._identities:
            raise MalformedError(path, "no such file", "a file in the folder")
        return _TreeFile(self, path, self._identities[path].size)

    def identity(self, path: str) -> Identity:
        """Return what the walk saw of a name: what changes when its content does.

        Raises ``MalformedError`` where there is none.
        """
        self.entries()
        if path not in self._identities:
            raise MalformedError(path, "no such name", "a name in the folder")
        return self._identities[path]

    def attributes(self, path: str) -> tuple[str, ...]:
        """Return the names of a regular file's extended attributes; none where unsupported.

        By its path: a file that is swapped meanwhile is noticed by `check_unchanged`.
        """
        if not hasattr(os, "listxattr"):
            return ()
        try:
            return tuple(os.listxattr(f"{self._path}/{path}", follow_symlinks=False))
        except OSError:
            return ()

    def check_unchanged(self) -> None:
        """Raise ``UnreadableError`` if a name came, went or changed since the walk."""
        if self._entries is None:
            return
        now = {entry.path: identity for entry, identity in self._walked()}
        if now != self._identities:
            raise _changed(self.name)

    def _walked(self) -> list[tuple[TreeEntry, Identity]]:
        with _told_of(self.name):
            found = list(self._below(self._root, "", 0, [0]))
        return sorted(found, key=lambda pair: pair[0].path)

    def _below(
        self, folder: int, prefix: str, depth: int, count: list[int]
    ) -> Iterator[tuple[TreeEntry, Identity]]:
        if depth > MAX_DEPTH:
            raise LimitError(self.name, "folders nested deeper", f"at most {MAX_DEPTH}")
        with os.scandir(folder) as listing:
            names = [entry.name for entry in listing]
        count[0] += len(names)
        if count[0] > MAX_ENTRIES:
            raise LimitError(self.name, "more names in it", f"at most {MAX_ENTRIES}")
        for name in names:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            yield _entry(folder, name, prefix, status), Identity.of(status)
            if stat.S_ISDIR(status.st_mode):
                inner = os.open(name, _FOLDER, dir_fd=folder)
                try:
                    yield from self._below(inner, f"{prefix}{name}/", depth + 1, count)
                finally:
                    os.close(inner)

    def _source(self, path: str) -> FileSource:
        """Return an open file, opening it anew where it was closed for others' sake."""
        source = self._open.get(path)
        if source is not None:
            self._open.move_to_end(path)
            return source
        while len(self._open) >= OPEN_FILES:
            oldest, _ = self._open.popitem(last=False)
            os.close(self._descriptors.pop(oldest))
        with _told_of(f"{self.name}/{path}"):
            descriptor = self._opened(path)
        self._descriptors[path] = descriptor
        status = os.fstat(descriptor)
        if Identity.of(status) != self._identities.get(path):
            os.close(self._descriptors.pop(path))
            raise _changed(f"{self.name}/{path}")
        self._open[path] = source = FileSource(path, descriptor, status)
        return source

    def _opened(self, path: str) -> int:
        *folders, name = path.split("/")
        at = self._root
        try:
            for folder in folders:
                inner = os.open(folder, _FOLDER, dir_fd=at)
                if at != self._root:
                    os.close(at)
                at = inner
            return os.open(name, _FILE, dir_fd=at)
        finally:
            if at != self._root:
                os.close(at)


class _TreeFile:
    """One file of a tree: a source that is opened when it is read."""

    __slots__ = ("_path", "_tree", "length", "name")

    def __init__(self, tree: FolderTree, path: str, length: int) -> None:
        self._tree, self._path, self.length = tree, path, length
        self.name = f"{tree.name.rstrip('/')}/{path}"

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly ``size`` bytes at ``offset`` or raise ``MalformedError``."""
        return self._tree._source(self._path).read(offset, size)  # noqa: SLF001 - one module

    def feed(self, ranges: Iterable[tuple[int, int]], hashers: Sequence[Hasher]) -> None:
        """Stream each ``(start, end)`` range through every hasher, in one pass."""
        self._tree._source(self._path).feed(ranges, hashers)  # noqa: SLF001 - one module


class Subtree:
    """A folder inside a tree, as a tree of its own."""

    def __init__(self, tree: Tree, path: str) -> None:
        self._tree, self._prefix = tree, f"{path}/"
        self.name = f"{tree.name.rstrip('/')}/{path}"
        self._entries: tuple[TreeEntry, ...] | None = None

    def entries(self) -> Sequence[TreeEntry]:
        """Return everything below, sorted by path; links are told, never followed."""
        if self._entries is None:
            self._entries = tuple(
                replace(entry, path=entry.path[len(self._prefix) :])
                for entry in _starting(self._tree.entries(), self._prefix)
            )
        return self._entries

    def open(self, path: str) -> Source:
        """Return the file at a relative path.  Raises ``MalformedError`` where there is none."""
        return self._tree.open(self._prefix + path)

    def attributes(self, path: str) -> tuple[str, ...]:
        """Return the names of a regular file's extended attributes."""
        return self._tree.attributes(self._prefix + path)


def _starting(entries: Sequence[TreeEntry], prefix: str) -> Sequence[TreeEntry]:
    """Return the entries below a folder: neighbours, as all are sorted by path."""
    first = bisect_left(entries, prefix, key=attrgetter("path"))
    last = bisect_left(entries, prefix[:-1] + "0", key=attrgetter("path"))  # "0" follows "/"
    return entries[first:last]


def _entry(folder: int, name: str, prefix: str, status: os.stat_result) -> TreeEntry:
    mode, path = stat.S_IMODE(status.st_mode), f"{prefix}{name}"
    if stat.S_ISDIR(status.st_mode):
        return TreeEntry(path=path, kind="directory", mode=mode)
    if stat.S_ISREG(status.st_mode):
        return TreeEntry(path=path, kind="file", mode=mode, size=status.st_size)
    if stat.S_ISLNK(status.st_mode):
        if status.st_size > MAX_LINK:
            raise LimitError(path, "a longer link", f"at most {MAX_LINK} octets")
        return TreeEntry(path=path, kind="link", target=os.readlink(name, dir_fd=folder))
    return TreeEntry(path=path, kind="other", mode=mode)


@contextmanager
def _told_of(path: str, *, swapped: bool = True) -> Iterator[None]:
    """Raise the system's refusals as ``UnreadableError``.

    ``swapped``: what is not there, or a link, was something else when it was walked.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        if swapped and getattr(error, "errno", None) in _SWAPPED:
            raise _changed(path) from None
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableError(
            Finding(
                code=Code.UNREADABLE,
                effect=Effect.UNKNOWN,
                subject=path,
                found=reason.lower(),
                required="a folder that can be read",
                hint="check the path and its permissions",
            )
        ) from None


def _changed(path: str) -> UnreadableError:
    return UnreadableError(
        Finding(
            code=Code.CHANGED_WHILE_READ,
            effect=Effect.UNKNOWN,
            subject=path,
            found="a folder that changed while it was read",
            required="the same names and files from the first look to the last",
            hint="run again when nothing writes to it",
        )
    )
