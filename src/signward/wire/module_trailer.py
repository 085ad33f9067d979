"""The trailer of a signed Linux kernel module: a signature behind an ELF file's own bytes.

Source: Linux ``include/linux/module_signature.h`` and ``kernel/module_signature.c``.  At the
end of the file stand, in this order: the signature (a CMS message), ``struct
module_signature`` (12 octets) and the magic string.  The signature covers every octet before
it.  The structure is five octets (algorithm, digest, kind of identifier, length of the signer's
name, length of the key identifier), three of padding and the signature's length, big-endian.
With PKCS#7, the only kind a kernel since 4.3 takes, the message says all but the length itself,
and every other field must be zero.
"""

from __future__ import annotations

import struct

from signward.errors import LimitError, MalformedError
from signward.frozen import Frozen
from signward.state import Source

MAGIC = b"~Module signature appended~\n"
"""The last octets of a signed file (``MODULE_SIG_STRING``)."""

PKCS7 = 2
"""The kind of identifier that says the signature is PKCS#7 (``PKEY_ID_PKCS7``)."""

MAX_SIGNATURE = 1024 * 1024
"""Octets of a signature; the kernel's own have some 500 to 5,000."""

RELOCATABLE = frozenset({b"\x01\0", b"\0\x01"})
"""``e_type`` (at 16) of object files and modules, in either byte order."""

_PACKED = {b"\x1f\x8b\x08": ".ko.gz", b"\xfd7zXZ\0": ".ko.xz", b"\x28\xb5\x2f\xfd": ".ko.zst"}
"""Compressed modules: a stream's magic, and how such a file is named."""

_STRUCTURE = struct.Struct(">5B3sI")
_KINDS = {0: "0 (OpenPGP)", 1: "1 (X.509, of kernels before 4.3)"}
_WHAT = "module signature"
_CLAUSE = "kernel/module_signature.c"
OVERHEAD = _STRUCTURE.size + len(MAGIC)
"""Octets of the structure and the magic."""


class Trailer(Frozen, frozen=True, kw_only=True):
    """Where things lie: content is ``0`` to ``start``, the signature ``start`` to ``end``.

    The structure and the magic follow to the end of the file.
    """

    start: int
    end: int


def is_module(head: bytes, tail: bytes, name: str) -> bool:
    """Say whether an ELF file is a kernel module: so named, or relocatable and with a trailer."""
    return name.endswith(".ko") or (head[16:18] in RELOCATABLE and tail.endswith(MAGIC))


def is_packed_module(head: bytes, name: str) -> bool:
    """Say whether a compressed stream is a kernel module: only its name tells."""
    return any(head.startswith(magic) and name.endswith(end) for magic, end in _PACKED.items())


def read_trailer(source: Source) -> Trailer | None:
    """Return where the signature lies; None for a file that does not end with the magic.

    Raises ``MalformedError`` for a structure that the kernel refuses, ``LimitError`` for a
    signature beyond ``MAX_SIGNATURE``.
    """
    if source.length < len(MAGIC):
        return None
    if source.read(source.length - len(MAGIC), len(MAGIC)) != MAGIC:
        return None
    end = source.length - OVERHEAD
    if end < 0:
        raise MalformedError(_WHAT, f"{source.length} octets", f"at least {OVERHEAD}", _CLAUSE)
    size = _signature_size(source.read(end, _STRUCTURE.size), end)
    if size >= end:
        raise MalformedError(
            _WHAT, f"a signature of {size} octets", f"less than the {end} before it", _CLAUSE,
            offset=end + 8,
        )  # fmt: skip
    if size > MAX_SIGNATURE:
        raise LimitError(_WHAT, f"{size} octets", f"at most {MAX_SIGNATURE}")
    return Trailer(start=end - size, end=end)


def _signature_size(structure: bytes, offset: int) -> int:
    """Return the length in ``struct module_signature``, whose other fields are then as due."""
    algorithm, digest, kind, name, key, padding, size = _STRUCTURE.unpack(structure)
    if kind != PKCS7:
        raise MalformedError(
            _WHAT, f"kind of identifier {_KINDS.get(kind, kind)}", f"{PKCS7} (PKCS#7)", _CLAUSE,
            offset=offset + 2,
        )  # fmt: skip
    if algorithm or digest or name or key or padding != bytes(3):
        raise MalformedError(
            _WHAT, f"fields {structure[:8].hex()}", f"{bytes((0, 0, PKCS7)).hex()} and zeros",
            _CLAUSE, offset=offset,
            hint="the message itself names algorithm, digest and signer",
        )  # fmt: skip
    return int(size)


def write_trailer(signature: bytes) -> bytes:
    """Return what is appended to a file to sign it with ``signature`` (a CMS message, DER)."""
    return signature + _STRUCTURE.pack(0, 0, PKCS7, 0, 0, bytes(3), len(signature)) + MAGIC
