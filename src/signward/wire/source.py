"""Sources: untrusted bytes of known length, read with pread and never mapped.

A mapped file that shrinks kills the process; a short pread is only an error.
``fstat`` before and after tells whether the file changed while it was read.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from signward.errors import MalformedError, UnreadableError
from signward.findings import Code, Effect, Finding
from signward.state import Hasher, Source

CHUNK = 256 * 1024
"""Bytes hashed per read: large enough to hide the call, small enough for the cache."""

APART = 1024 * 1024
"""From so many bytes on, digests are computed in threads, one for each: of use to whoever waits."""

WHOLE = 1024 * 1024
"""Files up to this size are read in one call and kept while they are judged."""

_FS_IOC_READ_VERITY_METADATA = 0xC0286687
"""``_IOWR('f', 135, struct fsverity_read_metadata_arg)`` of linux/fsverity.h (Linux 5.12)."""

_READ_METADATA = struct.Struct("=5Q")
"""That structure: type, offset, length, address of the buffer, reserved."""


class Identity(NamedTuple):
    """What must stay the same while a file is read, and what a cache keys on."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Identity:
        """Return the identity in an ``os.stat_result``."""
        return cls(
            status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        )


class BytesSource:
    """A source over bytes already in memory (a container's member, a small file).

    Two of the same name and bytes are equal, so that what is parsed twice can be compared.
    """

    __slots__ = ("_data", "length", "name")

    def __init__(self, name: str, data: bytes) -> None:
        self.name, self._data, self.length = name, data, len(data)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BytesSource):
            return NotImplemented
        return (self.name, self._data) == (other.name, other._data)

    def __hash__(self) -> int:
        return hash((self.name, self.length))

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly ``size`` bytes at ``offset`` or raise ``MalformedError``."""
        _check_range(offset, size, self.length)
        return self._data[offset : offset + size]

    def feed(self, ranges: Iterable[tuple[int, int]], hashers: Sequence[Hasher]) -> None:
        """Stream each ``(start, end)`` range through every hasher."""
        view = memoryview(self._data)
        for start, end in ranges:
            _check_range(start, end - start, self.length)
            for hasher in hashers:
                hasher.update(view[start:end])


class FileSource:
    """A source over an open regular file, read with pread into a reused buffer."""

    __slots__ = ("_buffer", "_fd", "_recalled", "_whole", "identity", "length", "mode", "name")

    def __init__(self, name: str, fd: int, status: os.stat_result) -> None:
        self.name, self._fd = name, fd
        self.identity = Identity.of(status)
        self.length, self.mode = status.st_size, stat.S_IMODE(status.st_mode)
        self._buffer: bytearray | None = None
        self._recalled: Mapping[str, bytes] | None = None
        self._whole = self._pread(0, self.length) if self.length <= WHOLE else None

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly ``size`` bytes at ``offset`` or raise ``MalformedError``."""
        _check_range(offset, size, self.length)
        if self._whole is not None:
            return self._whole[offset : offset + size]
        return self._pread(offset, size)

    def feed(self, ranges: Iterable[tuple[int, int]], hashers: Sequence[Hasher]) -> None:
        """Stream each ``(start, end)`` range through every hasher; many bytes once for each."""
        if self._whole is not None:
            BytesSource(self.name, self._whole).feed(ranges, hashers)
            return
        octets = 0
        for start, end in (spans := tuple(ranges)):
            _check_range(start, end - start, self.length)
            octets += end - start
        if self._buffer is None:
            self._buffer = bytearray(CHUNK)
        if octets < APART or len(hashers) < 2:
            self._stream(spans, hashers, self._buffer)
        else:
            self._feed_apart(spans, hashers, self._buffer)

    def _feed_apart(
        self, spans: Sequence[tuple[int, int]], hashers: Sequence[Hasher], buffer: bytearray
    ) -> None:
        """Give each hasher a thread that reads for itself: nothing is handed over, nobody waits.

        Reading and hashing let go of the interpreter's lock (decision 18).
        """
        from concurrent.futures import ThreadPoolExecutor

        first, *others = hashers
        with ThreadPoolExecutor(len(others)) as pool:
            under_way = [
                pool.submit(self._stream, spans, (hasher,), bytearray(CHUNK)) for hasher in others
            ]
            self._stream(spans, (first,), buffer)
            for done in under_way:
                done.result()

    def _stream(
        self, spans: Sequence[tuple[int, int]], hashers: Sequence[Hasher], buffer: bytearray
    ) -> None:
        """Read the spans piece by piece into ``buffer``; every hasher takes each piece."""
        view = memoryview(buffer)
        for start, size in _cut(spans, CHUNK):
            piece = self._fill(view[:size], start)
            for hasher in hashers:
                hasher.update(piece)

    def _fill(self, view: memoryview, position: int) -> memoryview:
        filled = 0
        while filled < len(view):
            count = os.preadv(self._fd, [view[filled:]], position + filled)
            if count == 0:
                raise self._changed()
            filled += count
        return view

    def check_unchanged(self) -> None:
        """Raise ``UnreadableError`` if the file changed since it was opened."""
        if Identity.of(os.fstat(self._fd)) != self.identity:
            raise self._changed()

    def recall(self, kept: Mapping[str, bytes]) -> None:
        """Answer from now on what stood beside the file's bytes, and ask the system no more."""
        self._recalled = kept

    def attribute(self, name: str) -> bytes:
        """Return an extended attribute of the file; empty where it has none of that name."""
        if self._recalled is not None:
            return self._recalled.get(name, b"")
        try:
            return os.getxattr(self._fd, name)
        except OSError:
            return b""

    def set_attribute(self, name: str, value: bytes) -> None:
        """Set an extended attribute of the file.  Raises ``OSError``."""
        os.setxattr(self._fd, name, value)

    def verity_metadata(self, kind: int, most: int) -> bytes:
        """Return what the kernel keeps of a file's fs-verity, at most ``most`` octets.

        Empty for a file without, and where the system knows of no such thing.
        """
        if self._recalled is not None:
            return self._recalled.get(f"fs-verity:{kind}", b"")
        try:
            import fcntl  # not on Windows
        except ImportError:
            return b""
        buffer = array("B", bytes(most))
        order = bytearray(_READ_METADATA.pack(kind, 0, most, buffer.buffer_info()[0], 0))
        try:
            read = fcntl.ioctl(self._fd, _FS_IOC_READ_VERITY_METADATA, order)
        except OSError:
            return b""
        return buffer[: max(0, read)].tobytes()

    def _pread(self, offset: int, size: int) -> bytes:
        parts, position, end = [], offset, offset + size
        while position < end:
            part = os.pread(self._fd, end - position, position)
            if not part:
                raise self._changed()
            parts.append(part)
            position += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _changed(self) -> UnreadableError:
        return UnreadableError(
            Finding(
                code=Code.CHANGED_WHILE_READ,
                effect=Effect.UNKNOWN,
                subject=self.name,
                found="a file that changed while it was read",
                required="the same bytes from the first read to the last",
                hint="run again when nothing writes to it",
            )
        )


def attribute_of(source: Source, name: str) -> bytes:
    """Return an extended attribute (``security.ima``) of a source that is a file, else nothing."""
    return source.attribute(name) if isinstance(source, FileSource) else b""


def whole_digest(source: Source, algorithm: str) -> bytes:
    """Return the digest of every byte of a source (``algorithm``: a hashlib name)."""
    hasher = hashlib.new(algorithm, usedforsecurity=False)
    source.feed([(0, source.length)], [hasher])
    return hasher.digest()


def slot_digests(
    source: Source, spans: Iterable[tuple[int, int]], slots: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], bytes]:
    """Return the digest of the spans for each ``(slot name, algorithm)``, in one pass.

    Nothing is read where no slot is asked for.
    """
    hashers = {slot: hashlib.new(slot[1], usedforsecurity=False) for slot in slots}
    if hashers:
        source.feed(spans, [*hashers.values()])
    return {slot: hasher.digest() for slot, hasher in hashers.items()}


def _cut(spans: Sequence[tuple[int, int]], most: int) -> Iterator[tuple[int, int]]:
    """Yield ``(start, size)`` pieces of at most ``most`` bytes."""
    for start, end in spans:
        for position in range(start, end, most):
            yield position, min(most, end - position)


def _check_range(offset: int, size: int, length: int) -> None:
    if offset < 0 or size < 0 or offset + size > length:
        raise MalformedError(
            "artifact", f"a reference to {size} bytes", f"a range inside its {length} bytes",
            offset=offset,
        )  # fmt: skip


@contextmanager
def open_source(path: str | os.PathLike[str], name: str | None = None) -> Iterator[FileSource]:
    """Open a regular file as a source; close it on leaving.

    Raises ``UnreadableError`` for what is absent, not permitted, or no regular
    file (a FIFO or device is never opened for blocking reads).
    """
    label = name or os.fspath(path)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        raise _unreadable(label, error) from None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise _not_a_file(label, status.st_mode)
        try:
            yield FileSource(label, fd, status)
        except OSError as error:
            raise _unreadable(label, error) from None
    finally:
        os.close(fd)


def _unreadable(label: str, error: Exception) -> UnreadableError:
    reason = getattr(error, "strerror", None) or str(error)
    return UnreadableError(
        Finding(
            code=Code.UNREADABLE,
            effect=Effect.UNKNOWN,
            subject=label,
            found=reason.lower(),
            required="a file that can be read",
            hint="check the path and its permissions",
        )
    )


def _not_a_file(label: str, mode: int) -> UnreadableError:
    kinds = {
        stat.S_IFDIR: "a directory",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFCHR: "a character device",
        stat.S_IFBLK: "a block device",
        stat.S_IFSOCK: "a socket",
    }
    kind = kinds.get(stat.S_IFMT(mode), "a special file")
    hint = "use `signward scan` for directories" if stat.S_ISDIR(mode) else ""
    return UnreadableError(
        Finding(
            code=Code.NOT_A_FILE,
            effect=Effect.UNKNOWN,
            subject=label,
            found=kind,
            required="a regular file",
            hint=hint,
        )
    )
