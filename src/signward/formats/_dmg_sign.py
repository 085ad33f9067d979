"""Signing disk images: the superblob goes between the content and the trailer that names it."""

from __future__ import annotations

from signward.envelopes.cms import CMS_TIMESTAMP
from signward.envelopes.cms_draft import attribute, with_unsigned
from signward.errors import NotSignableError
from signward.formats import Existing, Request, Signing, may_sign
from signward.formats._apple_sign import Content, draft_code, read_settings
from signward.formats._dmg_layout import KOLY, MAX_SIGNATURE, Trailer, read_trailer
from signward.frozen import replace
from signward.state import Source
from signward.wire import superblob as sb
from signward.wire.patch import Edit, PatchSet

_WHAT = "disk image"


def signed(source: Source, request: Request) -> Signing:
    """Sign an image: yield the draft of its superblob, return the patch (``Format.sign``).

    An ad hoc signature, which is nobody's, is replaced without asking.
    """
    from signward.formats.dmg import FORMAT

    existing = bool(FORMAT.envelopes(source))
    may_sign(existing, request, _WHAT)
    if existing and request.existing is Existing.NESTED:
        raise NotSignableError(_WHAT, "--nested", "one signature: a disk image has no second")
    trailer = read_trailer(source)
    limit = _limit(trailer)
    blind = replace(trailer, raw=trailer.with_signature(limit, 0)).blind
    content = Content(
        source=source, limit=limit, page_size=0, parts={sb.REP_SPECIFIC_SLOT: blind}
    )  # fmt: skip
    sealed = yield draft_code(content, read_settings(request, _identifier(source.name)), request)
    return embedded(trailer, (sealed,))


def embedded(trailer: Trailer, envelopes: tuple[bytes, ...]) -> PatchSet:
    """Return the patch of ``Format.embed``."""
    if len(envelopes) > 1 or sum(map(len, envelopes)) > MAX_SIGNATURE:
        raise NotSignableError(_WHAT, f"{len(envelopes)} signatures", "one, or none")
    blob = b"".join(envelopes)
    limit = _limit(trailer)
    written = trailer.with_signature(limit if blob else 0, len(blob))
    return PatchSet(edits=(Edit(start=limit, end=trailer.at + KOLY, data=blob + written),))


def with_token(envelope: bytes, token: bytes) -> bytes:
    """Return a superblob with a token (DER) more beside the value in its CMS."""
    blobs = dict(sb.read_superblob(envelope, _WHAT))
    cms = with_unsigned(blobs[sb.CMS_SLOT][sb.HEADER :], 0, attribute(CMS_TIMESTAMP, token))
    blobs[sb.CMS_SLOT] = sb.make_blob(sb.BLOB_WRAPPER, cms)
    return sb.write_superblob(blobs)


def _limit(trailer: Trailer) -> int:
    """Return where the content ends: at the signature, or at the trailer where there is none."""
    return trailer.offset if trailer.size else trailer.at


def _identifier(name: str) -> str:
    """Return what codesign calls an image by itself: the file's name without its extension."""
    base = name.rpartition("/")[2]
    stem, dot, _ = base.rpartition(".")
    return stem if dot and stem else base
