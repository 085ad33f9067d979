"""Which signatures of an APK count for which platforms, and what they must agree on.

Sources: Android, "APK Signature Scheme v2", "v3", "v3.1", verification; AOSP ``ApkVerifier`` for
how platforms of different age read one file.  A platform takes the newest scheme that it knows,
and nothing else: so every scheme must be right that any platform asked about would take, and a
newer one must not have been stripped to make it take an older.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from signward.envelopes.apk import (
    EVERY_PLATFORM,
    ROTATES_FROM,
    STRIPPED,
    ApkSigner,
    open_signers,
)
from signward.errors import MalformedError
from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen
from signward.state import ClaimedSignature, Source
from signward.wire.apk_block import V2, V3, V31, SigningBlock

KNOWS_V2, KNOWS_V3, KNOWS_V31 = 24, 28, 33
"""The first platforms that know each scheme: Android 7, 9 and 13."""

NEEDS_V2 = 30
"""A package made for this platform or a newer one needs v2 or newer on those (Android 11)."""

_WHAT = "APK"


class Range(Frozen, frozen=True, kw_only=True):
    """The platforms asked about, both ends included, and the one the package was made for."""

    oldest: int
    newest: int = EVERY_PLATFORM
    target: int = 1

    def reaches(self, first: int, last: int = EVERY_PLATFORM) -> bool:
        """Say whether any platform asked about is one of these."""
        return self.oldest <= last and self.newest >= first


class Schemes(Frozen, frozen=True, kw_only=True):
    """The signers by scheme that count for the range, newest scheme first."""

    signers: Mapping[str, tuple[ApkSigner, ...]]
    findings: tuple[Finding, ...] = ()

    @property
    def claims(self) -> tuple[ClaimedSignature, ...]:
        """Every signature, newest scheme first."""
        return tuple(c for signers in self.signers.values() for s in signers for c in s.claims)


def read_schemes(source: Source, block: SigningBlock | None, asked: Range) -> Schemes:
    """Read every scheme that a platform asked about would take from the block.

    Raises ``MalformedError`` where such a platform would refuse the file for its form.
    """
    found: dict[str, tuple[ApkSigner, ...]] = {}
    if block is not None:
        wanted = (("v3.1", V31, KNOWS_V31), ("v3", V3, KNOWS_V3), ("v2", V2, KNOWS_V2))
        for name, number, first in wanted:
            pair = block.find(number)
            last = KNOWS_V3 - 1 if name == "v2" and "v3" in found else EVERY_PLATFORM
            if pair is not None and asked.reaches(first, last):
                found[name] = open_signers(source.read(pair.start, pair.end - pair.start), name)
    findings = (*_ranges(found, asked), *_stripped(found, asked), *_strangers(found))
    return Schemes(signers=found, findings=findings)


def needs_v1(schemes: Schemes, asked: Range) -> bool:
    """Say whether a platform asked about would read the JAR signature, knowing no other."""
    lacks_v2 = "v2" not in schemes.signers and asked.reaches(KNOWS_V2, KNOWS_V3 - 1)
    return not schemes.signers or asked.oldest < KNOWS_V2 or lacks_v2


def _ranges(found: Mapping[str, tuple[ApkSigner, ...]], asked: Range) -> Iterator[Finding]:
    """Check that v3's signers share all platforms among them without overlap or gap."""
    rotated = [signer for signer in found.get("v3.1", ()) if asked.reaches(signer.oldest)]
    first_rotated = min((signer.oldest for signer in rotated), default=EVERY_PLATFORM + 1)
    if "v3.1" in found:
        yield from _gaps("v3.1", found["v3.1"], max(asked.oldest, first_rotated), asked.newest)
    if "v3" in found:
        newest = min(asked.newest, max(first_rotated, KNOWS_V31) - 1)
        yield from _gaps("v3", found["v3"], max(asked.oldest, KNOWS_V3), newest)


def _gaps(scheme: str, signers: Sequence[ApkSigner], oldest: int, newest: int) -> Iterator[Finding]:
    """Report where two signers speak for one platform, or none does."""
    ordered = sorted(signers, key=_oldest)
    for before, after in pairwise(ordered):
        if after.oldest != before.newest + 1:
            yield _refused(
                Code.ATTRIBUTE_RULE, f"scheme {scheme}",
                f"signers for platforms up to {before.newest} and from {after.oldest}",
                "one for every platform",
            )  # fmt: skip
    if oldest <= newest and (ordered[0].oldest > oldest or ordered[-1].newest < newest):
        yield _refused(
            Code.SLOT_MISSING, f"scheme {scheme}",
            f"signers for platforms {ordered[0].oldest} to {ordered[-1].newest}",
            f"one for every platform from {oldest} to {newest}",
        )  # fmt: skip


def _oldest(signer: ApkSigner) -> int:
    return signer.oldest


def _stripped(found: Mapping[str, tuple[ApkSigner, ...]], asked: Range) -> Iterator[Finding]:
    """Report a newer scheme that a signer speaks of and that is not there, or not as said."""
    for signer in found.get("v2", ()):
        value = signer.attributes.get(STRIPPED)
        newer = _number(value, "stripping protection") if value is not None else 0
        if newer == 3 and "v3" not in found and asked.reaches(KNOWS_V3):
            yield _gone("v2", "v3")
    for signer in found.get("v3", ()):
        value = signer.attributes.get(ROTATES_FROM)
        start = _number(value, "rotation's platform") if value is not None else 0
        starts = {rotated.oldest for rotated in found.get("v3.1", ())}
        if value is not None and not starts and asked.reaches(max(start, KNOWS_V31)):
            yield _gone("v3", "v3.1")
        elif starts and start != min(starts):
            yield _refused(
                Code.ATTRIBUTE_RULE, "scheme v3",
                f"v3.1 said to count from platform {start or 'none'}",
                f"{min(starts)}, as v3.1 has it",
            )  # fmt: skip
    if "v3.1" in found and "v3" not in found:
        yield _gone("v3.1", "v3")


def _number(value: bytes, what: str) -> int:
    if len(value) != 4:
        raise MalformedError(what, f"{len(value)} octets", "4", "APK Signature Scheme v3")
    return int.from_bytes(value, "little")


def _strangers(found: Mapping[str, tuple[ApkSigner, ...]]) -> Iterator[Finding]:
    """Report signers of an older scheme who are not those whom a newer one comes from."""
    rotated, current, old = (found.get(name, ()) for name in ("v3.1", "v3", "v2"))
    for signer in current if rotated else ():
        if not all(signer.certificate in _holders(newer) for newer in rotated):
            yield _stranger("v3", "v3.1")
    yield from older_signers("v2", [signer.certificate for signer in old], found)


def older_signers(
    scheme: str, certificates: Sequence[bytes], found: Mapping[str, tuple[ApkSigner, ...]]
) -> Iterator[Finding]:
    """Report signers of v1 or v2 who are not the first in the lineage of v3's, or not v2's.

    Several signers can hand nothing on: they must be the same ones.
    """
    if not certificates:
        return
    newer = found.get("v3", ()) if scheme in ("v1", "v2") else ()
    for signer in newer:
        if list(certificates) != [_holders(signer)[0]]:
            yield _stranger(scheme, "v3")
    second = found.get("v2", ()) if scheme == "v1" else ()
    if second and sorted(certificates) != sorted(signer.certificate for signer in second):
        yield _stranger("v1", "v2")


def _holders(signer: ApkSigner) -> list[bytes]:
    """Return who held signing, oldest first, the signer last."""
    return [*(step.certificate for step in signer.lineage), signer.certificate]


def targeted(schemes: Schemes, asked: Range) -> Iterator[Finding]:
    """Report a package made for platforms that ask for v2 or newer, and that has neither."""
    if asked.target >= NEEDS_V2 and asked.reaches(NEEDS_V2) and not schemes.signers:
        yield _refused(
            Code.SLOT_MISSING, _WHAT, "a JAR signature alone",
            f"scheme v2 or newer in a package made for platform {asked.target}",
        )  # fmt: skip


def _gone(by: str, scheme: str) -> Finding:
    return _refused(
        Code.SLOT_MISSING, f"scheme {by}", f"no signature by scheme {scheme}",
        "one: its signer says that the file has it", "a newer signature was stripped",
    )  # fmt: skip


def _stranger(scheme: str, newer: str) -> Finding:
    return _refused(
        Code.ATTRIBUTE_RULE, f"scheme {scheme}", f"signers that scheme {newer} does not come from",
        f"those of {newer}, or the first in its lineage",
        "platforms of different age would take the file for different people's",
    )  # fmt: skip


def _refused(code: Code, what: str, found: str, required: str, hint: str = "") -> Finding:
    return Finding(
        code=code,
        effect=Effect.REJECT,
        subject=what,
        found=found,
        required=required,
        clause="AOSP ApkVerifier",
        hint=hint,
    )
