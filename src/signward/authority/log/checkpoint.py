"""Checkpoints (c2sp.org/tlog-checkpoint): signed notes that state a tree's size and root."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from signward.authority.log import note
from signward.authority.log.faults import NotSignedError
from signward.authority.log.note import ED25519, VerifierKey
from signward.authority.log.tree import Frontier
from signward.frozen import Frozen
from signward.state import Algorithm
from signward.wire.note import MAX_SIZE, Checkpoint, parse_text

__all__ = ["MAX_SIZE", "Checkpoint", "parse_text"]

_CLAUSE = "c2sp.org/tlog-checkpoint"


class Policy(Frozen, frozen=True, kw_only=True):
    """Whose word counts: the log's own, and that of ``quorum`` of the witnesses."""

    log: VerifierKey
    origin: str = ""
    """What the checkpoint must name; empty: the log key's name."""
    witnesses: tuple[VerifierKey, ...] = ()
    quorum: int = 0


class SignedCheckpoint(Frozen, frozen=True, kw_only=True):
    """A checkpoint whose signatures satisfied a policy; ``note`` is it, octet for octet.

    ``witnessed`` are the names of the witnesses that signed, with their times.
    """

    checkpoint: Checkpoint
    note: bytes
    witnessed: tuple[tuple[str, datetime | None], ...] = ()


class CheckpointDraft(Frozen, frozen=True, kw_only=True):
    """A checkpoint that lacks its signature (an ``envelopes.Draft``)."""

    checkpoint: Checkpoint
    key: VerifierKey

    @property
    def to_be_signed(self) -> bytes:
        """The note's text."""
        return self.checkpoint.text.encode()

    @property
    def algorithm(self) -> Algorithm:
        """Ed25519."""
        return ED25519

    def seal(self, value: bytes, tokens: Sequence[bytes] = ()) -> bytes:
        """Return the signed note.  Notes have no place for timestamp tokens."""
        if tokens:
            raise ValueError("a checkpoint carries no timestamp tokens")
        return note.signed(self.checkpoint.text, [(self.key, value)])


def draft(frontier: Frontier, key: VerifierKey) -> CheckpointDraft:
    """Return the checkpoint of a tree, to be signed with the log's key, whose name is the origin.

    Whoever signs it must know that it continues what was signed before.
    """
    head = Checkpoint(origin=key.name, size=frontier.size, root=frontier.root)
    return CheckpointDraft(checkpoint=head, key=key)


def open_checkpoint(data: bytes, policy: Policy) -> SignedCheckpoint:
    """Return the checkpoint in a signed note whose signatures satisfy ``policy``.

    Raises ``MalformedError``, ``LimitError``, ``NotSignedError``.
    """
    claimed = note.parse(data)
    signatures = note.check(claimed, [policy.log, *policy.witnesses])
    keys = {one.key for one in signatures}
    if policy.log not in keys:
        raise NotSignedError("checkpoint", "no signature of the log", policy.log.text, _CLAUSE)
    witnessed = tuple((one.key.name, one.at) for one in signatures if one.key != policy.log)
    if len(witnessed) < policy.quorum:
        raise NotSignedError(
            "checkpoint", f"{len(witnessed)} witnesses that are known", f"{policy.quorum} of them",
            "c2sp.org/tlog-cosignature",
        )  # fmt: skip
    head = parse_text(claimed.text)
    wanted = policy.origin or policy.log.name
    if head.origin != wanted:
        raise NotSignedError("checkpoint", f"origin {head.origin[:200]!r}", repr(wanted), _CLAUSE)
    return SignedCheckpoint(checkpoint=head, note=data, witnessed=witnessed)
