"""What enforcers in audit mode wrote down: files that ran, or would not have, as subjects.

`read` tells the kind of a log by its content.  No log tells everything: what it lacks stands in
``Subject.unknown``, and nothing is guessed from a name or from what is usual.  Text in a log was
partly chosen by whoever named the file: where two readings are possible, the field is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from signward.errors import MalformedError, UnreadableError
from signward.findings import Code, Effect, Finding
from signward.inventory.audited import audit, defender, evtx, fapolicyd, santa
from signward.policy.rules.subject import Subject

MAX_GATHERED = 65_536
"""Distinct subjects counted at once; a log with more yields some of them more than once."""

HEAD = 65_536
"""Octets by which the kind of a log is told: a CSV export's header line is some thousand."""


class Seen(NamedTuple):
    """A subject, the host it was seen on (also ``subject.host``), and how often."""

    subject: Subject
    host: str
    times: int


Reader = Callable[[Path], Iterator[Subject]]

_READERS: tuple[tuple[Callable[[bytes], bool], Reader], ...] = (
    (evtx.is_mine, evtx.read),
    (defender.is_mine, defender.read),
    (audit.is_mine, audit.read),
    (santa.is_mine, santa.read),
    (fapolicyd.is_mine, fapolicyd.read),
)


def read(path: Path) -> Iterator[Seen]:
    """Yield what a log tells of files.

    Raises ``MalformedError`` for what is none of the logs known, ``LimitError``,
    ``ExtraMissingError`` where the library for event logs is missing, ``UnreadableError``.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD)
        yield from _counted(_reader(path, head)(path))
    except OSError as error:
        raise UnreadableError(
            Finding(
                code=Code.UNREADABLE,
                effect=Effect.UNKNOWN,
                subject=str(path),
                found=error.strerror or str(error),
                required="a log that can be read",
            )
        ) from None


def _reader(path: Path, head: bytes) -> Reader:
    for is_mine, reader in _READERS:
        if is_mine(head):
            return reader
    raise MalformedError(
        str(path), "no log that is known", "a Windows event log (.evtx), a CSV export of "
        "Defender's DeviceEvents, a log of Santa or fapolicyd, or the audit log"
    )  # fmt: skip


def _counted(subjects: Iterable[Subject]) -> Iterator[Seen]:
    """Yield equal subjects once with their number, as long as memory allows."""
    encoder = msgspec.msgpack.Encoder(order="deterministic")
    counts: dict[bytes, tuple[Subject, int]] = {}
    for subject in subjects:
        key = encoder.encode(subject)
        counts[key] = (subject, counts.get(key, (subject, 0))[1] + 1)
        if len(counts) >= MAX_GATHERED:
            yield from _told(counts)
            counts.clear()
    yield from _told(counts)


def _told(counts: dict[bytes, tuple[Subject, int]]) -> Iterator[Seen]:
    return (Seen(subject, subject.host, count) for subject, count in counts.values())
