"""Companions: the files beside an artifact, found by relative name, never outside its folder.

Manifests name other files; whoever wrote the manifest chose the names.  So a name is followed
segment by segment below one folder, through no symbolic link, and only so many times.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from signward.errors import LimitError, UnreadableError
from signward.state import Source
from signward.wire.source import open_source

MAX_COMPANIONS = 65_536
"""Files one artifact may look up; the largest ClickOnce deployments list some thousands."""


class FolderCompanions:
    """The files in and below one folder; opened when asked for, closed together."""

    def __init__(self, folder: str) -> None:
        self._folder = folder or "."
        self._open: dict[str, Source | None] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def find(self, name: str) -> Source | None:
        """Return the file of that name, or None where no regular file of it can be read.

        Raises ``LimitError`` beyond ``MAX_COMPANIONS`` names.
        """
        if name not in self._open:
            if len(self._open) >= MAX_COMPANIONS:
                raise LimitError("companions", "more files named", f"at most {MAX_COMPANIONS}")
            self._open[name] = self._opened(name)
        return self._open[name]

    def _opened(self, name: str) -> Source | None:
        path = self._path(name)
        if path is None:
            return None
        try:
            return self._stack.enter_context(open_source(path, name))
        except UnreadableError:
            return None

    def _path(self, name: str) -> str | None:
        """Return where a name leads; None for one that leaves the folder or crosses a link."""
        segments = name.replace("\\", "/").split("/")
        if "\0" in name or any(s in ("", ".", "..") or ":" in s for s in segments):
            return None
        path = self._folder
        for segment in segments:
            path = os.path.join(path, segment)  # noqa: PTH118 - strings, as everywhere in wire
            if os.path.islink(path):  # noqa: PTH114
                return None
        return path


class MappedCompanions:
    """Companions held in memory, by name: members of a container, or a test's."""

    def __init__(self, files: Mapping[str, Source]) -> None:
        self._files = files

    def find(self, name: str) -> Source | None:
        """Return the file of that name, or None."""
        return self._files.get(name)
