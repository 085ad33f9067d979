"""Signatures beside a file: any file, and its signature in a file of its own.

That is a detached CMS signature, the value of ``security.ima`` as evmctl writes it, an fs-verity
built-in signature, one of OpenPGP, minisign, signify or SSH, or a Sigstore bundle or attestation;
which of them, its bytes say.  Only a CMS message without signed attributes may be either of two:
it is taken for what its value fits.  Bytes that are none of these, or fit as none, may be a bare
value by a public key that is named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from signward.envelopes.apk_v4 import is_idsig
from signward.envelopes.cms_external import is_plain
from signward.envelopes.minisign import MINISIGN, SIGNIFY, is_commented
from signward.envelopes.openpgp import is_openpgp
from signward.envelopes.openpgp_cert import KIND as OPENPGP
from signward.envelopes.raw import KIND as RAW
from signward.envelopes.sigstore import is_sigstore
from signward.envelopes.sshsig import KIND as SSHSIG
from signward.envelopes.sshsig import is_sshsig
from signward.errors import UnreadableError
from signward.formats import Format, Signable
from signward.formats._apk_v4_sign import ApkV4Format
from signward.formats._attested import AttestedFormat
from signward.formats._beside import MinisignFormat, OpenPgpFormat
from signward.formats._detached import DetachedFormat
from signward.formats._fsverity import FsVerityFormat
from signward.formats._ima import ImaFormat
from signward.formats._raw import RawFormat
from signward.formats._sshsig import SshFormat
from signward.frozen import Frozen, replace
from signward.state import X509, BrokenSignature, HeldKey, Source, Verdict
from signward.verbs.context import Context
from signward.verbs.options import read_option
from signward.verbs.verify import assess_as, parse_options, unreadable
from signward.wire.ima import is_value
from signward.wire.source import open_source
from signward.wire.verity import Parameters


class Beside(Frozen, frozen=True, kw_only=True):
    """How signatures are written beside files: the ending of their names, and the format.

    ``form`` makes the format, with a signature to judge by or without any; ``kind`` is the kind
    of the keys that sign so, or empty where the key itself says how (`beside_for`).
    """

    suffix: str
    form: Callable[[bytes | None], Signable]
    kind: str = X509


DETACHED = Beside(suffix=".p7s", form=DetachedFormat)
"""Detached CMS (RFC 8551 3.2.1 has the ending)."""

BY_KEY = Beside(suffix="", form=DetachedFormat, kind="")
"""As the key is held, so it signs."""

AS: Mapping[str, Beside] = MappingProxyType({
    "cms": DETACHED,
    "openpgp": Beside(suffix=".asc", form=OpenPgpFormat, kind=OPENPGP),
    "minisign": Beside(suffix=".minisig", form=MinisignFormat, kind=MINISIGN),
    "signify": Beside(suffix=".sig", form=partial(MinisignFormat, kind=SIGNIFY), kind=SIGNIFY),
    "sshsig": Beside(suffix=".sig", form=SshFormat, kind=SSHSIG),
    "raw": Beside(suffix=".sig", form=RawFormat, kind=RAW),
    "apk-v4": Beside(suffix=".idsig", form=ApkV4Format),
})  # fmt: skip
"""The ways of signing files of any kind, by the words for them."""


def beside_for(asked: Beside | None, held: HeldKey, namespace: str) -> Beside | None:
    """Return how files are signed by a key: as was asked for, or as such keys do.

    ``namespace`` is what SSH signatures are made for.
    """
    found = asked
    if asked is BY_KEY:
        found = next(one for one in AS.values() if one.kind == held.kind)
    if found is not None and found.kind == SSHSIG:
        return replace(found, form=partial(SshFormat, namespace=namespace))
    return found


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
    blob = read_beside(signature)
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
    """Return the verdict by a signature that may be one of several: by the first that it fits.

    A plain one is over the fs-verity digest or the file, and any octets may be a bare value of a
    key that the caller named.  One that fits none is told as the first, if it can be that.
    """
    asked = parse_options(context)
    verdict = assess_as(form_of(blob, parameters), source, context, asked)
    others: list[Format] = [DetachedFormat(blob)] if is_plain(blob) else []
    others += [RawFormat(blob)] if _names_keys(context) else []
    for form in others:
        if _is_intact(verdict):
            break
        other = assess_as(form, source, context)
        verdict = other if _is_intact(other) or not verdict.signatures else verdict
    return verdict


def _names_keys(context: Context) -> bool:
    return context.keyring is not None and any(key.kind == RAW for key in context.keyring.keys)


def _is_intact(verdict: Verdict) -> bool:
    return any(not isinstance(one, BrokenSignature) for one in verdict.signatures)


def form_of(blob: bytes, parameters: Parameters | None = None) -> Format:
    """Return the format that judges by this signature; bytes that are none are no CMS."""
    if is_commented(blob):
        return MinisignFormat(blob)
    if is_sshsig(blob):
        return SshFormat(blob)
    if is_openpgp(blob):
        return OpenPgpFormat(blob)
    if is_idsig(blob):
        return ApkV4Format(blob)
    if is_sigstore(blob):
        return AttestedFormat(blob)
    if is_value(blob):
        return ImaFormat(blob, tree=parameters)
    return FsVerityFormat(blob, parameters) if is_plain(blob) else DetachedFormat(blob)


def read_beside(path: str) -> bytes:
    """Return the octets of a signature's file; of PEM (RFC 7468 9: label CMS or PKCS7) the DER."""
    from signward.trust.pem import blocks

    data = read_option(path)
    if is_openpgp(data) or is_sshsig(data):
        return data
    return blocks(path, data, "(?:CMS|PKCS7)")[0] if b"-----BEGIN " in data[:1024] else data
