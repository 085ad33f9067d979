"""Any file with a detached signature beside it: every byte is covered.

With signed attributes or without (``openssl cms -sign -noattr``): then nothing but the value
says what was signed.

Not found by recognition: whoever asks names the signature.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType

from signward.envelopes.cms_detached import draft_detached, open_detached
from signward.envelopes.cms_external import (
    MAX_ATTRIBUTE_SET,
    is_attribute_set,
    is_plain,
    open_external,
)
from signward.errors import LimitError, MalformedError
from signward.formats import Match, ParseOptions, Peek, Request, Signing
from signward.state import ClaimedSignature, Manifest, SignedArtifact, Source, Wanted
from signward.wire.patch import Edit, PatchSet
from signward.wire.source import whole_digest

WHOLE = "file"
"""The slot of all bytes."""

MAX_HELD = 256 * 1024 * 1024
"""Octets of a file held in memory, which only schemes that hash for themselves ask for."""


class DetachedFormat:
    """A file judged by the detached CMS signature it is given with; unsigned without."""

    name = "detached"
    spec = "RFC 5652 5.2, external signature"
    extensions: tuple[str, ...] = (".p7s",)

    options: Mapping[str, str] = MappingProxyType({})

    def __init__(self, signature: bytes | None = None) -> None:
        self._signature = signature

    def recognise(self, peek: Peek) -> Match:  # noqa: ARG002
        """Claim nothing: the caller names the signature."""
        return Match.NO

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Open the signature; the file itself has no structure."""
        signatures = () if self._signature is None else _opened(self._signature, source)
        return SignedArtifact(
            format=self.name,
            source=source,
            signatures=signatures,
            required={s.label: frozenset({WHOLE}) for s in signatures},
        )

    def sign(self, source: Source, request: Request) -> Signing:
        """Sign all bytes; the patch puts the signature in their place: it is a file of its own."""
        digest = whole_digest(source, request.signer.digest)
        sealed = yield draft_detached(digest, request.signer, request.at)
        return self.embed(source, (sealed,))

    def envelopes(self, source: Source) -> tuple[bytes, ...]:  # noqa: ARG002
        """Return the signature this was made with."""
        return () if self._signature is None else (self._signature,)

    def embed(self, source: Source, envelopes: tuple[bytes, ...]) -> PatchSet:
        """Return the patch that turns the file into the first envelope's, or leaves it alone."""
        whole = Edit(start=0, end=source.length, data=envelopes[0]) if envelopes else None
        return PatchSet(edits=(whole,) if whole else ())

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute the digests of all bytes, in one pass."""
        hashers = {
            (name, algorithm): hashlib.new(algorithm, usedforsecurity=False)
            for name, algorithm in wanted
            if name == WHOLE
        }
        artifact.source.feed([(0, artifact.source.length)], list(hashers.values()))
        return {slot: hasher.digest() for slot, hasher in hashers.items()}


def _opened(blob: bytes, source: Source) -> tuple[ClaimedSignature, ...]:
    """Return the signatures in a message.  Raises ``BadInputError``."""
    if not is_plain(blob):
        return open_detached(blob, WHOLE)
    if source.length <= MAX_ATTRIBUTE_SET and is_attribute_set(source.read(0, source.length)):
        raise MalformedError(
            source.name, "the signed attributes of some signature", "content: these were never "
            "signed for what they are", "RFC 5652 5.4",
        )  # fmt: skip
    return open_external(blob, WHOLE, lambda: _held(source))


def _held(source: Source) -> bytes:
    if source.length > MAX_HELD:
        raise LimitError(source.name, f"{source.length} octets", f"at most {MAX_HELD}")
    return source.read(0, source.length)
