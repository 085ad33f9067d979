"""Audit: whether what was accepted is still what was vouched for.

Every file in the folder has a receipt of its name, signed by a key that counts, that passed it
with this digest; and every receipt still has its file.  An earlier file of the same name that was
put back together with its own receipt is all of that too: only ``verified`` tells it apart.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from signward.frozen import Frozen
from signward.policy.summary import Statement
from signward.verbs.intake.delivery import LOCK, STAGING
from signward.verbs.intake.moving import sha256_of
from signward.verbs.intake.receipts import SUFFIX, Kept, kept, name_of


class State(StrEnum):
    """What became of an accepted file."""

    UNCHANGED = "unchanged"
    CHANGED = "changed"
    MISSING = "missing"
    WITHOUT = "without-receipt"
    REFUSED = "refused"
    BROKEN = "receipt-broken"
    UNREADABLE = "unreadable"


TOLD = {
    State.UNCHANGED: "as it was accepted",
    State.CHANGED: "its content is no longer what was accepted",
    State.MISSING: "there is a receipt, and no file",
    State.WITHOUT: "nobody accepted it: there is no receipt",
    State.REFUSED: "its receipt says that it was refused, or is about another file",
    State.BROKEN: "its receipt does not count",
    State.UNREADABLE: "it cannot be read, or is no regular file",
}


class Audited(Frozen, frozen=True, kw_only=True):
    """One file as it stands.  ``name`` is relative; digests are SHA-256 in hex.

    ``verified`` is when its receipt says that it was judged.
    """

    name: str
    state: State
    found: str = ""
    accepted: str = ""
    why: str = ""
    verified: datetime | None = None


def audit(
    folder: Path, receipts: Path, keys: Sequence[bytes], verifier: str = ""
) -> Iterator[Audited]:
    """Yield every file below ``folder`` and every receipt below ``receipts``, in order.

    Only receipts of ``verifier`` count, where one is given: keys may sign for several.
    """
    known = {one.path.relative_to(receipts): one for one in kept(receipts, keys)}
    for path in _files(folder):
        relative = path.relative_to(folder)
        receipt = known.pop(relative.with_name(relative.name + SUFFIX), None)
        yield _audited(path, name_of(relative.parts), receipt, verifier)
    for one in known.values():
        yield Audited(name=one.name, state=State.MISSING, why=one.problem)


def _files(folder: Path) -> Iterator[Path]:
    """Yield everything that is no folder, but what a gate at work has there."""
    at_work = _is_at_work(folder)
    for path, folders, names in os.walk(folder):
        at = Path(path)
        if at == folder:
            folders[:] = [n for n in folders if not (at_work and n.startswith(STAGING))]
            names = [name for name in names if name != LOCK or not _is_lock(at / name)]
        links = [name for name in folders if (at / name).is_symlink()]
        folders.sort()
        yield from (at / name for name in sorted((*names, *links)))


def _is_lock(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISREG(status.st_mode) and not status.st_size


def _is_at_work(folder: Path) -> bool:
    """Say whether a gate has the folder locked; one that was killed left copies that are none."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _audited(path: Path, name: str, receipt: Kept | None, verifier: str) -> Audited:
    if receipt is None:
        return Audited(name=name, state=State.WITHOUT)
    if receipt.statement is None:
        return Audited(name=name, state=State.BROKEN, why=receipt.problem)
    predicate = receipt.statement.predicate
    if verifier not in ("", predicate.verifier.id):
        why = f"it is by {predicate.verifier.id}"
        return Audited(name=name, state=State.BROKEN, why=why)
    accepted, verified = _accepted(receipt.statement, name), predicate.time_verified
    if not accepted:
        return Audited(name=name, state=State.REFUSED, verified=verified)
    try:
        found = sha256_of(path) if path.is_file() and not path.is_symlink() else ""
    except OSError:
        found = ""
    if not found:
        return Audited(name=name, state=State.UNREADABLE, accepted=accepted,
                       verified=verified)  # fmt: skip
    state = State.UNCHANGED if found == accepted else State.CHANGED
    return Audited(name=name, state=state, found=found, accepted=accepted,
                   verified=verified)  # fmt: skip


def _accepted(statement: Statement, name: str) -> str:
    """Return the digest with which a statement passes the file of that name, or nothing."""
    if not statement.passed:
        return ""
    named = (s.digest.get("sha256", "") for s in statement.subject if s.name == name)
    return next(named, "")
