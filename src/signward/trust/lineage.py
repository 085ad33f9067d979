"""Signers that are pinned: an anchor is the signer's own certificate, or one in the lineage.

Android takes an update by whoever signed what is installed, or whom that signer handed signing
on to (APK Signature Scheme v3, proof-of-rotation).  Who issued a certificate says nothing there:
a chain that names a known authority proves nothing (Android bug 13678484).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from signward.errors import BadInputError
from signward.findings import Code, Effect, Finding
from signward.frozen import replace
from signward.state import IntactSignature
from signward.trust.anchors import TrustAnchor, TrustStore
from signward.trust.path import PathResult, find_path
from signward.trust.profiles import Profile
from signward.trust.rules import AlgorithmPolicy
from signward.trust.x509 import Certificate, load_certificate


def lineage_path(
    intact: IntactSignature,
    store: TrustStore,
    at: datetime,
    profile: Profile,
    algorithms: AlgorithmPolicy,
) -> PathResult:
    """Return the signer and those before, back to the anchor; the steps are intact already."""
    try:
        holders = tuple(_holders(intact))
    except BadInputError as error:
        return PathResult(path=(), anchor=None, findings=(error.finding,))
    certificates = tuple(certificate for certificate, _ in holders)
    for number, (certificate, lasting) in enumerate(holders, 1):
        anchor = store.find(certificate)
        if anchor is not None and lasting:
            path = certificates[:number]
            findings = (f for one in path for f in _own(one, anchor, at, profile, algorithms))
            return PathResult(path=path, anchor=anchor, findings=tuple(findings))
    gone = any(store.find(certificate) for certificate in certificates)
    return PathResult(
        path=certificates[:1], anchor=None, findings=(_unpinned(certificates, store, gone),)
    )


def _holders(intact: IntactSignature) -> Iterator[tuple[Certificate, bool]]:
    """Yield the signer, then who held the key before, each with whether trust in them lasts."""
    yield load_certificate(intact.key.holder), True
    for step in reversed(intact.claimed.lineage):
        yield load_certificate(step.certificate), step.lasting


def _own(
    certificate: Certificate,
    anchor: TrustAnchor,
    at: datetime,
    profile: Profile,
    algorithms: AlgorithmPolicy,
) -> tuple[Finding, ...]:
    """Return what speaks against a certificate by itself: its key, its structure."""
    alone = TrustStore(anchor.store, [replace(anchor, certificate=certificate)])
    result = find_path(certificate, (), alone, at, profile.usage, algorithms, profile.rules)
    return result.findings


def _unpinned(certificates: tuple[Certificate, ...], store: TrustStore, gone: bool) -> Finding:  # noqa: FBT001
    others = f" and {len(certificates) - 1} before" if len(certificates) > 1 else ""
    return Finding(
        code=Code.UNTRUSTED_ROOT,
        effect=Effect.REJECT,
        subject=certificates[0].label,
        found="a pinned signer who gave up its rights to the data of applications"
        if gone
        else f"a signer{others} that is not pinned",
        required=f"a certificate of store {store.name}, the signer's own or one in its lineage",
        clause="APK Signature Scheme v3, proof-of-rotation",
        hint="pin the certificate the application is known by: --anchor CERTIFICATE",
    )
