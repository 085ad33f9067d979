"""dpkg's own database: which package a file claims to be of.  No evidence: anybody edits it.

Sources: dpkg(1), dpkg-query(1), dpkg-divert(1), dpkg-statoverride(1), deb-md5sums(5).  The MD5
digests that dpkg keeps are not read: they lie beside the files, and MD5 is broken.
"""

from __future__ import annotations

from collections.abc import Mapping

from signward.errors import LimitError, MalformedError
from signward.frozen import Frozen
from signward.inventory.packages import Package
from signward.inventory.packages.deb822 import lines, paragraphs, words

MAX_PACKAGES = 100_000
"""Installed packages; Debian 12 has 64,000 altogether."""

MAX_PATHS = 2_000_000
"""Paths of one package; the largest ones of Debian have some 100,000."""

_WITHOUT_FILES = frozenset({"not-installed", "config-files", "half-installed"})
"""States in which the package's files are not, or not all, there (dpkg(1), package states)."""

_LOCAL = ":"
"""What stands for the package of a diversion that the administrator made."""


class Installed(Frozen, frozen=True, kw_only=True):
    """An installed package; ``list_name`` is how the file of its paths is called.

    ``config`` are the paths of its configuration files.
    """

    package: Package
    list_name: str
    config: frozenset[str]


class Diversion(Frozen, frozen=True, kw_only=True):
    """Files that packages bring to a path go elsewhere, but those of one package.

    ``package`` is empty for a local diversion: then all of them do.
    """

    path: str
    to: str
    package: str


def read_status(data: bytes) -> tuple[Installed, ...]:
    """Return the packages whose files are installed.  Raises ``BadInputError``."""
    found = list[Installed]()
    for one in paragraphs(data, "dpkg status"):
        if words(one.get("status", ""))[-1:] in [(state,) for state in _WITHOUT_FILES]:
            continue
        if len(found) == MAX_PACKAGES:
            raise LimitError("dpkg status", "more packages", f"at most {MAX_PACKAGES}")
        found.append(_installed(one))
    return tuple(found)


def _installed(one: Mapping[str, str]) -> Installed:
    name, version, architecture = (one.get(key, "") for key in ("package", "version",
                                                                "architecture"))  # fmt: skip
    if not (name and version and architecture) or "/" in name:
        raise MalformedError("dpkg status", f"package {name[:80]!r}",
                             "a name, a version and an architecture", "deb-control(5)")  # fmt: skip
    same = one.get("multi-arch", "") == "same"
    config = (line.split(" ")[0] for line in lines(one.get("conffiles", "")))
    return Installed(
        package=Package(name=name, version=version, architecture=architecture),
        list_name=f"{name}:{architecture}" if same else name,
        config=frozenset(config),
    )


def read_list(data: bytes) -> list[str]:
    """Return a package's paths, absolute and as the package spells them.

    Raises ``LimitError``.
    """
    paths = data.decode("utf-8", "surrogateescape").split("\n")
    if len(paths) > MAX_PATHS:
        raise LimitError("dpkg list", f"{len(paths)} paths", f"at most {MAX_PATHS}")
    return [path for path in paths if path.startswith("/") and path != "/."]


def read_diversions(data: bytes) -> tuple[Diversion, ...]:
    """Return the diversions: three lines each.  Raises ``MalformedError``."""
    told = data.decode("utf-8", "surrogateescape").splitlines()
    if len(told) % 3:
        raise MalformedError("dpkg diversions", f"{len(told)} lines", "three for each diversion")
    return tuple(
        Diversion(path=path, to=to, package="" if package == _LOCAL else package)
        for path, to, package in zip(told[::3], told[1::3], told[2::3], strict=True)
    )


def read_overrides(data: bytes) -> dict[str, int]:
    """Return the permission bits that the administrator gave paths, by path.

    A line is ``user group mode path``, the mode in octal.  Raises ``MalformedError``.
    """
    found: dict[str, int] = {}
    for line in data.decode("utf-8", "surrogateescape").splitlines():
        told = line.split(" ", 3)
        if len(told) != 4 or not told[2].isdigit() or set(told[2]) & set("89"):
            raise MalformedError("dpkg statoverride", f"a line {line[:40]!r}",
                                 "user, group, octal mode and path")  # fmt: skip
        found[told[3]] = int(told[2], 8) & 0o7777
    return found
