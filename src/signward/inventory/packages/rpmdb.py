"""RPM's database: the headers of what is installed, as their packages had them.

A row's octets are a header without magic.  Its region is what the package's signature is over;
what stands behind the region was added at installation, the signatures among it.  Read: SQLite
(rpm 4.16 and later, Fedora, Red Hat 9).  Other backends are named and not read.

Nothing is written, not even beside the database; one that a writer left unfinished business in
(a write-ahead log) is opened read-only, else as what cannot change.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from signward.errors import LimitError, MalformedError
from signward.wire.rpm import IMMUTABLE, MAX_STORE, Header, read_header

FOLDERS = ("usr/lib/sysimage/rpm", "var/lib/rpm")
"""Where a system keeps it, the newer place first."""

SQLITE = "rpmdb.sqlite"
OTHERS = {"Packages.db": "ndb", "Packages": "Berkeley DB"}
"""Databases of other backends by file name."""

MAX_PACKAGES = 100_000
"""Packages of one system; large ones have 5,000."""

MAX_STEPS = 1_000_000
"""Thousands of steps SQLite may take: a file may hold a query of its own making (a view)."""

_WHAT = "RPM database"
_ROWS = "SELECT hnum, blob FROM Packages ORDER BY hnum"


def database_of(root: str) -> tuple[Path | None, str]:
    """Return a system's database, or None and why there is none; empty where RPM is not used."""
    for folder in (Path(root) / one for one in FOLDERS):
        if (folder / SQLITE).is_file():
            return folder / SQLITE, ""
        for name, backend in OTHERS.items():
            if (folder / name).is_file():
                return None, f"{folder / name}: an RPM database of backend {backend} is not read"
    return None, ""


def read_headers(path: Path) -> Iterator[Header]:
    """Yield the header of each package.

    Raises ``MalformedError``, ``AmbiguousError`` and ``LimitError``.
    """
    busy = path.with_name(f"{path.name}-wal")
    mode = "mode=ro" if busy.exists() and busy.stat().st_size else "immutable=1"
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?{mode}", uri=True)) as opened:
            for number, (hnum, blob) in enumerate(_rows(opened)):
                if number == MAX_PACKAGES:
                    raise LimitError(_WHAT, "more packages", f"at most {MAX_PACKAGES}")
                if not isinstance(blob, bytes):
                    raise MalformedError(_WHAT, f"package {hnum} of another type", "octets")
                yield read_header(blob, IMMUTABLE, f"RPM database, package {hnum}")
    except sqlite3.Error as error:
        raise MalformedError(_WHAT, str(error)[:200], "one that SQLite reads") from None


def _rows(opened: sqlite3.Connection) -> Iterator[tuple[object, object]]:
    """Yield the rows, in a connection that neither writes nor runs what a file brings along."""
    steps = iter(range(MAX_STEPS))
    opened.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 2 * MAX_STORE)
    opened.set_progress_handler(lambda: int(next(steps, None) is None), 1000)
    opened.execute("PRAGMA query_only = 1")
    opened.execute("PRAGMA trusted_schema = 0")
    yield from opened.execute(_ROWS)
