"""Any file with a signature beside it that is no CMS: every byte is covered."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from signward.envelopes.minisign import MINISIGN, claims, read_text, whole
from signward.envelopes.openpgp import Opened, line_ends, open_detached
from signward.envelopes.openpgp_packets import armour, packets
from signward.envelopes.openpgp_signature import BINARY, TEXT
from signward.envelopes.openpgp_text import LineEnds, TextHasher
from signward.formats import ParseOptions, Request, Signing
from signward.formats._apart import WHOLE, Apart
from signward.frozen import replace
from signward.state import Manifest, SignedArtifact, Source, Wanted
from signward.wire.source import whole_digest


class OpenPgpFormat(Apart):
    """A file judged by detached OpenPGP signatures.

    What is hashed is the file and then what the signature says of itself, so each signature
    has a slot of its own: `WHOLE` with its label behind it.
    """

    name = "openpgp"
    spec = "RFC 9580 10.4, detached signature"
    extensions: tuple[str, ...] = (".asc", ".gpg", ".sig")

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Open the signatures; the file itself has no structure."""
        blob = self._signature
        opened = open_detached(blob, WHOLE, kinds=(BINARY, TEXT)) if blob is not None else ()
        texts = [one for one in opened if one.text]
        unsigned = texts if texts and not _is_signed_text(source) else []
        return SignedArtifact(
            format=self.name,
            source=source,
            signatures=tuple(one.claimed for one in opened),
            required={one.claimed.label: frozenset({one.claimed.over}) for one in opened},
            profile="openpgp",
            conditions={one.claimed.label: (line_ends(one),) for one in unsigned},
            layout={one.claimed.over: one for one in opened},
        )

    def sign(self, source: Source, request: Request) -> Signing:
        """Sign all bytes; the patch puts the signature, armoured, in their place."""
        from signward.envelopes.openpgp_draft import draft_openpgp  # for signing only

        sealed = yield draft_openpgp(
            request.signer,
            request.at,
            lambda hashers: source.feed([(0, source.length)], hashers),
        )
        (packet,) = packets(sealed)
        text = armour(sealed, "SIGNATURE", checksum=packet.body[0] != 6)  # its version
        return self.embed(source, (text,))

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute the digests of all bytes, and of what each signature hashes, in one pass."""
        return _digests(artifact, wanted)


class MinisignFormat(Apart):
    """A file judged by minisign's or signify's signature; both values of the former must fit.

    ``kind`` says as which of the two files are signed.
    """

    name = "minisign"
    spec = "minisign's signature format; signify(1)"
    extensions: tuple[str, ...] = (".minisig", ".sig")

    def __init__(self, signature: bytes | None = None, *, kind: str = MINISIGN) -> None:
        super().__init__(signature)
        self._kind = kind

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Open the signature; the file itself has no structure."""
        text = read_text(self._signature) if self._signature is not None else None
        signatures = claims(text, source, WHOLE) if text else ()
        return SignedArtifact(
            format=self.name,
            source=source,
            signatures=signatures,
            required={s.label: frozenset({WHOLE}) for s in signatures[:1]},
            every=True,  # the comment's own value counts whatever rule the caller has
            profile="pinned",
            facts={"trusted-comment": text.comment} if text and text.comment else {},
            layout={},
        )

    def sign(self, source: Source, request: Request) -> Signing:
        """Sign all bytes; the patch puts the signature in their place.

        minisign's value is over their BLAKE2b-512 digest, signify's over them.
        """
        # For signing only.
        from signward.envelopes.minisign_draft import (
            MinisignDraft,
            SignifyDraft,
            ValueDraft,
            holder_of,
            trusted_comment,
        )

        key_id, by = holder_of(request.signer, self._kind).key_id, request.signer.algorithm
        if self._kind != MINISIGN:
            sealed = yield SignifyDraft(key_id=key_id, to_be_signed=whole(source), algorithm=by)
            return self.embed(source, (sealed,))
        digest = whole_digest(source, "blake2b")
        first = yield ValueDraft(to_be_signed=digest, algorithm=replace(by, digested=True))
        name = source.name.rpartition("/")[2]
        sealed = yield MinisignDraft(
            key_id=key_id, first=first, comment=trusted_comment(name, request.at), algorithm=by
        )
        return self.embed(source, (sealed,))

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute the digests of all bytes, in one pass."""
        return _digests(artifact, wanted)


def _digests(artifact: SignedArtifact, wanted: Wanted) -> Manifest:
    """Hash all bytes, between what an OpenPGP signature puts before and behind them."""
    opened: Mapping[str, Opened] = artifact.layout
    around = {slot: (one.before, one.behind) for slot, one in opened.items()}
    around[WHOLE] = b"", b""
    hashers = {
        (slot, algorithm): hashlib.new(algorithm, around[slot][0], usedforsecurity=False)
        for slot, algorithm in wanted
        if slot in around
    }
    texts = {
        key: TextHasher(hasher)
        for key, hasher in hashers.items()
        if key[0] in opened and opened[key[0]].text
    }
    source = artifact.source
    source.feed([(0, source.length)], [texts.get(key, h) for key, h in hashers.items()])
    for text in texts.values():
        text.finish()
    for (slot, _), hasher in hashers.items():
        hasher.update(around[slot][1])
    return {slot: hasher.digest() for slot, hasher in hashers.items()}


def _is_signed_text(source: Source) -> bool:
    """Say whether a signature over text speaks for every octet of a file."""
    ends = LineEnds()
    source.feed([(0, source.length)], [ends])
    return ends.signed
