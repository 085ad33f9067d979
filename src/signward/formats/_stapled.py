"""Tickets stapled to disk images and packages: read, and held against what they must speak of.

Whether a ticket is Apple's is for ``verbs.tickets`` to say.
"""

from __future__ import annotations

from collections.abc import Collection

from signward.envelopes.ticket import CDHASH_OCTETS, listed_hashes, open_ticket
from signward.errors import BadInputError
from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen
from signward.state import ClaimedSignature


class Stapled(Frozen, frozen=True, kw_only=True):
    """A ticket, and what is wrong with it; None where it cannot be read or there is none."""

    ticket: ClaimedSignature | None = None
    findings: tuple[Finding, ...] = ()


def read_stapled(data: bytes, digests: Collection[bytes], what: str) -> Stapled:
    """Return the ticket in ``data`` (nothing for no octets), which must name all ``digests``.

    They are those of code directories or of a table, of which tickets keep 20 octets; ``what``
    names them in messages.
    """
    if not data:
        return Stapled()
    try:
        ticket = open_ticket(data)
        known = listed_hashes(ticket.content)
    except BadInputError as error:
        return Stapled(findings=(_odd(error.finding.found, error.finding.required),))
    strange = sorted({digest[:CDHASH_OCTETS] for digest in digests} - known)
    if not strange:
        return Stapled(ticket=ticket)
    found = f"a ticket without the {what} {strange[0].hex()}"
    return Stapled(ticket=ticket, findings=(_odd(found, "a ticket for this code"),))


def _odd(found: str, required: str) -> Finding:
    return Finding(
        code=Code.TICKET,
        effect=Effect.REJECT,
        subject="notarization ticket",
        found=found,
        required=required,
        hint="staple it anew",
    )
