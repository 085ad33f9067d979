"""A transparency log client other than ours: a Go program over x/mod/sumdb and torchwood.

Built once from the Go module proxy, into the tests' cache beside the corpus; its name there
holds a digest of its source.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.corpus import corpus_root

SOURCE = Path(__file__).parent / "tlog_peer" / "main.go"
MODULES = {"filippo.io/torchwood": "v0.9.0", "golang.org/x/mod": "v0.31.0"}
"""The newest that Go 1.24 builds, which Debian has."""

BUILD_SECONDS = 600
RUN_SECONDS = 120


def build() -> Path:
    """Return the program, or skip and say why it cannot be had."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("the tlog client needs go")
    wanted = f"{SOURCE.read_text()}{MODULES}".encode()
    name = f"tlog-peer-{hashlib.sha256(wanted).hexdigest()[:12]}"
    program = corpus_root().parent / "peers" / name
    program.parent.mkdir(parents=True, exist_ok=True)
    with (program.parent / ".tlog-peer.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may want it at once
        if not program.is_file():
            _build(go, program)
    return program


def _build(go: str, program: Path) -> None:
    folder = program.parent / "tlog-peer-source"
    folder.mkdir(exist_ok=True)
    required = "".join(f"\t{name} {version}\n" for name, version in MODULES.items())
    (folder / "go.mod").write_text(f"module peer\n\ngo 1.24.0\n\nrequire (\n{required})\n")
    shutil.copy(SOURCE, folder / "main.go")
    partial = program.with_suffix(".partial")
    done = subprocess.run(
        [go, "build", "-mod=mod", "-o", str(partial), "."], cwd=folder, timeout=BUILD_SECONDS,
        env={**os.environ, "GOFLAGS": "-mod=mod", "CGO_ENABLED": "0"}, capture_output=True,
    )  # fmt: skip
    if not partial.is_file():
        why = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        if any(".go:" in line for line in why):
            pytest.fail("\n".join(why))  # our program is at fault, not the network
        pytest.skip(f"the tlog client torchwood could not be built: {why[-1]}")
    partial.rename(program)


class Client:
    """The program."""

    def __init__(self, program: Path) -> None:
        self._program = program

    def follow(self, url: str, key: str, old: int, *indices: int) -> dict[str, Any]:
        """Read a whole log and check it; prove its growth from ``old``, and these entries."""
        words = ["follow", url, key, str(old), *map(str, indices)]
        found: dict[str, Any] = json.loads(self.run(*words).stdout)
        return found

    def takes(self, key: str, receipt: Path, entry: Path) -> bool:
        """Say whether a receipt proves an entry."""
        return self.run("receipt", key, str(receipt), str(entry), check=False).returncode == 0

    def prove(self, url: str, key: str, index: int) -> bytes:
        """Return a receipt made from a log's tiles."""
        return self.run("prove", url, key, str(index)).stdout

    def cosign(self, name: str, seed: bytes, note: bytes) -> tuple[bytes, str]:
        """Return a note with a witness's cosignature on it, and the witness's key."""
        done = self.run("cosign", name, seed.hex(), data=note)
        return done.stdout, done.stderr.decode().strip()

    def run(
        self, *words: str, data: bytes = b"", check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Run it; with ``check`` a failure is the test's, with what the program said."""
        done = subprocess.run(
            [self._program, *words], input=data, capture_output=True, timeout=RUN_SECONDS
        )
        if check and done.returncode:
            pytest.fail(f"the tlog client refused: {done.stderr.decode(errors='replace')}")
        return done
