"""CMS SignedData (RFC 5652, PKCS#7 1.5): reading claimed signatures.

BER is tolerated as the wild holds it; everything returned is a claim.  Nested
signatures (Microsoft's 1.3.6.1.4.1.311.2.4.1) come back flattened behind the one
that carries them; countersignatures and RFC 3161 tokens hang on their signature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime

from signward.envelopes.tsp import TST_INFO, read_tst_info
from signward.errors import BadInputError, LimitError, MalformedError
from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen, replace
from signward.state import (
    Algorithm,
    Attribute,
    Binding,
    ClaimedSignature,
    ClaimedTimestamp,
    SignerId,
    Slot,
)
from signward.wire import der
from signward.wire.algorithms import digest_name, signature_algorithm
from signward.wire.repeated import kept

MAX_SIGNERS = 16
MAX_CERTIFICATES = 256
MAX_ATTRIBUTES = 128
MAX_TIMESTAMPS = 16
MAX_NESTING = 4
"""Nested signatures inside nested signatures; the deepest real one has depth 1."""

SIGNED_DATA = "1.2.840.113549.1.7.2"
DATA = "1.2.840.113549.1.7.1"
CONTENT_TYPE = "1.2.840.113549.1.9.3"
MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
SIGNING_TIME = "1.2.840.113549.1.9.5"
COUNTERSIGNATURE = "1.2.840.113549.1.9.6"
SIGNING_CERTIFICATE = "1.2.840.113549.1.9.16.2.12"
SIGNING_CERTIFICATE_V2 = "1.2.840.113549.1.9.16.2.47"
TIMESTAMP_TOKENS = frozenset({"1.3.6.1.4.1.311.3.3.1", "1.2.840.113549.1.9.16.2.14"})
NESTED_SIGNATURE = "1.3.6.1.4.1.311.2.4.1"
OCSP_RESPONSE = "1.3.6.1.5.5.7.16.2"

_ONCE = {
    CONTENT_TYPE: "RFC 5652 11.1",
    MESSAGE_DIGEST: "RFC 5652 11.2",
    SIGNING_TIME: "RFC 5652 11.3",
    SIGNING_CERTIFICATE: "RFC 5035 5.4",
    SIGNING_CERTIFICATE_V2: "RFC 5035 3",
}
_UNDERSTOOD = TIMESTAMP_TOKENS | {COUNTERSIGNATURE, NESTED_SIGNATURE}

_NEVER_REPEATED = (der.oid(MESSAGE_DIGEST), der.oid(SIGNING_TIME))
"""How attributes begin that no two files share: remembering them would push out the others."""

_CMS_VERSIONS = frozenset({1, 3, 4, 5})
"""SignedData versions of CMS (RFC 5652 5.1); writers disagree which content asks for which."""

_PKCS7_VERSIONS = frozenset({1})
"""SignedData version of PKCS#7 1.5, which Authenticode keeps whatever its content."""

SlotReader = Callable[[str, bytes], tuple[Slot, ...]]
"""Turns ``(content type, content octets)`` into the slots that content claims."""


class _SignedData(Frozen, frozen=True, kw_only=True):
    digests: frozenset[str]
    content_type: str
    content: bytes
    certificates: tuple[bytes, ...]
    crls: tuple[bytes, ...]
    ocsp: tuple[bytes, ...]
    signers: tuple[der.Node, ...]
    raw: bytes


class _SignerInfo(Frozen, frozen=True, kw_only=True):
    signer: SignerId
    digest: str
    algorithm: Algorithm
    value: bytes
    signed: tuple[Attribute, ...]
    signed_der: bytes
    unsigned: tuple[Attribute, ...]
    signed_values: Mapping[str, tuple[bytes, ...]]

    def values(self, oid: str) -> tuple[bytes, ...]:
        return self.signed_values.get(oid, ())


def open_signatures(
    blob: bytes,
    read_slots: SlotReader,
    *,
    label: str = "1",
    uniform_digest: bool = False,
    depth: int = 0,
) -> tuple[ClaimedSignature, ...]:
    """Return every signature in a SignedData, nested ones included.

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
        info = _signer_info(node, what)
        timestamps = _timestamps(what, data, info)
        claimed = _claim(what, data, info, label=own, slots=slots, timestamps=timestamps)
        if uniform_digest and slots and slots[0].algorithm != info.digest:
            claimed = _with_digest_conflict(claimed, slots[0].algorithm, info.digest)
        signatures.append(claimed)
        nested = [v for a in info.unsigned if a.oid == NESTED_SIGNATURE for v in a.values]
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


def read_signed_data(blob: bytes, what: str) -> _SignedData:
    """Read ContentInfo and SignedData (RFC 5652 3 and 5.1)."""
    outer = der.parse(blob, what).fields(what, 2)
    if outer[0].oid(what) != SIGNED_DATA or outer[1].tag != 0xA0:
        raise MalformedError(what, f"content type {outer[0].oid(what)}", "SignedData", "RFC 5652 3")
    inner = outer[1].children()
    if len(inner) != 1 or len(outer) != 2:
        raise MalformedError(what, "several contents", "one SignedData", "RFC 5652 3")
    fields = inner[0].fields(what, 4)
    content_type, content, versions = _content(fields[2], what)
    if fields[0].integer(what) not in versions:
        required = f"one of {sorted(versions)}"
        raise MalformedError(what, f"version {fields[0].integer()}", required, "RFC 5652 5.1")
    certificates: list[bytes] = []
    crls: list[bytes] = []
    ocsp: list[bytes] = []
    for field in fields[3:-1]:
        if field.tag == 0xA0:
            certificates += [node.raw for node in field.children() if node.tag == der.SEQUENCE]
        elif field.tag == 0xA1:
            _revocation(field, crls, ocsp, what)
        else:
            raise MalformedError(what, f"field {field.tag:#x}", "[0] or [1]", "RFC 5652 5.1")
    signers = fields[-1].fields(what, 1, der.SET)
    if len(certificates) > MAX_CERTIFICATES or len(signers) > MAX_SIGNERS:
        raise LimitError(
            what, f"{len(certificates)} certificates, {len(signers)} signers",
            f"at most {MAX_CERTIFICATES} and {MAX_SIGNERS}",
        )  # fmt: skip
    return _SignedData(
        digests=frozenset(digest_name(n, what) for n in fields[1].fields(what, 0, der.SET)),
        content_type=content_type,
        content=content,
        certificates=tuple(certificates),
        crls=tuple(crls),
        ocsp=tuple(ocsp),
        signers=tuple(signers),
        raw=blob,
    )


def _content(node: der.Node, what: str) -> tuple[str, bytes, frozenset[int]]:
    """Return content type, octets, and the versions of SignedData that go with their form.

    CMS wraps content in an OCTET STRING, PKCS#7 1.5 (so Authenticode) had ANY.
    """
    fields = node.fields(what, 1)
    content_type = fields[0].oid(what)
    if len(fields) == 1:
        return content_type, b"", _CMS_VERSIONS
    inner = fields[1].expect(0xA0, what).children()
    if len(inner) != 1 or len(fields) > 2:
        raise MalformedError(what, "several contents", "one eContent", "RFC 5652 5.2")
    if inner[0].tag in (der.OCTET_STRING, der.OCTET_STRING | 0x20):
        return content_type, inner[0].octets(what), _CMS_VERSIONS
    return content_type, inner[0].expect(der.SEQUENCE, what).content, _PKCS7_VERSIONS


def _revocation(field: der.Node, crls: list[bytes], ocsp: list[bytes], what: str) -> None:
    """Sort RevocationInfoChoices (RFC 5652 10.2.1) into CRLs and OCSP responses."""
    for node in field.children():
        if node.tag == der.SEQUENCE:
            crls.append(node.raw)
            continue
        parts = node.children()
        if node.tag == 0xA1 and len(parts) == 2 and parts[0].oid(what) == OCSP_RESPONSE:
            ocsp.append(parts[1].raw)


def _signer_info(node: der.Node, what: str) -> _SignerInfo:
    """Read one SignerInfo (RFC 5652 5.3)."""
    fields = node.fields(what, 5)
    version = 3 if fields[1].tag == 0x80 else 1
    if fields[0].integer(what) != version:
        found = f"version {fields[0].integer()}"
        raise MalformedError(what, found, f"version {version}", "RFC 5652 5.3")
    digest = digest_name(fields[2], what)
    rest = fields[3:]
    signed: tuple[Attribute, ...] = ()
    signed_der = b""
    if rest[0].tag == 0xA0:
        signed, signed_der = _attributes(rest[0], what), rest[0].der(der.SET)
        rest = rest[1:]
    if len(rest) < 2 or len(rest) > 3 or (len(rest) == 3 and rest[2].tag != 0xA1):
        raise MalformedError(what, f"{len(fields)} fields", "a SignerInfo", "RFC 5652 5.3")
    return _SignerInfo(
        signer=_signer_id(fields[1], what),
        digest=digest,
        algorithm=signature_algorithm(rest[0], digest, what),
        value=rest[1].octets(what),
        signed=signed,
        signed_der=signed_der,
        unsigned=_attributes(rest[2], what) if len(rest) == 3 else (),
        signed_values=_values(signed),
    )


def _values(attributes: tuple[Attribute, ...]) -> dict[str, tuple[bytes, ...]]:
    """Return all values by OID: an attribute may stand several times."""
    values: dict[str, tuple[bytes, ...]] = {}
    for attribute in attributes:
        values[attribute.oid] = values.get(attribute.oid, ()) + attribute.values
    return values


def _signer_id(node: der.Node, what: str) -> SignerId:
    if node.tag == 0x80:
        return SignerId(key_id=node.content)
    return kept(node, what, _issuer_and_serial)


def _issuer_and_serial(node: der.Node, what: str) -> SignerId:
    issuer, serial = node.fields(what, 2)[:2]
    return SignerId(issuer=issuer.raw, serial=serial.integer(what))


def _attributes(node: der.Node, what: str) -> tuple[Attribute, ...]:
    attributes = tuple(
        [
            _attribute(child, what)
            if child.data.startswith(_NEVER_REPEATED, child.start)
            else kept(child, what, _attribute)
            for child in node.children()
        ]
    )
    if len(attributes) > MAX_ATTRIBUTES:
        raise LimitError(what, f"{len(attributes)} attributes", f"at most {MAX_ATTRIBUTES}")
    return attributes


def _attribute(node: der.Node, what: str) -> Attribute:
    fields = node.fields(what, 2)
    values = fields[1].fields(what, 0, der.SET)
    return Attribute(oid=fields[0].oid(what), values=tuple([v.raw for v in values]))


def _claim(
    what: str,
    data: _SignedData,
    info: _SignerInfo,
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
    what: str, data: _SignedData, info: _SignerInfo, *, content_type_required: bool
) -> list[Finding]:
    """Check that signed attributes are there, each once, and name the content's type."""
    if not info.signed:
        if data.content_type == DATA:
            return []
        return [_attribute_rule(what, "no signed attributes", "some", "RFC 5652 5.3")]
    findings: list[Finding] = []
    needed = {MESSAGE_DIGEST, CONTENT_TYPE} if content_type_required else {MESSAGE_DIGEST}
    single = [a.oid for a in info.signed if len(a.values) == 1]
    if len(single) != len(info.signed) or len(set(single)) != len(single) or needed - {*single}:
        findings = _miscounted(what, info, needed)
    types = info.values(CONTENT_TYPE)
    if types and (named := der.parse(types[0], what).oid(what)) != data.content_type:
        findings.append(
            _attribute_rule(what, f"contentType {named}", data.content_type, "RFC 5652 11.1")
        )
    return findings


def _miscounted(what: str, info: _SignerInfo, needed: AbstractSet[str]) -> list[Finding]:
    """Report attributes that must stand once and do not; others may hold what they like."""
    findings = []
    for oid, clause in _ONCE.items():
        attributes = [a for a in info.signed if a.oid == oid]
        count = sum(len(a.values) for a in attributes)
        if len(attributes) > 1 or count > 1 or count < (1 if oid in needed else len(attributes)):
            found = f"{count} values of {oid} in {len(attributes)} attributes"
            findings.append(_attribute_rule(what, found, "exactly one", clause))
    return findings


def _check_algorithms(what: str, data: _SignedData, info: _SignerInfo) -> list[Finding]:
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


def _content_binding(what: str, data: _SignedData, info: _SignerInfo) -> tuple[Binding, ...]:
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


def _signing_time(what: str, info: _SignerInfo) -> datetime | None:
    times = info.values(SIGNING_TIME)
    return der.parse(times[0], what).time(what) if times else None


def _certificate_digests(what: str, info: _SignerInfo) -> tuple[tuple[str, bytes], ...]:
    """Return the first ESSCertID of each signing-certificate attribute (RFC 5035)."""
    digests = []
    for oid, default in ((SIGNING_CERTIFICATE, "sha1"), (SIGNING_CERTIFICATE_V2, "sha256")):
        for value in info.values(oid):
            ids = der.parse(value, what).fields(what, 1)[0].fields(what, 1)
            fields, algorithm = ids[0].fields(what, 1), default
            if oid == SIGNING_CERTIFICATE_V2 and fields[0].tag == der.SEQUENCE:
                fields = ids[0].fields(what, 2)
                algorithm, fields = digest_name(fields[0], what), fields[1:]
            digests.append((algorithm, fields[0].octets(what)))
    return tuple(digests)


def _unauthenticated(what: str, info: _SignerInfo) -> list[Finding]:
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


def _timestamps(what: str, data: _SignedData, info: _SignerInfo) -> tuple[ClaimedTimestamp, ...]:
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
    label: str, value: bytes, parent: _SignedData, subject_value: bytes
) -> ClaimedTimestamp:
    """Read a PKCS#9 countersignature (RFC 5652 11.4): a SignerInfo over the signature value."""
    info = _signer_info(der.parse(value, label), label)
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
    info = _signer_info(der.parse(value, what), what)
    data = _SignedData(
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


def _token(label: str, value: bytes, parent: _SignedData, subject_value: bytes) -> ClaimedTimestamp:
    """Read an RFC 3161 token; ``parent`` lends its certificates where the token has none."""
    data = read_signed_data(value, label)
    if not data.certificates:
        data = replace(data, certificates=parent.certificates)
    if data.content_type != TST_INFO:
        raise MalformedError(label, f"content {data.content_type}", "TSTInfo", "RFC 3161 2.4.2")
    if len(data.signers) != 1:
        raise MalformedError(label, f"{len(data.signers)} signers", "one", "RFC 3161 2.4.2")
    info = _signer_info(data.signers[0], label)
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
