"""dpkg-sig's lists (dpkg-sig(1)): clear-signed text that names a package's members by digest.

The digests are MD5 and SHA-1, and both are broken; two broken ones are no better (what collides
under one can be made to collide under both).  So a list is held against the members, and what
rests on it never counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from signward.envelopes.openpgp import Opened
from signward.envelopes.openpgp_clear import ClearText, open_clear
from signward.errors import AmbiguousError, LimitError, MalformedError
from signward.findings import Code, Effect, Finding
from signward.frozen import replace
from signward.state import ClaimedSignature, Slot
from signward.wire.deb822 import read_paragraph

MAX_LISTED = 64
"""Members in one list; a package has three."""

_ENTRY = re.compile(r"([0-9a-f]{32}) ([0-9a-f]{40}) ([0-9]{1,15}) ([!-~]+)\Z")
_WHAT = "dpkg-sig's list"
_CLAUSE = "dpkg-sig(1)"


def open_list(clear: ClearText, role: str, slot: str, first: int = 1) -> tuple[Opened, ...]:
    """Return the signatures over a list, with the slots of the members that it names.

    ``role`` is that of the member that holds the list, ``slot`` and ``first`` are as
    `open_clear` takes them.  Raises ``MalformedError``, ``AmbiguousError`` and ``LimitError``.
    """
    if clear.only_spaces is not None:
        raise AmbiguousError(_WHAT, "a line of spaces", "none", _CLAUSE)
    fields = read_paragraph(clear.text)
    slots = tuple(_slots(fields.get("files", "")))
    return tuple(
        replace(one, claimed=_listing(one.claimed, slots, fields.get("role", ""), role))
        for one in open_clear(clear, slot, first)
    )


def _listing(
    claimed: ClaimedSignature, slots: tuple[Slot, ...], told: str, role: str
) -> ClaimedSignature:
    """Return a claim with what the list says; refused in a member of another role."""
    findings = list(claimed.findings)
    if told != role:
        findings.append(Finding(
            code=Code.ATTRIBUTE_RULE, effect=Effect.REJECT, subject=f"signature {claimed.label}",
            found=f"role {told[:40]!r}", required=f"{role}, as its member's name", clause=_CLAUSE,
        ))  # fmt: skip
    rests_on = frozenset({"sha1", claimed.algorithm.digest})
    return replace(claimed, slots=slots, findings=tuple(findings), rests_on=rests_on)


def _slots(value: str) -> Iterator[Slot]:
    """Yield two slots for each listed member; the weaker digest's comes second."""
    entries = [_ENTRY.match(line.strip(" \t")) for line in value.split("\n") if line]
    if len(entries) > MAX_LISTED:
        raise LimitError(_WHAT, f"{len(entries)} members", f"at most {MAX_LISTED}")
    for entry in entries:
        if entry is None:
            raise MalformedError(_WHAT, "another line", "MD5, SHA-1, size and name", _CLAUSE)
        yield Slot(name=entry[4], algorithm="sha1", digest=bytes.fromhex(entry[2]))
        yield Slot(name=entry[4], algorithm="md5", digest=bytes.fromhex(entry[1]))
