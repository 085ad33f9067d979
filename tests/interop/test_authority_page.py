"""docs/authority.md: its commands are run as they stand there, in one shell, in their order."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.corpus import REPOSITORY

PAGE = REPOSITORY / "docs" / "authority.md"
MAX_SECONDS = 240


def commands() -> str:
    """Return the page's shell blocks, each under a line that says where it stands."""
    text = PAGE.read_text()
    blocks = [
        f"# line {text.count(chr(10), 0, found.start()) + 2}\n{found[1]}"
        for found in re.finditer(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]
    return "\n".join(blocks)


def with_program(folder: Path) -> dict[str, str]:
    """Return an environment in which ``signward`` is the one under test."""
    program = folder / "bin" / "signward"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m signward "$@"\n')
    program.chmod(0o755)
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("SIGNWARD_")},
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{REPOSITORY / 'src'}",
        "HOME": str(folder),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "XDG_STATE_HOME": str(folder / "state"),
    }


def apart() -> list[str]:
    """Return what gives a shell a loopback of its own: the page's ports may be taken here."""
    if os.geteuid() or not (shutil.which("unshare") and shutil.which("ip")):
        return ["bash"]
    return ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec bash "$0"']


def run(script: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Run a script in its own folder; return its exit code and what it printed."""
    with subprocess.Popen(
        [*apart(), str(script)], cwd=script.parent, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    ) as shell:  # fmt: skip
        try:
            said, _ = shell.communicate(timeout=MAX_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(shell.pid, signal.SIGTERM)
            said = f"{shell.communicate()[0]}\nnot done after {MAX_SECONDS} s"
        return shell.returncode, said


@pytest.mark.interop
@pytest.mark.slow
def test_from_nothing_to_a_revoked_certificate_refused(tmp_path: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    script = tmp_path / "page.sh"
    # A background job that outlives a failed line would outlive the test.
    script.write_text("set -eux\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n" + commands())
    code, said = run(script, with_program(tmp_path))
    assert code == 0, said[-6000:]
    assert "ACCEPTED       hello.ps1" in said
    assert "REJECTED       evil.ps1: revoked" in said
    assert "signed-before-revocation" in said
    assert "REJECTED       hello.ps1: revoked" in said
    assert "REJECTED       evil.ps1: revoked" in said.partition("--feed feed.json")[2]
    assert "ACCEPTED       good.ps1" in said
    assert (tmp_path / "signward.backup").stat().st_size
