"""Signable formats: one file per format; a file in this folder is its registration.

Each module offers ``FORMAT``, an object with the attributes of :class:`Format`.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Protocol

from signward.frozen import Frozen
from signward.state import Manifest, SignedArtifact, Source, Wanted

HEAD = 64 * 1024
TAIL = 1024


class Match(IntEnum):
    """How sure a format is that bytes are its own; the most specific wins."""

    NO = 0
    EXTENSION = 1
    """Only the file's name says so (scripts have no magic)."""
    MAGIC = 2
    """The bytes say so."""
    SPECIFIC = 3
    """The bytes say so, and more than a general container would (APK over ZIP)."""


@dataclass(frozen=True, slots=True)
class Peek:
    """What `recognise` may look at: the name, the first and last bytes, the length."""

    name: str
    head: bytes
    tail: bytes
    length: int

    @property
    def extension(self) -> str:
        """The name's extension, lower case, with its dot; empty if there is none."""
        stem, dot, extension = self.name.rpartition("/")[2].rpartition(".")
        return f".{extension.lower()}" if dot and stem else ""


class ParseOptions(Frozen, frozen=True, kw_only=True):
    """Inputs of a parse that are not in the bytes."""

    extension: str = ""


class Format(Protocol):
    """What a format module's ``FORMAT`` offers."""

    name: str
    spec: str
    extensions: tuple[str, ...]

    def recognise(self, peek: Peek) -> Match:
        """Say how surely these bytes are of this format.  Pure, bounded, never raises."""

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:
        """Find content and claimed signatures.  Raises ``BadInputError``.

        An artifact without any signature is returned with none, not raised.
        """

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute every wanted slot in one pass over the source.

        A slot the artifact does not have is left out of the answer.
        """


@lru_cache(maxsize=1)
def all_formats() -> tuple[Format, ...]:
    """Return every format in this folder, by module name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names if name[0] != "_"]
    return tuple(module.FORMAT for module in modules)


def peek_at(source: Source) -> Peek:
    """Return the look at ``source`` that recognition needs."""
    head = source.read(0, min(HEAD, source.length))
    tail = source.read(max(0, source.length - TAIL), min(TAIL, source.length))
    return Peek(source.name, head, tail, source.length)


def recognise(peek: Peek) -> Format | None:
    """Return the format that claims the bytes most specifically, or None."""
    best: Format | None = None
    sure = Match.NO
    for candidate in all_formats():
        match = candidate.recognise(peek)
        if match > sure:
            best, sure = candidate, match
    return best
