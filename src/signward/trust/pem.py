"""PEM files of evidence: the blocks of one kind, or the DER itself (RFC 7468)."""

from __future__ import annotations

import binascii
import re

from signward.envelopes.cms import SIGNED_DATA
from signward.errors import BadInputError, EvidenceError
from signward.wire import der

MAX_FILE_OCTETS = 256 * 1024 * 1024
"""Largest evidence file read (a large CRL in Base64)."""

CERTIFICATES = "(?:X509 |TRUSTED )?CERTIFICATE"
CRLS = "X509 CRL"
OCSP_RESPONSES = "OCSP RESPONSE"
BUNDLES = "(?:PKCS7|CMS)"
"""A PKCS#7 of certificates (RFC 7468 8 and 9)."""


def blocks(name: str, data: bytes, label: str) -> list[bytes]:
    """Return the DER in each block with ``label`` (a pattern); a DER file is its own block.

    Text between blocks and blocks of another kind are passed over.  Raises
    ``EvidenceError`` when nothing is found, or Base64 is damaged.
    """
    if len(data) > MAX_FILE_OCTETS:
        raise EvidenceError(f"{name}: {len(data)} bytes, at most {MAX_FILE_OCTETS}")
    if b"-----BEGIN " not in data[:65536]:
        if data[:1] != b"\x30":
            raise EvidenceError(f"{name}: neither PEM nor DER")
        return [bytes(data)]
    pattern = rf"-----BEGIN ({label})-----([^-]*)-----END \1-----"
    found = [decoded(name, m[2]) for m in re.finditer(pattern.encode("ascii"), data)]
    if not found:
        raise EvidenceError(f"{name}: no {label.rpartition('?')[2]} in this PEM file")
    return found


def decoded(name: str, base64: bytes) -> bytes:
    """Return what a block's Base64 stands for; ``EvidenceError`` if it is damaged."""
    try:
        return binascii.a2b_base64(base64)
    except binascii.Error as error:
        raise EvidenceError(f"{name}: damaged PEM block: {error}") from None


def bundled(data: bytes) -> list[bytes] | None:
    """Return the certificates of a SignedData without signers (RFC 5652 5.1), or None."""
    try:
        kind, content = der.parse(data, "certificate bundle").fields("certificate bundle", 2)[:2]
        if kind.oid() != SIGNED_DATA:
            return None
        (signed,) = content.children()
        sets = [field for field in signed.fields("SignedData", 3) if field.tag == 0xA0]
        return [node.raw for field in sets for node in field.children()]
    except (BadInputError, ValueError):
        return None
