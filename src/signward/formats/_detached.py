"""Any file with a detached signature beside it: every byte is covered.

Not found by recognition: whoever asks names the signature.
"""

from __future__ import annotations

import hashlib

from signward.envelopes.cms_detached import open_detached
from signward.formats import Match, ParseOptions, Peek
from signward.state import Manifest, SignedArtifact, Source, Wanted

WHOLE = "file"
"""The slot of all bytes."""


class DetachedFormat:
    """A file judged by the detached CMS signature it was given with."""

    name = "detached"
    spec = "RFC 5652 5.2, external signature"
    extensions: tuple[str, ...] = (".p7s",)

    def __init__(self, signature: bytes) -> None:
        self._signature = signature

    def recognise(self, peek: Peek) -> Match:  # noqa: ARG002
        """Claim nothing: the caller names the signature."""
        return Match.NO

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Open the signature; the file itself has no structure."""
        signatures = open_detached(self._signature, WHOLE)
        return SignedArtifact(
            format=self.name,
            source=source,
            signatures=signatures,
            required={s.label: frozenset({WHOLE}) for s in signatures},
        )

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute the digests of all bytes, in one pass."""
        hashers = {
            (name, algorithm): hashlib.new(algorithm, usedforsecurity=False)
            for name, algorithm in wanted
            if name == WHOLE
        }
        artifact.source.feed([(0, artifact.source.length)], list(hashers.values()))
        return {slot: hasher.digest() for slot, hasher in hashers.items()}
