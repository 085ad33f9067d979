r"""Santa's rule for osascript: which AppleScript files may run, by what Santa sees of them.

Santa does not look at scripts, only at ``/usr/bin/osascript`` and its arguments: a CEL expression
(``santa.cel.v1``, Santa 2025.6) on the signing identifier ``platform:com.apple.osascript``.  So the
rules that can be said are those by path; whatever else asks for osascript is blocked: text given
by ``-e``, standard input, the interactive mode.

A path is compared as it is given: it must be absolute, without ``.``, ``..`` and empty components,
and not a device's (``/dev/stdin``); where links lead is not seen.  Before it nothing may stand but
``-l LANGUAGE`` (osascript(1)).

macOS finds a file under other spellings too: without regard to case, and of one text beyond ASCII
there are several (APFS folds and normalizes).  So what is denied is denied in any case, and where
something is denied no path beyond ASCII is let in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Literal

from signward.compilers import Compiled, File, Towards, _plist
from signward.compilers._lossy import Ledger
from signward.compilers._santa import SantaRule, static_rule, synced_rule
from signward.policy.rules.model import Action, Rule, RuleSet, Strict
from signward.policy.rules.paths import is_windows

PROGRAM = "platform:com.apple.osascript"
MAX_PATTERNS = 500
"""Most patterns of one expression, each tried at every start of osascript."""

_TOKENS = re.compile(r"\*\*|\*|[^*]+")
_UNCLEAR = r"//|(^|/)\.\.?(/|$)"
_DEVICES = "(?i)^/dev/"
_BEYOND_ASCII = r"[^\x00-\x7F]"
_DIALOG = r"(?i)display\s+dialog\b"
_SECRET = r"(?i)hidden\s+answer\b|pass(word|phrase|code)\b"  # noqa: S105 - a pattern


class OsascriptSettings(Strict, frozen=True, kw_only=True):
    """``[targets.santa-osascript]``.

    ``inline``: what of text on the command line runs: none of it; what does not plainly show a
    dialog that asks for a password; all of it.  No rule of a policy speaks of it, it is no file.
    """

    inline: Literal["block", "no-password-dialogs", "allow"] = "block"


class OsascriptCompiler:
    """Writes one rule, for a profile and for a sync server."""

    target = "santa-osascript"
    title = "Santa's rule for osascript"
    spec = "santa.cel.v1; osascript(1)"
    governs = frozenset({"script"})
    kinds = frozenset({"applescript"})
    losses: Mapping[str, str] = {
        "publisher": "who signed a script: Santa sees its path",
        "signers": "who signed a script",
        "identity": "who signed a script",
        "product": "what a script says of itself",
        "digest": "what is in a script",
        "catalog": "what vouches for a script",
        "origin": "where a script came from",
        "hosts": "host tags",
        "path": "paths of Windows, relative ones, and more than fit into one rule",
        "spelling": "paths beyond ASCII, where another is denied: a file has several spellings",
        "audit": "the word about what an audit rule lets in",
        "exception": "what exceptions spare",
        "expiry": "the end of exceptions",
        "monitor": "watching only: the rule stops",
        "requirement-timestamp": "trusted timestamps",
        "requirement-revocation": "revocation",
        "requirement-algorithm": "minimum algorithms",
        "requirement-log": "log inclusion",
        "requirement-age": "the age of a signature",
    }
    settings = OsascriptSettings
    checked = ("parsed", "and evaluated, by Google's CEL runtime, which Santa contains")

    def compile(self, rules: RuleSet, settings: OsascriptSettings) -> Compiled:
        """Return the rule; see `Compiler.compile`."""
        ledger = Ledger(self.target)
        kept: list[Rule] = []
        patterns: dict[bool, list[str]] = {True: [], False: []}
        for rule in ledger.in_turn(rules, self.governs, self.kinds):
            found = _patterns(ledger, rule, sum(map(len, patterns.values())))
            if found:
                kept.append(rule)
                patterns[rule.action is not Action.DENY] += found
        _lose_the_rest(ledger, rules, kept)
        if all(patterns.values()):
            text = "where a path is denied, none beyond ASCII is let in, nor any by case alone"
            ledger.lose("spelling", "", text, Towards.STRICTER)
        expression = _expression(patterns[True], patterns[False], settings.inline)
        return ledger.compiled(_files(expression))


def _patterns(ledger: Ledger, rule: Rule, before: int) -> list[str]:
    """Return a rule's paths as RE2; a rule by kind alone is for every path.  Else it is lost."""
    if ledger.lose_fields(rule, ("path",)):
        return []
    paths = rule.path or ("/**",)
    if not all(map(_is_sayable, paths)):
        ledger.lose_rule("path", rule, "Santa sees absolute paths of macOS")
        return []
    if before + len(paths) > MAX_PATTERNS:
        ledger.lose_rule("path", rule, f"more than {MAX_PATTERNS} paths")
        return []
    return [_pattern(path) for path in paths]


def _is_sayable(path: str) -> bool:
    """Say whether a path is an absolute one of macOS; RE2 takes no escaped control characters."""
    return path.startswith("/") and not is_windows(path) and path.isprintable()


def _pattern(path: str) -> str:
    """Return RE2 for a path of a rule: ``*`` within a component, ``**`` across."""
    wild = {"*": "[^/]*", "**": "(?s:.*)"}
    return "^" + "".join(wild.get(t, re.escape(t)) for t in _TOKENS.findall(path)) + "$"


def _lose_the_rest(ledger: Ledger, rules: RuleSet, kept: list[Rule]) -> None:
    ledger.lose_requirements(rules, kept)
    ledger.lose_expiry(rules)
    ledger.lose_mode(rules)
    for rule in kept:
        if rule.action is Action.AUDIT:
            text = "Santa lets it run and says no more of it than of any other"
            ledger.lose("audit", rule.id, text, Towards.LOOSER)
        for spare in rules.spared.get(rule.id, ()):
            text = f"the expression denies by {rule.id} whatever else a script is"
            ledger.lose("exception", spare.id, text, Towards.STRICTER)


def _expression(allowed: list[str], denied: list[str], inline: str) -> str:
    """Return CEL that is true for the starts of osascript that are let run."""
    return " || ".join((*_of_files(allowed, denied), *_of_text(inline))) or "false"


def _of_files(allowed: list[str], denied: list[str]) -> Iterator[str]:
    if allowed:
        yield (
            '[1, 3].exists(i, args.size() > i && (i == 1 || args[1] == "-l")'
            f" && {_any(allowed)} && !{_any([_UNCLEAR, _DEVICES, *_in_any_case(denied)])})"
        )


def _in_any_case(denied: list[str]) -> list[str]:
    """Return patterns of all that macOS may take for what is denied."""
    return [f"(?i){pattern}" for pattern in denied] + [_BEYOND_ASCII] * bool(denied)


def _of_text(inline: str) -> Iterator[str]:
    """Yield what lets in ``-e TEXT`` or ``-eTEXT``, alone or after ``-l LANGUAGE``."""
    text = (
        '[1, 3].exists(i, args.size() > i && (i == 1 || args[1] == "-l")'
        ' && args[i].startsWith("-e"))'
    )
    if inline == "allow":
        yield text
    elif inline == "no-password-dialogs":
        yield f"({text} && !({_some(_DIALOG)} && {_some(_SECRET)}))"


def _any(patterns: list[str]) -> str:
    return f"[{', '.join(map(_literal, patterns))}].exists(p, args[i].matches(p))"


def _some(pattern: str) -> str:
    return f"args.exists(a, a.matches({_literal(pattern)}))"


def _literal(text: str) -> str:
    """Return a CEL string: JSON's escapes are CEL's, and what JSON need not escape stays itself."""
    return json.dumps(_plist.plain(text), ensure_ascii=False)


def _files(expression: str) -> tuple[File, ...]:
    rule = SantaRule(
        rule_type="SIGNINGID", identifier=PROGRAM, policy="CEL", cel_expr=expression,
        custom_msg="Scripts run here from known places only.", comment="santa-osascript",
    )  # fmt: skip
    synced = json.dumps({"rules": [synced_rule(rule)]}, indent=2, ensure_ascii=False)
    return (
        File(
            name="osascript.plist",
            content=_plist.write([static_rule(rule)]),
            deploy="add the rule to StaticRules of Santa's profile: two profiles do not add up",
        ),
        File(
            name="osascript.json",
            content=synced.encode() + b"\n",
            deploy="add it to a sync server's rules, or: santactl rule --import osascript.json",
        ),
    )


COMPILER = OsascriptCompiler()
