"""Differences of two policies: what the newer says otherwise, and which way that goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from signward.frozen import Frozen
from signward.policy.rules.model import CONDITIONS, Action, Mode, Rule, RuleSet, Waiver


class Way(StrEnum):
    """Whether a change stops more than before, or lets more in; *either* where both may be."""

    STRICTER = "stricter"
    LOOSER = "looser"
    EITHER = "either"


class Change(Frozen, frozen=True, kw_only=True):
    """One difference.

    ``what`` is policy, rule, exception or key, ``name`` which; ``field`` is empty for one that
    was added (``before`` empty) or removed (``after`` empty).
    """

    what: str
    name: str
    field: str
    before: str
    after: str
    way: Way


_REACH = {Mode.MONITOR: 0, Mode.ENFORCE: 1, Mode.LOCKDOWN: 2}
_RULE_FIELDS = ("action", *CONDITIONS, "requires", "note")
_WAIVER_FIELDS = (*CONDITIONS, "owner", "reason", "expires", "spares")


def differences(old: RuleSet, new: RuleSet) -> tuple[Change, ...]:
    """Return what is otherwise in ``new``: the policy's own first, then rules by name."""
    return (
        *_own(old, new),
        *_items("rule", _by_id(old.rules), _by_id(new.rules), _RULE_FIELDS),
        *_items("exception", _by_id(old.waivers), _by_id(new.waivers), _WAIVER_FIELDS),
        *_items("key", _keys(old), _keys(new), ()),
    )


def _by_id(items: tuple[Rule, ...] | tuple[Waiver, ...]) -> dict[str, Any]:
    return {item.id: item for item in items}


def _keys(rules: RuleSet) -> dict[str, Any]:
    return {name: key.data.hex() for name, key in rules.keys.items()}


def _own(old: RuleSet, new: RuleSet) -> Iterator[Change]:
    for field in ("name", "version", "id", "mode", "requirements", "targets"):
        before, after = getattr(old, field), getattr(new, field)
        if before != after:
            way = Way.EITHER
            if field == "mode":
                way = Way.STRICTER if _REACH[after] > _REACH[before] else Way.LOOSER
            yield Change(what="policy", name=new.name, field=field, before=told(before),
                         after=told(after), way=way)  # fmt: skip


def _items(
    what: str, old: Mapping[str, Any], new: Mapping[str, Any], fields: tuple[str, ...]
) -> Iterator[Change]:
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if before is None or after is None:
            yield _whole(what, name, before, after)
        elif before != after and not fields:
            yield Change(what=what, name=name, field="file", before="one", after="another",
                         way=Way.EITHER)  # fmt: skip
        elif before != after:
            yield from _fields(what, name, before, after, fields)


def _whole(what: str, name: str, before: Any, after: Any) -> Change:
    """Tell what was added or removed."""
    item = before if after is None else after
    added = before is None
    way = Way.EITHER
    if what == "rule":
        way = Way.STRICTER if added is (item.action is Action.DENY) else Way.LOOSER
    elif what == "exception":
        way = Way.LOOSER if added else Way.STRICTER
    text = "a key" if what == "key" else told(item)
    return Change(what=what, name=name, field="", before="" if added else text,
                  after=text if added else "", way=way)  # fmt: skip


def _fields(
    what: str, name: str, before: Any, after: Any, fields: tuple[str, ...]
) -> Iterator[Change]:
    for field in fields:
        old, new = getattr(before, field), getattr(after, field)
        if old != new:
            way = Way.EITHER
            if field == "expires":
                way = Way.LOOSER if new > old else Way.STRICTER
            elif field == "action" and Action.DENY in (old, new):
                way = Way.STRICTER if new is Action.DENY else Way.LOOSER
            yield Change(what=what, name=name, field=field, before=told(old), after=told(new),
                         way=way)  # fmt: skip


def told(value: Any) -> str:
    """Return a value of a policy as text: JSON without what says nothing."""
    plain = msgspec.to_builtins(value)
    if isinstance(plain, str):
        return plain
    return msgspec.json.encode(_spoken(plain)).decode()


def _spoken(value: Any) -> Any:
    """Return a value without the fields that are empty."""
    if isinstance(value, dict):
        return {key: _spoken(item) for key, item in value.items() if item not in ("", None, [], {})}
    return [_spoken(item) for item in value] if isinstance(value, list | tuple) else value
