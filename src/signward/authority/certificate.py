"""Certificates to be: prepared whole, checked, and signed at most once each (RFC 5280 4).

`prepare` writes the octets that would be signed; ``lint.approve`` reads them as any verifier would
and hands out a `Permit`; spending it, once, yields the draft that a key signs.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import cached_property

from signward.authority.algorithm import identifier
from signward.authority.profiles import Profile
from signward.authority.signed import SignedDraft, signed
from signward.errors import AuthorityError
from signward.frozen import Frozen
from signward.state import Algorithm
from signward.trust import x509
from signward.trust.ocsp import NO_CHECK
from signward.trust.rules import ANY_POLICY
from signward.trust.x509 import KEY_USAGES, Certificate, load_certificate
from signward.wire import der
from signward.wire.spki import key_bits

SERIAL_BITS = 159
"""Random bits of a serial number: all that 20 octets hold (RFC 5280 4.1.2.2; CSBR asks for 64)."""

SERIAL_OCTETS = 20
BACKDATED = timedelta(minutes=5)
"""How far notBefore lies back, at most a tenth of the lifetime: clocks of verifiers differ."""

KEY_IDENTIFIER_OCTETS = 20
OCSP_ACCESS, ISSUERS_ACCESS = "1.3.6.1.5.5.7.48.1", "1.3.6.1.5.5.7.48.2"
_URI = 6


class Issuer(Frozen, frozen=True, kw_only=True):
    """Who issues: its certificate, its key's algorithm, and what it writes into others.

    An empty URL is left out.  ``policies`` is the OID below which its policies stand.
    """

    certificate: Certificate
    algorithm: Algorithm
    crl_url: str = ""
    ocsp_url: str = ""
    certificate_url: str = ""
    policies: str = ""


class Application(Frozen, frozen=True, kw_only=True):
    """Who is to be certified, for how long.

    ``subject`` is a DER Name, ``names`` are GeneralNames, ``permitted`` and ``excluded`` bases of
    GeneralSubtrees (DER); the instants are aware UTC in whole seconds, both inclusive.
    """

    subject: bytes
    spki: bytes
    not_before: datetime
    not_after: datetime
    names: tuple[bytes, ...] = ()
    permitted: tuple[bytes, ...] = ()
    excluded: tuple[bytes, ...] = ()


class Prepared:
    """A certificate complete but for its signature: ``tbs`` are the octets to be signed.

    ``issuer`` is None where it is to sign itself.
    """

    def __init__(
        self,
        tbs: bytes,
        algorithm: Algorithm,
        application: Application,
        profile: Profile,
        issuer: Issuer | None,
    ) -> None:
        self.tbs, self.algorithm = tbs, algorithm
        self.application, self.profile, self.issuer = application, profile, issuer

    @cached_property
    def certificate(self) -> Certificate:
        """What a verifier will read, with a signature value of one zero octet."""
        return load_certificate(signed(self.tbs, self.algorithm, b"\0"))


class Permit:
    """The right to have one prepared certificate signed, once.

    Made by ``lint.approve``; ``warnings`` are the rules it breaks that stop nothing.
    """

    def __init__(self, prepared: Prepared, warnings: tuple[str, ...]) -> None:
        self.prepared, self.warnings = prepared, warnings
        self._lock, self._spent = threading.Lock(), False

    def spend(self) -> SignedDraft:
        """Return the draft.  Raises ``AuthorityError`` the second time."""
        with self._lock:
            if self._spent:
                raise AuthorityError("permit", "one that was spent", "one for each signature")
            self._spent = True
        prepared = self.prepared
        return SignedDraft(
            what="certificate", to_be_signed=prepared.tbs, algorithm=prepared.algorithm
        )


def key_identifier(spki: bytes) -> bytes:
    """Return a key's identifier: the left 160 bits of SHA-256 over its bits (RFC 7093 2, 1).

    Raises ``MalformedError`` for what is no SubjectPublicKeyInfo.
    """
    return hashlib.sha256(key_bits(spki)).digest()[:KEY_IDENTIFIER_OCTETS]


def serial_number(random: bytes) -> int:
    """Return a serial number of ``SERIAL_BITS`` bits made of 20 random octets.

    Raises ``AuthorityError`` for another number of octets, and for all zeros.
    """
    number = int.from_bytes(random, "big") >> 1
    if len(random) != SERIAL_OCTETS or not number:
        raise AuthorityError("serial number", f"{len(random)} octets", "20 random octets")
    return number


def validity(
    profile: Profile, issuer: Certificate | None, at: datetime, wanted: timedelta | None = None
) -> tuple[datetime, datetime]:
    """Return notBefore and notAfter of a certificate issued at ``at``.

    Without ``wanted`` it lives as long as the profile says, or as its issuer if that ends
    sooner.  What is wanted is taken as it is: whether it may be so long, `lint` says.
    """
    lifetime = wanted or profile.lifetime
    now = at.replace(microsecond=0)
    begin = now - min(BACKDATED, lifetime / 10)
    begin = begin.replace(microsecond=0)
    if issuer is not None:
        begin = max(begin, issuer.not_before)
    end = begin + lifetime - timedelta(seconds=1)
    if issuer is not None and wanted is None:
        end = min(end, issuer.not_after)
    return begin, end


def prepare(application: Application, profile: Profile, issuer: Issuer, serial: int) -> Prepared:
    """Return the certificate that ``issuer`` would sign."""
    return _prepared(application, profile, issuer, issuer.algorithm, serial)


def prepare_root(
    application: Application, profile: Profile, algorithm: Algorithm, serial: int
) -> Prepared:
    """Return the certificate that the key in it would sign itself."""
    return _prepared(application, profile, None, algorithm, serial)


def _prepared(
    application: Application,
    profile: Profile,
    issuer: Issuer | None,
    algorithm: Algorithm,
    serial: int,
) -> Prepared:
    extensions = list(_extensions(application, profile, issuer))
    tbs = der.sequence(
        der.context(0, der.integer(2)),
        der.integer(serial),
        identifier(algorithm),
        issuer.certificate.subject if issuer else application.subject,
        der.sequence(der.utc_time(application.not_before), der.utc_time(application.not_after)),
        application.subject,
        application.spki,
        der.context(3, der.sequence(*extensions)),
    )
    return Prepared(tbs, algorithm, application, profile, issuer)


# --- extensions ---------------------------------------------------------------------------------


def _extension(oid: str, value: bytes, *, critical: bool = False) -> bytes:
    flag = der.boolean(critical) if critical else b""
    return der.sequence(der.oid(oid), flag, der.octet_string(value))


def _extensions(
    application: Application, profile: Profile, issuer: Issuer | None
) -> Iterator[bytes]:
    yield _extension(x509.BASIC_CONSTRAINTS, _basic_constraints(profile), critical=True)
    yield _extension(x509.KEY_USAGE, key_usage(profile.key_usage), critical=True)
    if profile.ekus:
        purposes = der.sequence(*map(der.oid, profile.ekus))
        yield _extension(x509.EXTENDED_KEY_USAGE, purposes, critical=profile.ekus_critical)
    own = key_identifier(application.spki)
    yield _extension(x509.SUBJECT_KEY_IDENTIFIER, der.octet_string(own))
    if issuer is not None:
        yield _extension(x509.AUTHORITY_KEY_IDENTIFIER, authority_key(issuer.certificate))
        yield from _policies(profile, issuer)
    if application.permitted or application.excluded:
        yield _extension(x509.NAME_CONSTRAINTS, _name_constraints(application), critical=True)
    if application.names:
        yield _extension(x509.SUBJECT_ALT_NAME, der.sequence(*application.names))
    if issuer is not None:
        yield from _locations(profile, issuer)
    if profile.no_check:
        yield _extension(NO_CHECK, der.null())


def _basic_constraints(profile: Profile) -> bytes:
    if not profile.ca:
        return der.sequence()
    length = profile.path_length
    return der.sequence(der.boolean(profile.ca), b"" if length is None else der.integer(length))


def key_usage(names: Sequence[str]) -> bytes:
    """Return KeyUsage (RFC 5280 4.2.1.3): named bits, no zeros behind the last (X.690 11.2)."""
    bits = sum(1 << 15 - KEY_USAGES.index(usage) for usage in names)
    octets = bits.to_bytes(2, "big").rstrip(b"\0")
    unused = (octets[-1] & -octets[-1]).bit_length() - 1 if octets else 0
    return der.encode(der.BIT_STRING, bytes((unused,)) + octets)


def authority_key(certificate: Certificate) -> bytes:
    """Return AuthorityKeyIdentifier (RFC 5280 4.2.1.1): the issuer's own identifier alone."""
    own = certificate.key_identifier or key_identifier(certificate.spki)
    return der.sequence(der.context(0, own, constructed=False))


def _policies(profile: Profile, issuer: Issuer) -> Iterator[bytes]:
    if profile.policy is None or (profile.policy and not issuer.policies):
        return
    policy = f"{issuer.policies}.{profile.policy}" if profile.policy else ANY_POLICY
    value = der.sequence(der.sequence(der.oid(policy)))
    yield _extension(x509.CERTIFICATE_POLICIES, value)


def _name_constraints(application: Application) -> bytes:
    lists = (application.permitted, application.excluded)
    return der.sequence(*(
        der.context(number, b"".join(der.sequence(base) for base in bases))
        for number, bases in enumerate(lists) if bases
    ))  # fmt: skip


def _locations(profile: Profile, issuer: Issuer) -> Iterator[bytes]:
    """Yield where the CRL, the OCSP responder and the issuer's certificate are.

    A responder that nobody asks about itself names neither of the first two.
    """
    crl, ocsp = ("", "") if profile.no_check else (issuer.crl_url, issuer.ocsp_url)
    if crl:
        full_name = der.context(0, der.context(0, _location(crl)))
        yield _extension(x509.CRL_DISTRIBUTION, der.sequence(der.sequence(full_name)))
    places = ((OCSP_ACCESS, ocsp), (ISSUERS_ACCESS, issuer.certificate_url))
    named = [der.sequence(der.oid(oid), _location(url)) for oid, url in places if url]
    if named:
        yield _extension(x509.AUTHORITY_INFORMATION, der.sequence(*named))


def _location(url: str) -> bytes:
    return der.context(_URI, url.encode("ascii"), constructed=False)
