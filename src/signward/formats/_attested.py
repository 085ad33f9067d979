"""Any file with a Sigstore bundle or an attestation beside it: every byte is covered.

A bundle's value is over the file's digest, or over a statement that gives it; which of a
statement's subjects is meant, the file's digest says.  An attestation of PEP 740 has one subject,
which must bear the file's name too.  Of a wheel, each member is held against its own list.
"""

from __future__ import annotations

import hashlib
from typing import Any

from signward.envelopes.intoto import Statement, Subject
from signward.envelopes.sigstore import Chosen, open_bundles
from signward.findings import Code, Effect, Finding
from signward.formats import ParseOptions
from signward.formats._apart import WHOLE, Apart
from signward.formats._wheel import Wheel, is_wheel, read_wheel, same_distribution
from signward.state import Manifest, SignedArtifact, Slot, Source, Wanted
from signward.wire.source import slot_digests, whole_digest
from signward.wire.unzip import feed_member

ORIGINS = (
    "https://docs.pypi.org/attestations/publish/",
    "https://github.com/npm/attestation/tree/main/specs/publish/",
    "https://in-toto.io/attestation/release/",
    "https://sigstore.dev/cosign/sign/",
    "https://slsa.dev/provenance/",
)
"""Predicates that say where a file is from; others say something else (that a test failed, say)."""

_BEST = ("sha512", "sha384", "sha256", "sha3_512", "sha3_384", "sha3_256")


class AttestedFormat(Apart):
    """A file judged by the Sigstore bundle or attestation it is given with."""

    name = "attestation"
    spec = "Sigstore bundle 0.3; PEP 740; in-toto attestation 1"
    extensions: tuple[str, ...] = (".attestation", ".sigstore", ".sigstore.json")

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Open the bundles; of the file itself only a wheel has structure."""
        choose = _Chooser(source)
        blob = self._signature
        signatures = open_bundles(blob, WHOLE, choose) if blob is not None else ()
        wheel = read_wheel(source) if is_wheel(source.name) and signatures else None
        predicates = dict.fromkeys(s.content_type for s in signatures if s.content_type)
        return SignedArtifact(
            format=self.name,
            source=source,
            signatures=signatures,
            required={s.label: frozenset({WHOLE}) for s in signatures},
            profile="sigstore",
            findings=wheel.findings if wheel else (),
            listed=wheel.listed if wheel else (),
            facts={"predicate": " ".join(predicates)} if predicates else {},
            layout=wheel,
        )

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute the digests of all bytes in one pass, and of a wheel's members, each once."""
        source, wheel = artifact.source, artifact.layout
        own = slot_digests(source, [(0, source.length)], (s for s in wanted if s[0] == WHOLE))
        return {**own, **_members(source, wheel, wanted)} if wheel else own


def _members(source: Source, wheel: Wheel, wanted: Wanted) -> dict[tuple[str, str], bytes]:
    hashers: dict[str, dict[str, Any]] = {}
    for name, algorithm in wanted:
        if name in wheel.members:
            hashers.setdefault(name, {})[algorithm] = hashlib.new(algorithm)
    for name, some in hashers.items():
        feed_member(source, wheel.members[name], list(some.values()))
    return {
        (name, algorithm): hasher.digest()
        for name, some in hashers.items()
        for algorithm, hasher in some.items()
    }


class _Chooser:
    """Finds the subject of a statement that is this file; digests are computed once."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._known: dict[str, bytes] = {}

    def __call__(self, statement: Statement, pep740: bool) -> Chosen:  # noqa: FBT001
        """Return the slot that a statement claims of this file, and what is wrong with it."""
        findings = list(_unsuited(statement))
        subjects = statement.subjects
        if pep740:
            findings += _misnamed(self._source.name, statement)
            subjects = subjects[:1]
        slots = [slot for subject in subjects if (slot := _slot(subject)) is not None]
        matching = (slot for slot in slots if self._digest(slot.algorithm) == slot.digest)
        chosen = next(matching, slots[0] if slots else None)
        return Chosen(slots=(chosen,) if chosen else (), findings=tuple(findings))

    def _digest(self, algorithm: str) -> bytes:
        if algorithm not in self._known:
            self._known[algorithm] = whole_digest(self._source, algorithm)
        return self._known[algorithm]


def _slot(subject: Subject) -> Slot | None:
    """Return the slot of a subject by its strongest digest; None where it has none we know."""
    for name in _BEST:
        if name in subject.digests:
            return Slot(name=WHOLE, algorithm=name, digest=subject.digests[name])
    return None


def _unsuited(statement: Statement) -> list[Finding]:
    if statement.predicate_type.startswith(ORIGINS):
        return []
    return [
        Finding(
            code=Code.UNSUPPORTED_KIND,
            effect=Effect.UNKNOWN,
            subject="statement",
            found=f"predicate {statement.predicate_type[:120]}",
            required="one that says where a file is from",
            clause="in-toto attestation 1, predicate",
        )
    ]


def _misnamed(name: str, statement: Statement) -> list[Finding]:
    """Report an attestation that is not of one distribution file, of this name."""
    own, named = name.rpartition("/")[2], [subject.name for subject in statement.subjects]
    if len(named) == 1 and same_distribution(named[0], own):
        return []
    return [
        Finding(
            code=Code.SLOT_MISSING,
            effect=Effect.REJECT,
            subject="attestation",
            found=f"subject {', '.join(named)[:200]}",
            required=f"{own} alone",
            clause="PEP 740, attestation statement",
            hint="a file that was renamed is not the one that was published under that name",
        )
    ]
