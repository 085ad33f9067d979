"""Holding a bundle's folder against its list: what was added, taken out, or is of another kind.

As Apple's ``ResourceBuilder::scan`` walks (``resources.cpp``): every name below the list's folder
has the weightiest rule that finds it.  A folder with a dot in its name at a place for code is
nested code, and what is in it is that code's own affair.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from itertools import islice

from signward.errors import AmbiguousError, LimitError
from signward.findings import Code, Effect, Finding
from signward.formats._bundle_layout import (
    BESIDE,
    RECEIPT_FOLDER,
    SIGNATURE_FOLDER,
    TICKET,
    Layout,
    check_link,
)
from signward.formats._code_resources import CLAUSE, MAX_PATH, Resources, Seal, same
from signward.frozen import Frozen
from signward.state import Slot, Tree, TreeEntry

MAX_TOLD = 50
"""Findings of one kind about one bundle; a list of thousands helps nobody."""

FORKS = ("com.apple.ResourceFork", "com.apple.FinderInfo")
"""Extended attributes that hold content of their own (``checkForks``); Linux puts ``user.``
before them."""

_APPLE_DOUBLE = "._"
_STORE = ".ds_store"
_RECEIPT = f"{RECEIPT_FOLDER}/receipt"
_CODE_MAGICS = (
    b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe",
    b"\xca\xfe\xba\xbe", b"\xca\xfe\xba\xbf", b"#!",
)  # fmt: skip
"""How files begin that a system would run: Mach-O, thin and fat, and scripts."""


class Survey(Frozen, frozen=True, kw_only=True):
    """What stands below a list's folder, by path in form NFC.

    ``present`` are files and links that the list must hold, ``nested`` folders of nested code,
    ``omitted`` what its rules leave out, ``other`` pipes, sockets and devices.
    """

    present: Mapping[str, TreeEntry]
    nested: Mapping[str, TreeEntry]
    omitted: Mapping[str, TreeEntry]
    other: Mapping[str, TreeEntry]


def survey(tree: Tree, layout: Layout, resources: Resources) -> Survey:
    """Sort what stands below the list's folder.  Raises ``AmbiguousError`` for equal names.

    ``LimitError`` for paths longer than any on macOS: rules are tried on each.
    """
    sorted_out = Survey(present={}, nested={}, omitted={}, other={})
    kinds: dict[str, dict[str, TreeEntry]] = {
        name: getattr(sorted_out, name) for name in ("present", "nested", "omitted", "other")
    }
    skipped: set[str] = set()  # not the last one alone: "a.b-c" stands between "a.b" and "a.b/"
    seen: set[str] = set()
    for entry in tree.entries():
        if entry.path.rpartition("/")[0] in skipped:
            skipped.add(entry.path)
            continue
        if not entry.path.startswith(layout.base):
            continue
        path = entry.path[len(layout.base) :]
        if len(path) > MAX_PATH:
            raise LimitError(entry.path[:80], "a longer path", f"at most {MAX_PATH} characters")
        kind = _kind(path, entry, layout, resources)
        if kind in ("excluded", "nested") and entry.kind == "directory":
            skipped.add(entry.path)
        if kind not in kinds:
            continue
        key = same(path)
        if key in seen:
            raise AmbiguousError(entry.path, "two names that macOS takes for one", "one")
        seen.add(key)
        kinds[kind][key] = entry
    return sorted_out


def _kind(path: str, entry: TreeEntry, layout: Layout, resources: Resources) -> str:
    if path in (SIGNATURE_FOLDER, RECEIPT_FOLDER, TICKET) or entry.path == layout.executable:
        return "excluded"
    rule = resources.rule_for(same(path))
    if entry.kind == "directory":
        dotted = "." in path.rpartition("/")[2]
        return "nested" if rule is not None and rule.nested and dotted else "folder"
    if entry.kind == "other":
        return "other"
    return "omitted" if rule is None or rule.omit else "present"


def listed_slots(resources: Resources, found: Survey) -> tuple[Slot, ...]:
    """Return the digests the list has of files, and of the targets of links, that are there."""
    return tuple(
        _slot(found.present[path], seal)
        for path, seal in resources.seals.items()
        if seal.kind != "code" and path in found.present and found.present[path].kind == seal.kind
    )


def _slot(entry: TreeEntry, seal: Seal) -> Slot:
    if seal.kind == "file":
        return Slot(name=f"file:{entry.path}", algorithm=seal.algorithm, digest=seal.digest)
    digest = hashlib.sha256(seal.target.encode("utf-8", "surrogateescape")).digest()
    return Slot(name=f"link:{entry.path}", algorithm="sha256", digest=digest)


def differences(
    tree: Tree, entries: Mapping[str, TreeEntry], resources: Resources, found: Survey
) -> Iterator[Finding]:
    """Report what was added, taken out, is of another kind, or hides beside what is sealed.

    ``entries`` are those of the tree, by path.
    """
    yield from _first(_added(resources, found))
    yield from _first(_missing(resources, found))
    yield from _first(_stray_links(entries, found))
    yield from _first(_hidden(tree, found))
    yield from _first(_forked(tree, found))


def _first(findings: Iterator[Finding]) -> Iterator[Finding]:
    """Yield the first ones: whoever changed more changed everything."""
    return islice(findings, MAX_TOLD)


_FITTING = {"file": {"file"}, "link": {"link"}, "code": {"file", "directory"}}
"""What may stand where the list has a seal of a kind."""


def _added(resources: Resources, found: Survey) -> Iterator[Finding]:
    for path, entry in {**found.present, **found.nested}.items():
        seal = resources.seals.get(path)
        nested = entry.kind == "directory"
        if seal is None:
            what = "nested code" if nested else f"a {entry.kind}"
            hint = "it was added after signing"
            if path.rpartition("/")[2].startswith(_APPLE_DOUBLE):
                hint = "an AppleDouble file: some copying tool made it"
            yield _uncovered(entry.path, f"{what} that the list does not name", hint)
        elif entry.kind not in _FITTING[seal.kind]:
            yield _changed(entry, seal)
    for entry in found.other.values():
        yield _uncovered(entry.path, "neither a file, a folder nor a link", "take it out")


def _changed(entry: TreeEntry, seal: Seal) -> Finding:
    return Finding(
        code=Code.DIGEST_MISMATCH,
        effect=Effect.REJECT,
        subject=entry.path,
        found=f"a {entry.kind}",
        required={"code": "nested code", "link": "a link"}.get(seal.kind, "a file") + ", as sealed",
        clause=CLAUSE,
        hint="the content was changed after it was signed",
    )


def _missing(resources: Resources, found: Survey) -> Iterator[Finding]:
    for path, seal in resources.seals.items():
        if path in found.present or path in found.nested or seal.optional:
            continue
        yield Finding(
            code=Code.DIGEST_MISMATCH,
            effect=Effect.REJECT,
            subject=seal.path,
            found="left out by the list's rules" if path in found.omitted else "no such part",
            required="what the list of resources names",
            clause=CLAUSE,
            hint="it was taken out after signing",
        )


def _stray_links(entries: Mapping[str, TreeEntry], found: Survey) -> Iterator[Finding]:
    for entry in {**found.present, **found.omitted}.values():
        if entry.kind != "link":
            continue
        if entry.path.rpartition("/")[2].lower() == _STORE:
            yield _uncovered(entry.path, "a .DS_Store that is a link", "errSecCSDSStoreSymlink")
        elif stray := check_link(entries, entry.path):
            yield stray


def _hidden(tree: Tree, found: Survey) -> Iterator[Finding]:
    """Report what rules leave out and a system would run all the same."""
    for entry in found.omitted.values():
        yield from _code_in(tree, entry)


def _code_in(tree: Tree, entry: TreeEntry) -> Iterator[Finding]:
    if entry.kind != "file":
        return
    source = tree.open(entry.path)
    if source.read(0, min(4, source.length)).startswith(_CODE_MAGICS):
        yield _uncovered(entry.path, "code at a place that the list leaves out", "nobody signed it")


def _forked(tree: Tree, found: Survey) -> Iterator[Finding]:
    for entry in found.present.values():
        if entry.kind != "file":
            continue
        names = {name.removeprefix("user.") for name in tree.attributes(entry.path)}
        for name in sorted(names.intersection(FORKS)):
            yield _uncovered(entry.path, f"the extended attribute {name}",
                             "take it off (xattr -c) and sign again")  # fmt: skip


def beside_list(tree: Tree, entries: Mapping[str, TreeEntry], layout: Layout) -> Iterator[Finding]:
    """Report what hides in the folders of signatures and receipts, which no list covers.

    And code in the files that may lie there, and outside of the list's folder.
    """
    signatures, receipts = layout.base + SIGNATURE_FOLDER, layout.base + RECEIPT_FOLDER
    for path, entry in entries.items():
        if path == signatures or path.startswith(f"{signatures}/"):
            allowed = entry.kind == "directory" if path == signatures else _is_component(entry)
        elif path == receipts or path.startswith(f"{receipts}/"):
            is_receipt = path == layout.base + _RECEIPT and entry.kind == "file"
            allowed = is_receipt or (path == receipts and entry.kind == "directory")
        else:
            continue
        if not allowed:
            yield _uncovered(path, "something that no signature covers", "take it out")
    allowed_files = (layout.base + _RECEIPT, "Versions/.DS_Store", *sorted(BESIDE))
    for path in allowed_files:
        if layout.base and path in entries:
            yield from _code_in(tree, entries[path])


def _is_component(entry: TreeEntry) -> bool:
    """Whether a file in ``_CodeSignature`` is the list, or an empty one as ad hoc signers leave."""
    name = entry.path.rpartition("/")[2]
    empty = name == "CodeSignature" and entry.size == 0
    return entry.kind == "file" and (name == "CodeResources" or empty)


def _uncovered(subject: str, found: str, hint: str) -> Finding:
    return Finding(
        code=Code.UNCOVERED_CONTENT,
        effect=Effect.REJECT,
        subject=subject,
        found=found,
        required="only what the signed list of resources covers",
        clause=CLAUSE,
        hint=hint,
    )
