"""The page of a simulation: one self-contained file without script, for a desk and for a phone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import BinaryIO

from signward.policy.rules.simulated import (
    Fate,
    HostShare,
    Listed,
    Proposal,
    RuleUse,
    Share,
    Simulation,
)
from signward.report import charts
from signward.report.display import quantity
from signward.report.simulation import (
    CAUSES,
    MARKS,
    WORDS,
    heading,
    lead,
    notes,
    reason_words,
    rule_toml,
)
from signward.report.webpage import asset, framed

TOP = 8
"""Bars drawn per picture before the rest are counted together."""

PROPOSALS = 30
DIGESTS = 60
"""Proposals told one by one, and those by digest; a supplement that is written holds all."""

FILES = 100
"""Files told one by one; JSON lists more."""

RULES = 40
"""Rules of the policy told one by one."""

PATTERNS = {Fate.RUNS: "accepted", Fate.AUDITED: "plain", Fate.STOPPED: "rejected",
            Fate.UNSETTLED: "indeterminate"}  # fmt: skip
_CLASSES = {Fate.RUNS: "o-accepted", Fate.AUDITED: "o-audited", Fate.STOPPED: "o-rejected",
            Fate.UNSETTLED: "o-indeterminate"}  # fmt: skip
_TIERS = {"publisher": "accepted", "product": "plain", "digest": "indeterminate"}
_BY = {"publisher": "by publisher", "product": "by publisher and product", "digest": "by digest"}


def write(simulation: Simulation, out: BinaryIO, *, title: str = "") -> None:
    """Write the page, UTF-8."""
    style = asset("page.css") + asset("simulation.css")
    page = framed(
        "simulation.html",
        title or f"Simulation of {simulation.policy} {simulation.version}",
        style,
        lead=charts.text(lead(simulation)),
        notes=_notes(simulation),
        fates=_fates(simulation),
        reasons=_reasons(simulation.reasons),
        missing=_shares([(s.name, s) for s in simulation.missing]),
        publishers=_shares([(s.name, s) for s in simulation.publishers]),
        causes=_shares([(CAUSES.get(s.name, s.name), s) for s in simulation.causes]),
        kinds=_shares([(s.name, s) for s in simulation.kinds]),
        hosts=_hosts(simulation.hosts[:TOP], simulation.hosts_touched),
        needed=charts.text(_needed(simulation)),
        curve=_curve(simulation),
        proposals=_proposals(simulation.proposals),
        used=_used(simulation),
        listed_note=charts.text(_listed_note(simulation)),
        listed=_listed(simulation.listed[:FILES]),
    )
    out.write(page)


def _notes(simulation: Simulation) -> str:
    told = (heading(simulation), *notes(simulation))
    return "".join(f'<p class="facts">{charts.text(note)}</p>' for note in told)


def _fates(simulation: Simulation) -> str:
    whole = max(1, simulation.seen.sightings)
    label = ", ".join(
        f"{tally.sightings:,} {fate.value}" for fate, tally in simulation.fates.items()
    )
    shares = ((PATTERNS[fate], 100 * tally.sightings / whole)
              for fate, tally in simulation.fates.items())  # fmt: skip
    keys = "".join(
        f'<li class="key {_CLASSES[fate]}"><span class="mark" aria-hidden="true">{MARKS[fate]}'
        f"</span><b>{tally.sightings:,}</b> {WORDS[fate]}<small>{quantity(tally.files, 'file')}"
        f" on {quantity(tally.hosts, 'host')}</small></li>"
        for fate, tally in simulation.fates.items()
    )
    return f'{charts.stack(shares, label, height=34)}<ul class="keys">{keys}</ul>'


def _reasons(shares: Sequence[Share]) -> str:
    return _shares([(reason_words(share.kind, share.name), share) for share in shares])


def _shares(named: Sequence[tuple[str, Share]]) -> str:
    """Return bars of files, stopped and unsettled ones apart; the count tells hosts too."""
    rows = [
        charts.Line(
            label=name,
            told=_told(share),
            parts=(("rejected", share.stopped.files), ("indeterminate", share.unsettled.files)),
        )
        for name, share in named
    ]
    return charts.lines(rows, TOP)


def _told(share: Share) -> str:
    files = share.stopped.files + share.unsettled.files
    hosts = max(share.stopped.hosts, share.unsettled.hosts)
    return f"{quantity(files, 'file')}, {quantity(hosts, 'host')}"


def _hosts(hosts: Sequence[HostShare], touched: int) -> str:
    rows = [
        charts.Line(
            label=host.name,
            told=quantity(host.stopped + host.unsettled, "file"),
            parts=(("rejected", host.stopped), ("indeterminate", host.unsettled)),
        )
        for host in hosts
    ]
    more = touched - len(hosts)
    told = f'<p class="more">{quantity(more, "more host")}</p>' if more > 0 else ""
    return charts.lines(rows, TOP) + told


def _needed(simulation: Simulation) -> str:
    needed = simulation.needed
    if not needed.files:
        return "No file is stopped for want of a rule."
    covered = needed.files - simulation.uncovered
    rules = quantity(len(simulation.proposals), "rule")
    return (
        f"{quantity(needed.files, 'file')} on {quantity(needed.hosts, 'host')} are stopped for "
        f"want of a rule. {rules} would let in {covered:,}: by publisher where that lets in "
        "little else, by product where it would, by digest where nobody trusted has signed. "
        "What each would let in besides is told in red. Read them before you use them."
    )


def _curve(simulation: Simulation) -> str:
    steps = [(_TIERS[p.tier], p.covers.files) for p in simulation.proposals]
    if len(steps) < 2:
        return ""
    legend = "".join(f"<li>{charts.swatch(_TIERS[tier])}{words}</li>"
                     for tier, words in _BY.items() if _TIERS[tier] in dict(steps))  # fmt: skip
    drawn = charts.cumulative(steps, simulation.needed.files)
    return (
        "<figure><figcaption>Files let in, as rules are added one by one</figcaption>"
        f'<ul class="legend">{legend}</ul>{drawn}</figure>'
    )


def _proposals(proposals: Sequence[Proposal]) -> str:
    lasting = [p for p in proposals if p.tier != "digest"]
    digests = [p for p in proposals if p.tier == "digest"]
    cards = "".join(_proposal(n, p) for n, p in enumerate(lasting[:PROPOSALS], 1))
    return (
        f'<div class="proposals">{cards}</div>{_more(lasting[PROPOSALS:])}'
        f"{_digests(digests[:DIGESTS])}{_more(digests[DIGESTS:])}"
    )


def _more(proposals: Sequence[Proposal]) -> str:
    if not proposals:
        return ""
    files = quantity(sum(p.covers.files for p in proposals), "file")
    rules = quantity(len(proposals), "more rule")
    return f'<p class="more">{rules} for {files}: JSON and the supplement hold them.</p>'


def _digests(proposals: Sequence[Proposal]) -> str:
    """Return rules by digest as a table: each lets in the files it names, and nothing else."""
    if not proposals:
        return ""
    rows = "".join(
        f"<tr><td><bdi>{charts.text(p.name)}</bdi></td>"
        f'<td class="number">{p.covers.files:,}</td><td class="number">{p.covers.hosts:,}</td></tr>'
        for p in proposals
    )
    return (
        '<h3>By digest</h3><p class="note">Each names files that nobody trusted has signed, '
        "or whose publisher would let in too much; a new version needs a new rule.</p>"
        '<table class="digests"><thead><tr><th>file</th><th class="number">files</th>'
        f'<th class="number">hosts</th></tr></thead><tbody>{rows}</tbody></table>'
    )


def _proposal(number: int, proposal: Proposal) -> str:
    covers = proposal.covers
    told = [
        f"Lets in {quantity(covers.files, 'file')} on {quantity(covers.hosts, 'host')}.",
        f"Matches {quantity(proposal.known, 'file')} that other rules let in already."
        if proposal.known
        else "",
        f"{quantity(proposal.denied, 'file')} that it matches stay denied."
        if proposal.denied
        else "",
    ]
    body = "".join(f"<p>{charts.text(line)}</p>" for line in told if line)
    return (
        f'<article class="proposal {proposal.tier}"><h3>{number}. '
        f"<bdi>{charts.text(_called(proposal))}</bdi></h3>"
        f'<p class="note">{_BY[proposal.tier]}</p>{body}{_also(proposal)}'
        f"<details><summary>The rule</summary><pre>{charts.lines_of_text(rule_toml(proposal.rule))}"
        "</pre></details></article>"
    )


def _called(proposal: Proposal) -> str:
    match = proposal.rule.product
    product = match.product or match.original_name if match else ""
    if product.casefold().startswith(proposal.name.casefold()):
        return product
    return f"{proposal.name}, {product}" if product else proposal.name


def _also(proposal: Proposal) -> str:
    also = proposal.also
    if not also.files:
        return "<p>Lets in no other file that is known.</p>"
    unsigned = f", {proposal.also_unsigned:,} of them unsigned" if proposal.also_unsigned else ""
    told = (f"Would also let in {quantity(also.files, 'file')} on "
            f"{quantity(also.hosts, 'host')}{unsigned}:")  # fmt: skip
    items = "".join(f"<li><bdi>{charts.text(path)}</bdi></li>" for path in proposal.examples)
    rest = also.files - len(proposal.examples)
    items += f"<li>and {rest:,} more</li>" if rest > 0 else ""
    return f'<p class="also">{charts.text(told)}</p><ul>{items}</ul>'


def _used(simulation: Simulation) -> str:
    rows = "".join(map(_rule, simulation.used[:RULES]))
    more = len(simulation.used) - RULES
    table = (
        '<table><thead><tr><th>rule</th><th>action</th><th class="number">files</th>'
        f'<th class="number">hosts</th></tr></thead><tbody>{rows}</tbody></table>'
        if rows
        else '<p class="none">No rule matched anything.</p>'
    )
    table += f'<p class="more">{quantity(more, "more rule")}</p>' if more > 0 else ""
    idle = len(simulation.idle) + simulation.idle_more
    if idle:
        names = ", ".join(simulation.idle)
        names += f" and {simulation.idle_more:,} more" if simulation.idle_more else ""
        table += (
            f"<details><summary>{quantity(idle, 'rule')} decided nothing here</summary>"
            f"<p>{charts.text(names)}</p></details>"
        )
    return table


def _rule(use: RuleUse) -> str:
    return (
        f"<tr><td>{charts.text(use.rule)}</td><td>{use.action.value}</td>"
        f'<td class="number">{use.decided.files:,}</td>'
        f'<td class="number">{use.decided.hosts:,}</td></tr>'
    )


def _listed_note(simulation: Simulation) -> str:
    if not simulation.listed:
        return "None."
    shown = min(len(simulation.listed), FILES)
    more = len(simulation.listed) - shown + simulation.listed_more
    if not more:
        return "All of them, those on most hosts first."
    return f"The {shown:,} on most hosts; {more:,} more are not shown here."


def _listed(listed: Iterable[Listed]) -> str:
    rows = "".join(map(_file, listed))
    if not rows:
        return ""
    heads = '<th>file</th><th>fate</th><th>why</th><th>signed by</th><th class="number">hosts</th>'
    heads += '<th class="number">seen</th>'
    return f'<table class="files"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'


def _file(row: Listed) -> str:
    why = reason_words(row.reason, row.named)
    cause = f"<small>{charts.text(row.cause)}</small>" if row.cause else ""
    product = f"<small>{charts.text(row.product)}</small>" if row.product else ""
    noun = "host" if row.seen.hosts == 1 else "hosts"
    return (
        f'<tr><td class="where"><bdi>{charts.text(row.path)}</bdi></td>'
        f'<td class="fate {_CLASSES[row.fate]}"><span class="mark" aria-hidden="true">'
        f"{MARKS[row.fate]}</span>{row.fate.value}</td>"
        f'<td class="why">{charts.text(why)}{cause}</td>'
        f'<td class="who"><bdi>{charts.text(row.publisher)}</bdi>{product}</td>'
        f'<td class="number hosts" data-noun="{noun}">{row.seen.hosts:,}</td>'
        f'<td class="number times">{row.seen.sightings:,}</td></tr>'
    )
