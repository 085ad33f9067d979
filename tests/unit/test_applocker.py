"""AppLocker: what is compiled is valid, decides as we do, and is read back; losses are named."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from signward.compilers import Compiled
from signward.compilers._applocker import read_locker
from signward.compilers.applocker import COMPILER, GUARD, AppLockerSettings
from signward.compilers.arbiters.applocker import ARBITER
from signward.compilers.importers.applocker import IMPORTER
from signward.errors import PolicyError
from signward.policy.rules.force import in_force
from signward.policy.rules.model import (
    MAX_VALUES,
    Action,
    Mode,
    ProductMatch,
    PublisherMatch,
    Rule,
    RuleSet,
    SignersMatch,
    Waiver,
)
from signward.policy.rules.subject import Subject
from tests.builders.policies import AT, digest, rule_set
from tests.builders.windows import (
    ADDRESS,
    PLACES,
    allowed,
    signer,
    windows_rules,
    windows_subjects,
    without,
)
from tests.schemas import check_windows

OFTEN = settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=(HealthCheck.too_slow,)
)
ALL = ("Exe", "Dll", "Script", "Msi", "Appx")
KIND = ("executable",)
EXAMPLE = PublisherMatch(organization="Example Ltd", **ADDRESS)


def _compile(rules: RuleSet, **changes: Any) -> Compiled:
    return COMPILER.compile(rules, AppLockerSettings(**changes))


def _files(compiled: Compiled) -> dict[str, bytes]:
    return {f.name: f.content for f in compiled.files}


def _xml(compiled: Compiled) -> str:
    (content,) = _files(compiled).values()
    return content.decode()


def _lost(compiled: Compiled) -> set[tuple[str, str]]:
    return {(loss.name, loss.rule) for loss in compiled.losses}


def _rule(name: str = "one", action: Action = Action.ALLOW, **asked: Any) -> Rule:
    return Rule(id=name, action=action, **asked)


def _subject(**changes: Any) -> Subject:
    known: dict[str, Any] = {"path": PLACES[0], "file_class": "executable", "kind": "pe"}
    return Subject(**{**known, **changes})


def _judged(compiled: Compiled, subject: Subject) -> bool | None:
    return ARBITER.judge(_files(compiled), subject)


@settings(OFTEN, max_examples=80)
@given(rules=windows_rules(), collections=st.sampled_from((ALL, ALL[:4], ("Exe",), ())))
def test_the_xml_is_valid_by_the_schema(rules: tuple[Rule, ...], collections: Any) -> None:
    compiled = _compile(rule_set(*rules), collections=collections)
    check_windows("AppLocker.xsd", _xml(compiled).encode())


@OFTEN
@given(rules=windows_rules(), subject=windows_subjects())
def test_what_is_not_lost_is_decided_as_we_do(rules: tuple[Rule, ...], subject: Subject) -> None:
    merged = rule_set(*rules)
    compiled = _compile(merged)
    answer = _judged(compiled, subject)
    if subject.file_class == "driver" or subject.kind == "wsf":
        assert answer is None
        return
    kept = without(merged, frozenset(loss.rule for loss in compiled.losses))
    assert answer is allowed(kept, subject)


@OFTEN
@given(rules=windows_rules(), subject=windows_subjects())
def test_what_is_not_lost_is_read_back(rules: tuple[Rule, ...], subject: Subject) -> None:
    merged = rule_set(*rules)
    compiled = _compile(merged)
    assume(subject.file_class != "driver" and subject.kind != "wsf")
    kept = without(merged, frozenset(loss.rule for loss in compiled.losses))
    again = IMPORTER.read(_files(compiled))
    assert allowed(again, subject) is allowed(kept, subject)
    assert not _compile(again).losses
    governed = {r.id for r in kept.rules} - set(compiled.skipped)
    assert {r.id.partition(".")[0] for r in again.rules} == {*governed, "appx-not-governed"}


@pytest.mark.interop
@pytest.mark.filterwarnings("ignore:Testing an element's truth value")
@settings(OFTEN, max_examples=60)
@given(rules=windows_rules())
def test_another_reader_finds_what_we_wrote(rules: tuple[Rule, ...]) -> None:
    """The package applocker of PyPI reads the policy, and writes one with the same rules."""
    applocker = pytest.importorskip("applocker", reason="applocker is not installed")
    text = _xml(_compile(rule_set(*rules)))
    theirs = applocker.dumps(applocker.loads(text))
    assert _meaning(ET.fromstring(theirs)) == _meaning(ET.fromstring(text))


def _meaning(element: ET.Element) -> object:
    return element.tag, element.attrib, [_meaning(child) for child in element]


@pytest.mark.parametrize(("rule", "loss"), [
    (_rule(publisher=PublisherMatch(common_name="Example Ltd")), "publisher"),
    (_rule(publisher=PublisherMatch(organization="Example Ltd")), "publisher"),
    (_rule(publisher=PublisherMatch(organization="E", locality="W", country="AT")), "publisher"),
    (_rule(publisher=PublisherMatch(organization="E, L=W", **ADDRESS)), "publisher"),
    (_rule(publisher=PublisherMatch(key="first-ca")), "publisher"),
    (_rule(publisher=PublisherMatch(eku="1.2.3", organization="E", **ADDRESS)), "publisher"),
    (_rule(publisher=PublisherMatch(common_name="E", organization="E", **ADDRESS)), "publisher"),
    (_rule(signers=SignersMatch(least=2, of=(EXAMPLE, EXAMPLE))), "signers"),
    (_rule(product=ProductMatch(product="Agent")), "product"),
    (_rule(publisher=EXAMPLE, product=ProductMatch(internal_name="x")), "product"),
    (_rule(publisher=EXAMPLE, product=ProductMatch(maximum_version="3")), "product"),
    (_rule(publisher=EXAMPLE, path=(PLACES[0],)), "path"),
    (_rule(digest=(digest("file", 1),), path=(PLACES[0],)), "digest"),
    (_rule(digest=(digest("cdhash", 1),)), "digest"),
    (_rule(path=("/opt/x",)), "path"),
    (_rule(path=(r"C:\x\*.exe",)), "path"),
    (_rule(path=(r"%TEMP%\**",)), "path"),
    (_rule(digest=(digest("file", 1),), kind=("powershell",)), "kind"),
    (_rule(digest=(digest("file", 1),), kind=("app-package",)), "collection"),
    (_rule(action=Action.DENY, kind=("app-package",)), "collection"),
    (_rule(digest=(digest("file", 1),), hosts=("a",)), "hosts"),
])  # fmt: skip
def test_what_cannot_be_said_is_lost_by_name(rule: Rule, loss: str) -> None:
    compiled = _compile(rule_set(rule))
    assert _lost(compiled) == {(loss, "one")}
    assert loss in COMPILER.losses
    assert _xml(compiled).count(f' Name="{GUARD}"') == 4


def test_a_publisher_is_its_four_names() -> None:
    compiled = _compile(rule_set(_rule(publisher=EXAMPLE, kind=("executable",))))
    assert 'PublisherName="O=EXAMPLE LTD, L=WIEN, S=WIEN, C=AT"' in _xml(compiled)
    assert _judged(compiled, _subject(signers=(signer(0),))) is True
    assert _judged(compiled, _subject(signers=(signer(0, address=False),))) is False
    assert _judged(compiled, _subject(signers=(signer(1),))) is False


def test_versions_and_names_bound_a_publisher() -> None:
    product = ProductMatch(product="Agent", original_name="agent.exe", minimum_version="2",
                           maximum_version="2.9.9.9")  # fmt: skip
    compiled = _compile(rule_set(_rule(publisher=EXAMPLE, product=product)))
    assert 'LowSection="2.0.0.0" HighSection="2.9.9.9"' in _xml(compiled)
    ours = _subject(signers=(signer(0),), product="AGENT", original_name="Agent.exe")
    versions = (1, 9, 9, 9), (2, 0, 0, 0), (2, 9, 9, 9), (2, 9, 9, 10)
    judged = [_judged(compiled, msgspec.structs.replace(ours, version=v)) for v in versions]
    assert judged == [False, True, True, False]


def test_publishers_are_completed_from_certificates_only_where_it_is_asked_for() -> None:
    """Our test publishers' certificates have no state."""
    rules = rule_set(_rule(publisher=PublisherMatch(organization="example ltd")))
    compiled = _compile(rules, complete=True)
    assert _lost(compiled) == {("publisher-names", "one")}
    assert 'PublisherName="O=EXAMPLE LTD, L=WIEN, C=AT"' in _xml(compiled)
    assert _judged(compiled, _subject(signers=(signer(0, address=False),))) is True
    assert _judged(compiled, _subject(signers=(signer(0),))) is False
    unknown = rule_set(_rule(publisher=PublisherMatch(organization="Nobody")))
    assert _lost(_compile(unknown, complete=True)) == {("publisher", "one")}


def test_settings_may_tell_what_a_publisher_is_called() -> None:
    text = "O=Example Ltd, L=Wien, S=Wien, C=AT"
    told = {"publishers": {"one": (text, f"CN=Example Ltd, {text}")}}
    app_locker = msgspec.convert(told, AppLockerSettings)
    rule = _rule(publisher=PublisherMatch(key="first-ca"))
    compiled = COMPILER.compile(rule_set(rule), app_locker)
    assert _lost(compiled) == {("publisher-told", "one")}
    assert _judged(compiled, _subject(signers=(signer(0),))) is True
    assert _judged(compiled, _subject(signers=(signer(1),))) is False
    elsewhere = _compile(rule_set(_rule("two", publisher=rule.publisher)), **told)
    assert _lost(elsewhere) == {("publisher", "two")}
    every = msgspec.structs.replace(app_locker, collections=ALL)
    assert 'PublisherName="CN=EXAMPLE LTD, O=' in _xml(COMPILER.compile(rule_set(rule), every))


@pytest.mark.parametrize(
    "text", ["*", "Example Ltd", "O=Example Ltd", "O=E, L=W, S=W, C=Austria", "O=A, O=B, C=AT"]
)
def test_a_publisher_that_could_be_anybody_is_not_told(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"publishers": {"one": [text]}}, AppLockerSettings)


def test_packages_are_known_by_the_whole_subject() -> None:
    whole = PublisherMatch(common_name="Example Ltd", organization="Example Ltd", **ADDRESS)
    rules = rule_set(_rule(publisher=whole, kind=("app-package",)))
    compiled = _compile(rules, collections=ALL)
    assert not compiled.losses
    assert 'PublisherName="CN=EXAMPLE LTD, O=EXAMPLE LTD, L=WIEN' in _xml(compiled)
    package = _subject(file_class="app-package", kind="msix", signers=(signer(0),))
    assert _judged(compiled, package) is True
    assert _judged(compiled, msgspec.structs.replace(package, signers=(signer(1),))) is False
    (again,) = IMPORTER.read(_files(compiled)).rules
    assert allowed(IMPORTER.read(_files(compiled)), package)
    assert again.kind == ("app-package",)
    among_others = _compile(rule_set(_rule(publisher=EXAMPLE)), collections=ALL)
    assert _lost(among_others) == {("app-packages", "one")}
    assert _judged(among_others, _subject(signers=(signer(0),))) is True


def test_a_collection_without_rules_still_stops() -> None:
    compiled = _compile(rule_set())
    assert _judged(compiled, _subject()) is False
    assert _judged(_compile(rule_set(), collections=("Dll",)), _subject()) is None


def test_a_rule_by_kind_alone_is_a_collection_that_lets_in() -> None:
    compiled = _compile(rule_set(_rule(kind=("library",))))
    assert not compiled.losses
    assert _judged(compiled, _subject(file_class="library")) is True
    assert _judged(compiled, _subject()) is False
    library, packages = IMPORTER.read(_files(compiled)).rules
    assert (library.id, library.kind) == ("one", ("library",))
    assert packages.kind == ("app-package",)


def test_system32_is_not_syswow64() -> None:
    compiled = _compile(rule_set(_rule(path=(r"%system32%\**",))))
    assert r"%WINDIR%\SYSTEM32\*" in _xml(compiled)
    assert _judged(compiled, _subject(path=r"C:\Windows\System32\x.exe")) is True
    assert _judged(compiled, _subject(path=r"C:\Windows\SysWOW64\x.exe")) is False


def test_monitor_only_audits() -> None:
    compiled = _compile(rule_set(mode=Mode.MONITOR))
    assert 'EnforcementMode="AuditOnly"' in _xml(compiled)
    assert _judged(compiled, _subject()) is True
    assert IMPORTER.read(_files(compiled)).mode is Mode.MONITOR


def _waiver(spares: tuple[str, ...], **asked: Any) -> Waiver:
    return Waiver(id="but", owner="me", reason="a while", spares=spares,
                  expires=datetime(2027, 1, 1, tzinfo=UTC), **asked)  # fmt: skip


def _with_waiver(waiver: Waiver, *rules: Rule) -> RuleSet:
    return in_force(msgspec.structs.replace(rule_set(*rules), waivers=(waiver,)), AT)


@pytest.mark.parametrize("asked", [
    {"path": (PLACES[0],)},
    {"digest": (digest("authenticode", 1),)},
    {"publisher": EXAMPLE, "product": ProductMatch(original_name="agent.exe")},
    {"path": (PLACES[0],), "kind": ("executable",)},
], ids=["path", "digest", "product", "path-of-a-kind"])  # fmt: skip
def test_a_denial_has_exceptions(asked: dict[str, Any]) -> None:
    rules = _with_waiver(
        _waiver(("out",), **asked),
        _rule("in", publisher=EXAMPLE),
        _rule("out", Action.DENY, publisher=EXAMPLE),
    )
    compiled = _compile(rules)
    assert _lost(compiled) == {("expiry", "but")}
    check_windows("AppLocker.xsd", _xml(compiled).encode())
    spared = _subject(signers=(signer(0),), digests=frozenset({digest("authenticode", 1)}),
                      original_name="agent.exe")  # fmt: skip
    other = _subject(signers=(signer(0),), path=PLACES[1], original_name="tool.exe")
    for subject in (spared, other):
        assert _judged(compiled, subject) is allowed(rules, subject) is (subject is spared)
    with pytest.raises(PolicyError, match="exceptions"):
        IMPORTER.read(_files(compiled))


def test_a_hash_is_spared_by_not_being_denied() -> None:
    both = digest("file", 1), digest("file", 2)
    rules = _with_waiver(
        _waiver(("out",), digest=both[:1]),
        _rule("in", digest=both), _rule("out", Action.DENY, digest=both),
    )  # fmt: skip
    compiled = _compile(rules)
    for one in both:
        subject = _subject(digests=frozenset({one}))
        assert _judged(compiled, subject) is allowed(rules, subject) is (one == both[0])


@pytest.mark.parametrize("asked", [
    {"publisher": PublisherMatch(key="first-ca")},
    {"path": (PLACES[0],), "kind": ("powershell",)},
    {"digest": (digest("cdhash", 1), digest("file", 1))},
])  # fmt: skip
def test_an_exception_that_cannot_be_said_leaves_the_denial(asked: dict[str, Any]) -> None:
    rules = _with_waiver(_waiver(("out",), **asked), _rule("out", Action.DENY, publisher=EXAMPLE))
    compiled = _compile(rules)
    assert _lost(compiled) == {("exception", "but"), ("expiry", "but")}
    assert 'Action="Deny"' in _xml(compiled)


def test_every_id_is_a_guid_of_its_own_and_lasts() -> None:
    rules = rule_set(_rule("a", path=PLACES), _rule("b", path=PLACES))
    collections = read_locker("x", _xml(_compile(rules)).encode())
    ids = [rule.id for collection in collections for rule in collection.rules]
    assert len(set(ids)) == len(ids) == 2 * len(PLACES) * 4
    assert all(str(uuid.UUID(one)) == one for one in ids)
    assert _xml(_compile(rules)) == _xml(_compile(rules))


POLICY = """<AppLockerPolicy Version="1"><RuleCollection Type="{type}" EnforcementMode="{mode}">
<{name} Id="a9e18c21-ff8f-43cf-b9fc-db40eed693ba" Name="(Theirs) &lt;1&gt;" Description="why"
UserOrGroupSid="{user}" Action="Allow"><Conditions>{condition}</Conditions>{more}</{name}>
</RuleCollection></AppLockerPolicy>"""
PUBLISHER = """<FilePublisherCondition PublisherName="{publisher}" ProductName="{product}"
BinaryName="*"><BinaryVersionRange LowSection="{low}" HighSection="*"/></FilePublisherCondition>"""


def _theirs(kind: str = "Publisher", condition: str = "", more: str = "", **changes: str) -> bytes:
    known = {"publisher": "O=EXAMPLE LTD, L=WIEN, S=WIEN, C=AT", "product": "*", "low": "0.0.0.0"}
    where = {"type": "Exe", "mode": "NotConfigured", "user": "S-1-1-0"}
    condition = condition or PUBLISHER.format(**{k: changes.get(k, v) for k, v in known.items()})
    return POLICY.format(
        name=f"File{kind}Rule", condition=condition, more=more,
        **{k: changes.get(k, v) for k, v in where.items()},
    ).encode()  # fmt: skip


def test_a_policy_of_somebody_else_is_read() -> None:
    data = _theirs(product="AGENT")
    check_windows("AppLocker.xsd", data)
    rules = IMPORTER.read({"Their Policy.xml": data})
    theirs, *others = rules.rules
    assert (rules.name, rules.mode) == ("their-policy", Mode.ENFORCE)
    assert (theirs.id, theirs.note) == ("theirs-1", "(Theirs) <1>: why")
    assert theirs.product == ProductMatch(product="AGENT")
    assert [r.id for r in others] == [
        "dll-not-governed", "script-not-governed", "msi-not-governed", "appx-not-governed",
    ]  # fmt: skip
    ours = _subject(signers=(signer(0),), product="Agent")
    assert allowed(rules, ours)
    assert allowed(rules, _subject(file_class="library"))
    assert not allowed(rules, _subject())


def test_their_system32_is_two_folders() -> None:
    data = _theirs("Path", r'<FilePathCondition Path="%SYSTEM32%\*"/>')
    rules = IMPORTER.read({"x.xml": data})
    for folder in ("System32", "SysWOW64"):
        subject = _subject(path=rf"C:\Windows\{folder}\x.exe")
        assert allowed(rules, subject)
        assert ARBITER.judge({"x.xml": data}, subject) is True


@pytest.mark.parametrize("data", [
    _theirs(user="S-1-5-32-544"),
    _theirs(publisher="*"),
    _theirs(publisher="O=EXAMPLE LTD, C=AT"),
    _theirs(more='<Exceptions><FilePathCondition Path="C:\\x"/></Exceptions>'),
    _theirs(type="ManagedInstaller"),
    _theirs(low="1.x"),
    _theirs("Path", '<FilePathCondition Path="C:\\?.exe"/>'),
    _theirs("Path", '<FilePathCondition Path="%HOT%\\*"/>'),
    _theirs("Hash", f'<FileHashCondition><FileHash Type="SHA1" Data="0x{"0" * 40}"/>'
                    "</FileHashCondition>"),
    b'<!DOCTYPE x [<!ENTITY a "b">]><AppLockerPolicy Version="1"/>',
    b"<AppLockerPolicy><x/></AppLockerPolicy>",
    b"<x/>",
    b"<AppLockerPolicy>" + b"<a>" * 100,
    b"\xff\xfe\x00",
    b"",
])  # fmt: skip
def test_what_has_no_equal_is_refused(data: bytes) -> None:
    with pytest.raises(PolicyError):
        IMPORTER.read({"x.xml": data})


@settings(OFTEN, max_examples=100)
@given(data=st.binary(max_size=200), number=st.integers(0, 400))
def test_changed_octets_are_read_or_refused_but_nothing_else(data: bytes, number: int) -> None:
    whole = _theirs()
    for content in (data, whole[:number] + data, whole[:number] + data + whole[number:]):
        _read_or_refuse(content)


def _read_or_refuse(content: bytes) -> None:
    for one in _deeds(content):
        try:
            one()
        except PolicyError:
            continue


def _deeds(content: bytes) -> Iterator[Any]:
    files = {"x.xml": content}
    yield lambda: IMPORTER.read(files)
    yield lambda: ARBITER.judge(files, _subject(signers=(signer(0),), version=(1, 0, 0, 0)))


@pytest.mark.parametrize("field", ["original_name", "product"])
@pytest.mark.parametrize("name", ["*", "agent*", "?"])
def test_a_wildcard_in_a_name_lets_nothing_in(field: str, name: str) -> None:
    """AppLocker takes a lone ``*`` for any name, and one in a file's name for any characters."""
    match = ProductMatch(**{field: name})
    compiled = _compile(rule_set(_rule(publisher=EXAMPLE, product=match)))
    assert _lost(compiled) == {("product", "one")}
    assert _judged(compiled, _subject(signers=(signer(0),), **{field: "agent.exe"})) is False


def test_a_denied_publisher_keeps_its_letters() -> None:
    """Windows has no capital for ``ß``: ``GROSS`` is somebody else."""
    match = PublisherMatch(organization="Groß Ötzi GmbH", **ADDRESS)
    assert 'PublisherName="O=GROß ÖTZI GMBH, ' in _xml(
        _compile(rule_set(_rule(action=Action.DENY, publisher=match)))
    )


def test_a_name_that_xml_cannot_hold_is_lost() -> None:
    match = PublisherMatch(organization="Evil\x01", **ADDRESS)
    lost = _lost(_compile(rule_set(_rule(action=Action.DENY, publisher=match))))
    assert lost == {("publisher", "one")}


def test_a_digest_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(PolicyError, match="64 hexadecimal digits"):
        _compile(rule_set(_rule(digest=(f"file:sha256:{'ab' * 20}",))))


def test_a_common_name_with_an_organization_inside_is_nobodys() -> None:
    whole = PublisherMatch(common_name="A, O=Example Ltd", organization="Evil", **ADDRESS)
    rules = rule_set(_rule(publisher=whole, kind=("app-package",)))
    assert _lost(_compile(rules, collections=ALL)) == {("publisher", "one")}
    everywhere = _compile(rule_set(_rule(publisher=whole)), collections=ALL)
    assert 'PublisherName=""' not in _xml(everywhere)


def _edited(compiled: Compiled, old: str, new: str) -> dict[str, bytes]:
    """Return the XML with one text in place of another."""
    text = _xml(compiled)
    assert old in text
    return {"edited.xml": text.replace(old, new).encode()}


def test_a_hash_condition_without_hashes_does_not_let_everything_in() -> None:
    compiled = _compile(rule_set(_rule(digest=(digest("file", 1),))), collections=("Exe",))
    empty = re.sub(r"<FileHash [^>]*/>", "", _xml(compiled)).encode()
    with pytest.raises(PolicyError, match="FileHash"):
        IMPORTER.read({"x.xml": empty})


def test_rules_of_one_name_by_hash_and_by_path_stay_two() -> None:
    asked: tuple[dict[str, Any], ...] = ({"digest": (digest("file", 1),)}, {"path": (PLACES[0],)})
    rules = rule_set(*(_rule(f"r{n}", Action.DENY, **one) for n, one in enumerate(asked)))
    text = _xml(_compile(rules)).replace('Name="r0"', 'Name="r"').replace('Name="r1"', 'Name="r"')
    read = IMPORTER.read({"x.xml": text.encode()})
    assert not [rule for rule in read.rules if rule.digest and rule.path]
    letting_in = msgspec.structs.replace(read, rules=(*read.rules, _rule("all", kind=KIND)))
    assert not allowed(letting_in, _subject())
    hashed = _subject(path=PLACES[1], digests=frozenset({digest("file", 1)}))
    assert not allowed(letting_in, hashed)
    assert allowed(letting_in, _subject(path=PLACES[1]))


@pytest.mark.parametrize("attribute", ["ProductName", "BinaryName"])
@pytest.mark.parametrize("value", ["", "a*", "?"])
def test_a_name_that_is_empty_or_a_wildcard_is_not_imported_as_any(
    attribute: str, value: str
) -> None:
    match = ProductMatch(product="AGENT", original_name="AGENT.EXE")
    compiled = _compile(rule_set(_rule(publisher=EXAMPLE, product=match)))
    old = "AGENT" if attribute == "ProductName" else "AGENT.EXE"
    with pytest.raises(PolicyError, match="as it is"):
        IMPORTER.read(_edited(compiled, f'{attribute}="{old}"', f'{attribute}="{value}"'))


@pytest.mark.parametrize("version", ["", "70000.0.0.0"])
def test_a_version_that_is_none_is_not_imported(version: str) -> None:
    match = ProductMatch(product="AGENT", minimum_version="2.0.0.0")
    compiled = _compile(rule_set(_rule(publisher=EXAMPLE, product=match)))
    with pytest.raises(PolicyError):
        IMPORTER.read(_edited(compiled, 'LowSection="2.0.0.0"', f'LowSection="{version}"'))


def test_a_publisher_that_reads_in_two_ways_is_not_imported() -> None:
    compiled = _compile(rule_set(_rule(action=Action.DENY, publisher=EXAMPLE)))
    with pytest.raises(PolicyError, match="one way"):
        IMPORTER.read(_edited(compiled, "L=WIEN", "L=GRAZ, L=WIEN"))


def test_a_denied_path_that_is_not_understood_is_not_passed_over() -> None:
    compiled = _compile(rule_set(_rule(action=Action.DENY, path=(PLACES[0],))))
    with pytest.raises(PolicyError, match="HOT"):
        ARBITER.judge(_edited(compiled, PLACES[0], r"%HOT%\x.exe"), _subject())


def test_as_many_hashes_of_one_name_as_there_may_be_are_several_rules() -> None:
    hashes = tuple(digest("file", number) for number in range(MAX_VALUES))
    rules = rule_set(*(_rule(f"r{n}", digest=d) for n, d in enumerate((hashes, hashes[:2]))))
    text = _xml(_compile(rules, collections=("Exe",))).replace('Name="r1"', 'Name="r0"')
    read = [rule for rule in IMPORTER.read({"x.xml": text.encode()}).rules if rule.digest]
    assert [len(rule.digest) for rule in read] == [MAX_VALUES, 2]


def test_a_denial_of_packages_that_are_not_governed_is_told() -> None:
    asked = _rule(action=Action.DENY, publisher=EXAMPLE, kind=("executable", "app-package"))
    assert _lost(_compile(rule_set(asked))) == {("collection", "one")}
    assert _judged(_compile(rule_set(asked)), _subject(signers=(signer(0),))) is False


def test_a_file_that_another_digest_denies_is_not_spared_in_silence() -> None:
    rules = _with_waiver(
        _waiver(("out",), digest=(digest("authenticode", 1),)),
        _rule("out", Action.DENY, digest=(digest("file", 1),)),
    )
    assert _lost(_compile(rules)) == {("exception", "but"), ("expiry", "but")}
