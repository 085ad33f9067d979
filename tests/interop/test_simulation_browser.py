"""The page of a simulation in a real browser: no script, no network, nothing cut off.

Needs Debian's ``chromium`` and the PyPI client ``playwright`` (no browser download).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from signward.report import simulation_page
from tests.unit.test_simulation_page import mixture

pytestmark = pytest.mark.interop

HOSTILE = '<img src=x onerror="document.title=1">'


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = io.BytesIO()
    simulation_page.write(mixture(), out, title=HOSTILE)
    path = tmp_path_factory.mktemp("page") / "simulation.html"
    path.write_bytes(out.getvalue())
    return path


@pytest.fixture(params=[1400, 390], ids=["desktop", "phone"])
def page(request: pytest.FixtureRequest, browser: Any, path: Path) -> Iterator[Any]:
    shown = browser.new_page(viewport={"width": request.param, "height": 900})
    requests: list[str] = []
    errors: list[str] = []
    shown.on("request", lambda one: requests.append(one.url))
    shown.on("pageerror", lambda error: errors.append(str(error)))
    shown.on("console", lambda message: errors.append(message.text))
    shown.goto(path.as_uri())
    yield shown
    assert errors == []
    assert requests == [path.as_uri()]
    shown.close()


def test_nothing_is_wider_than_the_page(page: Any) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def test_no_text_is_cut_off(page: Any) -> None:
    cut = page.evaluate(
        "[...document.querySelectorAll('td, .label, .count, h3, p')]"
        ".filter(e => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display != 'inline')"
        ".map(e => e.textContent)"
    )
    assert cut == []


def test_the_title_is_text(page: Any) -> None:
    assert page.title() == HOSTILE
    assert page.locator("img").count() == 0


def test_pictures_are_drawn(page: Any) -> None:
    boxes = page.evaluate(
        "[...document.querySelectorAll('figure svg.bar rect, figure svg.curve rect')]"
        ".map(e => e.getBoundingClientRect()).map(b => [b.width, b.height, b.left, b.right])"
    )
    assert len(boxes) > 10
    width = page.viewport_size["width"]
    assert all(w > 0 and h > 0 and left >= 0 and right <= width for w, h, left, right in boxes)


def test_a_rule_is_shown_when_asked_for(page: Any) -> None:
    proposal = page.locator("article.proposal").first
    assert not proposal.locator("pre").is_visible()
    proposal.locator("summary").click()
    assert "[[rule]]" in proposal.locator("pre").inner_text()


def test_files_stand_below_each_other_on_a_phone(page: Any) -> None:
    row = page.locator(".files tbody tr").first
    where = row.locator(".where").bounding_box()
    fate = row.locator(".fate").bounding_box()
    if page.viewport_size["width"] < 760:
        assert fate["y"] >= where["y"] + where["height"] - 1
    else:
        assert fate["x"] >= where["x"] + where["width"] - 1
