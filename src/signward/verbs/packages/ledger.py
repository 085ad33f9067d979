"""The ledger: of every path that packages claim, what the packages at hand bring there.

Built from dpkg's database (who claims), from signed lists (whose SHA-256 a package's file must
have) and from package files at hand (what is in them); kept between runs under the identities of
all these.  Nothing in it is trusted by itself: each package names the Releases that list it, and
those are judged anew in every run.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence

import msgspec

from signward.errors import BadInputError, EvidenceError, UnreadableError
from signward.frozen import Frozen
from signward.inventory.packages import Entry, Holding, Package
from signward.inventory.packages.debs import read_deb
from signward.inventory.packages.dpkg import (
    Diversion,
    Installed,
    read_diversions,
    read_list,
    read_overrides,
    read_status,
)
from signward.inventory.packages.release import Listed, ListedDeb, read_packages
from signward.inventory.packages.rooted import Root
from signward.verbs.packages.archives import LISTS, MAX_SMALL, Archive
from signward.wire.compressed import compression_of, unpack
from signward.wire.source import open_source, whole_digest

DPKG = "/var/lib/dpkg"
"""Where dpkg keeps its database."""

CACHED_DEBS = "/var/cache/apt/archives"
"""Where apt keeps packages that it fetched."""

MAX_LIST = 256 * 1024 * 1024
"""Octets of one list of packages, unpacked; Debian's main has some 60 million."""

MAX_STATUS = 256 * 1024 * 1024
"""Octets of dpkg's status, or of one package's list of paths."""

ENDINGS = ("", ".lz4", ".xz", ".gz", ".zst", ".bz2", ".lzma")
"""How apt may have compressed a list that it keeps (``Acquire::GzipIndexes``)."""


class Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """That a package (by its index) claims a path; ``entry`` is what its file brings there.

    ``entry`` is None without evidence.  ``from_path`` is the package's own name of it, where a
    diversion moved it.
    """

    package: int
    entry: Entry | None = None
    from_path: str = ""


class Held(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An installed package: which Releases (SHA-256 of their texts, hex) list it, by which file.

    ``deb`` is the SHA-256 of the file at hand, empty where there is none.
    """

    name: str
    version: str
    architecture: str
    config: tuple[str, ...] = ()
    releases: tuple[str, ...] = ()
    deb: bytes = b""

    @property
    def package(self) -> Package:
        """The package's names."""
        return Package(name=self.name, version=self.version, architecture=self.architecture)

    @property
    def spec(self) -> str:
        """How apt-get is asked for it: ``tool:amd64=1.0-1``."""
        of = "" if self.architecture == "all" else f":{self.architecture}"
        return f"{self.name}{of}={self.version}"


class Ledger(msgspec.Struct, frozen=True, gc=False):
    """What packages claim and bring: rows by canonical path.

    ``modes`` are the administrator's own permission bits, by path; ``troubles`` what could not
    be read and so is no evidence.
    """

    key: str
    packages: tuple[Held, ...]
    files: dict[str, list[Row]]
    modes: dict[str, int]
    merged: dict[str, str]
    troubles: tuple[str, ...] = ()

    def canonical(self, path: str) -> str:
        """Return a path with the folders that are links into /usr replaced."""
        return canonical(path, self.merged)


class Places(Frozen, frozen=True, kw_only=True):
    """Where a ledger is made from: the system's root, and folders of package files."""

    root: Root
    debs: tuple[str, ...]


def canonical(path: str, merged: dict[str, str]) -> str:
    """Return where a path lies where /usr is merged: ``/bin/ls`` in ``/usr/bin``."""
    first = path[: path.find("/", 1)] if path.find("/", 1) > 0 else ""
    into = merged.get(first)
    return into + path[len(first) :] if into else path


def make_ledger(places: Places, archives: Sequence[Archive], key: str) -> Ledger:
    """Read everything; what cannot be read is no evidence and is told."""
    making = _Making(places, archives)
    return making.ledger(key)


Lists = dict[bytes, list[tuple[ListedDeb, str]]]
"""Package files by their SHA-256, with the text (SHA-256, hex) of each Release that lists them."""

Brought = dict[Package, tuple[bytes, dict[str, Entry]]]
"""By package the SHA-256 of its file at hand, and what is in it by path."""


def ledger_of(holdings: Sequence[Holding], root: Root, troubles: tuple[str, ...]) -> Ledger:
    """Return the ledger of what packages themselves sign; the warrant of each is its number."""
    merged, digest = root.merged(), hashlib.sha256(repr(root.folder).encode())
    packages, files = list[Held](), dict[str, list[Row]]()
    for number, one in enumerate(holdings):
        named = one.package
        packages.append(Held(named.name, named.version, named.architecture, (), (str(number),)))
        digest.update(repr((str(named), sorted(one.facts.items()))).encode("utf-8", "replace"))
        for entry in one.entries:
            files.setdefault(canonical(entry.path, merged), []).append(Row(number, entry))
    return Ledger(
        key=digest.hexdigest(), packages=tuple(packages), files=files, modes={}, merged=merged,
        troubles=troubles,
    )  # fmt: skip


class _Making:
    """One ledger under way."""

    def __init__(self, places: Places, archives: Sequence[Archive]) -> None:
        self._root, self._places, self._archives = places.root, places, archives
        self._merged = self._root.merged()
        self._troubles: list[str] = []
        self._installed = self._read_status()

    def ledger(self, key: str) -> Ledger:
        """Return the ledger."""
        listed = self._listed()
        brought = self._brought(listed)
        named = _by_package(listed)
        packages = tuple(self._held(one, listed, named, brought) for one in self._installed)
        return Ledger(
            key=key,
            packages=packages,
            files=self._files(brought),
            modes=self._modes(),
            merged=self._merged,
            troubles=tuple(self._troubles),
        )

    def _read_status(self) -> tuple[Installed, ...]:
        data = self._root.read(f"{DPKG}/status", MAX_STATUS)
        if data is None:
            raise EvidenceError(f"{self._root.folder}: found no {DPKG}/status, required a system "
                                "with packages of dpkg")  # fmt: skip
        try:
            return read_status(data)
        except BadInputError as error:
            raise EvidenceError(f"{DPKG}/status: {error}") from None

    def _listed(self) -> Lists:
        """Return the installed packages' files by SHA-256, and whose Release lists each."""
        wanted = {one.package for one in self._installed}
        found: Lists = {}
        for archive in self._archives:
            for path, listed in _lists_of(archive):
                for deb in self._read_packages(archive, path, listed, wanted):
                    found.setdefault(deb.listed.sha256, []).append((deb, archive.text))
        return found

    def _read_packages(
        self, archive: Archive, path: str, listed: Listed, wanted: set[Package]
    ) -> list[ListedDeb]:
        name = f"{LISTS}/{archive.repository.prefix}{path.replace('/', '_')}"
        for ending in ENDINGS:
            packed = self._root.read(name + ending, MAX_LIST)
            if packed is None:
                continue
            try:
                data = _unpacked(packed, name + ending) if ending else packed
                if len(data) != listed.size or hashlib.sha256(data).digest() != listed.sha256:
                    self._troubles.append(f"{name}{ending}: not the list that "
                                          f"{archive.warrant.source} names")  # fmt: skip
                    continue
                return list(read_packages(data, wanted, name))
            except BadInputError as error:
                self._troubles.append(str(error))
        return []

    def _brought(self, listed: Lists) -> Brought:
        """Return what package files at hand bring that signed lists name, by package."""
        sizes = {deb.listed.size for found in listed.values() for deb, _ in found}
        brought: Brought = {}
        for place in deb_files(self._places):
            try:
                with open_source(place) as source:
                    if source.length not in sizes:
                        continue
                    digest = whole_digest(source, "sha256")
                    known = listed.get(digest)
                    if known is None or known[0][0].package in brought:
                        continue
                    deb = read_deb(source)
                    source.check_unchanged()
            except (BadInputError, UnreadableError) as error:
                self._troubles.append(f"{place}: {error}")
                continue
            if deb.package != known[0][0].package:
                self._troubles.append(f"{place}: of {deb.package}, listed as {known[0][0].package}")
                continue
            brought[deb.package] = digest, {entry.path: entry for entry in deb.entries}
        return brought

    def _held(
        self,
        one: Installed,
        listed: Lists,
        named: dict[Package, list[str]],
        brought: Brought,
    ) -> Held:
        digest, _ = brought.get(one.package, (b"", {}))
        texts = [text for _, text in listed[digest]] if digest else named.get(one.package, [])
        return Held(
            one.package.name,
            one.package.version,
            one.package.architecture,
            tuple(sorted(canonical(path, self._merged) for path in one.config)),
            tuple(dict.fromkeys(texts)),
            digest,
        )

    def _files(self, brought: Brought) -> dict[str, list[Row]]:
        diverted = {one.path: one for one in self._diversions()}
        files: dict[str, list[Row]] = {}
        for index, one in enumerate(self._installed):
            data = self._root.read(f"{DPKG}/info/{one.list_name}.list", MAX_STATUS)
            _, entries = brought.get(one.package, (b"", None))
            for path in _paths(data, self._troubles):
                entry = entries.get(path) if entries is not None else None
                if entries is not None and entry is None:
                    continue  # a folder
                where = diverted.get(path)
                moved = where is not None and where.package != one.package.name
                place = where.to if where is not None and moved else path
                row = Row(index, entry, path if moved else "")
                files.setdefault(canonical(place, self._merged), []).append(row)
        return files

    def _diversions(self) -> tuple[Diversion, ...]:
        data = self._root.read(f"{DPKG}/diversions", MAX_SMALL)
        try:
            return read_diversions(data) if data else ()
        except BadInputError as error:
            self._troubles.append(str(error))
            return ()

    def _modes(self) -> dict[str, int]:
        data = self._root.read(f"{DPKG}/statoverride", MAX_SMALL)
        try:
            told = read_overrides(data) if data else {}
        except BadInputError as error:
            self._troubles.append(str(error))
            told = {}
        return {canonical(path, self._merged): mode for path, mode in told.items()}


def _by_package(listed: Lists) -> dict[Package, list[str]]:
    """Return whose Releases list each package, whatever its file."""
    named: dict[Package, list[str]] = {}
    for found in listed.values():
        for deb, text in found:
            named.setdefault(deb.package, []).append(text)
    return named


def _paths(data: bytes | None, troubles: list[str]) -> list[str]:
    try:
        return read_list(data) if data else []
    except BadInputError as error:
        troubles.append(str(error))
        return []


def _lists_of(archive: Archive) -> Iterator[tuple[str, Listed]]:
    """Yield the lists of packages that the sources ask for, as the Release names them."""
    repository = archive.repository
    for path, listed in archive.release.files.items():
        component, _, rest = path.partition("/binary-")
        flat = repository.suite.endswith("/") and path.removeprefix("./") == "Packages"
        if flat or (rest.endswith("/Packages") and component in repository.components):
            yield path, listed


def _unpacked(packed: bytes, name: str) -> bytes:
    """Return what a compressed list holds, which must be one stream and nothing else."""
    if not compression_of(packed):
        return b""
    data, taken = unpack(packed, MAX_LIST, name)
    return data if taken == len(packed) else b""


def deb_files(places: Places) -> Iterator[str]:
    """Yield the package files at hand: those given, then those that apt kept."""
    for folder in (*places.debs, places.root.place(CACHED_DEBS)):
        try:
            names = sorted(os.listdir(folder))  # noqa: PTH208 - names suffice
        except OSError:
            continue
        for name in names:
            if name.endswith(".deb"):
                yield f"{folder}/{name}"
