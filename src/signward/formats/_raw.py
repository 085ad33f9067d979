"""Any file with a bare signature beside it: the key's kind says what the value is over."""

from __future__ import annotations

import hashlib

from signward.envelopes.raw import DIGESTS, RawDraft, claim, read_value
from signward.errors import LimitError
from signward.formats import ParseOptions, Request, Signing
from signward.formats._apart import WHOLE, Apart
from signward.frozen import replace
from signward.state import Manifest, SignedArtifact, Source, Wanted
from signward.wire.source import slot_digests, whole_digest

MAX_HELD = 256 * 1024 * 1024
"""Octets of a file held in memory, which only schemes that hash for themselves ask for."""


class RawFormat(Apart):
    """A file judged by a bare value and the keys that the caller names; unsigned without."""

    name = "raw"
    spec = "RFC 8017, RFC 8032, FIPS 186-5: a value, by a public key that is named"
    extensions: tuple[str, ...] = (".sig",)

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Read the value, and digest the file: only the value tells which digest was signed."""
        artifact = SignedArtifact(
            format=self.name, source=source, signatures=(), profile="pinned", layout={}
        )
        if self._signature is None:
            return artifact
        value = read_value(self._signature)
        hashers = {name: hashlib.new(name, usedforsecurity=False) for name in DIGESTS}
        source.feed([(0, source.length)], list(hashers.values()))
        digests = {name: hasher.digest() for name, hasher in hashers.items()}
        claimed = claim(value, WHOLE, digests, lambda: _held(source))
        return replace(
            artifact,
            signatures=(claimed,),
            required={claimed.label: frozenset({WHOLE})},
            layout={(WHOLE, name): digest for name, digest in digests.items()},
        )

    def sign(self, source: Source, request: Request) -> Signing:
        """Sign all bytes; the patch puts the value in their place: it is a file of its own."""
        algorithm = request.signer.algorithm
        octets = whole_digest(source, algorithm.digest) if algorithm.digest else _held(source)
        digested = replace(algorithm, digested=bool(algorithm.digest))
        value = yield RawDraft(to_be_signed=octets, algorithm=digested)
        return self.embed(source, (value,))

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute the digests of all bytes that parsing did not compute yet, in one pass."""
        known: Manifest = artifact.layout
        source = artifact.source
        others = (slot for slot in wanted - known.keys() if slot[0] == WHOLE)
        fresh = slot_digests(source, [(0, source.length)], others)
        return {**{slot: known[slot] for slot in wanted & known.keys()}, **fresh}


def _held(source: Source) -> bytes:
    if source.length > MAX_HELD:
        raise LimitError(source.name, f"{source.length} octets", f"at most {MAX_HELD}")
    return source.read(0, source.length)
