"""Reading fapolicyd's files: rules in their order, what is trusted, settings.

Files are told apart by their names: ``*.rules``, ``fapolicyd.conf``, all others are trust files.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping

from signward.compilers._fapolicyd import CONF
from signward.errors import PolicyError
from signward.frozen import Frozen

MAX_OCTETS = 64 * 1024 * 1024
"""Largest set of files read: a trust list of every file of a distribution has some ten million."""

MAX_LINES = 500_000

_DECISION = re.compile(r"(allow|deny)(?:_audit|_syslog|_log)?\Z")
_SET = re.compile(r"%([A-Za-z0-9_]{1,64})(\+?)=(.*)\Z")
_TRUSTED = re.compile(r"(/.*) ([0-9]{1,19}) ([0-9a-f]{64})\Z")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")


class Line(Frozen, frozen=True, kw_only=True):
    """One rule.  ``group`` is the comment ``# rule ...`` above it; fields map names to values."""

    number: int
    group: str
    decision: str
    perm: str
    subject: Mapping[str, tuple[str, ...]]
    object: Mapping[str, tuple[str, ...]]

    @property
    def lets_in(self) -> bool:
        """Whether it allows."""
        return self.decision.startswith("allow")


class Policy(Frozen, frozen=True, kw_only=True):
    """All files: ``trusted`` maps paths to (octets, SHA-256), ``conf`` names to values."""

    lines: tuple[Line, ...]
    head: str
    trusted: Mapping[str, tuple[int, str]]
    conf: Mapping[str, str]

    @property
    def databases(self) -> frozenset[str]:
        """Package databases that count as trusted."""
        return frozenset(self.conf.get("trust", "").replace(" ", "").split(",")) - {"file", ""}


def read_files(files: Mapping[str, bytes]) -> Policy:
    """Return what the daemon would load.  Raises ``PolicyError``."""
    if sum(len(data) for data in files.values()) > MAX_OCTETS:
        raise PolicyError("fapolicyd", "more octets", f"at most {MAX_OCTETS} in all files")
    texts = {name: _text(name, data) for name, data in files.items()}
    rules = sorted((name for name in texts if name.endswith(".rules")), key=_natural)
    conf = [name for name in texts if name.rpartition("/")[2] == CONF]
    reader = _Reader()
    for name in rules:
        reader.read(name, texts[name])
    trusted: dict[str, tuple[int, str]] = {}
    for name in sorted(texts.keys() - {*rules, *conf}):
        trusted |= _trust(name, texts[name])
    return Policy(
        lines=tuple(reader.lines),
        head=reader.head,
        trusted=trusted,
        conf=dict(itertools.chain.from_iterable(_conf(texts[name]) for name in conf)),
    )


def _text(name: str, data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise PolicyError(name, str(error), "UTF-8") from None
    if text.count("\n") > MAX_LINES:
        raise PolicyError(name, "more lines", f"at most {MAX_LINES}")
    return text


def _natural(name: str) -> list[tuple[int, str]]:
    """Order file names as ``ls -v`` does, which fagenrules uses: numbers by their value."""
    parts = re.split(r"([0-9]{1,18})", name.rpartition("/")[2])
    return [(int(part), "") if part.isascii() and part.isdigit() else (-1, part) for part in parts]


class _Reader:
    """Reads rule files one after another: sets defined in one are known in the next."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.head = ""
        self._group = ""
        self._sets: dict[str, tuple[str, ...]] = {}

    def read(self, name: str, text: str) -> None:
        """Add a file's rules.  Raises ``PolicyError``."""
        for number, raw in enumerate(text.split("\n"), 1):
            line = raw.strip(" \t\r")
            if line.startswith("#"):
                self._comment(line)
            elif line:
                self._line(f"{name}:{number}", number, line)

    def _comment(self, line: str) -> None:
        if line.startswith("# signward ") and not self.head:
            self.head = line.removeprefix("# signward ")
        self._group = line.removeprefix("# rule ") if line.startswith("# rule ") else ""

    def _line(self, where: str, number: int, line: str) -> None:
        defined = _SET.match(line)
        if defined:
            known = self._sets.get(defined[1], ()) if defined[2] else ()
            self._sets[defined[1]] = (*known, *_values(defined[3]))
            return
        decision, *rest = _tokens(where, line)
        if not _DECISION.match(decision) or ":" not in rest:
            raise PolicyError(where, line[:80], "decision perm subject : object",
                              "fapolicyd.rules(5)")  # fmt: skip
        at = rest.index(":")
        before, after = rest[:at], rest[at + 1 :]
        perm = "open"
        if before and before[0].startswith("perm="):
            perm = before.pop(0).removeprefix("perm=")
        if perm not in {"open", "execute", "any"}:
            raise PolicyError(where, f"perm={perm}", "open, execute or any", "fapolicyd.rules(5)")
        self.lines.append(
            Line(number=number, group=self._group, decision=decision, perm=perm,
                 subject=self._fields(where, before), object=self._fields(where, after))
        )  # fmt: skip

    def _fields(self, where: str, tokens: list[str]) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for token in tokens:
            name, _, value = token.partition("=")
            if name in found:
                raise PolicyError(where, f"{name} twice", "every field once")
            found[name] = self._resolved(where, value)
        if not found or ("all" in found and len(found) > 1):
            raise PolicyError(where, " ".join(tokens)[:80] or "nothing", "fields, or all alone",
                              "fapolicyd.rules(5)")  # fmt: skip
        return found

    def _resolved(self, where: str, value: str) -> tuple[str, ...]:
        if not value.startswith("%"):
            return _values(value)
        if value[1:] not in self._sets:
            raise PolicyError(where, f"the set {value[:64]}", "one defined before it")
        return self._sets[value[1:]]


def _values(text: str) -> tuple[str, ...]:
    return tuple(value for value in text.split(",") if value)


def _tokens(where: str, line: str) -> list[str]:
    """Split a line at spaces; a value may be quoted, with escaped quotes and backslashes."""
    found, at = [], 0
    while at < len(line):
        token, at = _token(where, line, at)
        if token:
            found.append(token)
    return found


def _token(where: str, line: str, at: int) -> tuple[str, int]:
    taken: list[str] = []
    quoted = False
    while at < len(line) and (quoted or line[at] != " "):
        char = line[at]
        if quoted and char == "\\" and line[at + 1 : at + 2] in {'"', "\\"}:
            taken.append(line[at + 1])
            at += 1
        elif char == '"' and (quoted or (taken and taken[-1] in "=,")):
            quoted = not quoted
        else:
            taken.append(char)
        at += 1
    if quoted:
        raise PolicyError(where, "a quote that does not end", "its end", "fapolicyd.rules(5)")
    return "".join(taken), at + 1


def _trust(name: str, text: str) -> Iterator[tuple[str, tuple[int, str]]]:
    escaped = text.startswith("# AUTOGENERATED FILE VERSION 2\n")
    for number, line in enumerate(text.split("\n"), 1):
        if not line or line.startswith("#"):
            continue
        entry = _TRUSTED.match(line)
        if not entry:
            raise PolicyError(f"{name}:{number}", line[:80], "PATH SIZE SHA256",
                              "fapolicyd.trust(5)")  # fmt: skip
        path = _ESCAPE.sub(lambda m: chr(int(m[1], 16)), entry[1]) if escaped else entry[1]
        yield path, (int(entry[2]), entry[3])


def _conf(text: str) -> Iterator[tuple[str, str]]:
    for line in text.split("\n"):
        name, equals, value = line.partition("=")
        if equals and not line.lstrip().startswith("#"):
            yield name.strip(), value.strip()
