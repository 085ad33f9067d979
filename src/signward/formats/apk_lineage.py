"""Lineage files: who may sign an Android application, each holder named by the one before.

Sources: Android, "APK Signature Scheme v3", proof-of-rotation; apksig's
``SigningCertificateLineage``, which writes such files.  Each step is a signature of its own and
must count: the oldest holder is the one to pin.  What former holders keep (their capabilities) is
signed in packages only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from signward.envelopes.apk_lineage import (
    MAGIC,
    MAX_FILE,
    Holder,
    capabilities,
    read_file,
    slot_of,
    step_claims,
)
from signward.errors import LimitError, MalformedError
from signward.formats import Match, ParseOptions, Peek
from signward.state import Manifest, Region, SignedArtifact, Source, Wanted

_CLAUSE = "APK v3, proof-of-rotation"


class ApkLineageFormat:
    """The format of lineage files; whatever their names, the mark says so."""

    name = "apk-lineage"
    spec = "Android, APK Signature Scheme v3, proof-of-rotation"
    extensions: tuple[str, ...] = (".lineage",)

    def recognise(self, peek: Peek) -> Match:
        """Recognise the file's mark and version."""
        return Match.MAGIC if peek.head.startswith(MAGIC + b"\1\0\0\0") else Match.NO

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Read the holders; of one alone nothing is signed."""
        if source.length > MAX_FILE:
            raise LimitError("lineage", f"{source.length} octets", f"at most {MAX_FILE}")
        data = source.read(0, source.length)
        holders = read_file(data, "lineage")
        if holders[0].value or holders[0].signed_by:
            raise MalformedError("lineage", "a value over the oldest holder", "none: nobody "
                                 "stands before", _CLAUSE)  # fmt: skip
        claims = step_claims(holders)
        return SignedArtifact(
            format=self.name,
            source=source,
            signatures=claims,
            required={c.label: frozenset(slot.name for slot in c.slots) for c in claims},
            regions=tuple(_regions(data, holders)),
            profile="android",
            facts=_facts(holders),
            every=True,
            layout={slot_of(n): holder.signed for n, holder in enumerate(holders, 1)},
        )

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute digests of what was signed of each holder."""
        signed: dict[str, bytes] = artifact.layout
        return {
            (name, algorithm): hashlib.new(algorithm, signed[name]).digest()
            for name, algorithm in wanted
            if name in signed
        }


def _regions(data: bytes, holders: tuple[Holder, ...]) -> Iterator[Region]:
    """Yield where each holder's capabilities lie: 4 octets behind the part that is signed."""
    at = 0
    for number, holder in enumerate(holders, 1):
        at = data.index(holder.signed, at) + len(holder.signed)
        yield Region(start=at, end=at + 4, what=f"holder {number}, capabilities",
                     exempt="SigningCertificateLineage: signed in packages only")  # fmt: skip


def _facts(holders: tuple[Holder, ...]) -> dict[str, str | int]:
    facts: dict[str, str | int] = {"holders": len(holders)}
    for number, holder in enumerate(holders, 1):
        digest = hashlib.sha256(holder.certificate).hexdigest()
        facts[f"holder-{number}"] = f"sha256:{digest}"
        facts[f"holder-{number}-keeps"] = capabilities(holder.flags)
    return facts


FORMAT = ApkLineageFormat()
