"""A folder held in memory: the tests' stand-in for one on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from signward.errors import MalformedError
from signward.state import Source, TreeEntry
from signward.wire.source import BytesSource


class MappedTree:
    """A tree held in memory, by path: files' bytes, or the target of a link (``str``)."""

    def __init__(self, name: str, files: Mapping[str, bytes | str]) -> None:
        self.name = name
        self._files = dict(files)

    def entries(self) -> Sequence[TreeEntry]:
        """Return everything below, sorted by path; folders are those that paths name."""
        found = {
            path: TreeEntry(path=path, kind="link", target=content)
            if isinstance(content, str)
            else TreeEntry(path=path, kind="file", mode=0o644, size=len(content))
            for path, content in self._files.items()
        }
        for path in self._files:
            parts = path.split("/")[:-1]
            for count in range(1, len(parts) + 1):
                folder = "/".join(parts[:count])
                found.setdefault(folder, TreeEntry(path=folder, kind="directory", mode=0o755))
        return tuple(found[path] for path in sorted(found))

    def open(self, path: str) -> Source:
        """Return the file at a path.  Raises ``MalformedError`` where there is none."""
        content = self._files.get(path)
        if not isinstance(content, bytes):
            raise MalformedError(path, "no such file", "a file in the folder")
        return BytesSource(f"{self.name}/{path}", content)

    def attributes(self, path: str) -> tuple[str, ...]:
        """Return nothing: memory has no extended attributes."""
        return ()
