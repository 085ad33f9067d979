"""What a path is judged by, beside time and anchors: usage, algorithms, RFC 5280 inputs.

All of it is named values.  A caller picks one or makes one with
``frozen.replace``; nothing in the validator decides by itself.
"""

from __future__ import annotations

from signward import integrity
from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen, replace
from signward.state import Algorithm
from signward.trust.x509 import Certificate
from signward.wire.algorithms import SHA256_160, UNKNOWN

ANY_POLICY = "2.5.29.32.0"
ANY_EKU = "2.5.29.37.0"
EKU_CODE_SIGNING = "1.3.6.1.5.5.7.3.3"
EKU_TIME_STAMPING = "1.3.6.1.5.5.7.3.8"
EKU_OCSP_SIGNING = "1.3.6.1.5.5.7.3.9"
EKU_APPLE_INSTALLER = "1.2.840.113635.100.4.13"
EKU_APPLE_SUBMISSION = "1.2.840.113635.100.4.9"
"""Developer ID Installer and Mac App Store installer, as Apple's certificates have them."""

_SIGNING = frozenset({"digitalSignature", "nonRepudiation"})


class Usage(Frozen, frozen=True, kw_only=True):
    """What the leaf must be for.

    ``eku`` (dotted; None: any) must be allowed by every certificate on the path that
    lists usages, Windows style, and by the anchor's store.  The leaf must name it
    where ``eku_required``, and name nothing else where ``eku_sole``.  ``or_ekus`` do in its
    place where a format's certificates have usages of their own.  ``not_critical``
    is what a leaf's extension that is not critical does (None: nothing).  A leaf that
    limits its key usage must include one of ``key_usage`` (empty: any).
    """

    name: str = "this usage"
    eku: str | None = None
    or_ekus: frozenset[str] = frozenset()
    eku_required: bool = False
    eku_sole: bool = False
    not_critical: Effect | None = None
    key_usage: frozenset[str] = frozenset()
    ca_leaf_allowed: bool = True

    @property
    def ekus(self) -> frozenset[str]:
        """Every extended key usage that does; empty where any does."""
        return frozenset({self.eku}) | self.or_ekus if self.eku else frozenset()


ANY_USAGE = Usage(name="any usage")
SIGNING = Usage(name="signatures", key_usage=_SIGNING, ca_leaf_allowed=False)
CODE_SIGNING = Usage(
    name="code signing",
    eku=EKU_CODE_SIGNING,
    eku_required=True,
    key_usage=_SIGNING,
    ca_leaf_allowed=False,
)
INSTALLER_SIGNING = Usage(
    name="installer or code signing",
    eku=EKU_CODE_SIGNING,
    or_ekus=frozenset({EKU_APPLE_INSTALLER, EKU_APPLE_SUBMISSION}),
    eku_required=True,
    key_usage=_SIGNING,
    ca_leaf_allowed=False,
)
TIME_STAMPING = Usage(
    name="time stamping",
    eku=EKU_TIME_STAMPING,
    eku_required=True,
    eku_sole=True,
    not_critical=Effect.NOTE,
    key_usage=_SIGNING,
    ca_leaf_allowed=False,
)
STRICT_TIME_STAMPING = Usage(
    name="time stamping, strict",
    eku=EKU_TIME_STAMPING,
    eku_required=True,
    eku_sole=True,
    not_critical=Effect.REJECT,
    key_usage=_SIGNING,
    ca_leaf_allowed=False,
)
OCSP_SIGNING = Usage(
    name="OCSP signing", eku=EKU_OCSP_SIGNING, eku_required=True, key_usage=_SIGNING
)


class AlgorithmPolicy(Frozen, frozen=True, kw_only=True):
    """Which keys and signature algorithms count.

    ``digests`` are hashlib names, ``min_rsa_bits`` and ``max_rsa_bits`` bound the
    modulus, ``min_dsa_bits`` is None where DSA is refused, ``curves`` are the names
    of SEC 2.  An anchor's own signature is never judged, its key is.
    """

    name: str
    digests: frozenset[str]
    min_rsa_bits: int = 2048
    max_rsa_bits: int = 16384
    min_dsa_bits: int | None = None
    curves: frozenset[str] = frozenset({"secp256r1", "secp384r1", "secp521r1"})

    def judge_signature(self, subject: str, algorithm: Algorithm) -> Finding | None:
        """Return why a signature by ``algorithm`` does not count, or None."""
        if algorithm.scheme.startswith(UNKNOWN):
            return _objection(Code.UNSUPPORTED_ALGORITHM, subject, algorithm.scheme, self.name)
        for digest in (algorithm.digest, algorithm.mgf_digest):
            if digest.startswith(UNKNOWN):
                return _objection(Code.UNSUPPORTED_ALGORITHM, subject, digest, self.name)
            if digest and digest not in self.digests:
                return _objection(Code.WEAK_DIGEST, subject, f"digest {digest}", self.name)
        return None

    def judge_key(self, certificate: Certificate) -> Finding | None:
        """Return why a certificate's key does not count, or None."""
        return self.judge_public_key(certificate.label, certificate.spki)

    def judge_public_key(self, subject: str, spki: bytes) -> Finding | None:
        """Return why a key (DER SubjectPublicKeyInfo) does not count, or None."""
        try:
            family, bits = integrity.key_size(spki)
        except integrity.UnsupportedKeyError as error:
            found = str(error)[:200]
            return _objection(Code.UNSUPPORTED_ALGORITHM, subject, found, self.name)
        if self._key_counts(family, bits):
            return None
        found = f"key {family}, {bits} bits"
        return _objection(Code.WEAK_KEY, subject, found, self.name)

    def _key_counts(self, family: str, bits: int) -> bool:
        if family == "rsa":
            return self.min_rsa_bits <= bits <= self.max_rsa_bits
        if family == "dsa":
            return self.min_dsa_bits is not None and bits >= self.min_dsa_bits
        if family.startswith("ec:"):
            return family[3:] in self.curves
        return True


def _objection(code: Code, subject: str, found: str, policy: str) -> Finding:
    return Finding(
        code=code,
        effect=Effect.REJECT,
        subject=subject,
        found=found,
        required=f"what algorithm policy {policy} allows",
        clause="NIST SP 800-131A",
    )


_SHA2_AND_3 = frozenset(
    {"sha224", "sha256", "sha384", "sha512", "sha3_256", "sha3_384", "sha3_512", SHA256_160}
)
STRICT = AlgorithmPolicy(name="strict", digests=_SHA2_AND_3, min_dsa_bits=2048)
AT_LEGACY = replace(STRICT, name="at-legacy", digests=_SHA2_AND_3 | {"sha1"})
"""For what a trusted timestamp puts before the SHA-1 cut-off; MD5 and RSA < 2048 stay out."""


class PathRules(Frozen, frozen=True, kw_only=True):
    """The remaining inputs of RFC 5280 6.1.1, and what a profile adds to them.

    ``max_intermediates`` bounds the certificates between leaf and anchor that are not
    self-issued.  ``judge_validity`` is False for profiles without dates (UEFI).
    ``known_critical`` are extensions (dotted) the caller judges for itself.
    """

    initial_policies: frozenset[str] = frozenset({ANY_POLICY})
    require_explicit_policy: bool = False
    inhibit_policy_mapping: bool = False
    inhibit_any_policy: bool = False
    max_intermediates: int | None = None
    judge_validity: bool = True
    known_critical: frozenset[str] = frozenset()


DEFAULT_RULES = PathRules()
