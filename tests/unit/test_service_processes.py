"""``signward serve`` as it is run: real processes, real sockets, real signals."""

import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from signward import cli
from signward.errors import RealmError
from signward.service.listen import Reservation, read
from signward.service.roles import role_names
from signward.verbs.authority.realm import Realm
from signward.wire import der
from signward.wire.algorithms import DIGEST_OIDS
from tests.builders.processes import START, serve_command, served
from tests.builders.served_authority import founded


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "signward.toml").write_text('name = "Test"\nurl = "http://127.0.0.1"\n')
    return tmp_path


def failed(data: Path, *options: str) -> tuple[int, str]:
    done = subprocess.run(
        serve_command(data, *options), capture_output=True, text=True, timeout=START
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_serves_until_a_signal_and_ends_in_order(data: Path, number: int) -> None:
    with served(data) as service:
        status, body = service.get("/readyz")
        assert (status, json.loads(body)) == (
            200,
            {"ready": True, "checks": {"database": "good", "clock": "good"}},
        )
        assert service.get("/healthz") == (200, b"alive\n")
        code, log = service.stop(number)
    assert code == 0
    assert [line["event"] for line in log if line["event"] != "request"] == [
        "serving", "stopping", "stopped",
    ]  # fmt: skip


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_stop_under_load_loses_no_answer(data: Path, workers: str) -> None:
    """Whoever was connected and had asked is answered; afterwards nobody is."""
    with served(data, "--workers", workers) as service:
        outcomes: list[str] = []
        threads = [threading.Thread(target=load, args=(service.port, outcomes)) for _ in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(1.5)
        code, _ = service.stop()
        for thread in threads:
            thread.join(START)
    assert code == 0
    assert outcomes.count("answered") > 100
    assert set(outcomes) <= {"answered", "refused"}, {o: outcomes.count(o) for o in outcomes}


def load(port: int, outcomes: list[str]) -> None:
    """Ask on new connections until nobody accepts them any more; write down how each went."""
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", port), timeout=START)
        except OSError:
            outcomes.append("refused")
            return
        with connection:
            try:
                connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                answer = b""
                while part := connection.recv(65536):
                    answer += part
            except ConnectionResetError:  # accepted by the system, never by the service
                answer = b""
            if not answer:
                outcomes.append("refused")
                return
            whole = answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"}")
            outcomes.append("answered" if whole else f"cut: {answer[-80:]!r}")


def test_what_was_answered_before_a_stop_is_in_the_log(tmp_path: Path) -> None:
    """A timestamp whose token reached a client has its entry, whatever the stop cut short."""
    folder = founded(tmp_path / "data")
    before = logged(folder)
    with served(folder, "--role", "tsa") as service:
        tokens: list[bytes] = []
        threads = [threading.Thread(target=stamp, args=(service.port, tokens)) for _ in range(6)]
        for thread in threads:
            thread.start()
        time.sleep(1.5)
        code, _ = service.stop()
        for thread in threads:
            thread.join(START)
    assert code == 0
    assert len(tokens) > 20
    assert logged(folder) - before >= len(tokens)


TST_INFO = der.oid("1.2.840.113549.1.9.16.1.4")
"""Stands in a token, and not in a refusal."""


def stamp(port: int, tokens: list[bytes]) -> None:
    """Ask for timestamps until nobody answers."""
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START)
        try:
            connection.request("POST", "/tsa", body=query())
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            return
        finally:
            connection.close()
        if response.status == 200 and TST_INFO in body:
            tokens.append(body)


def query() -> bytes:
    """Return a timestamp query: SHA-256, no nonce."""
    algorithm = der.sequence(der.oid(DIGEST_OIDS["sha256"]), der.null())
    imprint = der.sequence(algorithm, der.octet_string(bytes(32)))
    return der.sequence(der.integer(1), imprint)


def logged(folder: Path) -> int:
    """Return the number of entries in the log."""
    realm = Realm.open(folder)
    try:
        return realm.store.append().result(START).size
    finally:
        realm.close()


def test_several_processes_share_an_address_and_their_metrics(data: Path) -> None:
    with served(data, "--workers", "2", "--log-all") as service:
        for _ in range(40):
            assert service.get("/healthz")[0] == 200
        code, log = service.stop()
    assert code == 0
    assert len({line["process"] for line in log if line["event"] == "serving"}) == 2
    assert sum(line["event"] == "request" for line in log) == 40


def test_a_process_that_dies_ends_the_others(data: Path) -> None:
    with served(data, "--workers", "2") as service:
        children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children")
        workers = [int(pid) for pid in children.read_text().split() if is_worker(int(pid))]
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        assert service.process.wait(START) == 1
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def is_worker(pid: int) -> bool:
    return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_workers_do_not_outlive_a_parent_that_is_killed(data: Path) -> None:
    with served(data, "--workers", "2") as service:
        children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children")
        workers = [int(pid) for pid in children.read_text().split() if is_worker(int(pid))]
        service.process.kill()
        deadline = time.monotonic() + START
        while any(Path(f"/proc/{pid}").exists() and is_worker(pid) for pid in workers):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_an_address_in_use_is_told_of(data: Path) -> None:
    with served(data) as service:
        code, said = failed(data, "--listen", f"127.0.0.1:{service.port}")
    assert code == 2
    assert "Address already in use" in said


REFUSED = [
    (["--listen", "0.0.0.0:0"], "which others reach, without TLS"),
    (["--listen", "[::]:0"], "which others reach, without TLS"),
    (["--listen", "192.0.2.1:0"], "which others reach, without TLS"),
    (["--listen", "example.org:80"], "required an IP address"),
    (["--listen", "8650"], "required HOST:PORT"),
    (["--listen", "127.0.0.1:99999"], "required HOST:PORT"),
    (["--role", "barista"], "required one of"),
    (["--role", "tsa"], "--role tsa: found nothing set up"),
    (["--database", "mysql://x/y"], "required sqlite"),
    (["--tls-certificate", "/absent.pem"], "No such file"),
]


@pytest.mark.parametrize(("options", "said"), REFUSED, ids=[" ".join(o) for o, _ in REFUSED])
def test_it_does_not_start_with(
    data: Path, options: Sequence[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["serve", "--data", str(data), "--listen", "127.0.0.1:0", *options]
    assert cli.main(words) == 2
    assert said in capsys.readouterr().err


def test_without_an_authority_it_says_how_to_make_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["serve", "--data", str(tmp_path / "absent"), "--listen", "127.0.0.1:0"]
    assert cli.main(words) == 2
    assert "signward ca init" in capsys.readouterr().err


def test_settings_with_an_unknown_role_are_refused(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (data / "signward.toml").open("a") as file:
        file.write('[access.identities.a]\nkind = "local"\nsubject = "a"\n')
        file.write('[access.roles]\nofficier = ["a"]\n')
    assert cli.main(["serve", "--data", str(data), "--listen", "127.0.0.1:0"]) == 2
    assert "officier" in capsys.readouterr().err


def test_a_proxy_may_end_tls() -> None:
    assert read("0.0.0.0:0", None, behind_proxy=True).host == "0.0.0.0"


def test_ipv6_is_served_too(data: Path) -> None:
    try:
        Reservation(read("[::1]:0", None)).release()
    except RealmError:
        pytest.skip("no IPv6 here")
    with served(data, "--listen", "[::1]:0") as service:
        connection = http.client.HTTPConnection("::1", service.port, timeout=START)
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
        connection.close()


def test_systemd_is_told_when_requests_are_answered(data: Path, tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(address)
        notified.settimeout(START)
        with served(data, environment={"NOTIFY_SOCKET": address}) as service:
            assert notified.recv(100) == b"READY=1"
            assert service.get("/healthz")[0] == 200


def test_the_help_names_every_role(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["serve", "--help"])
    text = capsys.readouterr().out
    assert all(name in text for name in role_names())


def test_silent_connections_leave_files_for_everybody_else(data: Path) -> None:
    """Shells begin with 1,024 open files: here with fewer, and more connections than those."""
    few = ("sh", "-c", 'ulimit -Sn 128; exec "$@"', "sh")
    with served(data, before=few) as service:
        address = ("127.0.0.1", service.port)
        silent = [socket.create_connection(address, timeout=START) for _ in range(200)]
        status, body = service.get("/readyz")
        for one in silent:
            one.close()
        assert (status, json.loads(body)["ready"]) == (200, True)
