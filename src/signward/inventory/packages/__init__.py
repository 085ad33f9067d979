"""What package managers know of the files of a system, and what of it somebody signed.

Readers only: nothing here is judged.  A package manager's own database says which package a file
claims to be of; that is no evidence, for whoever changes a file can change it too.  Evidence is
what is reached from a signature: an archive's signed list names a package's digest, the package
holds the file (Debian), or a signed header lists the file's digest (RPM).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from signward.findings import Finding
from signward.frozen import Frozen
from signward.state import JudgedSignature

FILE, LINK, FOLDER, OTHER = "file", "link", "directory", "other"
"""What stands at a path, in the words of ``state.TreeEntry.kind``."""


class Package(Frozen, frozen=True, kw_only=True):
    """A package by name, whole version and architecture as its own control data spells them."""

    name: str
    version: str
    architecture: str

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.architecture})"


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a package brings at one path, by evidence.

    ``path`` is absolute within the system, as the package spells it; ``mode`` the twelve
    permission bits; ``algorithm`` a hashlib name and ``digest`` that of a file's whole content
    (both empty for what is no file); ``target`` where a link points; ``config`` marks files that
    administrators are expected to change.
    """

    path: str
    kind: str
    mode: int = 0
    size: int = 0
    algorithm: str = ""
    digest: bytes = b""
    target: str = ""
    config: bool = False


class Warrant(Frozen, frozen=True, kw_only=True):
    """Who stands for packages: the judged signatures of an archive's list, or of an RPM header.

    ``source`` is the file they were found in, ``findings`` what is wrong with the list as a whole
    (it ended, it is older than one seen before), ``facts`` what the list says of itself.
    """

    source: str
    signatures: tuple[JudgedSignature, ...]
    findings: tuple[Finding, ...] = ()
    facts: Mapping[str, str | int] = msgspec.field(default_factory=dict)


class Holding(Frozen, frozen=True, kw_only=True):
    """One package's entries, and the warrant behind them.

    ``facts`` lead from the warrant to the entries (the digest of the package's file, say).
    """

    package: Package
    entries: tuple[Entry, ...]
    warrant: Warrant
    facts: Mapping[str, str | int] = msgspec.field(default_factory=dict)
