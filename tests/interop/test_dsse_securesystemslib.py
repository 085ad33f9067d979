"""DSSE: securesystemslib reads what we write, and we read what it writes."""

from __future__ import annotations

import json

import pytest
from conformance.authenticode.keys import key
from cryptography.hazmat.primitives.serialization import load_der_public_key

from signward.envelopes import dsse
from signward.errors import EvidenceError
from signward.trust.feed import PAYLOAD_TYPE, open_feed
from tests.builders.feeds import drafted, sealed, spki

peer = pytest.importorskip("securesystemslib.dsse", reason="securesystemslib is not installed")
signer = pytest.importorskip("securesystemslib.signer", reason="securesystemslib is not installed")

pytestmark = pytest.mark.interop

KINDS = ("ed25519", "p256", "p384")


def peer_key(kind: str) -> object:
    """Return a test key as the peer has it, under our key id."""
    public = load_der_public_key(spki(key(kind, "peer")))
    return signer.SSlibKey.from_crypto(public, dsse.key_id(spki(key(kind, "peer"))))


@pytest.mark.parametrize("kind", KINDS)
def test_the_peer_accepts_a_feed_of_ours(kind: str) -> None:
    made = sealed(drafted(of=key(kind, "peer")), key(kind, "peer"))
    envelope = peer.Envelope.from_dict(json.loads(made))
    assert envelope.payload_type == PAYLOAD_TYPE
    accepted = envelope.verify([peer_key(kind)], 1)
    assert list(accepted) == [dsse.key_id(spki(key(kind, "peer")))]


def test_the_peer_refuses_a_changed_one() -> None:
    whole = json.loads(sealed(drafted(of=key("ed25519", "peer")), key("ed25519", "peer")))
    whole["payloadType"] += "x"
    from securesystemslib.exceptions import VerificationError

    with pytest.raises(VerificationError):
        peer.Envelope.from_dict(whole).verify([peer_key("ed25519")], 1)


@pytest.mark.parametrize("kind", KINDS)
def test_we_accept_what_the_peer_signs(kind: str) -> None:
    private = key(kind, "peer").private
    ours = drafted(of=key(kind, "peer"), version=7)
    envelope = peer.Envelope(ours.payload, PAYLOAD_TYPE, {})
    envelope.sign(signer.CryptoSigner(private, peer_key(kind)))
    data = json.dumps(envelope.to_dict()).encode()
    assert open_feed("peer", data, [spki(key(kind, "peer"))]).document.version == 7
    with pytest.raises(EvidenceError, match="required"):
        open_feed("peer", data, [spki(key("ed25519", "another"))])
