"""The suite on disk: one folder per case, and ``cases.json`` with the expectations.

The layout and the schema are described in README.md.  Two builds differ in keys, signature
values and what depends on them; ids, structure and expectations are the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from conformance.authenticode.cases.base import Case
from conformance.authenticode.pki import pem

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a runner is asked about one case; paths are absolute.  See README.md, protocol."""

    file: Path
    at: datetime
    stage: str = "accepted"
    anchors: tuple[Path, ...] = ()
    crls: tuple[Path, ...] = ()
    ocsp: tuple[Path, ...] = ()
    catalogs: Path | None = None
    options: tuple[str, ...] = ()

    def words(self) -> list[str]:
        """Return the request as the words of a runner's command line."""
        words = [str(self.file), "--at", self.at.strftime("%Y-%m-%dT%H:%M:%SZ")]
        words += ["--stage", self.stage]
        for flag, paths in (
            ("--anchor", self.anchors),
            ("--crl", self.crls),
            ("--ocsp", self.ocsp),
        ):
            for path in paths:
                words += [flag, str(path)]
        if self.catalogs:
            words += ["--catalog", str(self.catalogs)]
        for option in self.options:
            words += ["--option", option]
        return words


def build(folder: Path, cases: Iterable[Case]) -> list[dict[str, Any]]:
    """Write every case below ``folder`` and return what ``cases.json`` then holds."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = [write_case(folder, one) for one in cases]
    document = {"schema": SCHEMA, "suite": "authenticode", "cases": entries}
    (folder / "cases.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    return entries


def write_case(folder: Path, one: Case) -> dict[str, Any]:
    """Write one case's files into its own folder and return its entry."""
    home = folder / one.id
    home.mkdir(exist_ok=True)
    (home / one.file).write_bytes(one.data)
    catalogs = home / "catalogs" if one.catalogs else None
    if catalogs:
        catalogs.mkdir(exist_ok=True)
        _write_all(folder, catalogs, "catalog", "cat", one.catalogs)
    entry: dict[str, Any] = {
        "id": one.id,
        "row": one.row,
        "what": one.what,
        "clause": one.clause,
        "maker": one.maker,
        "file": f"{one.id}/{one.file}",
        "anchors": _write_all(folder, home, "anchor", "pem", one.anchors),
        "crls": _write_all(folder, home, "list", "crl", one.crls),
        "ocsp": _write_all(folder, home, "answer", "ocsp", one.ocsp),
        "catalogs": f"{one.id}/catalogs" if catalogs else None,
        "at": one.at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "stage": one.stage,
        "options": list(one.options),
        "expected": one.expected.value,
        "signward": {
            "cause": one.cause,
            "findings": list(one.findings),
            "absent": list(one.absent),
        },
    }
    if one.crls:
        bundle = b"".join(pem(crl, "X509 CRL") for crl in one.crls)
        (home / "lists.pem").write_bytes(bundle)
    return entry


def _write_all(
    folder: Path, home: Path, stem: str, suffix: str, contents: Sequence[bytes]
) -> list[str]:
    paths = [home / f"{stem}-{number}.{suffix}" for number in range(1, len(contents) + 1)]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return [path.relative_to(folder).as_posix() for path in paths]


def load(folder: Path) -> list[dict[str, Any]]:
    """Return the entries of a built suite.  Raises ``ValueError`` for another schema."""
    document = json.loads((folder / "cases.json").read_text("utf-8"))
    if document.get("schema") != SCHEMA:
        raise ValueError(f"cases.json: found schema {document.get('schema')}, required {SCHEMA}")
    return list(document["cases"])


def request(folder: Path, entry: dict[str, Any]) -> Request:
    """Return what a runner is asked about one entry of ``cases.json``."""
    folder = folder.resolve()

    def paths(name: str) -> tuple[Path, ...]:
        return tuple(folder / path for path in entry[name])

    return Request(
        file=folder / entry["file"],
        at=datetime.fromisoformat(entry["at"]).astimezone(UTC),
        stage=entry["stage"],
        anchors=paths("anchors"),
        crls=paths("crls"),
        ocsp=paths("ocsp"),
        catalogs=folder / entry["catalogs"] if entry["catalogs"] else None,
        options=tuple(entry["options"]),
    )
