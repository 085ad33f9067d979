"""Any Linux file with an fs-verity built-in signature, in a file beside it or in the kernel.

Source: Linux Documentation/filesystems/fsverity.rst, "Built-in signature verification".  It is a
CMS message without signed attributes, whose content is ``fsverity_formatted_digest``: the name
``FSVerity``, the algorithm and the fs-verity digest.  The kernel asks nothing of the signer but
that his certificate is in its ``.fs-verity`` keyring.  It is given by whoever asks, or the kernel.
"""

from __future__ import annotations

from signward.envelopes import Signer
from signward.envelopes.fsverity import open_built_in
from signward.errors import NotSignableError
from signward.formats import ParseOptions, Request, Signing
from signward.formats._apart import Apart
from signward.formats._ima import PROFILE, VERITY
from signward.frozen import replace
from signward.state import Manifest, SignedArtifact, Slot, Source, Wanted
from signward.wire import verity

_SCHEMES = frozenset({"rsa-pkcs1v15", "ecdsa"})


class FsVerityFormat(Apart):
    """A file judged by the built-in signature it is given with; unsigned without.

    ``parameters`` say how the tree is built where the kernel does not; their digest is the
    signer's, as ``fsverity sign`` has it.
    """

    name = "fs-verity"
    spec = "Linux Documentation/filesystems/fsverity.rst, built-in signatures"
    extensions: tuple[str, ...] = (".fsverity-sig",)

    def __init__(
        self, signature: bytes | None = None, parameters: verity.Parameters | None = None
    ) -> None:
        super().__init__(signature)
        self._parameters = parameters or verity.Parameters()

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Open the signature, and compute the digest that its value must be over."""
        artifact = SignedArtifact(format=self.name, source=source, signatures=(), profile=PROFILE)
        if self._signature is None:
            return artifact
        built = verity.parameters_of(source)
        computed: dict[tuple[str, str], bytes] = {}

        def compute(algorithm: str) -> Slot:
            own = built or replace(self._parameters, algorithm=algorithm)
            slot = VERITY, own.algorithm
            if slot not in computed:
                computed[slot] = verity.source_digest(source, own)
            return Slot(name=VERITY, algorithm=own.algorithm, digest=computed[slot])

        signatures = open_built_in(self._signature, compute)
        return replace(
            artifact,
            signatures=signatures,
            required={one.label: frozenset({VERITY}) for one in signatures},
            layout=computed,
        )

    def sign(self, source: Source, request: Request) -> Signing:
        """Sign the file's fs-verity digest; the patch puts the signature in the file's place."""
        from signward.envelopes.cms_plain import PlainDraft  # for signing only

        signer = request.signer
        _check_signer(source.name, signer)
        own = replace(self._parameters, algorithm=signer.digest)
        content = verity.formatted(verity.source_digest(source, own), own.algorithm)
        sealed = yield PlainDraft(
            content=content, signer=signer, attached=False, certificates=False
        )
        return self.embed(source, (sealed,))

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Return the digests that parsing computed."""
        known: Manifest = artifact.layout or {}
        return {slot: known[slot] for slot in wanted & known.keys()}


def _check_signer(name: str, signer: Signer) -> None:
    """Raise ``NotSignableError`` for a key or a digest that the kernel has no use for."""
    if signer.algorithm.scheme not in _SCHEMES:
        raise NotSignableError(name, f"a key for {signer.algorithm}", "an RSA or ECDSA key",
                               hint="the kernel's PKCS#7 parser knows no other")  # fmt: skip
    if signer.digest not in verity.NUMBERS:
        raise NotSignableError(name, f"digest {signer.digest}", "sha256 or sha512",
                               hint="fs-verity has no other: --digest sha256")  # fmt: skip
