"""Records as CSV (RFC 4180), safe to open in a spreadsheet.

A cell that a spreadsheet would take for a formula is quoted by a leading
apostrophe (OWASP, CSV injection): file names are untrusted.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import BinaryIO

from signward.policy.record import Record
from signward.report import attack
from signward.report.display import publisher_name, telling_signature, visible

COLUMNS = (
    "subject", "container", "outcome", "stage", "cause", "windows_name", "message", "publisher",
    "identity", "kind", "format", "size", "sha256", "authentihash", "signatures", "algorithm",
    "proven_time", "claimed_time", "validation_time", "rule", "attack",
    "quantum_safe",
)  # fmt: skip

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "|", "%", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def guard(cell: str) -> str:
    """Return ``cell`` visible, and quoted by an apostrophe if it could start a formula."""
    shown = visible(cell)
    starts = cell.startswith(_FORMULA_STARTS) or shown.lstrip().startswith(_FORMULA_STARTS)
    return f"'{shown}" if starts else shown


def row(record: Record) -> tuple[str, ...]:
    """Return the cells of one record, in the order of ``COLUMNS``."""
    signature = telling_signature(record)
    proven = signature.proven_time.instant if signature and signature.proven_time else None
    claimed = signature.claimed_time if signature else None
    cells = (
        record.subject, record.container, record.outcome.value, record.stage.value,
        record.cause or "", record.windows_name, record.message,
        publisher_name(record),
        record.publisher.identity if record.publisher else "",
        record.kind, record.format, "" if record.size is None else str(record.size),
        record.digests.get("sha256", ""), _authentihash(record), str(len(record.signatures)),
        signature.algorithm if signature else "",
        proven.isoformat() if proven else "", claimed.isoformat() if claimed else "",
        record.at.isoformat(), record.rule, " ".join(attack.touched(record)),
        str(signature.quantum_safe).lower() if signature else "",
    )  # fmt: skip
    return tuple(map(guard, cells))


def _authentihash(record: Record) -> str:
    """Return the strongest digest of the PE image that a signature speaks of."""
    for name in ("image-sha512", "image-sha384", "image-sha256", "image-sha1", "image-md5"):
        if name in record.digests:
            return record.digests[name]
    return ""


def write(records: Iterable[Record], out: BinaryIO) -> None:
    """Write a header and one row per record, UTF-8, CRLF line ends."""
    text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
    try:
        writer = csv.writer(text, lineterminator="\r\n")
        writer.writerow(COLUMNS)
        writer.writerows(map(row, records))
    finally:
        text.detach()
