"""relic (sassoftware/relic, Go): signs and verifies ClickOnce manifests and VSIX packages.

Built once from the Go module proxy, into the tests' cache beside the corpus.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conformance.authenticode.pki import Identity

from tests.corpus import corpus_root

VERSION = "v8.2.0"
MODULE = "github.com/sassoftware/relic/v8"
BUILD_SECONDS = 900


def build() -> Path:
    """Return the program, or skip and say why it cannot be had."""
    found = shutil.which("relic")
    if found:
        return Path(found)
    program = corpus_root().parent / "peers" / f"relic-{VERSION}"
    program.parent.mkdir(parents=True, exist_ok=True)
    with (program.parent / ".relic.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may want it at once
        if not program.is_file():
            _build(program)
    return program


def _build(program: Path) -> None:
    go = shutil.which("go")
    if go is None:
        pytest.skip("relic needs go")
    folder = program.parent / "relic-source"
    folder.mkdir(exist_ok=True)
    (folder / "go.mod").write_text(f"module peer\n\ngo 1.23\n\nrequire {MODULE} {VERSION}\n")
    tag = "//go:build tools\n\npackage peer\n\n"
    (folder / "tools.go").write_text(f'{tag}import _ "{MODULE}"\n')
    partial = program.with_suffix(".partial")
    subprocess.run(
        [go, "build", "-mod=mod", "-o", str(partial), MODULE], cwd=folder, timeout=BUILD_SECONDS,
        env={**os.environ, "GOFLAGS": "-mod=mod", "CGO_ENABLED": "1"}, capture_output=True,
    )  # fmt: skip
    if not partial.is_file():
        pytest.skip(f"relic {VERSION} could not be built")
    partial.rename(program)


class Relic:
    """relic with one signer's key, and one root it trusts."""

    def __init__(self, program: Path, folder: Path, who: Identity) -> None:
        self._program, self._folder = program, folder
        key, path, self._root = folder / "key.pem", folder / "path.pem", folder / "root.pem"
        key.write_bytes(who.key.pem)
        path.write_bytes(b"".join(one.pem for one in who.path))
        self._root.write_bytes(who.path[-1].pem)
        (folder / "relic.yaml").write_text(
            "tokens:\n  own:\n    type: file\nkeys:\n  signer:\n    token: own\n"
            f"    keyfile: {key}\n    x509certificate: {path}\n"
        )

    def sign(self, name: str, data: bytes, *options: str) -> bytes:
        """Return ``data`` signed."""
        source, target = self._folder / name, self._folder / f"signed-{name}"
        source.write_bytes(data)
        self._run("sign", "-c", "relic.yaml", "-k", "signer", "-f", source.name, "-o", target.name,
                  *options).check_returncode()  # fmt: skip
        return target.read_bytes()

    def verify(self, name: str, data: bytes) -> bool:
        """Say whether relic takes a signed file."""
        (self._folder / name).write_bytes(data)
        return self._run("verify", "--cert", str(self._root), name).returncode == 0

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [self._program, *arguments], cwd=self._folder, capture_output=True, timeout=120
        )
