"""Summary pictures as inline SVG: widths in per cent, so that they fit any page width.

Every picture is drawn without script, stands beside its numbers in text, and tells
outcomes apart by pattern as well as by colour.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from signward.report.display import MARKS, visible
from signward.state import Outcome

BAR_HEIGHT = 14
"""Height of a bar in CSS pixels."""

COLUMN_HEIGHT = 150
"""Height of the timeline's tallest column in CSS pixels."""

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
