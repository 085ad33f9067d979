"""The page of a revocation: what it would stop and which date costs least, without script."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from signward.policy.rules.revoking import Blast, Candidate, Fate, Kind, Listed
from signward.report import charts
from signward.report.display import day, minute, quantity
from signward.report.revocation import WORDS, advice, facts, lead
from signward.report.webpage import asset, framed

TOP = 10
"""Hosts drawn before the rest are counted together."""

FILES = 200
"""Files told one by one; JSON lists more."""

_PATTERNS = {Fate.STOPS: "rejected", Fate.GOES_ON: "accepted", Fate.ALREADY: "plain",
             Fate.UNSETTLED: "indeterminate"}  # fmt: skip
_CLASSES = {Fate.STOPS: "o-rejected", Fate.GOES_ON: "o-accepted", Fate.ALREADY: "o-audited",
            Fate.UNSETTLED: "o-indeterminate"}  # fmt: skip
_MARKS = {Fate.STOPS: "✕", Fate.GOES_ON: "✓", Fate.ALREADY: "–", Fate.UNSETTLED: "?"}

Told = tuple[str, str, str]
"""A target, what it is told or why it is not, and its files: as text."""


def page(blast: Blast, targets: Sequence[Told] = ()) -> bytes:
    """Return the page, UTF-8."""
    style = asset("page.css") + asset("simulation.css") + asset("revocation.css")
    return framed(
        "revocation.html",
        f"Revoking {blast.culprit.label}",
        style,
        lead=charts.text(lead(blast)),
        since=minute(blast.since),
        facts="".join(f"<li>{charts.text(fact)}</li>" for fact in facts(blast)),
        fates=_fates(blast),
        legend=_legend(),
        chart=_chart(blast),
        advice=charts.text(advice(blast)),
        hosts=_hosts(blast),
        targets=_targets(targets),
        listed_note=charts.text(_listed_note(blast)),
        listed=_listed(blast.listed[:FILES]),
    )


def _fates(blast: Blast) -> str:
    tallies = {Fate.STOPS: blast.stops, Fate.GOES_ON: blast.goes_on, Fate.ALREADY: blast.already,
               Fate.UNSETTLED: blast.unsettled}  # fmt: skip
    whole = max(1, sum(tally.files for tally in tallies.values()))
    label = ", ".join(f"{tally.files:,} {WORDS[fate]}" for fate, tally in tallies.items())
    shares = ((_PATTERNS[fate], 100 * tally.files / whole) for fate, tally in tallies.items())
    keys = "".join(
        f'<li class="key {_CLASSES[fate]}"><span class="mark" aria-hidden="true">{_MARKS[fate]}'
        f"</span><b>{tally.files:,}</b> {WORDS[fate]}<small>on "
        f"{quantity(tally.hosts, 'host')}</small></li>"
        for fate, tally in tallies.items()
    )
    return f'{charts.stack(shares, label, height=34)}<ul class="keys">{keys}</ul>'


def _legend() -> str:
    return (
        f'<ul class="legend"><li>{charts.swatch("plain")}good files that stop</li>'
        f"<li>{charts.swatch('rejected')}bad files that go on</li></ul>"
    )


def _chart(blast: Blast) -> str:
    if not blast.matched.files:
        return '<p class="none">no file is concerned</p>'
    if blast.culprit.kind is Kind.DIGEST:
        return '<p class="none">dates make no difference</p>'
    most = max(1, *(max(one.lost, one.surviving) for one in blast.candidates))
    rows = "".join(_date(one, most, advised=one.since == blast.advised, asked=one.since ==
                         blast.since) for one in blast.candidates)  # fmt: skip
    return f'<ol class="dates">{rows}</ol>'


def _date(one: Candidate, most: int, *, advised: bool, asked: bool) -> str:
    words = [word for word, so in (("advised", advised), ("asked for", asked)) if so]
    note = f"<small>{', '.join(words)}</small>" if words else ""
    marked = ' class="advised"' if advised else ""
    bars = "".join(
        f'<span class="pair">{charts.stack([(pattern, 100 * number / most)], label)}'
        f"<b>{number:,}</b></span>"
        for pattern, number, label in (
            ("plain", one.lost, f"{one.lost:,} good files stop"),
            ("rejected", one.surviving, f"{one.surviving:,} bad files go on"),
        )
    )
    return f'<li{marked}><span class="when">{one.since:%Y-%m-%d %H:%M}{note}</span>{bars}</li>'


def _hosts(blast: Blast) -> str:
    rows = [
        charts.Line(label=host.name or "(unnamed)", told=quantity(host.files, "file"),
                    parts=(("rejected", host.files),))
        for host in blast.hosts
    ]  # fmt: skip
    return charts.lines(rows, TOP)


def _targets(targets: Iterable[Told]) -> str:
    rows = "".join(
        f"<tr><td>{charts.text(name)}</td><td>{charts.text(told)}</td>"
        f"<td>{charts.text(files)}</td></tr>"
        for name, told, files in targets
    )
    if not rows:
        return '<p class="none">none</p>'
    head = "<thead><tr><th>Target</th><th>How it names it</th><th>Files</th></tr></thead>"
    return f'<table class="targets">{head}<tbody>{rows}</tbody></table>'


def _listed_note(blast: Blast) -> str:
    shown = min(FILES, len(blast.listed))
    rest = blast.matched.files - shown
    more = f" {rest:,} more are counted above." if rest else ""
    return f"{quantity(shown, 'file')}, those on most hosts first.{more}"


def _listed(listed: Iterable[Listed]) -> str:
    rows = "".join(
        f'<tr><td class="where"><bdi>{charts.text(one.path)}</bdi>'
        f"<small>{charts.text(one.digest)}</small></td>"
        f'<td class="fate {_CLASSES[one.fate]}">{_MARKS[one.fate]} '
        f"{'known to be bad' if one.bad else WORDS[one.fate]}</td>"
        f'<td class="why">{day(one.proven) or "no proven time"}</td>'
        f'<td class="who">{charts.text(one.publisher)}</td>'
        f'<td class="number hosts" data-noun="hosts">{one.hosts:,}</td></tr>'
        for one in listed
    )
    if not rows:
        return '<p class="none">none</p>'
    head = ("<thead><tr><th>File</th><th>What becomes of it</th><th>Signed</th><th>Publisher</th>"
            '<th class="number">Hosts</th></tr></thead>')  # fmt: skip
    return f'<table class="files">{head}<tbody>{rows}</tbody></table>'
