"""Manifests of ours: a signed list of a whole tree, by which files without a signature are judged.

Sources: DSSE 1.0 (secure-systems-lab/dsse), in-toto Statement v1 (in-toto/attestation).  As in
a catalog of Windows, each listed file is an :class:`~signward.state.Endorsement`: no slot of the
manifest's own file is left to compute, for the signed octets lie inside the envelope.

Only envelopes with our predicate are taken, told by the payload's first octets as
``signward manifest`` writes them; attestations of other kinds are others' business.
"""

from __future__ import annotations

import re

from signward.errors import LimitError, MalformedError
from signward.formats import Match, ParseOptions, Peek
from signward.formats._manifest import (
    FILE_KIND,
    MANIFEST_NAME,
    MANIFEST_VERSION,
    PAYLOAD_TYPE,
    PREDICATE,
    read,
)
from signward.state import (
    Endorsement,
    Manifest,
    SignedArtifact,
    Source,
    Wanted,
)

_WHAT = "manifest"
_OPENING = re.compile(rb'\s*\{\s*"payload"\s*:\s*"(eyJfdHlwZSI6[A-Za-z0-9+/_-]{0,180})')
"""An envelope whose payload begins with ``{"_type":`` (in Base64)."""


class ManifestFormat:
    """The format of signed manifests."""

    name = "manifest"
    spec = "In-toto Statement v1 in a DSSE 1.0 envelope"
    extensions: tuple[str, ...] = (".manifest",)

    def recognise(self, peek: Peek) -> Match:
        """Recognise an envelope by the first octets of its payload."""
        opening = _OPENING.match(peek.head[:512])
        if opening is None:
            return Match.NO
        encoded = opening[1].translate(bytes.maketrans(b"-_", b"+/"))
        whole = encoded[: len(encoded) // 4 * 4]
        return Match.SPECIFIC if PREDICATE.encode() in _decoded(whole) else Match.NO

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Read the list and the signatures over it."""
        from signward.envelopes import dsse  # for manifests only
        from signward.envelopes.dsse_claim import claim

        if source.length > dsse.MAX_OCTETS:
            raise LimitError(_WHAT, f"{source.length} octets", f"at most {dsse.MAX_OCTETS}")
        data = source.read(0, source.length)
        envelope = dsse.open_envelope(data)
        if envelope.claimed_type != PAYLOAD_TYPE:
            raise MalformedError(_WHAT, f"payload {envelope.claimed_type[:80]!r}", PAYLOAD_TYPE)
        statement = read(envelope.claimed_payload)
        return SignedArtifact(
            format=self.name,
            source=source,
            signatures=tuple(
                claim(str(number), signature, envelope, data)
                for number, signature in enumerate(envelope.signatures, 1)
            ),
            endorsements=tuple(
                Endorsement(
                    algorithm="sha256", digest=bytes.fromhex(file.digest.sha256), kind=FILE_KIND
                )
                for file in statement.subject
            ),
            facts={
                MANIFEST_NAME: statement.predicate.name,
                MANIFEST_VERSION: statement.predicate.version,
            },
        )

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:  # noqa: ARG002
        """Compute nothing: what is signed lies inside the envelope."""
        return {}


def _decoded(text: bytes) -> bytes:
    import binascii

    return binascii.a2b_base64(text)


FORMAT = ManifestFormat()
