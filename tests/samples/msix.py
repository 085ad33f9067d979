"""Packages and bundles to sign: as MakeAppx writes them, and as a plain ZIP tool does."""

from signward.formats._msix_package import read_package
from signward.wire.source import BytesSource
from signward.wire.zip import place
from tests.builders import msix

SAMPLES = {
    "app.msix": msix.package,
    "plain.appx": lambda: msix.package(make_appx=False, stored=("App.exe",)),
    "large.msix": lambda: msix.package(zip64=True),
    "app.msixbundle": msix.bundle,
    "large.msixbundle": lambda: msix.bundle(zip64=True),
    "plain.appxbundle": lambda: msix.bundle(make_appx=False),
}


def exempt(data: bytes) -> frozenset[int]:
    """Return the offsets in the signature's own headers that nothing covers.

    Version, flags and time in both; in the central one also who made it, the disk it starts
    on and its attributes.  Sizes, CRC-32, method, name and offset are compared.
    """
    source = BytesSource("signed", data)
    member = read_package(source).signature
    if member is None:
        return frozenset()
    local, central = place(source, member).start, member.record
    free = ((local + 4, 4), (local + 10, 4), (central + 4, 6), (central + 12, 4), (central + 34, 8))
    return frozenset(at for start, size in free for at in range(start, start + size))
