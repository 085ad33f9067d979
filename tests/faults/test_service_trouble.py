"""What a service does when its key, its disk or its database goes away, and comes back.

Each time: a clear answer meanwhile, nothing lost that was answered, and all goes on afterwards
without a restart.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pkcs11
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import select

from signward.authority.log.entry import Kind, decode
from signward.envelopes import tsp
from signward.service.roles import load_role
from signward.state import Status
from signward.store.tables import certificate, intent, log_entry
from signward.trust import ocsp
from signward.trust.x509 import load_certificate
from signward.verbs.authority.authorities import certificate_of
from signward.verbs.authority.realm import Realm
from tests.builders import disks, postgres
from tests.builders.authority import founded
from tests.builders.processes import START
from tests.builders.service import Answer, Running, serving
from tests.builders.storing import log_is_whole
from tests.builders.token import PIN, SoftHsm, missing_tool, module

DISK_OCTETS = 8 * 1024 * 1024
ROLES = ("ca", "crl", "ocsp", "tsa")


class Desk:
    """Somebody who asks a service for certificates and timestamps."""

    def __init__(self, service: Running, realm: Realm) -> None:
        self.service, self.realm = service, realm

    def issue(self) -> Answer:
        """Ask for a certificate for a new key."""
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        made = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
        request = made.public_bytes(Encoding.PEM).decode()
        body = {"profile": "code-signing", "request": request, "subject": "Release"}
        return self._post("/ca/issuing/certificates", body)

    def revoke(self, serial: str) -> Answer:
        """Ask for a certificate to be revoked."""
        return self._post("/ca/issuing/revocations", {"serial": serial, "reason": "superseded"})

    def _post(self, path: str, body: Any) -> Answer:
        headers = {"Content-Type": "application/json"}
        return self.service.ask(
            "POST", path, json.dumps(body).encode(), roles="officer", headers=headers
        )

    def stamp(self) -> tsp.Answer:
        """Ask for a timestamp."""
        query = tsp.write_request("sha256", bytes(32), 7)
        answer = self.service.ask("POST", "/tsa", query)
        assert answer.status == 200  # a refusal has a form of its own (RFC 3161 2.4.2)
        return tsp.read_answer(answer.body)

    def status(self, serial: str, nonce: bytes = b"") -> bytes:
        """Ask about a certificate; return the OCSPResponse."""
        with self.realm.store.read() as connection:
            chosen = select(certificate.c.der).where(certificate.c.serial == serial)
            leaf = load_certificate(connection.execute(chosen).scalar_one())
        issuer = certificate_of(self.realm, "issuing")
        return self.service.ask("POST", "/ocsp/issuing", ocsp.request(leaf, issuer, nonce)).body

    def entries(self, kind: Kind) -> int:
        """Return how many entries of a kind the log has."""
        with self.realm.store.read() as connection:
            bodies = connection.execute(select(log_entry.c.body)).scalars().all()
        return sum(decode(body).kind is kind for body in bodies)

    def check(self, serials: set[str], tokens: int) -> None:
        """Check that what was answered stands and is done.

        What nobody was told of may be: whether it was done is not known, and its intent says so.
        """
        log_is_whole(self.realm.store)
        with self.realm.store.read() as connection:
            assert serials <= set(connection.execute(select(certificate.c.serial)).scalars())
            begun = connection.execute(select(intent.c.body)).scalars().all()
        assert serials.isdisjoint(decode(body).fields["serial"] for body in begun)
        assert self.entries(Kind.TIMESTAMPED) >= tokens


@contextmanager
def desk(folder: Path, **wanted: Any) -> Iterator[Desk]:
    """Found an authority and serve it."""
    realm = founded(folder, lambda: datetime.now(UTC), **wanted)  # type: ignore[arg-type]
    with serving(realm, [load_role(name) for name in ROLES]) as service:
        yield Desk(service, realm)
    realm.close()


def until(deed: Callable[[], bool]) -> None:
    """Try until it is so."""
    deadline = time.monotonic() + START
    while not deed():
        assert time.monotonic() < deadline
        time.sleep(0.1)


# --- the disk -------------------------------------------------------------------------------------


def fill(path: Path) -> None:
    """Write a file until there is no room."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass


def test_a_full_disk_is_told_and_answers_go_on_when_there_is_room(tmp_path: Path) -> None:
    with (
        disks.small_disk(tmp_path / "disk", DISK_OCTETS) as disk,
        desk(disk / "authority") as at,
    ):
        before = at.issue().json["serial"]
        filler = disk / "filler"
        fill(filler)
        answers = [at.issue() for _ in range(3)]
        while answers[-1].status == 201:  # into what room the database's file has
            answers.append(at.issue())
        refused = answers[-1]
        assert refused.status == 503
        assert refused.headers["retry-after"]
        assert refused.json["type"] == "urn:signward:problem:store"
        until(lambda: not at.stamp().granted)
        assert "log cannot be written" in at.stamp().text
        assert ocsp.load_response(at.status(before)).responses  # what only reads goes on
        filler.unlink()
        until(lambda: at.issue().status == 201)
        assert at.stamp().granted
        at.check({one.json["serial"] for one in answers if one.status == 201} | {before}, 1)


# --- the database ---------------------------------------------------------------------------------


@pytest.mark.interop
def test_a_database_that_stops_under_load_and_starts_again_loses_nothing(tmp_path: Path) -> None:
    if missing := postgres.missing_tool():
        pytest.skip(missing)
    with (
        postgres.running() as cluster,
        desk(tmp_path / "authority", database=cluster.new_database()) as at,
        ThreadPoolExecutor(4) as pool,
    ):
        over = threading.Event()
        load = [pool.submit(_load, at, over) for _ in range(4)]
        until(lambda: at.entries(Kind.TIMESTAMPED) > 20)
        cluster.stop()
        try:
            assert at.service.ask("GET", "/readyz").status == 503
            assert at.service.ask("GET", "/healthz").status == 200
            assert at.issue().json["type"] == "urn:signward:problem:store"
        finally:
            cluster.start()
        until(lambda: at.issue().status == 201 and at.stamp().granted)
        over.set()
        answers = [one for future in load for one in future.result(START)]
        assert {one.status for one in answers if isinstance(one, Answer)} == {201, 503}
        granted = [one.granted for one in answers if isinstance(one, tsp.Answer)]
        assert set(granted) == {True, False}
        issued = {one.json["serial"] for one in answers
                  if isinstance(one, Answer) and one.status == 201}  # fmt: skip
        at.check(issued, sum(granted))


def _load(at: Desk, over: threading.Event) -> list[Answer | tsp.Answer]:
    """Ask for certificates and timestamps until it is over; return the answers."""
    answers: list[Answer | tsp.Answer] = []
    while not over.is_set():
        answers += [at.issue(), at.stamp(), at.stamp()]
    return answers


# --- the token ------------------------------------------------------------------------------------


KEYS = {"issuing": "EC:prime256v1", "issuing-ocsp": "EC:prime256v1", "tsa": "rsa:2048"}


@pytest.fixture
def hsm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SoftHsm:
    if missing := missing_tool():
        pytest.skip(missing)
    made = SoftHsm(tmp_path, monkeypatch)
    made.make_token("CA")
    for number, (label, kind) in enumerate(KEYS.items()):
        made.generate("CA", kind, label, f"0{number}")
    made.ready()
    return made


@pytest.fixture
def with_token(tmp_path: Path, hsm: SoftHsm) -> Iterator[Desk]:
    keys = {name: f"pkcs11:token=CA;object={name}?module-path={module()}" for name in KEYS}
    with desk(tmp_path / "authority", keys=keys, password=PIN) as at:
        yield at


@pytest.mark.interop
def test_a_token_that_is_gone_is_told_and_used_again_when_it_is_back(
    with_token: Desk, hsm: SoftHsm
) -> None:
    at = with_token
    serial = at.issue().json["serial"]
    assert at.stamp().granted
    tokens, away = hsm.folder / "tokens", hsm.folder / "away"
    tokens.rename(away)
    refused = at.issue()
    assert (refused.status, refused.json["type"]) == (503, "urn:signward:problem:key")
    assert refused.headers["retry-after"]
    assert PIN not in refused.body.decode()
    assert at.entries(Kind.ISSUE_FAILED) == 1
    told = at.stamp()
    assert (told.granted, told.text) == (False, "the key cannot be used")
    assert at.status(serial, b"n" * 16) == INTERNAL_ERROR
    revoked = at.revoke(serial)  # stands, though no CRL can be signed
    assert revoked.status == 201, revoked.body
    away.rename(tokens)
    assert at.issue().status == 201
    assert at.stamp().granted
    (single,) = ocsp.load_response(at.status(serial, b"n" * 16)).responses
    assert single.status is Status.REVOKED
    at.check({serial}, 2)


INTERNAL_ERROR = bytes.fromhex("30030a0102")
"""OCSPResponseStatus internalError (RFC 6960 4.2.1)."""


@pytest.mark.interop
def test_sessions_that_died_are_opened_again_unnoticed(with_token: Desk) -> None:
    """As after a network that failed, or a restart of the token's service."""
    for _ in range(3):
        pkcs11.lib(module()).reinitialize()
        assert with_token.issue().status == 201
        assert with_token.stamp().granted
    with_token.check(set(), 3)
