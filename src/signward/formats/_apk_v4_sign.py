"""Any package with the ``.idsig`` file (APK Signature Scheme v4) that is named, or to be written.

`formats.apk` finds the file by its name; here it is handed in, and made.
"""

from __future__ import annotations

from collections.abc import Sequence

from signward.envelopes.apk_draft import draft_v4
from signward.errors import NotSignableError
from signward.findings import Code, Effect, Finding
from signward.formats import ParseOptions, Request, Signing
from signward.formats._apart import Apart
from signward.formats._apk_digest import file_tree
from signward.formats._apk_v4 import KNOWS_V4, SUFFIX
from signward.formats.apk import FORMAT
from signward.frozen import replace
from signward.state import Manifest, SignedArtifact, Slot, Source, Wanted
from signward.wire.companions import MappedCompanions
from signward.wire.source import BytesSource

_WHAT = "v4 signature"
_ORDER = (("apk-chunks", "sha256"), ("apk-verity", "sha256"), ("apk-chunks", "sha512"))
"""Content digests, the best last (AOSP ``V4SchemeSigner``)."""


class ApkV4Format(Apart):
    """A package judged with its v4 signature; by its other signatures alone without."""

    name = "apk-v4"
    spec = "Android, APK Signature Scheme v4"
    extensions: tuple[str, ...] = (SUFFIX,)

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:
        """Find all signatures of the package, the file beside it included."""
        name = source.name.rpartition("/")[2] + SUFFIX
        beside = {} if self._signature is None else {name: BytesSource(name, self._signature)}
        found = FORMAT.parse(source, replace(options, companions=MappedCompanions(beside)))
        if not beside or any(one.label.startswith("v4") for one in found.signatures):
            return found
        return replace(found, findings=(*found.findings, _unread()))

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute what the package's signatures speak of."""
        return FORMAT.digests(artifact, wanted)

    def sign(self, source: Source, request: Request) -> Signing:
        """Sign a package that the same signer has signed by v2 or v3 already."""
        artifact = FORMAT.parse(source, ParseOptions())
        digest = _best(_repeated(artifact, request.signer.certificates[0]))
        draft = draft_v4(request.signer, source.length, file_tree(source), digest)
        sealed = yield draft
        return self.embed(source, (sealed,))


def _unread() -> Finding:
    """Say that nobody asked about looks at the file that was named."""
    return Finding(
        code=Code.SLOT_MISSING,
        effect=Effect.REJECT,
        subject=_WHAT,
        found="no platform asked about that looks at it",
        required=f"one from {KNOWS_V4} on",
        clause="APK Signature Scheme v4",
        hint="--max-sdk asks about older ones only; without --detached they are judged by theirs",
    )


def _repeated(artifact: SignedArtifact, certificate: bytes) -> Sequence[Slot]:
    """Return the slots of the claims whose signer and digest v4 repeats.

    Raises ``NotSignableError``.
    """
    labelled = [(one.label.partition(":")[0], one) for one in artifact.signatures]
    if any(scheme == "v3.1" for scheme, _ in labelled):
        raise NotSignableError(_WHAT, "a package that scheme v3.1 hands on", "one signer: two "
                               "must sign together by v4")  # fmt: skip
    by_v3, by_v2 = ([one for scheme, one in labelled if scheme == name] for name in ("v3", "v2"))
    found = by_v3 or by_v2
    if not found:
        raise NotSignableError(_WHAT, "a package without scheme v2 or v3", "one of them",
                               hint="signward sign it first, without --detached")  # fmt: skip
    if {one.claimed_certificates[0] for one in found} != {certificate}:
        raise NotSignableError(_WHAT, "a package by somebody else", "by this key's certificate")
    return [slot for claimed in found for slot in claimed.slots]


def _best(slots: Sequence[Slot]) -> bytes:
    return max(slots, key=_rank).digest


def _rank(slot: Slot) -> int:
    return _ORDER.index((slot.name, slot.algorithm))
