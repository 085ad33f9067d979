"""Microsoft Defender for Endpoint: DeviceEvents of App Control, exported from advanced hunting.

Sources: "Query App Control events with advanced hunting", "DeviceEvents" (Microsoft Learn).  What
the columns do not have stands in ``AdditionalFields`` (JSON), unless the query made columns of it;
both are read.  ``SHA256`` of an image is what Code Integrity computed, an Authenticode digest, and
of a script nobody says what; ``FolderPath`` is the folder, in some versions with the file.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from signward.errors import LimitError, MalformedError
from signward.inventory.audited.lines import lines_of
from signward.inventory.audited.windows import Correlator, Event, Sort, first, folded
from signward.policy.rules.subject import Subject

MAX_ROWS = 5_000_000
"""Advanced hunting exports at most 100,000 at a time; several may have been joined."""

_SORTS: Mapping[str, Sort] = {
    "AppControlCodeIntegrityPolicyAudited": Sort.IMAGE,
    "AppControlCodeIntegrityPolicyBlocked": Sort.IMAGE,
    "AppControlCodeIntegritySigningInformation": Sort.SIGNATURE,
    "AppControlCIScriptAudited": Sort.SCRIPT,
    "AppControlCIScriptBlocked": Sort.SCRIPT,
}
_NEEDED = ("actiontype", "devicename")


def is_mine(head: bytes) -> bool:
    """Say whether a file begins with the header of an export."""
    header = head.partition(b"\n")[0].decode("utf-8-sig", "replace")
    names = {name.strip().strip('"').casefold() for name in header.split(",")}
    return names.issuperset(_NEEDED)


def read(path: Path) -> Iterator[Subject]:
    """Yield the files that an export tells of.  Raises ``MalformedError`` and ``LimitError``."""
    correlator = Correlator()
    for row in _rows(path):
        event = _event(row)
        if event is not None:
            yield from correlator.add(event)
    yield from correlator.rest()


def _rows(path: Path) -> Iterator[Mapping[str, object]]:
    lines = lines_of(path)
    header = next(lines, "").removeprefix("\ufeff")
    try:
        names = next(csv.reader([header], strict=True))
        for number, row in enumerate(csv.reader(_joined(lines), strict=True)):
            if number >= MAX_ROWS:
                raise LimitError(str(path), "more rows", f"at most {MAX_ROWS}")
            if len(row) > len(names):
                raise MalformedError(
                    str(path), f"{len(row)} columns", f"{len(names)}, the header's"
                )
            yield {name: value for name, value in zip(names, row, strict=False) if value}
    except csv.Error as error:
        raise MalformedError(str(path), str(error), "CSV (RFC 4180)") from None


def _joined(lines: Iterator[str]) -> Iterator[str]:
    """Yield lines with ends of their own, for values that have line ends inside."""
    return (line + "\n" for line in lines)


def _event(row: Mapping[str, object]) -> Event | None:
    fields = folded(row)
    sort = _SORTS.get(fields.get("actiontype", ""))
    if sort is None:
        return None
    fields = _additional(fields.pop("additionalfields", "")) | fields
    for algorithm in ("sha1", "sha256"):
        if algorithm in fields and sort is Sort.IMAGE:
            fields[f"{algorithm}hash"] = fields.pop(algorithm)
    if sort is not Sort.SIGNATURE:
        fields["filename"] = _whole_path(fields)
    activity = first(fields, "etwactivityid", "etwcorrelationid")
    return Event(sort=sort, host=fields.get("devicename", "")[:255], activity=activity,
                 fields=fields)  # fmt: skip


def _additional(text: str) -> dict[str, str]:
    try:
        value = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return folded(value) if isinstance(value, dict) else {}


def _whole_path(fields: Mapping[str, str]) -> str:
    folder, name = fields.get("folderpath", ""), fields.get("filename", "")
    if not folder or not name:
        return folder or name
    if folder.casefold().endswith("\\" + name.casefold()):
        return folder
    return folder.rstrip("\\") + "\\" + name
