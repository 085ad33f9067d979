"""What transparency logs are claimed to say of a signature (a part of `signward.state`)."""

from __future__ import annotations

from datetime import datetime

from signward.frozen import Frozen


class LogProof(Frozen, frozen=True, kw_only=True):
    """That an entry stands in a log's tree, as it is claimed (RFC 9162 2.1.3).

    ``index`` is the entry's place among the ``size`` of the tree that ``checkpoint``, a signed
    note, speaks of; ``hashes`` lead from the entry to ``root``.
    """

    index: int
    size: int
    root: bytes
    hashes: tuple[bytes, ...]
    checkpoint: bytes


class ClaimedLogEntry(Frozen, frozen=True, kw_only=True):
    """A transparency log's word that it knows a signature, as claimed.  Producer: ``envelopes``.

    ``log_id`` names the log's key, ``body`` are the octets that were logged, ``verifier`` is whom
    they name as signer: a certificate or SubjectPublicKeyInfo (DER).  ``promise`` is the log's
    value over ``promised`` that the entry is of ``claimed_time``; empty where it made none.
    """

    log_id: bytes
    body: bytes
    verifier: bytes
    claimed_time: datetime | None
    promised: bytes
    promise: bytes
    proof: LogProof | None
