"""SSHSIG: signatures that ``ssh-keygen -Y sign`` writes (OpenSSH's PROTOCOL.sshsig).

Integers are big-endian; a *string* is four octets of length and that many octets (RFC 4251 5).  The
value is over ``SSHSIG``, the namespace, a reserved string, the name of a digest and the file's
digest.  The public key stands in the signature; whether anybody allows it is for ``trust.ssh``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

from signward.errors import LimitError, MalformedError
from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen
from signward.state import Algorithm, ClaimedSignature, HeldKey, SignerId, Slot
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
    rb"-----BEGIN SSH SIGNATURE-----\r?\n(.*?)\r?\n-----END SSH SIGNATURE-----[\r\n]*", re.DOTALL
)
_ED25519_OID = "1.3.101.112"
CURVES = {
    b"nistp256": ("1.2.840.10045.3.1.7", "sha256"),
    b"nistp384": ("1.3.132.0.34", "sha384"),
    b"nistp521": ("1.3.132.0.35", "sha512"),
}
"""OID, and the digest that goes with the curve (RFC 5656 6.2.1)."""

RSA = {b"rsa-sha2-256": "sha256", b"rsa-sha2-512": "sha512"}
_SECURITY_KEY = re.compile(rb"sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com")
_SK_ECDSA = b"sk-ecdsa-sha2-nistp256@openssh.com"
_KNOWN = frozenset({b"ssh-ed25519", b"ssh-rsa", b"sk-ssh-ed25519@openssh.com", _SK_ECDSA,
                    *(b"ecdsa-sha2-" + curve for curve in CURVES)})  # fmt: skip
_CERTIFIED = b"-cert-v01@openssh.com"
_WEBAUTHN = b"webauthn-" + _SK_ECDSA
_ATTESTED, _EXTENDED = 0x40, 0x80
"""Flags of an authenticator: key material follows, or extensions do (WebAuthn 6.1)."""

MAX_RSA_OCTETS = 2048
"""Octets of a modulus, those of 16,384 bits."""


class Key(Frozen, frozen=True, kw_only=True):
    """A public key: ``spki`` is empty where it is of a kind that we do not know.

    ``kind`` is what it is called and ``blob`` its octets; of a certificate's key ``plain`` and
    ``alone`` are the same without it.
    ``digest`` goes with its curve; ``application`` is a security key's, None for another's.
    """

    kind: bytes
    plain: bytes
    blob: bytes
    alone: bytes
    spki: bytes
    digest: str
    application: bytes | None

    @property
    def certified(self) -> bool:
        """Whether it stands in a certificate (``envelopes.ssh_certificate`` reads it)."""
        return self.kind != self.plain

    @property
    def fingerprint(self) -> bytes:
        """The SHA-256 of the key as SSH writes it."""
        return hashlib.sha256(self.blob).digest()

    @property
    def held(self) -> tuple[HeldKey, ...]:
        """The key as verifiers hold it, which nobody allowed yet; none of a kind unknown."""
        held = HeldKey(kind=KIND, key_id=self.fingerprint, spki=self.spki, holder=self.blob)
        return (held,) if self.spki else ()


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
    def seen(self) -> bytes:
        """The octets that were read."""
        return self._data[: self._position]

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


def fingerprint_text(digest: bytes) -> str:
    """Return a key's SHA-256 as SSH writes it: Base64 without its padding."""
    return "SHA256:" + binascii.b2a_base64(digest, newline=False).decode("ascii").rstrip("=")


def is_sshsig(data: bytes) -> bool:
    """Say whether octets begin as a signature file does."""
    return data.startswith(b"-----BEGIN SSH SIGNATURE-----")


def read_text(data: bytes) -> Text:
    """Return what a signature file says.  Raises ``MalformedError`` and ``LimitError``."""
    if len(data) > MAX_OCTETS:
        raise LimitError(_WHAT, f"{len(data)} octets", f"at most {MAX_OCTETS}")
    block = _BLOCK.fullmatch(data)
    if block is None:
        raise MalformedError(_WHAT, "text around its block, or no end", "one block", _CLAUSE)
    fields = Strings(decoded(block[1].translate(None, b"\r\n")))
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
    key = begin_key(fields, blob)
    if key.spki and not key.certified:
        fields.end()
    return key


def begin_key(fields: Strings, blob: bytes) -> Key:
    """Read a key's own fields; those of a certificate are left.  Raises ``MalformedError``."""
    kind = fields.string()
    plain = _plain(kind)
    if plain != kind:
        fields.string()  # random octets, so that nobody foretells what is signed
    before = len(fields.seen)
    device = _SECURITY_KEY.fullmatch(plain)
    spki, digest = _material(device[1] if device else plain, fields)
    application = fields.string() if device else None
    alone = string(plain) + fields.seen[before:] if plain != kind else blob
    return Key(kind=kind, plain=plain, blob=blob, alone=alone, spki=spki, digest=digest,
               application=application)  # fmt: skip


def _plain(kind: bytes) -> bytes:
    """Return what a certificate's key is called without one; another kind as it is."""
    if not kind.endswith(_CERTIFIED):
        return kind
    plain = kind.removesuffix(_CERTIFIED)
    plain += b"@openssh.com" if plain.startswith(b"sk-") else b""
    return plain if plain in _KNOWN else kind


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
    if curve == kind or curve not in CURVES:
        return b"", ""
    named, point = fields.string(), fields.string()
    oid, digest = CURVES[curve]
    if named != curve or len(point) != 2 * CURVE_SIZES[oid] + 1 or point[0] != 4:
        raise MalformedError(_WHAT, "a point of another curve or form", "0x04 and two coordinates",
                             "RFC 5656 3.1")  # fmt: skip
    return ec_key(oid, point), digest


def claim(text: Text, computed: bytes, slot: str) -> ClaimedSignature:
    """Return the signature, over a file with the digest ``computed``.

    It does not say which digest was signed: only whether the value fits tells if it is this one.
    Raises ``MalformedError``.
    """
    made = read_value(text.key, text.value, signed_octets(text.namespace, text.digest, computed))
    return ClaimedSignature(
        label="1",
        envelope=KIND,
        slots=(Slot(name=slot, algorithm=text.digest, digest=computed),),
        bindings=(),
        algorithm=made.algorithm,
        to_be_verified=made.signed,
        value=made.value,
        claimed_signer=SignerId(key_id=text.key.fingerprint),
        claimed_certificates=(),
        claimed_keys=text.key.held,
        content_type=text.namespace.decode("utf-8", "backslashreplace"),
        findings=made.findings,
    )


def signed_octets(namespace: bytes, digest: str, computed: bytes) -> bytes:
    """Return what a value is over, for content of a digest (PROTOCOL.sshsig 3)."""
    parts = (namespace, b"", digest.encode("ascii"), computed)
    return _MAGIC + b"".join(map(string, parts))


def string(octets: bytes) -> bytes:
    """Return a string as SSH writes it (RFC 4251 5)."""
    return len(octets).to_bytes(4, "big") + octets


class Made(Frozen, frozen=True, kw_only=True):
    """A value as integrity takes it, what it is over, and objections to what stands with it."""

    algorithm: Algorithm
    signed: bytes = b""
    value: bytes = b""
    findings: tuple[Finding, ...] = ()


def read_value(key: Key, inner: bytes, signed: bytes) -> Made:
    """Take a value's string apart, which is to be by ``key`` over ``signed``.

    ``ssh-rsa`` there is SHA-1, which PROTOCOL.sshsig forbids.  Raises ``MalformedError``.
    """
    fields = Strings(inner)
    name = fields.string()
    if name == b"ssh-rsa":
        raise MalformedError(_WHAT, "algorithm ssh-rsa, which is SHA-1", "SHA-2", _CLAUSE)
    if not key.spki:
        return _unknown(key.kind)
    if name not in _names(key):
        raise MalformedError(
            _WHAT, f"algorithm {_told(name)}", f"one of {_told(key.kind)}", _CLAUSE
        )
    value = fields.string()
    findings: tuple[Finding, ...] = ()
    if key.application is not None:
        signed, findings = _by_device(key.application, fields, signed, web=name == _WEBAUTHN)
    fields.end()
    return Made(
        algorithm=_algorithm(key, name),
        signed=signed,
        value=_as_der(value) if key.digest else value,
        findings=findings,
    )


def _names(key: Key) -> tuple[bytes, ...]:
    """Return what a value by a key may name its algorithm."""
    if key.plain == b"ssh-rsa":
        return tuple(RSA)
    return (key.plain, _WEBAUTHN) if key.plain == _SK_ECDSA else (key.plain,)


def _algorithm(key: Key, name: bytes) -> Algorithm:
    if name in RSA:
        return Algorithm(scheme="rsa-pkcs1v15", digest=RSA[name])
    if key.digest:
        return Algorithm(scheme="ecdsa", digest=key.digest)
    return Algorithm(scheme="ed25519")


def _unknown(name: bytes) -> Made:
    """Return what stands for a value by a key of a kind that we do not know."""
    finding = Finding(
        code=Code.UNSUPPORTED_ALGORITHM, effect=Effect.UNKNOWN, subject="signature 1",
        found=_told(name), required="Ed25519, ECDSA or RSA, on a security key or not",
        clause=_CLAUSE, hint="keys of several algorithms are not judged yet",
    )  # fmt: skip
    return Made(algorithm=Algorithm(scheme=f"{UNKNOWN}:{_told(name)}"), findings=(finding,))


def _told(name: bytes) -> str:
    return name[:80].decode("ascii", "backslashreplace")


def _by_device(
    application: bytes, fields: Strings, signed: bytes, *, web: bool
) -> tuple[bytes, tuple[Finding, ...]]:
    """Return what a security key's value is over, and objections to its flags (PROTOCOL.u2f).

    ``web``: a browser asked the device, and what it signed is that browser's words, which must
    begin with the octets asked for.
    """
    marks, extensions, message = fields.octets(5), b"", signed
    if web:
        origin, message, extensions = fields.string(), fields.string(), fields.string()
        _check_marks(origin, marks[0], extended=bool(extensions))
    digests = hashlib.sha256(application).digest(), hashlib.sha256(message).digest()
    findings = () if marks[0] & USER_PRESENT else (_untouched(marks[0]),)
    if web and not message.startswith(_browser_words(origin, signed)):
        findings = (*findings, _OTHER_WORDS)
    return digests[0] + marks + extensions + digests[1], findings


def _check_marks(origin: bytes, flags: int, *, extended: bool) -> None:
    if b'"' in origin or flags & _ATTESTED or bool(flags & _EXTENDED) != extended:
        raise MalformedError(_WHAT, f"flags {flags:#04x} and such an origin", "those of its parts",
                             "PROTOCOL.u2f")  # fmt: skip


def _browser_words(origin: bytes, asked: bytes) -> bytes:
    """Return how a browser's words begin: what follows the challenge and the origin is its own."""
    challenge = base64.urlsafe_b64encode(asked).rstrip(b"=")
    return b'{"type":"webauthn.get","challenge":"%b","origin":"%b"' % (challenge, origin)


_OTHER_WORDS = Finding(
    code=Code.SIGNATURE_MISMATCH, effect=Effect.REJECT, subject="signature 1",
    found="a browser's words about other octets", required="the challenge of this file",
    clause="PROTOCOL.u2f", hint="the content was changed after it was signed",
)  # fmt: skip


def _as_der(value: bytes) -> bytes:
    """Return an ECDSA value (two ``mpint``, RFC 5656 3.1.2) in DER."""
    halves = Strings(value)
    r, s = halves.integer(), halves.integer()
    halves.end()
    return der.sequence(der.integer(r), der.integer(s))


def _untouched(flags: int) -> Finding:
    return Finding(
        code=Code.ATTRIBUTE_RULE, effect=Effect.REJECT, subject="signature 1",
        found=f"a security key's flags {flags:#04x}",
        required="0x01 among them: somebody touched it", clause="PROTOCOL.u2f",
    )  # fmt: skip
