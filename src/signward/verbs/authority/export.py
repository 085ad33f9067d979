"""Certificates and CRLs as files: PEM for people and tools, DER for Windows and Java."""

from __future__ import annotations

import base64
import textwrap

from signward.errors import AuthorityError
from signward.store.certificates import Listed
from signward.trust.x509 import Certificate, load_certificate
from signward.verbs.authority.authorities import certificate_of, path_of, settings_of
from signward.verbs.authority.finding import find, is_file, is_serial
from signward.verbs.authority.publish_crl import current
from signward.verbs.authority.realm import Realm

FORMS = ("path", "pem", "der")
"""Leaf to root, PEM; the certificate alone, PEM; the same, DER."""


def pem(der: bytes, label: str = "CERTIFICATE") -> str:
    """Return DER as PEM (RFC 7468), lines of 64 characters."""
    body = textwrap.fill(base64.b64encode(der).decode(), 64)
    return f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n"


def export(realm: Realm, what: str, form: str) -> bytes:
    """Return a certificate in one of `FORMS`.

    ``what`` is an authority's name, the name of a key in the settings, a serial number or a file.
    Raises ``AuthorityError`` and ``RealmError``.
    """
    path = _path(realm, what)
    if form == "der":
        return path[0].der
    shown = path if form == "path" else path[:1]
    return "".join(pem(one.der) for one in shown).encode()


def export_crl(realm: Realm, ca: str, form: str) -> bytes:
    """Return an authority's current CRL, PEM or DER.  Raises ``AuthorityError``."""
    found = current(realm, ca)
    if found is None:
        raise AuthorityError(
            f"CRL of {ca}", "none", "one", hint=f"signward ca crl --ca {ca} makes it"
        )
    return found.der if form == "der" else pem(found.der, "X509 CRL").encode()


def _path(realm: Realm, what: str) -> list[Certificate]:
    if what in realm.settings.ca:
        return path_of(realm, settings_of(realm, what).key)
    if what in realm.settings.keys and realm.settings.keys[what].certificates:
        return path_of(realm, what)
    if not is_file(what) and not is_serial(what):
        known = ", ".join(dict.fromkeys((*realm.settings.ca, *realm.settings.keys)))
        raise AuthorityError(
            repr(what[:200]), "neither a file nor a serial number",
            f"a certificate's file, its serial number in hexadecimal, or a name: {known}",
        )  # fmt: skip
    return issued_path(realm, find(realm, what))


def issued_path(realm: Realm, listed: Listed) -> list[Certificate]:
    """Return an issued certificate and its issuers, root last.  Raises ``RealmError``."""
    made = load_certificate(listed.issued.der)
    above = path_of(realm, settings_of(realm, listed.issued.issuer).key)
    return above if made == certificate_of(realm, listed.issued.issuer) else [made, *above]
