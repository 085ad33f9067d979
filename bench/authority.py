"""The authority measured over HTTP: OCSP against OpenSSL's responder, the TSA against bare RSA.

Load comes from C programs that take a fraction of what they load: wrk for us, ab for OpenSSL's
responder, which answers one connection after the other and hangs after one without a request
(wrk begins with such a one).  Servers are processes of their own; OpenSSL's listens on every
address, it has no option for one.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from conformance.authenticode.pki import issue
from tests.builders.realm import AUTHORITY, delegate, issuing, make_realm, register

from bench.measure import REPOSITORY, NotMeasuredError, Row, medians, tool
from bench.signing import raw_rate
from signward.trust import ocsp
from signward.trust.x509 import load_certificate
from signward.wire import der
from signward.wire.algorithms import DIGEST_OIDS

_TICKS = os.sysconf("SC_CLK_TCK")

SECONDS = 2
"""Of load in one round."""
OCSP_CLIENTS = 16
"""Connections that ask for OCSP answers, each one at a time."""
PEER_REQUESTS = 1000
"""Requests to OpenSSL's responder in one round."""
TSA_CLIENTS = 64
"""Connections that ask for timestamps: some wait for the disk while others' are signed."""
START_SECONDS = 30.0

_SERIAL_DIGITS = 16


def answers(rounds: int) -> list[Row]:
    """Compare kept OCSP answers with what ``openssl ocsp`` answers, and TSA with raw signing."""
    tool("wrk")
    tool("ab")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        question = _prepared(folder)
        with _openssl_responder(folder) as peer, _service(folder / "realm") as service:
            return [*_ocsp(rounds, service, peer, question), *_tsa(rounds, service, folder)]


def _prepared(folder: Path) -> str:
    """Write a realm and OpenSSL's files about one certificate; return the question as a path."""
    leaf = issue("Bench Publisher", issuer=issuing())
    (folder / "realm").mkdir()
    realm = make_realm(folder / "realm")
    register(realm, [leaf])
    realm.close()
    (folder / "ca.pem").write_bytes(issuing().pem)
    (folder / "ocsp.pem").write_bytes(delegate().pem)
    (folder / "ocsp.key").write_bytes(delegate().key.pem)
    digits = f"{leaf.serial:X}".rjust(_SERIAL_DIGITS, "0")
    (folder / "index").write_text(f"V\t291231235959Z\t\t{digits}\tunknown\t/CN=leaf\n")
    asked = ocsp.request(
        load_certificate(leaf.certificate), load_certificate(issuing().certificate)
    )
    return quote(base64.b64encode(asked).decode(), safe="")


class _Server(NamedTuple):
    """A server under load: its address and its process."""

    url: str
    process: int

    def processor(self) -> float:
        """Return the seconds of processor time it has used."""
        fields = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


class _Load(NamedTuple):
    """Answers a second, and seconds of the server's processor time for each."""

    rate: float
    each: float


def _median(loads: Sequence[_Load]) -> _Load:
    """Return the medians, without the round that warms up."""
    return _Load(*map(statistics.median, zip(*loads[1:], strict=True)))


def _ocsp(rounds: int, service: _Server, peer: _Server, question: str) -> list[Row]:
    ours: list[_Load] = []
    theirs: list[_Load] = []
    medians(
        rounds,
        lambda: ours.append(_load(service, f"/ocsp/{AUTHORITY}/{question}", OCSP_CLIENTS)),
        lambda: theirs.append(_load_singly(peer, question)),
    )
    own, other = _median(ours), _median(theirs)
    figure = (
        f"{own.rate / other.rate:.1f}x ({own.rate:.0f} and {other.rate:.0f} answers/s); in"
        f" processor time {other.each / own.each:.1f}x ({1e6 * own.each:.0f} and"
        f" {1e6 * other.each:.0f} us each)"
    )
    how = (
        f"GET, {SECONDS} s in each round; one process of signward serve, {OCSP_CLIENTS} kept"
        " connections (wrk); openssl ocsp -port, a connection each (ab), as it serves no other way;"
        f" load {os.getloadavg()[0]:.1f}"
    )
    return [Row("cached OCSP answers, ratio to openssl ocsp", figure, ">= 10x", how)]


def _tsa(rounds: int, service: _Server, folder: Path) -> list[Row]:
    ours: list[_Load] = []
    raw: list[float] = []
    script = folder / "query.lua"
    script.write_text(_posting(_query()))
    medians(
        rounds,
        lambda: ours.append(_load(service, "/tsa", TSA_CLIENTS, "-s", str(script))),
        lambda: raw.append(raw_rate()),
    )
    own, signatures = _median(ours), statistics.median(raw[1:])
    figure = (
        f"{own.rate / signatures:.2f} ({own.rate:.0f} of {signatures:.0f} a second); in processor"
        f" time {1 / signatures / own.each:.2f} ({1e6 * own.each:.0f} us each)"
    )
    how = (
        f"POST, {TSA_CLIENTS} connections, {SECONDS} s of wrk; every token has a durable log entry;"
        f" openssl on one core of {os.cpu_count()}, RSA-2048 both; load {os.getloadavg()[0]:.1f}"
    )
    return [Row("timestamps over HTTP, share of openssl speed rsa2048", figure, ">= 0.7", how)]


def _query() -> bytes:
    """Return a timestamp query as clients send it: SHA-256, nonce, certificates wanted."""
    algorithm = der.sequence(der.oid(DIGEST_OIDS["sha256"]), der.null())
    imprint = der.sequence(algorithm, der.octet_string(hashlib.sha256(b"bench").digest()))
    wanted = der.boolean(True)  # noqa: FBT003 - certReq
    return der.sequence(der.integer(1), imprint, der.integer(1 << 62), wanted)


def _posting(body: bytes) -> str:
    """Return wrk's script for posting ``body``; Lua takes octets as decimal escapes."""
    octets = "".join(f"\\{octet:03d}" for octet in body)
    return (
        f'wrk.method = "POST"\nwrk.body = "{octets}"\n'
        'wrk.headers["Content-Type"] = "application/timestamp-query"\n'
    )


def _load(server: _Server, path: str, clients: int, *options: str) -> _Load:
    """Load a server for some seconds."""
    before = server.processor()
    command = [tool("wrk"), "-t1", f"-c{clients}", f"-d{SECONDS}s", *options, server.url + path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    if "Non-2xx" in done.stdout:
        raise NotMeasuredError(f"{path[:60]} answered with errors")
    count = re.search(r"^\s*(\d+) requests in", done.stdout, re.MULTILINE)
    rate = re.search(r"^Requests/sec:\s+([\d.]+)", done.stdout, re.MULTILINE)
    if not count or not rate or not int(count[1]):
        raise NotMeasuredError(f"wrk counted nothing: {done.stdout[-200:]}")
    return _Load(float(rate[1]), (server.processor() - before) / int(count[1]))


def _load_singly(server: _Server, question: str) -> _Load:
    """Load a server with a connection for each request, one at a time."""
    before = server.processor()
    command = [tool("ab"), "-q", f"-n{PEER_REQUESTS}", "-c1", f"{server.url}/{question}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    rate = re.search(r"^Requests per second:\s+([\d.]+)", done.stdout, re.MULTILINE)
    if not rate or not re.search(r"^Failed requests:\s+0$", done.stdout, re.MULTILINE):
        raise NotMeasuredError(f"ab: {(done.stdout + done.stderr)[-200:]}")
    return _Load(float(rate[1]), (server.processor() - before) / PEER_REQUESTS)


@contextmanager
def _openssl_responder(folder: Path) -> Iterator[_Server]:
    words = [tool("openssl"), "ocsp", "-index", "index", "-CA", "ca.pem", "-rsigner", "ocsp.pem"]
    words += ["-rkey", "ocsp.key", "-ndays", "1", "-ignore_err", "-port", "0"]
    with _running(words, folder) as process:
        match = None
        while match is None:  # it prints the port it was given
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise NotMeasuredError("openssl ocsp did not start")
            match = re.search(r"ACCEPT \S*:(\d+)", line)
        yield _Server(f"http://127.0.0.1:{match[1]}", process.pid)


@contextmanager
def _service(folder: Path) -> Iterator[_Server]:
    words = [sys.executable, "-m", "signward", "serve", "--data", str(folder), "--listen"]
    words += ["127.0.0.1:0", "--role", "ocsp", "--role", "tsa"]
    with _running(words, folder) as process:
        yield _Server(_ready(process), process.pid)


def _ready(process: subprocess.Popen[str]) -> str:
    """Return the URL that the service says it serves, once it answers there."""
    line = process.stdout.readline() if process.stdout else ""
    match = re.search(r"serving (http://\S+)", line)
    if not match:
        raise NotMeasuredError(f"signward serve did not start: {line.strip()[:200]}")
    return match[1].rstrip("/")


@contextmanager
def _running(words: Sequence[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a server until the block ends; what it prints can be read."""
    path = os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY)])
    with (folder / "errors").open("w") as errors:
        process = subprocess.Popen(
            words, cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True,
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        process.wait(START_SECONDS)
        if process.stdout:
            process.stdout.close()
