"""What kind of file bytes are, judged by content first and by name only where content is mute.

A kind is a short word (``pe``, ``elf``, ``jar``); :data:`KINDS` says of each whether a
signature scheme exists for it and whether it holds members worth opening.  Recognition
is a table of magic numbers found through the first two bytes; a magic that several
formats share names a *refiner* that looks further.  Nothing here reads or raises.

Sources of the magic numbers: PE/COFF specification, System V gABI, Apple's
mach-o/loader.h and mach-o/fat.h, JVMS 4.1, Dalvik executable format, MS-CFB 2.2,
MS-CAB 2.1, APPNOTE 4.3, POSIX pax, RFC 1952, RFC 8878, xar.h, deb(5), rpm lead,
RFC 7468, RFC 4880 4.2.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from signward.wire import clear_text, siglist
from signward.wire.device_names import is_cisco, is_junos
from signward.wire.module_trailer import RELOCATABLE, is_module, is_packed_module

if TYPE_CHECKING:
    from signward.formats import Peek

QUICK_HEAD = 4096
"""Bytes of head that :func:`classify` needs; more changes no answer but a ZIP's."""

QUICK_TAIL = 512
"""Bytes of tail that :func:`needs_tail` asks for: one UDIF trailer, one module trailer."""

ZIP_NAMES = 64
"""Local headers looked at in the head of a ZIP before its extension decides."""


class Kind(msgspec.Struct, frozen=True):
    """What is known of every file of a kind.

    ``signable``: a signature scheme exists, so an unsigned one is worth saying.
    ``container``: which opener reads its members (``zip``, ``tar``, ``stream``), or empty.
    ``beside``: a verdict on it depends on the files beside it.
    """

    text: str
    signable: bool = False
    container: str = ""
    beside: bool = False


KINDS: dict[str, Kind] = {
    "pe": Kind("Windows or EFI program, library or driver", signable=True),
    "mz": Kind("DOS program"),
    "elf": Kind("ELF program or library", signable=True),
    "kernel-module": Kind("Linux kernel module", signable=True),
    "macho": Kind("Mach-O program or library", signable=True),
    "macho-fat": Kind("universal Mach-O", signable=True),
    "dex": Kind("Dalvik executable"),
    "java-class": Kind("Java class"),
    "wasm": Kind("WebAssembly module"),
    "powershell": Kind("PowerShell script", signable=True),
    "javascript": Kind("JavaScript", signable=True),
    "javascript-module": Kind("JavaScript that no Windows host runs"),
    "vbscript": Kind("Visual Basic script", signable=True),
    "wsf": Kind("Windows script file", signable=True),
    "mof": Kind("Managed Object Format", signable=True),
    "python": Kind("Python script"),
    "shell": Kind("shell script"),
    "perl": Kind("Perl script"),
    "ruby": Kind("Ruby script"),
    "php": Kind("PHP script"),
    "lua": Kind("Lua script"),
    "tcl": Kind("Tcl script"),
    "awk": Kind("AWK script"),
    "batch": Kind("Windows batch file"),
    "sql": Kind("SQL script"),
    "script": Kind("other script"),
    "msi": Kind("Windows installer package", signable=True),
    "ole": Kind("OLE compound file"),
    "cab": Kind("cabinet", signable=True),
    "catalog": Kind("security catalog", signable=True),
    "cms": Kind("CMS or PKCS#7 message"),
    "clickonce": Kind("ClickOnce manifest", signable=True, beside=True),
    "zip": Kind("ZIP archive", container="zip"),
    "jar": Kind("Java archive", signable=True, container="zip"),
    "apk": Kind("Android package", signable=True, container="zip", beside=True),
    "wheel": Kind("Python wheel", container="zip", beside=True),
    "nupkg": Kind("NuGet package", signable=True, container="zip"),
    "msix": Kind("MSIX or APPX package", signable=True, container="zip"),
    "vsix": Kind("Visual Studio extension", signable=True, container="zip"),
    "swi": Kind("Arista software image or extension", signable=True, container="zip"),
    "cisco-image": Kind("Cisco image, whose signature no public document specifies", signable=True),
    "junos": Kind(
        "Junos package, whose signatures are not read", signable=True, container="stream"
    ),
    "office": Kind("Office document", container="zip"),
    "epub": Kind("EPUB book", container="zip"),
    "tar": Kind("tar archive", container="tar"),
    "gzip": Kind("gzip stream", container="stream"),
    "bzip2": Kind("bzip2 stream", container="stream"),
    "xz": Kind("xz stream", container="stream"),
    "zstd": Kind("Zstandard stream", container="stream"),
    "deb": Kind("Debian package", signable=True),
    "vib": Kind("VMware installation bundle", signable=True),
    "ar": Kind("static library or ar archive"),
    "rpm": Kind("RPM package", signable=True),
    "bundle": Kind("macOS bundle", signable=True),
    "applescript": Kind("AppleScript"),
    "efi-siglist": Kind("EFI signature list"),
    "efi-variable": Kind("authenticated EFI variable update", signable=True),
    "pkg": Kind("xar archive or macOS package", signable=True),
    "dmg": Kind("macOS disk image", signable=True),
    "7z": Kind("7-Zip archive"),
    "rar": Kind("RAR archive"),
    "pgp": Kind("OpenPGP message, key or signature"),
    "clearsigned": Kind("clear-signed text or Debian control data", signable=True, beside=True),
    "x509": Kind("X.509 certificate or key"),
    "crl": Kind("certificate revocation list"),
    "image": Kind("image"),
    "font": Kind("font"),
    "pdf": Kind("PDF document"),
    "sqlite": Kind("SQLite database"),
    "pyc": Kind("Python bytecode"),
    "text": Kind("text"),
    "data": Kind("data"),
    "empty": Kind("empty file"),
}

Refiner = Callable[[bytes, str, int], str]
"""Looks at head, name and length where a magic alone does not settle the kind."""


def extension_of(name: str) -> str:
    """Return the extension of ``name``, lower case without its dot; empty if none."""
    base = name.rpartition("/")[2]
    stem, dot, extension = base.rpartition(".")
    return extension.lower() if dot and stem else ""


def _refine_mz(head: bytes, _name: str, length: int) -> str:
    r"""Look for ``PE\0\0`` where e_lfanew (little-endian u32 at 0x3c) points."""
    if len(head) < 64:
        return "mz"
    at = int.from_bytes(head[60:64], "little")
    if at + 4 <= len(head):
        return "pe" if head[at : at + 4] == b"PE\0\0" else "mz"
    return "pe" if at + 4 <= length else "mz"


def _refine_elf(head: bytes, name: str, _length: int) -> str:
    """Only a relocatable object's trailer or its name tells a kernel module."""
    if is_module(head, b"", name):
        return "kernel-module"
    return "cisco-image" if is_cisco(name) else "elf"


def _packed_or(kind: str) -> Refiner:
    def refine(head: bytes, name: str, _length: int) -> str:
        if is_packed_module(head, name):
            return "kernel-module"
        return "junos" if kind == "gzip" and is_junos(name) else kind

    return refine


def _refine_cafebabe(head: bytes, _name: str, _length: int) -> str:
    """Tell Java classes from universal Mach-O: 0xCAFEBABE opens both.

    Next comes a big-endian u32: for Mach-O the count of slices, for Java
    ``minor << 16 | major`` where major is at least 45 (JVMS 4.1).
    """
    count = int.from_bytes(head[4:8], "big")
    return "macho-fat" if 0 < count < 45 and len(head) >= 8 else "java-class"


def _refine_ole(head: bytes, name: str, _length: int) -> str:
    """Tell an installer package by its root storage's CLSID, {000C108x-...}.

    It stands 80 bytes into the first directory entry (MS-CFB 2.6.1), whose sector
    number is the little-endian u32 at 48; sectors start after the header.
    """
    if len(head) >= 52:
        shift = int.from_bytes(head[30:32], "little")
        sector = int.from_bytes(head[48:52], "little")
        if shift in (9, 12):
            at = ((sector + 1) << shift) + 80
            clsid = head[at : at + 16]
            if len(clsid) == 16 and clsid[1:4] == b"\x10\x0c\0" and clsid[0] in b"\x84\x86\x82":
                return "msi"
    return "msi" if extension_of(name) in {"msi", "msp", "mst", "msm"} else "ole"


_CTL_OID = bytes.fromhex("06092b060104018237 0a01".replace(" ", ""))
_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")


def _refine_der(head: bytes, name: str, _length: int) -> str:
    """Look into a SEQUENCE: CMS names signedData, a certificate opens two SEQUENCEs more."""
    start = _der_header(head, 0)
    if start and head[start : start + 11] == _SIGNED_DATA:
        return "catalog" if _CTL_OID in head[:512] else "cms"
    inner = _der_header(head, start) if start else 0
    if not inner or head[start] != 0x30:
        return _by_name(head, name)
    if head[inner : inner + 2] == b"\xa0\x03":
        return "x509"
    if head[inner : inner + 3] == b"\x02\x01\x01" and extension_of(name) == "crl":
        return "crl"
    return _DER_NAMES.get(extension_of(name), "data")


_DER_NAMES = {"crl": "crl", "cer": "x509", "crt": "x509", "der": "x509"}


def _der_header(head: bytes, at: int) -> int:
    """Return where the content of the TLV at ``at`` starts; 0 if no length stands there."""
    if at + 2 > len(head):
        return 0
    first = head[at + 1]
    if first <= 0x80:
        return at + 2
    return at + 2 + (first & 0x7F) if first <= 0x84 else 0


def _refine_ar(head: bytes, _name: str, _length: int) -> str:
    if head[8:22] == b"descriptor.xml":
        return "vib"
    return "deb" if head[8:21] == b"debian-binary" else "ar"


def _refine_pem(head: bytes, name: str, _length: int) -> str:
    """Armour names what it holds (RFC 7468 2, RFC 4880 6.2)."""
    label = head[:64].partition(b"-----BEGIN ")[2].partition(b"-----")[0]
    if label.startswith(b"PGP "):
        return "clearsigned" if clear_text.is_clear(head) else "pgp"
    if label in {b"PKCS7", b"CMS"}:
        return "cms"
    if label == b"X509 CRL":
        return "crl"
    return "x509" if label else _by_name(head, name)


def _refine_xml(head: bytes, name: str, _length: int) -> str:
    """Tell ClickOnce manifests, by name and namespace, and by what makes a .manifest its own."""
    extension = extension_of(name)
    named = extension in {"application", "vsto", "manifest"}
    if not named or b"urn:schemas-microsoft-com:asm.v1" not in head:
        return _by_name(head, name)
    own = extension != "manifest" or b"entryPoint" in head or b"deployment" in head
    return "clickonce" if own else _by_name(head, name)


_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "csh", "tcsh", "fish", "ash", "busybox"})
_INTERPRETERS: dict[str, str] = dict.fromkeys(_SHELLS, "shell") | {
    "python": "python",
    "pypy": "python",
    "perl": "perl",
    "ruby": "ruby",
    "php": "php",
    "lua": "lua",
    "tclsh": "tcl",
    "wish": "tcl",
    "awk": "awk",
    "gawk": "awk",
    "mawk": "awk",
    "node": "javascript-module",
    "nodejs": "javascript-module",
    "deno": "javascript-module",
    "bun": "javascript-module",
    "pwsh": "powershell",
    "powershell": "powershell",
    "osascript": "applescript",
}


def _refine_shebang(head: bytes, name: str, _length: int) -> str:
    """``#!`` names the interpreter; ``env`` passes the word to the next argument."""
    line = head[2:256].partition(b"\n")[0].decode("latin-1")
    words = [w for w in line.split() if not w.startswith("-") and "=" not in w]
    if words and words[0].rpartition("/")[2] == "env":
        words = words[1:]
    if not words:
        return _by_name(head, name)
    program = words[0].rpartition("/")[2].rstrip("0123456789.-")
    return _INTERPRETERS.get(program) or "script"


def _refine_zip(head: bytes, name: str, _length: int) -> str:
    """Tell the family by the first members' names, else by the extension."""
    names = _local_names(head)
    for kind, test in _ZIP_FAMILIES:
        if test(names):
            return kind
    return _ZIP_EXTENSIONS.get(extension_of(name), "zip")


def _local_names(head: bytes) -> tuple[bytes, ...]:
    """Return the names in the local headers that lie in ``head`` (APPNOTE 4.3.7)."""
    names: list[bytes] = []
    at = 0
    while at + 30 <= len(head) and len(names) < ZIP_NAMES and head[at : at + 4] == b"PK\x03\x04":
        flags, packed, named, extra = _LOCAL.unpack_from(head, at)
        names.append(head[at + 30 : at + 30 + named])
        if flags & 8:  # the size follows the data: the next header is not known
            break
        at += 30 + named + extra + packed
    return tuple(names)


_LOCAL = struct.Struct("<6xH10xI4xHH")


def _has(*wanted: bytes) -> Callable[[tuple[bytes, ...]], bool]:
    return lambda names: any(name in wanted for name in names)


def _ends(*ends: bytes) -> Callable[[tuple[bytes, ...]], bool]:
    return lambda names: any(name.endswith(ends) for name in names)


_BUNDLE_MANIFEST = b"AppxMetadata/AppxBundleManifest.xml"

_ZIP_FAMILIES: tuple[tuple[str, Callable[[tuple[bytes, ...]], bool]], ...] = (
    ("apk", _has(b"AndroidManifest.xml", b"classes.dex")),
    ("msix", _has(b"AppxManifest.xml", b"AppxBlockMap.xml", _BUNDLE_MANIFEST)),
    ("vsix", _ends(b".vsixmanifest")),
    ("nupkg", lambda names: any(n.endswith(b".nuspec") and b"/" not in n for n in names)),
    ("jar", _has(b"META-INF/MANIFEST.MF", b"META-INF/")),
    ("office", lambda names: any(n.startswith((b"word/", b"xl/", b"ppt/")) for n in names)),
    ("wheel", _ends(b".dist-info/WHEEL", b".dist-info/METADATA")),
)  # fmt: skip

_ZIP_EXTENSIONS = {
    "jar": "jar", "war": "jar", "ear": "jar", "jmod": "jar",
    "apk": "apk", "apex": "apk", "whl": "wheel", "nupkg": "nupkg", "snupkg": "nupkg",
    "msix": "msix", "appx": "msix", "msixbundle": "msix", "appxbundle": "msix",
    "vsix": "vsix", "docx": "office", "xlsx": "office", "pptx": "office",
    "docm": "office", "xlsm": "office", "pptm": "office", "odt": "office", "ods": "office",
    "odp": "office", "epub": "epub", "swi": "swi", "swix": "swi",
}  # fmt: skip

_MAGICS: tuple[tuple[bytes, str | Refiner], ...] = (
    (b"MZ", _refine_mz),
    (b"\x7fELF", _refine_elf),
    (b"\xfe\xed\xfa\xce", "macho"),
    (b"\xfe\xed\xfa\xcf", "macho"),
    (b"\xce\xfa\xed\xfe", "macho"),
    (b"\xcf\xfa\xed\xfe", "macho"),
    (b"\xca\xfe\xba\xbe", _refine_cafebabe),
    (b"\xca\xfe\xba\xbf", "macho-fat"),
    (b"dex\n0", "dex"),
    (b"\0asm", "wasm"),
    (b"#!", _refine_shebang),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", _refine_ole),
    (b"MSCF", "cab"),
    (b"\x30\x80", _refine_der),
    (b"\x30\x81", _refine_der),
    (b"\x30\x82", _refine_der),
    (b"\x30\x83", _refine_der),
    (b"\x30\x84", _refine_der),
    (b"PK\x03\x04", _refine_zip),
    (b"PK\x01\x02", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\x1f\x8b\x08", _packed_or("gzip")),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", _packed_or("xz")),
    (b"\x28\xb5\x2f\xfd", _packed_or("zstd")),
    (b"!<arch>\n", _refine_ar),
    (b"\xed\xab\xee\xdb", "rpm"),
    (b"xar!", "pkg"),
    (b"FasdUAS ", "applescript"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
    (b"-----BEGIN ", _refine_pem),
    (b"<?xml", _refine_xml),
    (b"\xef\xbb\xbf<", _refine_xml),
    (b"<a", _refine_xml),
    (b"\x89PNG", "image"),
    (b"\xff\xd8\xff", "image"),
    (b"GIF8", "image"),
    (b"RIFF", "data"),
    (b"\0\0\x01\0", "image"),
    (b"wOFF", "font"),
    (b"wOF2", "font"),
    (b"OTTO", "font"),
    (b"%PDF-", "pdf"),
    (b"SQLite format 3\0", "sqlite"),
)


_Index = dict[bytes, list[tuple[bytes, str | Refiner]]]


def _index(magics: Sequence[tuple[bytes, str | Refiner]]) -> _Index:
    """Return the magics by their first two bytes, so that one look-up rules most out."""
    table: _Index = {}
    for magic, answer in magics:
        table.setdefault(magic[:2], []).append((magic, answer))
    return table


_BY_START = _index(_MAGICS)

_EXTENSIONS = {
    "ps1": "powershell", "psm1": "powershell", "psd1": "powershell", "ps1xml": "powershell",
    "psc1": "powershell", "cdxml": "powershell",
    "js": "javascript", "jse": "javascript", "mjs": "javascript-module", "cjs": "javascript-module",
    "vbs": "vbscript", "vbe": "vbscript", "wsf": "wsf", "wsc": "wsf", "mof": "mof",
    "py": "python", "pyw": "python", "sh": "shell", "bash": "shell", "zsh": "shell",
    "csh": "shell", "fish": "shell", "pl": "perl", "pm": "perl", "rb": "ruby", "php": "php",
    "lua": "lua", "tcl": "tcl", "awk": "awk", "bat": "batch", "cmd": "batch",
    "applescript": "applescript",
    "sql": "sql",
}  # fmt: skip
"""What text is, by name: scripts without a first line that says so."""

_BINARY_EXTENSIONS = {"pyc": "pyc", "gpg": "pgp", "pgp": "pgp", "sig": "pgp", "ttf": "font"}

_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_SAMPLE = 512
_NOT_TEXT = bytes(set(range(32)) - set(b"\t\n\v\f\r\b\x1b")) + b"\x7f"


def _is_text(head: bytes) -> bool:
    """Text holds no control bytes but white space, or opens with a UTF-16 byte order mark."""
    sample = head[:_SAMPLE]
    return len(sample.translate(None, _NOT_TEXT)) == len(sample) or sample[:2] in _UTF16


def _by_name(head: bytes, name: str) -> str:
    """Classify what no magic claims: ``tar``, scripts and data by name, text, data."""
    if is_cisco(name):
        return "cisco-image"
    if head[257:262] == b"ustar":
        return "tar"
    if siglist.is_update(head):
        return "efi-variable"
    if siglist.is_content(head):
        return "efi-siglist"
    extension = extension_of(name)
    if _is_text(head):
        if clear_text.is_control(name, head):
            return "clearsigned"
        return _EXTENSIONS.get(extension, "text")
    if extension == "tar" and len(head) >= 512:
        return "tar"
    return _BINARY_EXTENSIONS.get(extension, "data")


def quick_kind(name: str, head: bytes, length: int) -> str:
    """Return the kind told by the first :data:`QUICK_HEAD` bytes and the name."""
    if not length:
        return "empty"
    for magic, answer in _BY_START.get(head[:2], ()):
        if head.startswith(magic):
            return answer if isinstance(answer, str) else answer(head, name, length)
    return _by_name(head, name)


def needs_head(kind: str) -> bool:
    """Say whether more of the head could change ``kind``.

    A compound file's class stands in its root entry, which Windows puts behind the first
    8 KiB: an installer package under another name shows only there.
    """
    return kind == "ole"


def needs_tail(kind: str, name: str, head: bytes) -> bool:
    """Say whether the last :data:`QUICK_TAIL` bytes could change ``kind``.

    A disk image shows only in its trailer (the head may be anything), a signed
    module only in its last line (relocatable ELF: e_type 1 at 16).
    """
    if kind == "elf":
        return head[16:18] in RELOCATABLE
    return kind in _MAYBE_DMG and name[-4:].lower() == ".dmg"


_MAYBE_DMG = frozenset({"data", "bzip2", "gzip", "xz"})


def refine_with_tail(kind: str, head: bytes, tail: bytes) -> str:
    """Return the kind when the tail is known too (UDIF ``koly`` block, module trailer)."""
    if kind == "elf" and is_module(head, tail, ""):
        return "kernel-module"
    if tail[-512:-508] == b"koly" and kind in _MAYBE_DMG:
        return "dmg"
    return kind


def classify(peek: Peek) -> str:
    """Return the kind of the file that ``peek`` looks at.  Pure, bounded, never raises."""
    kind = quick_kind(peek.name, peek.head, peek.length)
    return refine_with_tail(kind, peek.head, peek.tail)
