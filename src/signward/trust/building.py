"""Building: from a leaf to the anchors of a store, at a bounded cost (RFC 4158).

Candidates come by issuer name, those whose key identifier fits first; a link counts
only when the signature value fits.  Depth, links and signature checks are bounded,
so that hostile pools end quickly (x509-limbo's ``pathological`` cases).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from signward.trust.anchors import TrustAnchor, TrustStore
from signward.trust.x509 import Certificate, is_signed_by, normalized_name

MAX_PATH_CERTIFICATES = 16
"""Longest path, leaf and anchor included; the longest real one seen has 6."""

MAX_SIGNATURE_CHECKS = 300
"""Links tried for one leaf; a real one needs 2 to 10."""

MAX_PATHS = 24
"""Complete paths kept for one leaf; cross-certified roots give 2 to 5."""

MAX_POOL = 2000
"""Certificates looked at in one pool."""


class Chain(NamedTuple):
    """Certificates whose names and signatures chain, leaf first.

    ``anchor`` is None where the chain ends before one; ``near`` are then the
    certificates that bear the missing issuer's name although their key does not fit.
    """

    path: tuple[Certificate, ...]
    anchor: TrustAnchor | None
    near: tuple[Certificate, ...] = ()


class Chains(NamedTuple):
    """What a search found; ``exhausted`` when a bound ended it."""

    complete: tuple[Chain, ...]
    partial: Chain
    exhausted: bool


def build(leaf: Certificate, pool: Sequence[Certificate], store: TrustStore) -> Chains:
    """Return the chains from ``leaf`` to anchors of ``store``, likeliest first."""
    search = _Search(pool, store)
    search.extend((leaf,))
    partial = search.partial or Chain((leaf,), None)
    return Chains(tuple(search.complete), partial, search.exhausted)


class _Search:
    """One depth-first search with its budget."""

    def __init__(self, pool: Sequence[Certificate], store: TrustStore) -> None:
        self.store = store
        self.by_subject: dict[bytes, list[Certificate]] = {}
        for certificate in dict.fromkeys(pool[:MAX_POOL]):
            name = normalized_name(certificate.subject)
            self.by_subject.setdefault(name, []).append(certificate)
        self.checks = 0
        self.complete: list[Chain] = []
        self.partial: Chain | None = None
        self.exhausted = len(pool) > MAX_POOL

    def extend(self, path: tuple[Certificate, ...]) -> None:
        """Add every chain that begins with ``path``."""
        last = path[-1]
        anchor = self.store.find(last)
        if anchor:
            self.complete.append(Chain(path, anchor))
        if anchor and (len(path) == 1 or last.self_issued):
            return
        if len(path) >= MAX_PATH_CERTIFICATES:
            self.exhausted = True
            return
        found = [self._try(path, issuer) for issuer in self._issuers(path)]
        if not any(found) and not anchor:
            self._remember(path)

    def _issuers(self, path: tuple[Certificate, ...]) -> Iterable[Certificate]:
        """Return who might have signed the last certificate: anchors, then the pool."""
        last = path[-1]
        anchors = [anchor.certificate for anchor in self.store.by_subject(last.issuer)]
        pool = self.by_subject.get(normalized_name(last.issuer), [])
        known = set(anchors)
        used = {(c.subject, c.spki) for c in path}
        fresh = [c for c in pool if c not in known and (c.subject, c.spki) not in used]
        anchors = [c for c in anchors if c not in path]
        return sorted(anchors, key=lambda c: _unlikeliness(last, c)) + sorted(
            fresh, key=lambda c: _unlikeliness(last, c)
        )

    def _try(self, path: tuple[Certificate, ...], issuer: Certificate) -> bool:
        """Follow one link if its signature fits; return whether it does."""
        if self.checks >= MAX_SIGNATURE_CHECKS or len(self.complete) >= MAX_PATHS:
            self.exhausted = True
            return False
        self.checks += 1
        if not is_signed_by(path[-1], issuer):
            return False
        self.extend((*path, issuer))
        return True

    def _remember(self, path: tuple[Certificate, ...]) -> None:
        """Keep the longest chain that reaches no anchor: it explains the failure best."""
        if self.partial is None or len(path) > len(self.partial.path):
            near = tuple(c for c in self._issuers(path) if c not in path)
            self.partial = Chain(path, None, near)


def _unlikeliness(child: Certificate, issuer: Certificate) -> tuple[int, float]:
    """Order candidates: fitting key identifier, none to compare, another; newest first."""
    wanted, offered = child.authority_key_identifier, issuer.key_identifier
    newest = -issuer.not_after.timestamp()
    if wanted is None or offered is None:
        return 1, newest
    return (0 if wanted == offered else 2), newest
