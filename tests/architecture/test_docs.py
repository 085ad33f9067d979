"""Pages: links lead somewhere, and what is generated is current."""

import os
import re
from pathlib import Path

import pytest
from conformance.authenticode.cases import all_cases
from tools.pages import PAGES as GENERATED
from tools.pages import main
from tools.picture import MAX_OCTETS
from tools.transcript import COLUMNS, COMMANDS, run

from signward.findings import Code
from signward.report.causes import CAUSES
from tests.architecture.code import REPOSITORY

PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")])
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def broken(page: Path) -> list[str]:
    """Return the relative links of ``page`` that lead nowhere."""
    links = [link for link in _LINK.findall(page.read_text("utf-8")) if ":" not in link]
    return [link for link in links if not (page.parent / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("[a](gone.md#part) [b](page.md) [c](https://example.org/x)")
    assert broken(page) == ["gone.md"]


@pytest.mark.parametrize("name", GENERATED)
def test_generated_pages_are_current(name: str) -> None:
    assert (REPOSITORY / name).read_text("utf-8") == GENERATED[name](), "run make docs"


def test_the_check_names_a_page_that_is_not_current(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(GENERATED, "docs/causes.md", lambda: "other")
    assert main(["--check"]) == 1
    assert capsys.readouterr().err == "docs/causes.md is not current: run make docs\n"


def test_every_cause_is_explained_and_reported_by_something() -> None:
    assert list(CAUSES) == list(Code)
    judging = [
        path.read_text("utf-8")
        for path in (REPOSITORY / "src" / "signward").rglob("*.py")
        if path.parent.name != "report" and path.name != "findings.py"
    ]
    unused = {code for code in Code if not any(f"Code.{code.name}" in text for text in judging)}
    assert unused == set()


def test_the_transcript_in_the_readme_is_of_the_commands_the_tool_runs() -> None:
    page = (REPOSITORY / "README.md").read_text("utf-8")
    block = page.partition("<!-- transcript -->")[2].partition("<!-- end of transcript -->")[0]
    assert re.findall(r"^\$ (.*)$", block, re.MULTILINE) == list(COMMANDS)
    assert all(word in block for word in ("ACCEPTED ", "REJECTED ", "digest-mismatch", "files"))


def test_a_transcript_is_what_a_terminal_of_eighty_columns_shows(tmp_path: Path) -> None:
    told = run("stty size <&1; test -t 1 && pwd; echo wrong >&2; exit 3", tmp_path, os.defpath)
    assert told == [f"200 {COLUMNS}", str(tmp_path), "wrong"]


def test_the_readme_has_two_set_up_commands_and_a_small_picture() -> None:
    page = (REPOSITORY / "README.md").read_text("utf-8")
    (block,) = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    assert block.splitlines() == ["make demo", "make test"]
    assert (REPOSITORY / "docs" / "report.png").stat().st_size < MAX_OCTETS


def test_every_decision_has_its_number() -> None:
    pages = sorted((REPOSITORY / "docs" / "decisions").glob("*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        assert page.read_text("utf-8").startswith(f"# {int(page.name[:4])}. ")


def test_every_row_is_told_of_and_every_row_told_of_is_tested() -> None:
    page = (REPOSITORY / "docs" / "threats.md").read_text("utf-8")
    told = set(re.findall(r"^\| (\d+) \|", page, re.MULTILINE))
    cases = {str(case.row) for case in all_cases()} - {"design"}
    assert cases <= told
    assert told - cases <= _rows_named_by_unit_tests()


def _rows_named_by_unit_tests() -> set[str]:
    """Return the rows in ``(THREATS 4, 5-7)`` of the modules' own descriptions."""
    rows: set[str] = set()
    for path in sorted((REPOSITORY / "tests" / "unit").glob("test_*.py")):
        named = re.match(r'"""[^"]*\(THREATS ([\d, -]+)\)', path.read_text("utf-8"))
        for part in named[1].split(",") if named else ():
            first, _, last = part.strip().partition("-")
            rows |= set(map(str, range(int(first), int(last or first) + 1)))
    return rows
