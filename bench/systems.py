"""Measure who vouches for a system's files: look-ups, hashing, and a scan beside debsums.

The system is made of this machine's own packages, of as many as hold ``FILES`` files: the same
files, packed anew, listed and signed by a key of our own, for nobody has all packages at hand.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.builders.debian import AT, Deb, File, Machine

from bench.measure import NotMeasuredError, Row, Taken, medians, tool
from signward.verbs.context import Context
from signward.verbs.options import Options, PackageOptions

FILES = 6000
OCTETS = 400 * 1024 * 1024
MOST = 500
"""Files of one package: thousands of icons in one folder would be all that is measured."""

LARGE = 4 * 1024 * 1024
"""Smallest file of which hashing alone is measured."""


def own_packages() -> tuple[Deb, ...]:
    """Return packages made of this machine's: files that anybody may read, in /usr."""
    from signward.inventory.packages.dpkg import read_list, read_status

    database = Path("/var/lib/dpkg")
    if not (database / "status").is_file():
        raise NotMeasuredError("this machine has no packages of dpkg")
    found, count, octets = list[Deb](), 0, 0
    for one in read_status((database / "status").read_bytes()):
        paths = read_list((database / f"info/{one.list_name}.list").read_bytes())
        plain = [path for path in paths if _is_plain(path)]
        if 0 < len(plain) <= MOST:
            files = {path: File(*_read(path)) for path in plain}
            found.append(Deb(one.package.name, files, pack=lambda data: data, suffix=""))
            count += len(files)
            octets += sum(len(file.content) for file in files.values())
        if count >= FILES or octets >= OCTETS:
            break
    return tuple(found)


def _is_plain(path: str) -> bool:
    place = Path(path)
    return path.startswith("/usr/") and place.is_file() and not place.is_symlink()


def _read(path: str) -> tuple[bytes, int]:
    place = Path(path)
    return place.read_bytes(), place.stat().st_mode & 0o7777


@contextmanager
def system() -> Iterator[Machine]:
    """Yield a system with those packages, all of them at hand."""
    with tempfile.TemporaryDirectory(prefix="signward-bench-") as folder:
        machine = Machine(Path(folder) / "root", own_packages()).write()
        for deb in machine.debs:
            sums = (f"{hashlib.md5(file.content).hexdigest()}  {path[1:]}\n"
                    for path, file in deb.files.items())  # fmt: skip
            machine.put(f"/var/lib/dpkg/info/{deb.name}.md5sums", "".join(sums).encode())
        yield machine


def rows(rounds: int) -> list[Row]:
    """Measure all three."""
    with system() as machine:
        return [*look_ups(machine, rounds), *hashing(machine, rounds),
                *against_debsums(machine, rounds)]  # fmt: skip


def look_ups(machine: Machine, rounds: int) -> list[Row]:
    """Look every file up: where it lies, which packages claim it, under which warrant."""
    options = PackageOptions(root=str(machine.root), ledger=str(machine.root.parent / "ledger"))
    known = Context(Options(at=AT, packages=options)).system
    if known is None:
        raise NotMeasuredError("no system")
    names = [f"{machine.root}{path}" for deb in machine.debs for path in deb.files]

    def work() -> None:
        for name in names:
            path = known.path_of(name)
            for row in known.rows(path or ""):
                known.warrant(known.held(row))

    (ours,) = medians(rounds, work)
    how = f"{len(names)} files, one process, the ledger loaded; path, claims and warrant of each"
    return [Row("packages, look-ups", f"{len(names) / ours.wall:.0f} files/s", ">= 20,000 files/s",
                how)]  # fmt: skip


def hashing(machine: Machine, rounds: int) -> list[Row]:
    """Compare hashing as a package's word needs it with openssl dgst."""
    from signward.wire.source import open_source, whole_digest

    openssl = tool("openssl")
    files = [machine.root / path[1:] for deb in machine.debs for path, file in deb.files.items()
             if len(file.content) >= LARGE]  # fmt: skip
    if not files:
        raise NotMeasuredError("no package with large files")
    octets = sum(path.stat().st_size for path in files)

    def ours() -> None:
        for path in files:
            with open_source(path) as source:
                whole_digest(source, "sha256")

    def theirs() -> None:
        subprocess.run([openssl, "dgst", "-sha256", *files], stdout=subprocess.DEVNULL, check=True)

    mine, peer = medians(rounds, ours, theirs)
    figure = f"{peer.wall / mine.wall:.2f} ({octets / mine.wall / 1e9:.2f} GB/s)"
    how = f"{len(files)} files of >= 4 MiB, {octets / 1e6:.0f} MB, warm; openssl dgst -sha256"
    return [Row("packages, hashing, ratio to openssl dgst", figure, ">= 0.85", how)]


def against_debsums(machine: Machine, rounds: int) -> list[Row]:
    """Compare whole processes: scans that remember nothing, packages, or verdicts; debsums."""
    debsums, cache = tool("debsums"), machine.root.parent / "cache.sqlite"
    root = str(machine.root)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path),
                   "PYTHONPYCACHEPREFIX": str(machine.root.parent / "bytecode")}  # fmt: skip
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
    words = [sys.executable, "-m", "signward", "scan", f"{root}/usr", "--system-root", root]
    words += ["--at", f"{AT:%Y-%m-%d}", "--quiet", "--fail-on", "rejected"]
    words += ["--fail-on", "indeterminate", "--fail-on", "unsigned"]

    def scan(*more: str) -> None:
        done = subprocess.run([*words, *more], env=environment, capture_output=True, check=False)
        if done.returncode:
            raise NotMeasuredError("a file was not accepted")

    def read_before() -> None:
        cache.unlink(missing_ok=True)
        scan("--cache", str(cache))

    def theirs() -> None:
        subprocess.run([debsums, f"--root={root}", "--silent", "--all"], capture_output=True,
                       check=True)  # fmt: skip

    scan("--cache", str(cache))
    anew, before, peer = medians(rounds, lambda: scan("--no-cache"), read_before, theirs)
    (again,) = medians(rounds, lambda: scan("--cache", str(cache)))
    count = sum(len(deb.files) for deb in machine.debs)
    octets = sum(len(file.content) for deb in machine.debs for file in deb.files.values())
    how = (
        f"{count} files of {len(machine.debs)} packages, {octets / 1e6:.0f} MB, whole processes, "
        "warm, every file hashed (SHA-256) and accepted; debsums --all, MD5"
    )
    return [
        _ratio("scan of a system, ratio to debsums, packages read before", peer, before, how),
        _ratio("the same, packages read too", peer, anew, "--no-cache: every package unpacked"),
        _ratio("the same, unchanged since the last scan", peer, again, "verdicts remembered"),
    ]


def _ratio(what: str, peer: Taken, ours: Taken, how: str) -> Row:
    figure = f"{peer.wall / ours.wall:.2f}x ({ours.wall:.2f} and {peer.wall:.2f} s)"
    return Row(what, figure, "", how)
