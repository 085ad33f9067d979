"""SSH signatures as they are written (OpenSSH's PROTOCOL.sshsig): keys, drafts, armour."""

from __future__ import annotations

import binascii

from signward.envelopes import Signer
from signward.envelopes.sshsig import CURVES, DIGESTS, KIND, RSA, read_key, signed_octets, string
from signward.errors import NotSignableError
from signward.frozen import Frozen
from signward.state import Algorithm, HeldKey
from signward.wire import der
from signward.wire.spki import curve, key_bits, rsa_numbers

_COLUMNS = 70
"""Characters of Base64 in a line, as ssh-keygen has them."""

_ED25519 = "1.3.101.112"
_WHAT = "SSH signature"


class SshDraft(Frozen, frozen=True, kw_only=True):
    """A signature complete but for its value: over the file with the digest ``computed``."""

    key: HeldKey
    algorithm: Algorithm
    namespace: str
    digest: str
    computed: bytes

    @property
    def to_be_signed(self) -> bytes:
        """The octets that go to the key."""
        return signed_octets(self.namespace.encode("utf-8"), self.digest, self.computed)

    def seal(self, value: bytes, tokens: object = ()) -> bytes:  # noqa: ARG002 - no place for any
        """Return the signature file: an armoured block."""
        inner = _halves(value) if self.algorithm.scheme == "ecdsa" else value
        fields = (
            self.key.holder,
            self.namespace.encode("utf-8"),
            b"",
            self.digest.encode("ascii"),
            string(self._name()) + string(inner),
        )
        octets = b"SSHSIG" + (1).to_bytes(4, "big") + b"".join(map(string, fields))
        text = binascii.b2a_base64(octets, newline=False)
        lines = [text[i : i + _COLUMNS] for i in range(0, len(text), _COLUMNS)]
        frame = b"-----BEGIN SSH SIGNATURE-----", b"-----END SSH SIGNATURE-----"
        return b"\n".join((frame[0], *lines, frame[1], b""))

    def _name(self) -> bytes:
        """Return what the value names its algorithm: of RSA with the digest, else the key's."""
        kind = read_key(self.key.holder).kind
        names = (name for name, digest in RSA.items() if digest == self.algorithm.digest)
        return next(names) if kind == b"ssh-rsa" else kind

    def stamped(self, _value: bytes) -> bytes | None:
        """Return what a timestamp must speak for: there is no place for one."""
        return None


def ssh_key(spki: bytes) -> HeldKey:
    """Return a public key (SubjectPublicKeyInfo) as SSH's verifiers hold it.

    Raises ``NotSignableError`` for one that SSH has no name for, ``MalformedError``.
    """
    blob = _blob(spki)
    return HeldKey(kind=KIND, key_id=read_key(blob).fingerprint, spki=spki, holder=blob)


def _blob(spki: bytes) -> bytes:
    numbers = rsa_numbers(spki)
    if numbers is not None:
        return string(b"ssh-rsa") + _number(numbers[1]) + _number(numbers[0])
    named = next((name for name, (oid, _) in CURVES.items() if oid == curve(spki)), b"")
    if named:
        return string(b"ecdsa-sha2-" + named) + string(named) + string(key_bits(spki))
    if der.parse(spki, _WHAT).fields(_WHAT, 2)[0].fields(_WHAT, 1)[0].oid(_WHAT) == _ED25519:
        return string(b"ssh-ed25519") + string(key_bits(spki))
    raise NotSignableError("--key", "a key that SSH has no name for",
                           "RSA, Ed25519, or EC on P-256, P-384 or P-521")  # fmt: skip


def draft_sshsig(signer: Signer, digest: str, computed: bytes, namespace: str) -> SshDraft:
    """Return the draft of a signature over content with this digest.

    Raises ``NotSignableError`` for a key, an algorithm, a digest or a namespace that SSH has no
    name for.
    """
    key, algorithm = signer.holder, signer.algorithm
    if key is None or key.kind != KIND:
        raise NotSignableError(_WHAT, "a key that SSH does not hold", "one that it does",
                               hint="--as sshsig, or an OpenSSH private key")  # fmt: skip
    if not namespace:
        raise NotSignableError("--namespace", "none", "what the signature is for (file, git, ...)")
    own = read_key(key.holder)
    wanted = {own.digest} if own.digest else set(RSA.values()) if own.kind == b"ssh-rsa" else {""}
    if algorithm.scheme == "rsa-pss" or algorithm.digest not in wanted or digest not in DIGESTS:
        raise NotSignableError("--digest", f"{algorithm} over {digest}",
                               "PKCS#1 v1.5 with SHA-256 or SHA-512, or the curve's own digest, "
                               "as SSH has names for")  # fmt: skip
    return SshDraft(
        key=key, algorithm=algorithm, namespace=namespace, digest=digest, computed=computed
    )


def content_digest(digest: str) -> str:
    """Return what content is hashed with for a signer of this digest: SSH knows two."""
    return digest if digest in DIGESTS else "sha512"


def _halves(value: bytes) -> bytes:
    """Return an ECDSA value as two ``mpint`` (RFC 5656 3.1.2)."""
    r, s = der.parse(value, _WHAT).fields(_WHAT, 2)[:2]
    return _number(r.integer()) + _number(s.integer())


def _number(value: int) -> bytes:
    """Return an ``mpint`` (RFC 4251 5)."""
    return string(value.to_bytes(value.bit_length() // 8 + 1, "big"))
