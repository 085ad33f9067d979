"""The answer of ``boot status``, as plain facts: what reports and JSON are made from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from enum import StrEnum

import msgspec

from signward.frozen import Frozen
from signward.policy.boot.firmware import Ruling

NO_VARIABLES = "none"
"""The ``kind`` of variables where none could be read."""


class Mode(StrEnum):
    """What Secure Boot does on a machine."""

    ON = "on"
    OFF = "off"
    SETUP = "setup mode"
    UNKNOWN = "unknown"


class Scenario(StrEnum):
    """What is asked of every file: whether it starts now, and if something were otherwise."""

    NOW = "now"
    WITHOUT_2011 = "without-2011"
    REVOKED_2011 = "revoked-2011"
    NEWEST_SBAT = "newest-sbat"
    WITH_DBX = "with-dbx"


class HeldKey(Frozen, frozen=True, kw_only=True):
    """A certificate in a variable; ``generation`` is there for Microsoft's, ``ended`` by now."""

    name: str
    sha256: str
    not_before: datetime
    not_after: datetime
    ended: bool
    generation: int = 0


class Listing(Frozen, frozen=True, kw_only=True):
    """One list of keys: its certificates, and counts of what else stands in it.

    ``written`` is when it was last written with authentication, where the store tells that.
    ``present``: the variable exists; ``fault`` says why it could not be read.
    """

    name: str
    present: bool
    certificates: tuple[HeldKey, ...] = ()
    digests: int = 0
    others: int = 0
    octets: int = 0
    written: datetime | None = None
    fault: str = ""


class DbxStatus(Frozen, frozen=True, kw_only=True):
    """How old the list of refused images is.

    ``newest_entry`` is the last day Microsoft's list grew by something that is in it,
    ``newest_known`` the last day it grew that this version knows of; ``missing`` counts the
    entries of the asked update that it lacks.
    """

    entries: int
    newest_entry: date | None
    newest_known: date
    versions: tuple[str, ...] = ()
    missing: int | None = None


class SbatStatus(Frozen, frozen=True, kw_only=True):
    """The SBAT level that shim keeps; empty where none is set, and the newest known here."""

    level: str
    newest: str


class Entry(Frozen, frozen=True, kw_only=True):
    """One entry of firmware's boot menu, in the order it is tried; ``file`` where it names one.

    ``found`` says whether the file is on the ESP; None where there is no file to look for.
    """

    number: str
    title: str
    file: str = ""
    active: bool = True
    found: bool | None = None


class FileStatus(Frozen, frozen=True, kw_only=True):
    """One EFI file: what it is, who signed it, and whether it starts in each scenario."""

    path: str
    role: str
    packaged: bool
    sha256: str = ""
    signers: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    sbat: tuple[str, ...] = ()
    starts: Mapping[Scenario, Ruling] = msgspec.field(default_factory=dict)


class ModuleStatus(Frozen, frozen=True, kw_only=True):
    """The modules of one kernel: how many, how many end as signed ones do."""

    kernel: str
    modules: int
    signed: int
    packed: int
    foreign: tuple[str, ...] = ()


class RomStatus(Frozen, frozen=True, kw_only=True):
    """A device that brings an option ROM, or a file with one: its place, its ids, what it is.

    ``drivers`` are the EFI drivers in it; ``unread`` says why nobody can tell of any.
    """

    device: str
    ids: str = ""
    kind: str = ""
    drivers: tuple[FileStatus, ...] = ()
    unread: str = ""


class Gap(StrEnum):
    """What advice is about."""

    NO_VARIABLES = "no-variables"
    NOT_ON = "secure-boot-not-on"
    SHIM_OFF = "shim-validation-off"
    KEK_2023 = "kek-2023-missing"
    DB_2023 = "db-2023-missing"
    REFUSED = "refused-now"
    ROMS = "option-roms"
    STRANDED = "stranded-without-2011"
    DBX_OLD = "dbx-old"
    DBX_BREAKS = "dbx-breaks"
    UPDATE_REFUSED = "update-refused"
    SBAT = "sbat-breaks"
    ENTRY = "entry-leads-nowhere"
    UNREAD = "unread"


class Advice(Frozen, frozen=True, kw_only=True):
    """One gap: what is found, and what to do about it.  ``urgent``: something would not start."""

    gap: Gap
    found: str
    todo: str
    urgent: bool = False


class BootStatus(Frozen, frozen=True, kw_only=True):
    """The whole answer.  ``root`` is where files were looked for, ``variables`` what was read.

    ``update_refused`` says why firmware would not take the update that was asked about.
    """

    at: datetime
    root: str
    variables: str
    kind: str
    mode: Mode
    shim_validates: bool
    lists: tuple[Listing, ...]
    dbx: DbxStatus
    sbat: SbatStatus
    entries: tuple[Entry, ...]
    files: tuple[FileStatus, ...]
    modules: tuple[ModuleStatus, ...]
    option_roms: tuple[RomStatus, ...]
    update: str = ""
    update_refused: str = ""
    unread: tuple[str, ...] = ()
    advice: tuple[Advice, ...] = ()

    def listing(self, name: str) -> Listing:
        """Return the list of this name."""
        return next(listing for listing in self.lists if listing.name == name)
