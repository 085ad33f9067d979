"""Signers of APK Signature Schemes v2, v3 and v3.1, as the signing block has them.

Sources: Android, "APK Signature Scheme v2", "v3" and "v3.1", format; AOSP ``V2SchemeVerifier``,
``V3SchemeVerifier`` and ``V3SigningCertificateLineage`` where those pages are silent.  Numbers are
little-endian, records length-prefixed (`wire.prefixed`), certificates DER, keys
SubjectPublicKeyInfo, ECDSA and DSA values DER.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from types import MappingProxyType

from signward.errors import AmbiguousError, MalformedError
from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen
from signward.state import Algorithm, ClaimedSignature, Rotation, SignerId, Slot
from signward.wire.certificate import outline
from signward.wire.prefixed import Prefixed

MAX_SIGNERS = 10
"""Signers of one scheme (AOSP ``MAX_APK_SIGNERS``)."""

MAX_PARTS = 64
"""Signatures, digests, certificates or attributes of one signer, and steps of a lineage."""

EVERY_PLATFORM = 0x7FFFFFFF
"""The newest platform there can be: API levels are signed numbers of 32 bits."""

ROTATION = 0x3BA06F8C
"""Attribute of v3: the lineage (``PROOF_OF_ROTATION_ATTR_ID``)."""

ROTATES_FROM = 0x559F8B02
"""Attribute of v3: a v3.1 value stands beside it, for platforms from this one."""

STRIPPED = 0xBEEFF00D
"""Attribute of v2: the file has been signed by this newer scheme too."""

_LINEAGE_VERSION = 1
_INSTALLED_DATA = 1
"""Capability: those who trusted this certificate go on to trust its successors."""


class Method(Frozen, frozen=True, kw_only=True):
    """What a signature algorithm id means: how values are made, and over which content digest."""

    algorithm: Algorithm
    slot: str
    digest: str


def _pss(digest: str, salt: int) -> Algorithm:
    return Algorithm(scheme="rsa-pss", digest=digest, mgf_digest=digest, salt_length=salt)


def _chunks(algorithm: Algorithm) -> Method:
    return Method(algorithm=algorithm, slot="apk-chunks", digest=algorithm.digest)


def _verity(scheme: str) -> Method:
    algorithm = Algorithm(scheme=scheme, digest="sha256")
    return Method(algorithm=algorithm, slot="apk-verity", digest="sha256")


METHODS: Mapping[int, Method] = MappingProxyType(
    {
        0x0101: _chunks(_pss("sha256", 32)),
        0x0102: _chunks(_pss("sha512", 64)),
        0x0103: _chunks(Algorithm(scheme="rsa-pkcs1v15", digest="sha256")),
        0x0104: _chunks(Algorithm(scheme="rsa-pkcs1v15", digest="sha512")),
        0x0201: _chunks(Algorithm(scheme="ecdsa", digest="sha256")),
        0x0202: _chunks(Algorithm(scheme="ecdsa", digest="sha512")),
        0x0301: _chunks(Algorithm(scheme="dsa", digest="sha256")),
        0x0421: _verity("rsa-pkcs1v15"),
        0x0423: _verity("ecdsa"),
        0x0425: _verity("dsa"),
    }
)
"""Signature algorithm ids (APK Signature Scheme v2, signature algorithm IDs)."""


class ApkSigner(Frozen, frozen=True, kw_only=True):
    """One signer: a claim for each value by a known algorithm, and what the signed data says.

    ``oldest`` to ``newest`` are the platforms that look at it, ``attributes`` values by id.
    """

    claims: tuple[ClaimedSignature, ...]
    certificate: bytes
    oldest: int
    newest: int
    attributes: Mapping[int, bytes]
    lineage: tuple[Rotation, ...] = ()


class _Signed(Frozen, frozen=True, kw_only=True):
    """The signed data taken apart."""

    digests: tuple[tuple[int, bytes], ...]
    certificates: tuple[bytes, ...]
    platforms: tuple[int, int]
    attributes: Mapping[int, bytes]


def open_signers(value: bytes, scheme: str) -> tuple[ApkSigner, ...]:
    """Return the signers in the value of ``v2``, ``v3`` or ``v3.1``.

    Raises ``MalformedError`` where a platform would refuse the file for its form, and
    ``LimitError``.
    """
    what = f"scheme {scheme}"
    outer = Prefixed(value, what)
    records = outer.parts(MAX_PARTS)
    outer.finish()
    if not 0 < len(records) <= MAX_SIGNERS:
        raise MalformedError(
            what, f"{len(records)} signers", f"1 to {MAX_SIGNERS}", f"APK {scheme}"
        )
    return tuple(
        _signer(record, scheme, f"{scheme}:{number}") for number, record in enumerate(records, 1)
    )


def _signer(record: bytes, scheme: str, label: str) -> ApkSigner:
    reader = Prefixed(record, f"signer {label}")
    data = reader.part()
    signed = _signed_data(data, scheme, label)
    platforms = (reader.u32(), reader.u32()) if scheme != "v2" else signed.platforms
    if platforms != signed.platforms:
        raise MalformedError(f"signer {label}", f"platforms {platforms[0]} to {platforms[1]}",
                             f"{signed.platforms[0]} to {signed.platforms[1]}, as signed",
                             f"APK {scheme}")  # fmt: skip
    values = tuple(_numbered(one, label) for one in reader.parts(MAX_PARTS))
    key = reader.part()
    reader.finish()
    lineage = _lineage(signed, label)
    claims = tuple(_claims(label, data, signed, values, key, lineage))
    if not claims:
        raise MalformedError(f"signer {label}", f"{len(values)} signatures, none by a known method",
                             "at least one", f"APK {scheme}, verification")  # fmt: skip
    return ApkSigner(
        claims=claims,
        certificate=signed.certificates[0],
        oldest=platforms[0],
        newest=platforms[1],
        attributes=signed.attributes,
        lineage=lineage,
    )


def _signed_data(data: bytes, scheme: str, label: str) -> _Signed:
    """Take signed data apart; writers of v2 leave an empty part behind it, which is signed too."""
    reader = Prefixed(data, f"signer {label}")
    digests = tuple(_numbered(one, label) for one in reader.parts(MAX_PARTS))
    certificates = reader.parts(MAX_PARTS)
    platforms = (1, EVERY_PLATFORM) if scheme == "v2" else (reader.u32(), reader.u32())
    attributes: dict[int, bytes] = {}
    for one in reader.parts(MAX_PARTS):
        attribute = Prefixed(one, f"signer {label}, attribute")
        number = attribute.u32()
        if number in attributes:
            raise AmbiguousError(f"signer {label}", f"two attributes {number:#010x}", "one of each",
                                 f"APK {scheme}, additional attributes")  # fmt: skip
        attributes[number] = attribute.rest()
    if not certificates or platforms[0] > platforms[1]:
        found = f"{len(certificates)} certificates, platforms {platforms[0]} to {platforms[1]}"
        raise MalformedError(f"signer {label}", found, "a certificate, and platforms in order",
                             f"APK {scheme}")  # fmt: skip
    return _Signed(
        digests=digests,
        certificates=certificates,
        platforms=platforms,
        attributes=attributes,
    )


def _numbered(record: bytes, label: str) -> tuple[int, bytes]:
    """Read a signature or digest: the algorithm's id, and the value length-prefixed."""
    reader = Prefixed(record, f"signer {label}")
    number, value = reader.u32(), reader.part()
    reader.finish()
    return number, value


def _claims(
    label: str,
    data: bytes,
    signed: _Signed,
    values: tuple[tuple[int, bytes], ...],
    key: bytes,
    lineage: tuple[Rotation, ...],
) -> Iterator[ClaimedSignature]:
    """Yield a claim for each value by a known method; every one of them must be intact."""
    digests = dict(signed.digests)
    known = [(number, value) for number, value in values if number in METHODS]
    findings = tuple(_disagreeing(label, signed, values, key))
    signer = _signer_id(signed.certificates[0])
    for number, value in known:
        method = METHODS[number]
        digest = digests.get(number)
        slot = Slot(name=method.slot, algorithm=method.digest, digest=digest or b"")
        yield ClaimedSignature(
            label=label if len(known) == 1 else f"{label} by {number:#06x}",
            envelope="apk",
            slots=(slot,),
            bindings=(),
            algorithm=method.algorithm,
            to_be_verified=data,
            value=value,
            claimed_signer=signer,
            claimed_certificates=signed.certificates[:1],
            findings=findings,
            raw=data,
            lineage=lineage,
        )


def _signer_id(certificate: bytes) -> SignerId:
    seen = outline(certificate)
    return SignerId(issuer=seen.issuer, serial=seen.serial)


def _disagreeing(
    label: str, signed: _Signed, values: tuple[tuple[int, bytes], ...], key: bytes
) -> Iterator[Finding]:
    """Report what stands twice in a signer and is not the same."""
    numbers = [[number for number, _ in pairs] for pairs in (signed.digests, values)]
    if numbers[0] != numbers[1] or len(set(numbers[0])) != len(numbers[0]):
        yield Finding(
            code=Code.ALGORITHM_INCONSISTENT,
            effect=Effect.REJECT,
            subject=f"signer {label}",
            found=f"signatures by {_hexed(numbers[1])}, digests for {_hexed(numbers[0])}",
            required="the same algorithms, each once",
            clause="APK Signature Scheme v2, verification",
        )
    if outline(signed.certificates[0]).spki != key:
        yield Finding(
            code=Code.SIGNATURE_MISMATCH,
            effect=Effect.REJECT,
            subject=f"signer {label}",
            found="a public key that is not the certificate's",
            required="that of the signer's first certificate",
            clause="APK Signature Scheme v2, verification",
        )


def _hexed(numbers: list[int]) -> str:
    return ", ".join(f"{number:#06x}" for number in numbers) or "none"


def _lineage(signed: _Signed, label: str) -> tuple[Rotation, ...]:
    """Return the steps of the attribute that has them; they must lead to the signer."""
    value = signed.attributes.get(ROTATION)
    if value is None:
        return ()
    what = f"signer {label}, lineage"
    reader = Prefixed(value, what)
    version = reader.u32()
    nodes = reader.within(reader.rest(), MAX_PARTS)
    if version != _LINEAGE_VERSION or not nodes:
        raise MalformedError(what, f"version {version}, {len(nodes)} steps", "version 1, steps",
                             "APK v3, proof-of-rotation")  # fmt: skip
    return tuple(_rotations(nodes, what, signed.certificates[0]))


class _Node(Frozen, frozen=True, kw_only=True):
    """One holder: the signed part names who they are and how that was signed."""

    signed: bytes
    certificate: bytes
    signed_by: int
    signs_by: int
    flags: int
    value: bytes


def _node(record: bytes, what: str) -> _Node:
    reader = Prefixed(record, what)
    signed = reader.part()
    flags, signs_by, value = reader.u32(), reader.u32(), reader.part()
    reader.finish()
    inner = Prefixed(signed, what)
    certificate, signed_by = inner.part(), inner.u32()
    inner.finish()
    return _Node(
        signed=signed,
        certificate=certificate,
        signed_by=signed_by,
        signs_by=signs_by,
        flags=flags,
        value=value,
    )


def _rotations(records: tuple[bytes, ...], what: str, signer: bytes) -> Iterator[Rotation]:
    """Yield a step for each holder but the last, who must be the signer."""
    nodes = [_node(record, what) for record in records]
    holders = [node.certificate for node in nodes]
    if len(set(holders)) != len(holders) or holders[-1] != signer:
        raise MalformedError(what, "holders that stand there twice, or do not end with the signer",
                             "each once, the signer last", "APK v3, proof-of-rotation")  # fmt: skip
    for before, after in pairwise(nodes):
        method = METHODS.get(before.signs_by)
        if method is None or before.signs_by != after.signed_by:
            found = f"a step signed by {before.signs_by:#06x} that says {after.signed_by:#06x}"
            raise MalformedError(what, found, "one known algorithm", "APK v3, proof-of-rotation")
        yield Rotation(
            certificate=before.certificate,
            successor=after.certificate,
            algorithm=method.algorithm,
            signed=after.signed,
            value=after.value,
            lasting=bool(before.flags & _INSTALLED_DATA),
        )
