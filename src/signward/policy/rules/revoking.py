"""Blast radius: what stops on a known fleet when something is revoked, and from which date.

Two kinds of machines are told of a revocation.  Who asks for revocation (a feed, a CRL, OCSP) knows
dates: what a trusted timestamp proves to have been signed before goes on, if it is a certificate
that was revoked.  Who gets a list of denials knows none: everything the list names stops.

*Bad* files are those the caller names, and those that are blocked or revoked already; the others
are good.  For each date that would be possible, good files lost stand against bad ones that go on.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

import msgspec

from signward.frozen import Frozen
from signward.policy.rules.fleet import Host, Known
from signward.policy.rules.simulated import Tally
from signward.policy.rules.simulation import Count, Seen, seen_at
from signward.policy.rules.subject import Signer, Subject

SCHEMA_VERSION: Literal[1] = 1

MAX_LISTED = 500
"""Files listed one by one: those on most hosts."""

MAX_HOSTS_LISTED = 50
MAX_CANDIDATES = 24
"""Dates weighed in the report; all are looked at."""

MAX_DIGESTS = 10_000
"""Digests of concerned files kept for targets that know nothing else: one condition's bound."""

REVOKED_CAUSES = frozenset({"revoked", "blocked", "digest-revoked", "publisher-revoked"})
"""Causes for which a file counts as bad, and as stopped already."""

_DAY = timedelta(days=1)


class Kind(StrEnum):
    """What is revoked."""

    PUBLISHER = "publisher"
    CERTIFICATE = "certificate"
    DIGEST = "digest"


class Culprit(Frozen, frozen=True, kw_only=True):
    """What is to be revoked.

    ``identity`` names a publisher, ``sha256`` (hex) a certificate, ``digests`` files as rules
    write them.  ``label`` is what people are told.
    """

    kind: Kind
    label: str
    identity: str = ""
    sha256: str = ""
    digests: frozenset[str] = frozenset()


class Fate(StrEnum):
    """What becomes of a file where dates are known."""

    STOPS = "stops"
    GOES_ON = "goes-on"
    ALREADY = "stopped-already"
    UNSETTLED = "unsettled"


class Listed(Frozen, frozen=True, kw_only=True):
    """One distinct file; ``proven`` is the earliest time proven for the signer in question."""

    path: str
    fate: Fate
    bad: bool
    digest: str
    publisher: str
    product: str
    proven: datetime | None
    hosts: int


class Candidate(Frozen, frozen=True, kw_only=True):
    """A date to revoke from: good files that stop then, bad files that go on."""

    since: datetime
    lost: int
    surviving: int


class HostTouched(Frozen, frozen=True, kw_only=True):
    """A host, and how many distinct files stop there."""

    name: str
    files: int


class Blast(Frozen, frozen=True, kw_only=True):
    """The blast radius.

    ``matched`` is all that is concerned: what a list of denials stops.  ``stops`` and ``goes_on``
    divide it where dates are known; ``already`` is of both.  ``unsettled`` are files of which the
    inventory does not say whether they are concerned.  ``otherwise`` counts files that somebody
    else signed too.  ``advised`` is the latest date at which no bad file goes on; None without
    bad files that have a proven time.

    What names the files: ``certificates`` (hex) and ``tbs`` of signers, ``digests``; and what of
    them it does not: ``digests_more`` files are beyond ``MAX_DIGESTS``, ``uncertified`` have no
    certificate told.  ``kinds_known`` counts files by the kinds of their digests (``authenticode
    file``; empty for none).
    """

    schema: Literal[1] = SCHEMA_VERSION
    culprit: Culprit
    since: datetime
    seen: Tally
    matched: Tally
    stops: Tally
    goes_on: Tally
    already: Tally
    unsettled: Tally
    otherwise: int
    undated: int
    bad: int
    hosts: tuple[HostTouched, ...]
    listed: tuple[Listed, ...]
    listed_more: int
    candidates: tuple[Candidate, ...]
    advised: datetime | None
    certificates: tuple[str, ...] = ()
    tbs: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    digests_more: int = 0
    kinds_known: Mapping[str, int] = msgspec.field(default_factory=dict)
    uncertified: int = 0


def touched(culprit: Culprit, subject: Subject) -> tuple[Signer, ...] | bool | None:
    """Return the signers a file is concerned by; for digests whether it is; None: unknown."""
    if culprit.kind is Kind.DIGEST:
        return _has_digest(culprit, subject)
    found = tuple(signer for signer in subject.signers if _is_of(culprit, signer))
    if found:
        return found
    name = "signers.certificate" if culprit.kind is Kind.CERTIFICATE else "signers.subject"
    field = "certificates" if culprit.kind is Kind.CERTIFICATE else "identity"
    untold = any(not getattr(signer, field) for signer in subject.signers)
    if "signers" in subject.unknown or (name in subject.unknown and untold):
        return None
    return False


def _has_digest(culprit: Culprit, subject: Subject) -> bool | None:
    if culprit.digests & subject.digests:
        return True
    for digest in culprit.digests:
        of, algorithm, _ = digest.split(":")
        told = any(known.startswith(f"{of}:{algorithm}:") for known in subject.digests)
        if not told and f"digest:{of}" in subject.unknown:
            return None
    return False


def _is_of(culprit: Culprit, signer: Signer) -> bool:
    if culprit.kind is Kind.CERTIFICATE:
        return culprit.sha256 in signer.certificates
    return signer.identity.casefold() == culprit.identity.casefold()


class Radius:
    """Takes known files one by one, and says in the end what a revocation does to them."""

    def __init__(
        self,
        culprit: Culprit,
        since: datetime,
        hosts: Sequence[Host],
        bad: frozenset[str] = frozenset(),
    ) -> None:
        self._culprit, self._since, self._hosts, self._bad = culprit, since, hosts, bad
        self._seen, self._matched = Count(), Count()
        self._fates = {fate: Count() for fate in Fate}
        self._per_host: dict[int, int] = {}
        self._listed: list[tuple[int, int, Listed]] = []
        self._good_times: list[datetime] = []
        self._bad_times: list[datetime] = []
        self._undated = self._undated_bad = self._otherwise = self._files_bad = 0
        self._certificates: dict[str, str] = {}
        self._digests: set[str] = set()
        self._digests_more = self._uncertified = 0
        self._kinds: Counter[str] = Counter()

    def add(self, known: Known) -> None:
        """Take one distinct file in, with everywhere it was seen."""
        seen = seen_at(known.places)
        self._seen.add(seen)
        signers = touched(self._culprit, known.subject)
        if signers is None:
            self._fates[Fate.UNSETTLED].add(seen)
        elif signers is not False:
            self._take(known, seen, () if signers is True else signers)

    def _take(self, known: Known, seen: Seen, signers: tuple[Signer, ...]) -> None:
        subject = known.subject
        proven = min((s.proven for s in signers if s.proven), default=None)
        fate, bad = self._fate(subject, proven), self._is_bad(subject)
        self._matched.add(seen)
        self._fates[fate].add(seen)
        self._otherwise += bool(signers) and len(signers) < len(subject.signers)
        self._weigh(proven, bad=bad)
        self._keep(subject, signers)
        if fate is Fate.STOPS:
            for host in {place.host for place in known.places}:
                self._per_host[host] = self._per_host.get(host, 0) + 1
        path = known.places[0].path if known.places else ""
        row = Listed(path=path, fate=fate, bad=bad, digest=_digest_of(subject),
                     publisher=signers[0].identity if signers else "", product=subject.product,
                     proven=proven, hosts=seen.bits.bit_count())  # fmt: skip
        entry = (seen.bits.bit_count(), -known.number, row)
        push = heapq.heappush if len(self._listed) < MAX_LISTED else heapq.heappushpop
        push(self._listed, entry)

    def _fate(self, subject: Subject, proven: datetime | None) -> Fate:
        if subject.cause in REVOKED_CAUSES:
            return Fate.ALREADY
        dated = self._culprit.kind is Kind.CERTIFICATE and proven is not None
        return Fate.GOES_ON if dated and proven and proven < self._since else Fate.STOPS

    def _is_bad(self, subject: Subject) -> bool:
        return bool(self._bad & subject.digests) or subject.cause in REVOKED_CAUSES

    def _weigh(self, proven: datetime | None, *, bad: bool) -> None:
        self._files_bad += bad
        if proven is not None:
            (self._bad_times if bad else self._good_times).append(proven)
        elif not bad:
            self._undated += 1

    def _keep(self, subject: Subject, signers: Iterable[Signer]) -> None:
        """Remember what else names the files: for enforcers that know nothing better."""
        signers = tuple(signers)
        self._uncertified += bool(signers) and not any(s.certificates for s in signers)
        self._kinds[" ".join(sorted({d.partition(":")[0] for d in subject.digests}))] += 1
        for signer in signers:
            if signer.certificates:
                tbs = signer.tbs[0] if signer.tbs else ""
                self._certificates.setdefault(signer.certificates[0], tbs)
        new = subject.digests - self._digests
        if len(self._digests) + len(new) <= MAX_DIGESTS:
            self._digests |= new
        else:
            self._digests_more += 1

    def blast(self) -> Blast:
        """Return what was found."""
        listed = [row for _, _, row in sorted(self._listed, key=lambda e: e[:2], reverse=True)]
        worst = sorted(self._per_host.items(), key=lambda item: (-item[1], item[0]))
        fates = {fate: count.tally() for fate, count in self._fates.items()}
        return Blast(
            culprit=self._culprit,
            since=self._since,
            seen=self._seen.tally(),
            matched=self._matched.tally(),
            stops=fates[Fate.STOPS],
            goes_on=fates[Fate.GOES_ON],
            already=fates[Fate.ALREADY],
            unsettled=fates[Fate.UNSETTLED],
            otherwise=self._otherwise,
            undated=self._undated,
            bad=self._files_bad,
            hosts=tuple(HostTouched(name=self._hosts[host].name, files=number)
                        for host, number in worst[:MAX_HOSTS_LISTED]),
            listed=tuple(listed),
            listed_more=self._matched.files - len(listed),
            candidates=weighed(self._good_times, self._bad_times, self._undated, self._since),
            advised=min(self._bad_times, default=None),
            certificates=tuple(sorted(self._certificates)),
            tbs=tuple(sorted(filter(None, self._certificates.values()))),
            digests=tuple(sorted(self._digests)),
            digests_more=self._digests_more,
            kinds_known=dict(sorted(self._kinds.items())),
            uncertified=self._uncertified,
        )  # fmt: skip


def weighed(
    good: Sequence[datetime], bad: Sequence[datetime], undated: int, since: datetime
) -> tuple[Candidate, ...]:
    """Return the dates to choose from, each with what it costs and what it leaves.

    ``good`` and ``bad`` are proven times; ``undated`` counts good files that have none and stop
    in any case.  Beginnings of days on which something was signed, the day after the last, the
    earliest bad instant, and the date that was asked for.
    """
    days = {time.replace(hour=0, minute=0, second=0, microsecond=0) for time in (*good, *bad)}
    if days:
        days.add(max(days) + _DAY)
    kept = {since, *([min(bad)] if bad else [])}
    chosen = sorted(kept | set(_thinned(sorted(days - kept), MAX_CANDIDATES - len(kept))))
    return tuple(
        Candidate(
            since=date,
            lost=undated + sum(time >= date for time in good),
            surviving=sum(time < date for time in bad),
        )
        for date in chosen
    )


def _thinned(dates: Sequence[datetime], most: int) -> Sequence[datetime]:
    """Return at most so many of the dates, evenly chosen, the first and the last among them."""
    if len(dates) <= most:
        return dates
    return [dates[index * (len(dates) - 1) // (most - 1)] for index in range(most)]


def _digest_of(subject: Subject) -> str:
    """Return the digest to tell a file by: of the whole file, where it is known."""
    return min(subject.digests, key=lambda d: (not d.startswith("file:sha256:"), d), default="")
