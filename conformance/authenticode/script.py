"""Signed scripts of every family and encoding, with the defects of THREATS.md row 28.

Two subject interface packages exist.  PowerShell's hashes the text as UTF-16LE, byte order mark
included.  The Windows Script Host's hashes it without the mark and appends its length in
UTF-16 units, 32 bits little-endian.  Both leave out the signature block with the line
break before it.  A text without a mark is UTF-8 for ``.ps1`` and its kin, the ANSI code page
elsewhere.
"""

from __future__ import annotations

import base64
import codecs
import hashlib
import struct
from dataclasses import dataclass

from conformance.authenticode import cms
from signward.wire import der

SPC_SIP_INFO = "1.3.6.1.4.1.311.2.1.30"
_POWERSHELL = bytes.fromhex("1fcc3b60594b084eb724d2c6297ef351")
_JSCRIPT = bytes.fromhex("10e0c906ce38d411a2a300104bd35090")
_VBSCRIPT = bytes.fromhex("4ef029169927b54d8fe5ace10f17ebab")
_WSF = bytes.fromhex("7005611ace38d411a2a300104bd35090")

_MARKS = {
    "utf-8-sig": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
}
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16-le", "utf-16-be")
"""``utf-8`` has no byte order mark, the others do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """How one family of scripts is commented, hashed and identified."""

    begin: str
    end: str
    prefix: str
    suffix: str
    identifier: bytes
    host: bool
    sample: str


def _powershell(begin: str, end: str, sample: str) -> Family:
    return Family(
        begin=f"{begin}SIG # Begin signature block{end}",
        end=f"{begin}SIG # End signature block{end}",
        prefix=begin,
        suffix=end,
        identifier=_POWERSHELL,
        host=False,
        sample=sample,
    )


def _host(comment: str, identifier: bytes, sample: str) -> Family:
    return Family(
        begin=f"{comment}Begin signature block",
        end=f"{comment}End signature block",
        prefix=comment,
        suffix="",
        identifier=identifier,
        host=True,
        sample=sample,
    )


_HASH = _powershell("# ", "", 'Write-Output "conformance"\r\n')
_XML = _powershell("<!-- ", " -->", '<?xml version="1.0"?>\r\n<Configuration></Configuration>\r\n')
FAMILIES = {
    "ps1": _HASH,
    "psm1": _HASH,
    "psd1": _powershell("# ", "", "@{ ModuleVersion = '1.0' }\r\n"),
    "ps1xml": _XML,
    "psc1": _XML,
    "cdxml": _XML,
    "mof": _powershell("/* ", " */", "class Conformance { string Name; };\r\n"),
    "js": _host("// SIG // ", _JSCRIPT, 'WScript.Echo("conformance");\r\n'),
    "vbs": _host("'' SIG '' ", _VBSCRIPT, 'WScript.Echo "conformance"\r\n'),
    "wsf": Family(
        begin="<signature>",
        end="</signature>",
        prefix="** SIG ** ",
        suffix="",
        identifier=_WSF,
        host=True,
        sample='<job>\r\n<script language="VBScript">\r\nWScript.Echo 1\r\n</script>\r\n</job>\r\n',
    ),
}


def text_digest(extension: str, text: str, digest: str, *, marked: bool) -> bytes:
    """Return the digest of a script's text without signature block."""
    family = FAMILIES[extension]
    octets = text.encode("utf-16-le")
    if family.host:
        octets += struct.pack("<I", len(octets) // 2)
    elif marked:
        octets = codecs.BOM_UTF16_LE + octets
    return hashlib.new(digest, octets).digest()


def content(
    extension: str,
    text: str = "",
    *,
    digest: str = "sha256",
    encoding: str = "utf-8",
) -> bytes:
    """Return the SpcIndirectDataContent for a script's text (empty: the family's sample)."""
    family = FAMILIES[extension]
    octets = text_digest(extension, text or family.sample, digest, marked=encoding in _MARKS)
    version = 1 if family.host else 65536
    zeros = der.integer(0) * 5
    info = der.sequence(der.integer(version), der.octet_string(family.identifier), zeros)
    return cms.indirect_data(SPC_SIP_INFO, info, digest, octets)


def block(extension: str, blob: bytes, *, newline: str = "\r\n") -> str:
    """Return the signature block with the line break before and after it."""
    family = FAMILIES[extension]
    text = base64.b64encode(blob).decode()
    lines = [family.prefix + text[i : i + 64] + family.suffix for i in range(0, len(text), 64)]
    return newline + newline.join([family.begin, *lines, family.end]) + newline


def encode(text: str, encoding: str = "utf-8") -> bytes:
    """Return the file's octets, byte order mark first where the encoding has one."""
    plain = "utf-8" if encoding == "utf-8-sig" else encoding
    return _MARKS.get(encoding, b"") + text.encode(plain)


def signed(
    extension: str,
    blob: bytes,
    text: str = "",
    *,
    encoding: str = "utf-8",
    before: str = "",
    after: str = "",
    newline: str = "\r\n",
) -> bytes:
    """Return a script with its signature block in place.

    ``before`` stands between the signed text and the block, ``after`` behind the block
    (inside ``</job>`` for wsf, whose block goes before the last ``</job>``).
    """
    text = text or FAMILIES[extension].sample
    place = text.rindex("</job>") if extension == "wsf" else len(text)
    signature = before + block(extension, blob, newline=newline) + after
    return encode(text[:place] + signature + text[place:], encoding)
