"""The estate's certificates as a table, as JSON, as a calendar and as metrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

import msgspec

from signward import __version__
from signward.findings import Finding
from signward.policy.estate import Held, Trust
from signward.policy.record import safe_text
from signward.report.display import day, visible

Told = tuple[Held, tuple[Finding, ...]]
"""A certificate and what is to be said about it."""

MAX_LINE = 75
"""Octets of a line of a calendar, without its end (RFC 5545 3.1)."""

_ALARM_DAYS = (7,)
"""Further reminders in a calendar, in days before the end."""

_SHOWN = 16
"""Digits of a fingerprint that people see; commands take any beginning that is one."""


def lines(told: Sequence[Told]) -> Iterator[str]:
    """Yield a table, with the findings under each certificate."""
    for held, findings in told:
        quantum = "quantum-safe" if held.quantum_safe else "not quantum-safe"
        facts = (held.key or "key not known", quantum, f"{held.trust} trust",
                 f"{len(held.releases)} releases")  # fmt: skip
        yield visible(f"{held.fingerprint[:_SHOWN]}  until {day(held.not_after)}  {held.subject}")
        yield visible(f"    {', '.join(facts)}")
        who = f"held by {held.holder}" if held.holder else "holder not known"
        where = f"key in {held.key_location}" if held.key_location else "key location not known"
        yield visible(f"    {who}, {where}")
        for finding in findings:
            yield visible(f"    {finding.code}: {finding.found}, required {finding.required}")


def document(told: Sequence[Told]) -> bytes:
    """Return the certificates as JSON: a list of objects with their findings."""
    whole = [
        {
            **msgspec.to_builtins(held),
            "untimestamped": held.untimestamped,
            "findings": [msgspec.to_builtins(finding) for finding in findings],
        }
        for held, findings in told
    ]
    return msgspec.json.format(msgspec.json.encode(whole), indent=1) + b"\n"


# --- the calendar (RFC 5545) -----------------------------------------------------------------


def calendar(told: Iterable[Told], at: datetime, days: int) -> bytes:
    """Return an iCalendar object: an event on each certificate's last day, with reminders.

    ``days`` ahead of it is the first reminder.  An event keeps its UID, so that a calendar
    that is imported again is updated, not doubled.
    """
    body = ["BEGIN:VCALENDAR", "VERSION:2.0", f"PRODID:-//Signward//Signward {__version__}//EN",
            "CALSCALE:GREGORIAN", "METHOD:PUBLISH"]  # fmt: skip
    for held, _ in told:
        body += _event(held, at, days)
    body.append("END:VCALENDAR")
    return b"".join(_folded(line) for line in body)


def _event(held: Held, at: datetime, days: int) -> list[str]:
    summary = f"Signing certificate ends: {held.subject}"
    told = [
        f"SHA-256 {held.fingerprint}", f"issued by {held.issuer}", f"{held.trust} trust",
        f"held by {held.holder or 'nobody known'}",
        f"key in {held.key_location or 'no known place'}",
        f"{len(held.releases)} releases, {held.untimestamped} without a timestamp",
    ]  # fmt: skip
    alarms = [line for ahead in sorted({days, *_ALARM_DAYS}, reverse=True) if ahead > 0
              for line in _alarm(ahead, summary)]  # fmt: skip
    return [
        "BEGIN:VEVENT",
        f"UID:{held.fingerprint}@signward",
        f"DTSTAMP:{at.astimezone(UTC):%Y%m%dT%H%M%SZ}",
        f"DTSTART;VALUE=DATE:{held.not_after.astimezone(UTC):%Y%m%d}",
        f"SUMMARY:{_text(summary)}",
        f"DESCRIPTION:{_text(chr(10).join(told))}",
        "CATEGORIES:Certificates",
        "TRANSP:TRANSPARENT",
        *alarms,
        "END:VEVENT",
    ]


def _alarm(ahead: int, summary: str) -> list[str]:
    return ["BEGIN:VALARM", "ACTION:DISPLAY", f"TRIGGER:-P{ahead}D",
            f"DESCRIPTION:{_text(summary)}", "END:VALARM"]  # fmt: skip


def _text(text: str) -> str:
    """Return a TEXT value, escaped (RFC 5545 3.3.11); control characters are written out."""
    plain = "\n".join(visible(line) for line in text.split("\n"))
    escaped = plain.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,")
    return escaped.replace("\n", "\\n")


def _folded(line: str) -> bytes:
    """Return a content line, folded between characters (RFC 5545 3.1), with its CRLF."""
    parts, part = [], b""
    for character in line:
        encoded = character.encode("utf-8")
        if len(part) + len(encoded) > MAX_LINE:
            parts.append(part)
            part = b" "
        part += encoded
    return b"\r\n".join((*parts, part)) + b"\r\n"


# --- metrics (Prometheus text format 0.0.4) ------------------------------------------------------

_METRICS = {
    "signward_certificate_not_after_seconds": "When a signing certificate ends, since 1970.",
    "signward_certificate_releases": "Releases that hang on a signing certificate.",
    "signward_certificate_releases_without_timestamp": "Releases that end with it.",
    "signward_certificate_finding": "1 for each fault of a signing certificate.",
    "signward_certificates": "Signing certificates of the estate.",
}


def metrics(told: Sequence[Told]) -> bytes:
    """Return the estate as metrics."""
    samples: dict[str, list[str]] = {name: [] for name in _METRICS}
    for held, findings in told:
        who = {"sha256": held.fingerprint, "subject": held.subject}
        values = (
            ("signward_certificate_not_after_seconds", int(held.not_after.timestamp())),
            ("signward_certificate_releases", len(held.releases)),
            ("signward_certificate_releases_without_timestamp", held.untimestamped),
        )
        for name, value in values:
            samples[name].append(_sample(name, value, **who, trust=held.trust))
        for code in dict.fromkeys(finding.code.value for finding in findings):
            name = "signward_certificate_finding"
            samples[name].append(_sample(name, 1, **who, code=code))
    for trust in Trust:
        count = sum(held.trust is trust for held, _ in told)
        samples["signward_certificates"].append(
            _sample("signward_certificates", count, trust=trust)
        )
    return "".join(_family(name, samples[name]) for name in _METRICS).encode()


def _family(name: str, samples: Sequence[str]) -> str:
    return f"# HELP {name} {_METRICS[name]}\n# TYPE {name} gauge\n" + "".join(samples)


def _sample(name: str, value: int, **labels: str) -> str:
    shown = ",".join(f'{label}="{_label(text)}"' for label, text in labels.items())
    return f"{name}{{{shown}}} {value}\n"


def _label(text: str) -> str:
    escaped = safe_text(text).replace("\\", "\\\\").replace('"', '\\"')
    return escaped.replace("\n", "\\n")
