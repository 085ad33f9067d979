"""Deliveries: what lies below a folder that others may write to, and copies of it that they cannot.

The folder may change while it is read.  Folders are entered and files opened by descriptors and
through no symbolic link, so that whoever swaps a folder for a link reaches nothing outside; and
what is judged, and later accepted, is a copy, because whoever has a file open can go on writing.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from signward.errors import EvidenceError
from signward.inventory.walk import printable
from signward.wire.source import CHUNK, Identity

MAX_FILES = 100_000
"""Files of one delivery; a full Windows SDK has some 20,000."""

MAX_DEPTH = 64
"""Folders within folders: each that is entered holds a descriptor open."""

RESERVED = ".signward-"
"""Begins the names of what the gate itself puts into its folders."""

STAGING = f"{RESERVED}intake-"
"""Begins the name of the folder for copies."""

LOCK = f"{RESERVED}intake.lock"
"""An empty file, locked by the gate that is at work."""

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Parts = tuple[str, ...]
"""A relative path, name by name."""


class Copied(NamedTuple):
    """A file of the delivery and its copy: ``sha256`` (hex) is of what was copied."""

    parts: Parts
    copy: Path
    sha256: str
    original: Identity


class Left(NamedTuple):
    """Something of the delivery that stays where it is, and why."""

    parts: Parts
    why: str


class Delivery:
    """A file or folder that somebody delivered."""

    def __init__(self, path: str) -> None:
        """Find the delivery; the caller's own word may lead through links.

        Raises ``EvidenceError``.
        """
        real = Path(os.path.realpath(path))
        try:
            status = real.stat()
        except OSError as error:
            raise EvidenceError(f"{path}: {(error.strerror or str(error)).lower()}") from None
        self._single = real.name if stat.S_ISREG(status.st_mode) else ""
        if not self._single and not stat.S_ISDIR(status.st_mode):
            raise EvidenceError(f"{path}: found a special file, required a file or folder")
        self.root = real.parent if self._single else real
        self.path = real

    def copied(self, folder: Path) -> Iterator[Copied | Left]:
        """Copy every regular file to the same place below ``folder``, in order of names.

        Raises ``EvidenceError`` beyond ``MAX_FILES`` files, and where nothing can be written.
        """
        for number, (parts, parent) in enumerate(self._found()):
            if number >= MAX_FILES:
                raise EvidenceError(f"{self.path}: more than {MAX_FILES} files, required fewer")
            if isinstance(parent, str):
                yield Left(parts, parent)
            else:
                yield _copy(parts, parent, folder)

    def remove(self, copied: Copied) -> str:
        """Remove the original of a copy; say why it stays, if it does.  One that changed stays.

        It is renamed first, so that what another puts in its place meanwhile is not lost.
        """
        *folders, name = copied.parts
        with self._opened(folders) as parent:
            if parent is None:
                return "its folder is gone, or another: the original was not looked for"
            return _unlink(parent, name, copied.original)

    def remove_emptied(self, parts: Parts) -> None:
        """Remove the folders above a file that was removed, as far as they are empty."""
        folders = list(parts[:-1])
        while folders and not self._single:
            name = folders.pop()
            with self._opened(folders) as parent:
                try:
                    if parent is None:
                        return
                    os.rmdir(name, dir_fd=parent)
                except OSError:
                    return

    def _found(self) -> Iterator[tuple[Parts, int | str]]:
        """Yield each entry with its folder's descriptor, or with why it is not looked at."""
        with self._opened([]) as parent:
            if parent is None:
                raise EvidenceError(f"{self.root}: found a folder that cannot be read")
            if self._single:
                yield (self._single,), _objection((self._single,)) or parent
                return
        top = str(self.root)
        for path, folders, names, descriptor in os.fwalk(top, follow_symlinks=False):
            at = tuple(Path(path).relative_to(top).parts)
            folders.sort()
            for name in sorted(names):
                yield (*at, name), _objection((*at, name)) or descriptor
            yield from _pruned(at, folders, descriptor)

    @contextlib.contextmanager
    def _opened(self, folders: list[str]) -> Iterator[int | None]:
        """Open a folder below the root, name by name; None where one of them is gone or a link."""
        with contextlib.ExitStack() as stack:
            try:
                descriptor = os.open(self.root, _FOLDER)
                stack.callback(os.close, descriptor)
                for name in folders:
                    descriptor = os.open(name, _FOLDER, dir_fd=descriptor)
                    stack.callback(os.close, descriptor)
            except OSError:
                yield None
                return
            yield descriptor


def _objection(parts: Parts) -> str:
    return f"a name that begins with {RESERVED}" if parts[0].startswith(RESERVED) else ""


def _pruned(at: Parts, folders: list[str], descriptor: int) -> Iterator[tuple[Parts, str]]:
    """Take out of ``folders`` what is not entered, and yield it with the reason."""
    for name in tuple(folders):
        why = _objection((*at, name)) or _barred(name, descriptor)
        if not why and len(at) + 1 >= MAX_DEPTH:
            why = f"a folder deeper than {MAX_DEPTH}"
        if why:
            folders.remove(name)
            yield (*at, name), why


def _barred(name: str, parent: int) -> str:
    """Return why a folder cannot be entered, or nothing."""
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            return "a symbolic link"
        os.close(os.open(name, _FOLDER, dir_fd=parent))
    except OSError as error:
        return _said(error)
    return ""


def _copy(parts: Parts, parent: int, folder: Path) -> Copied | Left:
    try:
        status = os.stat(parts[-1], dir_fd=parent, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            return Left(parts, "a symbolic link")
        if not stat.S_ISREG(status.st_mode):  # not even opened: with a device that does something
            return Left(parts, "no regular file")
        descriptor = os.open(parts[-1], _OPEN, dir_fd=parent)
    except OSError as error:
        return Left(parts, _said(error))
    with contextlib.closing(os.fdopen(descriptor, "rb", buffering=0)):
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            return Left(parts, "no regular file")
        target = folder.joinpath(*parts)
        try:
            sha256 = _copy_octets(descriptor, target, before)
        except _NameRefusedError as error:
            return Left(parts, str(error))
        except OSError as error:
            raise EvidenceError(f"{printable(str(target))}: {_said(error)}") from None
        if Identity.of(os.fstat(descriptor)) != Identity.of(before):
            target.unlink()
            return Left(parts, "a file that changed while it was read")
        return Copied(parts, target, sha256, Identity.of(before))


class _NameRefusedError(Exception):
    """The file system of the gate has no such name, or another file of the delivery has it."""


_OF_NAMES = {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.EEXIST, errno.ENOTDIR}


def _said(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _check_room(size: int, descriptor: int) -> None:
    """Raise ``OSError`` for more than there is room for: sparse files promise what they like."""
    there = os.fstatvfs(descriptor)
    if size > there.f_bavail * there.f_frsize:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _made(target: Path) -> int:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in _OF_NAMES:
            raise _NameRefusedError(f"no place of its name at the gate: {_said(error)}") from None
        raise


def _copy_octets(descriptor: int, target: Path, like: os.stat_result) -> str:
    """Copy to a new file, to the disk; return the SHA-256.  Nobody else may write to the copy.

    No more is copied than the file had at first: it may be growing as fast as it is read.
    """
    hasher, left = hashlib.sha256(), like.st_size
    with os.fdopen(made := _made(target), "wb") as out:
        _check_room(left, made)
        while piece := os.read(descriptor, min(CHUNK, left)):
            hasher.update(piece)
            out.write(piece)
            left -= len(piece)
        out.flush()
        os.fchmod(made, stat.S_IMODE(like.st_mode) & 0o755 | 0o600)
        os.utime(made, ns=(like.st_mtime_ns, like.st_mtime_ns))
        os.fsync(made)
    return hasher.hexdigest()


def _unlink(parent: int, name: str, known: Identity) -> str:
    aside = f"{RESERVED}taken-{os.urandom(8).hex()}"
    try:
        os.rename(name, aside, src_dir_fd=parent, dst_dir_fd=parent)
    except FileNotFoundError:  # somebody else removed it: nothing stays
        return ""
    except OSError as error:
        return f"the original cannot be removed: {_said(error)}"
    found = Identity.of(os.stat(aside, dir_fd=parent, follow_symlinks=False))
    if found[:4] == known[:4]:  # the rename changed ctime
        os.unlink(aside, dir_fd=parent)
        return ""
    with contextlib.suppress(FileExistsError):  # a third one came: this one stays aside
        os.link(aside, name, src_dir_fd=parent, dst_dir_fd=parent, follow_symlinks=False)
        os.unlink(aside, dir_fd=parent)
    return "it changed after it was copied: what is new stays"
