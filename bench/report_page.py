"""Measure the HTML report in a browser: ``PYTHONPATH=src:. python -m bench.report_page [ROWS]``.

Needs Debian's ``chromium`` and the PyPI client ``playwright``.  Times are what the page's
own performance marks say, in milliseconds, over synthetic records (seed 1).
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.builders.records import scan

from signward.report import webpage

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]

MEASURE = """async () => {
  const pause = (t) => new Promise((done) => setTimeout(done, t));
  const take = (name) => {
    const times = performance.getEntriesByName(name).map((entry) => entry.duration);
    performance.clearMeasures();
    return times;
  };
  const query = document.getElementById("q"), box = document.getElementById("scroll");
  take("filter");
  for (const button of document.querySelectorAll("#head button"))
    for (let i = 0; i < 2; i++) { button.click(); await pause(20); }
  const sort = take("sort");
  take("filter");
  for (const text of ["core", "core nordlicht", "zzz", "abcdef", ""]) {
    query.value = text; query.dispatchEvent(new Event("input")); await pause(250);
  }
  const filter = take("filter"), frames = [];
  for (let i = 1; i <= 60; i++) {
    const start = performance.now();
    box.scrollTop = (box.scrollHeight * i) / 60;
    await new Promise(requestAnimationFrame);
    frames.push(performance.now() - start);
  }
  return { sort, filter, frames };
}"""


def main(rows: int) -> None:
    """Print the page's size and the times of its work."""
    from playwright.sync_api import sync_playwright

    records = list(scan(rows))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "report.html"
        start = time.perf_counter()
        with path.open("wb") as out:
            webpage.write(records, out)
        made = time.perf_counter() - start
        print(f"{rows:,} rows: page of {path.stat().st_size / 1e6:.1f} MB made in {made:.2f} s")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page()
        start = time.perf_counter()
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready=yes]")
        print(f"opened and drawn in {time.perf_counter() - start:.2f} s")
        for name, times in page.evaluate(MEASURE).items():
            print(f"{name}: median {statistics.median(times):.1f} ms, worst {max(times):.1f} ms")
        browser.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000)
