"""Running the suite: ask every runner about every case, compare, and write the table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conformance.authenticode.cases.base import Answer
from conformance.authenticode.runners import Reply, Runner
from conformance.authenticode.suite import load, request


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One runner's reply to one case."""

    entry: dict[str, Any]
    runner: str
    reply: Reply

    @property
    def right(self) -> bool:
        """Whether the answer is the expected one."""
        return bool(self.reply.answer.value == self.entry["expected"])

    @property
    def dangerous(self) -> bool:
        """Whether a file was accepted that must not be."""
        return self.reply.answer is Answer.ACCEPTED and not self.right

    @property
    def complaints(self) -> tuple[str, ...]:
        """What else differs for Signward: cause, findings that must or must not be there."""
        wanted, found = self.entry["signward"], self.reply
        said = (
            [f"answer {found.answer}, expected {self.entry['expected']}"] if not self.right else []
        )
        if self.right and found.why != wanted["cause"]:
            said.append(f"cause {found.why!r}, expected {wanted['cause']!r}")
        said += [
            f"finding {code} is missing"
            for code in wanted["findings"]
            if code not in found.findings
        ]
        said += [
            f"finding {code} should be absent"
            for code in wanted["absent"]
            if code in found.findings
        ]
        return tuple(said)


def run(folder: Path, runners: Sequence[tuple[str, Runner]]) -> Iterable[Result]:
    """Yield each runner's result for each case of a built suite, case by case."""
    for entry in load(folder):
        asked = request(folder, entry)
        for name, ask in runners:
            yield Result(entry=entry, runner=name, reply=ask(asked))


def wrong_answers(results: Sequence[Result], versions: dict[str, str]) -> dict[str, Any]:
    """Return each peer's version and its answers that differ from the expected ones, by case."""
    return {
        name: {
            "version": version,
            "wrong": {
                result.entry["id"]: result.reply.answer.value
                for result in results
                if result.runner == name and not result.right
            },
        }
        for name, version in versions.items()
        if name != "signward"
    }


def markdown(results: Sequence[Result], versions: dict[str, str]) -> str:
    """Return the comparison as a Markdown document."""
    names = list(versions)
    by_case: dict[str, dict[str, Result]] = {}
    for result in results:
        by_case.setdefault(result.entry["id"], {})[result.runner] = result
    lines = [_HEAD, *_summary(results, versions), "", _LEGEND, ""]
    header = ["row", "case", "expected", *names]
    lines += ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for id_, replies in by_case.items():
        entry = next(iter(replies.values())).entry
        cells = [entry["row"], f"`{id_}`", entry["expected"]]
        cells += [_cell(replies[name]) if name in replies else "-" for name in names]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


_HEAD = """# Comparison: what verifiers answer to the same files

Written by `python -m conformance.authenticode run --markdown docs/comparison.md`: do not edit.
The files, their expectations and the protocol are in `conformance/authenticode/`; `row` is
the row of the threat table that the case belongs to, `design` a row of the profile tables.
"""
_LEGEND = """**bold**: accepted a file that must not be accepted. *italic*: another answer than the
expected one. What a tool cannot be given (LIEF: anchors, evidence, an instant; osslsigncode:
OCSP, policies, stages) is not held against its authors: the table says what a caller gets."""


def _summary(results: Sequence[Result], versions: dict[str, str]) -> list[str]:
    lines = [
        "| verifier | version | as expected | accepted wrongly | refused wrongly | cannot tell |",
        "|---|---|---|---|---|---|",
    ]
    for name, version in versions.items():
        own = [result for result in results if result.runner == name]
        wrong = [result for result in own if not result.right]
        silent = sum(result.reply.answer is Answer.CANNOT_TELL for result in wrong)
        bad = sum(result.dangerous for result in wrong)
        counts = (len(own) - len(wrong), bad, len(wrong) - bad - silent, silent)
        lines.append(f"| {name} | {version} | " + " | ".join(map(str, counts)) + " |")
    return lines


def _cell(result: Result) -> str:
    text = result.reply.answer.value
    if result.dangerous:
        return f"**{text}**"
    return text if result.right else f"*{text}*"
