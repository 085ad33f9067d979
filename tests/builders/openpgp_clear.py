"""Clear-signed text, written line by line (RFC 9580 7)."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from signward.envelopes.openpgp_packets import crc24
from tests.builders.openpgp import Key, packet

BEGIN = b"-----BEGIN PGP SIGNED MESSAGE-----\n"


def armour(packets: bytes) -> bytes:
    return (
        b"-----BEGIN PGP SIGNATURE-----\n\n"
        + b64encode(packets)
        + b"\n="
        + b64encode(crc24(packets).to_bytes(3, "big"))  # GnuPG 2.2 needs it, or padding
        + b"\n-----END PGP SIGNATURE-----\n"
    )


def escaped(text: bytes) -> bytes:
    """The lines of a text as they stand in a block, the last one without its ending."""
    lines = text.removesuffix(b"\n").split(b"\n")
    return b"\n".join(b"- " + line if line.startswith(b"-") else line for line in lines)


def canonical(text: bytes) -> bytes:
    """What is hashed of a text."""
    lines = text.removesuffix(b"\n").split(b"\n")
    return b"\r\n".join(line.rstrip(b" \t") for line in lines)


def clear(text: bytes, *signers: Key, header: bytes | None = None, **how: Any) -> bytes:
    """A text clear-signed by one or more; ``header`` replaces the lines of headers."""
    how.setdefault("kind", 1)
    made = b"".join(packet(2, key.sign(canonical(text), **how)) for key in signers)
    named = f"Hash: {how.get('digest', 'sha256').upper()}\n".encode()
    return block(text, made, named if header is None else header)


def block(text: bytes, packets: bytes, header: bytes) -> bytes:
    return BEGIN + header + b"\n" + escaped(text) + b"\n" + armour(packets)
