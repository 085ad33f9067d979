"""Replay: judge a file on a bundle's evidence and nothing else.

No trust list, no network, no cache, no clock: the instant, the policy, the anchors and
their limits come from the bundle.  The answer must be the one the bundle recorded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from signward import __version__
from signward.errors import BadInputError, EvidenceError, UnreadableError
from signward.findings import GRAVITY, Code, Effect, Finding
from signward.frozen import decoder
from signward.policy.blocklist import BlockList
from signward.policy.record import FindingRecord, record, safe_text, to_json
from signward.state import Source, Verdict
from signward.trust.anchors import TrustAnchor, TrustStore
from signward.trust.feed import Feed, open_feed
from signward.trust.profiles import Profile
from signward.trust.revocation import Evidence
from signward.trust.sealed import read_keys
from signward.trust.x509 import Certificate, load_certificate
from signward.verbs.bundle import AnchorEntry, Bundle, FileEntry, StoreEntry, read_bundle
from signward.verbs.catalogs import CatalogIndex, add_catalog
from signward.verbs.context import Context, read_block_lists
from signward.verbs.firmware import Firmware, Given, load_firmware
from signward.verbs.online import Online
from signward.verbs.options import Options
from signward.verbs.verify import assess
from signward.wire.source import BytesSource, open_source, whole_digest

if TYPE_CHECKING:
    from signward.policy.rules.model import RuleSet


def replay(folder: str, path: str) -> Verdict:
    """Return the verdict that the bundle in ``folder`` holds about the file at ``path``.

    The subject is the name the file had then.  Raises ``EvidenceError`` for a bundle that
    is damaged or of another version, for a file it does not speak of, and where this
    version of Signward judges the same evidence otherwise.
    """
    bundle = read_bundle(Path(folder))
    try:
        with open_source(path) as source:
            entry = entry_for(bundle, source, path)
            source.name = original_name(entry.name, entry.name_hex)
            source.recall({name: bundle.blob(one) for name, one in entry.beside.items()})
            verdict = assess(source, ReplayContext(bundle))
            source.check_unchanged()
    except UnreadableError as error:
        raise EvidenceError(str(error)) from None
    if to_json(record(verdict)) != bundle.blob(entry.verdict):
        then = bundle.manifest.signward
        raise EvidenceError(
            f"{folder}: Signward {__version__} judges its evidence otherwise than "
            f"{then} did: the bundle was altered"
            + ("" if then == __version__ else f", or needs Signward {then}")
        )
    return verdict


def entry_for(bundle: Bundle, source: Source, path: str) -> FileEntry:
    """Return what the bundle says about these bytes; of several names the same one first."""
    digest = file_digest(source)
    known = (digest, source.length)
    entries = [entry for entry in bundle.manifest.files if (entry.sha256, entry.size) == known]
    if not entries:
        raise EvidenceError(f"{path}: found SHA-256 {digest}, which this evidence does not know")
    for member in entries[0].evidence:
        bundle.blob(member)
    return next((e for e in entries if original_name(e.name, e.name_hex) == path), entries[0])


def file_digest(source: Source) -> str:
    """Return the SHA-256 (hex) of all of a source's bytes."""
    return whole_digest(source, "sha256").hex()


def original_name(name: str, name_hex: str) -> str:
    """Return a recorded name as it was; ``name_hex`` holds what is no UTF-8."""
    try:
        return bytes.fromhex(name_hex).decode("utf-8", "surrogateescape") if name_hex else name
    except ValueError:
        raise EvidenceError(f"evidence: {name_hex!r} is no name") from None


class ReplayContext(Context):
    """A context made of a bundle.  Raises ``EvidenceError`` for members that do not fit."""

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        super().__init__(
            Options(
                profile=manifest.profile,
                oldest_sdk=manifest.oldest_sdk,
                newest_sdk=manifest.newest_sdk,
                source_stamp=manifest.source_stamp,
                at=manifest.at,
                policy=manifest.policy,
                after=manifest.firmware.after,
                rules=_rules(bundle),
                host=manifest.rules.host if manifest.rules else "",
                tags=frozenset(manifest.rules.tags if manifest.rules else ()),
            )
        )
        self._bundle = bundle
        self.catalogs = CatalogIndex()
        for entry in manifest.catalogs:
            name = original_name(entry.name, entry.name_hex)
            add_catalog(BytesSource(name, bundle.blob(entry.sha256)), self.catalogs, self)

    def place(self, name: str) -> str:
        """Return where the file lay when it was judged."""
        rules = self._bundle.manifest.rules
        return rules.places.get(safe_text(name), "") if rules else ""

    @cached_property
    def _pool(self) -> tuple[Certificate, ...]:
        return self._certificates(self._bundle.manifest.given.certificates)

    @cached_property
    def evidence(self) -> Evidence:
        """The CRLs and OCSP answers the caller had given."""
        given, blob = self._bundle.manifest.given, self._bundle.blob
        return Evidence(crls=map(blob, given.crls), ocsp=map(blob, given.ocsp), feeds=self.feeds)

    @cached_property
    def feeds(self) -> tuple[Feed, ...]:
        """The feeds that counted, signatures checked again."""
        entry, blob = self._bundle.manifest.feeds, self._bundle.blob
        if not entry.documents:
            return ()
        keys = [key for digest in entry.keys for key in read_keys("evidence", blob(digest))]
        return tuple(open_feed(f"evidence: {one}", blob(one), keys) for one in entry.documents)

    @cached_property
    def feed_notes(self) -> tuple[Finding, ...]:
        """What was said of the feeds."""
        return tuple(_finding(note, Effect.UNKNOWN) for note in self._bundle.manifest.feeds.notes)

    @cached_property
    def block_lists(self) -> tuple[BlockList, ...]:
        """The block lists the caller had given."""
        entries = self._bundle.manifest.block_lists
        return read_block_lists((entry.name, self._bundle.blob(entry.sha256)) for entry in entries)

    @cached_property
    def firmware(self) -> Firmware | None:
        """What firmware refused by the lists the caller had given."""
        entry, blob = self._bundle.manifest.firmware, self._bundle.blob
        if not (entry.dbx or entry.level):
            return None
        level = entry.level
        return load_firmware(
            Given(
                dbx=tuple((one.name, blob(one.sha256)) for one in entry.dbx),
                dbt=tuple((one.name, blob(one.sha256)) for one in entry.dbt),
                level=(level.name, blob(level.sha256)) if level else None,
            )
        )

    @cached_property
    def online(self) -> Online | None:
        """What was fetched and tried in vain; it can fetch no more."""
        manifest, blob = self._bundle.manifest, self._bundle.blob
        if not manifest.online:
            return None
        online = Online()
        online.certificates = dict.fromkeys(self._certificates(manifest.fetched.certificates))
        online.crls = dict.fromkeys(map(blob, manifest.fetched.crls))
        online.ocsp = dict.fromkeys(map(blob, manifest.fetched.ocsp))
        for failure in manifest.failures:
            attempt = failure.url, _digest(failure.certificate)
            online.failures[attempt] = _finding(failure.finding)
        return online

    def store(self, profile: Profile) -> TrustStore:
        """Return the anchors that were consulted, with what was answered then."""
        entry = self._bundle.manifest.stores.get(profile.name)
        if entry is None:
            raise EvidenceError(f"evidence: no trust anchors for profile {profile.name}")
        return _ReplayStore(entry, self._anchor)

    def _anchor(self, entry: AnchorEntry) -> TrustAnchor:
        (certificate,) = self._certificates((entry.sha256,))
        return TrustAnchor(
            certificate=certificate,
            name=entry.name,
            store=entry.store,
            usages=_set(entry.usages),
            denied_usages=frozenset(entry.denied_usages),
            disabled_from=entry.disabled_from,
            no_issue_after=entry.no_issue_after,
            no_issue_usages=_set(entry.no_issue_usages),
        )

    def _certificates(self, digests: tuple[str, ...]) -> tuple[Certificate, ...]:
        try:
            return tuple(load_certificate(self._bundle.blob(digest)) for digest in digests)
        except BadInputError as error:
            raise EvidenceError(f"evidence: {error}") from None


def _rules(bundle: Bundle) -> RuleSet | None:
    """Return the rules that decided, if any did."""
    entry = bundle.manifest.rules
    if entry is None:
        return None
    from signward.policy.rules.model import RuleSet  # for few runs only

    try:
        return decoder(RuleSet).decode(bundle.blob(entry.sha256))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EvidenceError(f"evidence: rules: {error}") from None


class _ReplayStore(TrustStore):
    """Answers exactly what the real store answered."""

    __slots__ = ("_subjects",)

    def __init__(self, entry: StoreEntry, make: Callable[[AnchorEntry], TrustAnchor]) -> None:
        self._subjects = {
            _digest(raw): tuple(make(anchor) for anchor in anchors)
            for raw, anchors in entry.subjects.items()
        }
        by_name = [anchor for anchors in self._subjects.values() for anchor in anchors]
        super().__init__(entry.name, [*by_name, *(make(anchor) for anchor in entry.found)])
        answers = repr(sorted(entry.subjects)).encode()
        self.digest = hashlib.sha256(b"replay" + self.digest + answers).digest()

    def by_subject(self, raw_name: bytes) -> tuple[TrustAnchor, ...]:
        """Return the anchors that were found under this very name."""
        return self._subjects.get(raw_name, ())


def _set(values: tuple[str, ...] | None) -> frozenset[str] | None:
    return None if values is None else frozenset(values)


def _digest(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise EvidenceError(f"evidence: {text[:80]!r} is not hexadecimal") from None


def _finding(found: FindingRecord, most: Effect = Effect.WARN) -> Finding:
    """Return what was said as it was; a bundle cannot make more of it than ``most``."""
    try:
        code = Code(found.code)
    except ValueError:
        raise EvidenceError(f"evidence: finding {found.code[:80]!r} is not known") from None
    return Finding(
        code=code,
        effect=found.effect if GRAVITY[found.effect] <= GRAVITY[most] else Effect.NOTE,
        subject=found.subject,
        found=found.found,
        required=found.required,
        clause=found.clause,
        hint=found.hint,
        offset=found.offset,
    )
