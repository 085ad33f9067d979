"""Simulation: honest counts, unsettled files named as such, proposals that do what they say."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signward.frozen import replace
from signward.policy.rules.candidates import RuleNames, Tier, candidates, digest_of
from signward.policy.rules.decide import decide
from signward.policy.rules.derive import derived, empty_policy, supplement
from signward.policy.rules.fleet import Host, Known, Place
from signward.policy.rules.index import Index
from signward.policy.rules.model import (
    Action,
    Mode,
    ProductMatch,
    PublisherMatch,
    Requirements,
    Rule,
    RuleSet,
)
from signward.policy.rules.proposing import Proposing
from signward.policy.rules.reading import merge, read_document
from signward.policy.rules.simulated import Fate, Proposal, Simulation, Tally
from signward.policy.rules.simulation import Rehearsal, Wanted
from signward.policy.rules.subject import Subject
from signward.policy.rules.writing import to_toml
from signward.state import Outcome
from tests.builders.fleets import hosts, known, sha256, signed, signer, unsigned
from tests.builders.policies import AT, rule_set, rule_sets, subjects

ANY = Wanted()
NORD, KITSUNE = "Nordlicht Software GmbH", "Kitsune Tools KK"


def simulate(
    rules: RuleSet,
    files: list[Known],
    fleet: Sequence[Host] = hosts(6),
    wanted: Wanted = ANY,
) -> Simulation:
    rehearsal = Rehearsal(rules, fleet, AT, wanted)
    for each in files:
        rehearsal.add(each)
    proposing = Proposing(rehearsal)
    proposing.try_on(files)
    return proposing.result()


def by(name: str, action: Action = Action.ALLOW, rule: str = "by", **fields: object) -> Rule:
    match = PublisherMatch(organization=name)
    return Rule(id=rule, action=action, publisher=match, **fields)  # type: ignore[arg-type]


def tiers(simulation: Simulation) -> list[tuple[str, int]]:
    return [(proposal.tier, proposal.covers.files) for proposal in simulation.proposals]


def test_what_runs_and_what_is_stopped_is_counted() -> None:
    rules = rule_set(by(NORD), by(KITSUNE, Action.AUDIT, "watched"))
    files = known(
        (signed("a.exe", NORD), (0, 1, 2)),
        (signed("b.exe", KITSUNE), (1,)),
        (unsigned("c.exe"), (2, 3)),
    )
    found = simulate(rules, files)
    assert found.fates == {
        Fate.RUNS: Tally(files=1, sightings=3, hosts=3),
        Fate.AUDITED: Tally(files=1, sightings=1, hosts=1),
        Fate.STOPPED: Tally(files=1, sightings=2, hosts=2),
        Fate.UNSETTLED: Tally(),
    }
    assert found.seen == Tally(files=3, sightings=6, hosts=4)
    assert [(r.kind, r.name, r.stopped.files) for r in found.reasons] == [("no-rule", "", 1)]
    assert [(h.name, h.stopped) for h in found.hosts] == [("host-2", 1), ("host-3", 1)]
    assert {use.rule: use.decided.files for use in found.used} == {"by": 1, "watched": 1}
    assert found.idle == ()
    (row,) = found.listed
    assert (row.path, row.fate, row.reason, row.cause) == (
        "/opt/c.exe", Fate.STOPPED, "no-rule", "unsigned",
    )  # fmt: skip
    assert row.seen.hosts == 2


def test_monitoring_is_simulated_as_if_it_were_enforced() -> None:
    rules = rule_set(by(NORD), mode=Mode.MONITOR)
    found = simulate(rules, known((unsigned("c.exe"), (0,))))
    assert found.fates[Fate.STOPPED].files == 1
    assert found.mode is Mode.MONITOR


def test_rules_that_nothing_needs_are_named() -> None:
    found = simulate(rule_set(by(NORD), by(KITSUNE, rule="idle")), known((signed("a", NORD), (0,))))
    assert found.idle == ("idle",)


def test_what_hangs_on_something_unknown_is_unsettled_and_names_it() -> None:
    rules = rule_set(
        by(NORD, product=ProductMatch(product="Suite", minimum_version="2.0")),
        by(KITSUNE, rule="k"),
    )
    vague = signed("a.exe", NORD, "Suite", version=None, unknown=frozenset({"version"}))
    blind = unsigned("b.exe", unknown=frozenset({"signers"}))
    found = simulate(rules, known((vague, (0, 1)), (blind, (1,))))
    assert found.fates[Fate.UNSETTLED] == Tally(files=2, sightings=3, hosts=2)
    assert found.fates[Fate.STOPPED].files == found.fates[Fate.RUNS].files == 0
    assert {row.name: row.unsettled.files for row in found.missing} == {"version": 1, "signers": 1}
    assert {row.missing for row in found.listed} == {("version",), ("signers",)}
    assert found.proposals == ()
    assert found.needed.files == 0


def test_files_that_nothing_starts_are_set_aside() -> None:
    catalog = unsigned("x.cat", kind="catalog", file_class="")
    strange = unsigned("y", kind="", file_class="", unknown=frozenset({"kind"}))
    found = simulate(rule_set(), known((catalog, (0,)), (strange, (1,))))
    assert (found.outside, found.seen.files) == (1, 1)


def test_paths_and_hosts_are_looked_at_where_rules_do() -> None:
    subject = unsigned("c.exe")
    places = [Place(0, "/opt/c.exe"), Place(1, "/opt/c.exe"), Place(1, "/home/c.exe")]
    fleet = (Host(name="build", tags=frozenset({"lab"})), Host(name="Desk"))
    rules = rule_set(
        Rule(id="opt", action=Action.ALLOW, path=("/opt/**",)),
        Rule(id="home", action=Action.ALLOW, path=("/home/**",), hosts=("lab",)),
    )
    found = simulate(rules, [Known(1, subject, places)], fleet)
    assert found.fates[Fate.RUNS] == Tally(files=1, sightings=2, hosts=2)
    assert found.fates[Fate.STOPPED] == Tally(files=1, sightings=1, hosts=1)
    named = rule_set(Rule(id="n", action=Action.ALLOW, kind=("executable",), hosts=("desk",)))
    assert simulate(named, [Known(1, subject, places)], fleet).fates[Fate.RUNS].sightings == 2


def test_publishers_go_before_digests() -> None:
    files = known(
        *((signed(f"{n}.exe", NORD, f"P{n}"), (0,)) for n in range(3)), (unsigned("c.exe"), (1,))
    )
    found = simulate(rule_set(), files)
    assert tiers(found) == [("publisher", 3), ("digest", 1)]
    wide, narrow = found.proposals
    assert wide.rule.publisher == PublisherMatch(common_name=NORD, organization=NORD)
    assert wide.rule.product is None
    assert wide.rule.id == "nordlicht-software-gmbh"
    assert narrow.rule.digest == (f"file:sha256:{sha256('c.exe')}",)
    assert narrow.rule.id == "file-c.exe"
    assert found.uncovered == 0


def test_a_publisher_that_would_let_in_more_gives_way_to_his_product() -> None:
    wanted = Wanted(hosts=2)
    files = known(
        (signed("a.exe", NORD, "Suite", version=(3, 1, 0, 0)), (0, 1)),
        (signed("b.exe", NORD, "Suite", version=(2, 5, 0, 0)), (1, 2)),
        (signed("game.exe", NORD, "Game"), (3,)),
        (signed("old.exe", NORD, "Suite", version=(1, 0, 0, 0)), (4,)),
        (signed("toy.exe", NORD, "Toy"), (5,)),
        (signed("toy2.exe", NORD, "Toy"), (5,)),
    )
    found = simulate(rule_set(), files, wanted=wanted)
    (proposal,) = found.proposals
    assert proposal.tier == "product"
    assert proposal.rule.product == ProductMatch(product="Suite", minimum_version="2.5.0.0")
    assert (proposal.covers.files, proposal.also.files) == (2, 0)
    assert found.needed == Tally(files=2, sightings=4, hosts=3)


def test_what_a_proposal_lets_in_besides_is_told_and_not_hidden() -> None:
    files = known(
        *((signed(f"{n}.exe", NORD, f"P{n}"), (0, 1)) for n in range(4)),
        (signed("game.exe", NORD, "Game"), (3,)),
        (signed("free.exe", NORD, "Free", file_class="script", kind="powershell"), (3,)),
        (signed("bad.exe", NORD, "Bad", digests=frozenset({f"file:sha256:{'b' * 64}"})), (4,)),
    )
    rules = rule_set(
        Rule(id="bad", action=Action.DENY, digest=(f"file:sha256:{'b' * 64}",)),
        Rule(id="scripts", action=Action.ALLOW, kind=("script",)),
    )
    found = simulate(rules, files, wanted=Wanted(hosts=2))
    (proposal,) = found.proposals
    assert proposal.tier == "publisher"
    assert proposal.covers == Tally(files=4, sightings=8, hosts=2)
    assert proposal.also == Tally(files=1, sightings=1, hosts=1)
    assert proposal.examples == ("/opt/game.exe",)
    assert (proposal.denied, proposal.known, proposal.also_unsigned) == (1, 1, 0)


def test_only_hosts_that_are_asked_about_need_rules() -> None:
    files = known((unsigned("a.exe"), (0,)), (unsigned("b.exe"), (1,)))
    found = simulate(rule_set(), files, wanted=Wanted(tags=frozenset({"desk"})))
    assert [proposal.rule.id for proposal in found.proposals] == ["file-a.exe"]
    none = simulate(rule_set(), files, wanted=Wanted(tags=frozenset({"nowhere"})))
    assert none.proposals == ()
    assert none.fates[Fate.STOPPED].files == 2


@pytest.mark.parametrize("cause", ["digest-mismatch", "revoked", "blocked", "digest-revoked"])
def test_nothing_is_proposed_for_what_its_own_signature_speaks_against(cause: str) -> None:
    found = simulate(rule_set(), known((unsigned("a.exe", cause), (0,))))
    assert found.fates[Fate.STOPPED].files == found.suspect.files == 1
    assert found.proposals == ()
    assert found.needed.files == 0


def test_what_is_withdrawn_is_stopped_though_a_rule_would_match() -> None:
    subject = signed("a.exe", NORD, cause="digest-revoked", outcome=Outcome.REJECTED)
    found = simulate(rule_set(by(NORD)), known((subject, (0,))))
    assert [(r.kind, r.name) for r in found.reasons] == [("withdrawn", "digest-revoked")]


def test_what_is_denied_needs_no_rule() -> None:
    found = simulate(rule_set(by(NORD, Action.DENY)), known((signed("a.exe", NORD), (0, 1))))
    assert [(r.kind, r.name, r.stopped.hosts) for r in found.reasons] == [("denied", "by", 2)]
    assert found.proposals == ()
    assert found.needed.files == 0


def test_a_file_that_fails_a_requirement_is_named_by_digest() -> None:
    rules = rule_set(requirements=Requirements(timestamp=True))
    found = simulate(rules, known((signed("a.exe", NORD), (0,))))
    assert tiers(found) == [("digest", 1)]
    assert found.uncovered == 0


def test_a_file_without_a_digest_that_is_known_stays_uncovered() -> None:
    files = known((unsigned("a.exe", digests=frozenset()), (0,)))
    found = simulate(rule_set(), files)
    assert found.proposals == ()
    assert found.uncovered == 1


def test_rules_of_one_tier_can_be_asked_for() -> None:
    files = known((signed("a.exe", NORD, "Suite"), (0,)), (unsigned("b.exe"), (0,)))
    only = Wanted(tiers=frozenset({Tier.PRODUCT}))
    found = simulate(rule_set(), files, wanted=only)
    assert tiers(found) == [("product", 1)]
    assert found.uncovered == 1


def test_versions_of_one_file_share_a_rule() -> None:
    files = known(*((unsigned("a.exe", digests=frozenset({f"file:sha256:{n:064x}"})), (0,))
                    for n in range(3)))  # fmt: skip
    (proposal,) = simulate(rule_set(), files).proposals
    assert len(proposal.rule.digest) == proposal.covers.files == 3


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"identity": "eku:1.3.6.1.4.1.311.97.1.2.3.4@00ff"},
         PublisherMatch(eku="1.3.6.1.4.1.311.97.1.2.3.4", organization=NORD)),
        ({"subject": {}, "identity": "", "team_id": "ABCDE12345"},
         PublisherMatch(team_id="ABCDE12345")),
        ({"subject": {}, "identity": "subject:x"}, PublisherMatch(identity="subject:x")),
        ({"subject": {"common_name": "N"}, "identity": ""}, PublisherMatch(common_name="N")),
        ({"subject": {}, "identity": ""}, PublisherMatch(certificate=f"sha256:{sha256(NORD)}")),
        ({"subject": {}, "identity": "", "certificates": ()}, None),
        ({"subject": {"organization": "x" * 2000}}, None),
    ],
)  # fmt: skip
def test_a_publisher_is_named_by_what_lasts(
    fields: dict[str, object], match: PublisherMatch | None
) -> None:
    subject = signed("a", NORD, signers=(signer(NORD, **fields),))
    assert [c.publisher for c in candidates(subject) if c.tier is Tier.PUBLISHER] == (
        [match] if match else []
    )


def test_what_no_policy_may_hold_is_not_proposed() -> None:
    odd = [
        signed("a.exe", NORD, signers=(signer("", subject={}, identity="", team_id="no team"),)),
        signed("b.exe", NORD, signers=(signer(NORD, identity="eku:none@x"),)),
        signed("c.exe", KITSUNE, "Suite", version=(1, 2, 3, 4_000_000)),
        signed("d.exe", KITSUNE, "Other", signers=(), digests=frozenset({"file:sha256:\n"})),
    ]
    wanted = Wanted(tiers=frozenset({Tier.PRODUCT, Tier.DIGEST}))
    found = simulate(empty_policy("odd"), known(*((one, (0,)) for one in odd)), wanted=wanted)
    document = read_document("odd", to_toml(derived(found)).encode())
    assert {rule.product.minimum_version for rule in document.rule if rule.product} == {
        "1.2.3.65535"
    }
    assert (len(document.rule), found.uncovered) == (3, 1)


def test_of_several_digests_always_the_same_is_taken() -> None:
    told = [f"file:sha256:{n:064x}" for n in range(9)]
    assert digest_of(unsigned("a", digests=frozenset(told))) == told[0]


def test_a_keyless_identity_is_matched_whole_and_literally() -> None:
    one = signer(
        "", subject={}, keyless_identity="a+b@x.example", keyless_issuer="https://i.example"
    )
    subject = signed("a", NORD, signers=(one,))
    found = simulate(rule_set(), known((subject, (0,))))
    assert found.proposals[0].covers.files == 1
    other = replace(one, keyless_identity="aab@xyexample")
    index = Index(rule_set(found.proposals[0].rule))
    assert decide(index, subject, AT).outcome is Outcome.ACCEPTED
    assert decide(index, replace(subject, signers=(other,)), AT).outcome is Outcome.REJECTED


def test_names_of_rules_are_names_and_never_twice() -> None:
    names = RuleNames({"contoso-inc"})
    made = [names.name(text) for text in ("Contoso, Inc.", "contoso inc", "../..", "Ł" * 99, "")]
    assert made == ["contoso-inc-2", "contoso-inc-3", "rule", "rule-2", "rule-3"]
    assert names.name("x" * 99) == "x" * 48


def test_what_is_derived_lets_in_what_was_seen_and_nothing_else() -> None:
    files = known(
        *((signed(f"{n}.exe", NORD, f"P{n}"), (0,)) for n in range(3)),
        (unsigned("tool.exe"), (0,)),
        (unsigned("evil.exe", "digest-mismatch"), (0,)),
    )
    document = derived(simulate(empty_policy("golden"), files))
    assert document.mode is Mode.MONITOR
    assert "Left out: 1 whose own signature speaks against them" in document.note
    again = merge([read_document("golden", to_toml(document).encode())], lambda *_: b"")
    fates = simulate(again, files).fates
    assert (fates[Fate.RUNS].files, fates[Fate.STOPPED].files) == (4, 1)
    other = simulate(again, known((signed("x.exe", KITSUNE), (0,)), (unsigned("y.exe"), (0,))))
    assert other.fates[Fate.STOPPED].files == 2


def test_proposals_make_a_supplement() -> None:
    base = read_document("base", b'schema = 1\nname = "base"\nversion = 3\n')
    found = simulate(merge([base], lambda *_: b""), known((unsigned("a.exe"), (0,))))
    added = supplement(found, "base-proposed")
    both = merge([base, read_document("s", to_toml(added).encode())], lambda *_: b"")
    assert [rule.id for rule in both.rules] == ["file-a.exe"]


def _files(drawn: list[tuple[Subject, set[int]]]) -> list[Known]:
    return [
        Known(number, replace(subject, path=""), [Place(host, subject.path) for host in sorted(on)])
        for number, (subject, on) in enumerate(drawn, 1)
    ]


FILES = st.lists(st.tuples(subjects(), st.sets(st.integers(0, 5), min_size=1)), max_size=8).map(
    _files
)


@settings(deadline=None, max_examples=150)
@given(rule_sets(), FILES, st.integers(1, 3))
def test_counts_are_what_deciding_each_sighting_says(
    rules: RuleSet, files: list[Known], least: int
) -> None:
    fleet = hosts(6)
    found = simulate(rules, files, fleet, Wanted(hosts=least))
    index = Index(rules)
    fates = dict.fromkeys(Fate, 0)
    for each in files:
        for place in each.places:
            decision = decide(index, _there(each, place, fleet), AT)
            fates[_fate(decision.outcome, decision.action)] += 1
    assert {fate: tally.sightings for fate, tally in found.fates.items()} == fates
    listed = sum(row.seen.sightings for row in found.listed)
    assert listed == fates[Fate.STOPPED] + fates[Fate.UNSETTLED]


@settings(deadline=None, max_examples=150)
@given(rule_sets(), FILES)
def test_proposals_together_let_in_exactly_what_they_say(
    rules: RuleSet, files: list[Known]
) -> None:
    fleet = hosts(6)
    found = simulate(rules, files, fleet)
    tried = Index(replace(rules, rules=rules.rules + tuple(p.rule for p in found.proposals)))
    before, after = Index(rules), tried
    gained: set[int] = set()
    for each in files:
        for place in each.places:
            subject = _there(each, place, fleet)
            was, now = decide(before, subject, AT).outcome, decide(after, subject, AT).outcome
            assert not (was is Outcome.ACCEPTED and now is not Outcome.ACCEPTED)
            if was is Outcome.REJECTED and now is Outcome.ACCEPTED:
                gained.add(each.number)
    assert sum(_touched(p) for p in found.proposals) == len(gained)
    assert found.needed.files - found.uncovered == len(gained)


def _touched(proposal: Proposal) -> int:
    return proposal.covers.files + proposal.also.files


def _there(each: Known, place: Place, fleet: Sequence[Host]) -> Subject:
    host = fleet[place.host]
    return replace(each.subject, path=place.path, host=host.name, tags=host.tags)


def _fate(outcome: Outcome, action: Action | None) -> Fate:
    if outcome is Outcome.ACCEPTED:
        return Fate.AUDITED if action is Action.AUDIT else Fate.RUNS
    return Fate.STOPPED if outcome is Outcome.REJECTED else Fate.UNSETTLED
