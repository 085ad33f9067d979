"""Runners: each turns one verifier's own way of speaking into the protocol's four answers.

A module here offers ``answer(request) -> Reply`` and ``version() -> str`` (empty when the tool
is absent), and is a runner command of its own: ``python -m
conformance.authenticode.runners.NAME FILE ...``.
"""

from __future__ import annotations

import argparse
import importlib
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from conformance.authenticode.cases.base import Answer
from conformance.authenticode.suite import Request

KNOWN = ("signward", "osslsigncode", "lief", "signify")
TIMEOUT = 60
"""Seconds a runner command may take for one file; beyond them it cannot tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A runner's answer, and the tool's own words for it (a cause code, a flag, a line)."""

    answer: Answer
    why: str = ""
    findings: tuple[str, ...] = ()


Runner = Callable[[Request], Reply]


def find(name: str) -> tuple[Runner, str]:
    """Return the runner of that name, or for a command line, and its tool's version.

    Raises ``LookupError`` when the tool is absent.
    """
    if name in KNOWN:
        module = importlib.import_module(f"{__name__}.{name}")
        version = module.version()
        if not version:
            raise LookupError(f"{name} is not installed")
        runner: Runner = module.answer
        return runner, version
    return command_runner(shlex.split(name)), ""


def command_runner(command: list[str]) -> Runner:
    """Return a runner that asks a command: its first line is the answer, its second the why."""

    def ask(request: Request) -> Reply:
        try:
            done = subprocess.run(
                [*command, *request.words()],
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Reply(answer=Answer.CANNOT_TELL, why=f"no answer in {TIMEOUT} s")
        lines = [*done.stdout.splitlines(), "", ""]
        try:
            return Reply(answer=Answer(lines[0].strip()), why=lines[1].strip())
        except ValueError:
            return Reply(answer=Answer.CANNOT_TELL, why=f"no protocol answer: {lines[0][:80]!r}")

    return ask


def main(answer: Runner) -> int:
    """Be a runner command: read the request from the command line, print the reply."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--at", required=True)
    parser.add_argument("--stage", default="accepted")
    parser.add_argument("--catalog", type=Path)
    for flag in ("--anchor", "--crl", "--ocsp"):
        parser.add_argument(flag, action="append", type=Path, default=[])
    parser.add_argument("--option", action="append", default=[])
    given = parser.parse_args()
    reply = answer(
        Request(
            file=given.file,
            at=datetime.fromisoformat(given.at).astimezone(UTC),
            stage=given.stage,
            anchors=tuple(given.anchor),
            crls=tuple(given.crl),
            ocsp=tuple(given.ocsp),
            catalogs=given.catalog,
            options=tuple(given.option),
        )
    )
    sys.stdout.write(f"{reply.answer}\n{reply.why}\n")
    return 0
