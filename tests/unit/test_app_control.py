"""App Control: what is compiled is valid, decides as we do, and is read back; losses are named."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from signward.compilers import Compiled
from signward.compilers._cip import read_cip
from signward.compilers._sipolicy_read import read_xml
from signward.compilers.app_control import COMPILER, AppControlSettings
from signward.compilers.arbiters.app_control import ARBITER
from signward.compilers.importers.app_control import IMPORTER
from signward.errors import PolicyError
from signward.policy.rules.force import in_force
from signward.policy.rules.model import (
    Action,
    Mode,
    ProductMatch,
    PublisherMatch,
    Requirements,
    Rule,
    RuleSet,
    SignersMatch,
    Waiver,
)
from signward.policy.rules.subject import Subject
from signward.verbs.policies.compiling import import_from
from tests.builders.policies import AT, digest, rule_set
from tests.builders.windows import (
    EKU,
    PLACES,
    PROGRAMS,
    allowed,
    layered,
    signer,
    windows_rules,
    windows_subjects,
    without,
)
from tests.schemas import check_windows

OFTEN = settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=(HealthCheck.too_slow,)
)
IN_PART = {"digest", "path-of-drivers", "key-renewed"}
"""Losses that leave a part of the rule standing."""


def _compile(rules: RuleSet, **changes: Any) -> Compiled:
    return COMPILER.compile(rules, AppControlSettings(**changes))


def _files(compiled: Compiled, suffix: str = "") -> dict[str, bytes]:
    return {f.name: f.content for f in compiled.files if f.name.endswith(suffix)}


def _as_compiled(rules: RuleSet, compiled: Compiled) -> RuleSet:
    """Return the rules as the target has them: without those lost, others for all of user mode."""
    losses: dict[str, set[str]] = {}
    for loss in compiled.losses:
        losses.setdefault(loss.rule, set()).add(loss.name)
    widened = {rule for rule, names in losses.items() if names == {"wider-kind"}}
    kept = without(rules, frozenset(losses) - widened)
    return msgspec.structs.replace(
        kept,
        rules=tuple(
            msgspec.structs.replace(rule, kind=(*rule.kind, *PROGRAMS))
            if rule.id in widened else rule
            for rule in kept.rules
        ),
    )  # fmt: skip


def _lost(compiled: Compiled) -> set[tuple[str, str]]:
    return {(loss.name, loss.rule) for loss in compiled.losses}


def _rule(name: str = "one", action: Action = Action.ALLOW, **asked: Any) -> Rule:
    return Rule(id=name, action=action, **asked)


def _subject(**changes: Any) -> Subject:
    known: dict[str, Any] = {"path": PLACES[0], "file_class": "executable", "kind": "pe"}
    return Subject(**{**known, **changes})


def _not_widened(rules: RuleSet) -> RuleSet:
    """Return the rules that are not taken for more kinds than they name."""
    losses = _compile(rules).losses
    return without(rules, frozenset(loss.rule for loss in losses if loss.name == "wider-kind"))


def _judged(compiled: Compiled, subject: Subject) -> set[bool | None]:
    """Return the arbiter's answers by XML, by .cip and by both."""
    return {ARBITER.judge(_files(compiled, suffix), subject) for suffix in (".xml", ".cip", "")}


@settings(OFTEN, max_examples=60)
@given(rules=windows_rules())
def test_the_xml_is_valid_by_the_schema(rules: tuple[Rule, ...]) -> None:
    for content in _files(_compile(layered(rules)), ".xml").values():
        check_windows("SiPolicy.xsd", content)


@OFTEN
@given(rules=windows_rules(), subject=windows_subjects())
def test_what_is_not_lost_is_decided_as_we_do(rules: tuple[Rule, ...], subject: Subject) -> None:
    merged = _not_widened(layered(rules))
    compiled = _compile(merged)
    assume(not {loss.name for loss in compiled.losses} & IN_PART)
    kept = _as_compiled(merged, compiled)
    answers = _judged(compiled, subject)
    assert len(answers) == 1
    answer = answers.pop()
    if subject.kind == "batch":
        assert answer is None
    else:
        assert answer is allowed(kept, subject)


@OFTEN
@given(rules=windows_rules(), subject=windows_subjects(), suffix=st.sampled_from((".xml", ".cip")))
def test_what_is_not_lost_is_read_back(
    rules: tuple[Rule, ...], subject: Subject, suffix: str
) -> None:
    merged = _not_widened(layered(rules))
    compiled = _compile(merged)
    assume(not {loss.name for loss in compiled.losses} & IN_PART)
    assume(subject.kind != "batch")
    kept = _as_compiled(merged, compiled)
    again = IMPORTER.read(_files(compiled, suffix))
    assert allowed(again, subject) is allowed(kept, subject)
    assert (again.name, again.id, again.version) == (merged.name, merged.id, merged.version)
    assert [layer.id for layer in again.layers] == [layer.id for layer in merged.layers]
    if suffix == ".xml":
        governed = {r.id for r in kept.rules} - set(compiled.skipped)
        names = {r.id.partition(".")[0] for r in again.rules}
        assert names == governed


def test_identifiers_and_notes_come_back_from_xml() -> None:
    rules = rule_set(_rule("a.b-c", digest=(digest("authenticode", 1), digest("authenticode", 2)),
                           note='why: "this" & <that>'))  # fmt: skip
    (again,) = IMPORTER.read(_files(_compile(rules), ".xml")).rules
    assert (again.id, again.note) == ("a.b-c", 'why: "this" & <that>')
    assert set(again.digest) == set(rules.rules[0].digest)


def test_hashes_without_names_are_one_rule_of_what_a_rule_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("signward.compilers.importers.app_control.MAX_VALUES", 2)
    hashes = tuple(digest("authenticode", n) for n in range(3))
    rules = rule_set(_rule("a", digest=hashes[:2]), _rule("b", Action.DENY, digest=hashes),
                     _rule("c", digest=hashes[2:]))  # fmt: skip
    again = IMPORTER.read(_files(_compile(rules), ".cip")).rules
    found = [(rule.id, len(rule.digest)) for rule in again]
    assert found == [("hashes-denied", 2), ("hashes-denied.2", 1),
                     ("hashes-allowed", 2), ("hashes-allowed.2", 1)]  # fmt: skip
    assert {d for rule in again for d in rule.digest} == set(hashes)


@pytest.mark.parametrize(("rule", "loss"), [
    (_rule(publisher=PublisherMatch(common_name="Example Ltd")), "publisher"),
    (_rule(publisher=PublisherMatch(organization="Example Ltd")), "publisher"),
    (_rule(publisher=PublisherMatch(certificate=f"sha256:{'0' * 64}")), "publisher"),
    (_rule(publisher=PublisherMatch(key="first-leaf")), "key-renewed"),
    (_rule(signers=SignersMatch(least=2, of=(PublisherMatch(key="first-ca"),) * 2)), "signers"),
    (_rule(digest=(digest("file", 1),)), "digest"),
    (_rule(digest=(digest("authenticode", 1),), product=ProductMatch(product="x")), "digest"),
    (_rule(path=(r"C:\x\*.exe",), kind=PROGRAMS), "path"),
    (_rule(path=(r"C:\**\x.exe",), kind=PROGRAMS), "path"),
    (_rule(path=(r"%TEMP%\**",), kind=PROGRAMS), "path"),
    (_rule(path=("/usr/bin/**",), kind=PROGRAMS), "path"),
    (_rule(path=(r"C:\x\**",), kind=("driver",)), "path"),
    (_rule(path=(r"C:\x\**",)), "path-of-drivers"),
    (_rule(digest=(digest("authenticode", 1),), kind=("executable",)), "wider-kind"),
    (_rule(kind=("driver",)), "kind"),
    (_rule(product=ProductMatch(bundle_id="com.example")), "product"),
    (_rule(product=ProductMatch(maximum_version="3")), "product"),
    (_rule(catalog=(f"sha256:{'0' * 64}",)), "catalog"),
    (_rule(digest=(digest("authenticode", 1),), hosts=("a",)), "hosts"),
    (_rule(action=Action.AUDIT, digest=(digest("authenticode", 1),)), "audit"),
])  # fmt: skip
def test_what_cannot_be_said_is_lost_by_name(rule: Rule, loss: str) -> None:
    assert _lost(_compile(rule_set(rule))) == {(loss, "one")}
    assert loss in COMPILER.losses


def test_requirements_are_lost_for_the_policy_and_for_a_rule() -> None:
    strict = Requirements(timestamp=True, max_age_days=30)
    rule = _rule(digest=(digest("authenticode", 1),), requires=Requirements(log=True))
    digested = _rule("two", digest=(digest("authenticode", 2),))
    assert _lost(_compile(rule_set(rule, digested, requirements=strict))) == {
        ("requirement-algorithm", "one"), ("requirement-log", "one"),
    }  # fmt: skip
    other = _rule("three", publisher=PublisherMatch(tbs="sha256:" + "ab" * 32))
    assert _lost(_compile(rule_set(rule, other, requirements=strict))) == {
        ("requirement-algorithm", "one"), ("requirement-log", "one"),
        ("requirement-timestamp", ""), ("requirement-age", ""),
    }  # fmt: skip


def test_kernel_mode_knows_no_paths_but_user_mode_does() -> None:
    compiled = _compile(rule_set(_rule(path=(r"%WINDIR%\**",))))
    assert _judged(compiled, _subject(path=r"c:\windows\x.exe")) == {True}
    assert _judged(compiled, _subject(path=r"c:\windowsx\x.exe")) == {False}
    assert _judged(compiled, _subject(path=r"c:\windows\x.sys", file_class="driver")) == {False}


def test_a_leaf_in_keys_stands_for_its_digest_and_an_eku_for_itself() -> None:
    leaf = signer(0).certificates[0]
    publisher = PublisherMatch(certificate=f"sha256:{leaf}", eku=EKU)
    compiled = _compile(rule_set(_rule(publisher=publisher)))
    assert not compiled.losses
    assert _judged(compiled, _subject(signers=(signer(0, eku=True),))) == {True}
    assert _judged(compiled, _subject(signers=(signer(0),))) == {False}
    assert _judged(compiled, _subject(signers=(signer(1, eku=True),))) == {False}


def test_microsofts_roots_are_known_by_number() -> None:
    tbs = "sha256:08fba831c08544208f5208686b991ca1b2cfc510e7301784ddf1eb5bf0393239"
    compiled = _compile(rule_set(_rule(publisher=PublisherMatch(tbs=tbs))))
    (xml,) = _files(compiled, ".xml").values()
    assert b'<CertRoot Type="Wellknown" Value="06" />' in xml
    theirs = msgspec.structs.replace(signer(0), tbs=("sha256:" + "0" * 64, tbs))
    assert _judged(compiled, _subject(signers=(theirs,))) == {True}
    (again,) = IMPORTER.read(_files(compiled)).rules
    assert again.publisher == PublisherMatch(tbs=tbs)


def test_supplements_only_let_in_and_denials_are_the_bases() -> None:
    rules = layered((
        _rule("base-allow", digest=(digest("authenticode", 1),)),
        _rule("their-deny", Action.DENY, digest=(digest("authenticode", 2),)),
        _rule("base-other", digest=(digest("authenticode", 3),)),
        _rule("their-allow", digest=(digest("authenticode", 2), digest("authenticode", 4))),
    ))  # fmt: skip
    files = _files(_compile(rules), ".xml")
    base, added = (read_xml(name, files[name]) for name in ("generated.xml", "added.xml"))
    assert [r.kind for r in added.files] == [1, 1]
    assert "Enabled:Allow Supplemental Policies" in base.options
    assert added.is_supplement
    assert added.base_id == base.id == rules.id
    assert (base.version, added.version) == ((10, 0, 0, 1), (10, 0, 0, 2))


def test_a_rule_of_scripts_is_none_where_scripts_are_not_enforced() -> None:
    rule = _rule(digest=(digest("authenticode", 1),), kind=("script",))
    compiled = _compile(rule_set(rule), scripts=False)
    assert _lost(compiled) == {("kind", "one")}
    assert all(b"<Allow" not in content for content in _files(compiled, ".xml").values())


def test_a_rule_that_is_lost_is_not_widened_too() -> None:
    rule = _rule(path=(r"C:\*\x.exe",), kind=("executable",))
    assert _lost(_compile(rule_set(rule))) == {("path", "one")}


def test_monitor_is_audit_mode() -> None:
    rules = rule_set(mode=Mode.MONITOR)
    compiled = _compile(rules)
    assert _judged(compiled, _subject()) == {True}
    assert IMPORTER.read(_files(compiled)).mode is Mode.MONITOR
    assert _judged(_compile(rule_set()), _subject()) == {False}


def test_scripts_may_be_left_to_others() -> None:
    rule = _rule(digest=(digest("authenticode", 1),), kind=("executable", "library"))
    assert _lost(_compile(rule_set(rule))) == {("wider-kind", "one")}
    compiled = _compile(rule_set(rule), scripts=False)
    assert not compiled.losses
    found = frozenset({digest("authenticode", 1)})
    assert _judged(compiled, _subject(digests=found)) == {True}
    script = _subject(digests=found, file_class="script", kind="powershell")
    assert _judged(compiled, script) == {None}


def _waiver(name: str, spares: tuple[str, ...], **asked: Any) -> Waiver:
    return Waiver(id=name, owner="me", reason="a while", spares=spares,
                  expires=datetime(2027, 1, 1, tzinfo=UTC), **asked)  # fmt: skip


def _with_waivers(rules: RuleSet, *waivers: Waiver) -> RuleSet:
    return in_force(msgspec.structs.replace(rules, waivers=waivers), AT)


@pytest.mark.parametrize("asked", [
    {"digest": (digest("authenticode", 1),)},
    {"product": ProductMatch(original_name="agent.exe", minimum_version="2")},
], ids=["digest", "product"])  # fmt: skip
def test_a_denied_signer_spares_what_an_exception_names(asked: Mapping[str, Any]) -> None:
    rules = _with_waivers(
        rule_set(
            _rule("in", publisher=PublisherMatch(key="first-ca")),
            _rule("out", Action.DENY, publisher=PublisherMatch(tbs=signer(0).tbs[1])),
        ),
        _waiver("but", ("out",), **asked),
    )
    compiled = _compile(rules)
    assert _lost(compiled) == {("expiry", "but")}
    spared = _subject(signers=(signer(0),), digests=frozenset({digest("authenticode", 1)}),
                      original_name="agent.exe", version=(2, 0, 0, 0))  # fmt: skip
    other = _subject(signers=(signer(0),), digests=frozenset({digest("authenticode", 2)}),
                     original_name="agent.exe", version=(1, 0, 0, 0))  # fmt: skip
    for subject in (spared, other):
        assert _judged(compiled, subject) == {allowed(rules, subject)} == {subject is spared}
    for content in _files(compiled, ".xml").values():
        check_windows("SiPolicy.xsd", content)


def test_a_hash_is_spared_by_not_being_denied() -> None:
    both = digest("authenticode", 1), digest("authenticode", 2)
    rules = _with_waivers(
        rule_set(_rule("in", digest=both), _rule("out", Action.DENY, digest=both)),
        _waiver("but", ("out",), digest=both[:1]),
    )
    compiled = _compile(rules)
    for one in both:
        subject = _subject(digests=frozenset({one}))
        assert _judged(compiled, subject) == {allowed(rules, subject)} == {one == both[0]}


def test_a_file_that_another_hash_denies_is_not_spared_in_silence() -> None:
    both = digest("authenticode", 1), f"authenticode:sha1:{'ab' * 20}"
    rules = _with_waivers(
        rule_set(_rule("out", Action.DENY, digest=both)), _waiver("but", ("out",), digest=both[:1])
    )
    assert _lost(_compile(rules)) == {("exception", "but"), ("expiry", "but")}


def test_an_exception_that_cannot_be_said_leaves_the_denial() -> None:
    rules = _with_waivers(
        rule_set(_rule("out", Action.DENY, publisher=PublisherMatch(key="first-ca"))),
        _waiver("but", ("out",), path=(r"C:\x\**",)),
    )
    compiled = _compile(rules)
    assert _lost(compiled) == {("exception", "but"), ("expiry", "but")}
    assert b"DeniedSigner " in b"".join(_files(compiled, ".xml").values())


def test_update_signers_make_it_a_policy_that_must_be_signed() -> None:
    compiled = _compile(layered((_rule(digest=(digest("authenticode", 1),)),)),
                        update_signers=("first-leaf",))  # fmt: skip
    files = _files(compiled, ".xml")
    base = read_xml("base", files["generated.xml"])
    assert "Enabled:Unsigned System Integrity Policy" not in base.options
    (guard,) = [s for s in base.signers if s.id in base.update_signers]
    assert guard.tbs.hex() == signer(0).tbs[0].partition(":")[2]
    assert base.supplemental_signers == base.update_signers
    assert all("sign it" in f.deploy for f in compiled.files if f.name.endswith(".cip"))
    for content in files.values():
        check_windows("SiPolicy.xsd", content)
    assert guard.tbs.hex() in IMPORTER.read(files).note


@pytest.mark.parametrize("changes", [
    {"update_signers": ("nobody",)},
    {"options": ("Enabled:Managed Installer",)},
    {"options": ("Enabled:Audit Mode",)},
])  # fmt: skip
def test_settings_that_cannot_be_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(PolicyError):
        _compile(rule_set(), **changes)


FOREIGN = """<SiPolicy xmlns="urn:schemas-microsoft-com:sipolicy" PolicyType="Base Policy">
<VersionEx>10.0.0.0</VersionEx><PlatformID>{2E07F7E4-194C-4D20-B7C9-6F44A6C5A234}</PlatformID>
<PolicyID>{A244370E-44C9-4C06-B551-F6016E563076}</PolicyID>
<BasePolicyID>{A244370E-44C9-4C06-B551-F6016E563076}</BasePolicyID>
<Rules><Rule><Option>Enabled:UMCI</Option></Rule>%(rules)s</Rules>
<FileRules>%(files)s</FileRules>
<Signers><Signer Name="PCA" ID="ID_SIGNER_A"><CertRoot Type="TBS" Value="%(tbs)s"/>%(signer)s
</Signer></Signers>
<SigningScenarios><SigningScenario Value="12" ID="ID_SIGNINGSCENARIO_W"><ProductSigners>
%(scenario)s</ProductSigners></SigningScenario></SigningScenarios>
</SiPolicy>"""


def _foreign(**changes: str) -> dict[str, bytes]:
    known = {"rules": "", "files": "", "signer": "", "scenario": "", "tbs": "AB" * 32}
    return {"theirs.xml": (FOREIGN % {**known, **changes}).encode()}


def test_a_policy_of_somebody_else_is_read() -> None:
    files = _foreign(
        files='<Deny ID="ID_DENY_BG" FriendlyName="Bginfo, old" FileName="BGINFO.Exe" '
              'MinimumFileVersion="4.21.0.0"/>',
        signer='<CertPublisher Value="Example"/>',
        scenario='<AllowedSigners><AllowedSigner SignerId="ID_SIGNER_A"/></AllowedSigners>'
                 '<FileRulesRef><FileRuleRef RuleID="ID_DENY_BG"/></FileRulesRef>',
    )  # fmt: skip
    rules = IMPORTER.read(files)
    denied, let_in = rules.rules
    assert denied.product == ProductMatch(original_name="BGINFO.Exe", maximum_version="4.21.0.0")
    assert (denied.id, denied.note, denied.kind) == ("id_deny_bg", "Bginfo, old", PROGRAMS)
    assert let_in.publisher == PublisherMatch(tbs=f"sha256:{'ab' * 32}", common_name="Example")
    tbs = (f"sha256:{'cd' * 32}", f"sha256:{'ab' * 32}")
    theirs = msgspec.structs.replace(signer(0), tbs=tbs, subject={"common_name": "EXAMPLE"})
    for version in ((4, 20, 0, 0), (4, 21, 0, 0), (4, 22, 0, 0)):
        subject = _subject(signers=(theirs,), original_name="bginfo.exe", version=version)
        assert ARBITER.judge(files, subject) is (version > (4, 21, 0, 0))
        assert allowed(rules, subject) is (version > (4, 21, 0, 0))


def test_an_issuer_and_several_files_of_a_signer_count() -> None:
    files = _foreign(
        tbs=signer(0).tbs[1].partition(":")[2],
        files='<FileAttrib ID="ID_FILEATTRIB_A" FileName="a.exe" MinimumFileVersion="2.0.0.0"/>'
              '<FileAttrib ID="ID_FILEATTRIB_B" InternalName="b"/>',
        signer=f'<CertIssuer Value="{signer(0).names[1]}"/>'
               '<FileAttribRef RuleID="ID_FILEATTRIB_A"/><FileAttribRef RuleID="ID_FILEATTRIB_B"/>',
        scenario='<AllowedSigners><AllowedSigner SignerId="ID_SIGNER_A"/></AllowedSigners>',
    )  # fmt: skip
    ours = _subject(signers=(signer(0),), original_name="A.exe", version=(2, 0, 0, 0))
    old = msgspec.structs.replace(ours, version=(1, 9, 0, 0))
    other = msgspec.structs.replace(old, internal_name="B")
    renamed = msgspec.structs.replace(signer(0), names=("Example Ltd", "Another CA"))
    elsewhere = msgspec.structs.replace(ours, signers=(renamed,))
    judged = [ARBITER.judge(files, s) for s in (ours, old, other, elsewhere)]
    assert judged == [True, False, True, False]


@pytest.mark.parametrize("changes", [
    {"rules": "<Rule><Option>Enabled:Managed Installer</Option></Rule>"},
    {"files": '<Allow ID="ID_ALLOW_A" FileName="*"/>',
     "scenario": '<FileRulesRef><FileRuleRef RuleID="ID_ALLOW_A"/></FileRulesRef>'},
    {"files": '<Allow ID="ID_ALLOW_A" PackageFamilyName="x_y"/>',
     "scenario": '<FileRulesRef><FileRuleRef RuleID="ID_ALLOW_A"/></FileRulesRef>'},
    {"files": '<Allow ID="ID_ALLOW_A" FilePath="C:\\a?b"/>',
     "scenario": '<FileRulesRef><FileRuleRef RuleID="ID_ALLOW_A"/></FileRulesRef>'},
    {"files": '<Allow ID="ID_ALLOW_A" Hash="00" AppIDs="x"/>'},
    {"files": '<Allow ID="ID_ALLOW_A" Hash="xy"/>'},
    {"signer": '<CertIssuer Value="x"/>',
     "scenario": '<AllowedSigners><AllowedSigner SignerId="ID_SIGNER_A"/></AllowedSigners>'},
    {"signer": '<CertEKU ID="ID_EKU_NONE"/>'},
    {"signer": '<CertEKU ID="ID_EKU_NONE" Condition="Except"/>'},
    {"scenario": '<AllowedSigners><AllowedSigner SignerId="ID_SIGNER_B"/></AllowedSigners>'},
    {"scenario": '<FileRulesRef><FileRuleRef RuleID="ID_ALLOW_A"/></FileRulesRef>'},
    {"files": '<Allow ID="ID_ALLOW_A" Hash="00"/><Deny ID="ID_ALLOW_A" Hash="01"/>'},
    {"tbs": "00",
     "scenario": '<AllowedSigners><AllowedSigner SignerId="ID_SIGNER_A"/></AllowedSigners>'},
    {"scenario": '<AllowedSigners><AllowedSigner SignerId="ID_SIGNER_A"><ExceptDenyRule '
                 'DenyRuleID="ID_DENY_A"/></AllowedSigner></AllowedSigners>'},
])  # fmt: skip
def test_what_has_no_equal_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(PolicyError):
        IMPORTER.read(_foreign(**changes))


def test_the_binary_form_says_what_the_xml_says() -> None:
    rules = layered((
        _rule("a", digest=(digest("authenticode", 1),)),
        _rule("b", publisher=PublisherMatch(key="first-ca", eku=EKU)),
    ))  # fmt: skip
    compiled = _compile(rules)
    named = {f"{layer.name}.xml": f"{{{layer.id.upper()}}}.cip" for layer in rules.layers}
    files = _files(compiled)
    for xml, cip in named.items():
        by_xml, by_cip = read_xml(xml, files[xml]), read_cip(cip, files[cip])
        for field in ("id", "base_id", "version", "name", "label", "platform_id", "hvci"):
            assert getattr(by_xml, field) == getattr(by_cip, field)
        assert set(by_xml.options) == set(by_cip.options)
        assert [e.oid for e in by_xml.ekus] == [e.oid for e in by_cip.ekus]


@settings(OFTEN, max_examples=100)
@given(data=st.binary(max_size=400))
def test_any_bytes_are_refused_with_a_reason(data: bytes) -> None:
    for content in (data, b"<" + data):
        with pytest.raises(PolicyError):
            IMPORTER.read({"x": content})


@pytest.mark.parametrize("field", ["original_name", "internal_name", "product"])
@pytest.mark.parametrize("name", ["*", "agent*", "agen?.exe"])
def test_a_wildcard_in_a_name_lets_nothing_in(field: str, name: str) -> None:
    """A lone ``*`` as FileName stands for every file that has a name."""
    compiled = _compile(rule_set(_rule(product=ProductMatch(**{field: name}))))
    assert _lost(compiled) == {("product", "one")}
    assert _judged(compiled, _subject(**{field: "agent.exe"})) == {False}


def test_a_highest_version_of_zero_is_not_the_lack_of_one() -> None:
    match = ProductMatch(product="Agent", maximum_version="0.0.0.0")
    compiled = _compile(rule_set(_rule(product=match)))
    assert _lost(compiled) == {("product", "one")}
    assert _judged(compiled, _subject(product="Agent", version=(1, 0, 0, 0))) == {False}


def test_numbers_above_16_bits_are_no_version() -> None:
    with pytest.raises(ValueError, match="65535"):
        ProductMatch(product="Agent", minimum_version="1.65536")


def test_a_digest_of_the_wrong_length_is_not_taken_for_another_algorithms() -> None:
    with pytest.raises(PolicyError, match="64 hexadecimal digits"):
        _compile(rule_set(_rule(digest=(f"authenticode:sha256:{'ab' * 20}",))))
    with pytest.raises(PolicyError, match="as long as a sha256"):
        _compile(rule_set(_rule(publisher=PublisherMatch(tbs=f"sha256:{'ab' * 20}"))))


def test_a_denied_name_that_xml_cannot_hold_is_lost() -> None:
    match = PublisherMatch(tbs=f"sha256:{'ab' * 32}", common_name="Evil\x01")
    assert _lost(_compile(rule_set(_rule(action=Action.DENY, publisher=match)))) == {
        ("publisher", "one")
    }


def test_an_option_is_written_once() -> None:
    twice = ("Enabled:Update Policy No Reboot",) * 2
    (content,) = _files(_compile(rule_set(), options=twice), ".xml").values()
    assert content.count(b"No Reboot") == 1


def _edited(rules: RuleSet, old: str, new: str) -> dict[str, bytes]:
    """Return the XML of rules with one text in place of another."""
    ((name, content),) = _files(_compile(rules), ".xml").items()
    assert old.encode() in content
    return {name: content.replace(old.encode(), new.encode())}


@pytest.mark.parametrize("attribute", ["FileName", "ProductName", "InternalName"])
def test_a_wildcard_in_a_name_is_not_imported_as_it_is(attribute: str) -> None:
    rules = rule_set(_rule(action=Action.DENY, product=ProductMatch(product="Agent")))
    edited = _edited(rules, 'ProductName="Agent"', f'ProductName="Agent" {attribute}="a*"'
                     if attribute != "ProductName" else 'ProductName="A*"')  # fmt: skip
    with pytest.raises(PolicyError, match="as they are"):
        IMPORTER.read(edited)


@pytest.mark.parametrize("more", ['InternalName="x"', 'PackageFamilyName="x"',
                                  'MinimumFileVersion="5.0.0.0"'])  # fmt: skip
@pytest.mark.parametrize("kind", ["digest", "path"])
def test_a_hash_or_path_with_more_is_not_imported_without(kind: str, more: str) -> None:
    asked = (digest("authenticode", 1),) if kind == "digest" else (PLACES[0],)
    attribute = "Hash" if kind == "digest" else "FilePath"
    rules = rule_set(Rule(id="one", action=Action.ALLOW, kind=PROGRAMS, **{kind: asked}))  # type: ignore[arg-type]
    with pytest.raises(PolicyError):
        IMPORTER.read(_edited(rules, f" {attribute}=", f" {more} {attribute}="))
    harmless = f' MinimumFileVersion="0.0.0.0" {attribute}='
    assert getattr(IMPORTER.read(_edited(rules, f" {attribute}=", harmless)).rules[0], kind)


def test_an_option_that_is_not_known_is_not_imported_in_silence() -> None:
    edited = _edited(rule_set(), "Enabled:Update Policy No Reboot", "Disabled:No Such Thing")
    with pytest.raises(PolicyError, match="No Such Thing"):
        IMPORTER.read(edited)


def test_an_option_without_a_name_is_not_read_in_silence() -> None:
    ((name, content),) = _files(_compile(rule_set()), ".cip").items()
    flags = int.from_bytes(content[0x24:0x28], "little") | 1 << 6
    with pytest.raises(PolicyError, match="0x40"):
        read_cip(name, content[:0x24] + flags.to_bytes(4, "little") + content[0x28:])


def test_a_base_that_audits_does_not_silence_one_that_enforces() -> None:
    enforced = _files(_compile(rule_set()), ".xml")
    audited = msgspec.structs.replace(
        rule_set(), id=str(uuid.uuid4()), name="other", mode=Mode.MONITOR
    )
    layer = msgspec.structs.replace(audited.layers[0], id=audited.id, name="other")
    other = _files(_compile(msgspec.structs.replace(audited, layers=(layer,))), ".xml")
    assert ARBITER.judge(other, _subject()) is True
    assert ARBITER.judge(enforced | other, _subject()) is False


def test_a_denied_path_that_is_not_understood_is_not_passed_over() -> None:
    rules = rule_set(_rule(action=Action.DENY, path=(PLACES[0],), kind=PROGRAMS))
    edited = _edited(rules, PLACES[0], r"%HOT%\x.exe")
    with pytest.raises(PolicyError, match="HOT"):
        ARBITER.judge(edited, _subject())


def test_a_name_that_no_policy_can_hold_is_not_imported() -> None:
    rules = rule_set(_rule(product=ProductMatch(product="Agent")))
    assert import_from("app-control", _files(_compile(rules), ".xml")).rules
    with pytest.raises(PolicyError, match="length <= 1024"):
        import_from("app-control", _edited(rules, '"Agent"', f'"{"x" * 1025}"'))


def test_a_denial_of_scripts_that_are_not_enforced_is_told() -> None:
    kinds = ("executable", "library", "script")
    rules = rule_set(_rule(action=Action.DENY, digest=(digest("authenticode", 1),), kind=kinds))
    assert _lost(_compile(rules, scripts=False)) == {("kind", "one")}
    there = _compile(rule_set(msgspec.structs.replace(rules.rules[0], kind=kinds[:2])),
                     scripts=False)  # fmt: skip
    (again,) = IMPORTER.read(_files(there, ".xml")).rules
    assert again.kind == kinds[:2]
