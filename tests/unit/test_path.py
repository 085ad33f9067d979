from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from signward.findings import Code, Effect
from signward.frozen import replace
from signward.trust import building
from signward.trust import path as path_module
from signward.trust.anchors import TrustAnchor, TrustStore
from signward.trust.building import MAX_PATH_CERTIFICATES
from signward.trust.path import (
    ANY_USAGE,
    AT_LEGACY,
    CODE_SIGNING,
    STRICT,
    STRICT_TIME_STAMPING,
    TIME_STAMPING,
    AlgorithmPolicy,
    PathResult,
    PathRules,
    Usage,
    find_path,
)
from signward.trust.x509 import Certificate
from signward.wire import der
from tests.builders import pki
from tests.builders.pki import CA, END, MIDDLE, SIGNER, START, Plan, issue, root

TSA = (pki.key_usage("digitalSignature"), pki.ekus("1.3.6.1.5.5.7.3.8", critical=True))
ROOT = root().load()
ISSUING = issue("Issuing", "Root", *CA)
LEAF = issue("Signer", "Issuing", *SIGNER)


def store_of(*certificates: Certificate, **limits: object) -> TrustStore:
    anchors = [
        TrustAnchor(certificate=c, name=c.common_name, store="test", **limits)  # type: ignore[arg-type]
        for c in certificates
    ]
    return TrustStore("test", anchors)


STORE = store_of(ROOT)


def judge(
    *plans: Plan,
    store: TrustStore = STORE,
    at: datetime = MIDDLE,
    usage: Usage = CODE_SIGNING,
    algorithms: AlgorithmPolicy = STRICT,
    rules: PathRules = path_module.DEFAULT_RULES,
) -> PathResult:
    """Judge the first plan with the others as pool."""
    leaf, *pool = [plan.load() for plan in plans]
    return find_path(leaf, pool, store, at, usage, algorithms, rules)


def codes(result: PathResult) -> list[Code]:
    """Return what rejects."""
    return [f.code for f in result.findings if f.effect is Effect.REJECT]


def names(certificates: Sequence[Certificate]) -> list[str]:
    return [c.common_name for c in certificates]


def test_a_plain_path() -> None:
    result = judge(LEAF, ISSUING)
    assert result.trusted
    assert result.findings == ()
    assert names(result.path) == ["Signer", "Issuing", "Root"]
    assert result.anchor is not None
    assert result.anchor.certificate == ROOT


def test_a_leaf_that_is_an_anchor_is_a_path_of_one() -> None:
    alone = issue("Alone", "Alone", *CA, *SIGNER[1:]).load()
    result = find_path(alone, [], store_of(alone), MIDDLE, CODE_SIGNING, STRICT)
    assert names(result.path) == ["Alone"]
    assert codes(result) == [Code.WRONG_USAGE]  # it limits itself to keyCertSign
    good = issue("Alone", "Alone", *SIGNER).load()
    assert find_path(good, [], store_of(good), MIDDLE, CODE_SIGNING, STRICT).trusted
    assert codes(find_path(good, [], store_of(good), END + timedelta(1), CODE_SIGNING, STRICT)) == [
        Code.EXPIRED
    ]


def test_broken_structure_of_a_leaf_that_is_an_anchor_only_warns() -> None:
    odd = issue("Odd", "Odd", *SIGNER, SIGNER[0]).load()
    result = find_path(odd, [], store_of(odd), MIDDLE, CODE_SIGNING, STRICT)
    assert result.trusted
    assert [f.effect for f in result.findings] == [Effect.WARN]


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (START, []),
        (START - timedelta(microseconds=1), [Code.NOT_YET_VALID] * 3),
        (END, []),
        (END + timedelta(microseconds=999_999), []),
        (END + timedelta(seconds=1), [Code.EXPIRED] * 3),
    ],
)
def test_both_ends_of_the_validity_are_inside(at: datetime, expected: list[Code]) -> None:
    assert codes(judge(LEAF, ISSUING, at=at)) == expected


def test_profiles_without_dates() -> None:
    rules = PathRules(judge_validity=False)
    assert judge(LEAF, ISSUING, at=END + timedelta(999), rules=rules).trusted


FOREIGN = issue("Root", "Root", *CA).but(key=pki.key("other"), issuer_key=pki.key("other"))
STRANGER = issue("Signer", "Stranger", *SIGNER)
UNSIGNED = LEAF.but(issuer_key=pki.key("thief"))
BROKEN = {
    "no certificate of the issuer": ([LEAF], Code.NO_PATH),
    "a root that is no anchor": ([STRANGER, root("Stranger")], Code.UNTRUSTED_ROOT),
    "another key of the issuer's name": ([UNSIGNED, ISSUING], Code.CERTIFICATE_SIGNATURE),
    "an issuer that is no CA": (
        [LEAF, issue("Issuing", "Root", pki.basic_constraints(ca=False))],
        Code.BASIC_CONSTRAINTS,
    ),
    "an issuer without basic constraints": (
        [LEAF, issue("Issuing", "Root", CA[1])],
        Code.BASIC_CONSTRAINTS,
    ),
    "an issuer of version 1": (
        [LEAF, issue("Issuing", "Root").but(version=1)],
        Code.BASIC_CONSTRAINTS,
    ),
    "an issuer that may sign CRLs only": (
        [LEAF, issue("Issuing", "Root", CA[0], pki.key_usage("cRLSign"))],
        Code.WRONG_USAGE,
    ),
    "an unknown critical extension": (
        [LEAF, ISSUING.but(extensions=(*CA, ("1.2.3.4", True, b"")))],
        Code.CRITICAL_EXTENSION,
    ),
    "no extended key usage": ([issue("Signer", "Issuing", SIGNER[0]), ISSUING], Code.WRONG_USAGE),
    "any extended key usage only": (
        [issue("Signer", "Issuing", pki.ekus("2.5.29.37.0")), ISSUING],
        Code.WRONG_USAGE,
    ),
    "a leaf for TLS": (
        [issue("Signer", "Issuing", pki.ekus("1.3.6.1.5.5.7.3.1")), ISSUING],
        Code.WRONG_USAGE,
    ),
    "a leaf that only enciphers": (
        [issue("Signer", "Issuing", SIGNER[1], pki.key_usage("keyEncipherment")), ISSUING],
        Code.WRONG_USAGE,
    ),
    "a CA as leaf": (
        [issue("Signer", "Issuing", SIGNER[1], pki.basic_constraints(ca=True)), ISSUING],
        Code.WRONG_USAGE,
    ),
    "an issuer for TLS": (
        [LEAF, ISSUING.but(extensions=(*CA, pki.ekus("1.3.6.1.5.5.7.3.1")))],
        Code.WRONG_USAGE,
    ),
    "MD5": (
        [
            issue("Signer", "Old", *SIGNER, issuer_kind="rsa2048").but(digest="md5"),
            issue("Old", "Root", *CA, kind="rsa2048"),
        ],
        Code.WEAK_DIGEST,
    ),
    "RSA of 1024 bits": (
        [issue("Signer", "Issuing", *SIGNER, kind="rsa1024"), ISSUING],
        Code.WEAK_KEY,
    ),
    "a curve too small": (
        [issue("Signer", "Issuing", *SIGNER, kind="p192"), ISSUING],
        Code.WEAK_KEY,
    ),
    "DSA of 1024 bits": (
        [issue("Signer", "Issuing", *SIGNER, kind="dsa1024"), ISSUING],
        Code.WEAK_KEY,
    ),
    "anyPolicy mapped": (
        [LEAF, ISSUING.but(extensions=(*CA, pki.policy_mappings(("1.2.3", "2.5.29.32.0"))))],
        Code.CERTIFICATE_POLICY,
    ),
    "a subject alternative name that is none": (
        [LEAF.but(extensions=(*SIGNER, ("2.5.29.17", False, b"junk"))), ISSUING],
        Code.CERTIFICATE_MALFORMED,
    ),
}


@pytest.mark.parametrize("why", BROKEN)
def test_rejected_and_for_that_reason_alone(why: str) -> None:
    plans, code = BROKEN[why]
    result = judge(*plans)
    assert not result.trusted
    assert codes(result) == [code]


def test_a_foreign_root_of_the_anchors_name_does_not_stand_in_its_way() -> None:
    assert judge(LEAF, FOREIGN, ISSUING).trusted


def test_an_issuer_whose_curve_is_given_by_parameters_is_named() -> None:
    """CVE-2020-0601: the cause, not only that its signature fits nothing."""
    algorithm, bits = der.parse(pki.spki(ISSUING.key), "key").children()
    explicit = der.sequence(algorithm.children()[0].raw, der.sequence(der.integer(1)))
    forged = ISSUING.but(spki=der.sequence(explicit, bits.raw))
    assert codes(judge(LEAF, forged)) == [Code.EXPLICIT_CURVE, Code.CERTIFICATE_SIGNATURE]


def test_sha1_counts_where_the_policy_says_so() -> None:
    old = LEAF.but(digest="sha1")
    assert codes(judge(old, ISSUING)) == [Code.WEAK_DIGEST]
    assert judge(old, ISSUING, algorithms=AT_LEGACY).trusted


def test_an_anchors_own_signature_is_not_judged() -> None:
    weak = root(kind="rsa2048").but(digest="md5").load()
    leaf = issue("Signer", "Root", *SIGNER, issuer_kind="rsa2048")
    assert judge(leaf, store=store_of(weak)).trusted


def test_dsa_and_ed25519() -> None:
    policy = replace(STRICT, min_dsa_bits=2048)
    dsa = [
        issue("Signer", "Old", *SIGNER, issuer_kind="dsa"),
        issue("Old", "Root", *CA, kind="dsa"),
    ]
    assert judge(*dsa, algorithms=policy).trusted
    assert judge(issue("Signer", "Issuing", *SIGNER, kind="ed25519"), ISSUING).trusted


def test_critical_extensions_the_caller_knows() -> None:
    marked = LEAF.but(extensions=(*SIGNER, ("1.2.3.4", True, b"")))
    assert not judge(marked, ISSUING).trusted
    assert judge(marked, ISSUING, rules=PathRules(known_critical=frozenset({"1.2.3.4"}))).trusted


def test_time_stamping_stands_alone_and_is_critical() -> None:
    plain = issue("TSA", "Issuing", *TSA)
    loose = issue("TSA", "Issuing", TSA[0], pki.ekus("1.3.6.1.5.5.7.3.8"))
    mixed = issue("TSA", "Issuing", pki.ekus("1.3.6.1.5.5.7.3.8", "1.3.6.1.5.5.7.3.3"))
    assert judge(plain, ISSUING, usage=STRICT_TIME_STAMPING).findings == ()
    noted = judge(loose, ISSUING, usage=TIME_STAMPING)
    assert noted.trusted
    assert [(f.code, f.effect) for f in noted.findings] == [(Code.WRONG_USAGE, Effect.NOTE)]
    assert not judge(loose, ISSUING, usage=STRICT_TIME_STAMPING).trusted
    assert codes(judge(mixed, ISSUING, usage=TIME_STAMPING)) == [Code.WRONG_USAGE]


def test_issuers_may_list_any_usage() -> None:
    assert judge(LEAF, ISSUING.but(extensions=(*CA, pki.ekus("2.5.29.37.0")))).trusted


def test_path_length_passes_over_self_issued_certificates() -> None:
    tight = root("Root", pki.basic_constraints(ca=True, length=0), CA[1]).load()
    renewed = issue("Root", "Root", *CA).but(key=pki.key("new"))
    leaf = issue("Signer", "Root", *SIGNER).but(issuer_key=pki.key("new"))
    assert judge(leaf, renewed, store=store_of(tight)).trusted
    assert codes(judge(LEAF, ISSUING, store=store_of(tight))) == [Code.PATH_LENGTH]
    assert codes(judge(LEAF, ISSUING, rules=PathRules(max_intermediates=0))) == [Code.PATH_LENGTH]


def test_what_the_store_limits() -> None:
    store = store_of(ROOT, usages=frozenset({"1.3.6.1.5.5.7.3.8"}))
    assert codes(judge(LEAF, ISSUING, store=store)) == [Code.WRONG_USAGE]
    store = store_of(ROOT, disabled_from=MIDDLE)
    assert codes(judge(LEAF, ISSUING, store=store)) == [Code.DISTRUSTED]
    assert judge(LEAF, ISSUING, store=store, at=MIDDLE - timedelta(1)).trusted
    store = store_of(ROOT, no_issue_after=START)
    assert codes(judge(LEAF, ISSUING, store=store)) == [Code.DISTRUSTED]
    assert judge(LEAF, ISSUING, store=store_of(ROOT, no_issue_after=MIDDLE)).trusted


def test_a_cross_certificate_leads_around_an_anchor_that_may_not() -> None:
    other = root("Other").load()
    crossed = issue("Root", "Other", *CA)
    limited = TrustAnchor(certificate=ROOT, name="Root", store="test", disabled_from=START)
    free = TrustAnchor(certificate=other, name="Other", store="test")
    result = judge(LEAF, crossed, ISSUING, store=TrustStore("test", [limited, free]))
    assert result.trusted
    assert names(result.path) == ["Signer", "Issuing", "Root", "Other"]


def test_the_path_that_fails_least_is_told() -> None:
    expired = ISSUING.but(not_after=der.utc_time(START + timedelta(1)))
    worse = expired.but(extensions=(*CA, ("1.2.3.4", True, b"")), serial=9)
    assert codes(judge(LEAF, worse, expired)) == [Code.EXPIRED]


def test_an_anchor_between_ends_the_path() -> None:
    middle = ISSUING.load()
    result = judge(LEAF, root(), store=store_of(middle))
    assert result.trusted
    assert names(result.path) == ["Signer", "Issuing"]


def test_cycles_and_chains_without_end() -> None:
    loop = [issue("A", "B", *CA), issue("B", "A", *CA), issue("Signer", "A", *SIGNER)]
    assert codes(judge(loop[2], *loop)) == [Code.NO_PATH]
    count = MAX_PATH_CERTIFICATES + 2
    chain = [issue(f"L{n}", f"L{n + 1}", *CA) for n in range(count)]
    result = judge(issue("Signer", "L0", *SIGNER), *chain)
    assert Code.LIMIT_EXCEEDED in codes(result)
    assert len(result.path) <= MAX_PATH_CERTIFICATES


def test_a_crowd_of_one_name_is_bounded() -> None:
    crowd = [ISSUING.but(key=pki.key(f"crowd {n}"), serial=n + 1) for n in range(320)]
    result = judge(LEAF.but(issuer_key=pki.key("nobody")), *crowd)
    assert codes(result) == [Code.LIMIT_EXCEEDED, Code.CERTIFICATE_SIGNATURE]


def test_the_part_without_time_is_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(
        leaf: Certificate, pool: Sequence[Certificate], store: TrustStore
    ) -> building.Chains:
        calls.append(leaf)
        return building.build(leaf, pool, store)

    monkeypatch.setattr(path_module, "build", counted)
    leaf, issuing = LEAF.but(serial=77).load(), ISSUING.load()
    for day in range(20):
        at = MIDDLE + timedelta(day)
        assert find_path(leaf, [issuing], STORE, at, CODE_SIGNING, STRICT).trusted
    assert len(calls) == 1
    find_path(leaf, [issuing], store_of(ROOT, disabled_from=END), MIDDLE, CODE_SIGNING, STRICT)
    assert len(calls) == 2


def test_messages_name_certificate_and_clause() -> None:
    text = str(judge(LEAF, ISSUING, at=END + timedelta(1)).findings[0])
    assert text == (
        "certificate CN=Signer,O=Test: found valid until 2030-01-01 00:00:00Z, "
        "required valid at 2030-01-02 00:00:00Z (RFC 5280 6.1.3 a 2)"
    )


# Policies beyond what PKITS asks.


def test_a_required_policy_must_hold_along_the_path() -> None:
    rules = PathRules(require_explicit_policy=True)
    policy = pki.policies("1.2.3")
    with_policy = [LEAF.but(extensions=(*SIGNER, policy)), ISSUING.but(extensions=(*CA, policy))]
    assert judge(*with_policy, rules=rules).trusted
    assert codes(judge(LEAF, with_policy[1], rules=rules)) == [Code.CERTIFICATE_POLICY]


def test_policy_mappings_do_not_multiply() -> None:
    """CVE-2023-0464: a tree would hold 8**10 nodes here."""
    oids = [f"1.2.3.{n}" for n in range(8)]
    crossed = tuple((a, b) for a in oids for b in oids)
    extensions = (*CA, pki.policies(*oids), pki.policy_mappings(*crossed))
    chain = [issue("D0", "Root", *extensions)]
    chain += [issue(f"D{n}", f"D{n - 1}", *extensions) for n in range(1, 11)]
    leaf = issue("Signer", "D10", *SIGNER, pki.policies(oids[0]))
    rules = PathRules(require_explicit_policy=True)
    assert judge(leaf, *chain, rules=rules, usage=ANY_USAGE).trusted
    other = leaf.but(extensions=(*SIGNER, pki.policies("1.2.4")))
    assert codes(judge(other, *chain, rules=rules)) == [Code.CERTIFICATE_POLICY]


@pytest.mark.parametrize(
    "extension",
    [
        pki.policies("1.2.3", "1.2.3"),
        pki.policies(),
        (
            "2.5.29.32",
            True,
            der.sequence(
                der.sequence(
                    der.oid("1.2.3"), der.sequence(der.sequence(der.oid("1.2"), der.null()))
                )
            ),
        ),
        ("2.5.29.36", True, der.sequence()),
        ("2.5.29.36", True, der.sequence(der.context(2, b"\0", constructed=False))),
        ("2.5.29.54", True, der.integer(-1)),
    ],
)
def test_malformed_policy_extensions(extension: pki.Extension) -> None:
    broken = ISSUING.but(extensions=(*CA, extension))
    assert codes(judge(LEAF, broken)) == [Code.CERTIFICATE_MALFORMED]


def test_too_many_policies() -> None:
    many = pki.policies(*(f"1.2.3.{n}" for n in range(129)))
    assert codes(judge(LEAF, ISSUING.but(extensions=(*CA, many)))) == [Code.LIMIT_EXCEEDED]
