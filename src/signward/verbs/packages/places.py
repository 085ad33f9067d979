"""Where packages fill the folders of a system; cheap to ask before anything is read."""

from __future__ import annotations

import os

STATUS = "/var/lib/dpkg/status"
"""dpkg's list of what is installed."""

HEADERS = ("/usr/lib/sysimage/rpm/rpmdb.sqlite", "/var/lib/rpm/rpmdb.sqlite")
"""Where rpm keeps the headers of what is installed."""

OWNED = ("/usr/", "/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/libx32/", "/boot/", "/etc/")
"""Folders that packages fill: whatever lies there should be some package's."""

OTHERS = ("/usr/local/", "/usr/src/")
"""Folders in them that are the administrator's (Filesystem Hierarchy Standard 4.9, 4.12)."""


def is_owned(path: str) -> bool:
    """Say whether a path of a system lies where packages fill the folders."""
    return path.startswith(OWNED) and not path.startswith(OTHERS)


def reaches(path: str) -> bool:
    """Say whether a walk from a path of the system comes where packages fill the folders."""
    real = os.path.realpath(path).rstrip("/") + "/"
    return is_owned(real) or any(folder.startswith(real) for folder in OWNED)


def has_packages(root: str = "/") -> bool:
    """Say whether a system has packages of dpkg, or of rpm."""
    base = root.rstrip("/")
    return any(os.path.isfile(f"{base}{path}") for path in (STATUS, *HEADERS))  # noqa: PTH113


def has_dpkg(root: str) -> bool:
    """Say whether a system's packages are dpkg's."""
    return os.path.isfile(f"{root.rstrip('/')}{STATUS}")  # noqa: PTH113 - paths stay strings
