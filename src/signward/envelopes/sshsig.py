"""SSHSIG: signatures that ``ssh-keygen -Y sign`` writes (OpenSSH's PROTOCOL.sshsig).

Integers are big-endian; a *string* is four octets of length and that many octets (RFC 4251 5).  The
value is over ``SSHSIG``, the namespace, a reserved string, the name of a digest and the file's
digest.  The public key stands in the signature; whether anybody allows it is for ``trust.ssh``.
"""

from __future__ import annotations

import binascii
import hashlib
import re

from signward.errors import LimitError, MalformedError
from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen
from signward.state import Algorithm, ClaimedSignature, SignerId, Slot
from signward.wire import der
from signward.wire.algorithms import UNKNOWN
from signward.wire.spki import CURVE_SIZES, ec_key, rsa_key

KIND = "sshsig"

MAX_OCTETS = 64 * 1024
"""Octets of a signature file: one by a key of 16,384 bits has 6 KB."""

DIGESTS = frozenset({"sha256", "sha512"})
"""What PROTOCOL.sshsig allows."""

USER_PRESENT = 0x01
"""A security key's flag: somebody touched it (PROTOCOL.u2f)."""

_MAGIC = b"SSHSIG"
_WHAT = "SSH signature"
_CLAUSE = "PROTOCOL.sshsig"
_BLOCK = re.compile(
    rb"\s*-----BEGIN SSH SIGNATURE-----\r?\n(.*?)\r?\n-----END SSH SIGNATURE-----\s*", re.DOTALL
)
_ED25519_OID = "1.3.101.112"
_CURVES = {
    b"nistp256": ("1.2.840.10045.3.1.7", "sha256"),
    b"nistp384": ("1.3.132.0.34", "sha384"),
    b"nistp521": ("1.3.132.0.35", "sha512"),
}
"""OID, and the digest that goes with the curve (RFC 5656 6.2.1)."""

_RSA = {b"rsa-sha2-256": "sha256", b"rsa-sha2-512": "sha512"}
_SECURITY_KEY = re.compile(rb"sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com")
MAX_RSA_OCTETS = 2048
"""Octets of a modulus, those of 16,384 bits."""


class Key(Frozen, frozen=True, kw_only=True):
    """A public key: ``spki`` is empty where it is of a kind that we do not know.

    ``digest`` goes with its curve; ``application`` is a security key's, None for another's.
    """

    kind: bytes
    blob: bytes
    spki: bytes
    digest: str
    application: bytes | None

    @property
    def fingerprint(self) -> bytes:
        """The SHA-256 of the key as SSH writes it."""
        return hashlib.sha256(self.blob).digest()


class Text(Frozen, frozen=True, kw_only=True):
    """What a signature says: ``value`` is the inner string, with the name of its algorithm."""

    key: Key
    namespace: bytes
    digest: str
    value: bytes


class Strings:
    """Reads SSH's fields one behind the other.  Raises ``MalformedError``."""

    def __init__(self, data: bytes) -> None:
        self._data, self._position = data, 0

    def octets(self, size: int) -> bytes:
        """Return the next ``size`` octets."""
        found = self._data[self._position : self._position + size]
        if len(found) < size:
            raise MalformedError(_WHAT, f"{len(found)} octets", f"{size} more", _CLAUSE)
        self._position += size
        return found

    def number(self) -> int:
        """Return an integer of four octets."""
        return int.from_bytes(self.octets(4), "big")

    def string(self) -> bytes:
        """Return a string."""
        return self.octets(self.number())

    def integer(self) -> int:
        """Return an ``mpint`` that is not negative, written as short as can be."""
        raw = self.string()
        value = int.from_bytes(raw, "big")
        if (
            raw != value.to_bytes(value.bit_length() // 8 + 1, "big")
            or len(raw) > MAX_RSA_OCTETS + 1
        ):
            raise MalformedError(_WHAT, f"a number in {len(raw)} octets", "the shortest form",
                                 "RFC 4251 5")  # fmt: skip
        return value

    @property
    def left(self) -> int:
        """Octets that were not read yet."""
        return len(self._data) - self._position

    def end(self) -> None:
        """Say that nothing may follow."""
        if self.left:
            raise MalformedError(
                _WHAT, f"{self.left} octets behind its last field", "none", _CLAUSE
            )


def is_sshsig(data: bytes) -> bool:
    """Say whether octets begin as a signature file does."""
    return data.lstrip()[:29] == b"-----BEGIN SSH SIGNATURE-----"


def read_text(data: bytes) -> Text:
    """Return what a signature file says.  Raises ``MalformedError`` and ``LimitError``."""
    if len(data) > MAX_OCTETS:
        raise LimitError(_WHAT, f"{len(data)} octets", f"at most {MAX_OCTETS}")
    block = _BLOCK.fullmatch(data)
    if block is None:
        raise MalformedError(_WHAT, "text around its block, or no end", "one block", _CLAUSE)
    fields = Strings(decoded(b"".join(block[1].split())))
    magic, version = fields.octets(6), fields.number()
    if magic != _MAGIC or version != 1:
        raise MalformedError(_WHAT, f"{magic.hex()}, version {version}", "SSHSIG, 1", _CLAUSE)
    key, namespace = read_key(fields.string()), fields.string()
    reserved, digest = fields.string(), fields.string().decode("ascii", "backslashreplace")
    value = fields.string()
    fields.end()
    if not namespace or reserved:
        # The reserved string is ignored by its specification; it is signed, and nobody writes one.
        raise MalformedError(_WHAT, "an empty namespace, or something reserved", "neither", _CLAUSE)
    if digest not in DIGESTS:
        raise MalformedError(_WHAT, f"digest {digest}", "sha256 or sha512", _CLAUSE)
    return Text(key=key, namespace=namespace, digest=digest, value=value)


def decoded(text: bytes) -> bytes:
    """Return what Base64 stands for.  Raises ``MalformedError``."""
    try:
        octets = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error as error:
        raise MalformedError(_WHAT, f"damaged Base64: {error}", "Base64", _CLAUSE) from None
    if binascii.b2a_base64(octets, newline=False) != text:
        raise MalformedError(_WHAT, "Base64 with bits behind its end", "none", "RFC 4648 3.5")
    return octets


def read_key(blob: bytes) -> Key:
    """Return a public key as SSH writes it (RFC 4253 6.6, 5656 3.1, 8709 4, PROTOCOL.u2f).

    Raises ``MalformedError``.
    """
    fields = Strings(blob)
    kind = fields.string()
    found = _SECURITY_KEY.fullmatch(kind)
    plain = found[1] if found else kind
    spki, digest = _material(plain, fields)
    application = fields.string() if found else None
    if spki:
        fields.end()
    return Key(kind=kind, blob=blob, spki=spki, digest=digest, application=application)


def _material(kind: bytes, fields: Strings) -> tuple[bytes, str]:
    """Return the SubjectPublicKeyInfo and the digest of the curve; both empty for another kind."""
    if kind == b"ssh-ed25519":
        key = fields.string()
        if len(key) != 32:
            raise MalformedError(_WHAT, f"{len(key)} octets of key", "32", "RFC 8709 4")
        return der.sequence(der.sequence(der.oid(_ED25519_OID)), der.bit_string(key)), ""
    if kind == b"ssh-rsa":
        exponent, modulus = fields.integer(), fields.integer()
        return rsa_key(modulus, exponent), ""
    curve = kind.removeprefix(b"ecdsa-sha2-")
    if curve == kind or curve not in _CURVES:
        return b"", ""
    named, point = fields.string(), fields.string()
    oid, digest = _CURVES[curve]
    if named != curve or len(point) != 2 * CURVE_SIZES[oid] + 1 or point[0] != 4:
        raise MalformedError(_WHAT, "a point of another curve or form", "0x04 and two coordinates",
                             "RFC 5656 3.1")  # fmt: skip
    return ec_key(oid, point), digest


def claim(text: Text, computed: bytes, slot: str) -> ClaimedSignature:
    """Return the signature, over a file with the digest ``computed``.

    It does not say which digest was signed: only whether the value fits tells if it is this one.
    Raises ``MalformedError``.
    """
    algorithm = _algorithm(text.key, Strings(text.value).string())
    known = not algorithm.scheme.startswith(UNKNOWN)
    value, message, findings = _value(text, _signed(text, computed)) if known else (b"", b"", ())
    return ClaimedSignature(
        label="1",
        envelope=KIND,
        slots=(Slot(name=slot, algorithm=text.digest, digest=computed),),
        bindings=(),
        algorithm=algorithm,
        to_be_verified=message,
        value=value,
        claimed_signer=SignerId(key_id=text.key.fingerprint),
        claimed_certificates=(),
        content_type=text.namespace.decode("utf-8", "backslashreplace"),
        findings=findings,
    )


def _signed(text: Text, computed: bytes) -> bytes:
    parts = (text.namespace, b"", text.digest.encode("ascii"), computed)
    return _MAGIC + b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _value(text: Text, signed: bytes) -> tuple[bytes, bytes, tuple[Finding, ...]]:
    """Return the value, what it is over, and objections to its flags."""
    fields, application = Strings(text.value), text.key.application
    _name, value = fields.string(), fields.string()
    findings: tuple[Finding, ...] = ()
    if application is not None:
        marks = fields.octets(5)
        signed = hashlib.sha256(application).digest() + marks + hashlib.sha256(signed).digest()
        findings = () if marks[0] & USER_PRESENT else (_untouched(marks[0]),)
    fields.end()
    return _as_der(text.key, value), signed, findings


def _as_der(key: Key, value: bytes) -> bytes:
    """Return an ECDSA value (two ``mpint``, RFC 5656 3.1.2) in DER, others as they stand."""
    if not key.digest:
        return value
    halves = Strings(value)
    r, s = halves.integer(), halves.integer()
    halves.end()
    return der.sequence(der.integer(r), der.integer(s))


def _algorithm(key: Key, name: bytes) -> Algorithm:
    """Return the algorithm that the value names; an unknown one where it goes with no such key.

    ``ssh-rsa`` in that place is SHA-1, which PROTOCOL.sshsig forbids.
    """
    if name == b"ssh-rsa":
        raise MalformedError(_WHAT, "algorithm ssh-rsa, which is SHA-1", "SHA-2", _CLAUSE)
    if key.kind == b"ssh-rsa" and name in _RSA:
        return Algorithm(scheme="rsa-pkcs1v15", digest=_RSA[name])
    if name != key.kind or not key.spki:
        return Algorithm(scheme=f"{UNKNOWN}:{name.decode('ascii', 'backslashreplace')}")
    if key.digest:
        return Algorithm(scheme="ecdsa", digest=key.digest)
    return Algorithm(scheme="ed25519")


def _untouched(flags: int) -> Finding:
    return Finding(
        code=Code.ATTRIBUTE_RULE, effect=Effect.REJECT, subject="signature 1",
        found=f"a security key's flags {flags:#04x}",
        required="0x01 among them: somebody touched it", clause="PROTOCOL.u2f",
    )  # fmt: skip
