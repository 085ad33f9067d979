"""Catalogs in reach: signed lists that vouch for files without a signature of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, NamedTuple

from signward.errors import BadInputError, EvidenceError
from signward.findings import Code, Effect, Finding
from signward.formats import Format, Match, ParseOptions, peek_at, recognise
from signward.formats._manifest import FILE_KIND, MANIFEST_NAME, MANIFEST_VERSION
from signward.formats.manifest import FORMAT as MANIFESTS
from signward.frozen import Frozen
from signward.integrity import check_regions, wanted_slots
from signward.policy.case import LISTED_BY
from signward.policy.publisher import publisher_of
from signward.state import Endorsement, JudgedSignature, SignedArtifact, Source, TrustedSignature
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.stages import judge_signatures
from signward.wire.source import open_source, whole_digest

if TYPE_CHECKING:
    from signward.verbs.digest_lists import DigestList

MAX_CATALOGS = 20_000
"""Catalogs read in one run; a Windows machine holds about 5,000."""

LISTED_SLOTS = ("image", "image:padded", "text", "text:measured")
"""Slots by which catalogs list programs and scripts; all else goes by its flat digest."""

_ENDINGS = ("*.cat", "*.manifest")
"""What is looked for in folders: catalogs of Windows, and manifests of ours."""

_PREFERENCE = ("sha512", "sha384", "sha256", "sha1")


class Catalog(Frozen, frozen=True, kw_only=True):
    """A judged catalog: its path and digest, its signatures and what spoils it as a whole.

    ``name`` and ``version`` are a manifest's; others have none.  ``is_list`` says that it is no
    catalog but a digest list that somebody signed.
    """

    path: str
    sha256: bytes
    signatures: tuple[JudgedSignature, ...]
    findings: tuple[Finding, ...]
    name: str = ""
    version: int = 0
    is_list: bool = False


class Vouched(Frozen, frozen=True, kw_only=True):
    """A catalog's word for one artifact; ``facts`` name the catalog by its digest."""

    signatures: tuple[JudgedSignature, ...]
    findings: tuple[Finding, ...]
    facts: dict[str, str]


class Listing(NamedTuple):
    """That a catalog lists a digest; ``flat``: a file's own, never that of a part of one."""

    catalog: Catalog
    flat: bool


class CatalogIndex:
    """Catalogs by digest algorithm and digest of what they list; and digest lists as read."""

    def __init__(self) -> None:
        self.lists: list[DigestList] = []
        self._by_digest: dict[str, dict[bytes, list[Listing]]] = {}

    @property
    def algorithms(self) -> frozenset[str]:
        """The digest algorithms by which anything is listed."""
        return frozenset(self._by_digest)

    def add(self, member: Endorsement, catalog: Catalog) -> None:
        """Take note that a catalog lists a digest."""
        listed = self._by_digest.setdefault(member.algorithm, {}).setdefault(member.digest, [])
        listed.append(Listing(catalog, member.kind == FILE_KIND))

    def listing(self, algorithm: str, digest: bytes, *, flat: bool) -> list[Catalog]:
        """Return the catalogs that list a digest, which is ``flat`` if it is a whole file's."""
        found = self._by_digest.get(algorithm, {}).get(digest, [])
        return [one.catalog for one in found if flat or not one.flat]


def vouched_by(
    signable: Format | None, artifact: SignedArtifact | None, source: Source, context: Context
) -> Vouched | None:
    """Return the best catalog's word for an unsigned artifact, or None."""
    index = catalog_index(context)
    if not index.algorithms:
        return None
    found: list[tuple[Catalog, str]] = []
    for algorithm, digest, flat in _digests(signable, artifact, source, index.algorithms):
        listing = index.listing(algorithm, digest, flat=flat)
        found += ((catalog, algorithm) for catalog in listing)
    if not found:
        return None
    context.consulted(tuple(dict.fromkeys(catalog.path for catalog, _ in found)))
    catalog, algorithm = min(found, key=lambda pair: _demerit(*pair))
    findings = (*catalog.findings, _by_catalog(source, catalog, algorithm))
    return Vouched(
        signatures=catalog.signatures,
        findings=(*findings, *_weak_member(source, catalog, algorithm, context)),
        facts={
            "catalog": f"sha256:{catalog.sha256.hex()}",
            **({LISTED_BY: catalog.path} if catalog.is_list else {}),
        },
    )


def catalog_index(context: Context) -> CatalogIndex:
    """Return the run's catalogs, read and judged once."""
    index: CatalogIndex | None = context.catalogs
    if index is None:
        index = CatalogIndex()
        read = list[Catalog]()
        for path in _catalog_files(context.options.catalogs):
            with open_source(path) as source:
                catalog = add_catalog(source, index, context)
            if catalog:
                read.append(catalog)
        _check_all_news(read)
        context.catalogs = index
        if context.options.digest_lists:
            from signward.verbs.digest_lists import add_lists  # for few runs only

            add_lists(index, context)
    return index


def opened_manifests(options: Options) -> bool:
    """Say whether manifests are among the catalogs, each held against what is remembered.

    Raises ``EvidenceError`` for one that is older.
    """
    context, found, read = Context(options), False, list[Catalog]()
    for path in _catalog_files(options.catalogs):
        with open_source(path) as source:
            if not source.length or MANIFESTS.recognise(peek_at(source)) is Match.NO:
                continue
            found = True
            catalog = add_catalog(source, CatalogIndex(), context)
        if catalog:
            read.append(catalog)
    _check_all_news(read)
    return found


def _check_all_news(catalogs: list[Catalog]) -> None:
    """Hold each against the others and what is remembered, the newest first."""
    for catalog in sorted(catalogs, key=lambda one: one.version, reverse=True):
        _check_news(catalog)


def _check_news(catalog: Catalog) -> None:
    """Raise ``EvidenceError`` for a manifest older than one of the same publisher and name.

    Only trusted signatures are remembered: else anybody could have a high number remembered.
    """
    for signature in catalog.signatures:
        if catalog.version and isinstance(signature, TrustedSignature):
            from signward.verbs.remembered import check_news  # for manifests only

            signer = publisher_of(signature).identity
            payload = hashlib.sha256(signature.intact.claimed.content).digest()
            check_news(catalog.path, signer, catalog.name, catalog.version, payload)


def _catalog_files(places: tuple[str, ...]) -> Iterator[str]:
    from pathlib import Path  # 5 ms, for few runs only

    count = 0
    for place in places:
        path = Path(place)
        if not path.exists():
            raise EvidenceError(f"catalog {place}: found nothing there, required a file or folder")
        listed = (file for ending in _ENDINGS for file in path.rglob(ending))
        files = sorted(listed) if path.is_dir() else [path]
        for file in files:
            count += 1
            if count > MAX_CATALOGS:
                raise EvidenceError(f"catalogs: more than {MAX_CATALOGS} files")
            yield str(file)


def add_catalog(source: Source, index: CatalogIndex, context: Context) -> Catalog | None:
    """Judge one catalog and index its members; what is no catalog is passed over."""
    signable = recognise(peek_at(source)) if source.length else None
    if signable is None:
        return None
    try:
        artifact = signable.parse(source, ParseOptions())
        computed = signable.digests(artifact, wanted_slots(artifact))
    except BadInputError:
        return None
    catalog = Catalog(
        path=source.name,
        sha256=whole_digest(source, "sha256"),
        signatures=judge_signatures(artifact, computed, context),
        findings=(*artifact.findings, *check_regions(artifact)),
        name=str(artifact.facts.get(MANIFEST_NAME, "")),
        version=int(artifact.facts.get(MANIFEST_VERSION, 0)),
    )
    if not catalog.signatures:
        return None
    for member in artifact.endorsements:
        index.add(member, catalog)
    return catalog


def _digests(
    signable: Format | None,
    artifact: SignedArtifact | None,
    source: Source,
    algorithms: Collection[str],
) -> Iterator[tuple[str, bytes, bool]]:
    """Yield digests of the artifact, by algorithm; and whether each is of the whole file."""
    usable = [a for a in _PREFERENCE if a in algorithms]
    if signable and artifact:
        wanted = frozenset((slot, a) for slot in LISTED_SLOTS for a in usable)
        for (_, algorithm), digest in signable.digests(artifact, wanted).items():
            yield algorithm, digest, False
    hashers = [hashlib.new(a, usedforsecurity=False) for a in usable]
    source.feed([(0, source.length)], hashers)
    for algorithm, hasher in zip(usable, hashers, strict=True):
        yield algorithm, hasher.digest(), True


def _demerit(catalog: Catalog, algorithm: str) -> tuple[bool, bool, int]:
    trusted = any(isinstance(s, TrustedSignature) for s in catalog.signatures)
    return bool(catalog.findings), not trusted, _PREFERENCE.index(algorithm)


def _by_catalog(source: Source, catalog: Catalog, algorithm: str) -> Finding:
    return Finding(
        code=Code.BY_CATALOG,
        effect=Effect.NOTE,
        subject=source.name,
        found=f"its {algorithm} digest in {catalog.path}",
        required="a signature of its own or a catalog's word",
    )


def _weak_member(
    source: Source, catalog: Catalog, algorithm: str, context: Context
) -> Iterator[Finding]:
    """Refuse a SHA-1 member unless its catalog's proven time lies before the cut-off."""
    cutoff = context.policy.trust.sha1_cutoff
    times = [s.proven_time for s in catalog.signatures if isinstance(s, TrustedSignature)]
    if algorithm != "sha1" or any(t and t.instant < cutoff for t in times):
        return
    yield Finding(
        code=Code.WEAK_DIGEST,
        effect=Effect.REJECT,
        subject=source.name,
        found=f"only a SHA-1 digest in {catalog.path}",
        required="SHA-256, or a catalog timestamped before the cut-off",
        clause="policy sha1-cutoff",
        hint="--sha1-until DATE moves the cut-off",
    )
