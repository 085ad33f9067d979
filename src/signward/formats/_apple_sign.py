"""Apple's code signatures, made: code directories, what belongs to them, and the CMS over them.

Sources: Apple's published ``cs_blobs.h`` (xnu) and ``libsecurity_codesigning`` (``signer.cpp``,
``drmaker.cpp``).  Programs, bundles and disk images share this: each says where its content
lies (`Content`), what is asked of the signature is in `Settings`, and `draft_code` yields the
draft whose sealed envelope is a whole superblob.

**Room.** A program's first page, which is digested, says how large the signature will be; so
`reserve` tells the size before anything is digested, with room for a timestamp to come.  What
is not used of it stays zero.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from signward.envelopes import Signer
from signward.envelopes.cms import CMS_TIMESTAMP, DATA
from signward.envelopes.cms_draft import (
    CmsDraft,
    Form,
    attribute,
    draft,
    signing_time,
    with_unsigned,
)
from signward.errors import BadInputError, NotSignableError
from signward.formats import Request
from signward.formats._apple_signature import CDHASHES, CDHASHES_PLIST
from signward.formats._entitlements import entitlements_der, read_entitlements
from signward.frozen import Frozen
from signward.state import Algorithm, Source
from signward.wire import der
from signward.wire import superblob as sb
from signward.wire.algorithms import DIGEST_OIDS
from signward.wire.certificate import outline
from signward.wire.code_directory import (
    CDHASH_OCTETS,
    DIGESTS,
    FLAGS,
    HARDENED_RUNTIME,
    ExecSegment,
    slot_digest,
    write_code_directory,
)
from signward.wire.plist import write_plist
from signward.wire.requirement import (
    DESIGNATED,
    LEAF,
    ROOT,
    Comparison,
    Expression,
    Match,
    Op,
    conjunction,
    write_requirement,
    write_requirements,
)
from signward.wire.requirement_text import parse_requirements

TOKEN_ROOM = 12 * 1024
"""Octets kept for a timestamp; Apple's have 4,300, those with long paths some 7,000."""

ALIGNMENT = 16
"""A signature's place and size are multiples of this many octets, as Apple's tools make them."""

PAGE = 4096
"""Octets of a page where the content asks for no other size."""

DEVELOPER_ID_LEAF = "1.2.840.113635.100.6.1.13"
DEVELOPER_ID_AUTHORITY = "1.2.840.113635.100.6.2.6"
DEVELOPER_AUTHORITY = "1.2.840.113635.100.6.2.1"
_APPLE_LEAVES = "1.2.840.113635.100.6.1."
"""Extensions that mark Apple's leaf certificates begin so."""

COMMON_NAME, ORGANIZATION, UNIT = "2.5.4.3", "2.5.4.10", "2.5.4.11"

_KINDS = {"sha256": (2,), "sha1+sha256": (1, 2)}
"""Kinds of digests (`wire.code_directory.DIGESTS`), the first one's directory is signed."""

_SCHEMES = frozenset({"rsa-pkcs1v15", "ecdsa"})
_LONGEST_VALUE = 1024
"""Octets of the longest signature value: RSA with 8192 bits."""

_SEGMENT_FLAGS = {
    "get-task-allow": 0x10,
    "com.apple.security.get-task-allow": 0x10,
    "run-unsigned-code": 0x10,
    "com.apple.private.cs.debugger": 0x20,
    "dynamic-codesigning": 0x40,
    "com.apple.private.skip-library-validation": 0x80,
    "com.apple.private.amfi.can-load-cdhash": 0x100,
    "com.apple.private.amfi.can-execute-cdhash": 0x200,
}
"""Entitlements that the executable segment's flags repeat (CS_EXECSEG_*)."""

_WHAT = "code signature"
_VERSION = re.compile(r"(\d{1,5})\.(\d{1,3})(?:\.(\d{1,3}))?")


class Settings(Frozen, frozen=True, kw_only=True):
    """What is asked of a signature; ``entitlements`` is the property list's octets.

    ``runtime`` is the version of the hardened runtime (0x00XXYYZZ), 0 for none and None for
    the one of the SDK that the code was built with.
    """

    identifier: str
    team: str
    flags: int
    runtime: int | None
    requirements: bytes
    entitlements: bytes
    kinds: tuple[int, ...]


class Content(Frozen, frozen=True, kw_only=True):
    """What a code directory speaks of: ``limit`` octets from ``start`` of a source, in pages.

    ``page_size`` is in octets, 0: one page.  ``parts`` is the content of special slots that lies
    outside the superblob, by number (Info.plist, CodeResources).  ``sdk`` is the version of the
    SDK (0x00XXYYZZ), the hardened runtime's where none is asked for.
    """

    source: Source
    limit: int
    start: int = 0
    page_size: int = PAGE
    parts: Mapping[int, bytes] = MappingProxyType({})
    segment: ExecSegment = ExecSegment()
    sdk: int = 0


class CodeDraft(Frozen, frozen=True, kw_only=True):
    """A superblob that lacks its CMS's signature value (an ``envelopes.Draft``)."""

    cms: CmsDraft
    blobs: Mapping[int, bytes]

    @property
    def to_be_signed(self) -> bytes:
        """The CMS's signed attributes (RFC 5652 5.4)."""
        return self.cms.to_be_signed

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm the SignerInfo names."""
        return self.cms.algorithm

    def seal(self, value: bytes, tokens: Sequence[bytes] = ()) -> bytes:
        """Return the superblob, with ``tokens`` beside the value in its CMS."""
        wrapped = sb.make_blob(sb.BLOB_WRAPPER, self.cms.seal(value, tokens))
        return sb.write_superblob({**self.blobs, sb.CMS_SLOT: wrapped})


def read_settings(request: Request, identifier: str) -> Settings:
    """Return what a request asks; ``identifier`` is the code's where the request names none.

    Raises ``NotSignableError`` for an algorithm that Apple's systems do not verify and for
    options that cannot be met.
    """
    algorithm = request.signer.algorithm
    if algorithm.scheme not in _SCHEMES:
        raise NotSignableError(
            _WHAT, f"{algorithm}", "RSA (PKCS #1 v1.5) or ECDSA",
            hint="no system that reads these signatures verifies another algorithm",
        )  # fmt: skip
    options = request.options
    name = _named(options.get("identifier", "") or identifier)
    runtime = _runtime(options.get("runtime", "no"))
    return Settings(
        identifier=name,
        team=_named(options.get("team", "")) or team_of(request.signer.certificates[0]),
        flags=_flags(options.get("flags", "")) | (0 if runtime == 0 else HARDENED_RUNTIME),
        runtime=runtime,
        requirements=_requirements(options.get("requirements", ""), name, request.signer),
        entitlements=options.get("entitlements", "").encode(),
        kinds=_chosen("digests", options.get("digests", "sha256"), _KINDS),
    )


def _named(text: str) -> str:
    if any(not character.isprintable() for character in text):
        raise NotSignableError(_WHAT, repr(text), "an identifier of printable characters")
    return text


def _chosen(option: str, value: str, known: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    if value not in known:
        raise NotSignableError(_WHAT, f"{option}={value}", " or ".join(known))
    return known[value]


def _runtime(text: str) -> int | None:
    if text in ("yes", "no"):
        return None if text == "yes" else 0
    found = _VERSION.fullmatch(text)
    if not found:
        raise NotSignableError(_WHAT, f"runtime={text}", "yes, no, or a version X.Y.Z")
    major, minor, patch = (int(part or 0) for part in found.groups())
    if major > 0xFFFF or minor > 0xFF or patch > 0xFF:
        raise NotSignableError(_WHAT, f"runtime={text}", "at most 65535.255.255")
    return major << 16 | minor << 8 | patch


def _flags(text: str) -> int:
    numbers = {name: number for number, name in FLAGS.items()}
    flags = 0
    for name in filter(None, text.split(",")):
        if name not in numbers or name in ("adhoc", "linker-signed"):
            known = ", ".join(n for n in numbers if n not in ("adhoc", "linker-signed"))
            raise NotSignableError(_WHAT, f"flags={name}", f"of these: {known}")
        flags |= numbers[name]
    return flags


def draft_code(content: Content, settings: Settings, request: Request) -> CodeDraft:
    """Return the draft of a signature over ``content``."""
    pages = [_page_digests(content, kind) for kind in settings.kinds]
    return _draft(content, settings, request.signer, request.at, pages)


def reserve(content: Content, settings: Settings, request: Request) -> int:
    """Return how many octets the signature needs, with room for a timestamp.

    Nothing is read: only ``content``'s sizes count.
    """
    count = _page_count(content)
    pages = [(bytes(DIGESTS[kind][1]),) * count for kind in settings.kinds]
    made = _draft(content, settings, request.signer, request.at, pages)
    size = len(made.seal(bytes(_LONGEST_VALUE))) + TOKEN_ROOM
    return size + -size % ALIGNMENT


def fitted(superblob: bytes, room: int) -> bytes:
    """Return a superblob filled up with zeros to the room there is.

    Raises ``NotSignableError`` where it is larger: its room is part of what was signed.
    """
    if len(superblob) > room:
        raise NotSignableError(
            _WHAT, f"{len(superblob)} octets", f"at most the {room} kept for it",
            hint="sign anew with the timestamp, instead of adding it",
        )  # fmt: skip
    return superblob.ljust(room, b"\0")


def with_token(room: bytes, token: bytes) -> bytes:
    """Return a superblob with its room, with a timestamp (DER) more in its CMS.

    Raises ``NotSignableError`` where there is no CMS, or no room left for it.
    """
    length = sb.blob_length(room, _WHAT, magic=sb.EMBEDDED_SIGNATURE)
    blobs = dict(sb.read_superblob(room[:length], _WHAT))
    if sb.CMS_SLOT not in blobs:
        raise NotSignableError(_WHAT, "no CMS", "one, to put a timestamp beside its value")
    cms = sb.content_of(blobs[sb.CMS_SLOT], _WHAT, magic=sb.BLOB_WRAPPER)
    stamped = with_unsigned(cms, 0, attribute(CMS_TIMESTAMP, token))
    blobs[sb.CMS_SLOT] = sb.make_blob(sb.BLOB_WRAPPER, stamped)
    return fitted(sb.write_superblob(blobs), len(room))


def _page_count(content: Content) -> int:
    return -(-content.limit // content.page_size) if content.page_size else 1


def _page_digests(content: Content, kind: int) -> tuple[bytes, ...]:
    name, size = DIGESTS[kind]
    step = content.page_size or content.limit
    digests = []
    for page in range(_page_count(content)):
        begin = content.start + page * step
        hasher = hashlib.new(name, usedforsecurity=False)
        content.source.feed([(begin, min(begin + step, content.start + content.limit))], [hasher])
        digests.append(hasher.digest()[:size])
    return tuple(digests)


def _draft(
    content: Content,
    settings: Settings,
    signer: Signer,
    at: datetime,
    pages: Sequence[tuple[bytes, ...]],
) -> CodeDraft:
    """Return the draft with these digests of pages, one tuple for each kind of digest."""
    entitlements = read_entitlements(settings.entitlements) if settings.entitlements else {}
    blobs = _blobs(settings, entitlements)
    parts = {**content.parts, **blobs}
    segment = content.segment
    for name, flag in _SEGMENT_FLAGS.items():
        if entitlements.get(name) is True and segment.flags:
            segment = ExecSegment(base=segment.base, limit=segment.limit,
                                  flags=segment.flags | flag)  # fmt: skip
    directories = [
        write_code_directory(
            kind=kind,
            identifier=settings.identifier,
            code=digests,
            code_limit=content.limit,
            page_size=content.page_size,
            special={number: slot_digest(kind, part) for number, part in parts.items()},
            flags=settings.flags,
            team=settings.team,
            runtime=content.sdk if settings.runtime is None else settings.runtime,
            exec_segment=segment,
        )
        for kind, digests in zip(settings.kinds, pages, strict=True)
    ]
    numbers = (sb.DIRECTORY_SLOT, *sb.ALTERNATE_SLOTS)
    return CodeDraft(
        cms=_cms(directories, settings.kinds, signer, at),
        blobs={
            sb.DIRECTORY_SLOT: directories[0],
            **blobs,
            **dict(zip(numbers[1:], directories[1:], strict=False)),
        },
    )


def _blobs(settings: Settings, entitlements: Mapping[str, object]) -> dict[int, bytes]:
    """Return what stands in the superblob beside directories and CMS, by slot."""
    blobs = {sb.REQUIREMENTS_SLOT: settings.requirements}
    if settings.entitlements:
        blobs[sb.ENTITLEMENTS_SLOT] = sb.make_blob(sb.ENTITLEMENTS, settings.entitlements)
        blobs[sb.DER_ENTITLEMENTS_SLOT] = sb.make_blob(
            sb.DER_ENTITLEMENTS, entitlements_der(entitlements)
        )
    return blobs


def _cms(
    directories: Sequence[bytes], kinds: Sequence[int], signer: Signer, at: datetime
) -> CmsDraft:
    """Return the draft of the CMS over the first directory, which binds them all."""
    names = [DIGESTS[kind][0] for kind in kinds]
    digests = [
        hashlib.new(name, directory, usedforsecurity=False).digest()
        for name, directory in zip(names, directories, strict=True)
    ]
    listed = write_plist({"cdhashes": [digest[:CDHASH_OCTETS] for digest in digests]})
    whole = [
        der.sequence(der.oid(DIGEST_OIDS[name]), der.octet_string(digest))
        for name, digest in zip(names, digests, strict=True)
    ]
    return draft(
        DATA,
        directories[0],
        signer,
        form=Form.DETACHED,
        attributes=(
            signing_time(at),
            attribute(CDHASHES_PLIST, der.octet_string(listed)),
            attribute(CDHASHES, *whole),
        ),
        token_oid=CMS_TIMESTAMP,
    )


# ---- what the certificates say ----


def team_of(leaf: bytes) -> str:
    """Return the team that a certificate of Apple's is for; empty for any other certificate."""
    if not any(oid.startswith(_APPLE_LEAVES) for oid in _extensions(leaf)):
        return ""
    return _subject(leaf, UNIT)


def designated(identifier: str, signer: Signer) -> Expression:
    """Return the requirement that later versions of the code will meet, as Apple's tools make it.

    Under Apple's authorities it names team or developer; under others the topmost certificate
    of the leaf's own organization.
    """
    leaf = signer.certificates[0]
    named = Expression(op=Op.IDENTIFIER, data=identifier.encode())
    marks = _extensions(leaf)
    if DEVELOPER_ID_LEAF in marks:
        return conjunction(
            named,
            Expression(op=Op.ANCHOR_APPLE_GENERIC),
            _marked(1, DEVELOPER_ID_AUTHORITY),
            _marked(LEAF, DEVELOPER_ID_LEAF),
            _of_leaf("subject.OU", _subject(leaf, UNIT)),
        )
    if any(oid.startswith(_APPLE_LEAVES) for oid in marks):
        return conjunction(
            named,
            Expression(op=Op.ANCHOR_APPLE_GENERIC),
            _of_leaf("subject.CN", _subject(leaf, COMMON_NAME)),
            _marked(1, DEVELOPER_AUTHORITY),
        )
    return conjunction(named, _pinned(signer.certificates))


def _pinned(path: Sequence[bytes]) -> Expression:
    """Ask for the topmost certificate of the leaf's organization, by its SHA-1."""
    slot = LEAF
    organization = _subject(path[0], ORGANIZATION).casefold()
    while organization and slot + 1 < len(path):
        if _subject(path[slot + 1], ORGANIZATION).casefold() != organization:
            break
        slot += 1
    digest = hashlib.sha1(path[slot], usedforsecurity=False).digest()
    own = outline(path[slot])
    at_root = slot != LEAF and own.issuer == own.subject
    return Expression(op=Op.CERTIFICATE, number=ROOT if at_root else slot, data=digest)


def _marked(slot: int, oid: str) -> Expression:
    data = der.parse(der.oid(oid), _WHAT).content
    return Expression(op=Op.EXTENSION, number=slot, data=data, match=Match(kind=Comparison.EXISTS))


def _of_leaf(key: str, value: str) -> Expression:
    match = Match(kind=Comparison.EQUAL, value=value.encode())
    return Expression(op=Op.FIELD, number=LEAF, data=key.encode(), match=match)


def _requirements(text: str, identifier: str, signer: Signer) -> bytes:
    """Return the set of internal requirements: what is asked, with a designated one at least."""
    if text == "none":
        return write_requirements({})
    try:
        asked = dict(parse_requirements(text)) if text else {}
    except BadInputError as error:
        finding = error.finding
        raise NotSignableError(
            "requirements", f"{finding.found} at {finding.offset}", finding.required
        ) from None
    asked.setdefault(DESIGNATED, designated(identifier, signer))
    return write_requirements({kind: write_requirement(e) for kind, e in asked.items()})


def _extensions(certificate: bytes) -> frozenset[str]:
    """Return the extensions of a certificate, by OID (RFC 5280 4.1.2.9)."""
    fields = der.parse(certificate, _WHAT).fields(_WHAT, 3)[0].fields(_WHAT, 6)
    if fields[-1].tag != 0xA3:
        return frozenset()
    nodes = fields[-1].fields(_WHAT, 1, 0xA3)[0].children()
    return frozenset(node.fields(_WHAT, 2)[0].oid() for node in nodes)


def _subject(certificate: bytes, oid: str) -> str:
    """Return an attribute of a certificate's subject; empty if there is none."""
    for rdn in der.parse(outline(certificate).subject, _WHAT).children():
        for pair in rdn.children():
            kind, value = pair.fields(_WHAT, 2)[:2]
            if kind.oid() == oid:
                return value.text()
    return ""
