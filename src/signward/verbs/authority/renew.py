"""Renewing: the same holder, names and profile; new dates, serial number and, if given, key."""

from __future__ import annotations

from datetime import timedelta

from signward.errors import AuthorityError
from signward.store.certificates import Listed
from signward.trust.x509 import NAME_CONSTRAINTS, SUBJECT_ALT_NAME, Certificate, load_certificate
from signward.verbs.authority.authorities import path_of
from signward.verbs.authority.export import pem
from signward.verbs.authority.files import replace_file
from signward.verbs.authority.finding import find, in_file
from signward.verbs.authority.issue import IssuedCertificate, Order, issue
from signward.verbs.authority.realm import Realm
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


def renew(
    realm: Realm, reference: str, by: str, spki: bytes = b"", lifetime: timedelta | None = None
) -> IssuedCertificate:
    """Renew the certificate that ``reference`` names: a serial number, a file, or one of our keys.

    The certificates of ``[keys.NAME]`` are replaced in the folder too, and the paths of those below
    it.  Raises as `issue` does.
    """
    own = realm.settings.keys.get(reference)
    if own is None or not own.certificates:
        listed = find(realm, reference)
        return issue(realm, listed.issued.issuer, renewal(listed, spki, lifetime), by)
    if spki:
        raise AuthorityError(f"key {reference}", "another public key", "its own",
                             hint="put the new key into signward.toml first")  # fmt: skip
    old = path_of(realm, reference)[0]
    listed = in_file(realm, realm.folder / own.certificates)
    issued = issue(realm, listed.issued.issuer, renewal(listed, b"", lifetime), by)
    _replace_paths(realm, old, issued.certificate)
    return issued


def reference_of(realm: Realm, reference: str) -> str:
    """Return the file of one of our keys where ``reference`` is its name; else ``reference``."""
    own = realm.settings.keys.get(reference)
    return str(realm.folder / own.certificates) if own and own.certificates else reference


def _replace_paths(realm: Realm, old: Certificate, new: Certificate) -> None:
    """Put a renewed certificate in the old one's place, in every file that has it."""
    for name, key in realm.settings.keys.items():
        if not key.certificates:
            continue
        path = path_of(realm, name)
        if old in path:
            text = "".join(pem(new.der if one == old else one.der) for one in path)
            replace_file(realm.folder / key.certificates, text.encode())
