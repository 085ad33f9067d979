"""The HTML report's data: records as columns over interned tables.

Fifty thousand records share few findings, certificates and publishers; each is
stored once and referred to by number.  Every text is made visible on the way in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from signward.policy.record import (
    CertificateRecord,
    FindingRecord,
    PathRecord,
    Record,
    SignatureRecord,
)
from signward.report import attack
from signward.report.display import publisher_name, signer_name, telling_signature, visible
from signward.state import Outcome

OUTCOMES = {Outcome.REJECTED: 0, Outcome.INDETERMINATE: 1, Outcome.ACCEPTED: 2}
"""Numbers of the outcomes: what needs a look sorts first."""

_IN_SCRIPT = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}
"""Characters that could end or reopen the script element (HTML, 4.12.1.3)."""


class Table:
    """Values stored once, by number, in the order they came."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._numbers: dict[Any, int] = {}

    def number(self, key: Any, shown: Callable[[Any], Any] = lambda key: key) -> int:
        """Return the number of ``key``; when it is new, store it as ``shown`` gives it."""
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.values)
            self.values.append(shown(key))
        return number


def _seconds(instant: datetime | None) -> int | None:
    return None if instant is None else int(instant.timestamp())


def _ranks(texts: list[str]) -> list[int]:
    """Return each text's place in the order people expect: case apart, then exact."""
    ranks = [0] * len(texts)
    for rank, index in enumerate(
        sorted(range(len(texts)), key=lambda i: (texts[i].casefold(), texts[i]))
    ):
        ranks[index] = rank
    return ranks


def _common_folder(paths: list[str]) -> str:
    """Return the folder all paths lie in, with its slash; empty if there is none."""
    if not paths:
        return ""
    low, high = min(paths), max(paths)
    same = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
    return low[: low.rfind("/", 0, same) + 1]


class Payload:
    """Collects records and gives them back as one JSON text for the page."""

    def __init__(self) -> None:
        self._strings = Table()
        self._findings = Table()
        self._certificates = Table()
        self._string("")
        names = ("path", "outcome", "stage", "cause", "publisher", "kind")
        self._columns: dict[str, list[Any]] = {
            name: [] for name in (*names, "time", "size", "attack", "digests")
        }
        self._details: list[dict[str, Any]] = []

    def _string(self, text: str) -> int:
        return self._strings.number(text, visible)

    def add(self, record: Record) -> None:
        """Take one record in."""
        signature = telling_signature(record)
        proven = signature.proven_time if signature else None
        touched = attack.touched(record)
        bits = sum(1 << bit for bit, t in enumerate(attack.TECHNIQUES) if t.id in touched)
        values = {
            "path": visible(record.subject),
            "outcome": OUTCOMES[record.outcome],
            "stage": self._string(record.stage.value),
            "cause": self._string(record.cause or ""),
            "publisher": self._string(publisher_name(record)),
            "kind": self._string(record.kind or "unknown"),
            "time": _seconds(proven.instant if proven else None),
            "size": -1 if record.size is None else record.size,
            "attack": bits,
            "digests": [[self._string(n), d] for n, d in sorted(record.digests.items())],
        }
        for name, value in values.items():
            self._columns[name].append(value)
        self._details.append(self._detail(record))

    def _detail(self, record: Record) -> dict[str, Any]:
        s = self._string
        return {
            "windows": s(record.windows_name),
            "message": s(record.message),
            "identity": s(record.publisher.identity if record.publisher else ""),
            "format": s(record.format),
            "container": s(record.container),
            "rule": s(record.rule),
            "at": _seconds(record.at),
            "facts": [[s(name), s(str(value))] for name, value in sorted(record.facts.items())],
            "findings": [self._finding(finding) for finding in record.findings],
            "signatures": [self._signature(signature) for signature in record.signatures],
        }

    def _finding(self, f: FindingRecord) -> int:
        texts = (f.code, f.effect.value, f.subject, f.found, f.required, f.clause, f.hint)
        key = (*map(self._string, texts), -1 if f.offset is None else f.offset)
        return self._findings.number(key)

    def _certificate(self, c: CertificateRecord) -> int:
        key = (
            *map(self._string, (c.subject, c.serial, c.sha256)),
            _seconds(c.not_before),
            _seconds(c.not_after),
        )
        return self._certificates.number(key)

    def _path(self, path: PathRecord | None) -> list[list[int]] | None:
        if path is None:
            return None
        return [
            [self._certificate(c), self._string(c.revocation.status.value if c.revocation else "")]
            for c in path.certificates
        ]

    def _signature(self, signature: SignatureRecord) -> dict[str, Any]:
        s, path, proven = self._string, signature.path, signature.proven_time
        return {
            "label": s(signature.label),
            "state": s(signature.state),
            "state_trusted": signature.state == "trusted",
            "digest": s(signature.digest),
            "algorithm": s(signature.algorithm),
            "quantum": signature.quantum_safe,
            "pages": signature.page_hashes,
            "signer": s(signer_name(signature)),
            "path": self._path(path),
            "anchor": s(path.anchor if path else ""),
            "store": s(path.store if path else ""),
            "proven": proven and [_seconds(proven.instant), s(proven.kind), s(proven.authority)],
            "claimed": _seconds(signature.claimed_time),
            "judged_at": _seconds(signature.judged_at),
            "stamps": [
                [s(t.kind), s(t.state), _seconds(t.time), s(t.authority)]
                for t in signature.timestamps
            ],
        }

    def json(self) -> str:
        """Return the data as JSON that may stand inside a script element."""
        body: Mapping[str, Any] = {
            "root": _common_folder(self._columns["path"]),
            "columns": self._columns,
            "details": self._details,
            "strings": self._strings.values,
            "findings": self._findings.values,
            "certificates": self._certificates.values,
            "techniques": [[t.id, t.name, t.speaks] for t in attack.TECHNIQUES],
            "ranks": {
                "path": _ranks(self._columns["path"]),
                "strings": _ranks(self._strings.values),
            },
        }
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
        return text.translate(_IN_SCRIPT)
