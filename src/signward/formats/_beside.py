"""Any file with a signature beside it that is no CMS: every byte is covered.

Not found by recognition: whoever asks names the signature.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from signward.envelopes import sshsig
from signward.envelopes.minisign import claims, read_text
from signward.envelopes.openpgp import Opened, open_detached
from signward.formats import Match, ParseOptions, Peek
from signward.state import ClaimedSignature, Manifest, SignedArtifact, Source, Wanted
from signward.wire.source import whole_digest

WHOLE = "file"
"""The slot of all bytes; an OpenPGP signature's own has its label behind it."""


class OpenPgpFormat:
    """A file judged by detached OpenPGP signatures.

    What is hashed is the file and then what the signature says of itself, so each signature
    has a slot of its own.
    """

    name = "openpgp"
    spec = "RFC 9580 10.4, detached signature"
    extensions: tuple[str, ...] = (".asc", ".gpg", ".sig")

    def __init__(self, signature: bytes | None = None) -> None:
        self._signature = signature

    def recognise(self, peek: Peek) -> Match:  # noqa: ARG002
        """Claim nothing: the caller names the signature."""
        return Match.NO

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Open the signatures; the file itself has no structure."""
        opened = open_detached(self._signature, WHOLE) if self._signature is not None else ()
        return SignedArtifact(
            format=self.name,
            source=source,
            signatures=tuple(one.claimed for one in opened),
            required={one.claimed.label: frozenset({one.claimed.over}) for one in opened},
            profile="openpgp",
            layout={one.claimed.over: one for one in opened},
        )

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute the digests of all bytes, and of what each signature hashes, in one pass."""
        return _digests(artifact, wanted)


class MinisignFormat:
    """A file judged by minisign's or signify's signature; both values of the former must fit."""

    name = "minisign"
    spec = "minisign's signature format; signify(1)"
    extensions: tuple[str, ...] = (".minisig", ".sig")

    def __init__(self, signature: bytes | None = None) -> None:
        self._signature = signature

    def recognise(self, peek: Peek) -> Match:  # noqa: ARG002
        """Claim nothing: the caller names the signature."""
        return Match.NO

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

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute the digests of all bytes, in one pass."""
        return _digests(artifact, wanted)


class SshFormat:
    """A file judged by what ``ssh-keygen -Y sign`` wrote."""

    name = "sshsig"
    spec = "OpenSSH's PROTOCOL.sshsig"
    extensions: tuple[str, ...] = (".sig",)

    def __init__(self, signature: bytes | None = None) -> None:
        self._signature = signature

    def recognise(self, peek: Peek) -> Match:  # noqa: ARG002
        """Claim nothing: the caller names the signature."""
        return Match.NO

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Open the signature, over the digest that is computed: it does not tell which it was."""
        signatures: tuple[ClaimedSignature, ...] = ()
        if self._signature is not None:
            text = sshsig.read_text(self._signature)
            signatures = (sshsig.claim(text, whole_digest(source, text.digest), WHOLE),)
        return SignedArtifact(
            format=self.name,
            source=source,
            signatures=signatures,
            required={s.label: frozenset({WHOLE}) for s in signatures},
            profile="sshsig",
            layout={},
        )

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
    artifact.source.feed([(0, artifact.source.length)], list(hashers.values()))
    for (slot, _), hasher in hashers.items():
        hasher.update(around[slot][1])
    return {slot: hasher.digest() for slot, hasher in hashers.items()}
