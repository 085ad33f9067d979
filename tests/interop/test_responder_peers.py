"""OCSP answers and timestamps over HTTP, judged by others: OpenSSL, Java, osslsigncode, Rust.

The server is the real one (Granian, the service's own application) on loopback.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest
import rfc3161_client
from conformance.authenticode import pe
from conformance.authenticode.pki import issue
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
from cryptography.x509 import ocsp as peer_ocsp
from rfc3161_client.errors import VerificationError

from signward.service.roles import load_role
from signward.trust import ocsp
from signward.trust.x509 import load_certificate
from signward.verbs.authority.realm import Realm
from tests.builders.realm import (
    AUTHORITY,
    issuing,
    make_realm,
    register,
    revoke,
    root,
    stamper,
)
from tests.builders.service import Running, serving

pytestmark = pytest.mark.interop

LEAF = issue("Peer Publisher", issuer=issuing())
OTHER = issue("Peer Publisher 2", issuer=issuing())
PASSWORD = "peer-pass"
DATA = b"what a peer signs\n"


def tool(name: str) -> str:
    found = shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not installed")
    return found


def said(*command: object, folder: Path) -> tuple[int, str]:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=120,
                          cwd=folder)  # fmt: skip
    return done.returncode, done.stdout + done.stderr


class World(NamedTuple):
    """A running service, its realm, and a folder with the files that peers want."""

    service: Running
    realm: Realm
    folder: Path

    def post(self, path: str, kind: str, body: bytes) -> bytes:
        answer = self.service.ask("POST", path, body, headers={"Content-Type": kind})
        assert answer.status == 200, answer
        return answer.body

    def stamp(self, query: bytes) -> bytes:
        return self.post("/tsa", "application/timestamp-query", query)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    (tmp_path / "realm").mkdir()
    realm = make_realm(tmp_path / "realm")
    register(realm, [LEAF, OTHER])
    (tmp_path / "root.pem").write_bytes(root().pem)
    (tmp_path / "issuing.pem").write_bytes(issuing().pem)
    (tmp_path / "chain.pem").write_bytes(issuing().pem + root().pem)
    (tmp_path / "tsa.pem").write_bytes(stamper().pem)
    (tmp_path / "leaf.pem").write_bytes(LEAF.pem)
    (tmp_path / "leaf.key").write_bytes(LEAF.key.pem)
    (tmp_path / "other.pem").write_bytes(OTHER.pem)
    (tmp_path / "data").write_bytes(DATA)
    roles = [load_role("ocsp"), load_role("tsa")]
    with serving(realm, roles) as service:
        yield World(service, realm, tmp_path)
    realm.close()


# --- OCSP --------------------------------------------------------------------------------------


def openssl_ocsp(world: World, *options: object) -> str:
    code, text = said(
        tool("openssl"), "ocsp", "-issuer", "issuing.pem", *options,
        "-url", f"{world.service.url}/ocsp/{AUTHORITY}", "-CAfile", "chain.pem",
        folder=world.folder,
    )  # fmt: skip
    assert code == 0, text
    assert "Response verify OK" in text
    return text


@pytest.mark.parametrize("options", [(), ("-no_nonce",), ("-sha256",), ("-sha256", "-no_nonce")])
def test_openssl_hears_what_became_of_a_certificate(world: World, options: tuple[str, ...]) -> None:
    told = openssl_ocsp(world, *options, "-cert", "leaf.pem")
    assert "leaf.pem: good" in told
    assert "WARNING: no nonce" not in told
    when = datetime.now(UTC) - timedelta(minutes=5)
    revoke(world.realm, LEAF.serial, at=when, reason=4)
    told = openssl_ocsp(world, "-cert", "leaf.pem")  # its nonce asks for a fresh answer
    assert "leaf.pem: revoked" in told
    assert "superseded" in told
    assert when.strftime("%b %e %H:%M:%S %Y GMT") in told


def test_openssl_asks_for_several_at_once(world: World) -> None:
    revoke(world.realm, OTHER.serial, at=datetime.now(UTC))
    told = openssl_ocsp(world, "-cert", "leaf.pem", "-cert", "other.pem", "-serial", "0x77")
    assert "leaf.pem: good" in told
    assert "other.pem: revoked" in told
    assert "0x77: unknown" in told


def test_another_issuers_certificate_is_unauthorized_for_openssl(world: World) -> None:
    text = said(
        tool("openssl"), "ocsp", "-issuer", "root.pem", "-cert", "issuing.pem", "-url",
        f"{world.service.url}/ocsp/{AUTHORITY}", "-CAfile", "root.pem", folder=world.folder,
    )[1]  # fmt: skip
    assert "unauthorized" in text


@pytest.mark.parametrize("digest", ["sha1", "sha256"])
def test_get_is_answered_as_cryptography_reads_it(world: World, digest: str) -> None:
    asked = ocsp.request(
        load_certificate(LEAF.certificate), load_certificate(issuing().certificate), digest=digest
    )
    text = base64.b64encode(asked).decode()
    bodies = set()
    for path in (text, quote(text, safe=""), f"/{text}"):
        answer = world.service.ask("GET", f"/ocsp/{AUTHORITY}/{path}")
        assert answer.status == 200
        assert "max-age" in answer.headers["cache-control"]
        bodies.add(answer.body)
    (body,) = bodies
    response = peer_ocsp.load_der_ocsp_response(body)
    assert response.response_status is peer_ocsp.OCSPResponseStatus.SUCCESSFUL
    assert response.certificate_status is peer_ocsp.OCSPCertStatus.GOOD
    assert response.serial_number == LEAF.serial
    assert response.responder_key_hash is not None
    assert {one.oid for one in response.single_extensions} == {
        x509.ObjectIdentifier("1.3.6.1.5.5.7.48.1.6")
    }


# --- timestamps -----------------------------------------------------------------------------------


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("options", [("-cert",), ("-cert", "-no_nonce"), ("-no_nonce",)])
def test_openssl_ts_and_cms_accept_a_token(
    world: World, digest: str, options: tuple[str, ...]
) -> None:
    openssl = tool("openssl")
    said(openssl, "ts", "-query", "-data", "data", f"-{digest}", *options, "-out", "asked",
         folder=world.folder)  # fmt: skip
    (world.folder / "told").write_bytes(world.stamp((world.folder / "asked").read_bytes()))
    embedded = () if "-cert" in options else ("-untrusted", "tsa.pem")
    code, text = said(openssl, "ts", "-verify", "-queryfile", "asked", "-in", "told",
                      "-CAfile", "root.pem", *embedded, folder=world.folder)  # fmt: skip
    assert (code, "Verification: OK" in text) == (0, True), text
    said(openssl, "ts", "-reply", "-in", "told", "-token_out", "-out", "token",
         folder=world.folder)  # fmt: skip
    brought = () if "-cert" in options else ("-certfile", "tsa.pem")
    code, text = said(openssl, "cms", "-verify", "-inform", "DER", "-in", "token", "-purpose",
                      "timestampsign", "-CAfile", "root.pem", *brought, "-out", "info",
                      folder=world.folder)  # fmt: skip
    assert code == 0, text
    (world.folder / "data").write_bytes(DATA + b"!")
    code, text = said(openssl, "ts", "-verify", "-data", "data", "-in", "told", "-CAfile",
                      "root.pem", *embedded, folder=world.folder)  # fmt: skip
    assert code != 0
    assert "message imprint mismatch" in text


def test_openssl_reads_why_there_is_no_token(world: World) -> None:
    openssl = tool("openssl")
    said(openssl, "ts", "-query", "-data", "data", "-sha256", "-tspolicy", "1.2.3.4", "-out",
         "asked", folder=world.folder)  # fmt: skip
    (world.folder / "told").write_bytes(world.stamp((world.folder / "asked").read_bytes()))
    text = said(openssl, "ts", "-reply", "-in", "told", "-text", folder=world.folder)[1]
    assert "Status: Rejected." in text
    assert "the requested TSA policy is not supported by the TSA" in text
    assert "policy 1.2.3.4" in text


@pytest.mark.parametrize(
    "digest", [rfc3161_client.HashAlgorithm.SHA256, rfc3161_client.HashAlgorithm.SHA512]
)
def test_the_strict_client_accepts_a_token(
    world: World, digest: rfc3161_client.HashAlgorithm
) -> None:
    request = (
        rfc3161_client.TimestampRequestBuilder().data(DATA).hash_algorithm(digest)
        .nonce(nonce=True).cert_request(cert_request=True).build()
    )  # fmt: skip
    response = rfc3161_client.decode_timestamp_response(world.stamp(request.as_bytes()))
    verifier = (
        rfc3161_client.VerifierBuilder.from_request(request)
        .add_root_certificate(x509.load_der_x509_certificate(root().certificate)).build()
    )  # fmt: skip
    name = {32: "sha256", 64: "sha512"}[len(response.tst_info.message_imprint.message)]
    assert verifier.verify(response, hashlib.new(name, DATA).digest())
    assert verifier.verify_message(response, DATA)
    with pytest.raises(VerificationError):
        verifier.verify_message(response, DATA + b"!")


@pytest.fixture
def jar(world: World) -> Path:
    path = world.folder / "a.jar"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\r\n\r\n")
        archive.writestr("a/data.txt", DATA)
    return path


def _stores(folder: Path) -> None:
    """Write the signer's key and path, and the trusted root, as Java keeps them."""
    private, certificate = LEAF.key.private, x509.load_der_x509_certificate(LEAF.certificate)
    path = [x509.load_der_x509_certificate(one.certificate) for one in (issuing(), root())]
    data = pkcs12.serialize_key_and_certificates(
        b"peer", private, certificate, path, BestAvailableEncryption(PASSWORD.encode())
    )
    (folder / "key.p12").write_bytes(data)
    trusted = [pkcs12.PKCS12Certificate(path[-1], b"root")]
    (folder / "trust.p12").write_bytes(pkcs12.serialize_java_truststore(
        trusted, BestAvailableEncryption(PASSWORD.encode())))  # fmt: skip


def test_jarsigner_timestamps_and_apksigner_reads_on(world: World, jar: Path) -> None:
    """What a timestamp keeps good, by Java's own rules; apksigner has no option for one."""
    jarsigner, folder = tool("jarsigner"), world.folder
    _stores(folder)
    code, text = said(
        jarsigner, "-keystore", "key.p12", "-storetype", "PKCS12", "-storepass", PASSWORD,
        "-tsa", f"{world.service.url}/tsa", "-tsadigestalg", "SHA-512", jar.name, "peer",
        folder=folder,
    )  # fmt: skip
    assert code == 0, text
    assert "jar signed" in text
    code, text = said(
        jarsigner, "-verify", "-verbose", "-certs", "-strict", "-keystore", "trust.p12",
        "-storepass", PASSWORD, jar.name, folder=folder,
    )  # fmt: skip
    assert "jar verified" in text, text
    assert "Timestamped by" in text
    assert "TSA certificate chain is invalid" not in text
    assert "No -tsa" not in text
    code, text = said(tool("apksigner"), "verify", "--verbose", "--min-sdk-version", "19",
                      "--max-sdk-version", "23", jar.name, folder=folder)  # fmt: skip
    assert code == 0, text
    assert "Verified using v1 scheme (JAR signing): true" in text


def test_osslsigncode_timestamps_its_signature(world: World) -> None:
    osslsigncode, folder = tool("osslsigncode"), world.folder
    (folder / "a.exe").write_bytes(pe.image())
    code, text = said(
        osslsigncode, "sign", "-h", "sha256", "-certs", "leaf.pem", "-key", "leaf.key",
        "-ac", "issuing.pem", "-ts", f"{world.service.url}/tsa", "-in", "a.exe", "-out", "s.exe",
        folder=folder,
    )  # fmt: skip
    assert code == 0, text
    code, text = said(osslsigncode, "verify", "-CAfile", "chain.pem", "-TSA-CAfile", "root.pem",
                      "-in", "s.exe", folder=folder)  # fmt: skip
    assert code == 0, text
    assert "Succeeded" in text
    assert "Timestamp Server Signature verification: ok" in text
