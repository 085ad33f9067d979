"""Clear-signed text (RFC 9580 7): lists of archives, descriptions of Debian's sources and uploads.

What is signed is the text inside the block; the file must be one block and nothing else
(``envelopes.openpgp_clear`` says what is refused).  Spaces and tabs at the ends of lines are not
signed, nor are dash escapes and line endings: the text means the same without them.

``.dsc``, ``.changes`` and ``.buildinfo`` (dpkg's deb-src-control(5), deb-changes(5)) list files by
digest.  Those that lie beside the text are held against it; of the others the verdict says that
they were not seen.  The lists of an archive (``InRelease``) speak of files elsewhere: only the
text itself is judged here, and what it says of its own end is for those who use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from signward.formats import Match, ParseOptions, Peek, Request, Signing
from signward.state import Manifest, SignedArtifact, Source, Wanted
from signward.wire.clear_text import CONTROL, is_clear, is_control
from signward.wire.patch import PatchSet


class ClearSignedFormat:
    """The format of clear-signed text."""

    name = "clearsigned"
    spec = "RFC 9580 7, cleartext signature framework; Debian's InRelease, .dsc, .changes"
    extensions: tuple[str, ...] = CONTROL
    options: Mapping[str, str] = MappingProxyType({})

    def recognise(self, peek: Peek) -> Match:
        """Recognise a block, and control data that should be one, signed or not."""
        if is_clear(peek.head):
            return Match.MAGIC
        return Match.EXTENSION if is_control(peek.name, peek.head) else Match.NO

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:
        """Read the block, and of control data the files that it lists."""
        from signward.formats import _clear_text as clear

        return clear.parsed(source, options)

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute the digests of the text as each signature hashes it, and of the files beside."""
        from signward.formats import _clear_text as clear

        return clear.computed(artifact, wanted)

    def sign(self, source: Source, request: Request) -> Signing:
        """Sign the text; further signatures stand behind the one text, in the order of time."""
        from signward.formats import _clear_sign as signing

        plan = signing.planned(source, request)
        sealed = yield signing.drafted(plan, request)
        return signing.signed(source, plan, sealed)

    def envelopes(self, source: Source) -> tuple[bytes, ...]:
        """Return the signature packets, in the order of their labels."""
        from signward.formats import _clear_sign as signing

        return signing.packets_in(source)

    def embed(self, source: Source, envelopes: tuple[bytes, ...]) -> PatchSet:
        """Return the patch that puts these behind the text, or leaves the bare text."""
        from signward.formats import _clear_sign as signing

        return signing.embedded(source, envelopes)


FORMAT = ClearSignedFormat()
