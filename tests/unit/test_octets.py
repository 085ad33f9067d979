"""What a service is asked to sign: nothing but what files are signed with."""

from __future__ import annotations

import pytest
from conformance.authenticode.pki import issue
from cryptography.x509 import load_der_x509_certificate

from signward.authority.octets import EXPECTED, check_octets, read_octets
from signward.envelopes.sshsig import signed_octets
from signward.errors import AuthorityError, BadInputError
from signward.formats import all_formats, as_signable
from signward.state import Algorithm
from signward.wire import der
from tests.signing import authority

RSA = Algorithm(scheme="rsa-pkcs1v15", digest="sha256")
INDIRECT = "1.3.6.1.4.1.311.2.1.4"
TST_INFO = "1.2.840.113549.1.9.16.1.4"
CONTENT_TYPE, MESSAGE_DIGEST = "1.2.840.113549.1.9.3", "1.2.840.113549.1.9.4"


def attribute(oid: str, *values: bytes) -> bytes:
    return der.sequence(der.oid(oid), der.set_of(*values))


def attributes(content: bytes = b"content", kind: str = INDIRECT, size: int = 32) -> bytes:
    """Return signed attributes (a DER SET)."""
    digest = content.ljust(size, b"\0")[:size]
    return der.set_of(
        attribute(CONTENT_TYPE, der.oid(kind)), attribute(MESSAGE_DIGEST, der.octet_string(digest))
    )


def test_every_format_that_is_signed_is_in_the_table() -> None:
    assert {form.name for form in all_formats() if as_signable(form)} <= set(EXPECTED)


def test_signed_attributes_of_a_format_pass_for_it_alone() -> None:
    check_octets("pe", attributes(), RSA)
    for form in ("catalog", "nupkg", "vsix"):
        with pytest.raises(AuthorityError, match=f"format {form}"):
            check_octets(form, attributes(), RSA)


def test_a_signed_info_passes_for_xml_formats_alone() -> None:
    text = b'<SignedInfo xmlns="http://www.w3.org/2000/09/xmldsig#"></SignedInfo>'
    check_octets("vsix", text, RSA)
    with pytest.raises(AuthorityError, match="SignedInfo"):
        check_octets("pe", text, RSA)


def test_a_digest_of_another_length_does_not_fit() -> None:
    with pytest.raises(AuthorityError, match="messageDigest of 20 octets"):
        check_octets("pe", attributes(size=20), RSA)
    with pytest.raises(AuthorityError, match="messageDigest of 64 octets"):
        check_octets("pe", attributes(size=64), RSA)
    check_octets("pe", attributes(size=64), Algorithm(scheme="ed25519"))


def test_what_is_no_file_is_signed_for_no_format() -> None:
    certificate = issue("Somebody", issuer=authority()).certificate
    to_be_signed = load_der_x509_certificate(certificate).tbs_certificate_bytes
    for data in (to_be_signed, attributes(kind=TST_INFO)):
        for form in ("pe", "unknown-yet"):
            with pytest.raises(AuthorityError):
                check_octets(form, data, RSA)


def test_a_format_that_is_not_known_yet_passes() -> None:
    check_octets("unknown-yet", b"\x89other octets", RSA)
    check_octets("unknown-yet", attributes(), RSA)


def test_what_is_signed_bare_must_be_a_file_of_its_format() -> None:
    check_octets("elf", b"\x7fELF\2\1\1", RSA)
    check_octets("pkg", b"\x78\x9ca table", RSA)
    for form, data in (("elf", b"\x89other octets"), ("kernel-module", attributes()),
                       ("macho", b"\x7fELF\2\1\1")):  # fmt: skip
        with pytest.raises(AuthorityError, match=f"format {form}"):
            check_octets(form, data, RSA)


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_damaged_attributes_are_refused(cut: int) -> None:
    with pytest.raises(AuthorityError):
        check_octets("pe", attributes()[:-cut], RSA)
    with pytest.raises(BadInputError):
        read_octets(attributes()[:-cut])


def test_attributes_with_two_values_or_none_say_nothing() -> None:
    twice = der.set_of(
        attribute(CONTENT_TYPE, der.oid(INDIRECT), der.oid(TST_INFO)),
        attribute(MESSAGE_DIGEST, der.octet_string(bytes(32))),
    )
    for data in (twice, der.set_of()):
        with pytest.raises(AuthorityError, match="no one content type"):
            check_octets("pe", data, RSA)


def damaged_set(*parts: bytes) -> bytes:
    """Return a SET in the order given."""
    return der.encode(der.SET, b"".join(parts))


FILE, TOKEN, DIGEST = (
    attribute(CONTENT_TYPE, der.oid(INDIRECT)),
    attribute(CONTENT_TYPE, der.oid(TST_INFO)),
    attribute(MESSAGE_DIGEST, der.octet_string(bytes(32))),
)


@pytest.mark.parametrize("form", ["pe", "unknown-yet"])
@pytest.mark.parametrize(
    "data",
    [
        damaged_set(TOKEN, FILE, DIGEST),
        damaged_set(FILE, TOKEN, DIGEST),
        damaged_set(
            *sorted((FILE, DIGEST)), attribute(MESSAGE_DIGEST, der.octet_string(b"2" * 32))
        ),
        damaged_set(*sorted((FILE, DIGEST), reverse=True)),
        damaged_set(*sorted((FILE, DIGEST))).replace(bytes([der.SET]), b"\x31\x81", 1),
        der.set_of(attribute(CONTENT_TYPE, der.oid(INDIRECT), der.oid(TST_INFO)), DIGEST),
        der.set_of(TOKEN),
        der.set_of(DIGEST),
        der.set_of(),
    ],
)  # fmt: skip
def test_attributes_that_two_readers_could_take_for_two_things_are_refused(
    form: str, data: bytes
) -> None:
    with pytest.raises(AuthorityError):
        check_octets(form, data, RSA)


@pytest.mark.parametrize("head", [b"\x30\x80", b"\x30\x84\xff\xff\xff\xff", b"\x30"])
def test_a_sequence_in_any_encoding_is_signed_for_no_format(head: bytes) -> None:
    for form in ("pe", "unknown-yet"):
        with pytest.raises(AuthorityError, match="SEQUENCE"):
            check_octets(form, head + b"whatever follows", RSA)


def test_what_ssh_signs_begins_as_no_login_does() -> None:
    content = signed_octets(b"file", "sha512", bytes(64))
    check_octets("sshsig", content, Algorithm(scheme="ed25519"))
    for data in (b"\0\0\0\x20" + bytes(32) + b"\x32", attributes(), b"SSH-2.0-x"):
        with pytest.raises(AuthorityError):
            check_octets("sshsig", data, Algorithm(scheme="ed25519"))
    with pytest.raises(AuthorityError):
        check_octets("git-object", content, RSA)
