"""The words of fapolicyd's rules that the compiler writes and importer and arbiter read.

Source: fapolicyd.rules(5), fapolicyd.trust(5) and the sample rules of 1.1.7 and 2.x.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping

RULES = "rules.d/05-signward.rules"
DENIALS = "rules.d/02-signward-denied.rules"
TRUST = "trust.d/signward"
CONF = "fapolicyd.conf"

EXECUTABLE = ("application/x-executable",)
LIBRARY = ("application/x-sharedlib", "application/java-archive")

LANGUAGES: Mapping[str, tuple[str, ...]] = {
    "shell": ("text/x-shellscript",),
    "python": ("text/x-python", "text/x-script.python", "application/x-bytecode.python"),
    "perl": ("text/x-perl",),
    "ruby": ("text/x-ruby",),
    "php": ("text/x-php",),
    "lua": ("text/x-lua", "text/x-luatex"),
    "tcl": ("text/x-tcl",),
    "awk": ("text/x-awk", "text/x-gawk"),
    "javascript": ("application/javascript", "text/javascript"),
}
"""Kinds of scripts, by the types that libmagic and fapolicyd's own patterns give them (measured
with ``fapolicyd-cli --ftype``; libmagic 5.44 calls Python text/x-script.python)."""

OTHER_LANGUAGES = (
    "text/x-lisp", "application/x-elc", "text/x-m4", "text/x-R", "text/x-script.guile",
    "text/x-systemtap", "application/x-bytecode.ocaml", "application/x-java-applet",
)  # fmt: skip
"""What the sample rules call languages besides, and our own kinds do not know."""

SCRIPT = (*itertools.chain.from_iterable(LANGUAGES.values()), *OTHER_LANGUAGES)

TYPES: Mapping[str, tuple[str, ...]] = {
    "executable": EXECUTABLE,
    "library": LIBRARY,
    "script": SCRIPT,
    "elf": (*EXECUTABLE, LIBRARY[0]),
    "jar": (LIBRARY[1],),
    **LANGUAGES,
}
"""MIME types for ``ftype=``, by the kinds and classes of our rules."""

MOST_ALTERNATIVES = 4
"""Components of one pattern that may begin with ``*``: each doubles the globs."""

_PLAIN = re.compile(r"/[A-Za-z0-9/._+@=~*-]*\Z")
_QUOTABLE = re.compile(r"/[^\x00-\x1f\x7f,:]*\Z")


def path_objects(pattern: str, version: str) -> tuple[str, ...]:
    """Return the object fields (any of them) that say a path pattern of ours; empty if none does.

    1.1.7 splits lines at spaces and knows no quotes; 2.x takes quoted values and ``glob:``.
    """
    allowed = _PLAIN if version == "1.1.7" else _QUOTABLE
    if not allowed.match(pattern) or "\\" in pattern or re.search(r"%[A-Za-z0-9_()]+%", pattern):
        return ()
    literal, star, rest = pattern.partition("*")
    if not star:
        return (_field("path", pattern),)
    if rest == "*" and literal.endswith("/"):
        return (_field("dir", literal),)
    if version == "1.1.7" or "**" in pattern:
        return ()
    return tuple(_field("path", f"glob:{glob}") for glob in _globs(pattern))


def _globs(pattern: str) -> list[str]:
    """Return globs that together match what the pattern does.

    A wildcard of theirs does not match a leading period (FNM_PERIOD), so a component that
    begins with one is said twice.
    """
    escaped = re.sub(r"([?\[])", r"\\\1", pattern)
    choices = [(c, "." + c) if c.startswith("*") else (c,) for c in escaped.split("/")]
    if sum(len(choice) > 1 for choice in choices) > MOST_ALTERNATIVES:
        return []
    return ["/".join(parts) for parts in itertools.product(*choices)]


def _field(name: str, value: str) -> str:
    if re.search(r'[ "]', value):
        value = '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'
    return f"{name}={value}"
