"""Signing containers inside out: first what they hold, then (by the caller) they themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from signward.errors import LimitError
from signward.formats import Existing, Listing, Signable, as_signable, peek_at, recognise
from signward.inventory.classify import classify
from signward.state import Source
from signward.wire.patch import Patched
from signward.wire.source import BytesSource
from signward.wire.unzip import check_expansion, read_member
from signward.wire.zip import ZipMember, read_directory
from signward.wire.zip_patch import Member, changed

CONTAINERS = frozenset({"zip", "nupkg", "msix", "vsix"})
"""Kinds that are opened.  Others name their members' digests somewhere that would go stale."""

MAX_DEPTH = 4
"""Containers inside containers; a bundle of packages of assemblies has three."""

MAX_HELD = 512 * 1024 * 1024
"""Bytes of all members that are signed: they are held until the container is written."""

PASSED_OVER = frozenset({".js"})
"""Members signed only when named themselves: nearly all in packages are no WSH scripts."""

_STORED = 0

SignOne = Callable[[Signable, Source], Source]
"""Signs and assesses one source."""


class InsideOut:
    """Signs members of a container, and of the containers among them.

    Members that carry a signature keep it, unless ``existing`` says what becomes of it.
    ``names`` are the members signed, with the containers they lie in.
    """

    def __init__(self, existing: Existing, sign: SignOne) -> None:
        self._existing, self._sign = existing, sign
        self._held = 0
        self.names: list[str] = []

    def __call__(self, source: Source, depth: int = 0, prefix: str = "") -> Source:
        """Return the container with its members signed; the source itself where none is.

        Raises ``BadInputError`` and ``SigningError``: one member that cannot be signed fails
        the whole, since a container half signed is neither.
        """
        if source.length == 0 or classify(peek_at(source)) not in CONTAINERS:
            return source
        if depth > MAX_DEPTH:
            raise LimitError(source.name, "containers nested deeper", f"at most {MAX_DEPTH}")
        members = dict(self._signed_members(source, depth, prefix))
        if not members:
            return source
        result = Patched(source, changed(source, members))
        form = recognise(peek_at(source))
        return form.relisted(result) if isinstance(form, Listing) else result

    def _signed_members(
        self, source: Source, depth: int, prefix: str
    ) -> Iterator[tuple[str, Member]]:
        directory = read_directory(source)
        check_expansion(directory.members, source.length)
        for member in directory.members:
            if member.directory or member.encrypted:
                continue
            inner = self._read(source, member)
            if self._keeps(inner):
                self._held -= inner.length
                continue
            path = f"{prefix}{member.name}"
            signed = self._signed(self(inner, depth + 1, f"{path}!"), path)
            if signed is not inner:
                yield member.name, Member(data=signed, stored=member.method == _STORED)
            else:
                self._held -= inner.length

    def _keeps(self, source: Source) -> bool:
        """Whether a member keeps its signature, and thus every byte that it covers."""
        peek = peek_at(source)
        if self._existing is not Existing.REFUSE or peek.extension in PASSED_OVER:
            return False
        form = as_signable(recognise(peek)) if source.length else None
        return form is not None and bool(form.envelopes(source))

    def _read(self, source: Source, member: ZipMember) -> Source:
        self._held += member.size
        if self._held > MAX_HELD:
            raise LimitError(member.name, "more bytes to hold", f"at most {MAX_HELD} in all")
        return BytesSource(member.name, read_member(source, member, MAX_HELD))

    def _signed(self, source: Source, path: str) -> Source:
        peek = peek_at(source)
        if source.length == 0 or peek.extension in PASSED_OVER:
            return source
        form = as_signable(recognise(peek))
        if form is None:
            return source
        signed = self._sign(form, source)
        self.names.append(path)
        return signed
