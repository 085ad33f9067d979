"""Manifests of trees: what securesystemslib and in-toto-attestation make of ours."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode.pki import NOW
from cryptography.hazmat.primitives.serialization import load_der_public_key

from signward.envelopes.dsse import key_id
from signward.formats._manifest import PREDICATE, STATEMENT
from signward.state import Outcome
from signward.trust.x509 import load_certificate
from signward.verbs.manifests import check_manifest
from tests.builders.manifests import judge, keyfile, make, populated
from tests.signing import identity

peer = pytest.importorskip("securesystemslib.dsse", reason="securesystemslib is not installed")
signer = pytest.importorskip("securesystemslib.signer", reason="securesystemslib is not installed")
attestation = pytest.importorskip(
    "in_toto_attestation.v1.statement", reason="in-toto-attestation is not installed"
)

pytestmark = pytest.mark.interop

KINDS = ("ed25519", "p256", "p384")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return populated(tmp_path, monkeypatch)


def peer_key(kind: str) -> Any:
    spki = load_certificate(identity(kind).certificate).spki
    return signer.SSlibKey.from_crypto(load_der_public_key(spki), key_id(spki))


def accepted_by_peer(data: bytes, kind: str) -> dict[str, Any]:
    """Return the statement, once the peer accepted the envelope."""
    envelope = peer.Envelope.from_dict(json.loads(data))
    assert envelope.verify([peer_key(kind)], 1)
    said: dict[str, Any] = json.loads(envelope.payload)
    return said


@pytest.mark.confirms("manifest", "sign", "securesystemslib")
@pytest.mark.parametrize("kind", KINDS)
def test_the_peers_accept_a_manifest_of_ours(place: Path, kind: str) -> None:
    keyfile(place, kind)
    make(place)
    said = accepted_by_peer((place / "1.manifest").read_bytes(), kind)
    read = attestation.Statement.copy_from_pb(_parsed(said))
    read.validate()
    assert (read.pb.type, read.pb.predicate_type) == (STATEMENT, PREDICATE)
    assert [one.name for one in read.pb.subject] == ["bin/start.sh", "etc/conf", "etc/empty"]
    assert judge(place, "etc/conf").outcome is Outcome.ACCEPTED


def _parsed(said: dict[str, Any]) -> Any:
    from google.protobuf import json_format
    from in_toto_attestation.v1 import statement_pb2  # type: ignore[import-untyped]

    return json_format.ParseDict(said, statement_pb2.Statement())


def test_the_peer_refuses_a_changed_one_as_we_do(place: Path) -> None:
    from securesystemslib.exceptions import VerificationError

    keyfile(place, "ed25519")
    make(place)
    whole = json.loads((place / "1.manifest").read_bytes())
    payload = base64.b64decode(whole["payload"]).replace(b'"version":1', b'"version":2')
    whole["payload"] = base64.b64encode(payload).decode()
    with pytest.raises(VerificationError):
        accepted_by_peer(json.dumps(whole).encode(), "ed25519")


@pytest.mark.confirms("manifest", "verify", "securesystemslib")
@pytest.mark.parametrize("kind", KINDS)
def test_we_accept_what_the_peer_signs(place: Path, kind: str) -> None:
    keyfile(place, kind)
    make(place)
    ours = peer.Envelope.from_dict(json.loads((place / "1.manifest").read_bytes()))
    theirs = peer.Envelope(ours.payload, ours.payload_type, {})
    theirs.sign(signer.CryptoSigner(identity(kind).key.private, peer_key(kind)))
    (place / "2.manifest").write_text(json.dumps(theirs.to_dict()))
    checked = check_manifest(
        str(place / "tree"), str(place / "2.manifest"), [str(place / "leaf.pem")]
    )
    assert (checked.version, checked.differences) == (1, ())
    assert judge(place, "etc/conf", "2.manifest", at=NOW).outcome is Outcome.INDETERMINATE
