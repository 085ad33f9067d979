"""What formats share whose signature is no part of the file: beside it, or in an attribute.

They are not found by recognition: whoever asks names the signature.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from signward.formats import Match, Peek
from signward.state import Source
from signward.wire.patch import Edit, PatchSet

WHOLE = "file"
"""The slot of all bytes."""


class Apart:
    """A format of any file, made with the signature to judge it by; unsigned without."""

    options: Mapping[str, str] = MappingProxyType({})

    def __init__(self, signature: bytes | None = None) -> None:
        self._signature = signature

    def recognise(self, _peek: Peek) -> Match:
        """Claim nothing: the signature is no part of the bytes."""
        return Match.NO

    def envelopes(self, _source: Source) -> tuple[bytes, ...]:
        """Return the signature this was made with."""
        return () if self._signature is None else (self._signature,)

    def embed(self, source: Source, envelopes: tuple[bytes, ...]) -> PatchSet:
        """Return the patch that turns the file into the first envelope's, or leaves it alone."""
        whole = Edit(start=0, end=source.length, data=envelopes[0]) if envelopes else None
        return PatchSet(edits=(whole,) if whole else ())
