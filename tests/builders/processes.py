"""Signward as it is run: a process for each command, and one or more that serve."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import signward

START = 60.0
"""Seconds for a process to serve on a machine that has much else to do."""

SOURCES = Path(signward.__file__).parents[1]


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a command: ours, and where this very package lies."""
    return {**os.environ, "PYTHONPATH": str(SOURCES), **(more or {})}


def serve_command(data: Path, *options: str) -> list[str]:
    """Return the words that serve the authority in ``data``."""
    return [sys.executable, "-m", "signward", "serve", "--data", str(data), *options]


class Served:
    """A running ``signward serve``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("serving "), line
        self.port = int(line.rpartition(":")[2])

    def get(self, path: str) -> tuple[int, bytes]:
        """Return status and body."""
        return self.ask("GET", path)

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes]:
        """Send a request (``Content_Type`` is a header's name here); return status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body=body, headers=named)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, list[dict[str, Any]]]:
        """Stop it; return its exit code and its log."""
        self.process.send_signal(number)
        _, log = self.process.communicate(timeout=START)
        return self.process.returncode, [json.loads(line) for line in log.splitlines()]


@contextmanager
def served(
    data: Path,
    *options: str,
    environment: Mapping[str, str] | None = None,
    before: tuple[str, ...] = (),
) -> Iterator[Served]:
    """Serve ``data`` in a process, on a port of the system's choice unless ``options`` say.

    ``before`` are words of a command that runs what follows them.
    """
    process = subprocess.Popen(
        [*before, *serve_command(data, "--listen", "127.0.0.1:0", *options)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | (environment or {}),
    )  # fmt: skip
    try:
        yield Served(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def free_port() -> int:
    """Return a loopback port nobody had a moment ago: certificates name it before it serves."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Organisation:
    """An authority made by ``signward ca``, and people who verify: a process for each command.

    ``folder`` holds what is public (``root.pem``, ``chain.pem``, ``NAME.pem``) and the keys
    ``NAME.key``; the authority lies in ``data``.
    """

    def __init__(self, folder: Path, url: str, *more: str) -> None:
        self.folder, self.data, self.url = folder, folder / "data", url
        self.run("ca", "init", "--data", self.data, "--name", "Example Ltd", "--country", "SE",
                 "--url", url, *more)  # fmt: skip
        self.export("root")
        self.export("issuing")
        chain = (folder / "issuing.pem").read_bytes() + (folder / "root.pem").read_bytes()
        (folder / "chain.pem").write_bytes(chain)

    def run(self, *words: object, code: int = 0, who: str = "somebody") -> str:
        """Run a command, which must end with ``code``; return what it printed.

        ``who`` is the user: each has caches and states of his own.
        """
        done = subprocess.run(
            [sys.executable, "-m", "signward", *map(str, words)], cwd=self.folder,
            capture_output=True, text=True, timeout=START, env=environment(self.home(who)),
        )  # fmt: skip
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def home(self, who: str) -> dict[str, str]:
        """Return the variables that say where a user's caches and states lie."""
        home = self.folder / f"home of {who}"
        return {"XDG_CACHE_HOME": str(home / "cache"), "XDG_STATE_HOME": str(home / "state")}

    def export(self, name: str) -> None:
        """Write a certificate of the authority to ``NAME.pem``."""
        self.run("ca", "export", "--data", self.data, "--form", "pem", "-o", f"{name}.pem", name)

    def crls(self) -> Path:
        """Write the newest CRLs of both authorities to a file (PEM)."""
        for name in ("root", "issuing"):
            self.run("ca", "export", "--data", self.data, "--crl", "--form", "pem", "-o",
                     f"{name}.crl", name)  # fmt: skip
        path = self.folder / "crls.pem"
        path.write_bytes(b"".join((self.folder / f"{n}.crl").read_bytes()
                                  for n in ("root", "issuing")))  # fmt: skip
        return path

    def issue(self, name: str, *options: str, profile: str = "code-signing") -> Path:
        """Certify a new key; return the file with the path, leaf first."""
        self.run("ca", "issue", "--data", self.data, "--profile", profile, "--subject", name,
                 "--new-key", f"{name}.key", "-o", f"{name}.pem", *options)  # fmt: skip
        return self.folder / f"{name}.pem"

    def revoke(self, name: str, *options: str, reason: str = "keyCompromise") -> None:
        """Revoke the certificate in ``NAME.pem``."""
        self.run("ca", "revoke", "--data", self.data, "--reason", reason, *options, f"{name}.pem")

    def sign(self, name: str, file: Path, *options: str) -> None:
        """Sign a file with the key ``NAME.key``."""
        self.run("sign", "--quiet", "--key", f"file:{name}.key", "--cert", f"{name}.pem",
                 *options, file)  # fmt: skip

    def verify(
        self, file: Path, *options: str, who: str = "somebody"
    ) -> tuple[str, dict[str, Any]]:
        """Judge a file online; return outcome, with the cause if it has one, and the record."""
        words = ("verify", "--json", "--online", "--online-private", "--anchor", "root.pem")
        done = subprocess.run(
            [sys.executable, "-m", "signward", *words, *options, str(file)], cwd=self.folder,
            capture_output=True, text=True, timeout=START, env=environment(self.home(who)),
        )  # fmt: skip
        record = json.loads(done.stdout)
        told = f"{record['outcome']}: {record['cause']}" if record.get("cause") else "accepted"
        assert done.returncode == {"accepted": 0, "rejected": 1, "indeterminate": 3}[
            record["outcome"]
        ], done.stderr  # fmt: skip
        return told, record


def findings(record: Mapping[str, Any], code: str) -> list[dict[str, Any]]:
    """Return a record's findings of a code."""
    return [one for one in record["findings"] if one["code"] == code]
