"""Authorities that have a log and nothing else, and their logs over HTTP."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signward.authority.log.entry import Kind, encode
from signward.authority.log.tiles import read_path
from signward.authority.log.tree import node_hash
from signward.errors import BadInputError
from signward.store.engine import Store
from signward.verbs.authority.realm import Realm
from signward.verbs.authority.settings import (
    FILE_NAME,
    KeySettings,
    LogSettings,
    Settings,
    dump,
)
from signward.verbs.authority.transparency import Transparency
from tests.builders import web

ORIGIN = "signward.test/log"
AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
LOG_SEED = b"log key of the tests".ljust(32, b".")


def make_folder(folder: Path, *, seed: bytes = LOG_SEED, origin: str = ORIGIN) -> Path:
    """Write the settings and the key of an authority that only logs."""
    folder.mkdir(exist_ok=True)
    private = Ed25519PrivateKey.from_private_bytes(seed)
    (folder / "log.pem").write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    settings = Settings(
        name="Log Test Ltd",
        url="http://127.0.0.1:8650",
        keys={"log": KeySettings(uri="file:log.pem")},
        log=LogSettings(key="log", origin=origin),
    )
    (folder / FILE_NAME).write_text(dump(settings))
    return folder


@contextmanager
def opened(folder: Path, database: str = "") -> Iterator[Realm]:
    """Open an authority; what it is left to write is written."""
    realm = Realm.open(folder, database=database, clock=lambda: AT)
    try:
        yield realm
    finally:
        realm.close()


def entries(first: int, count: int) -> list[bytes]:
    """Return entries in a row, each one revoking another certificate."""
    return [
        encode(Kind.REVOKED, {"serial": f"{0xA000 + i:x}", "ca": "issuing", "number": i}, AT)
        for i in range(first, first + count)
    ]


def root(leaves: Sequence[bytes]) -> bytes:
    """Return MTH as RFC 6962 2.1 defines it."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return node_hash(root(leaves[:split]), root(leaves[split:]))


class HasStore(Protocol):
    """An authority, or its log."""

    store: Store


def fill(where: HasStore, first: int, count: int) -> None:
    """Append entries, many at a time, and wait until they are durable."""
    for start in range(first, first + count, 4096):
        part = entries(start, min(4096, first + count - start))
        where.store.append(*part).result(60)


Change = Callable[[str, bytes], bytes]


@contextmanager
def published(log: Transparency, changes: Sequence[Change] = ()) -> Iterator[str]:
    """Serve a log as its role does, without the service; ``changes`` are a server's lies."""

    def answer(request: web.Request) -> web.Reply:
        path = request.path.removeprefix("/log/")
        try:
            data = log.checkpoint() if path == "checkpoint" else log.tile(read_path(path))
        except BadInputError:
            return web.Reply(status=400)
        if data is None:
            return web.Reply(status=404)
        for change in changes:
            data = change(path, data)
        return web.Reply(data)

    with web.running() as server:
        server.routes["/log"] = answer
        yield server.url("/log")
