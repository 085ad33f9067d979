"""The estate: taking in certificates that sign for an organisation, and telling of them.

Kept are end entities that may sign code or timestamps; of authorities only those of one's own,
whose end matters too.  What a scan tells counts where the signature was trusted, and of
certificates nobody imported only where their publisher is one of those that are asked for:
a share is full of other people's signatures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from sqlalchemy import Connection

from signward.authority.log.entry import Kind, decode
from signward.errors import AuthorityError, BadInputError, EvidenceError
from signward.findings import Finding
from signward.integrity import UnsupportedKeyError, key_size
from signward.keys import Secrets
from signward.policy.estate import WARN_DAYS, Held, Release, Trust, findings
from signward.policy.record import CertificateRecord, Record, SignatureRecord
from signward.store import estate as stored
from signward.store import log_read
from signward.store.engine import Outcome, Store
from signward.store.log import frontier
from signward.trust.building import build
from signward.trust.policies import read_policies
from signward.trust.rules import EKU_TIME_STAMPING
from signward.trust.x509 import Certificate, load_certificate
from signward.verbs.estate_files import key_certificates, read_file, without_secrets
from signward.verbs.stores import load_store

EKU_CODE_SIGNING = "1.3.6.1.5.5.7.3.3"

PUBLIC_POLICIES = frozenset({"2.23.140.1.3", "2.23.140.1.4.1", "2.23.140.1.4.2"})
"""Policies that publicly trusted authorities assert (CSBR 7.1.6.1): EV code signing, code
signing, timestamping."""

QUANTUM_SAFE = "mldsa"
"""Families of keys that no quantum computer is known to break begin so (FIPS 204)."""

LOG_PAGE = 1000
"""Log entries read at a time."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_MOST_SOURCE = 500
"""Characters kept of where something was found."""


class Given(NamedTuple):
    """What the caller says about what he imports; empty where he says nothing.

    ``publishers``: take in certificates of these from scans; one that is ``*`` means all.
    """

    holder: str = ""
    key_location: str = ""
    publishers: tuple[str, ...] = ()


class Imported(NamedTuple):
    """What an import came to; ``passed_over`` counts certificates that sign nothing of ours."""

    new: int = 0
    known: int = 0
    releases: int = 0
    passed_over: int = 0

    def plus(self, other: Imported) -> Imported:
        """Return the sums."""
        return Imported(*(a + b for a, b in zip(self, other, strict=True)))


class Estate:
    """The certificates in one database; an authority's, or one of their own."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store, self._clock = store, clock

    @classmethod
    def open(
        cls, folder: Path, *, database: str = "", clock: Callable[[], datetime] | None = None
    ) -> Self:
        """Open the estate in a folder, which needs no authority.  Raises ``StoreError``."""
        from signward.verbs.authority.realm import DATABASE_NAME, system_clock

        if not database:
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise EvidenceError(f"{folder}: {error.strerror}") from None
        url = database or f"sqlite:///{(folder / DATABASE_NAME).absolute()}"
        return cls(Store.open(url), clock or system_clock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._store.close()

    # --- taking in -------------------------------------------------------------------------

    def import_file(self, path: str, given: Given, secrets: Secrets) -> Imported:
        """Take in what a file holds.

        Raises ``EvidenceError``, ``KeyProviderError`` and ``StoreError``.
        """
        content = read_file(path, secrets)
        if content.records:
            return self._import_records(path, content.records, given)
        location = given.key_location or content.key_location
        given = given._replace(key_location=location)
        return self._import_certificates(path, content.certificates, given)

    def import_key(self, uri: str, given: Given, secrets: Secrets) -> Imported:
        """Take in the certificates that a key's holder (a token, a service) keeps beside it.

        Raises ``KeyProviderError`` and ``StoreError``.
        """
        place = without_secrets(uri)
        given = given._replace(key_location=given.key_location or place)
        return self._import_certificates(place, key_certificates(uri, secrets), given)

    def import_authority(self) -> Imported:
        """Take in what the authority of this database issued, and what its log says was signed.

        Raises ``StoreError``.
        """
        with self._store.read() as connection:
            issued = stored.issued(connection)
        rows = [
            (
                _row(load_certificate(der), Trust.OWN, Given(holder=holder), self._now()),
                f"ca:{name}",
            )
            for name, holder, der in issued
        ]
        return self._put(rows).plus(self._import_log())

    def _import_certificates(self, source: str, ders: Sequence[bytes], given: Given) -> Imported:
        read = _readable(source, ders)
        signers = [one for one in read if _signs(one)]
        rows = []
        for number, one in enumerate(signers):
            own = given if number == 0 else given._replace(key_location="")
            rows.append((_row(one, _trust(one, read), own, self._now()), source))
        return self._put(rows).plus(Imported(passed_over=len(read) - len(signers)))

    def _import_records(self, source: str, records: Iterable[Record], given: Given) -> Imported:
        """Take in what a scan saw: releases of known certificates, and the publishers' new ones."""
        total, now = Imported(), self._now()
        for record in records:
            for signature in record.signatures:
                if signature.state == "trusted" and signature.signer is not None:
                    row = _row_of_record(signature, signature.signer, given, now)
                    total = total.plus(self._put_seen(row, source, record, signature, given))
        return total

    def _put_seen(
        self,
        row: stored.Row,
        source: str,
        record: Record,
        signature: SignatureRecord,
        given: Given,
    ) -> Imported:
        wanted = _is_wanted(record, given.publishers)
        proven = signature.proven_time.instant if signature.proven_time else None
        file = f"{record.container}!{record.subject}" if record.container else record.subject

        def job(connection: Connection) -> Outcome[Imported]:
            known = stored.find(connection, row.fingerprint) is not None
            if not known and not wanted:
                return Outcome(Imported(passed_over=1))
            new = stored.put(connection, row)
            stored.add_source(connection, row.fingerprint, source[:_MOST_SOURCE], row.added)
            stored.add_release(connection, _release(row.fingerprint, file, proven, row.added))
            return Outcome(Imported(new=int(new), known=int(not new), releases=1))

        return self._store.write(job).result().value

    def _import_log(self) -> Imported:
        """Take in the files that the log says were signed with certificates that are known."""
        with self._store.read() as connection:
            found = tuple(_signed_files(connection))
        now = self._now()

        def job(connection: Connection) -> Outcome[Imported]:
            known = [one for one in found if stored.find(connection, one[0]) is not None]
            for fingerprint, file, proven in known:
                stored.add_release(connection, _release(fingerprint, file, proven, now))
            return Outcome(Imported(releases=len(known)))

        return self._store.write(job).result().value

    def _put(self, rows: Sequence[tuple[stored.Row, str]]) -> Imported:
        def job(connection: Connection) -> Outcome[Imported]:
            new = 0
            for row, source in rows:
                new += stored.put(connection, row)
                stored.add_source(connection, row.fingerprint, source[:_MOST_SOURCE], row.added)
            return Outcome(Imported(new=new, known=len(rows) - new))

        return self._store.write(job).result().value

    # --- changing --------------------------------------------------------------------------

    def describe(self, prefix: str, holder: str | None, key_location: str | None) -> str:
        """Set who holds a certificate's key, and where it is; return its fingerprint.

        Raises ``AuthorityError`` where not one fingerprint starts so, and ``StoreError``.
        """

        def job(connection: Connection) -> Outcome[str]:
            fingerprint = _the_one(connection, prefix)
            stored.describe(connection, fingerprint, holder, key_location)
            return Outcome(fingerprint)

        return self._store.write(job).result().value

    def forget(self, prefix: str) -> str:
        """Forget a certificate; return its fingerprint.  Raises as `describe` does."""

        def job(connection: Connection) -> Outcome[str]:
            fingerprint = _the_one(connection, prefix)
            stored.forget(connection, fingerprint)
            return Outcome(fingerprint)

        return self._store.write(job).result().value

    # --- telling ---------------------------------------------------------------------------

    def told(self, days: int = WARN_DAYS) -> list[tuple[Held, tuple[Finding, ...]]]:
        """Return every certificate, first what ends first, with what is to be said about it.

        ``days`` ahead of its end a certificate is told of.  Raises ``StoreError``.
        """
        at = self._clock()
        return [(held, findings(held, at, days)) for held in self.everything()]

    def everything(self) -> list[Held]:
        """Return every certificate, first what ends first.  Raises ``StoreError``."""
        with self._store.read() as connection:
            rows, sources = stored.everything(connection), stored.sources(connection)
            releases, gone = stored.releases(connection), stored.revocations(connection)
        return [
            _held(
                row,
                tuple(sources.get(row.fingerprint, ())),
                tuple(map(_as_release, releases.get(row.fingerprint, ()))),
                gone.get(row.fingerprint),
            )
            for row in rows
        ]

    @property
    def now(self) -> datetime:
        """The instant that findings speak of."""
        return self._clock()

    def _now(self) -> int:
        return _micros(self._clock())


def _readable(source: str, ders: Sequence[bytes]) -> list[Certificate]:
    try:
        return [load_certificate(one) for one in dict.fromkeys(ders)]
    except BadInputError as error:
        raise EvidenceError(f"{source}: {error}") from None


def _signs(certificate: Certificate) -> bool:
    """Say whether a certificate is an end entity's that may sign code or timestamps."""
    usages = {EKU_CODE_SIGNING, EKU_TIME_STAMPING}
    return not certificate.is_ca and (certificate.ekus is None or bool(usages & certificate.ekus))


def _trust(certificate: Certificate, pool: Sequence[Certificate]) -> Trust:
    """Say whose root a certificate hangs on, as far as it and its companions tell."""
    try:
        policies = read_policies(certificate).policies or frozenset()
    except BadInputError:
        policies = frozenset()
    if policies & PUBLIC_POLICIES:
        return Trust.PUBLIC
    chains = build(certificate, tuple(pool), load_store("authenticode"))
    return Trust.PUBLIC if chains.complete else Trust.UNKNOWN


def _row(certificate: Certificate, trust: Trust, given: Given, now: int) -> stored.Row:
    return stored.Row(
        fingerprint=certificate.sha256.hex(),
        subject=certificate.subject_text,
        issuer=certificate.issuer_text,
        serial=f"{certificate.serial:x}"[:64],
        not_before=_micros(certificate.not_before),
        not_after=_micros(certificate.not_after),
        key_kind=_key_kind(certificate.spki),
        quantum_safe=int(_is_quantum_safe(certificate)),
        trust=trust.value,
        holder=given.holder,
        key_location=given.key_location,
        added=now,
        der=certificate.der,
    )


def _key_kind(spki: bytes) -> str:
    """Return ``rsa-3072``, ``secp256r1``, ``ed25519``, ``mldsa65``; empty for unknown kinds."""
    try:
        family, bits = key_size(spki)
    except UnsupportedKeyError:
        return ""
    return f"{family}-{bits}" if family in ("rsa", "dsa") else family.removeprefix("ec:")


def _is_quantum_safe(certificate: Certificate) -> bool:
    scheme = certificate.signature_algorithm.scheme.replace("-", "")
    own = _key_kind(certificate.spki)
    return own.startswith(QUANTUM_SAFE) and scheme.startswith(QUANTUM_SAFE)


def _row_of_record(
    signature: SignatureRecord, signer: CertificateRecord, given: Given, now: int
) -> stored.Row:
    """Return what a scan's record tells of a certificate: not its key's size, nor its usages."""
    public = signature.path is not None and signature.path.store == "authenticode"
    return stored.Row(
        fingerprint=signer.sha256,
        subject=signer.subject,
        issuer=signer.issuer,
        serial=signer.serial[:64],
        not_before=_micros(signer.not_before or EPOCH),
        not_after=_micros(signer.not_after or EPOCH),
        key_kind="",
        quantum_safe=int(signature.quantum_safe),
        trust=(Trust.PUBLIC if public else Trust.UNKNOWN).value,
        holder=given.holder,
        key_location=given.key_location,
        added=now,
    )


def _is_wanted(record: Record, publishers: Sequence[str]) -> bool:
    if record.publisher is None:
        return False
    names = {record.publisher.name.casefold(), record.publisher.identity.casefold()}
    return any(wanted == "*" or wanted.casefold() in names for wanted in publishers)


def _release(fingerprint: str, file: str, proven: datetime | None, now: int) -> stored.ReleaseRow:
    return stored.ReleaseRow(
        fingerprint=fingerprint,
        name=hashlib.sha256(file.encode("utf-8", "surrogateescape")).hexdigest(),
        file=file,
        timestamped=None if proven is None else _micros(proven),
        at=now,
    )


def _signed_files(connection: Connection) -> Iterator[tuple[str, str, datetime | None]]:
    """Yield certificate, file and proven time of every "signed" entry of the log."""
    size = frontier(connection).size
    for first in range(0, size, LOG_PAGE):
        for body in log_read.entries(connection, first, min(LOG_PAGE, size - first)):
            entry = decode(body)
            if entry.kind is not Kind.SIGNED:
                continue
            fields = entry.fields
            file = fields.get("file") or fields.get("digest")
            certificate = fields.get("certificate")
            if isinstance(file, str) and isinstance(certificate, str):
                yield certificate, file, entry.at if fields.get("timestamps") else None


def _the_one(connection: Connection, prefix: str) -> str:
    found = stored.starting_with(connection, prefix.lower()) if prefix else []
    if len(found) != 1:
        raise AuthorityError(
            f"certificate {prefix[:64]!r}", f"{len(found)} whose SHA-256 starts so", "one",
            hint="signward certs list shows them",
        )  # fmt: skip
    return found[0]


def _held(
    row: stored.Row, sources: tuple[str, ...], releases: tuple[Release, ...], gone: int | None
) -> Held:
    code_signing = True  # a scan told of it: it signs code
    if row.der is not None:
        code_signing = EKU_CODE_SIGNING in (load_certificate(row.der).ekus or ())
    return Held(
        fingerprint=row.fingerprint,
        subject=row.subject,
        issuer=row.issuer,
        serial=row.serial,
        not_before=_instant(row.not_before),
        not_after=_instant(row.not_after),
        key=row.key_kind,
        quantum_safe=bool(row.quantum_safe),
        trust=Trust(row.trust),
        code_signing=code_signing,
        holder=row.holder,
        key_location=row.key_location,
        added=_instant(row.added),
        sources=sources,
        releases=releases,
        revoked=None if gone is None else _instant(gone),
    )


def _as_release(row: stored.ReleaseRow) -> Release:
    proven = None if row.timestamped is None else _instant(row.timestamped)
    return Release(file=row.file, timestamped=proven)


def _micros(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)


def _instant(micros: int) -> datetime:
    return EPOCH + timedelta(microseconds=micros)
