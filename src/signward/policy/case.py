"""Cases: what is to be decided about one artifact."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen, replace
from signward.state import JudgedSignature, Stage

BY_CATALOG, BY_PACKAGE = "by-catalog", "by-package"
"""The ways in which somebody else's signed list vouches for a file."""

LISTED_BY = "listed-by"
"""The fact of a verdict that rests on a vendor's digest list: its path.  The file is not signed."""


class Case(Frozen, frozen=True, kw_only=True):
    """What is to be decided: one artifact, its judged signatures, and facts about it.

    ``vouched`` says that the signatures are of a list that names the artifact, and which way it
    was found (``BY_CATALOG``, ``BY_PACKAGE``: the verdict's rule); empty for its own.  ``every``
    says that each signature is over code of its own.
    """

    subject: str
    format: str
    judged: tuple[JudgedSignature, ...]
    findings: tuple[Finding, ...]
    at: datetime
    vouched: str = ""
    every: bool = False
    digests: Mapping[str, bytes] = msgspec.field(default_factory=dict)
    facts: Mapping[str, str | int] = msgspec.field(default_factory=dict)

    def at_stage(self, stage: Stage) -> Case:
        """Return the case as ``stage`` sees it.

        Which of several signature entries a loader takes is no question of integrity.
        """
        if stage is not Stage.INTACT or not self.findings:
            return self
        return replace(
            self,
            findings=tuple(
                f.with_effect(Effect.WARN) if f.code is Code.SEVERAL_ENTRIES else f
                for f in self.findings
            ),
        )
