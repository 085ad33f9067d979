"""The log's verbs on both databases: checkpoints, tiles, receipts, and what they refuse."""

from __future__ import annotations

import gc
import shutil
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, text, update

from signward.authority.log.checkpoint import open_checkpoint
from signward.authority.log.entry import Kind, decode
from signward.authority.log.faults import ForkError, NotSignedError, RollbackError
from signward.authority.log.proof import Hashes, check_consistency, consistency, open_receipt
from signward.authority.log.tiles import ENTRIES, WIDTH, Tile, split_bundle, width
from signward.authority.log.tree import Frontier, leaf_hash
from signward.errors import RealmError, SignwardError, StoreError
from signward.store.engine import Outcome
from signward.store.log_read import Tiles
from signward.store.tables import log_entry, log_tile
from signward.verbs.authority.realm import Realm
from signward.verbs.authority.transparency import (
    FILE_NAME,
    Transparency,
    check_published,
    transparency_of,
)
from tests.builders import logs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return logs.make_folder(tmp_path / "data")


def test_every_tile_of_a_grown_log(folder: Path, database_url: str) -> None:
    bodies = logs.entries(0, 700)
    with logs.opened(folder, database_url) as realm:
        log = Transparency(realm)
        for size in (1, 255, 256, 257, 600, 700):
            logs.fill(realm, _size(log), size - _size(log))
            leaves = [leaf_hash(body) for body in bodies[:size]]
            signed = open_checkpoint(log.checkpoint(), log.policy)
            assert signed.checkpoint.size == size
            assert signed.checkpoint.root == Frontier().extended(leaves).root
            for number in range(-(-size // WIDTH)):
                count = width(0, number, size)
                first = number * WIDTH
                assert log.tile(Tile(0, number, count)) == b"".join(leaves[first : first + count])
                tile = Tile(ENTRIES, number, count)
                assert split_bundle(_there(log.tile(tile)), tile) == bodies[first : first + count]
            for missing in (Tile(0, size // WIDTH), Tile(0, 3), Tile(2, 0), Tile(ENTRIES, 9, 1)):
                assert log.tile(missing) is None
        assert log.tile(Tile(1, 0, 2)) == b"".join(
            Frontier().extended(leaves[i : i + WIDTH]).root for i in (0, 256)
        )
        assert log.tile(Tile(1, 0, 1)) == _there(log.tile(Tile(1, 0, 2)))[:32]
        assert log.tile(Tile(0, 0, 5)) == b"".join(leaves[:5])


def _size(log: Transparency) -> int:
    last = log._published()
    return last.checkpoint.size if last else 0


def _there(data: bytes | None) -> bytes:
    assert data is not None
    return data


def test_big_logs_at_the_edges_of_tiles(folder: Path) -> None:
    with logs.opened(folder) as realm:
        log, grown, heads = Transparency(realm), 0, []
        for size in (255, 256, 257, 65_535, 65_536, 65_537, 66_000):
            logs.fill(realm, grown, size - grown)
            grown = size
            head = open_checkpoint(log.checkpoint(), log.policy).checkpoint
            heads.append(head)
            for index in {0, 254, 255, 256, 65_534, 65_535, 65_536, size - 1}:
                if index < size:
                    entry = log.entry(index)
                    assert entry == logs.entries(index, 1)[0]
                    proven = open_receipt(log.receipt(index, entry), log.policy)
                    assert (proven.index, proven.signed.checkpoint.size) == (index, size)
            hashes = Hashes(size, lambda tile: _there(log.tile(tile)))
            for old in heads:
                check_consistency(old, head, consistency(hashes, old.size))


def test_a_receipt_needs_no_more_than_its_checkpoint(folder: Path, database_url: str) -> None:
    with logs.opened(folder, database_url) as realm:
        log = transparency_of(realm)
        assert transparency_of(realm) is log
        logs.fill(realm, 0, 3)
        first = log.receipt(2, log.entry(2))
        logs.fill(realm, 3, 500)
        assert log.receipt(1, log.entry(1)).endswith(first.partition(b"\n\n")[2])  # signed once
        later = open_receipt(log.receipt(400, log.entry(400)), log.policy)
        assert later.signed.checkpoint.size == 503
        assert open_receipt(first, log.policy).signed.checkpoint.size == 3
        with pytest.raises(RollbackError):
            log.receipt(503, b"not there")


def test_a_realm_is_let_go_with_its_log(folder: Path) -> None:
    with logs.opened(folder) as realm:
        transparency_of(realm).checkpoint()
        seen = weakref.ref(realm)
    del realm
    gc.collect()
    assert seen() is None


def test_an_empty_log_has_a_checkpoint(folder: Path) -> None:
    with logs.opened(folder) as realm:
        log = Transparency(realm)
        assert open_checkpoint(log.checkpoint(), log.policy).checkpoint.size == 0
        logs.fill(realm, 0, 1)
        assert open_checkpoint(log.checkpoint(), log.policy).checkpoint.size == 1


def test_many_ask_at_once(folder: Path) -> None:
    with logs.opened(folder) as realm:
        log, failed = Transparency(realm), list[BaseException]()

        def work(number: int) -> None:
            try:
                for i in range(8):
                    written = realm.store.append(logs.entries(100 * number + i, 1)[0]).result(30)
                    receipt = log.receipt(written.first, log.entry(written.first))
                    assert open_receipt(receipt, log.policy).index == written.first
            except BaseException as error:  # noqa: BLE001 - told below
                failed.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        assert open_checkpoint(log.checkpoint(), log.policy).checkpoint.size == 48


# --- what was published binds ------------------------------------------------------------------


def _forget(realm: Realm, first: int) -> None:
    """Take entries away behind the store's back, as a restored backup does."""
    other = logs.entries(0, first)

    def job(connection: Any) -> Outcome[None]:
        connection.execute(delete(log_entry).where(log_entry.c.position >= first))
        connection.execute(delete(log_tile))
        edge = Frontier().extended([leaf_hash(one) for one in other])
        assert first < WIDTH
        connection.execute(text("UPDATE log_state SET size = :s, frontier = :f"),
                           {"s": edge.size, "f": edge.to_bytes()})  # fmt: skip
        return Outcome(None)

    realm.store.write(job).result(30)


def test_a_database_that_lost_entries_is_refused(folder: Path, database_url: str) -> None:
    with logs.opened(folder, database_url) as realm:
        logs.fill(realm, 0, 20)
        Transparency(realm).checkpoint()
        _forget(realm, 15)
        log = Transparency(realm)
        for deed in (
            log.check, log.checkpoint, lambda: log.receipt(1, log.entry(1)),
            lambda: check_published(realm),
        ):  # fmt: skip
            with pytest.raises(RollbackError, match=r"15 entries.*the 20 that were published"):
                deed()
        realm.store.append(*logs.entries(100, 10)).result(30)  # grows past it, otherwise
        for deed in (log.check, log.checkpoint, lambda: check_published(realm)):
            with pytest.raises(ForkError, match="--accept-loss"):
                deed()


def test_a_loss_is_accepted_by_name(folder: Path, database_url: str) -> None:
    with logs.opened(folder, database_url) as realm:
        logs.fill(realm, 0, 20)
        log = Transparency(realm)
        before = log.checkpoint()
        with pytest.raises(RealmError, match="a loss to accept"):
            log.accept_loss("for fun", "local:me", logs.AT)
        _forget(realm, 15)
        log = Transparency(realm)
        head = open_checkpoint(
            log.accept_loss("the disk of 23 November", "local:me", logs.AT), log.policy
        ).checkpoint
        assert head.size == 16
        told = decode(log.entry(15))
        lost = open_checkpoint(before, log.policy).checkpoint
        assert told.kind is Kind.ADMIN
        assert told.fields == {
            "deed": "log-loss-accepted", "reason": "the disk of 23 November", "size": 20,
            "root": lost.root.hex(), "origin": logs.ORIGIN, "by": "local:me",
        }  # fmt: skip
        assert (folder / f"{FILE_NAME}.lost-20").read_bytes() == before
        Transparency(realm).check()


def test_a_database_with_other_entries_is_refused(folder: Path, tmp_path: Path) -> None:
    with logs.opened(folder) as realm:
        logs.fill(realm, 0, 300)
        Transparency(realm).checkpoint()
    other = logs.make_folder(tmp_path / "other")
    with logs.opened(other) as realm:
        realm.store.append(*logs.entries(1, 400)).result(30)
    shutil.copy(folder / FILE_NAME, other / FILE_NAME)
    with logs.opened(other) as realm, pytest.raises(ForkError, match="before the 300th"):
        Transparency(realm).check()


def test_damage_inside_the_database_is_noticed(folder: Path) -> None:
    with logs.opened(folder) as realm:
        logs.fill(realm, 0, 300)
        Transparency(realm).checkpoint()
        logs.fill(realm, 300, 10)

        def job(connection: Any) -> Outcome[None]:
            change = update(log_entry).where(log_entry.c.position == 299)
            connection.execute(change.values(leaf_hash=bytes(32)))
            return Outcome(None)

        realm.store.write(job).result(30)
        with pytest.raises(ForkError):
            Transparency(realm).checkpoint()

        def lose(connection: Any) -> Outcome[None]:
            connection.execute(delete(log_entry).where(log_entry.c.position == 299))
            return Outcome(None)

        realm.store.write(lose).result(30)
        with pytest.raises(StoreError, match="lost rows"):
            Transparency(realm).checkpoint()


def test_a_checkpoint_of_another_key_is_not_ours(folder: Path, tmp_path: Path) -> None:
    other = logs.make_folder(tmp_path / "other", seed=b"x" * 32)
    with logs.opened(other) as realm:
        logs.fill(realm, 0, 5)
        Transparency(realm).checkpoint()
    shutil.copy(other / FILE_NAME, folder / FILE_NAME)
    with logs.opened(folder) as realm:
        logs.fill(realm, 0, 5)
        with pytest.raises(NotSignedError):
            Transparency(realm).check()
        log = Transparency(realm)
        head = open_checkpoint(
            log.accept_loss("a new key", "local:me", logs.AT), log.policy
        ).checkpoint
        assert (head.size, decode(log.entry(5)).fields["size"]) == (6, 5)


def test_a_damaged_checkpoint_is_refused_and_got_rid_of(folder: Path) -> None:
    with logs.opened(folder) as realm:
        check_published(realm)
        logs.fill(realm, 0, 5)
        log = Transparency(realm)
        log.checkpoint()
        check_published(realm)
        log.path.write_bytes(b"damaged")
        for deed in (log.check, log.checkpoint, lambda: check_published(realm)):
            with pytest.raises(SignwardError, match="note: found no signature lines"):
                deed()
        log.accept_loss("the file was damaged", "local:me", logs.AT)
        check_published(realm)
        told = decode(log.entry(5)).fields
        assert told == {
            "deed": "log-loss-accepted", "reason": "the file was damaged", "by": "local:me",
        }  # fmt: skip


def test_processes_on_one_folder_never_go_back(folder: Path) -> None:
    with logs.opened(folder) as one, logs.opened(folder) as two:
        first, second = Transparency(one), Transparency(two)
        logs.fill(one, 0, 5)
        first.checkpoint()
        logs.fill(two, 5, 5)
        newer = second.checkpoint()
        assert first.receipt(7, first.entry(7)).endswith(newer)  # read, not signed again
        assert (folder / FILE_NAME).read_bytes() == newer


def test_a_realm_without_a_log_has_none(folder: Path) -> None:
    path = folder / "signward.toml"
    path.write_text(path.read_text().partition("[log]")[0])
    with logs.opened(folder) as realm, pytest.raises(RealmError, match="no such table"):
        transparency_of(realm)


def test_the_logs_key_must_be_ed25519_and_its_origin_a_key_name(tmp_path: Path) -> None:
    bad = logs.make_folder(tmp_path / "bad", origin="two words")
    with logs.opened(bad) as realm, pytest.raises(RealmError, match="blanks"):
        Transparency(realm)


def test_what_is_remembered_of_tiles_stays_bounded(folder: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("signward.store.log_read.MAX_ROOTS", 2)
    with logs.opened(folder) as realm:
        logs.fill(realm, 0, 5 * WIDTH + 1)
        tiles = Tiles()
        with realm.store.read() as connection:
            rows = [tiles.read(connection, Tile(1, 0, n)) for n in (5, 1, 3, 5)]
        assert rows[0] == rows[3]
        assert rows[0].startswith(rows[2])
        assert len(tiles._roots) <= 8
