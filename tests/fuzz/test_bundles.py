"""Bundles whose lists, property lists, links and tickets are broken at random: never accepted.

What is mutated is one file or link of a signed bundle, held in memory.  Only what rules leave out
by specification may change.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest

from signward.errors import BadInputError, NotSignableError
from signward.formats._macho_sign import read_rooms
from signward.formats.bundle import FORMAT
from signward.state import Outcome
from signward.verbs.sign import Signatory, SignOptions
from signward.verbs.verify import assess_tree
from signward.wire.source import BytesSource
from signward.wire.superblob import CMS_SLOT, read_superblob
from tests.builders.bundle import application, lay_out, told
from tests.desk import write_key
from tests.fuzz.budget import rounds, watched
from tests.fuzz.mutate import mutated
from tests.mapped_tree import MappedTree
from tests.signing import authority, context, identity

TARGETS = ("", "/", ".", "..", "a.txt", "../a.txt", "Versions/A", "link.txt", "\udcff", "x" * 4096)
NESTED = (
    "Contents/Frameworks/Kit.framework/Versions/A/Kit", "Contents/MacOS/helper",
    "Contents/PlugIns/Plug.bundle/Contents/MacOS/Plug",
)  # fmt: skip
FREE = ("PkgInfo", ".DS_Store")

pytestmark = pytest.mark.slow


@cache
def _files(folder: Path) -> dict[str, bytes | str]:
    path = lay_out(folder / "App.app", application())
    with Signatory(SignOptions(key=write_key(folder / "key.pem", identity()))) as signatory:
        (result,) = signatory.run([str(path)])
    assert not result.failed, result
    return told(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes | str]:
    return _files(tmp_path_factory.mktemp("bundle"))


def _broken(files: dict[str, bytes | str], seed: int) -> tuple[str, dict[str, bytes | str]]:
    """Return the path of what was changed, and all files with it."""
    rng = random.Random(seed)
    lists = [p for p in files if p.endswith(("CodeResources", "Info.plist"))]
    path = rng.choice(lists if rng.random() < 0.6 else sorted(files))
    content = files[path]
    if isinstance(content, str):
        return path, {**files, path: rng.choice(TARGETS)}
    if rng.random() < 0.1:
        return path, {**files, path: "a.txt"}
    contents = {p: data for p, data in files.items() if isinstance(data, bytes)}
    return path, {**files, path: mutated(contents, path, seed)}


def _same_code(path: str, files: dict[str, bytes | str], broken: dict[str, bytes | str]) -> bool:
    """Whether only the CMS of nested code differs: the list gives that code by its hash.

    Whoever signed it is not asked then; its signature must be intact all the same.
    """
    before, after = files[path], broken[path]
    if path not in NESTED or not isinstance(before, bytes) or not isinstance(after, bytes):
        return False
    try:
        (one,), (other,) = (read_rooms(BytesSource(path, data)) for data in (before, after))
        blobs, others = (dict(read_superblob(room, path)) for room in (one, other))
    except (BadInputError, NotSignableError, ValueError):
        return False
    blobs.pop(CMS_SLOT, None)
    others.pop(CMS_SLOT, None)
    return blobs == others and before.replace(one, b"") == after.replace(other, b"")


def test_no_broken_bundle_is_accepted(files: dict[str, bytes | str], tmp_path: Path) -> None:
    judging = context(tmp_path, authority(), at=datetime.now(UTC))
    whole = assess_tree(FORMAT, MappedTree("App.app", files), judging)
    assert whole.outcome is Outcome.ACCEPTED, [str(f) for f in whole.findings]
    for seed in rounds(600):
        path, broken = _broken(files, seed)
        with watched():
            verdict = assess_tree(FORMAT, MappedTree("App.app", broken), judging)
        if broken[path] == files[path] or path.endswith(FREE) or _same_code(path, files, broken):
            continue
        assert verdict.outcome is not Outcome.ACCEPTED, (seed, path)
