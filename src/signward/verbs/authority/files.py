"""Small files of an authority, each replaced whole (``wire/whole.py``) or told of."""

from __future__ import annotations

import os
from pathlib import Path

from signward.errors import RealmError
from signward.verbs.release import PREFIX, settle
from signward.wire.whole import write_whole


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
        write_whole(path, data, prefix=PREFIX, mode=mode)
        settle(str(path.parent))
    except OSError as error:
        why = error.strerror or str(error)
        raise RealmError(str(path), why, "a place that can be written") from None
