"""An authority that is restored goes on: no number twice, and whoever saw more can prove it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from signward.authority.log.checkpoint import open_checkpoint
from signward.authority.log.faults import ForkError, RollbackError
from signward.authority.log.proof import Hashes, check_consistency, consistency
from signward.authority.log.tiles import Tile
from signward.envelopes.cms import open_token
from signward.store import certificates
from signward.verbs.authority import publish_crl, revoke
from signward.verbs.authority.backup import backup
from signward.verbs.authority.feed import Publisher
from signward.verbs.authority.realm import Realm
from signward.verbs.authority.restore import GAP, Restoring, restore
from signward.verbs.authority.transparency import FILE_NAME, transparency_of
from tests.builders.deeds import DEEDS, ISSUER, Nursery, Order, read_journal, running
from tests.builders.ledger import Ledger, found_authority


class Lost:
    """An authority, backed up, at work for a while longer, lost, and restored."""

    def __init__(self, folder: Path, nursery: Nursery) -> None:
        self.old, self.new, self.journal = folder / "old", folder / "new", folder / "journal"
        self._nursery = nursery
        found_authority(self.old, "")
        self.work(self.old, *DEEDS, "issue")
        realm = Realm.open(self.old)
        self.backed_up = backup(realm, folder / "a.tar", password="of the backup")
        self.forgotten = revoke.revoke(realm, _not_revoked(realm), "keyCompromise", "tester")
        realm.close()
        self.work(self.old)
        realm = Realm.open(self.old)
        self.newest_feed = Publisher(realm).publish_if_due()
        self.newest_crl = publish_crl.publish(realm, ISSUER)
        self.newest = transparency_of(realm).checkpoint()
        self.policy = transparency_of(realm).policy
        realm.close()
        restore(folder / "a.tar", Restoring(folder=self.new, password="of the backup"))

    def work(self, folder: Path, *deeds: str, journal: Path | None = None) -> None:
        """Do these deeds, or every one once."""
        written = str(journal or self.journal)
        order = Order(folder=str(folder), journal=written, deeds=list(deeds or DEEDS))
        assert self._nursery.run(order) == 0


def _not_revoked(realm: Realm) -> certificates.Listed:
    """Return a certificate for code that is not revoked."""
    with realm.store.read() as connection:
        listed = certificates.listing(connection, issuer=ISSUER, profile="code-signing")
    return next(one for one in listed if one.revocation is None and one.issued.holder == "tester")


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lost]:
    """Lose an authority; the tests work on copies of what was restored."""
    with running() as nursery:
        yield Lost(tmp_path_factory.mktemp("lost"), nursery)


@pytest.fixture
def restored(lost: Lost, tmp_path: Path) -> Path:
    """Return a folder with the restored authority."""
    shutil.copytree(lost.new, tmp_path / "authority")
    return tmp_path / "authority"


def test_a_restored_authority_does_every_deed_with_its_keys(lost: Lost, restored: Path) -> None:
    journal = restored.with_name("journal")
    lost.work(restored, journal=journal)
    ledger = Ledger(restored, "", journal)
    ledger.check()
    assert len(ledger.entries) > lost.backed_up.size
    assert len(ledger.left("stamp")) == 1


def test_no_number_is_handed_out_twice(lost: Lost, restored: Path) -> None:
    """Whoever saw a CRL or a feed before the loss takes the ones after it for newer."""
    lost.work(restored)
    tokens = [one["token"] for one in read_journal(lost.journal) if "token" in one]
    serials = {open_token(bytes.fromhex(token), b"").serial for token in tokens}
    assert len(serials) == len(tokens) >= 6
    realm = Realm.open(restored)
    made = publish_crl.publish(realm, ISSUER)
    assert made.number > lost.newest_crl.number + GAP // 2
    feed = Publisher(realm).publish_if_due()
    assert feed is not None
    assert lost.newest_feed is not None
    assert feed.version > lost.newest_feed.version
    realm.close()


def test_revocations_since_the_backup_are_forgotten_and_can_be_made_again(
    lost: Lost, restored: Path
) -> None:
    realm = Realm.open(restored)
    forgotten = lost.forgotten.listed
    assert _not_revoked(realm) == forgotten
    done = revoke.revoke(realm, forgotten, "keyCompromise", "tester")
    assert isinstance(done.published, publish_crl.PublishedCrl)
    told = {one.serial_number for one in x509.load_der_x509_crl(done.published.der)}
    assert int(forgotten.issued.serial, 16) in told
    realm.close()


def test_with_the_newest_checkpoint_the_loss_is_noticed_and_must_be_accepted(
    lost: Lost, restored: Path
) -> None:
    (restored / FILE_NAME).write_bytes(lost.newest)
    realm = Realm.open(restored)
    log = transparency_of(realm)
    with pytest.raises(RollbackError):
        log.check()
    log.accept_loss("the disk failed", "tester", realm.now())
    log.check()
    realm.close()


def test_who_saw_more_of_the_log_can_prove_it(lost: Lost, restored: Path) -> None:
    seen = open_checkpoint(lost.newest, lost.policy).checkpoint
    lost.work(restored)
    realm = Realm.open(restored)
    for number in range(seen.size):  # until it is longer than what was seen
        realm.store.append(b"%d" % number).result()
    log = transparency_of(realm)
    now = open_checkpoint(log.checkpoint(), lost.policy).checkpoint
    assert now.size > seen.size

    def tile(wanted: Tile) -> bytes:
        found = log.tile(wanted)
        assert found is not None
        return found

    with pytest.raises(ForkError):
        check_consistency(seen, now, consistency(Hashes(now.size, tile), seen.size))
    realm.close()
