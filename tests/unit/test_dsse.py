"""DSSE envelopes: what is signed, what is read, and what a second implementation says."""

from __future__ import annotations

import base64
import contextlib
import json

import pytest
from conformance.authenticode.keys import key
from hypothesis import given
from hypothesis import strategies as st

from signward.envelopes import Draft, dsse, stamped
from signward.errors import BadInputError, LimitError, MalformedError
from signward.integrity import UnsupportedKeyError, check_value, usual_algorithm
from signward.verbs.credential import algorithm_for
from tests.builders.feeds import sealed, spki

KINDS = ("rsa2048", "p256", "p384", "p521", "ed25519", "ml-dsa-44", "ml-dsa-65")
TYPE = "http://example.com/HelloWorld"


def draft(kind: str = "ed25519", payload: bytes = b"hello world") -> dsse.DsseDraft:
    public = spki(key(kind, "dsse"))
    return dsse.DsseDraft(
        payload_type=TYPE,
        payload=payload,
        algorithm=usual_algorithm(public),
        key_id=dsse.key_id(public),
    )


def test_the_encoding_is_that_of_the_standards_example() -> None:
    # protocol.md, "Test Vectors"
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert dsse.pae(TYPE, b"hello world") == expected


def test_lengths_are_of_octets() -> None:
    assert dsse.pae("é", "é".encode()) == b"DSSEv1 2 \xc3\xa9 2 \xc3\xa9"


@pytest.mark.parametrize("kind", KINDS)
def test_an_envelope_is_read_as_it_was_written(kind: str) -> None:
    made = draft(kind)
    as_draft: Draft = made
    assert stamped(as_draft, b"value") is None
    read = dsse.open_envelope(sealed(made, key(kind, "dsse")))
    assert (read.claimed_type, read.claimed_payload) == (TYPE, b"hello world")
    (signature,) = read.signatures
    assert signature.claimed_key_id == made.key_id
    public = spki(key(kind, "dsse"))
    check_value(public, made.algorithm, read.to_be_verified, signature.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_credential_signs_by_the_usual_algorithm(kind: str) -> None:
    public = spki(key(kind, "dsse"))
    assert usual_algorithm(public) == algorithm_for(public)[0]


def test_a_key_without_a_usual_algorithm() -> None:
    with pytest.raises(UnsupportedKeyError, match="dsa"):
        usual_algorithm(spki(key("dsa2048", "dsse")))


def test_tokens_have_no_place() -> None:
    with pytest.raises(MalformedError, match="no place"):
        draft().seal(b"value", (b"token",))


def test_both_alphabets_of_base64_and_unknown_fields_are_read() -> None:
    payload = bytes(range(240, 256))
    whole = {
        "payload": base64.urlsafe_b64encode(payload).decode(),
        "payloadType": TYPE,
        "signatures": [{"sig": base64.b64encode(payload).decode(), "extra": 1}],
        "other": {"a": []},
    }
    read = dsse.open_envelope(json.dumps(whole).encode())
    assert read.claimed_payload == read.signatures[0].value == payload
    assert read.signatures[0].claimed_key_id == ""


@pytest.mark.parametrize(
    "changes",
    [
        {"payload": "a"},
        {"payload": "aGk=\n"},
        {"payload": "é"},
        {"payload": None},
        {"payloadType": 1},
        {"signatures": [{"keyid": "x"}]},
        {"signatures": {}},
        {"signatures": [{"sig": "!"}]},
    ],
)
def test_what_is_no_envelope(changes: dict[str, object]) -> None:
    whole = json.loads(sealed(draft(), key("ed25519", "dsse"))) | changes
    with pytest.raises(MalformedError):
        dsse.open_envelope(json.dumps(whole).encode())


@pytest.mark.parametrize("count", [0, dsse.MAX_SIGNATURES + 1])
def test_signatures_are_counted(count: int) -> None:
    whole = json.loads(sealed(draft(), key("ed25519", "dsse")))
    whole["signatures"] *= count
    with pytest.raises(LimitError, match="signatures"):
        dsse.open_envelope(json.dumps(whole).encode())


def test_a_large_file_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dsse, "MAX_OCTETS", 10)
    with pytest.raises(LimitError, match="at most 10"):
        dsse.open_envelope(b"{" + bytes(20))


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["payload", "payloadType", "signatures", "sig", "keyid"]), inner
    ),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_bytes_never_raise_anything_else(data: bytes) -> None:
    with contextlib.suppress(BadInputError):
        dsse.open_envelope(data)


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(BadInputError):
        dsse.open_envelope(b'{"payload":' + b"[" * 100_000)
