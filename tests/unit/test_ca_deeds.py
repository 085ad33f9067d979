"""Founding, issuing, renewing, revoking, publishing: on SQLite and on PostgreSQL."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from signward.authority.log.entry import Entry, Kind, decode
from signward.errors import (
    AuthorityError,
    ConflictError,
    KeyProviderError,
    LintError,
    RealmError,
)
from signward.frozen import replace
from signward.state import Algorithm
from signward.store import certificates, intents, log, log_read
from signward.store.engine import Outcome
from signward.trust.crl import is_signed_with, load_crl
from signward.trust.x509 import is_signed_by, load_certificate
from signward.verbs.authority import export, finding, init, listing, publish_crl, renew, revoke
from signward.verbs.authority.authorities import certificate_of, instant, key_elsewhere, micros
from signward.verbs.authority.intents import SILENT, heartbeat, intent, sweep
from signward.verbs.authority.issue import IssuedCertificate, Order, issue, order
from signward.verbs.authority.realm import Realm
from signward.verbs.secrets import SecretFinder
from tests.builders.authority import Clock, founded, key, no_secrets


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def realm(tmp_path: Path, database_url: str, clock: Clock) -> Iterator[Realm]:
    found = founded(tmp_path / "data", clock, database=database_url)
    yield found
    found.close()


@pytest.fixture
def small(tmp_path: Path, clock: Clock) -> Iterator[Realm]:
    """An authority on SQLite, for what does not depend on the database."""
    found = founded(tmp_path / "data", clock)
    yield found
    found.close()


def wanted(realm: Realm, name: str = "Release", profile: str = "code-signing") -> Order:
    return order(realm, "issuing", profile, key(name).public_key, subject=name)


def issued(realm: Realm, name: str = "Release") -> IssuedCertificate:
    return issue(realm, "issuing", wanted(realm, name), "tester")


def entries(realm: Realm) -> list[Entry]:
    """Return the whole log."""
    with realm.store.read() as connection:
        return [
            decode(one) for one in log_read.entries(connection, 0, log.frontier(connection).size)
        ]


def kinds(realm: Realm, since: int = 0) -> list[str]:
    return [one.kind.value for one in entries(realm)[since:]]


# --- founding -------------------------------------------------------------------------------------


def test_what_is_founded(realm: Realm, clock: Clock) -> None:
    root, issuing = certificate_of(realm, "root"), certificate_of(realm, "issuing")
    assert is_signed_by(root, root)
    assert is_signed_by(issuing, root)
    assert issuing.subject_text == "CN=Example Ltd Code Signing CA,O=Example Ltd,C=SE"
    assert issuing.crl_urls == ("http://127.0.0.1:8650/crl/root.crl",)
    for name, profile in init.KEY_PROFILES.items():
        leaf = realm.credential(name).standing.leaf
        row = finding.with_serial(realm, f"{leaf.serial:x}")
        assert (row.issued.profile, row.issued.der) == (profile, leaf.der)
    for name in init.BARE_KEYS:
        assert len(realm.key(name).sign(b"x", Algorithm(scheme="ed25519"))) == 64
    assert kinds(realm) == ["admin"] + ["issue-intent", "issued"] * 4 + ["crl", "crl"]
    assert realm.settings.ca["root"].offline
    assert realm.settings.tsa is not None
    assert realm.settings.tsa.policy.startswith("2.25.")


def test_only_its_owner_can_read_the_keys(small: Realm) -> None:
    assert stat.S_IMODE(small.folder.stat().st_mode) == 0o700
    for path in (small.folder / "keys").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((small.folder / "signward.toml").stat().st_mode) == 0o600
    left = [path.name for path in small.folder.parent.iterdir() if path != small.folder]
    assert left == []


@pytest.mark.parametrize("kind", ["rsa-3072", "p-521", "ed25519", "ml-dsa-65"])
def test_keys_of_other_kinds(tmp_path: Path, clock: Clock, kind: str) -> None:
    realm = founded(tmp_path / "data", clock, kind=kind, root_kind="p-256")
    made = issued(realm)
    assert is_signed_by(made.certificate, certificate_of(realm, "issuing"))
    realm.close()


def test_a_root_of_rsa_4096_has_no_warnings(tmp_path: Path, clock: Clock) -> None:
    made = init.found(
        tmp_path / "data", init.Founding(name="Example Ltd", country="SE", root_kind="rsa-4096"),
        no_secrets, clock=clock,
    )  # fmt: skip
    assert made.warnings == ()
    assert made.kinds["root"] == "rsa-4096"


def test_an_empty_folder_is_taken(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "data").mkdir()
    founded(tmp_path / "data", clock).close()


def test_nothing_is_founded_twice(small: Realm, clock: Clock) -> None:
    with pytest.raises(ConflictError, match="something there already"):
        founded(small.folder, clock)


def test_a_database_holds_one_authority(tmp_path: Path, database_url: str, clock: Clock) -> None:
    founded(tmp_path / "one", clock, database=database_url).close()
    with pytest.raises(ConflictError, match="another authority"):
        founded(tmp_path / "two", clock, database=database_url)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["one"]


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"name": ""}, AuthorityError, "0 characters"),
        ({"country": "Sweden"}, AuthorityError, "subject, C"),
        ({"kind": "rsa-1024"}, RealmError, "rsa-1024"),
        ({"kind": "rsa-2048"}, LintError, "rsa-3072"),
        ({"keys": {"rot": "file:x"}}, RealmError, "rot"),
        ({"keys": {"root": "file:/nowhere/key.pem"}}, KeyProviderError, "nowhere"),
        ({"encrypted": ("rot",)}, RealmError, "rot"),
        ({"url": "http://ä.example"}, AuthorityError, "--url"),
        ({"url": "ftp://a.example"}, AuthorityError, "--url"),
        ({"policies": "1.2.x"}, AuthorityError, "--policies"),
    ],
)
def test_what_cannot_be_founded_leaves_nothing(
    tmp_path: Path, clock: Clock, changes: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        founded(tmp_path / "data", clock, **changes)
    assert list(tmp_path.iterdir()) == []


def test_keys_that_exist_are_used(tmp_path: Path, clock: Clock) -> None:
    from signward.keys._generate import generate

    spki = generate("p-384", tmp_path / "mine.pem")
    realm = founded(tmp_path / "data", clock, keys={"root": f"file:{tmp_path}/mine.pem"})
    assert certificate_of(realm, "root").spki == spki
    assert not (realm.folder / "keys" / "root.pem").exists()
    realm.close()


def test_an_encrypted_root_asks_for_its_password(tmp_path: Path, clock: Clock) -> None:
    realm = founded(tmp_path / "data", clock, encrypted=("root",), password="long secret")
    realm.close()
    pem = (realm.folder / "keys" / "root.pem").read_bytes()
    assert b"ENCRYPTED" in pem
    serialization.load_pem_private_key(pem, b"long secret")
    wrong = Realm.open(realm.folder, secrets=SecretFinder(environment={"SIGNWARD_PASSWORD": "x"}))
    with pytest.raises(KeyProviderError, match="password"):
        publish_crl.publish(wrong, "root")
    assert issued(wrong).authority == "issuing"  # whose key is not encrypted
    wrong.close()


def test_encrypting_without_a_password_is_refused(tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(RealmError, match="no password"):
        init.found(
            tmp_path / "data", init.Founding(name="Example Ltd", encrypted=("root",)),
            lambda name: None, clock=clock,
        )  # fmt: skip


# --- issuing --------------------------------------------------------------------------------------


def test_issuing_is_announced_and_told(realm: Realm) -> None:
    before = len(entries(realm))
    made = issued(realm)
    announced, told = entries(realm)[before:]
    assert (announced.kind, told.kind) == (Kind.ISSUE_INTENT, Kind.ISSUED)
    assert announced.fields["serial"] == told.fields["serial"] == made.serial
    assert announced.fields["intent"] == told.fields["intent"]
    assert told.fields["certificate"] == made.certificate.sha256.hex()
    assert told.fields["by"] == "tester"
    assert made.position == before + 1
    assert [c.common_name.split()[-1] for c in made.path] == ["Release", "CA", "Root"]
    assert made.certificate.subject_text == "CN=Release,O=Example Ltd,C=SE"


def test_serial_numbers_differ_under_load(realm: Realm) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: issued(realm, "shared"), range(40)))
    assert len({one.serial for one in made}) == 40
    assert sorted({one.position for one in made}) == sorted(one.position for one in made)


def test_one_serial_number_is_given_once(realm: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signward.verbs.authority.issue.new_serial", lambda: 2**100)
    issued(realm)
    before = len(entries(realm))
    with pytest.raises(ConflictError, match="taken"):
        issued(realm)
    assert kinds(realm, before) == []


def test_two_that_race_for_a_serial_number(realm: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signward.verbs.authority.issue.new_serial", lambda: 2**101)

    def outcome(_: int) -> str:
        try:
            return issued(realm).serial
        except ConflictError:
            return ""

    with ThreadPoolExecutor(8) as pool:
        assert sorted(filter(None, pool.map(outcome, range(8)))) == [f"{2**101:x}"]
    assert kinds(realm).count("issued") == 5


def test_replicas_race(
    realm: Realm, database_url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes' worth of stores: one serial number, one revocation, CRLs that only advance."""
    other = Realm.open(realm.folder, database=database_url, secrets=no_secrets, clock=clock)
    both = [realm, other] * 6
    victim = finding.find(realm, issued(realm).serial)
    monkeypatch.setattr("signward.verbs.authority.issue.new_serial", lambda: 2**102)

    def attempt(deed: Any) -> Any:
        try:
            return deed()
        except ConflictError:
            return None

    with ThreadPoolExecutor(12) as pool:
        made = list(pool.map(lambda r: attempt(lambda: issued(r)), both))
        revoked = list(
            pool.map(
                lambda r: attempt(
                    lambda: revoke.revoke(r, victim, "superseded", "tester", publish=False)
                ),
                both,
            )
        )
        crls = list(pool.map(lambda r: publish_crl.publish(r, "issuing"), both))
    assert len(list(filter(None, made))) == len(list(filter(None, revoked))) == 1
    newest = publish_crl.current(realm, "issuing")
    assert newest is not None
    assert newest.number == max(one.number for one in crls)
    assert kinds(realm).count("revoked") == 1
    assert not publish_crl.due(other, "issuing")
    other.close()


def test_a_key_that_fails_leaves_an_entry_and_no_intent(
    small: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise KeyProviderError("token", "no answer", "one")

    monkeypatch.setattr(small.credential("issuing"), "sign", fail)
    before = len(entries(small))
    with pytest.raises(KeyProviderError):
        issued(small)
    assert kinds(small, before) == ["issue-intent", "issue-failed"]
    monkeypatch.undo()
    issued(small)


def test_what_a_dead_process_left_is_closed(realm: Realm, clock: Clock) -> None:
    fields = {"ca": "issuing", "serial": "abc"}
    begun = intent(realm, "f" * 64, Kind.ISSUE_INTENT, fields)

    def job(connection: Any) -> Outcome[None]:
        intents.begin(connection, begun)
        return Outcome(None, (begun.body,))

    realm.store.write(job).result()
    assert sweep(realm) == 0
    clock.now += SILENT / 2
    heartbeat(realm)
    clock.now += SILENT / 2 + timedelta(seconds=1)
    assert sweep(realm) == 0
    clock.now += SILENT
    before = len(entries(realm))
    assert sweep(realm) == 1
    (entry,) = entries(realm)[before:]
    assert entry.kind is Kind.ABANDONED
    assert entry.fields == {**fields, "intent": "f" * 64, "of": "issue-intent"}
    assert sweep(realm) == 0

    def finish(connection: Any) -> Outcome[None]:
        intents.finish(connection, begun.id)
        return Outcome(None)

    with pytest.raises(ConflictError, match="given up"):
        realm.store.write(finish).result()


def test_a_result_that_comes_after_it_was_given_up_is_not_handed_out(
    small: Realm, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    credential = small.credential("issuing")
    sign = credential.sign

    def slowly(*arguments: Any) -> bytes:
        clock.pass_by(hours=1)
        sweep(small)
        return sign(*arguments)

    monkeypatch.setattr(credential, "sign", slowly)
    before = len(entries(small))
    with pytest.raises(ConflictError, match="given up"):
        issued(small)
    assert kinds(small, before) == ["issue-intent", "abandoned"]


@pytest.mark.parametrize(
    ("ca", "profile", "said"),
    [
        ("issuing", "sub-ca", "one it may issue"),
        ("issuing", "timestamping", "one it may issue"),
        ("root", "code-signing", "one it may issue"),
        ("root", "root", "one it may issue"),
        ("issuing", "nonsense", "one of root"),
        ("nobody", "code-signing", "nobody"),
    ],
)
def test_an_authority_issues_what_it_may(small: Realm, ca: str, profile: str, said: str) -> None:
    asked = replace(wanted(small), profile=profile)
    with pytest.raises(AuthorityError, match=said):
        issue(small, ca, asked, "tester")


def test_a_lint_fault_leaves_no_trace(small: Realm) -> None:
    before = len(entries(small))
    with pytest.raises(LintError, match="460 days"):
        issue(small, "issuing", replace(wanted(small), lifetime=timedelta(days=461)), "tester")
    assert len(entries(small)) == before


def test_a_compromised_key_is_certified_no_more(realm: Realm) -> None:
    made = issued(realm, "Stolen")
    revoke.revoke(realm, finding.find(realm, made.serial), "keyCompromise", "tester")
    with pytest.raises(AuthorityError, match="revoked as compromised"):
        issued(realm, "Stolen")
    issued(realm, "Another")


def test_a_revoked_authority_issues_nothing(small: Realm) -> None:
    own = finding.find(small, f"{certificate_of(small, 'issuing').serial:x}")
    revoke.revoke(small, own, "cessationOfOperation", "tester")
    with pytest.raises(AuthorityError, match="revoked"):
        issued(small)


# --- renewing -------------------------------------------------------------------------------------


def test_renewing_keeps_all_but_dates_and_serial_number(small: Realm, clock: Clock) -> None:
    asked = order(small, "issuing", "ci-identity", key("ci").public_key, subject="Job",
                  alternative=("uri:https://github.com/a/b",))  # fmt: skip
    old = issue(small, "issuing", asked, "tester")
    clock.pass_by(hours=5)
    new = renew.renew(small, old.serial, "tester")
    assert new.serial != old.serial
    a, b = old.certificate, new.certificate
    assert (a.subject, a.spki, a.extensions) == (b.subject, b.spki, b.extensions)
    assert b.not_before > a.not_after
    other = renew.renew(small, old.serial, "tester", key("ci, next").public_key)
    assert other.certificate.spki == key("ci, next").public_key


def test_a_revoked_certificate_is_not_renewed(small: Realm) -> None:
    made = issued(small)
    revoke.revoke(small, finding.find(small, made.serial), "superseded", "tester")
    with pytest.raises(AuthorityError, match="revoked"):
        renew.renew(small, made.serial, "tester")


def test_renewing_our_own_replaces_the_files(small: Realm, clock: Clock) -> None:
    clock.pass_by(days=300)
    for name in ("tsa", "issuing-ocsp", "issuing"):
        new = renew.renew(small, name, "tester")
        path = export.export(small, name, "path").decode()
        assert path == "".join(export.pem(one.der) for one in new.path)
    assert export.pem(certificate_of(small, "issuing").der) in (
        small.folder / "certificates" / "issuing-ocsp.pem").read_text()  # fmt: skip
    with pytest.raises(AuthorityError, match="one it may issue"):
        renew.renew(small, "root", "tester")
    with pytest.raises(AuthorityError, match="its own"):
        renew.renew(small, "tsa", "tester", key("x").public_key)


def test_a_limited_authority_keeps_its_limits_when_renewed(small: Realm) -> None:
    asked = order(small, "root", "sub-ca", key("sub").public_key, subject="Sub",
                  permitted=("dir:O=Example Ltd,C=SE",), excluded=("dns:example.org",))  # fmt: skip
    old = issue(small, "root", asked, "tester")
    new = renew.renew(small, old.serial, "tester")
    assert old.certificate.extensions["2.5.29.30"] == new.certificate.extensions["2.5.29.30"]


# --- revoking and CRLs ----------------------------------------------------------------------------


def test_a_revocation_is_told_at_once(realm: Realm, clock: Clock) -> None:
    made = issued(realm)
    clock.pass_by(days=2)
    since = clock.now - timedelta(days=1)
    before = len(entries(realm))
    done = revoke.revoke(
        realm, finding.find(realm, made.serial), "keyCompromise", "tester", invalidity=since
    )
    assert kinds(realm, before) == ["revoked", "crl", "feed"]
    told = entries(realm)[before].fields
    assert (told["serial"], told["reason"]) == (made.serial, "keyCompromise")
    assert told["invalid-from"] == f"{since:%Y-%m-%dT%H:%M:%SZ}"
    assert isinstance(done.published, publish_crl.PublishedCrl)
    crl = load_crl(done.published.der)
    issuer = certificate_of(realm, "issuing")
    assert is_signed_with(crl, issuer.spki)
    entry = crl.entry(made.certificate.serial, issuer.subject)
    assert entry is not None
    assert entry.reason == "keyCompromise"
    assert entry.revoked_at == clock.now.replace(microsecond=0)
    assert entry.invalid_from == since.replace(microsecond=0)
    assert publish_crl.current(realm, "issuing") == done.published


def test_a_revocation_is_final(realm: Realm, clock: Clock) -> None:
    made = issued(realm)
    found = finding.find(realm, made.serial)
    revoke.revoke(realm, found, "superseded", "tester")
    clock.pass_by(days=1)
    for again in (found, finding.find(realm, made.serial)):
        with pytest.raises(ConflictError, match="superseded"):
            revoke.revoke(realm, again, "cessationOfOperation", "tester")
    line = listing.listing(realm, only_revoked=True)[0]
    assert (line.reason, line.status) == ("superseded", "revoked")


def test_a_revocation_may_become_graver(realm: Realm, clock: Clock) -> None:
    made = issued(realm)
    first = revoke.revoke(realm, finding.find(realm, made.serial), "superseded", "tester")
    clock.pass_by(days=1)
    found = finding.find(realm, made.serial)
    worse = revoke.revoke(realm, found, "keyCompromise", "tester", invalidity=clock.now)
    assert worse.amended
    assert worse.revocation.at == first.revocation.at
    earlier = clock.now - timedelta(hours=20)
    done = revoke.revoke(realm, found, "superseded", "tester", invalidity=earlier)
    assert revoke.NAMES[done.revocation.reason] == "keyCompromise"
    with pytest.raises(ConflictError):
        revoke.revoke(realm, found, "keyCompromise", "tester", invalidity=clock.now)


@pytest.mark.parametrize(
    ("reason", "days", "said"),
    [
        ("certificateHold", None, "final"),
        ("removeFromCRL", None, "one of unspecified"),
        ("cACompromise", None, "no authority"),
        ("keyCompromise", 1, "one that is past"),
    ],
)
def test_what_cannot_be_said_of_a_revocation(
    small: Realm, clock: Clock, reason: str, days: int | None, said: str
) -> None:
    made = issued(small)
    when = None if days is None else clock.now + timedelta(days=days)
    with pytest.raises(AuthorityError, match=said):
        revoke.revoke(small, finding.find(small, made.serial), reason, "tester", invalidity=when)
    assert listing.listing(small, only_revoked=True) == []


def test_invalid_since_before_it_was_issued_means_all_of_it(small: Realm, clock: Clock) -> None:
    listed = finding.find(small, issued(small).serial)
    early = clock.now - timedelta(days=400)
    done = revoke.revoke(small, listed, "keyCompromise", "tester", invalidity=early)
    assert done.revocation.invalidity is not None
    assert instant(done.revocation.invalidity) == load_certificate(listed.issued.der).not_before


def test_a_revocation_stands_where_the_key_for_the_crl_is_not_at_hand(
    tmp_path: Path, clock: Clock
) -> None:
    realm = founded(tmp_path / "data", clock)
    realm.close()
    away = tmp_path / "safe.pem"
    (realm.folder / "keys" / "root.pem").rename(away)
    realm = Realm.open(realm.folder, secrets=no_secrets, clock=clock)
    own = finding.find(realm, f"{certificate_of(realm, 'issuing').serial:x}")
    done = revoke.revoke(realm, own, "cACompromise", "tester")
    assert isinstance(done.published, str)
    assert "signward ca crl --ca root" in done.published
    with pytest.raises(KeyProviderError, match="hint: root is kept offline"):
        publish_crl.publish(realm, "root")
    key_elsewhere(realm, "root", f"file:{away}")
    crl = load_crl(publish_crl.publish(realm, "root").der)
    entry = crl.entry(certificate_of(realm, "issuing").serial, crl.issuer)
    assert entry is not None
    assert entry.reason == "cACompromise"
    realm.close()


def test_crl_numbers_rise_and_never_repeat(realm: Realm) -> None:
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda _: publish_crl.publish(realm, "issuing"), range(24)))
    newest = publish_crl.current(realm, "issuing")
    assert newest is not None
    assert newest.number == max(one.number for one in made) == 25
    assert all(load_crl(one.der).number == one.number for one in made)
    logged = [e.fields["number"] for e in entries(realm) if e.fields.get("ca") == "issuing"
              and e.kind is Kind.CRL]  # fmt: skip
    assert len(logged) == len(set(logged))


def test_a_crl_is_renewed_ahead_of_time(small: Realm, clock: Clock) -> None:
    assert publish_crl.publish_due(small) == ()
    clock.pass_by(days=5, hours=23)
    assert publish_crl.publish_due(small) == ()
    clock.pass_by(hours=2)
    (made,) = publish_crl.publish_due(small)
    assert (made.authority, made.number) == ("issuing", 2)
    assert publish_crl.publish_due(small) == ()
    clock.pass_by(days=150)
    assert publish_crl.due(small, "root")
    assert [one.authority for one in publish_crl.publish_due(small)] == ["issuing"]  # root: offline


def test_what_expired_stays_listed(small: Realm, clock: Clock) -> None:
    made = issued(small)
    revoke.revoke(small, finding.find(small, made.serial), "keyCompromise", "tester")
    clock.pass_by(days=800)
    crl = load_crl(publish_crl.publish(small, "issuing").der)
    assert crl.entry(made.certificate.serial, crl.issuer) is not None
    assert crl.expired_since is not None
    assert crl.expired_since <= made.certificate.not_after


# --- listing, finding, exporting ------------------------------------------------------------------


def test_lists(realm: Realm, clock: Clock) -> None:
    made = issued(realm)
    assert [one.serial for one in listing.listing(realm, profile="code-signing")] == [made.serial]
    assert len(listing.listing(realm)) == 5
    assert len(listing.listing(realm, ca="root")) == 3
    assert listing.listing(realm, expiring=timedelta(days=300)) == []
    ending = listing.listing(realm, expiring=timedelta(days=366))
    assert {one.profile for one in ending} == {"code-signing", "ocsp-responder"}
    clock.pass_by(days=366)
    (line,) = listing.listing(realm, profile="code-signing")
    assert (line.status, line.holder, line.ca) == ("expired", "tester", "issuing")
    assert line.not_after == f"{made.certificate.not_after:%Y-%m-%dT%H:%M:%SZ}"
    pages = listing.listing(realm, ca="root", most=2)
    rest = listing.listing(realm, ca="root", least_serial=pages[-1].serial)
    assert [*pages, *rest] == listing.listing(realm, ca="root")


def test_a_certificate_is_found_by_number_and_by_file(small: Realm, tmp_path: Path) -> None:
    made = issued(small)
    (tmp_path / "a.pem").write_text(export.pem(made.certificate.der))
    (tmp_path / "a.cer").write_bytes(made.certificate.der)
    colons = ":".join(made.serial.rjust(40, "0")[i : i + 2] for i in range(0, 40, 2)).upper()
    for what in (made.serial, colons, f"0x{made.serial}", str(tmp_path / "a.pem"),
                 str(tmp_path / "a.cer")):  # fmt: skip
        assert finding.find(small, what).issued.der == made.certificate.der
    for what in ("abc", "no such thing", "", str(tmp_path / "none.pem")):
        with pytest.raises(AuthorityError):
            finding.find(small, what)
    with pytest.raises(AuthorityError, match="of authority root"):
        finding.find(small, made.serial, "root")
    (tmp_path / "junk").write_bytes(b"junk")
    with pytest.raises(AuthorityError, match="certificate"):
        finding.find(small, str(tmp_path / "junk"))


def test_somebody_elses_certificate_is_not_ours(small: Realm, tmp_path: Path, clock: Clock) -> None:
    other = founded(tmp_path / "other", clock)
    (tmp_path / "b.pem").write_bytes(export.export(other, "issuing", "pem"))
    other.close()
    with pytest.raises(AuthorityError, match="somebody else's"):
        finding.find(small, str(tmp_path / "b.pem"))


def test_exports(small: Realm) -> None:
    made = issued(small)
    assert export.export(small, made.serial, "der") == made.certificate.der
    assert export.export(small, made.serial, "path").count(b"BEGIN CERTIFICATE") == 3
    assert export.export(small, made.serial, "pem").count(b"BEGIN CERTIFICATE") == 1
    assert load_certificate(export.export(small, "root", "der")).is_ca
    assert export.export(small, "tsa", "path").count(b"BEGIN CERTIFICATE") == 2
    root = export.export(small, f"{certificate_of(small, 'root').serial:x}", "path")
    assert root == export.export(small, "root", "path")
    assert load_crl(export.export_crl(small, "root", "der")).number == 1
    assert b"BEGIN X509 CRL" in export.export_crl(small, "issuing", "path")
    for what in ("log", "nobody"):
        with pytest.raises(AuthorityError):
            export.export(small, what, "pem")


def test_the_databases_rows_are_what_was_issued(realm: Realm) -> None:
    made = issued(realm)
    with realm.store.read() as connection:
        row = certificates.with_fingerprint(connection, made.certificate.sha256)
    assert row is not None
    assert row.issued.not_after == micros(made.certificate.not_after)
    assert row.issued.serial == made.serial
