"""Registry.pol: the registry settings of a group policy ([MS-GPREG] 2.2.1).

A file is the signature ``PReg`` and the version 1 (little-endian u32 each), then any number of
``[key;value;type;size;data]``.  Brackets and semicolons are UTF-16LE, ``key`` and ``value`` are
UTF-16LE and end with a NUL, ``type`` and ``size`` are little-endian u32, ``size`` counts the
octets of ``data``.  Keys are relative to HKEY_LOCAL_MACHINE in a computer's file and to
HKEY_CURRENT_USER in a user's.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from enum import IntEnum

from signward.errors import LimitError, MalformedError
from signward.frozen import Frozen

MAGIC = b"PReg\x01\0\0\0"
CLAUSE = "[MS-GPREG] 2.2.1"

MAX_FILE = 64 * 1024 * 1024
"""Largest file read, in octets; Windows itself gives a group policy some hundred kilobytes."""
MAX_SETTINGS = 100_000
MAX_NAME = 16_383
"""Characters of a value's name, the registry's own limit; keys are shorter."""
MAX_DATA = 1024 * 1024
"""Octets of one value; the registry advises against more than 2,048."""

_OPEN, _SEMICOLON, _CLOSE, _NUL = (c.encode("utf-16-le") for c in "[;]\0")


class RegistryType(IntEnum):
    """Types of values used here ([MS-GPREG] 2.2.1, winnt.h)."""

    SZ = 1
    BINARY = 3
    DWORD = 4


class Setting(Frozen, frozen=True, kw_only=True):
    """One value of one key; ``type`` is the registry's, ``data`` as it stands there."""

    key: str
    value: str
    type: int
    data: bytes


def text(key: str, value: str, data: str) -> Setting:
    """Return a REG_SZ: UTF-16LE that ends with a NUL."""
    return Setting(key=key, value=value, type=RegistryType.SZ, data=data.encode("utf-16-le") + _NUL)


def number(key: str, value: str, data: int) -> Setting:
    """Return a REG_DWORD: a little-endian u32."""
    return Setting(key=key, value=value, type=RegistryType.DWORD, data=struct.pack("<I", data))


def binary(key: str, value: str, data: bytes) -> Setting:
    """Return a REG_BINARY."""
    return Setting(key=key, value=value, type=RegistryType.BINARY, data=data)


def write(settings: Iterable[Setting]) -> bytes:
    """Return the file with these settings, in their order.

    Raises ``ValueError`` for a name that has a NUL or stands for no text.
    """
    return MAGIC + b"".join(_written(setting) for setting in settings)


def _written(setting: Setting) -> bytes:
    for name in (setting.key, setting.value):
        if "\0" in name:
            raise ValueError("a NUL in a registry name")
    fields = (
        setting.key.encode("utf-16-le") + _NUL,
        setting.value.encode("utf-16-le") + _NUL,
        struct.pack("<I", setting.type),
        struct.pack("<I", len(setting.data)),
        setting.data,
    )
    return _OPEN + _SEMICOLON.join(fields) + _CLOSE


def read(data: bytes) -> tuple[Setting, ...]:
    """Return the settings of a file, in their order.

    Raises ``MalformedError`` and ``LimitError``.
    """
    if len(data) > MAX_FILE:
        raise LimitError("Registry.pol", f"{len(data)} octets", f"at most {MAX_FILE}", CLAUSE)
    if not data.startswith(MAGIC):
        found = data[: len(MAGIC)].hex() or "nothing"
        raise MalformedError("Registry.pol", found, "PReg, version 1", CLAUSE, offset=0)
    reader = _Reader(data)
    return tuple(reader.settings())


class _Reader:
    """Walks the settings from the start; ``_at`` is where it stands."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, len(MAGIC)

    def settings(self) -> Iterator[Setting]:
        count = 0
        while self._at < len(self._data):
            count += 1
            if count > MAX_SETTINGS:
                raise LimitError("Registry.pol", "more settings", f"at most {MAX_SETTINGS}", CLAUSE)
            yield self._setting()

    def _setting(self) -> Setting:
        self._expect(_OPEN)
        key = self._name()
        self._expect(_SEMICOLON)
        value = self._name()
        self._expect(_SEMICOLON)
        kind = self._number()
        self._expect(_SEMICOLON)
        size = self._number()
        self._expect(_SEMICOLON)
        if size > MAX_DATA:
            raise LimitError("Registry.pol", f"{size} octets of data", f"at most {MAX_DATA}",
                             CLAUSE, offset=self._at)  # fmt: skip
        data = self._take(size)
        self._expect(_CLOSE)
        return Setting(key=key, value=value, type=kind, data=data)

    def _name(self) -> str:
        """Return the UTF-16LE text up to its NUL, which ends it."""
        for end in range(self._at, self._at + 2 * MAX_NAME + 2, 2):
            if self._data[end : end + 2] == _NUL:
                octets = self._data[self._at : end]
                break
        else:
            raise self._malformed("a name without its end", f"at most {MAX_NAME} characters")
        try:
            name = octets.decode("utf-16-le")
        except UnicodeDecodeError:
            raise self._malformed("half a surrogate pair", "UTF-16LE") from None
        self._at += len(octets) + 2
        return name

    def _number(self) -> int:
        return int.from_bytes(self._take(4), "little")

    def _expect(self, mark: bytes) -> None:
        at = self._at
        found = self._take(2)
        if found != mark:
            self._at = at
            raise self._malformed(found.hex(), repr(mark.decode("utf-16-le")))

    def _take(self, count: int) -> bytes:
        data = self._data[self._at : self._at + count]
        if len(data) < count:
            raise self._malformed(f"{len(data)} octets to the end", f"{count}")
        self._at += count
        return data

    def _malformed(self, found: str, required: str) -> MalformedError:
        return MalformedError("Registry.pol", found, required, CLAUSE, offset=self._at)
