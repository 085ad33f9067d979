"""The header of an installed RPM, out of a database, as what its package's signer signed.

The signatures stand behind the header's region, where nothing covers them, under the tags that
they have in a package.  Of signatures over header and payload nothing can be said: there is no
payload any more.
"""

from __future__ import annotations

import hashlib

from signward.formats._rpm_layout import OF_HEADER, signatures_of
from signward.frozen import replace
from signward.state import Manifest, SignedArtifact, Wanted
from signward.wire.rpm import Header
from signward.wire.source import BytesSource


def installed_artifact(header: Header, database: str) -> SignedArtifact:
    """Return a header with the signatures over it.

    Raises ``MalformedError`` and ``LimitError``.
    """
    added = {tag: entry for tag, entry in header.behind.items() if tag in OF_HEADER}
    found = [one for _, one in signatures_of(replace(header, entries=added, behind={}))]
    return SignedArtifact(
        format="rpm",
        source=BytesSource(database, header.signed),
        signatures=tuple(one.claimed for one in found),
        required={one.claimed.label: frozenset({one.claimed.over}) for one in found},
        profile="openpgp",
        layout={one.claimed.over: (one.before, one.behind) for one in found},
    )


def installed_digests(artifact: SignedArtifact, wanted: Wanted) -> Manifest:
    """Compute the digests of what each signature hashes."""
    signed = artifact.source.read(0, artifact.source.length)
    found = {}
    for slot, algorithm in wanted:
        before, behind = artifact.layout[slot]
        hasher = hashlib.new(algorithm, before + signed + behind, usedforsecurity=False)
        found[slot, algorithm] = hasher.digest()
    return found
