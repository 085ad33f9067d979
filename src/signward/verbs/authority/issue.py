"""Issuing certificates: prepared, checked, announced, signed, recorded; in this order only."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from signward.authority import names
from signward.authority.certificate import (
    SERIAL_OCTETS,
    Application,
    Permit,
    Prepared,
    prepare,
    serial_number,
    validity,
)
from signward.authority.crl import COMPROMISES
from signward.authority.lint import approve
from signward.authority.log.entry import Kind, Value, encode
from signward.authority.profiles import ROOT, Profile, profile, profiles
from signward.authority.request import Request
from signward.authority.signed import SignedDraft
from signward.errors import AuthorityError, ConflictError, SignwardError
from signward.frozen import Frozen
from signward.store import certificates, intents
from signward.store.engine import Outcome
from signward.trust.names import ORGANIZATION, attribute_values
from signward.trust.x509 import Certificate, is_signed_by, load_certificate
from signward.verbs.authority.authorities import (
    Authority,
    certificate_of,
    hexadecimal,
    micros,
    open_authority,
    path_of,
)
from signward.verbs.authority.intents import intent
from signward.verbs.authority.realm import Realm

_COUNTRY = "2.5.4.6"

Signer = Callable[[SignedDraft], bytes]
"""Returns the signature value of a draft."""


class Order(Frozen, frozen=True, kw_only=True):
    """What is to be issued: the profile, and what it leaves open.

    ``subject``, ``names``, ``permitted`` and ``excluded`` are DER; ``lifetime`` None is the
    profile's.  ``notes`` are told with the result's warnings.
    """

    profile: str
    subject: bytes
    spki: bytes
    names: tuple[bytes, ...] = ()
    lifetime: timedelta | None = None
    permitted: tuple[bytes, ...] = ()
    excluded: tuple[bytes, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedCertificate:
    """What was issued: the certification path (leaf first, root last), and what was noticed.

    ``position`` is its entry's in the log.
    """

    certificate: Certificate
    path: tuple[Certificate, ...]
    authority: str
    profile: str
    warnings: tuple[str, ...]
    position: int

    @property
    def serial(self) -> str:
        """The serial number, hexadecimal."""
        return hexadecimal(self.certificate.serial)


def order(
    realm: Realm,
    ca: str,
    profile_name: str,
    spki: bytes,
    *,
    subject: str = "",
    alternative: tuple[str, ...] = (),
    request: Request | None = None,
    lifetime: timedelta | None = None,
    permitted: tuple[str, ...] = (),
    excluded: tuple[str, ...] = (),
) -> Order:
    """Return an order from what people write.  Raises ``AuthorityError`` and ``BadInputError``.

    A ``subject`` without an equals sign is a common name: organization and country are the
    authority's.  What is not given is taken from the request.
    """
    asked = ", ".join(request.ignored) if request else ""
    note = f"the request asks for extensions {asked}: the profile decides about those"
    given = tuple(map(names.alternative, alternative))
    return Order(
        profile=profile_name,
        subject=_subject(realm, ca, subject, request),
        spki=spki,
        names=given or (request.names if request else ()),
        lifetime=lifetime,
        permitted=tuple(map(names.constraint, permitted)),
        excluded=tuple(map(names.constraint, excluded)),
        notes=(note,) if asked else (),
    )


def _subject(realm: Realm, ca: str, text: str, request: Request | None) -> bytes:
    if "=" in text:
        return names.subject(text)
    if text:
        above = certificate_of(realm, ca).subject
        pairs = [("C", one) for one in attribute_values(above, _COUNTRY)]
        pairs += [("O", one) for one in attribute_values(above, ORGANIZATION)]
        return names.name([*pairs, ("CN", text)])
    if request is None:
        raise AuthorityError("subject", "none", "a common name, or CN=…,O=…", "RFC 5280 4.1.2.6")
    return names.rewritten(request.subject)


def plan(realm: Realm, ca: str, wanted: Order, at: datetime) -> tuple[Authority, Permit]:
    """Prepare and check; nothing is announced, signed or stored.

    Raises ``LintError`` for what breaks a rule, ``AuthorityError``, and as `open_authority` does.
    """
    authority = open_authority(realm, ca)
    chosen = _allowed(authority, wanted.profile)
    begin, end = validity(chosen, authority.issuer.certificate, at, wanted.lifetime)
    application = Application(
        subject=wanted.subject, spki=wanted.spki, names=wanted.names, not_before=begin,
        not_after=end, permitted=wanted.permitted, excluded=wanted.excluded,
    )  # fmt: skip
    prepared = prepare(application, chosen, authority.issuer, new_serial())
    return authority, approve(prepared)


def new_serial() -> int:
    """Return a serial number from the system's generator."""
    return serial_number(os.urandom(SERIAL_OCTETS))


def _allowed(authority: Authority, name: str) -> Profile:
    chosen = profile(name)
    if name == ROOT or name not in authority.settings.profiles:
        listed = ", ".join(authority.settings.profiles) or "none"
        raise AuthorityError(
            f"authority {authority.name}", f"profile {name}", f"one it may issue: {listed}",
            hint=f"profiles in [ca.{authority.name}] of signward.toml says which",
        )  # fmt: skip
    return chosen


def issue(realm: Realm, ca: str, wanted: Order, by: str) -> IssuedCertificate:
    """Issue a certificate; ``by`` is who asked.

    Raises as `plan` does, ``ConflictError``, ``KeyProviderError`` and ``StoreError``.  The intent
    is durable before the key is used, the certificate before it is returned.
    """
    at = realm.now()
    authority, permit = plan(realm, ca, wanted, at)
    warnings = (*wanted.notes, *permit.warnings)
    above = path_of(realm, authority.settings.key)  # what can fail does so before anything stays
    made, position = sign(realm, permit, ca, signature_of(authority), by)
    path = (made, *above)
    return IssuedCertificate(
        certificate=made, path=path, authority=ca, profile=wanted.profile, warnings=warnings,
        position=position,
    )  # fmt: skip


def signature_of(authority: Authority) -> Signer:
    """Return how an authority signs a draft."""
    return lambda draft: authority.credential.sign(
        authority.standing, draft.to_be_signed, draft.algorithm
    )


def sign(realm: Realm, permit: Permit, ca: str, signer: Signer, by: str) -> tuple[Certificate, int]:
    """Spend a permit: announce, sign, record.  Return the certificate and its log position."""
    prepared = permit.prepared
    fields = _fields(prepared, ca, by)
    begun = intent(realm, _identifier(ca, prepared), Kind.ISSUE_INTENT, fields)
    realm.store.write(lambda c: _begin(c, begun, prepared, ca)).result()
    try:
        made = _signed(permit, signer)
    except SignwardError:
        entry = encode(Kind.ISSUE_FAILED, {**fields, "intent": begun.id}, realm.now())
        realm.store.write(lambda c: _failed(c, begun, entry)).result()
        raise
    row = _row(made, ca, prepared.profile.name, by, realm.now())
    told = {**fields, "intent": begun.id, "certificate": made.sha256.hex()}
    entry = encode(Kind.ISSUED, told, realm.now())
    written = realm.store.write(lambda c: _record(c, begun, row, entry)).result()
    return made, written.first


def _signed(permit: Permit, signer: Signer) -> Certificate:
    draft = permit.spend()
    made = load_certificate(draft.seal(signer(draft)))
    issuer = permit.prepared.issuer
    if not is_signed_by(made, made if issuer is None else issuer.certificate):
        raise ConflictError(made.label, "a signature that does not fit", "one by its issuer")
    return made


def _identifier(ca: str, prepared: Prepared) -> str:
    """Return the intent's identifier: one serial number, one intent."""
    text = f"{ca}:{hexadecimal(prepared.certificate.serial)}"
    return hashlib.sha256(text.encode()).hexdigest()


def _fields(prepared: Prepared, ca: str, by: str) -> Mapping[str, Value]:
    made = prepared.certificate
    return {
        "ca": ca,
        "profile": prepared.profile.name,
        "serial": hexadecimal(made.serial),
        "subject": made.subject_text,
        "spki": hashlib.sha256(made.spki).hexdigest(),
        "by": by,
    }


def _begin(
    connection: Connection, begun: intents.Intent, prepared: Prepared, ca: str
) -> Outcome[None]:
    """Announce, unless the serial number was given before, or key or issuer are spoilt."""
    made = prepared.certificate
    serial = hexadecimal(made.serial)
    if certificates.find(connection, ca, serial) is not None:
        raise ConflictError(f"serial number {serial}", "one that is taken", "a new one")
    _check_key(connection, made.spki, prepared.profile)
    if prepared.issuer is not None:
        _check_issuer(connection, prepared.issuer.certificate)
    intents.begin(connection, begun)
    return Outcome(None, (begun.body,))


def _check_issuer(connection: Connection, issuer: Certificate) -> None:
    own = certificates.with_fingerprint(connection, issuer.sha256)
    if own is not None and own.revocation is not None:
        raise AuthorityError(issuer.label, "one that is revoked", "an authority that is not")


def _check_key(connection: Connection, spki: bytes, chosen: Profile) -> None:
    """Refuse a key that was revoked as compromised (CSBR 6.1.1.3), or that has another use."""
    for known in certificates.with_key(connection, hashlib.sha256(spki).digest()):
        gone = known.revocation
        if gone is not None and gone.reason in COMPROMISES:
            found = f"the key of {known.issued.subject}, revoked as compromised"
            raise AuthorityError("public key", found, "a new key", "CSBR 6.1.1.3")
        other = profiles().get(known.issued.profile)
        if other is not None and other.use != chosen.use:
            found = f"the key of {known.issued.subject} ({other.name})"
            raise AuthorityError("public key", found, "one key for each use", "CSBR 6.1.1",
                                 "whoever steals one key gets one power")  # fmt: skip


def _failed(connection: Connection, begun: intents.Intent, entry: bytes) -> Outcome[None]:
    intents.finish(connection, begun.id)
    return Outcome(None, (entry,))


def _record(
    connection: Connection, begun: intents.Intent, row: certificates.Issued, entry: bytes
) -> Outcome[None]:
    intents.finish(connection, begun.id)
    certificates.add(connection, row)
    return Outcome(None, (entry,))


def _row(
    made: Certificate, ca: str, profile_name: str, by: str, at: datetime
) -> certificates.Issued:
    return certificates.Issued(
        issuer=ca,
        serial=hexadecimal(made.serial),
        fingerprint=made.sha256,
        spki_digest=hashlib.sha256(made.spki).digest(),
        subject=made.subject_text,
        profile=profile_name,
        holder=by,
        not_before=micros(made.not_before),
        not_after=micros(made.not_after),
        issued=micros(at),
        der=made.der,
    )
