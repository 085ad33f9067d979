"""Catalogs (.cat): signed lists of other files' digests.

Sources: [MS-CAESO] 4.4.5.3.1 (the CTL structure), the catalogs that Windows' makecat,
inf2cat and New-FileCatalog write.  A catalog is a CMS SignedData whose content is a
certificate trust list (1.3.6.1.4.1.311.10.1) used as a catalog list
(1.3.6.1.4.1.311.12.1.1).  The list lies inside the CMS: no slot of the file is left to
compute, and each member is an :class:`~signward.state.Endorsement` of another file.

A member's digest stands in its SpcIndirectDataContent attribute (versions 1 and 2); a
member without one is named by it: the subject identifier is then the digest itself, raw
or as hexadecimal UTF-16LE.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from signward.envelopes.cms import open_signatures
from signward.errors import LimitError, MalformedError
from signward.formats import Existing, Match, ParseOptions, Peek, Request, Signing, may_sign
from signward.formats._catalog_list import CATALOG_LIST, list_of, unsigned_list
from signward.formats._ctl import CTL_CONTENT
from signward.formats._spc import INDIRECT_DATA
from signward.state import (
    Endorsement,
    Manifest,
    Region,
    SignedArtifact,
    Slot,
    Source,
    Wanted,
)
from signward.wire import der
from signward.wire.algorithms import digest_name
from signward.wire.patch import Edit, PatchSet

MAX_CATALOG = 64 * 1024 * 1024
"""Largest catalog read; Windows' own largest have some 10 MiB."""

MAX_MEMBERS = 1 << 20

_KINDS = {
    "1.3.6.1.4.1.311.2.1.15": "image",
    "1.3.6.1.4.1.311.2.1.25": "file",
    "1.3.6.1.4.1.311.2.1.30": "sip",
}
"""What a member's digest was taken over, by SpcIndirectDataContent's type: a PE image's hash,
all bytes (a cabinet or any other file), or as a subject interface package decides."""

ANY_KIND = "any"
"""The kind of a member that does not say what its digest was taken over."""

_BY_LENGTH = {20: "sha1", 32: "sha256"}
_HEXADECIMAL = re.compile(rb"(?:[0-9A-Fa-f]\x00){40}(?:(?:[0-9A-Fa-f]\x00){24})?(?:\x00\x00)?\Z")
_CTL_MARK = der.oid(CTL_CONTENT)
_LIST_MARK = der.oid(CATALOG_LIST)
_INDIRECT_MARK = der.oid(INDIRECT_DATA)[2:]
_RECOGNISED_WITHIN = 512
_WHAT = "catalog"
_CLAUSE = "[MS-CAESO] 4.4.5.3.1"


class CatalogFormat:
    """The catalog format."""

    name = "catalog"
    spec = "Certificate trust list used as a catalog, [MS-CAESO] 4.4.5.3.1"
    extensions: tuple[str, ...] = (".cat",)

    def recognise(self, peek: Peek) -> Match:
        """Recognise a SignedData whose content is a CTL used as a catalog list."""
        head = peek.head[:_RECOGNISED_WITHIN]
        if head[:1] != b"\x30" or _CTL_MARK not in head:
            return Match.NO
        return Match.SPECIFIC if _LIST_MARK in head else Match.NO

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Read the list and the signatures over it."""
        if source.length > MAX_CATALOG:
            raise LimitError(_WHAT, f"{source.length} bytes", f"at most {MAX_CATALOG}")
        data = source.read(0, source.length)
        end = der.parse(data, _WHAT, trailing=True).next
        unsigned = unsigned_list(data[:end])
        if unsigned is not None:
            read_members(unsigned)
            return SignedArtifact(format=self.name, source=source, signatures=())
        signatures = open_signatures(data[:end], _no_slots)
        if not signatures:
            raise MalformedError(_WHAT, "a PKCS#7 without signers", "one", "RFC 5652 5.1")
        content = signatures[0].content
        if any(signature.content != content for signature in signatures):
            raise MalformedError(
                _WHAT, "signatures over different lists", "one list", _CLAUSE,
                hint="a nested signature speaks of other members than the catalog's own",
            )  # fmt: skip
        behind = Region(start=end, end=len(data), what="behind the catalog")
        return SignedArtifact(
            format=self.name,
            source=source,
            signatures=signatures,
            regions=(behind,) if end < len(data) else (),
            endorsements=read_members(content),
        )

    options: Mapping[str, str] = MappingProxyType({})

    def sign(self, source: Source, request: Request) -> Signing:
        """Sign the list; one that is in the file in whatever form is signed bare."""
        from signward.envelopes.cms_draft import draft, with_nested

        existing = self.envelopes(source)
        may_sign(bool(existing), request, _WHAT)
        data = source.read(0, source.length)
        members = list_of(data)
        read_members(members)
        sealed = yield draft(CTL_CONTENT, members, request.signer)
        if existing and request.existing is Existing.NESTED:
            sealed = with_nested(existing[0], sealed)
        return self.embed(source, (sealed,))

    def envelopes(self, source: Source) -> tuple[bytes, ...]:
        """Return the SignedData, which is the whole file, if it has a signer."""
        if source.length > MAX_CATALOG:
            raise LimitError(_WHAT, f"{source.length} bytes", f"at most {MAX_CATALOG}")
        data = source.read(0, source.length)
        blob = data[: der.parse(data, _WHAT, trailing=True).next]
        return () if unsigned_list(blob) is not None else (blob,)

    def embed(self, source: Source, envelopes: tuple[bytes, ...]) -> PatchSet:
        """Return the patch that makes the first envelope the file, or leaves the bare list."""
        from signward.formats._catalog_draft import bare_list

        data = source.read(0, source.length)
        whole = envelopes[0] if envelopes else bare_list(list_of(data))
        return PatchSet(edits=(Edit(start=0, end=source.length, data=whole),))

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:  # noqa: ARG002
        """Return nothing: the list lies inside the envelope."""
        return {}


def _no_slots(content_type: str, content: bytes) -> tuple[Slot, ...]:  # noqa: ARG001
    if content_type != CTL_CONTENT:
        raise MalformedError(_WHAT, f"content type {content_type}", CTL_CONTENT, _CLAUSE)
    return ()


def read_members(content: bytes) -> tuple[Endorsement, ...]:
    """Return the members of a CTL: ``content`` is its SEQUENCE's contents, or all of it.

    Raises ``BadInputError``.
    """
    fields = der.parse(der.encode(der.SEQUENCE, content), _WHAT).fields(_WHAT, 1)
    if len(fields) == 1:
        fields = fields[0].fields(_WHAT, 3)
    members = _subjects(fields)
    if len(members) > MAX_MEMBERS:
        raise LimitError(_WHAT, f"{len(members)} members", f"at most {MAX_MEMBERS}")
    return tuple(e for member in members for e in _endorsements(member))


def _subjects(fields: list[der.Node]) -> list[der.Node]:
    """Return trustedSubjects: the SEQUENCE behind subjectAlgorithm, which follows the times."""
    times = [i for i, f in enumerate(fields) if f.tag in (der.UTC_TIME, der.GENERALIZED_TIME)]
    if not times or fields[0].tag not in (der.SEQUENCE, der.INTEGER):
        raise MalformedError(_WHAT, "no CTL", "usage, times and subjects", _CLAUSE)
    usage = fields[0] if fields[0].tag == der.SEQUENCE else fields[1]
    if CATALOG_LIST not in [node.oid(_WHAT) for node in usage.fields(_WHAT)]:
        raise MalformedError(_WHAT, "a CTL of another usage", CATALOG_LIST, _CLAUSE)
    behind = fields[times[-1] + 1 :]
    if not behind:
        raise MalformedError(_WHAT, "no subject algorithm", "one", _CLAUSE)
    listed = len(behind) > 1 and behind[1].tag == der.SEQUENCE
    return behind[1].children() if listed else []


def _endorsements(member: der.Node) -> list[Endorsement]:
    """Return what one TrustedSubject endorses: its indirect data, else its identifier."""
    fields = member.fields(_WHAT, 1)
    attributes = fields[1].fields(_WHAT, 0, der.SET) if len(fields) > 1 else []
    found = [
        _indirect(value)
        for attribute in attributes
        for value in _values(attribute)
    ]  # fmt: skip
    return found or _identified(fields[0].octets(_WHAT))


def _values(attribute: der.Node) -> list[der.Node]:
    kind, values = attribute.fields(_WHAT, 2)[:2]
    if kind.content != _INDIRECT_MARK:
        return []
    return values.fields(_WHAT, 1, der.SET)


def _indirect(value: der.Node) -> Endorsement:
    """Return the endorsement in a SpcIndirectDataContent."""
    data, info = value.fields(_WHAT, 2)[:2]
    algorithm, digest = info.fields(_WHAT, 2)[:2]
    kind = data.fields(_WHAT, 1)[0].oid(_WHAT)
    return Endorsement(
        algorithm=digest_name(algorithm, _WHAT),
        digest=digest.octets(_WHAT),
        kind=_KINDS.get(kind, ANY_KIND),
    )


def _identified(identifier: bytes) -> list[Endorsement]:
    """Return the endorsement that a bare subject identifier amounts to; none for a mere name."""
    if _HEXADECIMAL.match(identifier):
        identifier = bytes.fromhex(identifier.decode("utf-16-le").rstrip("\0"))
    algorithm = _BY_LENGTH.get(len(identifier))
    if algorithm is None:
        return []
    return [Endorsement(algorithm=algorithm, digest=identifier, kind=ANY_KIND)]


FORMAT = CatalogFormat()
