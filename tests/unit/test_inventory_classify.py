"""Kinds by content; names count only where content is mute."""

from __future__ import annotations

import io
import struct
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signward.formats import Peek
from signward.inventory.classify import (
    KINDS,
    QUICK_HEAD,
    QUICK_TAIL,
    classify,
    needs_tail,
    quick_kind,
)
from signward.wire.module_trailer import MAGIC as MODULE_MAGIC


def kind_of(data: bytes, name: str = "file") -> str:
    return classify(Peek(name, data[:QUICK_HEAD], data[-QUICK_TAIL:], len(data)))


def pe(lfanew: int = 0x80) -> bytes:
    head = b"MZ".ljust(60, b"\0") + struct.pack("<I", lfanew)
    return head.ljust(lfanew, b"\0") + b"PE\0\0" + bytes(64)


def elf(e_type: int) -> bytes:
    return b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack("<HH", e_type, 62) + bytes(600)


def zipped(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return out.getvalue()


def msi_like(clsid: str) -> bytes:
    header = bytearray(512)
    header[:8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
    struct.pack_into("<H", header, 30, 9)
    struct.pack_into("<I", header, 48, 1)
    entry = bytearray(128)
    entry[80:96] = bytes.fromhex(clsid)
    return bytes(header) + bytes(512) + bytes(entry)


ROWS = [
    (pe(), "a.txt", "pe"),
    (pe(0x2000), "far.exe", "pe"),
    (b"MZ" + bytes(100), "a.exe", "mz"),
    (b"MZ", "a.exe", "mz"),
    (b"MZ".ljust(60, b"\0") + b"\xff\xff\xff\xff" + bytes(64), "lies.exe", "mz"),
    (elf(2), "prog", "elf"),
    (elf(3), "lib.so", "elf"),
    (elf(1), "x.o", "elf"),
    (elf(1), "x.ko", "kernel-module"),
    (elf(1) + MODULE_MAGIC, "renamed", "kernel-module"),
    (elf(2) + MODULE_MAGIC, "prog", "elf"),
    (b"\xfd7zXZ\0", "loop.ko.xz", "kernel-module"),
    (b"\x1f\x8b\x08", "loop.ko.gz", "kernel-module"),
    (b"\x28\xb5\x2f\xfd", "loop.ko.zst", "kernel-module"),
    (b"\xfd7zXZ\0", "loop.ko.gz", "xz"),
    (b"\xcf\xfa\xed\xfe" + bytes(28), "m", "macho"),
    (b"\xfe\xed\xfa\xce" + bytes(28), "m", "macho"),
    (b"\xca\xfe\xba\xbe" + struct.pack(">I", 2) + bytes(40), "m", "macho-fat"),
    (b"\xca\xfe\xba\xbf" + struct.pack(">I", 2) + bytes(40), "m", "macho-fat"),
    (b"\xca\xfe\xba\xbe\0\0\0\x34" + bytes(40), "A.class", "java-class"),
    (b"\xca\xfe\xba\xbe\0\x03\0\x2d" + bytes(40), "A.class", "java-class"),
    (b"\xca\xfe\xba\xbe\0\0\0\0", "A.class", "java-class"),
    (b"dex\n035\0" + bytes(40), "classes.dex", "dex"),
    (b"\0asm\x01\0\0\0", "a", "wasm"),
    (b"#!/usr/bin/python3.11\n", "tool", "python"),
    (b"#!/usr/bin/env -S perl -w\n", "tool", "perl"),
    (b"#!/usr/bin/env FOO=1 node\n", "tool", "javascript-module"),
    (b"#! /bin/sh\n", "tool.py", "shell"),
    (b"#!/usr/bin/pwsh\n", "tool", "powershell"),
    (b"#!/opt/own\n", "tool", "script"),
    (b"#!\n", "tool", "text"),
    (b"'x'\r\n", "a.ps1", "powershell"),
    (b"\xff\xfe'\0x\0'\0", "a.PSM1", "powershell"),
    (b"var a;", "a.js", "javascript"),
    (b"export {};", "a.mjs", "javascript-module"),
    (b"WScript.Echo", "a.vbs", "vbscript"),
    (b"<job/>", "a.wsf", "wsf"),
    (b"instance of X {};", "a.mof", "mof"),
    (b"print(1)", "dir.d/a.py", "python"),
    (b"hello", ".bashrc", "text"),
    (b"hello \xe2\x82\xac", "a.txt", "text"),
    (b"\0\1\2\3" * 50, "a.ps1", "data"),
    (msi_like("84100c0000000000c000000000000046"), "renamed.bin", "msi"),
    (msi_like("00" * 16), "a.doc", "ole"),
    (msi_like("00" * 16), "a.msi", "msi"),
    (b"MSCF\0\0\0\0" + bytes(60), "a.cab", "cab"),
    (bytes.fromhex("3082010006092a864886f70d010702a08200f0020101310006092b060104018237 0a01"
                   .replace(" ", "")) + bytes(100), "a.bin", "catalog"),
    (bytes.fromhex("308006092a864886f70d010702a080") + bytes(100), "a.p7", "cms"),
    (bytes.fromhex("3082040030820300a003020102") + bytes(100), "a.bin", "x509"),
    (bytes.fromhex("308204003082030002010130"), "a.crl", "crl"),
    (bytes.fromhex("3082040004"), "a.bin", "data"),
    (zipped("a.txt"), "a.zip", "zip"),
    (zipped("META-INF/MANIFEST.MF", "A.class"), "a.bin", "jar"),
    (zipped("AndroidManifest.xml", "classes.dex"), "a.bin", "apk"),
    (zipped("pkg/x.py", "pkg-1.dist-info/WHEEL"), "a.bin", "wheel"),
    (zipped("_rels/.rels", "x.nuspec"), "a.bin", "nupkg"),
    (zipped("[Content_Types].xml", "AppxManifest.xml"), "a.bin", "msix"),
    (zipped("extension.vsixmanifest", "a.dll"), "a.bin", "vsix"),
    (zipped("[Content_Types].xml", "word/document.xml"), "a.bin", "office"),
    (zipped("x"), "a.whl", "wheel"),
    (zipped(), "a.zip", "zip"),
    (b"\x1f\x8b\x08" + bytes(20), "a.gz", "gzip"),
    (b"BZh91AY", "a", "bzip2"),
    (b"\xfd7zXZ\0" + bytes(20), "a", "xz"),
    (b"\x28\xb5\x2f\xfd" + bytes(20), "a", "zstd"),
    (b"a".ljust(257, b"\0") + b"ustar\x0000" + bytes(300), "a", "tar"),
    (b"!<arch>\ndebian-binary   ", "a", "deb"),
    (b"!<arch>\n/               ", "a.a", "ar"),
    (b"\xed\xab\xee\xdb\3\0" + bytes(90), "a", "rpm"),
    (b"xar!\0\x1c" + bytes(30), "a", "pkg"),
    (bytes(600) + b"koly" + bytes(508), "a.dmg", "dmg"),
    (b"-----BEGIN CERTIFICATE-----\n", "a", "x509"),
    (b"-----BEGIN X509 CRL-----\n", "a", "crl"),
    (b"-----BEGIN PGP SIGNED MESSAGE-----\n", "a", "clearsigned"),
    (b"-----BEGIN PKCS7-----\n", "a", "cms"),
    (b"\x89PNG\r\n\x1a\n", "a", "image"),
    (b"", "a.exe", "empty"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "name", "kind"), ROWS)
def test_kind(data: bytes, name: str, kind: str) -> None:
    assert kind_of(data, name) == kind
    assert kind in KINDS


@given(st.binary(max_size=600), st.text(max_size=12))
def test_any_bytes_have_a_known_kind(data: bytes, name: str) -> None:
    assert kind_of(data, name) in KINDS


@given(st.sampled_from([row[0] for row in ROWS]), st.integers(0, 700), st.text(max_size=6))
def test_truncated_bytes_have_a_known_kind(data: bytes, cut: int, name: str) -> None:
    assert kind_of(data[:cut], name) in KINDS


def test_content_beats_the_name() -> None:
    assert quick_kind("picture.png", pe(), 4096) == "pe"


def test_the_tail_is_asked_for_only_where_it_matters() -> None:
    assert needs_tail("elf", "x", elf(1))
    assert not needs_tail("elf", "x", elf(2))
    assert needs_tail("data", "a.DMG", b"")
    assert not needs_tail("data", "a.bin", b"")
