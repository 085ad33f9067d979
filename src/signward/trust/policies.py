"""Certificate policies (RFC 5280 6.1) as the graph of RFC 9618, at a bounded cost.

RFC 5280's policy *tree* can grow exponentially with the path (CVE-2023-0464); the
graph has one node per policy and depth and gives the same answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from signward.errors import BadInputError, LimitError, MalformedError
from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen
from signward.trust.rules import ANY_POLICY, PathRules
from signward.trust.x509 import (
    CERTIFICATE_POLICIES,
    INHIBIT_ANY_POLICY,
    POLICY_CONSTRAINTS,
    POLICY_MAPPINGS,
    Certificate,
    certificate_size,
    malformed_finding,
)
from signward.wire import der
from signward.wire.repeated import CERTIFICATE_OCTETS, remembering

MAX_POLICIES = 128
"""Policies, and mappings, in one certificate; real ones have at most about 20."""

_QUALIFIERS = frozenset({"1.3.6.1.5.5.7.2.1", "1.3.6.1.5.5.7.2.2"})
"""CPS pointer and user notice: the two RFC 5280 4.2.1.4 defines."""


class PolicyFacts(Frozen, frozen=True, kw_only=True):
    """What one certificate says about policies; None where an extension is absent."""

    policies: frozenset[str] | None
    mappings: tuple[tuple[str, str], ...]
    require_explicit: int | None
    inhibit_mapping: int | None
    inhibit_any: int | None


@remembering(512, CERTIFICATE_OCTETS, certificate_size)
def read_policies(certificate: Certificate) -> PolicyFacts:
    """Read the four policy extensions (RFC 5280 4.2.1.4, .5, .11, .14).

    Raises ``BadInputError``.
    """
    explicit, mapping = _read_constraints(certificate)
    return PolicyFacts(
        policies=_read_policy_oids(certificate),
        mappings=_read_mappings(certificate),
        require_explicit=explicit,
        inhibit_mapping=mapping,
        inhibit_any=_read_inhibit_any(certificate),
    )


def _read_policy_oids(certificate: Certificate) -> frozenset[str] | None:
    if CERTIFICATE_POLICIES not in certificate.extensions:
        return None
    critical, value = certificate.extensions[CERTIFICATE_POLICIES]
    nodes = der.parse(value, "certificatePolicies").fields("certificatePolicies", 1)
    _check_count(nodes)
    oids = []
    for node in nodes:
        oid, *qualifiers = node.fields("policy", 1)
        oids.append(oid.oid("policy"))
        for qualifier in qualifiers[0].fields("qualifiers") if qualifiers and critical else ():
            if qualifier.fields("qualifier", 1)[0].oid() not in _QUALIFIERS:
                raise MalformedError(
                    "certificatePolicies", "an unknown qualifier in a critical extension",
                    "one we can read", "RFC 5280 4.2.1.4",
                )  # fmt: skip
    if len(set(oids)) != len(oids):
        raise MalformedError(
            "certificatePolicies", "a policy twice", "each once", "RFC 5280 4.2.1.4"
        )
    return frozenset(oids)


def _read_mappings(certificate: Certificate) -> tuple[tuple[str, str], ...]:
    if POLICY_MAPPINGS not in certificate.extensions:
        return ()
    value = certificate.extensions[POLICY_MAPPINGS][1]
    nodes = der.parse(value, "policyMappings").fields("policyMappings", 1)
    _check_count(nodes)
    pairs = []
    for node in nodes:
        issuer, subject = node.fields("policy mapping", 2)[:2]
        pairs.append((issuer.oid(), subject.oid()))
    return tuple(pairs)


def _read_constraints(certificate: Certificate) -> tuple[int | None, int | None]:
    if POLICY_CONSTRAINTS not in certificate.extensions:
        return None, None
    value = certificate.extensions[POLICY_CONSTRAINTS][1]
    found: dict[int, int] = {}
    for node in der.parse(value, "policyConstraints").fields("policyConstraints", 1):
        if node.tag not in (0x80, 0x81) or node.tag in found:
            raise MalformedError(
                "policyConstraints", f"field {node.tag:#04x}", "[0], [1]", "RFC 5280 4.2.1.11"
            )
        found[node.tag] = _skip(node.implicit(der.INTEGER))
    return found.get(0x80), found.get(0x81)


def _read_inhibit_any(certificate: Certificate) -> int | None:
    if INHIBIT_ANY_POLICY not in certificate.extensions:
        return None
    return _skip(der.parse(certificate.extensions[INHIBIT_ANY_POLICY][1], "inhibitAnyPolicy"))


def _skip(node: der.Node) -> int:
    skip = node.expect(der.INTEGER, "SkipCerts").integer("SkipCerts")
    if skip < 0:
        raise MalformedError("SkipCerts", f"{skip}", "0 or more", "RFC 5280 4.2.1.11")
    return skip


def _check_count(nodes: list[der.Node]) -> None:
    if len(nodes) > MAX_POLICIES:
        raise LimitError("policies", f"{len(nodes)} entries", f"at most {MAX_POLICIES}")


class _Node:
    """A policy at one depth: what it stands for below, and whom it came from."""

    __slots__ = ("expected", "parents")

    def __init__(self, expected: set[str], parents: Iterable[str] = ()) -> None:
        self.expected, self.parents = expected, set(parents)


_Level = dict[str, _Node]


class _Graph:
    """The valid_policy_graph: one level per certificate, level 0 above the first."""

    def __init__(self) -> None:
        self.levels: list[_Level] = [{ANY_POLICY: _Node({ANY_POLICY})}]

    def descend(self, policies: frozenset[str], *, any_allowed: bool) -> None:
        """Add the level of a certificate asserting ``policies`` (RFC 9618 5.3 d)."""
        above = self.levels[-1]
        expecting: dict[str, set[str]] = {}
        for policy, node in above.items():
            for expected in node.expected:
                expecting.setdefault(expected, set()).add(policy)
        level: _Level = {}
        for policy in policies - {ANY_POLICY}:
            parents = expecting.get(policy) or ({ANY_POLICY} if ANY_POLICY in above else set())
            if parents:
                level[policy] = _Node({policy}, parents)
        if ANY_POLICY in policies and any_allowed:
            for policy, parents in expecting.items():
                level.setdefault(policy, _Node({policy})).parents |= parents
        self.levels.append(level)
        self.prune()

    def map(self, mappings: tuple[tuple[str, str], ...]) -> None:
        """Let each issuer policy stand for its subject policies (RFC 9618 5.4 b 1)."""
        targets: dict[str, set[str]] = {}
        for issuer, subject in mappings:
            targets.setdefault(issuer, set()).add(subject)
        level = self.levels[-1]
        for issuer, subjects in targets.items():
            if issuer in level:
                level[issuer].expected = subjects
            elif ANY_POLICY in level:
                level[issuer] = _Node(subjects, {ANY_POLICY})

    def unmap(self, mappings: tuple[tuple[str, str], ...]) -> None:
        """Drop policies whose mapping is inhibited (RFC 9618 5.4 b 2)."""
        for issuer, _ in mappings:
            self.levels[-1].pop(issuer, None)
        self.prune()

    def prune(self) -> None:
        """Drop nodes above the last level that have no child left."""
        for above, below in zip(self.levels[-2::-1], self.levels[:0:-1], strict=True):
            needed = {parent for node in below.values() for parent in node.parents}
            for policy in above.keys() - needed:
                del above[policy]

    def empty(self) -> bool:
        """Return whether nothing is left."""
        return not self.levels[-1]

    def allows(self, wanted: frozenset[str]) -> bool:
        """Return whether any of the ``wanted`` policies survived (RFC 9618 5.5 g)."""
        if ANY_POLICY in wanted or ANY_POLICY in self.levels[-1]:
            return not self.empty()
        return any(
            ANY_POLICY in node.parents and policy in wanted
            for level in self.levels[1:]
            for policy, node in level.items()
        )


class _State:
    """The state variables of RFC 5280 6.1.2 that concern policies."""

    def __init__(self, rules: PathRules, length: int) -> None:
        never = length + 1
        self.graph: _Graph | None = _Graph()
        self.explicit = 0 if rules.require_explicit_policy else never
        self.mapping = 0 if rules.inhibit_policy_mapping else never
        self.inhibit_any = 0 if rules.inhibit_any_policy else never

    def process(self, certificate: Certificate, facts: PolicyFacts, *, last: bool) -> None:
        """Do the basic processing (RFC 5280 6.1.3 d, e)."""
        if facts.policies is None:
            self.graph = None
        elif self.graph is not None:
            exempt = not last and certificate.self_issued
            self.graph.descend(facts.policies, any_allowed=self.inhibit_any > 0 or exempt)
            if self.graph.empty():
                self.graph = None

    def prepare(self, certificate: Certificate, facts: PolicyFacts) -> None:
        """Prepare for the next certificate (RFC 5280 6.1.4 b, h, i, j)."""
        if facts.mappings and self.graph is not None:
            if self.mapping > 0:
                self.graph.map(facts.mappings)
            else:
                self.graph.unmap(facts.mappings)
                if self.graph.empty():
                    self.graph = None
        if not certificate.self_issued:
            self.explicit = max(0, self.explicit - 1)
            self.mapping = max(0, self.mapping - 1)
            self.inhibit_any = max(0, self.inhibit_any - 1)
        self.explicit = min(self.explicit, _or(facts.require_explicit, self.explicit))
        self.mapping = min(self.mapping, _or(facts.inhibit_mapping, self.mapping))
        self.inhibit_any = min(self.inhibit_any, _or(facts.inhibit_any, self.inhibit_any))

    def wrap_up(self, facts: PolicyFacts, wanted: frozenset[str]) -> bool:
        """Wrap up at the leaf (RFC 5280 6.1.5 a, b, g); return whether policies hold."""
        explicit = 0 if facts.require_explicit == 0 else max(0, self.explicit - 1)
        return explicit > 0 or (self.graph is not None and self.graph.allows(wanted))


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def check_policies(path: Sequence[Certificate], rules: PathRules) -> list[Finding]:
    """Return what is wrong with policies along ``path`` (leaf first, anchor last)."""
    state = _State(rules, len(path) - 1)
    for position in range(len(path) - 2, -1, -1):
        certificate = path[position]
        try:
            facts = read_policies(certificate)
        except BadInputError as error:
            return [malformed_finding(certificate, error)]
        if ANY_POLICY in {policy for pair in facts.mappings for policy in pair}:
            return [_finding(certificate, "anyPolicy in a mapping", "none", "RFC 5280 6.1.4 a")]
        state.process(certificate, facts, last=position == 0)
        if state.explicit == 0 and state.graph is None:
            return [_unsupported(certificate)]
        if position:
            state.prepare(certificate, facts)
        elif not state.wrap_up(facts, rules.initial_policies):
            return [_unsupported(certificate)]
    return []


def _unsupported(certificate: Certificate) -> Finding:
    found = "no policy that holds along the path"
    return _finding(certificate, found, "one, since a policy is required", "RFC 5280 6.1.5 g")


def _finding(certificate: Certificate, found: str, required: str, clause: str) -> Finding:
    return Finding(
        code=Code.CERTIFICATE_POLICY,
        effect=Effect.REJECT,
        subject=certificate.label,
        found=found,
        required=required,
        clause=clause,
    )
