"""OCSP: parsing beside cryptography's, requests, nonces, damaged input."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_der_x509_certificate
from cryptography.x509 import ocsp as theirs
from hypothesis import given, settings
from hypothesis import strategies as st

from signward.errors import BadInputError, EvidenceError
from signward.state import Status
from signward.trust import ocsp
from signward.trust.ocsp import Responder, load_response, names_issuer, responder
from signward.wire import der
from tests.builders import revocation as build
from tests.builders.revocation import DAY, GOOD, T0, UNKNOWN, Ca, revoked

CA = Ca("issuer")
LEAF = CA.leaf()


def test_a_whole_response() -> None:
    found = load_response(CA.ocsp(0x77, revoked(T0 - DAY, "keyCompromise"), cutoff=T0 - 90 * DAY))
    (single,) = found.responses
    assert single.status is Status.REVOKED
    assert single.entry is not None
    assert (single.entry.revoked_at, single.entry.reason) == (T0 - DAY, "keyCompromise")
    assert single.archive_cutoff == T0 - 90 * DAY
    assert (single.this_update, single.next_update) == (T0 - DAY, T0 + DAY)
    assert names_issuer(single.cert_id, CA.certificate)
    assert not names_issuer(single.cert_id, Ca("other").certificate)
    signer = responder(found, CA.certificate, T0)
    assert signer == Responder(certificate=CA.certificate, delegated=False, to_check=False)


def test_an_invalidity_date_among_the_single_extensions() -> None:
    invalid = build.extension("2.5.29.24", der.generalized_time(T0 - 3 * DAY))
    (single,) = load_response(CA.ocsp(0x77, revoked(T0 - DAY), extra=invalid)).responses
    assert single.entry is not None
    assert single.entry.invalid_from == T0 - 3 * DAY


def test_a_bare_basic_response_reads_the_same() -> None:
    whole = CA.ocsp(0x77, GOOD)
    octets = der.parse(whole, "r").children()[1].children()[0].children()[1].octets()
    assert load_response(octets).responses == load_response(whole).responses


@pytest.mark.parametrize(("code", "name"), [(3, "tryLater"), (6, "unauthorized"), (9, "9")])
def test_an_error_status_is_no_answer(code: int, name: str) -> None:
    with pytest.raises(BadInputError, match=f"status {name}"):
        load_response(der.sequence(der.encode(der.ENUMERATED, bytes((code,)))))


def test_a_forged_value_fits_nobody() -> None:
    data = bytearray(CA.ocsp(0x77, GOOD, embed=False))
    data[-1] ^= 1
    found = responder(load_response(bytes(data)), CA.certificate, T0)
    assert isinstance(found, str)


def test_the_request_is_what_cryptography_would_ask() -> None:
    ours = theirs.load_der_ocsp_request(ocsp.request(LEAF, CA.certificate, b"n" * 16))
    leaf, issuer = (load_der_x509_certificate(c.der) for c in (LEAF, CA.certificate))
    other = theirs.OCSPRequestBuilder().add_certificate(leaf, issuer, hashes.SHA1()).build()
    assert ours.serial_number == other.serial_number == 0x77
    assert ours.issuer_name_hash == other.issuer_name_hash
    assert ours.issuer_key_hash == other.issuer_key_hash
    assert ours.extensions[0].value.nonce == b"n" * 16
    bare = ocsp.request(LEAF, CA.certificate)
    assert bare == other.public_bytes(Encoding.DER)


def test_nonces() -> None:
    with_nonce = load_response(CA.ocsp(0x77, GOOD, nonce=b"abc"))
    assert ocsp.check_nonce(with_nonce, b"abc")
    assert not ocsp.check_nonce(load_response(CA.ocsp(0x77, GOOD)), b"abc")
    with pytest.raises(EvidenceError, match="nonce"):
        ocsp.check_nonce(with_nonce, b"abd")


WHOLE = CA.ocsp(0x77, revoked(), signer=CA.responder(), nonce=b"n", cutoff=T0)


def test_truncation_anywhere_is_malformed() -> None:
    for size in range(len(WHOLE)):
        with pytest.raises(BadInputError):
            load_response(WHOLE[:size])


def test_flipped_octets_never_crash_and_are_never_believed() -> None:
    random_ = random.Random(6960)
    tbs = load_response(WHOLE).tbs
    for _ in range(1500):
        data = bytearray(WHOLE)
        data[random_.randrange(len(data))] ^= 1 << random_.randrange(8)
        try:
            found = load_response(bytes(data))
        except BadInputError:
            continue
        signer = responder(found, CA.certificate, T0)
        assert isinstance(signer, str) or found.tbs == tbs


@settings(max_examples=60, deadline=None)
@given(
    serial=st.integers(1, 2**159 - 1),
    kind=st.sampled_from(list(theirs.OCSPCertStatus)),
    hours=st.integers(0, 10_000),
    by_key=st.booleans(),
    sha256=st.booleans(),
)
def test_reads_what_cryptography_wrote(
    serial: int, kind: theirs.OCSPCertStatus, hours: int, by_key: bool, sha256: bool
) -> None:
    this = T0 - timedelta(hours=hours)
    issuer = load_der_x509_certificate(CA.certificate.der)
    revoked_at = this - DAY if kind is theirs.OCSPCertStatus.REVOKED else None
    digest = hashes.SHA256() if sha256 else hashes.SHA1()
    name = "sha256" if sha256 else "sha1"
    reference = load_response(CA.ocsp(serial, UNKNOWN, digest=name)).responses[0].cert_id
    encoding = theirs.OCSPResponderEncoding.HASH if by_key else theirs.OCSPResponderEncoding.NAME
    response = (
        theirs.OCSPResponseBuilder()
        .add_response_by_hash(
            reference.name_hash, reference.key_hash, serial, digest, kind, this, this + DAY,
            revoked_at, None,
        )
        .responder_id(encoding, issuer)
        .sign(CA.key, hashes.SHA256())
    )  # fmt: skip
    ours = load_response(response.public_bytes(Encoding.DER))
    (single,) = ours.responses
    assert single.cert_id == reference
    assert single.status.name == kind.name
    assert (single.this_update, single.next_update) == (this, this + DAY)
    assert (single.entry.revoked_at if single.entry else None) == revoked_at
    assert ours.tbs == response.tbs_response_bytes
    assert not isinstance(responder(ours, CA.certificate, T0), str)
