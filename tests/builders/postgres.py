"""A PostgreSQL cluster of a test's own: a folder, a Unix socket in it, one server process.

The server refuses to run as root; root starts it as another user and owns nothing of it.  It
listens on its socket only, in a folder that nobody else may enter, so that no password is needed.
"""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

MIN_VERSION = 15
ROLE = "signward"
START_SECONDS = 60
STOP_SECONDS = 60
_UNPRIVILEGED = ("postgres", "nobody")
"""Who runs the server where the tests run as root; the first that exists."""
_PLACES = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "usr/local/pgsql/bin")
"""Where packages put the server: Debian, the RPMs of the project, its own sources."""


def binaries() -> Path | None:
    """Return the folder of the newest server's programs, if one is installed."""
    linked = shutil.which("postgres")
    named = [Path(linked).resolve().parent] if linked else []
    found = [folder for place in _PLACES for folder in Path("/").glob(place)]
    versions = {folder: _version(folder) for folder in (*named, *found)}
    able = {folder: version for folder, version in versions.items() if version >= MIN_VERSION}
    return max(able, key=able.__getitem__, default=None)


def _version(folder: Path) -> int:
    """Return the number before the dot in ``postgres (PostgreSQL) 15.14``; 0 without a server."""
    if not (folder / "postgres").is_file():
        return 0
    done = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True)
    match = re.search(r"\(PostgreSQL\) (\d+)", done.stdout)
    return int(match[1]) if match else 0


def missing_tool() -> str:
    """Name what is not installed, or return an empty string."""
    return "" if binaries() else f"postgresql (>= {MIN_VERSION}) is not installed"


class Cluster:
    """A cluster; ``start`` and ``stop`` as often as a test likes, ``remove`` at the end.

    ``durable=False`` has it skip fsync: a killed server loses nothing by that, only a power cut
    would, and tests are faster.
    """

    def __init__(self, *, durable: bool = False) -> None:
        folder = binaries()
        assert folder is not None, missing_tool()
        self._programs, self._durable = folder, durable
        self._process: subprocess.Popen[bytes] | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="signward-postgres-"))
        self._identity = _other_identity()
        if self._identity:
            os.chown(self.folder, self._identity["user"], self._identity["group"])
        self._run("initdb", "-A", "trust", "-U", ROLE, "-E", "UTF8", "--locale=C", "--no-sync",
                  "-D", self.folder / "data")  # fmt: skip

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [str(self._programs / program), *map(str, arguments)]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, **self._identity)
        assert done.returncode == 0, (command, done.stdout, done.stderr)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        assert self._process is None
        settings = {
            "listen_addresses": "", "unix_socket_directories": self.folder,
            "fsync": "on" if self._durable else "off", "max_connections": 64,
        }  # fmt: skip
        options = [f"-c{name}={value}" for name, value in settings.items()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._programs / "postgres"), "-D", str(self.folder / "data"), *options],
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, **self._identity,
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)

    def _answers(self) -> bool:
        command = [str(self._programs / "pg_isready"), "-q", "-h", str(self.folder), "-U", ROLE]
        return subprocess.run(command, capture_output=True).returncode == 0

    def stop(self, number: int = signal.SIGINT) -> None:
        """Stop the server: SIGINT ends sessions in order, SIGQUIT as a crash would."""
        if self._process is None:
            return
        self._process.send_signal(number)
        self._process.wait(STOP_SECONDS)
        self._process = None

    def log(self) -> str:
        """Return what the server wrote."""
        return (self.folder / "log").read_text(errors="replace")

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database of this cluster, as ``Store.open`` takes it."""
        return f"postgresql://{ROLE}@/{database}?host={quote(str(self.folder), safe='')}"

    def new_database(self) -> str:
        """Make an empty database; return its URL."""
        name = f"test_{secrets.token_hex(6)}"
        self._run("createdb", "-h", self.folder, "-U", ROLE, name)
        return self.url(name)

    def remove(self) -> None:
        """Stop the server and remove the folder."""
        self.stop()
        shutil.rmtree(self.folder)


def _other_identity() -> dict[str, Any]:
    """Return whom to run the server as, for ``subprocess``: nobody else, unless we are root."""
    if os.geteuid() != 0:
        return {}
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = next(known[name] for name in _UNPRIVILEGED if name in known)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


@contextmanager
def running(*, durable: bool = False) -> Iterator[Cluster]:
    """Run a cluster until the block ends."""
    cluster = Cluster(durable=durable)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.remove()
