"""Verdicts as rules leave them: what the signatures are worth, then what the rules say of it.

Rules may let in what its signatures would not (a digest names the very file), and then the
facts that speak against it stay as warnings; they may stop what is signed by the best.  What the
signatures alone were worth stands in ``Verdict.unruled``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from signward.findings import GRAVITY, Code, Effect, Finding
from signward.frozen import replace
from signward.policy.rules.decide import FINAL
from signward.policy.rules.decision import Decision
from signward.policy.rules.index import Index
from signward.policy.rules.model import Action, Mode
from signward.state import Outcome, Unruled, Verdict

_MOST = {
    Outcome.ACCEPTED: Effect.WARN,
    Outcome.INDETERMINATE: Effect.UNKNOWN,
    Outcome.REJECTED: Effect.REJECT,
}
"""The gravest effect a finding may have beside an outcome."""


def ruled(verdict: Verdict, decision: Decision, index: Index) -> Verdict:
    """Return the verdict as the rules decide it."""
    unruled = Unruled(outcome=verdict.outcome, cause=verdict.cause)
    rule = f"{index.name} {index.version}"
    if verdict.cause in FINAL:
        return replace(verdict, unruled=unruled)
    said = tuple(_said(verdict, decision, index))
    return replace(
        verdict,
        outcome=decision.outcome,
        cause=_cause(verdict, decision, said),
        rule=f"{rule}: {decision.rule}" if decision.rule else rule,
        findings=(*said, *_at_most(verdict.findings, _MOST[decision.outcome])),
        unruled=unruled,
    )


def with_digests(verdict: Verdict, digests: Mapping[str, bytes]) -> Verdict:
    """Return the verdict with further digests of its file."""
    return replace(verdict, digests={**verdict.digests, **digests}) if digests else verdict


def _at_most(findings: Iterable[Finding], most: Effect) -> Iterator[Finding]:
    for finding in findings:
        graver = GRAVITY[finding.effect] > GRAVITY[most]
        yield finding.with_effect(Effect.WARN) if graver else finding


def _cause(verdict: Verdict, decision: Decision, said: tuple[Finding, ...]) -> Code | None:
    """Return the signatures' own cause where no rule stepped in, else the rules'."""
    if decision.outcome is Outcome.ACCEPTED:
        return None
    if decision.action is not Action.DENY and verdict.outcome is decision.outcome:
        return verdict.cause
    return said[0].code


def _said(verdict: Verdict, decision: Decision, index: Index) -> Iterator[Finding]:
    """Yield what the rules add: nothing where they let in what is signed."""
    mode = ", which stops nothing: it monitors" if index.mode is Mode.MONITOR else ""
    subject = f"policy {index.name} {index.version}{mode}"
    if decision.outcome is Outcome.INDETERMINATE:
        found = f"{decision.rule} may match, unknown is: {', '.join(decision.missing)}"
        yield _finding(Code.POLICY_UNDECIDED, Effect.UNKNOWN, subject, found, "known facts")
    elif decision.outcome is Outcome.ACCEPTED:
        if verdict.outcome is not Outcome.ACCEPTED or decision.action is Action.AUDIT:
            yield _finding(Code.BY_POLICY, Effect.WARN, subject,
                           f"{decision.action} by {decision.rule}",
                           "a trusted signature, and an allow rule for it")  # fmt: skip
    elif decision.action is Action.DENY:
        yield _finding(Code.POLICY_DENIED, Effect.REJECT, subject, f"denied by {decision.rule}",
                       "no deny rule that matches")  # fmt: skip
    elif decision.unmet:
        unmet = ", ".join(decision.unmet)
        yield _finding(Code.REQUIREMENT_UNMET, Effect.REJECT, subject,
                       f"{decision.rule}, whose requirements are not met: {unmet}",
                       "a signature that meets them")  # fmt: skip
    elif decision.older:
        yield _finding(Code.DOWNGRADE, Effect.REJECT, subject,
                       f"a version below the floor of {decision.older}",
                       f"{decision.floor} or newer")  # fmt: skip
    else:
        yield _finding(Code.NO_RULE, Effect.REJECT, subject, "no rule that lets it in", "one")


def _finding(code: Code, effect: Effect, subject: str, found: str, required: str) -> Finding:
    return Finding(
        code=code,
        effect=effect,
        subject=subject,
        found=found,
        required=required,
        clause="policy",
        hint="signward policy explain --policy POLICY FILE",
    )
