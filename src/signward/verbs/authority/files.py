"""Small files that are replaced whole: after a power cut the old one is there, or the new one."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from signward.errors import RealmError
from signward.verbs.release import PREFIX, settle


def check_place(path: Path) -> None:
    """Raise ``RealmError`` where a file is bound not to be written: before anything is done."""
    if path.is_dir():
        raise RealmError(str(path), "a folder", "a place that can be written",
                         hint="nothing was done")  # fmt: skip
    if path.exists() and not path.is_file():
        return  # a device or FIFO: written to, not replaced
    if not os.access(path.parent, os.W_OK):
        raise RealmError(str(path), "no such folder, or no access", "a place that can be written",
                         hint="nothing was done")  # fmt: skip


def replace_file(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write ``data`` beside ``path``, sync it, and let it take the place.

    Raises ``RealmError``; what stood there is untouched then.
    """
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=PREFIX, dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(file.fileno(), mode)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
            raise
        settle(str(path.parent))
    except OSError as error:
        why = error.strerror or str(error)
        raise RealmError(str(path), why, "a place that can be written") from None
