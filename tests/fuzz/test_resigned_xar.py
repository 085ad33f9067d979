"""Tables of xar archives, mutated and signed again: what is accepted covers every octet.

A signer may write any table.  Whatever it says, no octet of the heap may be changed unseen, and
nothing may surprise the reader.  600 tables, each a function of its seed.
"""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from signward.state import Outcome
from signward.verbs.context import Context
from signward.verbs.verify import assess
from signward.wire.source import BytesSource
from signward.wire.xar import read_xar
from tests.builders.xar import resigned
from tests.samples.pkg import archive
from tests.signing import context, sign_bytes

TABLES, SHARDS = 600, 4
LIKELY = 60
"""Least number of tables that must still be accepted: else the rest of the test says nothing."""

_NODE = re.compile(rb"<(file|data|ea|signature|x-signature|checksum|offset|length|size|name"
                   rb"|archived-checksum)\b.*?</\1>", re.DOTALL)  # fmt: skip
_WORDS = (b"0", b"1", b"32", b"288", b"-1", b"+5", b"007", b"18446744073709551616", b"sha1", b"md5",
          b"none", b"file", b"data", b"ea", b"<ea/>", b"<data/>", b"<!--", b"-->", b"&#48;", b"",
          b"<!DOCTYPE a>", b"xmlns:x='y'", b"x:", b"<![CDATA[32]]>")  # fmt: skip


def mutated(table: bytes, rng: random.Random) -> bytes:
    """Return a table with one element doubled, moved or gone, or a few octets other ones."""
    nodes = list(_NODE.finditer(table))
    node, other = rng.choice(nodes), rng.choice(nodes)
    kind = rng.randrange(5)
    if kind == 0:
        return table[: node.start()] + table[node.end() :]
    if kind == 1:
        return table[: other.start()] + node[0] + table[other.start() :]
    if kind == 2:
        at = rng.choice([m.start() for m in re.finditer(rb"[0-9]+|sha256|[a-z-]+", table)])
        return table[:at] + rng.choice(_WORDS) + table[at + rng.randrange(6) :]
    if kind == 3:
        at = rng.choice([m.start() for m in re.finditer(rb"[ \n]<", table)])
        return table[:at] + rng.choice((b" ", b"\n", b"<!-- -->", b"<a/>")) + table[at:]
    at = rng.randrange(len(table))
    return table[:at] + bytes([rng.randrange(256)]) + table[at + 1 :]


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
def test_no_octet_of_the_heap_escapes(shard: int, tmp_path: Path) -> None:
    data, judging = sign_bytes("a.pkg", archive()), context(tmp_path)
    accepted = 0
    for seed in range(shard, TABLES, SHARDS):
        rng = random.Random(seed)
        one = resigned(data, lambda table, rng=rng: mutated(table, rng))  # type: ignore[misc]
        if assess(BytesSource("a.pkg", one), judging).outcome is not Outcome.ACCEPTED:
            continue
        accepted += 1
        assert not any(passes(one, at, judging) for at in heap_octets(one, rng)), seed
    assert accepted * SHARDS >= LIKELY


def heap_octets(data: bytes, rng: random.Random) -> list[int]:
    """Return a few places in the heap that are not in the CMS."""
    found = read_xar(BytesSource("a.pkg", data))
    assert found.x_signature is not None
    start = found.heap + found.x_signature.start + found.x_signature.length
    return [rng.randrange(start, len(data)) for _ in range(4)]


def passes(data: bytes, at: int, judging: Context) -> bool:
    changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    return assess(BytesSource("a.pkg", changed), judging).outcome is Outcome.ACCEPTED
