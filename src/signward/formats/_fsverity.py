"""Any Linux file with an fs-verity built-in signature, in a file beside it or in the kernel.

Source: Linux Documentation/filesystems/fsverity.rst, "Built-in signature verification".  It is a
CMS message without signed attributes, whose content is ``fsverity_formatted_digest``: the name
``FSVerity``, the algorithm and the fs-verity digest.  The kernel asks nothing of the signer but
that his certificate is in its ``.fs-verity`` keyring.

Not found by recognition: whoever asks names the signature, or the kernel gives it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from signward.envelopes import Signer
from signward.envelopes._cms_read import read_signed_data, read_signer_info
from signward.envelopes.cms import DATA, no_slots, open_signatures
from signward.envelopes.cms_plain import PlainDraft
from signward.errors import BadInputError, MalformedError, NotSignableError
from signward.formats import Match, ParseOptions, Peek, Request, Signing
from signward.formats._ima import PROFILE, VERITY
from signward.frozen import replace
from signward.state import ClaimedSignature, Manifest, SignedArtifact, Slot, Source, Wanted
from signward.wire import verity
from signward.wire.patch import Edit, PatchSet

MAX_SIGNATURE = 16128
"""Octets of a built-in signature, as the kernel bounds it (``FS_VERITY_MAX_SIGNATURE_SIZE``)."""

_SCHEMES = frozenset({"rsa-pkcs1v15", "ecdsa"})
_WHAT = "fs-verity signature"
_CLAUSE = "fsverity.rst, built-in signature verification"


class FsVerityFormat:
    """A file judged by the built-in signature it is given with; unsigned without.

    ``parameters`` say how the tree is built where the kernel does not; their digest is the
    signer's, as ``fsverity sign`` has it.
    """

    name = "fs-verity"
    spec = "Linux Documentation/filesystems/fsverity.rst, built-in signatures"
    extensions: tuple[str, ...] = (".fsverity-sig",)

    options: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self, signature: bytes | None = None, parameters: verity.Parameters | None = None
    ) -> None:
        self._signature = signature
        self._parameters = parameters or verity.Parameters()

    def recognise(self, peek: Peek) -> Match:  # noqa: ARG002
        """Claim nothing: the signature is no part of the bytes."""
        return Match.NO

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Open the signature, and compute the digest that its value must be over."""
        artifact = SignedArtifact(format=self.name, source=source, signatures=(), profile=PROFILE)
        if self._signature is None:
            return artifact
        opened = _opened(self._signature)
        built = verity.parameters_of(source)
        computed: dict[tuple[str, str], bytes] = {}
        signatures = []
        for claimed in opened:
            own = built or replace(self._parameters, algorithm=claimed.algorithm.digest)
            slot = VERITY, own.algorithm
            if slot not in computed:
                computed[slot] = verity.source_digest(source, own)
            signatures.append(_over(claimed, own.algorithm, computed[slot]))
        return replace(
            artifact,
            signatures=tuple(signatures),
            required={one.label: frozenset({VERITY}) for one in signatures},
            layout=computed,
        )

    def sign(self, source: Source, request: Request) -> Signing:
        """Sign the file's fs-verity digest; the patch puts the signature in the file's place."""
        signer = request.signer
        _check_signer(source.name, signer)
        own = replace(self._parameters, algorithm=signer.digest)
        content = verity.formatted(verity.source_digest(source, own), own.algorithm)
        sealed = yield PlainDraft(
            content=content, signer=signer, attached=False, certificates=False
        )
        return self.embed(source, (sealed,))

    def envelopes(self, source: Source) -> tuple[bytes, ...]:  # noqa: ARG002
        """Return the signature this was made with."""
        return () if self._signature is None else (self._signature,)

    def embed(self, source: Source, envelopes: tuple[bytes, ...]) -> PatchSet:
        """Return the patch that turns the file into the first envelope's, or leaves it alone."""
        whole = Edit(start=0, end=source.length, data=envelopes[0]) if envelopes else None
        return PatchSet(edits=(whole,) if whole else ())

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Return the digests that parsing computed."""
        known: Manifest = artifact.layout or {}
        return {slot: known[slot] for slot in wanted & known.keys()}


def is_plain(blob: bytes) -> bool:
    """Say whether bytes are a detached CMS without signed attributes, as the kernel's are."""
    try:
        data = read_signed_data(blob, _WHAT)
        signers = [read_signer_info(node, _WHAT) for node in data.signers]
    except (BadInputError, RecursionError):
        return False
    plain = data.content_type == DATA and not data.content
    return plain and bool(signers) and not any(info.signed for info in signers)


def _opened(blob: bytes) -> tuple[ClaimedSignature, ...]:
    if len(blob) > MAX_SIGNATURE:
        raise MalformedError(_WHAT, f"{len(blob)} octets", f"at most {MAX_SIGNATURE}", _CLAUSE)
    opened = open_signatures(blob, no_slots)
    if not opened:
        raise MalformedError(_WHAT, "no signer", "one", _CLAUSE)
    for claimed in opened:
        if claimed.content or claimed.signed_attributes:
            found = "content inside" if claimed.content else "signed attributes"
            raise MalformedError(_WHAT, found, "none", _CLAUSE)
        if claimed.algorithm.digest not in verity.NUMBERS:
            raise MalformedError(_WHAT, f"digest {claimed.algorithm.digest or 'unknown'}",
                                 "sha256 or sha512", _CLAUSE)  # fmt: skip
    return opened


def _over(claimed: ClaimedSignature, algorithm: str, digest: bytes) -> ClaimedSignature:
    """Return the signature with what its value must be over: only the value tells if it is."""
    slot = Slot(name=VERITY, algorithm=algorithm, digest=digest)
    return replace(claimed, slots=(slot,), to_be_verified=verity.formatted(digest, algorithm))


def _check_signer(name: str, signer: Signer) -> None:
    """Raise ``NotSignableError`` for a key or a digest that the kernel has no use for."""
    if signer.algorithm.scheme not in _SCHEMES:
        raise NotSignableError(name, f"a key for {signer.algorithm}", "an RSA or ECDSA key",
                               hint="the kernel's PKCS#7 parser knows no other")  # fmt: skip
    if signer.digest not in verity.NUMBERS:
        raise NotSignableError(name, f"digest {signer.digest}", "sha256 or sha512",
                               hint="fs-verity has no other: --digest sha256")  # fmt: skip
