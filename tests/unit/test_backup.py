"""Backups: of one instant, checked, without keys unless sealed; restored whole or not at all."""

from __future__ import annotations

import io
import json
import tarfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from signward.authority.log.entry import Kind, decode
from signward.cli import main
from signward.errors import RealmError, StoreError
from signward.store import log
from signward.store.counters import lease, raised
from signward.store.engine import Outcome, Store
from signward.store.tables import log_entry, log_tile, metadata
from signward.verbs.authority.backup import MANIFEST, SEALED_KEYS, backup
from signward.verbs.authority.realm import DATABASE_NAME, Realm
from signward.verbs.authority.restore import GAP, Restoring, restorable, restore
from signward.verbs.authority.settings import KeySettings, Settings, dump
from tests.builders.storing import SECONDS, log_is_whole

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
PASSWORD = "an opening of some length"
ENTRIES = 700
LATEST = 1_800_000_000_000_000


def at_noon() -> datetime:
    """Return the instant at which everything here happens."""
    return NOW


def number(connection: Connection) -> Outcome[int]:
    """Lease one number (a job)."""
    return Outcome(lease(connection, "tsa"))


def latest(connection: Connection) -> Outcome[int]:
    """Raise a mark (a job)."""
    return Outcome(raised(connection, "tsa", LATEST))


@pytest.fixture
def realm(tmp_path: Path, database_url: str) -> Iterator[Realm]:
    """Open an authority with a log, keys inside and outside of its folder, and certificates."""
    folder = tmp_path / "authority"
    for name in ("keys", "certificates/old"):
        (folder / name).mkdir(parents=True)
    keys = {
        "root": KeySettings(uri="file:keys/root.pem", certificates="certificates/root.pem"),
        "tsa": KeySettings(uri="pkcs11:token=T;object=tsa"),
        "other": KeySettings(uri="file:more/other.pem"),
    }
    (folder / "more").mkdir()
    files = {
        "signward.toml": dump(Settings(name="Example Ltd", url="http://127.0.0.1:8650", keys=keys)),
        "keys/root.pem": "a private key", "more/other.pem": "another private key",
        "certificates/root.pem": "a certificate", "certificates/old/root.pem": "an old one",
        "log-checkpoint": "signed", "scratch": "of no use",
    }  # fmt: skip
    for name, text in files.items():
        (folder / name).write_text(text)
    opened = Realm.open(folder, database=database_url, clock=at_noon)
    opened.store.append(*[b"%d" % i for i in range(ENTRIES)]).result(SECONDS)
    opened.store.write(number).result(SECONDS)
    opened.store.write(latest).result(SECONDS)
    yield opened
    opened.close()


def rows(store: Store) -> dict[str, list[tuple[object, ...]]]:
    """Return everything in a database."""
    with store.read() as connection:
        return {
            table.name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
            for table in metadata.sorted_tables
        }


def members(archive: Path) -> dict[str, bytes]:
    """Return what stands in an archive."""
    with tarfile.open(archive) as file:
        found = {one.name: file.extractfile(one) for one in file.getmembers()}
        return {name: data.read() for name, data in found.items() if data}


def rewritten(archive: Path, change: Callable[[dict[str, bytes]], object]) -> None:
    """Write an archive anew, changed."""
    files = members(archive)
    change(files)
    with tarfile.open(archive, "w") as file:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))


def test_a_restored_authority_has_every_row_and_file(realm: Realm, tmp_path: Path) -> None:
    archive, folder = tmp_path / "a.tar", tmp_path / "new"
    before = rows(realm.store)
    made = backup(realm, archive)
    assert (made.size, made.name) == (ENTRIES, "Example Ltd")
    restore(archive, Restoring(folder=folder), at_noon)
    restored = Realm.open(folder)
    assert log_is_whole(restored.store) == ENTRIES + 1
    after = rows(restored.store)
    assert set(before["log_entry"]) < set(after["log_entry"])
    assert after["log_tile"] == before["log_tile"] != []
    unchanged = set(before) - {"log_entry", "log_tile", "log_state", "counter"}
    assert all(after[name] == before[name] for name in unchanged)
    assert restored.settings == realm.settings
    restored.close()
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    kept = {"certificates/root.pem", "certificates/old/root.pem", "log-checkpoint", "signward.toml"}
    assert names - {"signward.db-turn", "signward.db-wal", "signward.db-shm"} == {
        *kept, DATABASE_NAME,
    }  # fmt: skip
    assert folder.stat().st_mode & 0o777 == 0o700


def test_the_log_says_that_it_was_restored_and_numbers_go_on_far_behind(
    realm: Realm, tmp_path: Path
) -> None:
    made = backup(realm, tmp_path / "a.tar")
    lost = realm.store.write(number).result(SECONDS).value
    restore(tmp_path / "a.tar", Restoring(folder=tmp_path / "new"), at_noon)
    restored = Realm.open(tmp_path / "new")
    with restored.store.read() as connection:
        body = connection.execute(
            select(log_entry.c.body).where(log_entry.c.position == ENTRIES)
        ).scalar_one()
    told = decode(body)
    assert (told.kind, told.at) == (Kind.ADMIN, NOW)
    assert told.fields == {
        "deed": "restored", "made": made.made, "size": ENTRIES, "root": made.root,
    }  # fmt: skip
    assert restored.store.write(number).result(SECONDS).value == lost + GAP
    assert restored.store.write(latest).result(SECONDS).value == LATEST  # no number, but a mark
    restored.close()


def test_a_backup_restores_into_the_other_kind_of_database(
    realm: Realm, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    backup(realm, tmp_path / "a.tar")
    before = rows(realm.store)
    url = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    if realm.store.dialect == "sqlite":
        url = request.getfixturevalue("postgresql_url")
    into = Restoring(folder=tmp_path / "new", database=url)
    restore(tmp_path / "a.tar", into, at_noon)
    assert not (tmp_path / "new" / DATABASE_NAME).exists()
    store = Store.open(url)
    assert log_is_whole(store) == ENTRIES + 1
    assert rows(store)["log_tile"] == before["log_tile"]
    assert store.append(b"on").result(SECONDS).first == ENTRIES + 1
    store.close()
    with pytest.raises(StoreError, match="required an empty database"):
        restore(tmp_path / "a.tar", Restoring(folder=tmp_path / "newer", database=url), at_noon)
    assert not (tmp_path / "newer").exists()


def test_a_backup_under_load_is_of_one_instant(realm: Realm, tmp_path: Path) -> None:
    going = threading.Event()

    def load() -> None:
        while not going.is_set():
            realm.store.append(b"more", b"and more").result(SECONDS)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        made = backup(realm, tmp_path / "a.tar")
    finally:
        going.set()
        thread.join()
    assert made.size >= ENTRIES
    assert restorable(tmp_path / "a.tar").manifest == made
    with realm.store.read() as connection:
        assert log.frontier(connection).size > made.size


def test_keys_stay_out_unless_they_are_sealed(realm: Realm, tmp_path: Path) -> None:
    made = backup(realm, tmp_path / "a.tar")
    assert set(made.missing) == {"root", "tsa", "other"}
    assert made.sealed is None
    assert b"private key" not in (tmp_path / "a.tar").read_bytes()
    with pytest.raises(RealmError, match="required one made --with-keys"):
        restore(
            tmp_path / "a.tar", Restoring(folder=tmp_path / "new", password=PASSWORD), at_noon
        )  # fmt: skip
    assert not (tmp_path / "new").exists()


def test_sealed_keys_come_back_with_their_password_only(realm: Realm, tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    made = backup(realm, archive, password=PASSWORD)
    assert set(made.missing) == {"tsa"}
    assert b"private key" not in archive.read_bytes()
    with pytest.raises(RealmError, match="a password that does not open them"):
        restore(archive, Restoring(folder=tmp_path / "new", password="guessed"), at_noon)
    assert not (tmp_path / "new").exists()
    restore(archive, Restoring(folder=tmp_path / "new", password=PASSWORD), at_noon)
    key = tmp_path / "new" / "keys" / "root.pem"
    assert (key.read_text(), key.stat().st_mode & 0o777) == ("a private key", 0o600)
    assert (tmp_path / "new/more/other.pem").read_text() == "another private key"
    restore(archive, Restoring(folder=tmp_path / "without"), at_noon)
    assert not list((tmp_path / "without").glob("key*"))


def test_the_seal_is_of_one_backup(realm: Realm, tmp_path: Path) -> None:
    """Keys of another backup, put into this one with a fitting digest, do not open."""
    archive = tmp_path / "a.tar"
    backup(realm, archive, password=PASSWORD)

    def claim_another_instant(files: dict[str, bytes]) -> None:
        manifest = json.loads(files[MANIFEST])
        manifest["made"] = "2020-01-01T00:00:00+00:00"
        files[MANIFEST] = json.dumps(manifest).encode()

    rewritten(archive, claim_another_instant)
    with pytest.raises(RealmError, match="does not open them"):
        restore(archive, Restoring(folder=tmp_path / "new", password=PASSWORD), at_noon)


def test_what_is_there_is_not_replaced(realm: Realm, tmp_path: Path) -> None:
    backup(realm, tmp_path / "a.tar")
    before = (tmp_path / "a.tar").read_bytes()
    with pytest.raises(RealmError, match="required a new file"):
        backup(realm, tmp_path / "a.tar")
    assert (tmp_path / "a.tar").read_bytes() == before
    with pytest.raises(RealmError, match="required an empty folder, or none"):
        restore(tmp_path / "a.tar", Restoring(folder=realm.folder), at_noon)
    (tmp_path / "empty").mkdir()
    restore(tmp_path / "a.tar", Restoring(folder=tmp_path / "empty"), at_noon)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def _drop(name: str) -> Callable[[dict[str, bytes]], object]:
    return lambda files: files.pop(name)


def _put(name: str, data: bytes) -> Callable[[dict[str, bytes]], object]:
    return lambda files: files.update({name: data})


def _manifest(**changes: object) -> Callable[[dict[str, bytes]], object]:
    def change(files: dict[str, bytes]) -> None:
        manifest = json.loads(files[MANIFEST])
        files[MANIFEST] = json.dumps({**manifest, **changes}).encode()

    return change


def _file(name: str) -> Callable[[dict[str, bytes]], object]:
    def change(files: dict[str, bytes]) -> None:
        manifest = json.loads(files[MANIFEST])
        manifest["files"][name] = "00"
        files[MANIFEST] = json.dumps(manifest).encode()

    return change


BROKEN = {
    "no manifest": (_drop(MANIFEST), "another first member"),
    "manifest no JSON": (_put(MANIFEST, b"{"), "required a manifest"),
    "manifest no UTF-8": (_put(MANIFEST, b'{"made": "\xff"}'), "required a manifest"),
    "manifest nested": (_put(MANIFEST, b'{"made": ' + b"[" * 100_000), "required a manifest"),
    "unknown field": (_manifest(more=1), "unknown field"),
    "newer format": (_manifest(format=2), "found format 2"),
    "no database": (_drop(DATABASE_NAME), "signward.db in the backup: found nothing"),
    "settings changed": (_put("signward.toml", b'name = "x"'), "signward.toml in the backup"),
    "an extra member": (_put("certificates/extra.pem", b"x"), "no other than the manifest names"),
    "a path upwards": (_file("certificates/../../x"), "found a file named"),
    "an absolute path": (_file("/etc/passwd"), "found a file named"),
    "a key in the open": (_file("keys/root.pem"), "found a file named"),
    "a write-ahead log": (_file("signward.db-wal"), "found a file named"),
    "no name": (_file(""), "found a file named"),
    "files lost": (_manifest(files={}), "no settings, or no database"),
    "another size": (_manifest(size=ENTRIES - 1), "required 699 entries"),
    "another root": (_manifest(root="00" * 32), "required 700 entries, root 0000"),
}  # fmt: skip


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_backup_is_refused_and_nothing_is_restored(tmp_path: Path, how: str) -> None:
    change, found = BROKEN[how]
    archive = tmp_path / "a.tar"
    _sqlite_backup(tmp_path, archive)
    rewritten(archive, change)
    with pytest.raises((RealmError, StoreError), match=found):
        restorable(archive)
    with pytest.raises((RealmError, StoreError), match=found):
        restore(archive, Restoring(folder=tmp_path / "new"), at_noon)
    assert not (tmp_path / "new").exists()


def _sqlite_backup(tmp_path: Path, archive: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "signward.toml").write_text('name = "A"\nurl = "http://127.0.0.1:1"\n')
    realm = Realm.open(folder, clock=at_noon)
    realm.store.append(*[b"%d" % i for i in range(ENTRIES)]).result(SECONDS)
    backup(realm, archive)
    realm.close()


@pytest.mark.parametrize("size", [0, 100, 5000, -1, -600])
def test_a_backup_cut_short_is_refused(tmp_path: Path, size: int) -> None:
    archive = tmp_path / "a.tar"
    _sqlite_backup(tmp_path, archive)
    whole = archive.read_bytes().rstrip(b"\0")
    archive.write_bytes(whole[:size])
    with pytest.raises(RealmError):
        restorable(archive)


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        (log_entry.update().where(log_entry.c.position == 3).values(body=b"x"), "entry 3 of hash"),
        (log_entry.delete().where(log_entry.c.position == 3), "found entry 4 after 2"),
        (log_entry.delete().where(log_entry.c.position == ENTRIES - 1), "a tree of 699 entries"),
        (log_tile.update().where(log_tile.c.position == 1).values(hashes=b""), "another tile 1"),
        (log_tile.insert().values(level=5, position=0, hashes=b""), "found 3 full tiles"),
    ],
)
def test_a_log_that_does_not_fit_itself_is_not_backed_up(
    realm: Realm, tmp_path: Path, statement: object, found: str
) -> None:
    def damage(connection: Connection) -> Outcome[None]:
        connection.execute(statement)  # type: ignore[call-overload]
        return Outcome(None)

    realm.store.write(damage).result(SECONDS)
    with pytest.raises(StoreError, match=found):
        backup(realm, tmp_path / "a.tar")
    assert not (tmp_path / "a.tar").exists()


def test_a_password_must_be_one(realm: Realm, tmp_path: Path) -> None:
    with pytest.raises(RealmError, match="found an empty one"):
        backup(realm, tmp_path / "a.tar", password="")


def test_a_seal_may_not_ask_for_all_memory(realm: Realm, tmp_path: Path) -> None:
    backup(realm, tmp_path / "a.tar", password=PASSWORD)

    def ask(files: dict[str, bytes]) -> None:
        manifest = json.loads(files[MANIFEST])
        manifest["sealed"]["cost"] = 2**40
        files[MANIFEST] = json.dumps(manifest).encode()

    rewritten(tmp_path / "a.tar", ask)
    with pytest.raises(RealmError, match="a power of two up to 1048576"):
        restore(tmp_path / "a.tar", Restoring(folder=tmp_path / "n", password=PASSWORD), at_noon)


def test_no_table_counts_by_itself() -> None:
    """Copied rows would not move a counter that the database keeps: see ``store.counters``."""
    counting = [t.name for t in metadata.sorted_tables if t.autoincrement_column is not None]
    assert counting == []


def test_the_commands_say_what_they_did_and_what_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive, new = str(tmp_path / "b.tar"), str(tmp_path / "new")
    _sqlite_backup(tmp_path, tmp_path / "a.tar")
    small = str(tmp_path / "small")
    assert main(["backup", "--data", small, "-o", archive]) == 0
    assert "b.tar: A, a log of 700 entries, root " in capsys.readouterr().out
    assert main(["restore", archive, "--data", new]) == 0
    told = capsys.readouterr().out
    assert "revoke again what was revoked since" in told
    assert "who saw a log of more than 700 entries will find that it went back" in told
    assert told.endswith("nothing was restored: that takes --apply\n")
    assert not Path(new).exists()
    assert main(["restore", archive, "--data", new, "--apply"]) == 0
    assert capsys.readouterr().out.endswith("restored\n")
    assert main(["restore", archive, "--data", new, "--apply"]) == 2
    assert "something there" in capsys.readouterr().err
    assert main(["backup", "--data", small, "-o", archive]) == 2
    assert main(["backup", "--data", str(tmp_path / "none"), "-o", str(tmp_path / "c.tar")]) == 2


def test_with_keys_the_commands_want_a_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SIGNWARD_PASSWORD", raising=False)
    _sqlite_backup(tmp_path, tmp_path / "a.tar")
    (tmp_path / "small/keys").mkdir()
    (tmp_path / "small/keys/a.pem").write_text("a private key")
    (tmp_path / "pass").write_text(PASSWORD + "\n")
    archive, new = str(tmp_path / "b.tar"), str(tmp_path / "new")
    common = ["backup", "--data", str(tmp_path / "small"), "-o", archive, "--with-keys"]
    assert main(common) == 2
    assert "--with-keys: found no password" in capsys.readouterr().err
    assert not Path(archive).exists()
    assert main([*common, "--pass-file", str(tmp_path / "pass")]) == 0
    assert SEALED_KEYS in members(Path(archive))
    taking = ["restore", archive, "--data", new, "--apply", "--with-keys"]
    assert main(taking) == 2
    assert main([*taking, "--pass-file", str(tmp_path / "pass")]) == 0
    assert (tmp_path / "new/keys/a.pem").read_text() == "a private key"


def test_a_place_that_cannot_be_written_is_told(realm: Realm, tmp_path: Path) -> None:
    with pytest.raises(RealmError, match="no such file or directory"):
        backup(realm, tmp_path / "no" / "a.tar")
    with pytest.raises(RealmError, match="no such file or directory"):
        restorable(tmp_path / "none.tar")


def test_backups_are_told_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive, new = str(tmp_path / "b.tar"), str(tmp_path / "new")
    _sqlite_backup(tmp_path, tmp_path / "a.tar")
    capsys.readouterr()
    assert main(["backup", "--data", str(tmp_path / "small"), "-o", archive, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["name"], made["size"]) == ("A", 700)
    assert main(["restore", archive, "--data", new, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["restored"] is False
    assert main(["restore", archive, "--data", new, "--json", "--apply"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["restored"], told["manifest"]) == (True, made)


def test_files_that_the_settings_name_come_back(tmp_path: Path) -> None:
    """Without them a restored service would not start, or would know none of its callers."""
    _sqlite_backup(tmp_path, tmp_path / "a.tar")
    folder = tmp_path / "small"
    (folder / "callers").mkdir()
    for name in ("callers/ca.pem", "callers/crl.pem", "jwks.json", "other.pem"):
        (folder / name).write_text(name)
    (tmp_path / "outside.pem").write_text("outside")
    with (folder / "signward.toml").open("a") as file:
        file.write(
            '[identity.mtls]\nca = "callers/ca.pem"\ncrls = ["callers/crl.pem", "../outside.pem"]\n'
            '[identity.issuers.x]\nissuer = "x"\naudience = "y"\njwks = "jwks.json"\n'
            '[identity.issuers.y]\nissuer = "y"\naudience = "y"\njwks = "https://idp.example/jwks"\n'
            '[keys.else]\nuri = "file:/none.pem"\ncertificates = "other.pem"\n'
        )
    realm = Realm.open(folder)
    try:
        backup(realm, tmp_path / "b.tar")
    finally:
        realm.close()
    restore(tmp_path / "b.tar", Restoring(folder=tmp_path / "new"), at_noon)
    for name in ("callers/ca.pem", "callers/crl.pem", "jwks.json", "other.pem"):
        assert (tmp_path / "new" / name).read_text() == name
