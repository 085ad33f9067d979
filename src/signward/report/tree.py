"""A file's signatures as a tree: what they claim, and how far each claim holds.

``tree`` gives plain data (the JSON of ``signward show --json``), ``text`` draws it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from signward.errors import BadInputError
from signward.policy.record import (
    CertificateRecord,
    Record,
    SignatureRecord,
    certificate_record,
    claimed_signer,
    safe_text,
)
from signward.report.display import minute, visible
from signward.state import (
    Attribute,
    ClaimedSignature,
    ClaimedTimestamp,
    SignedArtifact,
    Slot,
)
from signward.wire import der

Branch = dict[str, Any]

SHOWN_OCTETS = 20
"""Octets of an attribute's value shown in hex before it is cut (a SHA-1 digest fits)."""

NAMES = {
    "1.2.840.113549.1.7.1": "data",
    "1.2.840.113549.1.9.3": "contentType",
    "1.2.840.113549.1.9.4": "messageDigest",
    "1.2.840.113549.1.9.5": "signingTime",
    "1.2.840.113549.1.9.6": "counterSignature",
    "1.2.840.113549.1.9.15": "smimeCapabilities",
    "1.2.840.113549.1.9.16.1.4": "TSTInfo",
    "1.2.840.113549.1.9.16.2.12": "signingCertificate",
    "1.2.840.113549.1.9.16.2.14": "timeStampToken",
    "1.2.840.113549.1.9.16.2.16": "commitmentTypeIndication",
    "1.2.840.113549.1.9.16.2.47": "signingCertificateV2",
    "1.2.840.113549.1.9.16.6.1": "proofOfOrigin",
    "1.2.840.113549.1.9.16.6.2": "proofOfReceipt",
    "1.2.840.113549.1.9.25.3": "randomNonce",
    "1.2.840.113549.1.9.25.4": "sequenceNumber",
    "1.2.840.113549.1.9.52": "cmsAlgorithmProtection",
    "1.3.6.1.4.1.311.2.1.4": "SpcIndirectDataContent",
    "1.3.6.1.4.1.311.2.1.10": "SpcSpAgencyInfo",
    "1.3.6.1.4.1.311.2.1.11": "SpcStatementType",
    "1.3.6.1.4.1.311.2.1.12": "SpcSpOpusInfo",
    "1.3.6.1.4.1.311.2.1.21": "individualCodeSigning",
    "1.3.6.1.4.1.311.2.1.22": "commercialCodeSigning",
    "1.3.6.1.4.1.311.2.4.1": "nestedSignature",
    "1.3.6.1.4.1.311.84.2.1.1.1": "nugetV3ServiceIndexUrl",
    "1.3.6.1.4.1.311.84.2.1.1.2": "nugetPackageOwners",
    "1.3.6.1.4.1.311.2.4.2": "intentToSeal",
    "1.3.6.1.4.1.311.2.4.3": "sealingSignature",
    "1.3.6.1.4.1.311.2.4.4": "sealingTimestamp",
    "1.3.6.1.4.1.311.3.2.1": "timestampRequest",
    "1.3.6.1.4.1.311.3.3.1": "rfc3161Token",
    "1.3.6.1.4.1.311.10.1": "certificateTrustList",
    "1.3.6.1.4.1.311.10.3.28": "platformManifestBinaryId",
}
"""Object identifiers met in signatures, by the name their document gives them."""

OPUS_INFO = "1.3.6.1.4.1.311.2.1.12"

_STRINGS = frozenset({der.UTF8_STRING, der.PRINTABLE_STRING, der.IA5_STRING, der.BMP_STRING})


def tree(artifact: SignedArtifact | None, verdict: Record) -> Branch:
    """Return the tree of ``artifact`` as plain data; ``verdict`` says what holds.

    ``artifact`` is None when the bytes could not be parsed: the findings say why.
    """
    branch: Branch = {
        "file": verdict.subject,
        "format": verdict.format or verdict.kind,
        "outcome": verdict.outcome.value,
        "cause": verdict.cause,
        "publisher": msgspec.to_builtins(verdict.publisher),
        "digests": verdict.digests,
    }
    if verdict.unruled is not None:
        branch["policy"] = verdict.rule
    if artifact is not None:
        judged = {signature.label: signature for signature in verdict.signatures}
        branch["facts"] = _facts(artifact)
        branch["not covered"] = [
            {"start": r.start, "end": r.end, "what": r.what, "exempt": r.exempt}
            for r in artifact.regions
        ]
        branch["endorsements"] = _endorsements(artifact)
        branch["signatures"] = _nested(artifact.signatures, judged, "")
    branch["findings"] = [msgspec.to_builtins(finding) for finding in verdict.findings]
    return branch


def _facts(artifact: SignedArtifact) -> Branch:
    facts = sorted(artifact.facts.items())
    return {name: safe_text(value) if isinstance(value, str) else value for name, value in facts}


def _endorsements(artifact: SignedArtifact) -> list[Branch]:
    counts = Counter((e.kind, e.algorithm) for e in artifact.endorsements)
    return [{"kind": k, "algorithm": a, "count": n} for (k, a), n in sorted(counts.items())]


def _nested(
    signatures: Iterable[ClaimedSignature], judged: Mapping[str, SignatureRecord], parent: str
) -> list[Branch]:
    """Return the signatures directly below ``parent`` (label "1.2" lies below "1")."""
    every = tuple(signatures)
    branches = []
    for claimed in every:
        if claimed.label.rpartition(".")[0] == parent:
            branch = _signature(claimed, judged.get(claimed.label))
            branch["nested"] = _nested(every, judged, claimed.label)
            branches.append(branch)
    return branches


def _signature(claimed: ClaimedSignature, judged: SignatureRecord | None) -> Branch:
    signer = judged.signer if judged else claimed_signer(claimed)
    branch: Branch = {
        "label": claimed.label,
        "state": judged.state if judged else "claimed",
        "envelope": claimed.envelope,
        "algorithm": str(claimed.algorithm),
        "quantum": _quantum(judged),
        "value octets": len(claimed.value),
        "signer": msgspec.to_builtins(signer),
        "content type": _named(claimed.content_type),
        "digests": [_slot(slot) for slot in claimed.slots if not slot.is_page],
        "page hashes": _page_hashes(claimed.slots),
    }
    if judged and judged.path:
        branch["path"] = msgspec.to_builtins(judged.path)
    if judged and judged.proven_time:
        branch["proven time"] = msgspec.to_builtins(judged.proven_time.instant)
    branch["claimed time"] = msgspec.to_builtins(claimed.claimed_time)
    states = [stamp.state for stamp in judged.timestamps] if judged else []
    branch["timestamps"] = [
        _timestamp(stamp, states[index] if index < len(states) else "claimed")
        for index, stamp in enumerate(claimed.timestamps)
    ]
    branch["signed attributes"] = [_attribute(a) for a in claimed.signed_attributes]
    branch["unsigned attributes"] = [_attribute(a) for a in claimed.unsigned_attributes]
    branch["certificates"] = [
        msgspec.to_builtins(certificate_record(raw)) for raw in claimed.claimed_certificates
    ]
    return branch


def _quantum(judged: SignatureRecord | None) -> str | None:
    """Say whether the signature would survive an adversary with a quantum computer."""
    if judged is None:
        return None
    return "would survive" if judged.quantum_safe else "would not survive a quantum adversary"


def _slot(slot: Slot) -> Branch:
    return {
        "slot": safe_text(slot.name),
        "algorithm": slot.algorithm,
        "digest": slot.digest.hex(),
    }


def _page_hashes(slots: Iterable[Slot]) -> Branch | None:
    pages = [slot for slot in slots if slot.is_page]
    return {"algorithm": pages[0].algorithm, "count": len(pages)} if pages else None


def _timestamp(stamp: ClaimedTimestamp, state: str) -> Branch:
    signature = stamp.signature
    return {
        "kind": stamp.kind,
        "state": state,
        "time": msgspec.to_builtins(stamp.claimed_time),
        "accuracy seconds": stamp.accuracy_seconds,
        "policy": stamp.policy,
        "serial": f"{stamp.serial:x}" if stamp.serial else "",
        "imprint": stamp.imprint.algorithm if stamp.imprint else "",
        "algorithm": str(signature.algorithm) if signature else "",
        "signer": msgspec.to_builtins(claimed_signer(signature)) if signature else None,
        "certificates": len(signature.claimed_certificates) if signature else 0,
    }


def _named(oid: str) -> str:
    return f"{NAMES[oid]} ({oid})" if oid in NAMES else oid


def _attribute(attribute: Attribute) -> Branch:
    return {
        "oid": attribute.oid,
        "name": NAMES.get(attribute.oid, ""),
        "values": [_value(attribute.oid, value) for value in attribute.values],
    }


def _value(oid: str, value: bytes) -> str:
    """Return a short readable form of an attribute's value."""
    tell = _opus if oid == OPUS_INFO else _told
    try:
        told = list(tell(der.parse(value, "attribute")))
    except BadInputError:
        told = []
    if told:
        return safe_text(", ".join(told))
    digest = hashlib.sha256(value).hexdigest()[:16]
    return f"{len(value)} octets, SHA-256 {digest}..."


def _told(node: der.Node) -> Iterator[str]:
    """Yield what is short and readable in an attribute: digests, times, names, strings."""
    if node.tag == der.OCTET_STRING:
        content = node.content
        cut = "..." if len(content) > 4 * SHOWN_OCTETS else ""
        yield content[: 4 * SHOWN_OCTETS].hex() + cut
    elif node.tag == der.OID:
        yield _named(node.oid())
    elif node.tag in (der.UTC_TIME, der.GENERALIZED_TIME):
        yield minute(node.time("time"))
    elif node.tag in _STRINGS:
        yield node.text()
    elif node.tag == der.SEQUENCE and node.end - node.start <= 4 * SHOWN_OCTETS:
        for child in node.children():
            yield from _told(child)


def _opus(node: der.Node) -> Iterator[str]:
    """Yield the program's name and address in SpcSpOpusInfo (MS Authenticode)."""
    for field in node.fields("SpcSpOpusInfo"):
        for choice in field.children():
            wide = field.tag == 0xA0 and choice.tag == 0x80
            yield choice.content.decode("utf-16-be" if wide else "latin-1", "replace")


CERTIFICATE_FIELDS = frozenset(CertificateRecord.__struct_fields__)

_GLYPHS = {True: ("├─ ", "└─ ", "│  ", "   "), False: ("|- ", "`- ", "|  ", "   ")}


def text(branch: Branch, *, unicode: bool = True) -> str:
    """Return ``branch`` drawn as a tree; empty parts are left out.

    ``unicode`` False draws with ASCII alone, and writes every other character out.
    """
    lines = [_ascii(visible(str(branch["file"])), unicode=unicode)]
    entries = [(k, v) for k, v in branch.items() if k != "file"]
    lines += _draw(_entries(entries), "", unicode=unicode)
    return "\n".join(lines)


def _ascii(line: str, *, unicode: bool) -> str:
    return line if unicode else line.encode("ascii", "backslashreplace").decode()


Entry = tuple[str, list[Any]]
"""A line of the tree and the entries below it."""


def _draw(entries: list[Entry], indent: str, *, unicode: bool) -> Iterator[str]:
    tee, corner, bar, blank = _GLYPHS[unicode]
    for index, (line, below) in enumerate(entries):
        last = index == len(entries) - 1
        yield indent + (corner if last else tee) + _ascii(line, unicode=unicode)
        yield from _draw(below, indent + (blank if last else bar), unicode=unicode)


def _entries(pairs: Iterable[tuple[str, Any]]) -> list[Entry]:
    return [
        entry for name, value in pairs if value not in (None, "", [], {}, 0)
        for entry in _entry(name, value)
    ]  # fmt: skip


def _entry(name: str, value: Any) -> Iterator[Entry]:
    name = name.replace("_", " ")
    if isinstance(value, Mapping):
        yield _mapping(name, value)
    elif isinstance(value, list | tuple):
        items = [entry for item in value for entry in _item(name, item)]
        yield f"{name} ({len(value)})", items
    else:
        yield f"{name}: {visible(str(value))}", []


def _mapping(name: str, value: Mapping[str, Any]) -> Entry:
    if not name and _is_certificate(value):
        return _certificate_line(value), []
    title, used = _title(value)
    rest = [(k, v) for k, v in value.items() if k not in used]
    return (f"{name}: {title}" if name and title else name or title), _entries(rest)


def _is_certificate(value: Mapping[str, Any]) -> bool:
    return "sha256" in value and set(value) <= CERTIFICATE_FIELDS


def _certificate_line(value: Mapping[str, Any]) -> str:
    """Return a certificate of a list in one line; its serial and issuer are in the JSON."""
    parts = [f"sha256 {value['sha256']}"]
    if value["not_before"] and value["not_after"]:
        parts.append(f"{value['not_before'][:10]} to {value['not_after'][:10]}")
    if value["revocation"]:
        parts.append(f"revocation {value['revocation']['status']}")
    return f"{visible(value['subject']) or 'unreadable certificate'} ({', '.join(parts)})"


def _item(name: str, item: Any) -> Iterator[Entry]:
    if isinstance(item, Mapping):
        yield _mapping("" if _title(item)[0] else name, item)
    else:
        yield visible(str(item)), []


def _title(value: Mapping[str, Any]) -> tuple[str, frozenset[str]]:
    """Return what names a branch in one line, and the fields that line already tells."""
    get = {key: visible(str(item)) for key, item in value.items() if isinstance(item, str | int)}
    if "label" in value:
        return f"signature {get['label']}: {get['state']}", frozenset({"label", "state"})
    if "slot" in value:
        return f"{get['slot']} {get['algorithm']} {get['digest']}", frozenset(value)
    if "oid" in value:
        values = value["values"]
        title = f"{get['name'] or get['oid']}" + (f" ({get['oid']})" if get["name"] else "")
        if len(values) == 1:
            return f"{title}: {visible(values[0])}", frozenset(value)
        return title, frozenset({"oid", "name"})
    if "code" in value:
        return f"{get['effect']} {get['code']}", frozenset({"effect", "code"})
    if _is_certificate(value):
        return get["subject"] or "unreadable certificate", frozenset({"subject"})
    if "kind" in value and "state" in value:
        return f"{get['kind']}: {get['state']}", frozenset({"kind", "state"})
    if "count" in value:
        kind = get.get("kind", "")
        return f"{get['count']} {kind} {get['algorithm']}".replace("  ", " "), frozenset(value)
    if "what" in value:
        why = f", exempt by {get['exempt']}" if get["exempt"] else ", not exempt"
        return f"{get['what']} at {get['start']} to {get['end']}{why}", frozenset(value)
    return get.get("name", "") or get.get("anchor", ""), frozenset({"name", "anchor"})
