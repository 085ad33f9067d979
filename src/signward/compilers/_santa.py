"""What Santa's rules are: types in the order it looks, forms they are written in, and guards.

Sources: the sync protocol (``sync/v1.proto``: Rule, RuleType, Policy, ClientMode) and ``santad``,
which looks for one rule by each identifier of a program in this order and takes the first.

A **guard** is how a rule that allows yields to broader ones that deny: a CEL expression that is
false, and false is BLOCKLIST, for the publishers and programs denied.  It asks for nothing but
``target.signing_id`` (``TEAM:identifier``), so that the answer can be cached.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from signward.compilers import _json, _plist
from signward.errors import PolicyError
from signward.frozen import Frozen

TYPES = ("CDHASH", "BINARY", "SIGNINGID", "CERTIFICATE", "TEAMID")
"""Most specific first, as santad looks them up."""

MODES: Mapping[int, str] = {1: "MONITOR", 2: "LOCKDOWN", 3: "STANDALONE"}
"""ClientMode, by the numbers of a profile; MONITOR where none is given."""

ALLOWING = frozenset({"ALLOWLIST", "ALLOWLIST_COMPILER"})
BLOCKING = frozenset(
    {"BLOCKLIST", "SILENT_BLOCKLIST", "SILENT_GUI_BLOCKLIST", "SILENT_TTY_BLOCKLIST"}
)
_OLD_NAMES = {"WHITELIST": "ALLOWLIST", "WHITELIST_COMPILER": "ALLOWLIST_COMPILER",
              "BLACKLIST": "BLOCKLIST", "SILENT_BLACKLIST": "SILENT_BLOCKLIST"}  # fmt: skip

PAYLOAD = "com.northpolesec.santa"
OLD_PAYLOAD = "com.google.santa"

MAX_RULES = 200_000
MAX_GUARDED = 64
"""Most publishers and programs in one guard: it stands in every rule it guards."""

TEAM = re.compile(r"[A-Z0-9]{10}\Z")
_HEX = {"CDHASH": re.compile(r"[0-9a-f]{40}\Z"), "BINARY": re.compile(r"[0-9a-f]{64}\Z"),
        "CERTIFICATE": re.compile(r"[0-9a-f]{64}\Z")}  # fmt: skip

_SURROGATE = re.compile("[\ud800-\udfff]")

Key = tuple[str, str]
"""A rule's type and identifier: Santa has one rule for each."""


class SantaRule(Frozen, frozen=True, kw_only=True):
    """One rule.  ``cel_expr`` is for the policy CEL, ``custom_msg`` what a blocked user reads.

    The message is text here, and HTML in Santa's files.
    """

    rule_type: str
    identifier: str
    policy: str
    cel_expr: str = ""
    custom_msg: str = ""
    comment: str = ""

    @property
    def key(self) -> Key:
        """What Santa looks the rule up by."""
        return self.rule_type, self.identifier


class SantaPolicy(Frozen, frozen=True, kw_only=True):
    """What Santa is told: its mode and its rules by what they are looked up by."""

    mode: str
    rules: Mapping[Key, SantaRule]


def static_rule(rule: SantaRule) -> dict[str, str]:
    """Return the rule as a dictionary of ``StaticRules``; keys that say nothing are left out.

    ``custom_msg`` is HTML to Santa (``SNTBlockMessage``): our text is escaped.
    """
    said = {name: value for name in rule.__struct_fields__ if (value := getattr(rule, name))}
    if rule.custom_msg:
        said["custom_msg"] = html.escape(rule.custom_msg, quote=False)
    return said


def synced_rule(rule: SantaRule) -> dict[str, str]:
    """Return the rule as ``santa.sync.v1.Rule`` in JSON, which has no comment."""
    return {name: value for name, value in static_rule(rule).items() if name != "comment"}


def guard(denied: Iterable[Key]) -> str:
    """Return the CEL expression that is false for these (TEAMID and SIGNINGID)."""
    parts = []
    for rule_type, identifier in sorted(denied):
        if rule_type == "TEAMID":
            parts.append(f"target.signing_id.startsWith({_literal(identifier + ':')})")
        else:
            parts.append(f"target.signing_id == {_literal(identifier)}")
    return f"!({' || '.join(parts)})"


@lru_cache(maxsize=256)
def guarded(expression: str) -> frozenset[Key] | None:
    """Return what a guard of ours denies; None for any other expression."""
    found: set[Key] = set()
    if not expression.startswith("!(") or not expression.endswith(")"):
        return None
    for part in expression[2:-1].split(" || "):
        match = _PART.match(part)
        if match is None:
            return None
        try:
            text = json.loads(match["team"] or match["program"])
        except ValueError:  # a string of CEL's that is none of JSON's: not written by us
            return None
        found.add(("TEAMID", text[:-1]) if match["team"] else ("SIGNINGID", text))
    if not all(identifier.isascii() for _, identifier in found):
        return None
    return frozenset(found) if guard(found) == expression else None


_STRING = r'"(?:[^"\\]|\\.)*"'
_PART = re.compile(
    rf"target\.signing_id(?:\.startsWith\((?P<team>{_STRING})\)| == (?P<program>{_STRING}))\Z"
)


def _literal(text: str) -> str:
    """Return a CEL string: JSON's escapes are among CEL's, and here nothing but ASCII is left.

    The bar is escaped, so that a part of a guard ends where it seems to.
    """
    if not text.isascii():
        raise PolicyError("signing identifier", repr(text[:80]), "ASCII in a Santa guard")
    return json.dumps(text).replace("|", "\\u007c")


def identifier_of(rule_type: str, text: str) -> str:
    """Return an identifier as Santa keeps it.  Raises ``PolicyError`` for one that it refuses."""
    if rule_type in _HEX:
        text = text.lower()
        fits = bool(_HEX[rule_type].match(text))
    elif rule_type == "TEAMID":
        text = text.upper()
        fits = bool(TEAM.match(text))
    else:
        team, _, name = text.partition(":")
        team = "platform" if team.lower() == "platform" else team.upper()
        text = f"{team}:{name}"
        fits = bool(name) and (team == "platform" or bool(TEAM.match(team)))
    if not fits:
        raise PolicyError("Santa rule", f"{rule_type} {text[:80]!r}", "an identifier of that type")
    return text


def read_files(files: Mapping[str, bytes]) -> SantaPolicy:
    """Return what files tell Santa: profiles, arrays of static rules, answers of a sync server.

    Several may hold the same rules.  Raises ``PolicyError`` where they disagree.
    """
    rules: dict[Key, SantaRule] = {}
    modes: set[str] = set()
    for name, data in sorted(files.items()):
        found, told = _read_file(name, data)
        modes |= told
        for rule in found:
            _add(rules, rule, name)
    if len(modes) > 1:
        raise PolicyError("Santa policy", f"modes {', '.join(sorted(modes))}", "one ClientMode")
    return SantaPolicy(mode=modes.pop() if modes else "MONITOR", rules=rules)


def _add(rules: dict[Key, SantaRule], rule: SantaRule, name: str) -> None:
    known = rules.setdefault(rule.key, rule)
    if (known.policy, known.cel_expr) != (rule.policy, rule.cel_expr):
        raise PolicyError(name, f"a second rule for {rule.rule_type} {rule.identifier[:80]}",
                          "one decision for each identifier")  # fmt: skip
    if rule.comment and not known.comment:
        rules[rule.key] = rule
    if len(rules) > MAX_RULES:
        raise PolicyError(name, "more rules", f"at most {MAX_RULES}")


def _read_file(name: str, data: bytes) -> tuple[Sequence[SantaRule], set[str]]:
    """Return the rules and the client modes that one file tells."""
    is_json = data.lstrip()[:1] in (b"{", b"[")
    value = _json.read(name, data, _plist.MAX_OCTETS) if is_json else _plist.read(name, data)
    if isinstance(value, list):
        return _rules(name, value), set()
    if not isinstance(value, dict):
        raise PolicyError(name, "no dictionary or array", "rules of Santa")
    found: list[SantaRule] = []
    modes: set[str] = set()
    for settings in (value, *_settings(value)):
        for field in ("StaticRules", "rules"):
            found += _rules(name, settings.get(field, []))
        for field in ("ClientMode", "client_mode"):
            modes |= {_mode(name, settings.get(field, ""))} - {""}
        _refuse(name, settings)
    return found, modes


_REFUSED = ("AllowedPathRegex", "WhitelistRegex", "BlockedPathRegex", "BlacklistRegex",
            "allowed_path_regex", "blocked_path_regex", "cel_fallback_rules")  # fmt: skip


def _refuse(name: str, settings: Mapping[str, Any]) -> None:
    """Refuse what decides too and is not read: never left out in silence."""
    for key in _REFUSED:
        if settings.get(key):
            raise PolicyError(name, key, "rules by identifier: a scope is not read")


def _settings(value: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """Yield Santa's settings in a profile: in a payload of its own, or as managed preferences."""
    payloads = value.get("PayloadContent", [])
    for payload in payloads if isinstance(payloads, list) else []:
        if not isinstance(payload, dict):
            continue
        if payload.get("PayloadType") in (PAYLOAD, OLD_PAYLOAD):
            yield payload
        if payload.get("PayloadType") == "com.apple.ManagedClient.preferences":
            yield from _preferences(payload.get("PayloadContent"))


def _preferences(content: object) -> Iterable[Mapping[str, Any]]:
    """Yield ``{DOMAIN: {Forced: [{mcx_preference_settings: ...}]}}``'s settings."""
    for domain in (PAYLOAD, OLD_PAYLOAD):
        entry = content.get(domain) if isinstance(content, dict) else None
        forced = entry.get("Forced") if isinstance(entry, dict) else None
        for one in forced if isinstance(forced, list) else []:
            settings = one.get("mcx_preference_settings") if isinstance(one, dict) else None
            if isinstance(settings, dict):
                yield settings


def _mode(name: str, value: object) -> str:
    mode = MODES.get(value, "") if isinstance(value, int) else value
    if mode == "" and value in ("", 0):
        return ""
    if mode not in MODES.values():
        raise PolicyError(name, f"client mode {str(value)[:80]!r}", ", ".join(MODES.values()))
    return str(mode)


def _rules(name: str, value: object) -> list[SantaRule]:
    if not isinstance(value, list):
        raise PolicyError(name, "rules that are no array", "an array of rules")
    return [_rule(name, item) for item in value]


def _rule(name: str, value: object) -> SantaRule:
    """Return one rule; keys in any case, and the type and policy too, as Santa takes them."""
    if not isinstance(value, dict):
        raise PolicyError(name, "a rule that is no dictionary", "identifier, rule_type and policy")
    said = {str(k).lower(): v for k, v in value.items() if isinstance(v, str)}
    if len({str(k).lower() for k in value}) != len(value):
        raise PolicyError(name, "a rule that says one thing twice", "every key once in any case")
    if any(_SURROGATE.search(text) for text in said.values()):
        raise PolicyError(name, "a rule with half a character", "Unicode text")
    policy = said.get("policy", "").upper()
    policy = _OLD_NAMES.get(policy, policy)
    rule_type = said.get("rule_type", "").upper()
    if rule_type not in TYPES or policy not in ALLOWING | BLOCKING | {"CEL"}:
        found = f"rule_type {rule_type[:40]!r} and policy {policy[:40]!r}"
        raise PolicyError(name, found, "a type and a decision of Santa's")
    expression = said.get("cel_expr", "") if policy == "CEL" else ""
    if policy == "CEL" and not expression:
        raise PolicyError(name, "policy CEL without cel_expr", "an expression")
    return SantaRule(
        rule_type=rule_type,
        identifier=identifier_of(rule_type, said.get("identifier") or said.get("sha256", "")),
        policy=policy,
        cel_expr=expression,
        custom_msg=html.unescape(said.get("custom_msg", "")),
        comment=said.get("comment", ""),
    )
