"""What a request may cost, over real sockets: bodies, heads, time, places (issue 4, faults)."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from litestar import Request, get, post

from signward.service import gate, limits
from signward.service.roles import Access
from signward.verbs.authority.realm import Realm
from tests.builders.service import PUBLIC, Planted, Running, bare_realm, serving

TIMEOUT = 20.0


@post("/count", opt=PUBLIC, status_code=200)
async def count(request: Request[Any, Any, Any]) -> dict[str, int]:
    """Count the octets of the body."""
    return {"octets": len(await request.body())}


@post("/small", opt={"access": Access.PUBLIC, "max_body": 10}, status_code=200)
async def small(request: Request[Any, Any, Any]) -> dict[str, int]:
    """Count few."""
    return {"octets": len(await request.body())}


@post("/guarded", opt={"access": Access.ADMIN}, status_code=200)
async def guarded(request: Request[Any, Any, Any]) -> dict[str, int]:
    """Count for few."""
    return {"octets": len(await request.body())}


@get("/slow", opt=PUBLIC, media_type="text/plain")
async def slow() -> str:
    """Answer after a while."""
    await asyncio.sleep(1.5)
    return "late"


@get("/wait", opt={"access": Access.PUBLIC, "waits": True}, media_type="text/plain")
async def wait() -> str:
    """Hold the request."""
    await asyncio.sleep(1.5)
    return "held"


@pytest.fixture
def realm(tmp_path: Path) -> Iterator[Realm]:
    with bare_realm(tmp_path) as opened:
        yield opened


@pytest.fixture
def running(realm: Realm) -> Iterator[Running]:
    with serving(realm, [Planted(count, small, guarded, slow, wait)], log_all=True) as service:
        yield service


def connected(service: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), timeout=TIMEOUT)


def said(connection: socket.socket) -> bytes:
    """Return all that comes until the other side closes."""
    data = b""
    try:
        while part := connection.recv(65536):
            data += part
    except ConnectionResetError:
        pass
    return data


def raw(service: Running, request: bytes) -> bytes:
    with connected(service) as connection:
        with contextlib.suppress(OSError):  # it may have heard enough already
            connection.sendall(request)
        connection.settimeout(2.0)
        try:
            return connection.recv(65536)
        except (TimeoutError, ConnectionResetError):
            return b""


@pytest.mark.parametrize(("path", "most"), [("/count", limits.MAX_BODY), ("/small", 10)])
def test_a_body_may_have_as_much_as_its_route_takes(running: Running, path: str, most: int) -> None:
    assert running.ask("POST", path, b"x" * most).json == {"octets": most}
    refused = running.ask("POST", path, b"x" * (most + 1))
    assert refused.status == 413
    assert refused.json["type"] == "urn:signward:problem:request-entity-too-large"


def test_a_body_of_a_gigabyte_that_is_announced_is_refused_before_it_is_read(
    running: Running,
) -> None:
    with connected(running) as connection:
        connection.sendall(b"POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
        assert said(connection).startswith(b"HTTP/1.1 413 ")


def test_a_body_of_a_gigabyte_that_is_not_announced_is_cut_off_early(running: Running) -> None:
    sent = 0
    with connected(running) as connection:
        connection.sendall(b"POST /count HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        try:
            while sent < 1_000_000_000:
                connection.sendall(chunk)
                sent += 65536
        except (BrokenPipeError, ConnectionResetError):
            pass
    assert sent < 50_000_000  # what the system's buffers hold
    assert running.ask("GET", "/healthz").status == 200
    assert [line["status"] for line in running.log if line.get("route") == "/count"] == [413]


def test_a_body_that_trickles_in_has_one_deadline(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BODY_SECONDS", 1.0)
    began = time.monotonic()
    with connected(running) as connection:
        connection.sendall(b"POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        answer = b""
        connection.settimeout(0.2)
        while not answer and time.monotonic() - began < TIMEOUT:
            try:
                connection.sendall(b"x")
                answer = connection.recv(65536)
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert 0.9 < time.monotonic() - began < 5


def test_a_head_that_trickles_in_has_one_deadline(
    realm: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HEADER_SECONDS", 1)
    with serving(realm, []) as service, connected(service) as connection:
        began = time.monotonic()
        connection.sendall(b"GET /healthz HTTP/1.1\r\nX-Slow: ")
        try:
            while time.monotonic() - began < TIMEOUT:
                connection.sendall(b"x")
                time.sleep(0.2)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert time.monotonic() - began < 5
        assert service.ask("GET", "/healthz").status == 200


def test_whoever_may_not_is_told_before_the_body_is_read(running: Running) -> None:
    """The answer comes although the body that was announced does not."""
    answer = running.ask("POST", "/guarded", headers={"Content-Length": "50000"})
    assert answer.status == 401


MALFORMED = {
    "garbage": b"\x00\xff\x13 garbage\r\n\r\n",
    "no version": b"GET /healthz\r\n\r\n",
    "another version": b"GET /healthz HTTP/7.3\r\nHost: x\r\n\r\n",
    "tls": bytes.fromhex("16030102000100") + b"0" * 40,
    "length that is none": b"POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: ten\r\n\r\n",
    "negative length": b"POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
    b"Content-Length: 2\r\n\r\nxx",
    "chunks that are none": b"POST /count HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
    b"\r\nzz\r\nhello\r\n",
    "a body that ends early": b"POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx",
    "a name with a blank": b"GET /healthz HTTP/1.1\r\nHost: x\r\nBad Name: x\r\n\r\n",
    "a value with NUL": b"GET /healthz HTTP/1.1\r\nHost: x\r\nName: a\x00b\r\n\r\n",
    "a head of a megabyte": b"GET /healthz HTTP/1.1\r\nHost: x\r\nName: " + b"x" * 2**20,
    "a thousand heads": b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 1000 + b"\r\n",
    "a host that is none": b"GET /healthz HTTP/1.1\r\nHost: a b\\c\r\n\r\n",
    "a path of 100 kB": b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a path that is no UTF-8": b"GET /%ff%fe/%00 HTTP/1.1\r\nHost: x\r\n\r\n",
    "an unknown method": b"BREW /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "an asterisk": b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
    "no path": b"GET ?a=b HTTP/1.1\r\nHost: x\r\n\r\n",
    "a whole address": b"GET http://x HTTP/1.1\r\nHost: x\r\n\r\n",
    "a tunnel": b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    "an upgrade": b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n",
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_request_harms_nobody(running: Running, what: str) -> None:
    answer = raw(running, MALFORMED[what])
    allowed = (b"", b"2") if what == "an upgrade" else (b"", b"4")  # upgrades may be ignored
    assert answer[9:10] in allowed, answer[:200]
    assert running.ask("GET", "/healthz").status == 200


def test_a_client_that_leaves_in_the_middle_harms_nobody(running: Running) -> None:
    for request in (b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n", MALFORMED["a body that ends early"]):
        with connected(running) as connection:
            connection.sendall(request)
            time.sleep(0.1)
    assert running.ask("GET", "/healthz").status == 200
    deadline = time.monotonic() + TIMEOUT
    while running.gate.under_way:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [line for line in running.log if line["event"] == "failed"] == []


def test_two_lengths_that_differ_are_never_two_requests(running: Running) -> None:
    """Neither reader may see a request that the other takes for a body (request smuggling)."""
    inner = b"GET /small HTTP/1.1\r\nHost: x\r\n\r\n"
    both = (
        b"POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % (5 + len(inner))
    ) + inner
    raw(running, both)
    time.sleep(0.5)  # for the second one, were it taken for a request
    assert running.ask("GET", "/healthz").status == 200
    assert [line["route"] for line in running.log if line["event"] == "request"].count(
        "/small"
    ) == 0


def test_too_many_at_once_are_told_to_come_back(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "MAX_REQUESTS", 3)
    with ThreadPoolExecutor(3) as pool:
        held = [pool.submit(running.ask, "GET", "/slow") for _ in range(3)]
        wait_until(running, 3)
        refused = running.ask("GET", "/healthz")
        assert refused.status == 503
        assert int(refused.headers["retry-after"]) > 0
        assert refused.json["type"] == "urn:signward:problem:busy"
        assert [one.result().body for one in held] == [b"late"] * 3
    assert running.ask("GET", "/healthz").status == 200
    assert (
        'signward_refused_total{why="busy"} 1.0'
        in running.ask("GET", "/metrics", roles="operator").body.decode()
    )


def test_those_that_wait_take_nobody_else_s_place(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "MAX_REQUESTS", 1)
    monkeypatch.setattr(gate, "MAX_WAITING", 3)
    with ThreadPoolExecutor(3) as pool:
        held = []
        for many in (1, 2, 3):  # one after the other: each is counted once it is routed
            held.append(pool.submit(running.ask, "GET", "/wait"))
            wait_until(running, many)
        refused = running.ask("GET", "/wait")
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        assert running.ask("GET", "/healthz").status == 200
        assert [one.result().body for one in held] == [b"held"] * 3
    assert running.ask("GET", "/wait").status == 200


def wait_until(running: Running, many: int) -> None:
    """Wait until so many requests are under way."""
    deadline = time.monotonic() + TIMEOUT
    while running.gate.under_way < many:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_silent_connections_keep_nobody_out(realm: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than there are places for: the deadline of their heads frees the places."""
    monkeypatch.setattr(limits, "MAX_CONNECTIONS", 20)
    monkeypatch.setattr(limits, "HEADER_SECONDS", 1)
    with serving(realm, []) as service:
        silent = [connected(service) for _ in range(50)]
        began = time.monotonic()
        assert service.ask("GET", "/healthz").status == 200
        assert time.monotonic() - began < 10
        for connection in silent:
            connection.close()


def test_a_flood_of_connections_is_survived(running: Running) -> None:
    ended = threading.Event()

    def flood() -> None:
        while not ended.is_set():
            for connection in [connected(running) for _ in range(50)]:
                connection.close()

    with ThreadPoolExecutor(2) as pool:
        floods = [pool.submit(flood) for _ in range(2)]
        answers = [running.ask("GET", "/healthz").status for _ in range(50)]
        ended.set()
        for one in floods:
            one.result()
    assert answers == [200] * 50
