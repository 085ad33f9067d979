"""Releasing a changed file: all of it or none, whatever happens in between.

The new bytes go to a temporary file beside the target, are checked as they lie there, synced
to the disk, and take the target's place by rename.  A process killed at any moment leaves the
old file or the new one (and perhaps the temporary one, whose name says what it is).
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterator

from signward.errors import SigningError
from signward.state import Source
from signward.wire.patch import pieces
from signward.wire.source import FileSource, Identity, open_source

PREFIX = ".signward-"
"""Begins the name of every temporary file."""

_ACCESS_LIST = "system.posix_acl_access"
"""The attribute that holds a file's POSIX access control list on Linux."""


_UMASK = os.umask(0o077)
os.umask(_UMASK)
_NEW_MODE = 0o666 & ~_UMASK
"""The mode of new files, as everybody's are; temporary ones are their owner's alone at first.
The mask can only be read by setting it, so that is done once, before there are threads."""


class ReleaseError(SigningError):
    """A file could not be written; what stood there is as it was."""


def check_writable(target: str) -> None:
    """Raise ``ReleaseError`` if ``target`` is a file that says it must not be changed.

    A rename would succeed all the same: its owner's word is asked for, not the directory's.
    """
    try:
        mode = os.stat(target).st_mode  # noqa: PTH116 - strings, as everywhere in verbs
    except OSError:
        return  # nothing there, or nothing to be seen: writing says so
    if not mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH):
        raise ReleaseError(
            target, "a read-only file", "one that may be written",
            hint=f"chmod u+w {target}, or write the signed file elsewhere with --out DIR",
        )  # fmt: skip
    if not os.access(target, os.W_OK):
        raise ReleaseError(target, "no permission to write it", "permission",
                           hint="run as its owner, or use --out DIR")  # fmt: skip


def release(
    result: Source,
    target: str,
    *,
    like: str = "",
    check: Callable[[FileSource], None],
    expected: Identity | None,
) -> None:
    """Write ``result`` to ``target`` if ``check`` has nothing against what was written.

    Both halves of what `write` begins.
    """
    write(result, target, like=like, check=check, expected=expected)()


def write(
    result: Source,
    target: str,
    *,
    like: str = "",
    check: Callable[[FileSource], None],
    expected: Identity | None,
) -> Callable[[], None]:
    """Write ``result`` beside ``target``, and check it there; return what puts it in place.

    The second half is to be called, once, by whatever thread: it waits for the disk.
    ``like`` is the path of a file that lends mode, owner, times and extended attributes.
    ``expected`` is what must still stand at the target
    when its place is taken (None: anything, or nothing): a change made meanwhile is not lost.
    Both halves raise ``ReleaseError``, the first whatever ``check`` raises; the target is
    untouched then.
    """
    with _told_of(target):
        descriptor, temporary = tempfile.mkstemp(prefix=PREFIX, dir=os.path.dirname(target) or ".")  # noqa: PTH120
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, descriptor)
            undo.callback(os.unlink, temporary)
            _write(result, descriptor)
            if like:
                _dress(descriptor, like)
            else:
                os.fchmod(descriptor, _NEW_MODE)
            with open_source(temporary, result.name) as written:
                check(written)
            undo.pop_all()
    return lambda: _put_in_place(descriptor, temporary, target, expected)


def _put_in_place(descriptor: int, temporary: str, target: str, expected: Identity | None) -> None:
    """Sync the temporary file, then let it take the target's place; remove it if it cannot."""
    with _told_of(target):
        try:
            os.fsync(descriptor)
            if expected is not None and Identity.of(os.stat(target)) != expected:  # noqa: PTH116
                raise ReleaseError(target, "a file that changed while it was signed",
                                   "one that stays as it is", hint="sign it again")  # fmt: skip
            os.replace(temporary, target)  # noqa: PTH105 - strings, as everywhere in verbs
        except BaseException:
            os.unlink(temporary)  # noqa: PTH108
            raise
        finally:
            os.close(descriptor)


def make_folder(path: str) -> None:
    """Make the folder for results, and those above it, if need be.  Raises ``ReleaseError``."""
    with _told_of(path):
        os.makedirs(path, exist_ok=True)  # noqa: PTH103 - strings, as everywhere in verbs


@contextlib.contextmanager
def _told_of(target: str) -> Iterator[None]:
    """Raise the system's refusals as ``ReleaseError``."""
    try:
        yield
    except OSError as error:
        raise ReleaseError(
            target, (error.strerror or str(error)).lower(), "a place that can be written",
            hint="nothing was changed",
        ) from None  # fmt: skip


def _write(result: Source, descriptor: int) -> None:
    for piece in pieces(result):
        view = memoryview(piece)
        while view:
            view = view[os.write(descriptor, view) :]


def _dress(descriptor: int, path: str) -> None:
    """Give the new file the old one's owner, attributes, mode and times."""
    like = os.stat(path)  # noqa: PTH116 - strings, as everywhere in verbs
    mode = stat.S_IMODE(like.st_mode)
    try:
        os.fchown(descriptor, like.st_uid, like.st_gid)
    except PermissionError:  # only root gives files away; nobody else is to run them as he would
        mode &= ~(stat.S_ISUID | stat.S_ISGID)
    os.fchmod(descriptor, mode)
    _copy_attributes(descriptor, path)
    os.utime(descriptor, ns=(like.st_atime_ns, like.st_mtime_ns))


def _copy_attributes(descriptor: int, path: str) -> None:
    """Copy what users attach to files, and access control lists: a mode alone is wider.

    Others (capabilities, integrity values) speak of the old content, or are the system's own.
    """
    if not hasattr(os, "listxattr"):
        return
    try:
        names = os.listxattr(path)
    except OSError:
        return  # a file system without any
    for name in names:
        if name == _ACCESS_LIST or name.startswith("user."):
            os.setxattr(descriptor, name, os.getxattr(path, name))


def settle(folder: str) -> None:
    """Make the renames in a folder last through a power cut; not every file system offers it.

    Once for many files: each is whole at any moment anyway.
    """
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
