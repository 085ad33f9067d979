"""AppxMetadata/CodeIntegrity.cat: the catalog of a package's programs.

Windows' code integrity asks it when it loads them.  AXCI covers its bytes; it is a signed
catalog besides, whose own signature must be intact, and it should list every program of the
package by image hash: one that it leaves out does not load where Windows insists.
"""

from __future__ import annotations

from collections.abc import Iterator

from signward.errors import BadInputError
from signward.findings import Code, Effect, Finding
from signward.formats import ParseOptions, peek_at
from signward.formats._msix_package import CODE_INTEGRITY, Package
from signward.formats.catalog import FORMAT as CATALOG
from signward.formats.catalog import MAX_CATALOG
from signward.formats.pe import FORMAT as PE
from signward.formats.pe import IMAGE, PADDED_IMAGE
from signward.state import Endorsement, SignedArtifact, Source
from signward.wire.algorithms import COMPUTABLE
from signward.wire.source import BytesSource
from signward.wire.unzip import read_member
from signward.wire.zip import ZipMember

MAX_PROGRAM = 64 * 1024 * 1024
"""Largest program compared with the catalog: it is unpacked in memory."""

_PROGRAMS = (".exe", ".dll", ".sys", ".ocx", ".cpl", ".scr", ".mui", ".pyd", ".winmd")
_CLAUSE = "AppxMetadata/CodeIntegrity.cat"


def read_code_integrity(source: Source, package: Package) -> SignedArtifact | None:
    """Return the catalog, if there is one.  Raises ``BadInputError``."""
    member = package.members.get(CODE_INTEGRITY)
    if member is None:
        return None
    data = read_member(source, member, MAX_CATALOG)
    return CATALOG.parse(BytesSource(CODE_INTEGRITY, data), ParseOptions(extension=".cat"))


def unlisted_programs(
    source: Source, package: Package, catalog: SignedArtifact
) -> Iterator[Finding]:
    """Report programs of the package that the catalog does not list, or that are too large."""
    listed = frozenset(catalog.endorsements)
    for name, member in package.members.items():
        if name.lower().endswith(_PROGRAMS):
            found = _unlisted(source, member, listed)
            if found:
                yield Finding(
                    code=Code.SLOT_MISSING,
                    effect=Effect.WARN,
                    subject=f"{CODE_INTEGRITY}, {name}",
                    found=found,
                    required="its image hash: Windows may refuse to load it",
                    clause=_CLAUSE,
                )


def _unlisted(source: Source, member: ZipMember, listed: frozenset[Endorsement]) -> str:
    """Return what keeps a program from being known as listed; empty if it is."""
    if member.size > MAX_PROGRAM:
        return f"{member.size} bytes, too many to compare"
    try:
        program = BytesSource(member.name, read_member(source, member, MAX_PROGRAM))
        if not PE.recognise(peek_at(program)):
            return ""
        artifact = PE.parse(program, ParseOptions())
    except BadInputError as error:
        return error.finding.found
    wanted = frozenset((s, e.algorithm) for e in listed for s in (IMAGE, PADDED_IMAGE))
    computed = PE.digests(artifact, frozenset(w for w in wanted if w[1] in COMPUTABLE))
    digests = {(algorithm, digest) for (_, algorithm), digest in computed.items()}
    return "" if any((e.algorithm, e.digest) in digests for e in listed) else "no digest of it"
