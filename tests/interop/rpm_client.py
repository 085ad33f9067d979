"""A reader and signer of RPM packages other than ours, for format version 6: rpm-rs.

A small program over the crate, built once from the crates' registry into the tests' cache beside
the corpus; its name there holds a digest of its source.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.corpus import corpus_root

SOURCE = Path(__file__).parent / "rpm_peer" / "main.rs"
MANIFEST = """[package]
name = "rpmpeer"
version = "0.1.0"
edition = "2024"

[dependencies]
rpm = "=0.30.2"
"""

BUILD_SECONDS = 900
RUN_SECONDS = 60


def build() -> Path:
    """Return the program, or skip and say why it cannot be had."""
    cargo = shutil.which("cargo") or shutil.which("cargo", path=str(Path.home() / ".cargo/bin"))
    if cargo is None:
        pytest.skip("rpm-rs needs cargo, which is not installed")
    name = f"rpm-peer-{hashlib.sha256((SOURCE.read_text() + MANIFEST).encode()).hexdigest()[:12]}"
    program = corpus_root().parent / "peers" / name
    program.parent.mkdir(parents=True, exist_ok=True)
    with (program.parent / ".rpm-peer.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may want it at once
        if not program.is_file():
            _build(cargo, program)
    return program


def _build(cargo: str, program: Path) -> None:
    folder = program.parent / "rpm-peer-source"
    (folder / "src").mkdir(parents=True, exist_ok=True)
    (folder / "Cargo.toml").write_text(MANIFEST)
    shutil.copy(SOURCE, folder / "src" / "main.rs")
    done = subprocess.run(
        [cargo, "build", "--quiet"], cwd=folder, timeout=BUILD_SECONDS, capture_output=True,
        env={**os.environ, "CARGO_TARGET_DIR": str(folder / "target")}, check=False,
    )  # fmt: skip
    built = folder / "target" / "debug" / "rpmpeer"
    if done.returncode or not built.is_file():
        why = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        if any("src/main.rs" in line for line in why):
            pytest.fail("\n".join(why))  # our program is at fault, not the network
        pytest.skip(f"rpm-rs could not be built: {why[-1]}")
    partial = program.with_suffix(".partial")
    shutil.copy(built, partial)
    partial.rename(program)
    shutil.rmtree(folder / "target")


def rpm_rs(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the program: ``verify FILE KEY`` or ``sign FILE SECRET OUT``."""
    command = [str(build()), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
