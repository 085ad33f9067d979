"""Signers of APK Signature Schemes v2, v3 and v3.1, as the signing block has them.

Sources: Android, "APK Signature Scheme v2", "v3" and "v3.1", format; AOSP ``V2SchemeVerifier``,
``V3SchemeVerifier`` and ``V3SigningCertificateLineage`` where those pages are silent.  Numbers are
little-endian, records length-prefixed (`wire.prefixed`), certificates DER, keys
SubjectPublicKeyInfo, ECDSA and DSA values DER.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from signward.envelopes.apk_lineage import read_lineage, rotations
from signward.envelopes.apk_methods import MAX_PARTS, METHODS, check_key, claim
from signward.errors import AmbiguousError, MalformedError
from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen
from signward.state import ClaimedSignature, Rotation, Slot
from signward.wire.prefixed import Prefixed

MAX_SIGNERS = 10
"""Signers of one scheme (AOSP ``MAX_APK_SIGNERS``)."""

EVERY_PLATFORM = 0x7FFFFFFF
"""The newest platform there can be: API levels are signed numbers of 32 bits."""

ROTATION = 0x3BA06F8C
"""Attribute of v3: the lineage (``PROOF_OF_ROTATION_ATTR_ID``)."""

ROTATES_FROM = 0x559F8B02
"""Attribute of v3: a v3.1 value stands beside it, for platforms from this one."""

STRIPPED = 0xBEEFF00D
"""Attribute of v2: the file has been signed by this newer scheme too."""


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
    findings = (
        *_disagreeing(label, signed, values),
        *check_key(f"signer {label}", signed.certificates[0], key),
    )
    for number, value in known:
        method = METHODS[number]
        slot = Slot(name=method.slot, algorithm=method.digest, digest=digests.get(number, b""))
        yield claim(
            label if len(known) == 1 else f"{label} by {number:#06x}",
            method.algorithm,
            (slot,),
            data,
            value,
            signed.certificates[0],
            findings,
            lineage,
        )


def _disagreeing(
    label: str, signed: _Signed, values: tuple[tuple[int, bytes], ...]
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


def _hexed(numbers: list[int]) -> str:
    return ", ".join(f"{number:#06x}" for number in numbers) or "none"


def _lineage(signed: _Signed, label: str) -> tuple[Rotation, ...]:
    """Return the steps of the attribute that has them; they must lead to the signer."""
    value = signed.attributes.get(ROTATION)
    if value is None:
        return ()
    what = f"signer {label}, lineage"
    holders = read_lineage(value, what)
    if holders[-1].certificate != signed.certificates[0]:
        raise MalformedError(what, "holders that do not end with the signer", "the signer last",
                             "APK v3, proof-of-rotation")  # fmt: skip
    return tuple(rotations(holders))
