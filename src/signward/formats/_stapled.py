"""Tickets stapled to disk images and packages: read, and held against what they must speak of.

Whether a ticket is Apple's is for ``verbs.tickets`` to say.
"""

from __future__ import annotations

from signward.envelopes.ticket import CDHASH_OCTETS, listed_hashes, open_ticket
from signward.errors import BadInputError
from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen
from signward.state import ClaimedSignature


class Stapled(Frozen, frozen=True, kw_only=True):
    """A ticket, and what is wrong with it; None where it cannot be read or there is none."""

    ticket: ClaimedSignature | None = None
    findings: tuple[Finding, ...] = ()


def read_stapled(data: bytes, digest: bytes, what: str) -> Stapled:
    """Return the ticket in ``data`` (nothing for no octets), which must name ``digest``.

    ``digest`` is a code directory's or a table's, of which tickets keep 20 octets; ``what``
    names it in messages.
    """
    if not data:
        return Stapled()
    try:
        ticket = open_ticket(data)
        known = listed_hashes(ticket.content)
    except BadInputError as error:
        return Stapled(findings=(_odd(error.finding.found, error.finding.required),))
    if digest[:CDHASH_OCTETS] in known:
        return Stapled(ticket=ticket)
    found = f"a ticket without the {what} {digest[:CDHASH_OCTETS].hex()}"
    return Stapled(ticket=ticket, findings=(_odd(found, "a ticket for this file"),))


def _odd(found: str, required: str) -> Finding:
    return Finding(
        code=Code.TICKET,
        effect=Effect.REJECT,
        subject="notarization ticket",
        found=found,
        required=required,
        hint="staple it anew",
    )
