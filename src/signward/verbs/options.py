"""Options of a run: what the caller asks for, as plain picklable data."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from signward.errors import EvidenceError, UnreadableError
from signward.findings import Finding
from signward.frozen import Frozen, replace
from signward.policy.settings import Policy
from signward.state import Stage
from signward.wire.source import open_source

if TYPE_CHECKING:
    from signward.policy.rules.model import RuleSet

MAX_OPTION_FILE = 256 * 1024 * 1024
"""Largest anchor, CRL, OCSP or certificate file read; a CRL of a million entries has 40 MB."""


class PackageOptions(Frozen, frozen=True, kw_only=True):
    """Whose packages may vouch for files: those of the system below ``root``.

    ``debs`` are folders of package files; ``ledger`` is the file in which what was read is kept
    between runs (empty: the usual one).
    """

    root: str = "/"
    debs: tuple[str, ...] = ()
    ledger: str = ""


class Options(Frozen, frozen=True, kw_only=True):
    """What the caller asks for.  Paths are strings, ``at`` is aware UTC.

    ``digest_lists`` are files, each with that of the signature beside it, empty for none;
    ``device_claims`` what devices printed of their images;
    ``keyrings`` are files and folders of keys that no X.509 certificate holds, ``revoked`` lists
    of SSH keys that are withdrawn, ``trusted_root`` is the file of the Sigstore
    that is trusted instead of the public one.
    With neither ``stores`` nor ``anchors`` each profile uses the store of its name.
    ``online_private`` lets fetching reach private and loopback addresses, ``online_nonce``
    asks OCSP responders under a nonce and past all caches.  ``feeds`` are files and URLs;
    ``verbs.feeds.followed`` makes files of them all, and ``feed_notes`` of what is to be said.
    ``rules`` decide what the signatures are worth is let in, ``host`` and ``tags`` are the machine
    they ask for.  ``dbx``, ``dbt`` and ``sbat_level`` are files about firmware, ``after`` when the
    last write of a UEFI variable was.  ``oldest_sdk`` and ``newest_sdk`` are the Android
    platforms that answers about its packages are for, ``source_stamp`` asks for their stamps too.
    ``asked`` are digests wanted of every file besides those that rules ask for, in the words of
    ``Index.asked``: an inventory keeps them for policies to come.  ``packages`` is the system whose
    packages may vouch for files.
    """

    stores: tuple[str, ...] = ()
    anchors: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()
    crls: tuple[str, ...] = ()
    ocsp: tuple[str, ...] = ()
    keyrings: tuple[str, ...] = ()
    revoked: tuple[str, ...] = ()
    trusted_root: str = ""
    catalogs: tuple[str, ...] = ()
    digest_lists: tuple[tuple[str, str], ...] = ()
    device_claims: tuple[str, ...] = ()
    block_lists: tuple[str, ...] = ()
    dbx: tuple[str, ...] = ()
    dbt: tuple[str, ...] = ()
    sbat_level: str = ""
    after: datetime | None = None
    feeds: tuple[str, ...] = ()
    feed_keys: tuple[str, ...] = ()
    feed_notes: tuple[Finding, ...] | None = None
    profile: str = ""
    oldest_sdk: int = 0
    newest_sdk: int = 0
    source_stamp: bool = False
    at: datetime | None = None
    online: bool = False
    online_private: bool = False
    online_nonce: bool = False
    policy: Policy = msgspec.field(default_factory=Policy)
    rules: RuleSet | None = None
    host: str = ""
    tags: frozenset[str] = frozenset()
    asked: frozenset[str] = frozenset()
    packages: PackageOptions | None = None


def stopping_at(options: Options, stage: Stage) -> Options:
    """Return the same options for a judgement that goes no further than ``stage``."""
    return replace(options, policy=replace(options.policy, stage=stage))


def read_option(path: str) -> bytes:
    """Return the bytes of a file the caller named.  Raises ``EvidenceError``."""
    try:
        with open_source(path) as source:
            if source.length > MAX_OPTION_FILE:
                raise EvidenceError(f"{path}: {source.length} bytes, at most {MAX_OPTION_FILE}")
            return source.read(0, source.length)
    except UnreadableError as error:
        raise EvidenceError(str(error)) from None
