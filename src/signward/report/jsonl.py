"""Records as JSON: one document, or one line per file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO

from signward.policy.record import SCHEMA_VERSION, Record, to_json


def write_lines(records: Iterable[Record], out: BinaryIO) -> None:
    """Write JSON Lines: each line one record, UTF-8, ended by LF."""
    out.writelines(to_json(record) + b"\n" for record in records)


def write_document(records: Iterable[Record], out: BinaryIO) -> None:
    """Write one JSON object ``{"schema": 1, "records": [...]}``, a record per line."""
    out.write(b'{"schema":%d,"records":[' % SCHEMA_VERSION)
    separator = b"\n"
    for record in records:
        out.write(separator + to_json(record))
        separator = b",\n"
    out.write(b"\n]}\n")
