"""Junos packages: a gzip of a tar archive with a signed manifest of its files.

Juniper publishes how its devices check them as part of FreeBSD (see ``envelopes.veriexec``);
packages without such a manifest (older releases) are of a kind that no public document specifies.
Nothing in a package but the manifest and what signs it may stand outside the list: neither links
nor devices, and every listed file must be there.  What tar says of files besides (owner, time,
mode) is nobody's word, as in Junos itself; but only the list may give a file its owner's rights.
"""

from __future__ import annotations

from signward.formats import Match, ParseOptions, Peek
from signward.state import Manifest, SignedArtifact, Source, Wanted
from signward.wire.device_names import is_junos


class JunosFormat:
    """The Junos package."""

    name = "junos"
    spec = "FreeBSD lib/libsecureboot: manifest with .esig or .rsig"
    extensions: tuple[str, ...] = (".tgz",)

    def recognise(self, peek: Peek) -> Match:
        """Recognise a gzip by its name: nothing else tells what is in it without unpacking."""
        named = peek.head.startswith(b"\x1f\x8b\x08") and is_junos(peek.name)
        return Match.SPECIFIC if named else Match.NO

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Find the manifest and what signs it."""
        from signward.formats._junos_package import parsed  # for such packages only

        return parsed(source, self.name)

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute the digests of the manifest and of files, in one pass over what is packed."""
        from signward.formats._junos_package import computed

        return computed(artifact, wanted)


FORMAT = JunosFormat()
