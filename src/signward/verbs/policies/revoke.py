"""Revoking once, everywhere: what it would stop, and then the feed, our authority, every enforcer.

Measuring changes nothing.  Applying prepares everything first: the folder of files appears whole,
then the realm's deeds follow; where one of them fails the folder goes again.  A revocation of the
authority and an entry of the feed are final: they come last, and each is checked before.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from signward.errors import AuthorityError, BadInputError, EvidenceError, PolicyError
from signward.frozen import Frozen
from signward.inventory.fleet import Fleet
from signward.inventory.walk import printable
from signward.policy.record import record
from signward.policy.rules.revoking import Blast, Culprit, Kind, Radius
from signward.policy.rules.sighted import subject_of
from signward.trust.feed import Entry, RevokedCertificate
from signward.trust.pem import CERTIFICATES, blocks
from signward.trust.x509 import load_certificate
from signward.verbs import feed_entries
from signward.verbs.context import Context
from signward.verbs.feed_entries import Dates
from signward.verbs.intake.moving import sha256_of
from signward.verbs.options import Options, read_option
from signward.verbs.policies.denying import Order, State
from signward.verbs.policies.simulate import Watch, unwatched
from signward.verbs.verify import assess_path
from signward.wire.folders import make_whole

if TYPE_CHECKING:
    from signward.store.certificates import Listed
    from signward.verbs.authority.realm import Realm

STEP = 2_000
"""Sightings between two words about how far it is."""

_HEX = frozenset("0123456789abcdef")


class Named(NamedTuple):
    """What a user named: the culprit, and a certificate's DER where it is at hand."""

    culprit: Culprit
    der: bytes = b""


def of_publisher(identity: str) -> Named:
    """Return a publisher to revoke, by the identity that ``verify --json`` tells.

    Raises ``EvidenceError``.
    """
    if not identity.startswith(("subject:", "eku:")):
        raise EvidenceError(
            f"--publisher {identity[:80]!r}: required an identity, subject:... or eku:..., as "
            "verify --json tells it (publisher.identity)"
        )
    return Named(Culprit(kind=Kind.PUBLISHER, label=f"publisher {identity}", identity=identity))


def of_certificate(text: str) -> Named:
    """Return a certificate to revoke, by its file or its ``sha256:HEX``.

    Raises ``EvidenceError``.
    """
    digest = text.lower().removeprefix("sha256:")
    if len(digest) == 64 and _HEX.issuperset(digest):
        label = f"certificate with SHA-256 {digest}"
        return Named(Culprit(kind=Kind.CERTIFICATE, label=label, sha256=digest))
    der = blocks(text, read_option(text), CERTIFICATES)[0]
    try:
        seen = load_certificate(der)
    except BadInputError as error:
        raise EvidenceError(f"{text}: {error}") from None
    label = f"certificate of {seen.subject_text}, serial number {seen.serial:x}"
    return Named(Culprit(kind=Kind.CERTIFICATE, label=label, sha256=seen.sha256.hex()), der)


def of_digest(text: str) -> Named:
    """Return a file to revoke by its digest: ``sha256:HEX`` or as rules write it.

    Raises ``EvidenceError``.
    """
    digest = _digest(text)
    return Named(Culprit(kind=Kind.DIGEST, label=f"file {digest}", digests=frozenset({digest})))


def of_file(path: str) -> Named:
    """Return a file to revoke, by all digests it has.  Raises ``EvidenceError``."""
    digests = _digests_of_file(path)
    name = printable(Path(path).name)
    label = f"file {name}, {min(digests, key=lambda d: not d.startswith('file:'))}"
    return Named(Culprit(kind=Kind.DIGEST, label=label, digests=digests))


def bad_files(named: Iterable[str]) -> frozenset[str]:
    """Return the digests of files that are known to be bad: files, or digests of them.

    Raises ``EvidenceError``.
    """
    found: set[str] = set()
    for text in named:
        with suppress(EvidenceError):
            found.add(_digest(text))
            continue
        found |= _digests_of_file(text)
    return frozenset(found)


def _digest(text: str) -> str:
    """Return a digest as rules write it; one without its kind is of the whole file."""
    whole = text.lower()
    known = whole if whole.count(":") == 2 else f"file:{whole}"
    of, _, rest = known.partition(":")
    if of not in ("file", "authenticode", "cdhash", "oci"):
        raise EvidenceError(f"{text[:160]!r}: required file:, authenticode:, cdhash: or oci:")
    algorithm, _, value = rest.partition(":")
    sizes = (40,) if of == "cdhash" else _SIZES.get(algorithm, ())
    if len(value) not in sizes or not _HEX.issuperset(value):
        raise EvidenceError(f"{text[:160]!r}: required sha256:HEX, as long as that digest is")
    return known


_SIZES = {"sha1": (40,), "sha256": (64,), "sha384": (96,), "sha512": (128,)}


def _digests_of_file(path: str) -> frozenset[str]:
    """Return all digests of a file; a denial of an empty one would be of all empty files."""
    file = Path(path).resolve()
    try:
        if not file.is_file() or not file.stat().st_size:
            raise EvidenceError(f"{printable(path)}: found no file or an empty one, required one")
        whole = f"file:sha256:{sha256_of(file)}"
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise EvidenceError(f"{printable(path)}: {why}") from None
    subject = subject_of(record(assess_path(path, Context(Options()))))
    return subject.digests | {whole}


def measure(
    culprit: Culprit,
    since: datetime,
    fleet: Fleet,
    bad: frozenset[str] = frozenset(),
    watch: Watch = unwatched,
) -> Blast:
    """Return what revoking does on the fleet, from ``since`` (aware UTC) on."""
    with fleet.unchanged():
        whole = fleet.size().sightings
        radius = Radius(culprit, since, fleet.hosts(), bad)
        done = told = 0
        for known in fleet.known():
            radius.add(known)
            done += len(known.places)
            if done - told >= STEP:
                told = done
                watch("looking", done, whole)
    return radius.blast()


def entries(named: Named, reason: str, dates: Dates) -> tuple[Entry, ...]:
    """Return what the revocation feed is to say.  Raises ``EvidenceError``."""
    culprit = named.culprit
    if culprit.kind is Kind.PUBLISHER:
        return (feed_entries.publisher(culprit.identity, dates),)
    if culprit.kind is Kind.CERTIFICATE:
        if named.der:
            return (feed_entries.of_certificate(named.der, reason, dates),)
        told = {"sha256": culprit.sha256, "reason": reason, **dates}
        return (msgspec.convert(told, RevokedCertificate),)
    made = []
    for digest in sorted(culprit.digests):
        of, _, rest = digest.partition(":")
        if of in ("file", "authenticode"):
            kind = "file" if of == "file" else "content"
            made.append(feed_entries.digest(kind, rest, dates))
    return tuple(made)


class Applied(Frozen, frozen=True, kw_only=True):
    """What was done: the folder written, and what the realm did, in words."""

    folder: str
    deeds: tuple[str, ...] = ()


def apply(
    blast: Blast,
    made: Sequence[Order],
    told: Sequence[Entry],
    folder: Path,
    report: bytes,
    realm: RealmDeeds | None,
) -> Applied:
    """Write every target's files and do the realm's deeds: all of it, or none.

    Raises ``PolicyError``, and what the realm raises; the folder is gone again then.
    """
    files = {f"{order.target}/{file.name}": file.content for order in made for file in order.files}
    files["revocation.json"] = msgspec.json.encode(blast)
    files["feed-entries.json"] = msgspec.json.encode(told)
    files["report.html"] = report
    files["READ-ME.txt"] = read_me(blast, made).encode()
    if realm is not None:
        realm.check()
    try:
        make_whole(folder, files)
    except FileExistsError:
        raise PolicyError(str(folder), "something there already", "a folder that is new or empty",
                          hint="nothing was done; name another --out") from None  # fmt: skip
    except OSError as error:
        why = error.strerror or str(error)
        raise PolicyError(str(folder), why, "a place that can be written") from None
    try:
        deeds = realm.do(told) if realm is not None else ()
    except BaseException:
        shutil.rmtree(folder)
        raise
    return Applied(folder=str(folder), deeds=deeds)


def read_me(blast: Blast, made: Sequence[Order]) -> str:
    """Return what to do with the files, for whoever deploys them."""
    lines = [
        f"Revoked: {printable(blast.culprit.label)}",
        f"Since:   {blast.since:%Y-%m-%dT%H:%M:%SZ}",
        "",
    ]
    for order in made:
        if order.state is not State.SAID:
            lines += [f"{order.target}: nothing ({order.why or order.state.value})", ""]
            continue
        lines.append(f"{order.target}: {order.told}")
        for file in order.files:
            lines += [f"  {order.target}/{file.name}",
                      *(f"      {line}" for line in file.deploy.splitlines())]  # fmt: skip
        lines.append("")
    return "\n".join(lines)


class RealmDeeds:
    """What an authority of ours does about it: its feed, and its own CRL and OCSP answers.

    What it issued itself it revokes; its feed tells that without an entry.
    """

    def __init__(self, realm: Realm, named: Named, reason: str, since: datetime, by: str) -> None:
        self._realm, self._reason = realm, reason or "unspecified"
        self._since, self._by = since, by
        self._issued = _issued(realm, named)

    @property
    def planned(self) -> tuple[str, ...]:
        """What would be done, in words."""
        if self._issued is None:
            return ("an entry in its revocation feed, and the next version of that",)
        serial = self._issued.issued.serial
        return (f"revokes certificate {serial}, which it issued: CRL, OCSP answers and feed",)

    def check(self) -> None:
        """Raise ``AuthorityError`` for what cannot be done, while nothing is done yet.

        ``ConflictError`` where it is revoked already, no later and no less gravely.
        """
        from signward.verbs.authority.revoke import plan

        if self._issued is not None:
            plan(self._realm, self._issued, self._reason, self._since, self._by)
        elif self._realm.settings.feed is None:
            raise AuthorityError("[feed]", "no such table in the settings", "one",
                                 hint="leave --data away, and publish it otherwise")  # fmt: skip

    def do(self, told: Sequence[Entry]) -> tuple[str, ...]:
        """Revoke, and publish what tells it.  Raises ``AuthorityError`` and its kin."""
        from signward.verbs.authority import feed

        if self._issued is not None:
            return self._revoke(self._issued)
        added = [feed.add(self._realm, entry, self._by) for entry in told]
        made = feed.try_to_publish(self._realm)
        version = made if isinstance(made, str) else f"feed version {made.version} published"
        return (*(f"feed entry {identifier[:16]} added" for identifier in added), version)

    def _revoke(self, issued: Listed) -> tuple[str, ...]:
        from signward.verbs.authority.revoke import revoke

        done = revoke(self._realm, issued, self._reason, self._by, invalidity=self._since)
        told = [f"certificate {issued.issued.serial} revoked"]
        for what, made in (("CRL", done.published), ("feed", done.feed)):
            told.append(made if isinstance(made, str) else f"a new {what} tells it")
        return tuple(filter(None, told))


def _issued(realm: Realm, named: Named) -> Listed | None:
    """Return the certificate where this authority issued it."""
    if named.culprit.kind is not Kind.CERTIFICATE:
        return None
    fingerprint = bytes.fromhex(named.culprit.sha256)
    if named.der:
        fingerprint = hashlib.sha256(named.der).digest()
    from signward.store import certificates

    with realm.store.read() as connection:
        return certificates.with_fingerprint(connection, fingerprint)
