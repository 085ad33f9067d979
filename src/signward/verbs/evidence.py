"""Evidence: judge files and write down everything the verdicts rested on.

What is printed is what the bundle itself yields: each file is judged, what it consulted
is recorded, and the verdict is then reached again from the record alone.  So a bundle
that was written replays to the same bytes, by construction.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from signward import __version__
from signward.errors import UnreadableError
from signward.findings import Finding
from signward.frozen import replace
from signward.policy.record import (
    FindingRecord,
    claimed_of,
    finding_record,
    record,
    safe_text,
    to_json,
)
from signward.state import ClaimedSignature, Verdict
from signward.trust.anchors import TrustAnchor, TrustStore
from signward.trust.profiles import Profile
from signward.trust.x509 import Certificate
from signward.verbs.attributes import kept_beside
from signward.verbs.bundle import (
    AnchorEntry,
    BlockListEntry,
    Bundle,
    CatalogEntry,
    FailureEntry,
    FeedEntry,
    FileEntry,
    FirmwareEntry,
    GivenEntry,
    Manifest,
    Member,
    RulesEntry,
    StoreEntry,
    check_free,
    member_of,
    write_bundle,
)
from signward.verbs.context import Context
from signward.verbs.firmware import read_given
from signward.verbs.options import Options, read_option
from signward.verbs.replay import ReplayContext, file_digest
from signward.verbs.verify import assess, unreadable
from signward.wire.source import open_source

_runs = itertools.count()


class _RecordingStore(TrustStore):
    """A store that remembers what it was asked and what it answered.

    Its digest is its own, so that no cache of paths answers in its place.
    """

    __slots__ = ("found", "inner", "subjects")

    def __init__(self, inner: TrustStore) -> None:
        run = f"recording {next(_runs)} ".encode()
        super().__init__(inner.name, (), hashlib.sha256(run + inner.digest).digest())
        self.inner = inner
        self.subjects: dict[bytes, tuple[TrustAnchor, ...]] = {}
        self.found: dict[bytes, TrustAnchor] = {}

    def __len__(self) -> int:
        return len(self.inner)

    def by_subject(self, raw_name: bytes) -> tuple[TrustAnchor, ...]:
        """Return what the real store finds under this name."""
        if raw_name not in self.subjects:
            self.subjects[raw_name] = self.inner.by_subject(raw_name)
        return self.subjects[raw_name]

    def find(self, certificate: Certificate) -> TrustAnchor | None:
        """Return the anchor that IS ``certificate``, if the real store has it."""
        anchor = self.inner.find(certificate)
        if anchor:
            self.found[certificate.sha256] = anchor
        return anchor

    def anchors(self) -> tuple[TrustAnchor, ...]:
        """Return every anchor of the real store: whoever asks has consulted them all."""
        anchors = self.inner.anchors()
        self.found |= {anchor.certificate.sha256: anchor for anchor in anchors}
        return anchors


class RecordingContext(Context):
    """A context that remembers which anchors and catalogs were consulted."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.stores: dict[str, _RecordingStore] = {}
        self.listing: dict[str, None] = {}

    def store(self, profile: Profile) -> TrustStore:
        """Return the profile's store, watched."""
        if profile.name not in self.stores:
            self.stores[profile.name] = _RecordingStore(super().store(profile))
        return self.stores[profile.name]

    def consulted(self, catalogs: tuple[str, ...]) -> None:
        """Remember catalogs that list a judged file."""
        self.listing.update(dict.fromkeys(catalogs))


def assess_with_evidence(
    paths: Sequence[str], options: Options, folder: str
) -> tuple[list[Verdict], str]:
    """Judge files and write their evidence to ``folder``.

    Return the verdicts in order and the SHA-256 (hex) of the bundle's manifest.  A file
    that cannot be read has a verdict and no place in the bundle.  Raises
    ``EvidenceError`` where the bundle cannot be written.
    """
    check_free(Path(folder))
    context, recorder = RecordingContext(options), _Recorder()
    for path in paths:
        _judge_once(path, context)
    manifest = _manifest(context, recorder, paths)
    replaying = ReplayContext(Bundle(manifest, recorder.blobs))
    verdicts, files = [], []
    for path in paths:
        verdict, entry = _judge_again(path, replaying, recorder)
        verdicts.append(verdict)
        files += [entry] if entry else []
    whole = _completed(manifest, tuple(files), recorder)
    return verdicts, write_bundle(Path(folder), whole, recorder.blobs)


class _Recorder:
    """Members as they come, each once."""

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}
        self.blobs: dict[str, bytes] = {}

    def add(self, role: str, data: bytes) -> str:
        """Keep a member; return its digest.  The first role it came in stays."""
        member = member_of(role, data)
        self.members.setdefault(member.sha256, member)
        self.blobs[member.sha256] = data
        return member.sha256

    def add_all(self, role: str, blobs: Sequence[bytes]) -> tuple[str, ...]:
        """Keep several."""
        return tuple(self.add(role, data) for data in blobs)


def _judge_once(path: str, context: RecordingContext) -> None:
    """Judge a file for what it consults; the verdict itself comes later."""
    try:
        with open_source(path) as source:
            assess(source, context)
    except UnreadableError:
        return


def _judge_again(
    path: str, replaying: ReplayContext, recorder: _Recorder
) -> tuple[Verdict, FileEntry | None]:
    try:
        with open_source(path) as source:
            kept = kept_beside(source)
            source.recall(kept)
            verdict = assess(source, replaying)
            digest = file_digest(source)
            source.check_unchanged()
    except UnreadableError as error:
        return unreadable(path, error, replaying), None
    name, name_hex = _names(path)
    entry = FileEntry(
        name=name,
        name_hex=name_hex,
        size=source.length,
        sha256=digest,
        verdict=recorder.add("verdict", to_json(record(verdict))),
        evidence=tuple(dict.fromkeys(_carried(verdict, recorder))),
        beside={name: recorder.add("attribute", value) for name, value in kept.items()},
    )
    return verdict, entry


def _carried(verdict: Verdict, recorder: _Recorder) -> Iterator[str]:
    """Keep copies of what the signatures themselves carry, for readers of the bundle."""
    for judged in verdict.signatures:
        claimed = claimed_of(judged)
        yield from _envelope("signature", claimed, recorder)
        for timestamp in claimed.timestamps:
            if timestamp.signature is not None:
                yield from _envelope("token", timestamp.signature, recorder)


def _envelope(role: str, claimed: ClaimedSignature, recorder: _Recorder) -> Iterator[str]:
    if claimed.raw:
        yield recorder.add(role, claimed.raw)
    yield from recorder.add_all("certificate", claimed.claimed_certificates)
    yield from recorder.add_all("crl", claimed.claimed_crls)
    yield from recorder.add_all("ocsp", claimed.claimed_ocsp)


def _manifest(context: RecordingContext, recorder: _Recorder, paths: Sequence[str]) -> Manifest:
    """Return what the run rested on, still without its files."""
    options, online = context.options, context.online
    evidence = context.evidence
    given = GivenEntry(
        certificates=recorder.add_all("certificate", context.certificates),
        crls=recorder.add_all("crl", [crl.data for crl in evidence.crls]),
        ocsp=recorder.add_all("ocsp", [answer.data for answer in evidence.responses]),
    )
    fetched = GivenEntry()
    if online:
        fetched = GivenEntry(
            certificates=recorder.add_all("certificate", [c.der for c in online.certificates]),
            crls=recorder.add_all("crl", list(online.crls)),
            ocsp=recorder.add_all("ocsp", list(online.ocsp)),
        )
    return Manifest(
        signward=__version__,
        at=context.at,
        profile=options.profile,
        oldest_sdk=options.oldest_sdk,
        newest_sdk=options.newest_sdk,
        source_stamp=options.source_stamp,
        policy=context.policy,
        online=online is not None,
        stores={name: _store(store, recorder) for name, store in context.stores.items()},
        given=given,
        fetched=fetched,
        failures=tuple(_failures(context)),
        catalogs=tuple(_catalog(path, recorder) for path in sorted(context.listing)),
        block_lists=tuple(_block_list(path, recorder) for path in options.block_lists),
        feeds=_feeds(context, recorder),
        firmware=_firmware(options, recorder),
        rules=_rules(context, recorder, paths),
    )


def _completed(manifest: Manifest, files: tuple[FileEntry, ...], recorder: _Recorder) -> Manifest:
    members = tuple(sorted(recorder.members.values(), key=lambda member: member.path))
    return msgspec.structs.replace(manifest, files=files, members=members)


def _store(store: _RecordingStore, recorder: _Recorder) -> StoreEntry:
    return StoreEntry(
        name=safe_text(store.name),
        subjects={
            raw.hex(): tuple(_anchor(anchor, recorder) for anchor in anchors)
            for raw, anchors in store.subjects.items()
            if anchors
        },
        found=tuple(_anchor(anchor, recorder) for anchor in store.found.values()),
    )


def _anchor(anchor: TrustAnchor, recorder: _Recorder) -> AnchorEntry:
    return AnchorEntry(
        sha256=recorder.add("anchor", anchor.certificate.der),
        name=safe_text(anchor.name),
        store=safe_text(anchor.store),
        usages=_listed(anchor.usages),
        denied_usages=_listed(anchor.denied_usages) or (),
        disabled_from=anchor.disabled_from,
        no_issue_after=anchor.no_issue_after,
        no_issue_usages=_listed(anchor.no_issue_usages),
    )


def _listed(values: frozenset[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(sorted(values))


def _failures(context: RecordingContext) -> Iterator[FailureEntry]:
    for (url, certificate), finding in (context.online.failures if context.online else {}).items():
        said = _said(finding)
        yield FailureEntry(url=safe_text(url), certificate=certificate.hex(), finding=said)


def _said(finding: Finding) -> FindingRecord:
    return replace(finding_record(finding), offset=None)


def _feeds(context: RecordingContext, recorder: _Recorder) -> FeedEntry:
    options = context.followed
    if not options.feeds and not context.feed_notes:
        return FeedEntry()
    from signward.verbs.feeds import feed_keys

    return FeedEntry(
        documents=recorder.add_all("feed", [read_option(path) for path in options.feeds]),
        keys=recorder.add_all("feedkey", feed_keys(options)),
        notes=tuple(map(_said, context.feed_notes)),
    )


def _rules(
    context: RecordingContext, recorder: _Recorder, paths: Sequence[str]
) -> RulesEntry | None:
    """Keep the rules as they were merged, without what is for compilers alone."""
    options = context.options
    if options.rules is None:
        return None
    data = msgspec.json.encode(replace(options.rules, targets={}))
    return RulesEntry(
        sha256=recorder.add("rules", data),
        host=options.host,
        tags=tuple(sorted(options.tags)),
        places={safe_text(path): safe_text(context.place(path)) for path in paths},
    )


def _catalog(path: str, recorder: _Recorder) -> CatalogEntry:
    name, name_hex = _names(path)
    data = read_option(path)
    return CatalogEntry(name=name, name_hex=name_hex, sha256=recorder.add("catalog", data))


def _block_list(path: str, recorder: _Recorder) -> BlockListEntry:
    digest = recorder.add("blocklist", read_option(path))
    return BlockListEntry(name=safe_text(Path(path).name), sha256=digest)


def _firmware(options: Options, recorder: _Recorder) -> FirmwareEntry:
    """Keep the files about firmware, each under the name that findings give it."""
    given = read_given(options)

    def kept(file: tuple[str, bytes]) -> BlockListEntry:
        return BlockListEntry(name=safe_text(file[0]), sha256=recorder.add("firmware", file[1]))

    return FirmwareEntry(
        dbx=tuple(map(kept, given.dbx)),
        dbt=tuple(map(kept, given.dbt)),
        level=kept(given.level) if given.level else None,
        after=options.after,
    )


def _names(path: str) -> tuple[str, str]:
    """Return a name as text, and in hex where the text is not the name."""
    name = safe_text(path)
    return name, "" if name == path else path.encode("utf-8", "surrogateescape").hex()
