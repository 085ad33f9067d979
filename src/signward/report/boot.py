"""What starts a machine, on a terminal: keys, files and advice, for who has never read of it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

from signward.policy.boot.firmware import Ruling
from signward.policy.boot.status import (
    NO_VARIABLES,
    BootStatus,
    FileStatus,
    HeldKey,
    Listing,
    Mode,
    ModuleStatus,
    RomStatus,
    Scenario,
)
from signward.report.display import day, quantity, visible

if TYPE_CHECKING:
    from rich.table import Table

_PATH = 36
"""Columns that paths get before what stands beside them is folded more."""

NARROW = 100
"""Columns where no terminal says how many there are: advice is folded there."""

WIDE = 400
"""Columns of tables where no terminal bounds them."""

_WORDS = {True: "✓ starts", False: "✕ refused", None: "? unknown"}
_SHOWN = (Scenario.NOW, Scenario.WITHOUT_2011, Scenario.WITH_DBX)
_TITLES = {
    Scenario.NOW: "now",
    Scenario.WITHOUT_2011: "without 2011",
    Scenario.WITH_DBX: "with that dbx",
}
_REVOKED = Scenario.REVOKED_2011
_LISTS = {
    "PK": "owns it", "KEK": "may change db, dbx", "db": "may start", "dbx": "must not start",
    "MokList": "may start, to shim", "MokListX": "must not, to shim",
}  # fmt: skip
"""The lists that are told, and what each is for; firmware's others are in the JSON."""


def write_status(status: BootStatus, out: TextIO, *, colour: bool | None = None) -> None:
    """Write the whole answer, advice last: it is what a reader is to keep in mind."""
    from rich.console import Console

    width = None if out.isatty() else WIDE
    console = Console(file=out, no_color=colour is False, highlight=False, width=width)
    fold = console.width if out.isatty() else NARROW
    out.writelines(line + "\n" for line in (*_head(status), *_summary(status)))
    if status.kind != NO_VARIABLES:
        out.write("\n")
        console.print(_keys(status))
    out.writelines(_folded("", line, fold) for line in _below_keys(status))
    if status.files or _drivers(status):
        out.write("\n")
        console.print(_files(status))
    out.writelines(_folded("", line, fold) for line in _below_files(status))
    out.write("\n")
    out.writelines(_advice(status, fold))


def _folded(head: str, text: str, width: int) -> str:
    indent = " " * len(head)
    lines = textwrap.wrap(text, width, initial_indent=head, subsequent_indent=indent,
                          break_long_words=False, break_on_hyphens=False)  # fmt: skip
    return "\n".join(lines) + "\n"


def _head(status: BootStatus) -> Iterator[str]:
    if status.kind == NO_VARIABLES:
        yield f"Secure Boot: unknown, as there are no UEFI variables in {visible(status.variables)}"
        return
    yield f"Secure Boot: {status.mode} ({visible(status.variables)}, {status.kind})"
    if not status.shim_validates:
        yield "Shim: validation is switched off"


def _summary(status: BootStatus) -> Iterator[str]:
    """Yield the answer in a sentence or two, before every fact behind it."""
    if status.kind == NO_VARIABLES or not status.files:
        return
    files = [file for file in status.files if not file.packaged] or status.files
    now = [file for file in files if file.starts[Scenario.NOW].starts]
    many = f"{len(now):,} of {quantity(len(files), 'EFI file')}"
    if len(now) == len(files) > 1:
        many = f"All {len(files):,} EFI files"
    told = "would start" if status.mode is not Mode.ON else "start" + "s" * (len(now) == 1)
    yield f"{many} {told} under Secure Boot."
    lost = sum(file.starts[Scenario.WITHOUT_2011].starts is False for file in now)
    if now:
        without = "without Microsoft's certificates of 2011"
        fewer = "None of them" if lost == len(now) else f"{len(now) - lost:,} of them"
        yield f"{fewer} would {without}." if lost else f"All of them go on {without}."


def _keys(status: BootStatus) -> Table:
    table = _table("list", "for", "holds", "ends")
    for name, purpose in _LISTS.items():
        listing = status.listing(name)
        if not listing.present and name.startswith("Mok"):
            continue
        label = (name, purpose)
        for held, ends in _held(listing):
            table.add_row(*label, _plain(held), ends)
            label = ("", "")
    return table


def _held(listing: Listing) -> Iterator[tuple[str, str]]:
    """Yield what a list holds, a line each, and when it ends."""
    if not listing.present or listing.fault:
        yield listing.fault or "nothing: there is no such variable", ""
    for key in listing.certificates:
        yield key.name, _ends(key)
    if listing.digests:
        yield quantity(listing.digests, "digest of a file", "digests of files"), ""
    if listing.others:
        yield quantity(listing.others, "other entry", "other entries"), ""


def _ends(key: HeldKey) -> str:
    return f"{day(key.not_after)}, ended" if key.ended else day(key.not_after)


def _below_keys(status: BootStatus) -> Iterator[str]:
    keys = (key for listing in status.lists for key in listing.certificates)
    if any(key.ended for key in keys):
        yield ("Certificates that ended go on counting: firmware looks at no dates, until an "
               "update of db or dbx says otherwise.")  # fmt: skip
    if status.listing("db").present:
        yield _dbx(status)
        level = status.sbat.level or "none set yet (shim sets one when it starts)"
        yield f"SBAT level: {visible(level)}; newest known: {status.sbat.newest}."


def _dbx(status: BootStatus) -> str:
    dbx, written = status.dbx, status.listing("dbx").written
    held = f"up to {dbx.newest_entry}" if dbx.newest_entry else "nothing of Microsoft's list"
    when = f", written {day(written)}" if written else ""
    versions = f"; {', '.join(dbx.versions)}" if dbx.versions else ""
    lacks = ""
    if dbx.missing is not None:
        lacks = f"; it lacks {quantity(dbx.missing, 'digest')} of {visible(status.update)}"
    return (f"dbx: {held} (the list grew until {dbx.newest_known}){when}"
            f"{visible(versions)}{lacks}.")  # fmt: skip


def _files(status: BootStatus) -> Table:
    shown = [one for one in _SHOWN if one is not Scenario.WITH_DBX or status.update]
    table = _table(*(_TITLES[one] for one in shown), "file", "because")
    column = table.columns[len(shown)]
    files = (*sorted(status.files, key=lambda file: file.packaged), *_drivers(status))
    column.overflow, column.min_width = "fold", min(_PATH, max(map(len, map(_path, files))))
    for file in files:
        words = (_WORDS[file.starts[one].starts] for one in shown)
        table.add_row(*words, _plain(_path(file)), _plain(_because(file.starts[Scenario.NOW])))
    return table


def _drivers(status: BootStatus) -> tuple[FileStatus, ...]:
    return tuple(driver for rom in status.option_roms for driver in rom.drivers)


def _path(file: FileStatus) -> str:
    return f"{file.path} (package's copy)" if file.packaged else file.path


def _because(ruling: Ruling) -> str:
    """Return by which key a file starts, or why not.  A shim's own keys need no second naming."""
    if not ruling.starts:
        return ruling.why
    if ruling.through:
        return f"{ruling.by.partition(' (')[0]}, through {ruling.through.rpartition('/')[2]}"
    return ruling.by


def _below_files(status: BootStatus) -> Iterator[str]:
    if status.files:
        yield "without 2011: as if Microsoft's certificates of 2011 were gone from db."
        if left := sum(map(_held_back, status.files)):
            yield (f"{quantity(left, 'file')} would go on then, but not with these certificates "
                   "in dbx: a signature under them is left, and one is enough.")  # fmt: skip
    else:
        yield f"No EFI file and no kernel was found below {visible(status.root)}."
    for held in status.modules:
        yield _modules(held)
    yield from _roms(status)


def _roms(status: BootStatus) -> Iterator[str]:
    """Yield what is to be said of option ROMs beside their drivers' lines in the table."""
    unread = [rom for rom in status.option_roms if rom.unread]
    for rom in status.option_roms:
        if not rom.unread and not rom.drivers:
            yield f"Option ROM of {_device(rom)}: no EFI driver in it, so nothing that db decides."
    if unread:
        devices = ", ".join(f"{_device(rom)}: {visible(rom.unread)}" for rom in unread)
        yield (f"Option ROMs not read: {devices}. db decides about them too. As root, `cd /sys/bus/"
               "pci/devices/ADDRESS; echo 1 >rom; cat rom >/tmp/ADDRESS.rom; echo 0 >rom` copies "
               "one: then --rom /tmp/ADDRESS.rom.")  # fmt: skip


def _device(rom: RomStatus) -> str:
    return visible(f"{rom.device} ({rom.kind})" if rom.kind else rom.device)


def _held_back(file: FileStatus) -> bool:
    """Say whether a file goes on without the certificates of 2011, and not with them in dbx."""
    without, revoked = (file.starts[s].starts for s in (Scenario.WITHOUT_2011, _REVOKED))
    return bool(without) and revoked is False


def _modules(held: ModuleStatus) -> str:
    unsigned = held.modules - held.signed - held.packed
    parts = [f"{held.signed:,} signed" if held.signed else "",
             f"{held.packed:,} compressed (not looked into)" if held.packed else "",
             f"{unsigned:,} not signed" if unsigned else "",
             f"{len(held.foreign):,} not of the kernel's own" if held.foreign else ""]  # fmt: skip
    told = ", ".join(filter(None, parts)) or "none"
    return (f"Modules of {visible(held.kernel)}: {told}. Keys built into the kernel judge them, "
            "and MokList: Microsoft's certificates do not.")  # fmt: skip


def _advice(status: BootStatus, width: int) -> Iterator[str]:
    if not status.advice:
        yield "Nothing to do.\n"
        return
    yield "What to do:\n"
    for number, advice in enumerate(status.advice, 1):
        mark = "!" if advice.urgent else " "
        head = f"{mark}{number:>2}. "
        yield _folded(head, visible(f"{advice.found}."), width)
        yield _folded("     -> ", visible(f"{advice.todo}."), width)
    if any(advice.urgent for advice in status.advice):
        yield "(!: something would not start)\n"


def _table(*titles: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False)
    for title in titles:
        table.add_column(title)
    return table


def _plain(text: str) -> str:
    """Return ``text`` visible and free of rich's markup."""
    from rich.markup import escape

    return escape(visible(text))
