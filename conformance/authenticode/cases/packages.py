"""Rows 8, 23 and 24: installer packages."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import Any

from conformance.authenticode import cms, msi
from conformance.authenticode.cases.base import ACCEPTED, REJECTED, UNSIGNED, Case, case
from conformance.authenticode.compound import END, FREE, Built, Tree, compound
from conformance.authenticode.msi import METADATA, PATCH, SAMPLE, SIGNATURE, signed

_COVERED = "Windows Installer signatures cover streams, and with MsiDigitalSignatureEx their names"
_STRUCTURE = "[MS-CFB]: one reader's tree is every reader's"
_BEHIND = "bytes that no signature covers are not accepted in silence"


def cases() -> Iterator[Case]:
    """Yield the cases about installer packages."""
    yield from _good()
    yield from _changed()
    yield from _hidden()
    yield from _structure()


def _one(id_: str, row: int | str, what: str, data: object, *answer: Any, **fields: Any) -> Case:
    fields.setdefault("file", "package.msi")
    whole = data if isinstance(data, bytes) else bytes(data)  # type: ignore[call-overload]
    return case(id_, row, what, whole, *answer, **fields)


def _good() -> Iterator[Case]:
    for name, tree, fields in (
        ("good-msi", SAMPLE, {}),
        ("good-msi-4096", SAMPLE, {"size": 4096}),
        ("good-msi-sha384", SAMPLE, {"digest": "sha384"}),
        ("good-msp-with-storages", PATCH, {}),
    ):
        yield _one(name, "design", f"a signed package ({name})", signed(tree, **fields), ACCEPTED,
                   clause=_COVERED)  # fmt: skip
    yield _one(
        "good-msi-without-metadata-digest", 23, "a signature without MsiDigitalSignatureEx",
        signed(ex=False), ACCEPTED, findings=("unauthenticated-data",), clause=_COVERED,
    )  # fmt: skip
    nested = cms.nested(msi.envelope(msi.content(SAMPLE, msi.metadata(SAMPLE))))
    yield _one("good-msi-nested", 9, "a nested signature", signed(unsigned=(nested,)), ACCEPTED,
               clause=_COVERED)  # fmt: skip
    yield _one("unsigned-msi", 56, "a package nobody signed", compound(SAMPLE), UNSIGNED,
               "unsigned", clause=_COVERED)  # fmt: skip


def _changed() -> Iterator[Case]:
    """Yield packages that hold something else than what was signed."""
    other: Tree = {**SAMPLE, "Binary": b"changed"}
    renamed: Tree = {"Binarz" if n == "Binary" else n: v for n, v in SAMPLE.items()}
    for ex in (True, False):
        kind = "" if ex else "-without-metadata-digest"
        for name, what, now in (
            ("stream-changed", "a stream's content changed", other),
            ("stream-added", "a stream added", {**SAMPLE, "new": b"new"}),
            ("stream-removed", "a stream removed", {"Binary": SAMPLE["Binary"]}),
        ):
            yield _one(
                f"msi-{name}{kind}", 24, f"{what}{kind.replace('-', ' ')}",
                signed(ex=ex, now=now), REJECTED, "digest-mismatch", clause=_COVERED,
            )  # fmt: skip
    yield _one("msi-stream-renamed", 24, "a stream renamed under a metadata digest",
               signed(now=renamed), REJECTED, "digest-mismatch", clause=_COVERED)  # fmt: skip
    first = msi.metadata(SAMPLE)
    blob = msi.envelope(msi.content(SAMPLE, first))
    for name, what, tree, cause in (
        ("msi-metadata-digest-removed", "MsiDigitalSignatureEx removed", {**SAMPLE},
         "digest-mismatch"),
        ("msi-metadata-digest-changed", "MsiDigitalSignatureEx changed",
         {**SAMPLE, METADATA: bytes(32)}, "digest-mismatch"),
        ("msi-metadata-digest-renamed",
         "MsiDigitalSignatureEx renamed to pass for content, and a stream renamed",
         {**renamed, "\1": first}, "ambiguous"),
    ):  # fmt: skip
        yield _one(name, 23, what, compound({**tree, SIGNATURE: blob}), REJECTED, cause,
                   clause=_COVERED)  # fmt: skip
    short = msi.metadata(SAMPLE, "sha1")
    mixed = {**SAMPLE, METADATA: short, SIGNATURE: msi.envelope(msi.content(SAMPLE, short))}
    yield _one("msi-metadata-digest-of-another-algorithm", 8,
               "a SHA-1 metadata digest under a SHA-256 signature", compound(mixed), REJECTED,
               "algorithm-inconsistent", clause=_COVERED)  # fmt: skip


def _jar() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(zipfile.ZipInfo("META-INF/MANIFEST.MF"), "Main-Class: Main\n")
    return out.getvalue()


def _hidden() -> Iterator[Case]:
    """Yield packages with bytes that no digest reaches."""
    whole = bytes(signed())
    padded = bytes(-len(_jar()) % 512) + _jar()
    for name, what, data in (
        ("msi-byte-behind", "one byte behind the last sector", whole + b"x"),
        ("msi-jar-behind", "a JAR behind the package (Chrome, VirusTotal 2019)", whole + _jar()),
        ("msi-jar-in-whole-sectors-behind", "a JAR in sectors that the FAT calls free",
         whole + padded),
        ("msi-behind-the-pkcs7", "bytes behind the PKCS#7 in its stream", signed(behind=b"evil")),
        ("msi-jar-in-free-sectors", "a JAR in free sectors inside", _in_spare(_jar(), FREE)),
        ("msi-jar-in-slack", "a JAR behind a stream's end in its last sector", _in_slack(_jar())),
        ("msi-sectors-nothing-leads-to", "sectors in use by no stream",
         _in_spare(b"hidden", END)),
    ):  # fmt: skip
        yield _one(name, 23, what, data, REJECTED, "uncovered-content", clause=_BEHIND)
    for name, what, data in (
        ("msi-remains-in-free-sectors", "remains in a free sector", _in_spare(b"remains", FREE)),
        ("msi-remains-in-slack", "remains behind a stream's end", _in_slack(b"remains")),
    ):
        yield _one(name, 23, what, data, ACCEPTED, findings=("unauthenticated-data",),
                   clause=_BEHIND)  # fmt: skip


def _in_spare(hidden: bytes, mark: int) -> bytes:
    built = signed(spare=1)
    sector = built.get(built.entry("cab") + 116) - 1
    at = built.sector(sector)
    built.data[at : at + len(hidden)] = hidden
    return bytes(built.put(built.fat_entry(sector), mark))


def _in_slack(hidden: bytes) -> bytes:
    built = signed()
    at = built.sector(built.get(built.entry("cab") + 116)) + built.get(built.entry("cab") + 120)
    built.data[at : at + len(hidden)] = hidden
    return bytes(built)


def _structure() -> Iterator[Case]:
    """Yield packages whose structure two readers could take differently."""
    for name, what, data, cause in (
        ("msi-chain-loops", "a chain that leads back", _looping(), "malformed"),
        ("msi-sector-shared", "two streams in the same sectors", _shared(), "malformed"),
        ("msi-siblings-out-of-order", "siblings out of order", _disordered(), "malformed"),
        ("msi-size-lies", "a stream longer than its chain", _lying(), "malformed"),
        ("msi-entry-nothing-leads-to", "a directory entry outside the tree", _orphaned(),
         "uncovered-content"),
        ("msi-difat-lies", "a DIFAT that the FAT's size does not need",
         signed().put(68, 0).put(72, 1), "malformed"),
    ):  # fmt: skip
        yield _one(name, 24, what, data, REJECTED, cause, clause=_STRUCTURE)


def _looping() -> Built:
    built = signed()
    start = built.get(built.entry("cab") + 116)
    return built.put(built.fat_entry(start + 1), start)


def _shared() -> Built:
    built = signed({**SAMPLE, "dab": SAMPLE["cab"]})
    return built.put(built.entry("dab") + 116, built.get(built.entry("cab") + 116))


def _disordered() -> Built:
    """Swap the names of two siblings of one length."""
    built = signed({**SAMPLE, "dab": b"d"})
    places = built.entry("cab"), built.entry("dab")
    for at, name in zip(places, ("dab", "cab"), strict=True):
        built.data[at : at + 6] = name.encode("utf-16-le")
    return built


def _lying() -> Built:
    built = signed()
    return built.put(built.entry("cab") + 120, 1 << 20)


def _orphaned() -> Built:
    """Cut the last sibling off the one that leads to it."""
    built = signed()
    last = len(built.rows) - 1
    before = next(row for row in built.rows if row.right == last)
    return built.put(built.entry(before.name) + 72, FREE)
