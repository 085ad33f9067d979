"""Signing measured: many small files in one call, and the memory that a large one takes."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from conformance.authenticode import pe
from conformance.authenticode.compound import compound
from conformance.authenticode.pki import pem
from cryptography.hazmat.primitives import serialization
from tests.builders import msix
from tests.signing import identity

from bench.measure import REPOSITORY, NotMeasuredError, Row, bare_memory, medians, timed, tool

COUNT = 100
"""Small PEs signed in one call."""
PEERS = 20
"""Files that osslsigncode signs in each round: a process takes the same time for any."""
CODE = 20 * 1024
"""Bytes of content of a small PE; half the PEs of the demo corpus are smaller than 28 KiB."""
OCTETS = 100 * 1024 * 1024
"""Length of the packages that memory is measured on."""


class Bench:
    """A folder with a key, its certificate and files to sign."""

    def __init__(self, folder: Path) -> None:
        self.folder, who = folder, identity()
        private: bytes = who.key.private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        self.key, self.certificate = folder / "key.pem", folder / "cert.pem"
        self.key.write_bytes(private)
        self.certificate.write_bytes(pem(who.certificate))
        self.uri = f"file:{self.key}"
        self.image = pe.image(data=bytes(range(256)) * (CODE // 256))

    def files(self, count: int) -> list[str]:
        """Write ``count`` unsigned images anew; return their paths."""
        paths = [self.folder / f"{number}.exe" for number in range(count)]
        for path in paths:
            path.write_bytes(self.image)
        os.sync()  # what was written for the measurement is not its disk's work any more
        return [str(path) for path in paths]


@contextmanager
def _bench() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as folder:
        yield Bench(Path(folder))


_CALL = """
import sys, time
from signward.verbs.sign import Signatory, SignOptions
key, certificate, first, *paths = sys.argv[1:]
with Signatory(SignOptions(key=key, certificates=(certificate,))) as signatory:
    assert not signatory.sign(first).failed
    started = time.perf_counter()
    results = list(signatory.run(paths))
    print(time.perf_counter() - started)
assert all(result.outcome == "signed" for result in results)
"""


def many(rounds: int) -> list[Row]:
    """Compare signing in one call with a process per file, and with the signature alone."""
    peer = tool("osslsigncode")
    sides = _Sides([], [], [], [])
    with _bench() as bench:
        medians(
            rounds,
            lambda: sides.call.append(_call(bench)),
            lambda: sides.peer.append(_process_each(peer, bench)),
            lambda: sides.raw.append(raw_rate()),
            lambda: sides.command.append(_command(bench)),
        )
    seconds, each, raw, whole = (statistics.median(side[1:]) for side in sides)
    rate = COUNT / seconds
    how = (
        f"{COUNT} PEs of {len(bench.image) // 1024} KiB in the temporary folder, each synced;"
        f" Signatory.run of a process that has signed one before; {os.cpu_count()} cores, load"
        f" {os.getloadavg()[0]:.1f}"
    )
    return [
        Row("signing, ratio to an osslsigncode process", f"{rate * each:.1f}x ({rate:.0f} and "
            f"{1 / each:.0f} files/s)", ">= 10x", how),
        Row("signing, share of openssl speed rsa2048", f"{rate / raw:.2f} ({rate:.0f} of "
            f"{raw:.0f} signatures/s)", ">= 0.6", "the same calls; openssl on one core"),
        Row("signing, whole command, ratio to osslsigncode", f"{each * COUNT / whole:.1f}x "
            f"({1e3 * whole:.0f} ms)", "", f"signward sign of {COUNT} PEs, start-up included"),
    ]  # fmt: skip


class _Sides(NamedTuple):
    """What rounds measured.

    Seconds of a call, of one process of the peer's, signatures a second, seconds of a command.
    """

    call: list[float]
    peer: list[float]
    raw: list[float]
    command: list[float]


def _call(bench: Bench) -> float:
    paths = bench.files(COUNT + 1)
    return float(python("-c", _CALL, bench.uri, str(bench.certificate), *paths).stdout)


def _process_each(tool: str, bench: Bench) -> float:
    command = [tool, "sign", "-h", "sha256", "-key", str(bench.key), "-certs"]
    command.append(str(bench.certificate))

    def work() -> None:
        for path in paths:
            words = [*command, "-in", path, "-out", f"{path}.signed"]
            subprocess.run(words, capture_output=True, check=True)

    paths = bench.files(PEERS)
    for path in paths:
        Path(f"{path}.signed").unlink(missing_ok=True)
    return timed(work).wall / PEERS


def _command(bench: Bench) -> float:
    words = ["-m", "signward", "sign", "--quiet", "--key", bench.uri]
    words += ["--cert", str(bench.certificate), *bench.files(COUNT)]
    return timed(lambda: python(*words)).wall


def python(*words: str) -> subprocess.CompletedProcess[str]:
    """Run this interpreter on ours; bytecode is kept beside the sources, as when installed."""
    path = os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY)])
    environment = {**os.environ, "PYTHONPATH": path}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise NotMeasuredError(f"{words[0]} {words[1][:20]}: {done.stderr.strip()[-300:]}")
    return done


def raw_rate() -> float:
    """Return how many RSA-2048 signatures OpenSSL makes a second on one core."""
    command = [tool("openssl"), "speed", "-seconds", "1", "-mr", "rsa2048"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    match = re.search(r"^\+F2:\d+:2048:([\d.]+):", done.stdout, re.MULTILINE)
    if not match:
        raise NotMeasuredError("openssl speed printed no figure for rsa2048")
    figure = float(match[1])
    return figure if figure > 1 else 1 / figure  # releases differ: a rate, or seconds


_PEAK = """
import sys
def peak():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1])
"""

_SIGN = f"""{_PEAK}
from signward.verbs.sign import Signatory, SignOptions
key, certificate, small, large = sys.argv[1:]
with Signatory(SignOptions(key=key, certificates=(certificate,))) as signatory:
    results = [signatory.sign(small)]
    before = peak()
    results.append(signatory.sign(large))
assert not any(result.failed for result in results), results
print(before, peak())
"""

_VERIFY = f"""{_PEAK}
from signward.state import Stage
from signward.verbs.context import Context
from signward.verbs.options import Options, stopping_at
from signward.verbs.verify import assess_path
context = Context(stopping_at(Options(), Stage.INTACT))
verdicts = [assess_path(sys.argv[1], context)]
before = peak()
verdicts.append(assess_path(sys.argv[2], context))
assert all(verdict.outcome == "accepted" for verdict in verdicts), verdicts
print(before, peak())
"""


def memory(rounds: int) -> list[Row]:
    """Measure the peak memory of signing and verifying a 100 MB MSI and MSIX."""
    rows: list[Row] = []
    bare = statistics.median(bare_memory() for _ in range(rounds))
    for kind, build in PACKAGES.items():
        with _bench() as bench:
            small, large = (str(bench.folder / f"{name}.{kind}") for name in ("small", "large"))
            signed: list[tuple[int, int]] = []
            verified: list[tuple[int, int]] = []
            contents = build(1000), build(OCTETS)
            for _ in range(min(rounds, 3)):
                for path, data in zip((small, large), contents, strict=True):
                    Path(path).write_bytes(data)
                words = bench.uri, str(bench.certificate), small, large
                signed.append(_peaks("-c", _SIGN, *words))
                verified.append(_peaks("-c", _VERIFY, small, large))
        rows += [
            _memory_row(f"signing a 100 MB {kind.upper()}", signed, bare),
            _memory_row(f"verifying a 100 MB {kind.upper()}", verified, bare),
        ]
    return rows


def _msi(octets: int) -> bytes:
    return bytes(compound({"\u4840\u3f3f": b"table", "cab": os.urandom(octets)}))


def _msix(octets: int) -> bytes:
    return msix.package({**msix.FILES, "payload.bin": os.urandom(octets)})


PACKAGES: dict[str, Callable[[int], bytes]] = {"msi": _msi, "msix": _msix}


def _peaks(*words: str) -> tuple[int, int]:
    before, after = python(*words).stdout.split()
    return int(before), int(after)


def _memory_row(what: str, runs: list[tuple[int, int]], bare: float) -> Row:
    peak = statistics.median(after for _, after in runs)
    grown = statistics.median(after - before for before, after in runs)
    figure = f"{(peak - bare) / 1024:.1f} MB ({grown / 1024:.1f} MB of it for the large file)"
    how = f"VmHWM of a process that has done a small one before; rounds: {len(runs)}"
    return Row(f"peak memory over the interpreter, {what}", figure, "bounded", how)
