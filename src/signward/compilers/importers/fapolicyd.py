"""fapolicyd's rules, trust and settings back into rules.

The daemon takes the first rule that matches; ours let a denial beat whatever lets in, and stop
what nothing lets in.  Both say the same where denials come first, then what is let in, then
denials that leave nothing of programs, libraries and scripts over.  Rules that ask about the
process (``uid=``, ``exe=``) have no equal here.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import msgspec

from signward.compilers._fapolicyd import (
    EXECUTABLE,
    LANGUAGES,
    LIBRARY,
    SCRIPT,
    TYPES,
    path_objects,
)
from signward.compilers._fapolicyd_read import Line, Policy, read_files
from signward.errors import PolicyError
from signward.policy.rules.model import (
    Guid,
    Layer,
    Mode,
    Name,
    Requirements,
    Rule,
    RuleSet,
    Strict,
)
from signward.policy.rules.paths import is_windows
from signward.policy.rules.reading import guid

_CLAUSE = "fapolicyd.rules(5)"
_ORIGINS = {"rpmdb": "rpm", "debdb": "deb"}


class _Head(Strict, frozen=True, kw_only=True):
    """What our compiler wrote at the top."""

    policy: Name
    version: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    id: Guid


class FapolicydImporter:
    """The importer."""

    target = "fapolicyd"

    def read(self, files: Mapping[str, bytes]) -> RuleSet:
        """Return the rules.  Raises ``PolicyError``, naming the line that has no equal."""
        policy = read_files(files)
        lines = [line for line in policy.lines if not _is_pattern(line)]
        kept = _meaningful(lines)
        rules = tuple(_rule(policy, group) for group in _groups(kept))
        head = _head(policy)
        permissive = policy.conf.get("permissive") == "1"
        own = any(_is_pattern(line) for line in policy.lines)
        return RuleSet(
            name=head.policy,
            version=head.version,
            id=head.id,
            mode=Mode.MONITOR if permissive else Mode.ENFORCE,
            requirements=Requirements(),
            rules=_named(rules),
            waivers=(),
            keys={},
            targets={} if own else {"fapolicyd": {"ld_so": "off"}},
            layers=(Layer(name=head.policy, version=head.version, id=head.id,
                          rules=frozenset(rule.id for rule in rules)),),
        )  # fmt: skip


def _head(policy: Policy) -> _Head:
    if policy.head:
        try:
            return msgspec.json.decode(policy.head, type=_Head)
        except (msgspec.DecodeError, RecursionError) as error:
            raise PolicyError("# signward", str(error), "name, version and id") from None
    return _Head(policy="imported", version=1, id=guid("imported"))


def _is_pattern(line: Line) -> bool:
    """Say whether a line refuses programs started through the run-time linker."""
    return dict(line.subject) == {"pattern": ("ld_so",)} and not line.lets_in


def _meaningful(lines: list[Line]) -> list[Line]:
    """Return denials and what is let in, without the end that stops everything else."""
    for line in lines:
        if "all" not in line.subject:
            fields = ", ".join(line.subject)
            raise _no_equal(line, f"a condition on the process: {fields}")
    body = lines[:-1] if lines and _opens_all(lines[-1]) else lines
    denials = list(itertools.takewhile(lambda line: not line.lets_in, body))
    allows = list(itertools.takewhile(lambda line: line.lets_in, body[len(denials) :]))
    ending = body[len(denials) + len(allows) :]
    for line in ending:
        if line.lets_in:
            raise _no_equal(line, "what is let in after a denial")
    if not allows:  # then all denials stand together, and the end among them
        denials, ending = _parted(denials)
    _check_ending(ending)
    return [*denials, *allows]


def _parted(denials: list[Line]) -> tuple[list[Line], list[Line]]:
    first = next((n for n, line in enumerate(denials) if "all" in line.object), len(denials))
    return denials[:first], denials[first:]


def _opens_all(line: Line) -> bool:
    return line.lets_in and line.perm == "open" and "all" in line.object


def _check_ending(ending: Iterable[Line]) -> None:
    """Refuse an end that lets programs, libraries or scripts through: ours never does."""
    stopped = {(perm, kind) for line in ending for perm, kind in _stops(line)}
    wanted = {("execute", ""), *(("open", kind) for kind in (*LIBRARY, *SCRIPT))}
    missing = [] if ("open", "") in stopped and ("execute", "") in stopped else sorted(
        wanted - stopped
    )  # fmt: skip
    if missing:
        told = ", ".join(f"{perm} {kind}".strip() for perm, kind in missing[:3])
        raise PolicyError("fapolicyd", f"an end that leaves {len(missing)} ways open ({told} ...)",
                          "denials of all that no rule lets in", _CLAUSE)  # fmt: skip


def _stops(line: Line) -> Iterable[tuple[str, str]]:
    perms = ("open", "execute") if line.perm == "any" else (line.perm,)
    if "all" in line.object:
        return [(perm, "") for perm in perms]
    if set(line.object) == {"ftype"}:
        return [(perm, kind) for perm in perms for kind in line.object["ftype"]]
    return []


def _groups(lines: Iterable[Line]) -> Iterable[list[Line]]:
    """Yield the lines of each rule: those below one comment of ours, any other line alone."""
    return [
        list(group)
        for _, group in itertools.groupby(lines, lambda line: line.group or f"line {line.number}")
    ]


def _rule(policy: Policy, lines: list[Line]) -> Rule:
    first = lines[0]
    for line in lines[1:]:
        if (line.decision, line.perm) != (first.decision, first.perm):
            raise _no_equal(line, "lines of one rule that differ in more than paths and digests")
    name, _, note = first.group.partition(" ")
    words: dict[str, Any] = {
        "id": name or f"line-{first.number}",
        "action": _action(first),
        "note": _note(first, note),
        **_conditions(policy, lines),
    }
    try:
        return msgspec.convert(words, Rule)
    except msgspec.ValidationError as error:
        raise PolicyError(f"line {first.number}", str(error), "a rule of ours") from None


def _note(line: Line, text: str) -> str:
    try:
        note = str(json.loads(f'"{text}"'))
        note.encode()  # JSON may hold half a character
    except ValueError:
        raise _no_equal(line, "a broken comment") from None
    return note


def _action(line: Line) -> str:
    if not line.lets_in:
        return "deny"
    return "allow" if line.decision == "allow" else "audit"


def _conditions(policy: Policy, lines: list[Line]) -> dict[str, Any]:
    first = lines[0]
    known = {"path", "dir", "ftype", "trust", "sha256hash", "file_hash"}
    for line in lines:
        if odd := [name for name in line.object if name.lower() not in known]:
            raise _no_equal(line, f"a condition by {', '.join(odd)}")
        if {k: v for k, v in line.object.items() if k in {"ftype", "trust"}} != {
            k: v for k, v in first.object.items() if k in {"ftype", "trust"}
        }:
            raise _no_equal(line, "lines of one rule with other types")
    places, digests = _places(lines), _digests(lines)
    _check_product(lines)
    found: dict[str, Any] = {
        "path": places, "digest": digests, "kind": _kinds(first),
    }  # fmt: skip
    if "trust" in first.object:
        found |= _trusted(policy, first, places, digests)
    return {field: value for field, value in found.items() if value}


def _check_product(lines: list[Line]) -> None:
    """Refuse lines of one rule that do not combine every path with every digest."""
    if len({(any(_place(line)), bool(_hashes(line))) for line in lines}) > 1:
        raise _no_equal(lines[0], "lines of one rule that ask for different things")
    pairs = {(_place(line), _hashes(line)) for line in lines}
    paths, digests = {path for path, _ in pairs}, {digest for _, digest in pairs}
    if len(pairs) != len(paths) * len(digests):
        raise _no_equal(lines[0], "paths with digests of their own under one name")


def _place(line: Line) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if "path" in line.object and "dir" in line.object:
        raise _no_equal(line, "both path and dir")
    return line.object.get("path", ()), line.object.get("dir", ())


def _hashes(line: Line) -> tuple[str, ...]:
    found = [values for name, values in line.object.items()
             if name.lower() in {"sha256hash", "file_hash"}]  # fmt: skip
    if len(found) > 1:
        raise _no_equal(line, "both sha256hash and FILE_HASH")
    return found[0] if found else ()


def _digests(lines: list[Line]) -> tuple[str, ...]:
    values = dict.fromkeys(itertools.chain.from_iterable(_hashes(line) for line in lines))
    sizes = {64: "sha256", 128: "sha512"}
    if any(len(value) not in sizes for value in values):
        raise _no_equal(lines[0], "a digest of another length")
    return tuple(f"file:{sizes[len(value)]}:{value}" for value in values)


def _places(lines: list[Line]) -> tuple[str, ...]:
    """Return patterns of ours that say exactly the paths and folders of these lines."""
    patterns: dict[str, None] = {}
    globs: dict[str, Line] = {}
    for line in lines:
        paths, folders = _place(line)
        for folder in folders:
            patterns[_literal(line, folder) + "**"] = None
        for path in paths:
            if path.startswith("glob:"):
                globs[path] = line
            else:
                patterns[_literal(line, path)] = None
    return (*patterns, *_globs(globs))


def _literal(line: Line, path: str) -> str:
    if not path.startswith("/") or "*" in path or is_windows(path):
        raise _no_equal(line, f"the place {path[:80]!r}")
    return path


def _globs(globs: Mapping[str, Line]) -> list[str]:
    """Return patterns for globs; ``*`` at a name's start needs its twin for leading periods."""
    found, left = [], dict(globs)
    for glob, line in globs.items():
        plain = re.sub(r"\\(.)", r"\1", glob.removeprefix("glob:"))
        said = [_unquoted(field) for field in path_objects(plain, "2")]
        if glob in left and said and all(one in globs for one in said):
            found.append(plain)
            for one in said:
                left.pop(one, None)
        elif glob in left and "/.*" not in glob:
            raise _no_equal(line, glob[:80])
    for glob, line in left.items():
        raise _no_equal(line, glob[:80])
    return found


def _unquoted(field: str) -> str:
    value = field.partition("=")[2]
    return re.sub(r'\\(["\\])', r"\1", value[1:-1]) if value.startswith('"') else value


def _kinds(line: Line) -> tuple[str, ...]:
    """Return the kinds whose types these are; the widest first."""
    if "ftype" not in line.object:
        if line.perm != "any":
            raise _no_equal(line, f"perm={line.perm} without a type")
        return ()
    left, found = set(line.object["ftype"]), []
    for kind in ("executable", "library", "script", "elf", "jar", *LANGUAGES):
        types = set(TYPES[kind])
        if types <= left:
            found.append(kind)
            left -= types
    unsaid = {*EXECUTABLE, *(SCRIPT if line.lets_in else ())}  # run by themselves: not let in
    wrong = line.perm == "open" and unsaid & set(line.object["ftype"])
    if left or wrong or (line.perm == "execute" and found != ["executable"]):
        raise _no_equal(line, f"perm={line.perm} ftype={','.join(line.object['ftype'])[:80]}")
    return tuple(found)


def _trusted(
    policy: Policy, line: Line, places: tuple[str, ...], digests: tuple[str, ...]
) -> dict[str, Any]:
    """Return what ``trust=1`` comes to: the digest in trust.d, or the package database."""
    if line.object["trust"] != ("1",):
        raise _no_equal(line, "trust=0")
    entries = {policy.trusted[p][1] for p in places if p in policy.trusted}
    listed = bool(places) and all(place in policy.trusted for place in places)
    hashed = policy.conf.get("integrity") == "sha256"  # by default paths alone are trusted
    if listed and hashed and len(entries) == 1 and not policy.databases and not digests:
        return {"digest": tuple(f"file:sha256:{value}" for value in entries)}
    kinds = [_ORIGINS[name] for name in policy.databases if name in _ORIGINS]
    if len(kinds) != 1 or policy.trusted:
        raise _no_equal(line, "trust=1 from several sources, or by paths alone")
    return {"origin": {"kind": kinds[0]}}


def _named(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    names = Counter(rule.id for rule in rules)
    for name in (name for name, times in names.items() if times > 1):
        raise PolicyError("fapolicyd", f"two rules called {name}", "every name once")
    return rules


def _no_equal(line: Line, found: str) -> PolicyError:
    return PolicyError(f"line {line.number}", found, "what our rules can say", _CLAUSE)


IMPORTER = FapolicydImporter()
