"""A test PKI whose certificates name a loopback server for issuers, CRLs and OCSP."""

from __future__ import annotations

from typing import Any

from conformance.authenticode.pki import Extension, Pki, make_pki

from signward.wire import der

_OCSP, _CA_ISSUERS = "1.3.6.1.5.5.7.48.1", "1.3.6.1.5.5.7.48.2"


def information(*, ocsp: str = "", issuer: str = "") -> Extension:
    """Return an authorityInfoAccess extension (RFC 5280 4.2.2.1)."""
    listed = ((_OCSP, ocsp), (_CA_ISSUERS, issuer))
    parts = (der.sequence(der.oid(oid), _uri(url)) for oid, url in listed if url)
    return "1.3.6.1.5.5.7.1.1", False, der.sequence(*parts)


def distribution(*urls: str) -> Extension:
    """Return cRLDistributionPoints with one point of these URLs (RFC 5280 4.2.1.13)."""
    names = der.context(0, b"".join(map(_uri, urls)))
    return "2.5.29.31", False, der.sequence(der.sequence(der.context(0, names)))


def _uri(url: str) -> bytes:
    return der.context(6, url.encode(), constructed=False)


def online_pki(leaf: tuple[Extension, ...], intermediate: tuple[Extension, ...] = ()) -> Pki:
    """Return the usual PKI with these extensions in its leaf and its intermediate."""
    roles: dict[str, dict[str, Any]] = {"leaf": {"extensions": leaf}}
    if intermediate:
        roles["intermediate"] = {"extensions": intermediate}
    return make_pki(**roles)
