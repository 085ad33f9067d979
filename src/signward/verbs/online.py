"""Online: judge, fetch what was missing, judge again - a bounded number of times.

Nothing below ``fetch`` knows of it: ``trust.missing`` names what would help, this loop
gets it and hands it back as evidence.  What cannot be had becomes a note (a warning where
an answer was replayed, or one of before stands in), never an outcome: whatever of before is
current by its dates still counts.  Everything fetched and tried is kept, so that
an evidence bundle can repeat it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from signward.errors import FetchError, ReplayedError
from signward.findings import Code, Effect, Finding
from signward.frozen import replace
from signward.state import IntactSignature, TrustedSignature, UntrustedSignature, path_of
from signward.trust.judge import Grounds, judge
from signward.trust.missing import Kind, Need, missing
from signward.trust.profiles import Profile
from signward.trust.x509 import Certificate, load_certificate

if TYPE_CHECKING:
    from signward.fetch.fetcher import Fetcher

MAX_ROUNDS = 12
"""Judgements of one signature; a path of four without OCSP, and its TSA's, takes six."""

MAX_FETCHES = 24
"""Requests for one signature; real ones need two to eight."""

Attempt = tuple[str, bytes]
"""A URL and the SHA-256 of the certificate it was asked for."""


class Online:
    """What a run fetched so far, and what it tried in vain.

    Without a ``fetcher`` it only repeats what is known: that is how bundles replay.
    """

    def __init__(self, fetcher: Fetcher | None = None) -> None:
        self._fetcher = fetcher
        self.certificates: dict[Certificate, None] = {}
        self.crls: dict[bytes, None] = {}
        self.ocsp: dict[bytes, None] = {}
        self.failures: dict[Attempt, Finding] = {}
        self._tried: set[Attempt] = set()
        self._extended: dict[str, tuple[Grounds, Grounds]] = {}

    def judge(
        self, intact: IntactSignature, profile: Profile, grounds: Grounds
    ) -> TrustedSignature | UntrustedSignature:
        """Judge ``intact``, fetching what the judgement lacks until nothing more helps."""
        budget = MAX_FETCHES
        for rounds_left in reversed(range(MAX_ROUNDS)):
            extended = self._with_fetched(profile, grounds)
            judged = judge(intact, profile, extended)
            needs = missing(judged, profile, extended)
            fresh = self._fresh(needs)[:budget]
            if not fresh or not rounds_left:
                break
            budget -= len(fresh)
            for need in fresh:
                self._fetch(need)
        notes = self._told(judged, needs)
        told = (*extended.notes, *notes)
        return judge(intact, profile, replace(extended, notes=told)) if notes else judged

    def _told(
        self, judged: TrustedSignature | UntrustedSignature, needs: tuple[Need, ...]
    ) -> tuple[Finding, ...]:
        """Return what was sought in vain and is still missing, and every warning.

        A replayed answer is told even where other evidence settled the question.
        """
        told = [self.failures[a] for need in needs if (a := _attempt(need)) in self.failures]
        paths = [path_of(judged.basis), judged.proven_time.path if judged.proven_time else None]
        concerned = {
            load_certificate(der).sha256 for path in paths if path for der in path.certificates
        }
        for (_, certificate), finding in self.failures.items():
            if finding.effect is Effect.WARN and certificate in concerned and finding not in told:
                told.append(finding)
        return tuple(told)

    def _fresh(self, needs: tuple[Need, ...]) -> list[Need]:
        """Return the first untried need of each certificate: what comes first may suffice."""
        if self._fetcher is None:
            return []
        first: dict[bytes, Need] = {}
        for need in needs:
            if _attempt(need) not in self._tried:
                first.setdefault(need.certificate.sha256, need)
        return list(first.values())

    def _fetch(self, need: Need) -> None:
        attempt = _attempt(need)
        self._tried.add(attempt)
        try:
            self._get(need)
        except FetchError as error:
            self.failures[attempt] = _in_vain(need, error)
            if error.kept and need.kind is not Kind.ISSUER:
                (self.ocsp if need.kind is Kind.OCSP else self.crls)[error.kept] = None
        self._extended.clear()

    def _get(self, need: Need) -> None:
        if self._fetcher is None:
            return
        if need.kind is Kind.ISSUER or need.issuer is None:
            found = self._fetcher.issuers(need.url, need.certificate)
            self.certificates.update(dict.fromkeys(found))
        elif need.kind is Kind.OCSP:
            self.ocsp[self._fetcher.ocsp(need.url, need.certificate, need.issuer)] = None
        else:
            self.crls[self._fetcher.crl(need.url, need.issuer)] = None

    def _with_fetched(self, profile: Profile, grounds: Grounds) -> Grounds:
        """Return ``grounds`` and what was fetched; made once until more comes."""
        base, extended = self._extended.get(profile.name, (None, None))
        if base is grounds and extended is not None:
            return extended
        extended = replace(
            grounds,
            pool=tuple(dict.fromkeys((*grounds.pool, *self.certificates))),
            evidence=grounds.evidence.extended(crls=self.crls, ocsp=self.ocsp),
        )
        self._extended[profile.name] = grounds, extended
        return extended


def make_online(*, private: bool, nonces: bool) -> Online:
    """Return what fetches for a run, with the user's cache."""
    from signward.fetch.cache import Cache, default_folder
    from signward.fetch.fetcher import Fetcher

    cache = Cache(default_folder())
    return Online(Fetcher(cache, datetime.now(UTC), private=private, nonces=nonces))


def _attempt(need: Need) -> Attempt:
    return need.url, need.certificate.sha256


def _in_vain(need: Need, error: FetchError) -> Finding:
    what = {Kind.ISSUER: "its issuer", Kind.OCSP: "an OCSP answer", Kind.CRL: "a CRL"}
    return Finding(
        code=Code.REVOCATION_EVIDENCE,
        effect=Effect.WARN if isinstance(error, ReplayedError) or error.kept else Effect.NOTE,
        subject=need.certificate.label,
        found=str(error),
        required=f"{what[need.kind]} at {need.url}",
        hint="the verdict rests on the answer that came before"
        if error.kept
        else "the verdict rests on the evidence at hand",
    )
