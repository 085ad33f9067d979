"""Revocation status of one certificate: what the evidence at hand says (RFC 5280 6.3, RFC 6960).

Three-valued.  An entry that is dated (in a CRL, an OCSP answer, a feed) makes a certificate
*revoked* from that date, for ever; a CRL or an OCSP answer makes it *good* only where it
speaks for the instant asked about; everything else is *unknown*, and ``why`` says what was
missing.

``at`` is the validation instant and ``signed_at`` the proven time, if there is one:

- evidence whose nextUpdate has passed at ``at`` is stale; evidence issued after ``at``
  counts; evidence older than a proven time proves nothing about that time;
- an entry dated after ``at`` does not reject: the status is good, with the date;
- a CRL issued after the certificate's end says nothing about it, unless
  expiredCertsOnCRL reaches back to it; nor does an OCSP answer without an archive
  cutoff that does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from signward.errors import BadInputError
from signward.state import RevocationStatus, Status
from signward.trust.anchors import TrustStore, store_from_certificates
from signward.trust.crl import HOLD, REMOVED, Crl, CrlEntry, is_signed_with
from signward.trust.distribution import (
    ALL_REASONS,
    DIRECTORY_NAME,
    DistributionPoint,
    read_points,
)
from signward.trust.evidence import Evidence
from signward.trust.names import name_text, normalized_name, same_name
from signward.trust.ocsp import OcspResponse, SingleResponse, names_issuer, responder
from signward.trust.path import AT_LEGACY, Usage, find_path
from signward.trust.x509 import CRL_DISTRIBUTION, Certificate

__all__ = ["Evidence", "effective_date", "needed", "revocation_status"]

FRESHEST_CRL = "2.5.29.46"

MAX_SIGNER_DEPTH = 4
"""How far the status of a CRL signer may hang on other CRL signers; real ones: one."""

MAX_SIGNER_CHECKS = 64
"""Signers' certificates looked at for one answer; a signature may carry many CRLs."""

MAX_CRL_SIGNERS = 16
"""Certificates tried for one CRL whose issuer's key does not fit."""

MAX_TOLD = 4
"""Pieces of evidence that an unknown status explains one by one."""

CRL_SIGNING = Usage(name="CRL signing", key_usage=frozenset({"cRLSign"}))


_NOTHING_AT_HAND = RevocationStatus(status=Status.UNKNOWN, why="no CRL and no OCSP answer at hand")


class _Question(NamedTuple):
    """What is asked, and what may be used to answer.

    ``asked`` are the certificates whose status hangs on this one, ``checks`` every
    signer looked at so far, shared by all questions that grew from one.
    """

    certificate: Certificate
    issuer: Certificate
    at: datetime
    signed_at: datetime | None
    pool: tuple[Certificate, ...]
    anchor: Certificate | None
    asked: tuple[Certificate, ...]
    checks: list[Certificate]


class _Answer(NamedTuple):
    """What one CRL (with its delta) or one OCSP answer says.

    ``stale`` is why it cannot say *good* about the instant; an entry is an entry even
    so.  ``reasons`` are those it covers.
    """

    issued: datetime
    source: str
    entry: CrlEntry | None = None
    stale: str = ""
    reasons: frozenset[str] = ALL_REASONS


def revocation_status(
    certificate: Certificate,
    issuer: Certificate,
    evidence: Evidence,
    at: datetime,
    *,
    signed_at: datetime | None = None,
    pool: Sequence[Certificate] = (),
    anchor: Certificate | None = None,
) -> RevocationStatus:
    """Return the revocation status of ``certificate``, made by ``issuer``, at ``at``.

    ``signed_at`` is the proven time where there is one.  ``pool`` and ``anchor`` serve
    CRL signers other than the issuer: their path must end in the same anchor.  A
    revoked status gives the dates and the reason (empty where none was given); by
    which date it rejects is the caller's profile.
    """
    if not evidence:
        return _NOTHING_AT_HAND
    proven = signed_at if signed_at is not None and signed_at != at else None
    question = _Question(certificate, issuer, at, proven, tuple(pool), anchor, (certificate,), [])
    return _status(question, evidence)


def effective_date(status: RevocationStatus) -> datetime | None:
    """Return from when on a certificate is revoked: the earlier of its two dates."""
    return min((d for d in (status.revoked_at, status.invalid_from) if d), default=None)


def needed(
    certificate: Certificate, issuer: Certificate, evidence: Evidence, at: datetime
) -> tuple[str, ...]:
    """Return the URLs that could tell what ``evidence`` does not: OCSP first, then CRLs.

    Empty when the status is already known.
    """
    known = revocation_status(certificate, issuer, evidence, at)
    if known.status is not Status.UNKNOWN:
        return ()
    freshest = [url for point in _points(certificate, FRESHEST_CRL) for url in point.urls]
    for crl in evidence.crls_of(normalized_name(certificate.issuer)):
        freshest += crl.freshest_urls
    return tuple(dict.fromkeys((*certificate.ocsp_urls, *certificate.crl_urls, *freshest)))


def _status(question: _Question, evidence: Evidence) -> RevocationStatus:
    missing: list[str] = []
    answers = [
        *_ocsp_answers(question, evidence, missing),
        *_crl_answers(question, evidence, missing),
        *_feed_answers(question, evidence),
    ]
    return _settle(question, answers, missing)


def _settle(question: _Question, answers: list[_Answer], missing: list[str]) -> RevocationStatus:
    """Join all answers: a dated entry stands for ever, a hold until it is lifted."""
    answers.sort(key=lambda a: a.issued, reverse=True)
    for answer in answers:
        if answer.entry and answer.entry.reason not in (HOLD, REMOVED):
            return _dated(question, answer, answer.entry)
    covered: frozenset[str] = frozenset()
    for answer in answers:
        if answer.stale:
            missing.append(answer.stale)
        elif answer.entry and answer.entry.reason == HOLD:
            return _dated(question, answer, answer.entry)
        elif answer.reasons | covered == ALL_REASONS:
            return RevocationStatus(status=Status.GOOD, source=answer.source)
        else:
            covered |= answer.reasons
    if covered:
        left = ", ".join(sorted(ALL_REASONS - covered))
        missing.append(f"no CRL covers the reasons {left}")
    told = list(dict.fromkeys(missing)) or [_NOTHING_AT_HAND.why]
    more = [f"and {len(told) - MAX_TOLD} more"] if len(told) > MAX_TOLD else []
    why = "; ".join(told[:MAX_TOLD] + more)
    return RevocationStatus(status=Status.UNKNOWN, why=why)


def _dated(question: _Question, answer: _Answer, entry: CrlEntry) -> RevocationStatus:
    since = min(d for d in (entry.revoked_at, entry.invalid_from) if d)
    later = since > question.at
    return RevocationStatus(
        status=Status.GOOD if later else Status.REVOKED,
        revoked_at=entry.revoked_at,
        invalid_from=entry.invalid_from,
        reason=entry.reason,
        source=answer.source,
        why=f"revoked later, {since:%Y-%m-%dT%H:%M:%SZ}" if later else "",
    )


def _staleness(
    question: _Question, what: str, this_update: datetime, next_update: datetime | None
) -> str:
    """Return why evidence of these dates says nothing about the instant; empty if it does."""
    at, proven = question.at, question.signed_at
    if proven is not None and this_update < proven:
        return f"{what} is older than the proven time {proven:%Y-%m-%dT%H:%M:%SZ}"
    if this_update >= at:
        return ""
    if next_update is None:
        return f"{what} gives no nextUpdate and is older than the validation instant"
    if next_update < at:
        return f"{what} ended {next_update:%Y-%m-%dT%H:%M:%SZ}"
    return ""


# --- OCSP -------------------------------------------------------------------------


def _ocsp_answers(question: _Question, evidence: Evidence, missing: list[str]) -> Iterator[_Answer]:
    for response, single in evidence.answers_about(question.certificate.serial):
        if not names_issuer(single.cert_id, question.issuer):
            continue
        answer = _ocsp_answer(question, evidence, response, single)
        if isinstance(answer, str):
            missing.append(answer)
        else:
            yield answer


def _ocsp_answer(
    question: _Question, evidence: Evidence, response: OcspResponse, single: SingleResponse
) -> _Answer | str:
    """Return what one OCSP answer says, or why it says nothing (RFC 6960 3.2)."""
    what = f"the OCSP answer of {response.produced_at:%Y-%m-%dT%H:%M:%SZ}"
    unusable = response.unusable or single.unusable
    if unusable:
        return f"{what}: {unusable}"
    more = (*evidence.certificates, *question.pool)
    signer = responder(response, question.issuer, question.at, more)
    if isinstance(signer, str):
        return f"{what}: {signer}"
    doubt = ""
    if signer.to_check:
        instant = max(question.at, single.this_update)
        doubt = _signer_doubt(question, evidence, signer.certificate, question.issuer, instant)
        if doubt.startswith(_REVOKED):
            return f"{what}: {doubt}"
        if not signer.certificate.crl_urls and not signer.certificate.ocsp_urls:
            doubt = ""  # its CA named no way to check it (RFC 6960 4.2.2.2.1)
    if single.status is Status.UNKNOWN:
        return f"{what} does not know the certificate"
    stale = doubt or _staleness(question, what, single.this_update, single.next_update)
    if single.status is Status.GOOD:
        stale = stale or _beyond_archive(question.certificate, single, what)
    return _Answer(single.this_update, what, single.entry, stale)


def _beyond_archive(certificate: Certificate, single: SingleResponse, what: str) -> str:
    """Return why *good* says nothing about an expired certificate (RFC 6960 4.4.4)."""
    if single.this_update <= certificate.not_after:
        return ""
    end = f"the certificate's end {certificate.not_after:%Y-%m-%d}"
    if single.archive_cutoff is None:
        return f"{what} was given after {end}, without an archive cutoff"
    if single.archive_cutoff > certificate.not_after:
        return f"{what} reaches back to {single.archive_cutoff:%Y-%m-%d}, not to {end}"
    return ""


# --- feeds ------------------------------------------------------------------------


def _feed_answers(question: _Question, evidence: Evidence) -> Iterator[_Answer]:
    """Yield what feeds say: they name what is revoked, and their silence is no answer."""
    for feed in evidence.feeds:
        found = feed.certificate(question.certificate)
        if found is not None:
            entry = CrlEntry(
                revoked_at=found.revoked, reason=found.reason, invalid_from=found.invalid_from
            )
            yield _Answer(feed.document.issued, feed.label, entry)


# --- CRLs -------------------------------------------------------------------------


def _crl_answers(question: _Question, evidence: Evidence, missing: list[str]) -> Iterator[_Answer]:
    """Yield what each CRL in scope says (RFC 5280 6.3.3, for every point and CRL)."""
    certificate = question.certificate
    points = _points(certificate, CRL_DISTRIBUTION)
    issuers = {normalized_name(certificate.issuer)}
    issuers.update(name for point in points for name in point.crl_issuers)
    for name in sorted(issuers):
        at_hand = evidence.crls_of(name)
        bases = [crl for crl in at_hand if crl.delta_base is None]
        if at_hand and not bases:
            missing.append(f"{at_hand[0].label} without its base (RFC 5280 5.2.4)")
        for crl in bases:
            answer = _crl_answer(question, evidence, crl, points)
            if isinstance(answer, str):
                missing.append(answer)
            else:
                yield answer


def _points(certificate: Certificate, extension: str) -> tuple[DistributionPoint, ...]:
    """Return a certificate's distribution points; what cannot be read is none."""
    _, value = certificate.extensions.get(extension, (False, b""))
    if not value:
        return ()
    try:
        return read_points(value, certificate.issuer)
    except BadInputError:
        return ()


def _crl_answer(
    question: _Question, evidence: Evidence, crl: Crl, points: Sequence[DistributionPoint]
) -> _Answer | str:
    """Return what one complete CRL says, or why it says nothing."""
    if crl.unusable:
        return f"{crl.label}: {crl.unusable}"
    reasons = _reasons_in_scope(crl, points, question.certificate)
    if not reasons:
        return f"{crl.label} covers other certificates (RFC 5280 6.3.3 b)"
    signer, doubt = _crl_signer(question, evidence, crl)
    if signer is None:
        return f"{crl.label}: {doubt}"
    try:
        return _read_crl(question, evidence, crl, signer, reasons, doubt)
    except BadInputError as error:
        return f"{crl.label}: {error}"


def _read_crl(
    question: _Question,
    evidence: Evidence,
    crl: Crl,
    signer: Certificate,
    reasons: frozenset[str],
    doubt: str,
) -> _Answer:
    """Look the certificate up in a CRL and the newest delta that fits (6.3.3 i to k)."""
    certificate, newest = question.certificate, crl
    entry = crl.entry(certificate.serial, certificate.issuer)
    delta = _delta(question, evidence, crl, signer)
    if delta is not None:
        newest = delta
        change = delta.entry(certificate.serial, certificate.issuer)
        if change is not None:
            entry = None if change.reason == REMOVED else change
    elif entry is not None and entry.reason == REMOVED:
        entry = None
    stale = doubt or _staleness(question, newest.label, newest.this_update, newest.next_update)
    if entry is None:
        stale = stale or _impropriety(newest, crl) or _beyond_end(certificate, newest, crl)
    return _Answer(newest.this_update, newest.label, entry, stale, reasons)


def _impropriety(newest: Crl, base: Crl) -> str:
    improper = newest.improper or base.improper
    return f"{newest.label} has {improper}, so its silence proves nothing" if improper else ""


def _beyond_end(certificate: Certificate, newest: Crl, base: Crl) -> str:
    """Return why the absence from a CRL says nothing about an expired certificate."""
    if newest.this_update <= certificate.not_after:
        return ""
    since = newest.expired_since or base.expired_since
    if since is not None and since <= certificate.not_after:
        return ""
    return (
        f"{newest.label} was issued after the certificate's end "
        f"{certificate.not_after:%Y-%m-%d} and need not list it (RFC 5280 3.3)"
    )


def _delta(question: _Question, evidence: Evidence, crl: Crl, signer: Certificate) -> Crl | None:
    """Return the newest delta CRL for this base, if any (RFC 5280 5.2.4, 6.3.3 c and h)."""
    if crl.number is None:
        return None
    for delta in evidence.crls_of(normalized_name(crl.issuer)):
        if (
            delta.delta_base is not None
            and delta.number is not None
            and delta.delta_base <= crl.number < delta.number
            and not delta.unusable
            and delta.scope_raw == crl.scope_raw
            and delta.authority_key_raw == crl.authority_key_raw
            and is_signed_with(delta, signer.spki)
            and not _staleness(question, "", delta.this_update, delta.next_update)
        ):
            return delta
    return None


def _reasons_in_scope(
    crl: Crl, points: Sequence[DistributionPoint], certificate: Certificate
) -> frozenset[str]:
    """Return the reasons for which ``crl`` speaks of ``certificate`` (6.3.3 b and d).

    Empty when it does not.  Behind the certificate's own points stands the implied
    one: the issuer's name (6.3.3, last paragraph).
    """
    if not _covers_kind(crl, certificate):
        return frozenset()
    own = frozenset({(DIRECTORY_NAME, normalized_name(certificate.issuer))})
    found: frozenset[str] = frozenset()
    for point in (*points, DistributionPoint(names=own)):
        if _point_fits(crl, point, certificate):
            scope = crl.scope.reasons if crl.scope else None
            found |= (point.reasons or ALL_REASONS) & (scope or ALL_REASONS)
    return found


def _covers_kind(crl: Crl, certificate: Certificate) -> bool:
    scope = crl.scope
    if scope is None:
        return True
    if scope.only_attributes or (scope.only_users and certificate.is_ca):
        return False
    return bool(certificate.is_ca) or not scope.only_cas


def _point_fits(crl: Crl, point: DistributionPoint, certificate: Certificate) -> bool:
    """Match one distribution point with the CRL's issuer and scope (6.3.3 b 1 and b 2 i)."""
    if point.crl_issuers:
        if normalized_name(crl.issuer) not in point.crl_issuers or not crl.indirect:
            return False
    elif not same_name(crl.issuer, certificate.issuer):
        return False
    if crl.scope is None or crl.scope.names is None:
        return True
    if point.names is not None:
        return bool(crl.scope.names & point.names)
    return bool(crl.scope.names & {(DIRECTORY_NAME, name) for name in point.crl_issuers})


# --- who signed -------------------------------------------------------------------

_REVOKED = "its signer is revoked"


def _crl_signer(
    question: _Question, evidence: Evidence, crl: Crl
) -> tuple[Certificate | None, str]:
    """Return who signed ``crl`` and may, and what is doubtful about that (6.3.3 f and g).

    The certificate's issuer itself, or another certificate of the CRL's issuer with a
    path to the same anchor.  None, with the reason, where nobody fits.
    """
    issuer = question.issuer
    if same_name(crl.issuer, issuer.subject) and is_signed_with(crl, issuer.spki):
        if issuer.key_usage is None or "cRLSign" in issuer.key_usage:
            return issuer, ""
        return None, "its signer's key usage is not cRLSign (RFC 5280 6.3.3 f)"
    why = f"no certificate at hand for the key of {name_text(crl.issuer)} that signed it"
    instant = max(question.at, crl.this_update)
    for signer in _signer_candidates(question, evidence, crl):
        why = _path_fault(question, evidence, signer, instant)
        if why.startswith(_DOUBT) or not why:
            return signer, why
    return None, why


_DOUBT = "the status of its signer"


def _signer_candidates(question: _Question, evidence: Evidence, crl: Crl) -> Iterator[Certificate]:
    """Yield the certificates whose key signed ``crl``; nobody's word on itself is taken."""
    tried = 0
    anchor = (question.anchor,) if question.anchor else ()
    for candidate in dict.fromkeys((*evidence.certificates, *question.pool, *anchor)):
        if not same_name(candidate.subject, crl.issuer) or candidate == question.asked[0]:
            continue
        tried += 1
        if tried > MAX_CRL_SIGNERS:
            return
        if is_signed_with(crl, candidate.spki):
            yield candidate


def _path_fault(
    question: _Question, evidence: Evidence, signer: Certificate, instant: datetime
) -> str:
    """Return why ``signer`` has no good path to the anchor; a doubt starts with ``_DOUBT``."""
    if question.anchor is None:
        return "its signer is not the issuer, and no anchor is given to judge it by"
    pool = tuple(dict.fromkeys((*question.pool, *evidence.certificates)))
    store = _anchor_store(question.anchor)
    result = find_path(signer, pool, store, instant, CRL_SIGNING, AT_LEGACY)
    if not result.trusted:
        return f"its signer has no path to the certificate's anchor: {result.findings[-1]}"
    doubt = ""
    for certificate, issuer in zip(result.path, result.path[1:], strict=False):
        doubt = doubt or _signer_doubt(question, evidence, certificate, issuer, instant)
    return doubt


def _signer_doubt(
    question: _Question,
    evidence: Evidence,
    certificate: Certificate,
    issuer: Certificate,
    instant: datetime,
) -> str:
    """Return why a signer's own certificate is not known to be good; empty if it is.

    A CRL may speak of its own signer (PKITS 4.14.30): that it does not list it is then
    all there is to know.
    """
    if certificate in question.asked:
        return ""
    if len(question.asked) > MAX_SIGNER_DEPTH:
        return f"{_DOUBT} hangs on more than {MAX_SIGNER_DEPTH} others"
    if len(question.checks) >= MAX_SIGNER_CHECKS:
        return f"{_DOUBT} is one of more than {MAX_SIGNER_CHECKS} to look at"
    question.checks.append(certificate)
    inner = question._replace(
        certificate=certificate,
        issuer=issuer,
        at=instant,
        signed_at=None,
        asked=(*question.asked, certificate),
    )
    status = _status(inner, evidence)
    if status.status is Status.REVOKED:
        return f"{_REVOKED} ({certificate.label})"
    if status.status is Status.UNKNOWN:
        return f"{_DOUBT} ({certificate.label}) is unknown: {status.why}"
    return ""


@lru_cache(maxsize=64)
def _anchor_store(anchor: Certificate) -> TrustStore:
    return store_from_certificates("anchor", [anchor.der])
