"""The authority measured over HTTP: OCSP against OpenSSL's responder, the TSA against bare RSA.

Load comes from C programs that take a fraction of what they load: wrk for us, ab for OpenSSL's
responder, which answers one connection after the other and hangs after one without a request
(wrk begins with such a one).  Servers are processes of their own; OpenSSL's listens on every
address, it has no option for one.
"""

from __future__ import annotations

import base64
import os
import re
import sqlite3
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from conformance.authenticode.pki import issue
from tests.builders.realm import AUTHORITY, delegate, issuing, make_realm, register

from bench import stamping
from bench.measure import NotMeasuredError, Row, medians, tool
from bench.serving import SECONDS, Load, Server, load, median, posting, running, serving
from bench.signing import raw_rate
from bench.stamping import Steps
from signward.trust import ocsp
from signward.trust.x509 import load_certificate
from signward.verbs.authority.batches import MAX_BATCH

OCSP_CLIENTS = 16
"""Connections that ask for OCSP answers, each one at a time."""
PEER_REQUESTS = 1000
"""Requests to OpenSSL's responder in one round."""
TSA_CLIENTS = 64
"""Connections that ask for timestamps: some wait for the disk while others' are signed."""

_SERIAL_DIGITS = 16


def answers(rounds: int) -> list[Row]:
    """Compare kept OCSP answers with what ``openssl ocsp`` answers, and TSA with raw signing."""
    tool("wrk")
    tool("ab")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        question = _prepared(folder)
        with _openssl_responder(folder) as peer, serving(folder / "realm") as service:
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


def _ocsp(rounds: int, service: Server, peer: Server, question: str) -> list[Row]:
    ours: list[Load] = []
    theirs: list[Load] = []
    medians(
        rounds,
        lambda: ours.append(load(service, f"/ocsp/{AUTHORITY}/{question}", OCSP_CLIENTS)),
        lambda: theirs.append(_load_singly(peer, question)),
    )
    own, other = median(ours), median(theirs)
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


def _tsa(rounds: int, service: Server, folder: Path) -> list[Row]:
    ours: list[Load] = []
    raw: list[float] = []
    script = posting(folder)
    medians(
        rounds,
        lambda: ours.append(load(service, "/tsa", TSA_CLIENTS, *script)),
        lambda: raw.append(raw_rate()),
    )
    _check_logged(folder, sum(one.answers for one in ours))
    own, signatures = median(ours), statistics.median(raw[1:])
    figure = (
        f"{own.rate / signatures:.2f} ({own.rate:.0f} of {signatures:.0f} a second); in processor"
        f" time {1 / signatures / own.each:.2f} ({1e6 * own.each:.0f} us each)"
    )
    how = (
        f"POST, {TSA_CLIENTS} connections, {SECONDS} s of wrk; one process of signward serve, whose"
        f" threads sign on {os.cpu_count()} cores, SQLite, every token's log entry durable; openssl"
        f" on one core by its processor time, RSA-2048 both; load {os.getloadavg()[0]:.1f}"
    )
    first = Row("timestamps over HTTP, share of openssl speed rsa2048", figure, ">= 0.7", how)
    return [first, _steps(own)]


def _steps(own: Load) -> Row:
    """Say where the processor time of a timestamp goes."""
    steps = Steps(*(1e6 * one for one in stamping.steps()))
    total = 1e6 * own.each
    figure = (
        f"{total:.0f} us: signing {steps.sign:.0f}, checking the value {steps.check:.0f}, DER and"
        f" the log entry {steps.octets:.0f}, its share of a commit {steps.append:.0f}, the rest"
        f" {total - sum(steps):.0f}"
    )
    how = (
        "the total as in the row above; steps alone in one process, the least of"
        f" {stamping.ROUNDS} rounds, commits of {MAX_BATCH} entries; the rest is HTTP, threads,"
        " and what machines that do other things too take longer for"
    )
    return Row("where a timestamp's processor time goes", figure, "", how)


def _load_singly(server: Server, question: str) -> Load:
    """Load a server with a connection for each request, one at a time."""
    before = server.processor()
    command = [tool("ab"), "-q", f"-n{PEER_REQUESTS}", "-c1", f"{server.url}/{question}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    rate = re.search(r"^Requests per second:\s+([\d.]+)", done.stdout, re.MULTILINE)
    if not rate or not re.search(r"^Failed requests:\s+0$", done.stdout, re.MULTILINE):
        raise NotMeasuredError(f"ab: {(done.stdout + done.stderr)[-200:]}")
    each = (server.processor() - before) / PEER_REQUESTS
    return Load(float(rate[1]), each, PEER_REQUESTS)


def _check_logged(folder: Path, count: float) -> None:
    """Check that every answer was a token: each has an entry in the log, refusals have none."""
    with closing(sqlite3.connect(folder / "realm" / "signward.db")) as database:
        ((entries,),) = database.execute("SELECT size FROM log_state")
    if entries < count:
        raise NotMeasuredError(f"{count:.0f} answers, {entries} tokens among them")


@contextmanager
def _openssl_responder(folder: Path) -> Iterator[Server]:
    words = [tool("openssl"), "ocsp", "-index", "index", "-CA", "ca.pem", "-rsigner", "ocsp.pem"]
    words += ["-rkey", "ocsp.key", "-ndays", "1", "-ignore_err", "-port", "0"]
    with running(words, folder) as process:
        match = None
        while match is None:  # it prints the port it was given
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise NotMeasuredError("openssl ocsp did not start")
            match = re.search(r"ACCEPT \S*:(\d+)", line)
        yield Server(f"http://127.0.0.1:{match[1]}", process.pid)
