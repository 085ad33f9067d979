"""Revocation feeds of a run: fetched once, then files like any other evidence.

A feed named by URL is asked for when a run begins; what counts afterwards is the file that
holds the last good document, so that every worker, the scan's cache and an evidence bundle
see the same one.  What was wrong with a feed becomes a note on each judged signature.

Every run loads this module and few have a feed: what reads feeds is imported where there is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING

from signward.errors import EvidenceError
from signward.findings import Code, Effect, Finding
from signward.frozen import replace
from signward.policy.publisher import publisher_of
from signward.state import (
    JudgedSignature,
    Manifest,
    SignedArtifact,
    Source,
    Stage,
    TrustedSignature,
    Wanted,
)
from signward.trust.settings import RevocationMode
from signward.verbs.options import Options, read_option
from signward.verbs.stages import is_part, judged_all
from signward.wire.source import whole_digest

if TYPE_CHECKING:
    from signward.fetch.feed import Pulled
    from signward.policy.feed import ContentDigest
    from signward.trust.feed import Feed
    from signward.verbs.context import Context

_CONTENT_SLOTS = ("image", "text")
"""Slots that speak for all content of images and scripts: asked for where no signature does."""

_MOST_TOLD = 200
"""Characters of a problem that a note repeats."""

_GRAVE = {
    RevocationMode.PREFER: Effect.WARN,
    RevocationMode.REQUIRE: Effect.UNKNOWN,
    RevocationMode.IGNORE: Effect.NOTE,
}
"""What it does to a verdict that no feed which still counts is at hand."""


def followed(options: Options) -> Options:
    """Return the options with every feed a file, and with what is to be said about them.

    Options that were followed already are returned as they are.  Raises ``EvidenceError`` for
    a file that is no feed by the given keys, and where keys are missing.
    """
    if not options.feeds or options.feed_notes is not None:
        return options
    from signward.trust.feed import open_feed

    now = datetime.now(UTC)
    keys = feed_keys(options)
    mode = options.policy.trust.revocation
    paths: list[str] = []
    notes: list[Finding] = []
    for name in options.feeds:
        path = name
        if is_url(name):
            path, noted = _followed_url(name, keys, now, mode)
            notes += noted
        if path:
            paths.append(path)
            feed = open_feed(path, read_option(path), keys)
            notes += _ended(feed, options.at or now, mode)
    return replace(options, feeds=tuple(paths), feed_notes=tuple(dict.fromkeys(notes)))


def is_url(name: str) -> bool:
    """Say whether a feed is named by URL."""
    return name.startswith(("http://", "https://"))


def feed_keys(options: Options) -> tuple[bytes, ...]:
    """Return the public keys (DER) that feeds may be signed with.  Raises ``EvidenceError``."""
    return _read_keys(options.feed_keys)


def _read_keys(paths: Sequence[str]) -> tuple[bytes, ...]:
    from signward.trust.sealed import read_keys

    keys = [key for path in paths for key in read_keys(path, read_option(path))]
    if not keys:
        raise EvidenceError("--feed: found no key, required the one that signs it: --feed-key PEM")
    return tuple(dict.fromkeys(keys))


def pulled(url: str, key_files: Sequence[str], *, wait: int = 0) -> Pulled:
    """Ask for a feed now, or wait for news of it; keep the last good one.

    Raises ``EvidenceError`` for keys that cannot be read, and where nothing can be kept.
    """
    from signward.fetch.feed import default_folder, pull

    return pull(url, _read_keys(key_files), default_folder(), datetime.now(UTC), wait=wait)


def load_feeds(options: Options) -> tuple[Feed, ...]:
    """Return the feeds of followed options.  Raises ``EvidenceError``."""
    if not options.feeds:
        return ()
    from signward.trust.feed import open_feed

    keys = feed_keys(options)
    return tuple(open_feed(path, read_option(path), keys) for path in options.feeds)


def _followed_url(
    url: str, keys: Sequence[bytes], now: datetime, mode: RevocationMode
) -> tuple[str, list[Finding]]:
    """Ask for a feed; return the file of the last good one (or nothing) and what to say."""
    from signward.fetch.feed import default_folder, pull

    got = pull(url, keys, default_folder(), now)
    if not got.problem:
        return str(got.path or ""), []
    mild = Effect.WARN if got.refused else Effect.NOTE
    effect = mild if got.feed else _GRAVE[mode]
    kept = f"{got.feed.label} counts" if got.feed else "no feed counts"
    hint = "somebody may be hiding revocations: compare with another way to it"
    note = _note(url, got.problem, f"the feed, renewed ({kept})", effect,
                 hint if got.refused else "")  # fmt: skip
    return str(got.path or ""), [note]


def _ended(feed: Feed, at: datetime, mode: RevocationMode) -> Iterator[Finding]:
    if feed.is_over(at):
        found = f"a document that ended {feed.document.expires:%Y-%m-%dT%H:%M:%SZ}"
        yield _note(feed.label, found, "one that has not: what was revoked since is not in it",
                    _GRAVE[mode], "")  # fmt: skip


def _note(subject: str, found: str, required: str, effect: Effect, hint: str) -> Finding:
    return Finding(
        code=Code.REVOCATION_FEED,
        effect=effect,
        subject=subject[:_MOST_TOLD],
        found=found[:_MOST_TOLD],
        required=required,
        clause="revocation feed",
        hint=hint,
    )


def listed_content(context: Context) -> Wanted:
    """Return the slots whose digests the run's feeds may name."""
    algorithms = frozenset[str]().union(*(feed.content_algorithms for feed in context.feeds))
    return frozenset((slot, name) for slot in _CONTENT_SLOTS for name in algorithms)


def file_revoked(source: Source, context: Context) -> tuple[Finding, ...]:
    """Return findings of feeds that have revoked a file by the digest of all its octets."""
    if not context.feeds:
        return ()
    from signward.policy.feed import digest_findings

    algorithms = frozenset[str]().union(*(feed.file_algorithms for feed in context.feeds))
    digests = [("file", name, whole_digest(source, name)) for name in sorted(algorithms)]
    return _effective(digest_findings(context.feeds, digests, context.at), context)


def publishers_revoked(judged: Sequence[JudgedSignature], context: Context) -> tuple[Finding, ...]:
    """Return a finding for each feed that has revoked who signed for a file in another's list."""
    if not context.feeds:
        return ()
    from signward.policy.feed import publisher_findings

    trusted = (one for one in judged if isinstance(one, TrustedSignature))
    found = (publisher_findings(context.feeds, publisher_of(one), context.at) for one in trusted)
    return _effective(chain.from_iterable(found), context)


def revoked_by_feed(
    artifact: SignedArtifact,
    judged: Sequence[JudgedSignature],
    computed: Manifest,
    context: Context,
) -> tuple[Finding, ...]:
    """Return a finding for each feed that has revoked the artifact or one of its publishers.

    Before the stage that asks whether a file is wanted they only warn.
    """
    if not context.feeds:
        return ()
    from signward.policy.feed import digest_findings, publisher_findings

    found = list(digest_findings(context.feeds, _content(computed), context.at))
    for signature in _makers(artifact, judged, context):
        publisher = publisher_of(signature)
        found += publisher_findings(context.feeds, publisher, context.at)
    return (*file_revoked(artifact.source, context), *_effective(found, context))


def _effective(found: Iterator[Finding] | list[Finding], context: Context) -> tuple[Finding, ...]:
    effect = Effect.REJECT if context.policy.stage is Stage.ACCEPTED else Effect.WARN
    return tuple(finding.with_effect(effect) for finding in dict.fromkeys(found))


def _content(computed: Mapping[tuple[str, str], bytes]) -> Iterator[ContentDigest]:
    """Yield the digests of whole contents, as a verdict shows them."""
    for (slot, algorithm), value in computed.items():
        if not is_part(slot):
            yield "content", algorithm, value


def _makers(
    artifact: SignedArtifact, judged: Sequence[JudgedSignature], context: Context
) -> Iterator[TrustedSignature]:
    """Yield the trusted signatures; who countersigned is no maker of the file."""
    if context.policy.stage is Stage.INTACT:
        return
    for signature in judged_all(artifact, judged, context):
        if isinstance(signature, TrustedSignature) and not signature.intact.claimed.countersigns:
            yield signature
