"""ClickOnce manifests: which files a manifest speaks of, and the digests it gives them.

Sources: "ClickOnce Application Manifest" and "ClickOnce Deployment Manifest" (Microsoft
Learn).  A deployment manifest (.application, .vsto) names one application manifest; that one
names every assembly and file of the application.  Names are relative to the folder of the
manifest that gives them, with a backslash between folders.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from signward.envelopes.xmldsig import digest_method, ds
from signward.errors import LimitError, MalformedError
from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen
from signward.state import Companions, Slot, Source
from signward.wire import xmltree
from signward.wire.algorithms import COMPUTABLE

ASM1 = "urn:schemas-microsoft-com:asm.v1"
ASM2 = "urn:schemas-microsoft-com:asm.v2"
IDENTITY_TRANSFORM = "urn:schemas-microsoft-com:HashTransforms.Identity"

MAX_ENTRIES = 32_768
"""Files one manifest may name; the largest deployments have some thousands."""

DEPLOY = ".deploy"
"""What is behind a file's name on a web server that serves no programs."""

WHAT = "manifest"
CLAUSE = "ClickOnce Application Manifest"


class Entry(Frozen, frozen=True, kw_only=True):
    """A file that a manifest names, ``/`` between folders; no digest where it gives none.

    ``manifest`` marks the application manifest of a deployment; ``element`` is where it stands.
    """

    name: str
    algorithm: str
    digest: bytes
    element: Any
    optional: bool = False
    manifest: bool = False


class Coverage(Frozen, frozen=True, kw_only=True):
    """What the files beside a manifest come to: slots, where their bytes are, what is not there."""

    slots: tuple[Slot, ...] = ()
    required: frozenset[str] = frozenset()
    sources: dict[str, Source]
    findings: tuple[Finding, ...] = ()


def identity(root: Any) -> Any:
    """Return a manifest's own assemblyIdentity.  Raises ``MalformedError``."""
    found = [child for child in root if child.tag == f"{{{ASM1}}}assemblyIdentity"]
    if len(found) != 1:
        raise MalformedError(WHAT, f"{len(found)} assemblyIdentity elements", "one", CLAUSE)
    return found[0]


def signatures(root: Any) -> list[Any]:
    """Return the Signature elements directly below the root."""
    return [child for child in root if child.tag == ds("Signature")]


def deployment(root: Any) -> Any | None:
    """Return the element that makes a manifest a deployment manifest, or None."""
    return next((child for child in root if child.tag == f"{{{ASM2}}}deployment"), None)


def entries(root: Any) -> list[Entry]:
    """Return every file that a manifest names.  Raises ``BadInputError``.

    Prerequisites (``dependencyType="preRequisite"``, and Win32 assemblies without a place) are
    the machine's, not the application's.
    """
    deploys = deployment(root) is not None
    found = list(_entries(root, deploys))
    if len(found) > MAX_ENTRIES:
        raise LimitError(WHAT, f"{len(found)} files", f"at most {MAX_ENTRIES}")
    names = [entry.name.casefold() for entry in found]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise MalformedError(WHAT, f"two entries for {twice[:120]!r}", "one for each file", CLAUSE)
    return found


def _entries(root: Any, deploys: bool) -> Iterator[Entry]:  # noqa: FBT001 - the kind
    for child in root:
        if child.tag in (f"{{{ASM1}}}file", f"{{{ASM2}}}file"):
            yield _entry(child, child.get("name"), deploys=False)
        elif child.tag in (f"{{{ASM1}}}dependency", f"{{{ASM2}}}dependency"):
            for assembly in child.iterchildren(
                f"{{{ASM1}}}dependentAssembly", f"{{{ASM2}}}dependentAssembly"
            ):
                if _is_installed(assembly):
                    yield _entry(assembly, assembly.get("codebase"), deploys=deploys)


def _is_installed(assembly: Any) -> bool:
    kind = assembly.get("dependencyType", "")
    return kind != "preRequisite" and (kind == "install" or assembly.get("codebase") is not None)


def _entry(element: Any, name: str | None, *, deploys: bool) -> Entry:
    if not name:
        raise MalformedError(WHAT, f"a {xmltree.local(element)} without a name", "one", CLAUSE)
    algorithm, digest = _hash(element)
    above = element.getparent()
    return Entry(
        name=name.replace("\\", "/"),
        algorithm=algorithm,
        digest=digest,
        element=element,
        optional="true" in (element.get("optional"), above.get("optional")),
        manifest=deploys,
    )


def _hash(element: Any) -> tuple[str, bytes]:
    """Return algorithm and digest in a ``hash`` element; empty where there is none.

    Its one transform is the identity: the digest is over the file's bytes.
    """
    found = list(element.iterchildren(f"{{{ASM2}}}hash", f"{{{ASM1}}}hash"))
    if not found:
        return "", b""
    if len(found) > 1:
        raise MalformedError(WHAT, "two hashes of one file", "one", CLAUSE)
    parts = {part.tag: part for part in xmltree.elements(found[0], WHAT)}
    for transforms in [parts.get(ds("Transforms"))] * (ds("Transforms") in parts):
        for transform in xmltree.elements(transforms, WHAT):
            if transform.get("Algorithm") != IDENTITY_TRANSFORM or len(transform):
                raise MalformedError(WHAT, f"transform {transform.get('Algorithm', '')[:120]!r}",
                                     IDENTITY_TRANSFORM, CLAUSE)  # fmt: skip
    if not {ds("DigestMethod"), ds("DigestValue")} <= parts.keys():
        raise MalformedError(WHAT, "a hash without method or value", "both", CLAUSE)
    method, value = parts[ds("DigestMethod")], parts[ds("DigestValue")]
    return digest_method(method, WHAT), xmltree.octets(value, WHAT)


def slot_name(path: str) -> str:
    """Return the slot of a file, by its name relative to the judged manifest."""
    return f"file:{path}"


def cover(root: Any, companions: Companions | None) -> Coverage:
    """Return slots for every file a manifest names, and for those its own manifest names.

    Raises ``BadInputError``.
    """
    deploys = deployment(root)
    mapped = None if deploys is None else deploys.get("mapFileExtensions") == "true"
    builder = _Builder(companions)
    for entry in entries(root):
        source = builder.add(entry, "", mapped=False if entry.manifest else mapped)
        if source is None or not entry.manifest:
            continue
        folder = entry.name.rpartition("/")[0]
        data = _whole(source)
        if not _is_current(entry, data):
            continue  # integrity says so; what it names is nobody's word
        inner = xmltree.parse(data, entry.name).getroot()
        for below in entries(inner):
            builder.add(below, f"{folder}/" if folder else "", mapped=mapped)
    return builder.coverage()


def _whole(source: Source) -> bytes:
    if source.length > xmltree.MAX_XML:
        raise LimitError(source.name, f"{source.length} bytes", f"at most {xmltree.MAX_XML}")
    return source.read(0, source.length)


def _is_current(entry: Entry, data: bytes) -> bool:
    if entry.algorithm not in COMPUTABLE:
        return False
    return hashlib.new(entry.algorithm, data, usedforsecurity=False).digest() == entry.digest


class _Builder:
    """Collects slots; a file that cannot be looked at becomes a finding."""

    def __init__(self, companions: Companions | None) -> None:
        self._companions = companions
        self._slots: list[Slot] = []
        self._required: set[str] = set()
        self._sources: dict[str, Source] = {}
        self._findings: list[Finding] = []

    def add(self, entry: Entry, folder: str, *, mapped: bool | None) -> Source | None:
        """Add an entry's slots; ``mapped`` says whether files are stored as ``.deploy``.

        None: nobody said, so whichever is there is compared, and both where both are.
        """
        path = folder + entry.name
        self._required.add(slot_name(path))
        suffixes = ("", DEPLOY) if mapped is None else (DEPLOY if mapped else "",)
        found = [source for suffix in suffixes if (source := self._find(path + suffix))]
        if not entry.digest:
            return None  # integrity says so: required, and no slot
        if found:
            for number, source in enumerate(found):
                self._slot(slot_name(path) + DEPLOY * number, entry, source)
            return found[0]
        self._required.discard(slot_name(path))
        if not entry.optional:
            self._findings.append(_missing(path, suffixes))
        return None

    def _find(self, path: str) -> Source | None:
        return self._companions.find(path) if self._companions is not None else None

    def _slot(self, name: str, entry: Entry, source: Source) -> None:
        self._slots.append(Slot(name=name, algorithm=entry.algorithm, digest=entry.digest))
        self._sources[name] = source

    def coverage(self) -> Coverage:
        return Coverage(
            slots=tuple(self._slots),
            required=frozenset(self._required),
            sources=self._sources,
            findings=tuple(self._findings[:MAX_MISSING]),
        )


MAX_MISSING = 16
"""Missing files reported; the rest would say the same again."""


def _missing(path: str, suffixes: tuple[str, ...]) -> Finding:
    return Finding(
        code=Code.COMPANION_MISSING,
        effect=Effect.UNKNOWN,
        subject=path,
        found="no such file beside the manifest",
        required="it" if suffixes == ("",) else "it, there as " + " or ".join(
            path.rpartition("/")[2] + suffix for suffix in suffixes
        ),
        clause=CLAUSE,
        hint="what was signed includes this file: judge the manifest where it is deployed",
    )  # fmt: skip
