"""Backing up an authority while it works: one file with its database, settings and certificates.

The file is a tar archive.  ``manifest.json`` comes first and names every other member with its
SHA-256; ``signward.db`` is the database as SQLite, whatever the authority uses, as one
transaction saw it, and its log was checked; then settings, certificates and
what else the settings name.  Keys stay out
unless they are asked for, and then stand in ``keys.sealed``: a tar archive under a password.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import msgspec

from signward import __version__
from signward.authority.log.tree import Frontier
from signward.errors import RealmError
from signward.frozen import Frozen, replace
from signward.store import audit, copying
from signward.verbs.authority.realm import DATABASE_NAME, Realm
from signward.verbs.authority.sealing import Seal, seal
from signward.verbs.authority.settings import FILE_NAME, Settings
from signward.verbs.authority.transparency import FILE_NAME as LAST_CHECKPOINT
from signward.verbs.release import PREFIX, settle

FORMAT = 1
MANIFEST = "manifest.json"
SEALED_KEYS = "keys.sealed"
CERTIFICATES = "certificates"
KEYS = "keys"

MAX_SMALL_OCTETS = 16 * 1024 * 1024
"""Of any member but the database: settings, certificates, keys."""

_PATH_SCHEMES = ("file:", "pkcs12:")


class Manifest(Frozen, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a backup holds: ``made`` is an instant, ``files`` maps each name to its SHA-256.

    ``size`` and ``root`` are the log's, ``missing`` the keys that are not in it, by their URI.
    """

    format: int
    made: str
    version: str
    name: str
    size: int
    root: str
    files: dict[str, str]
    missing: dict[str, str]
    sealed: Seal | None = None

    @property
    def context(self) -> bytes:
        """What the sealed keys are bound to: this backup's log, and when it was made."""
        return f"signward backup {self.format} {self.made} {self.size} {self.root}".encode()


def backup(realm: Realm, target: Path, *, password: str | None = None) -> Manifest:
    """Write a backup to ``target``, which must not exist; with a password, keys too.

    Raises ``RealmError``, and ``StoreError`` where the database does not answer or its log does
    not fit itself.
    """
    if password == "":
        raise RealmError("the password of the backup", "an empty one", "one that is hard to guess")
    if target.exists():
        raise RealmError(str(target), "something there", "a new file", hint="nothing was written")
    with told_of(target), tempfile.TemporaryDirectory(prefix=PREFIX, dir=target.parent) as folder:
        database = Path(folder) / DATABASE_NAME
        # The last checkpoint first: the log in the backup must not be shorter than it says.
        small = {name: _read(realm.folder / name) for name in _kept(realm)}
        tree = _export(realm, database)
        manifest = _manifest(realm, tree, {**_digests(small), DATABASE_NAME: _digest(database)})
        if password is not None:
            manifest, small = _with_keys(realm, manifest, small, password)
        whole = Path(folder) / "backup.tar"
        _write(whole, manifest, small, database)
        os.link(whole, target)  # which refuses to replace what came there meanwhile
        settle(str(target.parent))
    return manifest


def _export(realm: Realm, path: Path) -> Frontier:
    with realm.store.read() as connection:
        tree = audit.audit(connection)
        copying.export(connection, path)
    return tree


def _kept(realm: Realm) -> Iterator[str]:
    """Yield the names of what is kept besides the database."""
    folder = realm.folder
    yield FILE_NAME
    if (folder / LAST_CHECKPOINT).is_file():
        yield LAST_CHECKPOINT
    named = {name for name in _named(realm.settings) if (folder / name).is_file()}
    yield from sorted({*_below(folder, CERTIFICATES), *filter(is_kept, named)})


def _named(settings: Settings) -> Iterator[str]:
    """Yield the files that the settings name, keys but for their certificates left out."""
    yield from (key.certificates for key in settings.keys.values() if key.certificates)
    yield from (one.jwks for one in settings.identity.issuers.values() if "://" not in one.jwks)
    if (clients := settings.identity.mtls) is not None:
        yield from (clients.ca, *clients.crls)


def is_kept(name: str) -> bool:
    """Say whether a backup may hold a file of this name in the open: inside, and no key."""
    path = PurePosixPath(name)
    plain = path.as_posix() == name and not path.is_absolute() and "\0" not in name
    beside = name != DATABASE_NAME and name.startswith(DATABASE_NAME)
    return (
        plain
        and not beside
        and path.name != ""
        and path.parts[0] != KEYS
        and (".." not in path.parts)
    )


def _below(folder: Path, name: str) -> Iterator[str]:
    for path in sorted((folder / name).rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix()


def _key_files(realm: Realm) -> set[str]:
    """Return the names of the key files in the folder."""
    named = {
        Path(uri.partition(":")[2].partition("?")[0])
        for uri in (key.uri for key in realm.settings.keys.values())
        if uri.startswith(_PATH_SCHEMES)
    }
    inside = {path.as_posix() for path in named
              if not path.is_absolute() and (realm.folder / path).is_file()}  # fmt: skip
    return inside | set(_below(realm.folder, KEYS))


def _manifest(realm: Realm, tree: Frontier, files: dict[str, str]) -> Manifest:
    return Manifest(
        format=FORMAT,
        made=realm.now().isoformat(timespec="seconds"),
        version=__version__,
        name=realm.settings.name,
        size=tree.size,
        root=tree.root.hex(),
        files=files,
        missing={name: key.uri for name, key in realm.settings.keys.items()},
    )


def _with_keys(
    realm: Realm, manifest: Manifest, small: dict[str, bytes], password: str
) -> tuple[Manifest, dict[str, bytes]]:
    """Return manifest and files with the keys, sealed."""
    names = _key_files(realm)
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(names):
            _add(archive, name, _read(realm.folder / name))
    how, sealed = seal(plain.getvalue(), password, manifest.context)
    missing = {name: uri for name, uri in manifest.missing.items()
               if uri.partition(":")[2].partition("?")[0] not in names}  # fmt: skip
    files = {**manifest.files, SEALED_KEYS: hashlib.sha256(sealed).hexdigest()}
    return replace(manifest, files=files, missing=missing, sealed=how), {
        **small,
        SEALED_KEYS: sealed,
    }


def _read(path: Path) -> bytes:
    if path.stat().st_size > MAX_SMALL_OCTETS:
        raise RealmError(str(path), "a larger file", f"at most {MAX_SMALL_OCTETS} octets")
    return path.read_bytes()


def _digests(small: Mapping[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(data).hexdigest() for name, data in small.items()}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: Path, manifest: Manifest, small: Mapping[str, bytes], database: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with (
        os.fdopen(descriptor, "wb") as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        _add(archive, MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
        for name, data in small.items():
            _add(archive, name, data)
        with database.open("rb") as source:
            archive.addfile(_member(DATABASE_NAME, database.stat().st_size), source)
        archive.close()
        file.flush()
        os.fsync(file.fileno())


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    archive.addfile(_member(name, len(data)), io.BytesIO(data))


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    return member


@contextmanager
def told_of(target: Path) -> Iterator[None]:
    """Raise the system's refusals as ``RealmError``."""
    try:
        yield
    except OSError as error:
        where = str(error.filename or target)
        why = (error.strerror or str(error)).lower()
        raise RealmError(where, why, "what can be read, and written, here") from None
