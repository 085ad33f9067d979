"""Folders that are changed whole: a copy is worked on, then takes the place of the original.

The copy lies beside the original, so that both are on one file system: files that stay as they
are become further names (hard links) of the same content, and changed ones are new files.  The
two folders are exchanged by one system call.  Killed at any moment, a process leaves the old
folder or the new one in place, whole, and perhaps the other beside it, whose name says what it
is.  Where the system knows no exchange there is a moment when both stand beside the place.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator

from signward.state import Source
from signward.verbs.release import PREFIX, ReleaseError, settle
from signward.wire.patch import pieces

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
"""``renameat2(2)``: Linux 3.15, glibc 2.28."""

_NOT_OFFERED = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM})
"""How systems and file systems say that they know no exchange."""


@contextlib.contextmanager
def working_copy(path: str, folder: str, *, linked: bool) -> Iterator[str]:
    """Copy the folder at ``path`` into a temporary one in ``folder``; remove what is left of it.

    ``linked``: files are hard links of the originals, never to be written in place.  Raises
    ``ReleaseError``.
    """
    with told_of(path):
        holder = tempfile.mkdtemp(prefix=PREFIX, dir=folder)
    try:
        copy = os.path.join(holder, os.path.basename(path))  # noqa: PTH118, PTH119 - strings
        with told_of(path):
            shutil.copytree(path, copy, symlinks=True, copy_function=_link if linked else _copy)
        yield copy
    finally:
        shutil.rmtree(holder, ignore_errors=True)


Snapshot = dict[str, tuple[int, int, int]]


def snapshot(path: str) -> Snapshot:
    """Return inode, size and time of every name below a folder.

    Unlike ``wire.tree``'s identities without the time of the last status change: a further
    name (hard link) changes that.  Raises ``ReleaseError``.
    """
    found: Snapshot = {}
    with told_of(path):
        for folder, folders, files in os.walk(path):
            for name in (*folders, *files):
                full = os.path.join(folder, name)  # noqa: PTH118
                status = os.stat(full, follow_symlinks=False)  # noqa: PTH116
                size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
                found[full] = (status.st_ino, size, status.st_mtime_ns)
    return found


def check_same(path: str, before: Snapshot) -> None:
    """Raise ``ReleaseError`` if a name came, went or changed since a snapshot."""
    if snapshot(path) != before:
        raise ReleaseError(path, "a folder that changed while it was signed",
                           "one that stays as it is", hint="sign it again")  # fmt: skip


def write_into(copy: str, name: str, result: Source, mode: int | None = None) -> None:
    """Write a file in a working copy anew: its other names keep the content they have.

    ``mode`` is that of the file that stands there unless given.  Raises ``ReleaseError``.
    """
    target = os.path.join(copy, name)  # noqa: PTH118 - strings, as everywhere in verbs
    with told_of(name):
        _check_inside(copy, os.path.dirname(name))  # noqa: PTH120
        os.makedirs(os.path.dirname(target), exist_ok=True)  # noqa: PTH103, PTH120
        if mode is None:
            mode = stat.S_IMODE(os.stat(target, follow_symlinks=False).st_mode)  # noqa: PTH116
        descriptor, temporary = tempfile.mkstemp(prefix=PREFIX, dir=os.path.dirname(target))  # noqa: PTH120
        try:
            with os.fdopen(descriptor, "wb") as file:
                for piece in pieces(result):
                    file.write(piece)
                file.flush()
                os.fchmod(file.fileno(), mode)
                _own_like(file.fileno(), target)
                os.fsync(file.fileno())
            os.replace(temporary, target)  # noqa: PTH105
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108
            raise


def _check_inside(copy: str, folder: str) -> None:
    """Raise ``ReleaseError`` for a folder that links lead to: whoever made them chose where."""
    real = os.path.realpath(os.path.join(copy, folder))  # noqa: PTH118
    if real != os.path.normpath(os.path.join(os.path.realpath(copy), folder)):  # noqa: PTH118
        raise ReleaseError(folder, "a link", "a folder, where a file is to be written")


def put_in_place(copy: str, target: str) -> None:
    """Let a working copy take the place of the folder at ``target``, or of nothing.

    What stood there is then where the copy was.  Raises ``ReleaseError``.
    """
    with told_of(target):
        _sync_folders(copy)
        if not os.path.lexists(target):
            os.rename(copy, target)  # noqa: PTH104
        elif not _exchange(copy, target):
            _replace(copy, target)
    settle(os.path.dirname(target) or ".")  # noqa: PTH120


def _replace(copy: str, target: str) -> None:
    """Do so in two steps; for a moment nothing stands at the target.

    The old folder waits in one of its own, which goes only when the new one is in place:
    whatever happens between, nothing removes it.
    """
    holder = tempfile.mkdtemp(prefix=PREFIX, dir=os.path.dirname(target) or ".")  # noqa: PTH120
    aside = os.path.join(holder, os.path.basename(target))  # noqa: PTH118, PTH119
    try:
        os.rename(target, aside)  # noqa: PTH104
        os.rename(copy, target)  # noqa: PTH104
    except BaseException:
        if os.path.lexists(aside) and not os.path.lexists(target):
            os.rename(aside, target)  # noqa: PTH104
        with contextlib.suppress(OSError):
            os.rmdir(holder)  # noqa: PTH106 - only if nothing is left in it
        raise
    shutil.rmtree(holder, ignore_errors=True)


def _exchange(one: str, other: str) -> bool:
    """Exchange two folders in one step; False where the system cannot.  Raises ``OSError``."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    paths = os.fsencode(one), os.fsencode(other)
    if rename(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NOT_OFFERED:
        return False
    raise OSError(number, os.strerror(number), other)


def _sync_folders(copy: str) -> None:
    """Have every folder of a copy on the disk before anything depends on it."""
    for folder, _, _ in os.walk(copy):
        settle(folder)


def _link(source: str, target: str) -> str:
    """Give a file a second name; copy it where the system would not have that."""
    if os.path.isfile(source) and not os.path.islink(source):  # noqa: PTH113, PTH114
        with contextlib.suppress(OSError):
            os.link(source, target, follow_symlinks=False)
            return target
    return _copy(source, target)


def _copy(source: str, target: str) -> str:
    """Copy a file with mode, times and attributes; refuse what is none (a pipe would block)."""
    status = os.stat(source, follow_symlinks=False)  # noqa: PTH116
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
        raise ReleaseError(source, "neither a file, a folder nor a link", "one of them")
    shutil.copy2(source, target, follow_symlinks=False)
    with contextlib.suppress(PermissionError):  # only root gives files away
        os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
    return target


def _own_like(descriptor: int, path: str) -> None:
    with contextlib.suppress(OSError):
        like = os.stat(path, follow_symlinks=False)  # noqa: PTH116
        os.fchown(descriptor, like.st_uid, like.st_gid)


@contextlib.contextmanager
def told_of(target: str) -> Iterator[None]:
    """Raise the system's refusals as ``ReleaseError``."""
    try:
        yield
    except shutil.Error as error:
        raise ReleaseError(target, str(error.args[0][0][-1]), "a folder that can be copied",
                           hint="nothing was changed") from None  # fmt: skip
    except OSError as error:
        raise ReleaseError(
            target, (error.strerror or str(error)).lower(), "a place that can be written",
            hint="nothing was changed",
        ) from None  # fmt: skip
