"""Take a picture of the HTML report: scan the corpus, open the report in chromium, save a PNG.

``python -m tools.picture docs/report.png``; needs chromium and playwright, as the browser
tests do.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from demo.fetch import fetch

from signward.cli import main as signward
from tools.transcript import TREES

WIDTH, HEIGHT = 1200, 860

MAX_OCTETS = 300 * 1024
"""A page with a picture must stay quick to open."""

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the picture; return 1 where the scan, the browser or the size fails."""
    parser = argparse.ArgumentParser(prog="python -m tools.picture", description=__doc__)
    parser.add_argument("picture", type=Path)
    picture: Path = parser.parse_args(arguments).picture
    trees, missing = fetch("demo")
    if absent := set(TREES) & missing.keys():
        print(f"picture: absent from the corpus: {', '.join(sorted(absent))}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="signward-picture-") as name:
        report = Path(name) / "report.html"
        paths = [str(trees[tree]) for tree in TREES]
        if code := signward(["scan", "--quiet", "--no-cache", *paths, "--html", str(report)]):
            return code
        take(report, picture)
    size = picture.stat().st_size
    print(f"wrote {picture}, {size:,} bytes")
    return int(size > MAX_OCTETS)


def take(report: Path, picture: Path) -> None:
    """Open ``report`` in chromium and save what is seen of it at first."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=list(FLAGS)
        )
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto(report.as_uri())
        page.wait_for_load_state("networkidle")
        page.screenshot(path=picture)
        browser.close()


if __name__ == "__main__":
    raise SystemExit(main())
