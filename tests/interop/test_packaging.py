"""Packaging starts what there is: units by systemd's word, commands by our parser."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from signward.cli.commands import build_parser
from signward.service.limits import STOP_SECONDS
from signward.service.processes import GRACE_SECONDS
from tests.architecture.code import REPOSITORY

PACKAGING = REPOSITORY / "packaging"
UNITS = ("signward.service", "signward@.service")

MOST_EXPOSED = 2.0
"""systemd's own figure, from 0 (nothing can be reached) to 10; without hardening it is 9.6."""

SYSTEMD_ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(SYSTEMD_ANALYZE is None, reason="systemd-analyze: not here")


def unit(name: str) -> str:
    return (PACKAGING / "systemd" / name).read_text()


def installed(folder: Path, name: str) -> Path:
    """Return the unit with a program that is there on this machine."""
    path = folder / name
    path.write_text(unit(name).replace("/usr/bin/signward", "/bin/true"))
    return path


@needs_systemd
@pytest.mark.interop
@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_no_fault_in_a_unit(tmp_path: Path, name: str) -> None:
    path = installed(tmp_path, name)
    done = subprocess.run(
        ["systemd-analyze", "verify", path], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
@pytest.mark.interop
@pytest.mark.parametrize("name", UNITS)
def test_little_can_be_reached_from_a_unit(tmp_path: Path, name: str) -> None:
    path = installed(tmp_path, name)
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", path],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    found = re.search(r"Overall exposure level for \S+ ([\d.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) < MOST_EXPOSED


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_starts_a_command_that_there_is(name: str) -> None:
    (line,) = re.findall(r"^ExecStart=/usr/bin/signward (.*)$", unit(name), re.MULTILINE)
    words = shlex.split(line)
    assert build_parser(words).parse_args(words).command == "serve"


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_gives_the_service_the_time_that_it_takes(name: str) -> None:
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit(name), re.MULTILINE)
    assert int(seconds) > STOP_SECONDS + GRACE_SECONDS


def test_the_container_starts_a_command_that_there_is() -> None:
    text = (PACKAGING / "Containerfile").read_text()
    (line,) = re.findall(r"^CMD \[(.*)\]$", text, re.MULTILINE)
    words = re.findall(r'"([^"]*)"', line)
    assert build_parser(words).parse_args(words).listen == "0.0.0.0:8650"
    assert "USER signward" in text
