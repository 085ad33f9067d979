"""Any Linux file with an IMA signature: in ``security.ima``, or beside it in a ``.sig`` file.

Source: Linux ``security/integrity/ima/ima_appraise.c`` and ``digsig_asymmetric.c``.  The kernel
finds the key by its id in the ``.ima`` keyring and takes the algorithm from it; certificate,
validity and usage count for nothing.  A value of version 2 is made over the digest of the file,
one of version 3 over a structure that names the digest's kind as well; what fs-verity digests
can be signed so too.  A digest without signature is a seal: whoever may write the attribute can
write it anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from signward.envelopes import Signer
from signward.envelopes.ima import claim_of, claim_over
from signward.errors import BadInputError, MalformedError, NotSignableError
from signward.findings import Code, Effect, Finding
from signward.formats import ParseOptions, Request, Signing
from signward.formats._apart import WHOLE, Apart
from signward.frozen import replace
from signward.state import (
    Manifest,
    SignedArtifact,
    Slot,
    Source,
    Wanted,
)
from signward.wire import ima, verity
from signward.wire.algorithms import COMPUTABLE
from signward.wire.certificate import outline
from signward.wire.source import slot_digests, whole_digest
from signward.wire.spki import usual_key_id

VERITY = "fs-verity"
"""The slot of the fs-verity digest."""

VERSIONS = (2, 3)
"""What a signature can be written as; Linux takes version 3 of plain digests since 2026 only."""

PROFILE = "linux-kernel"

_SCHEMES = frozenset({"rsa-pkcs1v15", "ecdsa"})
"""What the kernel checks values with (``digsig_asymmetric.c``)."""

DIGESTS = ima.KNOWN
DIGESTS_OF_TREES = frozenset(verity.NUMBERS)
"""Digests that files, and fs-verity trees, have."""

_CLAUSE = "security/integrity/ima/ima_appraise.c"
_NOTHING: Manifest = MappingProxyType({})


class ImaFormat(Apart):
    """A file judged by the attribute's value it is given with; unsigned without.

    ``evm`` is the value of ``security.evm``, to be shown; ``version`` that of new signatures,
    ``tree`` how the fs-verity tree is built whose digest they are over, where they are.
    """

    name = "ima"
    spec = "Linux security/integrity, `security.ima` versions 2 and 3"
    extensions: tuple[str, ...] = (".sig",)

    def __init__(
        self,
        value: bytes | None = None,
        *,
        evm: bytes = b"",
        version: int = 2,
        tree: verity.Parameters | None = None,
    ) -> None:
        super().__init__(value)
        self._evm, self._tree = evm, tree
        self._version = 3 if tree else version

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Read the attribute's value; a signature of version 3 has the file digested here."""
        artifact = SignedArtifact(
            format=self.name,
            source=source,
            signatures=(),
            profile=PROFILE,
            facts=_evm_facts(self._evm),
        )
        if self._signature is None:
            return artifact
        value = ima.read_value(self._signature, ima.ATTRIBUTE)
        if isinstance(value, ima.Sealed):
            facts = {**artifact.facts, "ima": f"{value.algorithm} digest, not signed"}
            seal = Slot(name=WHOLE, algorithm=value.algorithm, digest=value.digest)
            return replace(artifact, seals=(seal,), facts=facts)
        if isinstance(value, ima.Keyed) or value.kind == ima.PORTABLE:
            required = "a digest or a signature"
            raise MalformedError(ima.ATTRIBUTE, "a value of security.evm", required, _CLAUSE)
        return _signed(artifact, value, self._signature, self._tree)

    def sign(self, source: Source, request: Request) -> Signing:
        """Sign all bytes; the patch puts the attribute's value in their place."""
        signer = request.signer
        _check_signer(source.name, signer, DIGESTS_OF_TREES if self._tree else DIGESTS)
        from signward.envelopes.ima_draft import ImaDraft  # for signing only

        kind = ima.VERITY if self._tree else ima.SIGNATURE
        digest = _digest(source, VERITY if self._tree else WHOLE, signer.digest, self._tree)
        plain = self._version == 2
        octets = digest if plain else ima.file_id(kind, signer.digest, digest)
        sealed = yield ImaDraft(
            kind=kind,
            version=self._version,
            digest=signer.digest,
            key_id=key_id_of(signer.certificates[0]),
            to_be_signed=octets,
            algorithm=replace(signer.algorithm, digested=plain),
        )
        return self.embed(source, (sealed,))

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute the digests of all bytes that parsing did not compute yet, in one pass."""
        known: Manifest = artifact.layout or _NOTHING
        source = artifact.source
        others = (slot for slot in wanted - known.keys() if slot[0] == WHOLE)
        fresh = slot_digests(source, [(0, source.length)], others)
        return {**{slot: known[slot] for slot in wanted & known.keys()}, **fresh}


def key_id_of(certificate: bytes) -> bytes:
    """Return the key id of a certificate (DER): the end of its subject key identifier.

    Raises ``BadInputError`` for bytes that are no certificate.
    """
    seen = outline(certificate)
    return (seen.key_id or usual_key_id(seen.spki))[-ima.KEY_ID :]


def _signed(
    artifact: SignedArtifact, value: ima.Signed, raw: bytes, tree: verity.Parameters | None
) -> SignedArtifact:
    """Return the artifact with the one signature that an attribute's value holds."""
    told = f"signature, version {value.version}, {value.algorithm}, key {value.key_id.hex()}"
    artifact = replace(artifact, facts={**artifact.facts, "ima": told})
    if value.version == 1 or value.algorithm not in COMPUTABLE:
        return replace(artifact, findings=(_unknown(value),))
    name = VERITY if value.kind == ima.VERITY else WHOLE
    if name == VERITY and value.algorithm not in verity.NUMBERS:
        return replace(artifact, findings=(_unknown(value),))
    known = {}
    if value.version == 2:
        claimed = claim_over(value, raw, name)
    else:
        digest = _digest(artifact.source, name, value.algorithm, tree)
        slot = Slot(name=name, algorithm=value.algorithm, digest=digest)
        claimed, known = claim_of(value, raw, slot), {(name, value.algorithm): digest}
    required = {claimed.label: frozenset({name})}
    return replace(artifact, signatures=(claimed,), required=required, layout=known)


def _digest(source: Source, name: str, algorithm: str, tree: verity.Parameters | None) -> bytes:
    """Return a digest that version 3 is over: the value alone tells whether it was signed."""
    if name == WHOLE:
        return whole_digest(source, algorithm)
    built = verity.parameters_of(source) or tree or verity.Parameters()
    return verity.source_digest(source, replace(built, algorithm=algorithm))


def _unknown(value: ima.Signed) -> Finding:
    found = f"a signature of version {value.version} with {value.algorithm}"
    return Finding(
        code=Code.UNSUPPORTED_ALGORITHM,
        effect=Effect.UNKNOWN,
        subject=ima.ATTRIBUTE,
        found=found,
        required="version 2 or 3 with a digest that can be computed",
        clause=_CLAUSE,
    )


def _check_signer(name: str, signer: Signer, digests: frozenset[str]) -> None:
    """Raise ``NotSignableError`` for a key or a digest that the kernel has no use for."""
    if signer.algorithm.scheme not in _SCHEMES:
        raise NotSignableError(name, f"a key for {signer.algorithm}", "an RSA or ECDSA key",
                               hint="the kernel's .ima keyring knows no other")  # fmt: skip
    if signer.digest not in digests:
        known = ", ".join(sorted(digests))
        raise NotSignableError(name, f"digest {signer.digest}", f"one of {known}")


def _evm_facts(data: bytes) -> Mapping[str, str]:
    """Return what ``security.evm`` says of itself; only the machine itself can check most of it."""
    return dict(_told(data)) if data else {}


def _told(data: bytes) -> Iterator[tuple[str, str]]:
    try:
        value = ima.read_value(data, ima.EVM_ATTRIBUTE)
    except BadInputError:
        yield "evm", "cannot be read"
        return
    if isinstance(value, ima.Keyed):
        yield "evm", "HMAC by a key of the machine"
    elif isinstance(value, ima.Signed):
        kind = "portable signature" if value.kind == ima.PORTABLE else "signature"
        yield "evm", f"{kind}, {value.algorithm}, key {value.key_id.hex()}"
