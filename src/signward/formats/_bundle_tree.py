"""What is in a bundle, held against its signatures (see `formats.bundle`)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from signward.envelopes.ticket import MAX_TICKET
from signward.errors import BadInputError, LimitError
from signward.findings import Code, Effect, Finding
from signward.formats._bundle_code import (
    INFO,
    RESOURCES,
    BundleCode,
    code_digests,
    demand_of,
    described_code,
    designated_text,
    known_hashes,
    open_code,
    read_demand,
)
from signward.formats._bundle_layout import (
    EXTENSIONS,
    SIGNATURE_FOLDER,
    TICKET,
    Layout,
    by_path,
    current_version,
    find_layout,
    outside,
    read_whole,
    resolve,
)
from signward.formats._bundle_survey import (
    Survey,
    beside_list,
    differences,
    listed_slots,
    survey,
)
from signward.formats._code_resources import (
    WHAT,
    Resources,
    Seal,
    read_resources,
    weaknesses,
)
from signward.formats._stapled import read_stapled
from signward.frozen import Frozen, replace
from signward.state import (
    ClaimedSignature,
    Hasher,
    Manifest,
    OwnRequirement,
    SignedArtifact,
    Slot,
    Source,
    Tree,
    TreeEntry,
    Wanted,
)
from signward.wire.plist import MAX_OCTETS
from signward.wire.tree import Subtree

NAME = "bundle"

MAX_NESTED = 16
"""Bundles inside bundles; an application with helpers with frameworks has four."""

MAX_VERSIONS = 32
"""Versions of one framework; Python's has some seven, and each is held against its own list."""

MAX_SHOWN = 200
"""Pieces of nested code that `show` names; the largest applications have some hundred."""


class BundleState(Frozen, frozen=True, kw_only=True):
    """What the format keeps of a parsed bundle: its folder, its main executable if it has one."""

    tree: Tree
    layout: Layout
    code: BundleCode | None


class _Findings:
    """Findings under way, and what they leave of the bundle."""

    def __init__(self) -> None:
        self.all: list[Finding] = []
        self.nested: dict[str, SignedArtifact] = {}
        self.demands: dict[str, OwnRequirement] = {}
        self.vouched: set[str] = set()
        self.listed: tuple[Slot, ...] = ()


def parse_bundle(tree: Tree) -> SignedArtifact:
    """Find the main executable's signatures, and hold the folder against the signed list."""
    return _parse(tree, find_layout(tree), 0)


def digests_of_bundle(artifact: SignedArtifact, wanted: Wanted) -> Manifest:
    """Compute digests: of the executable's slots, of files and of the targets of links."""
    state: BundleState = artifact.layout
    found = dict(code_digests(state.code, wanted)) if state.code else {}
    links = {e.path: e.target for e in state.tree.entries() if e.kind == "link"}
    files: dict[str, set[str]] = {}
    for name, algorithm in wanted:
        kind, _, path = name.partition(":")
        if kind == "link" and path in links:
            target = links[path].encode("utf-8", "surrogateescape")
            found[name, algorithm] = hashlib.new(algorithm, target).digest()
        elif kind == "file":
            files.setdefault(path, set()).add(algorithm)
    for path in sorted(files):
        found.update(_file_digests(state.tree, path, sorted(files[path])))
    return found


def bundle_with_facts(artifact: SignedArtifact) -> SignedArtifact:
    """Add what the code says of itself, nested code, and the stapled ticket."""
    state: BundleState = artifact.layout
    described = described_code(state.code) if state.code else {}
    facts = {**described, **artifact.facts}
    facts["sealed files"] = len(artifact.listed)
    if artifact.nested:
        facts["nested code"] = ", ".join(list(artifact.nested)[:MAX_SHOWN])
    if artifact.ticket is not None and artifact.ticket.claimed_time is not None:
        facts["notarization ticket"] = artifact.ticket.claimed_time.isoformat()
    return replace(artifact, facts=facts)


def _file_digests(tree: Tree, path: str, algorithms: list[str]) -> Manifest:
    source = tree.open(path)
    hashers = [hashlib.new(name, usedforsecurity=False) for name in algorithms]
    feeding: list[Hasher] = list(hashers)
    source.feed([(0, source.length)], feeding)
    return {
        (f"file:{path}", name): hasher.digest()
        for name, hasher in zip(algorithms, hashers, strict=True)
    }


def _parse(tree: Tree, layout: Layout, depth: int) -> SignedArtifact:
    if depth > MAX_NESTED:
        raise LimitError(tree.name, "bundles nested deeper", f"at most {MAX_NESTED}")
    entries = by_path(tree)
    if not layout.executable:
        return _without_code(tree, layout, entries)
    listing = _listing(tree, layout, entries)
    parts = {INFO: read_whole(tree.open(layout.info))}
    if listing is not None:
        parts[RESOURCES] = listing
    code = open_code(tree.open(layout.executable), parts)
    artifact = code.artifact
    found = _Findings()
    if artifact.signatures or artifact.seals:
        found.all += _required_of_seals(code)
        found.all += outside(entries, layout)
        found.all += beside_list(tree, entries, layout)
        if listing is None:
            found.all.append(_no_list(layout))
        else:
            _hold_against(tree, layout, read_resources(listing, layout.list_path), depth, found)
        _other_versions(tree, layout, code, depth, found)
    ticket = _ticket(tree, layout, entries, code, found)
    return SignedArtifact(
        format=NAME,
        source=_Named(artifact.source, tree.name),
        signatures=artifact.signatures,
        required={label: artifact.required.get(label, frozenset()) | files
                  for label, files in code.required.items()},
        conditions=artifact.conditions,
        nested=found.nested,
        demands=found.demands,
        vouched=frozenset(found.vouched),
        regions=artifact.regions,
        profile=artifact.profile,
        facts={**artifact.facts, "bundle": _extension(tree), "executable": layout.executable},
        findings=(*artifact.findings, *found.all),
        seals=artifact.seals,
        listed=found.listed,
        ticket=ticket,
        every=artifact.every,
        layout=BundleState(tree=tree, layout=layout, code=code),
    )  # fmt: skip


def _without_code(tree: Tree, layout: Layout, entries: Mapping[str, TreeEntry]) -> SignedArtifact:
    """Return a bundle without a program: unsigned, or signed in a way that is not judged."""
    path = f"{layout.base}{SIGNATURE_FOLDER}/CodeDirectory"
    finding = Finding(
        code=Code.UNSUPPORTED_KIND,
        effect=Effect.UNKNOWN,
        subject=path,
        found="a signature in files of its own, for a bundle without code",
        required="one in the bundle's main executable",
        hint="codesign --verify judges it, on a Mac",
    )
    return SignedArtifact(
        format=NAME,
        source=_Named(tree.open(layout.info), tree.name),
        signatures=(),
        profile="apple",
        facts={"bundle": _extension(tree)},
        findings=(finding,) if path in entries else (),
        layout=BundleState(tree=tree, layout=layout, code=None),
    )


def _listing(tree: Tree, layout: Layout, entries: Mapping[str, TreeEntry]) -> bytes | None:
    entry = entries.get(layout.list_path)
    if entry is None or entry.kind != "file":
        return None
    return read_whole(tree.open(layout.list_path), MAX_OCTETS)


def _extension(tree: Tree) -> str:
    name = tree.name.rstrip("/").lower()
    return next((extension for extension in EXTENSIONS if name.endswith(extension)), "")


def _no_list(layout: Layout) -> Finding:
    return Finding(
        code=Code.SLOT_MISSING,
        effect=Effect.REJECT,
        subject=WHAT,
        found=f"no {layout.list_path}",
        required="the list of the bundle's files: nothing covers them",
        clause="errSecCSResourcesNotFound",
    )


def _required_of_seals(code: BundleCode) -> Iterator[Finding]:
    """Ask of an ad hoc signature what integrity asks of signers: the list and the properties."""
    for name in sorted(code.sealed - {slot.name for slot in code.artifact.seals}):
        yield Finding(
            code=Code.SLOT_MISSING,
            effect=Effect.REJECT,
            subject="ad hoc signature",
            found=f"no digest of {name}",
            required="one: it runs, so it must be covered",
        )


def _hold_against(
    tree: Tree, layout: Layout, resources: Resources, depth: int, found: _Findings
) -> None:
    """Hold the folder against its list, and parse nested code."""
    entries = by_path(tree)
    there = survey(tree, layout, resources)
    found.all += (_weak(layout, what) for what in weaknesses(resources, layout.localized))
    found.all += differences(tree, entries, resources, there)
    found.listed = listed_slots(resources, there)
    _nested(tree, resources, there, depth, found)


def _weak(layout: Layout, what: str) -> Finding:
    return Finding(
        code=Code.UNCOVERED_CONTENT,
        effect=Effect.REJECT,
        subject=layout.list_path,
        found=f"rules that leave out {what}",
        required="rules that leave out nothing but what every bundle may",
        clause="errSecCSWeakResourceRules",
        hint="its signer chose them: ask for one signed with the usual rules",
    )


def _nested(tree: Tree, resources: Resources, there: Survey, depth: int, found: _Findings) -> None:
    for path, entry in {**there.present, **there.nested}.items():
        seal = resources.seals.get(path)
        if seal is None or seal.kind != "code" or entry.kind == "link":
            continue
        inner = _inner(tree, entry, depth, found)
        if inner is None:
            continue
        found.nested[entry.path] = inner
        _ask(entry.path, seal, inner, found)


def _ask(path: str, seal: Seal, inner: SignedArtifact, found: _Findings) -> None:
    """Note whether the list gives the very code by its hash, or what it asks of its signer."""
    state = inner.layout
    code = state.code if isinstance(state, BundleState) else BundleCode(artifact=inner)
    if code is None:
        return  # unsigned, and said to be
    try:
        requirement = read_demand(seal.requirement)
    except BadInputError as error:
        found.all.append(replace(error.finding, subject=f"{path}, requirement"))
        return
    if code.hashes and code.hashes <= known_hashes(requirement) | {seal.cdhash}:
        found.vouched.add(path)
    else:
        found.demands[path] = demand_of(requirement, code)


def _inner(tree: Tree, entry: TreeEntry, depth: int, found: _Findings) -> SignedArtifact | None:
    """Return nested code: a bundle, or a program; None where it cannot be read."""
    try:
        if entry.kind == "directory":
            inside = Subtree(tree, entry.path)
            return _parse(inside, find_layout(inside), depth + 1)
        return open_code(tree.open(entry.path), {}).artifact
    except BadInputError as error:
        found.all.append(replace(error.finding, subject=f"{entry.path}, {error.finding.subject}"))
        return None


def _other_versions(
    tree: Tree, layout: Layout, code: BundleCode, depth: int, found: _Findings
) -> None:
    """Parse a framework's versions but for the current one (``validateOtherVersions``).

    No list speaks of them: each must be of the current one's signer.  Raises ``LimitError``.
    """
    entries = by_path(tree)
    if not layout.base.startswith("Versions/") or layout.base != _current_base(entries):
        return
    versions = [path for path, entry in entries.items()
                if entry.kind == "directory" and path.startswith("Versions/")
                and path.count("/") == 1 and f"{path}/" != layout.base]  # fmt: skip
    if len(versions) >= MAX_VERSIONS:
        raise LimitError(tree.name, f"{len(versions) + 1} versions", f"at most {MAX_VERSIONS}")
    for path in versions:
        try:
            other = _parse(tree, find_layout(tree, path.partition("/")[2]), depth + 1)
            found.nested[path] = other
            if isinstance(other.layout, BundleState) and other.layout.code is not None:
                asked = read_demand(designated_text(code))
                found.demands[path] = demand_of(asked, other.layout.code)
        except BadInputError as error:
            found.all.append(replace(error.finding, subject=f"{path}, {error.finding.subject}"))


def _current_base(entries: Mapping[str, TreeEntry]) -> str:
    return f"Versions/{current_version(entries)}/"


def _ticket(
    tree: Tree,
    layout: Layout,
    entries: Mapping[str, TreeEntry],
    code: BundleCode,
    found: _Findings,
) -> ClaimedSignature | None:
    """Read a stapled ticket, if there is one, and see that it speaks of this code."""
    path = layout.base + TICKET
    entry = entries.get(path)
    if entry is None:
        return None
    if entry.kind == "link" and resolve(entries, path) == layout.list_path:
        return None
    data = read_whole(tree.open(path), MAX_TICKET) if entry.kind == "file" else b""
    stapled = read_stapled(data or b"\0", code.hashes, "code directory")
    found.all += stapled.findings
    return stapled.ticket


class _Named:
    """A source under another name: findings speak of the bundle, not of its program."""

    __slots__ = ("_source", "length", "name")

    def __init__(self, source: Source, name: str) -> None:
        self._source, self.name, self.length = source, name, source.length

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly ``size`` bytes at ``offset`` or raise ``MalformedError``."""
        return self._source.read(offset, size)

    def feed(self, ranges: Iterable[tuple[int, int]], hashers: Sequence[Hasher]) -> None:
        """Stream each ``(start, end)`` range through every hasher, in one pass."""
        self._source.feed(ranges, hashers)
