"""Services under load: processes of their own, asked by wrk, which takes a fraction of it."""

from __future__ import annotations

import hashlib
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.measure import REPOSITORY, NotMeasuredError, tool
from signward.wire import der
from signward.wire.algorithms import DIGEST_OIDS

SECONDS = 2
"""Of load in one round."""
STOP_SECONDS = 30.0

_TICKS = os.sysconf("SC_CLK_TCK")


class Server(NamedTuple):
    """A server under load: its address and its process."""

    url: str
    process: int

    def processor(self) -> float:
        """Return the seconds of processor time it has used."""
        fields = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


class Load(NamedTuple):
    """Answers a second, seconds of the server's processor time for each, and their number."""

    rate: float
    each: float
    answers: float


def median(loads: Sequence[Load]) -> Load:
    """Return the medians, without the round that warms up."""
    return Load(*map(statistics.median, zip(*loads[1:], strict=True)))


def query() -> bytes:
    """Return a timestamp query as clients send it: SHA-256, nonce, certificates wanted."""
    algorithm = der.sequence(der.oid(DIGEST_OIDS["sha256"]), der.null())
    imprint = der.sequence(algorithm, der.octet_string(hashlib.sha256(b"bench").digest()))
    wanted = der.boolean(True)  # noqa: FBT003 - certReq
    return der.sequence(der.integer(1), imprint, der.integer(1 << 62), wanted)


def posting(folder: Path) -> tuple[str, str]:
    """Return wrk's options for posting the query, from a script that is written."""
    octets = "".join(f"\\{octet:03d}" for octet in query())  # as Lua takes them
    script = folder / "query.lua"
    script.write_text(
        f'wrk.method = "POST"\nwrk.body = "{octets}"\n'
        'wrk.headers["Content-Type"] = "application/timestamp-query"\n'
    )
    return "-s", str(script)


def load(server: Server, path: str, clients: int, *options: str) -> Load:
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
    return Load(float(rate[1]), (server.processor() - before) / int(count[1]), int(count[1]))


@contextmanager
def serving(folder: Path, *options: str, core: int | None = None) -> Iterator[Server]:
    """Run ``signward serve`` with OCSP and TSA; on one ``core`` if told so."""
    words = [] if core is None else [tool("taskset"), "-c", str(core)]
    words += [sys.executable, "-m", "signward", "serve", "--data", str(folder), "--listen"]
    words += ["127.0.0.1:0", "--role", "ocsp", "--role", "tsa", *options]
    with running(words, folder) as process:
        yield Server(_ready(process), process.pid)


def _ready(process: subprocess.Popen[str]) -> str:
    """Return the URL that the service says it serves, once it answers there."""
    line = process.stdout.readline() if process.stdout else ""
    match = re.search(r"serving (http://\S+)", line)
    if not match:
        raise NotMeasuredError(f"signward serve did not start: {line.strip()[:200]}")
    return match[1].rstrip("/")


@contextmanager
def running(words: Sequence[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
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
        process.wait(STOP_SECONDS)
        if process.stdout:
            process.stdout.close()
