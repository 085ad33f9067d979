"""Every relative link in a page of the project leads to a file of the project."""

import re
from pathlib import Path

import pytest

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
