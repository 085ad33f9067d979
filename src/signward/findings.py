"""Findings: one fact each, with the code that names it and the effect it has.

A finding says what was found, what was required, where, and which clause of
which standard asks for it.  Its *effect* is decided where the finding is made,
under the named policy values in force there; the outcome of a verdict is the
worst effect among its findings and nothing else.
"""

from __future__ import annotations

from enum import StrEnum

from signward.frozen import Frozen


class Effect(StrEnum):
    """What a finding does to the outcome, from harmless to fatal."""

    NOTE = "note"
    WARN = "warn"
    UNKNOWN = "unknown"
    REJECT = "reject"


GRAVITY = {effect: rank for rank, effect in enumerate(Effect)}
"""How grave each effect is; the gravest among a verdict's findings decides."""
_GRAVEST_FIRST = tuple(sorted(Effect, key=GRAVITY.__getitem__, reverse=True))


class Code(StrEnum):
    """Stable cause codes.  Renaming one breaks callers: add, never rename."""

    # What the bytes are
    UNSIGNED = "unsigned"
    UNSUPPORTED_KIND = "unsupported-kind"
    MALFORMED = "malformed"
    LIMIT_EXCEEDED = "limit-exceeded"
    AMBIGUOUS = "ambiguous"
    SEVERAL_ENTRIES = "several-entries"
    UNREADABLE = "unreadable"
    NOT_A_FILE = "not-a-file"
    CHANGED_WHILE_READ = "changed-while-read"
    JUDGE_FAILED = "judge-failed"
    # Integrity
    DIGEST_MISMATCH = "digest-mismatch"
    PAGE_HASH_MISMATCH = "page-hash-mismatch"
    SLOT_MISSING = "slot-missing"
    COMPANION_MISSING = "companion-missing"
    UNCOVERED_CONTENT = "uncovered-content"
    SIGNATURE_MISMATCH = "signature-mismatch"
    ATTRIBUTE_RULE = "attribute-rule"
    ALGORITHM_INCONSISTENT = "algorithm-inconsistent"
    UNSUPPORTED_ALGORITHM = "unsupported-algorithm"
    KEY_MISSING = "key-missing"
    UNAUTHENTICATED_DATA = "unauthenticated-data"
    CHECKSUM_MISMATCH = "checksum-mismatch"
    LEFTOVER_SIGNATURE = "leftover-signature"
    AD_HOC = "ad-hoc"
    REQUIREMENT_FAILED = "requirement-failed"
    TICKET = "ticket"
    SLICES_DISAGREE = "slices-disagree"
    NOT_DER = "not-der"
    # Algorithms
    WEAK_DIGEST = "weak-digest"
    WEAK_KEY = "weak-key"
    EXPLICIT_CURVE = "explicit-curve"
    # Certification path
    NO_PATH = "no-path"
    UNTRUSTED_ROOT = "untrusted-root"
    DISTRUSTED = "distrusted"
    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    CERTIFICATE_MALFORMED = "certificate-malformed"
    CERTIFICATE_SIGNATURE = "certificate-signature"
    BASIC_CONSTRAINTS = "basic-constraints"
    PATH_LENGTH = "path-length"
    NAME_CONSTRAINTS = "name-constraints"
    CERTIFICATE_POLICY = "certificate-policy"
    CRITICAL_EXTENSION = "critical-extension"
    WRONG_USAGE = "wrong-usage"
    # Time
    TIMESTAMP_UNTRUSTED = "timestamp-untrusted"
    TIMESTAMP_MISMATCH = "timestamp-mismatch"
    TIMESTAMP_USAGE = "timestamp-usage"
    TIMESTAMP_REVOKED = "timestamp-revoked"
    TIMESTAMP_MALFORMED = "timestamp-malformed"
    TIMESTAMP_AFTER_EXPIRY = "timestamp-after-expiry"
    TIMESTAMP_IN_FUTURE = "timestamp-in-future"
    LIFETIME_SIGNING = "lifetime-signing"
    NO_PROVEN_TIME = "no-proven-time"
    LOG_ENTRY = "log-entry"
    # Revocation
    REVOKED = "revoked"
    REVOCATION_UNKNOWN = "revocation-unknown"
    SIGNED_BEFORE_REVOCATION = "signed-before-revocation"
    REVOCATION_EVIDENCE = "revocation-evidence"
    REVOCATION_FEED = "revocation-feed"
    # Policy
    PUBLISHER_MISMATCH = "publisher-mismatch"
    BY_CATALOG = "by-catalog"
    BY_PACKAGE = "by-package"
    NOT_VOUCHED = "not-vouched"
    LISTED = "listed"
    CLAIMED = "claimed"
    KERNEL_POLICY = "kernel-policy"
    BLOCKED = "blocked"
    PUBLISHER_REVOKED = "publisher-revoked"
    DIGEST_REVOKED = "digest-revoked"
    SBAT_REVOKED = "sbat-revoked"
    REPLAYED = "replayed"
    BY_POLICY = "by-policy"
    POLICY_DENIED = "policy-denied"
    NO_RULE = "no-rule"
    DOWNGRADE = "downgrade"
    REQUIREMENT_UNMET = "requirement-unmet"
    POLICY_UNDECIDED = "policy-undecided"
    # The estate's certificates
    EXPIRES_SOON = "expires-soon"
    VALIDITY_PERIOD = "validity-period"


WINDOWS_NAMES: dict[Code, str] = {
    Code.UNSIGNED: "TRUST_E_NOSIGNATURE",
    Code.UNSUPPORTED_KIND: "TRUST_E_SUBJECT_FORM_UNKNOWN",
    Code.DIGEST_MISMATCH: "TRUST_E_BAD_DIGEST",
    Code.PAGE_HASH_MISMATCH: "TRUST_E_BAD_DIGEST",
    Code.SIGNATURE_MISMATCH: "NTE_BAD_SIGNATURE",
    Code.ATTRIBUTE_RULE: "CRYPT_E_AUTH_ATTR_MISSING",
    Code.UNSUPPORTED_ALGORITHM: "CRYPT_E_UNKNOWN_ALGO",
    Code.KEY_MISSING: "CRYPT_E_SIGNER_NOT_FOUND",
    Code.NO_PATH: "CERT_E_CHAINING",
    Code.UNTRUSTED_ROOT: "CERT_E_UNTRUSTEDROOT",
    Code.DISTRUSTED: "TRUST_E_EXPLICIT_DISTRUST",
    Code.EXPIRED: "CERT_E_EXPIRED",
    Code.NOT_YET_VALID: "CERT_E_EXPIRED",
    Code.TIMESTAMP_AFTER_EXPIRY: "CERT_E_EXPIRED",
    Code.LIFETIME_SIGNING: "CERT_E_EXPIRED",
    Code.CERTIFICATE_MALFORMED: "CERT_E_MALFORMED",
    Code.CERTIFICATE_SIGNATURE: "TRUST_E_CERT_SIGNATURE",
    Code.BASIC_CONSTRAINTS: "TRUST_E_BASIC_CONSTRAINTS",
    Code.PATH_LENGTH: "CERT_E_PATHLENCONST",
    Code.NAME_CONSTRAINTS: "CERT_E_INVALID_NAME",
    Code.CERTIFICATE_POLICY: "CERT_E_INVALID_POLICY",
    Code.CRITICAL_EXTENSION: "CERT_E_CRITICAL",
    Code.WRONG_USAGE: "CERT_E_WRONG_USAGE",
    Code.KERNEL_POLICY: "ERROR_INVALID_IMAGE_HASH",
    Code.BLOCKED: "ERROR_SYSTEM_INTEGRITY_POLICY_VIOLATION",
    Code.PUBLISHER_REVOKED: "ERROR_SYSTEM_INTEGRITY_POLICY_VIOLATION",
    Code.DIGEST_REVOKED: "ERROR_SYSTEM_INTEGRITY_POLICY_VIOLATION",
    Code.REVOKED: "CERT_E_REVOKED",
    Code.REVOCATION_UNKNOWN: "CERT_E_REVOCATION_FAILURE",
    Code.TIMESTAMP_UNTRUSTED: "TRUST_E_TIME_STAMP",
    Code.TIMESTAMP_MISMATCH: "TRUST_E_TIME_STAMP",
    Code.TIMESTAMP_USAGE: "TRUST_E_TIME_STAMP",
    Code.TIMESTAMP_REVOKED: "TRUST_E_TIME_STAMP",
    Code.TIMESTAMP_MALFORMED: "TRUST_E_TIME_STAMP",
}
"""The name WinVerifyTrust's caller would know (winerror.h), where one exists.

Block lists and the kernel's own rules are no business of WinVerifyTrust: their names are what
a caller of the loader gets.  TRUST_E_EXPLICIT_DISTRUST speaks of the disallowed certificates.
"""


class Finding(Frozen, frozen=True, kw_only=True):
    """One fact about one subject.

    ``subject`` says where ("signature 1", "certificate CN=...", "page 3"),
    ``clause`` which document and section asks for what was required, and
    ``offset`` (bytes from the start of the artifact) where it lies, if known.
    """

    code: Code
    effect: Effect
    subject: str
    found: str
    required: str
    clause: str = ""
    hint: str = ""
    offset: int | None = None

    def __str__(self) -> str:
        """Return ``subject: found X, required Y (clause)`` and a hint line."""
        clause = f" ({self.clause})" if self.clause else ""
        place = f" at offset {self.offset}" if self.offset is not None else ""
        text = f"{self.subject}: found {self.found}{place}, required {self.required}{clause}"
        return f"{text}\nhint: {self.hint}" if self.hint else text

    def with_effect(self, effect: Effect, code: Code | None = None) -> Finding:
        """Return the same fact with another effect (and code, where it now means another)."""
        return Finding(
            code=code or self.code,
            effect=effect,
            subject=self.subject,
            found=self.found,
            required=self.required,
            clause=self.clause,
            hint=self.hint,
            offset=self.offset,
        )


def worst(findings: tuple[Finding, ...] | list[Finding]) -> Effect:
    """Return the gravest effect among ``findings``; NOTE when there are none."""
    found = [finding.effect for finding in findings]
    for effect in _GRAVEST_FIRST:
        if effect in found:
            return effect
    return Effect.NOTE
