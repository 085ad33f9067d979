"""Moving into the gate's own folders: each file whole, on the disk, and over no other.

A file takes its place by a second name (hard link), which the kernel gives only where nothing
stands.  Across file systems a copy is made beside the place first.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from signward.errors import EvidenceError
from signward.inventory.walk import printable
from signward.verbs.intake.delivery import RESERVED, Parts
from signward.verbs.release import settle
from signward.wire.source import CHUNK

MOST_NAMES = 10_000
"""Names tried beside one that is taken."""

_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class TakenError(EvidenceError):
    """Another file has the place."""


def sha256_of(path: Path) -> str:
    """Return the SHA-256 (hex) of a file.  Raises ``OSError``."""
    hasher = hashlib.sha256()
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        while piece := file.read(CHUNK):
            hasher.update(piece)
    return hasher.hexdigest()


def check_free(root: Path, parts: Parts, sha256: str) -> None:
    """Raise ``TakenError`` where another file than one of this digest stands, or above it one."""
    target = root.joinpath(*parts)
    for number in range(1, len(parts)):
        folder = root.joinpath(*parts[:number])
        if os.path.lexists(folder) and not folder.is_dir():
            raise TakenError(str(folder))
    if os.path.lexists(target) and not _is_same(target, sha256):
        raise TakenError(str(target))


def move(copy: Path, root: Path, parts: Parts, sha256: str) -> Path:
    """Move a copy of ours to ``parts`` below ``root``; return where it is.

    A file of the same digest there is the same file.  Raises ``TakenError`` for another one, and
    ``EvidenceError`` for a place that cannot be written; the copy stays then.
    """
    target = root.joinpath(*parts)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _check_inside(target, root)
        if not _put(copy, target) and not _is_same(target, sha256):
            raise TakenError(str(target))
        copy.unlink()
        settle(str(target.parent))
    except NotADirectoryError:
        raise TakenError(str(target)) from None
    except FileExistsError:  # mkdir, where a file has the folder's name
        raise TakenError(str(target)) from None
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise EvidenceError(f"{printable(str(target))}: {why}") from None
    return target


def move_aside(copy: Path, root: Path, parts: Parts, sha256: str) -> Path:
    """Move a copy to ``parts`` below ``root``, under a name with ``~N`` where it is taken.

    Raises ``EvidenceError``.
    """
    *folders, name = parts
    for number in range(MOST_NAMES):
        tried = f"{name}~{number}" if number else name
        with contextlib.suppress(TakenError):
            return move(copy, root, (*folders, tried), sha256)
    raise EvidenceError(f"{printable(str(root.joinpath(*parts)))}: no name is free")


def _check_inside(target: Path, root: Path) -> None:
    """Raise ``OSError`` where a link below ``root`` would lead the file out of it."""
    if not target.parent.resolve().is_relative_to(root.resolve()):
        raise OSError(errno.ELOOP, "a link leads out of the folder", str(target))


def _is_same(target: Path, sha256: str) -> bool:
    """Say whether that file stands there; one that cannot be read is another."""
    try:
        return target.is_file() and not target.is_symlink() and sha256_of(target) == sha256
    except OSError:
        return False


def _put(copy: Path, target: Path) -> bool:
    """Give the copy a second name; say whether it got it."""
    try:
        os.link(copy, target, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno == errno.EXDEV:
            return _put_across(copy, target)
        if error.errno in _NO_LINKS:
            return _put_claimed(copy, target)
        raise
    return True


def _put_across(copy: Path, target: Path) -> bool:
    descriptor, name = tempfile.mkstemp(prefix=RESERVED, dir=target.parent)
    beside = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as out, copy.open("rb") as file:
            shutil.copyfileobj(file, out, CHUNK)
            out.flush()
            shutil.copystat(copy, beside)
            os.fsync(out.fileno())
        return _put(beside, target)
    finally:
        beside.unlink(missing_ok=True)


def _put_claimed(copy: Path, target: Path) -> bool:
    """Do without links: claim the name by an empty file, then replace that."""
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return False
    beside = target.with_name(f"{RESERVED}{os.urandom(8).hex()}")
    try:
        shutil.copy2(copy, beside)
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        target.unlink()
        raise
    return True
