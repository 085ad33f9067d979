"""Folders that are made whole: after a fault nothing is there, or everything is."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

PREFIX = ".new-"


def make_whole(folder: Path, files: Mapping[str, bytes], *, mode: int = 0o644) -> None:
    """Write ``files`` (names relative, ``/`` between folders) and let them appear as ``folder``.

    Raises ``OSError``: ``FileExistsError`` where something other than an empty folder stands
    there, and ``ValueError`` for a name that would lead out of it; nothing is left then.
    """
    for name in files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise ValueError(f"{name!r} leads out of its folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=PREFIX, dir=folder.parent))
    try:
        made.chmod(0o755)
        for name, content in files.items():
            _write(made / name, content, mode)
        _rename(made, folder)
    except BaseException:
        with contextlib.suppress(OSError):
            shutil.rmtree(made)
        raise


def _write(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _rename(made: Path, folder: Path) -> None:
    """Rename over nothing or over an empty folder: the kernel refuses anything else."""
    try:
        made.rename(folder)
    except OSError as error:
        if folder.exists():
            raise FileExistsError(error.errno, "something is there already", str(folder)) from None
        raise
