"""Open Packaging Conventions: parts, their content types and relationships, strictly read.

Source: ECMA-376 part 2, fifth edition ("OPC" in the clauses).  A package is a ZIP archive;
every member but ``[Content_Types].xml`` is a part.  Two readers must not see two packages: so
names differ in more than case and escapes, each has one content type, and a relationship one
identifier.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from signward.errors import AmbiguousError, LimitError, MalformedError
from signward.frozen import Frozen
from signward.state import Source
from signward.wire import xmltree
from signward.wire.unzip import check_expansion, read_member
from signward.wire.zip import ZipMember, read_directory, refuse_ambiguous

CONTENT_TYPES = "[Content_Types].xml"
_TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"
RELATIONSHIPS = "http://schemas.openxmlformats.org/package/2006/relationships"
RELATIONSHIPS_TYPE = "application/vnd.openxmlformats-package.relationships+xml"

MAX_PARTS = 65_536
"""Parts of a package; the largest extensions have some ten thousand."""

MAX_PART_XML = 16 * 1024 * 1024
"""Octets of a part that is read as XML."""

WHAT = "package"

_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", '"': "&quot;", "\t": "&#x9;", "\n": "&#xA;", "\r": "&#xD;"}
)
"""Characters of an attribute as canonical form writes them (Canonical XML 1.0 2.3)."""


class Relationship(Frozen, frozen=True, kw_only=True):
    """A relationship: from a part, or the package, to a part or something outside."""

    identifier: str
    type: str
    target: str
    external: bool


class Part(Frozen, frozen=True, kw_only=True):
    """A part: its name as it stands (with the slash in front) and where it lies."""

    name: str
    member: ZipMember


class Package(Frozen, frozen=True, kw_only=True):
    """A package; ``parts`` by their names' one form (see `key`)."""

    source: Source
    parts: Mapping[str, Part]
    defaults: Mapping[str, str]
    overrides: Mapping[str, str]

    def part(self, name: str) -> Part | None:
        """Return the part of a name, whatever its case and escapes."""
        return self.parts.get(key(name))

    def content_type(self, part: Part) -> str:
        """Return a part's content type; empty where nothing gives one (OPC 7.3.7)."""
        name = key(part.name)
        _, dot, extension = name.rpartition("/")[2].rpartition(".")
        return self.overrides.get(name) or (self.defaults.get(extension, "") if dot else "")

    def read(self, part: Part) -> bytes:
        """Return a part that is read as XML.  Raises ``BadInputError``."""
        return read_member(self.source, part.member, MAX_PART_XML)

    def relationships(self, of: str) -> tuple[Relationship, ...]:
        """Return the relationships of a part, or of the package (empty name)."""
        part = self.part(rels_name(of))
        if part is None:
            return ()
        if self.content_type(part) != RELATIONSHIPS_TYPE:
            raise MalformedError(part.name, f"content type {self.content_type(part)[:80]!r}",
                                 RELATIONSHIPS_TYPE, "OPC 6.5.2")  # fmt: skip
        return read_relationships(self.read(part), part.name)


def key(name: str) -> str:
    """Return the one form of a part's name: escapes resolved, lower case (OPC 6.2.2.3)."""
    return unquote(name).lower()


def rels_name(of: str) -> str:
    """Return the name of the part with a part's relationships (OPC 6.5.3)."""
    folder, _, name = of.rpartition("/")
    return f"{folder}/_rels/{name}.rels"


def source_of(rels: str) -> str | None:
    """Return whose relationships a part holds; None for a part that holds none."""
    folder, _, name = rels.rpartition("/")
    if not folder.endswith("/_rels") or not name.endswith(".rels"):
        return None
    return f"{folder.removesuffix('_rels')}{name.removesuffix('.rels')}" if name != ".rels" else ""


def resolve(of: str, target: str) -> str:
    """Return the name of the part that a relationship's target is (OPC 6.4)."""
    folder = of.rpartition("/")[0] + "/"
    name = posixpath.normpath(target if target.startswith("/") else folder + target)
    return "/" + name.lstrip("/")


def read_package(source: Source) -> Package:
    """Read a package's directory and content types.  Raises ``BadInputError``."""
    directory = read_directory(source)
    check_expansion(directory.members, source.length)
    if len(directory.members) > MAX_PARTS:
        raise LimitError(WHAT, f"{len(directory.members)} parts", f"at most {MAX_PARTS}")
    parts: dict[str, Part] = {}
    folders: list[str] = []
    types: ZipMember | None = None
    for member in directory.members:
        if member.name == CONTENT_TYPES:
            types = member
        elif member.directory and not member.size:
            folders.append(f"/{member.name.removesuffix('/')}")
        else:
            _add(parts, member)
    if types is None:
        raise MalformedError(WHAT, f"no {CONTENT_TYPES}", "one", "OPC 7.3.7")
    _check_folders(folders, parts)
    defaults, overrides = _content_types(read_member(source, types, MAX_PART_XML))
    refuse_ambiguous(directory)
    return Package(source=source, parts=parts, defaults=defaults, overrides=overrides)


def _add(parts: dict[str, Part], member: ZipMember) -> None:
    name = f"/{member.name}"
    if not _is_part_name(name):
        raise MalformedError(WHAT, f"a part named {name[:120]!r}", "a part name", "OPC 6.2.2.2")
    if name.lower().endswith((".piece", "/" + CONTENT_TYPES.lower())) or key(name) in parts:
        raise AmbiguousError(WHAT, f"another part named {name[:120]!r}", "each name once",
                             "OPC 6.2.2.3")  # fmt: skip
    parts[key(name)] = Part(name=name, member=member)


def _check_folders(folders: Sequence[str], parts: Mapping[str, Part]) -> None:
    """Refuse an empty folder that leads elsewhere, or stands where a part does: none is signed."""
    taken = {*parts, f"/{CONTENT_TYPES}".lower()}
    for name in folders:
        if not _is_part_name(name) or key(name) in taken:
            raise MalformedError(WHAT, f"a folder named {name[:120]!r}", "one of parts",
                                 "OPC 6.2.2.2")  # fmt: skip


def _is_part_name(name: str) -> bool:
    """Say whether a name leads to one part, whoever follows it (OPC 6.2.2.2)."""
    segments = name[1:].split("/")
    return (
        name.startswith("/")
        and "\\" not in name
        and not any(one in ("", ".", "..") or one.endswith(".") for one in segments)
    )


def _content_types(data: bytes) -> tuple[dict[str, str], dict[str, str]]:
    """Return content types by extension and by part name (OPC 7.3.7).

    An Override speaks of a part: a name with a slash at its end, or a query, is none, and some
    readers take it for the part without.
    """
    root = xmltree.parse(data, CONTENT_TYPES).getroot()
    if root.tag != f"{{{_TYPES}}}Types":
        raise MalformedError(CONTENT_TYPES, xmltree.local(root), "Types", "OPC 7.3.7")
    xmltree.attributes(root, (), CONTENT_TYPES)
    defaults: dict[str, str] = {}
    overrides: dict[str, str] = {}
    for element in xmltree.elements(root, CONTENT_TYPES):
        named = {f"{{{_TYPES}}}Default": "Extension", f"{{{_TYPES}}}Override": "PartName"}
        attribute = named.get(element.tag, "")
        found = xmltree.attributes(element, (attribute, "ContentType"), CONTENT_TYPES)
        name, kind = found.get(attribute, ""), found.get("ContentType", "")
        by_name = attribute == "PartName"
        wrong = not _is_override(name) if by_name else "/" in name
        if not name or not kind or wrong or len(element):
            raise MalformedError(
                CONTENT_TYPES, f"{attribute or 'an element'} {name[:120]!r}",
                "an extension or a part name, and a type", "OPC 7.3.7",
            )  # fmt: skip
        table = overrides if by_name else defaults
        if key(name) in table:
            raise AmbiguousError(CONTENT_TYPES, f"two types for {name[:120]!r}", "one", "OPC 7.3.7")
        table[key(name)] = kind
    return defaults, overrides


def _is_override(name: str) -> bool:
    """Say whether an Override's name is a part's, as it stands and with its escapes resolved."""
    plain = unquote(name)
    return (
        _is_part_name(name)
        and _is_part_name(plain)
        and plain.count("/") == name.count("/")
        and name == name.strip()
        and not {"?", "#"} & set(name)
    )


def read_relationships(data: bytes, what: str) -> tuple[Relationship, ...]:
    """Return the relationships in a part (OPC 6.5.3).  Raises ``BadInputError``."""
    root = xmltree.parse(data, what).getroot()
    if root.tag != f"{{{RELATIONSHIPS}}}Relationships":
        raise MalformedError(what, xmltree.local(root), "Relationships", "OPC 6.5.3")
    xmltree.attributes(root, (), what)  # no selection signs a base for the targets
    found = [_relationship(element, what) for element in xmltree.elements(root, what)]
    if len({one.identifier for one in found}) < len(found):
        raise AmbiguousError(what, "two relationships of one Id", "each Id once", "OPC 6.5.3.4")
    return tuple(found)


def _relationship(element: Any, what: str) -> Relationship:
    if element.tag != f"{{{RELATIONSHIPS}}}Relationship":
        raise MalformedError(what, xmltree.local(element), "Relationship", "OPC 6.5.3.4")
    found = xmltree.attributes(element, ("Id", "Type", "Target", "TargetMode"), what)
    mode = found.get("TargetMode", "Internal")
    complete = all(found.get(name) for name in ("Id", "Type", "Target"))
    if not complete or mode not in ("Internal", "External") or len(element):
        raise MalformedError(what, "a relationship without Id, Type or Target", "all three",
                             "OPC 6.5.3.4")  # fmt: skip
    return Relationship(
        identifier=found["Id"],
        type=found["Type"],
        target=found["Target"],
        external=mode == "External",
    )


def transformed(relationships: tuple[Relationship, ...]) -> bytes:
    """Return what the relationships transform makes of some relationships (OPC 10.5.8).

    Sorted by Id, the target mode spelled out, in canonical form.
    """
    rows = "".join(
        f'<Relationship Id="{one.identifier.translate(_ESCAPES)}"'
        f' Target="{one.target.translate(_ESCAPES)}"'
        f' TargetMode="{"External" if one.external else "Internal"}"'
        f' Type="{one.type.translate(_ESCAPES)}"></Relationship>'
        for one in sorted(relationships, key=_by_identifier)
    )
    return f'<Relationships xmlns="{RELATIONSHIPS}">{rows}</Relationships>'.encode()


def _by_identifier(relationship: Relationship) -> bytes:
    """Order as .NET's ordinal comparison does: by UTF-16 code units."""
    return relationship.identifier.encode("utf-16-be", "surrogatepass")
