"""The ``.idsig`` file beside a package (APK Signature Scheme v4), held against its other signers.

Source: Android, "APK Signature Scheme v4"; AOSP ``ApkVerifier``.  v4 lets Android run a package
while it still arrives, each page checked against a tree; it counts only beside v2 or v3, whose
signer and content digest it must repeat.
"""

from __future__ import annotations

from collections.abc import Iterator

from signward.envelopes.apk_v4 import MAX_IDSIG, V4Signer, open_idsig, with_lineage
from signward.errors import LimitError
from signward.findings import Code, Effect, Finding
from signward.formats._apk_schemes import KNOWS_V31, Range, Schemes
from signward.frozen import Frozen
from signward.state import ClaimedSignature, Companions, Source

KNOWS_V4 = 30
"""The first platform that knows the scheme: Android 11."""

SUFFIX = ".idsig"
"""Stands behind the package's whole name."""

_HINT = "a file from before the package was signed anew? Then delete it, or sign by v4 again"


class Opened(Frozen, frozen=True, kw_only=True):
    """What the file claims, and what speaks against it at once."""

    claims: tuple[ClaimedSignature, ...] = ()
    findings: tuple[Finding, ...] = ()


def open_v4(
    source: Source, companions: Companions | None, schemes: Schemes, asked: Range
) -> Opened:
    """Return the v4 signature beside a package, if there is one and a platform would take it.

    Raises ``BadInputError`` for a file that cannot be read.
    """
    beside = companions.find(source.name.rpartition("/")[2] + SUFFIX) if companions else None
    if beside is None or not asked.reaches(KNOWS_V4):
        return Opened()
    if beside.length > MAX_IDSIG:
        raise LimitError("v4 signature", f"{beside.length} octets", f"at most {MAX_IDSIG}")
    signers = [
        signer
        for signer in open_idsig(beside.read(0, beside.length), source.length)
        if signer.scheme != "v3.1" or asked.reaches(KNOWS_V31)
    ]
    return Opened(
        claims=tuple(_as_handed_on(signer, schemes) for signer in signers),
        findings=tuple(_disagreeing(signers, schemes)),
    )


def _main(schemes: Schemes) -> str:
    return "v3" if "v3" in schemes.signers else "v2"


def _scheme(signer: V4Signer, schemes: Schemes) -> str:
    """Return the scheme whose word a signer repeats."""
    return signer.scheme or _main(schemes)


def _as_handed_on(signer: V4Signer, schemes: Schemes) -> ClaimedSignature:
    """Return the claim with the lineage that its signer has by the scheme it repeats."""
    for theirs in schemes.signers.get(_scheme(signer, schemes), ()):
        if theirs.certificate == signer.certificate:
            return with_lineage(signer.claimed, theirs.lineage)
    return signer.claimed


def _disagreeing(signers: list[V4Signer], schemes: Schemes) -> Iterator[Finding]:
    """Report schemes that lack their v4 signer, and v4 signers who do not repeat their scheme."""
    said = {_scheme(signer, schemes) for signer in signers}
    for scheme in ({_main(schemes), "v3.1"} & schemes.signers.keys()) - said:
        yield _refused("nothing for scheme " + scheme, "a signer for each scheme of its platforms")
    for signer in signers:
        scheme = _scheme(signer, schemes)
        theirs = schemes.signers.get(scheme, ())
        if {one.certificate for one in theirs} != {signer.certificate}:
            found = "a signer who is not" if theirs else "a signer, but nothing by scheme"
            yield _refused(found, f"the one signer of scheme {scheme}")
        elif not any(
            slot.digest == signer.digest
            for one in theirs
            for claimed in one.claims
            for slot in claimed.slots
        ):
            yield _refused("another content digest", f"one of scheme {scheme}")


def _refused(found: str, required: str) -> Finding:
    return Finding(
        code=Code.ATTRIBUTE_RULE,
        effect=Effect.REJECT,
        subject="v4 signature",
        found=found,
        required=required,
        clause="AOSP ApkVerifier, v4",
        hint=_HINT,
    )
