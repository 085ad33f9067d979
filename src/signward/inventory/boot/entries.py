"""Firmware's boot menu: the variables ``Boot####`` and ``BootOrder`` (UEFI 2.10 3.1).

Where it is empty, shim's fallback program fills it from files like ``EFI/debian/BOOTX64.CSV``:
lines of file, title, options and description in UTF-16 (shim, README.fallback).

A load option is attributes (four octets), the length of its device path (two), a description in
UTF-16 that ends at a NUL, and the path: nodes of type, subtype and length (two octets), in which
type 4, subtype 4 is a file's name in UTF-16 (10.3.5.4).  All numbers are little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from signward.errors import UnreadableError
from signward.frozen import Frozen
from signward.inventory.boot.variables import Variables
from signward.wire.siglist import GLOBAL
from signward.wire.source import open_source

MAX_ENTRIES = 256
"""Entries told; firmware keeps a dozen."""

MAX_CSV = 64 * 1024
"""Octets read of a fallback list; real ones have two hundred."""

_ACTIVE = 1
_HEAD = struct.Struct("<IH")
_NODE = struct.Struct("<BBH")
_FILE = (4, 4)


class LoadOption(Frozen, frozen=True, kw_only=True):
    """One entry: its number (four hexadecimal digits), title, and the file it names, if any.

    Of an entry that the fallback program would make, ``number`` is the list's name.
    """

    number: str
    title: str
    file: str
    active: bool


def load_options(variables: Variables) -> tuple[LoadOption, ...]:
    """Return the entries in the order firmware tries them; what cannot be read is left out."""
    order = variables.content("BootOrder", GLOBAL) or b""
    numbers = [f"{number:04X}" for (number,) in struct.iter_unpack("<H", order[: len(order) & ~1])]
    found = (_load_option(number, variables) for number in dict.fromkeys(numbers[:MAX_ENTRIES]))
    return tuple(option for option in found if option)


def _load_option(number: str, variables: Variables) -> LoadOption | None:
    data = variables.content(f"Boot{number}", GLOBAL)
    if data is None or len(data) < _HEAD.size:
        return None
    attributes, size = _HEAD.unpack_from(data)
    title, end = _text(data, _HEAD.size)
    file = "".join(_files(data[end : end + size]))
    return LoadOption(number=number, title=title, file=file.replace("\\", "/"),
                      active=bool(attributes & _ACTIVE))  # fmt: skip


def _text(data: bytes, start: int) -> tuple[str, int]:
    """Return the UTF-16 text at ``start`` and where what follows its NUL begins."""
    at = start
    while at + 2 <= len(data) and data[at : at + 2] != b"\0\0":
        at += 2
    return data[start:at].decode("utf-16-le", "replace"), at + 2


def _files(path: bytes) -> Iterator[str]:
    """Yield the names in a device path, until a node that does not lead on."""
    at = 0
    while at + _NODE.size <= len(path):
        kind, sub, size = _NODE.unpack_from(path, at)
        if size < _NODE.size:
            return
        if (kind, sub) == _FILE:
            yield _text(path[at + _NODE.size : at + size], 0)[0]
        at += size


def fallback_options(path: str, folder: str) -> tuple[LoadOption, ...]:
    """Return the entries in a fallback list; ``folder`` is where it lies on the ESP.

    A list that cannot be read has none.
    """
    try:
        with open_source(path) as source:
            data = source.read(0, min(source.length, MAX_CSV) & ~1)
    except UnreadableError:
        return ()
    lines = data.decode("utf-16-le", "replace").lstrip("\ufeff").splitlines()
    fields = [line.split(",") for line in lines[:MAX_ENTRIES]]
    return tuple(
        LoadOption(
            number=path.rpartition("/")[2], title=title, file=f"{folder}/{file}", active=True
        )
        for file, title in (line[:2] for line in fields if len(line) > 1)
        if file
    )
