"""Measure the steps of which the work on one small file is made, in processor time.

What decisions 19, 25 and 26 speak of: how often an element was read before, what reading a
signature costs, and where the time of signing goes.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from tests.signing import identity

from bench.measure import Row
from bench.signing import Bench, python

FILES = 200
"""Files of which each step is measured; a figure is the median."""

_ONCE = """
import sys
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.verify import assess_path
from signward.wire.repeated import remembered
context = Context(Options())
for path in sys.argv[1:]:
    assess_path(path, context)
seen = remembered.cache_info()
print(seen.hits, seen.misses)
"""


def remembering(files: Sequence[Path]) -> list[Row]:
    """Count how many of the elements that may be remembered were, each file seen once."""
    hits, misses = map(int, python("-c", _ONCE, *map(str, files)).stdout.split())
    figure = f"{100 * hits / (hits + misses):.0f} % of {hits + misses}"
    how = f"{len(files)} PE files, each once, one process; wire.repeated (decision 19)"
    return [Row("attributes and signer names that were read before", figure, "", how)]


def reading(files: Sequence[Path]) -> list[Row]:
    """Measure what reading the CMS of a signed image takes."""
    from signward.formats._spc import open_embedded
    from signward.formats.pe import FORMAT, IMAGE
    from signward.wire.source import open_source

    blobs: list[bytes] = []
    for path in files:
        with open_source(path) as source:
            blobs += FORMAT.envelopes(source)[:1]
    taken = [_median([partial(open_embedded, blob, IMAGE)]) for blob in blobs * 3]
    how = f"{len(blobs)} signatures of the demo corpus, timestamps included (decision 26)"
    return [Row("reading the CMS of a signed image", _microseconds(statistics.median(taken)), "",
                how)]  # fmt: skip


def signing() -> list[Row]:
    """Measure the steps of signing one small PE, one thread."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        steps = {**_on_image(bench), **_by_signatory(bench)}
    how = f"medians of {FILES} PEs of {len(bench.image) // 1024} KiB, one thread (decision 25)"
    return [Row(f"signing one PE: {name}", _microseconds(seconds), "", how)
            for name, seconds in steps.items()]  # fmt: skip


def _on_image(bench: Bench) -> dict[str, float]:
    from signward.formats import ParseOptions
    from signward.formats._pe_checksum import checksum
    from signward.formats.pe import FORMAT, IMAGE
    from signward.wire.source import BytesSource

    private, image = identity().key.private, BytesSource("a.exe", bench.image)
    artifact, wanted = FORMAT.parse(image, ParseOptions()), frozenset({(IMAGE, "sha256")})
    octets, scheme, digest = bytes(100), padding.PKCS1v15(), hashes.SHA256()
    public, value = private.public_key(), private.sign(octets, scheme, digest)
    work: dict[str, Callable[[], object]] = {
        "the RSA-2048 value": lambda: private.sign(octets, scheme, digest),
        "checking a value (done twice)": lambda: public.verify(value, octets, scheme, digest),
        "adding up the checksum (three times)": lambda: checksum(image, artifact.layout),
        "the image hash (twice)": lambda: FORMAT.digests(artifact, wanted),
    }
    return {name: _median([step] * FILES) for name, step in work.items()}


def _by_signatory(bench: Bench) -> dict[str, float]:
    from signward.state import Stage
    from signward.verbs.context import Context
    from signward.verbs.options import Options, stopping_at
    from signward.verbs.sign import Signatory, SignOptions
    from signward.verbs.verify import assess_path

    intact, paths = Context(stopping_at(Options(), Stage.INTACT)), bench.files(FILES + 1)
    steps: dict[str, float] = {}
    for name, dry_run in (("all but writing it", True), ("all, written and synced", False)):
        options = SignOptions(
            key=bench.uri, certificates=(str(bench.certificate),), dry_run=dry_run
        )
        with Signatory(options) as signatory:
            signatory.sign(paths[-1])
            steps[name] = _median([partial(signatory.sign, path) for path in paths[:FILES]])
    assess = [partial(assess_path, path, intact) for path in paths[:FILES]]
    return {"assessing the result": _median(assess), **steps}


def _median(work: Sequence[Callable[[], object]]) -> float:
    """Return the median seconds of processor time of some calls."""
    taken = []
    for step in work:
        begun = time.process_time()
        step()
        taken.append(time.process_time() - begun)
    return statistics.median(taken)


def _microseconds(seconds: float) -> str:
    return f"{1e6 * seconds:.0f} µs of processor time"
