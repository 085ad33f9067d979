"""Errors as answers, the log, metrics, readiness, work that comes round."""

import http.client
import io
import json
import logging
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from litestar import get, post
from litestar.exceptions import TooManyRequestsException
from litestar.params import FromPath, JSONBody

from signward import errors
from signward.service.logs import Journal, masked
from signward.service.problems import problem_of
from signward.service.roles import Access, Task, load_role
from signward.verbs.authority.realm import Realm
from tests.builders.served_authority import founded
from tests.builders.service import PUBLIC, Planted, Running, bare_realm, serving

SAID = ("the thing", "one", "another")

RAISED: dict[str, tuple[Callable[[], Exception], int]] = {
    "denied": (lambda: errors.DeniedError(*SAID), 403),
    "conflict": (lambda: errors.ConflictError(*SAID), 409),
    "lint": (lambda: errors.LintError(*SAID, "RFC 5280 4.1"), 422),
    "refused": (lambda: errors.AuthorityError(*SAID, hint="try harder"), 422),
    "store": (lambda: errors.StoreError(*SAID), 503),
    "set-up": (lambda: errors.RealmError(*SAID), 503),
    "key": (lambda: errors.KeyProviderError(*SAID), 503),
    "not-signable": (lambda: errors.NotSignableError(*SAID), 422),
    "bad-input": (lambda: errors.MalformedError(*SAID, "RFC 2986 4"), 400),
    "too-large": (lambda: errors.LimitError(*SAID), 400),
    "extra": (lambda: errors.ExtraMissingError("x", "lxml", "xml"), 503),
    "evidence": (lambda: errors.EvidenceError("no CRL"), 400),
    "fetch": (lambda: errors.FetchError("https://inside.example/: gone"), 503),
    "often": (lambda: TooManyRequestsException(headers={"Retry-After": "7"}), 429),
    "bug": (lambda: ZeroDivisionError("secret detail 4711"), 500),
}


@get("/raise/{what:str}", opt=PUBLIC)
async def fail(what: FromPath[str]) -> None:
    """Raise an error."""
    error = RAISED[what][0]()
    raise error


@post("/typed", opt=PUBLIC)
async def typed(data: JSONBody[dict[str, int]]) -> dict[str, int]:
    """Take a table of numbers."""
    return data


@pytest.fixture
def realm(tmp_path: Path) -> Iterator[Realm]:
    with bare_realm(tmp_path) as opened:
        yield opened


@pytest.fixture
def running(realm: Realm) -> Iterator[Running]:
    with serving(realm, [Planted(fail, typed)]) as service:
        yield service


@pytest.mark.parametrize("what", RAISED)
def test_every_error_is_a_problem(running: Running, what: str) -> None:
    answer = running.ask("GET", f"/raise/{what}")
    assert answer.status == RAISED[what][1]
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json
    assert problem["status"] == answer.status
    assert problem["type"].startswith("urn:signward:problem:")
    assert problem["request"] == answer.headers["x-request-id"]
    assert "Traceback" not in answer.body.decode()
    if answer.status == 503:
        assert int(answer.headers["retry-after"]) > 0


def test_an_error_says_what_was_found_and_required(running: Running) -> None:
    problem = running.ask("GET", "/raise/lint").json
    assert problem["detail"] == "the thing: found one, required another (RFC 5280 4.1)"
    assert (problem["found"], problem["required"]) == ("one", "another")
    assert problem["clause"] == "RFC 5280 4.1"
    assert running.ask("GET", "/raise/refused").json["hint"] == "try harder"
    assert running.ask("GET", "/raise/bad-input").json["clause"] == "RFC 2986 4"


@pytest.mark.parametrize("what", ["bug", "set-up", "key", "fetch", "extra"])
def test_what_is_the_service_s_own_fault_is_for_its_log_only(running: Running, what: str) -> None:
    answer = running.ask("GET", f"/raise/{what}")
    assert not any(text in answer.body.decode() for text in ("4711", "inside", "the thing", "lxml"))
    (line,) = [line for line in running.log if line["event"] == "failed"]
    assert line["request"] == answer.headers["x-request-id"]
    assert type(RAISED[what][0]()).__name__ in line["trace"]


def test_every_error_of_the_package_has_a_status() -> None:
    def below(kind: type[Exception]) -> Iterator[type[Exception]]:
        for child in kind.__subclasses__():
            yield child
            yield from below(child)

    unmapped = {
        kind.__name__
        for kind in below(errors.SignwardError)
        if kind.__module__ == "signward.errors" and problem_of(kind.__new__(kind)).status == 500
    }
    # Verdicts are for the command line, and a path that cannot be read is a bug in a service.
    assert unmapped == {
        "NotAcceptedError",
        "RejectedError",
        "IndeterminateError",
        "UnreadableError",
    }


@pytest.mark.parametrize("body", [b"", b"{", b'{"a": "x"}', b"[1]", b"\xff", b'{"a": 1' * 5000])
def test_a_body_of_another_shape_is_a_problem(running: Running, body: bytes) -> None:
    answer = running.ask("POST", "/typed", body, headers={"Content-Type": "application/json"})
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/x", 404), ("PUT", "/typed", 405)])
def test_what_is_not_there_is_a_problem(
    running: Running, method: str, path: str, status: int
) -> None:
    answer = running.ask(method, path)
    assert (answer.status, answer.json["status"]) == (status, status)


def test_a_request_may_bring_its_number(running: Running) -> None:
    given = running.ask("GET", "/healthz", headers={"X-Request-Id": "proxy-12345678"})
    assert given.headers["x-request-id"] == "proxy-12345678"
    for bad in ("short", "x" * 65, 'quote"and}brace{', "new\tline-12345"):
        made = running.ask("GET", "/healthz", headers={"X-Request-Id": bad})
        assert len(made.headers["x-request-id"]) == 32


def test_the_log_has_who_and_what_and_no_secret(realm: Realm) -> None:
    token = "officer,hidden-token-4711"
    with serving(realm, [Planted(fail, typed)], log_all=True) as service:
        service.ask("GET", "/metrics?key=secret-query", roles=token)
        service.ask("GET", "/healthz", headers={"Cookie": "secret-cookie"})
        service.ask("POST", "/typed", b'{"secret-body": 1}', headers={"X-Secret": "secret-head"})
        log = service.log
    (metrics,) = [line for line in log if line.get("route") == "/metrics"]
    assert (metrics["status"], metrics["outcome"]) == (403, "refused")
    assert metrics["client"] == "127.0.0.1"
    assert {"at", "request", "method", "ms"} <= metrics.keys()
    assert "secret-" not in json.dumps(log)


def test_everyday_answers_are_counted_and_not_logged(running: Running) -> None:
    running.ask("GET", "/healthz")
    assert [line for line in running.log if line["event"] == "request"] == []
    metrics = running.ask("GET", "/metrics", roles=Access.OPERATOR).body.decode()
    assert 'signward_requests_total{method="GET",route="/healthz",status="200"} 1.0' in metrics
    assert 'signward_request_seconds_count{route="/healthz"} 1.0' in metrics
    assert running.log[-1]["by"] == "oidc:operator"


SECRETS = [
    "postgresql://signward:hunter2@db/x",
    "Authorization: Bearer hunter2hunter2",
    "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJodW50ZXIyIn0.hunter2",
    "password=hunter2 host=db",
    "PIN: hunter2",
    "-----BEGIN EC PRIVATE KEY-----\nhunter2\n-----END EC PRIVATE KEY-----",
]


@pytest.mark.parametrize("text", SECRETS)
def test_what_looks_like_a_secret_is_masked(text: str) -> None:
    assert "hunter2" not in masked(f"before {text} after")


def test_what_libraries_say_is_logged_in_our_form() -> None:
    stream = io.StringIO()
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        Journal(stream).hear()
        logging.getLogger("lib").warning("connecting to postgresql://u:hunter2@h/db")
        logging.getLogger("lib").info("nothing")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(True)
            warnings.warn("something odd", stacklevel=1)
    finally:
        logging.captureWarnings(False)
        root.handlers[:] = before
        root.setLevel(level)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["logger"] for line in lines] == ["lib", "py.warnings"]
    assert "hunter2" not in stream.getvalue()


class Failing(Planted):
    """A role that is ready only when it says so."""

    good = True

    def checks(self, realm: Realm) -> Mapping[str, Callable[[], object]]:
        return {"planted": self._check}

    def _check(self) -> None:
        if not self.good:
            raise errors.StoreError("the planted check", "bad", "good")


def test_readiness_follows_what_roles_check(realm: Realm) -> None:
    role = Failing()
    with serving(realm, [role]) as service:
        ready = service.ask("GET", "/readyz")
        assert ready.json == {
            "ready": True,
            "checks": {"database": "good", "clock": "good", "planted": "good"},
        }
        role.good = False
        not_ready = service.ask("GET", "/readyz")
        assert not_ready.status == 503
        assert not_ready.json["checks"]["planted"] == "failed"
        assert any(line["event"] == "not-ready" for line in service.log)


def test_a_database_that_is_gone_is_not_ready_but_alive(realm: Realm, tmp_path: Path) -> None:
    with serving(realm, []) as service:
        assert service.ask("GET", "/readyz").status == 200
        realm.store.close()
        for path in tmp_path.glob("signward.db*"):
            path.unlink()
        (tmp_path / "signward.db").mkdir()
        assert service.ask("GET", "/readyz").json["checks"]["database"] == "failed"
        assert service.ask("GET", "/healthz").status == 200


def test_a_clock_that_was_set_back_is_not_ready(tmp_path: Path) -> None:
    (tmp_path / "signward.toml").write_text('name = "Test"\nurl = "http://127.0.0.1"\n')
    at = [datetime(2026, 11, 23, 12, tzinfo=UTC)]
    realm = Realm.open(tmp_path, clock=lambda: at[0])
    with serving(realm, []) as service:
        for seconds, clock in ((10, "good"), (-5, "failed"), (4.5, "good"), (600, "good")):
            at[0] += timedelta(seconds=seconds)
            assert service.ask("GET", "/readyz").json["checks"]["clock"] == clock, seconds
    realm.close()


def test_a_key_that_cannot_be_opened_is_not_ready(tmp_path: Path) -> None:
    folder = founded(tmp_path / "data")
    realm = Realm.open(folder)
    with serving(realm, [load_role("tsa")]) as service:
        assert service.ask("GET", "/readyz").json["checks"]["keys"] == "good"
    realm.close()
    (folder / "keys" / "tsa.pem").unlink()
    realm = Realm.open(folder)
    stamping = Planted()  # the real role opens its key before it serves at all
    stamping.name = "tsa"
    with serving(realm, [stamping]) as service:
        answer = service.ask("GET", "/readyz")
        assert (answer.status, answer.json["checks"]["keys"]) == (503, "failed")
        assert "tsa.pem" in next(x["error"] for x in service.log if x["event"] == "not-ready")
        assert "tsa.pem" not in answer.body.decode()
    realm.close()


def test_work_comes_round_and_a_failure_does_not_end_it(realm: Realm) -> None:
    done = threading.Event()
    runs: list[int] = []

    def work() -> None:
        runs.append(len(runs))
        if len(runs) == 1:
            raise errors.StoreError(*SAID)
        if len(runs) == 2:
            raise ZeroDivisionError
        done.set()

    task = Task(name="planted", seconds=0.01, run=work)
    with serving(realm, [Planted(tasks=[task])]) as service:
        assert done.wait(30)
        time.sleep(0.05)
        metrics = service.ask("GET", "/metrics", roles=Access.OPERATOR).body.decode()
        assert 'signward_task_runs_total{outcome="failed",task="planted"} 2.0' in metrics
        assert [line["event"] for line in service.log].count("task-failed") == 2
    after = len(runs)
    time.sleep(0.1)
    assert len(runs) == after


def test_a_run_under_way_is_waited_for_when_the_service_stops(realm: Realm) -> None:
    begun, ended = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        time.sleep(0.5)
        ended.set()

    with serving(realm, [Planted(tasks=[Task(name="long", seconds=60, run=work)])]):
        assert begun.wait(30)
    assert ended.is_set()


def test_keep_alive_connections_are_reused(running: Running) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=20)
    for _ in range(5):
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b"alive\n"
        assert connection.sock is not None
    connection.close()
