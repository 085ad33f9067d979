"""The realm's certification authorities: their certificates, and their keys where they are used."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from signward.authority.certificate import Issuer
from signward.errors import BadInputError, KeyProviderError, RealmError
from signward.frozen import replace
from signward.trust.x509 import Certificate, load_certificate
from signward.verbs.authority.realm import Realm
from signward.verbs.authority.settings import FILE_NAME, CaSettings
from signward.verbs.credential import Credential, Standing

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Authority:
    """A certification authority whose key is open."""

    name: str
    settings: CaSettings
    issuer: Issuer
    credential: Credential
    standing: Standing


def micros(instant: datetime) -> int:
    """Return an aware instant as the database has it: microseconds since 1970."""
    return (instant - _EPOCH) // _MICROSECOND


def instant(number: int) -> datetime:
    """Return what `micros` was given, UTC."""
    return _EPOCH + number * _MICROSECOND


def hexadecimal(serial: int) -> str:
    """Return a serial number as it is stored and told."""
    return f"{serial:x}"


def settings_of(realm: Realm, name: str) -> CaSettings:
    """Return ``[ca.NAME]``.  Raises ``RealmError``."""
    found = realm.settings.ca.get(name)
    if found is None:
        listed = ", ".join(realm.settings.ca) or "none is there"
        raise RealmError(f"authority {name!r}", f"no [ca.{name}] in {FILE_NAME}", f"one: {listed}")
    return found


def certificate_of(realm: Realm, name: str) -> Certificate:
    """Return an authority's own certificate, without its key.  Raises ``RealmError``."""
    return path_of(realm, settings_of(realm, name).key)[0]


def path_of(realm: Realm, key: str) -> list[Certificate]:
    """Return the certificates that stand for ``[keys.KEY]``, leaf first.  Raises ``RealmError``."""
    wanted = realm.settings.keys.get(key)
    if wanted is None or not wanted.certificates:
        raise RealmError(f"[keys.{key}]", "no certificates", f"a PEM file named in {FILE_NAME}")
    try:
        return [load_certificate(one) for one in realm.certificates(wanted)]
    except BadInputError as error:
        raise RealmError(wanted.certificates, str(error), "certificates, PEM") from None


def open_authority(realm: Realm, name: str) -> Authority:
    """Open an authority's key.  Raises ``RealmError`` and ``KeyProviderError``."""
    settings = settings_of(realm, name)
    try:
        credential = realm.credential(settings.key)
    except KeyProviderError as error:
        if settings.offline and not error.hint:
            hint = f"{name} is kept offline: bring its key with --ca-key URI"
            raise KeyProviderError(error.subject, error.found, error.required, hint) from None
        raise
    standing = credential.standing
    issuer = issuer_of(realm, name, standing)
    return Authority(name, settings, issuer, credential, standing)


def issuer_of(realm: Realm, name: str, standing: Standing) -> Issuer:
    """Return an authority as those it certifies will name it."""
    settings, base = settings_of(realm, name), realm.settings.url.rstrip("/")
    return Issuer(
        certificate=standing.leaf,
        algorithm=standing.signer.algorithm,
        crl_url=f"{base}/crl/{name}.crl",
        ocsp_url=f"{base}/ocsp/{name}" if settings.ocsp_key else "",
        certificate_url=f"{base}/ca/{name}.cer",
        policies=settings.policies,
    )


def key_elsewhere(realm: Realm, name: str, uri: str) -> None:
    """Let an authority's key be ``uri`` for as long as this realm is open.

    An offline root's key is brought for a ceremony.  A relative path starts at the working folder.
    """
    key = settings_of(realm, name).key
    scheme, colon, rest = uri.partition(":")
    if scheme in ("file", "pkcs12"):
        uri = f"{scheme}{colon}{Path(rest).absolute()}"
    keys = {**realm.settings.keys, key: replace(realm.settings.keys[key], uri=uri)}
    realm.settings = replace(realm.settings, keys=keys)
