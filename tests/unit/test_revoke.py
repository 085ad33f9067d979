"""Revoking everywhere: who is concerned, what dates cost, what every enforcer is told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from conformance.authenticode import pe
from conformance.authenticode.keys import key
from conformance.authenticode.pki import issue
from hypothesis import given
from hypothesis import strategies as st

from signward import compilers
from signward.cli.commands import run
from signward.compilers import Compiled, File, Loss, Towards
from signward.errors import EvidenceError, LossError, PolicyError, StoreError
from signward.inventory.fleet import Fleet
from signward.policy.rules import revoking
from signward.policy.rules.decide import decide
from signward.policy.rules.denials import EVERYTHING, denials_alone, denying, forms
from signward.policy.rules.fleet import Host, Known, Place
from signward.policy.rules.force import in_force
from signward.policy.rules.index import Index
from signward.policy.rules.model import Action, Rule, RuleSet, Strict
from signward.policy.rules.reading import merge, read_document
from signward.policy.rules.revoking import Blast, Culprit, Fate, Kind, Radius, weighed
from signward.policy.rules.subject import Signer, Subject
from signward.report.revocation import lines
from signward.report.revocation_page import page
from signward.state import Outcome
from signward.trust.feed import (
    Document,
    RevokedCertificate,
    RevokedDigest,
    RevokedPublisher,
    open_feed,
)
from signward.trust.sealed import read_keys
from signward.trust.x509 import load_certificate
from signward.verbs.authority import feed
from signward.verbs.authority.realm import Realm
from signward.verbs.policies import denying as compiling
from signward.verbs.policies import revoke
from signward.verbs.policies.denying import Order, State, check_whole, orders
from tests.builders.policies import Publishing, publishing
from tests.builders.realm import issuing, make_realm, open_realm, register

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
STOLEN = datetime(2026, 6, 15, 10, tzinfo=UTC)
OURS: Publishing = publishing("first", "Example Ltd")
THEIRS: Publishing = publishing("second", "Other AG")
LEAF = OURS.signer.certificates[0]
HOSTS = tuple(Host(name=f"host{number}") for number in range(3))


def signed(number: int, proven: datetime | None, by: Publishing = OURS, **fields: Any) -> Subject:
    signer = msgspec.structs.replace(by.signer, proven=proven)
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    return Subject(
        path="", kind="pe", file_class="executable", outcome=Outcome.ACCEPTED,
        digests=frozenset({f"file:sha256:{digest}", f"authenticode:sha256:{digest[::-1]}"}),
        signers=(signer,), **fields,
    )  # fmt: skip


def known(subjects: Sequence[Subject]) -> list[Known]:
    return [
        Known(number, subject, [Place(number % 3, f"/opt/{number}", 1)])
        for number, subject in enumerate(subjects)
    ]


def blast(culprit: Culprit, subjects: Sequence[Subject], **given: Any) -> Blast:
    radius = Radius(culprit, given.pop("since", STOLEN), HOSTS, **given)
    for one in known(subjects):
        radius.add(one)
    return radius.blast()


CERTIFICATE = Culprit(kind=Kind.CERTIFICATE, label="the certificate", sha256=LEAF)
PUBLISHER = Culprit(kind=Kind.PUBLISHER, label="p", identity="SUBJECT:example ltd/Example Ltd")
FLEET = [
    signed(0, STOLEN - timedelta(days=30)),
    signed(1, STOLEN + timedelta(days=30)),
    signed(2, None),
    signed(3, STOLEN, THEIRS),
    Subject(path="", outcome=Outcome.REJECTED, cause="unsigned"),
    Subject(path="", unknown=frozenset({"signers"})),
    signed(6, STOLEN + timedelta(days=1), cause="revoked"),
]


def test_a_certificates_date_divides_what_it_signed() -> None:
    found = blast(CERTIFICATE, FLEET)
    assert (found.seen.files, found.seen.hosts) == (7, 3)
    assert found.matched.files == 4
    assert found.stops.files == 2
    assert found.goes_on.files == 1
    assert found.already.files == 1
    assert found.unsettled.files == 1
    fates = {one.path: one.fate for one in found.listed}
    assert fates == {
        "/opt/0": Fate.GOES_ON, "/opt/1": Fate.STOPS, "/opt/2": Fate.STOPS,
        "/opt/6": Fate.ALREADY,
    }  # fmt: skip
    assert {(host.name, host.files) for host in found.hosts} == {("host1", 1), ("host2", 1)}


def test_an_instant_at_the_date_is_not_before_it() -> None:
    found = blast(CERTIFICATE, [signed(0, STOLEN), signed(1, STOLEN - timedelta(microseconds=1))])
    assert (found.stops.files, found.goes_on.files) == (1, 1)


def test_a_publisher_knows_no_dates() -> None:
    found = blast(PUBLISHER, FLEET)
    assert (found.matched.files, found.stops.files, found.goes_on.files) == (4, 3, 0)
    assert found.certificates == (LEAF,)
    assert found.tbs == (OURS.signer.tbs[0],)


def test_an_issuers_certificate_is_of_every_file_below_it() -> None:
    issuer = Culprit(kind=Kind.CERTIFICATE, label="ca", sha256=OURS.signer.certificates[1])
    assert blast(issuer, FLEET).matched.files == 4


def test_a_digest_is_of_one_file() -> None:
    digest = next(d for d in FLEET[1].digests if d.startswith("file:"))
    found = blast(Culprit(kind=Kind.DIGEST, label="f", digests=frozenset({digest})), FLEET)
    assert (found.matched.files, found.stops.files) == (1, 1)
    assert found.unsettled.files == 0
    unknown = [Subject(path="", unknown=frozenset({"digest:file"}))]
    culprit = Culprit(kind=Kind.DIGEST, label="f", digests=frozenset({digest}))
    assert blast(culprit, unknown).unsettled.files == 1


@pytest.mark.parametrize("missing", ["signers.certificate", "signers.subject"])
def test_what_a_source_does_not_tell_is_not_settled(missing: str) -> None:
    empty = Subject(path="", signers=(Signer(),), unknown=frozenset({missing}))
    culprit = CERTIFICATE if missing == "signers.certificate" else PUBLISHER
    assert blast(culprit, [empty]).unsettled.files == 1
    told = msgspec.structs.replace(empty, unknown=frozenset())
    assert blast(culprit, [told]).unsettled.files == 0


def test_what_somebody_else_signed_too_is_counted() -> None:
    both = msgspec.structs.replace(FLEET[1], signers=(OURS.signer, THEIRS.signer))
    assert blast(CERTIFICATE, [both, FLEET[1]]).otherwise == 1


def test_the_advised_date_is_the_earliest_bad_one() -> None:
    bad = frozenset(d for d in FLEET[1].digests if d.startswith("file:"))
    found = blast(CERTIFICATE, FLEET[:3], bad=bad)
    assert found.bad == 1
    assert found.advised == STOLEN + timedelta(days=30)
    best = next(c for c in found.candidates if c.since == found.advised)
    assert (best.lost, best.surviving) == (1, 0)  # the one without a proven time
    before = [c for c in found.candidates if c.since <= STOLEN - timedelta(days=30)]
    assert {c.lost for c in before} == {2}


DATES = st.integers(0, 364 * 24).map(lambda hours: NOW - timedelta(hours=hours))


@given(st.lists(DATES, max_size=60), st.lists(DATES, max_size=8), st.integers(0, 5), DATES)
def test_candidates_say_what_each_date_does(
    good: list[datetime], bad: list[datetime], undated: int, since: datetime
) -> None:
    found = weighed(good, bad, undated, since)
    assert len(found) <= revoking.MAX_CANDIDATES
    assert since in {one.since for one in found}
    assert [one.since for one in found] == sorted(one.since for one in found)
    for one in found:
        assert one.lost == undated + len([time for time in good if time >= one.since])
        assert one.surviving == len([time for time in bad if time < one.since])
    if bad:
        best = max(one.since for one in found if not one.surviving)
        assert best >= min(bad) or best == min(bad)
        assert min(bad) in {one.since for one in found}


def test_lists_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revoking, "MAX_LISTED", 3)
    monkeypatch.setattr(revoking, "MAX_DIGESTS", 4)
    found = blast(CERTIFICATE, [signed(number, None) for number in range(10)])
    assert (len(found.listed), found.listed_more) == (3, 7)
    assert (len(found.digests), found.digests_more) == (4, 8)


# Denials


FILES = frozenset({"file", "authenticode"})
REST = Rule(id=EVERYTHING, action=Action.ALLOW, path=("/**",))


def denied(culprit: Culprit, der: bytes = b"", subjects: Sequence[Subject] = FLEET) -> list[Any]:
    return list(forms(blast(culprit, subjects), FILES, der))


def der_of(by: Publishing) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return by.leaf.public_bytes(Encoding.DER)


@pytest.mark.parametrize("culprit", [CERTIFICATE, PUBLISHER])
def test_every_form_denies_what_is_concerned_and_spares_the_rest(culprit: Culprit) -> None:
    for form in denied(culprit, der_of(OURS) if culprit is CERTIFICATE else b""):
        index = Index(in_force(denials_alone(form, REST), NOW))
        for number in (0, 1, 2):
            decision = decide(index, FLEET[number], NOW)
            assert (decision.outcome, decision.action) == (Outcome.REJECTED, Action.DENY), form.told
        assert decide(index, msgspec.structs.replace(FLEET[3], path="/x"), NOW).outcome is (
            Outcome.ACCEPTED
        )


def test_denials_are_added_to_a_policy() -> None:
    rules = denying(denied(CERTIFICATE)[0], policy())
    assert [r.id for r in rules.rules] == ["revoked-1", "revoked-1x"]
    assert decide(Index(rules), FLEET[1], NOW).outcome is Outcome.REJECTED
    assert rules.version == 4


def test_an_identity_that_is_ambiguous_is_not_taken_apart() -> None:
    culprit = Culprit(kind=Kind.PUBLISHER, label="p", identity="subject:A/B/C")
    found = list(forms(blast(culprit, FLEET), FILES))
    assert len(found) == 1
    eku = Culprit(kind=Kind.PUBLISHER, label="p", identity="eku:1.3.6.1.4.1.311.97.1.2.3.4@ab")
    (_, by_eku) = forms(blast(eku, []), FILES)
    (rule,) = by_eku.rules
    assert rule.publisher is not None
    assert rule.publisher.eku == "1.3.6.1.4.1.311.97.1.2.3.4"


class Knows:
    """A compiler that can say some conditions only, as real ones do."""

    settings = Strict

    def __init__(self, *fields: str, file: str = "f") -> None:
        self.fields, self.file = fields, file

    def compile(self, rules: Any, settings: Any) -> Compiled:
        lost = []
        for rule in rules.rules:
            assert isinstance(rule, Rule)
            asked = [f for f in ("publisher", "digest", "path", "origin") if getattr(rule, f)]
            if rule.publisher:
                asked = [f for f in rule.publisher.__struct_fields__ if getattr(rule.publisher, f)]
            if not set(asked) <= set(self.fields):
                lost.append(Loss(name="x", rule=rule.id, text="no", towards=Towards.LOOSER))
        body = msgspec.json.encode([r.id for r in rules.rules])
        return Compiled(
            files=(File(name=self.file, content=body, deploy="copy it"),), losses=tuple(lost)
        )


@pytest.fixture
def targets(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {
        "applocker": Knows("organization", "common_name", "path"),
        "fapolicyd": Knows("digest", "path"),
        "uefi": Knows("certificate", file="dbx.esl"),
        "santa": Knows("nothing"),
        "containers_policy": Knows("certificate"),
        "sigstore_policy_controller": Knows("certificate", "origin", file="policies.yaml"),
        "kyverno": Knows("certificate"),
    }
    monkeypatch.setattr(compilers, "names", lambda: tuple(made))
    monkeypatch.setattr(compilers, "load", lambda name: made[name.replace("-", "_")])
    monkeypatch.setattr(compiling, "settings_for", lambda *_: None)


def told(base: RuleSet | None = None, **given: Any) -> dict[str, Order]:
    made = orders(blast(PUBLISHER, FLEET), b"", base, NOW, **given)
    return {one.target: one for one in made}


def policy() -> RuleSet:
    text = """schema = 1
name = "base"
version = 4
[[rule]]
id = "revoked-1"
action = "allow"
publisher = { common_name = "Example Ltd" }
"""
    return merge([read_document("p", text.encode())], lambda *_: b"")


@pytest.mark.usefixtures("targets")
def test_each_target_gets_the_widest_form_it_can_say() -> None:
    made = told(policy())
    assert made["applocker"].told == "by its names in certificates"
    assert made["fapolicyd"].state is State.CANNOT  # the policy's own rule is lost, named alike
    made = told()
    assert made["fapolicyd"].told.endswith("of files known today")
    assert made["uefi"].told == "by 1 certificate known today"
    assert made["uefi"].files[0].content == b'["revoked-1"]'
    controller = made["sigstore-policy-controller"]
    assert controller.files[0].content == b'["revoked-1","everything-else"]'


@pytest.mark.usefixtures("targets")
def test_what_would_open_or_close_everything_else_is_not_written() -> None:
    made = told()
    assert made["applocker"].state is State.NEEDS_POLICY
    assert made["containers-policy"].state is State.NEEDS_POLICY
    assert made["kyverno"].state is State.CANNOT  # it could not say that the rest goes on
    assert made["santa"].state is State.CANNOT
    assert made["app-control"].state is State.ABSENT


GAPS = ("applocker", "santa", "containers-policy", "kyverno")


@pytest.mark.usefixtures("targets")
def test_gaps_are_no_silence() -> None:
    named = " ".join(f"--without {name}" for name in GAPS)
    with pytest.raises(LossError, match=named):
        check_whole(tuple(told().values()))
    check_whole(tuple(told(without=GAPS).values()))
    only = told(only=("uefi",))
    assert list(only) == ["uefi"]
    check_whole(tuple(only.values()))
    with pytest.raises(PolicyError, match="target"):
        told(only=("dbx",))


def test_the_targets_are_compilers_of_ours() -> None:
    landed = {name.replace("_", "-") for name in compilers.names()}
    assert len(compiling.TARGETS) == 10
    assert landed & set(compiling.TARGETS)


def real(culprit: Culprit, der: bytes = b"", base: RuleSet | None = None) -> dict[str, Order]:
    made = orders(blast(culprit, FLEET), der, base, NOW)
    return {one.target: one for one in made if one.state is not State.ABSENT}


def test_what_real_compilers_say_of_a_digest() -> None:
    digests = frozenset({"file:sha256:" + "ab" * 32, "authenticode:sha256:" + "cd" * 32})
    made = real(Culprit(kind=Kind.DIGEST, label="f", digests=digests))
    for target, octets in (
        ("fapolicyd", b"ab" * 32), ("santa", b"ab" * 32), ("uefi", b"\xcd" * 32),
        ("app-control", b"CD" * 32),
    ):  # fmt: skip
        assert made[target].state is State.SAID, made[target]
        assert any(octets in file.content for file in made[target].files), target
    assert made["kyverno"].state is State.OUT_OF_SCOPE
    image = frozenset({"oci:sha256:" + "ef" * 32})
    made = real(Culprit(kind=Kind.DIGEST, label="i", digests=image))
    assert made["fapolicyd"].state is State.OUT_OF_SCOPE
    assert made["containers-policy"].state is State.NEEDS_POLICY


def test_denials_for_fapolicyd_neither_open_nor_close_anything_else() -> None:
    (file,) = real(CERTIFICATE)["fapolicyd"].files
    rules = [line for line in file.content.decode().splitlines() if not line.startswith("#")]
    assert all(line.startswith("deny_audit perm=any all : sha256hash=") for line in rules)
    assert rules
    assert not any("all : all" in line for line in rules)


def test_denials_for_santa_say_nothing_of_its_mode() -> None:
    files = real(CERTIFICATE)["santa"].files
    assert {file.name for file in files} == {"StaticRules.plist", "ruledownload.json"}
    assert all(b"ClientMode" not in file.content for file in files)
    assert all(LEAF.encode() in file.content for file in files)


def test_denials_for_app_control_are_what_windows_reads() -> None:
    from tests.schemas import check_windows

    for target in ("app-control", "driver-blocklist"):
        (xml,) = (f for f in real(CERTIFICATE)[target].files if f.name.endswith(".xml"))
        check_windows("SiPolicy.xsd", xml.content)


def test_app_control_would_stop_what_is_revoked_and_nothing_else() -> None:
    from signward.compilers.arbiters.app_control import ARBITER

    files = {file.name: file.content for file in real(CERTIFICATE)["app-control"].files}
    for number, runs in ((0, False), (1, False), (3, True)):
        subject = msgspec.structs.replace(FLEET[number], path="C:\\Tools\\a.exe")
        assert ARBITER.judge(files, subject) is runs


def test_denials_for_app_control_let_in_the_rest() -> None:
    files = {file.name.rpartition(".")[2]: file for file in real(CERTIFICATE)["app-control"].files}
    text = files["xml"].content.decode()
    assert text.count('<Allow ID="') == 2
    assert 'FileName="*"' in text
    assert "Enabled:UMCI" in text
    assert OURS.signer.tbs[0].partition(":")[2].upper() in text.upper()


@pytest.mark.parametrize("culprit", [CERTIFICATE, PUBLISHER])
def test_every_target_is_told_something_or_named(culprit: Culprit) -> None:
    for order in orders(blast(culprit, FLEET), b"", None, NOW):
        said = order.state is State.SAID
        assert bool(order.files) is said
        assert bool(order.told) is said
        assert said or order.why


# What a user names


def test_culprits(tmp_path: Path) -> None:
    pem = tmp_path / "leaf.pem"
    from cryptography.hazmat.primitives.serialization import Encoding

    pem.write_bytes(OURS.leaf.public_bytes(Encoding.PEM))
    assert revoke.of_certificate(str(pem)).culprit.sha256 == LEAF
    assert revoke.of_certificate(f"sha256:{LEAF.upper()}").culprit.sha256 == LEAF
    program = tmp_path / "a.exe"
    program.write_bytes(pe.image())
    digests = revoke.of_file(str(program)).culprit.digests
    assert f"file:sha256:{hashlib.sha256(pe.image()).hexdigest()}" in digests
    assert revoke.of_digest("SHA256:" + "0" * 64).culprit.digests == {"file:sha256:" + "0" * 64}
    assert revoke.bad_files([str(program)]) == digests


@pytest.mark.parametrize(
    "text", ["", "sha256:00", "md5:" + "0" * 32, "x:sha256:" + "0" * 64, "sha256:" + "g" * 64]
)
def test_digests_that_are_none(text: str) -> None:
    with pytest.raises(EvidenceError):
        revoke.of_digest(text)


@pytest.mark.parametrize("call", [revoke.of_publisher, revoke.of_certificate, revoke.of_file])
def test_names_that_are_none(call: Any) -> None:
    with pytest.raises(EvidenceError):
        call("no such thing")


def test_entries_for_the_feed() -> None:
    dates = {"revoked": STOLEN, "invalid_from": None, "note": "x"}
    (one,) = revoke.entries(revoke.Named(CERTIFICATE), "keyCompromise", dates)
    assert isinstance(one, RevokedCertificate)
    assert (one.sha256, one.reason, one.revoked) == (LEAF, "keyCompromise", STOLEN)
    (two,) = revoke.entries(revoke.Named(CERTIFICATE, der_of(OURS)), "", dates)
    assert isinstance(two, RevokedCertificate)
    assert two.serial
    (three,) = revoke.entries(revoke.of_publisher("subject:A/B"), "", dates)
    assert isinstance(three, RevokedPublisher)
    digests = frozenset({"file:sha256:" + "0" * 64, "authenticode:sha1:" + "1" * 40})
    culprit = Culprit(kind=Kind.DIGEST, label="f", digests=digests)
    found = revoke.entries(revoke.Named(culprit), "", dates)
    assert [(e.of, e.algorithm) for e in found if isinstance(e, RevokedDigest)] == [
        ("content", "sha1"), ("file", "sha256"),
    ]  # fmt: skip


# Reports


HOSTILE = "\x1b[31m</td><script>alert(1)</script>\u202e"


def test_the_report_tells_a_newcomer_what_happens() -> None:
    text = "\n".join(lines(blast(CERTIFICATE, FLEET)))
    assert "4 files on 3 hosts of 7 files on 3 are concerned." in text
    assert "2 files on 2 hosts stop" in text
    assert "proves that they were signed before 2026-06-15" in text
    assert "all 4 stop. Such lists know no dates." in text
    assert "Advised: 2026-06-16 10:00 UTC" in text
    assert "None of the" in "\n".join(lines(blast(CERTIFICATE, [FLEET[3]])))
    assert "Nothing is known" in "\n".join(lines(blast(CERTIFICATE, [])))


def test_hostile_names_do_nothing() -> None:
    radius = Radius(CERTIFICATE, STOLEN, (Host(name=HOSTILE),))
    subject = msgspec.structs.replace(FLEET[1], product=HOSTILE)
    radius.add(Known(0, subject, [Place(0, HOSTILE, 1)]))
    found = radius.blast()
    assert "\x1b" not in "\n".join(lines(found))
    made = page(found, [(HOSTILE, HOSTILE, HOSTILE)])
    assert b"<script" not in made
    assert b"\x1b" not in made
    assert "\u202e".encode() not in made


def test_the_page_shows_every_date() -> None:
    found = blast(CERTIFICATE, FLEET)
    made = page(found, [("fapolicyd on Linux", "by 8 digests", "rules.d/x")]).decode()
    assert made.count('<li class="advised">') == 1
    assert all(f"{one.since:%Y-%m-%d %H:%M}" in made for one in found.candidates)
    assert "fapolicyd on Linux" in made
    assert page(blast(CERTIFICATE, []), [])


# The command


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from cryptography.hazmat.primitives.serialization import Encoding

    monkeypatch.chdir(tmp_path)
    (tmp_path / "leaf.pem").write_bytes(OURS.leaf.public_bytes(Encoding.PEM))
    with (
        Fleet(tmp_path / "scan.db", create=True) as fleet,
        fleet.gathering(int(NOW.timestamp()), instead=True) as gathering,
    ):
        for number, subject in enumerate(FLEET):
            gathering.add(msgspec.structs.replace(
                subject, path=f"/opt/{number}", host=f"host{number % 3}"
            ))  # fmt: skip
    return tmp_path


ASK = ("revoke", "--certificate", "leaf.pem", "--since", "2026-06-15T10:00:00Z", "--inventory",
       "scan.db", "--target", "fapolicyd")  # fmt: skip


def test_without_apply_nothing_is_changed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(path.name for path in place.iterdir())
    assert run([*ASK]) == 0
    shown = capsys.readouterr().out
    assert "4 files on 3 hosts of 7 files on 3 are concerned." in shown
    assert "fapolicyd  by 4 digests (file) of files known today" in shown
    assert shown.endswith("Nothing was changed.  --apply --out DIR does it.\n")
    assert sorted(path.name for path in place.iterdir()) == before


def test_the_page_and_json(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*ASK, "--html", "blast.html", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["blast"]["stops"]["files"] == 2
    assert found["orders"][0]["state"] == "said"
    assert (place / "blast.html").read_bytes().startswith(b"<!doctype html>")


def test_apply_writes_one_folder(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*ASK, "--apply", "--out", "revoked", "--reason", "keyCompromise"]) == 0
    assert "written to revoked" in capsys.readouterr().out
    names = {str(p.relative_to("revoked")) for p in Path("revoked").rglob("*") if p.is_file()}
    assert {"READ-ME.txt", "report.html", "revocation.json", "feed-entries.json"} < names
    assert any(name.startswith("fapolicyd/") for name in names)
    (entry,) = json.loads((place / "revoked" / "feed-entries.json").read_bytes())
    assert (entry["sha256"], entry["reason"]) == (LEAF, "keyCompromise")
    text = (place / "revoked" / "READ-ME.txt").read_text()
    assert "fapolicyd: by 4 digests" in text
    assert run([*ASK, "--apply", "--out", "revoked"]) == 2
    assert "something there already" in capsys.readouterr().err


def test_a_target_that_cannot_be_told_stops_all_of_it(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [word for word in ASK if word not in ("--target", "fapolicyd")]
    code = run([*given, "--apply", "--out", "revoked"])
    err = capsys.readouterr().err
    assert code == 2
    assert "--without" in err
    assert not (place / "revoked").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("--apply",),
        ("--since", "2999-01-01"),
        ("--target", "dbx"),
        ("--bad", "none"),
        ("--file", "leaf.pem"),
    ],
)
def test_what_is_refused(place: Path, words: tuple[str, ...]) -> None:
    assert run([*ASK, *words]) == 2


def test_without_an_inventory_little_is_known(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["revoke", "--digest", "sha256:" + "0" * 64, "--target", "fapolicyd"]) == 0
    assert "Nothing is known of the fleet" in capsys.readouterr().out


# An authority of ours


@pytest.fixture
def realm(place: Path) -> Iterator[Realm]:
    folder = place / "ca"
    folder.mkdir()
    made = make_realm(folder)
    register(made, [HELD])
    made.close()
    with (folder / "signward.toml").open("a") as file:
        file.write('\n[feed]\nkey = "tsa"\nhours = 24\n')
    (place / "held.pem").write_bytes(HELD.pem)
    opened = open_realm(folder)
    yield opened
    opened.close()


HELD = issue("Held", issuer=issuing(), subject_key=key("p256", "held"))
APPLY = ("revoke", "--target", "fapolicyd", "--inventory", "scan.db", "--data", "ca", "--reason",
         "keyCompromise", "--quiet")  # fmt: skip


def feed_of(realm: Realm) -> Document:
    made = feed.current(realm)
    assert made is not None
    keys = read_keys("key", feed.public_key(realm))
    return open_feed("feed", made.body, keys).document


def test_the_authority_tells_of_anybodys_certificate(
    realm: Realm, capsys: pytest.CaptureFixture[str]
) -> None:
    given = (*APPLY, "--certificate", "leaf.pem", "--since", "2026-06-15")
    assert run([*given]) == 0
    assert "authority: an entry in its revocation feed" in capsys.readouterr().out
    assert feed.current(realm) is None
    assert run([*given, "--apply", "--out", "revoked"]) == 0
    shown = capsys.readouterr().out
    assert "feed version 1 published" in shown
    (entry,) = feed_of(realm).certificates
    assert entry.sha256 == LEAF
    assert entry.revoked == datetime(2026, 6, 15, tzinfo=UTC)


def test_the_authority_revokes_what_it_issued(
    realm: Realm, capsys: pytest.CaptureFixture[str]
) -> None:
    given = (*APPLY, "--certificate", "held.pem", "--without", "fapolicyd")
    assert run([*given]) == 0
    assert "which it issued: CRL, OCSP answers and feed" in capsys.readouterr().out
    assert run([*given, "--apply", "--out", "revoked"]) == 0
    assert "a new CRL tells it" in capsys.readouterr().out
    (entry,) = feed_of(realm).certificates
    assert entry.sha256 == load_certificate(HELD.certificate).sha256.hex()
    assert entry.reason == "keyCompromise"
    assert run([*given, "--apply", "--out", "again"]) == 2
    assert "revoked on" in capsys.readouterr().err
    assert not Path("again").exists()


def test_where_the_authority_fails_nothing_is_written(
    realm: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> str:
        raise StoreError("database", "no room", "some")

    monkeypatch.setattr(feed, "add", fail)
    assert run([*APPLY, "--certificate", "leaf.pem", "--apply", "--out", "revoked"]) == 2
    assert not Path("revoked").exists()
    assert feed.current(realm) is None


def test_an_authority_without_a_feed_is_asked_before(realm: Realm, place: Path) -> None:
    settings = place / "ca" / "signward.toml"
    settings.write_text(settings.read_text().partition("\n[feed]")[0] + "\n")
    assert run([*APPLY, "--certificate", "leaf.pem", "--apply", "--out", "revoked"]) == 2
    assert not Path("revoked").exists()
