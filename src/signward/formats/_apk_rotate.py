"""Handing an application's signing on, and what all signing of a package by schemes shares.

Sources: Android, "APK Signature Scheme v3", proof-of-rotation, and "v3.1"; AOSP ``ApkSigner``.  The
former key's v1 and v2 stay, for platforms that know no rotation; the new key signs by v3 in place
of the former one's, or by v3.1 for newer platforms beside it.  One signs after the other.
"""

from __future__ import annotations

from collections.abc import Sequence

from signward.envelopes import Signer
from signward.envelopes.apk import (
    EVERY_PLATFORM,
    ROTATES_FROM,
    ROTATION,
    ApkSigner,
    open_signers,
)
from signward.envelopes.apk_draft import ApkDraft, draft_scheme
from signward.envelopes.apk_lineage import Holder, lineage_of, read_file
from signward.errors import BadInputError, NotSignableError
from signward.formats import Existing, Request, Signing
from signward.formats._apk_digest import CHUNKS, Content, digests
from signward.formats._apk_schemes import KNOWS_V3, KNOWS_V31
from signward.frozen import Frozen
from signward.state import Source
from signward.wire.apk_block import PADDING, V3, V31, SigningBlock, read_block, write_block
from signward.wire.patch import Edit, Patched, PatchSet
from signward.wire.zip import ZipDirectory, place, read_directory, refuse_ambiguous

LINEAGE, FROM = "lineage", "rotation-min-sdk"
"""The options: a file with those who signed before, and the platform the new key counts from."""

_WHAT = "APK"
_OFFSET_AT = 16
_PAGE, _WORD = 4096, 4


class Rotation(Frozen, frozen=True, kw_only=True):
    """Who signed before, with the octets that say so (none: nobody), and from when that counts.

    ``since`` is the first platform that takes the new key by v3.1; 0 where all of v3 do.
    """

    holders: tuple[Holder, ...] = ()
    lineage: bytes = b""
    since: int = 0

    def first(self, signer: Signer, digest: bytes) -> ApkDraft:
        """Return the former key's draft of v3, which says where v3.1 takes over."""
        newest = self.since - 1 if self.since else EVERY_PLATFORM
        says = {ROTATES_FROM: self.since.to_bytes(4, "little")} if self.since else {}
        return draft_scheme(signer, digest, (KNOWS_V3, newest), says)

    def last(self, signer: Signer, digest: bytes) -> ApkDraft:
        """Return the new key's draft of v3, or of v3.1."""
        platforms = (self.since or KNOWS_V3, EVERY_PLATFORM)
        return draft_scheme(signer, digest, platforms, {ROTATION: self.lineage})


def read_rotation(request: Request) -> Rotation:
    """Return what is asked for.  Raises ``NotSignableError``."""
    since = request.options.get(FROM, "")
    if since and not (since.isascii() and since.isdigit() and len(since) < 6
                      and int(since) >= KNOWS_V31):  # fmt: skip
        raise NotSignableError(f"option {FROM}", since[:20], f"a platform from {KNOWS_V31} on")
    if LINEAGE not in request.options:
        return Rotation(since=int(since or 0))
    try:
        data = bytes.fromhex(request.options[LINEAGE])
        holders = read_file(data, f"option {LINEAGE}")
    except (ValueError, BadInputError) as error:
        found = str(error).partition("\n")[0]
        required = "a lineage file, as apksigner rotate writes it"
        raise NotSignableError(f"option {LINEAGE}", found, required) from None
    if holders[-1].certificate != request.signer.certificates[0]:
        raise NotSignableError(f"option {LINEAGE}", "one that ends with another signer",
                               "with the key's certificate")  # fmt: skip
    return Rotation(holders=holders, lineage=lineage_of(data), since=int(since or 0))


def rotated(source: Source, request: Request, rotation: Rotation, oldest: int) -> Signing:
    """Sign as the one who took over; what former holders signed for older platforms stays."""
    directory = read_directory(source)
    refuse_ambiguous(directory, gaps=False)
    block = read_block(source, directory)
    kept = _kept(source, block, rotation, request)
    if not kept and (oldest < KNOWS_V3 or rotation.since):
        raise NotSignableError(
            _WHAT, f"no signature, and platforms from {oldest}", "the former key's signature",
            hint="sign with the former key first, then with the new one and --nested",
        )  # fmt: skip
    digest = content_digest(source, directory, block, request.signer.algorithm.digest)
    value = yield rotation.last(request.signer, digest)
    pairs = [*kept, (V31 if rotation.since else V3, value)]
    done = Patched(source, with_block(directory, block, pairs))
    check_places(source, done)
    return PatchSet(edits=(Edit(start=0, end=source.length, data=done),))


def _kept(
    source: Source, block: SigningBlock | None, rotation: Rotation, request: Request
) -> list[tuple[int, bytes]]:
    """Return the pairs that stay: all but the place of the new signature, and padding."""
    if block is None:
        return []
    if request.existing is not Existing.NESTED:
        raise NotSignableError(_WHAT, "a signature of a former key", "--nested, which keeps it")
    held = {pair.id: source.read(pair.start, pair.end - pair.start) for pair in block.pairs}
    _check_former(open_signers(held[V3], "v3") if V3 in held else (), rotation)
    taken = {PADDING, V31, *(() if rotation.since else (V3,))}
    return [(number, value) for number, value in held.items() if number not in taken]


def _check_former(signers: Sequence[ApkSigner], rotation: Rotation) -> None:
    """Refuse a package by others than the lineage has, or whose v3 says nothing of v3.1."""
    holders = {holder.certificate for holder in rotation.holders}
    if not {signer.certificate for signer in signers} <= holders:
        raise NotSignableError(_WHAT, "a package signed by v3 by somebody else",
                               "by a holder in the lineage")  # fmt: skip
    said = {signer.attributes.get(ROTATES_FROM, b"") for signer in signers}
    wanted = rotation.since.to_bytes(4, "little") if rotation.since else b""
    if rotation.since and said != {wanted}:
        raise NotSignableError(
            _WHAT, "a package whose v3 says nothing of that", f"--option {FROM}={rotation.since}",
            hint="sign with the former key and the same option first "
            f"(--max-sdk {rotation.since - 1}: by itself it is for platforms before)",
        )  # fmt: skip


def content_digest(
    base: Source, directory: ZipDirectory, block: SigningBlock | None, algorithm: str
) -> bytes:
    """Return the content digest of a package, its signing block (if any) left out."""
    if base.read(directory.end, 4) != b"PK\5\6":
        raise NotSignableError(_WHAT, "ZIP64 end records", "none: Android reads none")
    content = Content(
        entries=block.start if block else directory.start,
        directory=directory.start,
        end_record=directory.end,
    )
    return digests(base, content, frozenset({(CHUNKS, algorithm)}))[CHUNKS, algorithm]


def with_block(
    directory: ZipDirectory, old: SigningBlock | None, pairs: Sequence[tuple[int, bytes]]
) -> PatchSet:
    """Return the patch that puts a signing block of these pairs in, or in place of the old one."""
    block = write_block(pairs)
    begin = old.start if old else directory.start
    at = directory.end + _OFFSET_AT
    moved = (begin + len(block)).to_bytes(4, "little")
    return PatchSet(
        edits=(
            Edit(start=begin, end=directory.start, data=block),
            Edit(start=at, end=at + 4, data=moved),
        )
    )


def check_places(before: Source, after: Source) -> None:
    """Refuse to sign where a stored member would lose the place that zipalign gave it.

    Platforms map such members into memory, and from Android 11 on refuse packages whose
    resources they cannot.
    """
    places = {m.name: place(after, m).data for m in read_directory(after).members}
    for member in read_directory(before).members:
        new = places.get(member.name)
        old = place(before, member).data
        if member.method or new is None:
            continue
        if any(old % unit == 0 and new % unit for unit in (_WORD, _PAGE)):
            raise NotSignableError(
                member.name, "a member that would lose its alignment", "one that keeps it",
                hint="take the old signature away (signward strip), zipalign, then sign",
            )  # fmt: skip
