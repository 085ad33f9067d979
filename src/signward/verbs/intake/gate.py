"""The gate: takes a delivery in, file by file, and vouches for what it let through.

All files are copied out of the deliverer's reach, then all judged.  Then for each in this order:
its receipt is written, the copy moved to its place, the original removed.  Stopped at any moment,
every file is still where it was delivered or already in its place, and running again goes on.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from signward.errors import EvidenceError, KeyProviderError
from signward.frozen import Frozen
from signward.policy.summary import Reason
from signward.state import Outcome
from signward.verbs.intake.delivery import LOCK, STAGING, Copied, Delivery, Left, Parts
from signward.verbs.intake.judging import Judged
from signward.verbs.intake.moving import TakenError, check_free, move, move_aside
from signward.verbs.intake.receipts import Terms, name_of, statement_of, write
from signward.verbs.sealing import Sealer

Judge = Callable[[Path, str], Judged]
"""Judges a copy, given its path below the delivery."""


class Folders(Frozen, frozen=True, kw_only=True):
    """Where things go: each folder with that of its receipts."""

    accept: Path
    quarantine: Path
    accept_receipts: Path
    quarantine_receipts: Path


def folders(accept: str, quarantine: str) -> Folders:
    """Return the folders of a gate; receipts lie beside each, in ``NAME.receipts``.

    Raises ``EvidenceError`` for folders one within the other.
    """
    first, second = (Path(path).absolute().resolve() for path in (accept, quarantine))
    made = Folders(
        accept=first,
        quarantine=second,
        accept_receipts=receipts_of(first),
        quarantine_receipts=receipts_of(second),
    )
    _check_apart((made.accept, made.quarantine, made.accept_receipts, made.quarantine_receipts))
    return made


def receipts_of(folder: Path) -> Path:
    """Return where the receipts for the files of a folder lie."""
    return folder.with_name(f"{folder.name}.receipts")


def _check_apart(paths: tuple[Path, ...]) -> None:
    for index, one in enumerate(paths):
        for other in paths[index + 1 :]:
            if one.is_relative_to(other) or other.is_relative_to(one):
                raise EvidenceError(f"{one} and {other}: required folders apart from each other")


class Taken(Frozen, frozen=True, kw_only=True):
    """What became of one file of the delivery.

    ``place`` is where it is now, ``receipt`` where its receipt is; both empty in a dry run.
    ``left`` says why it is still where it was delivered, if it is.
    """

    name: str
    judged: Judged | None = None
    sha256: str = ""
    place: str = ""
    receipt: str = ""
    left: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the gate let it through."""
        return self.judged is not None and self.judged.outcome is Outcome.ACCEPTED


class Gate:
    """Takes deliveries in.  ``sealer`` signs receipts; without one nothing is moved."""

    def __init__(self, to: Folders, judge: Judge, terms: Terms, sealer: Sealer | None) -> None:
        self._to, self._judge, self._terms, self._sealer = to, judge, terms, sealer

    def take(self, path: str) -> Iterator[Taken]:
        """Take a delivery in; yield what became of each file, in order of names.

        Raises ``EvidenceError`` before anything is moved: a delivery that cannot be read or has
        too many files, folders that cannot be written, another gate at work.
        """
        delivery = Delivery(path)
        to = self._to
        if self._sealer is not None:  # a dry run has no folders
            _check_apart((delivery.path, to.accept, to.quarantine,
                          to.accept_receipts, to.quarantine_receipts))  # fmt: skip
        with self._staging() as staging:
            found = list(delivery.copied(staging))
            # All are judged while all are there: manifests speak of the files beside them.
            judged = {one.parts: self._judge(one.copy, name_of(one.parts))
                      for one in found if isinstance(one, Copied)}  # fmt: skip
            for one in found:
                if isinstance(one, Left):
                    yield Taken(name=name_of(one.parts), left=one.why)
                else:
                    yield self._settled(delivery, one, judged[one.parts])

    @contextlib.contextmanager
    def _staging(self) -> Iterator[Path]:
        """Make a folder for copies, on the file system of what is accepted, for us alone."""
        if self._sealer is None:
            with tempfile.TemporaryDirectory(prefix=STAGING) as folder:
                yield Path(folder)
            return
        accept = self._to.accept
        try:
            accept.mkdir(parents=True, exist_ok=True)
            lock = (accept / LOCK).open("ab")
        except OSError as error:
            raise EvidenceError(f"{accept}: {(error.strerror or str(error)).lower()}") from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise EvidenceError(f"{accept}: another intake is at work there") from None
            try:
                for old in accept.glob(f"{STAGING}*/"):  # of one that was stopped
                    shutil.rmtree(old)
                folder = tempfile.mkdtemp(prefix=STAGING, dir=accept)
            except OSError as error:
                raise EvidenceError(f"{accept}: {(error.strerror or str(error)).lower()}") from None
            try:
                yield Path(folder)
            finally:
                shutil.rmtree(folder)

    def _settled(self, delivery: Delivery, copied: Copied, judged: Judged) -> Taken:
        """Write the receipt, move the copy and remove the original."""
        name = name_of(copied.parts)
        if self._sealer is None:
            return Taken(name=name, judged=judged, sha256=copied.sha256)
        try:
            place, receipt = self._placed(copied, judged, self._sealer)
        except TakenError as error:
            why = f"another file is there already: {error}"
            return Taken(name=name, judged=judged, sha256=copied.sha256, left=why)
        except (EvidenceError, KeyProviderError) as error:
            return Taken(name=name, judged=judged, sha256=copied.sha256, left=str(error))
        kept = delivery.remove(copied)
        if not kept:
            delivery.remove_emptied(copied.parts)
        return Taken(
            name=name,
            judged=judged,
            sha256=copied.sha256,
            place=str(place),
            receipt=str(receipt),
            left=kept,
        )

    def _placed(self, copied: Copied, judged: Judged, sealer: Sealer) -> tuple[Path, Path]:
        """Move the copy to where it belongs, its receipt before it."""
        to = self._to
        if judged.outcome is Outcome.ACCEPTED:
            check_free(to.accept, copied.parts, copied.sha256)
            receipt = self._vouch(to.accept_receipts, copied.parts, copied, judged, sealer)
            return move(copied.copy, to.accept, copied.parts, copied.sha256), receipt
        place = move_aside(copied.copy, to.quarantine, copied.parts, copied.sha256)
        parts = place.relative_to(to.quarantine).parts
        return place, self._vouch(to.quarantine_receipts, parts, copied, judged, sealer)

    def _vouch(
        self, folder: Path, parts: Parts, copied: Copied, judged: Judged, sealer: Sealer
    ) -> Path:
        reason = Reason(outcome=judged.outcome.value, rule=judged.rule, why=judged.why,
                        policies=self._terms.policies[1:])  # fmt: skip
        statement = statement_of(self._terms, name_of(parts), copied.sha256, reason)
        return write(folder, parts, statement, sealer)
