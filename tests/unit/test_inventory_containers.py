"""Containers: members come out, bombs and lies become findings, memory stays bounded."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import tracemalloc
import zipfile
import zlib

import pytest

from signward.findings import Code, Effect, Finding
from signward.inventory import containers
from signward.inventory.containers import Member, open_members
from signward.inventory.limits import MIB, Limits
from signward.wire.source import BytesSource

PE = b"MZ".ljust(60, b"\0") + struct.pack("<I", 64) + b"PE\0\0" + b"\x90" * 5000


def zipped(*members: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return out.getvalue()


def tarred(*members: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def opened(
    data: bytes, kind: str, name: str = "outer", limits: Limits | None = None
) -> tuple[dict[str, Member], list[Finding]]:
    items = list(open_members(BytesSource(name, data), kind, limits=limits))
    members = {item.path: item for item in items if isinstance(item, Member)}
    return members, [item for item in items if isinstance(item, Finding)]


MEMBERS = (("lib/a.dll", PE), ("readme.txt", b"hello\n"))


@pytest.mark.parametrize(
    ("name", "kind", "data"),
    [
        ("o.zip", "zip", zipped(*MEMBERS)),
        ("o.tar", "tar", tarred(*MEMBERS)),
        ("o.tar.gz", "gzip", gzip.compress(tarred(*MEMBERS))),
        ("o.tar.bz2", "bzip2", bz2.compress(tarred(*MEMBERS))),
        ("o.tar.xz", "xz", lzma.compress(tarred(*MEMBERS))),
    ],
)
def test_members_of_every_container(name: str, kind: str, data: bytes) -> None:
    members, findings = opened(data, kind, name)
    assert not findings
    program = members[f"{name}!/lib/a.dll"]
    assert program.kind == "pe"
    assert program.source is not None
    assert program.source.read(0, program.source.length) == PE
    assert program.source.name == f"{name}!/lib/a.dll"
    text = members[f"{name}!/readme.txt"]
    assert (text.kind, text.source) == ("text", None)


def test_a_stream_of_one_file_is_named_without_its_suffix() -> None:
    members, findings = opened(gzip.compress(PE), "gzip", "/d/a.exe.gz")
    assert not findings
    assert [m.kind for m in members.values()] == ["pe"]
    assert list(members) == ["/d/a.exe.gz!/a.exe"]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_streams_in_a_row_with_padding(pack) -> None:  # type: ignore[no-untyped-def]
    kind = {gzip.compress: "gzip", bz2.compress: "bzip2", lzma.compress: "xz"}[pack]
    members, findings = opened(pack(PE[:3000]) + pack(PE[3000:]) + bytes(8), kind, "a.gz")
    assert not findings
    (member,) = members.values()
    assert member.source is not None
    assert member.source.length == len(PE)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_stream_cut_short_is_a_finding(pack) -> None:  # type: ignore[no-untyped-def]
    kind = {gzip.compress: "gzip", bz2.compress: "bzip2", lzma.compress: "xz"}[pack]
    data = pack(PE + bytes(range(256)) * 100)
    for cut in (len(data) - 4, len(data) // 2):
        _, findings = opened(data[:cut], kind)
        assert [f.code for f in findings] == [Code.MALFORMED]
    _, findings = opened(data[:6] + b"\xff" * 30, kind)
    assert [f.code for f in findings] == [Code.MALFORMED]


def test_containers_in_containers() -> None:
    inner = zipped(("x.exe", PE))
    members, findings = opened(gzip.compress(tarred(("i.zip", inner))), "gzip", "o.tgz")
    assert not findings
    assert members["o.tgz!/i.zip!/x.exe"].kind == "pe"
    assert members["o.tgz!/i.zip"].kind == "zip"


def test_a_zip_of_zips_ends_at_the_depth_limit() -> None:
    data = PE
    for level in range(8):
        data = zipped((f"{level}.zip" if level else "x.exe", data))
    members, findings = opened(data, "zip", limits=Limits(depth=3))
    assert [f.code for f in findings] == [Code.LIMIT_EXCEEDED]
    assert "nested" in findings[0].found
    assert len(members) == 3


def many_zeros(size: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = bytes(MIB)
    parts = [packer.compress(block) for _ in range(size // MIB)]
    return b"".join([*parts, packer.flush()])


def test_a_gzip_bomb_is_a_limit_and_takes_no_memory() -> None:
    bomb = many_zeros(200 * MIB)
    tracemalloc.start()
    try:
        source = BytesSource("bomb.gz", gzip.compress(b"MZ") + bomb)
        items = list(open_members(source, "gzip", wanted=lambda _kind: False))
        kept = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [type(item) for item in items] == [Member]
    assert kept < 4 * MIB


def test_a_wanted_member_that_unpacks_too_far_is_a_limit() -> None:
    limits = Limits(ratio_floor=8 * MIB, member_size=32 * MIB)
    bomb = gzip.compress(PE[:100]) + many_zeros(40 * MIB)
    members, findings = opened(bomb, "gzip", "bomb.exe.gz", limits)
    assert [f.code for f in findings] == [Code.LIMIT_EXCEEDED]
    assert findings[0].effect is Effect.UNKNOWN
    assert not members


def test_a_42_like_bomb_stops_at_the_ratio() -> None:
    page = zipped(*((f"{n}.zip", zipped(("z.exe", PE + bytes(20 * MIB)))) for n in range(4)))
    book = zipped(*((f"{n}.zip", page) for n in range(4)))
    limits = Limits(ratio_floor=64 * MIB)
    tracemalloc.start()
    try:
        _members, findings = opened(book, "zip", "42.zip", limits)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert Code.LIMIT_EXCEEDED in {f.code for f in findings}
    assert peak < 200 * MIB


def test_a_directory_that_promises_too_much_is_a_limit_without_unpacking() -> None:
    data = zipped(*((f"{n}.txt", bytes(20 * MIB)) for n in range(5)))
    members, findings = opened(data, "zip")
    assert [f.code for f in findings] == [Code.LIMIT_EXCEEDED]
    assert "bytes packed into" in findings[0].found
    assert len(members) == 5


def test_one_member_too_large_leaves_the_others() -> None:
    data = zipped(("big.exe", PE + bytes(3 * MIB)), ("small.exe", PE))
    members, findings = opened(data, "zip", limits=Limits(member_size=2 * MIB))
    assert [f.code for f in findings] == [Code.LIMIT_EXCEEDED]
    assert findings[0].subject == "outer!/big.exe"
    assert list(members) == ["outer!/small.exe"]
    members, findings = opened(
        gzip.compress(PE + bytes(3 * MIB)), "gzip", limits=Limits(member_size=2 * MIB)
    )
    assert [f.code for f in findings] == [Code.LIMIT_EXCEEDED]


def test_too_many_members_are_a_limit_over_all_levels() -> None:
    inner = zipped(*((f"{n}", b"x") for n in range(5)))
    data = zipped(("a.zip", inner), ("b.zip", inner))
    members, findings = opened(data, "zip", limits=Limits(members=8))
    assert [f.code for f in findings] == [Code.LIMIT_EXCEEDED]
    assert len(members) == 8


def test_a_tar_that_lies_about_its_size() -> None:
    data = bytearray(tarred(("a.exe", PE), ("b.exe", PE)))
    info = tarfile.TarInfo("a.exe")
    info.size = 8**10
    data[:512] = info.tobuf(tarfile.USTAR_FORMAT)
    members, findings = opened(bytes(data), "tar", limits=Limits(member_size=64 * MIB))
    assert not members
    assert {f.code for f in findings} <= {Code.LIMIT_EXCEEDED, Code.MALFORMED}
    assert findings


def test_encrypted_members_are_named() -> None:
    data = bytearray(zipped(("a.exe", PE), ("b.exe", PE)))
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    members, findings = opened(bytes(data), "zip")
    assert [f.code for f in findings] == [Code.KEY_MISSING]
    assert "a.exe" in findings[0].subject
    assert list(members) == ["outer!/b.exe"]


@pytest.mark.parametrize("name", ["../evil.exe", "a/../../evil.exe", "/etc/x", "..\\x", "C:\\x"])
def test_names_that_leave_the_archive_are_refused(name: str) -> None:
    _, findings = opened(tarred((name, PE)), "tar")
    assert [(f.code, f.effect) for f in findings] == [(Code.AMBIGUOUS, Effect.REJECT)]


def test_ambiguity_of_an_inner_archive_is_told_with_its_path() -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        inner = zipped(("a", b"1"), ("a", b"2"))
    _, findings = opened(zipped(("i.zip", inner)), "zip", "o.zip")
    assert [f.subject for f in findings] == ["o.zip!/i.zip"]
    assert findings[0].effect is Effect.REJECT


def test_a_broken_member_leaves_the_others() -> None:
    data = bytearray(zipped(("a.exe", bytes(range(256)) * 30 + PE), ("b.exe", PE)))
    data[60] ^= 0xFF
    members, findings = opened(bytes(data), "zip")
    assert "outer!/b.exe" in members
    assert [f.code for f in findings] == [Code.MALFORMED] or "outer!/a.exe" in members


def test_a_zip_without_directory_is_a_finding() -> None:
    _, findings = opened(zipped(*MEMBERS)[:-30], "zip")
    assert [(f.code, f.effect) for f in findings] == [(Code.MALFORMED, Effect.UNKNOWN)]


def test_zstandard_is_named_as_not_opened() -> None:
    _, findings = opened(b"\x28\xb5\x2f\xfd" + bytes(50), "zstd")
    assert [f.code for f in findings] == [Code.UNSUPPORTED_KIND]


def test_xz_that_asks_for_too_much_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "XZ_MEMORY", 1024)
    _, findings = opened(lzma.compress(PE, preset=9), "xz")
    assert [f.code for f in findings] == [Code.MALFORMED]


def test_a_signed_module_inside_a_stream_is_told_by_its_tail() -> None:
    module = b"\x7fELF".ljust(16, b"\0") + b"\1\0" + bytes(5000) + b"~Module signature appended~\n"
    members, _ = opened(gzip.compress(module), "gzip", "m.gz")
    assert [m.kind for m in members.values()] == ["kernel-module"]
