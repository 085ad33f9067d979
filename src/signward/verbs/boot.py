"""``boot status``: what firmware, shim and files say together, read and never written."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path

from signward.errors import BadInputError, EvidenceError
from signward.frozen import Frozen, replace
from signward.inventory.boot.entries import fallback_options, load_options
from signward.inventory.boot.files import (
    BootFile,
    boot_files,
    esp_folders,
    modules,
)
from signward.inventory.boot.variables import EFIVARFS, SHIM, Variables, read_variables
from signward.policy.boot.advice import advise
from signward.policy.boot.firmware import (
    Firmware,
    Image,
    Keys,
    Ruling,
    issuer_name,
    keys_of,
    rulings,
    signed_under,
)
from signward.policy.boot.microsoft import AUTHORITIES, OLD, dbx_age
from signward.policy.boot.status import (
    NO_VARIABLES,
    BootStatus,
    DbxStatus,
    Entry,
    FileStatus,
    HeldKey,
    Listing,
    Mode,
    ModuleStatus,
    SbatStatus,
    Scenario,
)
from signward.policy.dbx import Dbx, dbx_of, read_dbx
from signward.trust.x509 import Certificate, load_certificate
from signward.verbs.boot_images import read_image
from signward.verbs.boot_roms import Rom, read_roms, rom_status
from signward.verbs.boot_update import why_not_taken
from signward.verbs.options import read_option
from signward.wire import sbat, siglist

SECURE_BOOT_ENABLE = "f0a30bc7-af08-4556-99c4-001009c93a44"
"""The GUID under which EDK II keeps whether Secure Boot is wanted (SecureBootEnable)."""

MOK_PARTS = 16
"""Parts that shim cuts a list into where a variable of firmware does not hold it (MokListRT1)."""


_LEVELS = ("SbatLevelRT", "SbatLevel")
_SHOWN = re.compile(r"RT[0-9]*\Z")
"""What shim adds to a variable's name where it shows it to the running system."""


class Asked(Frozen, frozen=True, kw_only=True):
    """What the caller names: a root, variables and an ESP elsewhere, an update of dbx to try.

    Paths are strings; empty ones stand for what lies below the root.  ``roms`` are files with
    what is in devices' ROMs.
    """

    root: str = "/"
    variables: str = ""
    esp: str = ""
    update: str = ""
    roms: tuple[str, ...] = ()


class _List(Frozen, frozen=True, kw_only=True):
    """One list of keys as read: what to tell of it, its entries and certificates."""

    listing: Listing
    entries: tuple[siglist.Entry, ...] = ()
    certificates: tuple[Certificate, ...] = ()


def boot_status(
    asked: Asked, at: datetime, tick: Callable[[str], None] = lambda _: None
) -> BootStatus:
    """Return what starts a machine, what would not any more, and what to do about it.

    ``at`` is aware UTC; ``tick`` hears of every file before it is read.  Raises
    ``EvidenceError`` where something that was named cannot be read.
    """
    variables = _variables(asked)
    lists = {name: _list(name, parts, at) for name, parts in _contents(variables).items()}
    update, refused = _update(asked, lists)
    found = boot_files(asked.root, asked.esp)
    images = _images(found.files, tick)
    roms = read_roms(asked.root, asked.roms, tick)
    level, untold = _level(variables)
    unread = {name for name, held in lists.items() if held.listing.fault}
    unread |= {_SHOWN.sub("", name) for name in (*variables.closed, *(_LEVELS if untold else ()))}
    firmware = _firmware(lists, level, frozenset(unread))
    answers = _answers(images, roms, firmware, update, variables.kind)
    status = BootStatus(
        at=at,
        root=asked.root,
        variables=variables.where,
        kind=variables.kind,
        mode=_mode(variables),
        shim_validates=not _is_set(variables, SHIM, "MokSBStateRT", "MokSBState"),
        lists=tuple(held.listing for held in lists.values()),
        dbx=_dbx_status(firmware.dbx[0], update),
        sbat=SbatStatus(level=str(firmware.level or ""), newest=str(_newest_level())),
        entries=_entries(variables, found.fallbacks, asked),
        files=_files(images, answers),
        modules=tuple(_module_status(asked.root)),
        option_roms=tuple(rom_status(rom, _files(rom.drivers, answers)) for rom in roms),
        update=asked.update,
        update_refused=refused,
        unread=(*found.unread, *variables.unread, *_faults(lists), *untold),
    )  # fmt: skip
    return replace(status, advice=advise(status))


def _update(asked: Asked, lists: dict[str, _List]) -> tuple[Dbx | None, str]:
    """Return the update that is asked about, and why firmware would not take it."""
    if not asked.update:
        return None, ""
    data = read_option(asked.update)
    updaters = (*lists["KEK"].certificates, *lists["PK"].certificates)
    refused = why_not_taken(data, updaters) if lists["KEK"].listing.present else ""
    return read_dbx(asked.update, data), refused


def _variables(asked: Asked) -> Variables:
    """Return the variables asked for, or the root's own; none where it shows none."""
    if asked.variables:
        return read_variables(asked.variables)
    place = str(Path(asked.root, EFIVARFS))
    try:
        return read_variables(place)
    except EvidenceError:
        return Variables(where=place, kind=NO_VARIABLES)


def _contents(variables: Variables) -> dict[str, tuple[bytes | None, datetime | None]]:
    """Return the content of every list of keys, and when it was written."""
    found: dict[str, tuple[bytes | None, datetime | None]] = {}
    for name, vendor in siglist.VENDORS.items():
        variable = variables.get(name, vendor)
        found[name] = (variable.content, variable.at) if variable else (None, None)
    for name in ("MokList", "MokListX"):
        found[name] = (_mok(variables, name), None)
    return found


def _mok(variables: Variables, name: str) -> bytes | None:
    """Return a list of shim's: as it stores it, else as it shows it to the running system."""
    stored = variables.content(name, SHIM)
    if stored is not None:
        return stored
    parts = [variables.content(f"{name}RT{number or ''}", SHIM) for number in range(MOK_PARTS)]
    there = [part for part in parts if part is not None]
    return b"".join(there) if there else None


def _list(name: str, held: tuple[bytes | None, datetime | None], at: datetime) -> _List:
    content, written = held
    if content is None:
        return _List(listing=Listing(name=name, present=False))
    try:
        every, fault = siglist.read_lists(content), ""
    except BadInputError as error:
        every, fault = (), error.finding.found
    faults = [(entry, _entry_fault(entry)) for entry in every]
    entries = tuple(entry for entry, why in faults if not why)
    certificates = tuple(load_certificate(e.data) for e in entries if e.kind == siglist.X509)
    digests = sum(entry.kind == siglist.SHA256 for entry in entries)
    listing = Listing(
        name=name,
        present=True,
        certificates=tuple(_held(certificate, at) for certificate in certificates),
        digests=digests,
        others=len(every) - len(certificates) - digests,
        octets=len(content),
        written=written,
        fault=fault or next((why for _, why in faults if why), ""),
    )
    return _List(listing=listing, entries=entries, certificates=certificates)


def _entry_fault(entry: siglist.Entry) -> str:
    """Return why an entry cannot be read; empty if it can."""
    try:
        dbx_of("", (entry,))
    except BadInputError as error:
        return error.finding.found
    return ""


def _held(certificate: Certificate, at: datetime) -> HeldKey:
    digest = certificate.sha256.hex()
    known = AUTHORITIES.get(digest)
    return HeldKey(
        name=certificate.common_name or certificate.subject_text,
        sha256=digest,
        not_before=certificate.not_before,
        not_after=certificate.not_after,
        ended=certificate.not_after < at,
        generation=known.generation if known else 0,
    )


def _faults(lists: dict[str, _List]) -> tuple[str, ...]:
    faults = (held.listing for held in lists.values())
    return tuple(f"{listing.name}: {listing.fault}" for listing in faults if listing.fault)


def _firmware(
    lists: dict[str, _List], level: sbat.Level | None, unread: frozenset[str]
) -> Firmware:
    db, mok = (keys_of(name, lists[name].entries, lists[name].certificates)
               for name in ("db", "MokList"))  # fmt: skip
    return Firmware(
        db=db,
        dbx=(dbx_of("dbx", lists["dbx"].entries),),
        mok=mok,
        mokx=dbx_of("MokListX", lists["MokListX"].entries),
        level=level,
        unread=unread,
    )


def _level(variables: Variables) -> tuple[sbat.Level | None, tuple[str, ...]]:
    """Return the SBAT level that is set, and why it could not be read."""
    for name in _LEVELS:
        content = variables.content(name, SHIM)
        if content:
            try:
                return sbat.read_level(content), ()
            except BadInputError as error:
                return None, (f"{name}: {error.finding.found}",)
    return None, ()


def _newest_level() -> sbat.Level:
    return sbat.read_level(sbat.LATEST)


def _mode(variables: Variables) -> Mode:
    """Return what Secure Boot does: as firmware says, else as a flash image implies."""
    if _is_set(variables, siglist.GLOBAL, "SetupMode"):
        return Mode.SETUP
    told = variables.content("SecureBoot", siglist.GLOBAL)
    if told is not None:
        return Mode.ON if told[:1] == b"\1" else Mode.OFF
    if variables.get("PK", siglist.GLOBAL) is None:
        return Mode.SETUP if variables.complete else Mode.UNKNOWN
    wanted = variables.content("SecureBootEnable", SECURE_BOOT_ENABLE)
    return Mode.ON if wanted is None or wanted[:1] == b"\1" else Mode.OFF


def _is_set(variables: Variables, vendor: str, *names: str) -> bool:
    return any((variables.content(name, vendor) or b"")[:1] == b"\1" for name in names)


def _dbx_status(dbx: Dbx, update: Dbx | None) -> DbxStatus:
    age = dbx_age(frozenset(denied.digest for denied in dbx.images))
    missing = None
    if update:
        missing = len(update.images.keys() - dbx.images.keys())
    return DbxStatus(
        entries=dbx.entries,
        newest_entry=age.held,
        newest_known=age.newest,
        versions=tuple(str(version) for version in dbx.svns),
        missing=missing,
    )


def _images(files: Iterable[BootFile], tick: Callable[[str], None]) -> tuple[Image, ...]:
    images = []
    for file in files:
        tick(file.name)
        images.append(read_image(file))
    return tuple(images)


def _answers(
    files: Sequence[Image], roms: Sequence[Rom], firmware: Firmware, update: Dbx | None, kind: str
) -> dict[Scenario, dict[str, Ruling]]:
    """Return what would start in each scenario; nobody can tell where no variables were read."""
    images = (*files, *(driver for rom in roms for driver in rom.drivers))
    if kind == NO_VARIABLES:
        unknown = {image.name: Ruling(starts=None, why=signed_under(image)) for image in images}
        return dict.fromkeys(Scenario, unknown)
    old = tuple(c for c in firmware.db.certificates if c.sha256.hex() in OLD)
    listed = [siglist.Entry(kind=siglist.X509, owner="", data=c.der) for c in old]
    without: Keys = firmware.db.without(OLD)
    scenarios = {
        Scenario.NOW: firmware,
        Scenario.WITHOUT_2011: replace(firmware, db=without),
        Scenario.REVOKED_2011: replace(
            firmware, db=without, dbx=(*firmware.dbx, dbx_of("dbx with 2011", listed))
        ),
        Scenario.NEWEST_SBAT: replace(
            firmware, level=_newest_level(), unread=firmware.unread - {"SbatLevel"}
        ),
    }
    if update:
        scenarios[Scenario.WITH_DBX] = replace(firmware, dbx=(*firmware.dbx, update))
    return {scenario: rulings(images, decides) for scenario, decides in scenarios.items()}


def _files(
    images: Iterable[Image], answers: dict[Scenario, dict[str, Ruling]]
) -> tuple[FileStatus, ...]:
    return tuple(
        FileStatus(
            path=image.name,
            role=image.role,
            packaged=image.packaged,
            sha256=image.digests[0].digest.hex() if image.digests else "",
            signers=tuple(
                f"{signer.leaf.common_name or signer.leaf.subject_text}, issued by "
                f"{issuer_name(signer.leaf)}"
                for signer in image.signers
            ),
            broken=image.broken,
            sbat=tuple(str(component) for component in image.components or ()),
            starts={scenario: every[image.name] for scenario, every in answers.items()},
        )
        for image in images
    )


def _module_status(root: str) -> Iterable[ModuleStatus]:
    for held in modules(root):
        yield ModuleStatus(kernel=held.kernel, modules=held.modules, signed=held.signed,
                           packed=held.packed, foreign=held.foreign)  # fmt: skip


def _entries(
    variables: Variables, fallbacks: Iterable[BootFile], asked: Asked
) -> tuple[Entry, ...]:
    """Return firmware's boot menu, and what shim's fallback program would make of an empty one."""
    folders = (asked.esp,) if asked.esp else esp_folders(asked.root)
    options = list(load_options(variables))
    for file in fallbacks:
        options += fallback_options(file.path, file.name.rpartition("/")[0])
    return tuple(
        Entry(
            number=option.number,
            title=option.title,
            file=option.file,
            active=option.active,
            found=_is_there(option.file, folders) if option.file and folders else None,
        )
        for option in options
    )


def _is_there(file: str, folders: Iterable[str]) -> bool:
    """Say whether a file is on an ESP, whose names know no case (FAT)."""
    return any(_below(folder, [part for part in file.split("/") if part]) for folder in folders)


def _below(folder: str, parts: list[str]) -> bool:
    if not parts:
        return True
    if parts[0] in (".", ".."):
        return False
    try:
        names = os.listdir(folder)  # noqa: PTH208 - paths stay strings
    except OSError:
        return False
    same = (name for name in names if name.lower() == parts[0].lower())
    return any(_below(f"{folder}/{name}", parts[1:]) for name in same)
