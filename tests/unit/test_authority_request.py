"""PKCS#10 requests, made by the cryptography library; bent ones by our own writer."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from signward import integrity
from signward.authority import names
from signward.authority.algorithm import identifier
from signward.authority.request import MAX_REQUEST_OCTETS, read_request
from signward.errors import AuthorityError, BadInputError, LimitError
from signward.wire import der
from tests.builders import authority


def made(kind: str = "p-256") -> bytes:
    """Return a request with a subject, an alternative name and a wish for a key usage."""
    common = x509.NameAttribute(NameOID.COMMON_NAME, "Release")
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=False, crl_sign=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    name = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("https://example.org/a")])
    builder = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([common]))
        .add_extension(name, critical=False)
        .add_extension(usage, critical=True)
    )
    hashed = None if kind.startswith(("ed", "ml")) else hashes.SHA256()
    request = builder.sign(authority.private("asker", kind), hashed)
    return request.public_bytes(serialization.Encoding.DER)


REQUEST = made()


@pytest.mark.parametrize("kind", ["rsa-2048", "p-256", "p-384", "p-521", "ed25519", "ml-dsa-65"])
def test_a_request_is_read(kind: str) -> None:
    found = read_request(made(kind))
    assert found.spki == authority.key("asker", kind).public_key
    assert names.rewritten(found.subject) == names.subject("CN=Release")
    assert found.names == (names.alternative("uri:https://example.org/a"),)
    assert found.ignored == ("2.5.29.15",)


def test_pem_is_read_too() -> None:
    request = x509.load_der_x509_csr(REQUEST)
    pem = request.public_bytes(serialization.Encoding.PEM)
    assert read_request(pem) == read_request(REQUEST)
    assert read_request(b"words\n" + pem.replace(b"BEGIN ", b"BEGIN NEW ")) == read_request(REQUEST)


def test_a_request_without_attributes_is_read() -> None:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    request = builder.sign(authority.private("asker"), hashes.SHA256())
    found = read_request(request.public_bytes(serialization.Encoding.DER))
    assert (found.subject, found.names, found.ignored) == (der.sequence(), (), ())


def test_whoever_does_not_hold_the_key_gets_nothing() -> None:
    other, own = authority.key("other").public_key, authority.key("asker").public_key
    assert len(other) == len(own)
    with pytest.raises(AuthorityError, match="does not fit the key"):
        read_request(REQUEST.replace(own, other))


def test_a_weak_proof_is_none() -> None:
    outer = der.parse(REQUEST, "request").children()
    sha1 = der.sequence(der.oid("1.2.840.10045.4.1"))
    with pytest.raises(AuthorityError, match="SHA-256 or better"):
        read_request(der.sequence(outer[0].raw, sha1, outer[2].raw))


@pytest.mark.parametrize(
    "data", [b"", b"\x30\x00", b"-----BEGIN CERTIFICATE-----", REQUEST[:-1], REQUEST + b"\0"]
)
def test_what_is_no_request_is_malformed(data: bytes) -> None:
    with pytest.raises(BadInputError):
        read_request(data)


def test_a_huge_request_is_not_read() -> None:
    with pytest.raises(LimitError):
        read_request(bytes(MAX_REQUEST_OCTETS + 1))


@given(st.integers(0, len(REQUEST) - 1), st.integers(1, 255))
def test_a_changed_octet_is_never_accepted(position: int, change: int) -> None:
    bent = bytearray(REQUEST)
    bent[position] ^= change
    try:
        found = read_request(bytes(bent))
    except (BadInputError, AuthorityError):
        return
    assert found == read_request(REQUEST)


@given(st.binary(max_size=200))
def test_octets_never_crash_it(data: bytes) -> None:
    with pytest.raises((BadInputError, AuthorityError)):
        read_request(data)


def _wishing(*lists: bytes) -> bytes:
    """Return a request with one extensionRequest attribute for each list of extensions (DER)."""
    wishes = [
        der.sequence(der.oid("1.2.840.113549.1.9.14"), der.set_of(extensions))
        for extensions in lists
    ]
    key = authority.key("asker")
    info = der.sequence(
        der.integer(0), names.subject("CN=Release"), key.public_key,
        der.context(0, b"".join(wishes)),
    )  # fmt: skip
    usual = integrity.usual_algorithm(key.public_key)
    return der.sequence(info, identifier(usual), der.bit_string(key.sign(info, usual)))


def _names_wish(*general_names: bytes) -> bytes:
    value = der.octet_string(der.sequence(*general_names))
    return der.sequence(der.sequence(der.oid("2.5.29.17"), value))


@pytest.mark.parametrize(
    "name",
    [
        der.encode(0x81, b"boss@example.org\0.evil.example"),
        der.encode(0x81, b"no address"),
        der.encode(0x86, b"https://example.org/\x1b[2J"),
        der.encode(0x86, "https://exämple.org".encode()),
        der.encode(0x82, b"*.example.org\n"),
        der.encode(0x87, b"\x7f\0\0"),
        der.encode(0xA4, der.sequence(der.set_of(der.sequence(
            der.oid("2.5.4.3"), der.utf8("Release\0Other"))))),
        der.encode(0xA4, b""),
    ],
)  # fmt: skip
def test_an_odd_alternative_name_in_a_request_is_refused(name: bytes) -> None:
    with pytest.raises((AuthorityError, BadInputError)):
        read_request(_wishing(_names_wish(name)))


def test_an_alternative_name_in_a_request_is_written_anew() -> None:
    held = der.sequence(der.set_of(der.sequence(der.oid("2.5.4.3"), der.printable("Release"))))
    address = der.encode(0x87, b"\x7f\0\0\1")
    found = read_request(_wishing(_names_wish(der.encode(0xA4, held), address)))
    assert found.names == (names.alternative("dir:CN=Release"), address)


def test_a_request_that_asks_twice_is_refused() -> None:
    first = _names_wish(names.alternative("uri:https://example.org/a"))
    second = _names_wish(names.alternative("uri:https://example.org/b"))
    assert read_request(_wishing(first)).names
    with pytest.raises(BadInputError, match="twice"):
        read_request(_wishing(first, second))
