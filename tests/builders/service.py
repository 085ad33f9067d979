"""A service that runs: the real application on a real HTTP server, in a thread of this process.

Who calls is said by a bearer token that names roles: ``Bearer officer,auditor`` is somebody
with those two.  The real ways to say who calls have tests of their own.
"""

from __future__ import annotations

import http.client
import io
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import uvloop
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import HTTPRouteHandler

from signward.authority.access import Identity
from signward.service.app import build
from signward.service.front import Tls
from signward.service.gate import Gate
from signward.service.listen import Reservation, read
from signward.service.logs import Journal
from signward.service.roles import Access, Role, Task
from signward.service.run import Process
from signward.verbs.authority.realm import Realm


class RolesByToken:
    """A doorkeeper that believes everything."""

    async def identify(self, connection: Any) -> Identity | None:
        scheme, _, token = connection.headers.get("authorization", "").partition(" ")
        if not token:
            return None
        if scheme != "Bearer":
            raise NotAuthorizedException("another scheme")
        claims = {"roles": tuple(token.split(","))}
        return Identity(kind="oidc", subject=token, issuer="https://tests.example", claims=claims)

    def roles_of(self, identity: Identity) -> frozenset[str]:
        return frozenset(identity.claims["roles"])


class Answer(NamedTuple):
    """What came back; header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@contextmanager
def bare_realm(folder: Path) -> Iterator[Realm]:
    """Give the realm of an authority that has neither keys nor roles."""
    (folder / "signward.toml").write_text('name = "Test"\nurl = "http://127.0.0.1"\n')
    opened = Realm.open(folder)
    try:
        yield opened
    finally:
        opened.close()


class Planted:
    """A role with these routes and tasks, and nothing else."""

    name = "planted"
    help = "what a test needs"

    def __init__(self, *routes: HTTPRouteHandler, tasks: Sequence[Task] = ()) -> None:
        self._routes, self._tasks = routes, tasks

    def routes(self, realm: Realm) -> Sequence[HTTPRouteHandler]:
        return self._routes

    def tasks(self, realm: Realm) -> Sequence[Task]:
        return self._tasks


PUBLIC = {"access": Access.PUBLIC}


class Running:
    """A running service: ``url``, and a client for it."""

    def __init__(self, port: int, log: io.StringIO, gate: Gate) -> None:
        self.port, self._log, self.gate = port, log, gate
        self.url = f"http://127.0.0.1:{port}"

    @property
    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.getvalue().splitlines()]

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        roles: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request as somebody with ``roles``; nobody without."""
        sent = {"Authorization": f"Bearer {roles}"} if roles else {}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body=body, headers={**sent, **(headers or {})})
            response = connection.getresponse()
            heads = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, heads, response.read())
        finally:
            connection.close()


@contextmanager
def serving(
    realm: Realm,
    roles: Sequence[Role],
    doorkeeper: Any = None,
    *,
    log_all: bool = False,
    tls: Tls | None = None,
) -> Iterator[Running]:
    """Serve ``roles`` of ``realm`` on a port of its own."""
    log = io.StringIO()
    journal = Journal(log)
    service = build(realm, roles, doorkeeper or RolesByToken(), journal, log_all=log_all)
    reservation = Reservation(read("127.0.0.1:0", tls))
    loop = uvloop.new_event_loop()
    ready = threading.Event()
    held: list[Process] = []
    failed: list[Exception] = []

    async def main() -> None:
        held.append(Process(service, reservation.listen, journal))
        await held[0].serve(ready.set)

    def run() -> None:
        try:
            loop.run_until_complete(main())
        except Exception as error:  # noqa: BLE001 - told where it is waited for
            failed.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait(30)
    try:
        if failed:
            raise failed[0]
        yield Running(reservation.listen.port, log, service.application)
    finally:
        if held and thread.is_alive():
            loop.call_soon_threadsafe(held[0].stop)
        thread.join(60)
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        reservation.release()
