"""What was issued, and what became of it."""

from __future__ import annotations

from datetime import timedelta

from signward.frozen import Frozen
from signward.store import certificates
from signward.store.certificates import Listed
from signward.verbs.authority.authorities import instant, micros
from signward.verbs.authority.realm import Realm
from signward.verbs.authority.revoke import NAMES


class CertificateLine(Frozen, frozen=True, kw_only=True):
    """One certificate, as lists and JSON show it; instants are RFC 3339, UTC.

    ``status`` is ``valid``, ``expired`` or ``revoked``; the fields from ``revoked_at`` on are empty
    where it is not revoked (``invalid_from`` also where no such date was given).
    """

    ca: str
    serial: str
    subject: str
    profile: str
    holder: str
    status: str
    not_before: str
    not_after: str
    certificate: str
    spki: str
    revoked_at: str = ""
    reason: str = ""
    invalid_from: str = ""
    revoked_by: str = ""


def listing(
    realm: Realm,
    *,
    ca: str = "",
    profile: str = "",
    expiring: timedelta | None = None,
    only_revoked: bool = False,
    least_serial: str = "",
    most: int = certificates.MAX_LISTED,
) -> list[CertificateLine]:
    """Return certificates by authority and serial number.

    ``expiring`` limits to those that are valid and end within that time.  Raises ``StoreError``.
    """
    now = realm.now()
    with realm.store.read() as connection:
        found = certificates.listing(
            connection,
            issuer=ca,
            profile=profile,
            ends_before=None if expiring is None else micros(now + expiring),
            ends_after=None if expiring is None else micros(now),
            only_revoked=only_revoked,
            least_serial=least_serial,
            most=most,
        )
    lines = [line(one, micros(now)) for one in found]
    return lines if expiring is None else [one for one in lines if one.status == "valid"]


def line(listed: Listed, now: int) -> CertificateLine:
    """Return how a certificate is shown at ``now`` (microseconds)."""
    issued, gone = listed.issued, listed.revocation
    status = "revoked" if gone else "expired" if issued.not_after < now else "valid"
    return CertificateLine(
        ca=issued.issuer,
        serial=issued.serial,
        subject=issued.subject,
        profile=issued.profile,
        holder=issued.holder,
        status=status,
        not_before=_text(issued.not_before),
        not_after=_text(issued.not_after),
        certificate=issued.fingerprint.hex(),
        spki=issued.spki_digest.hex(),
        revoked_at=_text(gone.at) if gone else "",
        reason=NAMES.get(gone.reason, str(gone.reason)) if gone else "",
        invalid_from=_text(gone.invalidity) if gone else "",
        revoked_by=gone.revoked_by if gone else "",
    )


def _text(number: int | None) -> str:
    return "" if number is None else f"{instant(number):%Y-%m-%dT%H:%M:%SZ}"
