"""A signing service that runs: a realm with a real key, and callers known by their tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from conformance.authenticode.keys import key
from conformance.authenticode.pki import Identity as Issued
from conformance.authenticode.pki import issue
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from litestar.exceptions import NotAuthorizedException

from signward.authority.access import Identity
from signward.service.roles.sign import SignRole
from signward.verbs.authority.realm import Realm
from signward.verbs.authority.settings import Settings, dump
from tests.builders.service import Running, serving
from tests.signing import authority, identity

ISSUER = "https://tests.example"

CI, ALICE, BOB, EVE = "ci", "alice", "bob", "eve"
PEOPLE = (CI, ALICE, BOB, EVE)
"""``ci`` asks for signatures, ``alice`` and ``bob`` approve, ``eve`` has the role of a signer."""


def person(name: str) -> Identity:
    return Identity(kind="oidc", subject=name, issuer=ISSUER)


class ByToken:
    """A doorkeeper: the token ``NAME-token`` is NAME's."""

    def __init__(self, realm: Realm) -> None:
        self._access = realm.settings.access

    async def identify(self, connection: Any) -> Identity | None:
        scheme, _, token = connection.headers.get("authorization", "").partition(" ")
        name = token.removesuffix("-token")
        if token and (scheme != "Bearer" or name not in PEOPLE):
            raise NotAuthorizedException("the token expired")
        return person(name) if token else None

    def roles_of(self, identity: Identity) -> frozenset[str]:
        return self._access.roles_of(identity)


@dataclass
class Clock:
    """The realm's time: the machine's, moved by hand."""

    at: datetime | None = None

    def __call__(self) -> datetime:
        return self.at or datetime.now(UTC)


def settings(
    rules: Mapping[str, Any] | None = None, *, log: bool = True, tsa: bool = True
) -> Settings:
    """Return settings that serve ``release`` under ``rules``."""
    table = {
        "name": "Tests",
        "url": "http://127.0.0.1",
        "keys": {
            "release": {"uri": "file:keys/release.pem", "certificates": "certificates/release.pem"},
            "tsa": {"uri": "file:keys/tsa.pem", "certificates": "certificates/tsa.pem"},
            "log": {"uri": "file:keys/log.pem"},
        },
        "sign": {"release": {"key": "release", "signers": [CI], **(rules or {})}},
        "access": {
            "identities": {n: {"kind": "oidc", "issuer": ISSUER, "subject": n} for n in PEOPLE},
            "roles": {"signer": [CI, EVE], "approver": [ALICE, BOB]},
        },
    }
    if log:
        table["log"] = {"key": "log", "origin": "tests.example/log"}
    if tsa:
        table["tsa"] = {"key": "tsa", "policy": "2.25.1"}
    return msgspec.convert(table, Settings)


def stamper() -> Issued:
    """Return who stamps."""
    return issue("Service TSA", issuer=authority(), subject_key=key("rsa2048", "service-tsa"),
                 ekus=("1.3.6.1.5.5.7.3.8",), eku_critical=True)  # fmt: skip


def folder(path: Path, made: Settings, who: Issued | None = None) -> Path:
    """Make a realm's folder: settings, keys and certificates."""
    for name in ("keys", "certificates"):
        (path / name).mkdir(parents=True, exist_ok=True)
    for name, held in (("release", who or identity()), ("tsa", stamper())):
        (path / f"keys/{name}.pem").write_bytes(held.key.pem)
        chain = b"".join(one.pem for one in held.path if one.issuer)
        (path / f"certificates/{name}.pem").write_bytes(chain)
    own = Ed25519PrivateKey.from_private_bytes(b"log key of tests, 32 octets long")
    (path / "keys/log.pem").write_bytes(
        own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    (path / "signward.toml").write_text(dump(made))
    return path


@contextmanager
def realm(
    path: Path,
    rules: Mapping[str, Any] | None = None,
    *,
    database: str = "",
    who: Issued | None = None,
    clock: Clock | None = None,
    **parts: bool,
) -> Iterator[Realm]:
    """Open a realm that serves ``release``."""
    opened = Realm.open(
        folder(path, settings(rules, **parts), who), database=database, clock=clock or Clock()
    )
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def running(opened: Realm) -> Iterator[Running]:
    """Serve a realm's signing role."""
    with serving(opened, [SignRole()], ByToken(opened)) as service:
        yield service
