"""UEFI variables as firmware keeps them in flash: the variable store of EDK II, read.

Source: UEFI Platform Initialization 1.8 volume 3, 3.2.1 (EFI_FIRMWARE_VOLUME_HEADER), and
MdeModulePkg/Include/Guid/VariableFormat.h of EDK II (the store in it; ``OVMF_VARS.fd`` is one).
All numbers are little-endian; variables begin at multiples of four octets.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime

from signward.errors import LimitError, MalformedError
from signward.frozen import Frozen

NV_DATA = "fff12b8d-7696-4c8b-a985-2747075b4f50"
"""File system GUID of a firmware volume that holds variables (EFI_SYSTEM_NV_DATA_FV_GUID)."""

AUTHENTICATED = "aaf32c78-947b-439a-a180-2e144ec37792"
PLAIN = "ddcf3616-3275-4164-98b6-fe85707ffe7d"
"""Stores whose variables have a time of their last authenticated write, and such that have none."""

MAX_IMAGE = 128 * 1024 * 1024
"""Largest flash image read; the largest chips on PC boards hold 64 MiB."""

MAX_VARIABLES = 4096
"""Most variables in one store; a used PC has some two hundred."""

MAX_NAME = 1024
"""Octets of a variable's name; EDK II gives variables 1 KiB each, its certificates aside."""

_VOLUME = struct.Struct("<16x16sQ4sIHHHBB")
_STORE = struct.Struct("<16sIBBHI")
_TIMED = struct.Struct("<HBBIQ16sIII16s")
_UNTIMED = struct.Struct("<HBBIII16s")
_TIME = struct.Struct("<HBBBBB")
_START = 0x55AA
_FORMATTED, _HEALTHY = 0x5A, 0xFE
_ADDED, _IN_TRANSITION = 0x3F, 0x3E
"""States in which a variable is valid; one in transition gives way to its successor."""

_WHAT = "variable store"
_CLAUSE = "EDK II VariableFormat.h"


class Variable(Frozen, frozen=True, kw_only=True):
    """One variable: its name, the GUID it stands under, attributes and content.

    ``at`` is the time of its last authenticated write, where the store tells it.
    """

    name: str
    vendor: str
    content: bytes
    attributes: int = 0
    at: datetime | None = None


def read_store(data: bytes) -> tuple[Variable, ...]:
    """Return the variables in a flash image that are valid, in the order they stand.

    Raises ``MalformedError`` where there is no variable store, and ``LimitError``.
    """
    if len(data) > MAX_IMAGE:
        raise LimitError(_WHAT, f"{len(data)} octets", f"at most {MAX_IMAGE}")
    start, end, head = _find_store(data)
    found: dict[tuple[str, str], Variable] = {}
    for state, variable in _variables(data, start, end, head):
        key = (variable.vendor, variable.name)
        if state == _ADDED or key not in found:
            found[key] = variable
        if len(found) > MAX_VARIABLES:
            raise LimitError(_WHAT, "more variables", f"at most {MAX_VARIABLES}")
    return tuple(found.values())


def _find_store(data: bytes) -> tuple[int, int, struct.Struct]:
    """Return where variables begin and end in the first volume for them, and their header."""
    wanted = uuid.UUID(NV_DATA).bytes_le
    at = data.find(wanted)
    while at >= 0:
        if store := _store_at(data, at - 16):
            return store
        at = data.find(wanted, at + 1)
    raise MalformedError(_WHAT, "no firmware volume for variables", "one", _CLAUSE)


def _store_at(data: bytes, volume: int) -> tuple[int, int, struct.Struct] | None:
    """Return the store in the volume at this place; None where there is none that is whole."""
    if volume < 0 or volume + _VOLUME.size > len(data):
        return None
    _, length, signature, _, header, *_ = _VOLUME.unpack_from(data, volume)
    at = volume + header
    if signature != b"_FVH" or at + _STORE.size > min(len(data), volume + length):
        return None
    kind, size, form, state, *_ = _STORE.unpack_from(data, at)
    heads = {uuid.UUID(AUTHENTICATED).bytes_le: _TIMED, uuid.UUID(PLAIN).bytes_le: _UNTIMED}
    if kind not in heads or (form, state) != (_FORMATTED, _HEALTHY):
        return None
    end = at + size
    if size < _STORE.size or end > min(len(data), volume + length):
        raise MalformedError(_WHAT, f"{size} octets", "a store inside its volume", _CLAUSE,
                             offset=at)  # fmt: skip
    return at + _STORE.size, end, heads[kind]


def _variables(
    data: bytes, at: int, end: int, head: struct.Struct
) -> Iterator[tuple[int, Variable]]:
    """Yield every valid variable with its state; the first that does not begin as one ends them."""
    first = at
    while (at := at + (first - at) % 4) + head.size <= end:
        start, state, _, attributes, *rest = head.unpack_from(data, at)
        if start != _START:
            return
        time = rest[1] if head is _TIMED else b""
        name_size, size, vendor = rest[-3:]
        body = at + head.size
        if state not in (_ADDED, _IN_TRANSITION) and 0xFFFFFFFF in (name_size, size):
            name_size = size = 0  # its header was not written whole
        if name_size + size > end - body:
            raise MalformedError(_WHAT, f"a variable of {name_size} and {size} octets",
                                 f"at most {end - body}", _CLAUSE, offset=at)  # fmt: skip
        if state in (_ADDED, _IN_TRANSITION):
            yield (
                state,
                Variable(
                    name=_name(data[body : body + name_size], at),
                    vendor=str(uuid.UUID(bytes_le=vendor)),
                    content=data[body + name_size : body + name_size + size],
                    attributes=attributes,
                    at=efi_instant(time),
                ),
            )
        at = body + name_size + size


def _name(raw: bytes, at: int) -> str:
    if len(raw) > MAX_NAME:
        raise LimitError(_WHAT, f"a name of {len(raw)} octets", f"at most {MAX_NAME}", offset=at)
    try:
        return raw.decode("utf-16-le").rstrip("\0")
    except UnicodeDecodeError:
        raise MalformedError(_WHAT, "a name that is no UTF-16", "a name", _CLAUSE,
                             offset=at) from None  # fmt: skip


def efi_instant(raw: bytes) -> datetime | None:
    """Return an EFI_TIME to the second; None for what is no time, as zeros are (UEFI 2.10 8.3)."""
    with suppress(ValueError, struct.error):
        year, month, day, hour, minute, second = _TIME.unpack_from(raw)
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    return None
