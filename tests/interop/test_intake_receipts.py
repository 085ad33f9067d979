"""Receipts: securesystemslib checks their signature, the in-toto project's own types read them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conformance.authenticode.keys import key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_public_key,
)

from signward.envelopes import dsse
from signward.keys import open_key
from signward.policy.summary import PAYLOAD_TYPE, Reason
from signward.verbs.intake.receipts import (
    Terms,
    open_receipt,
    policy_resources,
    statement_of,
    write,
)
from signward.verbs.sealing import Sealer
from tests.builders.feeds import spki

json_format = pytest.importorskip("google.protobuf.json_format", reason="protobuf is not installed")
statement_pb2 = pytest.importorskip(
    "in_toto_attestation.v1.statement_pb2", reason="in-toto-attestation is not installed"
)
vsa_pb2 = pytest.importorskip(
    "in_toto_attestation.predicates.vsa.v1.vsa_pb2", reason="in-toto-attestation is not installed"
)
peer = pytest.importorskip("securesystemslib.dsse", reason="securesystemslib is not installed")
signer = pytest.importorskip("securesystemslib.signer", reason="securesystemslib is not installed")

pytestmark = pytest.mark.interop

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
SIGNER = key("p256", "gate")


def sealer(folder: Path) -> Sealer:
    path = folder / "gate.pem"
    path.write_bytes(
        SIGNER.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return Sealer(open_key(f"file:{path}", lambda _: None))


def receipt(folder: Path, outcome: str = "accepted") -> Path:
    policies = policy_resources([("vendors", 7), ("more", 1)], [b"policy", b"m"])
    terms = Terms(verifier="https://gate.example/v1", at=AT, policies=policies)
    reason = Reason(outcome=outcome, rule="vendor", policies=terms.policies[1:])
    statement = statement_of(terms, "vendor/setup.exe", "ab" * 32, reason)
    return write(folder / "receipts", ("vendor", "setup.exe"), statement, sealer(folder))


def test_the_peer_checks_the_signature(tmp_path: Path) -> None:
    envelope = peer.Envelope.from_dict(json.loads(receipt(tmp_path).read_bytes()))
    assert envelope.payload_type == PAYLOAD_TYPE
    public = load_der_public_key(spki(SIGNER))
    known = signer.SSlibKey.from_crypto(public, dsse.key_id(spki(SIGNER)))
    assert list(envelope.verify([known], 1)) == [dsse.key_id(spki(SIGNER))]


@pytest.mark.parametrize(("outcome", "result"), [("accepted", "PASSED"), ("rejected", "FAILED")])
def test_the_projects_own_types_read_the_statement(
    tmp_path: Path, outcome: str, result: str
) -> None:
    payload = dsse.open_envelope(receipt(tmp_path, outcome).read_bytes()).claimed_payload
    statement = json_format.Parse(payload, statement_pb2.Statement())  # unknown fields refused
    assert statement.type == "https://in-toto.io/Statement/v1"
    assert statement.predicate_type == "https://slsa.dev/verification_summary/v1"
    assert dict(statement.subject[0].digest) == {"sha256": "ab" * 32}
    predicate = json_format.MessageToDict(statement.predicate)
    extension = predicate.pop("urn:signward:decision:1")
    assert extension["policies"][0]["uri"] == "urn:signward:policy:more:1"
    (level,) = predicate.pop("verifiedLevels")  # the peer's type holds one, the standard a list
    assert (level == "FAILED") == (result == "FAILED")
    summary = json_format.ParseDict(predicate, vsa_pb2.VerificationSummary())
    assert summary.verification_result == result
    assert summary.verifier.id == "https://gate.example/v1"
    assert summary.policy.uri == "urn:signward:policy:vendors:7"
    assert summary.time_verified.ToDatetime(tzinfo=UTC) == AT


def test_a_summary_that_the_peers_made_is_one_of_ours(tmp_path: Path) -> None:
    summary = vsa_pb2.VerificationSummary(
        resource_uri="https://files.example/setup.exe",
        verification_result="PASSED",
    )
    summary.verifier.id = "https://other.example"
    summary.policy.uri = "https://other.example/policy"
    summary.time_verified.FromDatetime(AT)
    statement = statement_pb2.Statement(
        type="https://in-toto.io/Statement/v1",
        predicate_type="https://slsa.dev/verification_summary/v1",
    )
    statement.subject.add(name="setup.exe", digest={"sha256": "cd" * 32})
    told = json_format.MessageToDict(summary) | {"verifiedLevels": ["SLSA_BUILD_LEVEL_3"]}
    json_format.ParseDict(told, statement.predicate)
    payload = json_format.MessageToJson(statement).encode()
    envelope = peer.Envelope(payload, PAYLOAD_TYPE, {})
    public = signer.SSlibKey.from_crypto(load_der_public_key(spki(SIGNER)))  # under its own key id
    envelope.sign(signer.CryptoSigner(SIGNER.private, public))
    path = tmp_path / "peer.intoto.jsonl"
    path.write_text(json.dumps(envelope.to_dict()))
    read = open_receipt(path, [spki(SIGNER)])
    assert read.passed
    assert read.speaks_of("cd" * 32)
