"""Small files that are replaced whole: after a power cut the old one is there, or the new one."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def write_whole(path: Path, data: bytes, *, prefix: str = ".new-", mode: int = 0o600) -> None:
    """Write ``data`` beside ``path``, to the disk, and rename it there.

    Raises ``OSError``; what stood there is untouched then.  The folder is not synced.
    """
    descriptor, temporary = tempfile.mkstemp(prefix=prefix, dir=path.parent)
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
