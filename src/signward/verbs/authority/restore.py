"""Restoring an authority from a backup: into a new folder, whole or not at all.

What happened after the backup is lost, and cannot be guessed: certificates that nobody can ask
about, revocations that must be made again, log entries that others may hold receipts for.  So
that no number is handed out twice, every counter goes on far behind what it can have reached;
and the log is told, in its first new entry, where it went back to.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path, PurePosixPath

import msgspec
from sqlalchemy import Connection

from signward.authority.log.entry import Kind, Value, encode
from signward.errors import BadInputError, MalformedError, RealmError, StoreError
from signward.frozen import Frozen, decoder
from signward.store import audit, copying, counters
from signward.store.engine import Outcome, Store
from signward.verbs.authority.backup import (
    FORMAT,
    KEYS,
    MANIFEST,
    MAX_SMALL_OCTETS,
    SEALED_KEYS,
    Manifest,
    is_kept,
    told_of,
)
from signward.verbs.authority.realm import DATABASE_NAME, system_clock
from signward.verbs.authority.sealing import unseal
from signward.verbs.authority.settings import FILE_NAME, load
from signward.verbs.release import PREFIX, settle
from signward.wire.tar import TarMember, tar_members

GAP = 2**32
"""How many numbers of each counter are left out: more than anybody took since the backup, and
few enough for two thousand million restores."""

_PIECE = 1024 * 1024


class Restorable(Frozen, frozen=True, kw_only=True):
    """What a backup would restore; its log and its files were checked."""

    manifest: Manifest
    certificates: int
    revocations: int


class Restoring(Frozen, frozen=True, kw_only=True):
    """Where to restore: ``database`` is a URL, empty for SQLite in the folder.

    ``password`` opens the keys; None leaves them out.
    """

    folder: Path
    database: str = ""
    password: str | None = None


def restorable(archive: Path) -> Restorable:
    """Check a backup from end to end, and say what is in it.

    Raises ``RealmError`` and ``StoreError``.
    """
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        return _unpacked(archive, Path(folder))


def restore(
    archive: Path, into: Restoring, clock: Callable[[], datetime] = system_clock
) -> Restorable:
    """Restore a backup.  Raises ``RealmError`` and ``StoreError``; then nothing was restored."""
    _check_free(into.folder)
    above = into.folder.absolute().parent
    with told_of(into.folder), tempfile.TemporaryDirectory(prefix=PREFIX, dir=above) as temporary:
        folder = Path(temporary) / "realm"
        folder.mkdir(mode=0o700)
        found = _unpacked(archive, folder)
        _restore_keys(folder, found.manifest, into.password)
        _go_on(folder / DATABASE_NAME, found.manifest, clock())
        if into.database:
            copying.load(folder / DATABASE_NAME, into.database)
            (folder / DATABASE_NAME).unlink()
        for left in folder.glob(f"{DATABASE_NAME}-*"):
            left.unlink()
        folder.rename(into.folder)  # which refuses to replace a folder that is not empty
        settle(str(above))
    return found


def _check_free(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RealmError(
            str(folder), "something there", "an empty folder, or none",
            hint="nothing was restored: move it away, and keep it for its keys",
        )  # fmt: skip


def _unpacked(archive: Path, folder: Path) -> Restorable:
    """Put a backup's files into ``folder``; check them, the settings and the log."""
    with told_of(archive), archive.open("rb") as file:
        manifest = _unpack(iter(lambda: file.read(_PIECE), b""), folder)
    load(folder / FILE_NAME)
    store = Store.open(f"sqlite:///{folder / DATABASE_NAME}")
    try:
        with store.read() as connection:
            tree = audit.audit(connection)
            counts = [copying.count_rows(connection, n) for n in ("certificate", "revocation")]
    finally:
        store.close()
    if (tree.size, tree.root.hex()) != (manifest.size, manifest.root):
        raise StoreError("the backup's log", f"{tree.size} entries, root {tree.root.hex()}",
                         f"{manifest.size} entries, root {manifest.root}")  # fmt: skip
    return Restorable(manifest=manifest, certificates=counts[0], revocations=counts[1])


def _unpack(pieces: Iterator[bytes], folder: Path) -> Manifest:
    members = tar_members(pieces)
    try:
        manifest = _read_manifest(next(members, None))
        digests = {}
        for member in members:
            if member.name not in manifest.files:
                raise RealmError(member.name, "a member", "no other than the manifest names")
            digests[member.name] = _put(member, folder)
    except BadInputError as error:
        raise RealmError("the backup", str(error), "an archive of signward backup") from None
    for name, digest in manifest.files.items():
        if digests.get(name) != digest:
            found = f"SHA-256 {digests[name]}" if name in digests else "nothing"
            raise RealmError(f"{name} in the backup", found, f"SHA-256 {digest}",
                             hint="the backup was damaged or changed")  # fmt: skip
    return manifest


def _read_manifest(member: TarMember | None) -> Manifest:
    """Return the manifest, which comes first.  Raises ``BadInputError`` and ``RealmError``."""
    if member is None or member.name != MANIFEST or member.size > MAX_SMALL_OCTETS:
        raise MalformedError("archive", "another first member", MANIFEST)
    try:
        manifest = decoder(Manifest).decode(b"".join(member.pieces))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(MANIFEST, str(error), "a manifest") from None
    if manifest.format != FORMAT:
        raise RealmError("the backup", f"format {manifest.format}", f"format {FORMAT}",
                         hint="a newer signward wrote it: use that one")  # fmt: skip
    for name in manifest.files:
        if not is_kept(name):
            raise MalformedError(MANIFEST, f"a file named {name!r}", "files of an authority")
    if not {FILE_NAME, DATABASE_NAME} <= manifest.files.keys():
        raise MalformedError(MANIFEST, "no settings, or no database", "both")
    return manifest


def _put(member: TarMember, folder: Path) -> str:
    """Write a member; return its SHA-256."""
    if member.name != DATABASE_NAME and member.size > MAX_SMALL_OCTETS:
        raise RealmError(member.name, f"{member.size} octets", f"at most {MAX_SMALL_OCTETS}")
    digest = hashlib.sha256()
    path = folder / member.name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for piece in member.pieces:
            digest.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _restore_keys(folder: Path, manifest: Manifest, password: str | None) -> None:
    """Open the sealed keys where they are wanted; take them away sealed otherwise."""
    sealed = folder / SEALED_KEYS
    if password is not None and manifest.sealed is None:
        raise RealmError("the backup", "no keys", "one made --with-keys")
    if password is not None and manifest.sealed is not None:
        plain = unseal(manifest.sealed, sealed.read_bytes(), password, manifest.context)
        for member in tar_members(iter([plain])):
            path = PurePosixPath(member.name)
            if path.is_absolute() or ".." in path.parts or (folder / path).exists():
                raise RealmError(f"key file {member.name}", "such a name", f"one like {KEYS}/a.pem")
            _put(member, folder)
    sealed.unlink(missing_ok=True)


def _go_on(database: Path, manifest: Manifest, at: datetime) -> None:
    """Let the database go on from the backup: numbers ahead, and a word in the log."""
    told: dict[str, Value] = {"deed": "restored", "made": manifest.made, "size": manifest.size,
            "root": manifest.root}  # fmt: skip

    def job(connection: Connection) -> Outcome[None]:
        counters.skip(connection, GAP)
        return Outcome(None, (encode(Kind.ADMIN, told, at),))

    store = Store.open(f"sqlite:///{database}")
    try:
        store.write(job).result()
    finally:
        store.close()
