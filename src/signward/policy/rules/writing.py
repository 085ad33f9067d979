"""Writing policies: a document as TOML that a person would have written so."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from signward.policy.rules.model import CONDITIONS, Document, KeySource, RuleSet, Strict

LINE = 80
"""Characters of an array that stays on one line."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_BARE = re.compile(r"[A-Za-z0-9_-]+\Z", re.ASCII)
_FIRST = ("id", "action", "owner", "reason", "expires", "spares", "note")


def to_toml(document: Document) -> str:
    """Return the document in TOML 1.0; read again it is equal.  Text of any kind is escaped."""
    return "\n".join(_lines(document)) + "\n"


def document_of(rules: RuleSet, *, note: str = "") -> Document:
    """Return a rule set as one document; its keys are files where `key_file` says."""
    return Document(
        schema=1,
        name=rules.name,
        version=rules.version,
        id=rules.id,
        note=note or rules.note,
        mode=rules.mode,
        requirements=rules.requirements,
        rule=rules.rules,
        exception=rules.waivers,
        keys={name: KeySource(file=key_file(name)) for name in rules.keys},
        targets={name: dict(settings) for name, settings in rules.targets.items()},
    )


def key_file(name: str) -> str:
    """Return where a document of ours has a key: relative to its folder."""
    return f"keys/{name}.pem"


def _lines(document: Document) -> Iterator[str]:
    for field in ("schema", "name", "version", "id", "supplements", "mode", "note"):
        value = getattr(document, field)
        if value:
            yield f"{field} = {_value(value)}"
    if document.requirements is not None and (said := _said(document.requirements)):
        yield from ("", "[requirements]", *(f"{k} = {_value(v)}" for k, v in said.items()))
    for name, source in document.keys.items():
        yield from ("", f"[keys.{_key(name)}]", f"file = {_value(source.file)}")
    for rule in document.rule:
        yield from ("", "[[rule]]", *_item(rule))
    for waiver in document.exception:
        yield from ("", "[[exception]]", *_item(waiver))
    for name, settings in document.targets.items():
        yield from ("", f"[targets.{_key(name)}]")
        yield from (f"{_key(k)} = {_value(v)}" for k, v in settings.items())


def _item(item: Strict) -> Iterator[str]:
    said = _said(item)
    for field in (*_FIRST, *CONDITIONS, "requires"):
        if field in said:
            value = said.pop(field)
            yield f"{field} = {_value(value)}"


def _said(item: Strict) -> dict[str, Any]:
    """Return the fields of a table that say something: those that are not their defaults."""
    return {
        field.name: value
        for field in msgspec.structs.fields(item)
        if (value := getattr(item, field.name)) != field.default
    }


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, Strict):
        return _value(_said(value))
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items())
        return f"{{ {inner} }}"
    if isinstance(value, Sequence):
        return _array([_value(item) for item in value])
    return str(value)


def _array(items: list[str]) -> str:
    """Return an array, on lines of its own where one would be long (not in an inline table)."""
    if len(items) <= 1 or sum(map(len, items)) < LINE:
        return f"[{', '.join(items)}]"
    return "[\n" + "".join(f"    {item},\n" for item in items) + "]"


def _string(text: str) -> str:
    """Return a basic string: JSON's escapes are TOML's, and what nobody would see is escaped too.

    That keeps a terminal's control characters and the marks that turn text around out of what a
    person is to review; lone surrogates, which TOML cannot hold, become U+FFFD.
    """
    written = json.dumps(_SURROGATE.sub("\ufffd", text), ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in written)


def _key(name: str) -> str:
    return name if _BARE.match(name) else _string(name)
