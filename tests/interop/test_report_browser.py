"""The HTML report in a real browser: sorting, filtering, keys, no network, nothing cut off.

Needs Debian's ``chromium`` and the PyPI client ``playwright`` (no browser download).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from signward.policy.record import Record
from signward.report import webpage
from signward.state import Outcome
from tests.builders.records import refused, scan

pytestmark = pytest.mark.interop

COUNT = 3000


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return [*scan(COUNT), refused('/srv/tree/<img src=x onerror="document.title=1">.exe')]


@pytest.fixture(scope="module")
def report(records: list[Record], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = io.BytesIO()
    webpage.write(records, out, title="A report")
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_bytes(out.getvalue())
    return path


class Opened:
    """A page, the requests it made and the errors it raised."""

    def __init__(self, browser: Any, report: Path, width: int) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 900})
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: self.errors.append(message.text))
        self.page.goto(report.as_uri())
        self.page.wait_for_selector("html[data-ready=yes]")

    def column(self, name: str) -> list[str]:
        """Return the texts of one column in the rows that exist now."""
        texts: list[str] = self.page.locator(f"#rows .c-{name}").all_inner_texts()
        return texts

    def count(self) -> str:
        text: str = self.page.inner_text("#count")
        return text


@pytest.fixture(params=[1400, 390], ids=["desktop", "phone"])
def opened(request: pytest.FixtureRequest, browser: Any, report: Path) -> Iterator[Opened]:
    shown = Opened(browser, report, request.param)
    yield shown
    assert shown.errors == []
    assert shown.requests == [report.as_uri()]
    shown.page.close()


def test_only_the_rows_in_sight_exist(opened: Opened) -> None:
    assert opened.count() == f"{COUNT + 1:,} files in /srv/tree/"
    assert 5 < opened.page.locator("#rows .row").count() < 80


def test_rejected_files_come_first(opened: Opened) -> None:
    assert all("rejected" in word for word in opened.column("outcome"))


def test_filters_count_what_the_records_hold(opened: Opened, records: list[Record]) -> None:
    opened.page.select_option("#f-outcome", label=f"? indeterminate ({_indeterminate(records)})")
    assert opened.count() == f"{_indeterminate(records)} of {COUNT + 1:,} files in /srv/tree/"
    assert all("indeterminate" in word for word in opened.column("outcome"))


def _indeterminate(records: list[Record]) -> str:
    return f"{sum(r.outcome is Outcome.INDETERMINATE for r in records):,}"


def test_search_finds_every_word(opened: Opened, records: list[Record]) -> None:
    opened.page.fill("#q", "SETUP nordlicht")
    wanted = sum(
        "setup" in r.subject and r.publisher is not None and "Nordlicht" in r.publisher.name
        for r in records
    )
    opened.page.locator("#count", has_text=f"{wanted} of").wait_for()
    opened.page.fill("#q", "no such file anywhere")
    opened.page.wait_for_selector("#rows .empty")


def test_orders_go_both_ways(opened: Opened, records: list[Record]) -> None:
    sizes = sorted(r.size or 0 for r in records)
    for order, wanted in (("size up", sizes[0]), ("size down", sizes[-1])):
        opened.page.evaluate(
            "(o) => { const s = document.getElementById('f-order'); s.value = o;"
            " s.dispatchEvent(new Event('change')); }", order,
        )  # fmt: skip
        opened.page.focus("#scroll")
        opened.page.keyboard.press("Enter")
        assert f"{wanted:,} bytes" in opened.page.inner_text("#d-body")
        opened.page.keyboard.press("Escape")


def test_keys_move_show_and_close(opened: Opened) -> None:
    opened.page.focus("#scroll")
    opened.page.keyboard.press("End")
    assert opened.page.get_attribute("#scroll", "aria-activedescendant") == f"r{COUNT}"
    opened.page.keyboard.press("Enter")
    assert opened.page.locator("dialog[open] .finding").count() >= 1
    opened.page.keyboard.press("Escape")
    assert opened.page.locator("dialog[open]").count() == 0
    assert opened.page.evaluate("document.activeElement.id") == "scroll"


def test_a_bar_filters_the_table(opened: Opened) -> None:
    opened.page.click("[data-filter=cause][data-value=revoked]")
    assert " of " in opened.count()
    opened.page.focus("#scroll")
    opened.page.keyboard.press("Enter")
    assert "CERT_E_REVOKED" in opened.page.inner_text("#d-body")


def test_hostile_names_are_text(opened: Opened) -> None:
    opened.page.fill("#q", "onerror")
    opened.page.locator("#count", has_text="1 of").wait_for()
    assert opened.page.locator("#rows img").count() == 0
    assert opened.page.title() == "A report"
    assert "<img src=x onerror=" in opened.column("path")[0]


def test_nothing_is_wider_than_the_page(opened: Opened) -> None:
    width = opened.page.evaluate("document.documentElement.scrollWidth")
    assert width <= opened.page.viewport_size["width"]


def test_columns_stand_under_their_heads(browser: Any, report: Path) -> None:
    opened = Opened(browser, report, 1400)
    for name in ("path", "cause", "publisher", "kind", "time"):
        left = "(s) => Math.round(document.querySelector(s).getBoundingClientRect().left)"
        head = opened.page.evaluate(left, f"#head .h-{name}")
        assert abs(head - opened.page.evaluate(left, f"#rows .c-{name}")) <= 1
    opened.page.close()


def test_print_shows_a_plain_table(browser: Any, report: Path) -> None:
    opened = Opened(browser, report, 1000)
    assert opened.page.pdf()[:5] == b"%PDF-"
    opened.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert opened.page.locator("#print tbody tr").count() == 500
    opened.page.close()
