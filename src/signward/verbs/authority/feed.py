"""The revocation feed: what it says beside the authority's revocations, and its publication.

A version is made whenever something was revoked, and when half the life of the last one is
over.  Its number is durable before the key is used, and the document is stored together with
its log entry before anybody sees it: a number may be skipped, and is never used twice.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection

from signward.authority import feed as writing
from signward.authority.log.entry import Kind, Value, encode
from signward.errors import AuthorityError, RealmError, SignwardError
from signward.frozen import decoder
from signward.integrity import UnsupportedKeyError, ValueMismatchError, check_value
from signward.store import counters, published
from signward.store import feed as stored
from signward.store.engine import Outcome
from signward.store.published import Document
from signward.trust.crl import REASON_NAMES
from signward.trust.feed import (
    Entry,
    RevokedCertificate,
    RevokedDigest,
    RevokedPublisher,
)
from signward.verbs.authority.realm import Realm
from signward.verbs.authority.settings import FeedSettings
from signward.verbs.feed_entries import of_certificate

NAME = "feed"
"""Of its published document, and of the counter of its versions."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

MOST_AHEAD = 5 * 60 * 1_000_000
"""Microseconds by which the clocks of replicas may differ: a later version is a wrong clock's."""

KINDS: dict[str, type[Entry]] = {
    "certificate": RevokedCertificate,
    "publisher": RevokedPublisher,
    "digest": RevokedDigest,
}


class Listed(NamedTuple):
    """An entry that was added: its identifier, what it says, when and by whom it came."""

    id: str
    kind: str
    entry: Entry
    at: datetime
    by: str


class _Draft(NamedTuple):
    """What a version is to say, its number and its beginning."""

    version: int
    issued: datetime
    entries: tuple[Entry, ...]


def add(realm: Realm, entry: Entry, by: str) -> str:
    """Add an entry, or replace the one about the same; return its identifier.

    It counts with the next version: see `publish`.  Raises ``StoreError``.
    """
    _settings(realm)
    kind, at = _kind(entry), realm.now()
    row = stored.Added(
        id=_identifier(kind, entry),
        kind=kind,
        body=msgspec.json.encode(entry),
        at=_micros(at),
        added_by=by,
    )

    def job(connection: Connection) -> Outcome[str]:
        if not stored.put(connection, row):
            return Outcome(row.id)
        fields: dict[str, Value] = {"deed": "added", "by": by, "id": row.id, "entry": _plain(entry)}
        return Outcome(row.id, (encode(Kind.FEED, fields, at),))

    return realm.store.write(job).result().value


def remove(realm: Realm, identifier: str, by: str) -> str:
    """Take out the one entry whose identifier starts so; return the whole identifier.

    Raises ``AuthorityError`` where there is none or are several, and ``StoreError``.
    """
    at = realm.now()

    def job(connection: Connection) -> Outcome[str]:
        found = stored.starting_with(connection, identifier)
        if len(found) != 1 or not identifier:
            raise AuthorityError(
                f"entry {identifier[:64]!r}", f"{len(found)} that start so", "one",
                hint="signward feed list shows what was added; a certificate that the authority "
                "itself revoked stays revoked",
            )  # fmt: skip
        stored.remove(connection, found[0])
        fields: dict[str, Value] = {"deed": "removed", "by": by, "id": found[0]}
        return Outcome(found[0], (encode(Kind.FEED, fields, at),))

    return realm.store.write(job).result().value


def listing(realm: Realm) -> list[Listed]:
    """Return every entry that was added, oldest first.  Raises ``StoreError``."""
    with realm.store.read() as connection:
        rows = stored.added(connection)
    return [Listed(r.id, r.kind, _entry(r), _instant(r.at), r.added_by) for r in rows]


def current(realm: Realm) -> Document | None:
    """Return the newest version (an envelope), or None.  Raises ``StoreError``."""
    with realm.store.read() as connection:
        return published.current(connection, NAME)


def version(realm: Realm) -> int:
    """Return the number of the newest version, 0 where there is none.  Raises ``StoreError``."""
    with realm.store.read() as connection:
        return stored.version(connection, NAME)


def public_key(realm: Realm) -> bytes:
    """Return the public key of the feed as PEM (RFC 7468 13).  Raises as `publish` does."""
    spki = base64.encodebytes(realm.key(_settings(realm).key).public_key).replace(b"\n", b"")
    lines = [spki[i : i + 64] for i in range(0, len(spki), 64)]
    return b"\n".join((b"-----BEGIN PUBLIC KEY-----", *lines, b"-----END PUBLIC KEY-----", b""))


class Publisher:
    """Makes new versions when they are due; remembers what the last one was made of."""

    def __init__(self, realm: Realm) -> None:
        self._realm = realm
        self._state: stored.State = ()

    def publish_if_due(self) -> Document | None:
        """Make a version where something changed or the last one grows old; return the newest.

        None where the realm has no feed.  Raises as `publish` does.
        """
        if self._realm.settings.feed is None:
            return None
        with self._realm.store.read() as connection:
            state = stored.state(connection)
            newest = published.current(connection, NAME)
        if newest is not None and state == self._state and not _ages(newest, self._realm.now()):
            return newest
        made = publish(self._realm)
        self._state = state
        return made


def try_to_publish(realm: Realm) -> Document | str:
    """Publish what was revoked just now where the key is at hand; else return why not.

    Nothing (an empty text) where no feed is set up.  For whoever revokes: the revocation stands
    whatever becomes of its publication.
    """
    if realm.settings.feed is None:
        return ""
    try:
        return publish(realm)
    except SignwardError as error:
        said = str(error).partition("\n")[0]
        return f"the feed does not tell yet ({said}): publish it with signward feed publish"


def publish(realm: Realm, *, always: bool = False) -> Document:
    """Make the next version and return it; what is in force where it says the same and is young.

    With ``always`` a version is made in any case.  Raises ``RealmError`` where no feed is set
    up, ``KeyProviderError``, ``StoreError`` and ``AuthorityError``.
    """
    settings, now = _settings(realm), realm.now()

    def begin(connection: Connection) -> Outcome[_Draft | Document]:
        entries, newest = _entries(connection), published.current(connection, NAME)
        due = always or newest is None or _ages(newest, now) or _is_surpassed(connection, newest)
        if newest is not None and not due and _said_by(_told_by(newest)) == _said_by(entries):
            return Outcome(newest)
        return Outcome(_Draft(counters.lease(connection, NAME), now, entries))

    begun = realm.store.write(begin).result().value
    if isinstance(begun, Document):
        return begun
    return _finish(realm, settings, begun)


def _finish(realm: Realm, settings: FeedSettings, begun: _Draft) -> Document:
    """Sign a version and store it with its log entry, unless a newer one came meanwhile."""
    made = writing.document(
        realm.settings.name, begun.version, begun.issued, settings.hours, begun.entries
    )
    body, payload = _signed(realm, settings.key, made)
    document = Document(
        name=NAME,
        version=made.version,
        body=body,
        at=_micros(made.issued),
        expires=_micros(made.expires),
    )
    fields: dict[str, Value] = {
        "deed": "published",
        "version": made.version,
        "digest": f"sha256:{hashlib.sha256(payload).hexdigest()}",
        "key": settings.key,
        "entries": len(begun.entries),
    }

    def end(connection: Connection) -> Outcome[Document]:
        if not published.put(connection, document):
            return Outcome(published.current(connection, NAME) or document)
        return Outcome(document, (encode(Kind.FEED, fields, begun.issued),))

    return realm.store.write(end).result().value


def _signed(realm: Realm, name: str, made: object) -> tuple[bytes, bytes]:
    """Return the envelope of a document, and its payload; the value is checked before."""
    key = realm.key(name)
    try:
        draft = writing.draft(made, key.public_key)  # type: ignore[arg-type]
        value = key.sign(draft.to_be_signed, draft.algorithm)
        check_value(key.public_key, draft.algorithm, draft.to_be_signed, value)
    except (UnsupportedKeyError, ValueMismatchError) as error:
        raise RealmError(
            f"[keys.{name}]", str(error), "a key that feeds can be signed by"
        ) from None
    return draft.seal(value), draft.payload


def _settings(realm: Realm) -> FeedSettings:
    if realm.settings.feed is None:
        raise RealmError(
            "[feed]", "no such table in the settings", 'one: key = "NAME" of a [keys.NAME]',
            hint="signward ca init makes an authority that has one",
        )  # fmt: skip
    return realm.settings.feed


def _entries(connection: Connection) -> tuple[Entry, ...]:
    """Return all that the feed is to say."""
    own = [_of_certificate(row) for row in stored.revoked(connection)]
    return (*own, *(_entry(row) for row in stored.added(connection)))


def _of_certificate(row: stored.Revoked) -> RevokedCertificate:
    invalid = None if row.invalidity is None else _instant(row.invalidity)
    dates = {"revoked": _instant(row.at), "invalid_from": invalid}
    return of_certificate(row.der, REASON_NAMES.get(row.reason, ""), dates)


def summary(made: Document) -> dict[str, object]:
    """Return a version's number, dates and number of entries, for JSON."""
    return {
        "version": made.version,
        "issued": _instant(made.at),
        "expires": _instant(made.expires),
        "entries": len(_told_by(made)),
    }


def _told_by(made: Document) -> tuple[Entry, ...]:
    """Return the entries of a published version."""
    from signward.envelopes.dsse import open_envelope
    from signward.trust.feed import Document as Payload

    payload = open_envelope(made.body).claimed_payload  # our own, from our own database
    read = decoder(Payload).decode(payload)
    return (*read.certificates, *read.publishers, *read.digests)


def _said_by(entries: tuple[Entry, ...]) -> bytes:
    whole = sorted({_kind(entry).encode() + msgspec.json.encode(entry) for entry in entries})
    return hashlib.sha256(b"\n".join(whole)).digest()


def _ages(newest: Document, now: datetime) -> bool:
    """Say whether half of a version's life is over, or it is of the future: of a wrong clock."""
    at = _micros(now)
    return at * 2 >= newest.at + newest.expires or at < newest.at - MOST_AHEAD


def _is_surpassed(connection: Connection, newest: Document) -> bool:
    """Say whether a greater number was handed out.

    Then somebody may have seen a greater version, as after a restore, and refuses this one.
    """
    return counters.reached(connection, NAME) > newest.version


def _kind(entry: Entry) -> str:
    return next(name for name, kind in KINDS.items() if isinstance(entry, kind))


def _entry(row: stored.Added) -> Entry:
    return decoder(KINDS[row.kind]).decode(row.body)


def _identifier(kind: str, entry: Entry) -> str:
    """Return a digest of what an entry names, whatever else it says of it."""
    names = ("issuer", "serial", "sha256", "identity", "of", "algorithm", "digest")
    told = [kind, *(str(getattr(entry, name, "")) for name in names)]
    return hashlib.sha256("\0".join(told).encode()).hexdigest()


def _plain(entry: Entry) -> dict[str, Value]:
    plain: dict[str, Value] = msgspec.to_builtins(entry)
    return plain


def _micros(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)


def _instant(micros: int) -> datetime:
    return EPOCH + timedelta(microseconds=micros)
