"""AppLocker's XML as plain values: written, and read back.

Sources: the schema ``AppLocker.xsd`` of Windows; Microsoft Learn, "AppLocker rules".  A rule has
one condition and may have exceptions; its Id is a GUID without braces, unique in the policy; all
five attributes are there.  A hash is ``0x`` and hexadecimal digits, of type SHA256 (Authenticode's,
of what has one) or SHA256Flat (of the whole file).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.parsers import expat

from signward.compilers._xml import Tag, document, tag
from signward.errors import PolicyError
from signward.frozen import Frozen

EVERYONE = "S-1-1-0"
ANY = "*"

MAX_OCTETS = 64 * 1024 * 1024
"""Largest policy read: 100,000 rules of some hundred octets."""
MAX_ELEMENTS = 1 << 20
MAX_DEPTH = 16


class Publisher(Frozen, frozen=True, kw_only=True):
    """FilePublisherCondition: ``*`` for any; versions are included at both ends."""

    publisher: str
    product: str = ANY
    binary: str = ANY
    low: str = ANY
    high: str = ANY


class Path(Frozen, frozen=True, kw_only=True):
    """FilePathCondition: ``*`` stands for any characters."""

    path: str


class Hash(Frozen, frozen=True, kw_only=True):
    """FileHashCondition: hashes as ``(type, lower-case hexadecimal)``, any of which will do."""

    hashes: tuple[tuple[str, str], ...]


Condition = Publisher | Path | Hash


class LockerRule(Frozen, frozen=True, kw_only=True):
    """A rule of a collection.  ``id`` is a GUID in lower case."""

    id: str
    name: str
    description: str
    allow: bool
    condition: Condition
    exceptions: tuple[Condition, ...] = ()
    user: str = EVERYONE


class Collection(Frozen, frozen=True, kw_only=True):
    """A RuleCollection: its Type, its EnforcementMode and its rules."""

    type: str
    mode: str
    rules: tuple[LockerRule, ...]


def write_locker(collections: tuple[Collection, ...]) -> bytes:
    """Return the policy's XML (UTF-8, LF)."""
    return document(tag("AppLockerPolicy", *map(_collection, collections), Version="1"))


def _collection(collection: Collection) -> Tag:
    rules = map(_rule, collection.rules)
    attributes = {"Type": collection.type, "EnforcementMode": collection.mode}
    return tag("RuleCollection", *rules, **attributes)


_RULES = {Publisher: "FilePublisherRule", Path: "FilePathRule", Hash: "FileHashRule"}


def _rule(rule: LockerRule) -> Tag:
    """Return a rule; its Description stands there even when it is empty."""
    action = "Allow" if rule.allow else "Deny"
    attributes = (("Id", rule.id), ("Name", rule.name), ("Description", rule.description),
                  ("UserOrGroupSid", rule.user), ("Action", action))  # fmt: skip
    children = [tag("Conditions", _condition(rule, rule.condition))]
    if rule.exceptions:
        excepted = (_condition(rule, one) for one in rule.exceptions)
        children.append(tag("Exceptions", *excepted))
    name = _RULES[type(rule.condition)]
    return Tag(name=name, attributes=attributes, children=tuple(children))


def _condition(rule: LockerRule, condition: Condition) -> Tag:
    """Return a condition; beside a hash the rule's name stands for its file's.

    Not every reader bears that neither name nor length is there.
    """
    if isinstance(condition, Path):
        return tag("FilePathCondition", Path=condition.path)
    if isinstance(condition, Hash):
        source = {"SourceFileName": rule.name, "SourceFileLength": "0"}
        return tag("FileHashCondition", *(
            tag("FileHash", Type=kind, Data=f"0x{value.upper()}", **source)
            for kind, value in condition.hashes
        ))  # fmt: skip
    return tag(
        "FilePublisherCondition",
        tag("BinaryVersionRange", LowSection=condition.low, HighSection=condition.high),
        PublisherName=condition.publisher,
        ProductName=condition.product,
        BinaryName=condition.binary,
    )


def places(path: str) -> tuple[str, ...]:
    """Return a path as it is, but both folders that AppLocker's ``%SYSTEM32%`` stands for."""
    head, variable, rest = path[:10], "%SYSTEM32%", path[10:]
    if head.upper() != variable:
        return (path,)
    return f"%WINDIR%\\System32{rest}", f"%WINDIR%\\SysWOW64{rest}"


class _Element:
    """An element as read: name, attributes, children."""

    __slots__ = ("attributes", "children", "name")

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name, self.attributes = name, attributes
        self.children: list[_Element] = []


def read_locker(source: str, data: bytes) -> tuple[Collection, ...]:
    """Return the collections of a policy.  ``source`` is told in messages.

    Raises ``PolicyError`` for bytes that are no such policy: a document type declaration, broken
    XML, more or deeper elements than the bounds allow, extensions that change what rules mean.
    """
    root = _Parser(source).parsed(data)
    if root.name != "AppLockerPolicy":
        raise PolicyError(source, f"root {root.name[:80]!r}", "AppLockerPolicy")
    reading = _Reading(source)
    collections = tuple(reading.collection(element) for element in root.children)
    types = [collection.type for collection in collections]
    if len(set(types)) != len(types):
        raise PolicyError(source, "a collection twice", "every Type once")
    return collections


class _Parser:
    """Makes elements as expat meets them; text is passed over, for a policy has none."""

    def __init__(self, source: str) -> None:
        self._source, self._count = source, 0
        self._stack = [_Element("", {})]

    def parsed(self, data: bytes) -> _Element:
        top = self._stack[0]
        if len(data) > MAX_OCTETS:
            raise PolicyError(self._source, f"{len(data)} octets", f"at most {MAX_OCTETS}")
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        try:  # a codec that is not known is a LookupError
            parser.Parse(data, True)  # noqa: FBT003 - expat's "final"
        except (expat.ExpatError, LookupError, ValueError) as error:
            raise PolicyError(self._source, str(error), "AppLocker's XML") from None
        return top.children[0]

    def _doctype(self, *_: object) -> None:
        raise PolicyError(self._source, "a document type declaration", "none")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > MAX_ELEMENTS or len(self._stack) > MAX_DEPTH:
            raise PolicyError(self._source, "more or deeper elements", "those of a policy")
        element = _Element(name, attributes)
        self._stack[-1].children.append(element)
        self._stack.append(element)

    def _end(self, _name: str) -> None:
        self._stack.pop()


_DATA = re.compile(r"0x([0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})\Z")
_GUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\Z")
_HASHES = ("SHA256", "SHA256Flat", "SHA1")


class _Reading:
    """Reads elements into values."""

    def __init__(self, source: str) -> None:
        self._source = source

    def collection(self, element: _Element) -> Collection:
        if element.name != "RuleCollection":
            raise self._error("", f"{element.name[:80]}", "RuleCollection")
        mode = element.attributes.get("EnforcementMode", "NotConfigured")
        if mode not in ("NotConfigured", "Enabled", "AuditOnly"):
            raise self._error("EnforcementMode", repr(mode[:80]), "one that there is")
        return Collection(
            type=self._attribute(element, "Type"),
            mode=mode,
            rules=tuple(self._rule(child) for child in element.children),
        )

    def _rule(self, element: _Element) -> LockerRule:
        if element.name not in _RULES.values():
            raise self._error(element.name[:80], "an extension", "rules alone")
        identifier = self._attribute(element, "Id")
        action = self._attribute(element, "Action")
        conditions = list(self._conditions(element, "Conditions"))
        if not _GUID.match(identifier) or action not in ("Allow", "Deny") or len(conditions) != 1:
            raise self._error(identifier, "no rule", "a GUID, Allow or Deny, and one condition")
        return LockerRule(
            id=identifier.casefold(),
            name=self._attribute(element, "Name"),
            description=element.attributes.get("Description", ""),
            allow=action == "Allow",
            condition=conditions[0],
            exceptions=tuple(self._conditions(element, "Exceptions")),
            user=self._attribute(element, "UserOrGroupSid"),
        )

    def _conditions(self, rule: _Element, group: str) -> Iterator[Condition]:
        for element in rule.children:
            if element.name == group:
                yield from map(self._condition, element.children)

    def _condition(self, element: _Element) -> Condition:
        if element.name == "FilePathCondition":
            return Path(path=self._attribute(element, "Path"))
        if element.name == "FileHashCondition":
            if not element.children:
                raise self._error("FileHashCondition", "no FileHash", "at least one")
            return Hash(hashes=tuple(self._hash(child) for child in element.children))
        if element.name != "FilePublisherCondition":
            raise self._error("condition", element.name[:80], "a publisher, a path or a hash")
        versions = element.children[0] if element.children else _Element("", {})
        return Publisher(
            publisher=self._attribute(element, "PublisherName"),
            product=self._attribute(element, "ProductName"),
            binary=self._attribute(element, "BinaryName"),
            low=self._attribute(versions, "LowSection"),
            high=self._attribute(versions, "HighSection"),
        )

    def _hash(self, element: _Element) -> tuple[str, str]:
        kind, data = self._attribute(element, "Type"), self._attribute(element, "Data")
        found = _DATA.match(data)
        if kind not in _HASHES or not found:
            raise self._error("FileHash", f"{kind[:20]} {data[:80]!r}", "0x and a hash")
        return kind, found[1].casefold()

    def _attribute(self, element: _Element, name: str) -> str:
        if name not in element.attributes:
            raise self._error(element.name[:80], f"no {name}", "one")
        return element.attributes[name]

    def _error(self, what: str, found: str, required: str) -> PolicyError:
        return PolicyError(f"{self._source}: {what[:80]}", found, required, "AppLocker.xsd")
