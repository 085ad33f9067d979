"""Trust anchors: named stores of certificates we start from, and what limits each.

An anchor is trusted because a named store says so, within the limits the store sets
(usages, dates).  ``authroot`` holds the store that Microsoft publishes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime

from signward.errors import BadInputError, EvidenceError
from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen
from signward.trust import pem
from signward.trust.x509 import Certificate, load_certificate, normalized_name

MAX_STORE_OCTETS = 16 * 1024 * 1024
"""Largest anchor file read; the Microsoft list as PEM has 1.2 MB."""

MAX_ANCHORS = 5000
"""Most certificates in one store; the Microsoft list has about 560."""


class TrustAnchor(Frozen, frozen=True, kw_only=True):
    """One trusted certificate and the limits its store sets.

    ``usages`` are the EKUs (dotted) it is trusted for, None for any;
    ``denied_usages`` those it has lost, whatever the date.  Nothing judged at
    ``disabled_from`` or later is trusted.  Leaves issued (notBefore) at or after
    ``no_issue_after`` are not trusted, or only not for ``no_issue_usages`` where that
    is not None.  Instants are aware UTC.
    """

    certificate: Certificate
    name: str
    store: str
    usages: frozenset[str] | None = None
    denied_usages: frozenset[str] = frozenset()
    disabled_from: datetime | None = None
    no_issue_after: datetime | None = None
    no_issue_usages: frozenset[str] | None = None

    def objections(
        self, eku: str | None, issued: datetime, at: datetime, clause: str = ""
    ) -> tuple[Finding, ...]:
        """Return why this anchor may not vouch for a leaf; empty when it may.

        ``eku`` is the usage asked for (None: none in particular), ``issued`` the
        leaf's notBefore, ``at`` the instant of judgement (the proven time if any).
        """
        found = (
            _usage_objection(self, eku),
            _date_objection(self, at),
            _issue_objection(self, eku, issued),
        )
        if not any(found):
            return ()
        return tuple(
            Finding(
                code=Code.WRONG_USAGE if number == 0 else Code.DISTRUSTED,
                effect=Effect.REJECT,
                subject=f"trust anchor {self.name}",
                found=text,
                required=f"an anchor that store {self.store} trusts for this",
                clause=clause or "wincrypt.h certificate properties",
            )
            for number, text in enumerate(found)
            if text
        )


def _usage_objection(anchor: TrustAnchor, eku: str | None) -> str:
    if eku is None:
        return ""
    if eku in anchor.denied_usages:
        return f"usage {eku} withdrawn"
    if anchor.usages is not None and eku not in anchor.usages:
        return f"no trust for usage {eku}"
    return ""


def _date_objection(anchor: TrustAnchor, at: datetime) -> str:
    since = anchor.disabled_from
    if since is None or at < since:
        return ""
    return f"disabled from {since:%Y-%m-%d}, judged at {at:%Y-%m-%d}"


def _issue_objection(anchor: TrustAnchor, eku: str | None, issued: datetime) -> str:
    since, usages = anchor.no_issue_after, anchor.no_issue_usages
    if since is None or issued < since or (usages is not None and eku not in usages):
        return ""
    return f"no trust for leaves issued from {since:%Y-%m-%d}, this one is of {issued:%Y-%m-%d}"


class TrustStore:
    """A named set of trust anchors, found by subject or by certificate.

    ``digest`` (SHA-256) identifies the content for caches: it changes with any
    certificate or limit.
    """

    __slots__ = ("_by_digest", "_by_name", "digest", "name")

    def __init__(self, name: str, anchors: Iterable[TrustAnchor], digest: bytes = b"") -> None:
        self.name = name
        self._by_digest = {anchor.certificate.sha256: anchor for anchor in anchors}
        self._by_name: dict[bytes, list[TrustAnchor]] = {}
        for anchor in self._by_digest.values():
            key = normalized_name(anchor.certificate.subject)
            self._by_name.setdefault(key, []).append(anchor)
        self.digest = digest or _content_digest(self._by_digest.values())

    def __len__(self) -> int:
        return len(self._by_digest)

    def __repr__(self) -> str:
        return f"<TrustStore {self.name}, {len(self)} anchors>"

    def by_subject(self, raw_name: bytes) -> tuple[TrustAnchor, ...]:
        """Return the anchors whose subject equals ``raw_name`` (RFC 5280 7.1), if any."""
        return tuple(self._by_name.get(normalized_name(raw_name), ()))

    def find(self, certificate: Certificate) -> TrustAnchor | None:
        """Return the anchor that IS ``certificate`` (same SHA-256), or None."""
        return self._by_digest.get(certificate.sha256)

    def anchors(self) -> tuple[TrustAnchor, ...]:
        """Return every anchor."""
        return tuple(self._by_digest.values())


def joined(name: str, stores: Sequence[TrustStore]) -> TrustStore:
    """Return one store that asks ``stores`` in turn; an anchor keeps its own store's limits."""
    return stores[0] if len(stores) == 1 else _JoinedStore(name, stores)


class _JoinedStore(TrustStore):
    """Several stores seen as one; the first that knows a certificate wins."""

    __slots__ = ("_stores",)

    def __init__(self, name: str, stores: Sequence[TrustStore]) -> None:
        identity = b"".join(store.digest for store in stores)
        super().__init__(name, (), hashlib.sha256(identity).digest())
        self._stores = tuple(stores)

    def __len__(self) -> int:
        return sum(map(len, self._stores))

    def by_subject(self, raw_name: bytes) -> tuple[TrustAnchor, ...]:
        found: dict[bytes, TrustAnchor] = {}
        for store in self._stores:
            for anchor in store.by_subject(raw_name):
                found.setdefault(anchor.certificate.sha256, anchor)
        return tuple(found.values())

    def find(self, certificate: Certificate) -> TrustAnchor | None:
        found = (store.find(certificate) for store in self._stores)
        return next((anchor for anchor in found if anchor), None)

    def anchors(self) -> tuple[TrustAnchor, ...]:
        return tuple(anchor for store in self._stores for anchor in store.anchors())


def _content_digest(anchors: Iterable[TrustAnchor]) -> bytes:
    return hashlib.sha256(repr(sorted(map(_limits, anchors))).encode()).digest()


def _limits(anchor: TrustAnchor) -> tuple[str, ...]:
    """Return everything that makes an anchor what it is, in a form that sorts."""
    sets = (anchor.usages, anchor.denied_usages, anchor.no_issue_usages)
    dates = (anchor.disabled_from, anchor.no_issue_after)
    return (
        anchor.certificate.sha256.hex(),
        anchor.store,
        *(repr(None if s is None else sorted(s)) for s in sets),
        *map(str, dates),
    )


def store_from_certificates(name: str, ders: Sequence[bytes]) -> TrustStore:
    """Return a store that trusts each DER certificate without limits.

    Raises ``EvidenceError`` for one that cannot be parsed and for more than
    ``MAX_ANCHORS``.
    """
    if len(ders) > MAX_ANCHORS:
        raise EvidenceError(f"store {name}: {len(ders)} certificates, at most {MAX_ANCHORS}")
    anchors = []
    for number, certificate in enumerate(ders, 1):
        try:
            parsed = load_certificate(bytes(certificate))
        except BadInputError as error:
            raise EvidenceError(f"store {name}, certificate {number}: {error}") from None
        label = parsed.common_name or parsed.subject_text
        anchors.append(TrustAnchor(certificate=parsed, name=label, store=name))
    return TrustStore(name, anchors)


def store_from_pem(name: str, data: bytes) -> TrustStore:
    """Return a store of the certificates in a PEM file or of one DER certificate.

    PEM is RFC 7468; text between the blocks is ignored, other kinds of blocks too.
    Raises ``EvidenceError`` when there is no certificate, or one is damaged.
    """
    if len(data) > MAX_STORE_OCTETS:
        raise EvidenceError(f"store {name}: {len(data)} bytes, at most {MAX_STORE_OCTETS}")
    return store_from_certificates(name, pem_certificates(f"store {name}", data))


def pem_certificates(name: str, data: bytes) -> list[bytes]:
    """Return the DER of each certificate in a PEM or DER file; ``EvidenceError`` if none."""
    return pem.blocks(name, data, pem.CERTIFICATES)
