"""Issuing measured: 1,000 certificates, each announced and recorded durably, and one large CRL."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from tests.builders.authority import Clock, Pure, founded

from bench.measure import Row, medians
from signward.authority.crl import Revoked, draft
from signward.keys._local import LocalKey
from signward.verbs.authority.issue import issue, order
from signward.verbs.authority.realm import Realm

CERTIFICATES = 1000
CALLERS = 16
ENTRIES = 100_000
"""Revoked certificates in the CRL."""


def issuing(rounds: int) -> list[Row]:
    """Measure issuing on SQLite, by many callers at once and by one, and writing a CRL."""
    with tempfile.TemporaryDirectory() as folder:
        realm = founded(Path(folder, "data"), Clock(datetime.now(UTC)))
        try:
            together, alone = medians(
                rounds, lambda: _many(realm), lambda: _some(realm, CERTIFICATES // 10)
            )
        finally:
            realm.close()
    rate, single = CERTIFICATES / together.wall, CERTIFICATES / 10 / alone.wall
    how = f"P-256, SQLite, {CALLERS} callers; keys made, prepared, linted, signed, logged"
    figure = f"{together.wall:.1f} s ({rate:.0f}/s; one caller alone {single:.0f}/s)"
    return [Row(f"issuing {CERTIFICATES:,} certificates", figure, "", how), _crl(rounds)]


def _some(realm: Realm, count: int) -> None:
    for _ in range(count):
        spki = LocalKey("bench", ec.generate_private_key(ec.SECP256R1())).public_key
        issue(realm, "issuing", order(realm, "issuing", "code-signing", spki, subject="B"), "bench")


def _many(realm: Realm) -> None:
    with ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(lambda _: _some(realm, CERTIFICATES // CALLERS), range(CALLERS)))


def _crl(rounds: int) -> Row:
    pure, now = Pure(), datetime.now(UTC).replace(microsecond=0)
    revoked = [Revoked(serial=1 << 150 | n, at=now, reason=1) for n in range(ENTRIES)]

    def write() -> None:
        made = draft(pure.issuing, revoked, 1, now, now + timedelta(days=7))
        made.seal(pure.issuing_key.sign(made.to_be_signed, made.algorithm))

    (wrote,) = medians(rounds, write)
    return Row(f"a CRL of {ENTRIES:,} entries", f"{wrote.wall:.2f} s", "", "written and signed")
