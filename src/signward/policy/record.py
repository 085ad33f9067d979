r"""Records: the versioned JSON form of a verdict (``docs/verdict.schema.json``).

A record is data only: it can be stored, sent, cached and rendered, and it never
turns back into a trust state.  Instants are RFC 3339 UTC, digests and serial
numbers lower-case hex, certificates are named and digested, never embedded.

Within one schema version fields are added, never renamed or removed; readers
ignore fields they do not know.  Text that came from untrusted bytes stands as it
was found, except that octets which are no UTF-8 appear as ``\xNN``; the exact
name is then in ``subject_hex``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Literal, TypeVar

import msgspec

from signward.errors import BadInputError, MalformedError
from signward.findings import GRAVITY, WINDOWS_NAMES, Effect, Finding
from signward.policy.holders import HolderRecord, KeylessRecord, holder_record, keyless_record
from signward.policy.keyfacts import key_facts, spki_facts
from signward.state import (
    X509,
    BrokenSignature,
    ClaimedSignature,
    ClaimedTimestamp,
    IntactSignature,
    JudgedSignature,
    Outcome,
    ProvenTime,
    Publisher,
    RevocationStatus,
    Stage,
    Status,
    TrustedSignature,
    Unruled,
    UntrustedSignature,
    Verdict,
    X509Path,
    path_of,
)
from signward.wire.repeated import CERTIFICATE_OCTETS, remembering

SCHEMA_VERSION: Literal[1] = 1

SignatureState = Literal["trusted", "untrusted", "intact", "broken"]
TimestampState = Literal["trusted", "intact", "broken"]


_Any = TypeVar("_Any")


def _at(items: tuple[_Any, ...], index: int | None) -> _Any | None:
    return items[index] if index is not None and 0 <= index < len(items) else None


class FindingRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One finding, all of its fields; ``offset`` in bytes from the artifact's start."""

    code: str
    effect: Effect
    subject: str
    found: str
    required: str
    clause: str = ""
    hint: str = ""
    offset: int | None = None


class RevocationRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The three-valued revocation status of one certificate and where it came from."""

    status: Status
    revoked_at: datetime | None = None
    invalid_from: datetime | None = None
    reason: str = ""
    source: str = ""
    why: str = ""


class CertificateRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A certificate by its names (RFC 4514), serial (hex), SHA-256 and validity.

    Names are empty and the instants null when the certificate cannot be read.
    """

    subject: str
    issuer: str
    serial: str
    sha256: str
    not_before: datetime | None = None
    not_after: datetime | None = None
    revocation: RevocationRecord | None = None


class PathRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A certification path, leaf first; the last certificate is the anchor."""

    certificates: tuple[CertificateRecord, ...]
    anchor: str
    store: str


class ProvenTimeRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The instant by which the signature existed, and who says so."""

    instant: datetime
    kind: str
    authority: str
    path: PathRecord


class TimestampRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One timestamp or countersignature: *trusted* is the one that proved the time."""

    kind: str
    state: TimestampState
    time: datetime | None = None
    authority: str = ""


class SignatureRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One signature of the artifact.

    ``digest`` is the content's digest algorithm, ``algorithm`` the signature's.
    ``quantum_safe`` says that neither the value nor a certificate under it could be forged
    with a quantum computer.
    ``signer`` is a claim unless ``state`` is *trusted*.  Of one that has a path: ``tbs`` are the
    digests of its certificates' TBSCertificates, leaf first, each by the algorithm that signed
    the certificate (``ALGORITHM:HEX``); ``ekus`` are the leaf's, ``key`` the SHA-256 of its
    SubjectPublicKeyInfo, ``key_kind`` like ``rsa-3072`` or ``ec-256``.  ``countersigns`` is the
    label of the signature that this one is a second party's word about.  ``holder`` is what
    holds the key where that is no X.509 certificate; ``signer`` and ``path`` are null then.
    ``keyless`` is who signed in for a certificate of some minutes.
    """

    label: str
    envelope: str
    state: SignatureState
    digest: str
    algorithm: str
    quantum_safe: bool
    page_hashes: bool
    signer: CertificateRecord | None = None
    path: PathRecord | None = None
    claimed_time: datetime | None = None
    proven_time: ProvenTimeRecord | None = None
    judged_at: datetime | None = None
    timestamps: tuple[TimestampRecord, ...] = ()
    countersigns: str = ""
    holder: HolderRecord | None = None
    keyless: KeylessRecord | None = None
    tbs: tuple[str, ...] = ()
    ekus: tuple[str, ...] = ()
    key: str = ""
    key_kind: str = ""


class UnruledRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a file's signatures alone were worth, before a policy decided."""

    outcome: Outcome
    cause: str | None = None


class PublisherRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The trusted signer; ``identity`` outlives its certificates."""

    name: str
    identity: str
    subject: str
    subscriber_eku: str = ""


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A verdict as data.

    ``kind`` is what the content was classified as, ``format`` the signable format
    that judged it (empty for none), ``container`` the archive the subject is a
    member of (empty for a file of its own), ``size`` in bytes.  ``judged`` indexes
    ``signatures``.  ``message`` is the finding that decided, in one line.  ``unruled`` is what
    the signatures alone were worth where a policy decided, and null where none did.
    """

    schema: Literal[1] = SCHEMA_VERSION
    subject: str
    subject_hex: str = ""
    container: str = ""
    kind: str = ""
    format: str = ""
    size: int | None = None
    digests: dict[str, str] = {}
    stage: Stage
    outcome: Outcome
    cause: str | None = None
    windows_name: str = ""
    message: str = ""
    rule: str
    at: datetime
    publisher: PublisherRecord | None = None
    judged: int | None = None
    signatures: tuple[SignatureRecord, ...] = ()
    facts: dict[str, str | int] = {}
    findings: tuple[FindingRecord, ...] = ()
    unruled: UnruledRecord | None = None

    @property
    def deciding(self) -> FindingRecord | None:
        """The finding that decided: the first of the cause's code with the worst effect."""
        matching = [f for f in self.findings if f.code == self.cause]
        return max(matching, key=lambda f: GRAVITY[f.effect], default=None)

    @property
    def judged_signature(self) -> SignatureRecord | None:
        """The signature that decided, if one did."""
        return _at(self.signatures, self.judged)


class SignatureGist(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The one field of a signature that counts are made of."""

    quantum_safe: bool


class Gist(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The fields of a record that counts are made of; the others are passed over."""

    subject: str
    kind: str = ""
    outcome: Outcome
    cause: str | None = None
    rule: str = ""
    publisher: PublisherRecord | None = None
    judged: int | None = None
    signatures: tuple[SignatureGist, ...] = ()
    facts: dict[str, str | int] = {}

    @property
    def judged_signature(self) -> SignatureGist | None:
        """The signature that decided, if one did."""
        return _at(self.signatures, self.judged)


_UNSAFE = re.compile(
    "[\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)
"""Control and direction characters: legal in JSON, but a terminal or an eye obeys them."""

_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(Record)
_gist_decoder = msgspec.json.Decoder(Gist)


def record(
    verdict: Verdict, *, kind: str = "", size: int | None = None, container: str = ""
) -> Record:
    """Return ``verdict`` as data.

    ``kind`` names the content's class, ``size`` its length in bytes where known,
    ``container`` the archive it lies in.
    """
    deciding = _deciding(verdict)
    return Record(
        subject=safe_text(verdict.subject),
        subject_hex=_exact_name(verdict.subject),
        container=safe_text(container),
        kind=kind or verdict.format,
        format=verdict.format,
        size=size,
        digests={name: digest.hex() for name, digest in sorted(verdict.digests.items())},
        stage=verdict.stage,
        outcome=verdict.outcome,
        cause=None if verdict.cause is None else verdict.cause.value,
        windows_name="" if verdict.cause is None else WINDOWS_NAMES.get(verdict.cause, ""),
        message="" if deciding is None else one_line(deciding),
        rule=verdict.rule,
        at=verdict.at,
        publisher=_publisher(verdict.publisher),
        judged=verdict.judged,
        signatures=tuple(_signature(signature) for signature in verdict.signatures),
        facts={k: safe_text(v) if isinstance(v, str) else v for k, v in verdict.facts.items()},
        findings=tuple(finding_record(finding) for finding in verdict.findings),
        unruled=_unruled(verdict.unruled),
    )


def _unruled(unruled: Unruled | None) -> UnruledRecord | None:
    if unruled is None:
        return None
    cause = None if unruled.cause is None else unruled.cause.value
    return UnruledRecord(outcome=unruled.outcome, cause=cause)


def to_json(record: Record) -> bytes:
    """Return ``record`` as one line of :func:`printable_json`."""
    return printable_json(record)


def printable_json(value: object) -> bytes:
    r"""Return ``value`` as UTF-8 JSON on one line; equal values give equal bytes.

    Control and direction characters stand as ``\uXXXX``, so that printing is safe.
    """
    data = _encoder.encode(value)
    if data.isascii() and b"\x7f" not in data:
        return data
    return _UNSAFE.sub(lambda m: f"\\u{ord(m[0]):04x}", data.decode()).encode()


def from_json(data: bytes | str) -> Record:
    """Return the record in ``data``.

    Raises ``MalformedError`` for anything that is no record of a schema version we
    know; unknown fields are ignored.
    """
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise MalformedError(
            "record", str(error), f"a verdict of schema version {SCHEMA_VERSION}",
            "docs/verdict.schema.json",
        ) from None  # fmt: skip


def gist(line: bytes) -> Gist:
    """Return what counts of a record, from a line that :func:`to_json` made."""
    return _gist_decoder.decode(line)


def schema() -> dict[str, object]:
    """Return the JSON Schema (2020-12) of a record, as ``docs/verdict.schema.json`` holds it."""
    (reference,), definitions = msgspec.json.schema_components([Record])
    whole: dict[str, object] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Signward verdict, schema version {SCHEMA_VERSION}",
        **reference,
        "$defs": dict(sorted(definitions.items())),
    }
    plain: dict[str, object] = msgspec.json.decode(msgspec.json.encode(whole))
    return plain


def one_line(finding: Finding | FindingRecord) -> str:
    """Return ``subject: found X, required Y (clause)`` without the hint."""
    clause = f" ({finding.clause})" if finding.clause else ""
    place = f" at offset {finding.offset}" if finding.offset is not None else ""
    return safe_text(
        f"{finding.subject}: found {finding.found}{place}, required {finding.required}{clause}"
    )


def safe_text(text: str) -> str:
    r"""Return ``text`` fit for UTF-8: octets smuggled in as lone surrogates become ``\xNN``."""
    if text.isascii():
        return text
    return _octets(text).decode("utf-8", "backslashreplace")


def _octets(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _exact_name(name: str) -> str:
    return "" if safe_text(name) == name else _octets(name).hex()


def _deciding(verdict: Verdict) -> Finding | None:
    matching = [f for f in verdict.findings if f.code == verdict.cause]
    return max(matching, key=lambda f: GRAVITY[f.effect], default=None)


def finding_record(finding: Finding) -> FindingRecord:
    """Return one finding as data."""
    return FindingRecord(
        code=finding.code.value,
        effect=finding.effect,
        subject=safe_text(finding.subject),
        found=safe_text(finding.found),
        required=safe_text(finding.required),
        clause=finding.clause,
        hint=safe_text(finding.hint),
        offset=finding.offset,
    )


def _publisher(publisher: Publisher | None) -> PublisherRecord | None:
    if publisher is None:
        return None
    return PublisherRecord(
        name=safe_text(publisher.name),
        identity=safe_text(publisher.identity),
        subject=safe_text(publisher.subject),
        subscriber_eku=publisher.subscriber_eku,
    )


def _signature(judged: JudgedSignature) -> SignatureRecord:
    claimed = claimed_of(judged)
    trust = judged if isinstance(judged, TrustedSignature | UntrustedSignature) else None
    proven = trust.proven_time if trust else None
    path = path_of(trust.basis) if trust else None
    return SignatureRecord(
        label=claimed.label,
        envelope=claimed.envelope,
        state=state_of(judged),
        digest=claimed.slots[0].algorithm if claimed.slots else claimed.algorithm.digest,
        algorithm=str(claimed.algorithm),
        quantum_safe=_is_quantum_safe(claimed, path),
        page_hashes=any(slot.is_page for slot in claimed.slots),
        signer=_signer(judged),
        path=_path(path, trust.revocation) if trust and path else None,
        claimed_time=claimed.claimed_time,
        proven_time=_proven_time(proven) if proven else None,
        judged_at=trust.judged_at if trust else None,
        timestamps=tuple(_timestamps(judged)),
        countersigns=safe_text(claimed.countersigns),
        holder=holder_record(judged),
        keyless=keyless_record(trust.basis) if trust else None,
        **(_keys(path) if path else _bare_key(judged)),
    )


def _keys(path: X509Path) -> dict[str, Any]:
    """Return what rules ask of a signer's certificates besides their names."""
    known = [key_facts(der) for der in path.certificates]
    leaf = known[0]
    return {
        "tbs": tuple(one.tbs for one in known),
        "ekus": leaf.ekus,
        "key": leaf.key,
        "key_kind": leaf.kind,
    }


def _bare_key(judged: JudgedSignature) -> dict[str, Any]:
    """Return what rules ask of a trusted key that no X.509 certificate holds."""
    if not isinstance(judged, TrustedSignature):
        return {}
    facts = spki_facts(judged.intact.key.spki)
    return {"key": facts.key, "key_kind": facts.kind}


QUANTUM_SAFE = "ml-dsa-"
"""Schemes that no quantum computer is known to break begin so (FIPS 204)."""


def _is_quantum_safe(claimed: ClaimedSignature, basis: X509Path | None) -> bool:
    """Say whether nobody with a quantum computer could make this signature.

    Its own value must be of such a scheme, and so must every certificate below the anchor be
    signed: whoever forges one of those, forges a signer.
    """
    if not claimed.algorithm.scheme.startswith(QUANTUM_SAFE):
        return False
    from signward.trust.x509 import load_certificate

    below = basis.certificates[:-1] if basis else ()
    schemes = (load_certificate(der).signature_algorithm.scheme for der in below)
    return all(scheme.startswith(QUANTUM_SAFE) for scheme in schemes)


def claimed_of(judged: JudgedSignature) -> ClaimedSignature:
    """Return the claim that ``judged`` started from."""
    if isinstance(judged, TrustedSignature | UntrustedSignature):
        return judged.intact.claimed
    return judged.claimed


def state_of(judged: JudgedSignature) -> SignatureState:
    """Return how far ``judged`` came: broken, intact, untrusted (asked and refused), trusted."""
    if isinstance(judged, BrokenSignature):
        return "broken"
    if isinstance(judged, IntactSignature):
        return "intact"
    return "trusted" if isinstance(judged, TrustedSignature) else "untrusted"


def _signer(judged: JudgedSignature) -> CertificateRecord | None:
    if isinstance(judged, BrokenSignature):
        return claimed_signer(judged.claimed)
    intact = judged if isinstance(judged, IntactSignature) else judged.intact
    return certificate_record(intact.key.holder) if intact.key.kind == X509 else None


def claimed_signer(claimed: ClaimedSignature) -> CertificateRecord | None:
    """Return the embedded certificate that the envelope names as its signer, if any."""
    from signward.trust.x509 import load_certificate

    wanted = claimed.claimed_signer
    for der in claimed.claimed_certificates:
        try:
            certificate = load_certificate(der)
        except BadInputError:
            continue
        by_name = (certificate.issuer, certificate.serial) == (wanted.issuer, wanted.serial)
        by_key = bool(wanted.key_id) and certificate.key_identifier == wanted.key_id
        if by_name or by_key:
            return certificate_record(der)
    return None


@remembering(4096, CERTIFICATE_OCTETS)
def certificate_record(der: bytes) -> CertificateRecord:
    """Return the certificate in ``der`` by its names; only its digest if it cannot be read."""
    from signward.trust.x509 import load_certificate

    try:
        certificate = load_certificate(der)
    except BadInputError:
        import hashlib

        digest = hashlib.sha256(der).hexdigest()
        return CertificateRecord(subject="", issuer="", serial="", sha256=digest)
    return CertificateRecord(
        subject=safe_text(certificate.subject_text),
        issuer=safe_text(certificate.issuer_text),
        serial=f"{certificate.serial:x}",
        sha256=certificate.sha256.hex(),
        not_before=certificate.not_before,
        not_after=certificate.not_after,
    )


def _path(path: X509Path, revocation: Iterable[RevocationStatus] = ()) -> PathRecord:
    certificates = [certificate_record(der) for der in path.certificates]
    for index, status in zip(range(len(certificates)), revocation, strict=False):
        certificates[index] = msgspec.structs.replace(
            certificates[index], revocation=_revocation(status)
        )
    return PathRecord(
        certificates=tuple(certificates), anchor=safe_text(path.anchor), store=safe_text(path.store)
    )


def _revocation(status: RevocationStatus) -> RevocationRecord:
    return RevocationRecord(
        status=status.status,
        revoked_at=status.revoked_at,
        invalid_from=status.invalid_from,
        reason=status.reason,
        source=safe_text(status.source),
        why=safe_text(status.why),
    )


def _proven_time(proven: ProvenTime) -> ProvenTimeRecord:
    return ProvenTimeRecord(
        instant=proven.instant,
        kind=proven.kind,
        authority=safe_text(proven.authority),
        path=_path(proven.path),
    )


def _timestamps(judged: JudgedSignature) -> Iterator[TimestampRecord]:
    intact: tuple[tuple[ClaimedTimestamp, datetime, bytes], ...] = ()
    proven: ProvenTime | None = None
    if isinstance(judged, TrustedSignature | UntrustedSignature):
        proven = judged.proven_time
    if not isinstance(judged, BrokenSignature):
        whole = judged if isinstance(judged, IntactSignature) else judged.intact
        intact = tuple((t.claimed, t.time, t.signature.key.holder) for t in whole.timestamps)
    for claimed in claimed_of(judged).timestamps:
        known = next((entry for entry in intact if entry[0] == claimed), None)
        yield _timestamp(claimed, known, proven)


def _timestamp(
    claimed: ClaimedTimestamp,
    known: tuple[ClaimedTimestamp, datetime, bytes] | None,
    proven: ProvenTime | None,
) -> TimestampRecord:
    if known is None:
        signer = claimed_signer(claimed.signature) if claimed.signature else None
        authority = signer.subject if signer else ""
        return TimestampRecord(
            kind=claimed.kind, state="broken", time=claimed.claimed_time, authority=authority
        )
    _, time, certificate = known
    proved = proven is not None and (proven.instant, proven.kind) == (time, claimed.kind)
    return TimestampRecord(
        kind=claimed.kind,
        state="trusted" if proved else "intact",
        time=time,
        authority=certificate_record(certificate).subject,
    )
