"""The HTML report: one self-contained file that asks no network for anything.

A Content-Security-Policy admits exactly the page's own script and style, by digest;
data stands apart as JSON.  See ``assets/`` for the template.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from importlib.resources import files
from string import Template
from typing import BinaryIO

from signward import __version__
from signward.policy.record import Record
from signward.policy.ways import FETCH, told_fetch, told_ways, way_of
from signward.report import attack, charts
from signward.report.display import minute, publisher_name, quantity, telling_signature
from signward.report.payload import Payload
from signward.state import Outcome

TOP = 8
"""Bars drawn per picture before the rest are counted together."""

LISTED = 20
"""Files named per technique before the rest are left to the table."""

Counts = dict[str, Counter[Outcome]]


class Page:
    """Takes records one by one and writes the page at the end."""

    def __init__(self, title: str = "Signward report") -> None:
        self.title = title
        self._payload = Payload()
        self._outcomes: Counter[Outcome] = Counter()
        self._causes: Counts = {}
        self._publishers: Counts = {}
        self._kinds: Counts = {}
        self._years: Counter[int] = Counter()
        self._rules: Counter[str] = Counter()
        self._ways: Counter[str] = Counter()
        self._fetch: set[str] = set()
        self._span: tuple[datetime, datetime] | None = None
        self._coverage = attack.coverage(())

    def add(self, record: Record) -> None:
        """Take one record in."""
        self._payload.add(record)
        self._outcomes[record.outcome] += 1
        self._rules[record.rule] += 1
        self._ways[way_of(record.outcome, record.rule)] += 1
        if told := record.facts.get(FETCH):
            self._fetch.add(str(told))
        _count(self._kinds, record.kind or "unknown", record.outcome)
        if record.cause:
            _count(self._causes, record.cause, record.outcome)
        if record.publisher:
            _count(self._publishers, publisher_name(record), record.outcome)
        signature = telling_signature(record)
        if signature and signature.proven_time:
            self._years[signature.proven_time.instant.year] += 1
        first, last = self._span or (record.at, record.at)
        self._span = (min(first, record.at), max(last, record.at))
        attack.count(self._coverage, record)

    def write(self, out: BinaryIO) -> None:
        """Write the page, UTF-8."""
        page = framed(
            "page.html",
            self.title,
            asset("page.css"),
            asset("page.js"),
            lead=self._lead(),
            facts=self._facts(),
            outcomes=charts.outcomes_figure(self._outcomes),
            causes=_bars("cause", self._causes),
            publishers=_bars("publisher", self._publishers),
            kinds=_bars("kind", self._kinds),
            timeline=charts.timeline(self._years),
            techniques="".join(map(self._technique, attack.TECHNIQUES)),
            data=self._payload.json(),
        )
        out.write(page)

    def _lead(self) -> str:
        total = sum(self._outcomes.values())
        rejected = self._outcomes[Outcome.REJECTED]
        unsettled = self._outcomes[Outcome.INDETERMINATE]
        lead = f"{quantity(total, 'file')} judged: {self._outcomes[Outcome.ACCEPTED]:,} accepted"
        if rejected:
            worst = max(self._causes.items(), key=lambda c: (c[1][Outcome.REJECTED], c[0]))[0]
            lead += f", {rejected:,} rejected (most often <b>{charts.text(worst)}</b>)"
        if unsettled:
            lead += f", {unsettled:,} could not be judged"
        return f"{lead}."

    def _facts(self) -> str:
        if self._span is None:
            return "No file was judged."
        first, last = map(minute, self._span)
        span = first if first == last else f"{first} to {last}"
        rules = ", ".join(sorted(self._rules)[:TOP])
        ways = f" Vouched for by: {told_ways(self._ways)}."
        if self._fetch:
            ways += f" {told_fetch(self._fetch)}."
        return f"Validation time {span}. Decided by: {charts.text(rules)}.{ways}"

    def _technique(self, technique: attack.Technique) -> str:
        entry = self._coverage[technique.id]
        files_touched = entry.touched
        state = "touched" if files_touched else "clear" if entry.concerned else "absent"
        bar = _technique_bar(entry)
        return (
            f'<article class="technique {state}"><h3><a href="{technique.url}" '
            f'rel="noreferrer noopener">{technique.id}</a> {charts.text(technique.name)}</h3>'
            f'<p class="state">{_state_words(entry)}</p>'
            f"{bar if entry.concerned else ''}"
            f'<p class="note">Spoken for by {charts.text(technique.speaks)}.</p>'
            f"{_touched_files(technique, files_touched)}</article>"
        )


def _technique_bar(entry: attack.Coverage) -> str:
    touched, unsettled = len(entry.touched), entry.unsettled
    clear = entry.concerned - touched - unsettled
    label = f"{touched:,} touch it, {unsettled:,} not judged, {clear:,} do not touch it"
    parts = (("rejected", touched), ("indeterminate", unsettled), ("accepted", clear))
    return charts.stack(((name, 100 * n / max(entry.concerned, 1)) for name, n in parts), label)


def _state_words(entry: attack.Coverage) -> str:
    if not entry.concerned:
        return "– No file here is of this sort"
    touched = len(entry.touched)
    mark = "✕" if touched else "✓"
    verb = "touches it" if touched == 1 else "touch it"
    told = f"{mark} {quantity(touched, 'file')} {verb}, of {entry.concerned:,} asked"
    return told + (f", {entry.unsettled:,} not judged" if entry.unsettled else "")


def _touched_files(technique: attack.Technique, paths: list[str]) -> str:
    if not paths:
        return ""
    items = "".join(f"<li><bdi>{charts.text(path)}</bdi></li>" for path in paths[:LISTED])
    rest = len(paths) - LISTED
    more = f"<li>and {quantity(rest, 'more file')}</li>" if rest > 0 else ""
    return (
        f'<button type="button" class="plain-button" data-filter="attack" '
        f'data-value="{technique.id}">Show in the table</button>'
        f"<details><summary>Which files</summary><ul>{items}{more}</ul></details>"
    )


def _count(counts: Counts, name: str, outcome: Outcome) -> None:
    counts.setdefault(name, Counter())[outcome] += 1


def _bars(what: str, counts: Mapping[str, Counter[Outcome]]) -> str:
    rows = sorted(counts.items(), key=lambda item: (-item[1].total(), item[0]))
    rest = rows[TOP:]
    return charts.bars(
        what,
        [(name, name, by_outcome) for name, by_outcome in rows[:TOP]],
        (len(rest), sum(by_outcome.total() for _, by_outcome in rest)),
    )


def framed(body: str, title: str, style: str, script: str = "", **fields: str) -> bytes:
    """Return a page that runs nothing but ``script``, UTF-8.

    ``body`` is the asset that stands behind the common head; ``fields`` are HTML.
    """
    source = f"script-src '{_csp_hash(script)}'; " if script else ""
    page = Template(asset("head.html") + asset(body)).substitute(
        fields,
        title=charts.text(title),
        version=charts.text(__version__),
        style=style,
        style_hash=_csp_hash(style),
        script=script,
        script_source=source,
        patterns=charts.PATTERNS,
    )
    return page.encode()


def asset(name: str) -> str:
    """Return the text of a file in ``assets/``."""
    return (files("signward.report") / "assets" / name).read_text("utf-8")


def _csp_hash(text: str) -> str:
    """Return the source expression for an inline element (CSP Level 3, 2.3.1)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def write(records: Iterable[Record], out: BinaryIO, *, title: str = "Signward report") -> None:
    """Write the page for ``records`` to ``out``."""
    page = Page(title)
    for record in records:
        page.add(record)
    page.write(out)
