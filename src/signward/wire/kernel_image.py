"""Linux kernel images: the certificates compiled into them, which vouch for their modules.

Sources: Linux ``Documentation/arch/x86/boot.rst`` (where a bzImage keeps its compressed
kernel), ``drivers/firmware/efi/libstub/zboot-header.S`` (other machines' EFI images),
``certs/system_certificates.S`` (the list) and ``certs/revocation_certificates.S``.

The list stands in the kernel's read-only data: certificates (DER) one behind the other from
an address divisible by eight, perhaps room for one more, then, aligned to eight, the list's
length and, since 5.12, that of the module signing certificate at its head (0 without one).
A list of *revoked* certificates looks the same but for that second length.  No symbol says
which is which in an image without them, so the lengths must fit: what is not surely the
system's list is none.
"""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Iterator

from signward.errors import BadInputError, MalformedError
from signward.frozen import Frozen
from signward.wire.certificate import outline
from signward.wire.compressed import compression_of, unpack

MAX_KERNEL = 512 * 1024 * 1024
"""Octets of an unpacked kernel; distributions' have 30 to 100 MiB."""

MAX_CERTIFICATES = 64
"""Certificates in one list; distributions have one to five."""

EXTRA_ROOM = 64 * 1024
"""Octets searched behind a list for its length: a kernel may keep room for one certificate
more there (``CONFIG_SYSTEM_EXTRA_CERTIFICATE_SIZE``, 4096 by default)."""

_WHAT = "kernel image"
_CLAUSE = "certs/system_certificates.S"
_BOOT = "Documentation/arch/x86/boot.rst"
_CERTIFICATE = re.compile(rb"\x30\x82..\x30\x82..\xa0\x03\x02\x01\x02\x02", re.DOTALL)
"""How an X.509 v3 certificate of 256 octets or more begins (RFC 5280 4.1)."""

_REVOKING = b"Loading compiled-in revocation X.509 certificates"
"""What a kernel says that may have a list of revoked certificates: there a lone list whose
second length does not fit may be that one."""

_PAYLOAD_VERSION = 0x208
"""The boot protocol from which on a header tells where the compressed kernel lies."""


class _Run(Frozen, frozen=True, kw_only=True):
    """Certificates one behind the other; ``start`` is where the first begins."""

    start: int
    certificates: tuple[bytes, ...]

    @property
    def length(self) -> int:
        return sum(map(len, self.certificates))


def is_kernel_image(head: bytes) -> bool:
    """Say whether a file with these first 1024 octets is a kernel image of Linux."""
    if head[:2] == b"MZ" and head[4:8] == b"zimg":
        return True
    return head[0x202:0x206] == b"HdrS"


def certificates_in(image: bytes) -> tuple[bytes, ...]:
    """Return the certificates (DER) compiled into a kernel image; none if it has no list.

    ``image`` is a bzImage, an EFI zboot image, a compressed kernel or a bare one (ELF, Image).
    Raises ``BadInputError`` for one that cannot be unpacked.
    """
    kernel = unpacked_kernel(image)
    listed = [(run, behind) for run in _runs(kernel) if (behind := _lengths_behind(kernel, run))]
    sure = [run for run, (_, module_key) in listed if module_key in _ends(run)]
    if len(sure) == 1:
        return sure[0].certificates
    if len(listed) == 1 and not sure and _REVOKING not in kernel:
        return listed[0][0].certificates
    return ()


def unpacked_kernel(image: bytes) -> bytes:
    """Return the kernel in an image.  Raises ``BadInputError``."""
    if image[:2] == b"MZ" and image[4:8] == b"zimg":
        return _zboot(image)
    if image[0x202:0x206] == b"HdrS":
        return _bzimage(image)
    if compression_of(image):
        return unpack(image, MAX_KERNEL, _WHAT)[0]
    return image


def _bzimage(image: bytes) -> bytes:
    """Return the payload of a bzImage: behind the setup sectors, where its header says."""
    if len(image) < 0x250:
        raise MalformedError(_WHAT, f"{len(image)} octets", "a boot header", _BOOT)
    (version,) = struct.unpack_from("<H", image, 0x206)
    if version < _PAYLOAD_VERSION:
        raise MalformedError(_WHAT, f"boot protocol {version:#x}", "2.08 or later", _BOOT)
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = ((image[0x1F1] or 4) + 1) * 512 + offset
    return _payload(image, start, length)


def _zboot(image: bytes) -> bytes:
    """Return the payload of an EFI zboot image: offset and length stand at 8 and 12."""
    if len(image) < 64:
        raise MalformedError(_WHAT, f"{len(image)} octets", "a zboot header", "zboot-header.S")
    return _payload(image, *struct.unpack_from("<II", image, 8))


def _payload(image: bytes, start: int, length: int) -> bytes:
    packed = image[start : start + length]
    if not length or len(packed) != length:
        raise MalformedError(_WHAT, f"a payload at {start} of {length} octets",
                             f"one inside its {len(image)}", _BOOT)  # fmt: skip
    return unpack(packed, MAX_KERNEL, _WHAT)[0]


def _runs(kernel: bytes) -> Iterator[_Run]:
    """Yield what stands in a kernel as certificates one behind the other."""
    behind = 0
    for found in _CERTIFICATE.finditer(kernel):
        start = found.start()
        if start < behind or start % 8:
            continue
        certificates = tuple(_from(kernel, start))
        if certificates:
            run = _Run(start=start, certificates=certificates)
            behind = start + run.length
            yield run


def _from(kernel: bytes, at: int) -> Iterator[bytes]:
    """Yield certificates as long as another begins where one ends."""
    for _ in range(MAX_CERTIFICATES):
        if not _CERTIFICATE.match(kernel, at):
            return
        end = at + 4 + int.from_bytes(kernel[at + 2 : at + 4], "big")
        certificate = kernel[at:end]
        if not _is_certificate(certificate, end - at):
            return
        yield certificate
        at = end


def _is_certificate(octets: bytes, length: int) -> bool:
    try:
        return len(octets) == length and bool(outline(octets).spki)
    except BadInputError:
        return False


def _ends(run: _Run) -> frozenset[int]:
    """Return where each certificate of a run ends, from its start."""
    return frozenset(itertools.accumulate(map(len, run.certificates)))


def _lengths_behind(kernel: bytes, run: _Run) -> tuple[int, int] | None:
    """Return a run's length as it stands behind it, with the number after; None if it does not."""
    start = -(-(run.start + run.length) // 8) * 8
    room = kernel[start : start + EXTRA_ROOM + 16]
    for form in ("<QQ", "<II"):
        size = struct.calcsize(form)
        wanted = run.length.to_bytes(size // 2, "little")
        at = room.find(wanted)
        while 0 <= at <= len(room) - size:
            if at % 8 == 0:
                length, following = struct.unpack_from(form, room, at)
                return length, following
            at = room.find(wanted, at + 1)
    return None
