"""Programs in Go that read what image compilers write, built once from the module proxy.

Each is a module of its own in the tests' cache, so that one that cannot be had takes no other
with it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.corpus import corpus_root

BUILD_SECONDS = 1800
"""policy-controller brings cosign and half of Kubernetes: seven minutes on two busy cores."""

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Peer:
    """A program: its modules with their versions, and our source or the package it is."""

    name: str
    modules: tuple[str, ...]
    source: str = ""
    package: str = "."
    tags: str = ""


READERS = Peer(
    "image-readers",
    ("github.com/notaryproject/notation-go v1.3.2", "go.podman.io/image/v5 v5.42.0"),
    source="readers.go",
    tags="containers_image_openpgp,exclude_graphdriver_btrfs",
)
NOTATION = Peer(
    "notation-library",
    (
        "github.com/notaryproject/notation-go v1.3.2",
        "github.com/notaryproject/notation-core-go v1.3.0",
    ),
    source="notation.go",
)
RATIFY = Peer("ratify-scopes", ("github.com/ratify-project/ratify v1.4.6",), source="ratify.go")
POLICY_TESTER = Peer(
    "policy-tester",
    ("github.com/sigstore/policy-controller v0.13.1",),
    package="github.com/sigstore/policy-controller/cmd/tester",
)


def build(peer: Peer) -> Path:
    """Return the program, or skip and say why it cannot be had."""
    said = " ".join((*peer.modules, peer.package, peer.tags, _source(peer)))
    version = hashlib.sha256(said.encode()).hexdigest()[:12]
    program = corpus_root().parent / "peers" / f"{peer.name}-{version}"
    program.parent.mkdir(parents=True, exist_ok=True)
    with (program.parent / f".{peer.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may want it at once
        if not program.is_file():
            _build(peer, program)
    return program


def _source(peer: Peer) -> str:
    return (HERE / peer.source).read_text("utf-8") if peer.source else ""


def _build(peer: Peer, program: Path) -> None:
    go = shutil.which("go")
    if go is None:
        pytest.skip(f"{peer.name} needs go")
    folder = program.parent / f"{peer.name}-source"
    folder.mkdir(exist_ok=True)
    required = "".join(f"require {module}\n" for module in peer.modules)
    (folder / "go.mod").write_text(f"module peer\n\ngo 1.26.0\n\n{required}")
    if peer.source:
        (folder / "main.go").write_text(_source(peer))
    partial = program.with_suffix(".partial")
    subprocess.run(
        [go, "build", "-mod=mod", "-tags", peer.tags, "-o", str(partial), peer.package],
        cwd=folder, timeout=BUILD_SECONDS, capture_output=True,
        env={**os.environ, "GOFLAGS": "-mod=mod"},
    )  # fmt: skip
    if not partial.is_file():
        pytest.skip(f"{peer.name} could not be built")
    partial.rename(program)
