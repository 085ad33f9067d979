"""An authority made and run by commands alone, as everybody else sees it: over HTTP, to the end.

``signward ca init``, ``ca issue`` and ``serve`` are processes; OpenSSL, osslsigncode, jarsigner,
apksigner, rfc3161-client and pkilint judge what they give out, before and after a revocation.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import rfc3161_client
from conformance.authenticode import pe
from cryptography import x509
from rfc3161_client.errors import VerificationError

from tests.builders.processes import Organisation, Served, free_port, served
from tests.interop.test_ca_peers import TOLD, certificate_faults, crl_faults

pytestmark = pytest.mark.interop

DATA = b"what somebody wants the time of\n"
PASSWORD = "peer-pass"
POLICIES = "1.3.6.1.4.1.32473.1"
"""Of the enterprise number for examples (RFC 5612): pkilint reads no arcs above 32 bits, as those
below 2.25 are that ``ca init`` makes by itself (docs/limits.md)."""

PROFILES = ("code-signing", "kernel-module", "ci-identity", "ocsp-responder")
AT_ROOT = ("timestamping", "sub-ca")


class House:
    """An organisation that is served, and a folder where others work."""

    def __init__(self, organisation: Organisation, service: Served) -> None:
        self.own, self.service, self.folder = organisation, service, organisation.folder
        self.tsa = f"{organisation.url}/tsa"

    def certified(self, name: str) -> None:
        """Certify an RSA key, which every peer knows."""
        self.own.issue(name, "--algorithm", "rsa-3072")
        text = (self.folder / f"{name}.pem").read_text()
        head, end, _ = text.partition("-----END CERTIFICATE-----")
        (self.folder / f"{name}-leaf.pem").write_text(f"{head}{end}\n")

    def peer(self, *command: object) -> tuple[int, str]:
        """Run somebody else's tool; return its exit code and all it said."""
        words = [str(word) for word in command]
        if not shutil.which(words[0]):
            pytest.skip(f"{words[0]} is not installed")
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=120,
                              cwd=self.folder)  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def stamp(self, query: bytes) -> bytes:
        """Have the authority answer a timestamp query."""
        kind = "application/timestamp-query"
        status, body = self.service.ask("POST", "/tsa", query, Content_Type=kind)
        assert status == 200
        return body


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder, listen = tmp_path_factory.mktemp("house"), f"127.0.0.1:{free_port()}"
    organisation = Organisation(folder, f"http://{listen}", "--policies", POLICIES)
    with served(organisation.data, "--listen", listen) as service:
        yield House(organisation, service)


# --- certificates ---------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES + AT_ROOT)
def test_pkilint_has_nothing_against_what_the_command_issues(house: House, profile: str) -> None:
    root = ("--ca", "root") if profile in AT_ROOT else ()
    named = ("--san", "uri:https://example.org/project") if profile == "ci-identity" else ()
    house.own.issue(f"lint-{profile}", *root, *named, profile=profile)
    path = x509.load_pem_x509_certificates((house.folder / f"lint-{profile}.pem").read_bytes())
    assert len(path) == (2 if profile in AT_ROOT else 3)
    assert certificate_faults(_der(path[0])) == TOLD


def test_pkilint_has_nothing_against_what_the_command_founds(house: House) -> None:
    for name in ("root", "issuing", "tsa", "issuing-ocsp"):
        house.own.export(name)
        (found,) = x509.load_pem_x509_certificates((house.folder / f"{name}.pem").read_bytes())
        assert certificate_faults(_der(found)) == TOLD, name
    for name in ("root", "issuing"):
        found_crl = house.service.get(f"/crl/{name}.crl")[1]
        assert crl_faults(found_crl, of_authorities=name == "root") == set()


def _der(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


# --- OpenSSL --------------------------------------------------------------------------------------


def test_openssl_hears_of_a_revocation_by_crl_and_by_ocsp(house: House) -> None:
    house.certified("openssl")
    code, text = _openssl_path(house, "openssl-leaf.pem")
    assert (code, text) == (0, "openssl-leaf.pem: OK\n")
    assert "openssl-leaf.pem: good" in _openssl_ocsp(house, "openssl-leaf.pem")
    house.own.revoke("openssl")
    code, text = _openssl_path(house, "openssl-leaf.pem")
    assert code != 0
    assert "certificate revoked" in text
    told = _openssl_ocsp(house, "openssl-leaf.pem")
    assert "openssl-leaf.pem: revoked" in told
    assert "keyCompromise" in told


def _openssl_path(house: House, leaf: str) -> tuple[int, str]:
    """Ask for the whole path, with the CRLs that are served."""
    for name in ("root", "issuing"):
        (house.folder / f"{name}.der").write_bytes(house.service.get(f"/crl/{name}.crl")[1])
        house.peer("openssl", "crl", "-inform", "DER", "-in", f"{name}.der", "-out", f"{name}.crl")
    crls = b"".join((house.folder / f"{name}.crl").read_bytes() for name in ("root", "issuing"))
    (house.folder / "crls.pem").write_bytes(crls)
    return house.peer(
        "openssl", "verify", "-x509_strict", "-crl_check", "-crl_check_all", "-CRLfile",
        "crls.pem", "-CAfile", "root.pem", "-untrusted", "issuing.pem", leaf,
    )  # fmt: skip


def _openssl_ocsp(house: House, leaf: str) -> str:
    """Ask at the address that the certificate names."""
    code, url = house.peer("openssl", "x509", "-in", leaf, "-noout", "-ocsp_uri")
    assert code == 0
    code, text = house.peer("openssl", "ocsp", "-issuer", "issuing.pem", "-cert", leaf, "-url",
                            url.strip(), "-CAfile", "chain.pem")  # fmt: skip
    assert code == 0, text
    assert "Response verify OK" in text
    return text


def test_openssl_accepts_a_timestamp_and_what_we_sign(house: House) -> None:
    """``ts`` and ``cms`` the token; ``cms`` a file's detached signature with the CRLs."""
    house.certified("cms")
    (house.folder / "document").write_bytes(DATA)
    house.peer("openssl", "ts", "-query", "-data", "document", "-sha256", "-cert", "-out", "asked")
    (house.folder / "told").write_bytes(house.stamp((house.folder / "asked").read_bytes()))
    code, text = house.peer("openssl", "ts", "-verify", "-queryfile", "asked", "-in", "told",
                            "-CAfile", "root.pem")  # fmt: skip
    assert (code, "Verification: OK" in text) == (0, True), text
    house.peer("openssl", "ts", "-reply", "-in", "told", "-token_out", "-out", "token")
    code, text = house.peer("openssl", "cms", "-verify", "-inform", "DER", "-in", "token",
                            "-purpose", "timestampsign", "-CAfile", "root.pem", "-out",
                            "info")  # fmt: skip
    assert code == 0, text
    house.own.sign("cms", house.folder / "document", "--detached", "--timestamp", house.tsa)
    assert _openssl_cms(house)[0] == 0
    house.own.revoke("cms")
    code, text = _openssl_cms(house)
    assert code != 0
    assert "certificate revoked" in text


def _openssl_cms(house: House) -> tuple[int, str]:
    _openssl_path(house, "cms-leaf.pem")  # writes the CRLs
    (house.folder / "trusted.pem").write_bytes(
        b"".join((house.folder / name).read_bytes() for name in ("root.pem", "crls.pem"))
    )
    return house.peer(
        "openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", "document.p7s",
        "-content", "document", "-purpose", "any", "-crl_check_all", "-CAfile", "trusted.pem",
        "-out", "content",
    )  # fmt: skip


# --- osslsigncode ---------------------------------------------------------------------------------


@pytest.mark.parametrize("signer", ["osslsigncode", "signward"])
@pytest.mark.parametrize("crl", ["file", "distribution point"])
def test_osslsigncode_refuses_once_it_is_revoked(house: House, signer: str, crl: str) -> None:
    """Timestamps are asked for over HTTP; so is the CRL, where it is not given as a file.

    It refuses what was timestamped before the revocation too, which we accept (docs/comparison.md).
    """
    name = f"{signer}-{crl.partition(' ')[0]}"
    house.certified(name)
    (house.folder / f"{name}.exe").write_bytes(pe.image())
    file = house.folder / f"{name}-signed.exe"
    if signer == "signward":
        shutil.copy(house.folder / f"{name}.exe", file)
        house.own.sign(name, file, "--timestamp", house.tsa)
    else:
        code, text = house.peer(
            "osslsigncode", "sign", "-h", "sha256", "-certs", f"{name}-leaf.pem", "-key",
            f"{name}.key", "-ac", "issuing.pem", "-ts", house.tsa, "-in", f"{name}.exe",
            "-out", file,
        )  # fmt: skip
        assert code == 0, text
    code, text = _osslsigncode(house, file, crl)
    assert code == 0, text
    assert "Timestamp Server Signature verification: ok" in text
    assert house.own.verify(file)[0] == "accepted"
    house.own.revoke(name)
    code, text = _osslsigncode(house, file, crl)
    assert code != 0
    assert "certificate revoked" in text.lower()


def _osslsigncode(house: House, file: Path, crl: str) -> tuple[int, str]:
    house.own.crls()
    given = ("-CRLfile", "crls.pem", "-ignore-cdp") if crl == "file" else ()
    return house.peer("osslsigncode", "verify", "-CAfile", "chain.pem", "-TSA-CAfile", "root.pem",
                      "-TSA-CRLfile", "crls.pem", *given, "-in", file)  # fmt: skip


# --- Java -----------------------------------------------------------------------------------------


def test_jarsigner_timestamps_and_asks_whether_it_is_revoked(house: House) -> None:
    """``-revCheck`` follows the addresses in the certificate; apksigner reads the result.

    Java judges as we do: what was timestamped before the revocation stays.
    """
    house.certified("java")
    _stores(house)
    for jar, options in (("a.jar", ("-tsa", house.tsa, "-tsadigestalg", "SHA-512")), ("b.jar", ())):
        _jar(house, jar, *options)
        text = _verified_jar(house, jar)
        assert f"Contacting OCSP server at {house.own.url}/ocsp/issuing" in text
        assert "jar verified" in text
        assert ("Timestamped by" in text) == bool(options)
        assert "certificate chain is invalid" not in text
    code, text = house.peer("apksigner", "verify", "--verbose", "--min-sdk-version", "19",
                            "--max-sdk-version", "23", "a.jar")  # fmt: skip
    assert code == 0, text
    assert "Verified using v1 scheme (JAR signing): true" in text
    time.sleep(1.1)  # the revocation's date is in whole seconds
    house.own.revoke("java")
    assert "certificate chain is invalid" not in _verified_jar(house, "a.jar")
    text = _verified_jar(house, "b.jar")
    assert "certificate chain is invalid" in text
    assert "revoked" in text


def _jar(house: House, name: str, *options: str) -> None:
    with zipfile.ZipFile(house.folder / name, "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\r\n\r\n")
        archive.writestr("a/data.txt", DATA)
    code, text = house.peer("jarsigner", "-keystore", "key.p12", "-storetype", "PKCS12",
                            "-storepass", PASSWORD, *options, name, "java")  # fmt: skip
    assert code == 0, text


def _verified_jar(house: House, name: str) -> str:
    return house.peer("jarsigner", "-verify", "-verbose", "-certs", "-strict", "-revCheck",
                      "-keystore", "trust.p12", "-storepass", PASSWORD, name)[1]  # fmt: skip


def _stores(house: House) -> None:
    """Write the signer's key and path, and the trusted root, as Java keeps them."""
    code, text = house.peer("openssl", "pkcs12", "-export", "-inkey", "java.key", "-in",
                            "java.pem", "-name", "java", "-passout", f"pass:{PASSWORD}",
                            "-out", "key.p12")  # fmt: skip
    assert code == 0, text
    code, text = house.peer("keytool", "-importcert", "-noprompt", "-alias", "root", "-file",
                            "root.pem", "-keystore", "trust.p12", "-storetype", "PKCS12",
                            "-storepass", PASSWORD)  # fmt: skip
    assert code == 0, text


# --- rfc3161-client -------------------------------------------------------------------------------


def test_the_strict_client_accepts_a_token(house: House) -> None:
    request = (
        rfc3161_client.TimestampRequestBuilder().data(DATA)
        .hash_algorithm(rfc3161_client.HashAlgorithm.SHA256)
        .nonce(nonce=True).cert_request(cert_request=True).build()
    )  # fmt: skip
    response = rfc3161_client.decode_timestamp_response(house.stamp(request.as_bytes()))
    root = x509.load_pem_x509_certificate((house.folder / "root.pem").read_bytes())
    verifier = (
        rfc3161_client.VerifierBuilder.from_request(request).add_root_certificate(root).build()
    )
    assert verifier.verify(response, hashlib.sha256(DATA).digest())
    with pytest.raises(VerificationError):
        verifier.verify_message(response, DATA + b"!")
