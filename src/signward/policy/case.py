"""Cases: what is to be decided about one artifact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from signward.findings import Code, Effect, Finding
from signward.state import JudgedSignature, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is to be decided: one artifact, its judged signatures, and facts about it.

    ``vouched`` marks signatures of a catalog that lists an unsigned artifact.
    """

    subject: str
    format: str
    judged: tuple[JudgedSignature, ...]
    findings: tuple[Finding, ...]
    at: datetime
    vouched: bool = False
    digests: Mapping[str, bytes] = field(default_factory=dict)
    facts: Mapping[str, str | int] = field(default_factory=dict)

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
