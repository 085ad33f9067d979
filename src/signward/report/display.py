"""What every report shares: hostile names made visible, instants and outcomes in words."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from datetime import datetime

from signward.findings import Code, Effect
from signward.policy.case import LISTED_BY
from signward.policy.record import Record, SignatureRecord, safe_text
from signward.state import Outcome, Stage

MARKS = {Outcome.ACCEPTED: "✓", Outcome.REJECTED: "✕", Outcome.INDETERMINATE: "?"}
"""A shape beside each outcome's word: nothing is told by colour alone."""

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
"""Unicode categories a reader cannot see, or that move what he sees (UAX #44, UAX #9)."""


def visible(text: str) -> str:
    r"""Return ``text`` with every character that hides or reorders written out.

    Control, format (bidirectional overrides, zero-width), separator, surrogate,
    private and unassigned characters become ``\xNN``, ``\uNNNN`` or ``\UNNNNNNNN``;
    the plain space stays.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, safe_text(text)))


def _shown(character: str) -> str:
    if character == " " or unicodedata.category(character) not in _HIDDEN:
        return character
    point = ord(character)
    if point < 0x100:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def day(instant: datetime | None) -> str:
    """Return the UTC date as ``YYYY-MM-DD``; empty for None."""
    return "" if instant is None else instant.strftime("%Y-%m-%d")


def minute(instant: datetime | None) -> str:
    """Return the instant as ``YYYY-MM-DD HH:MM UTC``; empty for None."""
    return "" if instant is None else instant.strftime("%Y-%m-%d %H:%M UTC")


def outcome_word(record: Record) -> str:
    """Return the outcome in capitals; a stage short of *accepted* answers by its own name.

    ``--stage intact`` that was reached says INTACT, never ACCEPTED.
    """
    if record.outcome is Outcome.ACCEPTED and record.stage is not Stage.ACCEPTED:
        return record.stage.value.upper()
    return record.outcome.value.upper()


def telling_signature(record: Record) -> SignatureRecord | None:
    """Return the signature to speak of: the judged one, else the first."""
    return record.judged_signature or next(iter(record.signatures), None)


def signer_name(signature: SignatureRecord) -> str:
    """Return whom a signature's certificate, or what else holds its key, names; empty for none."""
    if signature.signer:
        return signature.signer.subject
    holder = signature.holder
    return (
        (holder.names[0] if holder.names else f"{holder.kind} key {holder.key}") if holder else ""
    )


def publisher_name(record: Record) -> str:
    """Return the publisher of a trusted signature; empty where nobody is vouched for.

    Who signed a digest list did not sign what it names, and is not called its publisher.
    """
    name = record.publisher.name if record.publisher else ""
    return f"listed by {name}" if name and LISTED_BY in record.facts else name


def signed_when(record: Record) -> str:
    """Return when the telling signature was made and how that is known; empty if unsigned.

    That a certificate under it was revoked since is told too: one line may be all that is read.
    """
    signature = telling_signature(record)
    if signature is None:
        return ""
    if signature.proven_time:
        since = ", revoked since" if _is_revoked_since(record) else ""
        return f"signed {day(signature.proven_time.instant)}, timestamped{since}"
    if signature.claimed_time:
        return f"claims {day(signature.claimed_time)}, no proven time"
    return "no proven time"


def _is_revoked_since(record: Record) -> bool:
    """Say whether a certificate of the signer was revoked after signing; one of a TSA is a note."""
    return any(
        finding.code == Code.SIGNED_BEFORE_REVOCATION and finding.effect is Effect.WARN
        for finding in record.findings
    )


def quantity(count: int, noun: str, nouns: str = "") -> str:
    """Return ``1 file`` or ``2 files``, thousands separated."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def listing(parts: Iterable[str]) -> str:
    """Return the non-empty parts joined by two spaces."""
    return "  ".join(part for part in parts if part)
