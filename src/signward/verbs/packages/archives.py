"""The archives that a system takes packages from: their Releases, judged, and the lists under them.

Per repository of the sources, in order: its InRelease, or Release and Release.gpg, in apt's lists;
the signatures judged by the keys that the sources ask for; the Release is of the suite that was
asked for, has not ended, and is no older than one that counted here before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from signward.envelopes.openpgp_cert import read_certificate
from signward.envelopes.openpgp_clear import read_clear
from signward.errors import BadInputError, EvidenceError, OlderError
from signward.findings import Code, Effect, Finding
from signward.formats import ParseOptions
from signward.formats._beside import OpenPgpFormat
from signward.formats.clearsigned import ClearSignedFormat
from signward.frozen import Frozen
from signward.integrity import check_regions, wanted_slots
from signward.inventory.packages import Warrant
from signward.inventory.packages.release import Release, read_release
from signward.inventory.packages.rooted import Root
from signward.inventory.packages.sources import Repository, read_sources
from signward.policy.settings import Policy, SignatureRule
from signward.state import (
    BrokenSignature,
    HeldKey,
    JudgedSignature,
    SignedArtifact,
    Stage,
    TrustedSignature,
)
from signward.verbs.context import Context
from signward.verbs.keyrings import ENDINGS, Keyring, read_keyring
from signward.verbs.options import Options
from signward.verbs.remembered import check_news
from signward.verbs.stages import judge_signatures
from signward.wire.source import BytesSource

LISTS = "/var/lib/apt/lists"
SOURCES = "/etc/apt/sources.list"
TRUSTED = "/etc/apt/trusted.gpg"

MAX_SMALL = 64 * 1024 * 1024
"""Octets of a Release, a keyring or a file of sources; Debian's largest have 2 million."""

_CLAUSE = "apt-secure(8)"


class Archive(Frozen, frozen=True, kw_only=True):
    """A suite whose Release is at hand; ``text`` is the SHA-256 (hex) of what is signed in it."""

    repository: Repository
    release: Release
    text: str
    warrant: Warrant


def sources_of(root: Root) -> tuple[list[Repository], list[str]]:
    """Return the repositories of a system, and what could not be read."""
    found: dict[str, Repository] = {}
    troubles = list[str]()
    paths = [SOURCES, *root.files(f"{SOURCES}.d", ".list", ".sources")]
    for path in paths:
        data = root.read(path, MAX_SMALL)
        try:
            for one in read_sources(data, path) if data is not None else ():
                found.setdefault(one.prefix, one)
        except (BadInputError, ValueError) as error:
            troubles.append(f"{path}: {error}")
    return list(found.values()), troubles


def read_archives(root: Root, context: Context) -> tuple[tuple[Archive, ...], tuple[str, ...]]:
    """Return the archives of a system whose Release is at hand, and what could not be read.

    Only of the running system it is remembered how new its Releases are: images of others are
    rightly older.
    """
    repositories, troubles = sources_of(root)
    keys = _Keys(root, context)
    archives = list[Archive]()
    for one in repositories:
        try:
            archive = _archive(one, root, keys, context)
        except BadInputError as error:
            troubles.append(str(error))
            continue
        if archive is not None:
            archives.append(archive)
    return tuple(archives), (*troubles, *keys.troubles)


def _archive(one: Repository, root: Root, keys: _Keys, context: Context) -> Archive | None:
    """Return a repository's archive; None where it has no Release at hand."""
    opened = _opened(one, root)
    if opened is None:
        return None
    path, text, form, content = opened
    release = read_release(text)
    judge = _judging(context).holding(keys.of(one))
    signatures, spoils = _judged(form, BytesSource(path, content), judge)
    findings = (*spoils, *_about(one, release, path, context))
    if root.is_running and any(isinstance(s, TrustedSignature) for s in signatures):
        findings = (*findings, *_rolled_back(one, release, path))
    return Archive(
        repository=one,
        release=release,
        text=hashlib.sha256(text).hexdigest(),
        warrant=Warrant(
            source=path,
            signatures=signatures,
            findings=findings,
            facts={"archive": release.title, "archive-date": f"{release.date:%Y-%m-%dT%H:%M:%SZ}"},
        ),
    )


def _opened(
    one: Repository, root: Root
) -> tuple[str, bytes, ClearSignedFormat | OpenPgpFormat, bytes] | None:
    """Return where a Release was found, what is signed of it, its format, and what that reads.

    Raises ``BadInputError``: octets outside a clear-signed block among the reasons.
    """
    path = f"{LISTS}/{one.prefix}InRelease"
    data = root.read(path, MAX_SMALL)
    if data is not None:
        return path, read_clear(data).text, ClearSignedFormat(), data
    path = f"{LISTS}/{one.prefix}Release"
    data, signature = root.read(path, MAX_SMALL), root.read(f"{path}.gpg", MAX_SMALL)
    if data is None:
        return None
    return path, data, OpenPgpFormat(signature), data


def _judging(context: Context) -> Context:
    """Return what Releases are judged with: the caller's instant and strictness, nothing else."""
    trust = context.policy.trust
    policy = Policy(stage=Stage.TRUSTED, signatures=SignatureRule.ANY, trust=trust)
    return Context(Options(at=context.at, policy=policy))


def _judged(
    form: ClearSignedFormat | OpenPgpFormat, source: BytesSource, context: Context
) -> tuple[tuple[JudgedSignature, ...], tuple[Finding, ...]]:
    """Return the signatures that speak for a Release: the trusted ones, unless one is false.

    As for apt, one key that is asked for is enough; what was signed by others' keys besides
    cannot be checked and does no harm.
    """
    artifact: SignedArtifact = form.parse(source, ParseOptions())
    computed = form.digests(artifact, wanted_slots(artifact))
    judged = judge_signatures(artifact, computed, context)
    trusted = tuple(one for one in judged if isinstance(one, TrustedSignature))
    spoils = (*artifact.findings, *check_regions(artifact))
    return (trusted if trusted and not any(map(_is_false, judged)) else judged), spoils


def _is_false(signature: JudgedSignature) -> bool:
    """Say whether a signature is known not to fit: not only that its key is not at hand."""
    return isinstance(signature, BrokenSignature) and any(
        finding.effect is Effect.REJECT for finding in signature.findings
    )


def _about(one: Repository, release: Release, path: str, context: Context) -> Iterator[Finding]:
    """Report a Release of another suite, one that ended, and one that is not of this day."""
    names = {release.suite, release.codename, release.version}
    asked = one.suite.rstrip("/").removesuffix("/updates")
    if not one.suite.endswith("/") and asked not in names:
        yield Finding(
            code=Code.ATTRIBUTE_RULE, effect=Effect.REJECT, subject=path,
            found=f"suite {release.suite}, codename {release.codename}",
            required=f"{one.suite}, which the sources ask for", clause=_CLAUSE,
        )  # fmt: skip
    if release.valid_until is not None and release.valid_until <= context.at:
        yield Finding(
            code=Code.EXPIRED, effect=Effect.UNKNOWN, subject=path,
            found=f"ended {release.valid_until:%Y-%m-%dT%H:%M:%SZ}",
            required=f"later than {context.at:%Y-%m-%dT%H:%M:%SZ}", clause=_CLAUSE,
            hint="apt-get update fetches a newer one",
        )  # fmt: skip
    if release.date > context.at:
        yield Finding(
            code=Code.NOT_YET_VALID, effect=Effect.REJECT, subject=path,
            found=f"dated {release.date:%Y-%m-%dT%H:%M:%SZ}",
            required=f"not after the validation time {context.at:%Y-%m-%dT%H:%M:%SZ}",
            clause=_CLAUSE,
        )  # fmt: skip


def _rolled_back(one: Repository, release: Release, path: str) -> Iterator[Finding]:
    """Remember how new a trusted Release is, or report that a newer one counted before."""
    try:
        check_news(path, "apt", one.prefix, int(release.date.timestamp()), b"")
    except OlderError:
        yield Finding(
            code=Code.REPLAYED, effect=Effect.REJECT, subject=path,
            found=f"dated {release.date:%Y-%m-%dT%H:%M:%SZ}",
            required="no earlier than one that counted here before", clause=_CLAUSE,
            hint="apt-get update fetches the newest",
        )  # fmt: skip
    except EvidenceError as error:
        yield Finding(
            code=Code.REPLAYED, effect=Effect.WARN, subject=path,
            found=f"no memory of earlier ones: {error}", required="one", clause=_CLAUSE,
        )  # fmt: skip


class _Keys:
    """The keys that count for a repository; each file is read once."""

    def __init__(self, root: Root, context: Context) -> None:
        self._root, self._given = root, context.keyring
        self._files: dict[str, tuple[HeldKey, ...]] = {}
        self.troubles: list[str] = []

    def of(self, one: Repository) -> Keyring:
        """Return the caller's keys, or those that the sources name, or all that apt trusts."""
        if self._given is not None:
            return self._given
        if one.keys:
            return _keyring({"the sources": self._read("the sources", one.keys.encode())})
        files = [name for name in one.signed_by if name.startswith("/")]
        prints = {name.rstrip("!").lower() for name in one.signed_by} - {f.lower() for f in files}
        if files:
            return _keyring({path: self._file(path) for path in files})
        general = [TRUSTED, *self._root.files(f"{TRUSTED}.d", *ENDINGS)]
        return _keyring({path: self._file(path) for path in general}, prints)

    def _file(self, path: str) -> tuple[HeldKey, ...]:
        if path not in self._files:
            data = self._root.read(path, MAX_SMALL)
            self._files[path] = self._read(path, data) if data else ()
        return self._files[path]

    def _read(self, path: str, data: bytes) -> tuple[HeldKey, ...]:
        try:
            return tuple(read_keyring(path, data))
        except EvidenceError as error:
            self.troubles.append(str(error))
            return ()


def _keyring(found: dict[str, tuple[HeldKey, ...]], prints: set[str] | None = None) -> Keyring:
    """Return the keys in files; with ``prints`` only those of these fingerprints (hex)."""
    keys, files = dict[HeldKey, None](), dict[bytes, str]()
    for path, held in found.items():
        for key in held:
            if not prints or prints & {key.key_id.hex(), _primary(key)}:
                keys[key] = None
                files.setdefault(key.holder, path)
    return Keyring(keys=tuple(keys), files=files)


def _primary(key: HeldKey) -> str:
    try:
        return read_certificate(key.holder).primary.fingerprint.hex()
    except BadInputError:
        return ""
