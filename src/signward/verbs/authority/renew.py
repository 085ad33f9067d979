"""Renewing: the same holder, names and profile; new dates, serial number and, if given, key."""

from __future__ import annotations

from datetime import timedelta

from signward.errors import AuthorityError
from signward.store.certificates import Listed
from signward.trust.x509 import NAME_CONSTRAINTS, SUBJECT_ALT_NAME, Certificate, load_certificate
from signward.verbs.authority.issue import Order
from signward.wire import der


def renewal(listed: Listed, spki: bytes = b"", lifetime: timedelta | None = None) -> Order:
    """Return the order that renews a certificate; without ``spki`` its key goes on.

    Raises ``AuthorityError`` for a revoked one: what was withdrawn is not renewed but issued anew,
    by somebody who decides so.
    """
    issued = listed.issued
    if listed.revocation is not None:
        raise AuthorityError(
            f"serial number {issued.serial}", "a revoked certificate", "one that is not",
            hint="signward ca issue makes a new one, with a new key",
        )  # fmt: skip
    old = load_certificate(issued.der)
    permitted, excluded = _constraints(old)
    return Order(
        profile=issued.profile,
        subject=old.subject,
        spki=spki or old.spki,
        names=_alternative_names(old),
        lifetime=lifetime,
        permitted=permitted,
        excluded=excluded,
    )


def _alternative_names(certificate: Certificate) -> tuple[bytes, ...]:
    _, value = certificate.extensions.get(SUBJECT_ALT_NAME, (False, b""))
    return tuple(n.raw for n in der.parse(value, "subjectAltName").children()) if value else ()


def _constraints(certificate: Certificate) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """Return the bases of permitted and excluded subtrees (RFC 5280 4.2.1.10)."""
    _, value = certificate.extensions.get(NAME_CONSTRAINTS, (False, b""))
    lists = der.parse(value, "nameConstraints").children() if value else []
    by_tag = {field.tag: tuple(n.children()[0].raw for n in field.children()) for field in lists}
    return by_tag.get(0xA0, ()), by_tag.get(0xA1, ())


