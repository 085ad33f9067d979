"""Installer packages to sign: streams large and small, storages as patches have them."""

import struct

from conformance.authenticode.compound import Tree, compound

TREE: Tree = {
    "\u4840\u3f3f": bytes(range(100)),
    "\u4840\u4559": b"table",
    "\5SummaryInformation": b"summary" * 20,
    "empty": b"",
}
PATCH: Tree = {
    "T1": {"inner": b"transform", "deeper": {"x": b"1" * 64}},
    "T10": {"y": b"2"},
    "z": b"3",
}

SAMPLES = {
    "package.msi": lambda: bytes(compound(TREE)),
    "cabinet.msi": lambda: bytes(compound({**TREE, "cab": b"MSCF" * 1100})),
    "patch.msp": lambda: bytes(compound(PATCH)),
}


def exempt(data: bytes) -> frozenset[int]:
    """Return offsets that no digest reaches and that no two readers take differently.

    In the header the minor version and the transaction number; of each entry its colour
    and, in version 3, the upper half of its size; the root's times; state and times of the
    signature's own two entries; a storage's start and size; an empty stream's start; unused
    entries; the unused rest of sectors; and the bit by which the first mini FAT entry behind
    the mini stream may be an end of chain, as osslsigncode writes it.
    """
    from signward.wire.cfb import open_compound
    from signward.wire.source import BytesSource

    found = {24, 25, *range(52, 56)}
    for gap in open_compound(BytesSource("m", data)).gaps:
        found |= set(range(gap.start, gap.end))
    mini_fat = (struct.unpack_from("<I", data, 60)[0] + 1) * 512
    root = (struct.unpack_from("<I", data, 48)[0] + 1) * 512
    found.add(mini_fat + struct.unpack_from("<I", data, root + 120)[0] // 64 * 4)
    directory: list[int] = []
    sector = struct.unpack_from("<I", data, 48)[0]
    while sector < 0xFFFFFFFE:
        directory += range(512 * (sector + 1), 512 * (sector + 2), 128)
        sector = struct.unpack_from("<I", data, 512 * (_fat(data) + 1) + 4 * sector)[0]
    return frozenset(found).union(*(_exempt_in_entry(data, at) for at in directory))


def _fat(data: bytes) -> int:
    return int(struct.unpack_from("<I", data, 76)[0])


def _exempt_in_entry(data: bytes, at: int) -> set[int]:
    kind, length = data[at + 66], struct.unpack_from("<H", data, at + 64)[0]
    if kind == 0:
        return set(range(at, at + 128)) - {at + 66}
    found = {at + 67, *range(at + 124, at + 128), *range(at + length, at + 64)}
    if kind == 5 or "DigitalSignature" in data[at : at + length].decode("utf-16-le"):
        found |= set(range(at + 96, at + 116))
    if kind == 5:  # its state bits are covered
        found -= set(range(at + 96, at + 100))
    if kind == 1 or not any(data[at + 120 : at + 124]):
        found |= set(range(at + 116, at + 120))
    return found | (set(range(at + 120, at + 124)) if kind == 1 else set())
