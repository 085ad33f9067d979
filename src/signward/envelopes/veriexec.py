"""Manifests of FreeBSD's and Junos' veriexec: a list of files, signed beside it.

Source: FreeBSD ``lib/libsecureboot`` (Juniper's): README.rst, ``veopen.c``, ``vets.c``.  A line
is a path, spaces, and ``ALGORITHM=HEX`` first among attributes.  The signature of ``manifest``
stands in ``manifest.esig`` (ECDSA) or ``manifest.rsig`` (RSA PKCS#1 v1.5) as one PEM block, the
certificates of its signer, leaf first, in ``manifest.ecerts`` or ``manifest.rcerts``.  The value
is over the manifest; for Junos, an ECDSA one is over the lower-case hexadecimal digits of its
SHA-256 (``VE_ECDSA_HASH_AGAIN``).
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Iterator

from signward.errors import AmbiguousError, LimitError, MalformedError
from signward.frozen import Frozen
from signward.state import Algorithm, ClaimedSignature, Reading, SignerId, Slot
from signward.wire.certificate import outline
from signward.wire.spki import claimed_algorithm

CLAUSE = "FreeBSD lib/libsecureboot"

NAME = "manifest"
SIGNATURES = {"esig": ("ecerts", "ecdsa"), "rsig": ("rcerts", "rsa-pkcs1v15")}
"""The ending of a signature: that of its certificates, and what signs."""

MAX_OCTETS = 16 * 1024 * 1024
"""Octets of a manifest; one of 120,000 files has some 14 MB."""

MAX_BESIDE = 1024 * 1024
"""Octets of a file with a signature or certificates; they have some 300, and 5,000."""

MAX_CERTIFICATES = 16

_WHAT = "veriexec manifest"
_LINE = re.compile(r"(\S{1,4096}) +(?:(no_hash)|(sha1|sha256|sha384|sha512)=([0-9a-f]{40,128}))"
                   r"((?: +[a-z_0-9]+(?:=\S*)?)*) *")  # fmt: skip
_MODE = re.compile(r" mode=([0-7]{1,6})(?!\S)")
_STRAY = re.compile(r"(?:\A|/)\.{0,2}(?:/|\Z)")
"""A path that is absolute, climbs, or names nothing somewhere on its way."""
_BLOCK = re.compile(
    rb"\s*-----BEGIN ([A-Z0-9 ]{1,64})-----\s([A-Za-z0-9+/=\s]*)-----END \1-----\s*"
)


class Line(Frozen, frozen=True, kw_only=True):
    """A file that is listed; ``digest`` is empty where it says that none is asked (no_hash).

    ``mode`` is the file's in Unix's bits, 0 where the line says none.
    """

    path: str
    algorithm: str
    digest: bytes
    mode: int = 0


def read_manifest(data: bytes) -> tuple[Line, ...]:
    """Return the lines.  Raises ``MalformedError``, ``AmbiguousError`` and ``LimitError``."""
    if len(data) > MAX_OCTETS:
        raise LimitError(_WHAT, f"{len(data)} octets", f"at most {MAX_OCTETS}")
    lines = tuple(_lines(data.decode("utf-8", "surrogateescape")))
    if len({line.path for line in lines}) != len(lines):
        raise AmbiguousError(_WHAT, "a path that is listed twice", "each once", CLAUSE)
    return lines


def _lines(text: str) -> Iterator[Line]:
    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        if not line or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None or _STRAY.search(found[1]):
            raise MalformedError(_WHAT, f"line {number}, {line[:60]!r}",
                                 "a path below it and a digest", CLAUSE)  # fmt: skip
        digest = bytes.fromhex(found[4]) if found[4] else b""
        algorithm = found[3] or ""
        if algorithm and len(digest) != hashlib.new(algorithm, usedforsecurity=False).digest_size:
            raise MalformedError(_WHAT, f"line {number}, {len(digest)} octets of {algorithm}",
                                 "a whole digest", CLAUSE)  # fmt: skip
        mode = _MODE.search(found[5])
        yield Line(path=found[1], algorithm=algorithm, digest=digest,
                   mode=int(mode[1], 8) if mode else 0)  # fmt: skip


def claim(label: str, manifest: bytes, ending: str, value: bytes, certs: bytes) -> ClaimedSignature:
    """Return what a signature beside a manifest claims.

    ``value`` and ``certs`` are the octets of the files.  Raises ``BadInputError``, for a key that
    is not of the kind that the ending says, too.
    """
    own, scheme = f"{NAME}.{ending}", SIGNATURES[ending][1]
    certificates = _blocks(f"{NAME}.{SIGNATURES[ending][0]}", certs)
    seen = outline(certificates[0])
    usual = claimed_algorithm(seen.spki)
    if usual is None or usual.scheme != scheme:
        raise MalformedError(own, f"a key for {usual}", f"one for {scheme}", CLAUSE)
    (found,) = _blocks(own, value, most=1)
    digest = hashlib.sha256(manifest).digest()
    readings = (
        Reading(what="", data=manifest),
        Reading(what="its SHA-256, hashed again", data=digest.hex().encode()),
    )
    return ClaimedSignature(
        label=label,
        envelope="veriexec",
        slots=(Slot(name=NAME, algorithm="sha256", digest=digest),),
        bindings=(),
        algorithm=Algorithm(scheme=scheme, digest="sha256"),
        to_be_verified=manifest,
        value=found,
        claimed_signer=SignerId(issuer=seen.issuer, serial=seen.serial),
        claimed_certificates=certificates,
        claimed_certificate_digests=(("sha256", hashlib.sha256(certificates[0]).digest()),),
        readings=readings if scheme == "ecdsa" else (),
        raw=value,
    )


def _blocks(name: str, data: bytes, most: int = MAX_CERTIFICATES) -> tuple[bytes, ...]:
    """Return what the PEM blocks in a file stand for; nothing else may stand in it."""
    found: list[bytes] = []
    at = 0
    while at < len(data) and len(found) <= most:
        block = _BLOCK.match(data, at)
        if block is None:
            raise MalformedError(name, "something else than PEM", "PEM blocks alone", CLAUSE)
        found.append(_base64(name, b"".join(block[2].split())))
        at = block.end()
    if not 1 <= len(found) <= most:
        raise MalformedError(name, f"{len(found)} PEM blocks", f"1 to {most}", CLAUSE)
    return tuple(found)


def _base64(name: str, text: bytes) -> bytes:
    try:
        found = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error as error:
        raise MalformedError(name, str(error)[:80], "Base64", "RFC 4648 4") from None
    if binascii.b2a_base64(found, newline=False) != text:
        raise MalformedError(name, "bits that stand for nothing", "Base64", "RFC 4648 3.5")
    return found
