"""The scan's summary and table on a terminal, drawn by rich (imported when used)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

import msgspec

from signward.policy.record import Gist, Record
from signward.policy.ways import EMBEDDED, FETCH, NOBODY, told_fetch, told_ways, way_of
from signward.report import attack
from signward.report.display import (
    MARKS,
    day,
    outcome_word,
    publisher_name,
    quantity,
    telling_signature,
    visible,
)
from signward.state import Outcome

if TYPE_CHECKING:
    from rich.table import Table

TOP = 8
"""Causes and publishers named in the summary before the rest are counted together."""

WIDE = 5000
"""Columns of a table that no terminal bounds: nothing is cut off in a file or a pipe."""


class Summary(msgspec.Struct):
    """Counts over a scan; ``publishers`` by lasting identity, ``ways`` by who vouches.

    ``fetch`` are packages that are not at hand, ``forgeable`` the accepted files whose signature
    would not survive a quantum adversary.
    """

    files: int = 0
    signed: int = 0
    forgeable: int = 0
    outcomes: Counter[Outcome] = msgspec.field(default_factory=Counter)
    causes: Counter[str] = msgspec.field(default_factory=Counter)
    kinds: Counter[str] = msgspec.field(default_factory=Counter)
    publishers: Counter[str] = msgspec.field(default_factory=Counter)
    ways: Counter[str] = msgspec.field(default_factory=Counter)
    fetch: set[str] = msgspec.field(default_factory=set)
    names: dict[str, str] = msgspec.field(default_factory=dict)
    coverage: dict[str, attack.Coverage] = msgspec.field(
        default_factory=lambda: attack.coverage(())
    )

    def add(self, record: Record | Gist) -> None:
        """Count one record."""
        self.files += 1
        signature = record.judged_signature if record.outcome is Outcome.ACCEPTED else None
        self.signed += signature is not None
        self.forgeable += signature is not None and not signature.quantum_safe
        self.outcomes[record.outcome] += 1
        self.kinds[record.kind or "unknown"] += 1
        self.ways[way_of(record.outcome, record.rule)] += 1
        if told := record.facts.get(FETCH):
            self.fetch.add(str(told))
        if record.cause:
            self.causes[record.cause] += 1
        if record.publisher:
            self.publishers[record.publisher.identity] += 1
            self.names.setdefault(record.publisher.identity, record.publisher.name)
        attack.count(self.coverage, record)


def summarise(records: Iterable[Record]) -> Summary:
    """Return the counts over ``records``."""
    summary = Summary()
    for record in records:
        summary.add(record)
    return summary


def write_summary(summary: Summary, out: TextIO, *, colour: bool | None = None) -> None:
    """Write the counts: outcomes, causes, publishers and techniques touched."""
    from rich.console import Console

    console = Console(file=out, no_color=colour is False, highlight=False, soft_wrap=True)
    told = ", ".join(
        f"{MARKS[outcome]} {summary.outcomes[outcome]:,} {outcome.value}" for outcome in Outcome
    )
    console.print(f"{quantity(summary.files, 'file')} judged: {told}", markup=False)
    names = Counter[str]()
    for identity, number in summary.publishers.items():
        names[summary.names[identity]] += number
    if summary.ways.keys() - {EMBEDDED, NOBODY}:
        console.print(f"vouched for by {told_ways(summary.ways)}", markup=False)
    if summary.fetch:
        console.print(told_fetch(summary.fetch), markup=False)
    for title, counts in (("causes", summary.causes), ("publishers", names)):
        if counts:
            console.print(_counts(title, counts))
    if summary.signed:
        told = f"{summary.forgeable:,} of {summary.signed:,} accepted signatures"
        console.print(f"{told} would not survive a quantum adversary", markup=False)
    if any(entry.touched for entry in summary.coverage.values()):
        console.print(_techniques(summary))


def _counts(title: str, counts: Counter[str]) -> Table:
    table = _table(title, "files")
    for name, number in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:TOP]:
        table.add_row(_plain(name), f"{number:,}")
    if len(counts) > TOP:
        rest = sum(sorted(counts.values(), reverse=True)[TOP:])
        table.add_row(f"{len(counts) - TOP:,} more", f"{rest:,}")
    return table


def _techniques(summary: Summary) -> Table:
    table = _table("ATT&CK", "files")
    for technique in attack.TECHNIQUES:
        entry = summary.coverage[technique.id]
        if entry.touched:
            table.add_row(f"{technique.id} {technique.name}", f"{len(entry.touched):,}")
    return table


def _table(*titles: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False)
    for title in titles:
        table.add_column(title, justify="right" if title in ("files", "bytes") else "left")
    return table


def _plain(text: str) -> str:
    """Return ``text`` visible and free of rich's markup."""
    from rich.markup import escape

    return escape(visible(text))


def write_table(records: Iterable[Record], out: TextIO, *, colour: bool | None = None) -> None:
    """Write one table row per record: outcome, path, cause, publisher, when signed.

    A column with nothing in it is left out: the paths need its room.
    """
    from rich.console import Console

    titles = ("outcome", "file", "cause", "publisher", "signed")
    rows = [_cells(record) for record in records]
    told = [i for i in range(len(titles)) if i <= 1 or any(row[i] for row in rows)]
    table = _table(*(titles[i] for i in told))
    table.columns[1].overflow = "fold"
    for row in rows:
        table.add_row(*(row[i] for i in told))
    width = None if out.isatty() else WIDE
    Console(file=out, no_color=colour is False, highlight=False, width=width).print(table)


def _cells(record: Record) -> tuple[str, ...]:
    signature = telling_signature(record)
    proven = signature.proven_time if signature else None
    return (
        f"{MARKS[record.outcome]} {outcome_word(record)}",
        _plain(record.subject),
        record.cause or "",
        _plain(publisher_name(record)),
        day(proven.instant if proven else None),
    )
