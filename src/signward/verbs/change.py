"""Changing a file's signatures: the way that signing, timestamping and stripping share.

A file is opened, a patch made for it, the result checked, and only then released.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field

from signward.errors import NotSignableError
from signward.formats import Signable, as_signable, peek_at, recognise
from signward.inventory.classify import KINDS, classify
from signward.state import Companions, Source
from signward.verbs.outcome import FileResult
from signward.verbs.release import ReleaseError, check_writable, make_folder, settle, write
from signward.wire.companions import FolderCompanions
from signward.wire.source import open_source

Make = Callable[[Source, Companions], Source]
"""Makes what the file is to become: a view of the source with patches applied."""

Check = Callable[[Source, Companions], None]
"""Raises for a result that must not be released."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where results go: in place of the file, into the folder ``out``, or nowhere.

    With a ``suffix`` they go beside the file, under its name with the suffix behind it.
    ``taken`` are the outputs so far: two inputs never become one output.  Outputs are asked
    for by one thread, before work on the files begins; ``real`` is where folders really are.
    ``linked`` are the files in place that have several names (hard links).
    """

    out: str = ""
    suffix: str = ""
    dry_run: bool = False
    taken: set[str] = field(default_factory=set)
    real: dict[str, str] = field(default_factory=dict)
    linked: set[tuple[int, int]] = field(default_factory=set)

    def of(self, path: str) -> str:
        """Return the output for ``path``; a symbolic link stands for what it leads to.

        Raises ``ReleaseError`` for a second file of one name, a second name of one file, and
        an output that is its own input.
        """
        folder, name = os.path.split(path.rstrip("/") or path)
        if self.out:
            target = os.path.join(self.out, name)  # noqa: PTH118
            if not self.suffix:
                _check_apart(path, target)
        else:
            target = os.path.join(self._real(folder), name)  # noqa: PTH118
            target = os.path.realpath(target) if os.path.islink(target) else target  # noqa: PTH114
        target += self.suffix
        if target in self.taken:
            raise ReleaseError(target, "a second file of that output", "one",
                               hint="sign them into different folders")  # fmt: skip
        if not (self.out or self.suffix):
            self._note_links(path)
        self.taken.add(target)
        return target

    def _note_links(self, path: str) -> None:
        """Refuse a second name of one file: the first one's new file unties it meanwhile."""
        status = _status(path)
        if status is None or status.st_nlink < 2:
            return
        one = status.st_dev, status.st_ino
        if one in self.linked:
            raise ReleaseError(path, "a second name (hard link) of another of the files", "one",
                               hint="sign one and link the other anew, or run twice")  # fmt: skip
        self.linked.add(one)

    def _real(self, folder: str) -> str:
        """Return where a folder really is; asked once, since many files lie in one."""
        if folder not in self.real:
            self.real[folder] = os.path.realpath(folder)
        return self.real[folder]

    def settled(self, results: Iterable[FileResult]) -> Generator[FileResult]:
        """Pass results on; when they end, make sure that what was released stays."""
        try:
            yield from results
        finally:
            if not self.dry_run:
                for folder in {os.path.dirname(target) or "." for target in self.taken}:  # noqa: PTH120
                    settle(folder)


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116 - strings, as everywhere in verbs
    except (OSError, ValueError):
        return None  # opening it says why


def _check_apart(path: str, target: str) -> None:
    """Raise ``ReleaseError`` where ``--out`` would write over the very file it leaves alone."""
    here, there = _status(path), _status(target)
    if here and there and os.path.samestat(here, there):
        raise ReleaseError(path, "an output (--out) that is the file itself", "another folder",
                           hint="leave --out away to change it in place")  # fmt: skip


def change(path: str, target: str, destination: Destination, make: Make, check: Check) -> str:
    """Put what ``make`` makes of ``path`` at ``target``, if ``check`` agrees; return the output.

    Both halves of what `prepare` begins.
    """
    return prepare(path, target, destination, make, check)()


def prepare(
    path: str, target: str, destination: Destination, make: Make, check: Check
) -> Callable[[], str]:
    """Make and check what ``path`` is to become; return what puts it at ``target``.

    ``target`` is what the destination said it is.  The second half is to be called, once, by
    whatever thread; it returns the output.  Both raise ``SigningError``, ``BadInputError``,
    ``UnreadableError``; nothing is changed then.
    """
    in_place = not (destination.out or destination.suffix)
    if not destination.out and not destination.dry_run:
        check_writable(target)
    folder = os.path.dirname(target if in_place else path)  # noqa: PTH120 - paths stay strings
    with open_source(path) as source, FolderCompanions(folder) as companions:
        result = make(source, companions)
        source.check_unchanged()
        if destination.dry_run:
            check(result, companions)
            return lambda: path
        if destination.out:
            make_folder(destination.out)
        put_in_place = write(
            result, target, like="" if destination.suffix else path,
            check=lambda written: check(written, companions),
            expected=source.identity if in_place else None,
        )  # fmt: skip
    output = path if in_place and not os.path.islink(path) else target  # noqa: PTH114

    def finish() -> str:
        put_in_place()
        return output

    return finish


def signable(source: Source) -> Signable:
    """Return the format that signs ``source``.  Raises ``NotSignableError``."""
    peek = peek_at(source)
    form = as_signable(recognise(peek))
    if form is not None:
        return form
    kind = KINDS[classify(peek)].text if source.length else "an empty file"
    raise NotSignableError(
        source.name, kind, "a kind of file that can carry a signature",
        hint="--detached writes the signature beside the file",
    )  # fmt: skip
