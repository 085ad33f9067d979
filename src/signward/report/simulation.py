"""A simulation on a terminal and as JSON: what would be stopped, and what would let it in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TextIO

from signward.policy.record import printable_json
from signward.policy.rules.model import Document, Mode, Rule
from signward.policy.rules.simulated import Fate, Listed, Proposal, Share, Simulation, Tally
from signward.policy.rules.writing import to_toml
from signward.report.display import minute, quantity, visible

if TYPE_CHECKING:
    from rich.table import Table

MARKS = {Fate.RUNS: "✓", Fate.AUDITED: "!", Fate.STOPPED: "✕", Fate.UNSETTLED: "?"}
"""A shape beside each fate's word: nothing is told by colour alone."""

WORDS = {Fate.RUNS: "would run", Fate.AUDITED: "would run and be reported",
         Fate.STOPPED: "would be stopped", Fate.UNSETTLED: "not known"}  # fmt: skip

CAUSES = {"accepted": "signed and trusted", "indeterminate": "cannot be told"}
"""What a signature alone is worth, where no cause says it."""

TOP = 8
"""Rows of a table of counts before the rest are counted together."""

SHOWN = 20
"""Proposals and files printed before the rest is only counted."""

DIGESTS_SHOWN = 8
"""Digests of a rule that are shown to people; files hold all."""

WIDE = 5000
"""Columns of a table that no terminal bounds."""


def to_json(simulation: Simulation) -> bytes:
    """Return the simulation as one line of JSON, UTF-8, safe to print."""
    return printable_json(simulation)


def reason_words(reason: str, named: str) -> str:
    """Return why a file is not let in, in words."""
    words = {
        "no-rule": "no rule lets it in",
        "denied": f"denied by {named}",
        "unmet": f"not met: {named}",
        "withdrawn": f"withdrawn: {named}",
        "missing": f"not known: {named}",
    }
    return words.get(reason, f"{reason} {named}".strip())


def lead(simulation: Simulation) -> str:
    """Return in one sentence what the policy would do."""
    seen, fates = simulation.seen, simulation.fates
    if not seen.files:
        return "No file is known that a policy would be asked about."
    runs = fates[Fate.RUNS].files + fates[Fate.AUDITED].files
    told = (
        f"Of {quantity(seen.files, 'file')} on {quantity(seen.hosts, 'host')}, {runs:,} would run"
    )
    if fates[Fate.AUDITED].files:
        told += f" ({fates[Fate.AUDITED].files:,} of them reported)"
    stopped, unsettled = fates[Fate.STOPPED], fates[Fate.UNSETTLED]
    told += f"; {stopped.files:,} would be stopped"
    told += f", on {quantity(stopped.hosts, 'host')}" if stopped.hosts else ""
    if unsettled.files:
        told += f"; whether {unsettled.files:,} would is not known"
    return f"{told}."


def notes(simulation: Simulation) -> tuple[str, ...]:
    """Return what must be known to read the numbers rightly."""
    found = []
    if simulation.mode is Mode.MONITOR:
        found.append("The policy monitors and stops nothing yet: this is what enforcing would do.")
    if simulation.outside:
        files = quantity(simulation.outside, "file")
        found.append(f"{files} that nothing starts (catalogs, data) are not counted.")
    if simulation.suspect.files:
        files = quantity(simulation.suspect.files, "file")
        found.append(f"{files} stopped were altered or withdrawn: no rule is proposed for them.")
    if simulation.uncovered:
        files = quantity(simulation.uncovered, "file")
        found.append(f"{files} in want of a rule are let in by none that is proposed.")
    if simulation.proposals_more:
        more = quantity(simulation.proposals_more, "more rule")
        found.append(f"{more} would be needed: only those that cover most are proposed.")
    return tuple(found)


def heading(simulation: Simulation) -> str:
    """Return which policy was simulated, and for when."""
    at = minute(simulation.at)
    return f"{simulation.policy} {simulation.version} ({simulation.mode.value}), {at}"


def rule_toml(rule: Rule) -> str:
    """Return a rule as it stands in a policy, with some of its digests if it has many."""
    from signward.frozen import replace

    more = len(rule.digest) - DIGESTS_SHOWN
    shown = replace(rule, digest=rule.digest[:DIGESTS_SHOWN]) if more > 0 else rule
    text = to_toml(Document(schema=1, name="shown", version=1, rule=(shown,)))
    text = "[[rule]]" + text.partition("[[rule]]")[2]
    return text + (f"# and {more:,} more digests\n" if more > 0 else "")


def write_text(simulation: Simulation, out: TextIO, *, colour: bool | None = None) -> None:
    """Write the simulation as tables: counts, reasons, proposals, files."""
    from rich.console import Console

    width = None if out.isatty() else WIDE
    console = Console(file=out, no_color=colour is False, highlight=False, width=width,
                      soft_wrap=True)  # fmt: skip
    console.print(visible(heading(simulation)), markup=False)
    console.print(lead(simulation), markup=False)
    for note in notes(simulation):
        console.print(f"note: {note}", markup=False)
    for table in _tables(simulation):
        console.print()
        console.print(table)
    if simulation.listed_more:
        console.print(f"... and {simulation.listed_more:,} more", markup=False)


def _tables(simulation: Simulation) -> Iterable[Table]:
    yield _fates(simulation)
    counted = (
        ("why stopped", [(reason_words(s.kind, s.name), s.stopped) for s in simulation.reasons]),
        ("not known", [(s.name, s.unsettled) for s in simulation.missing]),
        ("signed by (not let in)", _both(simulation.publishers)),
        ("its signature alone", [(CAUSES.get(n, n), t) for n, t in _both(simulation.causes)]),
    )
    for title, rows in counted:
        if rows:
            yield _counts(title, rows)
    if simulation.proposals:
        yield _proposals(simulation.proposals)
    if simulation.listed:
        yield _files(simulation.listed)


def _both(shares: Sequence[Share]) -> list[tuple[str, Tally]]:
    return [
        (share.name, Tally(files=share.stopped.files + share.unsettled.files,
                           sightings=share.stopped.sightings + share.unsettled.sightings,
                           hosts=max(share.stopped.hosts, share.unsettled.hosts)))
        for share in shares
    ]  # fmt: skip


def _fates(simulation: Simulation) -> Table:
    table = _table("", "files", "sightings", "hosts")
    for fate, tally in simulation.fates.items():
        table.add_row(f"{MARKS[fate]} {WORDS[fate]}", *_numbers(tally))
    return table


def _counts(title: str, rows: list[tuple[str, Tally]]) -> Table:
    table = _table(title, "files", "hosts")
    for name, tally in rows[:TOP]:
        table.add_row(_plain(name), f"{tally.files:,}", f"{tally.hosts:,}")
    if len(rows) > TOP:
        rest = sum(tally.files for _, tally in rows[TOP:])
        table.add_row(f"{len(rows) - TOP:,} more", f"{rest:,}", "")
    return table


def _proposals(proposals: Sequence[Proposal]) -> Table:
    table = _table("rule proposed", "by", "lets in", "on hosts", "also", "denied")
    for proposal in proposals[:SHOWN]:
        table.add_row(
            _plain(proposal.rule.id),
            proposal.tier,
            f"{proposal.covers.files:,}",
            f"{proposal.covers.hosts:,}",
            f"{proposal.also.files:,}" if proposal.also.files else "",
            f"{proposal.denied:,}" if proposal.denied else "",
        )
    if len(proposals) > SHOWN:
        rest = sum(proposal.covers.files for proposal in proposals[SHOWN:])
        table.add_row(f"{len(proposals) - SHOWN:,} more", "", f"{rest:,}", "", "", "")
    return table


def _files(listed: Sequence[Listed]) -> Table:
    table = _table("", "file", "why", "signed by", "hosts")
    table.columns[1].overflow = "fold"
    for row in listed[:SHOWN]:
        why = reason_words(row.reason, row.named)
        table.add_row(
            f"{MARKS[row.fate]} {row.fate.value}", _plain(row.path), _plain(why),
            _plain(row.publisher), f"{row.seen.hosts:,}",
        )  # fmt: skip
    if len(listed) > SHOWN:
        table.add_row(
            "", f"... and {len(listed) - SHOWN:,} more listed in JSON and HTML", "", "", ""
        )
    return table


def _numbers(tally: Tally) -> tuple[str, str, str]:
    return f"{tally.files:,}", f"{tally.sightings:,}", f"{tally.hosts:,}"


_RIGHT = frozenset({"files", "sightings", "hosts", "lets in", "on hosts", "also", "denied"})


def _table(*titles: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False)
    for title in titles:
        table.add_column(title, justify="right" if title in _RIGHT else "left")
    return table


def _plain(text: str) -> str:
    """Return ``text`` visible and free of rich's markup."""
    from rich.markup import escape

    return escape(visible(text))
