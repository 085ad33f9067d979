"""Signing a bundle: what is signed in which order, and the list its executable then covers.

Inside out: nested code first, since the list around it holds its code directory's hash.  Who
drives it (``verbs.sign_bundle``) works on a copy of the folder, and asks anew after each step,
for what was signed has changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from signward.errors import NotSignableError
from signward.findings import Effect
from signward.formats import Match, ParseOptions, Peek, Request, Signing, peek_at
from signward.formats._apple_options import FILE_OPTIONS, OPTIONS
from signward.formats._bundle_code import (
    INFO,
    RESOURCES,
    BundleCode,
    designated_text,
    open_code,
)
from signward.formats._bundle_layout import (
    Layout,
    by_path,
    check_link,
    is_bundle,
    read_whole,
)
from signward.formats._bundle_survey import FORKS, Survey, survey
from signward.formats._code_resources import (
    Resources,
    Sealed,
    read_rules,
    standard_rules,
    write_resources,
)
from signward.formats._macho_sign import place, read_rooms, read_sites, sign_sites
from signward.formats.macho import FORMAT as MACHO
from signward.formats.macho import MachoLayout
from signward.state import Manifest, SignedArtifact, Source, Tree, TreeEntry, Wanted
from signward.wire.macho import is_thin, is_universal
from signward.wire.patch import PatchSet
from signward.wire.tree import Subtree

OF_ONE = frozenset({"identifier", "entitlements", "requirements"})
"""Options that speak of one piece of code: of what a bundle holds, none is asked for by them."""


class Program:
    """A program of a bundle as a format that signs.

    ``parts`` are the files beside it that its slots cover: the main executable's property list
    and list.  ``nested`` code takes only those options that can be meant for all.
    """

    name = "bundle"
    spec = MACHO.spec
    extensions: tuple[str, ...] = ()
    file_options = FILE_OPTIONS

    def __init__(self, parts: Mapping[int, bytes], *, nested: bool) -> None:
        self._parts = parts
        self.options: Mapping[str, str] = {
            name: told for name, told in OPTIONS.items() if not (nested and name in OF_ONE)
        }

    def recognise(self, peek: Peek) -> Match:
        """Answer as for any Mach-O."""
        return MACHO.recognise(peek)

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Find the signatures, which speak of the bundle's files too."""
        return open_code(source, self._parts).artifact

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute digests as for any Mach-O."""
        return MACHO.digests(artifact, wanted)

    def sign(self, source: Source, request: Request) -> Signing:
        """Sign every slice."""
        return sign_sites(source, request, parts=self._parts)

    def envelopes(self, source: Source) -> tuple[bytes, ...]:
        """Return each slice's superblob with the room behind it."""
        return read_rooms(source)

    def embed(self, source: Source, envelopes: tuple[bytes, ...]) -> PatchSet:
        """Give each slice its superblob; none takes all away."""
        return place(source, read_sites(source), envelopes)


def planned(tree: Tree, layout: Layout) -> Survey:
    """Sort a folder by the rules its new list will have."""
    return survey(tree, layout, _rules(layout))


def _rules(layout: Layout) -> Resources:
    """Return the rules that a new list will have, with nothing sealed by them yet."""
    return Resources(seals={}, rules=read_rules(standard_rules(layout.localized)[1]))


def nested_bundles(tree: Tree, there: Survey) -> Iterator[str]:
    """Yield the folders of nested code.  Raises ``NotSignableError`` for one that is no bundle."""
    for entry in there.nested.values():
        if not is_bundle(Subtree(tree, entry.path)):
            raise NotSignableError(
                entry.path, "a folder with a dot in its name where code lies", "a bundle",
                hint="move it to Resources, or rename it",
            )  # fmt: skip
        yield entry.path


def nested_code(tree: Tree, layout: Layout, there: Survey) -> Iterator[str]:
    """Yield the programs and libraries that lie where code does, outside of nested bundles."""
    rules = _rules(layout)
    for path, entry in there.present.items():
        rule = rules.rule_for(path)
        if rule is not None and rule.nested and entry.kind == "file" and _is_code(tree, entry.path):
            yield entry.path


def _is_code(tree: Tree, path: str) -> bool:
    source = tree.open(path)
    head = peek_at(source).head if source.length else b""
    return is_thin(head) or is_universal(head)


def is_signed(source: Source) -> bool:
    """Say whether a program carries a signature by somebody.  Raises ``BadInputError``."""
    return bool(open_code(source, {}).artifact.signatures)


def new_list(tree: Tree, layout: Layout) -> bytes:
    """Return the list of a folder whose nested code is signed.

    Raises ``NotSignableError`` for what no list can cover, ``BadInputError`` for bad code.
    """
    there = planned(tree, layout)
    entries = by_path(tree)
    for entry in there.other.values():
        raise NotSignableError(entry.path, "neither a file, a folder nor a link", "one of them")
    inside = set(nested_code(tree, layout, there))
    rules = _rules(layout)
    sealed = []
    for entry in there.present.values():
        path = entry.path[len(layout.base) :]
        rule = rules.rule_for(path)
        optional = rule is not None and rule.optional
        if entry.kind == "link":
            _check_link(entries, entry)
            sealed.append(Sealed(path=path, target=entry.target, optional=optional))
        elif entry.path in inside:
            sealed.append(_code(path, open_code(tree.open(entry.path), {})))
        else:
            sealed.append(_file(tree, entry, path, optional=optional))
    sealed += (_bundle(tree, layout, path) for path in nested_bundles(tree, there))
    return write_resources(sealed, layout.localized)


def _file(tree: Tree, entry: TreeEntry, path: str, *, optional: bool) -> Sealed:
    _check_forks(tree, entry)
    source = tree.open(entry.path)
    hashers = [hashlib.sha1(usedforsecurity=False), hashlib.sha256()]
    source.feed([(0, source.length)], hashers)
    sha1, sha256 = (hasher.digest() for hasher in hashers)
    return Sealed(path=path, sha1=sha1, sha256=sha256, optional=optional)


def _check_link(entries: Mapping[str, TreeEntry], entry: TreeEntry) -> None:
    stray = check_link(entries, entry.path)
    if stray is not None and stray.effect is Effect.REJECT:
        raise NotSignableError(entry.path, stray.found, stray.required)


def _check_forks(tree: Tree, entry: TreeEntry) -> None:
    names = {name.removeprefix("user.") for name in tree.attributes(entry.path)}
    for name in sorted(names.intersection(FORKS)):
        raise NotSignableError(entry.path, f"the extended attribute {name}", "none",
                               hint="no signature covers it: take it off (xattr -c)")  # fmt: skip


def _bundle(tree: Tree, layout: Layout, path: str) -> Sealed:
    from signward.formats._bundle_tree import BundleState, parse_bundle  # it asks this module

    artifact = parse_bundle(Subtree(tree, path))
    state: BundleState = artifact.layout
    if state.code is None:
        raise NotSignableError(path, "a bundle without code, where code lies", "a main executable")
    return _code(path[len(layout.base) :], state.code)


def _code(path: str, code: BundleCode) -> Sealed:
    """Return the seal of nested code: its requirement, and its first slice's hash."""
    layout: MachoLayout = code.artifact.layout
    first = layout.code[0].signature
    if first is None:
        raise NotSignableError(path, "code without a signature", "one, where code lies")
    return Sealed(path=path, requirement=designated_text(code), cdhash=first.best.cdhash)


def main_program(tree: Tree, layout: Layout, *, nested: bool) -> tuple[Program, bytes]:
    """Return the main executable as it is to be signed, and the list that its signature covers.

    Raises ``NotSignableError`` for a bundle without code, and as `new_list` does.
    """
    if not layout.executable:
        raise NotSignableError(tree.name, "a bundle without code", "a main executable",
                               hint="Info.plist names it: CFBundleExecutable")  # fmt: skip
    listing = new_list(tree, layout)
    info = read_whole(tree.open(layout.info))
    return Program({INFO: info, RESOURCES: listing}, nested=nested), listing
