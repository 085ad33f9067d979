"""Where a bundle keeps what: its property list, its code, and the folder that its list covers.

Three shapes (Apple's "Bundle Programming Guide"; ``BundleDiskRep::setup`` of the Security
framework): with a folder ``Contents``; versioned, as frameworks are, with ``Versions/Current``
a link to the version that counts; and flat.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any

from signward.errors import AmbiguousError, MalformedError
from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen
from signward.state import Source, Tree, TreeEntry
from signward.wire.plist import read_plist

EXTENSIONS = (
    ".app", ".framework", ".kext", ".systemextension", ".dext", ".appex", ".xpc", ".bundle",
    ".plugin", ".prefpane", ".qlgenerator", ".mdimporter", ".saver", ".component", ".vst",
)  # fmt: skip
"""Names of folders that macOS takes for one piece of code."""

SIGNATURE_FOLDER = "_CodeSignature"
LIST = f"{SIGNATURE_FOLDER}/CodeResources"
TICKET = "CodeResources"
"""A stapled ticket; before OS X 10.5 a link to the list."""
RECEIPT_FOLDER = "_MASReceipt"

MAX_INFO = 4 * 1024 * 1024
"""Octets of an Info.plist; the largest have some hundred thousand."""
MAX_LINKS = 32
"""Links on the way to one file (``MAXSYMLINKS``)."""

_WHAT = "Info.plist"
_CURRENT = re.compile(r"(?:\./)?([^/]+)/?\Z")
BESIDE = frozenset({".LSOverride", ".DS_Store", "Icon\r", ".SoftwareDepot.tracking"})
"""Files that may lie beside ``Contents`` (``BundleDiskRep::setup``)."""
_SYSTEM = ("/System/", "/Library/")
"""Where absolute links may lead (``validateSymlinkResource``)."""


class Layout(Frozen, frozen=True, kw_only=True):
    """Paths in a bundle, relative to it.

    ``base`` is the folder that the list covers, with its slash, or nothing; ``executable`` is
    empty for a bundle without code; ``localized`` is where resources lie below the base.
    """

    base: str
    info: str
    executable: str
    localized: str
    plist: Mapping[str, Any]

    @property
    def list_path(self) -> str:
        """Where the list of resources lies, if there is one."""
        return self.base + LIST

    @property
    def identifier(self) -> str:
        """The bundle's identifier (CFBundleIdentifier), or nothing."""
        value = self.plist.get("CFBundleIdentifier", "")
        return value if isinstance(value, str) else ""


def by_path(tree: Tree) -> Mapping[str, TreeEntry]:
    """Return a tree's entries by their paths."""
    return {entry.path: entry for entry in tree.entries()}


def is_bundle(tree: Tree) -> bool:
    """Say whether a folder's name and content make it a bundle.  Never raises ``BadInputError``."""
    if not tree.name.rstrip("/").lower().endswith(EXTENSIONS):
        return False
    return _place(by_path(tree)) is not None


def find_layout(tree: Tree, version: str = "") -> Layout:
    """Return where a bundle keeps what; ``version`` is a framework's, instead of the current one.

    Raises ``MalformedError`` for what is no bundle.
    """
    entries = by_path(tree)
    place = _place(entries, version)
    if place is None:
        raise MalformedError(tree.name, "no Info.plist", "one, as every bundle has")
    base, info, code, localized = place
    plist = read_plist(read_whole(tree.open(info)), info)
    name = plist.get("CFBundleExecutable", _namesake(tree, entries, code))
    if not isinstance(name, str) or "/" in name or "\0" in name or name in (".", ".."):
        raise MalformedError(info, f"CFBundleExecutable {name!r}", "the name of a file")
    executable = f"{code}{name}" if name else ""
    if executable and entries.get(executable, _NOTHING).kind != "file":
        raise MalformedError(tree.name, f"no file {executable}", "the bundle's main executable")
    return Layout(base=base, info=info, executable=executable, localized=localized, plist=plist)


_NOTHING = TreeEntry(path="", kind="")


def _namesake(tree: Tree, entries: Mapping[str, TreeEntry], code: str) -> str:
    """Return the executable where the list names none: what is called as the bundle is."""
    stem = posixpath.splitext(posixpath.basename(tree.name.rstrip("/")))[0]
    return stem if entries.get(f"{code}{stem}", _NOTHING).kind == "file" else ""


def read_whole(source: Source, most: int = MAX_INFO) -> bytes:
    """Return a small file.  Raises ``MalformedError`` for one larger than ``most`` octets."""
    if source.length > most:
        raise MalformedError(source.name, f"{source.length} octets", f"at most {most}")
    return source.read(0, source.length)


def current_version(entries: Mapping[str, TreeEntry]) -> str:
    """Return the name of a framework's current version; empty where there is none."""
    link = entries.get("Versions/Current", _NOTHING)
    match = _CURRENT.match(link.target) if link.kind == "link" else None
    return match[1] if match and match[1] not in (".", "..") else ""


def _place(entries: Mapping[str, TreeEntry], version: str = "") -> tuple[str, str, str, str] | None:
    """Return base, property list, folder of code, and folder of resources below the base."""
    version = version or current_version(entries)
    places = [("Contents/", "Contents/Info.plist", "Contents/MacOS/", "Resources/")]
    if version:
        base = f"Versions/{version}/"
        places.append((base, f"{base}Resources/Info.plist", base, "Resources/"))
    places += [("", "Info.plist", "", ""), ("", "Resources/Info.plist", "", "Resources/")]
    if "Contents" in entries and not version:
        places = places[:1]
    return next((p for p in places if entries.get(p[1], _NOTHING).kind == "file"), None)


def outside(entries: Mapping[str, TreeEntry], layout: Layout) -> Iterator[Finding]:
    """Report what stands in a bundle outside of the folder that its list covers."""
    if not layout.base:
        return
    top = layout.base.partition("/")[0]
    for path, entry in entries.items():
        if "/" in path or path == top:
            continue
        if layout.base == "Contents/":
            if entry.kind != "file" or path not in BESIDE or entry.mode & 0o111:
                yield _unsealed(path, "nothing beside Contents")
        elif not _is_alias(entry, layout.base) and not (path in BESIDE and entry.kind == "file"):
            yield _unsealed(path, "links into the current version, nothing else")
    if top == "Versions":
        yield from _among_versions(entries)


def _among_versions(entries: Mapping[str, TreeEntry]) -> Iterator[Finding]:
    for path, entry in entries.items():
        if path.count("/") != 1 or not path.startswith("Versions/"):
            continue
        plain = entry.kind == "directory" or path == "Versions/.DS_Store"
        if path != "Versions/Current" and not plain:
            yield _unsealed(path, "versions in folders, and the link Current")


def _is_alias(entry: TreeEntry, base: str) -> bool:
    """Whether a link leads to its namesake in the framework's current version."""
    target = entry.target.removeprefix("./")
    return entry.kind == "link" and target in (base + entry.path, f"Versions/Current/{entry.path}")


def _unsealed(path: str, required: str) -> Finding:
    return Finding(
        code=Code.UNCOVERED_CONTENT,
        effect=Effect.REJECT,
        subject=path,
        found="something that no signature covers",
        required=required,
        clause="errSecCSUnsealedAppRoot",
        hint="it was put there after signing",
    )


def resolve(entries: Mapping[str, TreeEntry], path: str) -> str | None:
    """Return where a path in a tree leads through links; None for one that leaves the tree.

    The last name need not be there.  Raises ``AmbiguousError`` for links that go in circles.
    """
    left, at = path.split("/"), ""
    links = 0
    while left:
        name = left.pop(0)
        if name in ("", "."):
            continue
        if name == "..":
            if not at:
                return None
            at = at.rpartition("/")[0]
            continue
        at = f"{at}/{name}" if at else name
        entry = entries.get(at, _NOTHING)
        if entry.kind != "link":
            continue
        links += 1
        if links > MAX_LINKS:
            raise AmbiguousError(path, "links that go in circles", "links that lead somewhere")
        if entry.target.startswith("/"):
            return None
        left = entry.target.split("/") + left
        at = at.rpartition("/")[0]
    return at


def check_link(entries: Mapping[str, TreeEntry], path: str) -> Finding | None:
    """Report a link that leaves the tree, or leads nowhere."""
    target = entries[path].target
    if target.startswith("/"):
        inside = posixpath.normpath(target).startswith(_SYSTEM)
        return None if inside else _stray(path, target, Effect.REJECT)
    try:
        end = resolve(entries, path)
    except AmbiguousError:
        return _stray(path, target, Effect.REJECT)
    if end is None:
        return _stray(path, target, Effect.REJECT)
    return None if end in entries or not end else _stray(path, target, Effect.WARN)


def _stray(path: str, target: str, effect: Effect) -> Finding:
    nowhere = effect is Effect.WARN
    return Finding(
        code=Code.UNCOVERED_CONTENT,
        effect=effect,
        subject=path,
        found=f"a link to {target!r}" + (", where nothing is" if nowhere else ""),
        required="a link to something in the bundle, or to the system",
        clause="errSecCSInvalidSymlink",
        hint="what it leads to is not signed with the bundle",
    )
