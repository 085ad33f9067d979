"""``--fetch-debs``: the system's own apt-get fetches the packages that would speak of files.

What it brings is trusted no more for that: a package counts when a signed list names its digest.
The one place where another program is run, and it is told before.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

APT_GET = "/usr/bin/apt-get"

AT_ONCE = 200
"""Packages per call: a command line holds some thousand."""

_NAMED = re.compile(r"[a-z0-9][a-z0-9+.-]*(:[a-z0-9-]+)?=[A-Za-z0-9.+~:-]+")
"""How packages are named (deb-control(5), deb-version(7)): dpkg's database may hold anything."""

MAX_SECONDS = 3600
"""How long one call may take."""


def fetched_folder() -> Path:
    """Return where fetched packages are kept: ``debs`` in the cache's folder."""
    from signward.inventory.cache import default_path

    return default_path().with_name("debs")


def fetch(specs: Sequence[str], *, dry: bool) -> None:
    """Say what is fetched and where to, and unless ``dry`` have it fetched.

    Raises ``EvidenceError`` where apt-get is not there; that it could not fetch a package is told.
    """
    from signward.errors import EvidenceError

    if not specs:
        print("signward: no package to fetch", file=sys.stderr)
        return
    folder, specs = fetched_folder(), tuple(filter(_NAMED.fullmatch, specs))
    print(f"signward: in {folder}: apt-get download {' '.join(specs)}", file=sys.stderr)
    if dry:
        return
    if not os.access(APT_GET, os.X_OK):
        raise EvidenceError(f"--fetch-debs: found no {APT_GET}, required it")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for start in range(0, len(specs), AT_ONCE):
        _download(folder, specs[start : start + AT_ONCE])


def _download(folder: Path, specs: Sequence[str]) -> None:
    command = [APT_GET, "--quiet", "--quiet", "download", "--", *specs]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program, its arguments no shell reads
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False, timeout=MAX_SECONDS,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"signward: warning: apt-get download: {error}", file=sys.stderr)
        return
    if done.returncode:
        told = done.stderr.strip().splitlines()
        why = told[-1] if told else f"exit code {done.returncode}"
        print(f"signward: warning: apt-get download: {why}", file=sys.stderr)
