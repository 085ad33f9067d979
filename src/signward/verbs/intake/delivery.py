"""Deliveries: what lies below a folder that others may write to, and copies of it that they cannot.

The folder may change while it is read.  Folders are entered and files opened by descriptors and
through no symbolic link, so that whoever swaps a folder for a link reaches nothing outside; and
what is judged, and later accepted, is a copy, because whoever has a file open can go on writing.
"""

from __future__ import annotations

import contextlib
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

    def remove(self, copied: Copied) -> bool:
        """Remove the original of a copy; say whether it is gone.  One that changed stays.

        It is renamed first, so that what another puts in its place meanwhile is not lost.
        """
        *folders, name = copied.parts
        with self._opened(folders) as parent:
            return parent is not None and _unlink(parent, name, copied.original)

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
        if self._single:
            with self._opened([]) as parent:
                if parent is not None:
                    yield (self._single,), parent
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
        why = _objection((*at, name))
        if (
            os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode & 0o170000
            == stat.S_IFLNK
        ):
            why = "a symbolic link"
        elif len(at) + 1 >= MAX_DEPTH:
            why = f"a folder deeper than {MAX_DEPTH}"
        if why:
            folders.remove(name)
            yield (*at, name), why


def _copy(parts: Parts, parent: int, folder: Path) -> Copied | Left:
    name = parts[-1]
    try:
        descriptor = os.open(name, _OPEN, dir_fd=parent)
    except OSError as error:
        link = _is_link(name, parent)
        return Left(parts, "a symbolic link" if link else (error.strerror or str(error)).lower())
    with contextlib.closing(os.fdopen(descriptor, "rb", buffering=0)) as file:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            return Left(parts, "no regular file")
        target = folder.joinpath(*parts)
        try:
            sha256 = _copy_octets(file.fileno(), target, before)
        except OSError as error:
            why = error.strerror or str(error)
            raise EvidenceError(f"{printable(str(target))}: {why}") from None
        if Identity.of(os.fstat(descriptor)) != Identity.of(before):
            target.unlink()
            return Left(parts, "a file that changed while it was read")
        return Copied(parts, target, sha256, Identity.of(before))


def _is_link(name: str, parent: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _copy_octets(descriptor: int, target: Path, like: os.stat_result) -> str:
    """Copy to a new file, to the disk; return the SHA-256.  Nobody else may write to the copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    hasher = hashlib.sha256()
    made = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(made, "wb") as out:
        while piece := os.read(descriptor, CHUNK):
            hasher.update(piece)
            out.write(piece)
        out.flush()
        os.fchmod(made, stat.S_IMODE(like.st_mode) & 0o755 | 0o600)
        os.utime(made, ns=(like.st_mtime_ns, like.st_mtime_ns))
        os.fsync(made)
    return hasher.hexdigest()


def _unlink(parent: int, name: str, known: Identity) -> bool:
    aside = f"{RESERVED}taken-{os.urandom(8).hex()}"
    try:
        os.rename(name, aside, src_dir_fd=parent, dst_dir_fd=parent)
    except OSError:
        return False
    found = Identity.of(os.stat(aside, dir_fd=parent, follow_symlinks=False))
    if found[:4] == known[:4]:  # the rename changed ctime
        os.unlink(aside, dir_fd=parent)
        return True
    with contextlib.suppress(FileExistsError):  # a third one came: this one stays aside
        os.link(aside, name, src_dir_fd=parent, dst_dir_fd=parent, follow_symlinks=False)
        os.unlink(aside, dir_fd=parent)
    return False
