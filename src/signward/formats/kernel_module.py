"""Linux kernel modules (.ko), bare or compressed (.ko.xz, .ko.zst, .ko.gz).

Sources: Linux ``Documentation/admin-guide/module-signing.rst``, ``kernel/module/signing.c``,
``kernel/module/decompress.c``; `_appended` for the trailer.  A compressed module is signed inside:
the kernel unpacks one stream, then looks for the trailer.  What stands behind that stream is
covered by nothing.
"""

from __future__ import annotations

from signward.errors import LimitError, MalformedError, NotSignableError
from signward.formats import Match, ParseOptions, Peek, Request, Signing
from signward.formats._appended import (
    MAX_HELD,
    OPTIONS,
    SLOT,
    digests,
    drafted,
    embedded,
    envelopes_of,
    kernel_conditions,
    signatures_of,
    strays,
)
from signward.frozen import Frozen, replace
from signward.state import Manifest, Region, SignedArtifact, Source, Wanted
from signward.wire.compressed import compression_of, pack, unpack
from signward.wire.elf import MAGIC, module_info
from signward.wire.module_trailer import is_module, is_packed_module, read_trailer
from signward.wire.patch import Edit, Patched, PatchSet
from signward.wire.source import BytesSource

MAX_MODULE = MAX_HELD
"""Octets of a module unpacked."""

_SHOWN = ("name", "version", "vermagic", "license", "author", "description", "depends", "intree")
"""What ``show`` tells of a module's ``.modinfo``."""

_GZIP_NAMED = 8
"""The one flag (FNAME, RFC 1952 2.3.1) the kernel's loader knows in a gzip header."""


class Module(Frozen, frozen=True, kw_only=True):
    """A module as it is read: ``content`` is the ELF file, ``end`` where its trailer begins.

    ``compression`` is how it is packed, empty for a bare one; ``used`` how many of the file's
    octets hold it.
    """

    content: Source
    end: int
    compression: str
    used: int


class KernelModuleFormat:
    """The kernel module format."""

    name = "kernel-module"
    spec = "Linux kernel/module/signing.c, kernel/module_signature.c"
    extensions: tuple[str, ...] = (".ko", ".ko.xz", ".ko.zst", ".ko.gz")
    options = OPTIONS

    def recognise(self, peek: Peek) -> Match:
        """Recognise a relocatable ELF file with a trailer or of its name, or a packed one."""
        if peek.head[:4] == MAGIC:
            return Match.SPECIFIC if is_module(peek.head, peek.tail, peek.name) else Match.NO
        return Match.SPECIFIC if is_packed_module(peek.head, peek.name) else Match.NO

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Unpack a packed module, find the trailer and read the signature in it."""
        content, compression, used = _opened(source)
        trailer = read_trailer(content)
        signatures = signatures_of(content, trailer) if trailer else ()
        end = trailer.start if trailer else content.length
        behind = Region(start=used, end=source.length, what="behind the compressed module")
        return SignedArtifact(
            format=self.name,
            source=source,
            signatures=signatures,
            required={s.label: frozenset({SLOT}) for s in signatures},
            conditions={s.label: kernel_conditions(s) for s in signatures},
            regions=(behind,) if used < source.length else (),
            profile="linux-kernel",
            facts={"compression": compression} if compression else {},
            findings=() if trailer else tuple(strays(content)),
            layout=Module(content=content, end=end, compression=compression, used=used),
        )

    def with_facts(self, artifact: SignedArtifact) -> SignedArtifact:
        """Return the artifact with what the module says of itself."""
        module: Module = artifact.layout
        told = module_info(module.content, module.end)
        return replace(
            artifact,
            facts={**artifact.facts, **{name: told[name] for name in _SHOWN if told.get(name)}},
        )

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute the digest of what the signature covers: the module unpacked."""
        module: Module = artifact.layout
        return digests(module.content, module.end, wanted)

    def sign(self, source: Source, request: Request) -> Signing:
        """Append a signature, inside the compression."""
        content, compression, used = _opened(source)
        if used < source.length:
            raise NotSignableError(
                source.name, f"{source.length - used} octets behind the compressed module", "none",
                hint="the kernel reads one stream; what is behind it would be lost",
            )  # fmt: skip
        sealed = yield drafted(content, request)
        return _repacked(source, content, compression, embedded(content, (sealed,)))

    def envelopes(self, source: Source) -> tuple[bytes, ...]:
        """Return the message in the trailer."""
        return envelopes_of(_opened(source)[0])

    def embed(self, source: Source, envelopes: tuple[bytes, ...]) -> PatchSet:
        """Return the patch that appends the first envelope in a trailer, or removes the trailer."""
        content, compression, _ = _opened(source)
        return _repacked(source, content, compression, embedded(content, envelopes))


def _opened(source: Source) -> tuple[Source, str, int]:
    """Return the ELF file, how it is packed, and how many octets of the source hold it."""
    compression = compression_of(source.read(0, min(8, source.length)))
    if not compression:
        return source, "", source.length
    if source.length > MAX_MODULE:
        raise LimitError(source.name, f"{source.length} octets", f"at most {MAX_MODULE}")
    packed = source.read(0, source.length)
    if compression == "gzip" and packed[3] & ~_GZIP_NAMED:
        raise MalformedError(
            source.name, f"flags {packed[3]:#04x} in its gzip header", "none but a file name",
            "kernel/module/decompress.c", offset=3,
        )  # fmt: skip
    unpacked, used = unpack(packed, MAX_MODULE, source.name)
    if unpacked[:4] != MAGIC:
        raise MalformedError(source.name, "something else than ELF inside", "a kernel module")
    return BytesSource(source.name, unpacked), compression, used


def _repacked(source: Source, content: Source, compression: str, patch: PatchSet) -> PatchSet:
    """Return the patch of the file itself for a patch of the module in it."""
    if not compression:
        return patch
    changed = Patched(content, patch)
    packed = pack(compression, changed.read(0, changed.length), source.name)
    return PatchSet(edits=(Edit(start=0, end=source.length, data=packed),))


FORMAT = KernelModuleFormat()
