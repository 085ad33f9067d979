"""Signatures beside a file: any file, and its signature in a file of its own.

That is a detached CMS signature, the value of ``security.ima`` as evmctl writes it, an fs-verity
built-in signature, one of OpenPGP, minisign or signify, or a Sigstore bundle or attestation; which
of them, its bytes say.  Only a
CMS message without signed attributes may be either of two: it is taken for what its value fits.
"""

from __future__ import annotations

from collections.abc import Callable

from signward.envelopes.cms_external import is_plain
from signward.envelopes.minisign import is_commented
from signward.envelopes.openpgp import is_openpgp
from signward.envelopes.sigstore import is_sigstore
from signward.errors import UnreadableError
from signward.formats import Format, Signable
from signward.formats._attested import AttestedFormat
from signward.formats._beside import MinisignFormat, OpenPgpFormat
from signward.formats._detached import DetachedFormat
from signward.formats._fsverity import FsVerityFormat
from signward.formats._ima import ImaFormat
from signward.frozen import Frozen
from signward.state import BrokenSignature, Source, Verdict
from signward.verbs.context import Context
from signward.verbs.options import read_option
from signward.verbs.verify import assess_as, unreadable
from signward.wire.ima import is_value
from signward.wire.source import open_source
from signward.wire.verity import Parameters


class Beside(Frozen, frozen=True, kw_only=True):
    """How signatures are written beside files: the ending of their names, and the format.

    ``form`` makes the format, with a signature to judge by or without any.
    """

    suffix: str
    form: Callable[[bytes | None], Signable]


DETACHED = Beside(suffix=".p7s", form=DetachedFormat)
"""Detached CMS (RFC 8551 3.2.1 has the ending)."""


def ima_beside(version: int = 2, tree: Parameters | None = None) -> Beside:
    """Return how evmctl writes IMA signatures beside files; with ``tree`` of fs-verity digests."""
    return Beside(suffix=".sig", form=lambda value: ImaFormat(value, version=version, tree=tree))


def verity_beside(parameters: Parameters | None = None) -> Beside:
    """Return how fs-verity built-in signatures are written for ``fsverity enable``."""
    return Beside(
        suffix=".fsverity-sig", form=lambda signature: FsVerityFormat(signature, parameters)
    )


def assess_detached(
    path: str, signature: str, context: Context, parameters: Parameters | None = None
) -> Verdict:
    """Return the verdict on a file by a signature (CMS: DER or PEM) in another file.

    ``parameters`` say how the fs-verity tree is built.  Never raises for what either holds.
    Raises ``EvidenceError`` where the signature's file cannot be read.
    """
    blob = _decoded(signature)
    try:
        with open_source(path) as source:
            verdict = _judged(blob, source, context, parameters)
            source.check_unchanged()
            return verdict
    except UnreadableError as error:
        return unreadable(path, error, context)


def _judged(
    blob: bytes, source: Source, context: Context, parameters: Parameters | None
) -> Verdict:
    """Return the verdict by a signature: a plain one is over the fs-verity digest or the file.

    What its value fits decides; one that fits neither is told as the former, if it can be one.
    """
    verdict = assess_as(form_of(blob, parameters), source, context)
    if not is_plain(blob) or _is_intact(verdict):
        return verdict
    by_content = assess_as(DetachedFormat(blob), source, context)
    return by_content if _is_intact(by_content) or not verdict.signatures else verdict


def _is_intact(verdict: Verdict) -> bool:
    return any(not isinstance(one, BrokenSignature) for one in verdict.signatures)


def form_of(blob: bytes, parameters: Parameters | None = None) -> Format:
    """Return the format that judges by this signature; bytes that are none are no CMS."""
    if is_commented(blob):
        return MinisignFormat(blob)
    if is_openpgp(blob):
        return OpenPgpFormat(blob)
    if is_sigstore(blob):
        return AttestedFormat(blob)
    if is_value(blob):
        return ImaFormat(blob, tree=parameters)
    return FsVerityFormat(blob, parameters) if is_plain(blob) else DetachedFormat(blob)


def _decoded(path: str) -> bytes:
    """Return the octets in a file; of PEM (RFC 7468 9: label CMS or PKCS7) the DER."""
    from signward.trust.pem import blocks

    data = read_option(path)
    if is_openpgp(data):
        return data
    return blocks(path, data, "(?:CMS|PKCS7)")[0] if b"-----BEGIN " in data[:1024] else data
