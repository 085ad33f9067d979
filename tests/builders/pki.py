"""Small PKIs made to order, written with our own DER writer.

Nothing here checks what it writes: a certificate may carry any extension twice, any
serial number, names of any string type, a signature by the wrong key.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa

from signward.trust.x509 import KEY_USAGES, Certificate, load_certificate
from signward.wire import der

START = datetime(2020, 1, 1, tzinfo=UTC)
END = datetime(2030, 1, 1, tzinfo=UTC)
MIDDLE = datetime(2025, 1, 1, tzinfo=UTC)

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | dsa.DSAPrivateKey | ed25519.Ed25519PrivateKey

_ECDSA = {"sha1": "1.2.840.10045.4.1", "sha256": "1.2.840.10045.4.3.2"}
_RSA = {
    "md5": "1.2.840.113549.1.1.4",
    "sha1": "1.2.840.113549.1.1.5",
    "sha256": "1.2.840.113549.1.1.11",
}
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "md5": hashes.MD5(),
    "sha1": hashes.SHA1(),
    "sha256": hashes.SHA256(),
}

Extension = tuple[str, bool, bytes]


@cache
def key(name: str, kind: str = "p256") -> Key:
    """Return the one key of this name and kind, for the whole test run."""
    if kind == "p256":
        return ec.generate_private_key(ec.SECP256R1())
    if kind == "p192":
        return ec.generate_private_key(ec.SECP192R1())
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind.startswith("dsa"):
        return dsa.generate_private_key(int(kind.removeprefix("dsa") or 2048))
    return rsa.generate_private_key(65537, int(kind.removeprefix("rsa")))


def spki(private: Key) -> bytes:
    """Return the DER SubjectPublicKeyInfo of a key."""
    return private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def rdn(oid: str, value: bytes) -> bytes:
    """Return an RDN of one attribute; ``value`` is an encoded string."""
    return der.set_of(der.sequence(der.oid(oid), value))


def name(common_name: str, *rdns: bytes) -> bytes:
    """Return a Name: organization "Test", ``rdns``, then the common name; empty for ""."""
    if not common_name and not rdns:
        return der.sequence()
    last = [rdn("2.5.4.3", der.utf8(common_name))] if common_name else []
    return der.sequence(rdn("2.5.4.10", der.utf8("Test")), *rdns, *last)


def basic_constraints(*, ca: bool, length: int | None = None) -> Extension:
    """Return basicConstraints, critical."""
    parts = ([der.boolean(True)] if ca else []) + ([] if length is None else [der.integer(length)])
    return "2.5.29.19", True, der.sequence(*parts)


def key_usage(*names: str) -> Extension:
    """Return keyUsage, critical (RFC 5280 4.2.1.3)."""
    bits = sum(1 << 15 - KEY_USAGES.index(usage) for usage in names)
    return "2.5.29.15", True, der.encode(der.BIT_STRING, b"\0" + bits.to_bytes(2, "big"))


def ekus(*oids: str, critical: bool = False) -> Extension:
    """Return extKeyUsage."""
    return "2.5.29.37", critical, der.sequence(*map(der.oid, oids))


def general_name(tag: int, value: bytes) -> bytes:
    """Return one GeneralName by its context tag number."""
    return der.context(tag, value, constructed=tag in (0, 3, 4, 5))


def alternative_names(*names: bytes, critical: bool = False) -> Extension:
    """Return subjectAltName."""
    return "2.5.29.17", critical, der.sequence(*names)


def name_constraints(
    permitted: tuple[bytes, ...] = (), excluded: tuple[bytes, ...] = (), *, critical: bool = True
) -> Extension:
    """Return nameConstraints over encoded GeneralNames."""
    lists = [
        der.context(tag, b"".join(der.sequence(base) for base in bases))
        for tag, bases in enumerate((permitted, excluded))
        if bases
    ]
    return "2.5.29.30", critical, der.sequence(*lists)


def policies(*oids: str) -> Extension:
    """Return certificatePolicies."""
    return "2.5.29.32", False, der.sequence(*(der.sequence(der.oid(oid)) for oid in oids))


def policy_mappings(*pairs: tuple[str, str]) -> Extension:
    """Return policyMappings, critical."""
    body = der.sequence(*(der.sequence(der.oid(a), der.oid(b)) for a, b in pairs))
    return "2.5.29.33", True, body


def policy_constraints(explicit: int | None = None, mapping: int | None = None) -> Extension:
    """Return policyConstraints, critical."""
    parts = [
        der.context(tag, der.integer(skip)[2:], constructed=False)
        for tag, skip in enumerate((explicit, mapping))
        if skip is not None
    ]
    return "2.5.29.36", True, der.sequence(*parts)


def inhibit_any_policy(skip: int) -> Extension:
    """Return inhibitAnyPolicy, critical."""
    return "2.5.29.54", True, der.integer(skip)


CA = (basic_constraints(ca=True), key_usage("keyCertSign", "cRLSign"))
SIGNER = (key_usage("digitalSignature"), ekus("1.3.6.1.5.5.7.3.3"))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One certificate to be: what differs from a plain valid one."""

    subject: bytes
    issuer: bytes
    key: Key
    issuer_key: Key
    extensions: tuple[Extension, ...] = ()
    serial: int = 1
    not_before: bytes = field(default_factory=lambda: der.utc_time(START))
    not_after: bytes = field(default_factory=lambda: der.utc_time(END))
    digest: str = "sha256"
    inner_algorithm: bytes = b""
    version: int = 3
    spki: bytes = b""
    tail: bytes = b""

    def der(self) -> bytes:
        """Return the signed certificate."""
        algorithm = _algorithm(self.issuer_key, self.digest)
        extensions = der.sequence(*map(_extension, self.extensions)) if self.extensions else b""
        tbs = der.sequence(
            der.context(0, der.integer(self.version - 1)) if self.version != 1 else b"",
            der.integer(self.serial),
            self.inner_algorithm or algorithm,
            self.issuer,
            der.sequence(self.not_before, self.not_after),
            self.subject,
            self.spki or spki(self.key),
            self.tail,
            der.context(3, extensions) if extensions else b"",
        )
        value = _sign(self.issuer_key, self.digest, tbs)
        return der.sequence(tbs, algorithm, der.bit_string(value))

    def load(self) -> Certificate:
        """Return the certificate, read."""
        return load_certificate(self.der())

    def but(self, **changes: object) -> Plan:
        """Return the same plan with some fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type]


def _extension(extension: Extension) -> bytes:
    oid, critical, value = extension
    flag = der.boolean(True) if critical else b""
    return der.sequence(der.oid(oid), flag, der.octet_string(value))


def _algorithm(private: Key, digest: str) -> bytes:
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return der.sequence(der.oid(_ECDSA[digest]))
    if isinstance(private, rsa.RSAPrivateKey):
        return der.sequence(der.oid(_RSA[digest]), der.null())
    if isinstance(private, dsa.DSAPrivateKey):
        return der.sequence(der.oid("2.16.840.1.101.3.4.3.2"))
    return der.sequence(der.oid("1.3.101.112"))


def _sign(private: Key, digest: str, data: bytes) -> bytes:
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return private.sign(data, ec.ECDSA(_HASHES[digest]))
    if isinstance(private, rsa.RSAPrivateKey):
        return private.sign(data, padding.PKCS1v15(), _HASHES[digest])
    if isinstance(private, dsa.DSAPrivateKey):
        return private.sign(data, hashes.SHA256())
    return private.sign(data)


def issue(
    subject: str,
    issuer: str,
    *extensions: Extension,
    kind: str = "p256",
    issuer_kind: str = "p256",
) -> Plan:
    """Return a plan: ``subject`` with the key of that name, signed by ``issuer``'s."""
    return Plan(
        subject=name(subject),
        issuer=name(issuer),
        key=key(subject, kind),
        issuer_key=key(issuer, issuer_kind),
        extensions=extensions,
    )


def root(subject: str = "Root", *extensions: Extension, kind: str = "p256") -> Plan:
    """Return a self-signed CA."""
    return issue(subject, subject, *(extensions or CA), kind=kind, issuer_kind=kind)
