"""An archive's InRelease: clear-signed text, of which nothing but what is signed is read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from signward.envelopes.openpgp import Opened
from signward.envelopes.openpgp_clear import MAX_OCTETS, ClearText, open_clear, read_clear
from signward.errors import LimitError
from signward.formats import ParseOptions
from signward.formats._apart import WHOLE, Apart
from signward.frozen import Frozen
from signward.state import Manifest, SignedArtifact, Source, Wanted


class Layout(Frozen, frozen=True, kw_only=True):
    """The block, and its signatures by the slot that each is over."""

    clear: ClearText
    opened: Mapping[str, Opened]


class InReleaseFormat(Apart):
    """One clear-signed block that is the whole file; several may have signed it."""

    name = "inrelease"
    spec = "RFC 9580 7, cleartext signature framework"
    extensions: tuple[str, ...] = ()

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Read the block.  Raises ``BadInputError``, for octets outside it too."""
        if source.length > MAX_OCTETS:
            raise LimitError(source.name, f"{source.length} octets", f"at most {MAX_OCTETS}")
        clear = read_clear(source.read(0, source.length))
        opened = {one.claimed.over: one for one in open_clear(clear, WHOLE)}
        return SignedArtifact(
            format=self.name,
            source=source,
            signatures=tuple(one.claimed for one in opened.values()),
            required={one.claimed.label: frozenset({slot}) for slot, one in opened.items()},
            profile="openpgp",
            layout=Layout(clear=clear, opened=opened),
        )

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute what each signature hashes: the text between what it puts around it."""
        layout: Layout = artifact.layout
        found: dict[tuple[str, str], bytes] = {}
        for slot, algorithm in wanted:
            if one := layout.opened.get(slot):
                octets = one.before + layout.clear.hashed + one.behind
                found[slot, algorithm] = hashlib.new(
                    algorithm, octets, usedforsecurity=False
                ).digest()
        return found
