r"""Patterns: ``*`` stands for any characters within a component, ``**`` for any at all.

A path pattern with a backslash, a drive letter or a ``%VARIABLE%`` is one of Windows: compared
without regard to case, ``/`` and ``\`` being one separator.  All others are compared exactly.

The regular expressions made here never go back into a literal once found, so that matching
takes at most the square of a path's length per ``**``, whatever a file is called.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from signward.frozen import Frozen

VARIABLES = {
    "osdrive": ("c:",),
    "windir": (r"c:\windows",),
    "system32": (r"c:\windows\system32",),
    "programfiles": (r"c:\program files", r"c:\program files (x86)"),
}
"""What App Control's and AppLocker's path variables stand for on a machine as installed."""

MAX_PREFIXES = 64
"""Folders of a path that patterns are looked up by; deeper ones are beyond any real rule."""

_WINDOWS = re.compile(r"\\|^[A-Za-z]:|%[A-Za-z0-9_()]+%")
_VARIABLE = re.compile(r"%([A-Za-z0-9_()]+)%")
_MANY = re.compile(r"\*{2,}")


class Pattern(Frozen, frozen=True, kw_only=True):
    """A path pattern, ready.

    ``prefixes`` are the folders, with a separator at the end, in one of which whatever matches
    lies (folded as the pattern is); empty strings where it may lie anywhere.  ``unknown``: it
    has a variable that nothing says the value of.
    """

    windows: bool
    prefixes: tuple[str, ...]
    regexes: tuple[re.Pattern[str], ...]
    unknown: bool = False

    def fits(self, path: str) -> bool:
        """Say whether a path, as it stands in a subject, matches."""
        folded = folded_path(path) if self.windows else path
        return any(regex.match(folded) for regex in self.regexes)


def is_windows(text: str) -> bool:
    """Say whether a pattern or a path is one of Windows."""
    return bool(_WINDOWS.search(text))


def folded_path(path: str) -> str:
    """Return a path as patterns of Windows are compared with it: see `_folded`."""
    folded = path.lower() if path.isascii() else "".join(map(_folded, path))
    return folded.replace("/", "\\")


def _folded(character: str) -> str:
    """Return a character as NTFS compares it: one for one, and none beyond ASCII with one within.

    Unicode folds more (U+017F is ``s``, U+00DF is ``ss``), and whoever may make a folder called so
    would have made one that a rule trusts.
    """
    upper = character.upper()
    folded = upper.lower() if len(upper) == 1 else character.lower()
    same = len(folded) == 1 and folded.isascii() == character.isascii()
    return folded if same else character


@lru_cache(maxsize=65536)
def path_pattern(text: str) -> Pattern:
    """Return a path pattern as it stands in a rule, ready to match."""
    if not is_windows(text):
        return Pattern(windows=False, prefixes=(_prefix(text, "/"),), regexes=(_regex(text, "/"),))
    variants, unknown = _expanded(folded_path(text))
    return Pattern(
        windows=True,
        prefixes=tuple(_prefix(variant, "\\") for variant in variants),
        regexes=tuple(_regex(variant, "\\") for variant in variants),
        unknown=unknown,
    )


@lru_cache(maxsize=65536)
def name_pattern(text: str) -> re.Pattern[str]:
    """Return a pattern of names between slashes (images, repositories), for ``match``."""
    return _regex(text, "/")


def prefixes_of(path: str, separator: str) -> Iterator[str]:
    """Yield what `Pattern.prefixes` may be for a path that matches: its folders, and nothing."""
    yield ""
    at = path.find(separator)
    for _ in range(MAX_PREFIXES):
        if at < 0:
            return
        yield path[: at + 1]
        at = path.find(separator, at + 1)


def _expanded(text: str) -> tuple[tuple[str, ...], bool]:
    """Return the pattern with each value of its variables; True if one is not known."""
    variable = _VARIABLE.search(text)
    if variable is None:
        return (text,), False
    if variable[1] not in VARIABLES:
        return (), True
    found: list[str] = []
    for value in VARIABLES[variable[1]]:
        rest, unknown = _expanded(text[: variable.start()] + value + text[variable.end() :])
        if unknown:
            return (), True
        found += rest
    return tuple(found), False


def _prefix(text: str, separator: str) -> str:
    literal = text.partition("*")[0]
    whole = literal[: literal.rfind(separator) + 1]
    return whole if whole.count(separator) <= MAX_PREFIXES else ""


def _regex(text: str, separator: str) -> re.Pattern[str]:
    """Translate a pattern.

    Between two ``**`` stands a segment; the earliest place where one matches ends earliest, so
    the search for it need never be taken up again (an atomic group), but for the last one,
    which must reach the end.
    """
    within = f"[^{re.escape(separator)}]*"
    *segments, last = _MANY.split(text)
    parts = []
    for number, segment in enumerate(segments):
        parts.append(f"(?>{'.*?' if number else ''}{_segment(segment, within, whole=False)})")
    parts.append((".*?" if segments else "") + _segment(last, within, whole=True))
    return re.compile("".join(parts) + r"\Z", re.DOTALL)


def _segment(text: str, within: str, *, whole: bool) -> str:
    """Translate what has no ``**``; of ``whole`` the last literal is to stand at the end."""
    first, *rest = text.split("*")
    found = [re.escape(first)]
    for number, piece in enumerate(rest, 1):
        if whole and number == len(rest):
            found.append(within + re.escape(piece))
        else:
            found.append(f"(?>{within}?{re.escape(piece)})")
    return "".join(found)
