"""The store measured: entries appended to the log a second, each durable before it is answered."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

from tests.builders import postgres

from bench.measure import Row, medians
from signward.store.engine import Store

CALLERS = 64
"""Threads that each append one entry, wait until it is durable, and append the next."""
EACH = 100
"""Entries of one caller in one round."""
ALONE = 200
"""Entries in one round of a single caller, whom nobody shares a commit with."""
BODY = bytes(range(256))
"""An entry: about as long as one of a timestamp."""


def appends(rounds: int) -> list[Row]:
    """Measure appends with group commit, and those of one caller alone, on both databases."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [_row("SQLite", f"sqlite:///{Path(folder, 'bench.db')}", rounds)]
    if missing := postgres.missing_tool():
        return [*rows, Row("log appends, PostgreSQL", "not measured", ">= 5,000/s", missing)]
    with postgres.running(durable=True) as cluster:
        return [*rows, _row("PostgreSQL", cluster.new_database(), rounds)]


def _row(name: str, url: str, rounds: int) -> Row:
    store = Store.open(url)
    try:
        together, alone = medians(rounds, lambda: _many(store), lambda: _some(store, ALONE))
    finally:
        store.close()
    rate, single = CALLERS * EACH / together.wall, ALONE / alone.wall
    figure = f"{rate:.0f}/s ({single:.0f}/s by one caller alone: {rate / single:.1f}x)"
    how = (
        f"{CALLERS} threads, {EACH} entries of {len(BODY)} octets each, every one waits until its"
        " entry is durable (fsync on)"
    )
    return Row(f"log appends, {name}", figure, ">= 5,000/s", how)


def _some(store: Store, count: int) -> None:
    for _ in range(count):
        store.append(BODY).result()


def _many(store: Store) -> None:
    threads = [threading.Thread(target=_some, args=(store, EACH)) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
