"""What went wrong with authorities, or could have: keys, clocks, files, races."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from signward.errors import AuthorityError, KeyProviderError, StoreError
from signward.frozen import replace
from signward.service.roles.ca import ROLE as CA
from signward.service.roles.ocsp import ROLE as OCSP
from signward.service.roles.ocsp import OcspRole
from signward.service.roles.tsa import ROLE as TSA
from signward.service.roles.tsa import TsaRole
from signward.store import counters
from signward.store.engine import Outcome, Store
from signward.trust.crl import load_crl
from signward.verbs.authority import feed, finding, publish_crl, renew, revoke
from signward.verbs.authority.authorities import certificate_of, path_of
from signward.verbs.authority.ending import check_ends, check_in_force
from signward.verbs.authority.issue import IssuedCertificate, issue, order
from signward.verbs.authority.realm import Realm
from tests.builders.authority import Clock, founded, key


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def realm(tmp_path: Path, clock: Clock) -> Iterator[Realm]:
    found = founded(tmp_path / "data", clock)
    yield found
    found.close()


def issued(realm: Realm, spki: bytes, profile: str = "code-signing", ca: str = "issuing",
           subject: str = "Release") -> IssuedCertificate:  # fmt: skip
    return issue(realm, ca, order(realm, ca, profile, spki, subject=subject), "tester")


# --- keys -----------------------------------------------------------------------------------------


def test_the_key_of_a_compromised_authority_is_certified_no_more(realm: Realm) -> None:
    own = certificate_of(realm, "issuing")
    revoke.revoke(realm, finding.find(realm, f"{own.serial:x}"), "cACompromise", "tester")
    with pytest.raises(AuthorityError, match="revoked as compromised"):
        issued(realm, own.spki, "sub-ca", "root")


@pytest.mark.parametrize("name", ["root", "tsa", "issuing-ocsp"])
def test_a_key_that_certifies_or_dates_signs_no_code(realm: Realm, name: str) -> None:
    with pytest.raises(AuthorityError, match="one key for each use"):
        issued(realm, realm.key(name).public_key)


def test_a_key_that_signs_code_does_not_date_it(realm: Realm) -> None:
    issued(realm, key("code").public_key)
    with pytest.raises(AuthorityError, match="one key for each use"):
        issued(realm, key("code").public_key, "timestamping", "root")
    issued(realm, key("code").public_key, "kernel-module")


def test_revoking_a_key_tells_which_other_certificates_have_it(realm: Realm) -> None:
    spki = key("many").public_key
    first, second, third = (issued(realm, spki, subject=name) for name in ("A", "B", "C"))
    issued(realm, key("another").public_key)
    done = revoke.revoke(realm, finding.find(realm, first.serial), "keyCompromise", "tester")
    assert sorted(done.same_key) == sorted([second.serial, third.serial])
    done = revoke.revoke(realm, finding.find(realm, second.serial), "superseded", "tester")
    assert done.same_key == ()


# --- clocks ---------------------------------------------------------------------------------------


def test_a_crl_is_not_dated_later_than_what_it_knows(
    realm: Realm, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, at = publish_crl._begin, clock.now

    def slow(*given: Any) -> Any:
        try:
            return begin(*given)
        finally:
            clock.pass_by(minutes=1)

    monkeypatch.setattr(publish_crl, "_begin", slow)
    made = publish_crl.publish(realm, "issuing")
    assert made.this_update == at.replace(microsecond=0)
    assert load_crl(made.der).this_update == made.this_update


def test_a_clock_put_right_gives_a_crl_of_now(realm: Realm, clock: Clock) -> None:
    clock.pass_by(days=300)
    publish_crl.publish(realm, "issuing")
    clock.pass_by(days=-300)
    (made,) = publish_crl.publish_due(realm)
    assert made.this_update <= clock.now
    assert publish_crl.publish_due(realm) == ()


def test_a_clock_put_right_gives_a_feed_of_now(realm: Realm, clock: Clock) -> None:
    publisher = feed.Publisher(realm)
    clock.pass_by(days=300)
    first = publisher.publish_if_due()
    clock.pass_by(days=-300)
    second = publisher.publish_if_due()
    assert first is not None
    assert second is not None
    assert second.version > first.version
    assert second.at < first.at
    assert publisher.publish_if_due() == second


# --- the feed -------------------------------------------------------------------------------------


def test_a_version_that_somebody_may_have_seen_is_surpassed(realm: Realm) -> None:
    """As after a restore: clients know greater versions than the one in the backup."""
    first = feed.publish(realm)
    assert feed.publish(realm) == first

    def skip(connection: Any) -> Outcome[None]:
        counters.skip(connection, 1000)
        return Outcome(None)

    realm.store.write(skip).result()
    assert feed.publish(realm).version > first.version + 1000


@pytest.mark.parametrize("fault", [StoreError("x", "y", "z"), AuthorityError("x", "y", "z")])
def test_a_feed_that_cannot_be_made_does_not_hide_the_revocation(
    realm: Realm, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    made = issued(realm, key("gone").public_key)

    def fails(*_: Any, **__: Any) -> Any:
        raise fault

    monkeypatch.setattr(feed, "publish", fails)
    done = revoke.revoke(realm, finding.find(realm, made.serial), "superseded", "tester")
    assert isinstance(done.feed, str)
    assert "signward feed publish" in done.feed


def test_entries_that_take_one_anothers_place_make_a_version(realm: Realm, clock: Clock) -> None:
    from signward.trust.feed import RevokedPublisher

    def entry(name: str) -> RevokedPublisher:
        return RevokedPublisher(identity=f"subject:{name}/{name}", revoked=clock.now)

    old = feed.add(realm, entry("Old"), "tester")
    clock.pass_by(hours=1)
    feed.add(realm, entry("Newest"), "tester")
    publisher = feed.Publisher(realm)
    first = publisher.publish_if_due()
    feed.remove(realm, old, "tester")
    clock.pass_by(minutes=-1)  # a clock that steps back, or another replica's
    feed.add(realm, entry("Other"), "tester")
    second = publisher.publish_if_due()
    assert first is not None
    assert second is not None
    assert second.version > first.version


# --- certificates near their end ------------------------------------------------------------------


def test_our_own_certificates_are_told_of_ahead_of_their_end(realm: Realm, clock: Clock) -> None:
    check_ends(realm)
    clock.pass_by(days=365 - 20)
    with pytest.raises(AuthorityError, match="signward ca renew issuing-ocsp"):
        check_ends(realm)
    renew.renew(realm, "issuing-ocsp", "tester")
    check_ends(realm)


def test_a_certificate_past_its_end_is_not_in_force(realm: Realm, clock: Clock) -> None:
    check_in_force(realm, "tsa")
    clock.pass_by(days=365 * 11)
    with pytest.raises(AuthorityError, match="signward ca renew tsa"):
        check_in_force(realm, "tsa")


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_nobody_else_reads_the_database(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        path = tmp_path / "signward.db"
        store = Store.open(f"sqlite:///{path}")
        try:
            store.append(b"{}").result()
            modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir()}
        finally:
            store.close()
    finally:
        os.umask(before)
    assert set(modes) >= {"signward.db", "signward.db-wal"}
    assert set(modes.values()) == {0o600}


def test_an_existing_database_keeps_the_access_its_owner_gave(tmp_path: Path) -> None:
    path = tmp_path / "signward.db"
    Store.open(f"sqlite:///{path}").close()
    path.chmod(0o640)
    Store.open(f"sqlite:///{path}").close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize(("role", "name"), [(OCSP, "ocsp-issuing"), (TSA, "tsa")])
def test_a_service_whose_certificate_has_ended_is_not_ready(
    realm: Realm, clock: Clock, role: OcspRole | TsaRole, name: str
) -> None:
    checks = role.checks(realm)
    assert set(checks) == {name}
    checks[name]()
    clock.pass_by(days=365 * 11)
    with pytest.raises(AuthorityError, match="signward ca renew"):
        checks[name]()


def test_a_service_tells_of_certificates_that_end_soon(realm: Realm, clock: Clock) -> None:
    (task,) = (one for one in CA.tasks(realm) if one.name == "certificates")
    task.run()
    clock.pass_by(days=340)
    with pytest.raises(AuthorityError, match="issuing-ocsp"):
        task.run()


@pytest.mark.parametrize("name", ["tsa", "issuing-ocsp"])
def test_a_certificate_that_was_revoked_is_not_in_force(realm: Realm, name: str) -> None:
    check_in_force(realm, name)
    serial = f"{path_of(realm, name)[0].serial:x}"
    revoke.revoke(realm, finding.find(realm, serial), "keyCompromise", "tester")
    with pytest.raises(AuthorityError, match="revoked"):
        check_in_force(realm, name)


def test_an_authority_whose_key_is_gone_does_not_keep_anothers_crl_back(
    realm: Realm, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    online = {name: replace(one, offline=False) for name, one in realm.settings.ca.items()}
    realm.settings = replace(realm.settings, ca=online)
    assert next(iter(online)) == "root"

    def gone(*_: Any) -> bytes:
        raise KeyProviderError("token", "no answer", "one")

    monkeypatch.setattr(realm.credential("root"), "sign", gone)
    before = publish_crl.current(realm, "issuing")
    clock.pass_by(days=179)
    with pytest.raises(KeyProviderError):
        publish_crl.publish_due(realm)
    after = publish_crl.current(realm, "issuing")
    assert before is not None
    assert after is not None
    assert after.number > before.number
