"""Signing Mach-O: the load command that points at the superblob, and what moves for it.

Sources: Apple's published ``mach-o/loader.h`` and ``mach-o/fat.h``; the layout is the one that
Apple's ``codesign_allocate`` makes.  The superblob stands at the end of __LINKEDIT, which is the
file's end, and LC_CODE_SIGNATURE tells where and how large.  Both are in the first page, which
is digested: a slice is laid out first, with as much room as its signature may need, then
digested and signed.  Slices of a universal file are signed one after the other and laid anew.

An envelope of this format is a slice's superblob with the zeros behind it: all its room.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Generator, Mapping, Sequence

from signward.errors import BadInputError, NotSignableError
from signward.formats import Existing, Request, may_sign
from signward.formats._apple_sign import (
    ALIGNMENT,
    PAGE,
    CodeDraft,
    Content,
    Settings,
    draft_code,
    fitted,
    read_settings,
    reserve,
)
from signward.formats._apple_signature import AppleSignature, open_superblob
from signward.frozen import Frozen, replace
from signward.state import Source
from signward.wire import superblob as sb
from signward.wire.code_directory import (
    AD_HOC,
    FLAGS,
    HARDENED_RUNTIME,
    LINKER_SIGNED,
    ExecSegment,
)
from signward.wire.macho import (
    EXECUTE,
    Command,
    Image,
    Segment,
    Slice,
    read_commands,
    read_image,
    read_slices,
    table_size,
)
from signward.wire.patch import Edit, Joined, Patched, PatchSet, append
from signward.wire.plist import read_plist
from signward.wire.requirement import read_requirements
from signward.wire.requirement_text import requirements_text

ARM_PAGE = 0x4000
"""Octets of a page of Apple's ARM processors; all others have `PAGE`."""

MAIN_BINARY = 1
"""CS_EXECSEG_MAIN_BINARY: the code is a program, not a library."""

_SEGMENT, _SEGMENT_64, _SIGNATURE = 0x1, 0x19, 0x1D
_BUILD_VERSION = 0x32
_VERSION_MINIMUM = frozenset((0x24, 0x25, 0x2F, 0x30))
"""LC_VERSION_MIN_*: macOS, iOS, tvOS, watchOS; the version of the SDK is their second number."""

_COMMAND_SIZE = 16
_COUNTS = 16
"""Where a header has the number of load commands, and their octets behind it."""

_LARGEST = 0xFFFFFFFF
_WHAT = "Mach-O"


class Site(Frozen, frozen=True, kw_only=True):
    """A slice as a place for a signature: ``source`` is the slice alone.

    ``limit`` is where the superblob begins, and what the code directory covers (octets).
    """

    source: Source
    image: Image
    order: str
    header: int
    commands: tuple[Command, ...]
    linkedit: Segment
    limit: int

    @property
    def page(self) -> int:
        """Octets of a page of its processor."""
        return ARM_PAGE if self.image.architecture.startswith("arm64") else PAGE


def read_sites(source: Source) -> tuple[Site, ...]:
    """Return a file's slices as places for signatures, in the order of its table.

    Raises ``BadInputError``, and ``NotSignableError`` for a slice whose signature would not
    stand at its end, in __LINKEDIT.
    """
    return tuple(_site(source, at) for at in read_slices(source))


def _site(source: Source, at: Slice) -> Site:
    image = read_image(source, at)
    order, header, commands = read_commands(source, at)
    linkedit = image.segment("__LINKEDIT")
    where = image.architecture
    if linkedit is None:
        raise NotSignableError(
            f"{_WHAT}, {where}", "no segment __LINKEDIT", "one, for the signature's place",
            hint="programs and libraries are signed, object files are not",
        )  # fmt: skip
    signed = image.signature
    end = sum(signed) if signed else linkedit.end
    if linkedit.end != end or end != at.size:
        raise NotSignableError(
            f"{_WHAT}, {where}", f"{at.size} octets, of which __LINKEDIT ends at {linkedit.end}"
            f"{f' and the signature at {end}' if signed else ''}",
            "all three ends in one place",
            hint="what stands behind would be covered by no signature",
        )  # fmt: skip
    limit = signed[0] if signed else at.size + -at.size % ALIGNMENT
    return Site(
        source=Joined(source.name, [(source, at.start, at.end)]),
        image=image,
        order=order,
        header=header,
        commands=commands,
        linkedit=linkedit,
        limit=limit,
    )


def sign_sites(
    source: Source,
    request: Request,
    *,
    identifier: str = "",
    parts: Mapping[int, bytes] | None = None,
) -> Generator[CodeDraft, bytes, PatchSet]:
    """Sign every slice; ``identifier`` is the code's where neither request nor code names one.

    ``parts`` is the content of special slots outside the file, where it is a bundle's program.
    """
    sites = read_sites(source)
    may_sign(any(map(_is_signed, sites)), request, _WHAT)
    if request.existing is Existing.NESTED:
        raise NotSignableError(_WHAT, "--nested", "one signature", hint="--replace puts it anew")
    given = dict(parts or {})
    name = _identifier(sites, given) or identifier or name_of(source)
    rooms = []
    for site in sites:
        settings = read_settings(_keeping(site, request), name)
        room, content = _laid_out(site, settings, request, given)
        superblob = yield draft_code(content, settings, request)
        rooms.append(fitted(superblob, room))
    return place(source, sites, rooms)


def _laid_out(
    site: Site, settings: Settings, request: Request, parts: Mapping[int, bytes]
) -> tuple[int, Content]:
    """Return the room for a slice's signature, and the slice with that room, to be digested."""
    content = content_of(site, parts)
    if settings.runtime is None and not content.sdk:
        raise NotSignableError(
            f"{_WHAT}, {site.image.architecture}", "no version of an SDK",
            "one for the hardened runtime", hint="--option runtime=13.0.0 names the version",
        )  # fmt: skip
    room = reserve(content, settings, request)
    laid_out = Patched(site.source, PatchSet(edits=_edits(site, bytes(room))))
    return room, replace(content, source=laid_out)


def content_of(site: Site, parts: Mapping[int, bytes]) -> Content:
    """Return what a slice's code directory speaks of, as the slice stands.

    ``parts`` is the content of special slots outside the file.
    """
    info = _embedded_info(site)
    own = {sb.INFO_SLOT: info} if info else {}
    text = site.image.segment("__TEXT") or Segment("", 0, 0, 0, 0, 0, 0)
    flags = MAIN_BINARY if site.image.file_type == EXECUTE else 0
    return Content(
        source=site.source,
        limit=site.limit,
        page_size=site.page,
        parts={**own, **parts},
        segment=ExecSegment(base=text.offset, limit=text.size, flags=flags),
        sdk=_sdk(site),
    )


def read_rooms(source: Source) -> tuple[bytes, ...]:
    """Return each slice's superblob with the zeros behind it; none if no slice has one.

    Raises ``NotSignableError`` where only some are signed: they could not be told apart.
    """
    found = [
        (at.start + where[0], where[1])
        for at in read_slices(source)
        if (where := read_image(source, at).signature)
    ]
    if found and len(found) != len(read_slices(source)):
        raise NotSignableError(_WHAT, f"{len(found)} signed slices", "a signature in each, or none",
                               hint="--replace signs them all anew")  # fmt: skip
    return tuple(source.read(start, size) for start, size in found)


def place(source: Source, sites: Sequence[Site], rooms: Sequence[bytes]) -> PatchSet:
    """Return the patch that gives each slice its superblob with all its room; none strips."""
    if rooms and len(rooms) != len(sites):
        raise NotSignableError(_WHAT, f"{len(rooms)} signatures", f"one a slice: {len(sites)}")
    given: Sequence[bytes | None] = rooms or [None] * len(sites)
    edits = [_edits(site, room) for site, room in zip(sites, given, strict=True)]
    size = table_size(source)
    if not size:
        return PatchSet(edits=edits[0])
    slices = [Patched(s.source, PatchSet(edits=e)) for s, e in zip(sites, edits, strict=True)]
    return PatchSet(
        edits=(Edit(start=0, end=source.length, data=_universal(source, sites, slices)),)
    )


def _universal(source: Source, sites: Sequence[Site], slices: Sequence[Source]) -> Source:
    """Return a universal file of these slices: each where its alignment lets it begin.

    The first one stays where it was; the table names them in its order.
    """
    table = bytearray(source.read(0, table_size(source)))
    wide = table[3] == 0xBF
    form, step = (struct.Struct(">QQI"), 32) if wide else (struct.Struct(">III"), 20)
    order = sorted(range(len(sites)), key=lambda number: sites[number].image.slice.start)
    stretches: list[tuple[bytes | Source, int, int]] = []
    at = sites[order[0]].image.slice.start
    gap = source.read(len(table), at - len(table))
    for number in order:
        entry = 8 + step * number + 8
        alignment = form.unpack_from(table, entry)[2]
        start = at + -at % (1 << alignment)
        gap += bytes(start - at)
        stretches += [(gap, 0, len(gap)), (slices[number], 0, slices[number].length)]
        gap, at = b"", start + slices[number].length
        if not wide and at > _LARGEST:
            raise NotSignableError(_WHAT, f"{at} octets", f"at most {_LARGEST}, signed")
        form.pack_into(table, entry, start, slices[number].length, alignment)
    return Joined(source.name, [(bytes(table), 0, len(table)), *stretches])


# ---- one slice ----


def _edits(site: Site, room: bytes | None) -> tuple[Edit, ...]:
    """Return the edits that put ``room`` at a slice's end; None takes the signature away."""
    if room is None and site.image.signature is None:
        return ()
    size = site.source.length
    padding = bytes(max(0, site.limit - size))
    head = _head(site, None if room is None else len(room))
    last = Edit(start=min(site.limit, size), end=size, data=padding + (room or b""))
    if site.image.signature is None and not padding:
        last = append(site.source, room or b"")
    return (Edit(start=0, end=len(head), data=head), last)


def _head(site: Site, room: int | None) -> bytes:
    """Return header and load commands for a signature of ``room`` octets, or for none."""
    if site.limit + (room or 0) > _LARGEST:
        raise NotSignableError(_WHAT, f"{site.limit} octets", f"at most {_LARGEST}, signed")
    pointer = struct.pack(f"{site.order}4I", _SIGNATURE, _COMMAND_SIZE, site.limit, room or 0)
    kept: list[bytes] = []
    for command in site.commands:
        if command.kind == _SIGNATURE:
            kept += [] if room is None else [pointer]
        else:
            kept.append(_resized(site, command, room or 0))
    if room is not None and site.image.signature is None:
        _check_space(site)
        kept.append(pointer)
    head = bytearray(site.source.read(0, site.header)) + b"".join(kept)
    struct.pack_into(f"{site.order}2I", head, _COUNTS, len(kept), len(head) - site.header)
    return bytes(head).ljust(site.image.commands_end, b"\0")


def _resized(site: Site, command: Command, room: int) -> bytes:
    """Return a load command; that of __LINKEDIT with the size it gets."""
    wide = command.kind == _SEGMENT_64
    if command.kind not in (_SEGMENT, _SEGMENT_64) or not _is_linkedit(command):
        return command.data
    size = site.limit + room - site.linkedit.offset
    mapped = size + -size % site.page
    form = struct.Struct(site.order + ("4Q" if wide else "4I"))
    address, _, offset, _ = form.unpack_from(command.data, 24)
    data = bytearray(command.data)
    form.pack_into(data, 24, address, mapped, offset, size)
    return bytes(data)


def _is_linkedit(command: Command) -> bool:
    return command.data[8:24].rstrip(b"\0") == b"__LINKEDIT"


def _check_space(site: Site) -> None:
    """Raise ``NotSignableError`` where no load command fits behind the others."""
    end = site.image.commands_end
    first = min(_contents(site), default=site.source.length)
    space = min(end + _COMMAND_SIZE, site.source.length) - end
    if first < end + _COMMAND_SIZE or any(site.source.read(end, space)):
        raise NotSignableError(
            f"{_WHAT}, {site.image.architecture}",
            f"{max(first - end, 0)} octets between load commands and code",
            f"{_COMMAND_SIZE} zeros for LC_CODE_SIGNATURE",
            hint="link with -headerpad 0x20",
        )  # fmt: skip


def _contents(site: Site) -> list[int]:
    """Return where what is not header begins: sections, and segments behind the header."""
    found = [s.offset for s in site.image.segments if s.size and s.offset]
    for command in site.commands:
        if command.kind not in (_SEGMENT, _SEGMENT_64):
            continue
        wide = command.kind == _SEGMENT_64
        fixed, step, at = (72, 80, 48) if wide else (56, 68, 40)
        count = struct.unpack_from(f"{site.order}I", command.data, fixed - 8)[0]
        for number in range(count):
            place_of = fixed + step * number + at
            found.append(struct.unpack_from(f"{site.order}I", command.data, place_of)[0])
    return [offset for offset in found if offset]


def _is_signed(site: Site) -> bool:
    """Say whether somebody would miss the signature: not one that a linker made by itself."""
    if site.image.signature is None:
        return False
    try:
        return not _present(site).best.flags & LINKER_SIGNED
    except BadInputError:
        return True


def _present(site: Site) -> AppleSignature:
    """Return the signature a slice has.  Raises ``BadInputError`` for one that cannot be read."""
    room = site.source.read(*(site.image.signature or (0, 0)))
    return open_superblob(room[: sb.blob_length(room, _WHAT, magic=sb.EMBEDDED_SIGNATURE)])


def _keeping(site: Site, request: Request) -> Request:
    """Return a request that asks for what it keeps of a slice's signature, as options.

    What it names itself it does not keep.  Raises ``NotSignableError`` where there is nothing.
    """
    names = [name for name in request.options.get("keep", "").split(",") if name]
    for name in names:
        if name not in _KEPT:
            raise NotSignableError(_WHAT, f"keep={name}", f"of these: {', '.join(_KEPT)}")
    if not names:
        return request
    if site.image.signature is None:
        raise NotSignableError(_WHAT, "no signature", "one, of which something can be kept")
    kept: dict[str, str] = {}
    for name in names:
        kept |= _KEPT[name](_present(site))
    return replace(request, options={**kept, **request.options})


def _kept_flags(present: AppleSignature) -> dict[str, str]:
    best = present.best
    named = [name for bit, name in FLAGS.items() if best.flags & bit and bit not in _NOT_KEPT]
    version = f"{best.runtime >> 16}.{best.runtime >> 8 & 255}.{best.runtime & 255}"
    hardened = {"runtime": version} if best.flags & HARDENED_RUNTIME else {}
    return {"flags": ",".join(named), **hardened}


def _kept_requirements(present: AppleSignature) -> dict[str, str]:
    found = read_requirements(present.requirements) if present.requirements else {}
    return {"requirements": requirements_text(found) or "none"}


_NOT_KEPT = frozenset((AD_HOC, LINKER_SIGNED, HARDENED_RUNTIME))

_KEPT: Mapping[str, Callable[[AppleSignature], dict[str, str]]] = {
    "identifier": lambda present: {"identifier": present.best.identifier},
    "flags": _kept_flags,
    "entitlements": lambda present: {"entitlements": present.entitlements.decode(errors="replace")},
    "requirements": _kept_requirements,
}
"""What of a signature can be kept: how it is said as options."""


def _sdk(site: Site) -> int:
    """Return the version of the SDK the code was built with; 0 where it does not say."""
    for command in site.commands:
        if command.kind == _BUILD_VERSION and len(command.data) >= 20:
            return int(struct.unpack_from(f"{site.order}I", command.data, 16)[0])
        if command.kind in _VERSION_MINIMUM and len(command.data) >= 16:
            return int(struct.unpack_from(f"{site.order}I", command.data, 12)[0])
    return 0


# ---- what the code is called ----


def name_of(source: Source) -> str:
    """Return what a file is called by default: its name without folder and extension."""
    name = re.split(r"[/\\]", source.name)[-1]
    stem, dot, _ = name.rpartition(".")
    return (stem if dot and stem else name) or "code"


def _identifier(sites: Sequence[Site], parts: Mapping[int, bytes]) -> str:
    """Return the identifier that the code's own Info.plist names; empty if it has none."""
    for info in (parts.get(sb.INFO_SLOT, b""), *map(_embedded_info, sites)):
        if not info:
            continue
        try:
            named = read_plist(info, "Info.plist").get("CFBundleIdentifier")
        except BadInputError:
            continue  # a bundle's program need not have a readable one of its own
        if isinstance(named, str) and named:
            return named
    return ""


def _embedded_info(site: Site) -> bytes:
    where = site.image.info_plist
    return site.source.read(*where) if where else b""
