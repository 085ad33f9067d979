"""The lane past the router: what it answers, and that nothing passes by bounds, counts and log."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar import Request, post

from signward.errors import StoreError
from signward.service import limits
from signward.service.express import Head
from signward.service.handback import Handback
from signward.service.roles import Access
from signward.verbs.authority import batches
from signward.verbs.authority.batches import Batches
from signward.verbs.authority.realm import Realm
from tests.builders.service import Planted, Running, serving

TIMEOUT = 20.0
MOST = 100_000
HEAD = Head({"Content-Type": "text/x-count", "Cache-Control": "no-store"})


async def counted(body: bytes) -> Any:
    """Count the octets of a body; fail where it says so."""
    if body == b"store":
        raise StoreError("the database", "a full disk", "room")
    if body == b"fault":
        raise ZeroDivisionError("a secret")
    return HEAD.response(b"%d" % len(body))


@post("/lane", opt={"access": Access.PUBLIC, "max_body": MOST, "express": counted})
async def lane(request: Request[Any, Any, Any]) -> str:
    """Be passed by."""
    raise AssertionError("routed")


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    (tmp_path / "signward.toml").write_text('name = "Test"\nurl = "http://127.0.0.1"\n')
    realm = Realm.open(tmp_path)
    with serving(realm, [Planted(lane)], log_all=True) as service:
        yield service
    realm.close()


def test_what_is_posted_passes_the_router_by(running: Running) -> None:
    answer = running.ask("POST", "/lane", b"12345")
    assert (answer.status, answer.body) == (200, b"5")
    assert answer.headers["content-type"] == "text/x-count"
    assert answer.headers["content-length"] == "1"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-request-id"]
    metrics = running.ask("GET", "/metrics", roles="operator").body.decode()
    assert 'signward_requests_total{method="POST",route="/lane",status="200"} 1.0' in metrics
    (line,) = [line for line in running.log if line.get("route") == "/lane"]
    assert line["status"] == 200


@pytest.mark.parametrize(("method", "path"), [("GET", "/lane"), ("POST", "/lane/x"), ("POST", "/")])
def test_the_rest_goes_the_usual_way(running: Running, method: str, path: str) -> None:
    assert running.ask(method, path).status in (404, 405)


def test_a_body_in_pieces_is_one(running: Running) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=TIMEOUT)
    pieces = [b"x" * 30_000] * 3
    connection.request("POST", "/lane", body=iter(pieces), encode_chunked=True)
    assert connection.getresponse().read() == b"90000"
    connection.close()


def test_a_body_is_bounded_as_on_its_route(running: Running) -> None:
    assert running.ask("POST", "/lane", b"x" * MOST).body == b"100000"
    refused = running.ask("POST", "/lane", b"x" * (MOST + 1))
    assert refused.status == 413
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json["type"] == "urn:signward:problem:request-entity-too-large"


def test_a_gigabyte_that_is_not_announced_is_cut_off_early(running: Running) -> None:
    sent = 0
    with socket.create_connection(("127.0.0.1", running.port), timeout=TIMEOUT) as connection:
        connection.sendall(b"POST /lane HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while sent < 1_000_000_000:
                connection.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                sent += 65536
    assert sent < 50_000_000  # what the system's buffers hold
    assert running.ask("POST", "/lane", b"x").status == 200
    assert [line["status"] for line in running.log if line.get("route") == "/lane"] == [413, 200]


def test_a_body_that_does_not_end_has_one_deadline(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.5)
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", running.port), timeout=TIMEOUT) as connection:
        connection.sendall(b"POST /lane HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx")
        assert connection.recv(65536).startswith(b"HTTP/1.1 408 ")
    assert 0.4 < time.monotonic() - began < 5


def test_a_client_that_leaves_in_the_middle_harms_nobody(running: Running) -> None:
    with socket.create_connection(("127.0.0.1", running.port), timeout=TIMEOUT) as connection:
        connection.sendall(b"POST /lane HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx")
    assert running.ask("POST", "/lane", b"x").status == 200
    assert not [line for line in running.log if line["event"] == "failed"]


def test_errors_are_told_as_everywhere(running: Running) -> None:
    store = running.ask("POST", "/lane", b"store")
    assert (store.status, store.json["found"]) == (503, "a full disk")
    assert store.headers["retry-after"]
    fault = running.ask("POST", "/lane", b"fault")
    assert fault.status == 500
    assert b"secret" not in fault.body
    failed = [line for line in running.log if line["event"] == "failed"]
    assert [line["error"] for line in failed] == ["StoreError", "ZeroDivisionError"]
    assert failed[1]["request"] == fault.json["request"]


# --- answers made elsewhere -----------------------------------------------------------------------


def test_many_answers_wake_the_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wakes: list[object] = []

    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        wake = loop.call_soon_threadsafe

        def counted(*call: Any) -> object:
            wakes.append(call)
            return wake(*call)

        monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
        handback: Handback[int] = Handback()
        tellers: list[Callable[[int], None]] = []
        tasks = [asyncio.create_task(handback.made(tellers.append)) for _ in range(5)]
        await asyncio.sleep(0)
        tasks[3].cancel()
        thread = threading.Thread(target=lambda: [tell(n) for n, tell in enumerate(tellers)])
        thread.start()
        thread.join()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(done[3], asyncio.CancelledError)
        return [one for one in done if isinstance(one, int)]

    assert asyncio.run(main()) == [0, 1, 2, 4]
    assert len(wakes) == 1


def test_an_answer_after_the_end_is_nobody_s() -> None:
    tellers: list[Callable[[int], None]] = []

    async def main() -> None:
        task = asyncio.create_task(Handback[int]().made(tellers.append))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(main())
    tellers[0](1)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_piece_is_worked_on_once_and_few_at_a_time(threads: int) -> None:
    worked: list[list[int]] = []
    at_once: Counter[str] = Counter()

    def work(batch: Any) -> None:
        at_once[threading.current_thread().name] += 1
        time.sleep(0.001)
        worked.append(list(batch))

    made: Batches[int] = Batches(work, threads, "testing")
    for piece in range(500):
        made.give(piece)
    made.close()
    assert sorted(piece for batch in worked for piece in batch) == list(range(500))
    assert max(map(len, worked)) <= batches.MAX_BATCH
    assert len(worked) < 500
    assert len(at_once) <= threads


def test_a_thread_that_was_idle_works_again() -> None:
    worked: list[int] = []
    made: Batches[int] = Batches(worked.extend, 2, "testing")
    for piece in range(5):
        made.give(piece)
        deadline = time.monotonic() + TIMEOUT
        while len(worked) <= piece and time.monotonic() < deadline:
            time.sleep(0.001)
    made.close()
    assert worked == [0, 1, 2, 3, 4]
