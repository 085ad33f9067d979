"""RPM packages (format versions 4 and 6): a lead, two headers, a payload.

Source: rpm.org's description of the package format, rpm's own rules for reading and verifying.
A signature in the signature header is over the header (its immutable region), which gives the
digests of the payload and of each file in it.  Older ones are over header and payload (tags PGP
and GPG): one alone is refused, for readers that go by the header never ask for it; beside others
it must count as they do.  A payload that the header gives no SHA-2 or SHA-3 digest of is covered
by such a signature alone.

Digests in the signature header are nobody's word: they must match, and are never enough.

IMA signatures of files, in the same place, are counted and not judged: each speaks of one file
to the kernel that it is installed under.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from signward.envelopes.openpgp import Opened
from signward.errors import BadInputError, NotSignableError, TooLargeError
from signward.findings import Code, Effect, Finding
from signward.formats import Existing, Match, ParseOptions, Peek, Request, Signing, may_sign
from signward.formats._rpm_files import DIGESTS, Files, Unpacking, read_files
from signward.formats._rpm_layout import (
    HEADER,
    IMA,
    LEAD_MAGIC,
    LONG_SIZE,
    PACKAGE,
    PAYLOAD,
    SIZE,
    UNPACKED,
    Package,
    digest_slot,
    digests_of,
    hexadecimal,
    packets_of,
    read_package,
    regions_of,
    signatures_of,
    slot_of,
)
from signward.frozen import Frozen
from signward.state import Hasher, Manifest, Region, SignedArtifact, Slot, Source, Wanted
from signward.wire.compressed import unpacked
from signward.wire.patch import PatchSet
from signward.wire.rpm import Header

MAX_UNPACKED = 8 * 1024 * 1024 * 1024
"""Octets that a payload may unpack to; the largest packages of distributions have some 4 GiB."""

NAME, VERSION, RELEASE, EPOCH, VENDOR, ARCHITECTURE = 1000, 1001, 1002, 1003, 1011, 1022
FORMAT_VERSION, PAYLOAD_FORMAT, COMPRESSOR = 5114, 1124, 1125
_PAYLOAD_DIGESTS = {5092: PAYLOAD, 5097: UNPACKED}
_PAYLOAD_ALGORITHM = 5093
_MORE_DIGESTS = {
    5121: (PAYLOAD, "sha512"), 5122: (UNPACKED, "sha512"), 5123: (PAYLOAD, "sha3_256"),
    5124: (UNPACKED, "sha3_256"),
}  # fmt: skip
"""Tags of the header: the payload's digests, by an algorithm that another names or fixed."""

COMPRESSORS = frozenset({"gzip", "bzip2", "xz", "lzma", "zstd"})
_CPIO_MAGIC = b"0707"
_WEAK = frozenset({"md5", "sha1"})
_PIECE = 1024 * 1024
_CLAUSE = "RPM package format"


class _Layout(Frozen, frozen=True, kw_only=True):
    """The parts, the listed files, and signatures by their slots.

    ``compressor`` is how the payload is packed; empty where it is not to be unpacked.
    """

    package: Package
    files: Files
    compressor: str
    opened: Mapping[str, tuple[str, Opened]]


class RpmFormat:
    """The RPM package."""

    name = "rpm"
    spec = "RPM package format, versions 4 and 6; RFC 9580"
    extensions: tuple[str, ...] = (".rpm",)
    options: Mapping[str, str] = MappingProxyType({})

    def recognise(self, peek: Peek) -> Match:
        """Recognise the lead's magic."""
        return Match.MAGIC if peek.head.startswith(LEAD_MAGIC) else Match.NO

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Read both headers; the payload is not looked at yet."""
        package = read_package(source)
        found = list(signatures_of(package.signature))
        files = read_files(package.header)
        # What nobody signed is not unpacked: there is nothing to be found in it.
        compressor = _compressor(package, source) if found else ""
        payload = tuple(
            one
            for one in _payload_digests(package.header)
            if compressor or slot_of(one.name) == PAYLOAD
        )
        inside = files.slots() if compressor else ()
        signatures = tuple(one.claimed for _, one in found)
        whole = [one.claimed.label for slot, one in found if slot == PACKAGE]
        alone = len(whole) == len(found)
        covered = bool(whole) or not found or any(map(_is_strong, payload))
        return SignedArtifact(
            format=self.name,
            source=source,
            signatures=signatures,
            required={one.label: frozenset({one.over}) for one in signatures},
            conditions={label: (_old(label),) for label in whole if alone},
            listed=(*digests_of(package.signature), *payload, *inside),
            every=bool(whole),
            regions=(*regions_of(package), *_uncovered(package, source, covered=covered)),
            profile="openpgp",
            findings=tuple(_objections(package, source)),
            facts=_facts(package),
            layout=_Layout(package=package, files=files, compressor=compressor,
                           opened={one.claimed.over: (slot, one) for slot, one in found}),
        )  # fmt: skip

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute the digests of header and payload, then of the files in the payload."""
        layout: _Layout = artifact.layout
        found = _raw_digests(artifact.source, layout, wanted)
        if not layout.compressor:
            return found
        try:
            return found | _file_digests(artifact.source, layout, wanted)
        except BadInputError:
            # Of a payload that is not the one its header speaks of, that is the thing to say.
            if all(found.get((s.name, s.algorithm), s.digest) == s.digest for s in artifact.listed):
                raise
            return found

    def sign(self, source: Source, request: Request) -> Signing:
        """Sign the header; that it speaks for this payload is asked of the result."""
        from signward.envelopes.openpgp_draft import draft_openpgp
        from signward.formats._rpm_sign import embedded, kept_packets

        package = read_package(source)
        may_sign(bool(list(packets_of(package.signature))), request, "RPM")
        kept = kept_packets(package) if request.existing is Existing.NESTED else []
        if not any(map(_is_strong, _payload_digests(package.header))):
            raise NotSignableError("RPM", "a header without SHA-2 or SHA-3 digest of the payload",
                                   "one: the signature would cover the header alone",
                                   hint="build it with rpm 4.14 or later")  # fmt: skip
        signed = memoryview(package.header.signed)

        def feed(hashers: Sequence[Hasher]) -> None:
            for hasher in hashers:
                hasher.update(signed)

        packet = yield draft_openpgp(request.signer, request.at, feed)
        if packet in kept:
            raise NotSignableError("RPM", "this very signature", "another")
        return embedded(package, (*kept, packet), _version(package))

    def envelopes(self, source: Source) -> tuple[bytes, ...]:
        """Return the signatures' packets, those of the old kind too."""
        found = packets_of(read_package(source).signature)
        return tuple(dict.fromkeys(packet for _, packet in found))

    def embed(self, source: Source, envelopes: tuple[bytes, ...]) -> PatchSet:
        """Return the patch that makes these packets the signatures over the header."""
        from signward.formats._rpm_sign import embedded

        package = read_package(source)
        return embedded(package, envelopes, _version(package))


def _version(package: Package) -> int:
    return package.header.number(FORMAT_VERSION) or 4


def _is_strong(slot: Slot) -> bool:
    """Say whether a digest is of the payload's very octets, and no weak one."""
    return slot_of(slot.name) == PAYLOAD and slot.algorithm not in _WEAK


def _facts(package: Package) -> dict[str, str | int]:
    header = package.header
    told = {"package": NAME, "vendor": VENDOR, "architecture": ARCHITECTURE}
    facts: dict[str, str | int] = {
        key: text for key, tag in told.items() if (text := header.text(tag)) is not None
    }
    if version := version_of(header):
        facts["version"] = version
    facts["rpm-format"] = _version(package)
    ima = sum(map(bool, package.signature.strings(IMA)))
    return facts | ({"ima-signatures": ima} if ima else {})


def version_of(header: Header) -> str:
    """Return a package's whole version, ``EPOCH:VERSION-RELEASE``; empty where it has none."""
    version, release = header.text(VERSION), header.text(RELEASE)
    if version is None or release is None:
        return ""
    epoch = header.number(EPOCH)
    return f"{'' if epoch is None else f'{epoch}:'}{version}-{release}"


def _payload_digests(header: Header) -> Iterator[Slot]:
    """Yield the digests of the payload that the header gives."""
    named = header.number(_PAYLOAD_ALGORITHM)
    algorithm = "sha256" if named is None else DIGESTS.get(named, f"unknown:{named}")
    for tag, slot in _PAYLOAD_DIGESTS.items():
        for text in header.strings(tag)[:1]:
            digest = hexadecimal(text.decode("ascii", "replace"), header)
            yield digest_slot(slot, algorithm, digest)
    for tag, (slot, fixed) in _MORE_DIGESTS.items():
        text_of = header.text(tag)
        if text_of is not None:
            yield digest_slot(slot, fixed, hexadecimal(text_of, header))


def _uncovered(package: Package, source: Source, *, covered: bool) -> Iterator[Region]:
    if not covered:
        yield Region(start=package.payload, end=source.length,
                     what="payload, of which the header gives no digest that counts")  # fmt: skip


def _old(label: str) -> Finding:
    return Finding(
        code=Code.ATTRIBUTE_RULE, effect=Effect.REJECT, subject=f"signature {label}",
        found="a signature of the old kind alone (tag PGP or GPG)",
        required="one over the header: readers of headers know no other", clause=_CLAUSE,
    )  # fmt: skip


def _objections(package: Package, source: Source) -> Iterator[Finding]:
    """Report another size than the signature header tells, and payloads of another kind."""
    told = package.signature.number(LONG_SIZE) or package.signature.number(SIZE)
    size = source.length - package.start
    if told is not None and told != size:
        yield Finding(
            code=Code.DIGEST_MISMATCH, effect=Effect.REJECT, subject="header and payload",
            found=f"{size} octets", required=f"{told}, as the signature header says",
            clause=_CLAUSE,
        )  # fmt: skip
    kind = package.header.text(PAYLOAD_FORMAT)
    packed = package.header.text(COMPRESSOR) or "gzip"
    if kind not in (None, "cpio") or packed not in COMPRESSORS:
        yield Finding(
            code=Code.UNSUPPORTED_KIND, effect=Effect.UNKNOWN, subject="payload",
            found=f"format {kind}, packed with {packed}"[:200],
            required=f"cpio, packed with {', '.join(sorted(COMPRESSORS))}", clause=_CLAUSE,
        )  # fmt: skip


def _compressor(package: Package, source: Source) -> str:
    """Return how the payload is packed, ``none`` for not at all; empty where that is not known.

    Version 6 has a tag without a value for an archive that is not packed; rpm's own reader of
    gzip files passes on what is none.
    """
    packed = package.header.text(COMPRESSOR) or "gzip"
    if package.header.text(PAYLOAD_FORMAT) not in (None, "cpio") or packed not in COMPRESSORS:
        return ""
    size = min(len(_CPIO_MAGIC), source.length - package.payload)
    plain = packed == "gzip" and source.read(package.payload, size) == _CPIO_MAGIC
    return "none" if plain else packed


def _raw_digests(source: Source, layout: _Layout, wanted: Wanted) -> dict[tuple[str, str], bytes]:
    """Return the digests of header and payload as they stand, in one pass."""
    header, payload = layout.package.header.signed, layout.package.payload
    made = {}
    streamed = []
    for name, algorithm in wanted:
        slot, opened = layout.opened.get(name, (slot_of(name), None))
        if slot not in (HEADER, PACKAGE, PAYLOAD):
            continue
        before = opened.before if opened else b""
        hasher = hashlib.new(algorithm, before, usedforsecurity=False)
        if slot != PAYLOAD:
            hasher.update(header)
        if slot != HEADER:
            streamed.append(hasher)
        made[name, algorithm] = hasher, opened.behind if opened else b""
    if streamed:
        source.feed([(payload, source.length)], streamed)
    found = {}
    for pair, (hasher, behind) in made.items():
        hasher.update(behind)
        found[pair] = hasher.digest()
    return found


def _file_digests(source: Source, layout: _Layout, wanted: Wanted) -> dict[tuple[str, str], bytes]:
    """Return the digests of the files in the payload, and of what it unpacks to, in one pass."""
    by_name: dict[str, list[str]] = {}
    for name, algorithm in wanted:
        by_name.setdefault(slot_of(name), []).append(algorithm)
    whole = {one: hashlib.new(one, usedforsecurity=False) for one in by_name.get(UNPACKED, ())}
    reading = Unpacking(layout.files, by_name)
    reading.read(_counted(_pieces(source, layout), whole.values()))
    unpacking = {digest_slot(UNPACKED, one, h.digest()) for one, h in whole.items()}
    return reading.digests | {(slot.name, slot.algorithm): slot.digest for slot in unpacking}


def _pieces(source: Source, layout: _Layout) -> Iterator[bytes]:
    start, end = layout.package.payload, source.length
    packed = (source.read(at, min(_PIECE, end - at)) for at in range(start, end, _PIECE))
    if layout.compressor == "none":
        return packed
    return unpacked(packed, layout.compressor, "RPM payload")


def _counted(pieces: Iterator[bytes], hashers: Iterable[hashlib._Hash]) -> Iterator[bytes]:
    left = MAX_UNPACKED
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise TooLargeError("RPM payload", "more octets", f"at most {MAX_UNPACKED} unpacked")
        for hasher in hashers:
            hasher.update(piece)
        yield piece


FORMAT = RpmFormat()
