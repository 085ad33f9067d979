"""Keys in files: what is read, what is refused and how, and signatures with them."""

from __future__ import annotations

import random
import struct
import traceback
from pathlib import Path

import pytest
from conformance.authenticode.keys import key
from conformance.authenticode.pki import Identity, pem
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates

from signward.errors import KeyProviderError
from signward.integrity import check_value
from signward.keys import SigningKey, open_key
from signward.state import Algorithm
from tests.builders.keyfiles import encoded, p12, pvk, saying
from tests.signing import algorithm_of, authority, identity

SECRET = "correct horse"
DATA = b"octets to sign"
TRADITIONAL = PrivateFormat.TraditionalOpenSSL
KINDS = ["rsa2048", "p256", "p384", "p521", "ed25519", "ml-dsa-44", "ml-dsa-65", "ml-dsa-87"]


@pytest.fixture
def who() -> Identity:
    return identity()


def opened(folder: Path, data: bytes, scheme: str = "file", secret: str | None = None,
           asked: list[str] | None = None) -> SigningKey:  # fmt: skip
    """Write a key file and open it."""
    path = folder / "key"
    path.write_bytes(data)
    return open_key(f"{scheme}:{path}", saying(secret, asked))


def refusal(folder: Path, data: bytes, scheme: str = "file", secret: str | None = None) -> str:
    """Return the message with which a key file is refused."""
    with pytest.raises(KeyProviderError) as caught:
        opened(folder, data, scheme, secret)
    text = "".join(traceback.format_exception(caught.value))
    assert SECRET not in text
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER], ids=["pem", "der"])
@pytest.mark.parametrize("password", ["", SECRET], ids=["plain", "encrypted"])
def test_pkcs8_of_every_kind_signs(
    kind: str, encoding: Encoding, password: str, tmp_path: Path
) -> None:
    own, asked = key(kind, "signer-file"), list[str]()
    found = opened(tmp_path, encoded(own, encoding, password=password), "file", SECRET, asked)
    assert found.public_key == own.spki
    algorithm = algorithm_of(own, "sha384")
    check_value(own.spki, algorithm, DATA, found.sign(DATA, algorithm))
    assert asked == ([f"password of {tmp_path / 'key'}"] if password else [])


@pytest.mark.parametrize("kind", ["rsa2048", "p256"])
@pytest.mark.parametrize("password", ["", SECRET], ids=["plain", "encrypted"])
def test_traditional_pem_is_read(kind: str, password: str, tmp_path: Path) -> None:
    data = encoded(key(kind), form=TRADITIONAL, password=password)
    assert (b"DEK-Info" in data) == bool(password)
    assert opened(tmp_path, data, secret=SECRET).public_key == key(kind).spki


@pytest.mark.parametrize("kind", ["rsa2048", "p256"])
def test_traditional_der_is_read(kind: str, tmp_path: Path) -> None:
    data = encoded(key(kind), Encoding.DER, TRADITIONAL)
    assert opened(tmp_path, data).public_key == key(kind).spki


def test_ec_parameters_before_the_key_are_passed_over(tmp_path: Path) -> None:
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    data = parameters + encoded(key("p256"), form=TRADITIONAL)
    assert opened(tmp_path, data).public_key == key("p256").spki


@pytest.mark.parametrize("weak", [False, True])
@pytest.mark.parametrize("password", ["", SECRET], ids=["plain", "encrypted"])
def test_pvk_is_read(weak: bool, password: str, tmp_path: Path) -> None:
    found = opened(tmp_path, pvk(key(), password, weak=weak), secret=SECRET)
    assert found.public_key == key().spki
    algorithm = Algorithm(scheme="rsa-pkcs1v15", digest="sha256")
    check_value(key().spki, algorithm, DATA, found.sign(DATA, algorithm))


@pytest.mark.parametrize("password", ["", SECRET], ids=["plain", "encrypted"])
def test_pkcs12_gives_key_and_path(who: Identity, password: str, tmp_path: Path) -> None:
    asked: list[str] = []
    found = opened(tmp_path, p12(who, password, [authority()]), "pkcs12", SECRET, asked)
    assert found.public_key == who.key.spki
    assert found.certificates == (who.certificate, authority().certificate)
    assert asked == ([f"password of {tmp_path / 'key'}"] if password else [])


def test_certificates_in_the_pem_file_come_leaf_first(who: Identity, tmp_path: Path) -> None:
    data = pem(authority().certificate) + who.key.pem + b"a word between\n" + who.pem
    assert opened(tmp_path, data).certificates == (who.certificate, authority().certificate)


def test_certificates_of_other_keys_are_refused(who: Identity, tmp_path: Path) -> None:
    text = refusal(tmp_path, who.key.pem + pem(authority().certificate))
    assert "found 1 certificates, all of other keys" in text


def test_a_damaged_certificate_is_refused(who: Identity, tmp_path: Path) -> None:
    assert "damaged certificate" in refusal(tmp_path, who.key.pem + pem(b"\x30\x03abc"))
    broken = who.key.pem + b"-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n"
    assert "damaged block" in refusal(tmp_path, broken)


@pytest.mark.parametrize(
    ("scheme", "data"),
    [
        ("file", encoded(key(), password=SECRET)),
        ("file", encoded(key(), Encoding.DER, password=SECRET)),
        ("file", encoded(key(), form=TRADITIONAL, password=SECRET)),
        ("file", pvk(key(), SECRET)),
        ("pkcs12", p12(identity(), SECRET)),
    ],
    ids=["pem", "der", "traditional", "pvk", "pkcs12"],
)
@pytest.mark.parametrize("secret", [None, "", "wrong horse", "f\xfc"])
def test_a_missing_and_a_wrong_password_are_told_apart(
    scheme: str, data: bytes, secret: str | None, tmp_path: Path
) -> None:
    found = "no password" if secret is None else "a password that does not open it"
    text = refusal(tmp_path, data, scheme, secret)
    assert found in text
    assert "--pass-file" in text


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "no private key that can be read"),
        (b"\x30\x82garbage", "no private key that can be read"),
        (identity().certificate, "no private key that can be read"),
        (identity().pem, "found CERTIFICATE, required one private key"),
        (key("p256").pem + key("p384").pem, "found PRIVATE KEY, PRIVATE KEY"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n", "no whole PEM block"),
        (pem(b"abc", "PRIVATE KEY"), "no private key that can be read"),
        (pem(b"abc", "OPENSSH PRIVATE KEY"), "no private key that can be read"),
        (key("dsa2048").pem, "found a DSA key"),
    ],
)
def test_what_is_no_key_is_refused(data: bytes, found: str, tmp_path: Path) -> None:
    assert found in refusal(tmp_path, data)


def test_a_pkcs12_of_certificates_alone_is_refused(who: Identity, tmp_path: Path) -> None:
    held = [x509.load_der_x509_certificate(who.certificate)]
    data = serialize_key_and_certificates(None, None, None, held, NoEncryption())
    assert "no private key" in refusal(tmp_path, data, "pkcs12")
    assert "cannot be read as PKCS#12" in refusal(tmp_path, b"\x30\x03abc", "pkcs12")


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    for uri, found in (
        ("file:", "no file name"), (f"file:{tmp_path}", "Is a directory"),
        (f"pkcs12:{tmp_path}/absent", "No such file"), ("file:a\0b", "no such name"),
    ):  # fmt: skip
        with pytest.raises(KeyProviderError, match=found):
            open_key(uri, saying(None))
    (tmp_path / "large").write_bytes(bytes(1024 * 1024 + 1))
    with pytest.raises(KeyProviderError, match="a larger file"):
        open_key(f"file:{tmp_path}/large", saying(None))


def test_the_wrong_scheme_is_pointed_out(who: Identity, tmp_path: Path) -> None:
    (tmp_path / "a.pfx").write_bytes(p12(who))
    with pytest.raises(KeyProviderError, match="write pkcs12: before its name"):
        open_key(f"file:{tmp_path}/a.pfx", saying(None))
    assert "a PEM file is file:" in refusal(tmp_path, who.key.pem, "pkcs12")


def test_a_file_uri_with_slashes_is_the_same_file(tmp_path: Path) -> None:
    (tmp_path / "k").write_bytes(key().pem)
    assert open_key(f"file://{tmp_path}/k", saying(None)).public_key == key().spki


def test_rsa_pss_signs_with_the_salt_that_is_named(tmp_path: Path) -> None:
    found = opened(tmp_path, key().pem)
    pss = Algorithm(scheme="rsa-pss", digest="sha384", mgf_digest="sha384", salt_length=48)
    check_value(key().spki, pss, DATA, found.sign(DATA, pss))


def test_ecdsa_is_reproducible(tmp_path: Path) -> None:
    found = opened(tmp_path, key("p256").pem)
    algorithm = Algorithm(scheme="ecdsa", digest="sha256")
    assert found.sign(DATA, algorithm) == found.sign(DATA, algorithm)


@pytest.mark.parametrize(
    "algorithm",
    [
        Algorithm(scheme="rsa-pkcs1v15", digest="sha256"), Algorithm(scheme="ed25519"),
        Algorithm(scheme="ecdsa", digest="shake256"), Algorithm(scheme="unknown:1.2.3"),
    ],
    ids=str,
)  # fmt: skip
def test_an_algorithm_that_does_not_fit_is_refused(algorithm: Algorithm, tmp_path: Path) -> None:
    found = opened(tmp_path, key("p256").pem)
    with pytest.raises(KeyProviderError, match=algorithm.scheme):
        found.sign(DATA, algorithm)


def test_a_key_shows_nothing_of_itself(tmp_path: Path) -> None:
    found = opened(tmp_path, key().pem)
    assert repr(found) == f"LocalKey('{tmp_path / 'key'}')"
    found.refresh()
    found.close()
    with pytest.raises(KeyProviderError, match="NoneType"):
        found.sign(DATA, Algorithm(scheme="rsa-pkcs1v15", digest="sha256"))


@pytest.mark.parametrize("kind", ["pvk", "pvk-encrypted", "pkcs12", "pem", "der"])
def test_damaged_files_are_refused_or_are_still_the_key(kind: str, tmp_path: Path) -> None:
    """Any change ends in a KeyProviderError or in a key that the library finds consistent."""
    data = {
        "pvk": pvk(key()), "pvk-encrypted": pvk(key(), SECRET), "pem": key("p256").pem,
        "pkcs12": p12(identity()), "der": encoded(key("p256"), Encoding.DER),
    }[kind]  # fmt: skip
    scheme = "pkcs12" if kind == "pkcs12" else "file"
    chance = random.Random(5)
    refused = 0
    for _ in range(150):
        bad = bytearray(data)
        bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
        cut = bad[: chance.randrange(len(bad))] if chance.random() < 0.3 else bad
        try:
            opened(tmp_path, bytes(cut), scheme, SECRET)
        except KeyProviderError:
            refused += 1
    assert refused > 20


@pytest.mark.parametrize(
    ("offset", "value", "found"),
    [
        (16, 20_000, "salt of 20000"), (20, 4, "key of 4"), (20, 1 << 31, "key of 2147483648"),
        (24, 0x9900_0206, "a blob of type 6"), (28, 0x2200, "algorithm 0x2200"),
        (32, 0, "no RSA2"), (36, 1 << 31, "2147483648 bits"), (36, 4096, "octets for 4096 bits"),
        (40, 2, "numbers that are no RSA key"),
    ],
)  # fmt: skip
def test_each_field_of_a_pvk_is_bounded(
    offset: int, value: int, found: str, tmp_path: Path
) -> None:
    data = bytearray(pvk(key()))
    struct.pack_into("<L", data, offset, value)
    assert found in refusal(tmp_path, bytes(data))


def test_a_short_pvk_is_damaged(tmp_path: Path) -> None:
    assert "damaged PVK file (10 octets)" in refusal(tmp_path, pvk(key())[:10])
