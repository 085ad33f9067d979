"""Mutated files through recognise, parse, digests and integrity: no surprise, no acceptance.

20,000 inputs (``SIGNWARD_FUZZ_INPUTS``), each a function of a sample's name and a seed.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import cache

import pytest

from signward.envelopes.openpgp_cert import keys_of
from signward.errors import BadInputError
from signward.findings import Effect, worst
from signward.formats import Format, ParseOptions, all_formats, peek_at, recognise
from signward.formats.pe import FORMAT as PE
from signward.integrity import check_regions, check_signature, wanted_slots
from signward.state import BrokenSignature, HeldKey, IntactSignature, Manifest, SignedArtifact
from signward.wire.source import BytesSource
from tests.fuzz.mutate import mutated
from tests.fuzz.samples import samples
from tests.signing import holder_of, identity

INPUTS = int(os.environ.get("SIGNWARD_FUZZ_INPUTS", "20000"))
SHARDS = 20
MAX_SECONDS = 5.0
"""Processor time one input may take; the usual is a millisecond."""

FORMATS: tuple[Format, ...] = all_formats()


@dataclass(frozen=True)
class Seen:
    """All that reading an input gave: the error's words, or the artifact and its digests."""

    error: str = ""
    artifact: SignedArtifact | None = None
    computed: Manifest | None = None
    states: tuple[IntactSignature | BrokenSignature, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether neither its format nor integrity has anything to object to."""
        objections = worst(self.artifact.findings) if self.artifact else Effect.REJECT
        if self.artifact is None or objections in (Effect.REJECT, Effect.UNKNOWN):
            return False
        intact = bool(self.states) and all(isinstance(s, IntactSignature) for s in self.states)
        return intact and check_regions(self.artifact) == ()


def read(signable: Format, source: BytesSource) -> Seen:
    try:
        artifact = signable.parse(source, ParseOptions())
        computed = signable.digests(artifact, wanted_slots(artifact))
    except BadInputError as error:
        return Seen(error=str(error))
    certificates, keys = (identity().certificate,), _keys()  # of envelopes that bring none
    states = tuple(
        check_signature(artifact, s, computed, certificates, keys) for s in artifact.signatures
    )
    return Seen(artifact=artifact, computed=computed, states=states)


@cache
def _keys() -> tuple[HeldKey, ...]:
    return keys_of(holder_of(identity())[1])


def native(name: str) -> Format:
    """The format a sample is of, whatever a mutation made of its first bytes."""
    return next((f for f in FORMATS if name.endswith(f.extensions)), PE)


def signed_parts(seen: Seen) -> tuple[object, ...]:
    """What an acceptance would speak for: each signature's slots and its bytes to be verified."""
    states = [s.claimed for s in seen.states]
    members = seen.artifact.endorsements if seen.artifact else ()
    computed = seen.computed or {}
    over = tuple(computed.get((s.over, s.algorithm.digest)) for s in states)
    return (*((s.label, s.slots, s.to_be_verified) for s in states), over, members)


@pytest.mark.parametrize("shard", range(SHARDS))
def test_mutations(shard: int) -> None:
    names = sorted(samples())
    originals = {name: read(native(name), BytesSource(name, samples()[name])) for name in names}
    for number in range(shard, INPUTS, SHARDS):
        name, seed = names[number % len(names)], number // len(names)
        data = mutated(samples(), name, seed)
        source = BytesSource(name, data)
        started = time.process_time()
        recognised = recognise(peek_at(source))
        signable = native(name) if seed % 2 or recognised is None else recognised
        seen = read(signable, source)
        assert time.process_time() - started < MAX_SECONDS, (name, seed)
        assert seen == read(signable, source), (name, seed)
        if seen.clean:
            assert signed_parts(seen) == signed_parts(originals[name]), (name, seed)


def test_the_samples_are_what_they_should_be() -> None:
    clean = {
        name for name in samples() if read(native(name), BytesSource(name, samples()[name])).clean
    }
    unsigned = {"unsigned.exe", "YourPhone.exe", "tiny32.efi", "module.sql", "db.esl"}
    assert clean == samples().keys() - unsigned
