"""Audit: whether what was accepted is still what was vouched for.

Every file in the folder has a receipt of its name, signed by a key that counts, that passed it
with this digest; and every receipt still has its file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path

from signward.frozen import Frozen
from signward.policy.summary import Statement
from signward.verbs.intake.delivery import RESERVED
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
    """One file as it stands.  ``name`` is relative; digests are SHA-256 in hex."""

    name: str
    state: State
    found: str = ""
    accepted: str = ""
    why: str = ""


def audit(folder: Path, receipts: Path, keys: Sequence[bytes]) -> Iterator[Audited]:
    """Yield every file below ``folder`` and every receipt below ``receipts``, in order."""
    known = {one.path.relative_to(receipts): one for one in kept(receipts, keys)}
    for path in _files(folder):
        relative = path.relative_to(folder)
        receipt = known.pop(relative.with_name(relative.name + SUFFIX), None)
        yield _audited(path, name_of(relative.parts), receipt)
    for one in known.values():
        yield Audited(name=one.name, state=State.MISSING, why=one.problem)


def _files(folder: Path) -> Iterator[Path]:
    """Yield everything that is no folder, but what a gate at work has there."""
    for path, folders, names in os.walk(folder):
        at = Path(path)
        if at == folder:
            folders[:] = [name for name in folders if not name.startswith(RESERVED)]
            names = [name for name in names if not name.startswith(RESERVED)]
        links = [name for name in folders if (at / name).is_symlink()]
        folders.sort()
        yield from (at / name for name in sorted((*names, *links)))


def _audited(path: Path, name: str, receipt: Kept | None) -> Audited:
    if receipt is None:
        return Audited(name=name, state=State.WITHOUT)
    if receipt.statement is None:
        return Audited(name=name, state=State.BROKEN, why=receipt.problem)
    accepted = _accepted(receipt.statement, name)
    if not accepted:
        return Audited(name=name, state=State.REFUSED)
    try:
        found = sha256_of(path) if path.is_file() and not path.is_symlink() else ""
    except OSError:
        found = ""
    if not found:
        return Audited(name=name, state=State.UNREADABLE, accepted=accepted)
    state = State.UNCHANGED if found == accepted else State.CHANGED
    return Audited(name=name, state=state, found=found, accepted=accepted)


def _accepted(statement: Statement, name: str) -> str:
    """Return the digest with which a statement passes the file of that name, or nothing."""
    if not statement.passed:
        return ""
    named = (s.digest.get("sha256", "") for s in statement.subject if s.name == name)
    return next(named, "")
