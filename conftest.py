"""Fixtures for what is fetched and for databases; an interop skip may not pass unseen.

This file stands at the root, not in ``tests/``, because pytest asks a conftest only
about tests below it and ``conformance/`` holds interop tests too.

With ``SIGNWARD_REQUIRE_INTEROP=1`` (CI) a skipped interop test is a failure.  Without it
each one is named, with its reason, at the end of the run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from pathlib import Path

import hypothesis
import pytest
from tests import corpus as _corpus

pytest_plugins = ["tests.browser", "tests.stores"]

hypothesis.settings.register_profile(
    "shared-machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("shared-machine")
"""How long an example takes says nothing on a machine that others use too."""

INTEROP_FOLDER = "tests/interop"

NO_VECTORS = "vectors:"
NOT_SHARED = (NO_VECTORS, "schemas:")
"""How a skip for want of something shared begins: it is no tool, and may be absent."""


@pytest.fixture(scope="session")
def corpus() -> Callable[[str], Path]:
    """Return ``require``, which skips with the reason where a sample cannot be had."""

    def get(name: str) -> Path:
        try:
            return _corpus.require(name)
        except _corpus.CorpusMissingError as error:
            pytest.skip(f"corpus: {error}")

    return get


@pytest.fixture(scope="session")
def vectors() -> Path:
    """Return the folder of shared vectors, or skip and say where it was looked for."""
    try:
        return _corpus.vectors_root()
    except _corpus.CorpusMissingError as error:
        pytest.skip(f"{NO_VECTORS} {error}")


def _interop_required() -> bool:
    return os.environ.get("SIGNWARD_REQUIRE_INTEROP", "") not in ("", "0")


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return str(report.longrepr)


def _refuse(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure that says why it was one."""
    reason = _reason(report)
    report.outcome = "failed"
    report.longrepr = f"interop test skipped under SIGNWARD_REQUIRE_INTEROP: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a skipped interop test where CI requires every second opinion."""
    report = yield
    skipped = report.skipped and not hasattr(report, "wasxfail")
    interop = skipped and item.get_closest_marker("interop") and _interop_required()
    if interop and not _reason(report).startswith(NOT_SHARED):
        _refuse(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Do the same for a whole module that skips itself while it is imported."""
    report = yield
    if report.skipped and INTEROP_FOLDER in collector.nodeid and _interop_required():
        _refuse(report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name each interop test that was skipped: pytest's own list folds them together."""
    skipped = [
        report
        for report in terminalreporter.stats.get("skipped", [])
        if "interop" in getattr(report, "keywords", ()) or INTEROP_FOLDER in report.nodeid
    ]
    if skipped:
        terminalreporter.section("interop tests skipped")
    for report in skipped:
        terminalreporter.line(f"{report.nodeid}: {_reason(report)}")
