"""Public keys and the certificates beside them, as key providers hand them on."""

from __future__ import annotations

import binascii
import re
from collections.abc import Sequence
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import load_der_x509_certificate

from signward.errors import BadInputError, KeyProviderError
from signward.wire.certificate import outline

_CERTIFICATE = re.compile(
    rb"-----BEGIN ((?:X509 )?CERTIFICATE)-----\s([^-]*)-----END \1-----", re.DOTALL
)


def in_pem(name: str, data: bytes) -> list[bytes]:
    """Return the certificates among PEM blocks, as DER.  Raises ``KeyProviderError``."""
    try:
        return [binascii.a2b_base64(match[2]) for match in _CERTIFICATE.finditer(data)]
    except binascii.Error as error:
        raise KeyProviderError(name, f"a damaged block ({error})", "PEM (RFC 7468)") from None


def spki_of(public: Any) -> bytes:
    """Return a public key of the cryptography library as DER SubjectPublicKeyInfo."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return bytes(public.public_bytes(serialization.Encoding.DER, form))


def leaf_first(name: str, public_key: bytes, certificates: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return ``certificates`` with those of the key first, otherwise in their order.

    Raises ``KeyProviderError`` where there are some and none is of the key, or one is no
    certificate.
    """
    own = [one for one in certificates if key_in(name, one) == public_key]
    if certificates and not own:
        found = f"{len(certificates)} certificates, all of other keys"
        raise KeyProviderError(name, found, "the certificate of the key, or none")
    return (*own, *(one for one in certificates if one not in own))


def key_in(name: str, certificate: bytes) -> bytes:
    """Return a certificate's public key, in the encoding that ``spki_of`` writes.

    Empty for a key of an unknown kind.  Raises ``KeyProviderError``.
    """
    try:
        spki = outline(certificate).spki
    except BadInputError as error:
        found = f"a damaged certificate ({error})"
        raise KeyProviderError(name, found, "X.509 certificates") from None
    try:
        return spki_of(serialization.load_der_public_key(spki))
    except (ValueError, UnsupportedAlgorithm):
        return b""


def path_from(leaves: Sequence[bytes], held: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return ``leaves`` and the issuers of the last one that ``held`` has, in order."""
    path, rest = list(leaves), [one for one in held if one not in leaves]
    try:
        names = {one: load_der_x509_certificate(one) for one in (*path, *rest)}
    except ValueError:
        return tuple(path)
    while issuers := [one for one in rest if names[one].subject == names[path[-1]].issuer]:
        path.append(issuers[0])
        rest.remove(issuers[0])
    return tuple(path)


def sorted_path(name: str, certificates: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return a path that came as a set, leaf first: the leaf is the one that issued no other.

    Raises ``KeyProviderError``.
    """
    try:
        names = {one: load_der_x509_certificate(one) for one in certificates}
    except ValueError as error:
        found = f"a damaged certificate ({error})"
        raise KeyProviderError(name, found, "X.509 certificates") from None
    issuers = {seen.issuer.public_bytes() for seen in names.values()
               if seen.issuer != seen.subject}  # fmt: skip
    leaves = [one for one, seen in names.items() if seen.subject.public_bytes() not in issuers]
    if len(leaves) != 1:
        found = f"{len(certificates)} certificates, {len(leaves)} of which issued no other"
        raise KeyProviderError(name, found, "one path, with one leaf")
    return path_from(leaves, certificates)
