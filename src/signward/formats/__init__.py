"""Signable formats: one file per format; a file in this folder is its registration.

Each module offers ``FORMAT``, an object with the attributes of :class:`Format`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Generator, Mapping
from datetime import datetime
from enum import IntEnum, StrEnum
from functools import lru_cache
from typing import NamedTuple, Protocol, runtime_checkable

import msgspec

from signward.envelopes import Draft, Signer
from signward.errors import NotSignableError
from signward.frozen import Frozen
from signward.state import (
    ClaimedSignature,
    Companions,
    Manifest,
    SignedArtifact,
    Source,
    Tree,
    Wanted,
)
from signward.wire.patch import PatchSet

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


class Peek(NamedTuple):
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
    """Inputs of a parse that are not in the bytes.

    ``companions`` are the files beside this one, for formats that speak of them.
    ``oldest`` and ``newest`` are the platforms (Android's API levels) that the answer is for;
    0 where the file itself says it.  ``stamp`` asks for a package's source stamp too.
    """

    extension: str = ""
    companions: Companions | None = None
    oldest: int = 0
    newest: int = 0
    stamp: bool = False


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


class Existing(StrEnum):
    """What becomes of signatures a file has already."""

    REFUSE = "refuse"
    REPLACE = "replace"
    NESTED = "nested"
    """They stay, and the new one is added as the format adds a further one."""


class Request(Frozen, frozen=True, kw_only=True):
    """What is asked of a format that signs.

    ``at`` is the claimed signing time, aware UTC, for formats that write one.  ``options``
    are those of the format's own ``options``, already known to be among them.  ``artifact``
    is what the format's own ``parse`` found in the very source to be signed, so that it need
    not be read again.
    """

    signer: Signer
    at: datetime
    existing: Existing = Existing.REFUSE
    description: str = ""
    url: str = ""
    page_hashes: bool = False
    extension: str = ""
    companions: Companions | None = None
    options: Mapping[str, str] = msgspec.field(default_factory=dict)
    artifact: SignedArtifact | None = None


Signing = Generator[Draft, bytes, PatchSet]
"""Yields each draft in turn, is sent the sealed envelope for it, and returns the patch.

Most formats have one draft; a manifest with two signatures has two.
"""


@runtime_checkable
class Signable(Format, Protocol):
    """A format that can be signed too."""

    options: Mapping[str, str]
    """Names of the options a request may carry, each with a line of help."""

    def sign(self, source: Source, request: Request) -> Signing:
        """Sign: yield drafts, return the patch.

        Raises ``NotSignableError`` where the request cannot be met (signed already, no room,
        an algorithm the format has no name for), ``BadInputError`` for bad bytes.
        """

    def envelopes(self, source: Source) -> tuple[bytes, ...]:
        """Return the outermost envelopes in the file, in the order of their labels."""

    def embed(self, source: Source, envelopes: tuple[bytes, ...]) -> PatchSet:
        """Return the patch that makes these the file's envelopes; none strips it.

        Whatever else belongs to being signed (a checksum, a content type) is set too.
        """


def file_options(form: Format) -> frozenset[str]:
    """Return the format's options whose values name files, if it has any.

    A request carries what stands in them; a format that has some has a field of this name.
    """
    own: frozenset[str] = getattr(form, "file_options", frozenset())
    return own


def signing_profile(form: Format, artifact: SignedArtifact, signer: Signer) -> str:
    """Return the name of the profile that a signer's signatures will be judged by.

    The artifact's; a format whose signers decide it has a method ``profile_by``.
    """
    own: Callable[[Signer], str] | None = getattr(form, "profile_by", None)
    return own(signer) if own is not None else artifact.profile


def octet_options(form: Format) -> frozenset[str]:
    """Return those options whose values name files of octets; a request carries them in hex."""
    own: frozenset[str] = getattr(form, "octet_options", frozenset())
    return own


@runtime_checkable
class Listing(Protocol):
    """A container that lists its members' digests or places in a part of its own."""

    def relisted(self, source: Source) -> Source:
        """Return a container whose members were changed, with lists that say what it holds.

        Raises ``BadInputError``, and ``NotSignableError`` for lists that cannot be edited.
        """


@lru_cache(maxsize=1)
def _signers() -> Mapping[str, Signable]:
    """Return the formats that sign, by name.  Asking a protocol is slow, so it is done once."""
    return {form.name: form for form in all_formats() if isinstance(form, Signable)}


def as_signable(form: Format | None) -> Signable | None:
    """Return the format if it signs, else None."""
    return _signers().get(form.name) if form else None


@runtime_checkable
class TreeFormat(Format, Protocol):
    """A format whose artifact is a folder (a bundle); `recognise` says no to every file."""

    def recognise_tree(self, tree: Tree) -> Match:
        """Say how surely a folder is of this format.  Pure, bounded, never raises."""

    def parse_tree(self, tree: Tree, options: ParseOptions) -> SignedArtifact:
        """Find content and claimed signatures in a folder.  Raises ``BadInputError``."""


@runtime_checkable
class SignableTree(TreeFormat, Protocol):
    """A format of folders that can be signed too (``verbs.sign_bundle`` drives it)."""

    tree_options: Mapping[str, str]
    """Names of the options a request may carry, each with a line of help."""


def tree_format(tree: Tree) -> TreeFormat | None:
    """Return the format that claims a folder most specifically, or None."""
    forms = [form for form in all_formats() if isinstance(form, TreeFormat)]
    sure, best = max(
        ((form.recognise_tree(tree), form) for form in forms),
        key=lambda pair: pair[0],
        default=(Match.NO, None),
    )
    return best if sure > Match.NO else None


@runtime_checkable
class Describing(Format, Protocol):
    """A format that can say more of a file than a verdict needs."""

    def with_facts(self, artifact: SignedArtifact) -> SignedArtifact:
        """Return the artifact with all that its file says of itself; may read all of it."""


@runtime_checkable
class Stampable(Signable, Protocol):
    """A format whose envelopes take a timestamp afterwards in a way of their own."""

    def stamped(self, signature: ClaimedSignature) -> bytes | None:
        """Return what a timestamp on a signature must speak for; None if it has no place."""

    def with_token(self, envelope: bytes, signature: ClaimedSignature, token: bytes) -> bytes:
        """Return the envelope with a token (DER) more beside one of its signatures."""


def may_sign(signed: bool, request: Request, what: str) -> None:  # noqa: FBT001
    """Raise ``NotSignableError`` if a signature is there and nobody said what becomes of it."""
    if signed and request.existing is Existing.REFUSE:
        raise NotSignableError(
            what, "a signature", "none",
            hint="--replace puts the new signature in its place, --nested keeps both",
        )  # fmt: skip


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
