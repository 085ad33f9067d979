"""What is in a Junos package: surveyed, held against its manifest, and digested (see `junos`)."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from signward.envelopes.veriexec import (
    CLAUSE,
    MAX_BESIDE,
    MAX_OCTETS,
    NAME,
    SIGNATURES,
    Line,
    claim,
    read_manifest,
)
from signward.errors import AmbiguousError, LimitError, MalformedError
from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen
from signward.state import ClaimedSignature, Manifest, SignedArtifact, Slot, Source, Wanted
from signward.wire.tar import TarMember, tar_members
from signward.wire.unzip import RATIO, RATIO_FLOOR

MAX_MEMBERS = 200_000
"""Files in one package."""

MAX_HELD = 64 * 1024 * 1024
"""Octets of manifests, signatures and certificates held of one package, in all its folders."""

TOLD = 20
"""Findings of one kind told of a package; the rest would say the same again."""

_RAISED = 0o6000
"""Bits of a mode: set-user-ID and set-group-ID."""

_PART = "part:"
_PIECE = 1 << 20
_WHAT = "Junos package"


class _Contents(Frozen, frozen=True, kw_only=True):
    """What is in a package: paths of files and of what is none, and the files read whole.

    ``raised`` has the bits of files that run with their owner's or group's rights.
    """

    files: frozenset[str]
    specials: frozenset[str]
    raised: Mapping[str, int]
    held: Mapping[str, bytes]


def parsed(source: Source, form: str) -> SignedArtifact:
    """Return what a package holds and who signs its manifest.  Raises ``BadInputError``."""
    contents = _survey(source)
    folder = _folder(contents)
    if folder is None:
        return _artifact(source, form, (), findings=(_unknown(),))
    data = contents.held[folder + NAME]
    signatures = tuple(_signatures(contents, folder, data))
    lines = read_manifest(data)
    return _artifact(
        source,
        form,
        signatures,
        listed=tuple(
            Slot(name=f"{_PART}{folder}{line.path}", algorithm=line.algorithm, digest=line.digest)
            for line in lines
            if line.digest
        ),
        findings=tuple(_faults(contents, folder, lines)),
        layout=folder,
    )


def _artifact(
    source: Source, form: str, signatures: tuple[ClaimedSignature, ...], **rest: Any
) -> SignedArtifact:
    return SignedArtifact(
        format=form,
        source=source,
        signatures=signatures,
        required={one.label: frozenset({NAME}) for one in signatures},
        profile="device",
        **rest,
    )


def computed(artifact: SignedArtifact, wanted: Wanted) -> Manifest:
    """Compute the digests of the manifest and of files, in one pass over what is packed."""
    hashers: dict[str, dict[tuple[str, str], Any]] = {}
    for name, algorithm in wanted:
        path = f"{artifact.layout}{NAME}" if name == NAME else name.removeprefix(_PART)
        if name == NAME or name.startswith(_PART):
            hasher = hashlib.new(algorithm, usedforsecurity=False)
            hashers.setdefault(path, {})[name, algorithm] = hasher
    found: dict[tuple[str, str], bytes] = {}
    for member in _members(artifact.source) if hashers else ():
        own = hashers.get(_path(member), {}) if not member.special else {}
        for piece in member.pieces if own else ():
            for hasher in own.values():
                hasher.update(piece)
        found |= {slot: hasher.digest() for slot, hasher in own.items()}
    return found


def _pieces(source: Source) -> Iterator[bytes]:
    """Yield what the gzip holds: one stream that ends where the file does.

    Raises ``MalformedError`` and ``LimitError``; ``AmbiguousError`` for what follows the stream,
    which some unpackers read on and others do not.
    """
    unpacker, total = zlib.decompressobj(31), 0
    most = max(RATIO_FLOOR, source.length * RATIO)
    for at in range(0, source.length, _PIECE):
        rest = source.read(at, min(_PIECE, source.length - at))
        while rest and not unpacker.eof:
            try:
                out = unpacker.decompress(rest, _PIECE)
            except zlib.error as error:
                raise MalformedError(_WHAT, str(error)[:80], "a gzip file", "RFC 1952") from None
            total += len(out)
            if total > most:
                raise LimitError(_WHAT, f"more than {most} octets unpacked", f"at most {most}")
            yield out
            rest = unpacker.unconsumed_tail
        if rest or unpacker.unused_data:
            raise AmbiguousError(_WHAT, "octets behind the gzip stream", "none", "RFC 1952 2.2")
    if not unpacker.eof:
        raise MalformedError(_WHAT, "a gzip file cut short", "a whole one", "RFC 1952")


def _members(source: Source) -> Iterator[TarMember]:
    """Yield what is in the archive but folders."""
    for count, member in enumerate(tar_members(_pieces(source), specials=True), 1):
        if count > MAX_MEMBERS:
            raise LimitError(_WHAT, "more files", f"at most {MAX_MEMBERS}")
        yield member


def _path(member: TarMember) -> str:
    """Return where a member is unpacked to.

    Raises ``MalformedError`` for one that would lie outside, or whose path is written oddly.
    """
    path = member.name.removeprefix("./")
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise MalformedError(_WHAT, f"a path {member.name[:80]!r}", "one below the package", CLAUSE)
    return path


def _survey(source: Source) -> _Contents:
    """Return what is in a package.  Raises ``AmbiguousError`` for a path that stands twice."""
    files, specials, held = set[str](), set[str](), dict[str, bytes]()
    raised = dict[str, int]()
    left = MAX_HELD
    for member in _members(source):
        path = _path(member)
        if path in files or path in specials:
            raise AmbiguousError(_WHAT, f"{path[:80]!r} twice", "each path once", CLAUSE)
        (specials if member.special else files).add(path)
        if member.mode & _RAISED:
            raised[path] = member.mode & _RAISED
        most = _most(path.rpartition("/")[2])
        if most and not member.special:
            most, left = min(most, left), left - member.size
            if member.size > most:
                raise LimitError(path, f"{member.size} octets", f"at most {most}")
            held[path] = b"".join(member.pieces)
    return _Contents(files=frozenset(files), specials=frozenset(specials), raised=raised, held=held)


def _most(base: str) -> int:
    """Return how many octets of a file of this name are held; 0 for one that need not be."""
    if base == NAME:
        return MAX_OCTETS
    endings = {*SIGNATURES, *(certs for certs, _ in SIGNATURES.values())}
    stem, _, ending = base.rpartition(".")
    return MAX_BESIDE if stem == NAME and ending in endings else 0


def _folder(contents: _Contents) -> str | None:
    """Return the folder (with its ``/``) of the outermost signed manifest; None without one."""
    signed = [
        path.removesuffix(NAME)
        for path in contents.held
        if path.rpartition("/")[2] == NAME
        and any(f"{path}.{ending}" in contents.held for ending in SIGNATURES)
    ]
    return min(signed, key=lambda folder: (folder.count("/"), folder), default=None)


def _signatures(contents: _Contents, folder: str, data: bytes) -> Iterator[ClaimedSignature]:
    """Yield the signatures beside the manifest; each needs its certificates."""
    stem = folder + NAME
    for number, (ending, (certs, _)) in enumerate(SIGNATURES.items(), 1):
        value = contents.held.get(f"{stem}.{ending}")
        if value is None:
            continue
        held = contents.held.get(f"{stem}.{certs}")
        if held is None:
            raise MalformedError(_WHAT, f"no {stem}.{certs}", "the signer's certificates", CLAUSE)
        yield claim(str(number), data, ending, value, held)


def _faults(contents: _Contents, folder: str, lines: tuple[Line, ...]) -> Iterator[Finding]:
    """Report what the manifest does not cover, and what it lists in vain."""
    beside = {f"{folder}{NAME}"}
    for ending, (certs, _) in SIGNATURES.items():
        if f"{folder}{NAME}.{ending}" in contents.held:
            beside |= {f"{folder}{NAME}.{ending}", f"{folder}{NAME}.{certs}"}
    listed = {folder + line.path for line in lines if line.digest}
    weak = {folder + line.path for line in lines if line.algorithm == "sha1"}
    uncovered = sorted((contents.files - listed - beside) | contents.specials)
    for path in uncovered[:TOLD]:
        yield _finding(Code.UNCOVERED_CONTENT, path, "a file or link without a digest in the list",
                       "one")  # fmt: skip
    for path in sorted(listed - contents.files)[:TOLD]:
        yield _finding(Code.SLOT_MISSING, path, "no such file", "the file that is listed")
    said = {folder + line.path: line.mode for line in lines}
    raised = (path for path, bits in contents.raised.items() if bits & ~said.get(path, 0))
    for path in sorted(raised)[:TOLD]:
        yield _finding(Code.UNCOVERED_CONTENT, path, "set-user-ID or set-group-ID, which the list "
                       "does not say", "mode= that says so, or none")  # fmt: skip
    for path in sorted(weak)[:TOLD]:
        yield _finding(Code.WEAK_DIGEST, path, "a SHA-1 digest", "SHA-256 or better")


def _finding(code: Code, subject: str, found: str, required: str) -> Finding:
    return Finding(code=code, effect=Effect.REJECT, subject=subject[:200], found=found,
                   required=required, clause=CLAUSE)  # fmt: skip


def _unknown() -> Finding:
    return Finding(
        code=Code.UNSUPPORTED_KIND,
        effect=Effect.UNKNOWN,
        subject=_WHAT,
        found="no signed manifest in it",
        required="one as veriexec has it",
        clause=CLAUSE,
        hint="what older packages have is not published; a vendor's digest list may name it",
    )
