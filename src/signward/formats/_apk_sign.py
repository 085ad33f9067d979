"""Signing an APK: the JAR signature first, then v2 and v3 over the file that holds it.

Source: Android, "Application signing"; AOSP ``ApkSigner``.  A JAR signature is written for
platforms before v2 only, behind all members, and names the newer schemes, so that stripping them
shows.  The signing block stands in front of the central directory.
"""

from __future__ import annotations

from collections.abc import Sequence

from signward.envelopes.apk import STRIPPED
from signward.envelopes.apk_draft import draft_scheme, method_of
from signward.envelopes.cms_plain import PlainDraft
from signward.errors import NotSignableError
from signward.formats import Existing, Request, Signing, may_sign
from signward.formats import _jar_sign as jar
from signward.formats._apk_rotate import (
    check_places,
    content_digest,
    read_rotation,
    rotated,
    with_block,
)
from signward.formats._jar_manifest import MANIFEST
from signward.formats._jar_signature import FOLDER, read_archive, signing_name
from signward.frozen import replace
from signward.state import Source
from signward.wire.apk_block import V2, V3, read_block
from signward.wire.patch import Edit, Patched, PatchSet
from signward.wire.zip import read_directory, refuse_ambiguous
from signward.wire.zip_patch import Member, changed

WHAT = "APK"

_ORDER = ("v1", "v2", "v3")
_KNOWS_SHA2 = {"rsa-pkcs1v15": 18, "ecdsa": 21}
"""First platforms that check JAR signatures with SHA-2 (AOSP ``V1SchemeSigner``)."""

_OFFSET_AT = 16
_VERSION = b"Signature-Version: 1.0\r\n"


def sign(source: Source, request: Request, oldest: int) -> Signing:
    """Sign by the schemes asked for, or those that platforms from ``oldest`` on take."""
    rotation = read_rotation(request)
    method_of(request.signer)
    if rotation.holders:
        return (yield from rotated(source, request, rotation, oldest))
    may_sign(is_signed(source), request, WHAT)
    if request.existing is Existing.NESTED:
        raise NotSignableError(WHAT, "one more signer", "one: several must sign together",
                               hint="--replace puts the new signature in its place")  # fmt: skip
    schemes = _schemes(request, oldest)
    base: Source = Patched(source, stripped(source))
    if "v1" in schemes:
        _check_age(request, oldest)
        plan = jar.planned(base, replace(request, options={}, existing=Existing.REFUSE))
        plan = replace(plan, text=_naming(plan.text, schemes))
        # Without signed attributes: platforms before 19 check such values wrongly.
        sealed = yield PlainDraft(
            content=plan.text, signer=request.signer, attached=False, certificates=True
        )
        base = _with_jar_signature(base, plan, sealed)
    directory = read_directory(base)
    refuse_ambiguous(directory, gaps=False)
    digest = content_digest(base, directory, None, request.signer.algorithm.digest)
    pairs: list[tuple[int, bytes]] = []
    if "v2" in schemes:
        newer = {STRIPPED: (3).to_bytes(4, "little")} if "v3" in schemes else {}
        pairs.append((V2, (yield draft_scheme(request.signer, digest, None, newer))))
    if "v3" in schemes:
        pairs.append((V3, (yield rotation.first(request.signer, digest))))
    done = Patched(base, with_block(directory, None, pairs)) if pairs else base
    check_places(source, done)
    return PatchSet(edits=(Edit(start=0, end=source.length, data=done),))


def is_signed(source: Source) -> bool:
    """Say whether there is a signing block or a JAR signature."""
    directory = read_directory(source)
    return bool(directory.signing_block) or bool(read_archive(source).pairs)


def stripped(source: Source) -> PatchSet:
    """Return the patch that takes signing block, JAR signature and the manifest of it away."""
    directory = read_directory(source)
    refuse_ambiguous(directory, gaps=False)
    block = read_block(source, directory)
    bare: Source = source
    if block is not None:
        offset = Edit(
            start=directory.end + _OFFSET_AT,
            end=directory.end + _OFFSET_AT + 4,
            data=block.start.to_bytes(4, "little"),
        )
        removed = Edit(start=block.start, end=block.end, data=b"")
        bare = Patched(source, PatchSet(edits=(removed, offset)))
    gone = [member.name for member in directory.members if signing_name(member.name)]
    if gone:
        bare = Patched(bare, changed(bare, dict.fromkeys(gone)))
    return PatchSet(edits=(Edit(start=0, end=source.length, data=bare),))


def _schemes(request: Request, oldest: int) -> tuple[str, ...]:
    asked = request.options.get("schemes", "")
    if not asked:
        return _ORDER if oldest < 24 else _ORDER[1:]
    names = {name.strip() for name in asked.split(",")}
    if not names <= set(_ORDER):
        raise NotSignableError("option schemes", asked[:80], "v1, v2 and v3, with commas between")
    return tuple(name for name in _ORDER if name in names)


def _naming(text: bytes, schemes: Sequence[str]) -> bytes:
    """Return a signature file that names the newer schemes behind its version."""
    newer = [name[1:] for name in schemes if name != "v1"]
    if not newer or not text.startswith(_VERSION):
        return text
    line = f"X-Android-APK-Signed: {', '.join(newer)}\r\n".encode()
    return _VERSION + line + text[len(_VERSION) :]


def _with_jar_signature(base: Source, plan: jar.Plan, block: bytes) -> Source:
    """Return the package with the signature's members behind all others, which stay in place."""
    members = {
        MANIFEST: Member(data=plan.manifest),
        f"{FOLDER}{plan.stem}.SF": Member(data=plan.text),
        f"{FOLDER}{plan.stem}{plan.block}": Member(data=block),
    }
    return Patched(base, changed(base, members))


def _check_age(request: Request, oldest: int) -> None:
    """Refuse a JAR signature for platforms that check SHA-1 only: we sign with none of that."""
    scheme = request.signer.algorithm.scheme
    since = _KNOWS_SHA2.get(scheme, _KNOWS_SHA2["ecdsa"])
    if oldest < since:
        raise NotSignableError(
            WHAT, f"a package for platforms from {oldest}", f"{since} or newer for {scheme}",
            hint="older ones check SHA-1 only; raise minSdkVersion, or ask for schemes=v2,v3",
        )  # fmt: skip
