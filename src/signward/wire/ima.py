"""Values of ``security.ima`` and ``security.evm``: what Linux keeps beside a file's content.

Sources: Linux ``security/integrity/integrity.h`` (``evm_ima_xattr_type``, ``signature_v2_hdr``,
``ima_file_id``), ``include/uapi/linux/hash_info.h`` (``hash_algo``).  The first octet says what
the value is:

==== ===========================================================================================
1    a digest: 16 octets of MD5 or 20 of SHA-1
2    EVM: an HMAC-SHA1 by a key of the machine
3    a signature: version (2 or 3), number of the digest, key id (4 octets), length of the value
     (16 bits, big-endian), the value; in ``security.evm`` an old signature of attributes
4    a digest: the number of its algorithm, then its octets
5    EVM: a portable signature of attributes, built as 3
6    a signature of the fs-verity digest, built as 3, version 3
==== ===========================================================================================

The key id is the last four octets of the certificate's subject key identifier.  Version 2 is
made over the file's digest itself, version 3 over ``ima_file_id``: the value's first octet, the
number of the digest and the digest, so that no digest of one kind passes for one of another.
"""

from __future__ import annotations

import hashlib
import struct

from signward.errors import BadInputError, LimitError, MalformedError
from signward.frozen import Frozen

ATTRIBUTE, EVM_ATTRIBUTE = "security.ima", "security.evm"

DIGEST, HMAC, SIGNATURE, DIGEST_NG, PORTABLE, VERITY = 1, 2, 3, 4, 5, 6
"""What a value is (``evm_ima_xattr_type``)."""

MAX_VALUE = 64 * 1024
"""Octets of an attribute's value, as Linux bounds it (``XATTR_SIZE_MAX``)."""

KEY_ID = 4
"""Octets of a key id."""

_HASHES = {
    1: "md5",
    2: "sha1",
    4: "sha256",
    5: "sha384",
    6: "sha512",
    7: "sha224",
    20: "sha3_256",
    21: "sha3_384",
    22: "sha3_512",
}
"""``hash_algo`` by hashlib's names; the others no kernel of today computes files with."""

_NUMBERS = {name: number for number, name in _HASHES.items()}

KNOWN = frozenset(_NUMBERS)
"""Digests, by hashlib's names, that have a number here."""

_NAMED = {0: "md4", 3: "ripemd160", 8: "ripemd128", 9: "ripemd256", 10: "ripemd320",
          11: "whirlpool256", 12: "whirlpool384", 13: "whirlpool512", 14: "tiger128",
          15: "tiger160", 16: "tiger192", 17: "sm3", 18: "streebog256",
          19: "streebog512"}  # fmt: skip
"""Those that are told by name, and not computed."""

_OLD_DIGESTS = {16: "md5", 20: "sha1"}
_HEADER = struct.Struct(">BBB4sH")
_HMAC_OCTETS = 20
_V1_HEADER = 20
"""Octets of ``struct signature_hdr`` with the first octet before it: version, time stamp (4),
algorithm, digest, key id (8), number of integers, and the length in bits of the first (16 bits)."""

_WHAT = "integrity value"
_CLAUSE = "security/integrity/integrity.h"


class Sealed(Frozen, frozen=True, kw_only=True):
    """A digest that nobody signed; ``algorithm`` is hashlib's name, or one nobody computes."""

    algorithm: str
    digest: bytes


class Signed(Frozen, frozen=True, kw_only=True):
    """A signature: ``kind`` is ``SIGNATURE``, ``PORTABLE`` or ``VERITY``, ``version`` 1 to 3.

    Of version 1, which no kernel of a distribution checks, only the key id (8 octets) is read.
    """

    kind: int
    version: int
    algorithm: str
    key_id: bytes
    value: bytes


class Keyed(Frozen, frozen=True, kw_only=True):
    """An HMAC: only the machine that made it can tell whether it is right."""

    value: bytes


Value = Sealed | Signed | Keyed


def read_value(data: bytes, what: str = _WHAT) -> Value:
    """Return what an attribute's value says.  Raises ``MalformedError``, ``LimitError``."""
    if len(data) > MAX_VALUE:
        raise LimitError(what, f"{len(data)} octets", f"at most {MAX_VALUE}", _CLAUSE)
    kind = data[0] if data else 0
    if kind == DIGEST:
        return _old_digest(data[1:], what)
    if kind == DIGEST_NG:
        return _digest(data[1:], what)
    if kind == HMAC and len(data) == 1 + _HMAC_OCTETS:
        return Keyed(value=data[1:])
    if kind in (SIGNATURE, PORTABLE, VERITY):
        return _signature(data, what)
    found = f"{len(data)} octets that begin with {data[:1].hex() or 'nothing'}"
    raise MalformedError(what, found, "a digest, a signature or an HMAC", _CLAUSE)


def write_signature(kind: int, version: int, algorithm: str, key_id: bytes, value: bytes) -> bytes:
    """Return the attribute's value around a signature value."""
    return _HEADER.pack(kind, version, _NUMBERS[algorithm], key_id[-KEY_ID:], len(value)) + value


def write_digest(algorithm: str, digest: bytes) -> bytes:
    """Return the attribute's value that holds a digest."""
    return bytes((DIGEST_NG, _NUMBERS[algorithm])) + digest


def file_id(kind: int, algorithm: str, digest: bytes) -> bytes:
    """Return ``ima_file_id``: what a signature of version 3 is made over."""
    return bytes((kind, _NUMBERS[algorithm])) + digest


def is_value(data: bytes) -> bool:
    """Say whether bytes are a value of ``security.ima`` that signs or seals a file."""
    if data[:1] not in (b"\1", b"\3", b"\4", b"\6"):
        return False
    try:
        read_value(data)
    except BadInputError:
        return False
    return True


def is_signature(data: bytes) -> bool:
    """Say whether bytes begin as a signature, and no mere digest."""
    return data[:1] in (b"\3", b"\6")


def _old_digest(digest: bytes, what: str) -> Sealed:
    if len(digest) not in _OLD_DIGESTS:
        raise MalformedError(what, f"a digest of {len(digest)} octets", "16 or 20", _CLAUSE)
    return Sealed(algorithm=_OLD_DIGESTS[len(digest)], digest=digest)


def _digest(rest: bytes, what: str) -> Sealed:
    if not rest:
        raise MalformedError(what, "no algorithm", "one", _CLAUSE)
    algorithm, digest = _algorithm(rest[0], what), rest[1:]
    if algorithm in _NUMBERS:
        size = hashlib.new(algorithm, usedforsecurity=False).digest_size
        if len(digest) != size:
            found = f"a {algorithm} of {len(digest)} octets"
            raise MalformedError(what, found, f"{size}", _CLAUSE)
    return Sealed(algorithm=algorithm, digest=digest)


def _algorithm(number: int, what: str) -> str:
    name = _HASHES.get(number) or _NAMED.get(number)
    if name is None:
        raise MalformedError(what, f"digest algorithm {number}", "one of hash_algo",
                             "include/uapi/linux/hash_info.h")  # fmt: skip
    return name


def _signature(data: bytes, what: str) -> Signed:
    if len(data) > _V1_HEADER and data[:2] == bytes((SIGNATURE, 1)):
        return Signed(kind=SIGNATURE, version=1, algorithm="sha1", key_id=data[8:16],
                      value=data[_V1_HEADER:])  # fmt: skip
    if len(data) <= _HEADER.size:
        raise MalformedError(what, f"{len(data)} octets", f"more than {_HEADER.size}", _CLAUSE)
    kind, version, number, key_id, size = _HEADER.unpack_from(data)
    allowed = (3,) if kind == VERITY else (2, 3)
    if version not in allowed:
        known = " or ".join(map(str, allowed))
        raise MalformedError(what, f"version {version} of kind {kind}", known, _CLAUSE)
    value = data[_HEADER.size :]
    if size != len(value):
        found = f"a value of {len(value)} octets that names {size}"
        raise MalformedError(what, found, "the same length", _CLAUSE)
    return Signed(kind=kind, version=version, algorithm=_algorithm(number, what), key_id=key_id,
                  value=value)  # fmt: skip
