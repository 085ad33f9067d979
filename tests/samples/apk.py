"""Android packages to sign: for new platforms, and for old ones, which ask for a JAR signature."""

from signward.wire.apk_block import V2, read_block
from signward.wire.source import BytesSource
from signward.wire.zip import read_directory
from tests.builders import apk

PINNED = True
UNTIMED = True
BYTE_EXACT = True

_TEXT = {"assets/text": b"text" * 90}

SAMPLES = {
    "nine.apk": lambda: apk.archive(oldest=28),
    "seven.apk": lambda: apk.archive(_TEXT, oldest=24),
    "five.apk": lambda: apk.archive(_TEXT, oldest=21),
}


def exempt(data: bytes) -> frozenset[int]:
    """Return where the v2 signature lies in a package for platforms that all take v3 instead."""
    if b"assets/text" in data:
        return frozenset()
    source = BytesSource("x", data)
    block = read_block(source, read_directory(source))
    pair = block.find(V2) if block else None
    return frozenset(range(pair.start - 4, pair.end)) if pair else frozenset()
