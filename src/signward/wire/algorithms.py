"""AlgorithmIdentifiers: object identifiers to the names the rest of Signward uses.

Sources: RFC 3279, 4055 (RSASSA-PSS), 5480, 5754, 5758, 8410 (EdDSA), 9881 and 9882
(ML-DSA).  Digest names are hashlib's.
"""

from __future__ import annotations

from signward.errors import MalformedError
from signward.state import Algorithm
from signward.wire import der
from signward.wire.der import Node

DIGESTS = {
    "1.2.840.113549.2.2": "md2",
    "1.2.840.113549.2.5": "md5",
    "1.3.14.3.2.26": "sha1",
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
    "2.16.840.1.101.3.4.2.4": "sha224",
    "2.16.840.1.101.3.4.2.8": "sha3_256",
    "2.16.840.1.101.3.4.2.9": "sha3_384",
    "2.16.840.1.101.3.4.2.10": "sha3_512",
    "2.16.840.1.101.3.4.2.12": "shake256",
}
DIGEST_OIDS = {name: oid for oid, name in DIGESTS.items()}

COMPUTABLE = frozenset({"md5", "sha1", "sha224", "sha256", "sha384", "sha512"} |
                       {"sha3_256", "sha3_384", "sha3_512"})  # fmt: skip
"""Digests hashlib computes for us; the others are recognised and refused by name."""

SHA256_160 = "sha256-160"
"""SHA-256 of which 20 octets are kept: no envelope names it, Apple's code directories hold it."""

BLAKE2B = "blake2b"
"""BLAKE2b of 64 octets: minisign's, and no certificate or envelope of others names it."""

OF_SLOTS = COMPUTABLE | {BLAKE2B, SHA256_160}
"""Digests that formats compute of slots."""

RSA = "1.2.840.113549.1.1.1"
RSA_PSS = "1.2.840.113549.1.1.10"
MGF1 = "1.2.840.113549.1.1.8"
EC_PUBLIC_KEY = "1.2.840.10045.2.1"
DSA_KEY = "1.2.840.10040.4.1"

_SIGNATURES = {
    "1.2.840.113549.1.1.2": Algorithm(scheme="rsa-pkcs1v15", digest="md2"),
    "1.2.840.113549.1.1.4": Algorithm(scheme="rsa-pkcs1v15", digest="md5"),
    "1.2.840.113549.1.1.5": Algorithm(scheme="rsa-pkcs1v15", digest="sha1"),
    "1.3.14.3.2.29": Algorithm(scheme="rsa-pkcs1v15", digest="sha1"),
    "1.2.840.113549.1.1.14": Algorithm(scheme="rsa-pkcs1v15", digest="sha224"),
    "1.2.840.113549.1.1.11": Algorithm(scheme="rsa-pkcs1v15", digest="sha256"),
    "1.2.840.113549.1.1.12": Algorithm(scheme="rsa-pkcs1v15", digest="sha384"),
    "1.2.840.113549.1.1.13": Algorithm(scheme="rsa-pkcs1v15", digest="sha512"),
    "1.2.840.10045.4.1": Algorithm(scheme="ecdsa", digest="sha1"),
    "1.2.840.10045.4.3.1": Algorithm(scheme="ecdsa", digest="sha224"),
    "1.2.840.10045.4.3.2": Algorithm(scheme="ecdsa", digest="sha256"),
    "1.2.840.10045.4.3.3": Algorithm(scheme="ecdsa", digest="sha384"),
    "1.2.840.10045.4.3.4": Algorithm(scheme="ecdsa", digest="sha512"),
    "1.2.840.10040.4.3": Algorithm(scheme="dsa", digest="sha1"),
    "2.16.840.1.101.3.4.3.1": Algorithm(scheme="dsa", digest="sha224"),
    "2.16.840.1.101.3.4.3.2": Algorithm(scheme="dsa", digest="sha256"),
    "1.3.101.112": Algorithm(scheme="ed25519"),
    "1.3.101.113": Algorithm(scheme="ed448"),
    "2.16.840.1.101.3.4.3.17": Algorithm(scheme="ml-dsa-44"),
    "2.16.840.1.101.3.4.3.18": Algorithm(scheme="ml-dsa-65"),
    "2.16.840.1.101.3.4.3.19": Algorithm(scheme="ml-dsa-87"),
}
_OIW_RSA_SHA1 = "1.3.14.3.2.29"
SIGNATURE_OIDS = {
    (a.scheme, a.digest): oid for oid, a in _SIGNATURES.items() if oid != _OIW_RSA_SHA1
}
"""The OID to write for an algorithm; RSA with SHA-1 has a second, older one."""


def signature_algorithm_alone(oid: str) -> Algorithm | None:
    """Return the algorithm of a key that signs by one only, whose OIDs are the same."""
    found = _SIGNATURES.get(oid)
    return found if found and not found.digest else None


_BARE_KEYS = {RSA: "rsa-pkcs1v15", EC_PUBLIC_KEY: "ecdsa", DSA_KEY: "dsa"}
"""CMS lets a signer name the key's algorithm alone; the digest then stands beside it."""

UNKNOWN = "unknown"

_NULL = b"\x05\0"


def _encodings(oid: str) -> tuple[bytes, bytes]:
    """Return the DER of an AlgorithmIdentifier with NULL parameters, and without any."""
    return der.sequence(der.oid(oid), _NULL), der.sequence(der.oid(oid))


_ENCODED_DIGESTS = {raw: name for oid, name in DIGESTS.items() for raw in _encodings(oid)}
_ENCODED_SIGNATURES = {raw: a for oid, a in _SIGNATURES.items() for raw in _encodings(oid)}
_ENCODED_RSA = {
    (raw, name): Algorithm(scheme="rsa-pkcs1v15", digest=name)
    for name in DIGESTS.values()
    for raw in _encodings(RSA)
}
"""What nearly every AlgorithmIdentifier is, byte for byte; anything else is parsed."""


def digest_name(node: Node, what: str = "digest algorithm") -> str:
    """Return the hashlib name in an AlgorithmIdentifier; ``unknown:OID`` for others."""
    known = _ENCODED_DIGESTS.get(node.data[node.offset : node.next])
    if known:
        return known
    fields = node.fields(what, 1)
    oid = fields[0].oid(what)
    if oid in DIGESTS:
        _check_no_parameters(fields, what)
    return DIGESTS.get(oid, f"{UNKNOWN}:{oid}")


def signature_algorithm(node: Node, digest: str = "", what: str = "algorithm") -> Algorithm:
    """Return the signature algorithm in an AlgorithmIdentifier.

    ``digest`` completes a bare key algorithm (RFC 5652 5.3: the SignerInfo's own
    digestAlgorithm).  An algorithm we do not know keeps its OID in ``scheme``.
    """
    raw = node.data[node.offset : node.next]
    known = _ENCODED_RSA.get((raw, digest)) or _ENCODED_SIGNATURES.get(raw)
    if known:
        return known
    fields = node.fields(what, 1)
    oid = fields[0].oid(what)
    if oid == RSA_PSS:
        return _pss(fields[1] if len(fields) > 1 else None, what)
    if oid in _BARE_KEYS and digest:
        if oid == RSA:
            _check_no_parameters(fields, what)
        return Algorithm(scheme=_BARE_KEYS[oid], digest=digest)
    if oid not in _SIGNATURES:
        return Algorithm(scheme=f"{UNKNOWN}:{oid}")
    _check_no_parameters(fields, what)
    return _SIGNATURES[oid]


def _check_no_parameters(fields: list[Node], what: str) -> None:
    """Refuse parameters other than NULL: none of these algorithms has any (RFC 5754 2)."""
    if len(fields) == 1 or (len(fields) == 2 and fields[1].raw == _NULL):
        return
    raise MalformedError(
        what, f"parameters {fields[1].raw[:16].hex()}", "NULL or none", "RFC 5754 2",
        offset=fields[1].offset,
    )  # fmt: skip


def _pss(parameters: Node | None, what: str) -> Algorithm:
    """Read RSASSA-PSS-params (RFC 4055 3.1); every default is SHA-1 and 20 octets."""
    digest, mgf_digest, salt = "sha1", "sha1", 20
    for field in parameters.fields(what) if parameters else ():
        inner = field.children()
        if len(inner) != 1:
            raise MalformedError(what, "an empty PSS parameter", "one value", "RFC 4055 3.1")
        if field.tag == 0xA0:
            digest = digest_name(inner[0], what)
        elif field.tag == 0xA1:
            mgf = inner[0].fields(what, 2)
            if mgf[0].oid(what) != MGF1:
                return Algorithm(scheme=f"{UNKNOWN}:{mgf[0].oid(what)}")
            mgf_digest = digest_name(mgf[1], what)
        elif field.tag == 0xA2:
            salt = inner[0].integer(what)
        elif field.tag == 0xA3 and inner[0].integer(what) == 1:
            continue
        else:
            raise MalformedError(what, f"PSS field {field.tag:#x}", "[0] to [3]", "RFC 4055 3.1")
    return Algorithm(scheme="rsa-pss", digest=digest, mgf_digest=mgf_digest, salt_length=salt)
