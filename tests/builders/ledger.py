"""What must hold of an authority whose processes were killed, by its log, tables and journal."""

from __future__ import annotations

import hashlib
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from conformance.authenticode.keys import key
from cryptography import x509
from sqlalchemy import select

from signward.authority.access import AccessRules, IdentityRule
from signward.authority.log.checkpoint import Checkpoint, open_checkpoint
from signward.authority.log.entry import Entry, Kind, decode
from signward.authority.log.proof import open_receipt
from signward.authority.log.tree import Frontier, leaf_hash
from signward.envelopes.cms import open_token
from signward.frozen import replace
from signward.store import published
from signward.store.tables import certificate, intent, log_entry, revocation
from signward.verbs.authority import export, intents, issue, publish_crl
from signward.verbs.authority.init import Founding, found
from signward.verbs.authority.realm import Realm
from signward.verbs.authority.settings import FILE_NAME, KeySettings, SignSettings, dump, load
from signward.verbs.authority.transparency import transparency_of
from signward.verbs.secrets import SecretFinder
from tests.builders.deeds import ISSUER, ORDERED, SIGNING, read_journal
from tests.builders.storing import log_is_whole

LATER = timedelta(minutes=5)
"""How long after the deeds the authority is started again: dead processes are known to be so."""


def found_authority(folder: Path, database: str) -> None:
    """Found an authority that also signs for whoever tests."""
    found(folder, Founding(name="Example Ltd", country="DE"), SecretFinder(), database=database)
    signer = key("p256", "release")
    (folder / "keys/release.pem").write_bytes(signer.pem)
    settings = load(folder / FILE_NAME)
    release = KeySettings(uri="file:keys/release.pem", certificates="certificates/release.pem")
    settings = replace(
        settings,
        keys={**settings.keys, SIGNING: release},
        sign={SIGNING: SignSettings(key=SIGNING, signers=("tester",))},
        access=AccessRules(identities={"tester": IdentityRule(kind="local", subject="tester")}),
    )
    (folder / FILE_NAME).write_text(dump(settings))
    _certify(folder, database)


def _certify(folder: Path, database: str) -> None:
    """Issue the certificate of the signing key."""
    realm = Realm.open(folder, database=database)
    try:
        order = issue.order(
            realm, ISSUER, "code-signing", realm.key(SIGNING).public_key, subject="Release"
        )
        path = issue.issue(realm, ISSUER, order, "found_authority").path
        pems = "".join(export.pem(one.der) for one in path)
        (folder / "certificates/release.pem").write_text(pems)
    finally:
        realm.close()


class Ledger:
    """An authority that was started again, everything its log says, and what its processes did."""

    def __init__(self, folder: Path, database: str, journal: Path) -> None:
        """Start the authority, some minutes later; then read all."""
        self.realm = Realm.open(
            folder, database=database, clock=lambda: datetime.now(UTC) + LATER
        )  # fmt: skip
        try:
            self._start()
            with self.realm.store.read() as connection:
                chosen = select(log_entry.c.body).order_by(log_entry.c.position)
                self.bodies = list(connection.execute(chosen).scalars())
                self.certificates = connection.execute(select(certificate)).all()
                self.revocations = connection.execute(select(revocation)).all()
                self.intents = connection.execute(select(intent)).all()
                documents = {
                    ca: published.current(connection, publish_crl.document_name(ca))
                    for ca in self.realm.settings.ca
                }
            self.size = log_is_whole(self.realm.store)
        finally:
            self.realm.close()
        self.documents = {ca: one for ca, one in documents.items() if one is not None}
        self.entries = [decode(body) for body in self.bodies]
        self.journal = read_journal(journal)

    def _start(self) -> None:
        """Do what a service does when it starts."""
        transparency_of(self.realm).check()
        self.policy = transparency_of(self.realm).policy
        intents.sweep(self.realm)
        publish_crl.publish_due(self.realm)

    def of(self, *kinds: Kind) -> list[Entry]:
        """Return the entries of some kinds."""
        return [entry for entry in self.entries if entry.kind in kinds]

    def left(self, deed: str) -> list[dict[str, Any]]:
        """Return the answers of a kind that left."""
        return [one for one in self.journal if one["what"] == "left" and one["deed"] == deed]

    def check(self) -> None:
        """Assert all of it."""
        self.check_intents()
        self.check_serials()
        self.check_issued()
        self.check_revoked()
        self.check_stamped()
        self.check_signed()
        self.check_used()
        self.check_checkpoints()

    def check_intents(self) -> None:
        """Every intent has one end, and none is open."""
        assert self.intents == []
        begun = [entry.fields["intent"] for entry in self.of(Kind.ISSUE_INTENT)]
        begun += [
            entry.fields["intent"] for entry in self.of(Kind.SIGN_DECISION)
            if entry.fields["ruling"] == "allowed"
        ]  # fmt: skip
        ends = (Kind.ISSUED, Kind.ISSUE_FAILED, Kind.SIGNED, Kind.SIGN_FAILED, Kind.ABANDONED)
        ended = [entry.fields["intent"] for entry in self.of(*ends)]
        assert Counter(begun) == Counter(ended)

    def check_serials(self) -> None:
        """No serial number is used twice, by certificates or tokens, not even announced twice."""
        announced = [(e.fields["ca"], e.fields["serial"]) for e in self.of(Kind.ISSUE_INTENT)]
        assert len(set(announced)) == len(announced)
        stamped = [entry.fields["serial"] for entry in self.of(Kind.TIMESTAMPED)]
        assert len(set(stamped)) == len(stamped)
        numbers = [(e.fields["ca"], e.fields["number"]) for e in self.of(Kind.CRL)]
        assert len(set(numbers)) == len(numbers)

    def check_issued(self) -> None:
        """A certificate that left, or is logged, is in the table; and the other way round."""
        stored = {row.fingerprint.hex() for row in self.certificates}
        logged = [entry.fields["certificate"] for entry in self.of(Kind.ISSUED)]
        assert Counter(logged) == Counter(stored)
        for one in self.left("issue"):
            digest = hashlib.sha256(bytes.fromhex(one["der"])).hexdigest()
            assert self.entries[one["position"]].fields["certificate"] == digest

    def check_revoked(self) -> None:
        """A revocation that left is logged, in the table, and in the authority's CRL."""
        stored = {(row.issuer, row.serial) for row in self.revocations}
        logged = [(e.fields["ca"], e.fields["serial"]) for e in self.of(Kind.REVOKED)]
        assert Counter(logged) == Counter(stored)
        for one in self.left("revoke"):
            assert self.entries[one["position"]].fields["serial"] == one["serial"]
            assert (ISSUER, one["serial"]) in stored
        for ca, document in self.documents.items():
            listed = {f"{one.serial_number:x}" for one in x509.load_der_x509_crl(document.body)}
            assert listed == {serial for issuer, serial in stored if issuer == ca}

    def check_stamped(self) -> None:
        """A token that left is logged, by its serial number and what it speaks for."""
        logged = {(e.fields["serial"], e.fields["digest"]) for e in self.of(Kind.TIMESTAMPED)}
        for one in [*self.left("stamp"), *self.left("sign")]:
            token = open_token(bytes.fromhex(one["token"]), b"")
            digest = f"sha256:{one['imprint']}" if "imprint" in one else _sha256_of(one["value"])
            assert (f"{token.serial:x}", digest) in logged

    def check_signed(self) -> None:
        """A signature that left is logged, and its receipt holds."""
        logged = {(e.fields["digest"], e.fields["value"]) for e in self.of(Kind.SIGNED)}
        for one in self.left("sign"):
            digest, value = _sha256_of(one["data"]), _sha256_of(one["value"])
            assert (digest, value) in logged
            receipt = open_receipt(bytes.fromhex(one["receipt"]), self.policy)
            assert decode(receipt.entry).fields["value"] == value

    def check_used(self) -> None:
        """Whatever a key was used on had been announced: certificates and what others sent."""
        serials = {
            bytes.fromhex(_even(str(e.fields["serial"]))) for e in self.of(Kind.ISSUE_INTENT)
        }
        digests = {entry.fields["digest"] for entry in self.of(Kind.SIGN_REQUEST)}
        issuing = {row.fingerprint.hex() for row in self.certificates if "CA" in row.subject}
        for one in self.journal:
            if one["what"] != "used":
                continue
            data = bytes.fromhex(one["data"])
            if one["leaf"] in issuing and _is_certificate(data):
                assert any(serial in data for serial in serials)
            elif data.startswith(ORDERED):
                assert _sha256(data) in digests

    def check_checkpoints(self) -> None:
        """Every checkpoint that left is of a beginning of this log: its root shows it."""
        notes = [bytes.fromhex(one["note"]) for one in self.left("checkpoint")]
        heads = {one.size: one for one in (self._head(note) for note in notes)}
        tree = Frontier()
        for body in self.bodies:
            if tree.size in heads:
                assert heads.pop(tree.size).root == tree.root
            tree = tree.extended([leaf_hash(body)])
        assert all(head.root == tree.root for head in heads.values())
        assert set(heads) <= {tree.size}

    def _head(self, note: bytes) -> Checkpoint:
        return open_checkpoint(note, self.policy).checkpoint


def _sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _sha256_of(digits: str) -> str:
    return _sha256(bytes.fromhex(digits))


def _even(digits: str) -> str:
    return digits.rjust(len(digits) + len(digits) % 2, "0")


def _is_certificate(data: bytes) -> bool:
    """Say whether octets are a TBSCertificate (version 3 first), no TBSCertList (version 2)."""
    return data[:16].find(bytes.fromhex("a003020102")) >= 0
