"""Deriving: a first policy from what is on a machine that is as it should be.

The empty policy is simulated there, and its proposals are the policy: publishers where somebody
trusted signed, products where a publisher would let in more than was seen, digests for the rest.
"""

from __future__ import annotations

from signward.policy.rules.model import MAX_RULES, Document, Mode, RuleSet
from signward.policy.rules.reading import merge
from signward.policy.rules.simulated import Simulation

MOST = MAX_RULES // 2
"""Rules of a policy that is derived: as many again may be written by hand."""


def empty_policy(name: str) -> RuleSet:
    """Return the policy that lets nothing in.  Raises ``PolicyError`` for a bad name."""
    return merge([Document(schema=1, name=name, version=1)], _no_key)


def _no_key(policy: str, file: str) -> bytes:
    raise AssertionError(f"{policy} names no key, yet {file} is asked for")


def derived(simulation: Simulation, mode: Mode = Mode.MONITOR) -> Document:
    """Return the policy that a simulation of the empty one proposes; it begins by monitoring."""
    return Document(
        schema=1,
        name=simulation.policy,
        version=1,
        mode=mode,
        note=_note(simulation),
        rule=tuple(proposal.rule for proposal in simulation.proposals),
    )


def supplement(simulation: Simulation, name: str) -> Document:
    """Return the proposals as a supplement of the policy that was simulated."""
    return Document(
        schema=1,
        name=name,
        version=1,
        supplements=simulation.policy,
        note=_note(simulation),
        rule=tuple(proposal.rule for proposal in simulation.proposals),
    )


def _note(simulation: Simulation) -> str:
    seen, needed = simulation.seen, simulation.needed
    hosts = "one host" if seen.hosts == 1 else f"{seen.hosts:,} hosts"
    note = (
        f"Proposed {simulation.at:%Y-%m-%d} from {seen.files:,} files on {hosts}: lets in "
        f"{needed.files - simulation.uncovered:,} of the {needed.files:,} that need a rule. "
        "Read every rule before it is used."
    )
    if simulation.suspect.files:
        note += f" Left out: {simulation.suspect.files:,} whose own signature speaks against them."
    return note
