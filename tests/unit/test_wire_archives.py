"""ZIP and tar readers: what two readers could see differently is said; nothing blows up."""

from __future__ import annotations

import bz2
import contextlib
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signward.errors import AmbiguousError, BadInputError, LimitError, MalformedError
from signward.findings import Code, Effect
from signward.wire import tar as tar_wire
from signward.wire import unzip
from signward.wire import zip as zip_wire
from signward.wire.source import BytesSource
from signward.wire.tar import tar_members
from signward.wire.unzip import member_pieces
from signward.wire.zip import ZipDirectory, read_directory, refuse_ambiguous


def build(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, compress_type=method)
    return out.getvalue()


def directory(data: bytes) -> ZipDirectory:
    return read_directory(BytesSource("a.zip", data))


def found(data: bytes) -> str:
    findings = directory(data).findings
    assert all(f.code is Code.AMBIGUOUS for f in findings)
    return "; ".join(f.found for f in findings)


TWO = (("a.txt", b"A" * 1000), ("dir/b.dll", b"B" * 3000))


@pytest.mark.parametrize("method", [0, 8, 12])
def test_members_are_read_back(method: int) -> None:
    data = build(*TWO, method=method)
    source = BytesSource("a.zip", data)
    listing = read_directory(source)
    assert not listing.findings
    assert [m.name for m in listing.members] == ["a.txt", "dir/b.dll"]
    assert [b"".join(member_pieces(source, m)) for m in listing.members] == [d for _, d in TWO]


def test_streamed_members_with_data_descriptors_are_no_gap() -> None:
    class Unseekable(io.RawIOBase):
        def __init__(self) -> None:
            self.data = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.data += data
            return len(data)

    out = Unseekable()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in TWO:
            archive.writestr(name, content)
    assert not directory(bytes(out.data)).findings


def test_zip64_sizes_are_read() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, archive.open("big", "w", force_zip64=True) as big:
        big.write(b"data")
    source = BytesSource("a.zip", out.getvalue())
    (member,) = read_directory(source).members
    assert member.size == 4
    assert zip_wire._zip64(b"\1\0\x10\0" + struct.pack("<QQ", 7, 9), 0xFFFFFFFF, 3, 0xFFFFFFFF) == (
        7,
        3,
        9,
    )
    with pytest.raises(MalformedError):
        zip_wire._zip64(b"", 0xFFFFFFFF)


def test_zip64_end_record_is_followed() -> None:
    plain = build(("a", b"x"), method=0)
    at = plain.rindex(b"PK\5\6")
    size, offset = struct.unpack_from("<II", plain, at + 12)
    record = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, size, offset)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, at, 1)
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    assert [m.name for m in directory(plain[:at] + record + locator + end).members] == ["a"]
    with pytest.raises(MalformedError):
        directory(plain[:at] + b"XXXX" + record[4:] + locator + end)


def test_two_members_of_one_name() -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        data = build(("a", b"1"), ("a", b"2"))
    assert "two members named a" in found(data)


def local_patched(change: Callable[[bytearray], None]) -> bytes:
    data = bytearray(build(*TWO))
    change(data)
    return bytes(data)


def test_local_header_with_another_name() -> None:
    def rename(data: bytearray) -> None:
        data[30:35] = b"A.exe"

    assert "under another name" in found(local_patched(rename))


def test_local_header_with_another_size() -> None:
    def grow(data: bytearray) -> None:
        data[22] ^= 1

    assert "of another size" in found(local_patched(grow))


def test_local_header_with_another_method_or_flags() -> None:
    def stored(data: bytearray) -> None:
        data[8] = 0

    def encrypted(data: bytearray) -> None:
        data[6] ^= 1

    assert "packed otherwise" in found(local_patched(stored))
    assert "packed otherwise" in found(local_patched(encrypted))


def test_bytes_before_after_and_between() -> None:
    data = build(*TWO)
    assert "9 bytes before" in found(b"#!/bin/sh" + data)
    assert "4 bytes after" in found(data + b"tail")
    assert found(data[:-1] + b"\x05") == "a comment cut off"
    offset = data.index(b"PK\3\4", 4)
    shifted = bytearray(data[:offset] + b"hidden!" + data[offset:])
    central = shifted.index(b"PK\1\2", shifted.index(b"PK\1\2") + 4)
    struct.pack_into("<I", shifted, central + 42, offset + 7)
    end = shifted.rindex(b"PK\5\6")
    struct.pack_into("<I", shifted, end + 16, struct.unpack_from("<I", data, len(data) - 6)[0] + 7)
    findings = directory(bytes(shifted)).findings
    assert [f.found for f in findings] == ["7 bytes between members"]
    assert findings[0].effect is Effect.WARN


def test_overlapping_members() -> None:
    data = bytearray(build(("a", b"x" * 100), ("a2", b"x" * 100), method=0))
    second = data.index(b"PK\1\2", data.index(b"PK\1\2") + 4)
    struct.pack_into("<I", data, second + 42, 0)
    assert "overlapping" in found(bytes(data))


def test_a_second_end_record_inside_the_comment() -> None:
    data = bytearray(build(("a", b"x")))
    fake = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0, 0, 0, len(data), 0)
    data[-2:] = struct.pack("<H", len(fake))
    assert "several end records" in found(bytes(data) + fake)


def refused(data: bytes) -> str:
    """Say why an archive that must have one reading is refused."""
    with pytest.raises(AmbiguousError) as caught:
        refuse_ambiguous(directory(data))
    return str(caught.value.finding.found)


def behind(data: bytes, at: int, added: bytes) -> bytes:
    """Return an archive with bytes before its directory, whose end record says where that is."""
    end = data.rindex(b"PK\5\6")
    moved = struct.pack("<I", struct.unpack_from("<I", data, end + 16)[0] + len(added))
    return data[:at] + added + data[at : end + 16] + moved + data[end + 20 :]


def test_an_end_record_in_the_comment_that_does_not_fit_is_another_readers_archive() -> None:
    """Python's zipfile and unzip take the last mark there is; its comment they cut off."""
    hidden = build(("evil.dll", b"x")) + b"."
    end = bytearray(build(("a", b"x")))
    end[-2:] = struct.pack("<H", len(hidden))
    data = bytes(end) + hidden
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == ["evil.dll"]
    assert [m.name for m in directory(data).members] == ["a"]
    assert "several end records" in found(data)


def test_a_zip64_record_with_a_sector_behind_its_fields_may_hide_another() -> None:
    plain = build(("a", b"1"))
    at, end = plain.rindex(b"PK\5\6"), plain[plain.rindex(b"PK\5\6") :]
    count, size, offset = struct.unpack_from("<HII", end, 10)
    fields = (45, 45, 0, 0, count, count, size, offset)
    for sector, word in ((b"", ""), (bytes(56), "several end records")):
        record = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44 + len(sector), *fields) + sector
        locator = struct.pack("<4sIQI", b"PK\6\7", 0, at, 1)
        assert word in found(plain[:at] + record + locator + end)


def with_extra(data: bytes, field: bytes, *, local: bool) -> bytes:
    """Return an archive of one member with a field in one of its headers."""
    start, central, end = 0, data.rindex(b"PK\1\2"), data.rindex(b"PK\5\6")
    header, fixed = (start, 30) if local else (central, 46)
    length_at = header + fixed - (2 if local else 16)
    named = struct.unpack_from("<H", data, header + fixed - (4 if local else 18))[0]
    at = header + fixed + named
    changed = bytearray(data[:at] + field + data[at:])
    struct.pack_into("<H", changed, length_at, len(field))
    moved = (
        (central + len(field), end - central) if local else (central, end - central + len(field))
    )
    struct.pack_into("<II", changed, end + len(field) + 12, moved[1], moved[0])
    return bytes(changed)


@pytest.mark.parametrize("local", [True, False])
def test_a_unicode_path_renames_a_member_for_some_readers(*, local: bool) -> None:
    """unzip, 7-Zip and Python take the name in field 0x7075 if it has the CRC of the other."""

    def path(name: bytes, of: bytes = b"a.txt") -> bytes:
        data = b"\1" + zlib.crc32(of).to_bytes(4, "little") + name
        return struct.pack("<HH", 0x7075, len(data)) + data

    data = build(("a.txt", b"text"))
    assert "under another name" in found(with_extra(data, path(b"evil.dll"), local=local))
    assert not found(with_extra(data, path(b"a.txt"), local=local))
    assert not found(with_extra(data, path(b"evil.dll", b"stale"), local=local))


def test_two_zip64_fields_are_one_too_many() -> None:
    data = bytearray(build(("a.txt", b"text"), method=0))
    struct.pack_into("<I", data, data.rindex(b"PK\1\2") + 24, 0xFFFFFFFF)
    fields = [struct.pack("<HHQ", 1, 8, size) for size in (4, 5)]
    assert not found(with_extra(bytes(data), fields[0], local=False))
    with pytest.raises(MalformedError, match="2 that say it"):
        directory(with_extra(bytes(data), b"".join(fields), local=False))


def test_an_apk_signing_block_is_a_gap_where_one_reading_is_asked() -> None:
    data = build(*TWO)
    block = b"hidden" + b"APK Sig Block 42"
    whole = behind(data, data.index(b"PK\1\2"), block)
    assert not found(whole)
    assert refused(whole) == "22 bytes between members"


def test_sizes_before_a_descriptor_are_none_or_the_same() -> None:
    def streamed(size: int) -> bytes:
        data = bytearray(build(("a.txt", b"text"), method=0))
        central = data.index(b"PK\1\2")
        data[6] |= 8
        data[central + 8] |= 8
        struct.pack_into("<I", data, 22, size)
        crc = zlib.crc32(b"text")
        return behind(bytes(data), central, struct.pack("<4sIII", b"PK\7\x08", crc, 4, 4))

    assert not found(streamed(0))
    assert not found(streamed(4))
    assert "of another size" in found(streamed(3))


def test_two_names_that_read_alike_are_one() -> None:
    data = build(("\u00e9", b"1"), ("xx", b"2")).replace(b"xx", b"\x82x")
    assert not found(data)
    assert "two members named" in found(data.replace(b"\x82x", "\u00e9".encode()))
    one = build(("abc", b"1"), ("xyz", b"2")).replace(b"abc", b"\xff12").replace(b"xyz", b"\xff12")
    assert "two members named" in found(one)


def test_a_name_in_some_code_page_has_no_one_reading() -> None:
    data = build(("ax.txt", b"1"))
    refuse_ambiguous(directory(data))
    refuse_ambiguous(directory(build(("\u00e9.txt", b"1"))))
    assert "code page" in refused(data.replace(b"ax.txt", "\u00e9.txt".encode()))
    flagged = bytearray(data.replace(b"ax.txt", b"\xffx.txt"))
    flagged[7] |= 8
    flagged[flagged.index(b"PK\1\2") + 9] |= 8
    assert "code page" in refused(bytes(flagged))


@pytest.mark.parametrize("method", [8, 12])
@pytest.mark.parametrize(("change", "word"), [("longer", "bytes behind"), ("shorter", "no|end")])
def test_packed_data_ends_where_the_directory_says(method: int, change: str, word: str) -> None:
    """Readers who stream take what follows for the next member."""
    content = b"text" * 40
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    open_ended = packer.compress(content) + packer.flush(zlib.Z_SYNC_FLUSH)
    whole = bz2.compress(content) if method == 12 else open_ended + packer.flush()
    packed = whole + bytes(unzip.PIECE) if change == "longer" else open_ended
    if change == "shorter" and method == 12:
        packed = whole[:-1]
    data = bytearray(build(("a", packed), method=0))
    central = data.index(b"PK\1\2", len(packed))
    for at in (8, central + 10):
        struct.pack_into("<H", data, at, method)
    for at in (14, central + 16):
        struct.pack_into("<I", data, at, zlib.crc32(content))
    for at in (22, central + 24):
        struct.pack_into("<I", data, at, len(content))
    source = BytesSource("a.zip", bytes(data))
    (member,) = read_directory(source).members
    with pytest.raises(MalformedError, match=word):
        list(member_pieces(source, member))


@pytest.mark.parametrize("name", ["a\rb", "a\nb"])
def test_names_in_more_than_one_line(name: str) -> None:
    assert "NUL, CR or LF" in found(build((name, b"x")))


def test_a_name_with_nul() -> None:
    data = build(("aXb.exe", b"x")).replace(b"aXb", b"a\0b")
    assert "NUL, CR or LF" in found(data)


def test_an_encrypted_member_is_not_read() -> None:
    data = bytearray(build(("a", b"x" * 50)))
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    source = BytesSource("a.zip", bytes(data))
    (member,) = read_directory(source).members
    assert member.encrypted
    with pytest.raises(MalformedError, match="encrypted"):
        list(member_pieces(source, member))


def test_a_method_we_do_not_read() -> None:
    data = build(("a", b"x"), method=zipfile.ZIP_LZMA)
    source = BytesSource("a.zip", data)
    with pytest.raises(MalformedError, match="compression method 14"):
        list(member_pieces(source, read_directory(source).members[0]))


@pytest.mark.parametrize("method", [0, 8, 12])
def test_damaged_data_is_malformed(method: int) -> None:
    data = bytearray(build(("a", bytes(range(256)) * 8), method=method))
    data[31 + 12] ^= 0xFF
    source = BytesSource("a.zip", bytes(data))
    with pytest.raises(MalformedError):
        list(member_pieces(source, read_directory(source).members[0]))


def test_a_member_larger_than_its_directory_entry_stops_there() -> None:
    data = bytearray(build(("a", bytes(5_000_000))))
    central = data.index(b"PK\1\2")
    struct.pack_into("<I", data, central + 24, 10)
    source = BytesSource("a.zip", bytes(data))
    pieces = member_pieces(source, read_directory(source).members[0])
    with pytest.raises(MalformedError, match="other data"):
        list(pieces)


def test_lies_about_counts_and_sizes() -> None:
    data = build(("a", b"x"))
    with pytest.raises(MalformedError, match="2 headers"):
        directory(data[:-14] + struct.pack("<HH", 2, 2) + data[-10:])
    with pytest.raises(MalformedError, match="outside"):
        directory(data[:-10] + struct.pack("<I", 10_000) + data[-6:])
    with pytest.raises(MalformedError, match="one part of several"):
        directory(data[:-14] + struct.pack("<HH", 1, 2) + data[-10:])
    with pytest.raises(MalformedError, match="no end record"):
        directory(b"PK\3\4" + bytes(100))


def test_too_many_members_are_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_wire, "MEMBERS", 1)
    with pytest.raises(LimitError):
        directory(build(*TWO))
    monkeypatch.setattr(zip_wire, "MEMBERS", 10)
    monkeypatch.setattr(zip_wire, "DIRECTORY_BYTES", 10)
    with pytest.raises(LimitError):
        directory(build(*TWO))


def test_findings_about_one_archive_are_bounded() -> None:
    data = build(*((f"{n}\n", b"x") for n in range(100)))
    assert len(directory(data).findings) == zip_wire.FINDINGS


def test_cut_short_bzip2_is_malformed() -> None:
    packed = bz2.compress(bytes(1000))
    with pytest.raises(MalformedError):
        list(unzip._bunzip(iter([b"not bzip2 at all"]), "a"))
    assert b"".join(unzip._bunzip(iter([packed]), "a")) == bytes(1000)


SAMPLE = build(*TWO)


@settings(max_examples=300)
@given(st.integers(0, len(SAMPLE) - 1), st.integers(1, 255), st.integers(0, len(SAMPLE)))
def test_changed_and_cut_archives_never_crash(at: int, flip: int, cut: int) -> None:
    data = bytearray(SAMPLE)
    data[at] ^= flip
    source = BytesSource("a.zip", bytes(data[: max(cut, len(data) // 2)]))
    try:
        for member in read_directory(source).members:
            try:
                list(member_pieces(source, member))
            except BadInputError:
                continue
    except BadInputError:
        pass


# tar


def tarred(*members: tuple[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def untar(data: bytes, piece: int = 100) -> list[tuple[str, bytes]]:
    pieces = (data[at : at + piece] for at in range(0, len(data), piece))
    return [(m.name, b"".join(m.pieces)) for m in tar_members(pieces)]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tar_members_are_read_back(form: int) -> None:
    members = [("a.txt", b"A" * 700), ("d" * 60 + "/" + "n" * 90, b"B"), ("empty", b"")]
    assert untar(tarred(*members, form=form)) == members


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tar_long_names(form: int) -> None:
    name = "é" * 200
    assert untar(tarred((name, b"x"), form=form)) == [(name, b"x")]


def test_members_left_unread_are_skipped() -> None:
    pieces = iter([tarred(("a", bytes(3000)), ("b", b"x"))])
    assert [m.name for m in tar_members(pieces)] == ["a", "b"]


def test_links_and_directories_are_no_files() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo("x")
            info.type = kind
            info.linkname = "/etc/passwd"
            archive.addfile(info)
    assert untar(out.getvalue()) == []


def header(**changes: bytes) -> bytes:
    fields = {"name": b"a", "size": b"00000000001\0", "flag": b"0"} | changes
    block = bytearray(512)
    block[: len(fields["name"])] = fields["name"]
    block[124:136] = fields["size"]
    block[156:157] = fields["flag"]
    block[257:263] = b"ustar\0"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (header(size=b"77777777777\0"), "an end inside a member"),
        (header(size=b"\x80" + b"\xff" * 11), "an end inside a member"),
        (header(size=b"\xff" * 12), "negative"),
        (header(size=b"not octal!!\0"), "not in octal"),
        (header(flag=b"L", size=b"77777777777\0"), "at most"),
        (header(flag=b"x", size=b"00000000012\0") + b"9999999 x=".ljust(512, b"\0"), "pax record"),
        (header(flag=b"S") + bytes(512), "sparse"),
        (b"x" * 512, "not in octal"),
        (header()[:-1] + b"\1" + bytes(512), "checksum"),
        (header(flag=b"x", size=b"00000000014\0") + b"12 size=abc\n".ljust(512, b"\0") + header(),
         "pax size"),
    ],
)  # fmt: skip
def test_tar_lies(data: bytes, error: str) -> None:
    with pytest.raises(BadInputError, match=error):
        untar(data)


def paxed(records: dict[str, str], everywhere: dict[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    shared = {"format": tarfile.PAX_FORMAT, "pax_headers": everywhere or {}}
    with tarfile.open(fileobj=out, mode="w", **shared) as archive:  # type: ignore[call-overload]
        info = tarfile.TarInfo("a")
        info.pax_headers = records
        archive.addfile(info)
    return out.getvalue()


@pytest.mark.parametrize("records", [
    {"GNU.sparse.name": "evil", "GNU.sparse.size": "0"}, {"GNU.sparse.map": "0,0"},
])  # fmt: skip
def test_a_tar_member_that_only_gnu_and_bsd_rename_is_refused(records: dict[str, str]) -> None:
    """Sparse members of versions 0.0 and 0.1: `tar` extracts "a" as "evil"."""
    with pytest.raises(MalformedError, match="sparse"):
        untar(paxed(records))


@pytest.mark.parametrize("name", ["path", "linkpath", "size", "GNU.sparse.name"])
def test_a_global_tar_header_that_renames_what_follows_is_refused(name: str) -> None:
    with pytest.raises(MalformedError, match="global"):
        untar(paxed({}, {name: "1"}))
    assert untar(paxed({}, {"comment": "made by git archive"})) == [("a", b"")]


def test_two_tar_headers_for_one_member_are_refused() -> None:
    """GNU tar forgets the first one, and others obey both."""
    one, other = paxed({"path": "evil"})[:1024], paxed({"comment": "x"})
    for data in (one + other, one + one, one + tarred(("n" * 120, b""), form=tarfile.GNU_FORMAT)):
        with pytest.raises(MalformedError, match="two headers"):
            untar(data)


@pytest.mark.parametrize("size", [b"-0000000010\0", b"000000_0012\0", b"+0000000010\0"])
def test_a_tar_number_that_only_python_reads_is_refused(size: bytes) -> None:
    with pytest.raises(MalformedError, match="octal"):
        untar(header(size=size) + bytes(1024))


def test_an_extended_header_is_bounded() -> None:
    big = b"%011o\0" % (tar_wire.EXTENDED_HEADER + 1)
    with pytest.raises(LimitError):
        untar(header(flag=b"x", size=big) + bytes(100))


TAR = tarred(("a.txt", b"A" * 700), ("x" * 150, b"B"))


@settings(max_examples=200)
@given(st.integers(0, len(TAR) - 1), st.integers(1, 255), st.integers(1, len(TAR)))
def test_changed_and_cut_tars_never_crash(at: int, flip: int, cut: int) -> None:
    data = bytearray(TAR)
    data[at] ^= flip
    with contextlib.suppress(BadInputError):
        untar(bytes(data[:cut]), 512)
