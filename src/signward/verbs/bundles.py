"""Bundles on a walk: folders that are one piece of code, beside the files in them.

A bundle has one record, of the whole; the files in it have theirs besides.  Nothing is kept of
it: that a file deep inside changed is told by no folder's time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from signward.formats._bundle_layout import EXTENSIONS
from signward.inventory.cache import Place
from signward.inventory.walk import Folder, Trouble
from signward.verbs.tasks import Task
from signward.wire.source import Identity

BUNDLE = "bundle"
"""The kind of a bundle (``inventory.classify``)."""

_MARKS = frozenset({"Contents", "Versions", "Resources"})


def noting_bundles(
    walked: Iterable[str | Folder | Trouble], found: list[Task]
) -> Iterator[str | Folder | Trouble]:
    """Pass a walk on; put a task in ``found`` for each folder that looks like a bundle.

    By its name and what stands directly in it: nothing is opened.
    """
    for item in walked:
        if isinstance(item, Folder) and item.part == 0 and _looks_like_one(item):
            task = _task(item.path)
            if task is not None:
                found.append(task)
        yield item


def _looks_like_one(folder: Folder) -> bool:
    if not folder.path.rstrip("/").lower().endswith(EXTENSIONS):
        return False
    names = (item.name for item in folder.items if not isinstance(item, Trouble))
    return not _MARKS.isdisjoint(folder.below) or "Info.plist" in names


def _task(path: str) -> Task | None:
    try:
        identity = Identity.of(os.stat(path, follow_symlinks=False))  # noqa: PTH116 - strings
    except OSError:
        return None
    return Task(path, BUNDLE, identity._replace(size=0), Place(path))
