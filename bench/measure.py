"""How anything is measured here: in turns, after a warm-up, on the wall and of the processor."""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Row:
    """One measurement: what, the figure with its unit, the target, and how it was taken."""

    what: str
    figure: str
    target: str
    how: str


class NotMeasuredError(Exception):
    """A tool or sample is absent; the message names it."""


class Taken(NamedTuple):
    """Seconds one piece of work takes: on the wall, and of processor time (children's too)."""

    wall: float
    processor: float


def timed(work: Callable[[], object]) -> Taken:
    """Return the seconds one call takes."""
    wall, processor = time.perf_counter(), _processor_seconds()
    work()
    return Taken(time.perf_counter() - wall, _processor_seconds() - processor)


def _processor_seconds() -> float:
    return sum(os.times()[:4])


def medians(rounds: int, *sides: Callable[[], object]) -> list[Taken]:
    """Return the median seconds of each side; sides take turns, after one warm-up each."""
    for side in sides:
        side()
    taken = [[timed(side) for side in sides] for _ in range(rounds)]
    return [
        Taken(*map(statistics.median, zip(*column, strict=True)))
        for column in zip(*taken, strict=True)
    ]


def bare_memory() -> int:
    """Return the peak memory of an interpreter that does nothing, in KiB."""
    program = "print(*[l.split()[1] for l in open('/proc/self/status') if l[:5] == 'VmHWM'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    return int(done.stdout)


_LAUNCH = "import sys; from signward.cli import main; sys.exit(main())"
"""What the console script that an installer writes does."""


@contextmanager
def installed() -> Iterator[list[str]]:
    """Yield the words that start Signward in an environment that holds what it needs, no more.

    What only tests need would be loaded too where it is found (msgspec looks for a library),
    and then be measured.
    """
    locked = (REPOSITORY / "requirements" / "run.txt").read_text()
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, symlinks=True)
        (site,) = Path(folder).glob("lib/python*/site-packages")
        for name in re.findall(r"^([\w.-]+)==", locked, re.MULTILINE):
            _link(name, site)
        (site / "signward.pth").write_text(f"{REPOSITORY / 'src'}\n")
        yield [f"{folder}/bin/python", "-c", _LAUNCH]


def _link(name: str, site: Path) -> None:
    """Let ``site`` have the files of a distribution that this interpreter has."""
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        raise NotMeasuredError(f"{name} is not installed") from None
    for top in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
        (site / top).symlink_to(str(found.locate_file(top)))


def quiet(command: Sequence[str], cache: str) -> None:
    """Run a command of ours whose bytecode is kept in ``cache``, as an installed package's is."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
    for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH"):
        environment.pop(name, None)
    subprocess.run(command, capture_output=True, check=False, env=environment)


def tool(name: str) -> str:
    """Return where a tool is, or raise ``NotMeasuredError``."""
    path = shutil.which(name)
    if path is None:
        raise NotMeasuredError(f"{name} is not installed")
    return path
