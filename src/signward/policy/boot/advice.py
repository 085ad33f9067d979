"""One line of advice for every gap: what is found, what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from signward.policy.boot.microsoft import (
    KEK_2011,
    KEK_2023,
    OLD,
    ROM_2023,
    UEFI_2011,
    UEFI_2023,
    WINDOWS_2011,
    WINDOWS_2023,
    Authority,
)
from signward.policy.boot.status import (
    NO_VARIABLES,
    Advice,
    BootStatus,
    FileStatus,
    Gap,
    Mode,
    RomStatus,
    Scenario,
)

NAMED = 4
"""Files that one line names before it counts the rest."""

_FIRMWARE = "install firmware updates (`fwupdmgr refresh; fwupdmgr update`)"


def advise(status: BootStatus) -> tuple[Advice, ...]:
    """Return what to do, urgent advice first: that without which something will not start."""
    parts: tuple[Callable[[BootStatus], Iterator[Advice]], ...] = (
        _refused, _dbx_breaks, _stranded, _roms, _kek, _db, _mode, _dbx_age, _sbat, _entries,
        _unread,
    )  # fmt: skip
    found = [advice for part in parts for advice in part(status)]
    return tuple(sorted(found, key=lambda advice: not advice.urgent))


def _decides(status: BootStatus) -> bool:
    """Say whether there are keys that decide: without, no file is worth a word."""
    return status.listing("db").present


def _mode(status: BootStatus) -> Iterator[Advice]:
    if status.kind == NO_VARIABLES:
        yield Advice(gap=Gap.NO_VARIABLES, found="there are no UEFI variables to read",
                     todo="run it where /sys/firmware/efi/efivars is mounted, or name a copy of "
                     "it with --vars")  # fmt: skip
    elif status.mode is Mode.UNKNOWN:
        yield Advice(gap=Gap.NOT_ON, found="nothing that was read says whether Secure Boot is on",
                     todo="copy SecureBoot-* and PK-* of efivarfs too")  # fmt: skip
    elif status.mode is not Mode.ON:
        yield Advice(gap=Gap.NOT_ON, found=f"Secure Boot is {_word(status.mode)}: firmware starts "
                     "whatever it finds",
                     todo="switch it on in the firmware's setup; what is said of files is what "
                     "would be then")  # fmt: skip
    if not status.shim_validates:
        yield Advice(gap=Gap.SHIM_OFF, found="shim checks nothing: its validation is switched off",
                     todo="run `mokutil --enable-validation`, then restart")  # fmt: skip


def _word(mode: Mode) -> str:
    return f"in {mode}" if mode is Mode.SETUP else str(mode)


def _holds(status: BootStatus, authority: Authority) -> bool:
    keys = status.listing(authority.variable).certificates
    return any(key.sha256 == authority.sha256 for key in keys)


def _kek(status: BootStatus) -> Iterator[Advice]:
    if _holds(status, KEK_2011) and not _holds(status, KEK_2023):
        yield Advice(gap=Gap.KEK_2023,
                     found=f"KEK lacks {KEK_2023.name}: what Microsoft signs from now on can "
                     "update neither db nor dbx here",
                     todo=f"{_FIRMWARE}: the maker of the machine has to sign an update of "
                     "KEK")  # fmt: skip


def _db(status: BootStatus) -> Iterator[Advice]:
    wanted = [(WINDOWS_2011, WINDOWS_2023), (UEFI_2011, UEFI_2023)]
    if status.option_roms:
        wanted.append((UEFI_2011, ROM_2023))
    lacking = [new for old, new in wanted if _holds(status, old) and not _holds(status, new)]
    if lacking:
        named = " and ".join(f"{new.name} ({new.signs})" for new in lacking)
        yield Advice(gap=Gap.DB_2023, found=f"db lacks {named}: what is signed under that alone "
                     "will not start",
                     todo=f"{_FIRMWARE}, before the certificates of 2011 go")  # fmt: skip


def _refused(status: BootStatus) -> Iterator[Advice]:
    if not _decides(status):
        return
    files = [file for file in _installed(status) if file.starts[Scenario.NOW].starts is False]
    if files:
        yield Advice(gap=Gap.REFUSED, urgent=status.mode is Mode.ON,
                     found=f"{_named(files)} {_do(files)} not start under Secure Boot: "
                     f"{files[0].starts[Scenario.NOW].why}",
                     todo="reinstall the package it came from, or remove it")  # fmt: skip


def _stranded(status: BootStatus) -> Iterator[Advice]:
    if not any(key.sha256 in OLD for key in status.listing("db").certificates):
        return
    files = _lost(_installed(status), Scenario.WITHOUT_2011)
    if files:
        yield Advice(gap=Gap.STRANDED, urgent=True,
                     found=f"{_named(files)} will not start without Microsoft's certificates "
                     "of 2011",
                     todo=_how_to_move(status, files))  # fmt: skip


def _how_to_move(status: BootStatus, files: list[FileStatus]) -> str:
    """Return what helps: keys where files have a newer signature already, else newer files."""
    newer = (UEFI_2023, WINDOWS_2023)
    names = [new.name for new in newer if any(_under(file, new) for file in files)]
    if names:
        return f"they are signed under 2023 too, and go on once db holds {' and '.join(names)}"
    copies = [file for file in status.files if file.packaged]
    ready = [file.path for file in copies if any(_under(file, new) for new in newer)]
    if ready:
        return f"put {ready[0]} on the ESP (grub-install does): it is signed under 2023 too"
    return "update shim and Windows' boot manager to such as are signed under 2023"


def _under(file: FileStatus, authority: Authority) -> bool:
    return any(signer.endswith(f"issued by {authority.name}") for signer in file.signers)


def _roms(status: BootStatus) -> Iterator[Advice]:
    """Yield what becomes of drivers in ROMs: without a card's own, firmware cannot use it."""
    if not _decides(status):
        return
    for rom in status.option_roms:
        for driver in rom.drivers:
            when = _rom_fails(driver)
            if when:
                yield Advice(gap=Gap.ROMS, urgent=status.mode is Mode.ON or "2011" in when,
                             found=f"the driver in the ROM of {driver.path} {when}: firmware "
                             f"cannot use {_role_of(rom)} before a system starts",
                             todo=f"get firmware of the device signed under {ROM_2023.name}, and "
                             "that certificate into db; or the driver's digest "
                             f"({driver.sha256}) into db")  # fmt: skip


def _rom_fails(driver: FileStatus) -> str:
    """Return in words when a driver does not start; empty if it goes on starting."""
    if driver.starts[Scenario.NOW].starts is False:
        return "does not start under Secure Boot"
    if _lost([driver], Scenario.WITHOUT_2011):
        return "will not start without Microsoft's certificates of 2011"
    if Scenario.WITH_DBX in driver.starts and _lost([driver], Scenario.WITH_DBX):
        return "will not start with the update of dbx"
    return ""


def _role_of(rom: RomStatus) -> str:
    return f"that {rom.kind} device" if rom.kind else "that device"


def _dbx_breaks(status: BootStatus) -> Iterator[Advice]:
    if status.update_refused:
        yield Advice(gap=Gap.UPDATE_REFUSED,
                     found=f"firmware would refuse {status.update}: {status.update_refused}",
                     todo="take an update that a certificate in KEK has signed, or get that "
                     "certificate into KEK first")  # fmt: skip
    if not status.update:
        return
    if files := _lost(_installed(status), Scenario.WITH_DBX):
        yield Advice(gap=Gap.DBX_BREAKS, urgent=True,
                     found=f"with {status.update}, {_named(files)} will not start any more: "
                     f"{files[0].starts[Scenario.WITH_DBX].why}",
                     todo="update them first, then dbx")  # fmt: skip


def _dbx_age(status: BootStatus) -> Iterator[Advice]:
    dbx = status.dbx
    if not _decides(status):
        return
    if dbx.newest_entry is None or dbx.newest_entry < dbx.newest_known:
        held = f"ends in {dbx.newest_entry:%B %Y}" if dbx.newest_entry else (
            "has nothing of Microsoft's list")  # fmt: skip
        yield Advice(gap=Gap.DBX_OLD,
                     found=f"dbx {held}; the list grew until {dbx.newest_known:%B %Y}: revoked "
                     "boot programs start here",
                     todo="see what the update would stop (--with-dbx FILE), then `fwupdmgr "
                     "refresh; fwupdmgr update`")  # fmt: skip


def _sbat(status: BootStatus) -> Iterator[Advice]:
    if files := _lost(_installed(status), Scenario.NEWEST_SBAT):
        yield Advice(gap=Gap.SBAT,
                     found=f"{_named(files)} will not start once shim has SBAT level "
                     f"{status.sbat.newest}",
                     todo="update before `mokutil --set-sbat-policy latest`, or a shim that "
                     "brings that level")  # fmt: skip


def _entries(status: BootStatus) -> Iterator[Advice]:
    for entry in status.entries:
        if entry.active and entry.found is False:
            listed = len(entry.number) > len("0000")
            remove = "mend the list" if listed else f"`efibootmgr -B -b {entry.number}`"
            yield Advice(gap=Gap.ENTRY, found=f"boot entry {entry.number} ({entry.title}) leads "
                         f"to {entry.file}, which is not on the ESP",
                         todo=f"{remove}, or reinstall the boot loader")  # fmt: skip


def _unread(status: BootStatus) -> Iterator[Advice]:
    told = () if status.kind == NO_VARIABLES else status.files
    files = [file for file in told if file.starts[Scenario.NOW].starts is None]
    names = [f"{file.path} ({file.starts[Scenario.NOW].why})" for file in files]
    names += status.unread
    if names:
        rest = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
        denied = any("permission denied" in name for name in names)
        yield Advice(gap=Gap.UNREAD, found=f"not judged: {', '.join(names[:NAMED])}{rest}",
                     todo="run it as root: the ESP is closed to others" if denied else
                     "`signward verify FILE` says more of a file")  # fmt: skip


def _installed(status: BootStatus) -> list[FileStatus]:
    """Return what starts from where it lies; of a root with packages alone, all there is."""
    installed = [file for file in status.files if not file.packaged]
    return installed or list(status.files)


def _lost(files: list[FileStatus], scenario: Scenario) -> list[FileStatus]:
    """Return the files that start now and would not in a scenario."""
    return [
        file
        for file in files
        if file.starts[Scenario.NOW].starts and file.starts[scenario].starts is False
    ]


def _named(files: list[FileStatus]) -> str:
    """Name what firmware starts itself; what is loaded by that is counted."""
    heads = [file for file in files if not file.starts[Scenario.NOW].through] or files
    names = ", ".join(file.path for file in heads[:NAMED])
    rest = len(files) - len(heads[:NAMED])
    return f"{names} and {rest:,} more" if rest else names


def _do(files: list[FileStatus]) -> str:
    return "does" if len(files) == 1 else "do"
