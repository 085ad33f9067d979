"""Sigstore bundles and attestations, by a Sigstore of our own: each rule broken once."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import replace as changed
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode import pki
from conformance.authenticode.keys import key

from signward.errors import EvidenceError
from signward.findings import Code
from signward.policy.record import record
from signward.policy.rules.sighted import subject_of
from signward.policy.settings import Policy
from signward.state import KeylessIdentity, Outcome, Stage, TrustedSignature, Verdict
from signward.verbs.beside import assess_with_companions
from signward.verbs.context import Context
from signward.verbs.detached import assess_detached
from signward.verbs.options import Options
from signward.verbs.policies.load import load_rules
from signward.verbs.scan import Scan, ScanOptions
from signward.verbs.verify import assess_path
from tests.builders import sigstore as made
from tests.builders.sigstore import AT, PROVIDER, WORKFLOW, Sigstore, b64

CONTENT = b"what is signed"
OURS = Sigstore()
OTHERS = Sigstore(name="others")
WANTED = Policy(identity=WORKFLOW, issuer=PROVIDER)


class Bench:
    """Writes files and judges them by our trust root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def judge(
        self,
        document: Any,
        content: bytes = CONTENT,
        name: str = "a.bin",
        *,
        root: bytes | None = None,
        policy: Policy = WANTED,
        **options: Any,
    ) -> Verdict:
        """Return the verdict on a file by a document (JSON) beside it."""
        file, beside, trust = (self.folder / n for n in (name, f"{name}.sigstore", "root.json"))
        file.write_bytes(content)
        beside.write_bytes(
            document if isinstance(document, bytes) else json.dumps(document).encode()
        )
        trust.write_bytes(root or OURS.trusted_root())
        given = Options(trusted_root=str(trust), policy=policy, **options)
        return assess_detached(str(file), str(beside), Context(given))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def _accepted(verdict: Verdict) -> KeylessIdentity:
    assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
    (signature,) = verdict.signatures
    assert isinstance(signature, TrustedSignature)
    assert isinstance(signature.basis, KeylessIdentity)
    return signature.basis


@pytest.mark.parametrize("bundle", [
    OURS.message(CONTENT),
    OURS.message_2(CONTENT),
    OURS.attested(made.statement("any name", CONTENT)),
    OURS.attested(made.statement("a", CONTENT, "https://slsa.dev/provenance/v1")),
])  # fmt: skip
def test_good_bundles_are_accepted_and_name_their_signer(
    bench: Bench, bundle: dict[str, Any]
) -> None:
    basis = _accepted(bench.judge(bundle))
    assert (basis.identity, basis.issuer) == (WORKFLOW, PROVIDER)
    assert basis.logs == (OURS.log_url,)


def test_the_time_is_the_logs_or_the_earliest_timestamp(bench: Bench) -> None:
    bundle = OURS.message(CONTENT, at=AT + timedelta(minutes=2))
    value = base64.b64decode(bundle["messageSignature"]["signature"])
    stamp = {"signedTimestamp": OURS.token(value, AT + timedelta(minutes=1))}
    for stamps, minutes in (([], 2), ([stamp], 1)):
        bundle["verificationMaterial"]["timestampVerificationData"] = {"rfc3161Timestamps": stamps}
        verdict = bench.judge(bundle)
        _accepted(verdict)
        assert record(verdict).signatures[0].proven_time is not None
        signature = verdict.signatures[0]
        assert isinstance(signature, TrustedSignature)
        assert signature.judged_at == AT + timedelta(minutes=minutes)


@pytest.mark.parametrize("version", ["0.1", "0.2"])
def test_older_bundles_have_a_chain_of_certificates(bench: Bench, version: str) -> None:
    bundle = OURS.message(CONTENT)
    bundle["mediaType"] = f"application/vnd.dev.sigstore.bundle+json;version={version}"
    material = bundle["verificationMaterial"]
    material["x509CertificateChain"] = {"certificates": [material.pop("certificate")]}
    _accepted(bench.judge(bundle))
    entry = material["tlogEntries"][0]
    proof, promise = entry.pop("inclusionProof"), entry["inclusionPromise"]
    without_proof = bench.judge(bundle)
    if version == "0.1":
        _accepted(without_proof)
    else:
        assert without_proof.cause is Code.LOG_ENTRY
    del entry["inclusionPromise"]
    entry["inclusionProof"] = proof
    assert bench.judge(bundle).outcome is Outcome.REJECTED  # no promise, no time
    entry["inclusionPromise"] = promise
    _accepted(bench.judge(bundle))


# --- whose signature it is -------------------------------------------------------


@pytest.mark.parametrize("policy", [
    Policy(),
    Policy(identity="https://github.com/example/project", issuer=PROVIDER),
    Policy(identity=WORKFLOW, issuer="https://accounts.example"),
    Policy(publishers=(WORKFLOW,)),
])  # fmt: skip
def test_nobody_is_accepted_who_was_not_asked_for(bench: Bench, policy: Policy) -> None:
    verdict = bench.judge(OURS.message(CONTENT), policy=policy)
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.PUBLISHER_MISMATCH)
    assert verdict.publisher is not None
    assert WORKFLOW in verdict.publisher.name


def test_a_publisher_may_be_named_whole_and_trust_asks_for_nobody(bench: Bench) -> None:
    bundle = OURS.message(CONTENT)
    _accepted(bench.judge(bundle, policy=Policy(publishers=(f"{WORKFLOW} ({PROVIDER})",))))
    _accepted(bench.judge(bundle, policy=Policy(stage=Stage.TRUSTED)))


@pytest.mark.parametrize(("names", "identity"), [
    ((made.email("a@b.example"),), "a@b.example"),
    ((made.user("someone!project"),), "someone!project"),
])  # fmt: skip
def test_identities_of_other_kinds(bench: Bench, names: Any, identity: str) -> None:
    bundle = OURS.message(CONTENT, OURS.leaf(names=names))
    _accepted(bench.judge(bundle, policy=Policy(identity=identity, issuer=PROVIDER)))


@pytest.mark.parametrize("leaf", [
    OURS.leaf(names=(made.workflow(), made.email("a@b.example"))),
    OURS.leaf(names=(made.workflow("https://a\n.example"),)),
    OURS.leaf(provider=None),
    OURS.leaf(old_provider="https://accounts.example"),
])  # fmt: skip
def test_a_certificate_names_one_identity_and_one_provider(bench: Bench, leaf: Any) -> None:
    verdict = bench.judge(OURS.message(CONTENT, leaf))
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.CERTIFICATE_MALFORMED)


def test_the_old_extension_names_the_provider_too(bench: Bench) -> None:
    leaf = OURS.leaf(provider=None, old_provider=PROVIDER)
    _accepted(bench.judge(OURS.message(CONTENT, leaf)))


def test_records_and_rules_know_who_signed_in(bench: Bench) -> None:
    data = record(bench.judge(OURS.message(CONTENT), policy=Policy()))
    keyless = data.signatures[0].keyless
    assert keyless is not None
    assert (keyless.identity, keyless.issuer) == (WORKFLOW, PROVIDER)
    (signer,) = subject_of(data).signers
    assert (signer.keyless_identity, signer.keyless_issuer) == (WORKFLOW, PROVIDER)
    assert signer.logged
    assert signer.identity == f"keyless:{PROVIDER} {WORKFLOW}"


# --- what breaks -----------------------------------------------------------------


def _entry(bundle: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = bundle["verificationMaterial"]["tlogEntries"][0]
    return entry


def _turned(text: str) -> str:
    data = base64.b64decode(text)
    return b64(data[:-1] + bytes([data[-1] ^ 1]))


def _other_checkpoint(bundle: dict[str, Any]) -> None:
    other = _entry(OTHERS.message(CONTENT))["inclusionProof"]
    _entry(bundle)["inclusionProof"]["checkpoint"] = other["checkpoint"]


def _other_entry(bundle: dict[str, Any]) -> None:
    """Put the entry of another signature of the same file there (CVE-2026-22703)."""
    bundle["verificationMaterial"]["tlogEntries"] = [_entry(OURS.message(CONTENT))]
    _entry(bundle)["canonicalizedBody"] = _entry(OURS.message(b"other"))["canonicalizedBody"]


EDITS: dict[str, tuple[Callable[[dict[str, Any]], Any], Code]] = {
    "promise": (
        lambda b: _entry(b)["inclusionPromise"].update(
            signedEntryTimestamp=_turned(_entry(b)["inclusionPromise"]["signedEntryTimestamp"])),
        Code.LOG_ENTRY,
    ),
    "time": (lambda b: _entry(b).update(integratedTime="1748779300"), Code.LOG_ENTRY),
    "index": (lambda b: _entry(b).update(logIndex="42"), Code.LOG_ENTRY),
    "negative": (lambda b: _entry(b).update(logIndex="-1"), Code.MALFORMED),
    "proof-index": (lambda b: _entry(b)["inclusionProof"].update(logIndex="0"), Code.LOG_ENTRY),
    "proof-size": (lambda b: _entry(b)["inclusionProof"].update(treeSize="4"), Code.LOG_ENTRY),
    "hashes": (lambda b: _entry(b)["inclusionProof"]["hashes"].reverse(), Code.LOG_ENTRY),
    "root": (
        lambda b: _entry(b)["inclusionProof"].update(rootHash=b64(bytes(32))), Code.LOG_ENTRY),
    "no-checkpoint": (
        lambda b: _entry(b)["inclusionProof"].pop("checkpoint"), Code.LOG_ENTRY),
    "checkpoint": (_other_checkpoint, Code.LOG_ENTRY),
    "entry": (_other_entry, Code.LOG_ENTRY),
    "no-entry": (
        lambda b: b["verificationMaterial"].update(tlogEntries=[]), Code.LOG_ENTRY),
    "log": (lambda b: _entry(b)["logId"].update(keyId=b64(bytes(32))), Code.LOG_ENTRY),
    "kind": (lambda b: _entry(b)["kindVersion"].update(kind="dsse"), Code.MALFORMED),
    "digest": (
        lambda b: b["messageSignature"]["messageDigest"].update(digest=b64(bytes(32))),
        Code.DIGEST_MISMATCH),
    "value": (
        lambda b: b["messageSignature"].update(
            signature=_turned(b["messageSignature"]["signature"])), Code.LOG_ENTRY),
    "two-signers": (
        lambda b: b["verificationMaterial"].update(publicKey={"hint": "x"}), Code.MALFORMED),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_what_is_changed_in_a_bundle_rejects(bench: Bench, edit: str) -> None:
    bundle = OURS.message(CONTENT)
    change, cause = EDITS[edit]
    change(bundle)
    verdict = bench.judge(bundle)
    assert verdict.outcome is Outcome.REJECTED, verdict.findings
    assert verdict.cause is cause, verdict.findings


LATE = AT + timedelta(hours=1)
BUNDLES: dict[str, tuple[Callable[[], dict[str, Any]], Code]] = {
    "another-instance": (lambda: OTHERS.message(CONTENT), Code.NO_PATH),
    "another-log": (
        lambda: OURS.message(CONTENT, log=OTHERS.log), Code.LOG_ENTRY),
    "another-authority": (
        lambda: OURS.message(CONTENT, changed(OTHERS).leaf(sct_key=OURS.certificate_log)),
        Code.NO_PATH),
    "no-sct": (lambda: OURS.message(CONTENT, OURS.leaf(sct=False)), Code.LOG_ENTRY),
    "another-sct": (
        lambda: OURS.message(CONTENT, OURS.leaf(sct_key=OTHERS.certificate_log)), Code.LOG_ENTRY),
    "too-late": (lambda: OURS.message(CONTENT, at=LATE), Code.EXPIRED),
    "too-early": (
        lambda: OURS.message(CONTENT, at=AT - timedelta(hours=1)), Code.NOT_YET_VALID),
    "stamped-late": (lambda: OURS.message_2(CONTENT, at=LATE), Code.EXPIRED),
    "no-code-signing": (
        lambda: OURS.message(CONTENT, OURS.leaf(ekus=(pki.EKU_SERVER_AUTH,))), Code.WRONG_USAGE),
    "no-promise": (lambda: OURS.message(CONTENT, promise=False), Code.NO_PROVEN_TIME),
}  # fmt: skip


@pytest.mark.parametrize("name", BUNDLES)
def test_what_others_vouch_for_is_asked_of_the_trust_root(bench: Bench, name: str) -> None:
    make, cause = BUNDLES[name]
    verdict = bench.judge(make())
    assert verdict.outcome is Outcome.REJECTED, verdict.findings
    assert cause in {f.code for f in verdict.findings}, verdict.findings


def test_a_timestamp_by_somebody_else_or_over_something_else_proves_nothing(bench: Bench) -> None:
    bundle = OURS.message_2(CONTENT)
    value = base64.b64decode(bundle["messageSignature"]["signature"])
    for token in (OURS.token(value, by=OTHERS.stamper), OURS.token(b"another value")):
        stamps = bundle["verificationMaterial"]["timestampVerificationData"]
        stamps["rfc3161Timestamps"][0]["signedTimestamp"] = token
        verdict = bench.judge(bundle)
        assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.NO_PROVEN_TIME)


def test_what_served_no_more_or_not_yet_vouches_for_nothing(bench: Bench) -> None:
    bundle = OURS.message(CONTENT)
    for begin, end in ((AT + timedelta(days=1), None), (OURS.begin, AT - timedelta(days=1))):
        root = changed(OURS, begin=begin, end=end).trusted_root()
        verdict = bench.judge(bundle, root=root)
        assert verdict.outcome is Outcome.REJECTED
        assert Code.LOG_ENTRY in {f.code for f in verdict.findings}


def test_a_time_to_come_is_none(bench: Bench) -> None:
    verdict = bench.judge(OURS.message(CONTENT), at=AT - timedelta(days=1))
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.NO_PROVEN_TIME)


def test_a_trust_root_without_logs_asks_for_none(bench: Bench) -> None:
    bundle = OURS.message_2(CONTENT, OURS.leaf(sct=False))
    bundle["verificationMaterial"]["tlogEntries"] = []
    assert bench.judge(bundle).cause is Code.LOG_ENTRY
    basis = _accepted(bench.judge(bundle, root=OURS.trusted_root(tlogs=[], ctlogs=[])))
    assert basis.logs == ()


@pytest.mark.parametrize("change", [
    {"tlogs": [{"publicKey": {"rawBytes": "", "keyDetails": "PKIX_ED25519", "validFor": {}},
                "logId": {"keyId": ""}}]},
    {"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=9"},
    {"certificateAuthorities": [{"certChain": {"certificates": [{"rawBytes": "AAAA"}]},
                                 "validFor": {"start": "2025-01-01T00:00:00Z"}}]},
    {"tlogs": {}},
])  # fmt: skip
def test_a_trust_root_that_is_not_whole_is_refused(bench: Bench, change: dict[str, Any]) -> None:
    with pytest.raises(EvidenceError):
        bench.judge(OURS.message(CONTENT), root=OURS.trusted_root(**change))


def test_whoever_names_other_anchors_trusts_no_sigstore(bench: Bench, tmp_path: Path) -> None:
    anchor = tmp_path / "root.pem"
    anchor.write_text(OURS.root.pem.decode())
    file, beside = tmp_path / "f", tmp_path / "f.sigstore"
    file.write_bytes(CONTENT)
    beside.write_text(json.dumps(OURS.message(CONTENT)))
    options = Options(anchors=(str(anchor),), policy=WANTED)
    verdict = assess_detached(str(file), str(beside), Context(options))
    assert verdict.outcome is Outcome.REJECTED


# --- files -----------------------------------------------------------------------


def test_other_content_is_rejected(bench: Bench) -> None:
    for bundle in (OURS.message(CONTENT), OURS.attested(made.statement("a", CONTENT))):
        verdict = bench.judge(bundle, b"other content")
        assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.DIGEST_MISMATCH)


def test_one_of_several_subjects_is_the_file(bench: Bench) -> None:
    digests = [hashlib.sha512(x).hexdigest() for x in (b"one", CONTENT)]
    payload = made.canonical({
        "_type": made.STATEMENT, "predicateType": "https://slsa.dev/provenance/v1",
        "subject": [{"name": "x", "digest": {"sha512": one}} for one in digests],
    })  # fmt: skip
    _accepted(bench.judge(OURS.attested(payload)))
    assert bench.judge(OURS.attested(payload), b"third").cause is Code.DIGEST_MISMATCH


def test_a_statement_of_another_kind_is_not_judged(bench: Bench) -> None:
    payload = made.statement("a", CONTENT, "https://in-toto.io/attestation/test-result/v0.1")
    verdict = bench.judge(OURS.attested(payload))
    assert (verdict.outcome, verdict.cause) == (Outcome.INDETERMINATE, Code.UNSUPPORTED_KIND)


def test_a_statement_without_a_digest_that_is_known_covers_nothing(bench: Bench) -> None:
    subject = {"name": "a", "digest": {"gitCommit": "00" * 20}}
    payload = made.canonical({"_type": made.STATEMENT, "subject": [subject],
                              "predicateType": made.PUBLISH})  # fmt: skip
    assert bench.judge(OURS.attested(payload)).cause is Code.SLOT_MISSING


FILES = {"demo/__init__.py": b"x = 1\n", "demo-1.0.dist-info/METADATA": b"Name: demo\n"}
WHEEL = "demo-1.0-py3-none-any.whl"


def test_an_attested_wheel_with_all_of_its_files_listed(bench: Bench) -> None:
    wheel = made.wheel(FILES)
    verdict = bench.judge(OURS.attestation(WHEEL, wheel), wheel, WHEEL)
    _accepted(verdict)
    assert verdict.facts["predicate"] == made.PUBLISH
    assert bench.judge(OURS.attestation(WHEEL, wheel), wheel + b"x", WHEEL).cause in (
        Code.AMBIGUOUS, Code.MALFORMED, Code.DIGEST_MISMATCH)  # fmt: skip


@pytest.mark.parametrize(("record_", "cause"), [
    (b"demo/__init__.py,sha256=AAAA,6\n", Code.SLOT_MISSING),
    (b"demo/__init__.py,md5=AAAA,6\n", Code.MALFORMED),
    (b"demo/__init__.py,sha256=AAAA\n", Code.MALFORMED),
    (b"a,,\na,,\n", Code.AMBIGUOUS),
    (b"\xff,,\n", Code.MALFORMED),
    (b"demo/__init__.py,sha256=AAAA,6\ndemo-1.0.dist-info/METADATA,sha256=AAAA,11\n",
     Code.DIGEST_MISMATCH),
])  # fmt: skip
def test_a_wheel_whose_list_is_wrong(bench: Bench, record_: bytes, cause: Code) -> None:
    wheel = made.wheel(FILES, record=record_)
    verdict = bench.judge(OURS.attestation(WHEEL, wheel), wheel, WHEEL)
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, cause)


@pytest.mark.parametrize(("attested", "name"), [
    ("demo-1.0.tar.gz", "demo-1.0.tar.gz"),
    ("Demo_X-1.0.tar.gz", "demo.x-1.0.tar.gz"),
])  # fmt: skip
def test_names_are_compared_as_the_index_does(bench: Bench, attested: str, name: str) -> None:
    _accepted(bench.judge(OURS.attestation(attested, CONTENT), CONTENT, name))


@pytest.mark.parametrize(("attested", "name"), [
    ("demo-1.0.tar.gz", "demo-1.1.tar.gz"),
    ("demo-1.0.tar.gz", "other-1.0.tar.gz"),
    ("demo-1.0.zip", "demo-1.0.tar.gz"),
    ("demo", "demo"),
])  # fmt: skip
def test_a_renamed_distribution_is_rejected(bench: Bench, attested: str, name: str) -> None:
    verdict = bench.judge(OURS.attestation(attested, CONTENT), CONTENT, name)
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.SLOT_MISSING)


def test_collections_have_a_signature_each(bench: Bench) -> None:
    one, name = OURS.attestation("demo-1.0.tar.gz", CONTENT), "demo-1.0.tar.gz"
    pypi = {"version": 1, "attestation_bundles": [{"publisher": {}, "attestations": [one, one]}]}
    bundle = OURS.message(CONTENT)
    npm = {"attestations": [{"predicateType": "x", "bundle": b} for b in (bundle, bundle)]}
    lines = b"\n".join(json.dumps(b).encode() for b in (bundle, bundle)) + b"\n"
    for document in (pypi, npm, lines):
        verdict = bench.judge(document, CONTENT, name)
        assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
        assert len(verdict.signatures) == 2


def test_a_newer_bundle_is_neither_good_nor_bad(bench: Bench) -> None:
    bundle = OURS.message(CONTENT)
    bundle["mediaType"] = "application/vnd.dev.sigstore.bundle.v0.9+json"
    assert bench.judge(bundle).outcome is Outcome.INDETERMINATE


# --- keys ------------------------------------------------------------------------


def _keyed() -> tuple[dict[str, Any], bytes]:
    """Return a bundle by a key that only the log names, and that key as PEM."""
    signer = key("p256", "named key")
    value, digest = signer.sign(CONTENT), hashlib.sha256(CONTENT).hexdigest()
    pem = pki.pem(signer.spki, "PUBLIC KEY")
    body = made.canonical({
        "apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {
            "data": {"hash": {"algorithm": "sha256", "value": digest}},
            "signature": {"content": b64(value), "publicKey": {"content": b64(pem)}}},
    })  # fmt: skip
    return {
        "mediaType": made.V3,
        "verificationMaterial": {
            "publicKey": {"hint": "ours"},
            "tlogEntries": [OURS.entry(body, ("hashedrekord", "0.0.1"))],
        },
        "messageSignature": {"signature": b64(value)},
    }, pem


def test_a_key_that_the_caller_names(bench: Bench, tmp_path: Path) -> None:
    bundle, pem = _keyed()
    ring, other = tmp_path / "key.pem", tmp_path / "other.pem"
    ring.write_bytes(pem)
    other.write_bytes(pki.pem(key("p256", "another key").spki, "PUBLIC KEY"))
    good = bench.judge(bundle, policy=Policy(), keyrings=(str(ring),))
    assert good.outcome is Outcome.ACCEPTED, good.findings
    assert bench.judge(bundle, policy=Policy()).cause is Code.KEY_MISSING
    unknown = bench.judge(bundle, policy=Policy(), keyrings=(str(other),))
    assert unknown.outcome is not Outcome.ACCEPTED
    asked = bench.judge(bundle, keyrings=(str(ring),))  # for somebody who signed in
    assert asked.cause is Code.PUBLISHER_MISMATCH
    _entry(bundle)["inclusionProof"]["hashes"].reverse()
    assert bench.judge(bundle, policy=Policy(), keyrings=(str(ring),)).cause is Code.LOG_ENTRY


# --- never accepted, never a traceback --------------------------------------------


@pytest.mark.parametrize("make", [
    lambda: json.dumps(OURS.message_2(CONTENT)).encode(),
    lambda: json.dumps(OURS.attested(made.statement("a", CONTENT))).encode(),
])  # fmt: skip
def test_cut_and_flipped_bundles_are_never_more_than_they_were(
    bench: Bench, make: Callable[[], bytes]
) -> None:
    whole = make()
    for size in range(0, len(whole), 41):
        assert bench.judge(whole[:size]).outcome is not Outcome.ACCEPTED
    known = _accepted(bench.judge(whole))
    for at in range(0, len(whole), 97):
        flipped = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        verdict = bench.judge(flipped)
        if verdict.outcome is Outcome.ACCEPTED:  # names of members that nobody asks for
            assert _accepted(verdict).identity == known.identity


@pytest.mark.parametrize("data", [
    b"{}", b"[]", b"{", b"\xff", b'{"mediaType":1}', b'{"verification_material":{}}',
    b'{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}', b'{"attestations":[]}',
])  # fmt: skip
def test_what_is_no_bundle_is_never_accepted(bench: Bench, data: bytes) -> None:
    assert bench.judge(data).outcome is not Outcome.ACCEPTED


def test_the_shipped_trust_root_is_the_public_one() -> None:
    root = Context(Options()).trusted_root
    assert root.name == "sigstore"
    assert root.logs[0].url == "https://rekor.sigstore.dev"
    assert len(root.authorities) == len(root.certificate_logs) == 2
    assert all(one.window.holds(datetime(2022, 11, 1, tzinfo=UTC)) for one in root.authorities)


POLICY = f"""
schema = 1
name = "releases"
version = 1

[[rule]]
id = "releases"
action = "allow"
[rule.identity]
identity = '{WORKFLOW.replace(".", "[.]")}'
issuer = '{PROVIDER.replace(".", "[.]")}'
"""


def _beside(folder: Path, ending: str, document: dict[str, Any]) -> tuple[str, str]:
    file, root = folder / "demo-1.0.tar.gz", folder / "root.json"
    file.write_bytes(CONTENT)
    (folder / f"demo-1.0.tar.gz{ending}").write_text(json.dumps(document))
    root.write_bytes(OURS.trusted_root())
    return str(file), str(root)


@pytest.mark.parametrize("ending", [".publish.attestation", ".sigstore.json"])
def test_attestations_beside_a_file_are_found(tmp_path: Path, ending: str) -> None:
    document = OURS.attestation("demo-1.0.tar.gz", CONTENT)
    file, root = _beside(tmp_path, ending, document)
    context = Context(Options(trusted_root=root, policy=WANTED))
    _accepted(assess_with_companions(file, context))
    nobody = assess_with_companions(file, Context(Options(trusted_root=root)))
    assert nobody.cause is Code.PUBLISHER_MISMATCH


def test_rules_decide_whose_attestation_counts(tmp_path: Path) -> None:
    document = OURS.attestation("demo-1.0.tar.gz", CONTENT)
    file, root = _beside(tmp_path, ".publish.attestation", document)
    for text, outcome in (
        (POLICY, Outcome.ACCEPTED),
        (POLICY.replace("release[.]yml", "other[.]yml"), Outcome.REJECTED),
    ):
        policy = tmp_path / "policy.toml"
        policy.write_text(text)
        rules = load_rules([policy], [])
        verdict = assess_path(file, Context(Options(trusted_root=root, rules=rules)))
        assert verdict.outcome is outcome, verdict.findings
    (tmp_path / "demo-1.0.tar.gz").write_bytes(b"other")
    rules = load_rules([policy], [])
    verdict = assess_path(file, Context(Options(trusted_root=root, rules=rules)))
    assert verdict.outcome is Outcome.REJECTED


# --- reviewed --------------------------------------------------------------------


def _windowed(**windows: dict[str, str]) -> bytes:
    """Return our trust root with other periods for all members of a kind."""
    root = json.loads(OURS.trusted_root())
    for kind, window in windows.items():
        for one in root[kind]:
            one.get("publicKey", one)["validFor"] = window
    return json.dumps(root).encode()


def test_a_time_that_nobody_vouches_for_does_not_bring_a_log_back(bench: Bench) -> None:
    bundle = OURS.message_2(CONTENT)
    retired = {"start": "2025-01-01T00:00:00Z", "end": "2025-03-01T00:00:00Z"}
    _entry(bundle)["integratedTime"] = str(int(datetime(2025, 2, 1, tzinfo=UTC).timestamp()))
    _accepted(bench.judge(bundle))
    assert bench.judge(bundle, root=_windowed(tlogs=retired)).cause is Code.LOG_ENTRY


def test_an_authority_of_the_past_is_not_let_in_by_its_root(bench: Bench) -> None:
    """Two authorities share a root; the bundle brings the certificate of the one that ended."""
    newer = pki.authority(
        "ours intermediate, newer", OURS.root, kind="p384", digest="sha384",
        ekus=(pki.EKU_CODE_SIGNING,), not_before=datetime(2024, 1, 1, tzinfo=UTC),
        not_after=datetime(2034, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    bundle = OURS.message(CONTENT)
    bundle["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.2"
    material = bundle["verificationMaterial"]
    chain = [material.pop("certificate"), {"rawBytes": b64(OURS.intermediate.certificate)}]
    material["x509CertificateChain"] = {"certificates": chain}
    _accepted(bench.judge(bundle))
    root = json.loads(OURS.trusted_root())
    (past,) = root["certificateAuthorities"]
    chain = [{"rawBytes": b64(one.certificate)} for one in (newer, OURS.root)]
    serving = past | {"certChain": {"certificates": chain}}
    ended = past | {"validFor": {"start": "2025-01-01T00:00:00Z", "end": "2025-03-01T00:00:00Z"}}
    root["certificateAuthorities"] = [ended, serving]
    verdict = bench.judge(bundle, root=json.dumps(root).encode())
    assert verdict.outcome is Outcome.REJECTED
    assert Code.NO_PATH in {f.code for f in verdict.findings}, verdict.findings


def test_of_a_root_shared_by_stampers_only_the_one_that_is_named_counts(bench: Bench) -> None:
    usual: dict[str, Any] = {"not_before": datetime(2024, 1, 1, tzinfo=UTC),
                             "not_after": datetime(2034, 1, 1, tzinfo=UTC)}  # fmt: skip
    stranger = pki.timestamper("stranger", OURS.root, kind="p384", digest="sha384", **usual)
    bundle = OURS.message_2(CONTENT)
    value = base64.b64decode(bundle["messageSignature"]["signature"])
    stamps = bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    stamps[0]["signedTimestamp"] = OURS.token(value, by=stranger)
    assert bench.judge(bundle).cause is Code.NO_PROVEN_TIME


def test_the_attestation_of_whom_is_asked_for_counts_beside_the_registrys(
    bench: Bench, tmp_path: Path
) -> None:
    keyed, pem = _keyed()
    ours, ring = OURS.message(CONTENT), tmp_path / "npm.pem"
    other = OURS.message(CONTENT, OURS.leaf(names=(made.email("a@b.example"),)))
    ring.write_bytes(pem)
    for first in (keyed, other):
        npm = {"attestations": [{"bundle": one} for one in (first, ours)]}
        for keyrings in ((), (str(ring),)):
            verdict = bench.judge(npm, keyrings=keyrings)
            assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
            assert verdict.publisher is not None
            assert WORKFLOW in verdict.publisher.name
        assert bench.judge(npm, b"other content").outcome is Outcome.REJECTED
    npm = {"attestations": [{"bundle": one} for one in (other, keyed)]}
    assert bench.judge(npm).cause is Code.PUBLISHER_MISMATCH
    assert bench.judge(npm, policy=Policy()).cause is Code.PUBLISHER_MISMATCH
    named = bench.judge(npm, policy=Policy(), keyrings=(str(ring),))
    assert named.outcome is Outcome.ACCEPTED, named.findings  # by the registry's key alone


def test_whoever_is_asked_for_counts_beside_a_stronger_digest(bench: Bench) -> None:
    other = OURS.leaf(names=(made.email("a@b.example"),))
    subject = {"name": "a", "digest": {"sha512": hashlib.sha512(CONTENT).hexdigest()}}
    payload = made.canonical({"_type": made.STATEMENT, "subject": [subject],
                              "predicateType": made.PUBLISH})  # fmt: skip
    both = [OURS.attested(payload, other), OURS.attested(made.statement("a", CONTENT))]
    verdict = bench.judge({"attestations": [{"bundle": one} for one in both]})
    assert verdict.outcome is Outcome.ACCEPTED, verdict.findings


def test_a_publisher_that_differs_in_case_is_another(bench: Bench) -> None:
    for name in (f"{WORKFLOW} ({PROVIDER})", f"keyless:{PROVIDER} {WORKFLOW}"):
        _accepted(bench.judge(OURS.message(CONTENT), policy=Policy(publishers=(name,))))
        other = name.replace("tags/v1", "tags/V1")
        verdict = bench.judge(OURS.message(CONTENT), policy=Policy(publishers=(other,)))
        assert verdict.cause is Code.PUBLISHER_MISMATCH


def test_a_broken_trust_root_is_told_also_where_attestations_are_found(tmp_path: Path) -> None:
    document = OURS.attestation("demo-1.0.tar.gz", CONTENT)
    file, root = _beside(tmp_path, ".publish.attestation", document)
    Path(root).write_text("root:x:0:0")
    with pytest.raises(EvidenceError, match=r"root\.json"):
        assess_with_companions(file, Context(Options(trusted_root=root, policy=WANTED)))
    Path(f"{file}.publish.attestation").write_text("-----BEGIN NOTHING-----")  # says nothing
    assert assess_with_companions(file, Context(Options())).cause is Code.UNSIGNED


def test_hostile_lengths_are_refused_at_once(bench: Bench) -> None:
    bundle = OURS.message(CONTENT)
    body = json.loads(base64.b64decode(_entry(bundle)["canonicalizedBody"]))
    pem = b"-----BEGIN CERTIFICATE-----" + b" " * 1_000_000
    body["spec"]["signature"]["publicKey"]["content"] = b64(pem)
    _entry(bundle)["canonicalizedBody"] = b64(made.canonical(body))
    begun = time.process_time()
    assert bench.judge(bundle).cause is Code.MALFORMED
    assert bench.judge(b"{}\n" * 1_000_000).outcome is Outcome.REJECTED
    assert time.process_time() - begun < 2  # they were quadratic, and eleven seconds


def test_a_scan_by_rules_finds_attestations_beside_wheels(tmp_path: Path) -> None:
    tree, root, policy = tmp_path / "tree", tmp_path / "root.json", tmp_path / "policy.toml"
    tree.mkdir()
    wheel = made.wheel(FILES)
    (tree / WHEEL).write_bytes(wheel)
    root.write_bytes(OURS.trusted_root())
    policy.write_text(POLICY)
    trust = Options(trusted_root=str(root), rules=load_rules([policy], []))
    outcomes = []
    for content in (None, wheel, b"other"):
        if content is not None:
            document = json.dumps(OURS.attestation(WHEEL, content))
            (tree / f"{WHEEL}.publish.attestation").write_text(document)
        scan = Scan(ScanOptions(paths=(str(tree),), trust=trust, jobs=1, cache=tmp_path / "c.db"))
        records = [json.loads(line) for line in scan.run()]
        outcomes.append([one["outcome"] for one in records if one["kind"] == "wheel"])
    assert outcomes == [["rejected"], ["accepted"], ["rejected"]]
