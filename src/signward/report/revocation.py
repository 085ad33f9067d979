"""A revocation told in words and pictures of a terminal: what stops, what it costs, what is said.

It is read by people who have to decide in a hurry, and who may never have revoked anything.
"""

from __future__ import annotations

from collections.abc import Iterator

from signward.policy.rules.revoking import Blast, Candidate, Fate, Kind, Listed
from signward.report.display import day, minute, quantity, visible

SHOWN_HOSTS = 10
SHOWN_FILES = 15
BAR = 24
"""Columns of the longest bar."""

WORDS = {
    Fate.STOPS: "stops",
    Fate.GOES_ON: "goes on (proven to be signed before)",
    Fate.ALREADY: "stopped already",
    Fate.UNSETTLED: "cannot tell",
}


def lead(blast: Blast) -> str:
    """Return the answer in one sentence."""
    if not blast.seen.files:
        return "Nothing is known of the fleet: no inventory was given, or it is empty."
    if not blast.matched.files:
        return f"None of the {quantity(blast.seen.files, 'known file')} is concerned."
    matched = f"{quantity(blast.matched.files, 'file')} on {quantity(blast.matched.hosts, 'host')}"
    return f"{matched} of {blast.seen.files:,} files on {blast.seen.hosts:,} are concerned."


def facts(blast: Blast) -> Iterator[str]:
    """Yield what happens, a sentence each."""
    if not blast.matched.files:
        if blast.unsettled.files:
            yield _unsettled(blast)
        return
    stops = f"{quantity(blast.stops.files, 'file')} on {quantity(blast.stops.hosts, 'host')}"
    yield f"Machines that ask whether something is revoked (a feed, a CRL, OCSP): {stops} stop."
    if blast.goes_on.files:
        yield (f"There {quantity(blast.goes_on.files, 'file')} would go on: a trusted timestamp "
               f"proves that they were signed before {day(blast.since)}.")  # fmt: skip
    if blast.culprit.kind is Kind.DIGEST:
        yield advice(blast)
    if blast.culprit.kind is Kind.PUBLISHER:
        yield ("A publisher is refused whatever the date of a signature. To spare what was signed "
               "before a date, revoke its certificates instead (--certificate).")  # fmt: skip
    yield (f"Machines that get a list of denials (App Control, Santa, ...): all "
           f"{blast.matched.files:,} stop. Such lists know no dates.")  # fmt: skip
    if blast.already.files:
        are = "is" if blast.already.files == 1 else "are"
        yield f"{quantity(blast.already.files, 'file')} of these {are} stopped already."
    if blast.otherwise:
        have = "has" if blast.otherwise == 1 else "have"
        yield (f"{quantity(blast.otherwise, 'file')} {have} another trusted signature too, by "
               "which some machines may go on accepting it.")  # fmt: skip
    if blast.unsettled.files:
        yield _unsettled(blast)


def _unsettled(blast: Blast) -> str:
    return (f"Of {quantity(blast.unsettled.files, 'file')} the inventory does not say whether "
            "they are concerned.")  # fmt: skip


def advice(blast: Blast) -> str:
    """Return which date to choose, or what is needed to say so."""
    if blast.culprit.kind is Kind.DIGEST:
        return "A file that is revoked is refused whatever the date: there is none to choose."
    if not blast.bad:
        return "Name files that are known to be bad (--bad), and a date will be advised."
    if blast.advised is None:
        return "No bad file has a proven time: no date lets one go on, choose any."
    best = next(c for c in blast.candidates if c.since == blast.advised)
    return (f"Advised: {minute(blast.advised)}, the latest date from which no known bad file goes "
            f"on; {quantity(best.lost, 'good file')} stop then.")  # fmt: skip


def lines(blast: Blast) -> Iterator[str]:
    """Yield the report, line by line; every name in it is made visible."""
    yield visible(f"Revoking {blast.culprit.label}, as of {minute(blast.since)}")
    yield ""
    yield lead(blast)
    for fact in facts(blast):
        yield f"  - {fact}"
    if blast.matched.files:
        yield from _hosts(blast)
        yield from _files(blast)
        if blast.culprit.kind is not Kind.DIGEST:
            yield from _dates(blast)


def _hosts(blast: Blast) -> Iterator[str]:
    if not blast.hosts:
        return
    yield ""
    yield "Hosts where most stops"
    for host in blast.hosts[:SHOWN_HOSTS]:
        yield visible(f"  {host.files:>7,}  {host.name or '(unnamed)'}")
    if blast.stops.hosts > SHOWN_HOSTS:
        yield f"  and {blast.stops.hosts - SHOWN_HOSTS:,} more"


def _files(blast: Blast) -> Iterator[str]:
    yield ""
    yield "Files on most hosts"
    for one in blast.listed[:SHOWN_FILES]:
        yield visible(f"  {one.hosts:>7,}  {one.path}: {told(one)}")
    rest = blast.matched.files - min(SHOWN_FILES, len(blast.listed))
    if rest:
        yield f"  and {rest:,} more: --json lists them"


def told(one: Listed) -> str:
    """Return what becomes of a file, in words."""
    bad = ", known to be bad" if one.bad else ""
    signed = f", signed {day(one.proven)}" if one.proven else ", no proven time"
    return f"{WORDS[one.fate]}{signed}{bad}"


def _dates(blast: Blast) -> Iterator[str]:
    yield ""
    yield "If its certificates are revoked from another date"
    yield f"  {'from':<17}  {'good files lost':<{BAR + 9}}  bad files that go on"
    most = max(1, *(max(c.lost, c.surviving) for c in blast.candidates))
    for candidate in blast.candidates:
        mark = "*" if candidate.since == blast.advised else " "
        lost, surviving = _bar(candidate.lost, most), _bar(candidate.surviving, most, "!")
        yield f"{mark} {_when(candidate)}  {lost}  {surviving}".rstrip()
    yield f"  {advice(blast)}"


def _when(candidate: Candidate) -> str:
    return f"{candidate.since:%Y-%m-%d %H:%M} "


def _bar(number: int, most: int, mark: str = "#") -> str:
    return f"{number:>7,} {mark * -(-number * BAR // most):<{BAR}} "
