"""The driver block list: what it denies, and that everything else stays as it was."""

from __future__ import annotations

from hypothesis import assume, given, settings

from signward import compilers
from signward.compilers import Compiled, Towards
from signward.compilers.arbiters.app_control import ARBITER
from signward.frozen import replace
from signward.policy.blocklist import BlockList, read_block_list
from signward.policy.blocklist import Subject as Blocked
from signward.policy.rules.decide import decide
from signward.policy.rules.index import Index
from signward.policy.rules.model import (
    Action,
    Mode,
    ProductMatch,
    PublisherMatch,
    Rule,
    RuleSet,
    Waiver,
)
from signward.policy.rules.subject import Subject
from signward.trust.x509 import Certificate, load_certificate
from tests.builders.policies import AT, digest, publishers, rule_set, rule_sets, subjects
from tests.schemas import check_windows

FIRST, SECOND = publishers()
CODE = digest("authenticode", 1)
HASHED = Rule(id="hashed", action=Action.DENY, digest=(CODE,), note='CVE <2026> & "more"')
NAMED = Rule(id="named", action=Action.DENY, kind=("driver",),
             product=ProductMatch(original_name="bad.sys", maximum_version="2.0"))  # fmt: skip
SIGNED = Rule(id="signed", action=Action.DENY, publisher=PublisherMatch(key="second-ca"))


def compiled(rules: RuleSet) -> Compiled:
    compiler = compilers.load("driver-blocklist")
    return compiler.compile(rules, compiler.settings())


def xml(made: Compiled) -> bytes:
    return made.content("generated-drivers.xml")


def block_list(made: Compiled) -> BlockList:
    return read_block_list("test", xml(made))


def driver(scenario: int = 131, **known: object) -> Blocked:
    plain: dict[str, object] = {"digests": frozenset(), "facts": {}, "paths": ()}
    return Blocked(scenarios=(scenario,), **plain | known)  # type: ignore[arg-type]


def path_of_second() -> tuple[Certificate, ...]:
    from cryptography.hazmat.primitives.serialization import Encoding

    certificates = SECOND.leaf, SECOND.authority
    return tuple(load_certificate(c.public_bytes(Encoding.DER)) for c in certificates)


def test_drivers_are_denied_by_hash_name_and_signer() -> None:
    made = compiled(rule_set(HASHED, NAMED, SIGNED))
    listed = block_list(made)
    octets = bytes.fromhex(CODE.rpartition(":")[2])
    facts = {"original-name": "BAD.SYS", "fixed-file-version": "1.9.0.0"}
    newer = facts | {"fixed-file-version": "2.0.0.1"}
    assert len(list(listed.findings(driver(digests=frozenset({octets}))))) == 1
    assert len(list(listed.findings(driver(facts=facts)))) == 1
    assert len(list(listed.findings(driver(paths=(path_of_second(),))))) == 1
    assert list(listed.findings(driver(facts=newer))) == []
    assert list(listed.findings(driver())) == []


def test_programs_are_left_alone() -> None:
    listed = block_list(compiled(rule_set(HASHED, SIGNED)))
    octets = bytes.fromhex(CODE.rpartition(":")[2])
    program = driver(12, digests=frozenset({octets}), paths=(path_of_second(),))
    assert list(listed.findings(program)) == []


def test_the_list_is_valid_and_lets_everything_else_in() -> None:
    made = compiled(rule_set(HASHED, NAMED, SIGNED))
    check_windows("SiPolicy.xsd", xml(made))
    assert xml(made).count(b'<Allow ID="ID_ALLOW_') == 2
    assert b"Enabled:UMCI" not in xml(made)
    assert b"CVE &lt;2026&gt; &amp;" in xml(made)


def test_an_empty_list_is_valid() -> None:
    made = compiled(rule_set())
    check_windows("SiPolicy.xsd", xml(made))
    assert {(loss.name, loss.rule, loss.towards) for loss in made.losses} == {
        ("default", "", Towards.LOOSER)
    }
    cip = [file for file in made.files if file.name.endswith(".cip")]
    assert len(cip) == 1
    assert cip[0].name.strip("{}.cip").lower() in xml(made).decode().lower()


def test_watching_is_audit_mode() -> None:
    assert b"Enabled:Audit Mode" not in xml(compiled(rule_set(HASHED)))
    assert b"Enabled:Audit Mode" in xml(compiled(rule_set(HASHED, mode=Mode.MONITOR)))


def test_what_lets_in_is_not_in_the_list() -> None:
    allow = Rule(id="ours", action=Action.ALLOW, publisher=PublisherMatch(key="first-leaf"))
    with_it, without = compiled(rule_set(allow, HASHED)), compiled(rule_set(HASHED))
    assert xml(with_it) == xml(without)
    assert with_it.losses == without.losses


def test_rules_of_other_kinds_are_skipped() -> None:
    made = compiled(rule_set(replace(HASHED, kind=("script",))))
    assert made.skipped == ("hashed",)


def test_what_app_control_cannot_say_is_lost() -> None:
    rule = replace(SIGNED, publisher=PublisherMatch(organization="Example Ltd"))
    made = compiled(rule_set(rule))
    assert {(loss.name, loss.rule) for loss in made.losses} == {
        ("publisher", "signed"), ("default", ""),
    }  # fmt: skip


def test_an_exception_spares_and_its_end_is_lost() -> None:
    waiver = Waiver(id="spared", owner="o", reason="r", expires=AT, digest=(CODE,),
                    spares=("signed",))  # fmt: skip
    rules = replace(rule_set(SIGNED), waivers=(waiver,), spared={"signed": (waiver,)})
    made = compiled(rules)
    octets = bytes.fromhex(CODE.rpartition(":")[2])
    paths = (path_of_second(),)
    listed = block_list(made)
    assert len(list(listed.findings(driver(paths=paths)))) == 1
    assert list(listed.findings(driver(paths=paths, digests=frozenset({octets})))) == []
    assert ("expiry", "spared") in {(loss.name, loss.rule) for loss in made.losses}


@given(rules=rule_sets(), subject=subjects())
@settings(deadline=None, max_examples=300, derandomize=True)
def test_windows_would_stop_what_a_rule_denies(rules: RuleSet, subject: Subject) -> None:
    made = compiled(rules)
    driver_of = replace(subject, kind="pe", file_class="driver")
    stopped = ARBITER.judge({f.name: f.content for f in made.files}, driver_of) is False
    denied = decide(Index(rules), driver_of, AT).action is Action.DENY
    if stopped:
        assert denied
    assume(not [loss for loss in made.losses if loss.rule])
    assert stopped is denied


def test_a_denial_of_all_images_reaches_drivers() -> None:
    made = compiled(rule_set(replace(HASHED, kind=("pe",))))
    assert not made.skipped
    subject = Subject(path="x", kind="pe", file_class="driver", digests=frozenset({CODE}))
    assert ARBITER.judge({"x.xml": xml(made)}, subject) is False


def test_a_denial_of_one_kind_of_script_is_lost_and_not_left_aside() -> None:
    compiler = compilers.load("driver-blocklist")
    rules = rule_set(replace(HASHED, kind=("powershell",)))
    made = compiler.compile(rules, compiler.settings(programs=True))
    assert ("kind", "hashed", Towards.LOOSER) in {(x.name, x.rule, x.towards) for x in made.losses}
