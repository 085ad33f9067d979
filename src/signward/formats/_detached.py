"""Any file with a detached signature beside it: every byte is covered.

With signed attributes or without (``openssl cms -sign -noattr``): then nothing but the value
says what was signed.
"""

from __future__ import annotations

from signward.envelopes.cms_detached import draft_detached, open_detached
from signward.envelopes.cms_external import (
    MAX_ATTRIBUTE_SET,
    is_attribute_set,
    is_plain,
    open_external,
)
from signward.errors import LimitError, MalformedError
from signward.formats import ParseOptions, Request, Signing
from signward.formats._apart import WHOLE, Apart
from signward.state import ClaimedSignature, Manifest, SignedArtifact, Source, Wanted
from signward.wire.source import slot_digests, whole_digest

MAX_HELD = 256 * 1024 * 1024
"""Octets of a file held in memory, which only schemes that hash for themselves ask for."""


class DetachedFormat(Apart):
    """A file judged by the detached CMS signature it is given with; unsigned without."""

    name = "detached"
    spec = "RFC 5652 5.2, external signature"
    extensions: tuple[str, ...] = (".p7s",)

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

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute the digests of all bytes, in one pass."""
        source = artifact.source
        own = (slot for slot in wanted if slot[0] == WHOLE)
        return slot_digests(source, [(0, source.length)], own)


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
