r"""The binary form of App Control policies (``.cip``, and ``SiPolicy.p7b`` once signed).

No specification is published.  The layout was taken from two readers of it that agree, Matt
Graeber's ConvertTo-CIPolicy and HotCakeX's AppControl Manager, and from the writer of the latter.
Everything is little-endian; counts, lengths and indices have 32 bits; octets are counted and padded
to a multiple of four with zeros; text is UTF-16LE, counted in octets, padded, with a zero word
after it; a version is 64 bits, its first number the highest 16.

::

    0x00 format 7 or 8      0x04 BasePolicyID     0x14 PlatformID (GUIDs, mixed-endian)
    0x24 options            0x28 EKUs, file rules, signers, scenarios (counts)
    0x38 VersionEx          0x40 the length of this header, 0x40
    0x44 EKUs, file rules, signers, update signers, CI signers, scenarios, HVCI, settings
         3  highest versions and AppIDs of the file rules, times of the signers
         4  further names          5  packages
         6  PolicyID, BasePolicyID, supplemental signers
         7  paths                  8  (format 8) application settings
         the format's number and one, at the end

File rules are sorted, as Windows' own tool does: by kind, names (without case), hash.  Names of
rules are not kept, nor what a Deny without versions looked like.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, TypeVar

from signward.compilers._sipolicy import (
    HIGHEST,
    KEY,
    LOWEST,
    PROVIDER,
    Eku,
    FileKind,
    FileRule,
    Scenario,
    Signer,
    SignerRef,
    SiPolicy,
    Version,
)
from signward.compilers._sipolicy_read import oid_of
from signward.errors import BadInputError, PolicyError
from signward.frozen import replace
from signward.wire import der

CONTENT_TYPE = "1.3.6.1.4.1.311.79.1"
"""What a signed policy's PKCS#7 SignedData holds (Microsoft Learn, "Use signed policies")."""

FORMATS = (7, 8)
"""Formats written: 7 since Windows 10 1903, with paths; 8 adds application settings."""

OLDEST_READ = 6
"""The first format with a policy's own GUID."""

MAX_OCTETS = 64 * 1024 * 1024
"""Largest policy read; Windows' own has some hundred thousand."""

MAX_COUNT = 1 << 20
"""Most rules, signers, EKUs or references in one place."""

HEADER = 0x40
MINIMUM_HASH = 0x800C
"""CALG_SHA_256: what a scenario without ``MinimumHashAlgorithm`` has."""

ALWAYS, SUPPLEMENT = 0x80000000, 0x40000000

OPTIONS: Mapping[str, int] = {
    "Enabled:UMCI": 1 << 2,
    "Enabled:Boot Menu Protection": 1 << 3,
    "Enabled:Intelligent Security Graph Authorization": 1 << 4,
    "Enabled:Invalidate EAs on Reboot": 1 << 5,
    "Required:WHQL": 1 << 7,
    "Enabled:Developer Mode Dynamic Code Trust": 1 << 8,
    "Enabled:Allow Supplemental Policies": 1 << 10,
    "Disabled:Runtime FilePath Rule Protection": 1 << 11,
    "Enabled:Revoked Expired As Unsigned": 1 << 13,
    "Enabled:Audit Mode": 1 << 16,
    "Disabled:Flight Signing": 1 << 17,
    "Enabled:Inherit Default Policy": 1 << 18,
    "Enabled:Unsigned System Integrity Policy": 1 << 19,
    "Enabled:Dynamic Code Security": 1 << 20,
    "Required:EV Signers": 1 << 21,
    "Enabled:Boot Audit On Failure": 1 << 22,
    "Enabled:Advanced Boot Options Menu": 1 << 23,
    "Disabled:Script Enforcement": 1 << 24,
    "Required:Enforce Store Applications": 1 << 25,
    "Enabled:Secure Setting Policy": 1 << 26,
    "Enabled:Managed Installer": 1 << 27,
    "Enabled:Update Policy No Reboot": 1 << 28,
    "Enabled:Conditional Windows Lockdown Policy": 1 << 29,
}

_KNOWN_FLAGS = ALWAYS | SUPPLEMENT | sum(OPTIONS.values())

T = TypeVar("T")


def write_cip(policy: SiPolicy, form: Literal[7, 8] = 8) -> bytes:
    """Return the policy's binary form, unsigned.

    Raises ``PolicyError`` for an option that has no bit, or a reference to nothing.
    """
    files = sorted(policy.files, key=_order)
    writer = _Writer(policy, files)
    body = writer.body(form)
    counts = (len(policy.ekus), len(files), len(policy.signers), len(policy.scenarios))
    return b"".join((
        _u32(form),
        _guid(policy.base_id),
        _guid(policy.platform_id),
        _u32(_flags(policy)),
        *map(_u32, counts),
        _version(policy.version),
        _u32(HEADER),
        body,
    ))  # fmt: skip


def _flags(policy: SiPolicy) -> int:
    flags = ALWAYS | (SUPPLEMENT if policy.is_supplement else 0)
    for option in policy.options:
        if option not in OPTIONS:
            raise PolicyError(f"option {option!r}", "no bit for it", "one of the binary form")
        flags |= OPTIONS[option]
    return flags


def _order(rule: FileRule) -> tuple[object, ...]:
    names = (rule.file_name, rule.internal_name, rule.description, rule.product_name,
             rule.package_family, rule.path)  # fmt: skip
    return (rule.kind, *(name.upper().encode("utf-16-be", "replace") for name in names),
            rule.digest, *(end or LOWEST for end in rule.bounds))  # fmt: skip


class _Writer:
    """Writes a body; identifiers become indices."""

    def __init__(self, policy: SiPolicy, files: list[FileRule]) -> None:
        self._policy, self._files = policy, files
        self._at = {
            identifier: number
            for group in (policy.ekus, files, policy.signers)
            for number, identifier in enumerate(one.id for one in group)
        }

    def body(self, form: int) -> bytes:
        """Return what stands behind the header."""
        parts = [self._first(), self._third(), self._names(), self._packages(), self._guids(),
                 self._paths()]  # fmt: skip
        if form == 8:
            parts.append(_u32(8) + _u32(0))
        return b"".join(parts) + _u32(form + 1)

    def _first(self) -> bytes:
        policy = self._policy
        return b"".join((
            *(_octets(eku.value) for eku in policy.ekus),
            *map(_file, self._files),
            *map(self._signer, policy.signers),
            self._indices(policy.update_signers),
            self._indices(policy.ci_signers),
            *map(self._scenario, policy.scenarios),
            _u32(policy.hvci),
            _u32(len(policy.told)),
            *(_setting(name, value) for name, value in policy.told),
        ))  # fmt: skip

    def _third(self) -> bytes:
        files = (_version(rule.bounds[1] or LOWEST) + _u32(0) for rule in self._files)
        times = (bytes(8) for _ in self._policy.signers)
        return b"".join((_u32(3), *files, *times))

    def _names(self) -> bytes:
        names = (
            _text(rule.internal_name) + _text(rule.description) + _text(rule.product_name)
            for rule in self._files
        )
        return b"".join((_u32(4), *names))

    def _packages(self) -> bytes:
        packages = (_text(rule.package_family) + _version(LOWEST) for rule in self._files)
        return b"".join((_u32(5), *packages))

    def _guids(self) -> bytes:
        policy = self._policy
        return b"".join((_u32(6), _guid(policy.id), _guid(policy.base_id),
                         self._indices(policy.supplemental_signers)))  # fmt: skip

    def _paths(self) -> bytes:
        return b"".join((_u32(7), *(_text(rule.path) for rule in self._files)))

    def _index(self, identifier: str) -> bytes:
        if identifier not in self._at:
            raise PolicyError(f"reference to {identifier!r}", "nothing of that name", "one")
        return _u32(self._at[identifier])

    def _indices(self, identifiers: Iterable[str]) -> bytes:
        found = [self._index(identifier) for identifier in identifiers]
        return _u32(len(found)) + b"".join(found)

    def _signer(self, signer: Signer) -> bytes:
        root = (
            (_u32(0) + _octets(signer.tbs)) if signer.tbs else (_u32(1) + _u32(signer.well_known))
        )
        texts = _text(signer.issuer) + _text(signer.publisher) + _text(signer.oem)
        return root + self._indices(signer.ekus) + texts + self._indices(signer.files)

    def _scenario(self, scenario: Scenario) -> bytes:
        """Write product signers; test signers and test signing signers have three zeros each."""
        return b"".join((
            _u32(scenario.value),
            _u32(0),
            _u32(MINIMUM_HASH),
            self._refs(scenario.allowed),
            self._refs(scenario.denied),
            _u32(len(scenario.files)),
            *sorted(map(self._index, scenario.files), key=lambda i: int.from_bytes(i, "little")),
            bytes(2 * 3 * 4),
        ))  # fmt: skip

    def _refs(self, refs: tuple[SignerRef, ...]) -> bytes:
        each = (self._index(ref.signer) + self._indices(ref.exceptions) for ref in refs)
        return _u32(len(refs)) + b"".join(each)


def _file(rule: FileRule) -> bytes:
    lowest, highest = rule.bounds
    if rule.kind is FileKind.DENY and lowest is None and highest is None:
        lowest = HIGHEST
    return b"".join((_u32(rule.kind), _text(rule.file_name), _version(lowest or LOWEST),
                     _octets(rule.digest)))  # fmt: skip


def _setting(name: str, value: str) -> bytes:
    return b"".join((_text(PROVIDER), _text(KEY), _text(name), _u32(3), _text(value)))


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _guid(text: str) -> bytes:
    return uuid.UUID(text).bytes_le


def _version(version: Version) -> bytes:
    return struct.pack("<4H", *reversed(version))


def _octets(data: bytes) -> bytes:
    return _u32(len(data)) + data + bytes(-len(data) % 4)


def _text(text: str) -> bytes:
    return _octets(text.encode("utf-16-le", "replace")) + _u32(0)


def read_cip(source: str, data: bytes) -> SiPolicy:
    """Return the policy in a ``.cip``; what a signed one holds is read, not believed.

    ``source`` is told in messages.  Raises ``PolicyError`` for anything that is none or has
    parts that ``SiPolicy`` has no place for.
    """
    if len(data) > MAX_OCTETS:
        raise PolicyError(source, f"{len(data)} octets", f"at most {MAX_OCTETS} in a policy")
    return _Reader(source, claimed_content(source, data) if data[:1] == b"\x30" else data).policy()


def claimed_content(source: str, data: bytes) -> bytes:
    """Return what a signed policy's SignedData holds; nothing is verified.

    Raises ``PolicyError``.
    """
    try:
        signed = der.parse(data, source).children()[1].children()[0]
        kind, content = signed.children()[2].children()
        inner = content.children()[0]
    except (BadInputError, IndexError, ValueError):
        raise PolicyError(source, "DER of another kind", "PKCS#7 SignedData") from None
    if kind.tag != der.OID or kind.oid() != CONTENT_TYPE or inner.tag != der.OCTET_STRING:
        raise PolicyError(source, "another content", f"a signed policy ({CONTENT_TYPE})")
    return bytes(inner.content)


class _Reader:
    """Reads a binary policy from its beginning to its end."""

    def __init__(self, source: str, data: bytes) -> None:
        self._source, self._data, self._at = source, data, 0

    def policy(self) -> SiPolicy:
        form = self._u32()
        if form not in range(OLDEST_READ, FORMATS[-1] + 1):
            raise self._error(f"format {form}", f"{OLDEST_READ} to {FORMATS[-1]}")
        base_id, platform_id, flags = self._guid(), self._guid(), self._u32()
        counts = [self._count() for _ in range(4)]
        version = self._version()
        if self._u32() != HEADER or not flags & ALWAYS:
            raise self._error("a header of another kind", "a binary App Control policy")
        if flags & ~_KNOWN_FLAGS:
            raise self._error(f"options {flags & ~_KNOWN_FLAGS:#x}", "options that have a name")
        ekus = [self._eku(number) for number in range(counts[0])]
        files = [self._file(number) for number in range(counts[1])]
        signers = [self._signer(n, ekus, files) for n in range(counts[2])]
        update, ci = self._signers(signers), self._signers(signers)
        scenarios = [self._scenario(n, signers, files) for n in range(counts[3])]
        hvci, told = self._u32(), self._settings()
        files = self._details(files, len(signers))
        own, base = self._sixth()
        supplemental = self._signers(signers)
        files = self._with_paths(files, form)
        if base != base_id or bool(flags & SUPPLEMENT) != (own != base):
            raise self._error("GUIDs that contradict each other", "one base")
        return SiPolicy(
            id=own,
            base_id=base,
            version=version,
            name=told.get("Name", ""),
            label=told.get("Id", ""),
            platform_id=platform_id,
            options=tuple(name for name, bit in OPTIONS.items() if flags & bit),
            ekus=tuple(ekus),
            files=tuple(files),
            signers=tuple(signers),
            scenarios=tuple(scenarios),
            update_signers=update,
            supplemental_signers=supplemental,
            ci_signers=ci,
            hvci=hvci,
        )

    def _error(self, found: str, required: str) -> PolicyError:
        return PolicyError(f"{self._source}: octet {self._at}", found, required)

    def _take(self, length: int) -> bytes:
        taken = self._data[self._at : self._at + length]
        if len(taken) != length:
            raise self._error(f"{len(taken)} octets", f"{length} more")
        self._at += length
        return taken

    def _u32(self) -> int:
        return int.from_bytes(self._take(4), "little")

    def _count(self) -> int:
        count = self._u32()
        if count > min(MAX_COUNT, len(self._data)):
            raise self._error(f"a count of {count}", f"at most {MAX_COUNT}")
        return count

    def _expect(self, number: int, what: str) -> None:
        found = self._u32()
        if found != number:
            raise self._error(f"{found}", f"{number}: {what}")

    def _guid(self) -> str:
        return str(uuid.UUID(bytes_le=self._take(16)))

    def _version(self) -> Version:
        fourth, third, second, first = struct.unpack("<4H", self._take(8))
        return first, second, third, fourth

    def _octets(self) -> bytes:
        length = self._u32()
        data = self._take(length)
        if any(self._take(-length % 4)):
            raise self._error("padding that is not zero", "zeros")
        return data

    def _text(self) -> str:
        octets = self._octets()
        self._expect(0, "the end of a text")
        try:
            return octets.decode("utf-16-le")
        except UnicodeDecodeError:
            raise self._error("broken UTF-16", "text") from None

    def _of(self, known: list[T], what: str) -> T:
        index = self._u32()
        if index >= len(known):
            raise self._error(f"{what} {index}", f"one of {len(known)}")
        return known[index]

    def _several(self, read: Callable[[], T]) -> tuple[T, ...]:
        return tuple(read() for _ in range(self._count()))

    def _signers(self, signers: list[Signer]) -> tuple[str, ...]:
        return self._several(lambda: self._of(signers, "signer").id)

    def _rules(self, files: list[FileRule]) -> tuple[str, ...]:
        return self._several(lambda: self._of(files, "file rule").id)

    def _eku(self, number: int) -> Eku:
        identifier = f"ID_EKU_E_{number + 1}"
        value = self._octets()
        return Eku(id=identifier, oid=oid_of(f"{self._source}: {identifier}", value))

    def _file(self, number: int) -> FileRule:
        kind = self._u32()
        if kind > FileKind.ATTRIBUTE:
            raise self._error(f"a file rule of kind {kind}", "Deny, Allow or FileAttrib")
        name, lowest, digest = self._text(), self._version(), self._octets()
        return FileRule(
            id=f"{_PREFIXES[kind]}_{number + 1}",
            kind=FileKind(kind),
            file_name=name,
            digest=digest,
            minimum=lowest,
        )

    def _signer(self, number: int, ekus: list[Eku], files: list[FileRule]) -> Signer:
        kind = self._u32()
        if kind > 1:
            raise self._error(f"a root of kind {kind}", "0 (TBS) or 1 (well known)")
        return Signer(
            id=f"ID_SIGNER_S_{number + 1}",
            name=f"Signer {number + 1}",
            tbs=self._octets() if kind == 0 else b"",
            well_known=self._u32() if kind == 1 else 0,
            ekus=self._several(lambda: self._of(ekus, "EKU").id),
            issuer=self._text(),
            publisher=self._text(),
            oem=self._text(),
            files=self._rules(files),
        )

    def _scenario(self, number: int, signers: list[Signer], files: list[FileRule]) -> Scenario:
        value = self._u32()
        self._expect(0, "no inherited scenario")
        self._expect(MINIMUM_HASH, "the usual lowest hash")
        allowed, denied = self._refs(signers, files), self._refs(signers, files)
        referred = self._rules(files)
        for _ in range(6):
            self._expect(0, "no test signers")
        return Scenario(
            id=f"ID_SIGNINGSCENARIO_S_{number + 1}",
            value=value,
            allowed=allowed,
            denied=denied,
            files=referred,
        )

    def _refs(self, signers: list[Signer], files: list[FileRule]) -> tuple[SignerRef, ...]:
        return self._several(
            lambda: SignerRef(signer=self._of(signers, "signer").id, exceptions=self._rules(files))
        )

    def _settings(self) -> dict[str, str]:
        """Return what the policy tells of itself; other settings are passed over."""
        told = {}
        for _ in range(self._count()):
            place = (self._text(), self._text())
            name, kind = self._text(), self._u32()
            if kind > 3:
                raise self._error(f"a setting of kind {kind}", "0 to 3")
            value = self._text() if kind == 3 else self._octets() if kind == 2 else self._u32()
            if place == (PROVIDER, KEY) and isinstance(value, str):
                told[name] = value
        return told

    def _details(self, files: list[FileRule], signers: int) -> list[FileRule]:
        """Read blocks 3 to 5: versions, names and packages."""
        self._expect(3, "the block of versions")
        highest = []
        for _ in files:
            highest.append(self._version())
            self._expect(0, "no AppIDs")
        if any(self._take(8 * signers)):
            raise self._error("a signer with a time", "none")
        self._expect(4, "the block of names")
        names = [(self._text(), self._text(), self._text()) for _ in files]
        self._expect(5, "the block of packages")
        packages = []
        for _ in files:
            packages.append(self._text())
            if self._version() != LOWEST:
                raise self._error("a package's version", "none")
        self._expect(6, "the block of identifiers")
        return list(map(_detailed, files, highest, names, packages))

    def _sixth(self) -> tuple[str, str]:
        return self._guid(), self._guid()

    def _with_paths(self, files: list[FileRule], form: int) -> list[FileRule]:
        """Read block 7, and what ends the policy."""
        if form >= 7:
            self._expect(7, "the block of paths")
            files = [replace(rule, path=self._text()) for rule in files]
        if form >= 8:
            self._expect(8, "the block of application settings")
            self._expect(0, "no application settings")
        self._expect(form + 1, "the end")
        if self._at != len(self._data):
            raise self._error(f"{len(self._data) - self._at} octets more", "the end")
        return files


_PREFIXES = ("ID_DENY_D", "ID_ALLOW_A", "ID_FILEATTRIB_F")


def _detailed(
    rule: FileRule, highest: Version, names: tuple[str, str, str], package: str
) -> FileRule:
    """Return a file rule with what stands in later blocks."""
    unsaid = HIGHEST if rule.kind is FileKind.DENY and highest == LOWEST else LOWEST
    lowest = rule.minimum
    if lowest == unsaid and (rule.kind is not FileKind.DENY or unsaid == HIGHEST):
        lowest = None
    return replace(
        rule,
        minimum=lowest,
        maximum=None if highest == LOWEST else highest,
        internal_name=names[0],
        description=names[1],
        product_name=names[2],
        package_family=package,
    )
