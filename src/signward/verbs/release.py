"""Releasing a changed file: all of it or none, whatever happens in between.

The new bytes go to a temporary file beside the target, are synced to the disk, and take the
target's place by rename.  A process killed at any moment leaves the old file or the new one
(and perhaps the temporary one, whose name says what it is).
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from signward.errors import SigningError
from signward.state import Source
from signward.wire.patch import pieces
from signward.wire.source import FileSource, Identity, open_source

PREFIX = ".signward-"
"""Begins the name of every temporary file."""


class ReleaseError(SigningError):
    """A file could not be written; what stood there is as it was."""


def check_writable(target: str) -> None:
    """Raise ``ReleaseError`` if ``target`` is a file that says it must not be changed.

    A rename would succeed all the same: its owner's word is asked for, not the directory's.
    """
    path = Path(target)
    if path.exists() and not path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH):
        raise ReleaseError(
            target, "a read-only file", "one that may be written",
            hint=f"chmod u+w {target}, or write the signed file elsewhere with --out DIR",
        )  # fmt: skip
    if path.exists() and not os.access(path, os.W_OK):
        raise ReleaseError(target, "no permission to write it", "permission",
                           hint="run as its owner, or use --out DIR")  # fmt: skip


def release(
    result: Source,
    target: str,
    *,
    like: os.stat_result | None,
    check: Callable[[FileSource], None],
    expected: Identity | None,
) -> None:
    """Write ``result`` to ``target`` if ``check`` has nothing against what was written.

    ``like`` lends mode, owner and times.  ``expected`` is what must still stand at the target
    when its place is taken (None: anything, or nothing): a change made meanwhile is not lost.
    Raises ``ReleaseError``, and whatever ``check`` raises; the target is untouched then.
    """
    try:
        with _temporary(os.path.dirname(target) or ".") as (descriptor, temporary, kept):  # noqa: PTH120
            _write(result, descriptor)
            if like:
                _dress(descriptor, temporary, like)
            with open_source(temporary, result.name) as written:
                check(written)
            if expected is not None and Identity.of(os.stat(target)) != expected:  # noqa: PTH116
                raise ReleaseError(target, "a file that changed while it was signed",
                                   "one that stays as it is", hint="sign it again")  # fmt: skip
            os.replace(temporary, target)  # noqa: PTH105 - strings, as everywhere in verbs
            kept.append(temporary)
    except OSError as error:
        raise ReleaseError(
            target, (error.strerror or str(error)).lower(), "a place that can be written",
            hint="nothing was changed",
        ) from None  # fmt: skip


@contextlib.contextmanager
def _temporary(folder: str) -> Iterator[tuple[int, str, list[str]]]:
    """Make a temporary file; remove it unless its name is put into the list."""
    descriptor, name = tempfile.mkstemp(prefix=PREFIX, dir=folder)
    kept: list[str] = []
    try:
        yield descriptor, name, kept
    finally:
        os.close(descriptor)
        if not kept:
            os.unlink(name)  # noqa: PTH108


def _write(result: Source, descriptor: int) -> None:
    for piece in pieces(result):
        view = memoryview(piece)
        while view:
            view = view[os.write(descriptor, view) :]
    os.fsync(descriptor)


def _dress(descriptor: int, name: str, like: os.stat_result) -> None:
    """Give the new file the old one's owner, mode and times."""
    with contextlib.suppress(PermissionError):  # only root gives files away
        os.fchown(descriptor, like.st_uid, like.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(like.st_mode))
    os.utime(name, ns=(like.st_atime_ns, like.st_mtime_ns))


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
