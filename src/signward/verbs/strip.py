"""Strip: files without their signatures."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import partial

from signward.errors import NotSignableError
from signward.state import Companions, Source
from signward.verbs.bundles import BUNDLE
from signward.verbs.change import Destination, change, signable
from signward.verbs.fitness import Assessor
from signward.verbs.folders import check_same, put_in_place, snapshot, working_copy
from signward.verbs.options import Options
from signward.verbs.outcome import FileResult, caught
from signward.verbs.release import make_folder
from signward.verbs.sign_bundle import is_bundle_folder, strip_bundle
from signward.wire.patch import Patched


def strip(paths: Iterable[str], destination: Destination) -> Iterator[FileResult]:
    """Take every signature out of every file; yield results in the order of ``paths``."""
    assessor = Assessor(Options(), require_accepted=False)
    results = (caught(path, partial(_stripped, path, destination, assessor)) for path in paths)
    return destination.settled(results)


def _stripped(path: str, destination: Destination, assessor: Assessor) -> FileResult:
    if is_bundle_folder(path):
        return _stripped_folder(path, destination, assessor)
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


def _stripped_folder(path: str, destination: Destination, assessor: Assessor) -> FileResult:
    """Take the signature out of a bundle, in a copy; nested code keeps its own."""
    target, real = destination.of(path), os.path.realpath(path)
    out = "" if destination.dry_run else destination.out
    if out:
        make_folder(out)
    before = snapshot(real)
    with working_copy(real, out or os.path.dirname(real), linked=not out) as copy:  # noqa: PTH120
        strip_bundle(copy, path)
        assessor.check_folder_stripped(copy, path)
        check_same(real, before)
        if not destination.dry_run:
            put_in_place(copy, target)
    outcome = "planned" if destination.dry_run else "stripped"
    return FileResult(path=path, outcome=outcome, format=BUNDLE, output=target)
