"""Every conformance case, whatever its outcome, replays to the verdict a plain run gives."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from conformance.authenticode.cases import all_cases
from conformance.authenticode.cases.base import Case

from signward.cli import main


def words(case: Case, folder: Path) -> tuple[str, list[str]]:
    """Write a case's files; return the judged one and the options of its judgement."""
    folder.mkdir()
    at = case.at.strftime("%Y-%m-%dT%H:%M:%SZ")
    found = ["--json", "--at", at, "--stage", case.stage]
    given = (("--anchor", case.anchors), ("--crl", case.crls), ("--ocsp", case.ocsp))
    for flag, blobs in given:
        for number, data in enumerate(blobs):
            path = folder / f"{flag.strip('-')}{number}"
            path.write_bytes(data)
            found += [flag, str(path)]
    for number, data in enumerate(case.catalogs):
        (folder / "catalogs").mkdir(exist_ok=True)
        (folder / "catalogs" / f"{number}.cat").write_bytes(data)
    if case.catalogs:
        found += ["--catalog", str(folder / "catalogs")]
    for option in case.options:
        name, _, value = option.partition("=")
        found += [f"--{name}", *([value] if value else [])]
    (folder / case.file).write_bytes(case.data)
    return str(folder / case.file), found


def run(*arguments: str) -> tuple[int, str]:
    output, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors):
        code = main(["verify", *arguments])
    return code, output.getvalue() or errors.getvalue()


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.id)
def test_case(case: Case, tmp_path: Path) -> None:
    path, options = words(case, tmp_path / "case")
    bundle = str(tmp_path / "bundle")
    plain = run(*options, path)
    assert run(*options, "--evidence", bundle, path) == plain
    for file in (tmp_path / "case").rglob("*"):
        if file.is_file() and str(file) != path:
            file.unlink()
    assert run("--json", "--replay", bundle, path) == plain
