"""Publishing CRLs: signed ahead of time, and at once when something was revoked."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection

from signward.authority import crl
from signward.authority.log.entry import Kind, Value, encode
from signward.errors import SignwardError
from signward.frozen import replace
from signward.store import counters, published, revocations, status
from signward.store.certificates import Revocation
from signward.store.engine import Outcome
from signward.store.published import Document
from signward.verbs.authority.authorities import (
    Authority,
    instant,
    micros,
    open_authority,
    settings_of,
)
from signward.verbs.authority.realm import Realm

MOST_AHEAD = timedelta(minutes=5)
"""How far the clocks of replicas may differ: what is dated later was made by a wrong one."""


class PublishedCrl(NamedTuple):
    """A CRL that verifiers get now."""

    authority: str
    number: int
    der: bytes
    this_update: datetime
    next_update: datetime


class _Begun(NamedTuple):
    at: datetime
    number: int
    revision: int
    revoked: list[Revocation]


def document_name(ca: str) -> str:
    """Return the name under which an authority's CRL is published."""
    return f"crl {ca}"


def _revision_name(ca: str) -> str:
    return f"crl {ca}, revocations told"


def current(realm: Realm, ca: str) -> PublishedCrl | None:
    """Return the CRL that verifiers get now; None before the first."""
    settings_of(realm, ca)
    with realm.store.read() as connection:
        found = published.current(connection, document_name(ca))
    return None if found is None else _published(ca, found)


def publish(realm: Realm, ca: str) -> PublishedCrl:
    """Sign and publish an authority's next CRL; return it, or a newer one of a replica's.

    Number and date are taken in the transaction that reads what is revoked: of two CRLs the one
    with the greater number knows at least as much, and none is dated later than what it knows.
    A number whose CRL never came to be is a gap, which is allowed (RFC 5280 5.2.3).  Raises
    ``KeyProviderError``, ``RealmError`` and ``StoreError``.
    """
    authority = open_authority(realm, ca)
    begun = realm.store.write(lambda c: _begin(c, realm, ca)).result().value
    now = begun.at
    until = now + timedelta(days=authority.settings.crl_days)
    signed = _signed(authority, begun, now, until)
    document = Document(
        name=document_name(ca), version=begun.number, body=signed, at=micros(now),
        expires=micros(until),
    )  # fmt: skip
    fields: dict[str, Value] = {
        "ca": ca,
        "number": str(begun.number),
        "entries": len(begun.revoked),
    }
    entry = encode(Kind.CRL, fields, realm.now())
    told = replace(document, name=_revision_name(ca), version=begun.revision, body=b"")
    stored = realm.store.write(lambda c: _record(c, document, told, entry)).result().value
    return _published(ca, stored)


def _begin(connection: Connection, realm: Realm, ca: str) -> Outcome[_Begun]:
    now = realm.now().replace(microsecond=0)
    number = counters.lease(connection, document_name(ca))
    revision = status.revision(connection, ca)
    return Outcome(_Begun(now, number, revision, revocations.of(connection, ca)))


def _signed(authority: Authority, begun: _Begun, now: datetime, until: datetime) -> bytes:
    rows = [
        crl.Revoked(
            serial=int(row.serial, 16),
            at=instant(row.at),
            reason=row.reason,
            invalid_from=None if row.invalidity is None else instant(row.invalidity),
        )
        for row in begun.revoked
    ]
    draft = crl.draft(authority.issuer, rows, begun.number, now, until)
    value = authority.credential.sign(authority.standing, draft.to_be_signed, draft.algorithm)
    return draft.seal(value)


def _record(
    connection: Connection, document: Document, told: Document, entry: bytes
) -> Outcome[Document]:
    """Store a CRL, and up to which change of the revocations it tells them."""
    if published.put(connection, document):
        published.put(connection, told)
        return Outcome(document, (entry,))
    newer = published.current(connection, document.name)
    return Outcome(newer or document)


def _published(ca: str, document: Document) -> PublishedCrl:
    return PublishedCrl(
        ca, document.version, document.body, instant(document.at), instant(document.expires)
    )


def due(realm: Realm, ca: str) -> bool:
    """Return whether an authority's next CRL should be published by now.

    That is so ahead of the present one's end, where a revocation was recorded but its CRL
    could not be signed at the time, and where the clock was wrong, and the CRL is of the future.
    """
    ahead = timedelta(hours=settings_of(realm, ca).crl_ahead_hours)
    with realm.store.read() as connection:
        found = published.current(connection, document_name(ca))
        told = published.current(connection, _revision_name(ca))
        revision = status.revision(connection, ca)
    if found is None or told is None or told.version < revision:
        return True
    now = realm.now()
    return now >= instant(found.expires) - ahead or now < instant(found.at) - MOST_AHEAD


def publish_due(realm: Realm) -> tuple[PublishedCrl, ...]:
    """Publish the CRLs that are due, of authorities that are online.

    One that cannot be published does not keep the others back.  Raises as `publish` does.
    """
    made: list[PublishedCrl] = []
    failed: list[SignwardError] = []
    for name in (name for name, one in realm.settings.ca.items() if not one.offline):
        try:
            if due(realm, name):
                made.append(publish(realm, name))
        except SignwardError as error:
            failed.append(error)
    if failed:
        raise failed[0]
    return tuple(made)


def try_to_publish(realm: Realm, ca: str) -> PublishedCrl | str:
    """Publish; where that fails, return why, and what to do: the revocation stands anyway."""
    try:
        return publish(realm, ca)
    except SignwardError as error:
        said = str(error).partition("\n")[0]
        return (
            f"the CRL of {ca} does not tell yet ({said}): publish it with signward ca crl --ca {ca}"
        )
