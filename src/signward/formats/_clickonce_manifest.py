"""ClickOnce manifests: which files a manifest speaks of, and the digests it gives them.

Sources: "ClickOnce Application Manifest" and "ClickOnce Deployment Manifest" (Microsoft
Learn).  A deployment manifest (.application, .vsto) names one application manifest; that one
names every assembly and file of the application.  Names are relative to the folder of the
manifest that gives them, with a backslash between folders.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from signward.envelopes.xmldsig import digest_method, ds
from signward.errors import LimitError, MalformedError
from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen
from signward.state import Companions, Slot, Source
from signward.wire import xmltree
from signward.wire.algorithms import COMPUTABLE

_ASM = "urn:schemas-microsoft-com:asm."
ASM1, ASM2 = f"{_ASM}v1", f"{_ASM}v2"
IDENTITY_TRANSFORM = "urn:schemas-microsoft-com:HashTransforms.Identity"

MAX_ENTRIES = 32_768
"""Files one manifest may name; the largest deployments have some thousands."""

MAX_APPLICATIONS = 16
"""Application manifests of one deployment, each read whole; real ones have one."""

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False, None: False}
"""XML Schema part 2, 3.2.2; nothing is false."""

_READ = frozenset({"file", "dependency", "dependentAssembly", "deployment"})
"""Elements that say what is installed."""

_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])\Z")
_NO_FILE_NAME = re.compile(r'[\x00-\x1f<>:"/\\|?*]')
"""What Windows takes for a device, and what it has no file names with (Win32, Naming Files)."""

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
    """Return the element that makes a manifest a deployment manifest, or None.

    Raises ``MalformedError`` for several.
    """
    found = [child for child in root if child.tag == f"{{{ASM2}}}deployment"]
    if len(found) > 1:
        raise MalformedError(WHAT, f"{len(found)} deployment elements", "one", CLAUSE)
    return found[0] if found else None


def mapping(root: Any) -> bool | None:
    """Return whether files are stored as ``.deploy``; None where no deployment says it.

    Raises ``MalformedError`` for what is no truth value.
    """
    deploys = deployment(root)
    if deploys is None:
        return None
    value = deploys.get("mapFileExtensions")
    if value not in _BOOLEANS:
        raise MalformedError(WHAT, f"mapFileExtensions {value[:40]!r}", "true or false", CLAUSE)
    return _BOOLEANS[value]


def entries(root: Any) -> list[Entry]:
    """Return every file that a manifest names.  Raises ``BadInputError``.

    Prerequisites (``dependencyType="preRequisite"``, and Win32 assemblies without a place) are
    the machine's, not the application's.
    """
    _check_places(root)
    deploys = deployment(root) is not None
    found = list(_entries(root, deploys))
    if len(found) > MAX_ENTRIES:
        raise LimitError(WHAT, f"{len(found)} files", f"at most {MAX_ENTRIES}")
    names = Counter(entry.name.casefold() for entry in found)
    for name, count in names.most_common(1):
        if count > 1:
            raise MalformedError(WHAT, f"{count} entries for {name[:120]!r}", "one for each file",
                                 CLAUSE)  # fmt: skip
    applications = sum(entry.manifest for entry in found)
    if deploys and not applications:
        raise MalformedError(WHAT, "a deployment of no application", "one", CLAUSE)
    if applications > MAX_APPLICATIONS:
        raise LimitError(WHAT, f"{applications} applications", f"at most {MAX_APPLICATIONS}")
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


def _check_places(root: Any) -> None:
    """Refuse what some reader takes for a file, and this one would pass over.

    Such elements stand below the root, a ``dependentAssembly`` below a ``dependency`` there;
    deeper down, another vocabulary may have elements of those names.
    """
    for element in root.iter("*"):
        name = xmltree.local(element)
        if name not in _READ:
            continue
        above = element.getparent()
        if name == "dependentAssembly" and above is not None:
            above = above.getparent() if xmltree.local(above) == "dependency" else None
        spaces = (ASM2,) if name == "deployment" else (ASM1, ASM2)
        placed = above is root
        ours = not element.tag.startswith("{") or element.tag.startswith(f"{{{_ASM}")
        if (placed or ours) and not (placed and element.tag in {f"{{{s}}}{name}" for s in spaces}):
            raise MalformedError(WHAT, f"the element {element.tag[:120]}",
                                 f"it in {spaces[-1]}, below the assembly", CLAUSE)  # fmt: skip


def _is_installed(assembly: Any) -> bool:
    kind = assembly.get("dependencyType", "")
    return kind != "preRequisite" and (kind == "install" or assembly.get("codebase") is not None)


def _entry(element: Any, name: str | None, *, deploys: bool) -> Entry:
    if not name:
        raise MalformedError(WHAT, f"a {xmltree.local(element)} without a name", "one", CLAUSE)
    path = _path(name)
    algorithm, digest = _hash(element)
    above = element.getparent()
    return Entry(
        name=path,
        algorithm=algorithm,
        digest=digest,
        element=element,
        optional=not deploys and "true" in (element.get("optional"), above.get("optional")),
        manifest=deploys,
    )


def _path(name: str) -> str:
    """Return a file's name with ``/`` between folders.

    Raises ``MalformedError`` for one that leaves the folder (ClickOnce takes names for URIs:
    escaped ones too), that Windows has no file of, or that it shortens to another one's.
    """
    path = name.replace("\\", "/")
    for segment in path.split("/"):
        device = _DEVICE.match(segment.partition(".")[0].rstrip(" ").lower())
        plain = unquote(segment)
        if device or any(
            not one or one.endswith((".", " ")) or _NO_FILE_NAME.search(one)
            for one in (segment, plain)
        ):
            raise MalformedError(
                WHAT, f"a file named {name[:120]!r}", "one below its folder", CLAUSE,
                hint="Windows refuses the name, or finds another file",
            )  # fmt: skip
    return path


def _hash(element: Any) -> tuple[str, bytes]:
    """Return algorithm and digest in a ``hash`` element; empty where there is none.

    Its one transform is the identity: the digest is over the file's bytes.
    """
    found = list(element.iterchildren(f"{{{ASM2}}}hash", f"{{{ASM1}}}hash"))
    if not found:
        return "", b""
    if len(found) > 1:
        raise MalformedError(WHAT, "two hashes of one file", "one", CLAUSE)
    parts = xmltree.elements(found[0], WHAT)
    names = [part.tag for part in parts]
    transformed = names[:1] == [ds("Transforms")]
    if names[transformed:] != [ds("DigestMethod"), ds("DigestValue")]:
        raise MalformedError(WHAT, f"a hash of {', '.join(map(xmltree.local, parts[:6]))}",
                             "Transforms, DigestMethod, DigestValue", CLAUSE)  # fmt: skip
    for transform in xmltree.elements(parts[0], WHAT) if transformed else ():
        stands = (transform.tag, transform.get("Algorithm"), len(transform))
        if stands != (ds("Transform"), IDENTITY_TRANSFORM, 0):
            raise MalformedError(WHAT, f"transform {transform.get('Algorithm', '')[:120]!r}",
                                 IDENTITY_TRANSFORM, CLAUSE)  # fmt: skip
    return digest_method(parts[-2], WHAT), xmltree.octets(parts[-1], WHAT)


def asked_identities(entry: Entry) -> list[Any]:
    """Return the identities that an entry asks of its assembly; one, where it is well made."""
    return list(
        entry.element.iterchildren(f"{{{ASM1}}}assemblyIdentity", f"{{{ASM2}}}assemblyIdentity")
    )


def difference(asked: Any, own: Any) -> str:
    """Return an attribute that is asked for and that an identity has not; empty without one."""
    wanted = asked.attrib.items()
    return next((n for n, value in wanted if own.get(n, "").lower() != value.lower()), "")


def slot_name(path: str) -> str:
    """Return the slot of a file, by its name relative to the judged manifest."""
    return f"file:{path}"


def cover(root: Any, companions: Companions | None) -> Coverage:
    """Return slots for every file a manifest names, and for those its own manifest names.

    Raises ``BadInputError``.
    """
    mapped = mapping(root)
    builder = _Builder(companions)
    for entry in entries(root):
        source = builder.add(entry, "", mapped=False if entry.manifest else mapped)
        if source is None or not entry.manifest:
            continue
        folder = entry.name.rpartition("/")[0]
        data = _whole(source)
        if not _is_current(entry, data):
            continue  # integrity says so; what it names is nobody's word
        inner = application(data, entry.name)
        builder.compare(entry, inner)
        for below in entries(inner):
            builder.add(below, f"{folder}/" if folder else "", mapped=mapped)
    return builder.coverage()


def application(data: bytes, name: str) -> Any:
    """Return the root of an application manifest.  Raises ``BadInputError``."""
    root = xmltree.parse(data, name).getroot()
    if root.tag != f"{{{ASM1}}}assembly" or deployment(root) is not None:
        raise MalformedError(name, f"the root {xmltree.local(root)}", "an application's assembly",
                             CLAUSE)  # fmt: skip
    return root


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
        self._contradictions: list[Finding] = []

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

    def compare(self, entry: Entry, inner: Any) -> None:
        """Report an application that is not the one the deployment asks for, as ClickOnce does."""
        own = identity(inner)
        for asked in asked_identities(entry):
            if name := difference(asked, own):
                self._contradictions.append(_other(entry, name, own.get(name, "none"), asked))

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
            findings=(*self._contradictions, *self._findings[:MAX_MISSING]),
        )


MAX_MISSING = 16
"""Missing files reported; the rest would say the same again."""


def _other(entry: Entry, name: str, found: str, asked: Any) -> Finding:
    return Finding(
        code=Code.ATTRIBUTE_RULE,
        effect=Effect.REJECT,
        subject=entry.name,
        found=f"{name[:40]} {found[:120]!r}",
        required=f"{asked.get(name)[:120]!r}, as the deployment has it",
        clause=CLAUSE,
    )


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
