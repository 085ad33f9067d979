"""Debian packages (.deb) with signatures inside (debsigs(1p), dpkg-sig(1)).

An ar archive (deb(5)) of ``debian-binary``, a control archive and a data archive; signatures
stand behind them in members whose names begin with ``_gpg``.  What else is there is passed over
by dpkg, and is covered by nothing: it rejects.

**A role is a claim.**  ``_gpgorigin``, ``_gpgmaint`` and ``_gpgarchive`` are names of members,
which nobody signs: anybody can give a signature another role.  Verdicts tell whose key it was.

Debian itself signs no packages: its archives sign lists of them (``formats.clearsigned``).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from signward.formats import Match, ParseOptions, Peek, Request, Signing
from signward.state import Manifest, SignedArtifact, Source, Wanted
from signward.wire.ar import MAGIC
from signward.wire.patch import PatchSet


class DebFormat:
    """The Debian package."""

    name = "deb"
    spec = "deb(5) with debsigs' OpenPGP signatures; dpkg-sig's lists"
    extensions: tuple[str, ...] = (".deb", ".udeb", ".ddeb")
    options: Mapping[str, str] = MappingProxyType(
        {"role": "the signature's role: origin (the default), maint or archive"}
    )

    def recognise(self, peek: Peek) -> Match:
        """Recognise an ar archive whose first member is the version of the package's layout."""
        first = peek.head[8:24].rstrip(b" ").removesuffix(b"/")
        is_deb = peek.head[:8] == MAGIC and first == b"debian-binary"
        return Match.SPECIFIC if is_deb else Match.NO

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Find the members and the signatures over them."""
        from signward.formats import _deb_signature as deb

        return deb.parsed(source)

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute the digests of members, alone and together, in one pass."""
        from signward.formats import _deb_signature as deb

        return deb.computed(artifact, wanted)

    def sign(self, source: Source, request: Request) -> Signing:
        """Sign the members together, as debsigs does."""
        from signward.formats import _deb_sign as signing

        plan = signing.planned(source, request)
        sealed = yield signing.drafted(source, plan, request)
        return signing.signed(source, plan, sealed)

    def envelopes(self, source: Source) -> tuple[bytes, ...]:
        """Return what the signatures' members hold."""
        from signward.formats import _deb_sign as signing

        return signing.held(source)

    def embed(self, source: Source, envelopes: tuple[bytes, ...]) -> PatchSet:
        """Return the patch that puts these in members behind the data; none strips them all."""
        from signward.formats import _deb_sign as signing

        return signing.embedded(source, envelopes)


FORMAT = DebFormat()
