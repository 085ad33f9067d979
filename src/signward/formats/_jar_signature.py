"""A JAR's signatures: which members they are, and what each covers through the manifest.

Source: "JAR File Specification", Signed JAR File ("JAR" in the clauses).  A signature block
(``META-INF/X.RSA``, ``.DSA`` or ``.EC``) is CMS over a signature file (``META-INF/X.SF``); that
holds a digest of the whole manifest, or of its main section and of the section of each entry; the
manifest holds the entries' digests.  A signature speaks of the entries its signature file names.

The JDK takes an entry that no signature reaches for an unsigned one and goes on; here every
signature must reach all that is not a signature itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

from signward.envelopes.cms_listed import Chain, open_listed
from signward.errors import AmbiguousError, LimitError, MalformedError
from signward.findings import Code, Effect, Finding
from signward.formats._jar_manifest import (
    MANIFEST,
    MAX_OCTETS,
    OF_MAIN,
    OF_MANIFEST,
    Section,
    Sections,
    read_sections,
)
from signward.frozen import Frozen
from signward.state import Binding, ClaimedSignature, Slot, Source
from signward.wire.algorithms import COMPUTABLE
from signward.wire.unzip import check_expansion, read_member
from signward.wire.zip import ZipDirectory, ZipMember, read_directory

WHAT = "JAR"
FOLDER = "META-INF/"
BLOCKS = (".RSA", ".DSA", ".EC")

MAX_SIGNATURES = 16
"""Signature blocks of one JAR; nearly all have one."""

MAX_BLOCK = 4 * 1024 * 1024
"""Octets of a signature block; one with a timestamp has some 10 KiB."""

MAX_TEXT = 4 * MAX_OCTETS
"""Octets of manifest and signature files together: each is read for its own."""

_CLAUSE = "JAR, Signed JAR File"
_STRONGEST_FIRST = ("sha512", "sha3_512", "sha384", "sha3_384", "sha256", "sha3_256", "sha224")
_PACKED_NOTHING = 2
"""Octets that deflate makes of none (RFC 1951 3.2.6)."""
_WHAT_RUNS = "one: it runs, so it must be covered"


class Pair(Frozen, frozen=True, kw_only=True):
    """A signature file and the block that signs it."""

    text: ZipMember
    block: ZipMember


class Archive(Frozen, frozen=True, kw_only=True):
    """A JAR's members by what they are for.

    ``loose`` are signature files and blocks without the other; ``required`` the names of what a
    signature must cover, those of ``loose`` among them, in the order of the directory.
    """

    source: Source
    directory: ZipDirectory
    manifest: ZipMember | None
    pairs: tuple[Pair, ...]
    loose: tuple[ZipMember, ...]
    required: tuple[str, ...]

    def read_manifest(self) -> Sections:
        """Return the manifest.  Raises ``BadInputError``, as where there is none."""
        if self.manifest is None:
            raise MalformedError(WHAT, "a signature without a manifest", MANIFEST, _CLAUSE)
        return read_sections(_read(self.source, self.manifest, MAX_OCTETS), MANIFEST)

    def read_block(self, pair: Pair) -> bytes:
        """Return a signature block (DER or BER)."""
        return _read(self.source, pair.block, MAX_BLOCK)


def read_archive(source: Source) -> Archive:
    """Sort a JAR's members.  Raises ``BadInputError``; names are told apart as the JDK does."""
    directory = read_directory(source)
    own: dict[str, ZipMember] = {}
    for member in directory.members:
        name = signing_name(member.name)
        if name and name in own:
            found = f"members {own[name].name!r} and {member.name!r}"
            raise AmbiguousError(WHAT, found, "one: readers take either case", _CLAUSE)
        if name:
            own[name] = member
    pairs = [
        Pair(text=own[text], block=own[name])
        for name in sorted(own)
        if name.endswith(BLOCKS) and (text := name.rpartition(".")[0] + ".SF") in own
    ]
    if len(pairs) > MAX_SIGNATURES:
        raise LimitError(WHAT, f"{len(pairs)} signatures", f"at most {MAX_SIGNATURES}")
    manifest = own.get(MANIFEST)
    used = {member.name for pair in pairs for member in (pair.text, pair.block)}
    used |= {manifest.name} if manifest else set()
    return Archive(
        source=source,
        directory=directory,
        manifest=manifest,
        pairs=tuple(pairs),
        loose=tuple(m for n, m in own.items() if n != MANIFEST and m.name not in used),
        required=tuple(m.name for m in directory.members if m.name not in used and _counts(m)),
    )


def signing_name(name: str) -> str:
    """Return the name of a manifest, signature file or block in upper case, nothing for others.

    They lie in the folder itself, and the JDK looks for them in any case.
    """
    upper = name.upper()
    inside = name.isascii() and upper.startswith(FOLDER) and "/" not in upper[len(FOLDER) :]
    return upper if inside and (upper == MANIFEST or upper.endswith((".SF", *BLOCKS))) else ""


def _counts(member: ZipMember) -> bool:
    """Say whether a member has content: a folder's entry has none, deflated or not."""
    return not member.directory or bool(member.size) or member.packed > _PACKED_NOTHING


def _read(source: Source, member: ZipMember, most: int) -> bytes:
    check_expansion((member,), member.packed)
    return read_member(source, member, most)


def open_archive(archive: Archive) -> tuple[ClaimedSignature, ...]:
    """Return the signatures in a JAR: of each block its signers.  Raises ``BadInputError``."""
    if not archive.pairs:
        return ()
    texts = {pair.text.name: pair.text.size for pair in archive.pairs}
    total = sum(texts.values()) + (archive.manifest.size if archive.manifest else 0)
    if total > MAX_TEXT:
        found = f"{total} bytes of manifest and signature files"
        raise LimitError(WHAT, found, f"at most {MAX_TEXT}")
    manifest = archive.read_manifest()
    signatures: list[ClaimedSignature] = []
    for number, pair in enumerate(archive.pairs, 1):
        signatures += _open_pair(archive, manifest, pair, str(number))
    return tuple(signatures)


def _open_pair(
    archive: Archive, manifest: Sections, pair: Pair, label: str
) -> tuple[ClaimedSignature, ...]:
    data = _read(archive.source, pair.text, MAX_OCTETS)
    text = read_sections(data, pair.text.name)
    version = text.main.value("Signature-Version")
    if version != "1.0":
        found = f"Signature-Version {version!r}"
        raise MalformedError(pair.text.name, found, "1.0", _CLAUSE)
    chain = cover(manifest, text, f"signature {label}")
    block = archive.read_block(pair)
    return open_listed(block, data, chain, what=pair.block.name, label=label)


# --- the chain from signature file to entries ------------------------------------


def cover(manifest: Sections, text: Sections, what: str) -> Chain:
    """Follow a signature file's digests to the manifest, and the manifest's to the entries.

    Where the digest of the whole manifest does not fit, those of its sections must (JAR,
    Signature Validation): another signer may have added to it.
    """
    links: list[Mapping[str, bytes]] = []
    bindings: list[Binding] = []
    findings: list[Finding] = list(_magic(manifest, text, what))
    whole = _known(text.main.digests(OF_MANIFEST))
    if _fits(whole, manifest.data):
        bindings += _bind("manifest", whole, manifest.data)
        links.append(whole)
    else:
        findings += _sectionwise(manifest, text, what, bindings, links)
    slots: list[Slot] = []
    for name in text.entries:
        digests = manifest.entries[name].digests() if name in manifest.entries else {}
        known = _known(digests) or digests
        slots += [Slot(name=name, algorithm=a, digest=d) for a, d in known.items()]
        links.append(known)
    return Chain(
        slots=tuple(slots),
        bindings=tuple(bindings),
        findings=tuple(findings),
        rests_on=frozenset(strongest(link) for link in links if link),
    )


def _sectionwise(
    manifest: Sections,
    text: Sections,
    what: str,
    bindings: list[Binding],
    links: list[Mapping[str, bytes]],
) -> Iterator[Finding]:
    """Bind the main section and each entry's, up to the first that does not fit."""
    main = _known(text.main.digests(OF_MAIN))
    if not main:
        yield _missing(what, "the manifest's main attributes")
    bindings += _bind("main attributes", main, manifest.octets(manifest.main))
    links.append(main)
    left = [name for name in manifest.entries if name not in text.entries]
    if left:
        yield _missing(what, f"the manifest's section of {left[0][:120]}, and {len(left) - 1} more")
    for name, section in text.entries.items():
        own = manifest.entries.get(name)
        if own is None:
            yield _no_section(what, name)
            return
        digests = section.digests()
        known = _known(digests)
        if not known:
            yield _no_digest(what, name, digests)
            return
        octets = _octets_meant(manifest, own, known)
        bindings += _bind(f"manifest section of {name[:120]}", known, octets)
        links.append(known)
        if not _fits(known, octets):
            return


def _octets_meant(manifest: Sections, section: Section, digests: Mapping[str, bytes]) -> bytes:
    """Return a section's octets, without the empty line behind it where a signer left it out."""
    bare = manifest.octets(section, bare=True)
    return bare if _fits(digests, bare) else manifest.octets(section)


def _known(digests: Mapping[str, bytes]) -> Mapping[str, bytes]:
    return {a: digest for a, digest in digests.items() if a in COMPUTABLE}


def strongest(digests: Mapping[str, bytes]) -> str:
    """Return the strongest algorithm among digests of one thing: all of them must fit."""
    return next((a for a in _STRONGEST_FIRST if a in digests), next(iter(sorted(digests)[::-1])))


def _fits(digests: Mapping[str, bytes], data: bytes) -> bool:
    """Say whether digests are those of octets: integrity checks what is chosen by it."""
    return bool(digests) and all(
        hashlib.new(a, data, usedforsecurity=False).digest() == d for a, d in digests.items()
    )


def _bind(name: str, digests: Mapping[str, bytes], data: bytes) -> Sequence[Binding]:
    return [
        Binding(name=name, algorithm=a, data=data, digest=d, clause="JAR, Signature Validation")
        for a, d in digests.items()
    ]


def _magic(manifest: Sections, text: Sections, what: str) -> Iterator[Finding]:
    """Report the first entry whose attributes ask of a verifier what it must know (Magic)."""
    for section in (*manifest.entries.values(), *text.entries.values()):
        if any(name.lower() == "magic" for name, _ in section.attributes):
            yield Finding(
                code=Code.UNSUPPORTED_ALGORITHM,
                effect=Effect.UNKNOWN,
                subject=f"{what}, {section.name[:120]}",
                found="an attribute Magic",
                required="none: its contexts are not known here",
                clause="JAR, The Magic Attribute",
            )
            return


def _missing(what: str, found: str) -> Finding:
    return Finding(
        code=Code.SLOT_MISSING, effect=Effect.REJECT, subject=what,
        found=f"no digest of {found}", required=_WHAT_RUNS, clause=_CLAUSE,
    )  # fmt: skip


def _no_section(what: str, name: str) -> Finding:
    return Finding(
        code=Code.DIGEST_MISMATCH, effect=Effect.REJECT, subject=f"{what}, {name[:120]}",
        found="no section in the manifest", required="the section that was signed", clause=_CLAUSE,
        hint="the manifest was changed after it was signed",
    )  # fmt: skip


def _no_digest(what: str, name: str, digests: Mapping[str, bytes]) -> Finding:
    unknown = bool(digests)
    return Finding(
        code=Code.UNSUPPORTED_ALGORITHM if unknown else Code.SLOT_MISSING,
        effect=Effect.UNKNOWN if unknown else Effect.REJECT,
        subject=f"{what}, {name[:120]}",
        found=f"digests by {', '.join(digests)}"[:120] if unknown else "no digest in its section",
        required="a digest of the manifest's section, by an algorithm that can be checked",
        clause=_CLAUSE,
    )  # fmt: skip
