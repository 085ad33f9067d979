"""Any file with an SSH signature beside it (``ssh-keygen -Y sign``): every byte is covered."""

from __future__ import annotations

from signward.envelopes import sshsig
from signward.formats import ParseOptions, Request, Signing
from signward.formats._apart import WHOLE, Apart
from signward.state import Manifest, SignedArtifact, Source, Wanted
from signward.wire.source import whole_digest


class SshFormat(Apart):
    """A file judged by the SSH signature it is given with; unsigned without.

    ``namespace`` is what files are signed for.
    """

    name = "sshsig"
    spec = "OpenSSH's PROTOCOL.sshsig"
    extensions: tuple[str, ...] = (".sig",)

    def __init__(self, signature: bytes | None = None, *, namespace: str = "file") -> None:
        super().__init__(signature)
        self._namespace = namespace

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Open the signature, over the digest that is computed: it does not tell which it was."""
        artifact = SignedArtifact(
            format=self.name, source=source, signatures=(), profile="sshsig", layout={}
        )
        if self._signature is None:
            return artifact
        text = sshsig.read_text(self._signature)
        computed = whole_digest(source, text.digest)
        claimed = sshsig.claim(text, computed, WHOLE)
        return SignedArtifact(
            format=self.name,
            source=source,
            signatures=(claimed,),
            required={claimed.label: frozenset({WHOLE})},
            profile="sshsig",
            facts={"namespace": claimed.content_type},
            layout={(WHOLE, text.digest): computed},
        )

    def sign(self, source: Source, request: Request) -> Signing:
        """Sign all bytes; the patch puts the signature in their place."""
        from signward.envelopes.sshsig_draft import content_digest, draft_sshsig  # for signing only

        digest = content_digest(request.signer.digest)
        sealed = yield draft_sshsig(
            request.signer, digest, whole_digest(source, digest), self._namespace
        )
        return self.embed(source, (sealed,))

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Return the digest that parsing computed."""
        known: Manifest = artifact.layout
        return {slot: known[slot] for slot in wanted & known.keys()}
