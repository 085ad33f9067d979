"""v4 files and source stamps changed at random: never accepted otherwise, never a surprise."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import pytest
from conformance.authenticode.pki import NOW, pem

from signward.findings import Code
from signward.state import Outcome
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.verify import assess
from signward.wire.companions import MappedCompanions
from signward.wire.source import BytesSource
from tests.builders import apk
from tests.builders.apk import Beside, By
from tests.fuzz.budget import rounds, watched
from tests.fuzz.mutate import mutated
from tests.signing import identity

FIRST, STORE = identity("rsa2048", "First Holder"), identity("rsa2048", "A Store")
INPUTS = 400


@cache
def plain() -> bytes:
    digest = hashlib.sha256(STORE.certificate).digest()
    return apk.archive({"stamp-cert-sha256": digest}, oldest=28)


def package(stamp: bytes) -> bytes:
    value = apk.scheme_value(plain(), apk.V3, By(who=FIRST))
    return apk.with_block(plain(), (apk.V3, value), (apk.STAMP, stamp))


@cache
def originals() -> dict[str, bytes]:
    """Return a stamp, and a v4 file of the package that it stands in, with a tree and without."""
    digest = apk.content_digest(plain(), apk.RSA256)
    time = apk.attribute(0xE43C5946, (1_700_000_000).to_bytes(8, "little"))
    stamp = apk.stamp(STORE, {3: apk.pairs_of((1, digest))}, apk.stamp_attributes(time))
    by = Beside(who=FIRST, digest=digest)
    return {
        "stamp": stamp,
        "idsig": apk.idsig(package(stamp), by),
        "bare": apk.idsig(package(stamp), by, tree=b""),
    }


@pytest.fixture(scope="module")
def judging(tmp_path_factory: pytest.TempPathFactory) -> Context:
    folder: Path = tmp_path_factory.mktemp("pins")
    (folder / "pins.pem").write_bytes(pem(FIRST.certificate) + pem(STORE.certificate))
    return Context(Options(anchors=(str(folder / "pins.pem"),), at=NOW, source_stamp=True))


@pytest.mark.parametrize("name", ["stamp", "idsig", "bare"])
def test_changed_at_random(name: str, judging: Context) -> None:
    accepted = 0
    for seed in rounds(INPUTS):
        data = originals()[name] if seed == 0 else mutated(originals(), name, seed)
        stamp = data if name == "stamp" else originals()["stamp"]
        beside = {} if name == "stamp" else {"a.apk.idsig": BytesSource("a.apk.idsig", data)}
        with watched():
            source = BytesSource("a.apk", package(stamp))
            verdict = assess(source, judging, MappedCompanions(beside))
        assert verdict.cause is not Code.JUDGE_FAILED, (seed, verdict.findings)
        if verdict.outcome is Outcome.ACCEPTED:
            accepted += 1
            assert data in originals().values(), seed
    assert accepted, "the original is accepted"
