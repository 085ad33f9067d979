"""Another tlog client (x/mod/sumdb, torchwood) reads our log over HTTP; we read what it writes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from signward.authority.log.checkpoint import Checkpoint, Policy, open_checkpoint
from signward.authority.log.note import read_key
from signward.authority.log.proof import (
    Hashes,
    check_consistency,
    consistency,
    inclusion,
    open_receipt,
)
from signward.authority.log.tree import leaf_hash
from signward.service.roles import load_role
from signward.verbs.authority.log_source import log_at
from signward.verbs.authority.transparency import Transparency, transparency_of
from tests.builders import logs
from tests.builders.service import serving
from tests.interop.tlog_client import Client, build

pytestmark = pytest.mark.interop

SIZES = (1, 2, 255, 256, 257, 511, 513, 1000)
BIG = (65_535, 65_536, 65_537)


@pytest.fixture(scope="module")
def client() -> Client:
    return Client(build())


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Transparency]:
    with logs.opened(logs.make_folder(tmp_path / "data")) as realm:
        yield Transparency(realm)


def _grow(log: Transparency, size: int) -> None:
    head = open_checkpoint(log.checkpoint(), log.policy).checkpoint
    logs.fill(log, head.size, size - head.size)


def _compare(client: Client, log: Transparency, url: str, old: int) -> None:
    """Have both read the log and prove the same: one must say what the other says."""
    source = log_at(url)
    head = open_checkpoint(source.checkpoint(), log.policy).checkpoint
    indices = sorted({0, head.size // 2, min(255, head.size - 1), head.size - 1})
    found = client.follow(url, log.verifier.text, old, *indices)
    assert (found["Origin"], found["Size"]) == (logs.ORIGIN, head.size)
    assert found["Root"] == head.root.hex()
    assert found["Entries"] == head.size
    assert found["Digest"] == _digest(head.size)
    hashes = Hashes(head.size, source.tile)
    proof = consistency(hashes, old)
    assert found["Consistency"] == [one.hex() for one in proof]
    before = Checkpoint(origin=head.origin, size=old, root=bytes.fromhex(found["OldRoot"]))
    check_consistency(before, head, proof)
    for one in found["Inclusions"]:
        assert one["Leaf"] == leaf_hash(logs.entries(one["Index"], 1)[0]).hex()
        assert one["Proof"] == [x.hex() for x in inclusion(hashes, one["Index"])]
    assert [one["Index"] for one in found["Inclusions"]] == indices


def _digest(size: int) -> str:
    whole = hashlib.sha256()
    for entry in logs.entries(0, size):
        whole.update(b"%08d" % len(entry) + entry)
    return whole.hexdigest()


def test_it_reads_our_log_at_every_edge(client: Client, log: Transparency) -> None:
    old = 1
    for size in SIZES:
        _grow(log, size)
        with logs.published(log) as url:
            _compare(client, log, url, old)
        old = size


def test_it_reads_what_the_service_serves(client: Client, tmp_path: Path) -> None:
    with logs.opened(logs.make_folder(tmp_path / "data")) as realm:
        logs.fill(realm, 0, 700)
        with serving(realm, [load_role("log")]) as service:
            _compare(client, transparency_of(realm), f"{service.url}/log", 257)


@pytest.mark.slow
def test_it_reads_a_big_log(client: Client, log: Transparency) -> None:
    old = 256
    for size in BIG:
        _grow(log, size)
        with logs.published(log) as url:
            _compare(client, log, url, old)
        old = size


def test_it_takes_our_receipts_and_no_others(
    client: Client, log: Transparency, tmp_path: Path
) -> None:
    _grow(log, 300)
    receipt, entry = tmp_path / "receipt", tmp_path / "entry"
    for index in (0, 255, 256, 299):
        entry.write_bytes(log.entry(index))
        receipt.write_bytes(log.receipt(index, log.entry(index)))
        assert client.takes(log.verifier.text, receipt, entry)
        receipt.write_bytes(receipt.read_bytes().replace(b"index ", b"index 1"))
        assert not client.takes(log.verifier.text, receipt, entry)
    receipt.write_bytes(log.receipt(7, log.entry(7)))
    assert not client.takes(log.verifier.text, receipt, entry)


def test_we_take_its_receipts(client: Client, log: Transparency) -> None:
    _grow(log, 300)
    with logs.published(log) as url:
        for index in (0, 255, 256, 299):
            made = client.prove(url, log.verifier.text, index)
            assert made == log.receipt(index, log.entry(index))
            assert open_receipt(made, log.policy).entry == logs.entries(index, 1)[0]


def test_we_take_its_cosignatures(client: Client, log: Transparency) -> None:
    _grow(log, 5)
    note, key = client.cosign("witness.test/w1", b"w" * 32, log.checkpoint())
    witness = read_key(key)
    assert witness.text == key
    wanted = Policy(log=log.verifier, witnesses=(witness,), quorum=1)
    ((name, at),) = open_checkpoint(note, wanted).witnessed
    assert name == "witness.test/w1"
    assert at is not None
    assert at.tzinfo is not None


def test_it_refuses_what_we_refuse(client: Client, log: Transparency) -> None:
    _grow(log, 300)

    def lie(path: str, data: bytes) -> bytes:
        return data[:-1] + bytes([data[-1] ^ 1]) if path.startswith("tile/entries") else data

    with logs.published(log, [lie]) as url:
        done = client.run("follow", url, log.verifier.text, "1", check=False)
    assert done.returncode == 1
    assert b"hash mismatch" in done.stderr
