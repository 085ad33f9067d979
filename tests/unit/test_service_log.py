"""The role of the log: C2SP tlog-tiles below /log, for anybody, with headers that suit caches."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from signward.authority.log.checkpoint import open_checkpoint
from signward.authority.log.faults import RollbackError
from signward.authority.log.monitor import empty, follow
from signward.authority.log.tiles import ENTRIES, Tile
from signward.service.roles import load_role
from signward.verbs.authority.log_source import log_at
from signward.verbs.authority.realm import Realm
from signward.verbs.authority.transparency import transparency_of
from tests.builders import logs
from tests.builders.service import Running, serving


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    """Return an authority of 300 entries, which the tests that take it leave as it is."""
    with logs.opened(logs.make_folder(tmp_path_factory.mktemp("log") / "data")) as realm:
        logs.fill(realm, 0, 300)
        yield realm


@pytest.fixture(scope="module")
def service(realm: Realm) -> Iterator[Running]:
    with serving(realm, [load_role("log")]) as running:
        yield running


def test_the_log_is_followed_over_http(tmp_path: Path) -> None:
    with logs.opened(logs.make_folder(tmp_path / "data")) as realm:
        logs.fill(realm, 0, 300)
        with serving(realm, [load_role("log")]) as service:
            _follow(realm, service)


def _follow(realm: Realm, service: Running) -> None:
    source, policy = log_at(f"{service.url}/log"), transparency_of(realm).policy
    head = open_checkpoint(source.checkpoint(), policy).checkpoint
    followed = follow(empty(head.origin), head, source.tile, frozenset({"a007"}))
    assert (followed.count, [one.index for one in followed.sightings]) == (300, [7])
    logs.fill(realm, 300, 300)
    later = open_checkpoint(source.checkpoint(), policy).checkpoint
    assert follow(head, later, source.tile, frozenset()).count == 300


def test_a_checkpoint_is_asked_for_each_time(realm: Realm, service: Running) -> None:
    answer = service.ask("GET", "/log/checkpoint")
    assert (answer.status, answer.body) == (200, transparency_of(realm).checkpoint())
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("tile", [Tile(0, 0), Tile(0, 1, 44), Tile(1, 0, 1), Tile(ENTRIES, 1, 44)])
def test_tiles_are_kept_for_ever(realm: Realm, service: Running, tile: Tile) -> None:
    answer = service.ask("GET", f"/log/{tile.path}")
    assert (answer.status, answer.body) == (200, transparency_of(realm).tile(tile))
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("tile/0/001", 404), ("tile/0/002", 404), ("tile/0/001.p/45", 404), ("tile/1/000", 404),
        ("tile/entries/001", 404), ("tile/entries/x001/000", 404), ("tile/2/000.p/1", 404),
        ("tile/0/1", 400), ("tile/64/000", 400), ("tile/0/000.p/256", 400), ("tile/data/000", 400),
        ("tile/0/..%2f..%2f000", 400), ("tile/0/%00", 400), ("tile/" + "9" * 3000, 400),
        ("tile", 404), ("", 404), ("tile/", 404),
    ],
)  # fmt: skip
def test_what_is_not_there(service: Running, path: str, status: int) -> None:
    answer = service.ask("GET", f"/log/{path}")
    assert answer.status == status
    assert "immutable" not in answer.headers.get("cache-control", "")
    assert answer.headers["content-type"].startswith("application/problem+json")


def test_a_database_that_lost_entries_is_not_served(realm: Realm, tmp_path: Path) -> None:
    note = transparency_of(realm).checkpoint()
    with logs.opened(logs.make_folder(tmp_path / "other")) as other:
        logs.fill(other, 0, 20)
        transparency_of(other).path.write_bytes(note)
        with pytest.raises(RollbackError, match="the 300 that were published"):
            load_role("log").routes(other)


@pytest.mark.parametrize(("workers", "code"), [("1", 2), ("2", 1)])
def test_nothing_is_served_on_top_of_a_loss(tmp_path: Path, workers: str, code: int) -> None:
    """Whatever the role: what is revoked or signed next would stand where something else stood."""
    folder = logs.make_folder(tmp_path / "data")
    with logs.opened(folder) as realm:
        logs.fill(realm, 0, 20)
        transparency_of(realm).checkpoint()
    for path in folder.glob("signward.db*"):
        path.unlink()
    done = subprocess.run(
        [sys.executable, "-m", "signward", "serve", "--data", folder, "--role", "ca",
         "--listen", "127.0.0.1:0", "--workers", workers],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (code, "")
    assert "found a log of 0 entries, required the 20 that were published" in done.stderr
    assert "--accept-loss" in done.stderr


def test_a_loss_while_serving_is_told(realm: Realm, service: Running) -> None:
    note = transparency_of(realm).checkpoint()
    path = transparency_of(realm).path
    path.write_bytes(note[:-9] + b"AAAAAAA=\n")
    answer = service.ask("GET", "/log/checkpoint")
    assert (answer.status, answer.json["type"]) == (503, "urn:signward:problem:log")
    assert service.ask("GET", "/readyz").status == 503
    path.write_bytes(note)
    assert service.ask("GET", "/log/checkpoint").body == note


def test_without_a_log_there_is_nothing(tmp_path: Path) -> None:
    folder = logs.make_folder(tmp_path / "data")
    path = folder / "signward.toml"
    path.write_text(path.read_text().partition("[log]")[0])
    with logs.opened(folder) as realm, serving(realm, [load_role("log")]) as service:
        assert service.ask("GET", "/log/checkpoint").status == 404
        assert service.ask("GET", "/readyz").status == 200
