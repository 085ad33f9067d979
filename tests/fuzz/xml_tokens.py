"""Mutations of XML at the level of tags, attributes and values: most of them stay well-formed."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

_TOKENS = re.compile(r"<!--.*?-->|<[^>]*>|[^<]+", re.DOTALL)
_ELEMENT = re.compile(r"<(?P<name>[\w:]+)(?P<rest>[^<>]*)(?:/>|>[^<]*</(?P=name)>)")
_ATTRIBUTE = re.compile(r'([\w:]+)="([^"]*)"')
_NAMES = ("Id", "ID", "id", "xml:id", "xml:base", "name", "codebase", "optional", "dependencyType")
_VALUES = ("true", "install", "preRequisite", "", "#", "idPackageObject", "App.exe", "..\\x", "/x")
_SNIPPETS = ("<!-- -->", "<?x y?>", "<![CDATA[x]]>", "<x/>", " x ", "&#65;", '<hash xmlns="x:y"/>')


def mutated(rng: random.Random, text: str, extra: Sequence[str] = ()) -> str:
    """Return text with one to three changes; ``extra`` are further snippets to insert."""
    changes = (_moved, _attribute, _renamed, _inserted, _doubled)
    for _ in range(rng.randint(1, 3)):
        text = rng.choice(changes)(rng, text, (*_SNIPPETS, *extra))
    return text


def _element(rng: random.Random, text: str) -> re.Match[str] | None:
    found = list(_ELEMENT.finditer(text))
    return rng.choice(found) if found else None


def _moved(rng: random.Random, text: str, _snippets: Sequence[str]) -> str:
    """Take an element away, and perhaps put it behind another one."""
    taken = _element(rng, text)
    if taken is None:
        return text
    rest = text[: taken.start()] + text[taken.end() :]
    behind = _element(rng, rest)
    if behind is None or rng.random() < 0.4:
        return rest
    return rest[: behind.end()] + taken[0] + rest[behind.end() :]


def _doubled(rng: random.Random, text: str, _snippets: Sequence[str]) -> str:
    taken, behind = _element(rng, text), _element(rng, text)
    if taken is None or behind is None:
        return text
    at = rng.choice((taken.end(), behind.start(), behind.end()))
    return text[:at] + taken[0] + text[at:]


def _attribute(rng: random.Random, text: str, _snippets: Sequence[str]) -> str:
    """Give an attribute another's value or name, or take it away."""
    found = list(_ATTRIBUTE.finditer(text))
    if not found:
        return text
    one, other = rng.choice(found), rng.choice(found)
    name = rng.choice((one[1], one[1], rng.choice(_NAMES)))
    value = rng.choice((one[2], other[2], one[2].upper(), rng.choice(_VALUES)))
    written = f'{name}="{value}"' if rng.random() < 0.85 else ""
    return text[: one.start()] + written + text[one.end() :]


def _renamed(rng: random.Random, text: str, _snippets: Sequence[str]) -> str:
    """Give an element another name, or its namespace another."""
    one, other = _element(rng, text), _element(rng, text)
    if one is None or other is None:
        return text
    name = rng.choice((other["name"], one["name"].partition(":")[2] or f"asmv1:{one['name']}"))
    begins, ends = one[0].count(f"</{one['name']}"), len(one["name"])
    renamed = f"<{name}" + one[0][1 + ends :]
    if begins:
        renamed = renamed[: -ends - 1] + f"{name}>"
    return text[: one.start()] + renamed + text[one.end() :]


def _inserted(rng: random.Random, text: str, snippets: Sequence[str]) -> str:
    tokens = list(_TOKENS.finditer(text))
    if not tokens:
        return text
    one = rng.choice(tokens)
    at = rng.choice((one.start(), one.end(), rng.randint(one.start(), one.end())))
    return text[:at] + rng.choice(snippets) + text[at:]
