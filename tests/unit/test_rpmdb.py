"""RPM's database: signed headers are evidence, the database is none."""

from __future__ import annotations

import hashlib
import sqlite3
import stat
import struct
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest
from conformance.authenticode import rpm
from conformance.authenticode.rpm import Value, binary, number, texts

from signward.errors import BadInputError
from signward.findings import Code
from signward.inventory.packages import Holding
from signward.inventory.packages import rpmdb as reader
from signward.inventory.packages.rpmdb import database_of, read_headers
from signward.state import BrokenSignature, OpenPgpCert, TrustedSignature, UntrustedSignature
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.packages.rpmdb import read_rpmdb
from tests.builders import openpgp as pgp
from tests.unit.test_rpm import DSA, GPG, NOW, OPENPGP, RSA, key, packet, ring

ROW = "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)"


def header(**how: object) -> bytes:
    """Return the header of a package, with magic."""
    return rpm.split(rpm.package(**how))[1]  # type: ignore[arg-type]


def installed(head: bytes, added: Mapping[int, Value]) -> bytes:
    """Return a header as the database has it: without magic, values added behind its region."""
    count, _ = struct.unpack_from(">II", head, 8)
    index, store = head[16 : 16 + 16 * count], head[16 + 16 * count :]
    for tag, (kind, many, octets) in sorted(added.items()):
        store += bytes(-len(store) % 8)
        index += struct.pack(">iIiI", tag, kind, len(store), many)
        store += octets
    return struct.pack(">II", count + len(added), len(store)) + index + store


def signed(head: bytes | None = None, tag: int = DSA, by: pgp.Key | None = None) -> bytes:
    """Return a header in the database with its package's signature, and what else rpm adds."""
    head = head or header()
    made = packet(by or key(), head)
    values = {1008: number(4, 1_700_000_000), tag: binary(made)}
    if tag == OPENPGP:
        import base64

        values[tag] = texts(base64.b64encode(made))
    return installed(head, values)


def database(root: Path, *blobs: bytes, folder: str = "var/lib/rpm") -> Path:
    path = root / folder / "rpmdb.sqlite"
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as opened, opened:
        opened.execute(ROW)
        opened.executemany("INSERT INTO Packages (blob) VALUES (?)", [(blob,) for blob in blobs])
    return path


def read(root: Path, *keys: pgp.Key) -> tuple[tuple[Holding, ...], tuple[str, ...]]:
    path = root / "ring.gpg"
    path.write_bytes(b"".join(map(ring, keys or (key(),))))
    return read_rpmdb(str(root), Context(Options(keyrings=(str(path),), at=NOW)))


@pytest.mark.parametrize("folder", ["var/lib/rpm", "usr/lib/sysimage/rpm"])
def test_a_signed_header_vouches_for_its_files(folder: str, tmp_path: Path) -> None:
    database(tmp_path, signed(), folder=folder)
    (holding,), troubles = read(tmp_path)
    assert not troubles
    assert str(holding.package) == "tool 1.0-1 (noarch)"
    (signature,) = holding.warrant.signatures
    assert isinstance(signature, TrustedSignature)
    assert isinstance(signature.basis, OpenPgpCert)
    assert holding.facts["header-sha256"] == hashlib.sha256(header()).hexdigest()
    told = {entry.path: entry for entry in holding.entries}
    assert set(told) == {
        "/usr/bin/tool", "/usr/share/tool", "/usr/share/tool/data", "/usr/share/tool/empty",
        "/usr/bin/again",
    }  # fmt: skip
    tool = told["/usr/bin/tool"]
    assert (tool.kind, tool.mode, tool.size) == ("file", 0o755, 20)
    assert tool.digest == hashlib.sha256(b"#!/bin/sh\necho tool\n").digest()
    assert told["/usr/share/tool"].kind == "directory"
    again = told["/usr/bin/again"]
    assert (again.kind, again.target, again.digest) == ("link", "tool", b"")


@pytest.mark.parametrize("tag", [RSA, OPENPGP])
def test_signatures_of_every_kind_are_found(tag: int, tmp_path: Path) -> None:
    by = key("rsa") if tag == RSA else key("ed25519", 6)
    database(tmp_path, signed(tag=tag, by=by))
    (holding,), _ = read(tmp_path, by)
    assert isinstance(holding.warrant.signatures[0], TrustedSignature)


def test_a_changed_header_is_vouched_for_by_nobody(tmp_path: Path) -> None:
    """What an intruder would do: write the digest of his file into the database."""
    old = hashlib.sha256(b"#!/bin/sh\necho tool\n").hexdigest().encode()
    new = hashlib.sha256(b"evil").hexdigest().encode()
    blob = signed()
    assert old in blob
    database(tmp_path, blob.replace(old, new))
    (holding,), _ = read(tmp_path)
    (signature,) = holding.warrant.signatures
    assert isinstance(signature, BrokenSignature)
    assert signature.findings[0].code is Code.SIGNATURE_MISMATCH


def test_values_behind_the_region_are_no_evidence(tmp_path: Path) -> None:
    """Files listed anew behind the region are not what the package's signer said."""
    evil = {1117: texts("evil"), 1118: texts("/"), 1116: number(4, 0)}
    head = header()
    database(tmp_path, installed(head, {DSA: binary(packet(key(), head)), **evil}))
    (holding,), _ = read(tmp_path)
    assert isinstance(holding.warrant.signatures[0], TrustedSignature)
    assert "/evil" not in {entry.path for entry in holding.entries}


def test_keys_of_others_and_no_signature(tmp_path: Path) -> None:
    head = header()
    old = installed(head, {GPG: binary(packet(key(), head))})
    database(tmp_path, signed(by=key(which=1)), installed(head, {}), old)
    (other, bare, package), troubles = read(tmp_path)
    assert not troubles
    assert isinstance(other.warrant.signatures[0], BrokenSignature | UntrustedSignature)
    assert not bare.warrant.signatures
    assert not package.warrant.signatures


def test_keys_in_the_database_are_no_packages(tmp_path: Path) -> None:
    keys = header(name="gpg-pubkey", files=())
    database(tmp_path, installed(keys, {}), signed())
    holdings, troubles = read(tmp_path)
    assert [one.package.name for one in holdings] == ["tool"]
    assert not troubles


def test_files_by_weak_digests_are_left_out(tmp_path: Path) -> None:
    database(tmp_path, signed(header(algorithm="md5")))
    (holding,), _ = read(tmp_path)
    assert {entry.kind for entry in holding.entries} == {"directory", "link"}


def test_configuration_hard_links_and_devices(tmp_path: Path) -> None:
    files = (
        rpm.File(path="/etc/tool", content=b"x", flags=1),
        rpm.File(path="/a", content=b"shared", inode=9, inside=b""),
        rpm.File(path="/b", content=b"shared", inode=9),
        rpm.File(path="/dev/tool", mode=stat.S_IFCHR | 0o600),
    )
    database(tmp_path, signed(header(files=files)))
    (holding,), _ = read(tmp_path)
    told = {entry.path: entry for entry in holding.entries}
    assert told["/etc/tool"].config
    assert not told["/a"].config
    assert (told["/a"].size, told["/a"].digest) == (told["/b"].size, told["/b"].digest)
    assert told["/dev/tool"].kind == "other"


def test_one_broken_row_spoils_no_other(tmp_path: Path) -> None:
    odd = header(change={1116: number(4, 99)})
    database(tmp_path, signed(odd), signed())
    holdings, troubles = read(tmp_path)
    assert [one.package.name for one in holdings] == ["tool"]
    assert len(troubles) == 1


def test_other_backends_are_named(tmp_path: Path) -> None:
    assert read(tmp_path) == ((), ())
    folder = tmp_path / "var/lib/rpm"
    folder.mkdir(parents=True)
    for name, backend in (("Packages", "Berkeley DB"), ("Packages.db", "ndb")):
        (folder / name).write_bytes(b"x")
        holdings, (trouble,) = read(tmp_path)
        assert not holdings
        assert f"backend {backend} is not read" in trouble
    database(tmp_path, signed())
    assert database_of(str(tmp_path))[0] == folder / "rpmdb.sqlite"


@pytest.mark.parametrize("data", [b"", b"no database" * 100, b"SQLite format 3\0" + bytes(2000)])
def test_what_is_no_database(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "var/lib/rpm" / "rpmdb.sqlite"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    with pytest.raises(BadInputError):
        list(read_headers(path))
    holdings, troubles = read(tmp_path)
    assert not holdings
    assert len(troubles) == 1


def _without_table(root: Path, *statements: str) -> Path:
    path = root / "var/lib/rpm" / "rpmdb.sqlite"
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path)) as opened, opened:
        for statement in statements:
            opened.execute(statement)
    return path


def test_a_query_of_the_file_s_own_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A view in the place of the table could run for ever."""
    monkeypatch.setattr(reader, "MAX_STEPS", 50)
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) "
    path = _without_table(
        tmp_path, f"CREATE VIEW Packages AS {endless}SELECT x AS hnum, x AS blob FROM n WHERE x < 0"
    )
    with pytest.raises(BadInputError, match="interrupted"):
        list(read_headers(path))


def test_rows_that_are_none(tmp_path: Path) -> None:
    path = _without_table(tmp_path, ROW, "INSERT INTO Packages (blob) VALUES ('text')")
    with pytest.raises(BadInputError, match="another type"):
        list(read_headers(path))


def test_no_more_packages_than_any_system_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "MAX_PACKAGES", 1)
    path = database(tmp_path, signed(), signed())
    with pytest.raises(BadInputError, match="more packages"):
        list(read_headers(path))


def test_nothing_is_written_and_a_log_is_read(tmp_path: Path) -> None:
    path = database(tmp_path, signed())
    before = sorted(path.parent.iterdir()), path.read_bytes()
    assert len(list(read_headers(path))) == 1
    assert (sorted(path.parent.iterdir()), path.read_bytes()) == before
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("INSERT INTO Packages (blob) VALUES (?)", (signed(),))
        writer.commit()
        assert len(list(read_headers(path))) == 2
