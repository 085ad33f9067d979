"""Revoking certificates: recorded and logged at once, then told by a new CRL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from signward.authority.crl import COMPROMISES, REASONS
from signward.authority.log.entry import Kind, Value, encode
from signward.errors import AuthorityError, ConflictError
from signward.frozen import replace
from signward.store import certificates, revocations
from signward.store.certificates import Listed, Revocation
from signward.store.engine import Outcome
from signward.store.published import Document
from signward.trust.x509 import load_certificate
from signward.verbs.authority import feed
from signward.verbs.authority.authorities import instant, micros
from signward.verbs.authority.publish_crl import PublishedCrl, try_to_publish
from signward.verbs.authority.realm import Realm

NAMES = {code: name for name, code in REASONS.items()}
"""CRLReason to its name."""

_SECOND = 1_000_000
_CLAUSE = "RFC 5280 5.3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """A revocation that is recorded.

    ``amended`` tells that an earlier one was made graver; ``position`` is the log entry's;
    ``published`` the CRL that tells it, or why none does yet (empty: none was asked for);
    ``feed`` likewise the version of the revocation feed (empty also where there is no feed).
    ``same_key`` are the serial numbers of other certificates of a key that was compromised,
    which are not revoked.
    """

    listed: Listed
    revocation: Revocation
    amended: bool
    position: int
    published: PublishedCrl | str = ""
    feed: Document | str = ""
    same_key: tuple[str, ...] = ()


def reason_code(name: str) -> int:
    """Return the CRLReason of a name.  Raises ``AuthorityError``."""
    if name not in REASONS:
        hint = "a revocation is final: nothing is put on hold" if "old" in name else ""
        listed = ", ".join(REASONS)
        raise AuthorityError("reason", repr(name[:60]), f"one of {listed}", "RFC 5280 5.3.1", hint)
    return REASONS[name]


def plan(
    realm: Realm, listed: Listed, reason: str, invalidity: datetime | None, by: str
) -> Revocation:
    """Return the revocation as it would be recorded.

    ``invalidity``, aware, is since when the key or the certificate was not to be trusted: all that
    was signed from then on is refused.  One before the certificate's beginning means all of it.
    Raises ``AuthorityError`` and ``ConflictError``.
    """
    code, now = reason_code(reason), realm.now()
    issued = listed.issued
    made = load_certificate(issued.der)
    if code == REASONS["cACompromise"] and not made.is_ca:
        raise AuthorityError("reason", reason, "keyCompromise: this is no authority",
                             "RFC 5280 5.3.1")  # fmt: skip
    if invalidity is not None and invalidity > now:
        raise AuthorityError("invalidity date", f"{invalidity:%Y-%m-%dT%H:%M:%SZ}",
                             "one that is past", "RFC 5280 5.3.2")  # fmt: skip
    wanted = Revocation(
        issuer=issued.issuer,
        serial=issued.serial,
        at=_whole_seconds(now),
        reason=code,
        invalidity=None if invalidity is None else _whole_seconds(max(invalidity, made.not_before)),
        revoked_by=by,
    )
    return wanted if listed.revocation is None else _amended(listed.revocation, wanted)


def _whole_seconds(at: datetime) -> int:
    """Return microseconds of an instant cut to seconds: what a CRL can say (RFC 5280 5.1.2.6)."""
    return micros(at) // _SECOND * _SECOND


def revoke(
    realm: Realm,
    listed: Listed,
    reason: str,
    by: str,
    *,
    invalidity: datetime | None = None,
    publish: bool = True,
) -> Revoked:
    """Revoke a certificate; done for good when this returns.

    One that is revoked already may be made graver: a compromise, an earlier invalidity date.
    Raises ``AuthorityError``, ``ConflictError`` where it says nothing new or takes something
    back, and ``StoreError``.  That the key for the CRL is not at hand is told, not raised.
    """
    wanted = plan(realm, listed, reason, invalidity, by)
    entry = _Entry(realm.now(), listed)
    written = realm.store.write(lambda c: _record(c, wanted, entry)).result()
    recorded, amended = written.value
    return Revoked(
        listed=listed,
        revocation=recorded,
        amended=amended,
        position=written.first,
        published=try_to_publish(realm, wanted.issuer) if publish else "",
        feed=feed.try_to_publish(realm) if publish else "",
        same_key=_of_same_key(realm, listed) if recorded.reason in COMPROMISES else (),
    )


def _of_same_key(realm: Realm, listed: Listed) -> tuple[str, ...]:
    with realm.store.read() as connection:
        found = certificates.with_key(connection, listed.issued.spki_digest)
    return tuple(one.issued.serial for one in found if one.revocation is None)


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the log is to hear."""

    at: datetime
    listed: Listed

    def of(self, revoked: Revocation) -> bytes:
        issued = self.listed.issued
        fields: dict[str, Value] = {
            "ca": revoked.issuer,
            "serial": revoked.serial,
            "certificate": issued.fingerprint.hex(),
            "spki": issued.spki_digest.hex(),
            "subject": issued.subject,
            "reason": NAMES[revoked.reason],
            "revoked": _text(revoked.at),
            "by": revoked.revoked_by,
        }
        if revoked.invalidity is not None:
            fields["invalid-from"] = _text(revoked.invalidity)
        return encode(Kind.REVOKED, fields, self.at)


def _text(number: int) -> str:
    return f"{instant(number):%Y-%m-%dT%H:%M:%SZ}"


def _record(
    connection: Connection, wanted: Revocation, entry: _Entry
) -> Outcome[tuple[Revocation, bool]]:
    found = certificates.find(connection, wanted.issuer, wanted.serial)
    before = None if found is None else found.revocation
    if before is None:
        revocations.add(connection, wanted)
        return Outcome((wanted, False), (entry.of(wanted),))
    graver = _amended(before, wanted)  # by what the database says now
    revocations.amend(connection, graver)
    return Outcome((graver, True), (entry.of(graver),))


def _amended(before: Revocation, wanted: Revocation) -> Revocation:
    """Return an earlier revocation made graver.  Raises ``ConflictError`` where nothing gets so.

    Its own date stays: what it refused it goes on refusing.
    """
    worse = wanted.reason in COMPROMISES and before.reason not in COMPROMISES
    earlier = wanted.invalidity is not None and (
        before.invalidity is None or wanted.invalidity < before.invalidity
    )
    if not worse and not earlier:
        raise ConflictError(
            f"serial number {wanted.serial}",
            f"revoked on {_text(before.at)} ({NAMES.get(before.reason, before.reason)})",
            "one not revoked yet, or a graver reason, or an earlier invalidity date", _CLAUSE,
        )  # fmt: skip
    return replace(
        before,
        reason=wanted.reason if worse else before.reason,
        invalidity=wanted.invalidity if earlier else before.invalidity,
        revoked_by=wanted.revoked_by,
    )
