"""Signing a JAR: entries' digests into the manifest, a signature file over it, and its block.

The manifest's main section and attributes that are no digests stay octet for octet or attribute
for attribute.  Manifest, signature file and block stand before all else, as readers that stream
want them (``java.util.jar.JarInputStream``).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from signward.envelopes import Signer
from signward.envelopes.cms import CMS_TIMESTAMP, DATA
from signward.envelopes.cms_draft import CmsDraft, Form, draft, signing_certificate, signing_time
from signward.errors import NotSignableError
from signward.formats import Existing, Request, may_sign
from signward.formats._jar_manifest import (
    DIGEST,
    MANIFEST,
    OF_MAIN,
    OF_MANIFEST,
    Pair,
    Section,
    Sections,
    digest_pair,
    read_sections,
    write_section,
)
from signward.formats._jar_signature import (
    FOLDER,
    MAX_SIGNATURES,
    WHAT,
    Archive,
    read_archive,
    signing_name,
)
from signward.frozen import Frozen, replace
from signward.state import Source
from signward.wire.patch import PatchSet
from signward.wire.unzip import feed_member
from signward.wire.zip import refuse_ambiguous
from signward.wire.zip_patch import Member, changed

_DIGESTS = ("sha256", "sha384", "sha512")
_DEFAULT = "SIGNER"
_STEM = re.compile(r"[A-Za-z0-9_-]{1,8}")
_BLOCKS = {"rsa": ".RSA", "dsa": ".DSA", "ecdsa": ".EC", "ed25519": ".EC", "ed448": ".EC"}
_CREATED_BY = ("Created-By", "Signward")
_FRESH = write_section([("Manifest-Version", "1.0"), _CREATED_BY])


class Plan(Frozen, frozen=True, kw_only=True):
    """A signature to be: manifest and signature file as they will stand, and what goes."""

    source: Source
    manifest: bytes
    text: bytes
    stem: str
    block: str
    gone: tuple[str, ...]


def planned(source: Source, request: Request) -> Plan:
    """Return what is to be signed.  Raises ``NotSignableError`` and ``BadInputError``."""
    archive = read_archive(source)
    may_sign(bool(archive.pairs), request, WHAT)
    refuse_ambiguous(archive.directory)
    archive = _without_loose(archive)
    block = _block_extension(request.signer)
    nested = bool(archive.pairs) and request.existing is Existing.NESTED
    present = read_or_fresh(archive)
    if nested:
        manifest = _kept(archive, present)
        taken = {m.name for pair in archive.pairs for m in (pair.text, pair.block)}
    else:
        manifest = listed(archive, undigested(present), request.signer.digest)
        taken = set()
    stem = _stem(request, {signing_name(name) for name in taken})
    text = signature_file(read_sections(manifest, MANIFEST), request.signer.digest)
    gone = [m.name for m in archive.directory.members if signing_name(m.name)]
    return Plan(
        source=source,
        manifest=manifest,
        text=text,
        stem=stem,
        block=block,
        gone=tuple(name for name in gone if name not in taken),
    )


def drafted(plan: Plan, request: Request) -> CmsDraft:
    """Return the draft of the block: detached CMS over the signature file."""
    signer = request.signer
    attributes = (signing_time(request.at), signing_certificate(signer.certificates[:1]))
    return draft(
        DATA, plan.text, signer,
        form=Form.DETACHED, attributes=attributes, token_oid=CMS_TIMESTAMP,
    )  # fmt: skip


def signed(plan: Plan, block: bytes) -> PatchSet:
    """Return the patch that puts manifest, signature file and block in front of the entries."""
    members: dict[str, Member | None] = dict.fromkeys(plan.gone)
    members[MANIFEST] = Member(data=plan.manifest, first=True)
    members[f"{FOLDER}{plan.stem}.SF"] = Member(data=plan.text, first=True)
    members[f"{FOLDER}{plan.stem}{plan.block}"] = Member(data=block, first=True)
    return changed(plan.source, members)


def embedded(source: Source, envelopes: tuple[bytes, ...]) -> PatchSet:
    """Return the patch that replaces each block, or takes every signature and digest away."""
    archive = read_archive(source)
    if not envelopes:
        return changed(source, _stripped(archive))
    if len(envelopes) != len(archive.pairs):
        raise NotSignableError(
            WHAT, f"{len(envelopes)} blocks for {len(archive.pairs)} signature files",
            "one for each, or none",
        )  # fmt: skip
    return changed(
        source,
        {pair.block.name: Member(data=data)
         for pair, data in zip(archive.pairs, envelopes, strict=True)},
    )  # fmt: skip


def _stripped(archive: Archive) -> Mapping[str, Member | None]:
    members: dict[str, Member | None] = {
        member.name: None for member in archive.directory.members if signing_name(member.name)
    }
    if archive.manifest:
        present = archive.read_manifest()
        data = undigested(present).data
        members[archive.manifest.name] = Member(data=data)
        if data == present.data:
            del members[archive.manifest.name]
    return members


# --- the manifest ----------------------------------------------------------------


def read_or_fresh(archive: Archive) -> Sections:
    """Return the manifest, or a new one where there is none."""
    return archive.read_manifest() if archive.manifest else read_sections(_FRESH, MANIFEST)


def undigested(manifest: Sections) -> Sections:
    """Return a manifest without digests, and without the sections that held nothing else."""
    parts = [_closed(manifest, manifest.main)]
    for section in manifest.entries.values():
        rest = _others(section)
        if len(rest) == len(section.attributes):
            parts.append(_closed(manifest, section))
        elif rest:
            parts.append(write_section([("Name", section.name), *rest]))
    return read_sections(b"".join(parts), MANIFEST)


def _closed(manifest: Sections, section: Section) -> bytes:
    """Return a section's octets with the empty line that the last may lack."""
    octets = manifest.octets(section)
    return octets if section.end > section.bare_end else octets + b"\r\n"


def _others(section: Section) -> list[Pair]:
    return [pair for pair in section.attributes if not pair[0].lower().endswith(DIGEST.lower())]


def listed(archive: Archive, manifest: Sections, algorithm: str) -> bytes:
    """Return a manifest with a digest of every entry: sections as they stand, then new ones."""
    digests = _digests(archive, dict.fromkeys(archive.required, (algorithm,)))
    parts = [_closed(manifest, manifest.main)]
    for name, section in manifest.entries.items():
        if (name, algorithm) in digests:
            own = digest_pair(algorithm, digests[name, algorithm])
            parts.append(write_section([("Name", name), *section.attributes, own]))
        else:
            parts.append(_closed(manifest, section))
    parts += [
        write_section([("Name", name), digest_pair(algorithm, digests[name, algorithm])])
        for name in archive.required
        if name not in manifest.entries
    ]
    return b"".join(parts)


def _kept(archive: Archive, manifest: Sections) -> bytes:
    """Return the manifest as it is, for a further signer: it must list every entry rightly."""
    claimed = {
        name: manifest.entries[name].digests() for name in archive.required
        if name in manifest.entries
    }  # fmt: skip
    strong = {n: [a for a in own if a in _DIGESTS] for n, own in claimed.items()}
    digests = _digests(archive, strong)
    for name in archive.required:
        algorithms = strong.get(name, [])
        if not algorithms or any(digests[name, a] != claimed[name][a] for a in algorithms):
            raise NotSignableError(
                name[:120], "no digest in the manifest, a weak one, or another file's",
                "its own: a further signature leaves the manifest as it is",
                hint="--replace lists all anew",
            )  # fmt: skip
    return manifest.data


def _digests(
    archive: Archive, wanted: Mapping[str, Sequence[str]]
) -> Mapping[tuple[str, str], bytes]:
    found: dict[tuple[str, str], bytes] = {}
    for member in archive.directory.members:
        hashers: dict[str, Any] = {
            a: hashlib.new(a, usedforsecurity=False) for a in wanted.get(member.name, ())
        }
        if hashers:
            feed_member(archive.source, member, list(hashers.values()))
        found |= {(member.name, a): hasher.digest() for a, hasher in hashers.items()}
    return found


def signature_file(manifest: Sections, algorithm: str) -> bytes:
    """Return the signature file over a manifest: of the whole, its main section, and each other."""
    main = digest_pair(algorithm, _hashed(algorithm, manifest.octets(manifest.main)), OF_MAIN)
    whole = digest_pair(algorithm, _hashed(algorithm, manifest.data), OF_MANIFEST)
    parts = [write_section([("Signature-Version", "1.0"), main, whole, _CREATED_BY])]
    parts += [
        write_section([("Name", name), digest_pair(algorithm, _hashed(algorithm, octets))])
        for name, octets in _sections(manifest)
    ]
    return b"".join(parts)


def _sections(manifest: Sections) -> Iterator[tuple[str, bytes]]:
    return ((name, manifest.octets(section)) for name, section in manifest.entries.items())


def _hashed(algorithm: str, data: bytes) -> bytes:
    return hashlib.new(algorithm, data, usedforsecurity=False).digest()


# --- what a signature is called --------------------------------------------------


def _without_loose(archive: Archive) -> Archive:
    """Return the archive without members of half a signature, which signing takes away."""
    loose = {member.name for member in archive.loose}
    return replace(archive, required=tuple(n for n in archive.required if n not in loose))


def _block_extension(signer: Signer) -> str:
    """Return the block's extension, by the kind of key.  Raises ``NotSignableError``."""
    extension = _BLOCKS.get(signer.algorithm.scheme.partition("-")[0])
    if extension is None or signer.digest not in _DIGESTS:
        raise NotSignableError(
            "algorithm", f"{signer.algorithm} with {signer.digest}",
            "RSA, DSA, ECDSA or EdDSA with SHA-2: JARs have no name for others",
        )  # fmt: skip
    return extension


def _stem(request: Request, taken: Iterable[str]) -> str:
    """Return the name of the signature's members, one that nobody has."""
    named = request.options.get("signature-file", "")
    if named and not _STEM.fullmatch(named):
        found = repr(named[:80])
        raise NotSignableError("signature-file", found, "1 to 8 letters, digits, - and _")
    numbered = (f"{_DEFAULT}{number}" for number in range(2, MAX_SIGNATURES + 1))
    stems = [named.upper()] if named else [_DEFAULT, *numbered]
    for stem in stems:
        if not any(name.rpartition(".")[0] == f"{FOLDER}{stem}" for name in taken):
            return stem
    raise NotSignableError("signature-file", f"{stems[-1]}, which is there", "another name")
