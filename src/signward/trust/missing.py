"""What evidence a judgement lacked: named here, fetched elsewhere, judged again.

Pure, like all of ``trust``: a need says which certificate is in doubt, what would help
and where its issuer says that lies.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from itertools import pairwise

from signward.errors import BadInputError
from signward.frozen import Frozen
from signward.state import (
    IntactSignature,
    Status,
    TrustedSignature,
    UntrustedSignature,
    X509Path,
    path_of,
)
from signward.trust.building import build
from signward.trust.judge import Grounds, with_embedded
from signward.trust.profiles import Profile
from signward.trust.revocation import needed, revocation_status
from signward.trust.settings import RevocationMode
from signward.trust.x509 import Certificate, is_signed_by, load_certificate


class Kind(StrEnum):
    """What would help."""

    ISSUER = "issuer"
    OCSP = "ocsp"
    CRL = "crl"


class Need(Frozen, frozen=True, kw_only=True):
    """One piece of evidence that might be had at ``url``.

    ``issuer`` is None exactly when it is the issuer that is missing.
    """

    kind: Kind
    url: str
    certificate: Certificate
    issuer: Certificate | None


def missing(
    judged: TrustedSignature | UntrustedSignature, profile: Profile, grounds: Grounds
) -> tuple[Need, ...]:
    """Return what might settle what ``judged`` left open, likeliest first.

    Issuers of unfinished paths (the signer's and each timestamp's), then the status of
    every certificate on the paths that count: OCSP before CRLs.
    """
    if profile.keys or profile.keyless:
        return ()
    grounds = with_embedded(judged.intact, grounds)
    needs = list(_issuers(judged.intact, profile, grounds))
    if profile.revocation and grounds.policy.revocation is not RevocationMode.IGNORE:
        path = path_of(judged.basis)
        if path and path.anchor:
            needs += _statuses(path, judged, grounds)
        if judged.proven_time:
            needs += _statuses(judged.proven_time.path, judged, grounds)
    return tuple(dict.fromkeys(needs))


def _issuers(intact: IntactSignature, profile: Profile, grounds: Grounds) -> Iterator[Need]:
    stamps = intact.timestamps if profile.timestamps else ()
    leaves = [intact.key.holder, *(stamp.signature.key.holder for stamp in stamps)]
    for leaf in leaves:
        try:
            chains = build(load_certificate(leaf), grounds.pool, grounds.store)
        except BadInputError:
            continue
        last = chains.partial.path[-1]
        if chains.complete or (last.self_issued and is_signed_by(last, last)):
            continue
        for url in last.issuer_urls:
            yield Need(kind=Kind.ISSUER, url=url, certificate=last, issuer=None)


def _statuses(
    path: X509Path, judged: TrustedSignature | UntrustedSignature, grounds: Grounds
) -> Iterator[Need]:
    proven = judged.proven_time.instant if judged.proven_time else None
    certificates = [load_certificate(data) for data in path.certificates]
    for certificate, issuer in pairwise(certificates):
        status = revocation_status(
            certificate, issuer, grounds.evidence, grounds.at, signed_at=proven,
            pool=grounds.pool, anchor=certificates[-1],
        )  # fmt: skip
        if status.status is Status.UNKNOWN:
            yield from _sources(certificate, issuer, grounds)


def _sources(certificate: Certificate, issuer: Certificate, grounds: Grounds) -> Iterator[Need]:
    lists = needed(certificate, issuer, grounds.evidence, grounds.at)
    for url in certificate.ocsp_urls:
        yield Need(kind=Kind.OCSP, url=url, certificate=certificate, issuer=issuer)
    for url in dict.fromkeys((*certificate.crl_urls, *lists)):
        if url not in certificate.ocsp_urls:
            yield Need(kind=Kind.CRL, url=url, certificate=certificate, issuer=issuer)
