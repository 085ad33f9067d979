"""Nonces in OCSP requests, answered by ``openssl ocsp`` behind a loopback server.

OpenSSL's responder copies the nonce of a request into its answer, or answers without one
where the request has none: so a front that forwards our request, one that leaves the nonce
out (what responders with answers made in advance do), and one that repeats what was
answered to somebody else are three real responders.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conformance.authenticode.pki import Identity, default_pki

from signward.errors import ReplayedError
from signward.fetch.cache import Cache
from signward.fetch.fetcher import NONCE_OCTETS, Fetcher
from signward.state import Status
from signward.trust import ocsp
from signward.trust.x509 import Certificate, load_certificate
from tests.builders.web import Reply, Request, Server, ocsp_question, running

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed"),
]

PKI = default_pki()
LEAF = load_certificate(PKI.leaf.certificate)
ISSUER = load_certificate(PKI.intermediate.certificate)
PLAIN = ocsp.request(LEAF, ISSUER)


class Responder:
    """``openssl ocsp`` with the issuer's own key."""

    def __init__(self, folder: Path, issuer: Identity, leaf: Certificate) -> None:
        self.folder = folder
        (folder / "ca.pem").write_bytes(issuer.pem)
        (folder / "ca.key").write_bytes(issuer.key.pem)
        digits = f"{leaf.serial:X}"
        digits = digits.rjust(len(digits) + len(digits) % 2, "0")  # whole octets
        (folder / "index").write_text(f"V\t291231235959Z\t\t{digits}\tunknown\t/CN=leaf\n")

    def answer(self, question: bytes) -> bytes:
        """Return the DER response to a DER request."""
        asked, told = self.folder / "asked", self.folder / "told"
        asked.write_bytes(question)
        command = ["openssl", "ocsp", "-index", "index", "-CA", "ca.pem", "-rsigner", "ca.pem"]
        command += ["-rkey", "ca.key", "-ndays", "1", "-reqin", asked.name, "-respout", told.name]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return told.read_bytes()


@pytest.fixture
def responder(tmp_path: Path) -> Responder:
    return Responder(tmp_path, PKI.intermediate, LEAF)


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as server:
        yield server


def fetcher(folder: Path, *, nonces: bool = True) -> Fetcher:
    return Fetcher(Cache(folder / "cache"), datetime.now(UTC), private=True, nonces=nonces)


def nonce_in(question: bytes) -> bytes:
    """Return the 32 octets that follow the extension's OID and two OCTET STRING headers."""
    before = bytes.fromhex("06092b0601050507300102 0422 0420".replace(" ", ""))
    _, found, rest = question.partition(before)
    assert found, question.hex()
    return rest[:NONCE_OCTETS]


def test_the_nonce_comes_back(server: Server, responder: Responder, tmp_path: Path) -> None:
    server.routes["/ocsp"] = lambda r: Reply(responder.answer(ocsp_question(r)))
    one = fetcher(tmp_path)
    answers = [one.ocsp(server.url("/ocsp"), LEAF, ISSUER) for _ in range(2)]
    assert [request.method for request in server.requests] == ["POST", "POST"]
    sent = [nonce_in(request.body) for request in server.requests]
    assert sent[0] != sent[1]
    for answer, nonce in zip(answers, sent, strict=True):
        response = ocsp.load_response(answer)
        assert response.nonce == nonce
        assert response.responses[0].status is Status.GOOD
    assert not list((tmp_path / "cache").glob("*"))


def test_no_nonce_is_sent_unless_asked_for(
    server: Server, responder: Responder, tmp_path: Path
) -> None:
    server.routes["/ocsp"] = lambda r: Reply(responder.answer(ocsp_question(r)))
    url = server.url("/ocsp")
    first = fetcher(tmp_path, nonces=False).ocsp(url, LEAF, ISSUER)
    assert fetcher(tmp_path, nonces=False).ocsp(url, LEAF, ISSUER) == first
    assert [ocsp_question(request) for request in server.requests] == [PLAIN]
    assert ocsp.load_response(first).nonce is None
    fetcher(tmp_path).ocsp(url, LEAF, ISSUER)
    assert len(server.requests) == 2, "a kept answer is none to a question with a nonce"


def test_an_answer_without_a_nonce_counts(
    server: Server, responder: Responder, tmp_path: Path
) -> None:
    server.routes["/ocsp"] = lambda _: Reply(responder.answer(PLAIN))
    response = ocsp.load_response(fetcher(tmp_path).ocsp(server.url("/ocsp"), LEAF, ISSUER))
    assert nonce_in(server.requests[0].body)
    assert response.nonce is None
    assert response.responses[0].status is Status.GOOD


def test_the_answer_to_another_nonce_does_not_count(
    server: Server, responder: Responder, tmp_path: Path
) -> None:
    replayed = responder.answer(ocsp.request(LEAF, ISSUER, b"x" * NONCE_OCTETS))

    def replay(_: Request) -> Reply:
        return Reply(replayed)

    server.routes["/ocsp"] = replay
    with pytest.raises(ReplayedError, match="nonce is not the one that was sent"):
        fetcher(tmp_path).ocsp(server.url("/ocsp"), LEAF, ISSUER)
    assert not list((tmp_path / "cache").glob("*"))
    kept = fetcher(tmp_path, nonces=False).ocsp(server.url("/ocsp"), LEAF, ISSUER)
    assert kept == replayed, "a good answer of the usual kind: only who sends a nonce can tell"
