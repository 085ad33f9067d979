"""Records as SARIF 2.1.0 (OASIS): one result per finding that is more than a note.

Rules are the cause codes; each carries the ATT&CK techniques it speaks for as tags.
Accepted files yield a result only where a finding warns.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO
from urllib.parse import quote

from signward import __version__
from signward.findings import WINDOWS_NAMES, Code, Effect
from signward.policy.record import FindingRecord, Record, one_line
from signward.report import attack
from signward.report.causes import CAUSES
from signward.report.display import visible

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)

_LEVELS = {Effect.REJECT: "error", Effect.UNKNOWN: "warning", Effect.WARN: "warning"}
_RULES = {code.value: index for index, code in enumerate(Code)}


def write(records: Iterable[Record], out: BinaryIO) -> None:
    """Write one SARIF log with one run."""
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [_run(records)]}
    out.write(json.dumps(log, ensure_ascii=True, separators=(",", ":"), sort_keys=True).encode())
    out.write(b"\n")


def _run(records: Iterable[Record]) -> dict[str, Any]:
    return {
        "tool": {
            "driver": {
                "name": "Signward",
                "semanticVersion": _semantic(__version__),
                "rules": [_rule(code) for code in Code],
            }
        },
        "columnKind": "unicodeCodePoints",
        "results": [result for record in records for result in results(record)],
    }


def _semantic(version: str) -> str:
    """Return a PEP 440 version as semantic versioning writes it (1.0.dev0 is 1.0-dev0)."""
    return version.replace(".dev", "-dev")


def _rule(code: Code) -> dict[str, Any]:
    properties: dict[str, Any] = {"tags": ["security", "code-signing", *_tags(code)]}
    if code in WINDOWS_NAMES:
        properties["windowsName"] = WINDOWS_NAMES[code]
    words = code.value.replace("-", " ")
    return {
        "id": code.value,
        "name": "".join(part.title() for part in code.value.split("-")),
        "shortDescription": {"text": f"Code signature: {words}"},
        "fullDescription": {"text": CAUSES[code].meaning},
        "help": {"text": CAUSES[code].fix},
        "properties": properties,
    }


def _tags(code: Code) -> Iterator[str]:
    """Yield the techniques a cause speaks for whatever file bears it."""
    if code in attack.BROKEN:
        yield from ("external/attack/T1036.001", "external/attack/T1554")
    elif code is Code.UNSIGNED:
        yield from ("external/attack/T1059.001", "external/attack/T1543.003")
    elif code in attack.INVALID:
        yield "external/attack/T1036.001"


def results(record: Record) -> Iterator[dict[str, Any]]:
    """Yield a SARIF result per finding whose effect is more than a note."""
    techniques = attack.touched(record)
    for finding in record.findings:
        if finding.effect is not Effect.NOTE:
            yield _result(record, finding, techniques)


def _result(record: Record, finding: FindingRecord, techniques: tuple[str, ...]) -> dict[str, Any]:
    message = visible(one_line(finding))
    if finding.hint:
        message = f"{message}. Hint: {visible(finding.hint)}"
    physical: dict[str, Any] = {"artifactLocation": {"uri": _uri(record)}}
    if finding.offset is not None and finding.offset >= 0:
        physical["region"] = {"byteOffset": finding.offset, "byteLength": 0}
    properties: dict[str, Any] = {
        "outcome": record.outcome.value,
        "decided": _decided(record, finding),
    }
    if techniques:
        properties["tags"] = [f"external/attack/{technique}" for technique in techniques]
    return {
        "ruleId": finding.code,
        **({"ruleIndex": _RULES[finding.code]} if finding.code in _RULES else {}),
        "level": _LEVELS[finding.effect],
        "kind": "fail",
        "message": {"text": message},
        "locations": [{"physicalLocation": physical}],
        "partialFingerprints": {"signward/v1": _fingerprint(record, finding)},
        "properties": properties,
    }


def _decided(record: Record, finding: FindingRecord) -> bool:
    return finding is record.deciding


def _uri(record: Record) -> str:
    """Return the path as a URI reference (RFC 3986); octets that are no UTF-8 by their value."""
    exact = bytes.fromhex(record.subject_hex) if record.subject_hex else record.subject.encode()
    path = quote(exact, safe="/!~")
    return f"file://{path}" if path.startswith("/") else path


def _fingerprint(record: Record, finding: FindingRecord) -> str:
    """Return what stays the same for one finding in one file, whatever else changes."""
    parts = (record.subject, finding.code, finding.subject)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
