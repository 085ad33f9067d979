"""Verdicts as text: one line per file, and every finding when asked to explain.

A pipe gets exactly one line per file.  On a terminal, what does not fit is folded at
words and indented, so that the outcomes stay readable in the first column.
"""

from __future__ import annotations

import os
import re
import textwrap
from collections import Counter
from collections.abc import Iterable
from typing import TextIO

from signward.findings import GRAVITY, Effect
from signward.policy.case import LISTED_BY
from signward.policy.record import FindingRecord, Record, one_line
from signward.report.display import (
    listing,
    minute,
    outcome_word,
    publisher_name,
    quantity,
    signed_when,
    signer_name,
    visible,
)
from signward.state import Outcome

_COLOURS = {Outcome.ACCEPTED: "32", Outcome.REJECTED: "31", Outcome.INDETERMINATE: "33"}
_EFFECT_COLOURS = {Effect.REJECT: "31", Effect.UNKNOWN: "33", Effect.WARN: "33", Effect.NOTE: "2"}
_WIDTH = 13
"""Columns of the longest outcome, INDETERMINATE."""

_EFFECT_WIDTH = 7
"""Columns of the longest effect, unknown."""

_NARROWEST = 40
"""Columns of text that folding leaves at least: fewer are one word a line."""

_LONG_DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{20,}\b")
"""Hexadecimal of MD5's length or more; a file's one line tells its beginning."""


def wants_colour(stream: TextIO) -> bool:
    """Say whether ``stream`` is a terminal that takes colour (no-color.org, TERM=dumb)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def terminal_width(stream: TextIO) -> int:
    """Return the columns of the terminal ``stream`` is; 0, which folds nothing, elsewhere."""
    if not stream.isatty():
        return 0
    from shutil import get_terminal_size  # loads compressors

    return get_terminal_size().columns


def line(record: Record, *, colour: bool = False, width: int = 0) -> str:
    """Return the one line about a file, without a line ending; folded where ``width`` is not 0."""
    head = outcome_word(record).ljust(_WIDTH) + "  "
    text = _fold(head, _told(record), width)
    if not colour:
        return text
    return f"\x1b[{_COLOURS[record.outcome]}m{text[:_WIDTH]}\x1b[0m{text[_WIDTH:]}"


def _told(record: Record) -> str:
    subject = visible(record.subject)
    if record.outcome is Outcome.ACCEPTED:
        when = "not signed" if LISTED_BY in record.facts else signed_when(record)
        return listing((subject, visible(publisher_name(record)), when and f"[{when}]"))
    windows = f" [{record.windows_name}]" if record.windows_name else ""
    why = _LONG_DIGEST.sub(r"\1...", _why(record))
    return f"{subject}: {record.cause}{windows} - {why}"


def _fold(head: str, text: str, width: int, further: int = 0) -> str:
    """Return head and text; over ``width`` columns, text goes on below where it began.

    ``further`` columns to the right of that, even.  Words are never cut.
    """
    if not width or len(head) + len(text) <= width:
        return head + text
    lines = textwrap.wrap(
        text,
        max(width, len(head) + _NARROWEST),
        initial_indent=head,
        subsequent_indent=" " * (len(head) + further),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines)


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


def explain(record: Record, *, colour: bool = False, width: int = 0) -> str:
    """Return the line about a file, then its facts and every finding, gravest first."""
    lines = [line(record, colour=colour, width=width)]
    lines += [_fold("    ", text, width, 2) for text in _facts(record)]
    for finding in sorted(record.findings, key=lambda f: -GRAVITY[f.effect]):
        lines += _explained(finding, colour=colour, width=width)
    return "\n".join(lines)


def _facts(record: Record) -> Iterable[str]:
    yield f"judged at {minute(record.at)} by {visible(record.rule)}"
    for name, digest in sorted(record.digests.items()):
        yield f"{name} {digest}"
    for signature in record.signatures:
        signer = visible(signer_name(signature)) or "an unknown signer"
        time = signature.proven_time
        when = f", proven by {minute(time.instant)} ({visible(time.authority)})" if time else ""
        yield (
            f"signature {visible(signature.label)}: {signature.state}, "
            f"{signature.algorithm}, {signer}{when}"
        )


def _explained(finding: FindingRecord, *, colour: bool, width: int) -> list[str]:
    effect = finding.effect.value
    head = f"  {effect.ljust(_EFFECT_WIDTH)}  "
    told = _fold(head, f"{finding.code}: {visible(one_line(finding))}", width)
    if colour:
        told = told.replace(effect, f"\x1b[{_EFFECT_COLOURS[finding.effect]}m{effect}\x1b[0m", 1)
    if not finding.hint:
        return [told]
    return [told, _fold(" " * len(head), f"hint: {visible(finding.hint)}", width, len("hint: "))]


class Tally:
    """Counts of what several files came to."""

    def __init__(self) -> None:
        self._counts = Counter[tuple[str, str]]()

    def add(self, record: Record) -> None:
        """Count one record."""
        self._counts[outcome_word(record).lower(), record.cause or ""] += 1

    @property
    def files(self) -> int:
        """How many records were counted."""
        return self._counts.total()

    def __str__(self) -> str:
        """Return ``3 files: 2 accepted, 1 rejected (expired)``, the most frequent first."""
        words = Counter[str]()
        for (word, _), number in self._counts.items():
            words[word] += number
        told = (f"{number:,} {word}{self._causes(word)}" for word, number in words.most_common())
        return f"{quantity(self.files, 'file')}: {', '.join(told)}"

    def _causes(self, outcome: str) -> str:
        """Return an outcome's causes in brackets, counted where there are several."""
        causes = [
            (cause, number)
            for (word, cause), number in self._counts.most_common()
            if word == outcome and cause
        ]
        several = len(causes) > 1
        told = ", ".join(f"{n:,} {cause}" if several else cause for cause, n in causes)
        return f" ({told})" if told else ""


def write(
    records: Iterable[Record], out: TextIO, *, details: bool = False, colour: bool | None = None
) -> None:
    """Write one line per record (with ``details`` every finding too) to ``out``."""
    shade = wants_colour(out) if colour is None else colour
    tell, width = explain if details else line, terminal_width(out)
    out.writelines(tell(record, colour=shade, width=width) + "\n" for record in records)
