"""Integrity: slots equal content, and the value fits the key.

The only place outside ``keys/`` and ``authority/`` where a signature primitive is
called.  Nothing here knows who holds a key or what time it is.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from signward.envelopes import read_as
from signward.envelopes.raw import KIND as RAW
from signward.envelopes.reach import signer_certificates, signer_keys
from signward.errors import BadInputError, SignwardError
from signward.findings import GRAVITY, Code, Effect, Finding, worst
from signward.frozen import replace
from signward.state import (
    UNNAMED,
    Algorithm,
    Binding,
    BrokenSignature,
    ClaimedSignature,
    ClaimedTimestamp,
    HeldKey,
    IntactSignature,
    IntactTimestamp,
    Manifest,
    Reading,
    SignedArtifact,
    Slot,
    Wanted,
)
from signward.wire.algorithms import COMPUTABLE, OF_SLOTS
from signward.wire.certificate import outline
from signward.wire.repeated import CERTIFICATE_OCTETS, remembering

_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "md5": hashes.MD5,
    "sha1": hashes.SHA1,
    "sha224": hashes.SHA224,
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
    "sha3_256": hashes.SHA3_256,
    "sha3_384": hashes.SHA3_384,
    "sha3_512": hashes.SHA3_512,
}

_HASHES_ITSELF = frozenset({"ed25519", "ed448", "ml-dsa-44", "ml-dsa-65", "ml-dsa-87"})
"""Schemes whose key takes a message, which may be a digest (RFC 9580 5.2.3.3)."""

_KEY_CLASS = {
    "rsa-pkcs1v15": "RSAPublicKey",
    "rsa-pss": "RSAPublicKey",
    "ecdsa": "ECPublicKey",
    "dsa": "DSAPublicKey",
    "ed25519": "Ed25519PublicKey",
    "ed448": "Ed448PublicKey",
    "ml-dsa-44": "MLDSA44PublicKey",
    "ml-dsa-65": "MLDSA65PublicKey",
    "ml-dsa-87": "MLDSA87PublicKey",
}


MAX_RSA_BITS = 16384
"""Longest RSA modulus checked with, as OpenSSL bounds it; longer ones only cost time."""


_NOTHING: Manifest = MappingProxyType({})
_WITHOUT_KEYRING = (
    "give the signer's certificate with --certificate; where it is itself what is trusted, as in "
    "Linux, with --anchor: it, or the kernel image that has it"
)
_WITHOUT_KEYS = "give the signer's public key with --keyring"
_CLAUSES = {"ima": "", "minisign": "", RAW: "", "signify": "", "openpgp": "RFC 9580 5.2.4",
            "sigstore": "", "sshsig": "PROTOCOL.sshsig",
            "swi-signature": "swi-tools 1.2", "veriexec": "FreeBSD lib/libsecureboot"}  # fmt: skip
"""The clause that says what a value is over, by envelope; the others are CMS."""

_BARE_KEYS = frozenset({RAW, "minisign", "openpgp", "signify", "sigstore", "sshsig"})
"""Envelopes whose keys no X.509 certificate holds."""

_ALTERED = "the content or its signature was changed, or it was made with another key"

MAX_TOLD = 50
"""Changed parts told of one artifact: whoever changed more changed everything."""


class ValueMismatchError(SignwardError):
    """The signature value does not fit the key, the algorithm and the data."""


class UnsupportedKeyError(SignwardError):
    """The key or the algorithm is one we cannot check with."""


class MalformedKeyError(UnsupportedKeyError):
    """The public key breaks the rules of its own encoding; no tool could check with it."""


@remembering(2048, CERTIFICATE_OCTETS)
def load_public_key(spki: bytes) -> Any:
    """Return the public key in a DER SubjectPublicKeyInfo (RFC 5280 4.1.2.7).

    Raises ``UnsupportedKeyError``, and ``MalformedKeyError`` where the bytes are at fault.
    """
    try:
        key = serialization.load_der_public_key(spki)
    except UnsupportedAlgorithm as error:
        raise UnsupportedKeyError(f"the public key cannot be used: {error}") from None
    except (ValueError, TypeError) as error:
        raise MalformedKeyError(f"the public key cannot be read: {error}") from None
    if isinstance(key, rsa.RSAPublicKey) and key.key_size > MAX_RSA_BITS:
        raise MalformedKeyError(f"an RSA modulus of {key.key_size} bits, at most {MAX_RSA_BITS}")
    return key


def check_value(spki: bytes, algorithm: Algorithm, data: bytes, value: bytes) -> None:
    """Check ``value`` over ``data`` with the key in ``spki``; return if it fits.

    Raises ``ValueMismatchError`` if it does not fit, ``UnsupportedKeyError`` if key
    and algorithm do not belong together or are unknown.
    """
    key = load_public_key(spki)
    wanted = _KEY_CLASS.get(algorithm.scheme)
    hashed = algorithm.digest and algorithm.scheme not in _HASHES_ITSELF
    digests = [algorithm.digest] if hashed else []
    digests += [algorithm.mgf_digest] if algorithm.scheme == "rsa-pss" else []
    if wanted is None or not _HASHES.keys() >= set(digests):
        raise UnsupportedKeyError(f"signature algorithm {algorithm} is not supported")
    if type(key).__name__ != wanted:
        raise UnsupportedKeyError(f"a {type(key).__name__} cannot check {algorithm}")
    try:
        _verify(key, algorithm, data, value)
    except (InvalidSignature, ValueError, OverflowError):  # the last: a salt beyond any length
        raise ValueMismatchError(f"the value does not fit the key ({algorithm})") from None
    except UnsupportedAlgorithm as error:
        raise UnsupportedKeyError(f"{algorithm}: {error}") from None


def usual_algorithm(spki: bytes) -> Algorithm:
    """Return the one algorithm that a key signs by where its envelope names none (DSSE).

    RSA by PKCS#1 v1.5 with SHA-256, curves with the digest of their size, the others as they
    are.  Raises ``UnsupportedKeyError``.
    """
    family, bits = key_size(spki)
    if family == "rsa":
        return Algorithm(scheme="rsa-pkcs1v15", digest="sha256")
    if family.startswith("ec:"):
        return Algorithm(scheme="ecdsa", digest={384: "sha384", 521: "sha512"}.get(bits, "sha256"))
    scheme = family.replace("mldsa", "ml-dsa-")
    if scheme not in _KEY_CLASS or scheme == "dsa":
        raise UnsupportedKeyError(f"a {family} key has no usual algorithm")
    return Algorithm(scheme=scheme)


def _verify(key: Any, algorithm: Algorithm, data: bytes, value: bytes) -> None:
    if not algorithm.digest or (algorithm.digested and algorithm.scheme in _HASHES_ITSELF):
        key.verify(value, data)
        return
    own = _HASHES[algorithm.digest]()
    digest = Prehashed(own) if algorithm.digested else own
    if algorithm.scheme == "rsa-pkcs1v15":
        value = value.rjust((key.key_size + 7) // 8, b"\0") if algorithm.bare else value
        key.verify(value, data, padding.PKCS1v15(), digest)
    elif algorithm.scheme == "rsa-pss":
        mgf = padding.MGF1(_HASHES[algorithm.mgf_digest]())
        key.verify(value, data, padding.PSS(mgf, algorithm.salt_length), digest)
    elif algorithm.scheme == "ecdsa":
        key.verify(value, data, ec.ECDSA(digest))
    else:
        key.verify(value, data, digest)


def key_size(spki: bytes) -> tuple[str, int]:
    """Return the key's family and size in bits: ``("rsa", 2048)``, ``("ec:secp256r1", 256)``."""
    key = load_public_key(spki)
    if isinstance(key, rsa.RSAPublicKey):
        return "rsa", key.key_size
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"ec:{key.curve.name}", key.key_size
    if isinstance(key, dsa.DSAPublicKey):
        return "dsa", key.key_size
    return type(key).__name__.removesuffix("PublicKey").lower(), 0


def wanted_slots(artifact: SignedArtifact) -> Wanted:
    """Return the slots and digests that the artifact's signatures speak of."""
    signed = (signature.slots for signature in artifact.signatures)
    claimed = itertools.chain(artifact.seals, artifact.listed, *signed)
    named = [(slot.name, slot.algorithm) for slot in claimed]
    named += [(s.over, s.algorithm.digest) for s in artifact.signatures if s.over]
    return frozenset(pair for pair in named if pair[1] in OF_SLOTS)


def check_signature(
    artifact: SignedArtifact,
    claimed: ClaimedSignature,
    computed: Manifest,
    certificates: Sequence[bytes] = (),
    keys: Sequence[HeldKey] = (),
) -> IntactSignature | BrokenSignature:
    """Check one claimed signature against the digests computed from content.

    ``certificates`` are further DER certificates in reach, beside the embedded ones, ``keys``
    what is in reach that no X.509 certificate holds.
    A finding without effect (a weak spot that breaks nothing) stays on the result.
    """
    what = f"signature {claimed.label}"
    claimed = _as_read(claimed, certificates, keys) if claimed.readings else claimed
    findings = list(claimed.findings)
    findings += _check_slots(what, artifact, claimed, computed)
    if claimed.countersigns:
        below = [check_signature(artifact, other, computed, certificates, keys)
                 for other in _countersigned(artifact, claimed)]  # fmt: skip
        findings += _check_countersigned(what, claimed, below)
    reach = [*signer_certificates(claimed, certificates), *signer_keys(claimed, keys)]
    key, value_findings = _check_claim(what, claimed, reach, computed)
    findings += value_findings
    findings += _check_lineage(what, claimed)
    if key is not None and GRAVITY[worst(findings)] < GRAVITY[Effect.UNKNOWN]:
        findings += artifact.conditions.get(claimed.label, ())
    if key is None or worst(findings) in (Effect.REJECT, Effect.UNKNOWN):
        return BrokenSignature(claimed=claimed, findings=tuple(findings))
    timestamps: list[IntactTimestamp] = []
    for timestamp in claimed.timestamps:
        checked = check_timestamp(timestamp, certificates)
        if isinstance(checked, IntactTimestamp):
            timestamps.append(checked)
        else:
            findings += checked
    return IntactSignature(
        claimed=claimed,
        key=key,
        timestamps=tuple(timestamps),
        findings=tuple(findings),
    )


def check_timestamp(
    timestamp: ClaimedTimestamp, certificates: Sequence[bytes] = ()
) -> IntactTimestamp | tuple[Finding, ...]:
    """Check a token or countersignature: its imprint, its attributes and its value.

    Returns why it proves nothing where it fails; those findings warn, because a
    failed token is ignored and the signature judged without it.
    """
    signature, instant = timestamp.signature, timestamp.claimed_time
    if signature is None or timestamp.imprint is None or instant is None:
        return tuple(_softened(f) for f in timestamp.findings)
    findings = list(timestamp.findings) + list(signature.findings)
    findings += _check_binding(signature.label, timestamp.imprint, Code.TIMESTAMP_MISMATCH)
    reach = signer_certificates(signature, certificates)
    key, value_findings = _check_claim(signature.label, signature, reach)
    findings += value_findings
    if key is None or worst(findings) in (Effect.REJECT, Effect.UNKNOWN):
        return tuple(_softened(f) for f in findings)
    intact = IntactSignature(claimed=signature, key=key, timestamps=(), findings=tuple(findings))
    return IntactTimestamp(claimed=timestamp, signature=intact, time=instant)


def check_seals(artifact: SignedArtifact, computed: Manifest) -> tuple[Finding, ...]:
    """Report digests that nobody signed: broken ones as such, else that this is ad hoc."""
    if not artifact.seals:
        return ()
    what = "ad hoc signature"
    broken = tuple(_mismatches(what, artifact.seals, computed))
    if broken or artifact.signatures:
        return broken
    return (
        Finding(
            code=Code.AD_HOC,
            effect=Effect.REJECT,
            subject=artifact.source.name,
            found="digests of its content that nobody signed",
            required="a signature: anybody can write such digests anew",
            hint="ad hoc code runs on the machine that made it; sign it to ship it",
        ),
    )


def check_listed(artifact: SignedArtifact, computed: Manifest) -> tuple[Finding, ...]:
    """Report every part that is not what the artifact's own list says, up to a bound."""
    wrong = (f for slot in artifact.listed for f in _mismatches("list", (slot,), computed))
    return tuple(itertools.islice(wrong, MAX_TOLD))


def check_regions(artifact: SignedArtifact) -> tuple[Finding, ...]:
    """Report every byte that no slot reaches: a note if exempt, else uncovered content."""
    return tuple(_region_findings(artifact))


def _region_findings(artifact: SignedArtifact) -> Iterator[Finding]:
    for region in artifact.regions:
        if region.exempt or region.end <= region.start:
            continue
        yield Finding(
            code=Code.UNCOVERED_CONTENT,
            effect=Effect.REJECT,
            subject=region.what,
            found=f"{region.end - region.start} bytes that no signature covers",
            required="none",
            clause="CVE-2013-3900 and its kin",
            hint="the file was changed after signing, or its signer hid data there",
            offset=region.start,
        )


def _check_slots(
    what: str, artifact: SignedArtifact, claimed: ClaimedSignature, computed: Manifest
) -> Iterator[Finding]:
    names = {claimed.over, *(slot.name for slot in claimed.slots)}
    absent = sorted(artifact.required.get(claimed.label, frozenset()) - names)
    for name in absent[:MAX_TOLD]:
        yield Finding(
            code=Code.SLOT_MISSING,
            effect=Effect.REJECT,
            subject=what,
            found=f"no digest of {name}",
            required="one: it runs, so it must be covered",
        )
    yield from _mismatches(what, claimed.slots, computed)


def _mismatches(what: str, slots: Sequence[Slot], computed: Manifest) -> Iterator[Finding]:
    """Report the first slot whose digest is not the one computed from content."""
    for slot in slots:
        if slot.algorithm not in OF_SLOTS:
            yield _unsupported(what, f"digest algorithm {slot.algorithm}")
            return
        actual = computed.get((slot.name, slot.algorithm))
        if actual != slot.digest:
            yield Finding(
                code=Code.PAGE_HASH_MISMATCH if slot.is_page else Code.DIGEST_MISMATCH,
                effect=Effect.REJECT,
                subject=f"{what}, {slot.name}",
                found=f"{slot.algorithm} {actual.hex()}" if actual else "no such part",
                required=f"{slot.algorithm} {slot.digest.hex()}, as signed",
                hint="the content was changed after it was signed",
            )
            return


def _countersigned(artifact: SignedArtifact, claimed: ClaimedSignature) -> list[ClaimedSignature]:
    """Return the signature that ``claimed`` is about, if there is one."""
    named = [s for s in artifact.signatures if s.label == claimed.countersigns]
    return [s for s in named[:1] if not s.countersigns]


def _check_countersigned(
    what: str, claimed: ClaimedSignature, below: Sequence[IntactSignature | BrokenSignature]
) -> Iterator[Finding]:
    """Ask of a countersignature that what it is over is intact: else it vouches for nothing."""
    if below and isinstance(below[0], IntactSignature):
        return
    findings = list(below[0].findings) if below else []
    effect = worst(findings) if below else Effect.REJECT
    yield Finding(
        code=next((f.code for f in findings if f.effect is effect), Code.SLOT_MISSING),
        effect=effect,
        subject=what,
        found=f"signature {claimed.countersigns}, which is {'not intact' if below else 'absent'}",
        required="an intact signature: a countersignature reaches content through it",
        clause="RFC 5652 11.4",
    )


def _check_binding(what: str, binding: Binding, code: Code) -> Iterator[Finding]:
    if binding.algorithm not in COMPUTABLE:
        yield _unsupported(what, f"digest algorithm {binding.algorithm}")
        return
    actual = hashlib.new(binding.algorithm, binding.data, usedforsecurity=False).digest()
    if actual != binding.digest:
        yield Finding(
            code=code,
            effect=Effect.REJECT,
            subject=f"{what}, {binding.name}",
            found=f"{binding.algorithm} {binding.digest.hex()}",
            required=f"{actual.hex()}, the digest of what it speaks for",
            clause=binding.clause,
        )


def _check_claim(
    what: str,
    claimed: ClaimedSignature,
    candidates: Sequence[HeldKey],
    computed: Manifest = _NOTHING,
) -> tuple[HeldKey | None, list[Finding]]:
    """Check bindings, and the value with the signer's keys; return the one that it fits."""
    findings = [
        f for binding in claimed.bindings
        for f in _check_binding(what, binding, Code.DIGEST_MISMATCH)
    ]  # fmt: skip
    if not candidates:
        findings.append(_key_missing(what, claimed))
        return None, findings
    failure: Finding | None = None
    for candidate in candidates:
        failure = _value_failure(what, claimed, candidate, computed)
        if failure is None:
            findings += _check_certificate_digests(what, claimed, candidate.holder)
            return candidate, findings
    return None, [*findings, failure] if failure else findings


def _as_read(
    claimed: ClaimedSignature, certificates: Sequence[bytes], keys: Sequence[HeldKey]
) -> ClaimedSignature:
    """Return the signature over the first of its readings that a signer's key fits, if one does.

    If none does, a signature that does not say how it was made is taken for the first that one
    of these keys could have made: so it is judged, and found not to fit.
    """
    possible: Reading | None = None
    for key in (*signer_certificates(claimed, certificates), *signer_keys(claimed, keys)):
        for reading in claimed.readings:
            algorithm = reading.algorithm or claimed.algorithm
            try:
                check_value(key.spki, algorithm, reading.data, claimed.value)
            except ValueMismatchError:
                possible = possible or reading
            except UnsupportedKeyError:
                continue
            else:
                return read_as(claimed, reading)
    if possible is None or claimed.algorithm.scheme != UNNAMED:
        return claimed
    return read_as(claimed, replace(possible, what=""))


def _value_failure(
    what: str, claimed: ClaimedSignature, key: HeldKey, computed: Manifest
) -> Finding | None:
    signed, algorithm = claimed.to_be_verified, claimed.algorithm
    if claimed.over and algorithm.digest and not algorithm.digested:
        digest = computed.get((claimed.over, claimed.algorithm.digest))
        if digest is None:
            return _unsupported(what, f"digest {claimed.algorithm.digest} of {claimed.over}")
        signed, algorithm = digest, replace(algorithm, digested=True)
    try:
        check_value(key.spki, algorithm, signed, claimed.value)
    except MalformedKeyError as error:
        return _malformed_key(what, str(error))
    except UnsupportedKeyError as error:
        return _unsupported(what, str(error))
    except ValueMismatchError as error:
        straight = _straight_over(claimed).partition(":")[0]
        return Finding(
            code=Code.SIGNATURE_MISMATCH,
            effect=Effect.REJECT,
            subject=what,
            found=str(error),
            required=f"a value by the signer's key over {straight or 'these attributes'}",
            clause=_CLAUSES.get(claimed.envelope, "RFC 5652 5.6"),
            hint=_ALTERED if straight else "the signature was changed, or made with another key",
        )
    if algorithm.digested and not signed.startswith(claimed.digest_start):
        return Finding(
            code=Code.SIGNATURE_MISMATCH,
            effect=Effect.REJECT,
            subject=what,
            found=f"a digest said to begin with {claimed.digest_start.hex()}",
            required=signed[: len(claimed.digest_start)].hex(),
            clause="RFC 9580 5.2.4",
            hint="the value fits: that field, which it does not cover, was changed",
        )
    return None


def _straight_over(claimed: ClaimedSignature) -> str:
    """Return the slot that a value is made over without attributes between; empty if some are."""
    if claimed.over or claimed.signed_attributes or claimed.envelope not in ("cms", "ima"):
        return claimed.over
    return claimed.slots[0].name if claimed.slots else "its content"


def _check_certificate_digests(
    what: str, claimed: ClaimedSignature, certificate: bytes
) -> Iterator[Finding]:
    for algorithm, digest in claimed.claimed_certificate_digests:
        if algorithm not in COMPUTABLE:
            yield _unsupported(what, f"digest algorithm {algorithm}")
        elif hashlib.new(algorithm, certificate, usedforsecurity=False).digest() != digest:
            yield Finding(
                code=Code.SIGNATURE_MISMATCH,
                effect=Effect.REJECT,
                subject=f"{what}, signing certificate",
                found=f"a certificate whose {algorithm} is not {digest.hex()}",
                required="the certificate the signer named",
                clause="RFC 5035 4",
            )


def _check_lineage(what: str, claimed: ClaimedSignature) -> Iterator[Finding]:
    """Report the first step of a lineage that its own holder did not sign."""
    for number, step in enumerate(claimed.lineage, 1):
        try:
            check_value(outline(step.certificate).spki, step.algorithm, step.signed, step.value)
        except (BadInputError, ValueMismatchError, UnsupportedKeyError) as error:
            yield Finding(
                code=Code.SIGNATURE_MISMATCH,
                effect=Effect.REJECT,
                subject=f"{what}, lineage, step {number}",
                found=str(error),
                required="a value by the key of the one who handed signing on",
                clause="APK Signature Scheme v3, proof-of-rotation",
            )
            return


def _key_missing(what: str, claimed: ClaimedSignature) -> Finding:
    signer = claimed.claimed_signer
    name = (signer.key_id or signer.key_suffix).hex() or f"serial {signer.serial:x}"
    name = "which the signature does not name" if claimed.envelope == RAW else name
    bare = claimed.envelope in _BARE_KEYS
    hint = "give the signer's certificate with --certificate"
    if bare:
        hint = _WITHOUT_KEYS
    elif _straight_over(claimed):
        hint = _WITHOUT_KEYRING
    clause = "security/integrity/digsig.c" if claimed.envelope == "ima" else "RFC 5652 5.3"
    return Finding(
        code=Code.KEY_MISSING,
        effect=Effect.UNKNOWN,
        subject=what,
        found=f"no {'key' if bare else 'certificate'} of the signer ({name})",
        required="it, given" if bare else "it, embedded or given",
        clause="" if bare else clause,
        hint=hint,
    )


def _unsupported(what: str, found: str) -> Finding:
    return Finding(
        code=Code.UNSUPPORTED_ALGORITHM,
        effect=Effect.UNKNOWN,
        subject=what,
        found=found,
        required="an algorithm that can be checked",
    )


def _malformed_key(what: str, found: str) -> Finding:
    return Finding(
        code=Code.CERTIFICATE_MALFORMED,
        effect=Effect.REJECT,
        subject=what,
        found=found,
        required="a well-formed SubjectPublicKeyInfo",
        clause="RFC 5280 4.1.2.7",
    )


def _softened(finding: Finding) -> Finding:
    """Return a timestamp's failure as the warning it is to the signature that carries it."""
    codes = {
        Code.SIGNATURE_MISMATCH: Code.TIMESTAMP_MISMATCH,
        Code.DIGEST_MISMATCH: Code.TIMESTAMP_MISMATCH,
        Code.ATTRIBUTE_RULE: Code.TIMESTAMP_MALFORMED,
        Code.ALGORITHM_INCONSISTENT: Code.TIMESTAMP_MALFORMED,
        Code.KEY_MISSING: Code.TIMESTAMP_UNTRUSTED,
        Code.UNSUPPORTED_ALGORITHM: Code.TIMESTAMP_UNTRUSTED,
    }
    grave = finding.effect in (Effect.REJECT, Effect.UNKNOWN)
    return finding.with_effect(Effect.WARN, codes.get(finding.code)) if grave else finding
