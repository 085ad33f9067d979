"""Signers of APK Signature Schemes v2, v3, v3.1 and v4 as drafts.

Their form is that of `envelopes.apk` and `envelopes.apk_v4`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from signward.envelopes import Signer
from signward.envelopes.apk_v4 import VERSION as V4_VERSION
from signward.envelopes.apk_v4 import hashing_info, signed_data
from signward.errors import NotSignableError
from signward.frozen import Frozen
from signward.state import Algorithm
from signward.wire.certificate import outline

_METHODS: Mapping[tuple[str, str], int] = MappingProxyType(
    {
        ("rsa-pkcs1v15", "sha256"): 0x0103,
        ("rsa-pkcs1v15", "sha512"): 0x0104,
        ("ecdsa", "sha256"): 0x0201,
        ("ecdsa", "sha512"): 0x0202,
    }
)
"""Ids of the methods we sign by."""


def method_of(signer: Signer) -> int:
    """Return the method's id for a signer.  Raises ``NotSignableError``."""
    method = _METHODS.get((signer.algorithm.scheme, signer.algorithm.digest))
    if method is None:
        raise NotSignableError(
            "algorithm", f"{signer.algorithm} with {signer.digest}",
            "RSA (PKCS #1 v1.5) or ECDSA, with SHA-256 or SHA-512: platforms know no other",
            hint="--digest sha512 for a P-384 key",
        )  # fmt: skip
    return method


class ApkDraft(Frozen, frozen=True, kw_only=True):
    """One signer's record that lacks its value (an ``envelopes.Draft``).

    What it is sealed to is the scheme's whole value, with this one signer; ``platforms`` are those
    that look at it, which v2 does not say.
    """

    method: int
    algorithm: Algorithm
    certificate: bytes
    platforms: tuple[int, int] | None
    to_be_signed: bytes

    def seal(self, value: bytes, _tokens: Sequence[bytes] = ()) -> bytes:
        """Return the scheme's value; there is no place for tokens."""
        values = _prefixed(_u32(self.method) + _prefixed(value))
        record = b"".join((
            _prefixed(self.to_be_signed),
            _from_to(self.platforms),
            _prefixed(values),
            _prefixed(outline(self.certificate).spki),
        ))  # fmt: skip
        return _prefixed(_prefixed(record))

    def stamped(self, _value: bytes) -> None:
        """Return nothing: there is no place for tokens."""


def draft_scheme(
    signer: Signer,
    digest: bytes,
    platforms: tuple[int, int] | None = None,
    attributes: Mapping[int, bytes] = MappingProxyType({}),
) -> ApkDraft:
    """Return the draft of a signer over a content digest by the signer's method.

    ``platforms`` are those of v3 and v3.1, the newest included; None makes it v2.  Certificates
    above the leaf are left out: platforms look at none.
    """
    method = method_of(signer)
    signed = (
        _prefixed(_prefixed(_u32(method) + _prefixed(digest)))
        + _prefixed(_prefixed(signer.certificates[0]))
        + _from_to(platforms)
        + _prefixed(b"".join(_prefixed(_u32(n) + value) for n, value in attributes.items()))
    )
    return ApkDraft(
        method=method,
        algorithm=signer.algorithm,
        certificate=signer.certificates[0],
        platforms=platforms,
        to_be_signed=signed,
    )


class V4Draft(Frozen, frozen=True, kw_only=True):
    """An ``.idsig`` file that lacks its value (an ``envelopes.Draft``)."""

    method: int
    algorithm: Algorithm
    certificate: bytes
    root: bytes
    nodes: bytes
    digest: bytes
    to_be_signed: bytes

    def seal(self, value: bytes, _tokens: Sequence[bytes] = ()) -> bytes:
        """Return the file, its tree in it; there is no place for tokens."""
        key = outline(self.certificate).spki
        signing = b"".join(map(_prefixed, (self.digest, self.certificate, b"", key)))
        signing += _u32(self.method) + _prefixed(value)
        parts = (hashing_info(self.root), signing, self.nodes)
        return _u32(V4_VERSION) + b"".join(map(_prefixed, parts))

    def stamped(self, _value: bytes) -> None:
        """Return nothing: there is no place for tokens."""


def draft_v4(signer: Signer, length: int, tree: tuple[bytes, bytes], digest: bytes) -> V4Draft:
    """Return the draft of an ``.idsig`` file for a package of ``length`` octets.

    ``tree`` is its root and its octets, ``digest`` the content digest of v3, or of v2.
    """
    root, nodes = tree
    certificate = signer.certificates[0]
    return V4Draft(
        method=method_of(signer),
        algorithm=signer.algorithm,
        certificate=certificate,
        root=root,
        nodes=nodes,
        digest=digest,
        to_be_signed=signed_data(length, root, digest, certificate),
    )


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _prefixed(data: bytes) -> bytes:
    return _u32(len(data)) + data


def _from_to(platforms: tuple[int, int] | None) -> bytes:
    return b"".join(map(_u32, platforms)) if platforms else b""
