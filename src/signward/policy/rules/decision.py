"""Decisions: what a policy says of one subject."""

from __future__ import annotations

from signward.frozen import Frozen
from signward.policy.rules.model import Action
from signward.state import Outcome


class Decision(Frozen, frozen=True, kw_only=True):
    """What a policy says.  Producer: ``policy.rules.decide``.

    ``rule`` decided (empty: none matched, and what no rule allows is rejected); ``stopped`` is
    what an enforcer does about it in the policy's mode; ``missing`` names the fields, unknown of
    the subject, that the answer hangs on: then the outcome is INDETERMINATE; ``unmet`` the
    requirements for want of which a rule that matched did not let in.  ``older`` is a rule that
    would have let in a version of at least ``floor``, where there is no more to say against it.
    """

    outcome: Outcome
    stopped: bool
    rule: str = ""
    action: Action | None = None
    missing: tuple[str, ...] = ()
    unmet: tuple[str, ...] = ()
    older: str = ""
    floor: str = ""


class RuleWord(Frozen, frozen=True, kw_only=True):
    """What one rule has to say of one subject.  Producer: ``policy.rules.decide``.

    ``failed`` are the conditions that are not met (by the names of `model.CONDITIONS`),
    ``missing`` the unknown fields that its match or its requirements hang on, ``unmet`` the
    requirements not met, ``spared`` the exception for which a deny rule does not count.
    """

    rule: str
    action: Action
    matched: bool
    decided: bool
    failed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unmet: tuple[str, ...] = ()
    spared: str = ""
