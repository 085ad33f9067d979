"""Arista's software images (.swi) and extensions (.swix): a ZIP archive with one signature member.

Arista specifies it by its published tool (swi-tools 1.2): the value is over the whole file, the
octets of the stored member ``swi-signature`` (``swix-signature`` in an extension) read as zeros.
Whoever unpacks it believes the ZIP, so whatever two readers could see differently is refused,
though it is signed.

Images since EOS 4.27.2 may hold several (``swimSqshMap``), each with a signature member of its own
over what a program inside makes of the image on the switch.  Nothing but that program says what
that is: the whole image is judged by its own signature, and those are told as not judged.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from signward.errors import LimitError, MalformedError, NotSignableError
from signward.findings import Code, Effect, Finding
from signward.formats import Existing, Match, ParseOptions, Peek, Request, Signing, may_sign
from signward.frozen import Frozen, replace
from signward.state import Manifest, Region, SignedArtifact, Source, Wanted
from signward.wire.patch import Edit, Patched, PatchSet
from signward.wire.unzip import read_member
from signward.wire.zip import ZipDirectory, ZipMember, place, read_directory, refuse_ambiguous

if TYPE_CHECKING:
    from signward.envelopes.swi import Text

IMAGE, EXTENSION = "swi-signature", "swix-signature"
"""The signature member of an image, and of an extension."""

ARCHIVE = "archive"
"""The slot of the whole file but the signature member's octets, which are read as zeros."""

VERSION, SEVERAL = "version", "swimSqshMap"
"""Members that say an image's version, and which images are in it."""

MAX_TEXT = 64 * 1024
"""Octets read of either; the former has some 200."""

WHOLE = 32 * 1024 * 1024
"""Octets of an archive handed to its key; of a longer one, the digest, which signing services
refuse to sign: images have up to two gigabytes."""

_EXTENSIONS = {".swi": IMAGE, ".swix": EXTENSION}
_CENTRAL_NAME = 46
"""Where the name stands in a central header (APPNOTE 4.3.12)."""
_STORED = 0
_CLAUSE = "swi-tools 1.2"
_WHAT = "Arista image"
_NUMBERS = re.compile(r"(\d{1,5})\.(\d{1,5})\.(\d{1,5})(?:\.(\d{1,5}))?(?![\d.])")
"""The numbers of a version such as ``4.28.10.1M``; letters say of which train it is."""
_FIELD = re.compile(r"^SWI_VERSION=([!-~]{1,64})$", re.MULTILINE)


class _Layout(Frozen, frozen=True, kw_only=True):
    """Where the signature member's octets lie; both 0 where there is none."""

    start: int
    end: int


class SwiFormat:
    """Arista's images and extensions."""

    name = "swi"
    spec = "Arista swi-tools 1.2: the archive with zeros in its signature's place"
    extensions: tuple[str, ...] = tuple(_EXTENSIONS)
    options: Mapping[str, str] = MappingProxyType({})

    def recognise(self, peek: Peek) -> Match:
        """Recognise a ZIP archive by its name, or by a signature member listed in its end.

        By its name a file is another format's first: who may sign images may not sign all else.
        """
        if not peek.head.startswith((b"PK\3\4", b"PK\5\6")):
            return Match.NO
        if peek.extension in _EXTENSIONS:
            return Match.SPECIFIC
        listed = any(_is_listed(name.encode(), peek.tail) for name in (IMAGE, EXTENSION))
        return Match.MAGIC if listed else Match.NO

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:
        """Find the signature member and what it says."""
        from signward.envelopes import swi

        directory = read_directory(source)
        member = _signature_member(directory, options.extension)
        artifact = SignedArtifact(
            format=self.name,
            source=source,
            signatures=(),
            profile="device",
            facts=dict(_facts(source, directory)),
            layout=_Layout(start=0, end=0),
        )
        if member is None:
            return artifact
        refuse_ambiguous(directory, gaps=False)
        where, data = _content(source, member)
        artifact = replace(artifact, layout=where)
        if swi.is_room(data):
            return replace(artifact, findings=(_room(member.name),))
        text = swi.read_text(data)
        if not text.is_known:
            return replace(artifact, findings=(_unknown(member.name, text),))
        claimed = swi.claim(text, ARCHIVE, data)
        read_as_zeros = Region(start=where.start, end=where.end, what=member.name, exempt=_CLAUSE)
        return replace(
            artifact,
            signatures=(claimed,),
            required={claimed.label: frozenset({ARCHIVE})},
            regions=(read_as_zeros,),
            findings=(*_several(directory), *_around(member.name, text)),
        )

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute the digests of the archive with zeros in its signature's place, in one pass."""
        where: _Layout = artifact.layout
        hashers = {
            slot: hashlib.new(slot[1], usedforsecurity=False)
            for slot in wanted
            if slot[0] == ARCHIVE
        }
        if hashers:
            feeding = list(hashers.values())
            artifact.source.feed([(0, where.start)], feeding)
            zeros = memoryview(bytes(where.end - where.start))
            for hasher in feeding:
                hasher.update(zeros)
            artifact.source.feed([(where.end, artifact.source.length)], feeding)
        return {slot: hasher.digest() for slot, hasher in hashers.items()}

    def sign(self, source: Source, request: Request) -> Signing:
        """Put zeros in, sign the whole, and put the signature in their place."""
        from signward.envelopes import swi

        directory = read_directory(source)
        name = _name(directory, request.extension)
        may_sign(_is_signed(source, directory, name), request, _WHAT)
        if _is_signed(source, directory, name) and request.existing is Existing.NESTED:
            raise NotSignableError(_WHAT, "a signature", "none: there is room for one",
                                   hint="--replace puts the new one in its place")  # fmt: skip
        if any(_several(directory)):
            raise NotSignableError(_WHAT, "several images in one", "one: what is signed of each "
                                   "only a program inside it makes")  # fmt: skip
        certificates, algorithm = request.signer.certificates, request.signer.algorithm
        room = swi.room_for(certificates)
        zeros = bytes(room)
        laid = Patched(source, _put(source, name, zeros))
        if laid.length > WHOLE:
            hasher = hashlib.new(swi.DIGEST)
            laid.feed([(0, laid.length)], [hasher])
            signed, algorithm = hasher.digest(), replace(algorithm, digested=True)
        else:
            signed = laid.read(0, laid.length)
        sealed = yield swi.drafted(certificates, room, signed, algorithm)
        return self.embed(source, (sealed,), request.extension)

    def envelopes(self, source: Source) -> tuple[bytes, ...]:
        """Return the signature member's octets, if it holds a signature."""
        from signward.envelopes.swi import is_room

        directory = read_directory(source)
        members = [m for m in directory.members if m.name in _EXTENSIONS.values()]
        found = [_content(source, member)[1] for member in members]
        return tuple(data for data in found if not is_room(data))

    def embed(self, source: Source, envelopes: tuple[bytes, ...], extension: str = "") -> PatchSet:
        """Return the patch that makes the first envelope the signature member, or removes it."""
        directory = read_directory(source)
        name = _name(directory, extension)
        return _put(source, name, envelopes[0] if envelopes else None)


def _is_listed(name: bytes, tail: bytes) -> bool:
    """Say whether a central header of this very name begins in the last octets of a file."""
    at = tail.find(name)
    while at >= 0:
        start = at - _CENTRAL_NAME
        if start >= 0 and tail[start : start + 4] == b"PK\1\2":
            (length,) = struct.unpack_from("<H", tail, start + 28)
            if length == len(name):
                return True
        at = tail.find(name, at + 1)
    return False


def _name(directory: ZipDirectory, extension: str) -> str:
    """Return what the signature member is called: by the file's name, as Arista's tool does.

    In a file of another name, as one that is there; there, an extension has a manifest.
    """
    if extension in _EXTENSIONS:
        return _EXTENSIONS[extension]
    names = {member.name for member in directory.members}
    return EXTENSION if EXTENSION in names or "manifest.txt" in names - {IMAGE} else IMAGE


def _signature_member(directory: ZipDirectory, extension: str) -> ZipMember | None:
    """Return the signature member, or None.

    Raises ``MalformedError`` for one of the other name: who verifies by the file's name does not
    see it, and who goes by the member's does.
    """
    found = [member for member in directory.members if member.name in _EXTENSIONS.values()]
    wanted = _name(directory, extension)
    for member in found:
        if member.name != wanted:
            raise MalformedError(_WHAT, f"a member {member.name}", f"{wanted} alone", _CLAUSE)
    return found[0] if found else None


def _content(source: Source, member: ZipMember) -> tuple[_Layout, bytes]:
    """Return where the signature member's octets lie, and them.

    Raises ``MalformedError`` for a packed one: what is read as zeros are the octets in the file.
    """
    from signward.envelopes.swi import MAX_ROOM

    if member.method != _STORED:
        raise MalformedError(member.name, "a packed member", "a stored one", _CLAUSE)
    if member.size > MAX_ROOM:
        raise LimitError(member.name, f"{member.size} octets", f"at most {MAX_ROOM}")
    where = place(source, member)
    return _Layout(start=where.data, end=where.data_end), read_member(source, member, MAX_ROOM)


def _is_signed(source: Source, directory: ZipDirectory, name: str) -> bool:
    from signward.envelopes.swi import is_room

    members = [member for member in directory.members if member.name == name]
    return any(not is_room(_content(source, member)[1]) for member in members)


def _put(source: Source, name: str, data: bytes | None) -> PatchSet:
    """Return the patch that puts a stored signature member behind all others, or removes it.

    Its CRC-32 is that of as many zeros, whatever stands in it.
    """
    from signward.wire.zip_patch import Member, changed

    if data is None:
        return changed(source, {name: None})
    zeros = bytes(len(data))
    patch = changed(source, {name: Member(data=zeros, stored=True)})
    edits = tuple(
        Edit(start=edit.start, end=edit.end, data=data) if edit.data is zeros else edit
        for edit in patch.edits
    )
    return PatchSet(edits=edits)


def _facts(source: Source, directory: ZipDirectory) -> Iterator[tuple[str, str]]:
    """Yield the version that an image says it has: as it says it, and its numbers for rules."""
    for member in directory.members:
        if member.name == VERSION:
            text = read_member(source, member, MAX_TEXT).decode("ascii", "replace")
            said = _FIELD.findall(text)
            if len(said) == 1:
                yield "version", said[0]
                numbers = _NUMBERS.match(said[0])
                if numbers:
                    yield "numbered-version", ".".join(one or "0" for one in numbers.groups())


def _several(directory: ZipDirectory) -> Iterator[Finding]:
    if any(member.name == SEVERAL for member in directory.members):
        yield Finding(
            code=Code.UNAUTHENTICATED_DATA,
            effect=Effect.NOTE,
            subject=_WHAT,
            found="several images in one, whose own signatures are not judged",
            required="what a switch makes of each, which only a program inside does",
            clause=_CLAUSE,
        )


def _around(name: str, text: Text) -> Iterator[Finding]:
    if text.around:
        yield Finding(
            code=Code.UNAUTHENTICATED_DATA,
            effect=Effect.WARN,
            subject=name,
            found=f"{text.around} octets around the signer's certificate, which nothing signs",
            required="certificates alone",
            clause=_CLAUSE,
        )


def _room(name: str) -> Finding:
    return Finding(
        code=Code.LEFTOVER_SIGNATURE,
        effect=Effect.NOTE,
        subject=name,
        found="zeros: room for a signature",
        required="a signature",
        clause=_CLAUSE,
    )


def _unknown(name: str, text: Text) -> Finding:
    return Finding(
        code=Code.UNSUPPORTED_ALGORITHM,
        effect=Effect.UNKNOWN,
        subject=name,
        found=f"version {text.version[:40]!r} with {text.digest[:40]!r}",
        required="version '1' with 'SHA-256'",
        clause=_CLAUSE,
    )


FORMAT = SwiFormat()
