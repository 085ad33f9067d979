"""Serving: start, serve until told to stop, answer what is under way, and end.

One process serves everything on one event loop, with Granian's server embedded in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from signward.errors import AuthorityError, RealmError
from signward.service import limits
from signward.service.front import Front
from signward.service.listen import Listen
from signward.service.logs import Journal
from signward.service.tasks import Rounds

if TYPE_CHECKING:
    from signward.service.app import Service

START_SECONDS = 10.0
"""For the server to accept its first connection."""

RENEWAL_SECONDS = 30.0
"""How often TLS looks whether its files have changed."""

_POLL_SECONDS = 0.02


class Process:
    """One process's serving: the HTTP server, TLS before it if there is any, tasks."""

    def __init__(self, service: Service, listen: Listen, journal: Journal) -> None:
        self._service, self._listen, self._journal = service, listen, journal
        self._stopping = asyncio.Event()
        self._rounds = Rounds(service.tasks, journal, service.metrics)

    def stop(self) -> None:
        """Accept nothing further, finish what is under way, end."""
        self._stopping.set()

    async def serve(self, ready: Callable[[], None]) -> bool:
        """Serve until `stop`; say whether everything under way was answered in time."""
        pool = ThreadPoolExecutor(limits.THREADS, thread_name_prefix="service")
        asyncio.get_running_loop().set_default_executor(pool)
        with tempfile.TemporaryDirectory(prefix="signward-") as folder:
            tls = self._listen.tls
            front = Front(tls, Path(folder), self._journal) if tls else None
            server = self._server(front)
            serving = asyncio.create_task(server.serve())
            await _accepting(serving, front.private if front else self._listen)
            if front:
                await front.start(self._listen.listening())
            with _background(_renew(front, self._journal)):
                self._rounds.start()
                ready()
                await _first(serving, self._stopping.wait())
                return await self._end(server, serving, front)

    def _server(self, front: Front | None) -> Server:
        """Return Granian, on the address itself or on a private socket behind TLS."""
        application: Any = self._service.application
        where: dict[str, Any] = {"address": self._listen.host, "port": self._listen.port}
        if front:
            application, where = front.application(application), {"uds": front.private}
        return Server(
            application,
            **where,
            interface=Interfaces.ASGI,
            http=HTTPModes.http1,
            websockets=False,
            backlog=limits.MAX_CONNECTIONS,
            backpressure=limits.MAX_CONNECTIONS,
            http1_settings=HTTP1Settings(
                header_read_timeout=limits.HEADER_SECONDS * 1000,
                max_buffer_size=limits.MAX_HEAD,
            ),
            log_enabled=False,
        )

    async def _end(self, server: Server, serving: asyncio.Task[None], front: Front | None) -> bool:
        self._journal.write("stopping")
        if front:
            front.stop()
        server.stop()  # type: ignore[no-untyped-call]
        endings: list[asyncio.Task[None]] = [serving, asyncio.create_task(self._rounds.stop())]
        if front:
            endings.append(asyncio.create_task(front.drain()))
        _, left = await asyncio.wait(endings, timeout=limits.STOP_SECONDS)
        if front:
            front.cut()
        self._journal.write("cut" if left else "stopped")
        return not left


async def _accepting(serving: asyncio.Task[None], where: Path | Listen) -> None:
    """Wait until the server accepts connections.  Raises ``RealmError``."""
    deadline = asyncio.get_running_loop().time() + START_SECONDS
    while not serving.done() and asyncio.get_running_loop().time() < deadline:
        with contextlib.suppress(OSError):
            if isinstance(where, Path):
                _, writer = await asyncio.open_unix_connection(where)
            else:
                _, writer = await asyncio.open_connection(_reachable(where.host), where.port)
            writer.close()
            return
        await asyncio.sleep(_POLL_SECONDS)
    raise RealmError("the HTTP server", "no start", f"one within {START_SECONDS:.0f} seconds")


def _reachable(host: str) -> str:
    """Return where a socket bound to ``host`` is reached from this machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared only


async def _first(*either: Any) -> None:
    """Wait until one of several is done."""
    tasks = [asyncio.ensure_future(one) for one in either]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


@contextlib.contextmanager
def _background(work: Any) -> Any:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()


async def _renew(front: Front | None, journal: Journal) -> None:
    while front:
        await asyncio.sleep(RENEWAL_SECONDS)
        try:
            await front.renew()
        except AuthorityError as error:  # what was there stays in use
            journal.write("tls-not-renewed", error=str(error))
