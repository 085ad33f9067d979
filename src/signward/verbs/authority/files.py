"""Small files of an authority's folder: written whole, or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from signward.errors import RealmError
from signward.verbs.release import settle


def write(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Put ``data`` at ``path``, in place of what is there.  Raises ``RealmError``."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
        settle(str(path.parent))
    except OSError as error:
        why = error.strerror or "no such place"
        raise RealmError(str(path), why, "a place that can be written") from None
