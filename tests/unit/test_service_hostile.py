"""The service as an attacker sees it: odd methods and bodies, places taken and not given back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody

from signward.frozen import Frozen
from signward.service import health
from signward.service.roles import Access, Task
from signward.verbs.authority.realm import Realm
from tests.builders.service import PUBLIC, Answer, Planted, Running, bare_realm, serving


class Wanted(Frozen, frozen=True, kw_only=True):
    """What is asked for."""

    text: str


@post("/json", opt={"access": Access.OFFICER}, status_code=200)
async def read_json(data: JSONBody[Wanted]) -> str:
    """Give back a text."""
    return data.text


@get("/plain", opt=PUBLIC, media_type="text/plain")
async def plain() -> str:
    """Answer at once."""
    return "here"


@pytest.fixture
def realm(tmp_path: Path) -> Iterator[Realm]:
    with bare_realm(tmp_path) as opened:
        yield opened


@pytest.fixture
def running(realm: Realm) -> Iterator[Running]:
    with serving(realm, [Planted(read_json, plain)], log_all=True) as service:
        yield service


def sent(service: Running, body: bytes, kind: str = "application/json") -> Answer:
    heads = {"Content-Type": kind} if kind else {}
    return service.ask("POST", "/json", body, roles="officer", headers=heads)


# --- bodies -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "",
     "application/jsonp", "text/plain; application/json"],
)  # fmt: skip
def test_a_page_cannot_have_a_browser_send_an_order_as_text(running: Running, kind: str) -> None:
    """Those types cross origins without a question, with the user's client certificate."""
    answer = sent(running, b'{"text": "done"}', kind)
    assert answer.status == 415
    assert answer.json["type"] == "urn:signward:problem:unsupported-media-type"


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8"])
def test_json_that_calls_itself_so_is_read(running: Running, kind: str) -> None:
    assert sent(running, b'{"text": "done"}', kind).body == b"done"


@pytest.mark.parametrize(
    "body",
    [b"[" * 60_000, b'{"text":' + b'{"a":' * 10_000, b'{"text": "\xff"}', b'{"text": "\\ud800"}',
     b"\xef\xbb\xbf{}", b"\x00", b"1e999999", b'{"text": 1' + b"0" * 50_000 + b"}"],
)  # fmt: skip
def test_a_body_that_is_no_json_is_the_senders_fault(running: Running, body: bytes) -> None:
    answer = sent(running, body)
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert not [line for line in running.log if line["event"] == "failed"]


# --- methods ----------------------------------------------------------------------------------


def said(service: Running, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(request)
        return connection.recv(65536)


def test_made_up_methods_fill_neither_metrics_nor_the_log(running: Running) -> None:
    for number in range(20):
        method = b"X%d" % number + b"Y" * 5000
        head = said(running, method + b" /plain HTTP/1.1\r\nHost: x\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 405 ")
    figures = running.ask("GET", "/metrics", roles="operator").body
    assert figures.count(b'signward_requests_total{method="') <= 3
    assert b"XY" not in figures
    assert b'method="other"' in figures
    told = [line for line in running.log if line["event"] == "request"]
    assert {line["method"] for line in told} <= {"other", "GET"}


# --- places -----------------------------------------------------------------------------------


class Hanging:
    """A role whose check does not answer, and a handler that needs a thread."""

    name = "planted"
    help = "what a test needs"

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.asked = 0

    def routes(self, realm: Realm) -> list[HTTPRouteHandler]:
        @get("/work", opt=PUBLIC, media_type="text/plain", sync_to_thread=True)
        def work() -> str:
            """Work in a thread."""
            return "done"

        return [work]

    def tasks(self, realm: Realm) -> list[Task]:
        return []

    def checks(self, realm: Realm) -> dict[str, Any]:
        def hang() -> None:
            self.asked += 1
            assert self.go_on.wait(60)

        return {"hangs": hang}


def test_a_check_that_hangs_holds_one_thread_however_often_readiness_is_asked_for(
    realm: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "CHECK_SECONDS", 0.5)
    role = Hanging()
    with serving(realm, [role]) as service:
        try:
            with ThreadPoolExecutor(50) as pool:
                asked = [pool.submit(service.ask, "GET", "/readyz") for _ in range(50)]
                assert {one.result().status for one in asked} == {503}
            assert service.ask("GET", "/readyz").json["checks"] == {
                "database": "good", "clock": "good", "hangs": "failed"
            }  # fmt: skip
            assert service.ask("GET", "/work").body == b"done"
            assert role.asked == 1
        finally:
            role.go_on.set()
        assert service.ask("GET", "/readyz").status == 200
