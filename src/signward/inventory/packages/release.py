"""What an archive signs: a Release, and the lists of packages whose digests stand in it.

Sources: Debian's repository format (wiki.debian.org/DebianRepository/Format), apt-secure(8).  Only
SHA-256 digests count; MD5 and SHA-1 tables are passed over.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from signward.errors import AmbiguousError, LimitError, MalformedError
from signward.frozen import Frozen
from signward.inventory.packages import Package
from signward.inventory.packages.deb822 import blocks, fields, lines, paragraphs

MAX_FILES = 200_000
"""Files that one Release names; Debian's has some 4,000."""

MAX_OCTETS = 64 * 1024 * 1024
"""Octets of a Release; Debian's has some 200,000."""

_WHAT = "Release"
_CLAUSE = "Debian repository format, Release files"


class Listed(Frozen, frozen=True, kw_only=True):
    """A file's size in octets and SHA-256 as a signed list has them."""

    size: int
    sha256: bytes


class Release(Frozen, frozen=True, kw_only=True):
    """A suite of an archive.  ``date`` and ``valid_until`` are aware UTC.

    ``files`` are by path below the suite's folder.
    """

    origin: str
    label: str
    suite: str
    codename: str
    version: str
    components: tuple[str, ...]
    date: datetime
    valid_until: datetime | None
    files: Mapping[str, Listed]

    @property
    def title(self) -> str:
        """How messages name it: ``Debian bookworm``."""
        return " ".join(filter(None, (self.origin or self.label, self.codename or self.suite)))


class ListedDeb(Frozen, frozen=True, kw_only=True):
    """A package in an archive's list, and the file it comes in."""

    package: Package
    filename: str
    listed: Listed


def read_release(text: bytes) -> Release:
    """Return what a Release says.  Raises ``BadInputError``."""
    if len(text) > MAX_OCTETS:
        raise LimitError(_WHAT, f"{len(text)} octets", f"at most {MAX_OCTETS}")
    found = list(paragraphs(text, _WHAT))
    if len(found) != 1:
        raise MalformedError(_WHAT, f"{len(found)} paragraphs", "one", _CLAUSE)
    one = found[0]
    return Release(
        origin=one.get("origin", ""),
        label=one.get("label", ""),
        suite=one.get("suite", ""),
        codename=one.get("codename", ""),
        version=one.get("version", ""),
        components=tuple(one.get("components", "").split()),
        date=_instant(one.get("date", ""), "Date"),
        valid_until=_instant(one["valid-until"], "Valid-Until") if "valid-until" in one else None,
        files=_files(one.get("sha256", "")),
    )


def _instant(text: str, field: str) -> datetime:
    """Return a date of RFC 2822's form, in UTC whatever zone it names."""
    try:
        parsed = parsedate_to_datetime(text)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        raise MalformedError(_WHAT, f"{field} {text[:60]!r}", "a date", _CLAUSE) from None


def _files(table: str) -> dict[str, Listed]:
    found: dict[str, Listed] = {}
    for line in lines(table):
        told = line.split()
        if len(told) != 3:
            raise MalformedError(_WHAT, f"a line {line[:80]!r}", "digest, size and path", _CLAUSE)
        listed = _listed(told[0], told[1], _WHAT)
        if found.setdefault(told[2], listed) != listed:
            raise AmbiguousError(_WHAT, f"{told[2]} with two digests", "one", _CLAUSE)
        if len(found) > MAX_FILES:
            raise LimitError(_WHAT, "more files", f"at most {MAX_FILES}")
    return found


def _listed(sha256: str, size: str, what: str) -> Listed:
    right = size.isascii() and size.isdigit() and len(size) < 16 and len(sha256) == 64
    try:
        digest = bytes.fromhex(sha256)
    except ValueError:
        right = False
    if not right:
        raise MalformedError(what, f"size {size[:20]!r} and digest {sha256[:70]!r}",
                             "a number and 64 hexadecimal digits", _CLAUSE)  # fmt: skip
    return Listed(size=int(size), sha256=digest)


def read_packages(
    data: bytes, wanted: Collection[Package], what: str = "Packages"
) -> Iterator[ListedDeb]:
    """Yield the wanted packages of a list.  Raises ``BadInputError``.

    Only paragraphs of a wanted name are taken apart: lists have tens of thousands.  A package
    whose paragraph has no SHA-256 is passed over.
    """
    names = {b"Package: " + one.name.encode("utf-8", "surrogateescape") for one in wanted}
    for block in blocks(data, what):
        if block[: block.find(b"\n")] not in names and block.startswith(b"Package: "):
            continue
        one = fields(block, what)
        package = Package(
            name=one.get("package", ""),
            version=one.get("version", ""),
            architecture=one.get("architecture", ""),
        )
        if package in wanted and "sha256" in one:
            listed = _listed(one["sha256"], one.get("size", ""), what)
            yield ListedDeb(package=package, filename=one.get("filename", ""), listed=listed)
