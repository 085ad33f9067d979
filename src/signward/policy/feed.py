"""What a revocation feed says of publishers and files: they are refused whatever their dates.

A certificate's entry is evidence and judged by its profile (``trust.revocation``): a signature
that is proven to be older may stand.  A publisher or a file is revoked as such.  An entry counts
from its own instant on, so that a judgement of the past is what it would have been.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from signward.findings import Code, Effect, Finding
from signward.state import Publisher
from signward.trust.feed import Entry, Feed

ContentDigest = tuple[str, str, bytes]
"""What was digested ("file" or "content"), the algorithm, the digest."""


def publisher_findings(
    feeds: Sequence[Feed], publisher: Publisher, at: datetime
) -> Iterator[Finding]:
    """Yield a finding for each feed that has revoked the publisher by ``at``."""
    for feed in feeds:
        entry = feed.publisher(publisher.identity)
        if entry is not None and entry.since <= at:
            found = f"publisher {publisher.name} ({publisher.identity}) revoked {_told(entry)}"
            yield _finding(Code.PUBLISHER_REVOKED, feed, found, "a publisher that is not")


def digest_findings(
    feeds: Sequence[Feed], digests: Iterable[ContentDigest], at: datetime
) -> Iterator[Finding]:
    """Yield a finding for each feed that has revoked a file of these digests by ``at``."""
    known = tuple(dict.fromkeys(digests))
    for feed in feeds:
        for of, algorithm, value in known:
            entry = feed.digest(of, algorithm, value)
            if entry is not None and entry.since <= at:
                found = f"{of} digest {algorithm} {value.hex()} revoked {_told(entry)}"
                yield _finding(Code.DIGEST_REVOKED, feed, found, "a file that is not")
                break


def _told(entry: Entry) -> str:
    note = f": {entry.note}" if entry.note else ""
    return f"{entry.since:%Y-%m-%dT%H:%M:%SZ}{note}"


def _finding(code: Code, feed: Feed, found: str, required: str) -> Finding:
    return Finding(
        code=code,
        effect=Effect.REJECT,
        subject=feed.label,
        found=found,
        required=required,
        clause="revocation feed",
    )
