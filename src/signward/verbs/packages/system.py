"""A system whose packages may vouch for its files: which it is, its ledger, its warrants.

The ledger is kept in the cache's folder under the identities of all that it was made from; who
could write there could as well write the cache of verdicts.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import msgspec

from signward.errors import EvidenceError
from signward.findings import GRAVITY, worst
from signward.frozen import decoder, replace
from signward.inventory.cache import default_path, settled, unsafe
from signward.inventory.packages import LINK, Warrant
from signward.inventory.packages.rooted import MAX_LINKS, Root, link_at
from signward.policy.publisher import publisher_of
from signward.state import TrustedSignature
from signward.verbs.context import Context
from signward.verbs.epoch import code_epoch
from signward.verbs.options import PackageOptions
from signward.verbs.packages.archives import LISTS, SOURCES, read_archives
from signward.verbs.packages.ledger import (
    DPKG,
    Held,
    Ledger,
    Places,
    Row,
    deb_files,
    ledger_of,
    make_ledger,
)
from signward.verbs.packages.places import has_dpkg, has_packages, is_owned
from signward.wire.source import Identity
from signward.wire.whole import write_whole

MAX_KEPT = 1024 * 1024 * 1024
"""Octets of a kept ledger that is read; one of 130,000 paths has 10 million."""


class System:
    """A ledger with the warrants behind it."""

    def __init__(self, root: Root, ledger: Ledger, warrants: Mapping[str, Warrant]) -> None:
        self.root, self.ledger = root, ledger
        self._warrants = warrants
        self._best: dict[tuple[str, ...], Warrant | None] = {}

    @property
    def state(self) -> str:
        """A digest (hex) that changes whenever a package's word might."""
        digest = hashlib.sha256(self.ledger.key.encode())
        for text, warrant in sorted(self._warrants.items()):
            signers = [publisher_of(one).identity for one in warrant.signatures
                       if isinstance(one, TrustedSignature)]  # fmt: skip
            told = [(f.code, f.effect, f.found) for f in warrant.findings]
            digest.update(repr((text, signers, told)).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def path_of(self, name: str) -> str | None:
        """Return what a file is called in the system, however it is reached; None outside it."""
        folder, _, last = name.rpartition("/")
        try:
            if stat.S_ISLNK(os.lstat(name).st_mode):
                return self.root.inside(os.path.realpath(name))
        except (OSError, ValueError):
            return None
        real = _real_folder(folder or ("/" if name.startswith("/") else "."))
        return self.root.inside(f"{real.rstrip('/')}/{last}")

    def claimed(self, name: str, path: str | None) -> str | None:
        """Return where a name leads away from what packages claim; None where it does not.

        ``path`` is where the links on the way from ``name`` end.  Links that packages bring, and
        such where no package claims anything (alternatives), are followed.
        """
        if path is not None and f"{self.root.folder.rstrip('/')}{path}" == name:
            return None
        at = os.path.abspath(name)  # noqa: PTH100 - paths stay strings
        for _ in range(MAX_LINKS):
            inner = self.root.named(at)
            inner = None if inner is None else self.ledger.canonical(inner)
            target, rows = link_at(at), self.rows(inner or "")
            if rows and inner != path and not (target and _is_brought(rows, target)):
                return inner
            if not target:
                return None
            folder, _, last = f"{at.rpartition('/')[0]}/{target}".rpartition("/")
            if target.startswith("/"):
                folder, _, last = target.rpartition("/")
            at = f"{_real_folder(folder or '/').rstrip('/')}/{last}"
        return None

    def concerns(self, name: str) -> bool:
        """Say whether a file is a package's, or lies where packages fill the folders."""
        path = self.path_of(name)
        return path is not None and (is_owned(path) or path in self.ledger.files)

    def absent(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return what `apt-get download` calls the packages that would speak of these files.

        ``names`` are files and folders; packages at hand, and those that no list names, are not
        among them.
        """
        found = set[int]()
        for name in names:
            path = self.path_of(name.rstrip("/") or "/")
            if path is None:
                continue
            below = path.rstrip("/") + "/"
            for one, rows in self.ledger.files.items():
                if one == path or one.startswith(below):
                    found.update(row.package for row in rows)
        held = (self.ledger.packages[index] for index in sorted(found))
        return tuple(one.spec for one in held if one.releases and not one.deb)

    def rows(self, path: str) -> Sequence[Row]:
        """Return which packages claim a path of the system, and what they bring there."""
        return self.ledger.files.get(path, ())

    def held(self, row: Row) -> Held:
        """Return the package of a row."""
        return self.ledger.packages[row.package]

    def warrant(self, held: Held) -> Warrant | None:
        """Return the best warrant for a package: trusted before others, then what spoils least."""
        texts = held.releases
        if texts not in self._best:
            known = [self._warrants[text] for text in texts if text in self._warrants]
            self._best[texts] = min(known, key=_demerit, default=None)
        return self._best[texts]


def _is_brought(rows: Sequence[Row], target: str) -> bool:
    """Say whether a package brings a link that leads there."""
    entries = (row.entry for row in rows)
    return any(one is not None and one.kind == LINK and one.target == target for one in entries)


@lru_cache(maxsize=4096)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)


def _demerit(warrant: Warrant) -> tuple[bool, int]:
    trusted = any(isinstance(one, TrustedSignature) for one in warrant.signatures)
    return not trusted, GRAVITY[worst(warrant.findings)]


def load_system(options: PackageOptions, context: Context) -> System:
    """Return the system, its ledger out of the cache where nothing changed since.

    Raises ``EvidenceError`` where it has no packages of dpkg or rpm.
    """
    places = places_of(options)
    if not has_dpkg(places.root.folder) and has_packages(places.root.folder):
        return _by_headers(places.root, context)
    archives, troubles = read_archives(places.root, context)
    key = ledger_key(places)
    ledger = _kept(options, key)
    if ledger is None:
        ledger = make_ledger(places, archives, key)
        _keep(options, places, ledger)
    if not places.root.is_running and context.keyring is None:
        own = f"{places.root.folder}: judged by the keys it holds itself, which whoever changed it "
        troubles = (*troubles, f"{own}could have put there: --keyring FILE says whose count")
    if troubles:
        ledger = msgspec.structs.replace(ledger, troubles=(*ledger.troubles, *troubles))
    warrants = {archive.text: archive.warrant for archive in archives}
    return System(places.root, ledger, warrants)


def _by_headers(root: Root, context: Context) -> System:
    """Return a system of rpm's, whose signed headers list files: read and judged in every run."""
    from signward.verbs.packages.rpmdb import read_rpmdb  # for few systems only

    holdings, troubles = read_rpmdb(root.folder, context)
    ledger = ledger_of(holdings, root, troubles)
    warrants = {
        str(number): replace(one.warrant, facts={**one.warrant.facts, **one.facts})
        for number, one in enumerate(holdings)
    }
    return System(root, ledger, warrants)


def places_of(options: PackageOptions) -> Places:
    """Return where the ledger is made from.  Raises ``EvidenceError`` for folders not there."""
    for folder in (options.root, *options.debs):
        if not Path(folder).is_dir():
            raise EvidenceError(f"{folder}: found no folder there, required one")
    return Places(root=Root(options.root), debs=options.debs)


def ledger_key(places: Places) -> str:
    """Return a digest (hex) of the code and the identities of all that a ledger is made from."""
    digest = hashlib.sha256(code_epoch())
    digest.update(repr((places.root.folder, places.debs, places.root.merged())).encode())
    for path, identity in _inputs(places):
        digest.update(os.fsencode(path) + repr(tuple(identity)).encode() + b"\0")
    return digest.hexdigest()


def _inputs(places: Places) -> Iterator[tuple[str, Identity]]:
    root = places.root
    files = [f"{DPKG}/{name}" for name in ("status", "diversions", "statoverride")]
    paths = [root.place(path) for path in (*files, SOURCES)]
    paths += deb_files(places)
    for folder, ending in ((f"{DPKG}/info", ".list"), (LISTS, ""), (f"{SOURCES}.d", "")):
        paths += _named(root.place(folder), ending)
    for path in paths:
        try:
            yield path, Identity.of(os.stat(path))  # noqa: PTH116 - paths stay strings
        except OSError:  # none of that name: it has no part in the ledger
            continue


def _named(folder: str, ending: str) -> list[str]:
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - names suffice
    except OSError:
        return []
    return [f"{folder}/{name}" for name in names if name.endswith(ending)]


def _kept_at(options: PackageOptions) -> Path:
    """Return where the ledger of a system is kept: beside the cache of verdicts, or as asked."""
    if options.ledger:
        return Path(options.ledger)
    root = os.fsencode(os.path.realpath(options.root))
    return default_path().with_name(f"packages-{hashlib.sha256(root).hexdigest()[:16]}.msgpack")


def _kept(options: PackageOptions, key: str) -> Ledger | None:
    """Return the kept ledger of that key; None where there is none that can be used."""
    path = _kept_at(options)
    try:
        if unsafe(path) or path.stat().st_size > MAX_KEPT:
            return None
        decoder(Ledger)  # first, see there
        ledger = msgspec.msgpack.decode(path.read_bytes(), type=Ledger)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return ledger if ledger.key == key else None


def _keep(options: PackageOptions, places: Places, ledger: Ledger) -> None:
    """Keep a ledger, unless one of its inputs may still change within a tick of its clock."""
    now = time.time_ns()
    if ledger_key(places) != ledger.key or not all(settled(i, now) for _, i in _inputs(places)):
        return
    path = _kept_at(options)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, msgspec.msgpack.encode(ledger))
    except (OSError, UnicodeEncodeError):  # it is made anew next time
        return
