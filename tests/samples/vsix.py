"""VSIX packages to sign, with relationships of their own and without."""

import re

from signward.wire.source import BytesSource
from signward.wire.zip import read_directory
from tests.builders.vsix import extension, related

SAMPLES = {"plain.vsix": extension, "related.vsix": related}

_UNSIGNED_ID = re.compile(
    rb'<Relationship Id="([^"]*)" Type="[^"]*digital-signature/(?:origin|signature)"'
)


def exempt(data: bytes) -> frozenset[int]:
    """Return offsets that no OPC signature covers.

    Of the archive, each member's versions, flags, time, disk and attributes; of the way to the
    signature, what its relationships call themselves.
    """
    found: set[int] = set()
    for member in read_directory(BytesSource("x", data)).members:
        found.update(member.local + at for at in (*range(4, 8), *range(10, 14)))
        found.update(member.record + at for at in (*range(4, 10), *range(12, 16), *range(34, 42)))
    for match in _UNSIGNED_ID.finditer(data):
        found.update(range(match.start(1), match.end(1)))
    return frozenset(found)
