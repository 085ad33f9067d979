"""Replicas measured: two services that share a PostgreSQL database, against one of them alone.

Each replica is held to a core of its own, as if it were a machine: one that has all cores signs
on all of them, and a second could add nothing.  The database and what asks run wherever there
is room, on the same cores.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqlalchemy import select
from tests.builders import postgres
from tests.builders.realm import make_realm

from bench.measure import NotMeasuredError, Row, medians
from bench.serving import SECONDS, Load, Server, load, posting, serving
from signward.authority.log.entry import decode
from signward.authority.log.tree import Frontier
from signward.store import log
from signward.store.engine import Store
from signward.store.tables import log_entry

CLIENTS = 32
"""Connections to each replica."""

_WHAT = "timestamps of two replicas on PostgreSQL, ratio to one"


def replicas(rounds: int) -> list[Row]:
    """Measure how many timestamps two replicas give, and that no serial number comes twice."""
    if missing := postgres.missing_tool() or _too_few_cores():
        return [Row(_WHAT, "not measured", "> 1x", missing)]
    with tempfile.TemporaryDirectory() as name, postgres.running(durable=True) as cluster:
        return [_row(rounds, Path(name), cluster.new_database())]


def _too_few_cores() -> str:
    return "" if (os.cpu_count() or 1) > 1 else "one core"


def _row(rounds: int, folder: Path, database: str) -> Row:
    first, second = folder / "first", folder / "second"
    first.mkdir()
    make_realm(first, database=database).close()
    shutil.copytree(first, second)
    script = posting(folder)
    alone: list[list[Load]] = []
    together: list[list[Load]] = []
    options = ("--database", database)
    with serving(first, *options, core=0) as one, serving(second, *options, core=1) as two:
        medians(
            rounds,
            lambda: alone.append(_loads([one], script)),
            lambda: together.append(_loads([one, two], script)),
        )
    serials = _check_log(database, sum(one.answers for each in alone + together for one in each))
    single, both = _median_rate(alone), _median_rate(together)
    figure = (
        f"{both / single:.2f}x ({both:.0f} and {single:.0f} a second); {serials} serial numbers,"
        " none twice"
    )
    how = (
        f"POST /tsa, {CLIENTS} connections to each, {SECONDS} s of wrk; each replica a process of"
        " signward serve on a core of its own, the database (fsync on) and wrk beside them on the"
        f" same {os.cpu_count()} cores; every token in one consistent log; load"
        f" {os.getloadavg()[0]:.1f}"
    )
    return Row(_WHAT, figure, "> 1x", how)


def _loads(servers: Sequence[Server], script: Sequence[str]) -> list[Load]:
    """Load these servers at the same time."""
    with ThreadPoolExecutor(len(servers)) as pool:
        return list(pool.map(lambda server: load(server, "/tsa", CLIENTS, *script), servers))


def _median_rate(rounds: Sequence[Sequence[Load]]) -> float:
    """Return what all servers together gave a second, without the round that warms up."""
    return statistics.median(sum(one.rate for one in each) for each in rounds[1:])


def _check_log(database: str, answers: float) -> int:
    """Return how many tokens the log has.  Raises ``NotMeasuredError`` where it is not right."""
    store = Store.open(database)
    try:
        with store.read() as connection:
            columns = select(log_entry.c.leaf_hash, log_entry.c.body)
            rows = connection.execute(columns.order_by(log_entry.c.position)).all()
            stored = log.frontier(connection)
    finally:
        store.close()
    if Frontier().extended([row.leaf_hash for row in rows]) != stored:
        raise NotMeasuredError("the log contradicts itself")
    serials = {str(decode(row.body).fields["serial"]) for row in rows}
    if len(serials) != len(rows):
        raise NotMeasuredError(f"{len(rows) - len(serials)} serial numbers came twice")
    if len(serials) < answers:
        raise NotMeasuredError(f"{answers:.0f} answers, {len(serials)} tokens among them")
    return len(serials)
