"""Strip: files without their signatures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from signward.errors import NotSignableError
from signward.state import Companions, Source
from signward.verbs.change import Destination, change, signable
from signward.verbs.fitness import Assessor
from signward.verbs.options import Options
from signward.verbs.outcome import FileResult, caught
from signward.wire.patch import Patched


def strip(paths: Iterable[str], destination: Destination) -> Iterator[FileResult]:
    """Take every signature out of every file; yield results in the order of ``paths``."""
    assessor = Assessor(Options(), require_accepted=False)
    results = (caught(path, partial(_stripped, path, destination, assessor)) for path in paths)
    return destination.settled(results)


def _stripped(path: str, destination: Destination, assessor: Assessor) -> FileResult:
    formats: list[str] = []

    def make(source: Source, _companions: Companions) -> Source:
        form = signable(source)
        formats.append(form.name)
        if not form.envelopes(source):
            raise NotSignableError(path, "no signature", "one to take away")
        return Patched(source, form.embed(source, ()))

    def check(written: Source, companions: Companions) -> None:
        assessor.check_stripped(written, companions)

    output = change(path, destination.of(path), destination, make, check)
    outcome = "planned" if destination.dry_run else "stripped"
    return FileResult(path=path, outcome=outcome, format=formats[0], output=output)
