"""What simulations, derivations and revocations are tried on: an inventory, or what stands for one.

Beside inventories (``inventory.fleet``) the records of a scan and the logs of enforcers will do:
they are gathered in an inventory that goes away again.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from signward.errors import BadInputError, EvidenceError, UnreadableError
from signward.frozen import replace
from signward.inventory.fleet import Fleet, Gathering, is_fleet
from signward.policy.record import from_json, safe_text
from signward.policy.rules.sighted import subject_of
from signward.policy.rules.subject import Subject
from signward.verbs.context import real_place

KEPT = frozenset({"digest:file:sha256", "digest:authenticode:sha256", "several"})
"""What a scan tells of each file for an inventory, in the words of ``Index.asked``."""

HEAD = 100
"""Octets of a file that say what it is."""

RECORD = b'{"'
"""How a line of a scan's JSON Lines begins, whichever field is its first."""


@contextmanager
def opened_fleet(paths: Sequence[Path], at: datetime) -> Iterator[Fleet]:
    """Open what these files hold together, each told by its content.

    ``at`` is when they are read.  Raises ``EvidenceError``.
    """
    if len(paths) == 1 and is_fleet(_head(paths[0])):
        with Fleet(paths[0]) as fleet:
            yield fleet
        return
    with (
        tempfile.TemporaryDirectory(prefix="signward-") as folder,
        Fleet(Path(folder, "fleet.db"), create=True) as fleet,
    ):
        with fleet.gathering(int(at.timestamp()), instead=False) as gathering:
            for path in paths:
                _gather(path, gathering)
        yield fleet


def gathered(
    lines: Iterable[bytes], path: Path, host: str, tags: frozenset[str], at: datetime
) -> Iterator[bytes]:
    """Pass a scan's records on; when all have passed, they are the host's in the inventory.

    Whoever stops before leaves the inventory as it was.  Raises ``EvidenceError``.
    """
    with (
        Fleet(path, create=True) as fleet,
        fleet.gathering(int(at.timestamp()), instead=True) as gathering,
    ):
        gathering.host(host, tags)
        for line in lines:
            record = from_json(line)
            lies = real_place(os.fsdecode(bytes.fromhex(record.subject_hex)) or record.subject)
            gathering.add(subject_of(record, host=host, tags=tags, path=safe_text(lies)))
            yield line


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD)
    except OSError as error:
        raise EvidenceError(f"inventory {path}: {error.strerror}") from None


def _gather(path: Path, gathering: Gathering) -> None:
    head = _head(path)
    if is_fleet(head):
        _gather_fleet(path, gathering)
    elif _is_records(path, head):
        _gather_records(path, gathering)
    else:
        _gather_log(path, gathering)


def _gather_log(path: Path, gathering: Gathering) -> None:
    from signward.inventory.audited import read

    try:
        for subject, _, times in read(path):
            gathering.add(_untagged(subject), times)
    except (BadInputError, UnreadableError) as error:
        raise EvidenceError(f"inventory {path}: {error}") from None


def _is_records(path: Path, head: bytes) -> bool:
    if not head.startswith(RECORD):
        return False
    with path.open("rb") as file:
        try:
            from_json(file.readline(MAX_LINE))
        except BadInputError:
            return False
    return True


MAX_LINE = 64 * 1024 * 1024
"""Octets of one record: a catalog's findings may be many."""


def _gather_records(path: Path, gathering: Gathering) -> None:
    """Take the records of a scan in; their host is called like the file."""
    number = 0
    with path.open("rb") as file:
        while line := file.readline(MAX_LINE):
            number += 1
            try:
                there = replace(subject_of(from_json(line)), host=path.stem)
                gathering.add(_untagged(there))
            except BadInputError as error:
                raise EvidenceError(f"inventory {path}: line {number}: {error}") from None


def _untagged(subject: Subject) -> Subject:
    """Return a subject of whose host a source tells the name at most: it may have any tag."""
    return replace(subject, unknown=subject.unknown | {"host"})


def _gather_fleet(path: Path, gathering: Gathering) -> None:
    with Fleet(path) as other, other.unchanged():
        hosts = other.hosts()
        for host in hosts:
            gathering.host(host.name, host.tags)
        for known in other.known():
            for place in known.places:
                host = hosts[place.host]
                there = replace(known.subject, path=place.path, host=host.name, tags=host.tags)
                gathering.add(there, place.times)
