"""The rule of conftest.py: an interop skip is named, and fails where CI requires it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.corpus import REPOSITORY

TESTS = """
import pytest

@pytest.mark.interop
def test_with_a_tool():
    pytest.skip("osslsigncode is not installed")

@pytest.mark.interop
@pytest.mark.xfail(reason="a known difference")
def test_known_difference():
    assert False

@pytest.mark.interop
def test_without_vectors():
    pytest.skip("vectors: the shared vectors are not in /nowhere")

def test_without():
    pytest.skip("nothing to compare")
"""

MODULE = 'import pytest\npytest.skip("lief is absent", allow_module_level=True)\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "conftest.py").write_text((REPOSITORY / "conftest.py").read_text())
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    interop: x\n")
    (tmp_path / "tests" / "interop").mkdir(parents=True)
    (tmp_path / "tests" / "test_made.py").write_text(TESTS)
    return tmp_path


def _run(project: Path, *, required: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "COV", "COVERAGE"))}
    environment = kept | {"SIGNWARD_REQUIRE_INTEROP": required, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--import-mode=importlib"],
        cwd=project, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_a_skip_is_named_and_passes_without_the_rule(project: Path) -> None:
    done = _run(project, required="")
    assert done.returncode == 0, done.stdout
    assert "test_made.py::test_with_a_tool: osslsigncode is not installed" in done.stdout
    assert "test_without: " not in done.stdout


def test_a_skip_fails_under_the_rule(project: Path) -> None:
    done = _run(project, required="1")
    assert done.returncode == 1, done.stdout
    assert "1 failed, 2 skipped, 1 xfailed" in done.stdout
    assert "SIGNWARD_REQUIRE_INTEROP: osslsigncode is not installed" in done.stdout


def test_a_module_that_skips_itself_fails_under_the_rule(project: Path) -> None:
    (project / "tests" / "test_made.py").unlink()
    (project / "tests" / "interop" / "test_whole.py").write_text(MODULE)
    done = _run(project, required="1")
    assert done.returncode not in (0, 5), done.stdout
    assert "lief is absent" in done.stdout
    assert _run(project, required="").returncode in (0, 5)
