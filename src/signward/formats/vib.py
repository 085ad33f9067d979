"""VMware installation bundles (.vib): an ar archive whose descriptor is signed.

VMware publishes no specification; sources are its "What's in a VIB?" and VIB Author, and public
builders.  The members are ``descriptor.xml``, ``sig.pkcs7`` and the payloads, in this order.  The
signature is a detached CMS (PEM or DER) over the descriptor's octets; an empty one is none.  The
descriptor lists the payloads by digest: of their octets, and of what gunzip makes of them.

**A level is a claim.**  The descriptor says how far VMware stands behind it.  The two levels that
VMware gives itself count only for a signer whose certificate names VMware or its owner as
organization; that such a certificate is genuine is for its path to prove.

Headers of members hold times, owners and modes that nobody reads and nothing covers.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from signward.errors import LimitError, MalformedError, NotSignableError
from signward.findings import Code, Effect, Finding
from signward.formats import Existing, Match, ParseOptions, Peek, Request, Signing, may_sign
from signward.formats._vib_descriptor import (
    CLAUSE,
    LEVELS,
    MAX_OCTETS,
    Descriptor,
    Payload,
    read_descriptor,
)
from signward.frozen import Frozen
from signward.state import (
    ClaimedSignature,
    Manifest,
    Region,
    SignedArtifact,
    Slot,
    Source,
    Wanted,
)
from signward.wire.ar import HEADER, MAGIC, Member, header, read_ar
from signward.wire.certificate import organizations, signer_of
from signward.wire.patch import Edit, PatchSet

DESCRIPTOR = "descriptor.xml"
SIGNATURE = "sig.pkcs7"

MAX_SIGNATURE = 4 * 1024 * 1024
"""Largest signature read; one with a timestamp and its certificates has some 10 KiB."""

MAX_UNPACKED = 8 * 1024 * 1024 * 1024
"""Octets that one payload may unpack to: the largest of ESXi's have some 300 MB."""

MAX_STREAMS = 1024
"""Gzip files one behind the other in one payload; writers make one."""

OWNERS = frozenset({"vmware, inc.", "vmware, inc", "vmware inc.", "vmware", "vmware, llc",
                    "vmware llc", "broadcom inc", "broadcom inc.", "broadcom, inc."})  # fmt: skip
"""Organizations that may give the levels of ``RESERVED``, in lower case."""

RESERVED = ("certified", "accepted")

_PART = "part:"
_UNPACKED = "part:unpacked:"
"""How slots of payloads are named: no member of an archive has a colon in its name."""

_PIECE = 1 << 20
_WHAT = "VIB"
_PEM = re.compile(
    rb"-----BEGIN (PKCS7|CMS)-----\r?\n((?:[A-Za-z0-9+/=]{1,76}\r?\n)+)-----END \1-----\r?\n?\Z"
)
_COLUMNS = 64


class _Layout(Frozen, frozen=True, kw_only=True):
    """Where things lie."""

    descriptor: Member
    signature: Member | None
    payloads: Mapping[str, Member]


class VibFormat:
    """The VIB."""

    name = "vib"
    spec = "VMware installation bundle: detached CMS over descriptor.xml"
    extensions: tuple[str, ...] = (".vib",)
    options: Mapping[str, str] = MappingProxyType({})

    def recognise(self, peek: Peek) -> Match:
        """Recognise an ar archive whose first member is a descriptor."""
        first = peek.head[8:24].rstrip(b" ").removesuffix(b"/")
        is_vib = peek.head[:8] == MAGIC and first == DESCRIPTOR.encode()
        return Match.SPECIFIC if is_vib else Match.NO

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Read the descriptor, the signature over it and where the payloads lie."""
        from signward.envelopes.cms_detached import by_own_certificate, open_detached

        layout = _layout(source)
        descriptor = read_descriptor(_content(source, layout.descriptor, MAX_OCTETS))
        blob = _signature(source, layout)
        opened = open_detached(blob, DESCRIPTOR) if blob else ()
        signatures = tuple(map(by_own_certificate, opened))
        return SignedArtifact(
            format=self.name,
            source=source,
            signatures=signatures,
            required={one.label: frozenset({DESCRIPTOR}) for one in signatures},
            conditions={one.label: tuple(_forged(descriptor, one)) for one in signatures},
            listed=tuple(_listed(descriptor)),
            regions=tuple(_regions(descriptor, layout)),
            findings=tuple(_contradictions(descriptor, layout)),
            facts={"acceptance-level": LEVELS[descriptor.level], **_named(descriptor)},
            layout=layout,
        )

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute the digests of the descriptor and of payloads, packed and unpacked."""
        layout: _Layout = artifact.layout
        found: dict[tuple[str, str], bytes] = {}
        for name, algorithm in wanted:
            packed, unpacked = name.removeprefix(_PART), name.removeprefix(_UNPACKED)
            payload = unpacked if name.startswith(_UNPACKED) else packed
            member = layout.descriptor if name == DESCRIPTOR else layout.payloads.get(payload)
            if member is None or not (name == DESCRIPTOR or name.startswith(_PART)):
                continue
            hasher = hashlib.new(algorithm, usedforsecurity=False)
            unpacker = _Unpacker(payload, hasher) if name.startswith(_UNPACKED) else None
            artifact.source.feed([(member.content, member.end)], [unpacker or hasher])
            if unpacker:
                unpacker.close()
            found[name, algorithm] = hasher.digest()
        return found

    def sign(self, source: Source, request: Request) -> Signing:
        """Sign the descriptor; that the payloads are those it lists is asked of the result."""
        from signward.envelopes.cms_detached import draft_detached

        layout = _layout(source)
        may_sign(bool(_signature(source, layout)), request, _WHAT)
        if _signature(source, layout) and request.existing is Existing.NESTED:
            raise NotSignableError(_WHAT, "a signature", "none: there is room for one",
                                   hint="--replace puts the new one in its place")  # fmt: skip
        descriptor = read_descriptor(_content(source, layout.descriptor, MAX_OCTETS))
        if descriptor.level in RESERVED and not _is_owner(request.signer.certificates[0]):
            raise NotSignableError(_WHAT, f"level {LEVELS[descriptor.level]}",
                                   "one that this signer may give", CLAUSE)  # fmt: skip
        hasher = hashlib.new(request.signer.digest, usedforsecurity=False)
        source.feed([(layout.descriptor.content, layout.descriptor.end)], [hasher])
        sealed = yield draft_detached(hasher.digest(), request.signer, request.at)
        return self.embed(source, (sealed,))

    def envelopes(self, source: Source) -> tuple[bytes, ...]:
        """Return the CMS (DER), if there is one."""
        blob = _signature(source, _layout(source))
        return (blob,) if blob else ()

    def embed(self, source: Source, envelopes: tuple[bytes, ...]) -> PatchSet:
        """Return the patch that puts the first envelope in the signature's place, or empties it."""
        layout = _layout(source)
        data = _pem(envelopes[0]) if envelopes else b""
        old, at = layout.signature, layout.descriptor.next
        like = source.read(old.start, HEADER) if old else b""
        whole = header(SIGNATURE, len(data), like) + data + b"\n" * (len(data) % 2)
        end = old.next if old else at
        return PatchSet(edits=(Edit(start=at, end=end, data=whole),))


def _layout(source: Source) -> _Layout:
    """Return where things lie; descriptor and signature stand in front."""
    members = read_ar(source)
    if not members or members[0].name != DESCRIPTOR:
        raise MalformedError(_WHAT, "another member in front", DESCRIPTOR, CLAUSE)
    signature = members[1] if len(members) > 1 and members[1].name == SIGNATURE else None
    rest = members[2:] if signature else members[1:]
    if any(one.name == SIGNATURE for one in rest):
        raise MalformedError(_WHAT, f"{SIGNATURE} behind a payload", "it behind the descriptor",
                             CLAUSE)  # fmt: skip
    return _Layout(
        descriptor=members[0], signature=signature, payloads={one.name: one for one in rest}
    )


def _content(source: Source, member: Member, most: int) -> bytes:
    if member.size > most:
        raise LimitError(member.name, f"{member.size} octets", f"at most {most}")
    return source.read(member.content, member.size)


def _signature(source: Source, layout: _Layout) -> bytes:
    """Return the CMS (DER); empty where there is none."""
    if layout.signature is None or not layout.signature.size:
        return b""
    data = _content(source, layout.signature, MAX_SIGNATURE)
    if data[:1] == b"\x30":
        return data
    armoured = _PEM.match(data)
    if armoured is None:
        raise MalformedError(SIGNATURE, "neither DER nor PEM", "a CMS", "RFC 7468 8")
    text = b"".join(armoured[2].split())
    try:
        blob = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error as error:
        raise MalformedError(SIGNATURE, str(error)[:80], "Base64", "RFC 4648 4") from None
    if base64.b64encode(blob) != text:
        raise MalformedError(SIGNATURE, "bits that stand for nothing", "zeros", "RFC 4648 3.5")
    return blob


def _pem(blob: bytes) -> bytes:
    text = base64.b64encode(blob)
    lines = [text[i : i + _COLUMNS] for i in range(0, len(text), _COLUMNS)]
    return b"\n".join((b"-----BEGIN PKCS7-----", *lines, b"-----END PKCS7-----", b""))


def _listed(descriptor: Descriptor) -> Iterator[Slot]:
    for payload in descriptor.payloads:
        for one in payload.checksums:
            name = f"{_UNPACKED if one.unpacked else _PART}{payload.name}"
            yield Slot(name=name, algorithm=one.algorithm, digest=one.digest)


def _is_covered(payload: Payload) -> bool:
    """Say whether a digest that is not SHA-1 is of the payload's very octets."""
    return any(not one.unpacked and one.algorithm != "sha1" for one in payload.checksums)


def _regions(descriptor: Descriptor, layout: _Layout) -> Iterator[Region]:
    """Yield members that the descriptor does not list, or by no digest; and what nobody reads."""
    for member in filter(None, (layout.descriptor, layout.signature, *layout.payloads.values())):
        what = f"times, owner and mode of {member.name}"
        yield Region(start=member.start + 16, end=member.start + 48, what=what, exempt="ar(5)")
    listed = {one.name: one for one in descriptor.payloads}
    for name, member in layout.payloads.items():
        payload = listed.get(name)
        if payload is None:
            yield Region(start=member.start, end=member.next, what=f"{name}, not in the descriptor")
        elif not payload.checksums:
            yield Region(start=member.start, end=member.next, what=f"{name}, without checksum")


def _contradictions(descriptor: Descriptor, layout: _Layout) -> Iterator[Finding]:
    """Report payloads that are absent, of another size, or listed by weak digests only."""
    for payload in descriptor.payloads:
        member = layout.payloads.get(payload.name)
        if member is None:
            yield _finding(Code.SLOT_MISSING, payload.name, "no such member", "the payload")
        elif payload.size is not None and payload.size != member.size:
            yield _finding(Code.DIGEST_MISMATCH, payload.name, f"{member.size} octets",
                           f"{payload.size} octets, as the descriptor says")  # fmt: skip
        elif payload.checksums and not _is_covered(payload):
            yield _finding(Code.WEAK_DIGEST, payload.name, "only SHA-1, or digests of what it "
                           "unpacks to", "a SHA-2 digest of its octets")  # fmt: skip


def _forged(descriptor: Descriptor, signature: ClaimedSignature) -> Iterator[Finding]:
    """Report a level that VMware alone gives, claimed by another signer."""
    certificate = signer_of(signature.claimed_signer, signature.claimed_certificates)
    if descriptor.level in RESERVED and not _is_owner(certificate):
        named = ", ".join(organizations(certificate)) or "nobody"
        yield _finding(Code.PUBLISHER_MISMATCH, "acceptance level",
                       f"{LEVELS[descriptor.level]}, signed by {named[:200]}",
                       "VMware as the signer")  # fmt: skip


def _is_owner(certificate: bytes) -> bool:
    named = organizations(certificate)
    return len(named) == 1 and named[0].casefold() in OWNERS


def _named(descriptor: Descriptor) -> dict[str, str]:
    told = {"package": "name", "version": "version", "vendor": "vendor"}
    return {key: descriptor.told[name] for key, name in told.items() if name in descriptor.told}


def _finding(code: Code, subject: str, found: str, required: str) -> Finding:
    return Finding(code=code, effect=Effect.REJECT, subject=subject, found=found,
                   required=required, clause=CLAUSE)  # fmt: skip


class _Unpacker:
    """Feeds a hasher with what gunzip makes of what it is fed with (RFC 1952)."""

    def __init__(self, name: str, hasher: hashlib._Hash) -> None:
        self._name, self._hasher, self._left = name, hasher, MAX_UNPACKED
        self._streams = 1
        self._stream = zlib.decompressobj(wbits=31)

    def update(self, data: memoryview) -> None:
        """Unpack a piece.  Raises ``MalformedError`` and ``LimitError``."""
        rest = bytes(data)
        while rest:
            if self._stream.eof:  # gzip files may be several, one behind the other
                self._streams += 1
                if self._streams > MAX_STREAMS:
                    raise LimitError(self._name, "more gzip files", f"at most {MAX_STREAMS}")
                self._stream = zlib.decompressobj(wbits=31)
            try:
                out = self._stream.decompress(rest, _PIECE)
            except zlib.error:
                raise MalformedError(self._name, "no gzip", "a gzip file", "RFC 1952") from None
            self._left -= len(out)
            if self._left < 0:
                raise LimitError(self._name, "more octets", f"at most {MAX_UNPACKED} unpacked")
            self._hasher.update(out)
            rest = self._stream.unconsumed_tail or self._stream.unused_data

    def close(self) -> None:
        """Raise ``MalformedError`` for a stream that is cut short."""
        if not self._stream.eof:
            raise MalformedError(self._name, "a gzip file cut short", "a whole one", "RFC 1952")


FORMAT = VibFormat()
