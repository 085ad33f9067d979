"""Summary pictures as inline SVG: widths in per cent, so that they fit any page width.

Every picture is drawn without script, stands beside its numbers in text, and tells
outcomes apart by pattern as well as by colour.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from signward.frozen import Frozen
from signward.report.display import MARKS, visible
from signward.state import Outcome

BAR_HEIGHT = 14
"""Height of a bar in CSS pixels."""

COLUMN_HEIGHT = 150
"""Height of the timeline's tallest column in CSS pixels."""

COLUMNS = 40
"""Columns of a cumulative picture; further steps share the last."""

MAX_LABELS = 9
"""Labels under the timeline, so that they do not touch at phone width."""

ORDER = (Outcome.REJECTED, Outcome.INDETERMINATE, Outcome.ACCEPTED)

PATTERNS = (
    '<svg class="patterns" width="0" height="0" aria-hidden="true" focusable="false"><defs>'
    '<pattern id="p-accepted" width="6" height="6" patternUnits="userSpaceOnUse">'
    '<rect class="f-accepted" width="6" height="6"/></pattern>'
    '<pattern id="p-rejected" width="7" height="7" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect class="f-rejected" width="7" height="7"/>'
    '<rect class="f-paper" width="2" height="7"/></pattern>'
    '<pattern id="p-indeterminate" width="6" height="6" patternUnits="userSpaceOnUse">'
    '<rect class="f-indeterminate" width="6" height="6"/>'
    '<circle class="f-paper" cx="3" cy="3" r="1.3"/></pattern>'
    '<pattern id="p-plain" width="6" height="6" patternUnits="userSpaceOnUse">'
    '<rect class="f-plain" width="6" height="6"/></pattern></defs></svg>'
)


def text(value: str) -> str:
    """Return ``value`` visible and escaped for HTML text and attribute values."""
    return escape(visible(value), quote=True)


def stack(parts: Iterable[tuple[str, float]], label: str, *, height: int = BAR_HEIGHT) -> str:
    """Return one bar of ``(pattern, per cent)`` segments, left to right."""
    at, rects = 0.0, []
    for pattern, share in parts:
        if share > 0:
            rects.append(
                f'<rect x="{at:.3f}%" width="{share:.3f}%" height="{height}" '
                f'fill="url(#p-{pattern})"/>'
            )
            at += share
    return (
        f'<svg class="bar" width="100%" height="{height}" role="img" aria-label="{text(label)}">'
        f"{''.join(rects)}</svg>"
    )


def outcome_bar(outcomes: Mapping[Outcome, int], whole: int, *, height: int = BAR_HEIGHT) -> str:
    """Return a bar divided by outcome; ``whole`` is what a full width stands for."""
    label = ", ".join(f"{outcomes.get(o, 0):,} {o.value}" for o in ORDER)
    shares = ((o.value, 100 * outcomes.get(o, 0) / max(whole, 1)) for o in ORDER)
    return stack(shares, label, height=height)


def outcomes_figure(outcomes: Mapping[Outcome, int]) -> str:
    """Return the picture of all outcomes: a tall bar and its key, whose entries filter."""
    total = sum(outcomes.values())
    keys = "".join(
        f'<li><button type="button" class="key o-{o.value}" data-filter="outcome" '
        f'data-value="{o.value}"><span class="mark" aria-hidden="true">{MARKS[o]}</span>'
        f"<b>{outcomes.get(o, 0):,}</b> {o.value}"
        f"<small>{_percent(outcomes.get(o, 0), total)}</small></button></li>"
        for o in (Outcome.ACCEPTED, Outcome.REJECTED, Outcome.INDETERMINATE)
    )
    return f'{outcome_bar(outcomes, total, height=34)}<ul class="keys">{keys}</ul>'


def _percent(part: int, whole: int) -> str:
    share = 100 * part / whole if whole else 0
    if part and share < 0.1:
        return "&lt; 0.1 %"
    return f"{share:.1f} %"


def bars(
    what: str, rows: Sequence[tuple[str, str, Mapping[Outcome, int]]], more: tuple[int, int]
) -> str:
    """Return a list of bars: ``(label, filter value, counts by outcome)``, longest first.

    ``what`` names the filter that a bar sets; ``more`` is how many rows were left
    out and how many files they stand for.
    """
    if not rows:
        return '<p class="none">none</p>'
    longest = max(sum(counts.values()) for _, _, counts in rows)
    items = [
        f'<li><button type="button" data-filter="{what}" data-value="{text(value)}">'
        f'<span class="label"><bdi>{text(label)}</bdi></span>'
        f'<span class="count">{sum(counts.values()):,}</span>'
        f"{outcome_bar(counts, longest)}</button></li>"
        for label, value, counts in rows
    ]
    if more[0]:
        items.append(f'<li class="more">{more[0]:,} more, {more[1]:,} files</li>')
    return f'<ul class="bars">{"".join(items)}</ul>'


class Line(Frozen, frozen=True, kw_only=True):
    """A bar with its name, what is told beside it, and its parts as ``(pattern, count)``."""

    label: str
    told: str
    parts: tuple[tuple[str, int], ...]

    @property
    def whole(self) -> int:
        """Return the sum of its parts."""
        return sum(count for _, count in self.parts)


def lines(rows: Sequence[Line], most: int) -> str:
    """Return a list of bars that filter nothing, longest first as given; the rest is counted."""
    if not rows:
        return '<p class="none">none</p>'
    longest = max(1, *(row.whole for row in rows))
    items = [
        f'<li class="line"><span class="label"><bdi>{text(row.label)}</bdi></span>'
        f'<span class="count">{text(row.told)}</span>'
        f"{stack(((name, 100 * n / longest) for name, n in row.parts), row.told)}</li>"
        for row in rows[:most]
    ]
    if len(rows) > most:
        rest = sum(row.whole for row in rows[most:])
        items.append(f'<li class="more">{len(rows) - most:,} more, {rest:,} files</li>')
    return f'<ul class="bars">{"".join(items)}</ul>'


def lines_of_text(value: str) -> str:
    """Return text of several lines, each visible and escaped, for a ``pre`` element."""
    return "\n".join(map(text, value.split("\n")))


def swatch(pattern: str) -> str:
    """Return a small square of a pattern, for a legend."""
    return (f'<svg width="14" height="12" aria-hidden="true"><rect width="14" height="12" '
            f'fill="url(#p-{pattern})"/></svg>')  # fmt: skip


def cumulative(steps: Sequence[tuple[str, int]], whole: int) -> str:
    """Return columns that grow to the right: what ``(pattern, gain)`` steps sum up to of ``whole``.

    What a step adds is drawn in its pattern, what stood before it in paler paper.
    """
    groups = [steps[at : at + 1] for at in range(min(len(steps), COLUMNS))]
    groups[-1] = steps[len(groups) - 1 :]
    width, done, drawn = 100 / len(groups), 0, []
    for index, group in enumerate(groups):
        drawn.append(_riser(index, width, done, group, whole))
        done += sum(gain for _, gain in group)
    base = COLUMN_HEIGHT + 18
    shared = len(steps) - len(groups) + 1
    last = f"the last column: {shared:,} rules" if shared > 1 else "last rule"
    label = f"{len(steps):,} rules let in {done:,} of {whole:,} files"
    return (
        f'<svg class="curve" width="100%" height="{base + 24}" role="img" '
        f'aria-label="{text(label)}">{"".join(drawn)}'
        f'<line x1="0" x2="100%" y1="{base}" y2="{base}"/><line x1="0" x2="100%" y1="18" y2="18"/>'
        f'<text x="0" y="12">{whole:,} files</text><text x="0" y="{base + 18}">first rule</text>'
        f'<text x="100%" y="{base + 18}" text-anchor="end">{last}</text></svg>'
    )


def _riser(
    index: int, width: float, before: int, group: Sequence[tuple[str, int]], whole: int
) -> str:
    """Return one column: what stood before, and on it what its steps add."""
    scale = COLUMN_HEIGHT / max(whole, 1)
    base, at, parts = COLUMN_HEIGHT + 18, before * scale, []
    place = f'x="{(index + 0.06) * width:.3f}%" width="{0.88 * width:.3f}%"'
    if before:
        parts.append(f'<rect {place} y="{base - at:.2f}" height="{at:.2f}" class="f-before"/>')
    for pattern, gain in group:
        height = max(1.0, gain * scale)
        at += gain * scale
        parts.append(f'<rect {place} y="{base - at:.2f}" height="{height:.2f}" '
                     f'fill="url(#p-{pattern})"/>')  # fmt: skip
    return "".join(parts)


def timeline(years: Counter[int]) -> str:
    """Return columns of files by the year of their proven time."""
    if not years:
        return '<p class="none">no signature has a proven time</p>'
    span = range(min(years), max(years) + 1)
    tallest, width = max(years.values()), 100 / len(span)
    step = -(-len(span) // MAX_LABELS)
    drawn = [_column(index, year, years[year], tallest, width) for index, year in enumerate(span)]
    labels = [
        f'<text x="{(index + 0.5) * width:.2f}%" y="{COLUMN_HEIGHT + 34}" '
        f'text-anchor="middle">{year}</text>'
        for index, year in enumerate(span)
        if index % step == 0
    ]
    told = ", ".join(f"{year}: {years[year]:,}" for year in span if years[year])
    many = " many" if len(span) > MAX_LABELS else ""
    return (
        f'<svg class="timeline{many}" width="100%" height="{COLUMN_HEIGHT + 40}" role="img" '
        f'aria-label="files by year of proven time: {told}">'
        f'<line x1="0" x2="100%" y1="{COLUMN_HEIGHT + 18}" y2="{COLUMN_HEIGHT + 18}"/>'
        f"{''.join(drawn)}{''.join(labels)}</svg>"
    )


def _column(index: int, year: int, count: int, tallest: int, width: float) -> str:
    if not count:
        return ""
    height = max(2.0, COLUMN_HEIGHT * count / tallest)
    top = COLUMN_HEIGHT + 18 - height
    number = (
        f'<text x="{(index + 0.5) * width:.2f}%" y="{top - 4:.1f}" text-anchor="middle" '
        f'class="number">{_short(count)}</text>'
    )
    return (
        f'<rect x="{(index + 0.1) * width:.2f}%" y="{top:.1f}" width="{0.8 * width:.2f}%" '
        f'height="{height:.1f}" fill="url(#p-plain)"><title>{year}: {count:,} files</title>'
        f"</rect>{number}"
    )


def _short(count: int) -> str:
    """Return a count in at most four characters (12k for 12,345)."""
    return str(count) if count < 1000 else f"{count / 1000:.{int(count < 10_000)}f}k"
