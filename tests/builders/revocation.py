"""Small PKIs with CRLs and OCSP answers, written with our own DER writer.

Certificates come from cryptography's builder; CRLs and OCSP answers from ``wire.der``,
because the odd ones (twins, unknown critical extensions, padded serials) are the point.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from signward.trust.x509 import Certificate, load_certificate
from signward.wire import der

T0 = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
"""The instant most tests ask about."""

DAY = timedelta(days=1)
ECDSA_SHA256 = der.sequence(der.oid("1.2.840.10045.4.3.2"))
REASONS = {
    "unspecified": 0,
    "keyCompromise": 1,
    "cACompromise": 2,
    "affiliationChanged": 3,
    "superseded": 4,
    "certificateHold": 6,
    "removeFromCRL": 8,
}


def extension(oid: str, value: bytes, *, critical: bool = False) -> bytes:
    """Return one Extension."""
    flag = der.boolean(True) if critical else b""
    return der.sequence(der.oid(oid), flag, der.octet_string(value))


def entry(
    serial: int,
    when: datetime = T0 - 10 * DAY,
    reason: str = "",
    invalid_from: datetime | None = None,
    issuer: bytes = b"",
    extra: bytes = b"",
) -> bytes:
    """Return one revokedCertificates entry; ``issuer`` is a raw Name."""
    parts = []
    if reason:
        value = der.encode(der.ENUMERATED, bytes((REASONS[reason],)))
        parts.append(extension("2.5.29.21", value))
    if invalid_from:
        parts.append(extension("2.5.29.24", der.generalized_time(invalid_from)))
    if issuer:
        names = der.sequence(der.context(4, issuer))
        parts.append(extension("2.5.29.29", names, critical=True))
    parts += [extra] if extra else []
    extensions = der.sequence(*parts) if parts else b""
    return der.sequence(der.integer(serial), der.utc_time(when), extensions)


def uri(address: str) -> bytes:
    """Return a GeneralName holding a URI."""
    return der.context(6, address.encode(), constructed=False)


def point_name(*general_names: bytes) -> bytes:
    """Return a DistributionPointName with full names, tagged [0]."""
    return der.context(0, der.context(0, b"".join(general_names)))


def reason_flags(number: int, *bits: int) -> bytes:
    """Return ReasonFlags under context tag ``number``."""
    octets = bytearray(2)
    for bit in bits:
        octets[bit // 8] |= 0x80 >> bit % 8
    return der.context(number, b"\x07" + bytes(octets), constructed=False)


def flag(number: int) -> bytes:
    """Return a true BOOLEAN under context tag ``number``."""
    return der.context(number, b"\xff", constructed=False)


@dataclass
class Ca:
    """A CA with a P-256 key; ``parent`` None makes it a root."""

    name: str
    parent: Ca | None = None
    key_usage: tuple[str, ...] = ("keyCertSign", "cRLSign")
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    serial: int = 0x1000
    not_after: datetime = T0 + 3650 * DAY

    @cached_property
    def subject(self) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])

    @property
    def raw_name(self) -> bytes:
        return self.subject.public_bytes()

    @property
    def spki(self) -> bytes:
        kind = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.key.public_key().public_bytes(serialization.Encoding.DER, kind)

    @cached_property
    def certificate(self) -> Certificate:
        return (self.parent or self).certify(
            self.subject, self.key.public_key(), serial=self.serial, ca=True,
            usage=self.key_usage, not_after=self.not_after,
        )  # fmt: skip

    def certify(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        *,
        serial: int,
        ca: bool = False,
        usage: Sequence[str] = ("digitalSignature",),
        ekus: Sequence[x509.ObjectIdentifier] = (),
        not_before: datetime = T0 - 365 * DAY,
        not_after: datetime = T0 + 365 * DAY,
        extensions: Sequence[tuple[str, bytes]] = (),
    ) -> Certificate:
        flags = {
            "digital_signature": "digitalSignature" in usage,
            "content_commitment": False,
            "key_encipherment": False,
            "data_encipherment": False,
            "key_agreement": False,
            "key_cert_sign": "keyCertSign" in usage,
            "crl_sign": "cRLSign" in usage,
            "encipher_only": False,
            "decipher_only": False,
        }
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.subject)
            .public_key(key)
            .serial_number(serial)
            .not_valid_before(not_before)
            .not_valid_after(not_after)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(**flags), critical=True)
        )
        if ekus:
            builder = builder.add_extension(x509.ExtendedKeyUsage(ekus), critical=False)
        for oid, value in extensions:
            other = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
            builder = builder.add_extension(other, critical=False)
        made = builder.sign(self.key, hashes.SHA256())
        return load_certificate(made.public_bytes(serialization.Encoding.DER))

    def leaf(self, serial: int = 0x77, **options: object) -> Certificate:
        """Return an end entity certificate; its key is thrown away."""
        key = ec.generate_private_key(ec.SECP256R1()).public_key()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"leaf {serial}")])
        return self.certify(subject, key, serial=serial, **options)  # type: ignore[arg-type]

    def sign(self, data: bytes) -> bytes:
        return self.key.sign(data, ec.ECDSA(hashes.SHA256()))

    def crl(
        self,
        *entries: bytes,
        this_update: datetime = T0 - DAY,
        next_update: datetime | None = T0 + 6 * DAY,
        number: int | None = 5,
        delta_base: int | None = None,
        scope: bytes | None = None,
        expired_since: datetime | None = None,
        extra: bytes = b"",
        signer: Ca | None = None,
        version: int = 1,
    ) -> bytes:
        """Return a signed CRL; ``scope`` is the content of issuingDistributionPoint."""
        parts = [extension("2.5.29.20", der.integer(number))] if number is not None else []
        if delta_base is not None:
            parts.append(extension("2.5.29.27", der.integer(delta_base), critical=True))
        if scope is not None:
            parts.append(extension("2.5.29.28", der.sequence(scope), critical=True))
        if expired_since:
            parts.append(extension("2.5.29.60", der.generalized_time(expired_since)))
        parts += [extra] if extra else []
        tbs = der.sequence(
            der.integer(version) if version else b"",
            ECDSA_SHA256,
            self.raw_name,
            der.utc_time(this_update),
            der.utc_time(next_update) if next_update else b"",
            der.sequence(*entries) if entries else b"",
            der.context(0, der.sequence(*parts)) if parts else b"",
        )
        return der.sequence(tbs, ECDSA_SHA256, der.bit_string((signer or self).sign(tbs)))

    def responder(
        self,
        *,
        no_check: bool = True,
        ocsp_signing: bool = True,
        extensions: Sequence[tuple[str, bytes]] = (),
        **options: object,
    ) -> Ca:
        """Return a delegated OCSP responder of this CA."""
        other = Ca(f"{self.name} responder", parent=self)
        other.__dict__["certificate"] = self.certify(
            other.subject, other.key.public_key(), serial=0x0C5B,
            ekus=[ExtendedKeyUsageOID.OCSP_SIGNING] if ocsp_signing else [],
            extensions=[*extensions, *([("1.3.6.1.5.5.7.48.1.5", der.null())] if no_check else [])],
            **options,  # type: ignore[arg-type]
        )  # fmt: skip
        return other

    def ocsp(
        self,
        serial: int,
        status: bytes,
        *,
        this_update: datetime = T0 - DAY,
        next_update: datetime | None = T0 + DAY,
        produced_at: datetime | None = None,
        digest: str = "sha1",
        signer: Ca | None = None,
        by_key: bool = False,
        embed: bool = True,
        nonce: bytes = b"",
        cutoff: datetime | None = None,
        extra: bytes = b"",
    ) -> bytes:
        """Return an OCSPResponse of one answer about a certificate of this CA."""
        signer = signer or self
        extensions = (
            [extension("1.3.6.1.5.5.7.48.1.6", der.generalized_time(cutoff))] if cutoff else []
        )
        extensions += [extra] if extra else []
        single = der.sequence(
            cert_id(self, serial, digest),
            status,
            der.generalized_time(this_update),
            der.context(0, der.generalized_time(next_update)) if next_update else b"",
            der.context(1, der.sequence(*extensions)) if extensions else b"",
        )
        responder = (
            der.context(2, der.octet_string(hashlib.sha1(_key_bits(signer.spki)).digest()))
            if by_key
            else der.context(1, signer.raw_name)
        )
        nonces = extension("1.3.6.1.5.5.7.48.1.2", der.octet_string(nonce)) if nonce else b""
        tbs = der.sequence(
            responder,
            der.generalized_time(produced_at or this_update),
            der.sequence(single),
            der.context(1, der.sequence(nonces)) if nonces else b"",
        )
        certificates = der.context(0, der.sequence(signer.certificate.der)) if embed else b""
        basic = der.sequence(tbs, ECDSA_SHA256, der.bit_string(signer.sign(tbs)), certificates)
        return ocsp_response(basic)


def ocsp_response(basic: bytes) -> bytes:
    """Return a successful OCSPResponse around a BasicOCSPResponse."""
    octets = der.sequence(der.oid("1.3.6.1.5.5.7.48.1.1"), der.octet_string(basic))
    return der.sequence(der.encode(der.ENUMERATED, b"\0"), der.context(0, octets))


def cert_id(issuer: Ca, serial: int, digest: str = "sha1") -> bytes:
    """Return a CertID."""
    oids = {"sha1": "1.3.14.3.2.26", "sha256": "2.16.840.1.101.3.4.2.1"}
    return der.sequence(
        der.sequence(der.oid(oids[digest]), der.null()),
        der.octet_string(hashlib.new(digest, issuer.raw_name).digest()),
        der.octet_string(hashlib.new(digest, _key_bits(issuer.spki)).digest()),
        der.integer(serial),
    )


def _key_bits(spki: bytes) -> bytes:
    return der.parse(spki, "key").children()[1].bits()


GOOD = der.context(0, b"", constructed=False)
UNKNOWN = der.context(2, b"", constructed=False)


def revoked(when: datetime = T0 - 10 * DAY, reason: str = "") -> bytes:
    """Return a revoked CertStatus."""
    code = der.encode(der.ENUMERATED, bytes((REASONS[reason],))) if reason else b""
    return der.context(1, der.generalized_time(when) + (der.context(0, code) if code else b""))
