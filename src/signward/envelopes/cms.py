"""CMS SignedData (RFC 5652, PKCS#7 1.5): reading claimed signatures.

BER is tolerated as the wild holds it; everything returned is a claim.  Nested
signatures (Microsoft's 1.3.6.1.4.1.311.2.4.1) come back flattened behind the one
that carries them; countersignatures and RFC 3161 tokens hang on their signature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from datetime import datetime

from signward.envelopes._cms_parts import (
    CMS_TIMESTAMP,
    CONTENT_TYPE,
    COUNTERSIGNATURE,
    DATA,
    MAX_ATTRIBUTES,
    MAX_CERTIFICATES,
    MAX_SIGNERS,
    MESSAGE_DIGEST,
    MICROSOFT_TIMESTAMP,
    NESTED_SIGNATURE,
    OCSP_RESPONSE,
    SIGNED_DATA,
    SIGNING_CERTIFICATE,
    SIGNING_CERTIFICATE_V2,
    SIGNING_TIME,
    TIMESTAMP_TOKENS,
    SignedData,
    SignerInfo,
)
from signward.envelopes._cms_read import read_signed_data, read_signer_info
from signward.envelopes.tsp import TST_INFO, read_tst_info
from signward.errors import BadInputError, LimitError, MalformedError
from signward.findings import Code, Effect, Finding
from signward.frozen import replace
from signward.state import (
    Binding,
    ClaimedSignature,
    ClaimedTimestamp,
    Slot,
)
from signward.wire import der
from signward.wire.algorithms import digest_name
from signward.wire.repeated import kept_alone

__all__ = [
    "CMS_TIMESTAMP",
    "CONTENT_TYPE",
    "COUNTERSIGNATURE",
    "DATA",
    "MAX_ATTRIBUTES",
    "MAX_CERTIFICATES",
    "MAX_NESTING",
    "MAX_SIGNERS",
    "MAX_TIMESTAMPS",
    "MESSAGE_DIGEST",
    "MICROSOFT_TIMESTAMP",
    "NESTED_SIGNATURE",
    "OCSP_RESPONSE",
    "SIGNED_DATA",
    "SIGNING_CERTIFICATE",
    "SIGNING_CERTIFICATE_V2",
    "SIGNING_TIME",
    "TIMESTAMP_TOKENS",
    "SlotReader",
    "no_slots",
    "open_countersignatures",
    "open_signatures",
    "open_token",
    "read_signed_data",
    "with_findings",
]

MAX_TIMESTAMPS = 16
MAX_NESTING = 4
"""Nested signatures inside nested signatures; the deepest real one has depth 1."""

_ONCE = {
    CONTENT_TYPE: "RFC 5652 11.1",
    MESSAGE_DIGEST: "RFC 5652 11.2",
    SIGNING_TIME: "RFC 5652 11.3",
    SIGNING_CERTIFICATE: "RFC 5035 5.4",
    SIGNING_CERTIFICATE_V2: "RFC 5035 3",
}
_NEEDED = frozenset({MESSAGE_DIGEST, CONTENT_TYPE})
_NEEDED_OF_COUNTERSIGNATURE = frozenset({MESSAGE_DIGEST})
_UNDERSTOOD = TIMESTAMP_TOKENS | {COUNTERSIGNATURE, NESTED_SIGNATURE}

SlotReader = Callable[[str, bytes], tuple[Slot, ...]]
"""Turns ``(content type, content octets)`` into the slots that content claims."""


def no_slots(content_type: str, content: bytes) -> tuple[Slot, ...]:  # noqa: ARG001 - a SlotReader
    """Return nothing: for content that speaks of no part of an artifact."""
    return ()


def open_signatures(
    blob: bytes,
    read_slots: SlotReader,
    *,
    label: str = "1",
    uniform_digest: bool = False,
    nesting: bool = True,
    depth: int = 0,
) -> tuple[ClaimedSignature, ...]:
    """Return every signature in a SignedData, nested ones included if ``nesting``.

    Labels are ``label``, ``label/2`` (a second signer), ``label.1`` (a nested one).

    ``uniform_digest`` asks that the first slot's digest algorithm is the signer's
    (embedded Authenticode signatures; catalog members carry their own).  Raises
    ``BadInputError`` where the outer structure cannot be read at all.
    """
    if depth > MAX_NESTING:
        raise LimitError(f"signature {label}", f"nesting beyond {MAX_NESTING}", "less")
    data = read_signed_data(blob, f"signature {label}")
    slots = read_slots(data.content_type, data.content)
    signatures: list[ClaimedSignature] = []
    for number, node in enumerate(data.signers):
        own = label if number == 0 else f"{label}/{number + 1}"
        what = f"signature {own}"
        info = read_signer_info(node, what)
        timestamps = _timestamps(what, data, info)
        claimed = _claim(what, data, info, label=own, slots=slots, timestamps=timestamps)
        if uniform_digest and slots and slots[0].algorithm != info.digest:
            claimed = _with_digest_conflict(claimed, slots[0].algorithm, info.digest)
        signatures.append(claimed)
        within = info.unsigned if nesting else ()
        nested = [v for a in within if a.oid == NESTED_SIGNATURE for v in a.values]
        for index, value in enumerate(nested, 1):
            signatures += open_signatures(
                value, read_slots, label=f"{own}.{index}",
                uniform_digest=uniform_digest, depth=depth + 1,
            )  # fmt: skip
            if len(signatures) > MAX_SIGNERS:
                raise LimitError(
                    f"signature {label}", f"{len(signatures)} or more signatures", str(MAX_SIGNERS)
                )
    return tuple(signatures)


def _claim(
    what: str,
    data: SignedData,
    info: SignerInfo,
    *,
    label: str = "",
    slots: tuple[Slot, ...] = (),
    timestamps: tuple[ClaimedTimestamp, ...] = (),
    content_type_required: bool = True,
) -> ClaimedSignature:
    """Join what was read into one claim; ``what`` is its findings' subject."""
    findings = _check_attributes(what, data, info, content_type_required=content_type_required)
    findings += _check_algorithms(what, data, info)
    findings += _unauthenticated(what, info)
    return ClaimedSignature(
        label=label or what,
        envelope="cms",
        slots=slots,
        bindings=_content_binding(what, data, info),
        algorithm=info.algorithm,
        to_be_verified=info.signed_der or data.content,
        value=info.value,
        claimed_signer=info.signer,
        claimed_certificates=data.certificates,
        claimed_crls=data.crls,
        claimed_ocsp=data.ocsp,
        claimed_time=_signing_time(what, info),
        content_type=data.content_type,
        content=data.content,
        claimed_certificate_digests=_certificate_digests(what, info),
        signed_attributes=info.signed,
        unsigned_attributes=info.unsigned,
        timestamps=timestamps,
        findings=tuple(findings),
        raw=data.raw,
    )


def _with_digest_conflict(claimed: ClaimedSignature, content: str, signer: str) -> ClaimedSignature:
    finding = _inconsistent(
        f"signature {claimed.label}",
        f"content digest {content}",
        f"{signer}, the signer's",
        "Authenticode PE",
    )
    return replace(claimed, findings=(*claimed.findings, finding))


def _check_attributes(
    what: str, data: SignedData, info: SignerInfo, *, content_type_required: bool
) -> list[Finding]:
    """Check that signed attributes are there, each once, and name the content's type."""
    if not info.signed:
        if data.content_type == DATA:
            return []
        return [_attribute_rule(what, "no signed attributes", "some", "RFC 5652 5.3")]
    findings: list[Finding] = []
    needed = _NEEDED if content_type_required else _NEEDED_OF_COUNTERSIGNATURE
    values = info.signed_values
    single = len(values) == len(info.signed) and set(map(len, values.values())) == {1}
    if not (single and needed <= values.keys()):
        findings = _miscounted(what, info, needed)
    types = info.values(CONTENT_TYPE)
    if types and (named := kept_alone(types[0], what, der.Node.oid)) != data.content_type:
        findings.append(
            _attribute_rule(what, f"contentType {named}", data.content_type, "RFC 5652 11.1")
        )
    return findings


def _miscounted(what: str, info: SignerInfo, needed: AbstractSet[str]) -> list[Finding]:
    """Report attributes that must stand once and do not; others may hold what they like."""
    findings = []
    for oid, clause in _ONCE.items():
        attributes = [a for a in info.signed if a.oid == oid]
        count = sum(len(a.values) for a in attributes)
        if len(attributes) > 1 or count > 1 or count < (1 if oid in needed else len(attributes)):
            found = f"{count} values of {oid} in {len(attributes)} attributes"
            findings.append(_attribute_rule(what, found, "exactly one", clause))
    return findings


def _check_algorithms(what: str, data: SignedData, info: SignerInfo) -> list[Finding]:
    findings = []
    if info.digest not in data.digests:
        listed = ", ".join(sorted(data.digests)) or "none"
        findings.append(
            _inconsistent(what, f"digest {info.digest}", f"one of those listed: {listed}",
                          "RFC 5652 5.3")
        )  # fmt: skip
    if info.algorithm.digest and info.algorithm.digest != info.digest:
        findings.append(
            _inconsistent(what, f"signature algorithm {info.algorithm}", f"digest {info.digest}",
                          "RFC 5652 5.4")
        )  # fmt: skip
    return findings


def _content_binding(what: str, data: SignedData, info: SignerInfo) -> tuple[Binding, ...]:
    digests = info.values(MESSAGE_DIGEST)
    if not digests:
        return ()
    return (
        Binding(
            name="messageDigest",
            algorithm=info.digest,
            data=data.content,
            digest=der.parse(digests[0], what).octets(what),
            clause="RFC 5652 11.2",
        ),
    )


def _signing_time(what: str, info: SignerInfo) -> datetime | None:
    times = info.values(SIGNING_TIME)
    return der.parse(times[0], what).time(what) if times else None


def _certificate_digests(what: str, info: SignerInfo) -> tuple[tuple[str, bytes], ...]:
    """Return the first ESSCertID of each signing-certificate attribute (RFC 5035)."""
    return tuple(
        [
            kept_alone(value, what, read)
            for oid, read in _CERTIFICATE_IDS
            for value in info.values(oid)
        ]
    )


def _certificate_id(node: der.Node, what: str) -> tuple[str, bytes]:
    """Read the first ESSCertID of a SigningCertificate (RFC 5035 5.4); its digest is SHA-1."""
    ids = node.fields(what, 1)[0].fields(what, 1)
    return "sha1", ids[0].fields(what, 1)[0].octets(what)


def _certificate_id_v2(node: der.Node, what: str) -> tuple[str, bytes]:
    """Read the first ESSCertIDv2 of a SigningCertificateV2 (RFC 5035 3), SHA-256 by default."""
    ids = node.fields(what, 1)[0].fields(what, 1)
    fields, algorithm = ids[0].fields(what, 1), "sha256"
    if fields[0].tag == der.SEQUENCE:
        fields = ids[0].fields(what, 2)
        algorithm, fields = digest_name(fields[0], what), fields[1:]
    return algorithm, fields[0].octets(what)


_CERTIFICATE_IDS = (
    (SIGNING_CERTIFICATE, _certificate_id),
    (SIGNING_CERTIFICATE_V2, _certificate_id_v2),
)


def _unauthenticated(what: str, info: SignerInfo) -> list[Finding]:
    return [
        Finding(
            code=Code.UNAUTHENTICATED_DATA,
            effect=Effect.NOTE,
            subject=what,
            found=f"{sum(map(len, a.values))} bytes in unsigned attribute {a.oid}",
            required="nothing the signature does not cover",
            clause="RFC 5652 5.3",
            hint="anybody can change these bytes without breaking the signature",
        )
        for a in info.unsigned
        if a.oid not in _UNDERSTOOD
    ]


def _timestamps(what: str, data: SignedData, info: SignerInfo) -> tuple[ClaimedTimestamp, ...]:
    """Read every token and countersignature; one that cannot be read keeps its finding."""
    found: list[ClaimedTimestamp] = []
    for attribute in info.unsigned:
        if attribute.oid == COUNTERSIGNATURE:
            kind, read = "pkcs9", _countersignature
        elif attribute.oid in TIMESTAMP_TOKENS:
            kind, read = "rfc3161", _token
        else:
            continue
        for value in attribute.values:
            label = f"{what}, timestamp {len(found) + 1}"
            try:
                found.append(read(label, value, data, info.value))
            except BadInputError as error:
                found.append(_unreadable_timestamp(kind, label, error))
    if len(found) > MAX_TIMESTAMPS:
        raise LimitError(what, f"{len(found)} timestamps", f"at most {MAX_TIMESTAMPS}")
    return tuple(found)


def _countersignature(
    label: str, value: bytes, parent: SignedData, subject_value: bytes
) -> ClaimedTimestamp:
    """Read a PKCS#9 countersignature (RFC 5652 11.4): a SignerInfo over the signature value."""
    info = read_signer_info(der.parse(value, label), label)
    data = replace(
        parent,
        digests=frozenset({info.digest}),
        content_type=DATA,
        content=subject_value,
        signers=(),
        raw=value,
    )
    signature = _claim(label, data, info, content_type_required=False)
    if signature.claimed_time is None:
        raise MalformedError(label, "no signingTime", "the time it vouches for", "RFC 5652 11.3")
    imprint = signature.bindings[0] if signature.bindings else None
    return ClaimedTimestamp(
        kind="pkcs9", signature=signature, claimed_time=signature.claimed_time, imprint=imprint
    )


def open_countersignatures(signature: ClaimedSignature) -> tuple[ClaimedSignature, ...]:
    """Return a signature's PKCS#9 countersignatures (RFC 5652 11.4) as signatures.

    For formats where one tells of a second party; elsewhere it is a timestamp of old.
    Labels are ``LABEL/countersignature``, then ``LABEL/countersignature 2``.  Each may
    carry tokens of its own.  Raises ``BadInputError``.
    """
    values = [
        v for a in signature.unsigned_attributes if a.oid == COUNTERSIGNATURE for v in a.values
    ]
    if len(values) > MAX_SIGNERS:
        found = f"{len(values)} countersignatures"
        raise LimitError(f"signature {signature.label}", found, f"at most {MAX_SIGNERS}")
    return tuple(_countersigner(signature, v, number) for number, v in enumerate(values, 1))


def with_findings(claimed: ClaimedSignature, found: Iterable[Finding]) -> ClaimedSignature:
    """Return a claim with what a format's own rules found, and RFC 3161 tokens as its only times.

    For formats in which a countersignature tells of a second party.
    """
    tokens = tuple(t for t in claimed.timestamps if t.kind == "rfc3161")
    return replace(claimed, findings=(*claimed.findings, *found), timestamps=tokens)


def _countersigner(over: ClaimedSignature, value: bytes, number: int) -> ClaimedSignature:
    label = f"{over.label}/countersignature" + (f" {number}" if number > 1 else "")
    what = f"signature {label}"
    info = read_signer_info(der.parse(value, what), what)
    data = SignedData(
        digests=frozenset({info.digest}),
        content_type=DATA,
        content=over.value,
        certificates=over.claimed_certificates,
        crls=over.claimed_crls,
        ocsp=over.claimed_ocsp,
        signers=(),
        raw=value,
    )
    stamps = _timestamps(what, data, info)
    claimed = _claim(what, data, info, label=label, timestamps=stamps, content_type_required=False)
    return replace(claimed, countersigns=over.label)


def _token(label: str, value: bytes, parent: SignedData, subject_value: bytes) -> ClaimedTimestamp:
    """Read an RFC 3161 token; ``parent`` lends its certificates where the token has none."""
    data = read_signed_data(value, label)
    if not data.certificates:
        data = replace(data, certificates=parent.certificates)
    if data.content_type != TST_INFO:
        raise MalformedError(label, f"content {data.content_type}", "TSTInfo", "RFC 3161 2.4.2")
    if len(data.signers) != 1:
        raise MalformedError(label, f"{len(data.signers)} signers", "one", "RFC 3161 2.4.2")
    info = read_signer_info(data.signers[0], label)
    signature = _claim(label, data, info)
    tst = read_tst_info(data.content)
    findings: tuple[Finding, ...] = ()
    if not signature.claimed_certificate_digests:
        findings = (
            _attribute_rule(label, "no signing-certificate attribute", "one", "RFC 3161 2.4.2"),
        )
    return ClaimedTimestamp(
        kind="rfc3161",
        signature=signature,
        claimed_time=tst.time,
        imprint=Binding(
            name="messageImprint",
            algorithm=tst.imprint_algorithm,
            data=subject_value,
            digest=tst.imprint,
            clause="RFC 3161 2.4.2",
        ),
        accuracy_seconds=tst.accuracy_seconds,
        policy=tst.policy,
        serial=tst.serial,
        findings=findings,
    )


def open_token(token: bytes, subject_value: bytes, label: str = "timestamp") -> ClaimedTimestamp:
    """Return an RFC 3161 token (DER ContentInfo) that is to speak for ``subject_value``.

    Raises ``BadInputError``.
    """
    return _token(label, token, read_signed_data(token, label), subject_value)


def _unreadable_timestamp(kind: str, label: str, error: BadInputError) -> ClaimedTimestamp:
    finding = error.finding
    return ClaimedTimestamp(
        kind=kind,
        signature=None,
        claimed_time=None,
        imprint=None,
        findings=(
            Finding(
                code=Code.TIMESTAMP_MALFORMED,
                effect=Effect.WARN,
                subject=label,
                found=finding.found,
                required=finding.required,
                clause=finding.clause,
                offset=finding.offset,
            ),
        ),
    )


def _attribute_rule(what: str, found: str, required: str, clause: str) -> Finding:
    return Finding(
        code=Code.ATTRIBUTE_RULE,
        effect=Effect.REJECT,
        subject=what,
        found=found,
        required=required,
        clause=clause,
    )


def _inconsistent(what: str, found: str, required: str, clause: str) -> Finding:
    return Finding(
        code=Code.ALGORITHM_INCONSISTENT,
        effect=Effect.REJECT,
        subject=what,
        found=found,
        required=required,
        clause=clause,
    )
