"""A realm made to order: a folder with settings and keys, a database, and what it vouches for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from conformance.authenticode.keys import key
from conformance.authenticode.pki import (
    EKU_OCSP_SIGNING,
    Extension,
    Identity,
    authority,
    issue,
    timestamper,
)
from sqlalchemy import Connection, insert

from signward.store import revocations
from signward.store.certificates import Revocation
from signward.store.engine import Outcome
from signward.store.tables import certificate
from signward.trust.ocsp import NO_CHECK
from signward.trust.x509 import load_certificate
from signward.verbs.authority.realm import Realm
from signward.verbs.authority.settings import (
    CaSettings,
    KeySettings,
    Settings,
    TsaSettings,
    dump,
)
from signward.wire import der

POLICY = "2.25.329800735698586629295641978511506172918"
AUTHORITY = "issuing"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@cache
def root() -> Identity:
    """Return the root of the realm."""
    return authority("Realm Root")


@cache
def issuing() -> Identity:
    """Return the authority that issues in the realm."""
    return authority("Realm Issuing CA", root())


@cache
def delegate(name: str = "Realm OCSP", **changes: Any) -> Identity:
    """Return a certificate that answers for ``issuing``; ``changes`` go to ``issue``."""
    arguments: dict[str, Any] = {
        "issuer": issuing(), "ekus": (EKU_OCSP_SIGNING,), "subject_key": key("rsa2048", name),
        "extensions": ((NO_CHECK, False, der.null()),), **changes,
    }  # fmt: skip
    return issue(name, **arguments)


@cache
def stamper(kind: str = "rsa2048") -> Identity:
    """Return the realm's time-stamping identity."""
    return timestamper("Realm TSA", root(), subject_key=key(kind, "realm-tsa"))


def locations(url: str) -> tuple[Extension, ...]:
    """Return the extensions that lead from a certificate to its issuer, CRL and OCSP answers."""

    def located(method: str, address: str) -> bytes:
        named = der.context(6, address.encode(), constructed=False)
        return der.sequence(der.oid(f"1.3.6.1.5.5.7.48.{method}"), named)

    access = der.sequence(
        located("1", f"{url}/ocsp/{AUTHORITY}"), located("2", f"{url}/ca/{AUTHORITY}.cer")
    )
    return (("1.3.6.1.5.5.7.1.1", False, access),)


@dataclass
class Clock:
    """A clock that tests set: the time on the wall, and the seconds of a steady one."""

    wall: datetime
    seconds: float = 100.0

    def now(self) -> datetime:
        """Return the time on the wall."""
        return self.wall

    def steady(self) -> float:
        """Return the steady seconds."""
        return self.seconds

    def passes(self, seconds: float) -> None:
        """Let time pass, on both."""
        self.wall += timedelta(seconds=seconds)
        self.seconds += seconds


def make_realm(
    folder: Path,
    *,
    url: str = "http://127.0.0.1:8650",
    clock: Clock | None = None,
    database: str = "",
    answers: Identity | None = None,
    stamps: Identity | None = None,
    accuracy_ms: int = 1000,
) -> Realm:
    """Write a realm's folder and open it; ``answers`` and ``stamps`` hold OCSP and TSA key."""
    holders = {"issuing": issuing(), "ocsp": answers or delegate(), "tsa": stamps or stamper()}
    for name, holder in holders.items():
        _put(folder, name, holder)
    settings = Settings(
        name="Conformance",
        url=url,
        keys={name: KeySettings(uri=f"file:keys/{name}.pem", certificates=f"{name}.pem")
              for name in holders},
        ca={AUTHORITY: CaSettings(key="issuing", ocsp_key="ocsp")},
        tsa=TsaSettings(key="tsa", policy=POLICY, accuracy_ms=accuracy_ms),
    )  # fmt: skip
    (folder / "signward.toml").write_text(dump(settings))
    return open_realm(folder, clock=clock, database=database)


def _put(folder: Path, name: str, holder: Identity) -> None:
    (folder / "keys").mkdir(exist_ok=True)
    (folder / "keys" / f"{name}.pem").write_bytes(holder.key.pem)
    (folder / f"{name}.pem").write_bytes(b"".join(one.pem for one in holder.path))


def open_realm(folder: Path, *, clock: Clock | None = None, database: str = "") -> Realm:
    """Open a realm's folder (again)."""
    if clock is None:
        return Realm.open(folder, database=database)
    return Realm.open(folder, database=database, clock=clock.now)


def register(realm: Realm, holders: Sequence[Identity]) -> None:
    """Enter certificates as issued by the realm's authority."""

    def row(holder: Identity) -> dict[str, Any]:
        read = load_certificate(holder.certificate)
        return {
            "issuer": AUTHORITY, "serial": f"{read.serial:x}", "fingerprint": read.sha256,
            "spki_digest": hashlib.sha256(read.spki).digest(), "subject": read.subject_text,
            "profile": "code-signing", "holder": "somebody",
            "not_before": microseconds(read.not_before), "der": read.der,
            "not_after": microseconds(read.not_after), "issued": microseconds(read.not_before),
        }  # fmt: skip

    def job(connection: Connection) -> Outcome[None]:
        connection.execute(insert(certificate), [row(holder) for holder in holders])
        return Outcome(None)

    realm.store.write(job).result(30)


def revoke(
    realm: Realm, serial: int, *, at: datetime, reason: int = 1, invalid: datetime | None = None
) -> None:
    """Enter a revocation by the realm's authority."""

    def job(connection: Connection) -> Outcome[None]:
        invalidity = None if invalid is None else microseconds(invalid)
        revocations.add(connection, Revocation(
            issuer=AUTHORITY, serial=f"{serial:x}", at=microseconds(at), reason=reason,
            invalidity=invalidity, revoked_by="somebody",
        ))  # fmt: skip
        return Outcome(None)

    realm.store.write(job).result(30)


def microseconds(at: datetime) -> int:
    """Return an instant as the database keeps it."""
    return (at - _EPOCH) // timedelta(microseconds=1)
