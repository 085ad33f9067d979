"""Certification paths: building, and validation at an instant (RFC 5280 6.1).

``find_path`` builds every chain in reach, judges what does not depend on time once
(structure, basic constraints, usage, names, policies, algorithms) and keeps that;
dates are judged on each call.  Where several paths exist the first without an
objection wins, else the one that fails least.  Revocation is ``trust.revocation``'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from signward.findings import GRAVITY, Code, Effect, Finding, worst
from signward.frozen import Frozen
from signward.trust.anchors import TrustAnchor, TrustStore
from signward.trust.building import Chain, Chains, build
from signward.trust.constraints import check_names
from signward.trust.policies import check_policies
from signward.trust.rules import (
    ANY_EKU,
    ANY_POLICY,
    ANY_USAGE,
    AT_LEGACY,
    CODE_SIGNING,
    DEFAULT_RULES,
    OCSP_SIGNING,
    STRICT,
    STRICT_TIME_STAMPING,
    TIME_STAMPING,
    AlgorithmPolicy,
    PathRules,
    Usage,
)
from signward.trust.x509 import (
    BASIC_CONSTRAINTS,
    CERTIFICATE_POLICIES,
    CRL_DISTRIBUTION,
    EXTENDED_KEY_USAGE,
    INHIBIT_ANY_POLICY,
    KEY_USAGE,
    NAME_CONSTRAINTS,
    POLICY_CONSTRAINTS,
    POLICY_MAPPINGS,
    SUBJECT_ALT_NAME,
    Certificate,
    is_signed_by,
)
from signward.wire.repeated import CERTIFICATE_OCTETS

__all__ = [
    "ANY_POLICY",
    "ANY_USAGE",
    "AT_LEGACY",
    "CODE_SIGNING",
    "DEFAULT_RULES",
    "OCSP_SIGNING",
    "STRICT",
    "STRICT_TIME_STAMPING",
    "TIME_STAMPING",
    "AlgorithmPolicy",
    "PathResult",
    "PathRules",
    "Usage",
    "find_path",
]

CACHED_SEARCHES, SEARCH_OCTETS = 1024, 4 * CERTIFICATE_OCTETS
"""Searches remembered, and the octets of certificates in one at most: files have 6 to 15 kB."""

_PROCESSED = frozenset(
    {
        KEY_USAGE,
        SUBJECT_ALT_NAME,
        BASIC_CONSTRAINTS,
        NAME_CONSTRAINTS,
        CRL_DISTRIBUTION,
        CERTIFICATE_POLICIES,
        POLICY_MAPPINGS,
        POLICY_CONSTRAINTS,
        EXTENDED_KEY_USAGE,
        INHIBIT_ANY_POLICY,
        "2.5.29.14",  # both key identifiers: criticality is a problem of its own
        "2.5.29.35",
        "1.3.6.1.5.5.7.1.1",
    }
)
"""Extensions read somewhere on the way to a verdict; any other critical one rejects."""


class PathResult(Frozen, frozen=True, kw_only=True):
    """The best path found (leaf first, anchor last) and what speaks against it.

    ``anchor`` is None where no anchor was reached; ``path`` is then as far as it
    went.  Trusted exactly when no finding has effect REJECT or UNKNOWN.
    """

    path: tuple[Certificate, ...]
    anchor: TrustAnchor | None
    findings: tuple[Finding, ...]

    @property
    def trusted(self) -> bool:
        """Whether the path reaches an anchor and nothing rejects it or leaves it open."""
        return GRAVITY[worst(self.findings)] < GRAVITY[Effect.UNKNOWN]


def find_path(
    leaf: Certificate,
    pool: Sequence[Certificate],
    store: TrustStore,
    at: datetime,
    usage: Usage,
    algorithms: AlgorithmPolicy,
    rules: PathRules = DEFAULT_RULES,
) -> PathResult:
    """Return the best path from ``leaf`` through ``pool`` to an anchor of ``store``.

    ``at`` is the aware UTC instant every certificate must be valid at.  A leaf that
    is itself an anchor is a path of one.  Never raises for what certificates hold.
    """
    octets = sum(len(certificate.der) for certificate in pool) + len(leaf.der)
    search = _known if octets <= SEARCH_OCTETS else _judge
    judged = search(leaf, tuple(pool), _ByDigest(store), usage, algorithms, rules)
    best: PathResult | None = None
    for result in judged:
        timely = _at(result, at, usage, rules)
        if timely.trusted:
            return timely
        if best is None or _badness(timely) < _badness(best):
            best = timely
    assert best is not None  # noqa: S101 - there is always at least the partial chain
    return best


class _ByDigest:
    """A store as a cache key: equal content, equal key."""

    __slots__ = ("digest", "store")

    def __init__(self, store: TrustStore) -> None:
        self.store, self.digest = store, store.digest

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByDigest) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


def _judge(
    leaf: Certificate,
    pool: tuple[Certificate, ...],
    key: _ByDigest,
    usage: Usage,
    algorithms: AlgorithmPolicy,
    rules: PathRules,
) -> tuple[PathResult, ...]:
    """Return every chain with the findings that hold at any time."""
    chains = build(leaf, pool, key.store)
    if not chains.complete:
        return (_unfinished(chains, key.store, algorithms),)
    return tuple(_judge_chain(chain, usage, algorithms, rules) for chain in chains.complete)


_known = lru_cache(maxsize=CACHED_SEARCHES)(_judge)


def _badness(result: PathResult) -> tuple[int, int]:
    rejecting = sum(f.effect is Effect.REJECT for f in result.findings)
    return GRAVITY[worst(result.findings)], rejecting


def _finding(
    code: Code,
    certificate: Certificate,
    found: str,
    required: str,
    clause: str,
    effect: Effect = Effect.REJECT,
    hint: str = "",
) -> Finding:
    return Finding(
        code=code,
        effect=effect,
        subject=certificate.label,
        found=found,
        required=required,
        clause=clause,
        hint=hint,
    )


# What depends on time.


def _at(result: PathResult, at: datetime, usage: Usage, rules: PathRules) -> PathResult:
    """Return ``result`` with what the instant ``at`` adds."""
    if result.anchor is None:
        return result
    added = _check_validity(result.path, at) if rules.judge_validity else []
    added += result.anchor.objections(usage.eku, result.path[0].not_before, at)
    if not added:
        return result
    findings = (*result.findings, *added)
    return PathResult(path=result.path, anchor=result.anchor, findings=findings)


def _check_validity(path: tuple[Certificate, ...], at: datetime) -> list[Finding]:
    """Hold every certificate's dates against ``at``; both ends are inside (4.1.2.5).

    Certificates count in whole seconds, so the last second lasts until it is over.
    """
    findings = []
    second = at.replace(microsecond=0) if at.microsecond else at
    for certificate in path:
        if certificate.not_before > at:
            code, found = (
                Code.NOT_YET_VALID,
                f"valid from {certificate.not_before:%Y-%m-%d %H:%M:%S}Z",
            )
        elif certificate.not_after < second:
            code, found = Code.EXPIRED, f"valid until {certificate.not_after:%Y-%m-%d %H:%M:%S}Z"
        else:
            continue
        required = f"valid at {at:%Y-%m-%d %H:%M:%S}Z"
        findings.append(_finding(code, certificate, found, required, "RFC 5280 6.1.3 a 2"))
    return findings


# What does not.


def _judge_chain(
    chain: Chain, usage: Usage, algorithms: AlgorithmPolicy, rules: PathRules
) -> PathResult:
    path = chain.path
    findings = [
        *_check_critical(path, rules),
        *_check_authorities(path, rules),
        *_check_leaf_usage(path, usage),
        *_check_usage_down(path, usage),
        *check_names(path),
        *check_policies(path, rules),
        *_check_algorithms(path, algorithms),
        *_check_problems(path),  # last: a named rule says more than "malformed"
    ]
    return PathResult(path=path, anchor=chain.anchor, findings=tuple(findings))


def _check_problems(path: tuple[Certificate, ...]) -> list[Finding]:
    """Collect broken structure; a leaf trusted by itself is only warned about.

    Whoever put a certificate into a store knows it; but a curve given by parameters
    makes even that statement meaningless.
    """
    findings = [problem for certificate in path for problem in certificate.problems]
    if len(path) > 1:
        return findings
    return [
        f.with_effect(Effect.WARN)
        if f.effect is Effect.REJECT and f.code is not Code.EXPLICIT_CURVE
        else f
        for f in findings
    ]


def _check_critical(path: tuple[Certificate, ...], rules: PathRules) -> list[Finding]:
    return [
        _finding(
            Code.CRITICAL_EXTENSION, certificate, f"critical extension {oid}",
            "one that is understood", "RFC 5280 4.2",
        )
        for certificate in path
        for oid, (critical, _) in certificate.extensions.items()
        if critical and oid not in _PROCESSED and oid not in rules.known_critical
    ]  # fmt: skip


def _check_authorities(path: tuple[Certificate, ...], rules: PathRules) -> list[Finding]:
    """Check that every issuer may issue, and how far down (RFC 5280 6.1.4 k to n)."""
    findings = []
    below = 0
    for position, certificate in enumerate(path[1:], 1):
        is_anchor = position == len(path) - 1
        findings += _check_authority(certificate, is_anchor=is_anchor)
        if certificate.path_length is not None and below > certificate.path_length:
            findings.append(
                _finding(
                    Code.PATH_LENGTH, certificate, f"{below} CA certificates below",
                    f"at most {certificate.path_length}", "RFC 5280 4.2.1.9",
                )
            )  # fmt: skip
        below += not certificate.self_issued and not is_anchor
    if rules.max_intermediates is not None and below > rules.max_intermediates:
        findings.append(
            _finding(
                Code.PATH_LENGTH, path[0], f"{below} intermediates",
                f"at most {rules.max_intermediates}", "RFC 5280 6.1.4 l",
            )
        )  # fmt: skip
    return findings


def _check_authority(certificate: Certificate, *, is_anchor: bool) -> list[Finding]:
    """Check one issuer.

    An anchor may lack basic constraints, as roots of the 1990s do: what makes it an
    authority is the store (RFC 5280 6.1.1 d).
    """
    findings = []
    if certificate.is_ca is False or (certificate.is_ca is None and not is_anchor):
        found = "no cA flag" if certificate.is_ca is False else "no basic constraints"
        findings.append(
            _finding(
                Code.BASIC_CONSTRAINTS, certificate, found, "cA TRUE in an issuer",
                "RFC 5280 6.1.4 k",
            )
        )  # fmt: skip
    usage = certificate.key_usage
    if usage is not None and "keyCertSign" not in usage:
        findings.append(
            _finding(
                Code.WRONG_USAGE, certificate, f"key usage {_listed(usage)}",
                "keyCertSign in an issuer", "RFC 5280 6.1.4 n",
            )
        )  # fmt: skip
    return findings


def _check_leaf_usage(path: tuple[Certificate, ...], usage: Usage) -> list[Finding]:
    """Check what the leaf is for (RFC 5280 4.2.1.3, 4.2.1.12; RFC 3161 2.3)."""
    leaf = path[0]
    findings = _check_leaf_ekus(leaf, usage)
    if usage.key_usage and leaf.key_usage is not None and not leaf.key_usage & usage.key_usage:
        found, required = f"key usage {_listed(leaf.key_usage)}", _listed(usage.key_usage, " or ")
        findings.append(_finding(Code.WRONG_USAGE, leaf, found, required, "RFC 5280 4.2.1.3"))
    if leaf.is_ca and not usage.ca_leaf_allowed and len(path) > 1:
        findings.append(
            _finding(
                Code.WRONG_USAGE, leaf, "a CA certificate",
                f"an end certificate for {usage.name}", "RFC 5280 4.2.1.9",
            )
        )  # fmt: skip
    return findings


def _check_leaf_ekus(leaf: Certificate, usage: Usage) -> list[Finding]:
    if usage.eku is None:
        return []
    clause = "RFC 5280 4.2.1.12"
    if leaf.ekus is None:
        if not usage.eku_required:
            return []
        return [_finding(Code.WRONG_USAGE, leaf, "no extended key usage", usage.eku, clause)]
    findings = []
    if not usage.ekus & leaf.ekus:
        found = f"extended key usage {_listed(leaf.ekus)}"
        findings.append(_finding(Code.WRONG_USAGE, leaf, found, usage.eku, clause))
    elif usage.eku_sole and len(leaf.ekus) > 1:
        found = f"extended key usage {_listed(leaf.ekus)}"
        findings.append(
            _finding(Code.WRONG_USAGE, leaf, found, f"{usage.eku} alone", "RFC 3161 2.3")
        )
    critical = leaf.extensions[EXTENDED_KEY_USAGE][0]
    if usage.not_critical is not None and not critical:
        findings.append(
            _finding(
                Code.WRONG_USAGE, leaf, "extended key usage not critical", "critical",
                "RFC 3161 2.3", usage.not_critical,
            )
        )  # fmt: skip
    return findings


def _check_usage_down(path: tuple[Certificate, ...], usage: Usage) -> list[Finding]:
    """Check that each issuer that lists usages lists this one, as Windows does."""
    if usage.eku is None:
        return []
    return [
        _finding(
            Code.WRONG_USAGE, issuer, f"extended key usage {_listed(issuer.ekus)}",
            f"{usage.eku} all the way down", "RFC 5280 4.2.1.12",
        )
        for issuer in path[1:]
        if issuer.ekus is not None and not issuer.ekus & {*usage.ekus, ANY_EKU}
    ]  # fmt: skip


def _check_algorithms(path: tuple[Certificate, ...], algorithms: AlgorithmPolicy) -> list[Finding]:
    """Judge every key, and every signature but the anchor's own."""
    signed = (algorithms.judge_signature(c.label, c.signature_algorithm) for c in path[:-1])
    keys = (algorithms.judge_key(certificate) for certificate in path)
    return [finding for finding in (*signed, *keys) if finding]


def _listed(names: frozenset[str] | None, separator: str = ", ") -> str:
    return separator.join(sorted(names or ())) or "none"


# Chains that reach no anchor.


def _unfinished(chains: Chains, store: TrustStore, algorithms: AlgorithmPolicy) -> PathResult:
    """Explain why no anchor was reached: the likeliest cause first."""
    chain = chains.partial
    last = chain.path[-1]
    findings = []
    if chains.exhausted:
        findings.append(
            _finding(
                Code.LIMIT_EXCEEDED, chain.path[0], "more candidate certificates than are tried",
                "a path that can be found", "RFC 4158 2.4",
            )
        )  # fmt: skip
    suspects = [c for c in (*chain.path, *chain.near[:4]) if c.problems]
    findings += [p for c in suspects for p in c.problems if p.effect is Effect.REJECT]
    if last.self_issued and is_signed_by(last, last):
        findings.append(_untrusted_root(last, store))
    elif chain.near:
        weak = algorithms.judge_signature(last.label, last.signature_algorithm)
        findings.append(weak or _wrong_signature(last))
    else:
        findings.append(_no_issuer(last, store))
    return PathResult(path=chain.path, anchor=None, findings=tuple(dict.fromkeys(findings)))


def _untrusted_root(root: Certificate, store: TrustStore) -> Finding:
    return _finding(
        Code.UNTRUSTED_ROOT, root, "a root that is no anchor", f"an anchor of store {store.name}",
        "RFC 5280 6.1.1 d",
    )  # fmt: skip


def _wrong_signature(child: Certificate) -> Finding:
    return _finding(
        Code.CERTIFICATE_SIGNATURE, child, "a signature value that no issuer's key made",
        f"the value of {child.issuer_text}", "RFC 5280 6.1.3 a 1",
    )  # fmt: skip


def _no_issuer(child: Certificate, store: TrustStore) -> Finding:
    hint = f"its issuer may be at {child.issuer_urls[0]}" if child.issuer_urls else ""
    return _finding(
        Code.NO_PATH, child, "no certificate of its issuer",
        f"{child.issuer_text}, at hand or in store {store.name}", "RFC 5280 6.1",
        hint=hint,
    )  # fmt: skip
