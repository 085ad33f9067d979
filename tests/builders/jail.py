"""fapolicyd in a jail: a mount and process namespace whose only file systems are its own.

Run as a script by ``unshare --mount --pid --fork``: it mounts a tmpfs, fills it, makes it the root
(pivot_root) and detaches the machine's own, so that the daemon finds no other mount to mark.  It
refuses to start the daemon while anything but its tmpfs and proc is mounted.  Everything ends with
the process namespace.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

PEERS = Path("/opt/signward-peers")
"""Where tools/install-test-tools unpacks daemons that must not be installed: no service starts."""

MAGIC = "/usr/share/fapolicyd/fapolicyd-magic.mgc"
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
DETACH = 2
READY = "Starting to listen"
SECONDS = 20
DAEMON = 0
"""The number of the user fapolicyd, whom only the jail knows: giving up root needs capabilities
that not every machine grants, and the jail holds nothing worth it."""


def daemon() -> Path | None:
    """Return the unpacked package's root, None where there is none."""
    root = PEERS / "fapolicyd"
    return root if (root / "usr/sbin/fapolicyd").exists() else None


def require() -> None:
    """Skip a test where the daemon or what its jail needs is not here."""
    if daemon() is None:
        pytest.skip("fapolicyd: not unpacked in /opt/signward-peers")
    if os.getuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("fapolicyd: its jail needs root and unshare")


def libraries(program: Path) -> dict[str, str]:
    """Return the libraries a program loads: their place in the jail to the file here."""
    told = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True).stdout
    return {place: os.path.realpath(place) for place in re.findall(r"(/\S+) \(", told)}


def run_in_jail(
    folder: Path,
    files: Mapping[str, bytes],
    programs: Mapping[str, str],
    runs: Sequence[Sequence[str]],
) -> dict[str, Any]:
    """Start the daemon with ``files`` in /etc/fapolicyd and say which ``runs`` it let through.

    ``programs`` map places in the jail to files here; contents beginning ``#!`` are scripts.
    """
    root = daemon()
    assert root is not None
    binary = root / "usr/sbin/fapolicyd"
    copies = {**libraries(binary), "/usr/sbin/fapolicyd": str(binary), MAGIC: f"{root}{MAGIC}",
              "/usr/share/misc/magic.mgc": "/usr/lib/file/magic.mgc"}  # fmt: skip
    for place, source in programs.items():
        if not source.startswith("#!"):
            copies |= {**libraries(Path(source)), place: os.path.realpath(source)}
    plan = {
        "copies": copies,
        "scripts": {p: text for p, text in programs.items() if text.startswith("#!")},
        "files": {f"/etc/fapolicyd/{name}": data.decode() for name, data in files.items()},
        "runs": [list(run) for run in runs],
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    (folder / "root").mkdir()
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private",
               sys.executable, "-I", __file__, str(folder)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _fill(root: Path, plan: Mapping[str, Any]) -> None:
    for folder in ("proc", "old", "dev", "tmp", "var/lib/fapolicyd", "run/fapolicyd",
                   "etc/fapolicyd/trust.d", "etc/fapolicyd/rules.d"):  # fmt: skip
        (root / folder).mkdir(parents=True, exist_ok=True)
    for place, source in plan["copies"].items():
        target = root / place.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    for place, text in {**plan["files"], **plan["scripts"]}.items():
        target = root / place.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(0o755)
    rules = sorted((root / "etc/fapolicyd/rules.d").iterdir())
    compiled = "".join(path.read_text() for path in rules)  # as fagenrules does
    (root / "etc/fapolicyd/compiled.rules").write_text(compiled)
    (root / "etc/passwd").write_text(f"root:x:0:0::/:/\nfapolicyd:x:{DAEMON}:{DAEMON}::/:/\n")
    (root / "etc/group").write_text(f"root:x:0:\nfapolicyd:x:{DAEMON}:\n")
    os.mknod(root / "dev/null", 0o20666, os.makedev(1, 3))


def _enter(root: Path) -> None:
    """Make ``root`` the root and take the machine's away.  Raises ``OSError``."""
    libc = ctypes.CDLL(None, use_errno=True)
    os.chdir(root)
    _check(libc.syscall(PIVOT_ROOT[os.uname().machine], b".", b"old"))
    os.chdir("/")
    _check(libc.umount2(b"/old", DETACH))
    mounts = {line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()}
    if mounts != {"/", "/proc"}:
        raise SystemExit(f"mounted here besides our own: {sorted(mounts)}")


def _attempt(run: Sequence[str]) -> dict[str, Any]:
    try:
        done = subprocess.run(run, capture_output=True, text=True, timeout=10, check=False, env={})
    except PermissionError:
        return {"ran": False, "output": ""}
    return {"ran": done.returncode == 0, "output": done.stdout + done.stderr}


def main(folder: Path) -> None:
    """Carry out ``plan.json`` of ``folder`` and print the answers."""
    plan = json.loads((folder / "plan.json").read_text())
    root = folder / "root"
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.mount(b"jail", os.fsencode(root), b"tmpfs", 0, None))
    _fill(root, plan)
    _check(libc.mount(b"proc", os.fsencode(root / "proc"), b"proc", 0, None))
    _enter(root)
    log = Path("/tmp/log")
    with log.open("w") as sink:
        process = subprocess.Popen(["/usr/sbin/fapolicyd", "--debug"], stdout=sink, stderr=sink,
                                   env={})  # fmt: skip
    end = time.monotonic() + SECONDS
    while READY not in log.read_text() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    ready = READY in log.read_text() and process.poll() is None
    answers = [_attempt(run) for run in plan["runs"]] if ready else []
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
    print(json.dumps({"ready": ready, "runs": answers, "log": log.read_text()[-20000:]}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
