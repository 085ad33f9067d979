"""Verdicts as text: one line per file, and every finding when asked to explain."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TextIO

from signward.findings import Effect
from signward.policy.record import FindingRecord, Record, one_line
from signward.report.display import (
    listing,
    minute,
    outcome_word,
    publisher_name,
    signed_when,
    visible,
)
from signward.state import Outcome

_COLOURS = {Outcome.ACCEPTED: "32", Outcome.REJECTED: "31", Outcome.INDETERMINATE: "33"}
_EFFECT_COLOURS = {Effect.REJECT: "31", Effect.UNKNOWN: "33", Effect.WARN: "33", Effect.NOTE: "2"}
_WIDTH = 13
"""Columns of the longest outcome, INDETERMINATE."""


def wants_colour(stream: TextIO) -> bool:
    """Say whether ``stream`` is a terminal that takes colour (no-color.org, TERM=dumb)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def line(record: Record, *, colour: bool = False) -> str:
    """Return the one line about a file, without a line ending."""
    word = outcome_word(record).ljust(_WIDTH)
    if colour:
        word = f"\x1b[{_COLOURS[record.outcome]}m{word}\x1b[0m"
    subject = visible(record.subject)
    if record.outcome is Outcome.ACCEPTED:
        when = signed_when(record)
        return listing((word, subject, visible(publisher_name(record)), when and f"[{when}]"))
    windows = f" [{record.windows_name}]" if record.windows_name else ""
    return f"{word}  {subject}: {record.cause}{windows} - {_why(record)}"


def _why(record: Record) -> str:
    """Return the deciding fact without the file's name, which the line already bears."""
    finding = record.deciding
    if finding is None:
        return visible(record.message) or f"decided by {visible(record.rule)}"
    clause = f" ({finding.clause})" if finding.clause else ""
    place = f" at offset {finding.offset}" if finding.offset is not None else ""
    text = f"found {finding.found}{place}, required {finding.required}{clause}"
    known = finding.subject in (record.subject, "artifact", "file", "")
    return visible(text if known else f"{finding.subject}: {text}")


def explain(record: Record, *, colour: bool = False) -> str:
    """Return the line about a file, then its facts and every finding, gravest first."""
    lines = [line(record, colour=colour)]
    lines += [f"    {text}" for text in _facts(record)]
    gravity = list(Effect)
    for finding in sorted(record.findings, key=lambda f: -gravity.index(f.effect)):
        lines += _explained(finding, colour=colour)
    return "\n".join(lines)


def _facts(record: Record) -> Iterable[str]:
    yield f"judged at {minute(record.at)} by {visible(record.rule)}"
    for name, digest in sorted(record.digests.items()):
        yield f"{name} {digest}"
    for signature in record.signatures:
        signer = visible(signature.signer.subject) if signature.signer else "an unknown signer"
        time = signature.proven_time
        when = f", proven by {minute(time.instant)} ({visible(time.authority)})" if time else ""
        yield (
            f"signature {visible(signature.label)}: {signature.state}, "
            f"{signature.algorithm}, {signer}{when}"
        )


def _explained(finding: FindingRecord, *, colour: bool) -> list[str]:
    effect = finding.effect.value
    if colour:
        effect = f"\x1b[{_EFFECT_COLOURS[finding.effect]}m{effect}\x1b[0m"
    lines = [f"  {effect}  {finding.code}: {visible(one_line(finding))}"]
    if finding.hint:
        lines.append(f"    hint: {visible(finding.hint)}")
    return lines


def write(
    records: Iterable[Record], out: TextIO, *, details: bool = False, colour: bool | None = None
) -> None:
    """Write one line per record (with ``details`` every finding too) to ``out``."""
    shade = wants_colour(out) if colour is None else colour
    for record in records:
        text = explain(record, colour=shade) if details else line(record, colour=shade)
        out.write(text + "\n")
