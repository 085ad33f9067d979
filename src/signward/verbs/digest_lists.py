"""Digest lists of vendors: what they say of files whose own signature nobody can judge.

A list counts by who signed it: clear-signed text that it is in, a signature beside it, or a
manifest or catalog among the run's that lists the list itself.  It then vouches for files as a
catalog does, and the verdict says *listed*: a list is no signature of theirs.  A list that nobody
signed is a claim: what it says is told, and changes no outcome.

Digests find files, names do not: only where a list has a file's name and other digests is that
told, and rejected where somebody trusted signed the list.  MD5 vouches for nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from typing import NamedTuple

from signward.envelopes.openpgp_clear import read_clear
from signward.errors import BadInputError, EvidenceError
from signward.findings import Code, Effect, Finding
from signward.formats import Format, ParseOptions
from signward.formats._manifest import FILE_KIND
from signward.formats.clearsigned import FORMAT as CLEAR_SIGNED
from signward.integrity import check_regions, wanted_slots
from signward.inventory.digest_list import Entry, read_list
from signward.state import Endorsement, JudgedSignature, Source, TrustedSignature
from signward.verbs.catalogs import Catalog, CatalogIndex, catalog_index, vouched_by
from signward.verbs.context import Context
from signward.verbs.options import read_option
from signward.verbs.stages import judge_signatures
from signward.wire.clear_text import is_clear
from signward.wire.source import BytesSource, whole_digest

_COUNTS = frozenset({"sha256", "sha384", "sha512", "sha1"})
"""Algorithms by which a list may vouch; SHA-1 is then judged as in every catalog."""


class DigestList(NamedTuple):
    """A list that was read: whether somebody trusted signed it, and its entries by base name."""

    path: str
    trusted: bool
    by_name: dict[str, list[Entry]]


def add_lists(index: CatalogIndex, context: Context) -> None:
    """Read the run's lists; those that are signed vouch from then on.

    ``context.catalogs`` must be the index: it says whether a manifest lists a list.  No list
    does: all are judged before any vouches.  Raises ``EvidenceError``.
    """
    signed = list[tuple[str, bytes, tuple[Entry, ...], tuple[JudgedSignature, ...]]]()
    for path, beside in context.options.digest_lists:
        data = read_option(path)
        try:
            entries = read_list(path, read_clear(data).text if is_clear(data) else data)
            signatures = _signatures(BytesSource(path, data), beside, context)
        except BadInputError as error:
            raise EvidenceError(f"digest list {path}: {error}") from None
        trusted = any(isinstance(one, TrustedSignature) for one in signatures)
        index.lists.append(DigestList(path, trusted, _by_name(entries)))
        if signatures:
            signed.append((path, data, entries, signatures))
    for one in signed:
        _vouch(index, *one)


def _signatures(source: BytesSource, beside: str, context: Context) -> tuple[JudgedSignature, ...]:
    """Return the signatures over a list: its own, those beside it, or of a catalog that has it."""
    if is_clear(source.read(0, source.length)):
        return _judged(CLEAR_SIGNED, source, context)
    if not beside:
        vouched = vouched_by(None, None, source, context)
        if vouched is None:
            return ()
        _refuse_spoilt(source, vouched.findings)
        return vouched.signatures
    from signward.verbs.detached import form_of, read_beside

    return _judged(form_of(read_beside(beside)), source, context)


def _judged(form: Format, source: Source, context: Context) -> tuple[JudgedSignature, ...]:
    artifact = form.parse(source, ParseOptions())
    _refuse_spoilt(source, (*artifact.findings, *check_regions(artifact)))
    return judge_signatures(artifact, form.digests(artifact, wanted_slots(artifact)), context)


def _refuse_spoilt(source: Source, findings: Iterable[Finding]) -> None:
    """Raise ``EvidenceError`` for what spoils a list as a whole, whoever signed it."""
    for finding in findings:
        if finding.effect in (Effect.REJECT, Effect.UNKNOWN):
            raise EvidenceError(f"digest list {source.name}: {finding}")


def _vouch(
    index: CatalogIndex,
    path: str,
    data: bytes,
    entries: tuple[Entry, ...],
    signatures: tuple[JudgedSignature, ...],
) -> None:
    catalog = Catalog(
        path=path,
        sha256=hashlib.sha256(data).digest(),
        signatures=signatures,
        findings=(_listed(path),),
        is_list=True,
    )
    for entry in entries:
        if entry.algorithm in _COUNTS:
            index.add(
                Endorsement(algorithm=entry.algorithm, digest=entry.digest, kind=FILE_KIND),
                catalog,
            )


def _by_name(entries: tuple[Entry, ...]) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.base, []).append(entry)
    return found


def said_by_lists(source: Source, context: Context) -> Iterator[Finding]:
    """Yield what lists with this file's name say of it; nothing where a run has no lists."""
    if not context.options.digest_lists:
        return
    base = source.name.rpartition("/")[2]
    digest = cache(lambda algorithm: whole_digest(source, algorithm))
    for one in catalog_index(context).lists:
        entries = one.by_name.get(base, [])
        fits = [entry for entry in entries if digest(entry.algorithm) == entry.digest]
        if entries and not fits:
            yield _other(source, one, entries[0], digest(entries[0].algorithm))
        elif fits and not (one.trusted and fits[0].algorithm in _COUNTS):
            yield _claimed(source, one, fits[0])


def _listed(path: str) -> Finding:
    return Finding(
        code=Code.LISTED,
        effect=Effect.NOTE,
        subject=path,
        found="a list of digests",
        required="a signature of the file's own: a list says only that somebody knows it",
    )


def _other(source: Source, one: DigestList, entry: Entry, actual: bytes) -> Finding:
    return Finding(
        code=Code.DIGEST_MISMATCH,
        effect=Effect.REJECT if one.trusted else Effect.WARN,
        subject=source.name,
        found=f"{entry.algorithm} {actual.hex()}",
        required=f"{entry.digest.hex()}, as {one.path} lists a file of this name",
    )


def _claimed(source: Source, one: DigestList, entry: Entry) -> Finding:
    why = "MD5 vouches for nothing" if one.trusted else "nobody trusted signed the list"
    return Finding(
        code=Code.LISTED,
        effect=Effect.NOTE,
        subject=source.name,
        found=f"its {entry.algorithm} digest in {one.path}: {why}",
        required="a list that somebody trusted signed",
        hint="a signature beside it (.asc, .sig, .minisig, .p7s) with --keyring or --anchor, or "
        "signward manifest and --catalog",
    )
