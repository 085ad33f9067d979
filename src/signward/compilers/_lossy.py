"""The ledger of a compilation: what a target could not say, and what it was never asked.

A compiler asks `in_turn` for the rules it must express, `lose`s those it cannot, and hands the
ledger's losses over with its files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from signward.compilers import Compiled, File, Loss, Towards, in_scope
from signward.errors import SignwardError
from signward.policy.rules.model import (
    CONDITIONS,
    Action,
    Conditions,
    Mode,
    Requirements,
    Rule,
    RuleSet,
)


class UnsayableError(SignwardError):
    """Conditions that a target has no words for; ``name`` is the loss.  Never leaves a compiler."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(why)
        self.name = name


class Ledger:
    """Collects losses and skipped rules of one compilation."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._losses: dict[tuple[str, str, Towards], Loss] = {}
        self._skipped: list[str] = []

    def in_turn(
        self, rules: RuleSet, governs: frozenset[str], kinds: frozenset[str] = frozenset()
    ) -> Iterator[Rule]:
        """Yield the rules the target governs something of; note the others as skipped."""
        for rule in rules.rules:
            if in_scope(rule, governs, kinds):
                yield rule
            else:
                self._skipped.append(rule.id)

    def lose_rule(self, name: str, rule: Rule, why: str) -> None:
        """Note that ``rule`` is left out: stricter for one that lets in, looser for a denial."""
        denied = rule.action is Action.DENY
        self.lose(name, rule.id, why, Towards.LOOSER if denied else Towards.STRICTER)

    def widen_kinds(self, rule: Rule, others: Iterable[str]) -> None:
        """Note that a rule counts for ``others`` than the kinds it names too."""
        denied = rule.action is Action.DENY
        text = f"{self._target} takes it for {', '.join(sorted(others))} too"
        self.lose("wider-kind", rule.id, text, Towards.STRICTER if denied else Towards.LOOSER)

    def lose(self, name: str, rule: str, text: str, towards: Towards) -> None:
        """Note a loss once in each direction; ``rule`` is empty for the policy as a whole."""
        self._losses.setdefault(
            (name, rule, towards), Loss(name=name, rule=rule, text=text, towards=towards)
        )

    def lose_fields(self, rule: Rule, expressed: Iterable[str]) -> bool:
        """Lose the rule for each condition outside ``expressed``; say whether any was."""
        known = {*expressed, "kind"}
        lost = [f for f in _asked(rule) if f not in known]
        for field in lost:
            self.lose_rule(field, rule, f"{self._target} knows no condition by {field}")
        return bool(lost)

    def lose_requirements(
        self, rules: RuleSet, kept: Iterable[Rule], *, checked: frozenset[str] = frozenset()
    ) -> None:
        """Lose what is required beyond a match and is not in ``checked``, the target's own.

        Named like the fields of `Requirements`; the defaults of algorithms are every target's.
        """
        for rule in kept:
            if rule.action is Action.DENY:
                continue
            wanted = rule.requires or rules.requirements
            for field, name in _REQUIREMENTS.items():
                if field not in checked and getattr(wanted, field) != _DEFAULTS[field]:
                    text = f"{self._target} does not check {field} = {getattr(wanted, field)}"
                    self.lose(name, rule.id if rule.requires else "", text, Towards.LOOSER)

    def lose_expiry(self, rules: RuleSet) -> None:
        """Lose the end of exceptions: the target knows none, compile again before they end."""
        for waiver in rules.waivers:
            text = f"{self._target} goes on sparing it after {waiver.expires:%Y-%m-%dT%H:%M:%SZ}"
            self.lose("expiry", waiver.id, text, Towards.LOOSER)

    def lose_mode(self, rules: RuleSet) -> None:
        """Lose monitoring where the target can only enforce."""
        if rules.mode is Mode.MONITOR:
            text = f"{self._target} stops what it rejects"
            self.lose("monitor", "", text, Towards.STRICTER)

    def compiled(self, files: Iterable[File]) -> Compiled:
        """Return the files with everything noted."""
        return Compiled(
            files=tuple(files), losses=tuple(self._losses.values()), skipped=tuple(self._skipped)
        )


_REQUIREMENTS = {
    "timestamp": "requirement-timestamp",
    "revocation": "requirement-revocation",
    "minimum_digest": "requirement-algorithm",
    "minimum_rsa": "requirement-algorithm",
    "minimum_ec": "requirement-algorithm",
    "log": "requirement-log",
    "max_age_days": "requirement-age",
}
_DEFAULTS = {field: getattr(Requirements(), field) for field in _REQUIREMENTS}


def _asked(rule: Conditions) -> Iterator[str]:
    """Yield the conditions a rule has."""
    return (field for field in CONDITIONS if getattr(rule, field))
