"""Paths in a system whose root is a folder: its links lead to places in it, as after chroot(2)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from signward.errors import UnreadableError
from signward.wire.source import open_source

MAX_LINKS = 40
"""Links followed on the way to one file, as Linux has it (path_resolution(7))."""

NOWHERE = "/" + 256 * "-"
"""A path at which no system has anything (names have at most 255 octets): of too many links."""

MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libo32", "libx32")
"""Folders that are links into /usr where that is merged (Debian since 12, usrmerge)."""


class Root:
    """A folder that stands for ``/``."""

    def __init__(self, folder: str = "/") -> None:
        self.folder = os.path.realpath(folder)
        self._given = os.path.abspath(folder)  # noqa: PTH100 - paths stay strings

    @property
    def is_running(self) -> bool:
        """Whether it is this system itself."""
        return self.folder == "/"

    def place(self, path: str) -> str:
        """Return where a path of the system lies outside, its links followed within the root."""
        left, at, links = [one for one in reversed(path.split("/")) if one], "", 0
        while left:
            name = left.pop()
            if name in (".", ".."):
                at = at if name == "." else at.rpartition("/")[0]
                continue
            target = link_at(self._outside(f"{at}/{name}"))
            if not target:
                at = f"{at}/{name}"
                continue
            links += 1
            if links > MAX_LINKS:
                return self._outside(NOWHERE)  # what is left might lead out of the root
            at = "" if target.startswith("/") else at
            left += [one for one in reversed(target.split("/")) if one]
        return self._outside(at)

    def inside(self, place: str) -> str | None:
        """Return what a real path is called in the system; None for one outside it."""
        if self.is_running:
            return place
        inner = place.removeprefix(self.folder)
        return inner if place != inner and inner.startswith("/") else None

    def named(self, name: str) -> str | None:
        """Return what an absolute name says it is in the system, its links not followed."""
        for folder in (self.folder, self._given):
            if name.startswith(f"{folder.rstrip('/')}/"):
                return name[len(folder.rstrip("/")) :]
        return None

    def read(self, path: str, most: int) -> bytes | None:
        """Return a file of the system; None where there is none that can be read, or a larger."""
        try:
            with open_source(self.place(path), path) as source:
                return source.read(0, source.length) if source.length <= most else None
        except UnreadableError:
            return None

    def files(self, folder: str, *endings: str) -> Iterator[str]:
        """Yield the paths of a folder's files with one of these endings, by name."""
        try:
            names = sorted(os.listdir(self.place(folder)))  # noqa: PTH208 - names suffice
        except OSError:
            return
        for name in names:
            path = f"{folder}/{name}"
            if name.endswith(endings) and Path(self.place(path)).is_file():
                yield path

    def merged(self) -> dict[str, str]:
        """Return the folders that are links into /usr: ``/bin`` to ``/usr/bin``."""
        found = {}
        for name in MERGED:
            target = link_at(self._outside(f"/{name}")).lstrip("/").rstrip("/")
            if target == f"usr/{name}":
                found[f"/{name}"] = f"/usr/{name}"
        return found

    def _outside(self, path: str) -> str:
        return path or "/" if self.is_running else self.folder + path


def link_at(place: str) -> str:
    """Return where a link points, as it says; empty for what is none."""
    try:
        return os.readlink(place)  # noqa: PTH115 - paths stay strings
    except (OSError, ValueError):
        return ""
