"""Records: the JSON of a verdict, its schema, and hostile text inside it."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jsonschema
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from msgspec.structs import replace

from signward.errors import MalformedError
from signward.findings import Code, Effect, Finding
from signward.policy.record import (
    Record,
    from_json,
    one_line,
    printable_json,
    record,
    safe_text,
    schema,
    to_json,
)
from signward.state import (
    X509,
    Algorithm,
    BrokenSignature,
    ClaimedSignature,
    ClaimedTimestamp,
    HeldKey,
    IntactSignature,
    IntactTimestamp,
    JudgedSignature,
    Outcome,
    ProvenTime,
    Publisher,
    RevocationStatus,
    SignerId,
    Slot,
    Stage,
    Status,
    TrustedSignature,
    UntrustedSignature,
    Verdict,
    X509Path,
)
from signward.trust.x509 import load_certificate
from tests.builders.records import accepted, refused, scan

SCHEMA_FILE = Path(__file__).parents[2] / "docs" / "verdict.schema.json"
AT = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def certificate(name: str, serial: int) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(
        subject_name=subject,
        issuer_name=subject,
        public_key=key.public_key(),
        serial_number=serial,
        not_valid_before=AT - timedelta(days=30),
        not_valid_after=AT + timedelta(days=30),
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


LEAF, ROOT, TSA = certificate("Leaf", 0xABC), certificate("Root", 2), certificate("TSA", 3)
STAMPED = datetime(2026, 11, 20, tzinfo=UTC)


def claimed(label: str = "1", signer: bytes = LEAF, **changes: object) -> ClaimedSignature:
    known = load_certificate(signer)
    signature = ClaimedSignature(
        label=label,
        envelope="cms",
        slots=(
            Slot(name="image", algorithm="sha384", digest=b"\1" * 48),
            Slot(name="page:0", algorithm="sha384", digest=b"\2" * 48),
        ),
        bindings=(),
        algorithm=Algorithm(scheme="ecdsa", digest="sha256"),
        to_be_verified=b"",
        value=b"v",
        claimed_signer=SignerId(issuer=known.issuer, serial=known.serial),
        claimed_certificates=(ROOT, signer),
    )
    return replace(signature, **changes)


def held(certificate: bytes) -> HeldKey:
    return HeldKey(kind=X509, key_id=b"", spki=b"", holder=certificate)


def stamp(kind: str, time: datetime) -> ClaimedTimestamp:
    return ClaimedTimestamp(kind=kind, signature=claimed("t", TSA), claimed_time=time, imprint=None)


def trusted() -> TrustedSignature:
    good, other, bad = (
        stamp("rfc3161", STAMPED),
        stamp("pkcs9", STAMPED + timedelta(days=1)),
        stamp("rfc3161", STAMPED - timedelta(days=9)),
    )
    tsa = IntactSignature(claimed=claimed("t", TSA), key=held(TSA), timestamps=(), findings=())
    intact = IntactSignature(
        claimed=claimed(timestamps=(good, other, bad)),
        key=held(LEAF),
        timestamps=tuple(
            IntactTimestamp(claimed=s, signature=tsa, time=s.claimed_time or AT)
            for s in (good, other)
        ),
        findings=(),
    )
    return TrustedSignature(
        intact=intact,
        basis=X509Path(certificates=(LEAF, ROOT), anchor="Root", store="authenticode"),
        judged_at=STAMPED,
        proven_time=ProvenTime(
            instant=STAMPED,
            kind="rfc3161",
            authority="TSA",
            path=X509Path(certificates=(TSA, ROOT), anchor="Root", store="authenticode"),
        ),
        revocation=(RevocationStatus(status=Status.REVOKED, revoked_at=AT, reason="superseded"),),
        findings=(),
    )


def verdict(*signatures: JudgedSignature, **changes: object) -> Verdict:
    whole = Verdict(
        subject="a.exe",
        format="pe",
        stage=Stage.ACCEPTED,
        outcome=Outcome.ACCEPTED,
        cause=None,
        rule="built-in",
        at=AT,
        signatures=signatures,
        judged=0 if signatures else None,
        publisher=Publisher(name="Leaf", identity="subject:Leaf", subject="CN=Leaf"),
        findings=(),
        digests={"sha256": b"\xab\xcd", "image-sha256": b"\1"},
        facts={"machine": "x64"},
    )
    return replace(whole, **changes)


REJECTED = verdict(
    subject="bad.exe",
    outcome=Outcome.REJECTED,
    cause=Code.DIGEST_MISMATCH,
    publisher=None,
    findings=(
        Finding(code=Code.DIGEST_MISMATCH, effect=Effect.NOTE, subject="1", found="a",
                required="b"),
        Finding(
            code=Code.DIGEST_MISMATCH, effect=Effect.REJECT, subject="slot image", found="c",
            required="d", clause="Authenticode PE", hint="fetch it again", offset=64,
        ),
    ),
)  # fmt: skip


def test_a_trusted_signature_carries_path_times_and_status() -> None:
    (signature,) = record(verdict(trusted())).signatures
    assert signature.state == "trusted"
    assert (signature.digest, signature.algorithm) == ("sha384", "ecdsa/sha256")
    assert signature.page_hashes
    assert not signature.quantum_safe
    assert signature.signer
    assert signature.signer.serial == "abc"
    assert signature.signer.sha256 == hashlib.sha256(LEAF).hexdigest()
    assert signature.signer.not_before == AT - timedelta(days=30)
    assert signature.path
    assert [c.subject for c in signature.path.certificates] == ["CN=Leaf", "CN=Root"]
    leaf, root = signature.path.certificates
    assert leaf.revocation
    assert leaf.revocation.status is Status.REVOKED
    assert root.revocation is None
    assert signature.proven_time
    assert signature.proven_time.instant == STAMPED


def test_each_timestamp_says_how_far_it_came() -> None:
    (signature,) = record(verdict(trusted())).signatures
    assert [t.state for t in signature.timestamps] == ["trusted", "intact", "broken"]
    assert {t.authority for t in signature.timestamps} == {"CN=TSA"}


def test_the_four_states_of_a_signature_are_told_apart() -> None:
    whole = trusted()
    untrusted = UntrustedSignature(
        intact=whole.intact, basis=None, judged_at=AT, proven_time=None, revocation=(), findings=()
    )
    broken = BrokenSignature(claimed=claimed(), findings=())
    data = record(verdict(whole, untrusted, whole.intact, broken))
    assert [s.state for s in data.signatures] == ["trusted", "untrusted", "intact", "broken"]
    assert all(s.signer and s.signer.subject == "CN=Leaf" for s in data.signatures)


def test_a_broken_signature_without_its_certificate_has_no_signer() -> None:
    broken = BrokenSignature(claimed=claimed(claimed_certificates=(b"junk", ROOT)), findings=())
    assert record(verdict(broken)).signatures[0].signer is None


def test_a_certificate_that_cannot_be_read_keeps_its_digest() -> None:
    whole = trusted()
    path = replace(whole.basis, certificates=(LEAF, b"junk"))
    (signature,) = record(verdict(replace(whole, basis=path))).signatures
    assert signature.path
    junk = signature.path.certificates[1]
    assert (junk.subject, junk.sha256) == ("", hashlib.sha256(b"junk").hexdigest())


def test_the_cause_comes_with_its_windows_name_and_the_fact_that_decided() -> None:
    data = record(REJECTED, kind="pe", size=5, container="x.zip")
    assert (data.cause, data.windows_name) == ("digest-mismatch", "TRUST_E_BAD_DIGEST")
    assert data.deciding
    assert data.deciding.effect is Effect.REJECT
    assert data.message == "slot image: found c at offset 64, required d (Authenticode PE)"
    assert one_line(data.deciding) == data.message
    assert (data.kind, data.size, data.container) == ("pe", 5, "x.zip")


@pytest.mark.parametrize(
    "made", [verdict(trusted()), REJECTED, verdict(subject="\u202e\x9b\udcff")]
)
def test_json_goes_there_and_back_and_fits_the_schema(made: Verdict) -> None:
    data = record(made)
    assert from_json(to_json(data)) == data
    validate(data)


def validate(data: Record) -> None:
    jsonschema.Draft202012Validator(schema()).validate(json.loads(to_json(data)))


def test_records_of_a_scan_fit_the_schema() -> None:
    for data in scan(60):
        validate(data)


def test_a_record_that_breaks_the_schema_is_noticed() -> None:
    broken = json.loads(to_json(accepted("a"))) | {"outcome": "fine"}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema()).validate(broken)


def test_the_schema_file_is_current() -> None:
    assert json.loads(SCHEMA_FILE.read_text("utf-8")) == schema()
    jsonschema.Draft202012Validator.check_schema(schema())


def test_equal_verdicts_give_equal_bytes() -> None:
    one = verdict(digests={"a": b"1", "b": b"2"}, facts={"x": 1, "y": 2})
    two = verdict(digests={"b": b"2", "a": b"1"}, facts={"y": 2, "x": 1})
    assert to_json(record(one)) == to_json(record(two))


@pytest.mark.parametrize("name", ["caf\udce9.exe", "ok/\udc80/x", "\ud800"])
def test_a_name_that_is_no_utf8_is_readable_and_exact(name: str) -> None:
    data = record(verdict(subject=name))
    data.subject.encode("utf-8")
    exact = bytes.fromhex(data.subject_hex)
    assert exact == name.encode("utf-8", "surrogatepass" if "\ud800" in name else "surrogateescape")


def test_an_ordinary_name_needs_no_hex() -> None:
    assert record(verdict(subject="né.exe")).subject_hex == ""
    assert safe_text("né\u202e") == "né\u202e"


@pytest.mark.parametrize("character", "\x00\x1b\x7f\x9b\u202e\u2066\u200b\u2028\ufeff\n")
def test_json_holds_no_character_a_terminal_obeys(character: str) -> None:
    data = to_json(record(verdict(subject=f"é{character}x")))
    assert character not in data.decode()
    assert from_json(data).subject == f"é{character}x"


def test_printable_json_keeps_maps_in_order() -> None:
    assert printable_json({"b": 1, "a": {"d": 1, "c": 2}}) == b'{"a":{"c":2,"d":1},"b":1}'


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"\xff", b'{"schema":2}', b"[" * 100_000, "\udcff"]
)
def test_what_is_no_record_is_malformed(data: bytes | str) -> None:
    with pytest.raises(MalformedError):
        from_json(data)


def test_another_schema_version_is_refused() -> None:
    data = to_json(refused("a")).replace(b'"schema":1', b'"schema":2')
    with pytest.raises(MalformedError):
        from_json(data)


def test_unknown_fields_are_ignored() -> None:
    data = to_json(refused("a"))
    assert from_json(b'{"later":[1],' + data[1:]) == refused("a")
