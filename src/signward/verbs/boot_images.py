"""What is known of one EFI file before anybody decides about it: digests, signers, SBAT, vendor.

Signatures are checked for integrity only; by which keys they count, `policy.boot.firmware` asks.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

from signward.errors import BadInputError, UnreadableError
from signward.findings import Code, Effect, Finding
from signward.formats import ParseOptions, pe, peek_at
from signward.formats._pe_boot import components, named_sections
from signward.integrity import check_signature, wanted_slots
from signward.inventory.boot.files import BootFile
from signward.policy.boot.firmware import Image, Keys, Signer, Vendor, keys_of
from signward.policy.dbx import Denied, dbx_of
from signward.state import IntactSignature, SignedArtifact, Source
from signward.trust.x509 import Certificate, load_certificate
from signward.wire import siglist
from signward.wire.source import open_source

MAX_SECTION = 1024 * 1024
"""Most octets read of ``.vendor_cert``; real ones have up to 64 KiB."""

_VENDOR = struct.Struct("<IIII")
"""Sizes of what a vendor allows and denies, then where each stands (shim, cert.S)."""

_NAMES = {
    "windows": ("bootmgfw", "bootmgr", "cdboot", "wdsmgfw", "memtest.efi"),
    "grub": ("grub", "gcd"),
    "mok-manager": ("mm", "mokmanager"),
    "fallback": ("fb", "fallback"),
    "fwupd": ("fwup",),
    "systemd-boot": ("systemd-boot", "loader"),
    "kernel": ("vmlinuz", "vmlinux", "bzimage", "linux"),
}
"""What a file is by the beginning of its name, where nothing in it says so."""


def read_image(file: BootFile) -> Image:
    """Return what is known of a file; never raises for what it is or holds."""
    try:
        with open_source(file.path, file.name) as source:
            image = image_of(file, source)
            source.check_unchanged()
            return image
    except UnreadableError as error:
        return _faulty(file, error.finding.found)


def image_of(file: BootFile, source: Source) -> Image:
    """Return what is known of a program that stands in a source; never raises for what it is.

    Raises ``UnreadableError``.
    """
    try:
        return _image(file, source)
    except UnreadableError:
        raise
    except BadInputError as error:
        return _faulty(file, f"{error.finding.subject}: {error.finding.found}")
    except RecursionError:
        return _faulty(file, "structures nested too deeply")


def _faulty(file: BootFile, fault: str) -> Image:
    return Image(name=file.name, role=_role(file.name, frozenset()), packaged=file.packaged,
                 fault=fault)  # fmt: skip


def _image(file: BootFile, source: Source) -> Image:
    form = pe.FORMAT
    if not form.recognise(peek_at(source)):
        kernel = _role(file.name, frozenset()) == "kernel"
        fault = "a kernel without an EFI stub" if kernel else "no EFI program"
        return _faulty(file, fault)
    artifact = form.parse(source, ParseOptions())
    whole = (pe.IMAGE, "sha256")
    computed = form.digests(artifact, wanted_slots(artifact) | {whole})
    signers, broken = _signers(artifact, computed)
    behind = _behind_table(artifact, source)
    if behind:
        signers, broken = (), (f"{behind} octets behind it: firmware hashes other octets then",)
    sections = _sections(artifact, source)
    vendor = _vendor(file.name, sections[b".vendor_cert"]) if b".vendor_cert" in sections else None
    return Image(
        name=file.name,
        role=_role(file.name, frozenset(sections)),
        packaged=file.packaged,
        digests=() if behind else (Denied("sha256", computed[whole]),),
        signers=signers,
        broken=broken,
        components=components(source, artifact.layout),
        vendor=vendor,
    )


def _signers(
    artifact: SignedArtifact, computed: Mapping[tuple[str, str], bytes]
) -> tuple[tuple[Signer, ...], tuple[str, ...]]:
    """Return who made the intact signatures, and what is wrong with the others."""
    signers, broken = [], []
    for claimed in artifact.signatures:
        checked = check_signature(artifact, claimed, computed)
        if isinstance(checked, IntactSignature):
            pool = tuple(_readable(claimed.claimed_certificates))
            signers.append(Signer(leaf=load_certificate(checked.key.holder), pool=pool))
        else:
            broken.append(_reason(checked.findings))
    return tuple(signers), tuple(broken)


def _behind_table(artifact: SignedArtifact, source: Source) -> int:
    """Return how many octets stand behind the certificate table.

    Firmware, shim and sbverify take as many of the table itself into their digest then (EDK II,
    HashPeImage), so that no signature and no digest fits.
    """
    start, size = artifact.layout.table
    return source.length - start - size if start else 0


def _reason(findings: tuple[Finding, ...]) -> str:
    bad = [finding for finding in findings if finding.effect in (Effect.REJECT, Effect.UNKNOWN)]
    code = bad[0].code if bad else Code.MALFORMED
    return str(code)


def _readable(certificates: tuple[bytes, ...]) -> Iterator[Certificate]:
    for certificate in certificates:
        try:
            yield load_certificate(certificate)
        except BadInputError:
            continue  # one that cannot be read leads nowhere


def _sections(artifact: SignedArtifact, source: Source) -> dict[bytes, bytes]:
    """Return the sections that say what a file is, by name; a second of one name is not looked at.

    Raises ``MalformedError`` for one outside the file.
    """
    found: dict[bytes, bytes] = {}
    for section, name in named_sections(source, artifact.layout):
        if name in (b".vendor_cert", b".linux") and name not in found:
            size = min(section.end - section.start, section.virtual_size or MAX_SECTION)
            wanted = 0 if name == b".linux" else min(size, MAX_SECTION)
            found[name] = source.read(section.start, wanted)
    return found


def _vendor(name: str, data: bytes) -> Vendor:
    """Return what a shim's vendor allows and denies: a certificate or lists, each, or nothing."""
    allowed, denied = _vendor_parts(data)
    entries = _as_entries(allowed)
    certificates = [load_certificate(e.data) for e in entries if e.kind == siglist.X509]
    keys: Keys = keys_of(f"built into {name}", entries, certificates)
    return Vendor(allows=keys, denies=dbx_of(f"the list built into {name}", _as_entries(denied)))


def denied_by_vendor(path: str) -> bytes:
    """Return the signature lists of what a shim's vendor refuses; nothing where there are none.

    Raises ``BadInputError`` and ``UnreadableError``.
    """
    with open_source(path) as source:
        artifact = pe.FORMAT.parse(source, ParseOptions())
        sections = _sections(artifact, source)
        source.check_unchanged()
    return _vendor_parts(sections.get(b".vendor_cert", b""))[1]


def _vendor_parts(data: bytes) -> tuple[bytes, bytes]:
    if len(data) < _VENDOR.size:
        return b"", b""
    allow_size, deny_size, allow_at, deny_at = _VENDOR.unpack_from(data)
    return data[allow_at : allow_at + allow_size], data[deny_at : deny_at + deny_size]


def _as_entries(data: bytes) -> tuple[siglist.Entry, ...]:
    if not data:
        return ()
    if data[:1] == b"\x30":  # a certificate by itself (VENDOR_CERT_FILE)
        return (siglist.Entry(kind=siglist.X509, owner="", data=data),)
    return siglist.read_lists(data)


def _role(path: str, sections: frozenset[bytes]) -> str:
    """Return what a file is: by its sections, else by its name."""
    if b".vendor_cert" in sections:
        return "shim"
    if b".linux" in sections:
        return "unified-kernel"
    name = path.rpartition("/")[2].lower()
    for role, beginnings in _NAMES.items():
        if name.startswith(beginnings):
            return role
    return "shim" if name.startswith("shim") else "other"
