"""Deciding: the index against a scan of all rules, three values, N of M, requirements, modes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from signward.errors import PolicyError
from signward.frozen import replace
from signward.policy.rules.decide import decide, explain
from signward.policy.rules.decision import Decision
from signward.policy.rules.force import in_force
from signward.policy.rules.index import Index, Ready
from signward.policy.rules.matching import pairs, parties
from signward.policy.rules.model import (
    Action,
    IdentityMatch,
    Mode,
    OriginMatch,
    ProductMatch,
    PublisherMatch,
    Requirements,
    Rule,
    RuleSet,
    SignersMatch,
    Waiver,
)
from signward.policy.rules.precedence import rank
from signward.policy.rules.subject import UNKNOWABLE, Origin, Signer, Subject
from signward.state import Outcome, Status
from signward.trust.settings import RevocationMode
from tests.builders.policies import AT, digest, publishers, rule_set, rule_sets, rules, subjects

OFTEN = settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=(HealthCheck.too_slow,)
)
FIRST, SECOND = publishers()
BY_FIRST = PublisherMatch(organization="example LTD")
FILE = digest("file", 1)


def allow(name: str = "allowed", **conditions: Any) -> Rule:
    return Rule(id=name, action=Action.ALLOW, **conditions)


def deny(name: str = "denied", **conditions: Any) -> Rule:
    return Rule(id=name, action=Action.DENY, **conditions)


def subject(*signers: Signer, unknown: Sequence[str] = (), **fields: Any) -> Subject:
    fields = {"path": "/opt/x", "kind": "pe", "file_class": "executable", **fields}
    return Subject(signers=signers, unknown=frozenset(unknown), **fields)


def decided(asked: RuleSet | Rule, *more: Rule, on: Subject) -> Decision:
    whole = asked if isinstance(asked, RuleSet) else rule_set(asked, *more)
    return decide(Index(whole), on, AT)


def outcome(asked: RuleSet | Rule, *more: Rule, on: Subject) -> str:
    return decided(asked, *more, on=on).outcome.value


# --- the index is the scan of all rules --------------------------------------------------------

FURTHER: st.SearchStrategy[dict[str, Any]] = st.sampled_from([
    {"identity": IdentityMatch(identity=r".*@example\.com", issuer=r"https://issuer\.example")},
    {"signers": SignersMatch(least=2, of=(BY_FIRST, PublisherMatch(key="second-ca")))},
    {"signers": SignersMatch(least=1, of=(BY_FIRST, PublisherMatch(eku="1.3.6.1.5.5.7.3.3")))},
    {"publisher": PublisherMatch(eku="1.3.6.1.5.5.7.3.3"), "kind": ("driver", "pe")},
    {"publisher": PublisherMatch(identity=FIRST.signer.identity.upper()), "hosts": ("kiosk",)},
    {"product": ProductMatch(product="agent")},
    {"product": ProductMatch(minimum_version="2"), "hosts": ("server", "kiosk")},
    {"product": ProductMatch(bundle_id="com.example", maximum_version="3")},
    {"origin": OriginMatch(kind="oci"), "kind": ("image",)},
    {"origin": OriginMatch(kind="oci", name="registry.example/team/app")},
    {"catalog": ("sha256:" + "ab" * 32,)},
    {"kind": ("script", "executable")},
    {"hosts": ("kiosk",)},
    {"path": ("%REMOVABLE%\\**",)},
    {"path": ("%PROGRAMFILES%\\*\\agent.exe", "/srv/**")},
    {"digest": (digest("file", 0), digest("authenticode", 1))},
    {"digest": ("file:sha1:" + "0" * 40,)},
    {"publisher": BY_FIRST, "requires": Requirements(timestamp=True)},
    {"path": ("/opt/**",), "requires": Requirements(timestamp=True)},
    {"digest": (FILE,), "requires": Requirements(log=True)},
])  # fmt: skip


@st.composite
def policies(draw: st.DrawFn) -> RuleSet:
    drawn = list(draw(rules()))
    for number, (conditions, action) in enumerate(
        draw(st.lists(st.tuples(FURTHER, st.sampled_from(tuple(Action))), max_size=5))
    ):
        if action is Action.DENY:
            conditions = {k: v for k, v in conditions.items() if k != "requires"}
        drawn.append(Rule(id=f"further-{number}", action=action, **conditions))
    wanted = draw(st.sampled_from((Requirements(), Requirements(timestamp=True, max_age_days=90))))
    whole = rule_set(*drawn, mode=draw(st.sampled_from(tuple(Mode))), requirements=wanted)
    denies = [rule.id for rule in drawn if rule.action is Action.DENY]
    if denies:
        spared = Waiver(id="spared", owner="me", reason="why", expires=AT + timedelta(days=1),
                        spares=tuple(denies), path=("/opt/**",))  # fmt: skip
        whole = replace(whole, waivers=draw(st.sampled_from(((), (spared,)))))
    return in_force(whole, AT)


@st.composite
def dim_subjects(draw: st.DrawFn) -> Subject:
    """Subjects of which not everything is told, and what is untold is mostly gone too."""
    whole = draw(subjects())
    keyless = Signer(keyless_identity="a@example.com", keyless_issuer="https://issuer.example")
    signers = draw(
        st.sampled_from(((), (keyless,), (*whole.signers, SECOND.signer), whole.signers))
    )
    unknown = draw(st.frozensets(st.sampled_from(sorted(UNKNOWABLE)), max_size=4))
    if "signers" in unknown and draw(st.booleans()):
        signers = ()
    if "signers.tbs" in unknown:
        signers = tuple(replace(s, tbs=()) for s in signers)
    if "signers.subject" in unknown:
        signers = tuple(replace(s, subject={}, identity="") for s in signers)
    if "signers.key" in unknown:
        signers = tuple(replace(s, key="") for s in signers)
    digests = frozenset(d for d in whole.digests if f"digest:{d.split(':')[0]}" not in unknown)
    return replace(
        whole, signers=signers, unknown=unknown, digests=digests,
        host=draw(st.sampled_from(("", "KIOSK", "other"))),
        tags=draw(st.sampled_from((frozenset(), frozenset({"server"})))),
        catalogs=draw(st.sampled_from(((), ("sha256:" + "ab" * 32,)))),
        bundle_id=draw(st.sampled_from(("", "com.example"))),
        cause=draw(st.sampled_from(("", "unsigned", "blocked"))),
    )  # fmt: skip


class Scan(Index):
    """Looks at every rule: what the index is held against."""

    def candidates(self, subject: Subject) -> list[Ready]:
        return list(self.rules)


@settings(OFTEN, max_examples=700)
@given(whole=policies(), on=dim_subjects())
def test_the_index_answers_as_a_scan_of_all_rules(whole: RuleSet, on: Subject) -> None:
    index = Index(whole)
    assert decide(index, on, AT) == decide(Scan(whole), on, AT)


@OFTEN
@given(whole=policies(), on=dim_subjects())
def test_rules_that_match_are_among_the_candidates(whole: RuleSet, on: Subject) -> None:
    index = Index(whole)
    named = {ready.rule.id for ready in index.candidates(on)}
    matched = {word.rule for word in explain(index, on, AT) if word.matched}
    assert matched <= named


@OFTEN
@given(whole=policies(), on=dim_subjects())
def test_what_is_unknown_leaves_open_and_never_turns_an_answer(whole: RuleSet, on: Subject) -> None:
    """An answer that is not open stays whatever the unknown turns out to be."""
    index = Index(whole)
    answer = decide(index, on, AT)
    if answer.outcome is Outcome.INDETERMINATE:
        assert answer.missing
        return
    shut = replace(on, unknown=frozenset())
    assert decide(index, shut, AT).outcome is answer.outcome
    for told in (FIRST.signer, SECOND.signer):
        if "signers" in on.unknown:
            known = replace(on, signers=(*on.signers, told), unknown=on.unknown - {"signers"})
            assert decide(index, known, AT).outcome in {answer.outcome, Outcome.INDETERMINATE}


@OFTEN
@given(whole=rule_sets(), on=subjects())
def test_what_is_wholly_known_is_decided(whole: RuleSet, on: Subject) -> None:
    answer = decide(Index(whole), on, AT)
    assert answer.outcome is not Outcome.INDETERMINATE
    assert answer.missing == ()
    assert answer.stopped is (answer.outcome is not Outcome.ACCEPTED)


@OFTEN
@given(whole=policies(), on=dim_subjects())
def test_words_fit_the_decision(whole: RuleSet, on: Subject) -> None:
    index = Index(whole)
    answer, words = decide(index, on, AT), explain(index, on, AT)
    assert [word.rule for word in words] == [ready.rule.id for ready in index.rules]
    assert [word.rule for word in words if word.decided] == ([answer.rule] if answer.rule else [])
    for word in words:
        assert word.matched or word.failed or word.missing
        assert not (word.matched and word.failed)


# --- deny, precedence --------------------------------------------------------------------------


def test_an_empty_policy_rejects() -> None:
    answer = decide(Index(rule_set()), subject(FIRST.signer), AT)
    assert (answer.outcome, answer.rule, answer.stopped) == (Outcome.REJECTED, "", True)


def test_a_deny_beats_whatever_is_more_specific() -> None:
    on = subject(FIRST.signer, digests=frozenset({FILE}))
    answer = decided(allow(digest=(FILE,)), deny(kind=("executable",)), on=on)
    assert (answer.outcome, answer.rule, answer.action) == (
        Outcome.REJECTED, "denied", Action.DENY)  # fmt: skip


LADDER = [
    allow("a-digest", digest=(FILE,)),
    allow("b-product", product=ProductMatch(original_name="AGENT.EXE"), publisher=BY_FIRST),
    allow("c-leaf", publisher=PublisherMatch(certificate=f"sha256:{FIRST.signer.certificates[0]}")),
    allow("d-identity", identity=IdentityMatch(identity="me", issuer=".*")),
    allow("e-narrow", publisher=BY_FIRST, kind=("executable",)),
    allow("f-publisher", publisher=BY_FIRST),
    allow("g-authority", publisher=PublisherMatch(key="first-ca")),
    allow("h-catalog", catalog=("sha256:" + "ab" * 32,)),
    allow("i-origin", origin=OriginMatch(kind="deb")),
    allow("j-path", path=("/opt/*",)),
    allow("k-product", product=ProductMatch(original_name="agent.exe")),
    allow("l-kind", kind=("executable",)),
]


def test_the_most_specific_rule_decides() -> None:
    signer = replace(FIRST.signer, keyless_identity="me", keyless_issuer="they")
    on = subject(signer, digests=frozenset({FILE}), original_name="agent.exe",
                 catalogs=("sha256:" + "ab" * 32,),
                 origins=(Origin(kind="deb", name="x"),))  # fmt: skip
    for start in range(len(LADDER)):
        rest = LADDER[start:]
        assert decided(*reversed(rest), on=on).rule == rest[0].id


def test_audit_goes_before_allow_and_names_settle_the_rest() -> None:
    audit = Rule(id="z", action=Action.AUDIT, path=("/opt/*",))
    on = subject()
    answer = decided(allow("a", path=("/opt/*",)), audit, on=on)
    assert (answer.rule, answer.action, answer.outcome) == ("z", Action.AUDIT, Outcome.ACCEPTED)
    assert decided(allow("b", path=("/opt/*",)), allow("a", path=("/opt/x",)), on=on).rule == "a"


def test_the_order_of_a_file_does_not_matter() -> None:
    keys = rule_set().keys
    some = LADDER[:4]
    orders = {tuple(sorted(p, key=lambda r: rank(r, keys))) for p in permutations(some)}
    assert len(orders) == 1


@pytest.mark.parametrize("cause", ["blocked", "digest-revoked", "publisher-revoked"])
def test_what_was_blocked_by_itself_is_let_in_by_no_rule(cause: str) -> None:
    on = subject(digests=frozenset({FILE}), cause=cause)
    assert outcome(allow(digest=(FILE,)), on=on) == "rejected"


# --- exceptions --------------------------------------------------------------------------------


def test_an_exception_spares_what_it_fits_from_the_deny_it_names() -> None:
    waiver = Waiver(id="spare", owner="me", reason="r", expires=AT + timedelta(days=1),
                    spares=("denied",), path=("/opt/*",))  # fmt: skip
    whole = rule_set(deny(kind=("executable",)), allow(kind=("executable",)))
    whole = replace(whole, waivers=(waiver,))
    during, after = in_force(whole, AT), in_force(whole, AT + timedelta(days=1))
    assert outcome(during, on=subject()) == "accepted"
    assert outcome(during, on=subject(path="/srv/x")) == "rejected"
    assert outcome(during, on=subject(path="", unknown=["path"])) == "indeterminate"
    assert outcome(after, on=subject()) == "rejected"
    words = {word.rule: word for word in explain(Index(during), subject(), AT)}
    assert words["denied"].spared == "spare"


def test_lockdown_takes_exceptions_audits_and_weak_rules_away() -> None:
    audit = Rule(id="z", action=Action.AUDIT, publisher=BY_FIRST)
    whole = rule_set(allow(path=("/opt/*",)), audit, mode=Mode.LOCKDOWN)
    assert outcome(in_force(whole, AT), on=subject(FIRST.signer)) == "rejected"


def test_monitoring_stops_nothing_and_says_what_it_would() -> None:
    answer = decided(rule_set(deny(kind=("pe",)), mode=Mode.MONITOR), on=subject())
    assert (answer.outcome, answer.stopped) == (Outcome.REJECTED, False)


# --- three values ------------------------------------------------------------------------------


def test_a_deny_that_may_match_leaves_it_open() -> None:
    on = subject(FIRST.signer, unknown=["digest:file"])
    answer = decided(deny(digest=(FILE,)), allow(publisher=BY_FIRST), on=on)
    assert (answer.outcome, answer.missing, answer.rule) == (
        Outcome.INDETERMINATE, ("digest:file",), "denied")  # fmt: skip
    assert answer.stopped


def test_an_allow_that_may_match_counts_only_where_nothing_lets_in() -> None:
    on = subject(FIRST.signer, unknown=["digest:file"])
    assert outcome(allow(digest=(FILE,)), on=on) == "indeterminate"
    assert outcome(allow(digest=(FILE,)), allow("b", publisher=BY_FIRST), on=on) == "accepted"


def test_a_condition_not_met_settles_one_that_is_unknown() -> None:
    on = subject(unknown=["digest:file"])
    assert outcome(deny(digest=(FILE,), kind=("driver",)), on=on) == "rejected"
    assert decided(deny(digest=(FILE,), kind=("driver",)), on=on).rule == ""


def test_another_algorithm_leaves_a_digest_open() -> None:
    sha1 = allow(digest=("file:sha1:" + "0" * 40,))
    assert outcome(sha1, on=subject(digests=frozenset({FILE}))) == "indeterminate"
    assert outcome(sha1, on=subject()) == "rejected"
    assert outcome(allow(digest=(FILE,)), on=subject(digests=frozenset({digest("file", 2)}))) == (
        "rejected"
    )


def test_a_digest_that_does_not_answer_for_the_whole_leaves_open_whether_it_is_the_file() -> None:
    this, other = (f"authenticode:sha256:{n:064x}" for n in range(2))
    cut = subject(partial=frozenset({this}), digests=frozenset({FILE}))
    for one in (allow, deny):
        assert decided(one(digest=(this,)), on=cut).missing == ("digest:authenticode",)
    assert outcome(allow(digest=(this, FILE)), on=cut) == "accepted"
    assert outcome(allow(digest=(FILE,)), deny(digest=(other,)), on=cut) == "accepted"


def test_what_is_told_of_a_signer_counts_though_not_all_is() -> None:
    partial = Signer(subject={"common_name": "Example Ltd"})
    on = subject(partial, unknown=["signers.subject"])
    assert outcome(allow(publisher=PublisherMatch(common_name="EXAMPLE LTD")), on=on) == "accepted"
    assert outcome(allow(publisher=PublisherMatch(common_name="Other")), on=on) == "rejected"
    assert outcome(allow(publisher=BY_FIRST), on=on) == "indeterminate"


def test_a_variable_nobody_knows_leaves_it_open() -> None:
    on = subject(path=r"E:\x.exe")
    assert outcome(allow(path=(r"%REMOVABLE%\*",)), on=on) == "indeterminate"


# --- publishers, N of M, identities ------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        (PublisherMatch(organization="EXAMPLE ltd", country="at"), True),
        (PublisherMatch(organization="Example Ltd", country="DE"), False),
        (PublisherMatch(tbs=FIRST.signer.tbs[0]), True),
        (PublisherMatch(tbs=FIRST.signer.tbs[1]), True),
        (PublisherMatch(tbs=SECOND.signer.tbs[1]), False),
        (PublisherMatch(key="first-ca"), True),
        (PublisherMatch(key="first-leaf"), True),
        (PublisherMatch(key="second-leaf"), False),
        (PublisherMatch(certificate=f"sha256:{FIRST.signer.certificates[1]}"), False),
        (PublisherMatch(eku="1.3.6.1.5.5.7.3.3"), True),
        (PublisherMatch(eku="1.3.6.1.5.5.7.3.4"), False),
        (PublisherMatch(team_id="EXAMPLE001"), True),
        (PublisherMatch(team_id="OTHERTEAM2"), False),
    ],
)
def test_all_fields_of_a_publisher_are_of_one_signer(match: PublisherMatch, fits: bool) -> None:
    expected = "accepted" if fits else "rejected"
    assert outcome(allow(publisher=match), on=subject(FIRST.signer)) == expected


def test_fields_do_not_add_up_over_signers() -> None:
    mixed = PublisherMatch(organization="Example Ltd", team_id="OTHERTEAM2")
    assert outcome(allow(publisher=mixed), on=subject(FIRST.signer, SECOND.signer)) == "rejected"


BOTH = (PublisherMatch(key="first-ca"), PublisherMatch(key="second-ca"))


def test_so_many_of_the_signers_have_signed() -> None:
    two = allow(signers=SignersMatch(least=2, of=BOTH))
    assert outcome(two, on=subject(FIRST.signer, SECOND.signer)) == "accepted"
    assert outcome(two, on=subject(FIRST.signer)) == "rejected"
    assert outcome(two, on=subject(FIRST.signer, unknown=["signers"])) == "indeterminate"


def test_one_party_counts_once_however_often_it_signed() -> None:
    either = (PublisherMatch(organization="Example Ltd"), PublisherMatch(country="AT"))
    two = allow(signers=SignersMatch(least=2, of=either))
    again = replace(FIRST.signer, digest="sha1", key="other")
    assert outcome(two, on=subject(FIRST.signer, again)) == "rejected"
    assert outcome(two, on=subject(FIRST.signer, SECOND.signer)) == "accepted"


@OFTEN
@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=4))
def test_pairs_are_the_most_there_can_be(table: list[list[bool]]) -> None:
    rows = len(table)
    best = max(
        sum(table[row][column] for row, column in enumerate(columns))
        for columns in permutations(range(4), rows)
    )
    assert pairs(table) == best


def test_a_keyless_identity_matches_as_a_whole_with_its_issuer() -> None:
    rule = allow(identity=IdentityMatch(identity="a@b", issuer="https://i"))
    for identity, issuer, expected in (
        ("a@b", "https://i", "accepted"),
        ("xa@b", "https://i", "rejected"),
        ("a@b\n", "https://i", "rejected"),
        ("a@b", "https://i/", "rejected"),
        ("", "", "rejected"),
    ):
        signer = Signer(keyless_identity=identity, keyless_issuer=issuer)
        assert outcome(rule, on=subject(signer)) == expected, (identity, issuer)


def test_a_regular_expression_that_is_none_is_refused() -> None:
    with pytest.raises(PolicyError, match="regular expression"):
        Index(rule_set(allow(identity=IdentityMatch(identity="(", issuer="x"))))


@pytest.mark.parametrize(
    ("version", "expected"),
    [((1, 9, 9, 9), "rejected"), ((2, 0, 0, 0), "accepted"), ((3, 0, 0, 0), "accepted"),
     ((3, 0, 0, 1), "rejected"), (None, "rejected")],
)  # fmt: skip
def test_versions_are_within_floor_and_ceiling(version: Any, expected: str) -> None:
    product = ProductMatch(product="AGENT", minimum_version="2", maximum_version="3.0")
    on = subject(FIRST.signer, product="Agent", version=version)
    assert outcome(allow(publisher=BY_FIRST, product=product), on=on) == expected


# --- requirements ------------------------------------------------------------------------------

GOOD = FIRST.signer
STAMPED = replace(GOOD, proven=AT - timedelta(days=10))


@pytest.mark.parametrize(
    ("wanted", "signer", "unmet", "missing"),
    [
        ({"timestamp": True}, GOOD, ("timestamp",), ()),
        ({"timestamp": True}, STAMPED, (), ()),
        ({"log": True}, GOOD, ("log",), ()),
        ({"log": True}, replace(GOOD, logged=True), (), ()),
        ({"revocation": RevocationMode.REQUIRE}, GOOD, (), ()),
        ({"revocation": RevocationMode.REQUIRE}, replace(GOOD, revocation=Status.UNKNOWN), (),
         ("revocation",)),
        ({}, replace(GOOD, revocation=Status.UNKNOWN), (), ()),
        ({}, replace(GOOD, revocation=Status.REVOKED), ("revocation",), ()),
        ({}, replace(STAMPED, revocation=Status.REVOKED), (), ()),
        ({"revocation": RevocationMode.IGNORE}, replace(GOOD, revocation=Status.REVOKED), (), ()),
        ({}, replace(GOOD, digest="sha1"), ("minimum_digest",), ()),
        ({"minimum_digest": "sha1"}, replace(GOOD, digest="sha1"), (), ()),
        ({"minimum_digest": "sha384"}, replace(GOOD, digest=""), (), ("signers.digest",)),
        ({}, replace(GOOD, digest="", key_kind=""), (), ()),
        ({"minimum_rsa": 3072}, replace(GOOD, key_kind="rsa-2048"), ("minimum_rsa",), ()),
        ({"minimum_rsa": 3072}, replace(GOOD, key_kind="rsa-3072"), (), ()),
        ({"minimum_ec": 384}, GOOD, ("minimum_ec",), ()),
        ({"minimum_ec": 384}, replace(GOOD, key_kind="ed25519"), (), ()),
        ({"max_age_days": 9}, STAMPED, ("max_age_days",), ()),
        ({"max_age_days": 10}, STAMPED, (), ()),
        ({"max_age_days": 30}, GOOD, ("max_age_days",), ()),
        ({"max_age_days": 30}, replace(GOOD, begins=None), ("max_age_days",), ()),
    ],
)  # fmt: skip
def test_requirements(wanted: Any, signer: Signer, unmet: Any, missing: Any) -> None:
    whole = rule_set(allow(publisher=BY_FIRST), requirements=Requirements(**wanted))
    answer = decided(whole, on=subject(signer))
    assert (answer.unmet, answer.missing) == (unmet, missing)
    expected = "rejected" if unmet else "indeterminate" if missing else "accepted"
    assert answer.outcome.value == expected
    assert answer.rule == "allowed"


def test_a_time_nobody_tells_leaves_it_open() -> None:
    for wanted in (Requirements(timestamp=True), Requirements(max_age_days=9999)):
        whole = rule_set(allow(publisher=BY_FIRST), requirements=wanted)
        on = subject(GOOD, unknown=["proven-time"])
        assert decided(whole, on=on).missing == ("proven-time",)


def test_the_next_rule_is_tried_where_requirements_are_not_met() -> None:
    picky = allow("picky", publisher=BY_FIRST, requires=Requirements(timestamp=True))
    answer = decided(picky, allow("easy", publisher=PublisherMatch(key="first-ca")),
                     on=subject(GOOD))  # fmt: skip
    assert (answer.outcome, answer.rule, answer.unmet) == (Outcome.ACCEPTED, "easy", ())


def test_another_signer_than_the_rule_s_meets_nothing_for_it() -> None:
    whole = rule_set(allow(publisher=BY_FIRST), requirements=Requirements(timestamp=True))
    stamped = replace(SECOND.signer, proven=AT)
    assert outcome(whole, on=subject(GOOD, stamped)) == "rejected"


def test_each_of_several_signers_meets_what_is_required() -> None:
    whole = rule_set(allow(signers=SignersMatch(least=2, of=BOTH)),
                     requirements=Requirements(timestamp=True))  # fmt: skip
    second = replace(SECOND.signer, proven=AT)
    assert outcome(whole, on=subject(STAMPED, second)) == "accepted"
    assert outcome(whole, on=subject(GOOD, second)) == "rejected"


def test_a_rule_that_names_no_signer_is_asked_for_nothing_but_by_itself() -> None:
    wanted = Requirements(timestamp=True)
    by_digest = allow(digest=(FILE,))
    on = subject(digests=frozenset({FILE}))
    assert outcome(rule_set(by_digest, requirements=wanted), on=on) == "accepted"
    asking = allow(path=("/opt/*",), requires=wanted)
    assert decided(asking, on=on).unmet == ("signers",)
    assert decided(asking, on=subject(unknown=["signers"])).missing == ("signers",)
    assert outcome(asking, on=subject(STAMPED)) == "accepted"


def test_the_age_is_told_at_the_instant_of_the_decision() -> None:
    whole = rule_set(allow(publisher=BY_FIRST), requirements=Requirements(max_age_days=10))
    later = datetime(2027, 6, 1, tzinfo=UTC)
    assert decide(Index(whole), subject(STAMPED), later).unmet == ("max_age_days",)


def test_one_key_under_two_names_is_one_party() -> None:
    either = (PublisherMatch(organization="Example Ltd"), PublisherMatch(organization="Shell Ltd"))
    two = allow(signers=SignersMatch(least=2, of=either))
    shell = replace(
        FIRST.signer, identity="subject:Shell Ltd", subject={"organization": "Shell Ltd"}
    )
    assert outcome(two, on=subject(FIRST.signer, shell)) == "rejected"
    assert outcome(two, on=subject(FIRST.signer, replace(shell, key="its own"))) == "accepted"


def test_parties_that_a_third_signature_joins_are_one() -> None:
    first, second = Signer(identity="subject:A", key="1"), Signer(identity="subject:B", key="2")
    joining = Signer(identity="subject:a", key="2")
    assert len(parties(subject(first, second))) == 2
    assert len(parties(subject(first, second, joining))) == 1


def test_classes_that_a_source_tells_match_though_it_tells_no_kind() -> None:
    library = subject(kind="", file_class="", classes=frozenset({"library", "driver"}))
    assert outcome(allow(kind=("library", "driver")), on=library) == "accepted"
