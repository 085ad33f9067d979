"""UEFI variables, wherever they lie: efivarfs, a copy of it, a flash image, virt-firmware's JSON.

efivarfs shows each variable as a file ``NAME-GUID``: four octets of attributes, little-endian,
then the content (Linux, Documentation/filesystems/efivarfs.rst).  A copy may also hold bare
signature lists as efi-readvar and mokutil write them (``db.esl``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from types import MappingProxyType

import msgspec

from signward.errors import BadInputError, EvidenceError, UnreadableError
from signward.frozen import Frozen
from signward.wire.siglist import VENDORS
from signward.wire.source import open_source
from signward.wire.varstore import MAX_IMAGE, MAX_VARIABLES, Variable, efi_instant, read_store

MAX_CONTENT = 4 * 1024 * 1024
"""Largest variable read from a file; firmware gives one some 64 KiB."""

EFIVARFS = "sys/firmware/efi/efivars"
"""Where Linux shows the variables, below the root."""

FILES = "files of variables"
"""The ``kind`` of a folder that may hold some variables of a machine, or all."""

SHIM = "605dab50-e046-4300-abb6-3dd810dd8b23"
"""The GUID that shim's own variables stand under."""

_ENTRY = re.compile(r"(.+)-([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})")
_LISTS = {**VENDORS, "MokList": SHIM, "MokListX": SHIM, "MokListRT": SHIM, "MokListXRT": SHIM}


class Variables(Frozen, frozen=True, kw_only=True):
    """The variables found in one place: ``kind`` says what it is, ``unread`` what failed.

    ``complete``: what is not there the machine does not have.  ``closed`` names the variables
    that are there and could not be read.
    """

    where: str
    kind: str
    complete: bool = False
    found: Mapping[tuple[str, str], Variable] = msgspec.field(default_factory=dict)
    unread: tuple[str, ...] = ()
    closed: frozenset[str] = frozenset()

    def get(self, name: str, vendor: str) -> Variable | None:
        """Return a variable, by its name and the GUID it stands under."""
        return self.found.get((vendor, name))

    def content(self, name: str, vendor: str) -> bytes | None:
        """Return a variable's content; None where there is none of that name."""
        variable = self.get(name, vendor)
        return variable.content if variable else None


def read_variables(path: str) -> Variables:
    """Return the variables in a folder (efivarfs, a copy), a flash image or a JSON store.

    Raises ``EvidenceError`` for what cannot be read, or holds no variables at all.
    """
    if os.path.isdir(path):  # noqa: PTH112 - paths stay strings
        return _from_folder(path)
    try:
        data = _read(path, MAX_IMAGE)
        if data.lstrip()[:1] == b"{":
            return _collected(path, "virt-firmware's JSON", _from_json(path, data))
        return _collected(path, "a firmware's flash image", read_store(data))
    except BadInputError as error:
        hint = "name efivarfs, a copy of it, a flash image (OVMF_VARS.fd), or virt-fw-vars' JSON"
        raise EvidenceError(f"{path}: {error}\nhint: {hint}") from None
    except UnreadableError as error:
        raise EvidenceError(str(error)) from None


def _collected(where: str, kind: str, found: Iterable[Variable],
               unread: Mapping[str, str] = MappingProxyType({})) -> Variables:  # fmt: skip
    return Variables(
        where=where,
        kind=kind,
        complete=kind != FILES,
        found={(variable.vendor, variable.name): variable for variable in found},
        unread=tuple(f"{file}: {why}" for file, why in unread.items()),
        closed=frozenset(named[0] for named in map(_variable_name, unread) if named),
    )


def _from_folder(path: str) -> Variables:
    try:
        names = sorted(os.listdir(path))  # noqa: PTH208 - paths stay strings
    except OSError as error:
        raise EvidenceError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    known = [name for name in names if _variable_name(name)]
    if len(known) > MAX_VARIABLES:
        raise EvidenceError(f"{path}: {len(known)} variables, at most {MAX_VARIABLES}")
    if not known:
        raise EvidenceError(f"{path}: found no UEFI variables, required files like "
                            f"db-{VENDORS['db']} or db.esl")  # fmt: skip
    found, unread = [], {}
    for name in known:
        try:
            found.append(_from_file(path, name))
        except (UnreadableError, BadInputError) as error:
            unread[name] = error.finding.found
    live = os.path.realpath(path).endswith(EFIVARFS)
    kind = "efivarfs" if live else FILES
    return _collected(path, kind, found, unread)


def _variable_name(name: str) -> tuple[str, str, bool] | None:
    """Return name, GUID and whether attributes stand first; None for a file that is no variable."""
    if matched := _ENTRY.fullmatch(name):
        return matched[1], matched[2].lower(), True
    bare = name.removesuffix(".esl")
    if bare in _LISTS and (bare == name or name.endswith(".esl")):
        return bare, _LISTS[bare], False
    return None


def _from_file(folder: str, file: str) -> Variable:
    named = _variable_name(file)
    assert named is not None  # noqa: S101 - the caller chose it so
    name, vendor, attributed = named
    data = _read(os.path.join(folder, file), MAX_CONTENT)  # noqa: PTH118 - paths stay strings
    if not attributed:
        return Variable(name=name, vendor=vendor, content=data)
    return Variable(name=name, vendor=vendor, attributes=int.from_bytes(data[:4], "little"),
                    content=data[4:])  # fmt: skip


def _read(path: str, most: int) -> bytes:
    """Return a whole file; raises ``UnreadableError``, and ``EvidenceError`` for one too large."""
    with open_source(path) as source:
        if source.length > most:
            raise EvidenceError(f"{path}: {source.length} octets, at most {most}")
        return source.read(0, source.length)


class _JsonVariable(msgspec.Struct):
    name: str
    guid: str
    data: str
    attr: int = 0
    time: str = ""


class _JsonStore(msgspec.Struct):
    variables: list[_JsonVariable]


def _from_json(path: str, data: bytes) -> Iterator[Variable]:
    """Yield the variables of a store as virt-fw-vars and QEMU's uefi-vars device write it."""
    try:
        store = msgspec.json.decode(data, type=_JsonStore)
        if len(store.variables) > MAX_VARIABLES:
            raise EvidenceError(f"{path}: more than {MAX_VARIABLES} variables")
        for one in store.variables:
            time: datetime | None = efi_instant(bytes.fromhex(one.time))
            yield Variable(name=one.name, vendor=one.guid.lower(), attributes=one.attr,
                           content=bytes.fromhex(one.data), at=time)  # fmt: skip
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise EvidenceError(f"{path}: {error}, required a store of virt-fw-vars") from None
