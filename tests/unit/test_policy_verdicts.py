"""Verdicts under a policy: from a signed file to what the rules leave of its verdict."""

from __future__ import annotations

import hashlib
import importlib
import json
import pkgutil
import zipfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from conformance.authenticode import pe
from conformance.authenticode.pki import NOW, pem

from signward.cli import main
from signward.findings import Code
from signward.formats import Existing
from signward.frozen import replace
from signward.policy.record import Record, from_json, record, to_json
from signward.policy.rules.model import RuleSet
from signward.policy.rules.reading import merge, read_document
from signward.policy.rules.sighted import subject_fields, subject_of
from signward.policy.rules.subject import Subject
from signward.state import Outcome, Stage, Status, Verdict
from signward.trust.names import name_text
from signward.trust.x509 import load_certificate
from signward.verbs.context import Context
from signward.verbs.epoch import rules_epoch
from signward.verbs.evidence import assess_with_evidence
from signward.verbs.options import Options, stopping_at
from signward.verbs.policies.explaining import explain_file
from signward.verbs.replay import replay
from signward.verbs.scan import Scan, ScanOptions
from signward.verbs.verify import assess_path
from signward.wire import der
from tests import samples
from tests.builders.feeds import public_pem
from tests.samples import clearsigned
from tests.signing import authority, held_signer, identity, sign_bytes

PUBLISHER = '{ common_name = "signing test PUBLISHER" }'
HEAD = 'schema = 1\nname = "tried"\nversion = 7\n'


def rules(text: str = "", *, head: str = "") -> RuleSet:
    """Return the policy that a TOML text is."""
    return merge([read_document("tried.toml", f"{HEAD}{head}\n{text}".encode())], lambda *_: b"")


def rule(name: str, action: str, **conditions: str) -> str:
    """Return one rule in TOML; conditions as they are written there."""
    told = "\n".join(f"{field} = {value}" for field, value in conditions.items())
    return f'[[rule]]\nid = "{name}"\naction = "{action}"\n{told}\n'


OURS = rule("ours", "allow", publisher=PUBLISHER)


class Files:
    """Files to judge, and what they are judged with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.anchor = self.write("anchor.pem", pem(authority().certificate))
        self.signed = self.write("signed.exe", sign_bytes("signed.exe", pe.image()))
        self.unsigned = self.write("unsigned.exe", pe.image())
        broken = bytearray(sign_bytes("broken.exe", pe.image()))
        broken[len(pe.image()) - 1] ^= 1
        self.broken = self.write("broken.exe", bytes(broken))
        self.script = self.write("run.py", b"#!/usr/bin/python3\nprint(1)\n")

    def write(self, name: str, data: bytes) -> str:
        (self.folder / name).write_bytes(data)
        return str(self.folder / name)

    def options(self, policy: RuleSet | None = None, **options: object) -> Options:
        return Options(anchors=(self.anchor,), at=NOW, rules=policy, **options)  # type: ignore[arg-type]

    def judged(self, path: str, policy: str, *, head: str = "", **options: object) -> Verdict:
        return assess_path(path, Context(self.options(rules(policy, head=head), **options)))

    def subject(self, path: str) -> Subject:
        return subject_of(record(assess_path(path, Context(self.options()))))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def file_digest(path: str) -> str:
    return f"file:sha256:{hashlib.sha256(Path(path).read_bytes()).hexdigest()}"


# --- subjects of records -----------------------------------------------------------------------


def test_a_record_tells_what_rules_ask_of_its_signer(files: Files) -> None:
    (signer,) = files.subject(files.signed).signers
    path = [load_certificate(one.certificate) for one in identity().path]
    assert signer.subject["common_name"] == "Signing Test Publisher"
    assert signer.certificates == tuple(c.sha256.hex() for c in path)
    assert signer.tbs == tuple(f"sha256:{hashlib.sha256(c.tbs).hexdigest()}" for c in path)
    assert signer.ekus == tuple(sorted(path[0].ekus or ()))
    assert signer.key == hashlib.sha256(path[0].spki).hexdigest()
    assert (signer.key_kind, signer.digest) == ("rsa-2048", "sha256")
    assert (signer.begins, signer.proven) == (path[0].not_before, None)
    assert signer.revocation is Status.UNKNOWN


def test_the_identity_is_the_publisher_s(files: Files) -> None:
    verdict = assess_path(files.signed, Context(files.options()))
    (signer,) = subject_of(record(verdict)).signers
    assert verdict.publisher is not None
    assert signer.identity == verdict.publisher.identity


def test_what_signs_nothing_trusted_has_no_signers(files: Files) -> None:
    for path, cause in ((files.unsigned, "unsigned"), (files.broken, "digest-mismatch")):
        subject = files.subject(path)
        assert (subject.signers, subject.outcome.value, subject.cause) == ((), "rejected", cause)


def test_what_a_record_does_not_tell_is_named(files: Files) -> None:
    unsigned, signed = files.subject(files.unsigned), files.subject(files.signed)
    assert {"digest:file", "digest:authenticode", "host", "origin"} <= unsigned.unknown
    assert "digest:authenticode" not in signed.unknown
    assert "product" not in signed.unknown
    assert "signers" not in signed.unknown


def test_a_record_of_an_older_version_leaves_open_what_it_never_told(files: Files) -> None:
    line = json.loads(to_json(record(assess_path(files.signed, Context(files.options())))))
    for signature in line["signatures"]:
        for field in ("tbs", "ekus", "key", "key_kind", "countersigns"):
            del signature[field]
    del line["unruled"], line["facts"]["dll"]
    subject = subject_of(from_json(json.dumps(line)))
    assert {"signers.tbs", "signers.ekus", "signers.key", "kind", "product"} <= subject.unknown
    assert subject.signers[0].subject["common_name"] == "Signing Test Publisher"


def test_an_image_that_cannot_be_read_is_of_no_class_yet(files: Files) -> None:
    head = b"MZ".ljust(60, b"\0") + (64).to_bytes(4, "little") + b"PE\0\0"
    path = files.write("broken-driver.sys", head + bytes(300))
    assert files.judged(path, rule("k", "allow", kind='["executable"]')).outcome is (
        Outcome.INDETERMINATE
    )
    assert files.judged(path, rule("s", "allow", kind='["script"]')).outcome is Outcome.REJECTED
    assert files.judged(path, rule("p", "allow", kind='["pe"]')).outcome is Outcome.ACCEPTED


def test_a_publisher_nobody_asked_for_is_trusted_all_the_same(files: Files) -> None:
    options = files.options()
    other = replace(options, policy=replace(options.policy, publishers=("Somebody Else",)))
    verdict = assess_path(files.signed, Context(other))
    assert verdict.cause is Code.PUBLISHER_MISMATCH
    assert subject_of(record(verdict)) == files.subject(files.signed)


def test_signers_whose_trust_nobody_asked_about_are_unknown(files: Files) -> None:
    options = stopping_at(files.options(), Stage.INTACT)
    subject = subject_of(record(assess_path(files.signed, Context(options))))
    assert "signers" in subject.unknown
    assert (subject.signers, subject.outcome) == ((), Outcome.INDETERMINATE)
    unsigned = subject_of(record(assess_path(files.unsigned, Context(options))))
    assert "signers" not in unsigned.unknown


@pytest.mark.parametrize(
    ("outcome", "catalogs", "unknown"),
    [
        (Outcome.ACCEPTED, ("sha256:00",), False),
        (Outcome.REJECTED, (), False),
        (Outcome.INDETERMINATE, (), True),
    ],
)
def test_a_catalog_counts_only_where_its_signer_is_trusted(
    files: Files, outcome: Outcome, catalogs: tuple[str, ...], unknown: bool
) -> None:
    told = record(assess_path(files.unsigned, Context(files.options())))
    vouched = replace(told, outcome=outcome, facts={**told.facts, "catalog": "sha256:00"})
    subject = subject_of(vouched)
    assert subject.catalogs == catalogs
    assert ("catalog" in subject.unknown) is unknown


def test_a_verdict_of_rules_does_not_change_what_the_signatures_were_worth(files: Files) -> None:
    let_in = files.judged(
        files.broken, rule("d", "allow", digest=f'["{file_digest(files.broken)}"]')
    )
    stopped = files.judged(files.signed, "")
    assert let_in.outcome is Outcome.ACCEPTED
    assert subject_of(record(let_in)).signers == ()
    assert subject_of(record(stopped)).signers == files.subject(files.signed).signers


def test_names_are_read_back_as_they_were_written() -> None:
    values = {"2.5.4.3": 'a, "b" + \\c;<>', "2.5.4.10": "#x\u202e\n", "2.5.4.11": " ö ",
              "2.5.4.6": "AT"}  # fmt: skip
    rdns = [der.encode(der.SET, der.sequence(der.oid(oid), der.utf8(text)))
            for oid, text in values.items()]  # fmt: skip
    rdns.append(der.encode(der.SET, der.sequence(der.oid("2.5.4.10"), der.utf8("Specific"))))
    fields = subject_fields(name_text(der.sequence(*rdns)))
    assert fields == {"common_name": values["2.5.4.3"], "organization": "Specific",
                      "unit": values["2.5.4.11"], "country": "AT"}  # fmt: skip
    alone = name_text(der.sequence(rdns[1]))
    assert subject_fields(alone) == {"organization": values["2.5.4.10"]}


# --- verdicts ----------------------------------------------------------------------------------


def test_a_rule_lets_in_what_its_publisher_signed(files: Files) -> None:
    verdict = files.judged(files.signed, OURS)
    assert (verdict.outcome, verdict.cause, verdict.rule) == (
        Outcome.ACCEPTED, None, "tried 7: ours")  # fmt: skip
    assert verdict.unruled is not None
    assert verdict.unruled.outcome is Outcome.ACCEPTED


@pytest.mark.parametrize(
    ("policy", "head", "outcome", "cause", "rule_name"),
    [
        ("", "", "rejected", "no-rule", "tried 7"),
        (OURS + rule("no", "deny", kind='["executable"]'), "", "rejected", "policy-denied",
         "tried 7: no"),
        (OURS, "requirements = { timestamp = true }", "rejected", "requirement-unmet",
         "tried 7: ours"),
        (OURS, 'requirements = { revocation = "require" }', "indeterminate", "policy-undecided",
         "tried 7: ours"),
        (OURS + rule("k", "deny", hosts='["kiosk"]'), "", "indeterminate", "policy-undecided",
         "tried 7: k"),
        (rule("a", "audit", publisher=PUBLISHER), "", "accepted", None, "tried 7: a"),
    ],
)  # fmt: skip
def test_rules_decide_about_what_is_signed(
    files: Files, policy: str, head: str, outcome: str, cause: str | None, rule_name: str
) -> None:
    verdict = files.judged(files.signed, policy, head=head)
    told = record(verdict)
    assert (told.outcome.value, told.cause, told.rule) == (outcome, cause, rule_name)
    assert told.unruled is not None
    assert told.unruled.outcome is Outcome.ACCEPTED


@pytest.mark.parametrize("first_digest", ["sha256", "sha384"])
def test_several_signers_are_all_judged_where_rules_ask_for_them(
    files: Files, first_digest: str
) -> None:
    once = sign_bytes("two.exe", pe.image(), digest=first_digest)
    twice = sign_bytes("two.exe", once, who=identity(name="Second"), existing=Existing.NESTED)
    path = files.write("two.exe", twice)
    of = '[{ common_name = "Signing Test Publisher" }, { common_name = "Second" }]'
    both = rule("both", "allow", signers=f"{{ least = 2, of = {of} }}")
    assert files.judged(path, both).outcome is Outcome.ACCEPTED
    assert files.judged(files.signed, both).outcome is Outcome.REJECTED


def test_who_is_denied_is_denied_beside_a_stronger_signature(files: Files) -> None:
    once = sign_bytes("two.exe", pe.image(), digest="sha256")
    twice = sign_bytes("two.exe", once, who=identity(name="Second"), digest="sha384",
                       existing=Existing.NESTED)  # fmt: skip
    path = files.write("two.exe", twice)
    second = rule("second", "allow", publisher='{ common_name = "Second" }')
    assert files.judged(path, second).outcome is Outcome.ACCEPTED
    denied = files.judged(path, second + rule("no", "deny", publisher=PUBLISHER))
    assert (denied.outcome, denied.cause) == (Outcome.REJECTED, Code.POLICY_DENIED)


def test_rules_are_asked_at_the_last_stage_alone(files: Files) -> None:
    options = stopping_at(files.options(rules("")), Stage.TRUSTED)
    verdict = assess_path(files.signed, Context(options))
    assert (verdict.outcome, verdict.unruled) == (Outcome.ACCEPTED, None)


def held_by_openpgp(files: Files) -> tuple[str, str, str]:
    """Write a description signed by OpenPGP, and its keyring; return them and who signed."""
    data = sign_bytes("hello.dsc", clearsigned.described(), held=True)
    holder = held_signer(identity()).holder
    assert holder is not None
    ring = files.write("ring.gpg", holder.holder)
    path = files.write("hello.dsc", data)
    publisher = assess_path(path, Context(Options(keyrings=(ring,), at=NOW))).publisher
    assert publisher is not None
    return path, ring, publisher.identity


@pytest.mark.parametrize(
    ("action", "field", "outcome"),
    [
        ("allow", "identity", Outcome.ACCEPTED),
        ("deny", "identity", Outcome.REJECTED),
        ("allow", "key", Outcome.ACCEPTED),
        ("deny", "key", Outcome.REJECTED),
        ("deny", "other", Outcome.ACCEPTED),
    ],
)
def test_rules_know_signers_whose_keys_no_certificate_holds(
    files: Files, action: str, field: str, outcome: Outcome
) -> None:
    """A deny of an OpenPGP key that does not see it lets in whom it was written against."""
    path, ring, who = held_by_openpgp(files)
    told = {"identity": f'{{ identity = "{who}" }}', "key": '{ key = "own" }',
            "other": '{ identity = "openpgp:00" }'}  # fmt: skip
    every = rule("all", "allow", kind='["clearsigned"]') if action == "deny" else ""
    text = rule("one", action, publisher=told[field]) + every
    document = read_document(
        "tried.toml", f'{HEAD}[keys]\nown = {{ file = "own.pem" }}\n{text}'.encode()
    )
    policy = merge([document], lambda *_: public_pem(identity().key))
    verdict = assess_path(path, Context(Options(keyrings=(ring,), at=NOW, rules=policy)))
    decided = "all" if field == "other" else "one"
    assert (verdict.outcome, verdict.rule) == (outcome, f"tried 7: {decided}")


def test_an_audit_rule_says_so(files: Files) -> None:
    verdict = files.judged(files.signed, rule("a", "audit", publisher=PUBLISHER))
    assert Code.BY_POLICY in {finding.code for finding in verdict.findings}


def test_the_host_and_its_tags_are_asked_for(files: Files) -> None:
    policy = OURS + rule("k", "deny", hosts='["kiosk"]')
    assert files.judged(files.signed, policy, host="server").outcome is Outcome.ACCEPTED
    assert files.judged(files.signed, policy, host="KIOSK").outcome is Outcome.REJECTED
    tagged = files.judged(files.signed, policy, host="x", tags=frozenset({"kiosk"}))
    assert tagged.outcome is Outcome.REJECTED


def test_what_is_unsigned_keeps_its_cause_unless_a_rule_steps_in(files: Files) -> None:
    nothing = files.judged(files.unsigned, OURS)
    assert (nothing.outcome, nothing.cause) == (Outcome.REJECTED, Code.UNSIGNED)
    denied = files.judged(files.unsigned, rule("no", "deny", kind='["pe"]'))
    assert denied.cause is Code.POLICY_DENIED


@pytest.mark.parametrize("which", ["unsigned", "broken"])
def test_a_file_s_digest_lets_it_in_with_the_facts_as_warnings(files: Files, which: str) -> None:
    path = getattr(files, which)
    verdict = files.judged(path, rule("d", "allow", digest=f'["{file_digest(path)}"]'))
    assert (verdict.outcome, verdict.rule) == (Outcome.ACCEPTED, "tried 7: d")
    assert {f.effect.value for f in verdict.findings} <= {"warn", "note"}
    assert verdict.unruled is not None
    assert verdict.unruled.cause in {f.code for f in verdict.findings}
    other = files.judged(files.signed, rule("d", "allow", digest=f'["{file_digest(path)}"]'))
    assert other.outcome is Outcome.REJECTED


def test_the_content_of_an_unsigned_image_is_known_by_its_digest(files: Files) -> None:
    (digest,) = (d for d in files.subject(files.signed).digests if "sha256" in d)
    allowed = rule("d", "allow", digest=f'["{digest}"]')
    assert files.judged(files.unsigned, allowed).outcome is Outcome.ACCEPTED


ASKING = ", ".join(
    f'"{of}:{algorithm}:{"0" * size}"'
    for of in ("file", "authenticode")
    for algorithm, size in (("sha1", 40), ("sha256", 64), ("sha512", 128))
)
SAMPLES = [
    (f"{module.name}/{name}", make)
    for module in pkgutil.iter_modules(samples.__path__)
    for name, make in importlib.import_module(f"tests.samples.{module.name}").SAMPLES.items()
]


@pytest.mark.parametrize(("name", "make"), SAMPLES, ids=[name for name, _ in SAMPLES])
def test_every_format_tells_the_digests_that_rules_ask(
    files: Files, name: str, make: Callable[[], bytes]
) -> None:
    path = files.write(name.rpartition("/")[2], make())
    verdict = files.judged(path, rule("d", "allow", digest=f"[{ASKING}]"))
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.UNSIGNED)
    assert file_digest(path) in subject_of(record(verdict)).digests
    subject, form = subject_of(record(verdict)), name.partition("/")[0]
    for digests, forms in ((subject.digests, {"pe", "script"}), (subject.partial, {"msi", "cab"})):
        told = sum(digest.startswith("authenticode:") for digest in digests)
        assert told == (3 if form in forms else 0)
    by_file = rule("d", "allow", digest=f'["{file_digest(path)}"]')
    assert files.judged(path, by_file).outcome is Outcome.ACCEPTED


def test_content_beside_the_digested_makes_the_digest_unknown(files: Files) -> None:
    (digest,) = (d for d in files.subject(files.signed).digests if "sha256" in d)
    longer = files.write("longer.exe", Path(files.signed).read_bytes() + b"more" * 4)
    allowed = files.judged(longer, rule("d", "allow", digest=f'["{digest}"]'))
    assert allowed.outcome is not Outcome.ACCEPTED


@pytest.mark.parametrize("name", ["msi/package.msi", "cab/plain.cab"])
def test_what_lies_behind_an_unsigned_installer_is_not_let_in_by_its_content(
    files: Files, name: str
) -> None:
    data = dict(SAMPLES)[name]()
    signed = files.write(f"signed.{name[-3:]}", sign_bytes(f"x.{name[-3:]}", data))
    (digest,) = (d for d in files.subject(signed).digests if "authenticode:sha256" in d)
    allowed = rule("d", "allow", digest=f'["{digest}"]')
    assert files.judged(signed, allowed).outcome is Outcome.ACCEPTED
    told = files.judged(signed, rule("d", "deny", digest=f'["{digest}"]'))
    assert told.outcome is Outcome.REJECTED
    # Signing adds to what is digested: the digest of the unsigned one is another.
    unsigned = files.judged(
        files.write(f"x.{name[-3:]}", data), rule("d", "deny", digest=f"[{ASKING}]")
    )
    (digest,) = (d for d in subject_of(record(unsigned)).partial if "sha256" in d)
    allowed = rule("d", "allow", digest=f'["{digest}"]')
    for more in (b"", b"PK\5\6" + bytes(18)):
        path = files.write(f"longer.{name[-3:]}", data + more)
        assert files.judged(path, allowed).outcome is Outcome.INDETERMINATE
        other = rule("o", "deny", digest=f'["authenticode:sha256:{"0" * 64}"]')
        by_file = rule("f", "allow", digest=f'["{file_digest(path)}"]')
        assert files.judged(path, other + by_file).outcome is Outcome.ACCEPTED


def test_files_that_nothing_signs_are_of_a_kind(files: Files) -> None:
    allowed = rule("s", "allow", kind='["script"]', path=f'["{files.folder}/*"]')
    assert files.judged(files.script, allowed).outcome is Outcome.ACCEPTED
    assert files.judged(files.unsigned, allowed).outcome is Outcome.REJECTED


def test_a_path_is_where_the_file_lies(files: Files) -> None:
    (files.folder / "elsewhere").mkdir()
    link = files.folder / "elsewhere" / "link.exe"
    link.symlink_to(files.unsigned)
    by_link = rule("p", "allow", path=f'["{files.folder}/elsewhere/*"]')
    assert files.judged(str(link), by_link).outcome is Outcome.REJECTED
    assert files.judged(str(link), rule("p", "allow", path=f'["{files.folder}/*"]')).outcome is (
        Outcome.ACCEPTED
    )


def test_an_empty_file_is_let_in_by_nothing(files: Files) -> None:
    empty = files.write("empty.py", b"")
    assert files.judged(empty, rule("p", "allow", path='["/**"]')).outcome is Outcome.REJECTED


# --- scans, the cache, evidence ----------------------------------------------------------------


def scanned(files: Files, policy: RuleSet | None, **asked: object) -> dict[str, Record]:
    options = ScanOptions(paths=(str(files.folder),), trust=files.options(policy), jobs=1,
                          **asked)  # type: ignore[arg-type]  # fmt: skip
    return {Path(r.subject).name: r for r in map(from_json, Scan(options).run())}


def test_a_scan_judges_by_the_policy_and_what_nothing_signs_too(files: Files) -> None:
    found = scanned(files, rules(OURS))
    assert {name: one.outcome.value for name, one in found.items()} == {
        "signed.exe": "accepted", "unsigned.exe": "rejected", "broken.exe": "rejected",
        "run.py": "rejected",
    }  # fmt: skip
    assert found["signed.exe"].rule == "tried 7: ours"
    assert "run.py" not in scanned(files, None)


def test_rules_speak_of_scripts_within_archives_too(files: Files) -> None:
    with zipfile.ZipFile(files.folder / "tools.zip", "w") as archive:
        archive.write(files.script, "run.py")
    names = {"signed.exe", "unsigned.exe", "broken.exe", "run.py", "tools.zip!/run.py"}
    path = str(files.folder)
    options = ScanOptions(paths=(path,), trust=files.options(rules(OURS)), jobs=1)
    found = {r.subject.removeprefix(f"{path}/") for r in map(from_json, Scan(options).run())}
    assert found == names


def test_a_member_lies_where_its_container_does(files: Files) -> None:
    real, link = files.folder / "real.zip", files.folder / "link.zip"
    real.write_bytes(b"PK")
    link.symlink_to(real)
    context = Context(files.options())
    assert context.place(f"{link}!/bin/a.dll") == f"{real}!/bin/a.dll"
    assert context.place(f"{link}!/inner.zip!/a.dll") == f"{real}!/inner.zip!/a.dll"
    assert context.place(f"{files.folder}/none.zip!/a.dll") == ""
    assert context.place("a\0b!/c") == ""


def test_a_later_instant_has_rules_of_its_own(files: Files) -> None:
    ends = NOW + timedelta(hours=1)
    waiver = '[[exception]]\nid = "w"\nowner = "me"\nreason = "r"\npath = ["/**"]\n'
    context = Context(files.options(rules(f"{waiver}expires = {ends.isoformat()}\n")))
    assert assess_path(files.unsigned, context).outcome is Outcome.ACCEPTED
    later = assess_path(files.unsigned, context.as_of(ends))
    assert later.outcome is Outcome.REJECTED


def test_a_scan_and_verify_agree(files: Files) -> None:
    policy = OURS + rule("d", "allow", digest=f'["{file_digest(files.broken)}"]')
    for one in scanned(files, rules(policy)).values():
        alone = record(files.judged(one.subject, policy))
        assert (one.outcome, one.cause, one.rule) == (alone.outcome, alone.cause, alone.rule)


def test_another_policy_is_not_answered_from_the_cache(files: Files, tmp_path: Path) -> None:
    cache = tmp_path / "elsewhere.db"
    first = scanned(files, rules(OURS), cache=cache)["signed.exe"]
    second = scanned(files, rules(""), cache=cache)["signed.exe"]
    assert (first.outcome, second.outcome) == (Outcome.ACCEPTED, Outcome.REJECTED)


def test_the_cache_knows_what_time_does_to_rules() -> None:
    ends = (NOW + timedelta(hours=2)).isoformat()
    waiver = '[[exception]]\nid = "w"\nowner = "me"\nreason = "r"\npath = ["/opt/x"]\n'
    waiver += f"expires = {ends}\n"
    for policy, changes in (
        (rules(OURS), (False, False)),
        (rules(OURS + waiver), (False, True)),
        (rules(OURS, head="requirements = { max_age_days = 5 }"), (False, True)),
    ):
        soon, later = NOW + timedelta(hours=1), NOW + timedelta(days=1)
        epochs = [rules_epoch(policy, at) for at in (NOW, soon, later)]
        assert (epochs[0] != epochs[1], epochs[1] != epochs[2]) == changes
    assert rules_epoch(None, NOW) == ""
    assert rules_epoch(rules(OURS), NOW) != rules_epoch(replace(rules(OURS), version=8), NOW)


def test_evidence_carries_the_rules_that_decided(files: Files) -> None:
    policy = rules(OURS + rule("k", "deny", hosts='["kiosk"]'))
    options = files.options(policy, host="server", tags=frozenset({"x"}))
    folder = str(files.folder / "bundle")
    paths = [files.signed, files.unsigned]
    verdicts, _ = assess_with_evidence(paths, options, folder)
    assert [v.outcome.value for v in verdicts] == ["accepted", "rejected"]
    for path, verdict in zip(paths, verdicts, strict=True):
        assert to_json(record(replay(folder, path))) == to_json(record(verdict))


def test_a_replay_elsewhere_asks_the_path_of_then(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files.folder)
    policy = rules(rule("p", "allow", path=f'["{files.folder}/*"]'))
    verdicts, _ = assess_with_evidence(["unsigned.exe"], files.options(policy), "bundle")
    assert verdicts[0].outcome is Outcome.ACCEPTED
    moved = files.folder / "elsewhere"
    moved.mkdir()
    Path(files.unsigned).rename(moved / "moved.exe")
    again = replay("bundle", str(moved / "moved.exe"))
    assert to_json(record(again)) == to_json(record(verdicts[0]))


def test_explaining_tells_why(files: Files) -> None:
    policy = rules(OURS + rule("no", "deny", kind='["driver"]'))
    explained = explain_file(files.signed, Context(files.options(policy)))
    assert explained.decision is not None
    words = {word.rule: word for word in explained.words}
    assert words["ours"].decided
    assert words["no"].failed == ("kind",)
    gone = explain_file(str(files.folder / "absent"), Context(files.options(policy)))
    assert (gone.subject, gone.words) == (None, ())


# --- the command line --------------------------------------------------------------------------


def policy_file(files: Files, text: str) -> str:
    return files.write("tried.toml", f"{HEAD}{text}".encode())


def judging(files: Files) -> list[str]:
    return ["--anchor", files.anchor, "--at", NOW.isoformat()]


def test_verify_takes_a_policy(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    policy = policy_file(files, OURS)
    asked = ["verify", "--policy", policy, *judging(files)]
    assert main([*asked, files.signed]) == 0
    assert main([*asked, files.unsigned]) == 4
    assert main([*asked, files.broken]) == 1
    capsys.readouterr()
    assert main([*asked, "--json", files.signed]) == 0
    assert json.loads(capsys.readouterr().out)["rule"] == "tried 7: ours"


@pytest.mark.parametrize("more", [["--publisher", "x"], ["--stage", "trusted"]])
def test_a_policy_stands_alone(
    files: Files, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    policy = policy_file(files, OURS)
    assert main(["verify", "--policy", policy, *judging(files), *more, files.signed]) == 2
    assert "rules say whom to accept" in capsys.readouterr().err


def test_a_policy_key_without_a_policy_is_refused(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", "--policy-key", files.anchor, files.signed]) == 2
    assert "--policy-key" in capsys.readouterr().err


def test_explain_prints_every_word(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    policy = policy_file(files, OURS + rule("no", "deny", kind='["driver"]'))
    asked = ["policy", "explain", "--policy", policy, *judging(files)]
    assert main([*asked, files.signed]) == 0
    text = capsys.readouterr().out
    assert "=> allow ours: matches" in text
    assert "deny  no: not met: kind" in text
    assert main([*asked, "--json", files.unsigned]) == 4
    told = json.loads(capsys.readouterr().out)
    assert {word["rule"] for word in told["rules"]} == {"ours", "no"}
    assert told["decision"]["outcome"] == "rejected"
    assert main(["policy", "explain", files.signed]) == 2


def test_show_and_scan_take_a_policy(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    policy = policy_file(files, OURS)
    assert main(["show", "--json", "--policy", policy, *judging(files), files.signed]) == 0
    assert "tried 7: ours" in capsys.readouterr().out
    scan = ["scan", "--no-cache", "--policy", policy, *judging(files), "--fail-on", "rejected"]
    assert main([*scan, str(files.folder)]) == 1
    capsys.readouterr()
