"""The authority's own certificates, and their ends: nobody else would notice in time."""

from __future__ import annotations

from datetime import timedelta

from signward.errors import AuthorityError
from signward.store import certificates
from signward.verbs.authority.authorities import path_of
from signward.verbs.authority.realm import Realm

AHEAD = timedelta(days=30)
"""How long before a certificate's end its renewal is asked for."""

_SHARE = 10
"""One that lives short is asked for in the last tenth of its life instead."""


def check_ends(realm: Realm) -> None:
    """Return if no certificate of ``[keys.NAME]`` ends soon.

    Raises ``AuthorityError`` that names those that do, or did, and ``RealmError``.
    """
    now, ending = realm.now(), []
    for name, key in realm.settings.keys.items():
        if not key.certificates:
            continue
        leaf = path_of(realm, name)[0]
        if now >= leaf.not_after - min(AHEAD, (leaf.not_after - leaf.not_before) / _SHARE):
            ending.append((leaf.not_after, name))
    if ending:
        told = ", ".join(f"{name} (ends {end:%Y-%m-%d})" for end, name in sorted(ending))
        raise AuthorityError(
            "certificates of keys", told, f"ends more than {AHEAD.days} days ahead",
            hint=_hint(min(ending)[1]),
        )  # fmt: skip


def check_in_force(realm: Realm, key: str) -> None:
    """Return if the certificate of ``[keys.KEY]`` is valid now, and not revoked by us.

    Raises ``AuthorityError``, ``RealmError`` and ``StoreError``.
    """
    leaf, now = path_of(realm, key)[0], realm.now()
    if not leaf.not_before <= now <= leaf.not_after:
        raise AuthorityError(
            leaf.label, f"validity {leaf.not_before:%Y-%m-%d} to {leaf.not_after:%Y-%m-%d}",
            f"one that includes {now:%Y-%m-%d}", "RFC 5280 4.1.2.5", _hint(key),
        )  # fmt: skip
    with realm.store.read() as connection:
        known = certificates.with_fingerprint(connection, leaf.sha256)
    if known is not None and known.revocation is not None:
        raise AuthorityError(leaf.label, "one that is revoked", "one that is not", "RFC 5280 5",
                             "certify a new key, and name it in signward.toml")  # fmt: skip


def _hint(key: str) -> str:
    return f"signward ca renew {key}; then start the service anew"
