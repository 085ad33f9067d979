"""NuGet packages (.nupkg, .snupkg): a ZIP archive with its signature as a member.

Sources: NuGet's "Package Signatures Technical Details" ("NuGet" in the clauses), PKWARE
APPNOTE 6.3.  The signature is a CMS SignedData in ``.signature.p7s`` at the root, stored and
not compressed; its content names the digest of the package: of every byte of the archive as
it would be without that member (local entry, central header, and what the end record counts).

So nothing but the member itself escapes the digest, and of that member every field is
either required to be as NuGet writes it or said twice.  ZIP64, which NuGet does not sign, and
whatever two ZIP readers could see differently is refused.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from types import MappingProxyType

from signward.envelopes.cms import CMS_TIMESTAMP, DATA
from signward.errors import AmbiguousError, MalformedError, NotSignableError
from signward.formats import (
    Existing,
    Match,
    ParseOptions,
    Peek,
    Request,
    Signing,
    may_sign,
)
from signward.formats._nuget import (
    PACKAGE,
    REPOSITORY,
    open_package_signature,
)
from signward.state import Manifest, Region, SignedArtifact, Source, Wanted
from signward.wire.patch import Patched, PatchSet
from signward.wire.unzip import read_member
from signward.wire.zip import (
    Place,
    ZipDirectory,
    ZipMember,
    place,
    read_directory,
    refuse_ambiguous,
)

SIGNATURE = ".signature.p7s"

MAX_SIGNATURE = 4 * 1024 * 1024
"""Bytes of a signature; nuget.org's, with two signers and their tokens, have some 20 KiB."""

MAX_ENTRIES = 0xFFFD
"""Members of a package before it is signed: one more, and ZIP64 would be needed."""

_EXTENSIONS = (".nupkg", ".snupkg")
_COMMON = struct.Struct("<HHHIIII")
_ZIP64_EXTRA = 1
_NUSPEC = b".nuspec"
_CLAUSE = "NuGet package signatures"


class NupkgFormat:
    """The NuGet package format."""

    name = "nupkg"
    spec = "NuGet, Package Signatures Technical Details, version 1"
    extensions: tuple[str, ...] = _EXTENSIONS
    token_oid = CMS_TIMESTAMP
    options: Mapping[str, str] = MappingProxyType(
        {
            "type": "author (default) or repository; over an author's signature a repository's "
            "becomes its countersignature",
            "service-index": "the repository's V3 service index, an https URL",
            "owners": "the package's owners at the repository, a semicolon between them",
        }
    )

    def recognise(self, peek: Peek) -> Match:
        """Recognise a ZIP archive by its name, or by a .nuspec at its root.

        One that begins otherwise is recognised too, to be refused for what it is.
        """
        named = peek.extension in _EXTENSIONS
        if peek.head.startswith((b"PK\3\4", b"PK\5\6")):
            return Match.SPECIFIC if named or _has_nuspec(peek.head) else Match.NO
        return Match.EXTENSION if named and b"PK\5\6" in peek.tail else Match.NO

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Find the signature and what it covers."""
        directory = read_directory(source)
        member = _signature_member(directory)
        if member is None:
            return SignedArtifact(format=self.name, source=source, signatures=())
        refuse_ambiguous(directory)
        _refuse_zip64(source, directory)
        where = _check_entry(source, member)
        opened = open_package_signature(read_member(source, member, MAX_SIGNATURE))
        signatures = (opened.primary, *opened.counters)
        return SignedArtifact(
            format=self.name,
            source=source,
            signatures=signatures,
            required={opened.primary.label: frozenset({PACKAGE})},
            regions=(
                _exempt(where.start, where.end, f"{SIGNATURE}, local entry"),
                _exempt(member.record, member.record_end, f"{SIGNATURE}, central header"),
            ),
            facts=opened.facts,
            layout=directory,
        )

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute the package's digests, in one pass over the archive without its signature."""
        algorithms = [algorithm for name, algorithm in wanted if name == PACKAGE]
        computed = _package_digests(artifact.source, algorithms, artifact.layout)
        return {(PACKAGE, algorithm): digest for algorithm, digest in computed.items()}

    def sign(self, source: Source, request: Request) -> Signing:
        """Sign the package, or countersign its author's signature for a repository."""
        from signward.envelopes.cms_counter import draft_counter
        from signward.envelopes.cms_draft import Form, draft
        from signward.formats import _nuget_sign as nuget

        role = nuget.asked_role(request)
        nuget.check_signer(request.signer)
        directory = read_directory(source)
        refuse_ambiguous(directory)
        _refuse_large(source, directory)
        existing = self.envelopes(source)
        attributes = nuget.role_attributes(role, request)
        if existing and role.name == REPOSITORY and request.existing is not Existing.REPLACE:
            opened = open_package_signature(existing[0])
            nuget.check_countersignable(opened)
            sealed = yield draft_counter(
                existing[0], opened.primary.value, request.signer, attributes
            )
            return self.embed(source, (sealed,))
        may_sign(bool(existing), request, "package")
        if existing and request.existing is Existing.NESTED:
            raise NotSignableError(
                "package", "a signature", "none, or type=repository",
                hint="packages have one signature; a repository may countersign an author's",
            )  # fmt: skip
        digest = request.signer.digest
        content = nuget.write_content(digest, _package_digests(source, [digest])[digest])
        sealed = yield draft(
            DATA, content, request.signer,
            form=Form.CMS, attributes=attributes, token_oid=CMS_TIMESTAMP,
        )  # fmt: skip
        return self.embed(source, (sealed,))

    def envelopes(self, source: Source) -> tuple[bytes, ...]:
        """Return the signature's SignedData, if there is one; its entry must be as NuGet's."""
        member = _signature_member(read_directory(source))
        if member is None:
            return ()
        _check_entry(source, member)
        return (read_member(source, member, MAX_SIGNATURE),)

    def embed(self, source: Source, envelopes: tuple[bytes, ...]) -> PatchSet:
        """Return the patch that makes the envelope the signature, or leaves none."""
        from signward.wire.zip_patch import EARLIEST, Member, changed

        new = Member(data=envelopes[0], stored=True, moment=EARLIEST) if envelopes else None
        return changed(source, {SIGNATURE: new})


def _has_nuspec(head: bytes) -> bool:
    """Say whether a .nuspec at the root is among the members whose headers are in ``head``.

    A member whose size stands behind it ends the look.
    """
    at = 0
    while head[at : at + 4] == b"PK\3\4" and at + 30 <= len(head):
        flags = int.from_bytes(head[at + 6 : at + 8], "little")
        packed = int.from_bytes(head[at + 18 : at + 22], "little")
        named, extra = struct.unpack_from("<HH", head, at + 26)
        name = head[at + 30 : at + 30 + named]
        if name.endswith(_NUSPEC) and b"/" not in name:
            return True
        if flags & 8 and not packed:
            return False
        at += 30 + named + extra + packed
    return False


def _signature_member(directory: ZipDirectory) -> ZipMember | None:
    """Return the signature's entry; refuse entries another reader might take for it."""
    alike = [member for member in directory.members if _plain_name(member.name) == SIGNATURE]
    if not alike:
        return None
    if len(alike) > 1 or alike[0].raw_name != SIGNATURE.encode():
        names = ", ".join(repr(member.name) for member in alike[:4])
        raise AmbiguousError("archive", f"members {names}", f"one named {SIGNATURE}", _CLAUSE)
    return alike[0]


def _plain_name(name: str) -> str:
    """Return a member's name as a lenient file system would take it."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    return "/".join(parts).rstrip(" .").casefold()


def _check_entry(source: Source, member: ZipMember) -> Place:
    """Return where the signature lies; refuse an entry NuGet would not, or that hides bytes.

    No digest covers the entry, so what it says is either fixed (flags, method, attributes,
    nothing beside the name) or said twice alike (version, time, CRC-32, sizes).
    """
    where = place(source, member)
    local = source.read(member.local, 30)
    central = source.read(member.record, member.record_end - member.record)
    version, flags, method, _, crc, packed, size = _COMMON.unpack_from(local, 4)
    faults = {
        "flags": flags,
        "compression method": method,
        "an extra field or comment": len(central) - 46 - len(member.raw_name)
        + where.data - where.start - 30 - len(member.raw_name),
        "disk or attributes": sum(central[34:42]),
        "a data descriptor": where.end - where.data_end,
    }  # fmt: skip
    for what, found in faults.items():
        if found:
            raise MalformedError(
                SIGNATURE, f"{what}: {found}", "none", _CLAUSE, offset=member.local
            )
    if local[4:26] != central[6:28] or packed != size:
        found = f"version {version}, CRC-32 {crc:#x}, sizes {packed} and {size} in one header"
        raise AmbiguousError(SIGNATURE, found, "the same in both", _CLAUSE, offset=member.local)
    return where


def _exempt(start: int, end: int, what: str) -> Region:
    return Region(start=start, end=end, what=what, exempt=_CLAUSE)


def _refuse_large(source: Source, directory: ZipDirectory) -> None:
    if len(directory.members) > MAX_ENTRIES:
        found = f"{len(directory.members)} members"
        raise NotSignableError("package", found, f"at most {MAX_ENTRIES}")
    try:
        _refuse_zip64(source, directory)
    except AmbiguousError as error:
        raise NotSignableError("package", error.finding.found, error.finding.required) from None


def _refuse_zip64(source: Source, directory: ZipDirectory) -> None:
    """Refuse ZIP64 records and fields, which readers of packages take differently (NU3006)."""
    what = ""
    if source.read(directory.end, 4) != b"PK\5\6":
        what = "a ZIP64 end record"
    else:
        what = next((m.name for m in directory.members if _has_zip64(source, m)), "")
        what = f"a ZIP64 field of {what}" if what else ""
    if what:
        raise AmbiguousError("archive", what, "none: NuGet does not sign ZIP64", _CLAUSE)


def _has_zip64(source: Source, member: ZipMember) -> bool:
    where = place(source, member)
    local = source.read(where.start, where.data - where.start)
    record = source.read(member.record, member.record_end - member.record)
    extra = struct.unpack_from("<H", record, 30)[0]
    begin = 46 + len(member.raw_name)
    return _ZIP64_EXTRA in (
        *_tags(local[30 + len(member.raw_name) :]),
        *_tags(record[begin : begin + extra]),
    )


def _tags(extra: bytes) -> list[int]:
    """Return the tags in an extra field (4.5.1)."""
    tags, at = [], 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<HH", extra, at)
        tags.append(tag)
        at += 4 + length
    return tags


def _package_digests(
    source: Source, algorithms: list[str], directory: ZipDirectory | None = None
) -> dict[str, bytes]:
    from signward.wire.zip_patch import changed  # loaded where a package is met

    hashers = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
    bare = Patched(source, changed(source, {SIGNATURE: None}, directory))
    if hashers:
        bare.feed([(0, bare.length)], list(hashers.values()))
    return {name: hasher.digest() for name, hasher in hashers.items()}


FORMAT = NupkgFormat()
