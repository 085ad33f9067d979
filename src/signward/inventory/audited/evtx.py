r"""Windows event logs (.evtx): App Control's and AppLocker's events, by the library ``evtx``.

Sources: "Understanding App Control event IDs", "Using Event Viewer with AppLocker" (Microsoft
Learn).  Of AppLocker 8003 and 8004 (programs, libraries), 8006 and 8007 (scripts, installers):
``Fqbn`` is ``O=...\PRODUCT\FILE\VERSION``, in capitals, ``-`` for what is unsigned; the digest is
Authenticode's SHA-256 for images, and for others it is not told of what.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from signward.errors import ExtraMissingError, LimitError, MalformedError
from signward.inventory.audited.windows import (
    NOT_TOLD,
    Correlator,
    Event,
    Sort,
    digest_of,
    first,
    folded,
    is_drive_path,
    version,
    worth,
)
from signward.policy.rules.subject import Signer, Subject

MAGIC = b"ElfFile\0"
MAX_FILE = 4 * 1024**3
"""Largest log read, in octets; Windows keeps at most 4 GiB in one."""

_HEADER, _CHUNK = 4096, 65_536

_CODE_INTEGRITY = "Microsoft-Windows-CodeIntegrity"
_APPLOCKER = "Microsoft-Windows-AppLocker"

_SORTS: Mapping[tuple[str, int], Sort] = {
    (_CODE_INTEGRITY, 3076): Sort.IMAGE,
    (_CODE_INTEGRITY, 3077): Sort.IMAGE,
    (_CODE_INTEGRITY, 3089): Sort.SIGNATURE,
    (_APPLOCKER, 8028): Sort.SCRIPT,
    (_APPLOCKER, 8029): Sort.SCRIPT,
}
_RULED = frozenset((_APPLOCKER, event) for event in (8003, 8004, 8006, 8007))

_CLASSES = {"EXE": "executable", "DLL": "library", "SCRIPT": "script", "MSI": "installer"}
"""By the rule collection that decided; drivers are not AppLocker's."""

_ATTRIBUTES = {"CN": "common_name", "O": "organization", "OU": "unit", "L": "locality",
               "S": "state", "ST": "state", "C": "country"}  # fmt: skip

_ATTRIBUTE = re.compile(r'([A-Z]{1,2})=("(?:[^"]|"")*"|[^",]+)(?:, (?=[A-Z])|\Z)')
"""One attribute of a name as CertNameToStr writes it: quoted where it holds a comma."""


def is_mine(head: bytes) -> bool:
    """Say whether a file begins as an event log does."""
    return head.startswith(MAGIC)


def read(path: Path) -> Iterator[Subject]:
    """Yield the files that the events of a log tell of.

    Raises ``ExtraMissingError``, ``LimitError`` and ``MalformedError``.
    """
    _check_size(path)
    correlator = Correlator()
    for record in _records(path):
        yield from _told(record, correlator)
    yield from correlator.rest()


def _check_size(path: Path) -> None:
    """Refuse a log that is cut off: its header counts the chunks (u16 at 42), 64 KiB each."""
    size = path.stat().st_size
    if size > MAX_FILE:
        raise LimitError(str(path), f"{size} octets", f"at most {MAX_FILE}")
    with path.open("rb") as stream:
        head = stream.read(_HEADER)
    least = _HEADER + _CHUNK * int.from_bytes(head[42:44], "little")
    if size < least:
        raise MalformedError(str(path), f"{size} octets", f"at least {least} in this event log")


def _records(path: Path) -> Iterator[Any]:
    """Yield each record's ``Event``; the library's errors and panics are the file's fault."""
    try:
        from evtx import PyEvtxParser
    except ImportError:
        raise ExtraMissingError(str(path), "evtx", "events") from None
    try:
        for record in PyEvtxParser(str(path), number_of_threads=1).records_json():
            yield json.loads(record["data"]).get("Event") if record else None
    except GeneratorExit:
        raise
    except BaseException as error:
        # A panic of the library is no Exception (pyo3_runtime.PanicException).
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise MalformedError(str(path), str(error)[:200], "a Windows event log") from None
        raise


def _told(record: Any, correlator: Correlator) -> Iterator[Subject]:
    system = _mapping(_mapping(record).get("System"))
    provider = str(_attribute(system.get("Provider"), "Name"))
    identifier = _number(system.get("EventID"))
    host = str(system.get("Computer") or "")[:255]
    sort = _SORTS.get((provider, identifier))
    if sort is not None:
        activity = str(_attribute(system.get("Correlation"), "ActivityID"))
        event = Event(sort=sort, host=host, activity=activity, fields=folded(_data(record)))
        yield from correlator.add(event)
    elif (provider, identifier) in _RULED:
        yield _ruled(host, folded(_data(record)))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _attribute(element: Any, name: str) -> Any:
    return _mapping(_mapping(element).get("#attributes")).get(name) or ""


def _number(element: Any) -> int:
    value = _mapping(element).get("#text") if isinstance(element, dict) else element
    return value if isinstance(value, int) else -1


def _data(record: Any) -> Mapping[str, Any]:
    """Return ``EventData``, or the one element in ``UserData``."""
    data = _mapping(_mapping(record).get("EventData"))
    if data:
        return data
    inner = [v for v in _mapping(_mapping(record).get("UserData")).values() if isinstance(v, dict)]
    return inner[0] if inner else {}


def _ruled(host: str, fields: Mapping[str, str]) -> Subject:
    """Return the file of an AppLocker event."""
    unknown = {*NOT_TOLD, "digest:file", "internal-name"} | ({"host"} if not host else set())
    path = first(fields, "fullfilepath", "fullfilepathbuffer", "filepath", "filepathbuffer")
    if not is_drive_path(path):
        unknown.add("path")
    file_class = _CLASSES.get(first(fields, "policyname", "policynamebuffer"), "")
    is_image = file_class in ("executable", "library")
    if not file_class:
        unknown.add("kind")
    digest = digest_of(fields.get("filehash", "")) if is_image else ""
    if not digest:
        unknown.add("digest:authenticode")
    names = _Qualified(first(fields, "fqbn"), unknown)
    return Subject(
        path=path,
        host=host,
        kind="pe" if is_image else "",
        file_class=file_class,
        digests=frozenset({f"authenticode:{digest}"} if digest else ()),
        signers=names.signers,
        product=names.product,
        original_name=names.original_name,
        version=version(names.version, unknown),
        outcome=worth(names.signers, unsigned=names.unsigned),
        cause="unsigned" if names.unsigned else "",
        unknown=frozenset(unknown),
    )


class _Qualified:
    """A fully qualified binary name; AppLocker writes one only for a signature that it trusts."""

    def __init__(self, text: str, unknown: set[str]) -> None:
        self.product = self.original_name = self.version = ""
        self.signers: tuple[Signer, ...] = ()
        parts = text.split("\\")
        self.unsigned = parts[0] == "-"
        if len(parts) != 4:  # whose name has the backslash is not to be told
            unknown |= {"product", "original-name", *([] if self.unsigned else ["signers"])}
            return
        _, self.product, self.original_name, self.version = parts
        if not self.unsigned:
            subject = _subject_of(parts[0])
            self.signers = (Signer(subject=subject),) if subject else ()
            unknown |= set() if subject else {"signers"}


def _subject_of(text: str) -> dict[str, str]:
    """Return ``O=..., L=...`` by our names; empty where commas leave it open what belongs where."""
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _ATTRIBUTE.match(text, at)
        field = _ATTRIBUTES.get(match[1]) if match else None
        if match is None or field is None or field in found:
            return {}
        quoted = match[2].startswith('"')
        found[field] = match[2][1:-1].replace('""', '"') if quoted else match[2]
        at = match.end()
    return found
