"""What is wrong with something that is to be issued."""

from __future__ import annotations

from collections.abc import Sequence

from signward.errors import LintError
from signward.frozen import Frozen


class Fault(Frozen, frozen=True, kw_only=True):
    """One broken rule.  ``grave`` ones stop the issuance, the others are told."""

    subject: str
    found: str
    required: str
    clause: str
    grave: bool = True

    def __str__(self) -> str:
        return f"{self.subject}: found {self.found}, required {self.required} ({self.clause})"


def refuse_grave(faults: Sequence[Fault]) -> tuple[str, ...]:
    """Raise ``LintError`` that names every grave fault; else return the others as sentences."""
    grave = [fault for fault in faults if fault.grave]
    if grave:
        first, *others = grave
        also = "; ".join(map(str, others))
        raise LintError(
            first.subject, first.found, first.required, first.clause,
            hint=f"nothing was signed; also {also}" if others else "nothing was signed",
        )  # fmt: skip
    return tuple(map(str, faults))
