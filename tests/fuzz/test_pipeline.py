"""Whole files, mutated, through the whole pipeline: no surprise, no wrong acceptance.

An accepted mutant must have its original's essence (``tests.fuzz.essence``): the same content
but for what the format exempts, and no signature that the original did not carry.
``SIGNWARD_FUZZ_SEED`` and ``SIGNWARD_FUZZ_SECONDS`` as in ``tests.fuzz.budget``.
"""

from __future__ import annotations

import os
import random

import pytest

from signward.findings import Code
from signward.state import Outcome
from signward.verbs.verify import assess
from signward.wire.source import BytesSource
from tests.fuzz.budget import rounds, watched
from tests.fuzz.essence import essence
from tests.fuzz.mutate import MUTATORS, mutated
from tests.fuzz.wholes import Whole, wholes

INPUTS = int(os.environ.get("SIGNWARD_FUZZ_INPUTS", "21000"))
SHARDS = 7


def mutant(name: str, seed: int) -> bytes:
    """Return the input that ``seed`` makes: every third one changed in its signature only."""
    files = wholes()
    if seed % 3:
        return mutated({one: whole.data for one, whole in files.items()}, name, seed)
    rng = random.Random(f"{name}:{seed}:signature")
    whole = files[name]
    part = bytearray(whole.data[whole.signature :])
    other = files[rng.choice(sorted(files))].data
    for _ in range(rng.choice((1, 1, 2))):
        if part:
            rng.choice(MUTATORS)(rng, part, other)
    return whole.data[: whole.signature] + part


def complaint(whole: Whole, data: bytes) -> str:
    """Assess a mutant twice; return what is wrong with the answer."""
    source = BytesSource(whole.name, data)
    with watched():
        verdict = assess(source, whole.context)
    if verdict != assess(source, whole.context):
        return "two answers to one question"
    if verdict.cause is Code.JUDGE_FAILED:
        return "the judge broke down"
    if verdict.outcome is not Outcome.ACCEPTED or data == whole.data:
        return ""
    return difference(whole, data)


def difference(whole: Whole, data: bytes) -> str:
    """Say how an accepted mutant differs in essence from its original."""
    content, signatures = essence(whole.name, whole.data)
    try:
        seen, found = essence(whole.name, data)
    except (ValueError, IndexError) as error:
        return f"accepted, but no essence: {error!r}"
    if seen != content:
        return "accepted with other content"
    return "" if found <= signatures else "accepted with a signature the original has not"


@pytest.mark.parametrize("shard", range(SHARDS))
def test_mutated_files(shard: int) -> None:
    names = sorted(wholes())
    for number in rounds(INPUTS // SHARDS):
        place = number * SHARDS + shard
        name, seed = names[place % len(names)], place // len(names)
        found = complaint(wholes()[name], mutant(name, seed))
        assert found == "", (name, seed)


def test_every_original_is_accepted_and_has_an_essence() -> None:
    for name, whole in wholes().items():
        verdict = assess(BytesSource(name, whole.data), whole.context)
        assert verdict.outcome is Outcome.ACCEPTED, (name, verdict.cause)
        _, signatures = essence(name, whole.data)
        assert bool(signatures) != name.startswith("listed."), name


def test_the_essence_ignores_only_what_is_exempt() -> None:
    whole = wholes()["plain.exe"]
    original = essence(whole.name, whole.data)
    differing = []
    for at in range(len(whole.data)):
        data = bytearray(whole.data)
        data[at] ^= 1
        try:
            if essence(whole.name, bytes(data)) == original:
                differing.append(at)
        except (ValueError, IndexError):
            continue
    checksum = set(range(0x80 + 24 + 64, 0x80 + 24 + 68))
    assert checksum <= set(differing)
    assert all(at >= whole.signature for at in set(differing) - checksum)
