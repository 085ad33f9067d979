"""PE images to sign: PE32 and PE32+, an EFI application, an odd length."""

from conformance.authenticode import pe
from conformance.authenticode.pe import EFI

SAMPLES = {
    "plus.exe": lambda: pe.image(plus=True),
    "plain.dll": lambda: pe.image(plus=False),
    "boot.efi": lambda: pe.image(subsystem=EFI),
    "odd.exe": lambda: pe.image() + b"odd",
    "paged.sys": lambda: pe.image(driver=True),
}
OPTIONS = {"paged.sys": {"page_hashes": True}}


def exempt(data: bytes) -> frozenset[int]:
    """Return the checksum field's offsets (Authenticode PE, calculating the PE image hash)."""
    header = int.from_bytes(data[60:64], "little")
    return frozenset(range(header + 24 + 64, header + 24 + 68))
