"""YAML as people read it: maps, lists and scalars, indented by two, nothing else of the language.

Whatever a reader could take for something other than that very string is quoted, and what does
not print is escaped, so that a hostile note stays a string (YAML 1.1 and 1.2 read it alike).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

Value: TypeAlias = "str | int | bool | Mapping[str, Value] | Sequence[Value]"

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_/-]*(?:\.[A-Za-z0-9_/-]+)*\Z")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
"""What YAML 1.1 takes for a boolean or nothing, in any case."""

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}


def documents(values: Sequence[Mapping[str, Value]], title: str) -> bytes:
    """Return YAML documents (UTF-8) under a comment; ``title`` may hold anything."""
    head = f"# {_comment(title)}\n"
    return (head + "---\n".join(text(value) for value in values)).encode()


def text(value: Mapping[str, Value]) -> str:
    """Return one map as a YAML document."""
    return "".join(f"{line}\n" for line in _map(value, ""))


def _comment(note: str) -> str:
    return "".join(c if c.isprintable() else " " for c in note)


def _map(value: Mapping[str, Value], indent: str) -> Iterator[str]:
    for key, item in value.items():
        yield from _entry(f"{indent}{_scalar(key)}:", item, indent)


def _entry(head: str, item: Value, indent: str) -> Iterator[str]:
    if isinstance(item, str) and _is_block(item):
        yield f"{head} |"
        yield from (f"{indent}  {line}" for line in item.splitlines())
    elif isinstance(item, str | int):
        yield f"{head} {_scalar(item)}"
    elif not item:
        yield f"{head} {'{}' if isinstance(item, Mapping) else '[]'}"
    elif isinstance(item, Mapping):
        yield head
        yield from _map(item, f"{indent}  ")
    else:
        yield head
        yield from _list(item, f"{indent}  ")


def _list(value: Sequence[Value], indent: str) -> Iterator[str]:
    for item in value:
        if isinstance(item, Mapping) and item:
            first, *others = _map(item, f"{indent}  ")
            yield f"{indent}- {first[len(indent) + 2 :]}"
            yield from others
        else:
            yield from _entry(f"{indent}-", item, indent)


def _is_block(value: str) -> bool:
    """Take what ends in one line feed and prints (PEM, an expression) as a literal block."""
    lines = value.split("\n")
    return (
        len(lines) > 2
        and lines[-1] == ""
        and all(line and line.isprintable() and line[0] != " " for line in lines[:-1])
    )


def _scalar(value: str | int) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if _PLAIN.match(value) and value.lower() not in _WORDS:
        return value
    return f'"{"".join(map(_escaped, value))}"'


def _escaped(character: str) -> str:
    known = _ESCAPES.get(character)
    if known:
        return known
    return character if character.isprintable() else f"\\U{ord(character):08x}"
