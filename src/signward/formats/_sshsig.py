"""Any file with an SSH signature beside it (``ssh-keygen -Y sign``): every byte is covered."""

from __future__ import annotations

from signward.envelopes import sshsig
from signward.formats import ParseOptions
from signward.formats._apart import WHOLE, Apart
from signward.state import Manifest, SignedArtifact, Source, Wanted
from signward.wire.source import whole_digest


class SshFormat(Apart):
    """A file judged by the SSH signature it is given with; unsigned without."""

    name = "sshsig"
    spec = "OpenSSH's PROTOCOL.sshsig"
    extensions: tuple[str, ...] = (".sig",)

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

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Return the digest that parsing computed."""
        known: Manifest = artifact.layout
        return {slot: known[slot] for slot in wanted & known.keys()}
