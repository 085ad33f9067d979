"""One compressed stream, unpacked whole and within a bound, or piece by piece.

A stream must end; what follows it is told apart and never unpacked: readers that go on to a
second stream and readers that stop would take the file for different things.
"""

from __future__ import annotations

import bz2
import importlib
import lzma
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from signward.errors import ExtraMissingError, LimitError, MalformedError

MEMORY = 256 * 1024 * 1024
"""Octets an xz unpacker may take; its highest level asks for 65 MiB, kernels for up to 130."""

WINDOW_LOG = 27
"""Largest window of a zstd frame, as a power of two; ``zstd --ultra -22`` writes 27."""

PIECE = 256 * 1024
"""Most octets that `unpacked` yields at once: a small input may unpack to very much."""

_DICTIONARY = 1024 * 1024

_MAGICS = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\x5d\0\0", "lzma"),
    (b"\x04\x22\x4d\x18", "lz4 frame"),
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"\x89LZO\0", "lzo"),
)


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


def compression_of(head: bytes) -> str:
    """Return how a stream with these first octets is compressed; empty if no magic says so.

    The magics are those of RFC 1952, RFC 8878, the xz file format and Linux ``lib/decompress.c``.
    """
    return next((name for magic, name in _MAGICS if head.startswith(magic)), "")


def unpack(data: bytes, most: int, what: str) -> tuple[bytes, int]:
    """Return what the stream at the start of ``data`` holds, and how many octets it takes.

    Raises ``LimitError`` for more than ``most`` octets, ``MalformedError`` for a stream that is
    damaged or does not end, ``ExtraMissingError`` for zstd or LZ4 without its library.
    """
    kind = compression_of(data)
    unpacker = _unpacker(kind, what)
    try:
        unpacked = unpacker.decompress(data, most + 1)
    except (zlib.error, OSError, EOFError, lzma.LZMAError, MemoryError) as error:
        raise MalformedError(what, f"data that does not unpack ({error})", kind) from None
    if len(unpacked) > most:
        raise LimitError(what, f"more than {most} octets unpacked", f"at most {most}")
    if not unpacker.eof:
        raise MalformedError(what, "an end inside the stream", f"a whole {kind} stream")
    return unpacked, len(data) - len(unpacker.unused_data)


def unpacked(pieces: Iterable[bytes], kind: str, what: str) -> Iterator[bytes]:
    """Yield what one stream unpacks to, in pieces of at most ``PIECE`` octets; the caller counts.

    Raises ``MalformedError`` for a stream that is damaged, does not end or ends early, and
    ``ExtraMissingError`` for zstd without its library.
    """
    unpacker = _unpacker(kind, what)
    for piece in pieces:
        if unpacker.eof:
            raise MalformedError(what, f"data behind the {kind} stream", "none")
        try:
            yield from _unpacked_piece(unpacker, piece)
        except (zlib.error, OSError, EOFError, lzma.LZMAError, MemoryError) as error:
            raise MalformedError(what, f"data that does not unpack ({error})", kind) from None
        if unpacker.unused_data:
            raise MalformedError(what, f"data behind the {kind} stream", "none")
    if not unpacker.eof:
        raise MalformedError(what, "an end inside the stream", f"a whole {kind} stream")


def _unpacked_piece(unpacker: _Unpacker, piece: bytes) -> Iterator[bytes]:
    """Yield what one piece of a stream brings; zlib hands back what it has not taken yet."""
    while True:
        out = unpacker.decompress(piece, PIECE)
        if out:
            yield out
        piece = getattr(unpacker, "unconsumed_tail", b"")
        done = getattr(unpacker, "needs_input", not piece and len(out) < PIECE)
        if unpacker.eof or done:
            return


def _unpacker(kind: str, what: str) -> _Unpacker:
    if kind == "gzip":
        return zlib.decompressobj(31)
    if kind == "xz":
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, MEMORY)
    if kind == "lzma":
        return lzma.LZMADecompressor(lzma.FORMAT_ALONE, MEMORY)
    if kind == "bzip2":
        return bz2.BZ2Decompressor()
    if kind == "zstd":
        return _zstd_unpacker(what)
    if kind == "lz4 frame":
        return _Lz4(what)
    raise MalformedError(what, f"compression {kind or 'unknown'}", "gzip, xz, zstd, bzip2 or lzma")


def pack(kind: str, data: bytes, what: str) -> bytes:
    """Return ``data`` as one stream of ``gzip``, ``xz`` or ``zstd``; the same for the same octets.

    So writes the kernel's build (``scripts/Makefile.modinst``), and so reads its own loader: xz
    with a CRC-32 and a dictionary of 1 MiB, zstd with a checksum, gzip without name and time.
    Raises ``ExtraMissingError`` for zstd without its library.
    """
    if kind == "gzip":
        packer = zlib.compressobj(6, zlib.DEFLATED, 31)
        return packer.compress(data) + packer.flush()
    if kind == "xz":
        filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": _DICTIONARY}]
        return lzma.compress(data, lzma.FORMAT_XZ, lzma.CHECK_CRC32, filters=filters)
    zstd = _zstd(what)
    options = {zstd.CompressionParameter.checksum_flag: 1}
    packed: bytes = zstd.compress(data, options=options)
    return packed


def _zstd_unpacker(what: str) -> _Unpacker:
    zstd = _zstd(what)
    options = {zstd.DecompressionParameter.window_log_max: WINDOW_LOG}
    return _Zstd(zstd, zstd.ZstdDecompressor(options=options))


class _Zstd:
    """A zstd unpacker that fails as the others do."""

    def __init__(self, zstd: Any, unpacker: Any) -> None:
        self._error, self._unpacker = zstd.ZstdError, unpacker

    @property
    def eof(self) -> bool:
        return bool(self._unpacker.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._unpacker.unused_data)

    @property
    def needs_input(self) -> bool:
        return bool(self._unpacker.needs_input)

    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes:
        try:
            return bytes(self._unpacker.decompress(data, max_length))
        except self._error as error:
            raise EOFError(str(error)) from None


class _Lz4:
    """An unpacker of LZ4 frames (apt keeps lists so) that fails as the others do."""

    def __init__(self, what: str) -> None:
        try:
            self._unpacker = importlib.import_module("lz4.frame").LZ4FrameDecompressor()
        except ImportError:
            raise ExtraMissingError(what, "lz4", "lz4") from None

    @property
    def eof(self) -> bool:
        return bool(self._unpacker.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._unpacker.unused_data or b"")

    @property
    def needs_input(self) -> bool:
        return bool(self._unpacker.needs_input)

    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes:
        try:
            return bytes(self._unpacker.decompress(data, max_length))
        except RuntimeError as error:
            raise EOFError(str(error)) from None


def _zstd(what: str) -> Any:
    """Return the module for zstd: the standard library's from Python 3.14 on."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise ExtraMissingError(what, "backports.zstd", "zstd")
