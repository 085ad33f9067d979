"""Certificates to be: profiles, dates, lint, and permits that are good for one signature."""

from __future__ import annotations

from datetime import timedelta
from math import gcd, prod
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from signward.authority import certificate as certificates
from signward.authority import names
from signward.authority.certificate import SERIAL_BITS, key_usage, serial_number, validity
from signward.authority.lint import SETS, approve, faults
from signward.authority.profiles import duration, profile, profiles
from signward.authority.subject_keys import KINDS, check_key
from signward.errors import AuthorityError, LintError
from signward.frozen import replace
from signward.integrity import load_public_key
from signward.trust.constraints import check_names
from signward.trust.x509 import KEY_USAGES, is_signed_by, load_certificate
from signward.wire import der
from signward.wire.spki import rsa_key
from tests.builders.authority import NOW, Pure, key, private, signed

PURE = Pure()
LEAVES = [name for name in profiles() if name not in ("root", "sub-ca", "timestamping")]
URI = (names.alternative("uri:https://github.com/example/repository"),)


def prepared(name: str, **changes: Any) -> certificates.Prepared:
    issuer = PURE.root if name in ("sub-ca", "timestamping") else PURE.issuing
    if profile(name).names_required:
        changes.setdefault("names", URI)
    return PURE.prepared(name, issuer=changes.pop("issuer", issuer), **changes)


def first(name: str, **changes: Any) -> str:
    """Return the error that a change to a good certificate brings."""
    with pytest.raises(LintError) as caught:
        approve(prepared(name, **changes))
    return str(caught.value)


@pytest.mark.parametrize("name", [n for n in profiles() if n != "root"])
def test_every_profile_yields_a_certificate_that_others_read(name: str) -> None:
    permit = approve(prepared(name))
    assert permit.warnings == ()
    root = name in ("sub-ca", "timestamping")
    made = signed(permit, PURE.root_key if root else PURE.issuing_key)
    issuer = (PURE.root if root else PURE.issuing).certificate
    ours, theirs = load_certificate(made), x509.load_der_x509_certificate(made)
    assert is_signed_by(ours, issuer)
    theirs.verify_directly_issued_by(x509.load_der_x509_certificate(issuer.der))
    constraints = theirs.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value.ca == profile(name).ca
    usage = theirs.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert {oid.dotted_string for oid in usage.value} == set(profile(name).ekus)
    wanted = ours.not_before + profile(name).lifetime - timedelta(seconds=1)
    assert ours.not_after == min(wanted, issuer.not_after)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_key_is_certified_where_its_profile_allows(kind: str) -> None:
    spki = key("leaf", kind).public_key
    for name in LEAVES:
        listed = profile(name).keys
        bits = [int(k[4:]) for k in listed if k.startswith("rsa")]
        allowed = kind in listed or (kind.startswith("rsa") and int(kind[4:]) >= min(bits))
        found = [f for f in faults(prepared(name, spki=spki)) if f.subject == "public key"]
        assert (not [f for f in found if f.grave]) == allowed, (name, kind)


def test_data_is_whole() -> None:
    for name, one in profiles().items():
        assert one.name == name
        assert set(one.rules) <= SETS.keys()
        assert set(one.keys) <= set(KINDS)
        assert set(one.key_usage) <= set(KEY_USAGES)
        assert one.lifetime <= one.longest
    policies = [one.policy for one in profiles().values() if one.policy is not None]
    assert len(policies) == len(set(policies))


def test_a_permit_is_good_once() -> None:
    permit = approve(prepared("code-signing"))
    permit.spend()
    with pytest.raises(AuthorityError, match="spent"):
        permit.spend()


def test_what_was_checked_is_what_is_signed() -> None:
    ready = prepared("code-signing")
    draft = approve(ready).spend()
    assert draft.to_be_signed == ready.certificate.tbs
    assert load_certificate(draft.seal(b"value")).tbs == draft.to_be_signed
    with pytest.raises(AuthorityError):
        draft.seal(b"value", (b"token",))


# --- lint -----------------------------------------------------------------------------------------


def test_too_long_is_refused() -> None:
    begin = NOW.replace(microsecond=0)
    limit = begin + timedelta(days=460) - timedelta(seconds=1)
    assert not faults(prepared("code-signing", not_before=begin, not_after=limit))
    longer = {"not_before": begin, "not_after": limit + timedelta(seconds=1)}
    assert "460 days" in first("code-signing", **longer)
    assert "RFC 5280 4.1.2.5" in first("code-signing", not_before=begin, not_after=begin)


def test_nothing_outlives_its_issuer() -> None:
    end = PURE.issuing.certificate.not_after
    begin = end - timedelta(days=30)
    assert not faults(prepared("code-signing", not_before=begin, not_after=end))
    late = end + timedelta(seconds=1)
    assert "issuer's" in first("code-signing", not_before=begin, not_after=late)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"subject": "CN=Leaf"}, "subject, O"),
        ({"subject": "CN=a,CN=b,O=Example Ltd"}, "subject, CN"),
        ({"names": (names.alternative("dns:example.org"),)}, "kinds: email, uri, dir"),
        ({"permitted": (names.constraint("dns:example.org"),)}, "name constraints"),
        ({"spki": PURE.issuing_key.public_key}, "the issuer's own"),
        ({"issuer": PURE.root}, ""),
    ],
)
def test_a_code_signer_that_breaks_a_rule_is_refused(changes: dict[str, Any], said: str) -> None:
    if not said:
        assert approve(prepared("code-signing", **changes)).warnings == ()
    else:
        assert said in first("code-signing", **changes)


def test_a_ci_identity_must_say_whose_it_is() -> None:
    assert "at least one" in first("ci-identity", names=())


def test_an_authority_limited_to_code_signing_certifies_nothing_else() -> None:
    assert "1.3.6.1.5.5.7.3.8" in first("timestamping", issuer=PURE.issuing)
    assert "path length 0" in first("sub-ca", issuer=PURE.issuing)


def test_a_signer_certifies_nobody() -> None:
    leaf = load_certificate(signed(approve(prepared("code-signing")), PURE.issuing_key))
    below = replace(PURE.issuing, certificate=leaf)
    spki = key("below").public_key
    assert "no authority" in first("code-signing", issuer=below, spki=spki)


def test_names_outside_an_issuers_constraints_are_refused() -> None:
    only = (names.constraint("dir:O=Example Ltd,C=SE"),)
    spki = key("limited").public_key
    subject = "CN=Limited,O=Example Ltd,C=SE"
    made = approve(prepared("sub-ca", subject=subject, spki=spki, permitted=only))
    limited = replace(PURE.issuing, certificate=load_certificate(signed(made, PURE.root_key)))
    # The constraint's base is a prefix of names in our order: C, then O.
    assert approve(prepared("code-signing", issuer=limited)).warnings == ()
    said = first("code-signing", issuer=limited, subject="CN=a,O=Other,C=SE")
    assert "RFC 5280 4.2.1.10" in said
    theirs = x509.load_der_x509_certificate(limited.certificate.der)
    assert theirs.extensions.get_extension_for_class(x509.NameConstraints).critical


def test_what_a_public_authority_must_is_only_told() -> None:
    permit = approve(prepared("code-signing", subject="CN=a,O=Other Ltd"))
    assert [w.partition(":")[0] for w in permit.warnings] == ["subject, O", "subject, C"]
    bare = replace(PURE.issuing, policies="")
    assert "certificate policies" in approve(prepared("code-signing", issuer=bare)).warnings[0]
    https = replace(PURE.issuing, crl_url="https://ca.example/c.crl")
    assert "plain http" in approve(prepared("code-signing", issuer=https)).warnings[0]
    weak = approve(prepared("timestamping", spki=key("leaf", "rsa-2048").public_key))
    assert "rsa-3072" in weak.warnings[0]


def test_a_certificate_that_nobody_could_revoke_is_refused() -> None:
    nowhere = replace(PURE.issuing, crl_url="")
    assert "CRL distribution points" in first("code-signing", issuer=nowhere)


def test_a_responder_is_not_asked_about_itself() -> None:
    made = prepared("ocsp-responder").certificate
    assert (made.crl_urls, made.ocsp_urls) == ((), ())
    assert "1.3.6.1.5.5.7.48.1.5" in made.extensions


def test_a_prepared_certificate_that_is_not_as_its_profile_says_is_refused() -> None:
    """As after a mistake of ours: each field that is wrong is noticed by itself."""
    ready = prepared("code-signing")
    for changed, subject in (
        ({"key_usage": ("keyCertSign",)}, "key usage"),
        ({"ekus": ("1.3.6.1.5.5.7.3.1",)}, "extended key usage"),
        ({"ca": True}, "basic constraints"),
    ):
        ready.profile = replace(profile("code-signing"), **changed)
        assert subject in {fault.subject for fault in faults(ready) if fault.grave}


# --- keys -----------------------------------------------------------------------------------------


def weak(modulus: int, exponent: int = 65537) -> list[str]:
    return [f.found for f in check_key(rsa_key(modulus, exponent), ("rsa-2048",))]


def numbers() -> tuple[int, int]:
    found = private("leaf", "rsa-2048").private_numbers()
    return found.p, found.q


def test_a_good_modulus_is_good() -> None:
    p, q = numbers()
    assert weak(p * q) == []


def test_weak_moduli_are_known() -> None:
    p, q = numbers()
    assert weak(p * q, 3) == ["RSA exponent 3"]
    near = next(n for n in range(p + 2, p + 10**6, 2) if gcd(n, prod(range(3, 752, 2))) == 1)
    assert weak(p * near) == ["an RSA modulus of two neighbouring primes"]
    small = 3 * ((1 << 2046) + 1)
    assert "an RSA modulus with a small factor" in weak(small)
    assert any("bits" in found for found in weak(p * q * 2 + 1))


def test_the_fingerprint_of_roca_is_known() -> None:
    """A modulus made as the faulty library did: both primes powers of 65537 modulo a primorial."""
    primorial = 1
    for number in range(2, 702):
        if all(number % d for d in range(2, int(number**0.5) + 1)):
            primorial *= number
    p = (primorial << 60 | 0) + pow(65537, 1234567, primorial)
    q = (primorial << 61 | 0) + pow(65537, 7654321, primorial)
    modulus = p * q
    found = [f.found for f in check_key(rsa_key(modulus, 65537), ("rsa-2048",))]
    assert "an RSA modulus as the ROCA fault makes them" in found


def test_keys_of_no_known_kind_are_refused() -> None:
    assert check_key(b"\x30\x00", ("p-256",))[0].grave
    spki = key("leaf", "p-521").public_key
    assert check_key(spki, ("p-256",))[0].found == "kind p-521"


# --- small parts ----------------------------------------------------------------------------------


def test_serial_numbers_have_159_bits_and_are_positive() -> None:
    assert serial_number(b"\xff" * 20) == 2**SERIAL_BITS - 1
    assert serial_number(b"\0" * 19 + b"\2") == 1
    for octets in (b"\0" * 20, b"\xff" * 19, b""):
        with pytest.raises(AuthorityError):
            serial_number(octets)


def test_a_short_serial_number_is_refused() -> None:
    wanted = prepared("code-signing").application
    short = certificates.prepare(wanted, profile("code-signing"), PURE.issuing, 2**62)
    with pytest.raises(LintError, match="serial number"):
        approve(short)


def test_key_usage_has_no_zeros_behind() -> None:
    assert key_usage(["digitalSignature"]).hex() == "03020780"
    assert key_usage(["keyCertSign", "cRLSign"]).hex() == "03020106"
    assert key_usage(["decipherOnly"]).hex() == "0303070080"


def test_dates_lie_within_the_issuer_and_begin_a_little_before_now() -> None:
    issuer = PURE.issuing.certificate
    begin, end = validity(profile("code-signing"), issuer, NOW + timedelta(days=1))
    assert begin == NOW.replace(microsecond=0) + timedelta(days=1, minutes=-5)
    assert end - begin == timedelta(days=365) - timedelta(seconds=1)
    short, _ = validity(profile("ci-identity"), issuer, NOW + timedelta(days=1))
    assert short == NOW.replace(microsecond=0) + timedelta(days=1, minutes=-1)
    _, clipped = validity(profile("code-signing"), issuer, issuer.not_after - timedelta(days=9))
    assert clipped == issuer.not_after


@pytest.mark.parametrize(
    "text", ["", "1", "d", "0d", "-1d", "1w", "1.5d", "1d ", "999999d", "99999y", "101y"]
)
def test_an_odd_duration_is_refused(text: str) -> None:
    with pytest.raises(AuthorityError, match="365d"):
        duration(text)


def test_durations() -> None:
    assert duration("10m") == timedelta(minutes=10)
    assert duration("8y") == timedelta(days=8 * 365.25)


def test_unknown_profiles_are_named() -> None:
    with pytest.raises(AuthorityError, match="code-signing"):
        profile("tls")


def test_our_constraints_are_what_our_validator_reads() -> None:
    only = (names.constraint("dns:example.org"),)
    never = (names.constraint("ip:10.0.0.0/8"),)
    spki = key("limited").public_key
    made = prepared("sub-ca", spki=spki, permitted=only, excluded=never)
    limited = load_certificate(signed(approve(made), PURE.root_key))
    assert check_names((limited, PURE.root.certificate)) == []


def _written_otherwise() -> list[bytes]:
    """Return public keys in encodings that readers take for the same key."""
    point = (
        private("odd")
        .public_key()
        .public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    )
    curve = der.sequence(der.oid("1.2.840.10045.2.1"), der.oid("1.2.840.10045.3.1.7"))
    numbers = (
        private("odd", "rsa-3072")
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1)
    )
    pss = der.sequence(der.oid("1.2.840.113549.1.1.10"))
    return [der.sequence(curve, der.bit_string(point)),
            der.sequence(pss, der.bit_string(numbers))]  # fmt: skip


def test_a_key_in_an_unusual_encoding_is_refused() -> None:
    """It would have another digest than the same key that was revoked as compromised."""
    for spki in _written_otherwise():
        assert load_public_key(spki)
        found = [fault.found for fault in check_key(spki, KINDS) if fault.grave]
        assert found == ["an unusual encoding of the key"]
