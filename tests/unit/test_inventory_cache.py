"""The cache answers only for what did not change, and survives damage and company."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
from pathlib import Path

import pytest

from signward.errors import EvidenceError
from signward.inventory import cache as caching
from signward.inventory.cache import (
    COARSE_NS,
    SETTLED_NS,
    Cache,
    Entry,
    Listing,
    Place,
    default_path,
    settled,
)
from signward.wire.source import Identity

NOW = 1_700_000_000
IDENTITY = Identity(1, 2, 3, 4, 5)
ENTRY = Entry(lines=(b'{"subject":"a"}',), members={"pe": 2})


def place(name: str) -> Place:
    return Place("/d", 0, name)


def filled(path: Path, epoch: bytes = b"e") -> None:
    with Cache(path, epoch, NOW) as cache:
        cache.keep(place("a"), IDENTITY, ENTRY, judged=NOW, good_until=NOW + 100)
        assert not cache.warnings


def test_what_was_kept_is_found_again(tmp_path: Path) -> None:
    filled(tmp_path / "c")
    with Cache(tmp_path / "c", b"e", NOW) as cache:
        assert cache.find(place("a"), IDENTITY, NOW) == ENTRY
        assert cache.find(place("b"), IDENTITY, NOW) is None


@pytest.mark.parametrize("field", range(5))
def test_any_change_of_identity_is_a_miss(tmp_path: Path, field: int) -> None:
    filled(tmp_path / "c")
    values = list(IDENTITY)
    values[field] += 1
    with Cache(tmp_path / "c", b"e", NOW) as cache:
        assert cache.find(place("a"), Identity(*values), NOW) is None


def test_another_epoch_is_a_miss(tmp_path: Path) -> None:
    filled(tmp_path / "c")
    with Cache(tmp_path / "c", b"f", NOW) as cache:
        assert cache.find(place("a"), IDENTITY, NOW) is None
    with Cache(tmp_path / "c", b"e", NOW) as cache:
        assert cache.find(place("a"), IDENTITY, NOW) == ENTRY


@pytest.mark.parametrize(("now", "hit"), [(-1, False), (0, True), (99, True), (100, False)])
def test_a_verdict_counts_for_its_span_only(tmp_path: Path, now: int, hit: bool) -> None:
    filled(tmp_path / "c")
    with Cache(tmp_path / "c", b"e", NOW) as cache:
        assert (cache.find(place("a"), IDENTITY, NOW + now) is not None) == hit


def test_names_that_are_not_utf8_and_large_inodes(tmp_path: Path) -> None:
    name, identity = os.fsdecode(b"\xff.exe"), Identity(2**63 + 5, 2**64 - 1, 1, -1, 1)
    with Cache(tmp_path / "c", b"e", NOW) as cache:
        cache.keep(place(name), identity, ENTRY, judged=NOW, good_until=NOW + 1)
    with Cache(tmp_path / "c", b"e", NOW) as cache:
        assert cache.find(place(name), identity, NOW) == ENTRY


LISTING = Listing(
    names=b"a\0\xff",
    kinds=["pe", "text"],
    identities=[(*IDENTITY,), (0, 2**64 - 1, 1, -1, 1)],
    below=b"c",
)


def test_listings_are_found_again_by_the_same_classifier(tmp_path: Path) -> None:
    other = os.fsdecode(b"/\xff")
    with Cache(tmp_path / "c", b"e", NOW, classifier=b"k") as cache:
        cache.keep_listing("/d", 0, Listing(names=b"old", kinds=["data"]), NOW)
        cache.keep_listing("/d", 0, LISTING, NOW)
        cache.keep_listing(other, 0, LISTING, NOW)
    with Cache(tmp_path / "c", b"f", NOW, classifier=b"k") as cache:
        assert cache.find_listing("/d", 0, NOW) == cache.find_listing(other, 0, NOW) == LISTING
        assert cache.find_listing("/d", 1, NOW) == cache.find_listing("/c", 0, NOW) == Listing()


def test_of_another_classifiers_listing_only_names_remain(tmp_path: Path) -> None:
    with Cache(tmp_path / "c", b"e", NOW, classifier=b"k") as cache:
        cache.keep_listing("/d", 0, LISTING, NOW)
    with Cache(tmp_path / "c", b"e", NOW, classifier=b"l") as cache:
        found = cache.find_listing("/d", 0, NOW)
    assert found == Listing(names=LISTING.names, below=LISTING.below)


@pytest.mark.parametrize(
    "change", ["part = 1", "files = files || x'00'", "folder = x'2f63'", "classifier = x'00'"]
)
def test_a_damaged_listing_is_a_miss(tmp_path: Path, change: str) -> None:
    with Cache(tmp_path / "c", b"e", NOW) as cache:
        cache.keep_listing("/d", 0, LISTING, NOW)
    with sqlite3.connect(tmp_path / "c") as database:
        database.execute(f"UPDATE listing SET {change}")
    database.close()
    with Cache(tmp_path / "c", b"e", NOW) as cache:
        for folder, part in (("/d", 0), ("/d", 1), ("/c", 0)):
            assert cache.find_listing(folder, part, NOW) == Listing()


def rows(path: Path) -> int:
    with sqlite3.connect(path) as database:
        (verdicts,) = database.execute("SELECT count(*) FROM verdict").fetchone()
        (listings,) = database.execute("SELECT count(*) FROM listing").fetchone()
    database.close()
    return int(verdicts) + int(listings)


def test_what_is_forgotten_is_gone_under_every_epoch(tmp_path: Path) -> None:
    gone = [Place("/d", 0, "x"), Place("/d/x", 0, "f"), Place("/d/x/y", 1, "f"), Place("/d/x")]
    kept = [Place("/d", 1, "x"), Place("/d", 0, "xx"), Place("/d/xx", 0, "f"), Place("/d/x0")]
    for epoch in (b"e", b"f"):
        with Cache(tmp_path / "c", epoch, NOW) as cache:
            for one in gone + kept:
                cache.keep(one, IDENTITY, ENTRY, judged=NOW, good_until=NOW + 100)
                cache.keep_listing(one.folder, one.part, LISTING, NOW)
    assert rows(tmp_path / "c") == 2 * 8 + 6
    with Cache(tmp_path / "c", b"e", NOW) as cache:
        cache.forget("/d", 0, b"x", NOW)
    assert rows(tmp_path / "c") == 2 * 4 + 4
    with Cache(tmp_path / "c", b"f", NOW) as cache:
        assert all(cache.find(one, IDENTITY, NOW) for one in kept)
        cache.forget_parts("/d", 1, NOW)
    assert rows(tmp_path / "c") == 2 * 3 + 3


def test_a_relative_path_is_one_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        with Cache(tmp_path / "c", b"e", NOW) as cache:
            assert cache.find(Place(".", 0, "x"), IDENTITY, NOW) is None
            cache.keep(Place(".", 0, "x"), IDENTITY, ENTRY, judged=NOW, good_until=NOW + 100)
        with Cache(tmp_path / "c", b"e", NOW) as cache:
            assert cache.find(Place(".", 0, "x"), IDENTITY, NOW) == ENTRY
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with Cache(tmp_path / "c", b"e", NOW) as cache:
        assert cache.find(Place(".", 0, "x"), IDENTITY, NOW) is None


def test_verdicts_beyond_what_is_read_ahead_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caching, "SHELF_OCTETS", 40)
    with Cache(tmp_path / "c", b"e", NOW) as cache:
        for number in range(20):
            cache.keep(place(str(number)), IDENTITY, ENTRY, judged=NOW, good_until=NOW + 100)
    with Cache(tmp_path / "c", b"e", NOW) as cache:
        assert all(cache.find(place(str(n)), IDENTITY, NOW) == ENTRY for n in range(20))
        assert cache.find(place("20"), IDENTITY, NOW) is None


def test_an_epoch_in_use_is_noted_once_an_hour(tmp_path: Path) -> None:
    def used(now: int) -> int:
        Cache(tmp_path / "c", b"e", now).close()
        with sqlite3.connect(tmp_path / "c") as database:
            (when,) = database.execute("SELECT used FROM epoch").fetchone()
        database.close()
        return int(when)

    assert used(NOW) == NOW
    assert used(NOW + caching.EPOCH_SECONDS - 1) == NOW
    assert used(NOW + caching.EPOCH_SECONDS) == NOW + caching.EPOCH_SECONDS


def test_large_rows_are_committed_before_there_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caching, "BATCH_OCTETS", 10)
    cache = Cache(tmp_path / "c", b"e", NOW)
    cache.keep_listing("/d", 0, LISTING, NOW)
    with Cache(tmp_path / "c", b"e", NOW) as other:
        assert other.find_listing("/d", 0, NOW) == LISTING
    cache.close()


def test_a_damaged_row_is_a_miss(tmp_path: Path) -> None:
    filled(tmp_path / "c")
    with sqlite3.connect(tmp_path / "c") as database:
        database.execute("UPDATE verdict SET good_until = good_until + 1000000")
    database.close()
    with Cache(tmp_path / "c", b"e", NOW) as cache:
        assert cache.find(place("a"), IDENTITY, NOW) is None


@pytest.mark.parametrize("junk", [b"this is no database, it only looks long enough " * 50, None])
def test_a_corrupt_file_is_set_aside_and_rebuilt(tmp_path: Path, junk: bytes | None) -> None:
    path = tmp_path / "c"
    filled(path)
    data = path.read_bytes()
    damaged = junk if junk is not None else data[:100] + b"\xff" * (len(data) - 100)
    path.write_bytes(damaged)
    with Cache(path, b"e", NOW) as cache:
        assert cache.find(place("a"), IDENTITY, NOW) is None
        cache.keep(place("a"), IDENTITY, ENTRY, judged=NOW, good_until=NOW + 100)
        assert "set aside" in cache.warnings[0]
    with Cache(path, b"e", NOW) as cache:
        assert cache.find(place("a"), IDENTITY, NOW) == ENTRY
        assert not cache.warnings
    (aside,) = tmp_path.glob("c.damaged-*")
    assert aside.read_bytes() == damaged


def test_damage_found_while_scanning_costs_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "c"
    with Cache(path, b"e", NOW) as cache:
        for number in range(2000):
            cache.keep(place(f"{number}"), IDENTITY, ENTRY, judged=NOW, good_until=NOW + 100)
    data = path.read_bytes()
    path.write_bytes(data[: 4096 * 3] + b"\xff" * (len(data) - 4096 * 3))
    with Cache(path, b"e", NOW) as cache:
        for number in range(2000):
            cache.find(place(f"{number}"), IDENTITY, NOW)
        cache.keep(place("new"), IDENTITY, ENTRY, judged=NOW, good_until=NOW + 100)
        cache.commit(NOW)
        assert cache.find(place("new"), IDENTITY, NOW) == ENTRY
        assert len(cache.warnings) == 1


def test_another_programs_database_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "theirs"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE mail (text)")
    database.close()
    before = path.read_bytes()
    with pytest.raises(EvidenceError, match="another program"):
        Cache(path, b"e", NOW)
    assert path.read_bytes() == before


def test_a_cache_others_may_write_to_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "c"
    filled(path)
    path.chmod(0o666)
    with Cache(path, b"e", NOW) as cache:
        assert cache.find(place("a"), IDENTITY, NOW) is None
        assert "others may write" in cache.warnings[0]


def test_a_new_cache_is_private(tmp_path: Path) -> None:
    filled(tmp_path / "new" / "dir" / "c")
    assert (tmp_path / "new" / "dir" / "c").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("where", ["dir", "file/below", "fifo"])
def test_a_place_that_cannot_hold_a_cache_costs_a_warning(tmp_path: Path, where: str) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "file").write_bytes(b"")
    path = tmp_path / where
    os.mkfifo(tmp_path / "fifo")
    with Cache(path, b"e", NOW) as cache:
        cache.keep(place("a"), IDENTITY, ENTRY, judged=NOW, good_until=NOW + 100)
        assert cache.find(place("a"), IDENTITY, NOW) is None
        assert "not used" in cache.warnings[0]


def test_an_older_schema_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path / "c")
    monkeypatch.setattr(caching, "SCHEMA", caching.SCHEMA + 1)
    with Cache(tmp_path / "c", b"e", NOW) as cache:
        assert cache.find(place("a"), IDENTITY, NOW) is None
        assert not cache.warnings


def test_old_epochs_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "c"
    for number in range(caching.EPOCHS + 3):
        with Cache(path, b"%d" % number, NOW + number) as cache:
            cache.keep(place("a"), IDENTITY, ENTRY, judged=NOW, good_until=NOW + 100)
    assert rows(path) == caching.EPOCHS


def test_batches_are_committed_along_the_way(tmp_path: Path) -> None:
    path = tmp_path / "c"
    cache = Cache(path, b"e", NOW)
    for number in range(caching.BATCH):
        cache.keep(place(f"{number}"), IDENTITY, ENTRY, judged=NOW, good_until=NOW + 100)
    with Cache(path, b"e", NOW) as other:
        assert other.find(place("0"), IDENTITY, NOW) == ENTRY
    cache.close()


def _write_much(path: Path, first: int) -> None:
    with Cache(path, b"e", NOW) as cache:
        for number in range(first, first + 1000):
            cache.keep(place(f"{number}"), IDENTITY, ENTRY, judged=NOW, good_until=NOW + 100)
        if cache.warnings:
            raise SystemExit(repr(cache.warnings))


def test_concurrent_scans_share_a_cache(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_write_much, args=(tmp_path / "c", first))
        for first in (0, 1000, 2000)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    with Cache(tmp_path / "c", b"e", NOW) as cache:
        assert all(cache.find(place(f"{number}"), IDENTITY, NOW) for number in (0, 999, 1500, 2999))


def test_a_busy_cache_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c"
    filled(path)
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda name, timeout: real(name, timeout=0.05))
    holder = real(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with Cache(path, b"f", NOW) as cache:
        assert "locked" in cache.warnings[0]
    holder.close()
    assert not list(tmp_path.glob("*.damaged-*"))


@pytest.mark.parametrize(
    ("age", "nanoseconds", "expected"),
    [
        (SETTLED_NS, 1, True),
        (SETTLED_NS - 1, 1, False),
        (SETTLED_NS, 0, False),
        (COARSE_NS, 0, True),
    ],
)
def test_fresh_files_are_not_settled(age: int, nanoseconds: int, expected: bool) -> None:
    when = 10**18 + nanoseconds
    identity = Identity(1, 1, 1, when, when)
    assert settled(identity, when + age) is expected
    future = Identity(1, 1, 1, when + 10**10, when)
    assert not settled(future, when + age)


def test_the_default_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_path() == tmp_path / "signward" / "scan.sqlite"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/x")
    assert default_path() == Path("/home/x/.cache/signward/scan.sqlite")
