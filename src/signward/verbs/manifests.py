"""Manifests of trees, made and checked: how whole trees without signatures become signed.

A manifest is made of a tree as it stands; made anew of an older one it takes over the digests of
files that are the very same by identity: inode, size, and the times of their last modification
and status change (the latter no program can set).  A file changed shortly before it was read
could be changed again within the same tick of the clock, so no identity is kept of it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from signward.envelopes import dsse
from signward.errors import BadInputError, EvidenceError, NotSignableError, SigningError
from signward.formats._manifest import (
    MAX_FILES,
    PAYLOAD_TYPE,
    Digests,
    File,
    FileNotes,
    Folder,
    Link,
    Predicate,
    Statement,
    read,
    written,
)
from signward.frozen import Frozen
from signward.policy.record import safe_text
from signward.state import TreeEntry
from signward.trust.pem import CERTIFICATES, blocks
from signward.trust.sealed import open_sealed, read_keys
from signward.verbs.options import read_option
from signward.verbs.remembered import check_news
from signward.verbs.sealing import Sealer, opened_sealer
from signward.wire.source import Identity, whole_digest
from signward.wire.tree import FolderTree
from signward.wire.whole import write_whole

YOUNG_NS = 2_000_000_000
"""A file changed this shortly before the walk gets no identity: FAT's clock ticks in 2 s."""

_MODE = 0o644

Watch = Callable[[Sequence[TreeEntry]], Iterable[TreeEntry]]
"""Passes entries on, and may draw how far the work is."""


class ManifestOptions(Frozen, frozen=True, kw_only=True):
    """What is asked for; ``old`` is the manifest that is brought up to date, empty for none.

    ``old_keys`` are files of the keys it may be signed with, where that is another than ``key``;
    ``least`` is the least version; ``at`` is aware UTC.
    """

    tree: str
    output: str
    key: str
    at: datetime
    certificates: tuple[str, ...] = ()
    pass_file: str = ""
    name: str = ""
    old: str = ""
    old_keys: tuple[str, ...] = ()
    least: int = 1


class Made(Frozen, frozen=True, kw_only=True):
    """What was made: ``hashed`` files were read, ``kept`` ones taken over.

    ``others`` are names of what is neither file, link nor folder: they are not listed.
    ``named``: certificates of the key stand in it.
    """

    version: int
    hashed: int
    kept: int
    links: int
    folders: int
    others: tuple[str, ...]
    named: bool


class Difference(Frozen, frozen=True, kw_only=True):
    """One name that is not as signed; ``kind`` is ``added``, ``changed`` or ``missing``."""

    kind: str
    path: str
    found: str
    required: str


class Checked(Frozen, frozen=True, kw_only=True):
    """A tree held against its manifest."""

    name: str
    version: int
    names: int
    differences: tuple[Difference, ...]


def make_manifest(options: ManifestOptions, watch: Watch = iter) -> Made:
    """Write a signed manifest of a tree; whole, or not at all.

    Raises ``SigningError`` (``KeyProviderError`` among them), ``EvidenceError`` for an old
    manifest that does not count, ``BadInputError`` and ``UnreadableError`` for the tree.
    """
    _check_output(options)
    with opened_sealer(options.key, options.pass_file) as sealer, FolderTree(options.tree) as tree:
        old = _old(options, sealer)
        survey = _Survey(tree, options.at, old)
        files = tuple(survey.files(watch))
        version = max(options.least, old.predicate.version + 1 if old else 1)
        name = options.name or (old.predicate.name if old else _tree_name(options.tree))
        statement = Statement(
            subject=files,
            predicate=Predicate(name=name, version=version, made=options.at,
                                folders=survey.folders(), links=survey.links()),
        )  # fmt: skip
        certificates = _certificates(options, sealer)
        envelope = sealer.seal(PAYLOAD_TYPE, written(statement), certificates)
        if len(envelope) > dsse.MAX_OCTETS:
            raise NotSignableError(options.output, f"{len(envelope)} octets",
                                   f"at most {dsse.MAX_OCTETS}: a manifest for each part of the "
                                   "tree")  # fmt: skip
        tree.check_unchanged()
        _write(options.output, envelope)
        return Made(
            version=version, hashed=survey.hashed, kept=len(files) - survey.hashed,
            links=len(statement.predicate.links), folders=len(statement.predicate.folders),
            others=survey.others(), named=bool(certificates),
        )  # fmt: skip


def check_manifest(tree: str, manifest: str, keys: Sequence[str], watch: Watch = iter) -> Checked:
    """Hold a tree against its manifest, signed by one of the keys in these files.

    Raises ``EvidenceError`` for a manifest that does not count (an older one than was seen here
    before does not), ``UnreadableError`` for a tree that cannot be read or changes meanwhile.
    """
    data = read_option(manifest)
    key, statement = _opened(manifest, data, _read_keys(keys))
    payload = dsse.open_envelope(data).claimed_payload
    predicate, digest = statement.predicate, hashlib.sha256(payload).digest()
    check_news(manifest, f"key:{dsse.key_id(key)}", predicate.name, predicate.version, digest)
    with FolderTree(tree) as stands:
        differences = tuple(_differences(stands, statement, watch))
        stands.check_unchanged()
    return Checked(name=predicate.name, version=predicate.version, names=statement.names,
                   differences=differences)  # fmt: skip


class _Survey:
    """Everything in a tree that a manifest lists."""

    def __init__(self, tree: FolderTree, at: datetime, old: Statement | None) -> None:
        self._tree = tree
        self._before_ns = min(int(at.timestamp()) * 1_000_000_000, time.time_ns()) - YOUNG_NS
        self._known = {file.name: file for file in old.subject} if old else {}
        self._entries = tree.entries()
        if len(self._entries) > MAX_FILES:
            raise NotSignableError(tree.name, f"{len(self._entries)} names",
                                   f"at most {MAX_FILES}: a manifest for each part of the "
                                   "tree")  # fmt: skip
        for entry in self._entries:
            _check_text(entry.path)
            _check_text(entry.target)
        self.hashed = 0

    def files(self, watch: Watch) -> Iterator[File]:
        """Yield the regular files, reading those that are not known by identity."""
        for entry in watch(self._of("file")):
            seen = self._seen(self._tree.identity(entry.path))
            notes = FileNotes(mode=_mode(entry), size=entry.size, seen=seen)
            yield File(name=entry.path, digest=Digests(self._digest(entry, seen)),
                       annotations=notes)  # fmt: skip

    def folders(self) -> tuple[Folder, ...]:
        """Return the folders below the tree's own."""
        return tuple(Folder(name=e.path, mode=_mode(e)) for e in self._of("directory"))

    def links(self) -> tuple[Link, ...]:
        """Return the symbolic links."""
        return tuple(Link(name=entry.path, target=entry.target) for entry in self._of("link"))

    def others(self) -> tuple[str, ...]:
        """Return the names of sockets, devices and pipes."""
        return tuple(entry.path for entry in self._of("other"))

    def _of(self, kind: str) -> list[TreeEntry]:
        return [entry for entry in self._entries if entry.kind == kind]

    def _seen(self, identity: Identity) -> str:
        """Return the identity as a manifest has it; empty for a file that is too young."""
        if max(identity.mtime_ns, identity.ctime_ns) >= self._before_ns:
            return ""
        return f"{identity.inode:x}-{identity.mtime_ns:x}-{identity.ctime_ns:x}"

    def _digest(self, entry: TreeEntry, seen: str) -> str:
        known = self._known.get(entry.path)
        notes = known.annotations if known else None
        if known and notes and seen and (notes.seen, notes.size) == (seen, entry.size):
            return known.digest.sha256
        self.hashed += 1
        return whole_digest(self._tree.open(entry.path), "sha256").hex()


def _mode(entry: TreeEntry) -> str:
    return f"{entry.mode:04o}"


def _check_text(name: str) -> None:
    if safe_text(name) != name:
        raise NotSignableError(safe_text(name), "a name that is no UTF-8", "one that is",
                               hint="a manifest is JSON, which holds names as Unicode")  # fmt: skip


def _tree_name(tree: str) -> str:
    return safe_text(Path(tree).resolve().name) or "/"


def _check_output(options: ManifestOptions) -> None:
    """Raise ``SigningError`` for an output in the tree, or one that would replace another file."""
    output, tree = Path(options.output).absolute(), Path(options.tree).resolve()
    if output.parent.resolve().is_relative_to(tree):
        raise SigningError(options.output, "a place in the tree", "one outside it",
                           hint="a manifest cannot list itself")  # fmt: skip
    renewed = options.old and output.exists() and output.samefile(options.old)
    if output.exists() and not renewed:
        raise SigningError(options.output, "a file of that name",
                           "a new name, or that of the manifest that is updated")  # fmt: skip


def _old(options: ManifestOptions, sealer: Sealer) -> Statement | None:
    """Return the manifest to update.  Raises ``EvidenceError`` for one by other keys."""
    if not options.old:
        return None
    keys = (sealer.public_key, *(_read_keys(options.old_keys) if options.old_keys else ()))
    return _opened(options.old, read_option(options.old), keys)[1]


def _opened(name: str, data: bytes, keys: Sequence[bytes]) -> tuple[bytes, Statement]:
    """Return which of the keys signed a manifest, and what it says.  Raises ``EvidenceError``."""
    failure: EvidenceError | None = None
    for key in keys:
        try:
            return key, read(open_sealed(name, data, [key], PAYLOAD_TYPE))
        except EvidenceError as error:
            failure = failure or error
        except BadInputError as error:
            raise EvidenceError(f"{name}: {error}") from None
    raise failure or EvidenceError(f"{name}: required a key that it is signed with: --key PEM")


def _read_keys(paths: Sequence[str]) -> tuple[bytes, ...]:
    return tuple(dict.fromkeys(k for path in paths for k in read_keys(path, read_option(path))))


def _certificates(options: ManifestOptions, sealer: Sealer) -> tuple[bytes, ...]:
    """Return the signer's certificates, the leaf's first; empty where there are none.

    Raises ``SigningError`` for certificates of another key: nobody could use the manifest.
    """
    given = tuple(
        block for path in options.certificates
        for block in blocks(path, read_option(path), CERTIFICATES)
    )  # fmt: skip
    found = tuple(dict.fromkeys((*given, *sealer.certificates)))
    if not found:
        return ()
    from signward.trust.x509 import load_certificate

    leaves = [one for one in found if load_certificate(one).spki == sealer.public_key]
    if not leaves:
        raise SigningError("--certificate", "certificates of other keys", "one of --key's")
    return (leaves[0], *(one for one in found if one != leaves[0]))


def _write(output: str, data: bytes) -> None:
    try:
        write_whole(Path(output), data, mode=_MODE)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise SigningError(output, why, "a place that can be written") from None


def _differences(tree: FolderTree, signed: Statement, watch: Watch) -> Iterator[Difference]:
    """Yield what is not as signed, in the order of its names; files are read only where needed."""
    predicate = signed.predicate
    files: Mapping[str, File] = {one.name: one for one in signed.subject}
    listed: dict[str, tuple[str, str]] = {
        **{one.name: ("file", one.annotations.mode) for one in signed.subject},
        **{one.name: ("link", one.target) for one in predicate.links},
        **{one.name: ("directory", one.mode) for one in predicate.folders},
    }
    for entry in watch(tree.entries()):
        required = listed.pop(entry.path, None)
        if required is None:
            yield _difference("added", entry.path, _words(entry), "nothing of that name")
            continue
        found = (entry.kind, entry.target if entry.kind == "link" else _mode(entry))
        if found != required:
            yield _difference("changed", entry.path, " ".join(found), " ".join(required))
        elif entry.kind == "file":
            yield from _changed_content(tree, entry, files[entry.path])
    for path, required in sorted(listed.items()):
        yield _difference("missing", path, "nothing", " ".join(required))


def _changed_content(tree: FolderTree, entry: TreeEntry, signed: File) -> Iterator[Difference]:
    if entry.size != signed.annotations.size:
        yield _difference("changed", entry.path, f"{entry.size} octets",
                          f"{signed.annotations.size} octets")  # fmt: skip
        return
    digest = whole_digest(tree.open(entry.path), "sha256").hex()
    if digest != signed.digest.sha256:
        yield _difference("changed", entry.path, f"sha256 {digest}",
                          f"sha256 {signed.digest.sha256}")  # fmt: skip


def _words(entry: TreeEntry) -> str:
    return f"{entry.kind} {entry.target if entry.kind == 'link' else _mode(entry)}"


def _difference(kind: str, path: str, found: str, required: str) -> Difference:
    return Difference(kind=kind, path=safe_text(path), found=safe_text(found), required=required)
