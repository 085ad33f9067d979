"""Subjects: what is known of one file when rules are held against it.

A subject is plain data, so that a verdict just reached, a record of a scan and a line of an
enforcer's own log can be judged alike.  What its source does not tell stands in ``unknown``, by
the names of `UNKNOWABLE`: a condition on such a field is neither met nor unmet.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

import msgspec

from signward.frozen import Frozen
from signward.state import Outcome, Status

Version = tuple[int, int, int, int]

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
"""An instant with its zone: another would compare with no other."""

UNKNOWABLE = frozenset({
    "path", "kind", "digest:file", "digest:authenticode", "digest:cdhash", "digest:oci",
    "signers", "signers.certificate", "signers.tbs", "signers.ekus", "signers.key",
    "signers.subject", "signers.digest", "proven-time", "revocation", "product", "original-name",
    "internal-name", "bundle-id", "version", "origin", "catalog", "host",
})  # fmt: skip
"""What a source may not know; ``signers.X``: there are signers, but not this of them.

A name excuses only what is not there: a value that is told counts all the same."""


class Signer(Frozen, frozen=True, kw_only=True):
    """A trusted signer.  Digests are lower-case hex; sequences run leaf first.

    ``subject`` maps `PublisherMatch`'s names (``common_name`` ...) to the leaf's values, ``tbs``
    are ``ALGORITHM:HEX``, ``key_kind`` is like ``rsa-3072`` or ``ec-256``, ``digest`` the
    content digest's algorithm, ``begins`` the leaf's notBefore.
    """

    identity: str = ""
    subject: Mapping[str, str] = msgspec.field(default_factory=dict)
    certificates: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    tbs: tuple[str, ...] = ()
    ekus: tuple[str, ...] = ()
    key: str = ""
    key_kind: str = ""
    digest: str = ""
    team_id: str = ""
    keyless_identity: str = ""
    keyless_issuer: str = ""
    begins: Instant | None = None
    proven: Instant | None = None
    revocation: Status = Status.UNKNOWN
    logged: bool = False


class Origin(Frozen, frozen=True, kw_only=True):
    """The package or image a file is of; see `model.OriginMatch`."""

    kind: str
    name: str
    repository: str = ""


class Subject(Frozen, frozen=True, kw_only=True):
    """One file on one host.  ``digests`` are written as in rules, ``OF:ALGORITHM:HEX``.

    ``partial`` are those that do not answer for all of the file: one that a rule names leaves open
    whether it is that file.
    ``catalogs`` are the digests, ``sha256:HEX``, of catalog files that list it and are trusted;
    ``file_class`` is that of ``policy.rules.kinds``, ``classes`` those among which it must be where
    ``kind`` is unknown and a source tells that much; ``outcome`` and ``cause`` are what the
    signature alone is worth (a file in no trusted hands is REJECTED, with ``unsigned`` say).
    """

    path: str
    host: str = ""
    tags: frozenset[str] = frozenset()
    kind: str = ""
    file_class: str = ""
    classes: frozenset[str] = frozenset()
    digests: frozenset[str] = frozenset()
    partial: frozenset[str] = frozenset()
    signers: tuple[Signer, ...] = ()
    product: str = ""
    original_name: str = ""
    internal_name: str = ""
    bundle_id: str = ""
    version: Version | None = None
    origins: tuple[Origin, ...] = ()
    catalogs: tuple[str, ...] = ()
    outcome: Outcome = Outcome.INDETERMINATE
    cause: str = ""
    unknown: frozenset[str] = frozenset()
