"""CodeResources: the list of a bundle's files that its main executable's signature covers.

Sources: Apple's Security framework (``resources.cpp``, ``StaticCode.cpp``, ``bundlediskrep.cpp``)
and Technical Note 2206.  ``_CodeSignature/CodeResources`` is a property list with two lists:
``rules`` and ``files`` (version 1, for systems before 10.9.5, covers resources only) and
``rules2`` and ``files2`` (version 2, everything).  Only version 2 counts here.

A file's seal is a digest (``hash2``: SHA-256, ``hash``: SHA-1), a link's its target as written
(``symlink``), nested code's a designated requirement and the code directory hash it had.
Paths are relative to the folder that holds ``_CodeSignature``, with ``/``.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from signward.errors import AmbiguousError, LimitError, MalformedError
from signward.frozen import Frozen
from signward.wire.plist import read_plist, write_plist

WHAT = "CodeResources"
CLAUSE = "Technical Note 2206"

MAX_RULES = 256
"""Rules in a list; Apple's own have thirteen."""
MAX_PATTERN = 256
MAX_REPEATS = 2
"""Repeats in an expression of the signer's own, one of them the search for its beginning unless
it begins with ``^``: matching one path stays quadratic."""
MAX_REPEATING = 24
"""Rules with repeats, each tried on each path: codesign writes seven or eight."""
MAX_PATH = 1024
"""Octets of a path on macOS (``PATH_MAX``)."""

_HASHES = (("hash2", "sha256", 32), ("hash", "sha1", 20))
"""Keys of a file's digests, the best first, with the algorithm and its size in octets."""


class Seal(Frozen, frozen=True, kw_only=True):
    """What the list says of one path: a digest, a link's target, or nested code."""

    path: str
    algorithm: str = ""
    digest: bytes = b""
    target: str = ""
    requirement: str = ""
    cdhash: bytes = b""
    optional: bool = False

    @property
    def kind(self) -> str:
        """What must stand at the path: ``file``, ``link`` or ``code``."""
        if self.requirement:
            return "code"
        return "file" if self.algorithm else "link"


class Rule(Frozen, frozen=True, kw_only=True):
    """What becomes of paths that a POSIX extended expression finds; the greatest weight wins."""

    pattern: str
    weight: int = 1
    omit: bool = False
    optional: bool = False
    nested: bool = False


class Resources(Frozen, frozen=True, kw_only=True):
    """A bundle's list, version 2; ``seals`` by path in Unicode's form NFC."""

    seals: Mapping[str, Seal]
    rules: tuple[Rule, ...]

    def rule_for(self, path: str) -> Rule | None:
        """Return the rule for a path: of the matching ones the weightiest, None if none does.

        Among equals one that leaves nothing out.
        """
        found = [rule for rule in self.rules if _compiled(rule.pattern).search(path)]
        return max(found, key=lambda rule: (rule.weight, not rule.omit), default=None)


def same(path: str) -> str:
    """Return the form in which two spellings of one name on macOS are equal (NFC)."""
    return path if path.isascii() else unicodedata.normalize("NFC", path)


def read_resources(data: bytes, what: str = WHAT) -> Resources:
    """Read a list.

    Raises ``MalformedError``; ``AmbiguousError`` for a path that stands twice; ``LimitError``;
    ``UncoveredError`` is the caller's to raise: rules that leave much out are read as they are.
    """
    plist = read_plist(data, what)
    files, rules = plist.get("files2"), plist.get("rules2")
    if not isinstance(files, dict) or not isinstance(rules, dict):
        raise MalformedError(
            what, "no list of version 2 (files2, rules2)", "one: version 1 leaves code out",
            CLAUSE, hint="it was signed for OS X before 10.9.5: sign it anew",
        )  # fmt: skip
    repeating = sum(1 for pattern in rules if _REPEAT.search(pattern))
    if len(rules) > MAX_RULES or repeating > MAX_REPEATING:
        raise LimitError(what, f"{len(rules)} rules, {repeating} of them with repeats",
                         f"at most {MAX_RULES}, {MAX_REPEATING} with repeats")  # fmt: skip
    seals: dict[str, Seal] = {}
    for path, value in files.items():
        _check_path(path, what)
        if same(path) in seals:
            raise AmbiguousError(what, f"the path {path!r} in two spellings", "one")
        seals[same(path)] = _seal(path, value, what)
    return Resources(seals=seals, rules=tuple(_rule(p, v, what) for p, v in rules.items()))


def weaknesses(resources: Resources, folder: str) -> tuple[str, ...]:
    """Return what its rules leave out that no bundle may leave out (as ``--strict`` has it).

    ``folder`` is where localized resources lie, relative to the list (``Resources/``).
    """
    allowed = {*_MAY_OMIT, f"^{folder}{_LOCVERSION}"}
    found = [rule.pattern for rule in resources.rules if rule.omit and rule.pattern not in allowed]
    if not any(r.pattern in _ALL and not (r.omit or r.optional) for r in resources.rules):
        found.append("everything that no rule names")
    return tuple(found)


def _check_path(path: str, what: str) -> None:
    segments = path.split("/")
    if not path or len(path) > MAX_PATH or "\0" in path or not {"", ".", ".."}.isdisjoint(segments):
        raise MalformedError(what, f"the path {path[:80]!r}", "one inside the bundle", CLAUSE)


def _seal(path: str, value: Any, what: str) -> Seal:
    if isinstance(value, bytes) and len(value) == 20:
        return Seal(path=path, algorithm="sha1", digest=value)
    if not isinstance(value, dict):
        raise MalformedError(what, f"no seal for {path!r}", "a digest, a link or nested code")
    optional = value.get("optional") is True
    kinds = [key for key in ("requirement", "symlink") if key in value]
    if kinds and isinstance(value[kinds[0]], str) and value[kinds[0]]:
        if len(kinds) > 1 or any(key in value for key, _, _ in _HASHES):
            raise AmbiguousError(what, f"several seals for {path!r}", "one")
        if kinds[0] == "symlink":
            return Seal(path=path, target=value["symlink"], optional=optional)
        cdhash = value.get("cdhash", b"")
        return Seal(
            path=path, requirement=value["requirement"], optional=optional,
            cdhash=cdhash if isinstance(cdhash, bytes) else b"",
        )  # fmt: skip
    for key, algorithm, size in _HASHES:
        digest = value.get(key)
        if isinstance(digest, bytes) and len(digest) == size:
            return Seal(path=path, algorithm=algorithm, digest=digest, optional=optional)
        if digest is not None:
            break
    raise MalformedError(what, f"no seal for {path!r}", "a digest, a link or nested code")


def _rule(pattern: str, value: Any, what: str) -> Rule:
    _check_pattern(pattern, what)
    if isinstance(value, bool):
        return Rule(pattern=pattern, omit=not value)
    if not isinstance(value, dict):
        raise MalformedError(what, f"the rule {pattern!r} without a value", "yes, no or a list")
    weight = value.get("weight", 1)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not _whole(weight):
        raise MalformedError(what, f"the weight {weight!r} of a rule", "a number")
    return Rule(
        pattern=pattern,
        weight=int(weight),
        omit=value.get("omit") is True,
        optional=value.get("optional") is True,
        nested=value.get("nested") is True,
    )


def _whole(weight: float) -> bool:
    return math.isfinite(weight) and 0 <= weight < 1 << 32


_ALL = frozenset({"^.*", "^"})
"""Rules that find every path: everything is sealed unless another rule weighs more."""
_LOCVERSION = r".*\.lproj/locversion.plist$"
_MAY_OMIT = frozenset({r"^(.*/)?\.DS_Store$", r"^Info\.plist$", "^PkgInfo$"})
_CODE = (
    "^(Frameworks|SharedFrameworks|PlugIns|Plug-ins|XPCServices|Helpers|MacOS"
    "|Library/(Automator|Spotlight|LoginItems))/"
)
_KNOWN = _MAY_OMIT | {_CODE, r".*\.dSYM($|/)"}
"""Expressions with groups that Apple's signers write."""

_GROUP = re.compile(r"[()\\{|]")
_REPEAT = re.compile(r"[*+?]")
_ESCAPED = re.compile(r"\\[^A-Za-z0-9]")


def _check_pattern(pattern: str, what: str) -> None:
    """Refuse expressions that could take long, or that POSIX and Python read differently."""
    if pattern in _KNOWN:
        return
    simple = not _GROUP.search(_ESCAPED.sub("", pattern)) and _repeats(pattern) <= MAX_REPEATS
    if not simple or len(pattern) > MAX_PATTERN:
        raise LimitError(what, f"the rule {pattern[:80]!r}", "an expression as codesign writes it")
    try:
        _compiled(pattern)
    except re.error:
        raise MalformedError(what, f"the rule {pattern!r}", "a regular expression") from None


def _repeats(pattern: str) -> int:
    found = len(_REPEAT.findall(_ESCAPED.sub("", pattern)))
    return found + (found > 0 and not pattern.startswith("^"))


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    # POSIX's $ is the very end, Python's also stands before a last line feed.
    return re.compile(re.sub(r"(?<!\\)\$", r"\\Z", pattern), re.DOTALL)


def standard_rules(folder: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return rules of version 1 and 2 as ``codesign`` writes them.

    ``folder`` is where resources lie relative to the list: ``Resources/``, or nothing.
    """
    localized: dict[str, Any] = {
        f"^{folder}": True,
        f"^{folder}.*\\.lproj/": {"optional": True, "weight": 1000.0},
        f"^{folder}{_LOCVERSION}": {"omit": True, "weight": 1100.0},
        f"^{folder}Base\\.lproj/": {"weight": 1010.0},
    }
    first = {**localized, "^version.plist$": True}
    second: dict[str, Any] = {
        **localized,
        f"^{folder}": {"weight": 20.0},
        "^.*": True,
        "^[^/]+$": {"nested": True, "weight": 10.0},
        _CODE: {"nested": True, "weight": 10.0},
        r".*\.dSYM($|/)": {"weight": 11.0},
        r"^(.*/)?\.DS_Store$": {"omit": True, "weight": 2000.0},
        r"^Info\.plist$": {"omit": True, "weight": 20.0},
        "^PkgInfo$": {"omit": True, "weight": 20.0},
        r"^embedded\.provisionprofile$": {"weight": 20.0},
        r"^version\.plist$": {"weight": 20.0},
    }
    return first, second


def read_rules(rules: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Return rules as a list has them.  Raises as `read_resources` does."""
    return tuple(_rule(pattern, value, WHAT) for pattern, value in rules.items())


class Sealed(Frozen, frozen=True, kw_only=True):
    """One path for a new list: both digests of a file, a link's target, or nested code."""

    path: str
    sha1: bytes = b""
    sha256: bytes = b""
    target: str = ""
    requirement: str = ""
    cdhash: bytes = b""
    optional: bool = False


def write_resources(sealed: Iterable[Sealed], folder: str) -> bytes:
    """Return a list of both versions, as ``codesign`` writes it, for systems old and new."""
    first, second = standard_rules(folder)
    rules = Resources(seals={}, rules=read_rules(first))
    files: dict[str, Any] = {}
    files2: dict[str, Any] = {}
    for one in sealed:
        files2[one.path] = _written(one)
        old = rules.rule_for(one.path)
        if one.sha1 and old is not None and not old.omit:
            files[one.path] = {"hash": one.sha1, "optional": True} if old.optional else one.sha1
    return write_plist({"files": files, "files2": files2, "rules": first, "rules2": second})


def _written(one: Sealed) -> Mapping[str, Any]:
    seal: dict[str, Any] = {"optional": True} if one.optional else {}
    if one.requirement:
        return seal | {"cdhash": one.cdhash, "requirement": one.requirement}
    if one.target:
        return seal | {"symlink": one.target}
    return seal | {"hash2": one.sha256}
