"""Signward, through its command line and its JSON record."""

from __future__ import annotations

import contextlib
import io
import json

import signward
from conformance.authenticode.cases.base import Answer
from conformance.authenticode.runners import Reply, main
from conformance.authenticode.suite import Request

_EXITS = {0: Answer.ACCEPTED, 1: Answer.REJECTED, 3: Answer.CANNOT_TELL, 4: Answer.UNSIGNED}
_OUTCOMES = {
    Answer.ACCEPTED: "accepted",
    Answer.REJECTED: "rejected",
    Answer.UNSIGNED: "rejected",
    Answer.CANNOT_TELL: "indeterminate",
}


def version() -> str:
    """Return Signward's version."""
    return signward.__version__


def arguments(request: Request) -> list[str]:
    """Return the request as arguments of ``signward``."""
    words = ["verify", str(request.file), "--at", request.at.strftime("%Y-%m-%dT%H:%M:%SZ")]
    words += ["--stage", request.stage, "--format", "json"]
    for flag, paths in (
        ("--anchor", request.anchors),
        ("--crl", request.crls),
        ("--ocsp", request.ocsp),
    ):
        for path in paths:
            words += [flag, str(path)]
    if request.catalogs:
        words += ["--catalog", str(request.catalogs)]
    for option in request.options:
        name, _, value = option.partition("=")
        words += [f"--{name}", *([value] if value else [])]
    return words


def answer(request: Request) -> Reply:
    """Run ``signward verify``; raise ``ValueError`` if exit code and record disagree."""
    from signward.cli.commands import run

    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        code = run(arguments(request))
    if code not in _EXITS:
        return Reply(answer=Answer.CANNOT_TELL, why=f"exit code {code}")
    record = json.loads(output.getvalue())
    said = _EXITS[code]
    if record["outcome"] != _OUTCOMES[said]:
        raise ValueError(f"exit code {code}, but the record says {record['outcome']}")
    return Reply(
        answer=said,
        why=record.get("cause") or "",
        findings=tuple(finding["code"] for finding in record["findings"]),
    )


if __name__ == "__main__":
    raise SystemExit(main(answer))
