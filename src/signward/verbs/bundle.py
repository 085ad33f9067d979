"""Evidence bundles on disk: a folder of members and a manifest that digests them.

The format is ``docs/evidence.md``.  Members are named by their own SHA-256, the manifest
is written last, and the folder appears under its name only when it is whole.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from signward.errors import EvidenceError
from signward.frozen import decoder
from signward.policy.record import FindingRecord
from signward.policy.settings import Policy
from signward.trust.profiles import PROFILES
from signward.verbs.options import read_option

FORMAT: Literal["signward-evidence"] = "signward-evidence"
VERSION = 1

MANIFEST = "manifest.json"
MAX_MANIFEST_OCTETS = 64 * 1024 * 1024
MAX_MEMBERS = 50_000
MAX_TOTAL_OCTETS = 1024 * 1024 * 1024
"""Members are held in memory while a bundle is replayed."""

FOLDERS = {
    "anchor": "anchors",
    "certificate": "certificates",
    "crl": "crls",
    "ocsp": "ocsp",
    "catalog": "catalogs",
    "blocklist": "blocklists",
    "firmware": "firmware",
    "feed": "feeds",
    "feedkey": "keys",
    "signature": "signatures",
    "token": "tokens",
    "attribute": "attributes",
    "rules": "rules",
    "verdict": "verdicts",
}
"""Role of a member to the folder it lies in."""

_EXTENSIONS = {
    "crl": "crl",
    "catalog": "cat",
    "blocklist": "xml",
    "firmware": "bin",
    "attribute": "bin",
    "signature": "p7s",
    "feed": "json",
    "verdict": "json",
    "rules": "json",
}
_NAME = re.compile(r"[a-z]+/[0-9a-f]{64}\.[a-z0-9]{2,5}")


Instant = Annotated[datetime, msgspec.Meta(tz=True)]
"""An aware datetime: one without an offset is not read."""


class Member(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of the bundle: its path in the folder, its digest (hex) and length."""

    path: str
    role: str
    sha256: str
    size: int


class AnchorEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A trust anchor that was consulted, with the limits its store sets."""

    sha256: str
    name: str
    store: str
    usages: tuple[str, ...] | None = None
    denied_usages: tuple[str, ...] = ()
    disabled_from: Instant | None = None
    no_issue_after: Instant | None = None
    no_issue_usages: tuple[str, ...] | None = None


class StoreEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one profile's store answered: anchors by subject (raw Name, hex), in order."""

    name: str
    subjects: dict[str, tuple[AnchorEntry, ...]]
    found: tuple[AnchorEntry, ...]


class GivenEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Evidence by SHA-256, in order: what the caller gave or what was fetched."""

    certificates: tuple[str, ...] = ()
    crls: tuple[str, ...] = ()
    ocsp: tuple[str, ...] = ()


class FailureEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fetch in vain: for which certificate, from where, and what is said about it."""

    url: str
    certificate: str
    finding: FindingRecord


class CatalogEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A catalog that lists a judged file, under the path it had."""

    name: str
    name_hex: str = ""
    sha256: str


class BlockListEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A block list the caller gave, under its file's name."""

    name: str
    sha256: str


class FirmwareEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The files about firmware the caller gave, under their names; ``after`` as it was asked."""

    dbx: tuple[BlockListEntry, ...] = ()
    dbt: tuple[BlockListEntry, ...] = ()
    level: BlockListEntry | None = None
    after: Instant | None = None


class FeedEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The revocation feeds: documents and keys by SHA-256, and what was said of them."""

    documents: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    notes: tuple[FindingRecord, ...] = ()


class RulesEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rules that decided (a member's SHA-256), and what they asked of the machine.

    ``places`` are the files' real paths by the names they were judged under.
    """

    sha256: str
    host: str = ""
    tags: tuple[str, ...] = ()
    places: dict[str, str] = {}


class FileEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A judged file: the name it had, its digest and length, and its verdict.

    ``beside`` are members that stood beside its bytes: attributes, what the kernel kept.
    """

    name: str
    name_hex: str = ""
    size: int
    sha256: str
    verdict: str
    evidence: tuple[str, ...] = ()
    beside: dict[str, str] = {}


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything about a bundle that is not a certificate, CRL, answer, token or catalog."""

    format: Literal["signward-evidence"] = FORMAT
    version: int = VERSION
    signward: str
    at: Instant
    profile: str
    oldest_sdk: int = 0
    newest_sdk: int = 0
    source_stamp: bool = False
    policy: Policy
    online: bool
    stores: dict[str, StoreEntry]
    given: GivenEntry
    fetched: GivenEntry
    failures: tuple[FailureEntry, ...] = ()
    catalogs: tuple[CatalogEntry, ...] = ()
    block_lists: tuple[BlockListEntry, ...] = ()
    feeds: FeedEntry = FeedEntry()
    firmware: FirmwareEntry = FirmwareEntry()
    rules: RulesEntry | None = None
    files: tuple[FileEntry, ...] = ()
    members: tuple[Member, ...] = ()


class _Head(msgspec.Struct):
    """What every version of a manifest begins with."""

    format: str = ""
    version: int = 0
    signward: str = ""


class Bundle:
    """A manifest and its members in memory, by SHA-256 (hex)."""

    def __init__(self, manifest: Manifest, blobs: Mapping[str, bytes]) -> None:
        self.manifest, self._blobs = manifest, blobs

    def blob(self, sha256: str) -> bytes:
        """Return the member with this digest.  Raises ``EvidenceError`` if there is none."""
        try:
            return self._blobs[sha256]
        except KeyError:
            raise EvidenceError(f"evidence: member {sha256} is missing") from None


def member_of(role: str, data: bytes) -> Member:
    """Return the manifest's entry for a member."""
    digest = hashlib.sha256(data).hexdigest()
    path = f"{FOLDERS[role]}/{digest}.{_EXTENSIONS.get(role, 'der')}"
    return Member(path=path, role=role, sha256=digest, size=len(data))


def check_free(folder: Path) -> None:
    """Raise ``EvidenceError`` unless a bundle can appear at ``folder``: absent or empty."""
    try:
        if folder.is_dir() and not any(folder.iterdir()):
            return
        taken = folder.exists() or folder.is_symlink()
    except OSError as error:
        raise EvidenceError(f"{folder}: {error.strerror}") from None
    if taken:
        raise EvidenceError(f"{folder}: found something there, required a new or empty folder")


def write_bundle(folder: Path, manifest: Manifest, blobs: Mapping[str, bytes]) -> str:
    """Write a bundle whole or not at all; return its manifest's SHA-256 (hex).

    Raises ``EvidenceError``.
    """
    check_free(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.new-"))
    except OSError as error:
        raise EvidenceError(f"{folder}: {error.strerror}") from None
    data = msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"
    try:
        for member in manifest.members:
            _write(draft / member.path, blobs[member.sha256])
        _write(draft / MANIFEST, data)
        draft.chmod(0o755)
        draft.rename(folder)
    except OSError as error:
        raise EvidenceError(f"{folder}: {error.strerror}") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return hashlib.sha256(data).hexdigest()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle and check every member against its manifest.

    Raises ``EvidenceError`` for an unknown version, and for any member that is absent,
    changed, misnamed or too large.  Files the manifest does not name are ignored.
    """
    manifest = read_manifest(folder)
    if len(manifest.members) > MAX_MEMBERS:
        raise EvidenceError(f"{folder}: {len(manifest.members)} members, at most {MAX_MEMBERS}")
    if sum(abs(member.size) for member in manifest.members) > MAX_TOTAL_OCTETS:
        raise EvidenceError(f"{folder}: more than {MAX_TOTAL_OCTETS} bytes of members")
    return Bundle(manifest, {m.sha256: _read_member(folder, m) for m in manifest.members})


def _read_member(folder: Path, member: Member) -> bytes:
    name = folder / member.path
    if not _NAME.fullmatch(member.path) or not member.path.startswith(
        f"{FOLDERS.get(member.role, '?')}/{member.sha256}."
    ):
        raise EvidenceError(f"{name}: found no name of a member")
    data = read_option(str(name))
    if (len(data), hashlib.sha256(data).hexdigest()) != (member.size, member.sha256):
        raise EvidenceError(f"{name}: found other bytes than the manifest digests")
    return data


def read_manifest(folder: Path) -> Manifest:
    """Read a bundle's manifest.  Raises ``EvidenceError``."""
    path = folder / MANIFEST
    data = read_option(str(path))
    if len(data) > MAX_MANIFEST_OCTETS:
        raise EvidenceError(f"{path}: {len(data)} bytes, at most {MAX_MANIFEST_OCTETS}")
    try:
        head = decoder(_Head).decode(data)
        if head.format != FORMAT:
            raise EvidenceError(f"{path}: no manifest of an evidence bundle")
        if head.version != VERSION:
            found = f"bundle version {head.version} (Signward {head.signward})"
            raise EvidenceError(f"{path}: found {found}, required version {VERSION}")
        manifest = decoder(Manifest).decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EvidenceError(f"{path}: {error}") from None
    if manifest.profile not in ("", *PROFILES) or manifest.policy.trust.sha1_cutoff.tzinfo is None:
        raise EvidenceError(f"{path}: found a profile or policy that is none")
    return manifest
