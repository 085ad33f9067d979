"""Containers broken at random, then signed: refused with a reason, or signed without loss.

What is signed must be accepted; stripped and signed again it must be the same bytes; and of
packages olefile must read what it read before.
"""

from __future__ import annotations

import io
import random
import struct
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import olefile
import pytest
from conformance.authenticode.compound import Tree, compound

from signward.errors import BadInputError, NotSignableError
from signward.formats import Existing, Signable, peek_at, recognise
from signward.state import Outcome
from signward.verbs.verify import assess
from signward.wire.source import BytesSource
from tests.fuzz.budget import rounds, watched
from tests.samples.cab import cabinet
from tests.signing import context, sign_bytes, strip_bytes

TREE: Tree = {
    "\u4840\u3f3f": bytes(range(100)),
    "\5SummaryInformation": b"summary" * 20,
    "cab": b"MSCF" + bytes(range(256)) * 20,
    "T1": {"inner": b"transform", "deeper": {"x": b"1" * 64}},
    "empty": b"",
}
NUMBERS = (0, 1, 2, 3, 4, 5, 8, 16, 64, 4095, 4096, 0xFFFFFFFD, 0xFFFFFFFE, 0xFFFFFFFF)
SIGNATURES = {"\5DigitalSignature", "\5MsiDigitalSignatureEx"}

Streams = dict[tuple[str, ...], bytes]


@cache
def packages() -> tuple[bytes, ...]:
    plain = [bytes(compound(TREE, size=size, spare=n)) for size in (512, 4096) for n in (0, 2)]
    return (*plain, *(sign_bytes("a.msi", data) for data in plain))


@cache
def cabinets() -> tuple[bytes, ...]:
    plain = [
        cabinet(),
        cabinet(folders=2, folder_reserve=4, data_reserve=8, reserve=bytes(40)),
        cabinet(reserve=struct.pack("<HH", 4, 16) + b"free" + bytes(16)),
        cabinet(previous=("before.cab", "disk 1"), following=("after.cab", "disk 3"), number=1),
    ]
    return (*plain, *(sign_bytes("a.cab", data) for data in plain))


def streams(data: bytes) -> Streams | None:
    """Return every stream but the signatures' as olefile reads it; None where it refuses."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file = olefile.OleFileIO(io.BytesIO(data))
            paths = [path for path in file.listdir() if path[-1] not in SIGNATURES]
            return {tuple(path): file.openstream(path).read() for path in paths}
    except Exception:  # noqa: BLE001  olefile raises what it likes
        return None


def broken_package(rng: random.Random) -> bytes:
    """Numbers overwritten in header, directory, FAT and mini FAT."""
    data = bytearray(rng.choice(packages()))
    size = 1 << data[30]
    for _ in range(rng.randint(1, 3)):
        table = rng.choice((48, 60, 76))  # first sectors of directory, mini FAT, FAT
        start = (struct.unpack_from("<I", data, table)[0] + 1) * size if rng.random() < 0.85 else 0
        if start <= len(data) - size:
            at = start + rng.randrange(0, size, 4)
            struct.pack_into("<I", data, at, rng.choice(NUMBERS))
    return bytes(data)


def broken_cabinet(rng: random.Random) -> bytes:
    """Octets and numbers overwritten in the header and what follows it, octets put in or behind."""
    data = bytearray(rng.choice(cabinets()))
    for _ in range(rng.randint(1, 4)):
        at, how = rng.randrange(140), rng.random()
        if how < 0.6:
            data[at] = rng.choice((0, 1, 4, 16, 20, 24, 255, rng.randrange(256)))
        elif how < 0.85:
            struct.pack_into("<I", data, at & ~3, rng.choice((*NUMBERS, len(data), len(data) - 8)))
        elif how < 0.95:
            data[at:at] = bytes(rng.choice((1, 4, 8, 20)))
        else:
            data += bytes(8)
    return bytes(data)


def check_streams(before: bytes, after: bytes) -> None:
    found = streams(before)
    assert found is None or found == streams(after)


BREAKERS: dict[str, Callable[[random.Random], bytes]] = {
    "a.msi": broken_package,
    "a.cab": broken_cabinet,
}


@pytest.mark.parametrize("name", BREAKERS)
def test_broken_and_signed(name: str, tmp_path: Path) -> None:
    trusting = context(tmp_path)
    signed = 0
    for seed in rounds(600):
        data = BREAKERS[name](random.Random(f"{name}:{seed}"))
        source = BytesSource(name, data)
        with watched():
            assess(source, trusting)
            if not isinstance(recognise(peek_at(source)), Signable):
                continue
            try:
                after = sign_bytes(name, data, existing=Existing.REPLACE)
            except (BadInputError, NotSignableError):
                continue
            verdict = assess(BytesSource(name, after), trusting)
        assert verdict.outcome is Outcome.ACCEPTED, f"seed {seed}: {verdict.cause}"
        stripped = strip_bytes(name, after)
        assert sign_bytes(name, stripped) == after, f"seed {seed}: stripped loses something"
        if name == "a.msi":
            check_streams(data, after)
            check_streams(data, stripped)
        signed += 1
    assert signed > 50, "too few inputs were signed for this to test anything"
