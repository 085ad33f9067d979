"""UEFI variables from every place they are kept: efivarfs, its copies, flash, JSON."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from signward.errors import EvidenceError
from signward.inventory.boot import variables as reading
from signward.inventory.boot.entries import LoadOption, load_options
from signward.inventory.boot.variables import SHIM, Variables, read_variables
from signward.wire.siglist import GLOBAL, IMAGE_SECURITY, efi_time
from signward.wire.varstore import Variable
from tests.builders.varstore import store
from tests.unit.test_varstore import AT, DB, LANG


def test_files_of_efivarfs_begin_with_attributes(tmp_path: Path) -> None:
    (tmp_path / f"db-{IMAGE_SECURITY.upper()}").write_bytes(b"\x27\0\0\0lists")
    (tmp_path / "README").write_bytes(b"no variable")
    found = read_variables(str(tmp_path))
    assert found.kind == "files of variables"
    assert list(found.found.values()) == [
        Variable(name="db", vendor=IMAGE_SECURITY, content=b"lists", attributes=0x27)
    ]


def test_efivarfs_itself_is_told_by_its_place(tmp_path: Path) -> None:
    folder = tmp_path / reading.EFIVARFS
    folder.mkdir(parents=True)
    (folder / f"SecureBoot-{GLOBAL}").write_bytes(b"\x06\0\0\0\1")
    found = read_variables(str(folder))
    assert (found.kind, found.content("SecureBoot", GLOBAL)) == ("efivarfs", b"\1")


@pytest.mark.parametrize(
    ("file", "name", "vendor"),
    [
        ("db.esl", "db", IMAGE_SECURITY),
        ("KEK", "KEK", GLOBAL),
        ("MokListRT.esl", "MokListRT", SHIM),
    ],
)
def test_bare_lists_are_known_by_their_name(
    tmp_path: Path, file: str, name: str, vendor: str
) -> None:
    (tmp_path / file).write_bytes(b"lists")
    assert read_variables(str(tmp_path)).content(name, vendor) == b"lists"


def test_what_cannot_be_read_is_told_beside_the_rest(tmp_path: Path) -> None:
    (tmp_path / "db.esl").write_bytes(b"lists")
    (tmp_path / "dbx.esl").mkdir()
    found = read_variables(str(tmp_path))
    assert found.unread == ("dbx.esl: a directory",)
    assert found.content("db", IMAGE_SECURITY) == b"lists"


def test_a_flash_image_is_read(tmp_path: Path) -> None:
    (tmp_path / "vars.fd").write_bytes(store([DB, LANG]))
    found = read_variables(str(tmp_path / "vars.fd"))
    assert (found.kind, list(found.found.values())) == ("a firmware's flash image", [DB, LANG])


def test_json_of_virt_firmware_is_read(tmp_path: Path) -> None:
    one = {"name": "db", "guid": IMAGE_SECURITY, "attr": 0x27, "data": b"lists".hex(),
           "time": efi_time(AT).hex()}  # fmt: skip
    (tmp_path / "v.json").write_text(json.dumps({"version": 2, "variables": [one]}))
    assert list(read_variables(str(tmp_path / "v.json")).found.values()) == [DB]


@pytest.mark.parametrize(
    "text",
    ['{"variables": 1}', '{"variables": [{"name": "x"}]}', "{", "[" * 5,
     '{"variables": [{"name": "x", "guid": "g", "data": "zz"}]}', '{"variables":' + "[" * 100_000],
)  # fmt: skip
def test_other_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "v.json").write_text(text)
    with pytest.raises(EvidenceError, match=r"v\.json"):
        read_variables(str(tmp_path / "v.json"))


def test_what_holds_no_variables_is_refused_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "disk.img").write_bytes(b"MZ" + bytes(100))
    with pytest.raises(EvidenceError, match="hint: name efivarfs"):
        read_variables(str(tmp_path / "disk.img"))
    with pytest.raises(EvidenceError, match="found no UEFI variables"):
        read_variables(str(tmp_path))
    with pytest.raises(EvidenceError, match="no such file"):
        read_variables(str(tmp_path / "gone"))


def test_limits_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "db.esl").write_bytes(b"12345678")
    (tmp_path / "KEK.esl").write_bytes(b"1")
    monkeypatch.setattr(reading, "MAX_VARIABLES", 1)
    with pytest.raises(EvidenceError, match="2 variables, at most 1"):
        read_variables(str(tmp_path))
    monkeypatch.setattr(reading, "MAX_VARIABLES", 2)
    monkeypatch.setattr(reading, "MAX_CONTENT", 7)
    with pytest.raises(EvidenceError, match="8 octets, at most 7"):
        read_variables(str(tmp_path))


def option(title: str, *nodes: tuple[int, int, bytes], attributes: int = 1) -> bytes:
    path = b"".join(struct.pack("<BBH", kind, sub, 4 + len(body)) + body
                    for kind, sub, body in nodes)  # fmt: skip
    text = title.encode("utf-16-le") + b"\0\0"
    return struct.pack("<IH", attributes, len(path)) + text + path


def menu(order: bytes, **entries: bytes) -> Variables:
    held = {"BootOrder": order, **entries}
    return Variables(where="", kind="test", found={
        (GLOBAL, name): Variable(name=name, vendor=GLOBAL, content=content)
        for name, content in held.items()
    })  # fmt: skip


FILE = "\\EFI\\debian\\shimx64.efi".encode("utf-16-le") + b"\0\0"
END = (0x7F, 0xFF, b"")


def test_entries_come_in_the_order_firmware_tries_them() -> None:
    disk = (4, 1, bytes(38))
    held = menu(b"\x0a\0\x01\0\x01\0\x09\0", Boot0001=option("debian", disk, (4, 4, FILE), END),
                Boot000A=option("net", (3, 11, bytes(33)), END, attributes=0))  # fmt: skip
    assert load_options(held) == (
        LoadOption(number="000A", title="net", file="", active=False),
        LoadOption(number="0001", title="debian", file="/EFI/debian/shimx64.efi", active=True),
    )


@pytest.mark.parametrize("length", range(0, 60, 3))
def test_entries_cut_short_surprise_nobody(length: int) -> None:
    whole = option("debian", (4, 4, FILE), END)
    assert len(load_options(menu(b"\x01\0\x02", Boot0001=whole[:length]))) <= 1


def test_a_node_without_length_ends_a_path() -> None:
    whole = struct.pack("<IH", 1, 8) + b"\0\0" + struct.pack("<BBHBBH", 4, 4, 0, 4, 4, 0)
    assert load_options(menu(b"\x01\0", Boot0001=whole))[0].file == ""
