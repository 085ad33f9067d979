"""TLS in front of the service, and who is at the other end: nobody can claim to be another."""

import asyncio
import http.client
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conformance.authenticode import revocation
from conformance.authenticode.keys import key
from conformance.authenticode.pki import END, Identity, issue, pem
from conformance.authenticode.pki import authority as root
from litestar import Request, get, post

from signward.errors import RealmError
from signward.service.front import Tls, context_of
from signward.service.identity import Callers, identity_of
from signward.service.roles import Access
from signward.verbs.authority.realm import Realm
from signward.wire import der
from tests.builders.service import PUBLIC, Answer, Planted, Running, serving

SERVER_EKU, CLIENT_EKU = "1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"

SETTINGS = """
name = "Test"
url = "https://127.0.0.1"
[identity.mtls]
ca = "clients.pem"
[access.identities.builder]
kind = "mtls"
issuer = "{issuer}"
claims = {{ cn = "builder" }}
[access.roles]
auditor = ["builder"]
"""


@get("/who", opt={"access": Access.AUDITOR}, media_type="text/plain")
async def who(request: Request[Any, Any, Any]) -> str:
    """Say who calls."""
    host = request.client.host if request.client else "nowhere"
    return f"{request.user.kind} {request.user.subject} {host} {request.url.scheme}"


@get("/open", opt=PUBLIC, media_type="text/plain")
async def everybody() -> str:
    """Say hello."""
    return "hello"


@get("/slow", opt=PUBLIC, media_type="text/plain")
async def slow() -> str:
    """Answer after a while."""
    await asyncio.sleep(1)
    return "late"


@post("/echo", opt={"access": Access.AUDITOR, "max_body": 2**20}, media_type="text/plain")
async def echo(request: Request[Any, Any, Any]) -> bytes:
    """Give back what was sent."""
    return await request.body()


class World(NamedTuple):
    """A service with TLS, and the files of who may call it."""

    folder: Path
    clients: Identity
    servers: Identity

    def client(self, name: str, issuer: Identity | None = None, eku: str = CLIENT_EKU) -> Path:
        leaf = issue(name, issuer=issuer or self.clients, ekus=(eku,), not_after=END)
        path = self.folder / f"{name}-{len(list(self.folder.iterdir()))}.pem"
        path.write_bytes(leaf.key.pem + leaf.pem)
        return path

    def server(self) -> None:
        names = der.sequence(der.context(7, bytes((127, 0, 0, 1)), constructed=False))
        leaf = issue("service", issuer=self.servers, ekus=(SERVER_EKU,), not_after=END,
                     extensions=(("2.5.29.17", False, names),))  # fmt: skip
        (self.folder / "tls.pem").write_bytes(leaf.key.pem + leaf.pem)

    @property
    def tls(self) -> Tls:
        own, asked = self.folder / "tls.pem", self.folder / "clients.pem"
        return Tls(certificates=own, key=own, client_ca=asked)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(tmp_path_factory.mktemp("world"), root("Clients"), root("Servers"))
    (made.folder / "clients.pem").write_bytes(made.clients.pem)
    (made.folder / "servers.pem").write_bytes(made.servers.pem)
    issuer = identity_of(issue("x", issuer=made.clients).certificate).issuer
    (made.folder / "signward.toml").write_text(SETTINGS.format(issuer=issuer))
    made.server()
    return made


@pytest.fixture(scope="module")
def running(world: World) -> Iterator[Running]:
    realm = Realm.open(world.folder)
    planted = Planted(who, everybody, slow, echo)
    with serving(realm, [planted], Callers(realm), tls=world.tls) as service:
        yield service
    realm.close()


def trusting(world: World, client: Path | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=world.folder / "servers.pem")
    if client:
        context.load_cert_chain(client)
    return context


def ask(
    running: Running, context: ssl.SSLContext, path: str = "/who", body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:  # fmt: skip
    connection = http.client.HTTPSConnection("127.0.0.1", running.port, timeout=20, context=context)
    try:
        connection.request(
            "GET" if body is None else "POST", path, body=body, headers=headers or {}
        )
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


def test_a_client_certificate_says_who_calls(running: Running, world: World) -> None:
    answer = ask(running, trusting(world, world.client("builder")))
    assert answer.status == 200
    assert answer.body == b"mtls CN=builder,O=Conformance 127.0.0.1 https"
    assert running.log[-1]["by"] == "mtls:CN=builder,O=Conformance"


def test_another_name_by_the_same_issuer_has_no_role(running: Running, world: World) -> None:
    assert ask(running, trusting(world, world.client("stranger"))).status == 403


def test_without_a_certificate_only_public_routes_answer(running: Running, world: World) -> None:
    assert ask(running, trusting(world), "/open").body == b"hello"
    assert ask(running, trusting(world)).status == 401


@pytest.mark.parametrize(
    "name",
    ["x-client-cert", "x-forwarded-client-cert", "x-ssl-client-s-dn", "ssl-client-cert",
     "x-forwarded-for", "forwarded"],
)  # fmt: skip
def test_no_head_of_a_request_says_who_calls(running: Running, world: World, name: str) -> None:
    shown = world.client("builder").read_text().replace("\n", " ")
    answer = ask(running, trusting(world), headers={name: f"Subject=CN=builder;Cert={shown}"})
    assert answer.status == 401


def refused(running: Running, context: ssl.SSLContext) -> bool:
    """Say whether TLS fails: with TLS 1.3 a client hears of it when it reads."""
    try:
        ask(running, context)
    except (ssl.SSLError, ConnectionError, http.client.RemoteDisconnected):
        return True
    return False


def test_a_certificate_of_a_stranger_s_authority_makes_no_connection(
    running: Running, world: World
) -> None:
    stranger = root("Clients", subject_key=key("rsa2048", "another"))  # of the same name
    assert refused(running, trusting(world, world.client("builder", stranger)))


def test_a_certificate_for_something_else_makes_no_connection(
    running: Running, world: World
) -> None:
    assert refused(running, trusting(world, world.client("builder", eku=SERVER_EKU)))


def test_the_connection_says_who_calls_not_the_one_before(running: Running, world: World) -> None:
    """Two connections at once, used in turns: neither takes the other's name."""
    named, nameless = (
        http.client.HTTPSConnection("127.0.0.1", running.port, timeout=20, context=context)
        for context in (trusting(world, world.client("builder")), trusting(world))
    )
    statuses = []
    for connection in (named, nameless) * 3:
        connection.request("GET", "/who")
        response = connection.getresponse()
        response.read()
        statuses.append(response.status)
    named.close()
    nameless.close()
    assert statuses == [200, 401] * 3


def test_bodies_pass_whole(running: Running, world: World) -> None:
    body = bytes(range(256)) * 2048
    context = trusting(world, world.client("builder"))
    assert ask(running, context, "/echo", body).body == body


def test_tls_may_be_1_2_and_nothing_is_said_without_it(running: Running, world: World) -> None:
    context = trusting(world)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert ask(running, context, "/open").status == 200
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as plain:
        plain.sendall(b"GET /open HTTP/1.1\r\nHost: x\r\n\r\n")
        assert not plain.recv(100).startswith(b"HTTP")


def test_many_at_once(running: Running, world: World) -> None:
    contexts = [trusting(world, world.client("builder")), trusting(world)]
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, running, contexts[i % 2]) for i in range(60)]
        assert [one.result().status for one in asked] == [200, 401] * 30


def test_what_is_under_way_is_answered_when_the_service_stops(world: World) -> None:
    realm = Realm.open(world.folder)
    with ThreadPoolExecutor(1) as pool:
        with serving(realm, [Planted(slow)], Callers(realm), tls=world.tls) as service:
            late = pool.submit(ask, service, trusting(world), "/slow")
            while not service.gate.under_way:
                time.sleep(0.01)
        assert late.result().body == b"late"
    realm.close()


def test_certificates_that_change_are_taken_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signward.service.run.RENEWAL_SECONDS", 0.1)
    realm = Realm.open(world.folder)
    with serving(realm, [Planted(everybody)], Callers(realm), tls=world.tls) as service:
        before = shown(service, world)
        world.server()
        deadline = time.monotonic() + 20
        while (after := shown(service, world)) == before:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert after != before
        assert ask(service, trusting(world), "/open").status == 200
    realm.close()


def shown(service: Running, world: World) -> bytes:
    """Return the certificate that the service shows."""
    with (
        socket.create_connection(("127.0.0.1", service.port), timeout=20) as plain,
        trusting(world).wrap_socket(plain, server_hostname="127.0.0.1") as tls,
    ):
        return tls.getpeercert(binary_form=True) or b""


def test_a_revoked_client_makes_no_connection(world: World) -> None:
    good, bad = (issue(n, issuer=world.clients, ekus=(CLIENT_EKU,)) for n in ("good", "bad"))
    crl = revocation.crl(
        world.clients, [revocation.Revoked(serial=bad.serial, at=revocation.ISSUED)]
    )
    (world.folder / "clients.crl").write_bytes(pem(crl, "X509 CRL"))
    own = world.folder / "tls.pem"
    tls = Tls(certificates=own, key=own, client_ca=world.folder / "clients.pem",
              client_crls=(world.folder / "clients.crl",))  # fmt: skip
    realm = Realm.open(world.folder)
    with serving(realm, [Planted(who, everybody)], Callers(realm), tls=tls) as service:
        for one in (good, bad):
            (world.folder / "client.pem").write_bytes(one.key.pem + one.pem)
            context = trusting(world, world.folder / "client.pem")
            assert refused(service, context) == (one is bad)
        assert ask(service, trusting(world), "/open").status == 200
    realm.close()


def test_a_connection_does_not_outlive_what_its_certificate_was_judged_by(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever keeps a connection busy would stay who they were, whatever is revoked."""
    monkeypatch.setattr("signward.service.run.RENEWAL_SECONDS", 0.1)
    own, asked = world.folder / "tls.pem", tmp_path / "clients.pem"
    asked.write_bytes(world.clients.pem)
    realm = Realm.open(world.folder)
    tls = Tls(certificates=own, key=own, client_ca=asked)
    with serving(realm, [Planted(who, everybody)], Callers(realm), tls=tls) as service:
        context = trusting(world, world.client("builder"))
        with closing(
            http.client.HTTPSConnection("127.0.0.1", service.port, timeout=20, context=context)
        ) as connection:
            assert status_of(connection, "/who") == 200
            asked.write_bytes(world.clients.pem * 2)
            deadline = time.monotonic() + 20
            while not any(line["event"] == "tls-renewed" for line in service.log):
                assert time.monotonic() < deadline
                assert status_of(connection, "/open") == 200
            assert status_of(connection, "/who") == 401
            assert connection.sock is None  # it was closed
        assert ask(service, context).status == 200
    realm.close()


def test_a_connection_does_not_outlive_its_certificate(world: World) -> None:
    at = [datetime.now(UTC)]
    realm = Realm.open(world.folder, clock=lambda: at[0])
    with serving(realm, [Planted(who)], Callers(realm), tls=world.tls) as service:
        context = trusting(world, world.client("builder"))
        with closing(
            http.client.HTTPSConnection("127.0.0.1", service.port, timeout=20, context=context)
        ) as connection:
            assert status_of(connection, "/who") == 200
            at[0] = END + timedelta(seconds=1)
            assert status_of(connection, "/who") == 401
    realm.close()


def status_of(connection: http.client.HTTPConnection, path: str) -> int:
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    return response.status


@pytest.mark.parametrize("broken", ["certificates", "key", "client_ca"])
def test_files_that_are_none_are_told_of(world: World, tmp_path: Path, broken: str) -> None:
    (tmp_path / "garbage.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n")
    own = world.folder / "tls.pem"
    files: dict[str, Any] = {
        "certificates": own,
        "key": own,
        "client_ca": world.folder / "clients.pem",
    }
    for bad in (tmp_path / "garbage.pem", tmp_path / "absent.pem"):
        with pytest.raises(RealmError):
            context_of(Tls(**(files | {broken: bad})))


def test_what_a_certificate_says_of_its_holder(world: World) -> None:
    names = der.sequence(
        der.context(2, b"build.example", constructed=False),
        der.context(6, b"spiffe://example/build", constructed=False),
        der.context(1, b"build@example.org", constructed=False),
        der.context(2, b"other.example", constructed=False),
    )
    leaf = issue("b", issuer=world.clients, extensions=(("2.5.29.17", False, names),))
    found = identity_of(leaf.certificate)
    assert found.claims["dns"] == ("build.example", "other.example")
    assert found.claims["uri"] == ("spiffe://example/build",)
    assert found.claims["email"] == ("build@example.org",)
    assert found.claims["cn"] == ("b",)
    assert len(found.claims["sha256"][0]) == 64


def test_a_handshake_that_does_not_end_is_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signward.service.front.HANDSHAKE_SECONDS", 1.0)
    realm = Realm.open(world.folder)
    with (
        serving(realm, [Planted(everybody)], Callers(realm), tls=world.tls) as service,
        socket.create_connection(("127.0.0.1", service.port), timeout=20) as silent,
    ):
        began = time.monotonic()
        assert silent.recv(1) == b""
        assert time.monotonic() - began < 10
        assert ask(service, trusting(world), "/open").status == 200
    realm.close()


def test_a_connection_that_falls_silent_is_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signward.service.front.IDLE_SECONDS", 1.0)
    realm = Realm.open(world.folder)
    with serving(realm, [Planted(everybody)], Callers(realm), tls=world.tls) as service:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", service.port, timeout=20, context=trusting(world)
        )
        connection.request("GET", "/open")
        assert connection.getresponse().read() == b"hello"
        assert connection.sock.recv(1) == b""
        connection.close()
    realm.close()
