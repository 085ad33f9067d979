"""macOS bundles: a folder that is one piece of code (.app, .framework, .kext, ...).

Sources: Apple's Security framework (``bundlediskrep.cpp``, ``StaticCode.cpp``, ``resources.cpp``),
Technical Note 2206.  The signature lies in the main executable.  Two of its special slots hold
the digests of the bundle's property list and of ``_CodeSignature/CodeResources``, which lists
every other file: by digest, a link by its target, nested code by a requirement and the code
directory hash it had.  A part is thus covered when the list is what the signature says and the
part what the list says; nested code must have an intact signature of its own, or be the very
code whose hash the list gives.

A framework's other versions are judged as nested code is; no list names them, so they must be
what the current version's own requirement asks: by the same signer.  A stapled notarization ticket
(``Contents/CodeResources``) is no part of what is signed; it must be Apple's and speak of this
code.
"""

from __future__ import annotations

from collections.abc import Mapping

from signward.errors import MalformedError
from signward.formats import Match, ParseOptions, Peek
from signward.formats._apple_options import OPTIONS
from signward.formats._bundle_layout import EXTENSIONS, is_bundle
from signward.state import Manifest, SignedArtifact, Source, Tree, Wanted


class BundleFormat:
    """The format of bundles: folders, never files.

    What parses them is imported where there is a bundle: every start asks formats to recognise.
    """

    name = "bundle"
    spec = "Apple code signing of bundles, Technical Note 2206"
    extensions: tuple[str, ...] = EXTENSIONS
    tree_options: Mapping[str, str] = OPTIONS

    def recognise(self, peek: Peek) -> Match:  # noqa: ARG002
        """Claim no file."""
        return Match.NO

    def recognise_tree(self, tree: Tree) -> Match:
        """Recognise a folder by its name and the property list in it."""
        return Match.SPECIFIC if is_bundle(tree) else Match.NO

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Refuse: a bundle is a folder.  Raises ``MalformedError``."""
        raise MalformedError(source.name, "a file", "a folder")

    def parse_tree(self, tree: Tree, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Find the main executable's signatures, and hold the folder against the signed list."""
        from signward.formats._bundle_tree import parse_bundle

        return parse_bundle(tree)

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute digests: of the executable's slots, of files and of the targets of links."""
        from signward.formats._bundle_tree import digests_of_bundle

        return digests_of_bundle(artifact, wanted)

    def with_facts(self, artifact: SignedArtifact) -> SignedArtifact:
        """Add what the code says of itself, nested code, and the stapled ticket."""
        from signward.formats._bundle_tree import bundle_with_facts

        return bundle_with_facts(artifact)


FORMAT = BundleFormat()
