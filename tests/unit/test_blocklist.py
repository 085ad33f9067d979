"""Block lists: what a rule speaks of, and what a match does."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from random import Random

import pytest
from conformance.authenticode import pe
from conformance.authenticode.pki import pem

from signward.cli import main
from signward.errors import EvidenceError
from signward.findings import Code
from signward.formats import Existing
from signward.policy import sipolicy
from signward.policy.blocklist import (
    DRIVERS,
    PROGRAMS,
    BlockList,
    Subject,
    read_block_list,
)
from signward.policy.settings import Policy
from signward.state import Outcome, Stage, Verdict
from signward.trust.x509 import load_certificate
from signward.verbs.epoch import trust_epoch
from signward.verbs.evidence import assess_with_evidence
from signward.verbs.options import Options
from signward.verbs.replay import replay
from tests.samples.cab import cabinet
from tests.signing import assess_bytes, authority, identity, sign_bytes

NAME = "driver.sys"
NO_VERSION = (0, 0, 0, 0)


def listed(
    rules: str = "", *, signers: str = "", denied: str = "", refs: str = "", scenario: int = DRIVERS
) -> str:
    """Return a policy laid out as Microsoft's published one."""
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<SiPolicy xmlns="urn:schemas-microsoft-com:sipolicy">\n'
        "<VersionEx>10.0.27770.0</VersionEx>\n"
        '<EKUs><EKU ID="ID_EKU_CODE" Value="01082B06010505070303" /></EKUs>\n'
        f"<FileRules>{rules}</FileRules>\n<Signers>{signers}</Signers>\n"
        f'<SigningScenarios><SigningScenario Value="{scenario}" ID="ID_SIGNINGSCENARIO_A">'
        f"<ProductSigners><DeniedSigners>{denied}</DeniedSigners>"
        f"<FileRulesRef>{refs}</FileRulesRef></ProductSigners></SigningScenario>"
        "</SigningScenarios>\n"
        '<Settings><Setting Provider="PolicyInfo" Key="Information" ValueName="Name">'
        "<Value><String>Test Driver Policy</String></Value></Setting></Settings></SiPolicy>"
    )


def ref(identifier: str) -> str:
    return f'<FileRuleRef RuleID="{identifier}" />'


def deny(attributes: str, identifier: str = "ID_DENY_A") -> str:
    return f'<Deny ID="{identifier}" FriendlyName="a bad one" {attributes} />'


def read(text: str) -> BlockList:
    return read_block_list("list.xml", text.encode())


def subject(
    *,
    driver: bool = True,
    name: str = "bad.sys",
    version: str = "1.2.3.4",
    digests: frozenset[bytes] = frozenset(),
    path: bool = False,
    **facts: str,
) -> Subject:
    certificates = (identity().certificate, authority().certificate)
    return Subject(
        scenarios=(DRIVERS if driver else PROGRAMS,),
        digests=digests,
        facts={"original-name": name, "fixed-file-version": version, **facts},
        paths=(tuple(map(load_certificate, certificates)),) if path else (),
    )


def denied(text: str, one: Subject) -> list[str]:
    """Return the identifiers of the rules that deny a file."""
    return [f.found.split()[1] for f in read(text).findings(one)]


# --- file rules ----------------------------------------------------------------------


def by_file(attributes: str, **changes: object) -> str:
    return listed(deny(attributes), refs=ref("ID_DENY_A"), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ('FileName="bad.sys"', True),
        ('FileName="BAD.SYS "', True),
        ('FileName="good.sys"', False),
        ('FileName="*"', True),
        ('FileName="bad.sys" MinimumFileVersion="0.0.0.0" MaximumFileVersion="1.2.3.4"', True),
        ('FileName="bad.sys" MinimumFileVersion="0.0.0.0" MaximumFileVersion="1.2.3.3"', False),
        ('FileName="bad.sys" MinimumFileVersion="1.2.3.4" MaximumFileVersion="2.0.0.0"', True),
        ('FileName="bad.sys" MinimumFileVersion="1.2.3.5" MaximumFileVersion="2.0.0.0"', False),
        ('FileName="bad.sys" MaximumFileVersion="1.2.3.10"', True),
        ('FileName="bad.sys" MinimumFileVersion="65535.65535.65535.65535"', True),
        ('FileName="bad.sys" MinimumFileVersion="1.2.3.3"', False),
        ('ProductName="Bad Suite"', True),
        ('ProductName="Bad Suite" FileName="other.sys"', False),
        ('InternalName="badint" FileDescription="bad thing"', True),
        ('FileName="bad.sys" FilePath="C:\\\\x\\\\*"', False),
        ('PackageFamilyName="Bad_abc"', False),
    ],
)
def test_rule_by_what_a_file_says_of_itself(attributes: str, expected: bool) -> None:
    facts = {"product": "Bad Suite", "internal-name": "BadInt", "description": "Bad Thing"}
    found = denied(by_file(attributes), subject(**facts))  # type: ignore[arg-type]
    assert found == (["ID_DENY_A"] if expected else [])


def test_file_without_a_version_has_the_lowest() -> None:
    text = by_file('FileName="bad.sys" MinimumFileVersion="0.0.0.0" MaximumFileVersion="9.0.0.0"')
    assert denied(text, subject(version="")) == ["ID_DENY_A"]
    assert subject(version="").version == NO_VERSION


def test_scenario_says_whether_a_rule_is_for_drivers_or_programs() -> None:
    for scenario, driver in ((DRIVERS, True), (PROGRAMS, False)):
        text = by_file('FileName="bad.sys"', scenario=scenario)
        assert denied(text, subject(driver=driver)) == ["ID_DENY_A"]
        assert denied(text, subject(driver=not driver)) == []


def test_scenario_that_comes_twice_counts_twice() -> None:
    text = listed(deny('FileName="bad.sys"'), signers=signer(), denied=DENIED)
    again = (
        f'<SigningScenario Value="{DRIVERS}"><ProductSigners><FileRulesRef>{ref("ID_DENY_A")}'
        "</FileRulesRef></ProductSigners></SigningScenario></SigningScenarios>"
    )
    both = text.replace("</SigningScenarios>", again)
    assert denied(both, subject(path=True)) == ["ID_DENY_A", "ID_SIGNER_A"]


def test_rule_nothing_refers_to_does_not_count() -> None:
    assert denied(listed(deny('FileName="bad.sys"')), subject()) == []


def test_fragment_without_scenarios_counts_everywhere() -> None:
    text = by_file('FileName="bad.sys"')
    start, end = text.index("<SigningScenarios>"), text.index("<Settings>")
    fragment = text[:start] + text[end:]
    assert denied(fragment, subject()) == denied(fragment, subject(driver=False)) == ["ID_DENY_A"]


def test_allow_rules_deny_nothing() -> None:
    rule = '<Allow ID="ID_ALLOW_A" FileName="*" />'
    assert denied(listed(rule, refs=ref("ID_ALLOW_A")), subject()) == []


def test_rule_by_hash() -> None:
    digest = hashlib.sha256(b"image").digest()
    text = by_file(f'Hash="{digest.hex().upper()}"')
    assert denied(text, subject(digests=frozenset((digest,)))) == ["ID_DENY_A"]
    assert denied(text, subject(digests=frozenset((b"other",)))) == []


# --- signer rules --------------------------------------------------------------------


def tbs(certificate: bytes) -> str:
    return hashlib.sha256(load_certificate(certificate).tbs).hexdigest().upper()


def signer(*children: str, root: bytes | None = None) -> str:
    value = tbs(root or authority().certificate)
    body = f'<CertRoot Type="TBS" Value="{value}" />' + "".join(children)
    return f'<Signer ID="ID_SIGNER_A" Name="A CA">{body}</Signer>'


DENIED = '<DeniedSigner SignerId="ID_SIGNER_A" />'
PUBLISHER = '<CertPublisher Value="Signing Test Publisher" />'


@pytest.mark.parametrize(
    ("children", "expected"),
    [
        ((), True),
        ((PUBLISHER,), True),
        (('<CertPublisher Value="Somebody Else" />',), False),
        (('<CertIssuer Value="Signing Test Root" />',), True),
        (('<CertIssuer Value="Another Root" />',), False),
        (('<CertEKU ID="ID_EKU_CODE" />',), True),
        (('<CertEKU ID="ID_EKU_NOT_DEFINED" />',), False),
        (('<CertOemID Value="Contoso" />',), False),
    ],
)
def test_rule_by_signer(children: tuple[str, ...], expected: bool) -> None:
    text = listed(signers=signer(*children), denied=DENIED)
    assert denied(text, subject(path=True)) == (["ID_SIGNER_A"] if expected else [])
    assert denied(text, subject()) == []


def test_rule_by_another_ca_is_another_signer() -> None:
    text = listed(signers=signer(root=identity("p256", "Elsewhere").certificate), denied=DENIED)
    assert denied(text, subject(path=True)) == []


def test_signer_who_is_not_denied_does_not_count() -> None:
    assert denied(listed(signers=signer()), subject(path=True)) == []


@pytest.mark.parametrize(("version", "expected"), [("1.0.4.3", True), ("1.0.4.4", False)])
def test_rule_by_signer_and_file(version: str, expected: bool) -> None:
    attribute = (
        '<FileAttrib ID="ID_FILEATTRIB_A" FileName="bad.sys" MinimumFileVersion="0.0.0.0" '
        'MaximumFileVersion="1.0.4.3" />'
    )
    reference = '<FileAttribRef RuleID="ID_FILEATTRIB_A" />'
    text = listed(attribute, signers=signer(PUBLISHER, reference), denied=DENIED)
    found = denied(text, subject(path=True, version=version))
    assert found == (["ID_SIGNER_A"] if expected else [])
    assert denied(text, subject(path=True, version=version, name="good.sys")) == []


def test_signer_whose_file_rule_cannot_be_told_denies_nothing() -> None:
    attribute = '<FileAttrib ID="ID_FILEATTRIB_A" FileName="*" FilePath="C:\\x" />'
    reference = '<FileAttribRef RuleID="ID_FILEATTRIB_A" />'
    text = listed(attribute, signers=signer(reference), denied=DENIED)
    assert denied(text, subject(path=True)) == []


def test_exception_lets_a_file_of_a_denied_signer_through() -> None:
    allow = '<Allow ID="ID_ALLOW_A" FileName="bad.sys" MinimumFileVersion="1.0.0.0" />'
    denial = (
        '<DeniedSigner SignerId="ID_SIGNER_A"><ExceptAllowRule AllowRuleID="ID_ALLOW_A" />'
        "</DeniedSigner>"
    )
    text = listed(allow, signers=signer(), denied=denial)
    assert denied(text, subject(path=True, version="1.0.0.0")) == []
    assert denied(text, subject(path=True, version="0.9.0.0")) == ["ID_SIGNER_A"]


# --- reading -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no SiPolicy XML"),
        ("0\x82binary", "no SiPolicy XML"),
        ("<SiPolicy/>", "required SiPolicy"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "document type"),
        (by_file('Hash="xyz"'), "hexadecimal"),
        (by_file('FileName="a" MaximumFileVersion="1.2"'), "four numbers"),
        (by_file('FileName="a" MaximumFileVersion="1.2.3.999999"'), "four numbers"),
        (listed()[:-5], "no SiPolicy XML"),
    ],
)
def test_what_is_no_block_list_is_refused(text: str, said: str) -> None:
    with pytest.raises(EvidenceError, match=said):
        read(text)


def test_binary_policies_are_refused_by_name() -> None:
    with pytest.raises(EvidenceError, match=r"binary policies"):
        read_block_list("SiPolicy.p7b", b"0\x82\x10\x00\x06\x09*\x86H")


def test_lists_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sipolicy, "MAX_ELEMENTS", 5)
    with pytest.raises(EvidenceError, match="more or deeper"):
        read(listed())
    monkeypatch.setattr(sipolicy, "MAX_ELEMENTS", 1000)
    monkeypatch.setattr(sipolicy, "MAX_POLICY", 100)
    with pytest.raises(EvidenceError, match="at most 100"):
        read(listed())
    monkeypatch.undo()
    deep = "<a>" * 40 + "</a>" * 40
    with pytest.raises(EvidenceError, match="more or deeper"):
        read(listed(deep))


def test_damaged_lists_are_refused_or_read() -> None:
    reference = '<FileAttribRef RuleID="ID_DENY_A" />'
    data = by_file('FileName="bad.sys" MaximumFileVersion="1.2.3.4"',
                   signers=signer(PUBLISHER, reference), denied=DENIED).encode()  # fmt: skip
    random = Random(25)
    read_after_all = 0
    for _ in range(2000):
        changed = bytearray(data)
        for _ in range(random.randrange(1, 4)):
            changed[random.randrange(len(changed))] = random.randrange(256)
        try:
            list(read_block_list("list.xml", bytes(changed)).findings(subject(path=True)))
            read_after_all += 1
        except EvidenceError:
            continue
    assert 0 < read_after_all < 2000


def test_list_without_a_name_goes_by_its_files() -> None:
    text = listed()
    text = text[: text.index("<Settings>")] + "</SiPolicy>"
    assert (read(text).name, read(text).version) == ("list.xml", "10.0.27770.0")
    assert read(listed()).name == "Test Driver Policy"


def test_utf_16_is_read() -> None:
    text = by_file('FileName="bad.sys"').replace("utf-8", "utf-16")
    found = read_block_list("list.xml", text.encode("utf-16"))
    assert [f.code for f in found.findings(subject())] == [Code.BLOCKED]


# --- verdicts ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def image() -> bytes:
    return sign_bytes(NAME, pe.image(driver=True))


def verdict(data: bytes, text: str, folder: Path, **options: object) -> Verdict:
    path = folder / "list.xml"
    path.write_text(text)
    return assess_bytes(NAME, data, folder, block_lists=(str(path),), **options)


def authentihash(data: bytes, digest: str) -> str:
    return pe.image_digest(data, digest).hex().upper()


@pytest.mark.parametrize("digest", ["sha1", "sha256"])
def test_blocked_by_authenticode_hash(digest: str, image: bytes, tmp_path: Path) -> None:
    found = verdict(image, by_file(f'Hash="{authentihash(image, digest)}"'), tmp_path)
    assert (found.outcome, found.cause) == (Outcome.REJECTED, Code.BLOCKED)
    (finding,) = [f for f in found.findings if f.code is Code.BLOCKED]
    assert "ID_DENY_A" in finding.found
    assert "10.0.27770.0" in finding.subject
    assert "image-sha1" not in found.digests


def test_blocked_by_the_hash_of_the_first_page(image: bytes, tmp_path: Path) -> None:
    pages = sign_bytes(NAME, pe.image(driver=True), page_hashes=True)
    table = pe.page_hashes(pe.image(driver=True))
    first = table[4:36].hex()
    assert verdict(pages, by_file(f'Hash="{first}"'), tmp_path).cause is Code.BLOCKED
    assert verdict(image, by_file(f'Hash="{first}"'), tmp_path).cause is Code.BLOCKED


def test_unsigned_image_is_blocked_too(tmp_path: Path) -> None:
    data = pe.image(driver=True)
    text = by_file(f'Hash="{authentihash(data, "sha256")}"')
    assert verdict(data, text, tmp_path).cause is Code.BLOCKED


def test_blocked_by_publisher(image: bytes, tmp_path: Path) -> None:
    found = verdict(image, listed(signers=signer(PUBLISHER), denied=DENIED), tmp_path)
    assert (found.outcome, found.cause) == (Outcome.REJECTED, Code.BLOCKED)


def test_publisher_of_a_weaker_signature_is_blocked_beside_a_stronger_one(tmp_path: Path) -> None:
    """Under rule `best` the weaker one cannot decide; a rule that denies it still does."""
    other = identity("p256", "Another Publisher")
    first = sign_bytes(NAME, pe.image(driver=True))
    both = sign_bytes(NAME, first, who=other, digest="sha384", existing=Existing.NESTED)
    assert verdict(both, listed(), tmp_path).outcome is Outcome.ACCEPTED
    found = verdict(both, listed(signers=signer(PUBLISHER), denied=DENIED), tmp_path)
    assert (found.outcome, found.cause) == (Outcome.REJECTED, Code.BLOCKED)


def test_program_is_not_blocked_by_a_rule_for_drivers(tmp_path: Path) -> None:
    data = sign_bytes("a.exe", pe.image())
    text = by_file(f'Hash="{authentihash(data, "sha256")}"')
    (tmp_path / "list.xml").write_text(text)
    found = assess_bytes("a.exe", data, tmp_path, block_lists=(str(tmp_path / "list.xml"),))
    assert found.outcome is Outcome.ACCEPTED
    text = by_file(f'Hash="{authentihash(data, "sha256")}"', scenario=PROGRAMS)
    assert verdict(data, text, tmp_path).cause is Code.BLOCKED


@pytest.mark.parametrize(
    ("name", "expected"), [("A.SYS", Code.BLOCKED), ("a.dll", None)], ids=["sys", "dll"]
)
def test_image_whose_headers_deny_being_a_driver_is_one_by_its_name(
    name: str, expected: Code | None, tmp_path: Path
) -> None:
    data = sign_bytes(name, pe.image())
    (tmp_path / "list.xml").write_text(by_file(f'Hash="{authentihash(data, "sha256")}"'))
    found = assess_bytes(name, data, tmp_path, block_lists=(str(tmp_path / "list.xml"),))
    assert found.cause is expected


def test_image_judged_as_a_driver_is_one(tmp_path: Path) -> None:
    data = sign_bytes("a.bin", pe.image())
    (tmp_path / "list.xml").write_text(by_file(f'Hash="{authentihash(data, "sha256")}"'))
    lists = (str(tmp_path / "list.xml"),)
    found = assess_bytes("a.bin", data, tmp_path, block_lists=lists, profile="windows-kernel")
    assert found.cause is Code.BLOCKED


def test_what_is_not_listed_stays_accepted(image: bytes, tmp_path: Path) -> None:
    found = verdict(image, by_file(f'Hash="{"00" * 32}"'), tmp_path)
    assert found.outcome is Outcome.ACCEPTED


def test_tampered_and_listed_says_both(image: bytes, tmp_path: Path) -> None:
    text = listed(deny('FileName="*"'), refs=ref("ID_DENY_A"))
    changed = image[:-600] + b"\xff" + image[-599:]
    codes = {f.code for f in verdict(changed, text, tmp_path).findings}
    assert codes > {Code.BLOCKED}


def test_before_the_last_stage_a_list_only_warns(image: bytes, tmp_path: Path) -> None:
    text = by_file(f'Hash="{authentihash(image, "sha256")}"')
    found = verdict(image, text, tmp_path, policy=Policy(stage=Stage.INTACT))
    assert found.outcome is Outcome.ACCEPTED
    assert Code.BLOCKED in {f.code for f in found.findings}


def test_files_without_a_version_resource_are_judged_as_before(tmp_path: Path) -> None:
    path = tmp_path / "list.xml"
    path.write_text(by_file('FileName="bad.sys"', scenario=PROGRAMS))
    for name, data in (("a.ps1", b"1\r\n"), ("a.cab", cabinet())):
        found = assess_bytes(name, sign_bytes(name, data), tmp_path, block_lists=(str(path),))
        assert found.outcome is Outcome.ACCEPTED


def test_list_is_part_of_the_trust_epoch(tmp_path: Path) -> None:
    path = tmp_path / "list.xml"
    options = Options(block_lists=(str(path),))
    path.write_text(listed())
    before = trust_epoch(options, code=b"code")
    assert before != trust_epoch(Options(), code=b"code")
    path.write_text(by_file('FileName="bad.sys"'))
    assert before != trust_epoch(options, code=b"code")


def test_evidence_carries_the_list(image: bytes, tmp_path: Path) -> None:
    files = {NAME: image, "root.pem": pem(authority().certificate)}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    rules = tmp_path / "list.xml"
    rules.write_text(by_file(f'Hash="{authentihash(image, "sha256")}"'))
    options = Options(anchors=(str(tmp_path / "root.pem"),), block_lists=(str(rules),))
    bundle = str(tmp_path / "evidence")
    (first,), _ = assess_with_evidence([str(tmp_path / NAME)], options, bundle)
    rules.unlink()
    assert first.cause is Code.BLOCKED
    assert replay(bundle, str(tmp_path / NAME)) == first


def test_command_line(image: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, rules, anchor = tmp_path / NAME, tmp_path / "list.xml", tmp_path / "root.pem"
    path.write_bytes(image)
    anchor.write_bytes(pem(authority().certificate))
    rules.write_text(by_file(f'Hash="{authentihash(image, "sha256")}"'))
    words = ["--block-list", str(rules), "--anchor", str(anchor)]
    assert main(["verify", "--json", *words, str(path)]) == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["outcome"], said["cause"]) == ("rejected", "blocked")
    assert said["windows_name"] == "ERROR_SYSTEM_INTEGRITY_POLICY_VIOLATION"
    output = str(tmp_path / "out.jsonl")
    scan = ["scan", "--no-cache", "--jobs", "1", "--format", "jsonl", "--output", output]
    assert main([*scan, *words, str(path)]) == 0
    assert '"cause":"blocked"' in Path(output).read_text()
    rules.write_text("<a/>")
    assert main(["verify", *words, str(path)]) == 2
    assert "required SiPolicy" in capsys.readouterr().err
