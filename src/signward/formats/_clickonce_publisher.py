"""Who a ClickOnce manifest says it is by: public key token, publisher name, issuer's key hash.

The token is that of .NET's strong names (ECMA-335 II.6.3): the last eight octets, reversed, of
SHA-1 over the public key as a strong-name blob.  Names are written as .NET's
``X500DistinguishedName.Name`` writes them, most specific part first.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

from signward.errors import BadInputError, MalformedError
from signward.wire import der
from signward.wire.certificate import outline
from signward.wire.spki import key_bits, rsa_numbers

_CALG_RSA_SIGN, _CALG_SHA1 = 0x2400, 0x8004
_PUBLIC_KEY_BLOB = struct.Struct("<IIIBBHIIII")
_RSA1 = 0x31415352
_AUTHORITY_KEY_IDENTIFIER = der.oid("2.5.29.35")

_KEYS = {
    "2.5.4.3": "CN", "2.5.4.4": "SN", "2.5.4.5": "SERIALNUMBER", "2.5.4.6": "C", "2.5.4.7": "L",
    "2.5.4.8": "S", "2.5.4.9": "STREET", "2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.12": "T",
    "2.5.4.13": "Description", "2.5.4.17": "PostalCode", "2.5.4.18": "POBox", "2.5.4.20": "Phone",
    "2.5.4.42": "G", "2.5.4.43": "I", "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "E",
}  # fmt: skip
"""Names of attribute types as Windows writes them (wincrypt.h); others are ``OID.`` and dots."""

_QUOTED = frozenset(',+="\n<>#;')


def strong_name_blob(spki: bytes) -> bytes:
    """Return an RSA key as .NET's strong-name public key: three 32-bit words, then a PUBLICKEYBLOB.

    All numbers little-endian, the modulus too.  Raises ``MalformedError`` for other keys.
    """
    numbers = rsa_numbers(spki)
    if numbers is None or numbers[1] >= 1 << 32 or numbers[0] <= 0 or numbers[1] < 0:
        raise MalformedError(
            "strong name", "a key that is none of RSA", "an RSA key", "ECMA-335 II.6.3"
        )
    modulus, exponent = numbers
    size = (modulus.bit_length() + 7) // 8
    header = _PUBLIC_KEY_BLOB.pack(
        _CALG_RSA_SIGN, _CALG_SHA1, 20 + size, 6, 2, 0, _CALG_RSA_SIGN, _RSA1, 8 * size, exponent
    )
    return header + modulus.to_bytes(size, "little")


def public_key_token(spki: bytes) -> str:
    """Return the public key token of an RSA key, 16 hexadecimal digits."""
    return hashlib.sha1(strong_name_blob(spki), usedforsecurity=False).digest()[:-9:-1].hex()


def windows_name(certificate: bytes) -> str:
    """Return a certificate's subject as .NET writes it: ``CN=A, O="B, Inc.", C=US``."""
    sets = der.parse(outline(certificate).subject, "subject").fields("subject")
    return ", ".join(" + ".join(map(_part, one.children())) for one in reversed(sets))


def _part(attribute: der.Node) -> str:
    kind, value = attribute.fields("subject", 2)[:2]
    text, oid = value.text("subject"), kind.oid("subject")
    if _QUOTED & set(text) or text != text.strip() or not text:
        text = '"' + text.replace('"', '""') + '"'
    return f"{_KEYS.get(oid, f'OID.{oid}')}={text}"


def name_values(name: str) -> list[str]:
    """Return the sorted values in a written name: what two ways of writing one have in common."""
    values, current, quoted = [], "", False
    for character in f"{name},":
        quoted ^= character == '"'
        if not quoted and character in ",+":
            value = current.partition("=")[2].strip()
            whole = len(value) > 1 and value[0] == value[-1] == '"'
            values.append(value[1:-1].replace('""', '"') if whole else value)
            current = ""
        else:
            current += character
    return sorted(values)


def issuer_key_hash(certificate: bytes, path: Sequence[bytes]) -> str:
    """Return SHA-1 of the issuer's public key, hexadecimal; empty where nothing tells it.

    From the issuer's certificate where ``path`` holds it, else from the authority key
    identifier, which most authorities make the same way (RFC 5280 4.2.1.2, method 1).
    """
    leaf = outline(certificate)
    for other in (certificate, *path):
        try:
            if outline(other).subject == leaf.issuer:
                return hashlib.sha1(
                    key_bits(outline(other).spki), usedforsecurity=False
                ).hexdigest()
        except BadInputError:
            continue  # an unreadable certificate is nobody's issuer
    return _authority_key_identifier(certificate)


def _authority_key_identifier(certificate: bytes) -> str:
    """Return keyIdentifier of AuthorityKeyIdentifier (RFC 5280 4.2.1.1), hexadecimal or empty."""
    tbs = der.parse(certificate, "certificate").fields("certificate", 3)[0]
    for field in tbs.children():
        if field.tag != 0xA3:
            continue
        for extension in field.fields("certificate", 1, 0xA3)[0].children():
            if extension.content.startswith(_AUTHORITY_KEY_IDENTIFIER):
                value = der.parse(extension.fields("certificate", 2)[-1].octets(), "identifier")
                first = value.fields("identifier", 1)[0]
                return first.content.hex() if first.tag == 0x80 and len(first.content) == 20 else ""
    return ""
