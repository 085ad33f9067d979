"""``boot status`` of Debian's own files: what starts by which key, what is said, what to do."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conformance.authenticode.pki import Identity, pem

from signward.cli import main
from signward.errors import EvidenceError
from signward.inventory.boot import files as walking
from signward.inventory.boot.files import BootFile, boot_files, modules, option_roms
from signward.inventory.boot.variables import SHIM
from signward.policy.boot.firmware import Firmware, by_firmware, keys_of
from signward.policy.boot.microsoft import _GREW, AUTHORITIES, UEFI_2011, UEFI_2023
from signward.policy.boot.status import BootStatus, Gap, Mode, Scenario
from signward.policy.dbx import dbx_of
from signward.trust.pem import CERTIFICATES, blocks
from signward.trust.x509 import load_certificate
from signward.verbs.boot import Asked, boot_status
from signward.verbs.boot_images import read_image
from signward.verbs.policies.signing import opened, signed_update
from signward.wire import siglist
from signward.wire.siglist import GLOBAL, IMAGE_SECURITY, Entry
from signward.wire.varstore import Variable
from tests.builders.booted import KERNEL, LOADED, SHIMS, debian
from tests.builders.keyfiles import encoded
from tests.builders.varstore import store
from tests.corpus import REPOSITORY
from tests.schemas import schemas
from tests.signing import identity
from tests.unit.test_boot_variables import END, FILE, option
from tests.unit.test_firmware import with_a_signer_of

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
LATER = datetime(2026, 4, 10, tzinfo=UTC)

pytestmark = [pytest.mark.corpus]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, corpus: Callable[[str], Path]) -> Path:
    return debian(tmp_path_factory.mktemp("root"), corpus)


def shipped() -> dict[str, bytes]:
    """Return the certificates of db that we ship, by name."""
    data = (REPOSITORY / "src" / "signward" / "trust" / "uefi.pem").read_bytes()
    ders = blocks("uefi", data, CERTIFICATES)
    return {load_certificate(der).common_name: der for der in ders}


def lists(*names: str) -> bytes:
    return siglist.write_lists(
        Entry(kind=siglist.X509, owner=SHIM, data=shipped()[name]) for name in names
    )


Held = tuple[str, bytes]
"""A variable's GUID and content."""


def image(path: Path, *db: str, dbx: bytes = b"", **more: Held) -> str:
    """Write a flash image whose db holds the named certificates; return its path."""
    held = {"PK": (GLOBAL, lists(UEFI_2023.name)), "KEK": (GLOBAL, lists(UEFI_2023.name)),
            "db": (IMAGE_SECURITY, lists(*db)), "dbx": (IMAGE_SECURITY, dbx), **more}  # fmt: skip
    path.write_bytes(store(
        Variable(name=name, vendor=vendor, content=content, at=LATER)
        for name, (vendor, content) in held.items()
    ))  # fmt: skip
    return str(path)


def ask(root: Path, variables: str, update: str = "") -> BootStatus:
    return boot_status(Asked(root=str(root), variables=variables, update=update), AT)


def starting(status: BootStatus, scenario: Scenario) -> set[str]:
    return {
        file.path for file in status.files if not file.packaged and file.starts[scenario].starts
    }


def gaps(status: BootStatus) -> set[Gap]:
    return {advice.gap for advice in status.advice}


JUDGED = set(SHIMS) | set(LOADED)


def test_a_db_of_2011_alone_starts_all_and_nothing_without_it(root: Path, tmp_path: Path) -> None:
    status = ask(root, image(tmp_path / "v", UEFI_2011.name))
    assert starting(status, Scenario.NOW) == JUDGED
    assert starting(status, Scenario.WITHOUT_2011) == set()
    (advice,) = [advice for advice in status.advice if advice.gap is Gap.STRANDED]
    assert advice.urgent
    assert advice.todo == (
        f"they are signed under 2023 too, and go on once db holds {UEFI_2023.name}"
    )
    assert {Gap.DB_2023, Gap.DBX_OLD} <= gaps(status)


def test_a_db_of_both_goes_on_without_2011(root: Path, tmp_path: Path) -> None:
    status = ask(root, image(tmp_path / "v", UEFI_2011.name, UEFI_2023.name))
    assert starting(status, Scenario.WITHOUT_2011) == JUDGED
    shims = {file.path: file.starts[Scenario.WITHOUT_2011] for file in status.files}
    assert shims[SHIMS[0]].by == f"{UEFI_2023.name} (db)"
    assert shims[LOADED[2]].through == "/boot/efi/EFI/debian/shimx64.efi"


def test_both_signatures_are_refused_once_2011_stands_in_dbx(root: Path, tmp_path: Path) -> None:
    status = ask(root, image(tmp_path / "v", UEFI_2011.name, UEFI_2023.name))
    assert starting(status, Scenario.REVOKED_2011) == set()
    assert Gap.STRANDED not in gaps(status)
    real = ask(root, image(tmp_path / "w", UEFI_2023.name, dbx=lists(UEFI_2011.name)))
    assert starting(real, Scenario.NOW) == set()


def test_an_update_of_dbx_is_tried_before_it_is_made(root: Path, tmp_path: Path) -> None:
    held = image(tmp_path / "v", UEFI_2011.name, UEFI_2023.name)
    shim = next(file for file in ask(root, held).files if file.path == SHIMS[1])
    update = tmp_path / "dbxupdate.esl"
    entry = Entry(kind=siglist.SHA256, owner=SHIM, data=bytes.fromhex(shim.sha256))
    update.write_bytes(siglist.write_lists([entry]))
    status = ask(root, held, str(update))
    assert starting(status, Scenario.WITH_DBX) == set()
    (advice,) = [advice for advice in status.advice if advice.gap is Gap.DBX_BREAKS]
    assert "its digest stands in" in advice.found
    assert status.dbx.missing == 1
    harmless = siglist.write_lists([Entry(kind=siglist.SHA256, owner=SHIM, data=bytes(32))])
    update.write_bytes(harmless)
    assert Gap.DBX_BREAKS not in gaps(ask(root, held, str(update)))


def test_an_update_that_kek_does_not_sign_is_told(tmp_path: Path) -> None:
    own, stranger = identity(), identity("rsa2048", "Somebody Else")
    kek = siglist.write_lists([Entry(kind=siglist.X509, owner=SHIM, data=own.certificate)])
    held = image(tmp_path / "v", UEFI_2023.name, KEK=(GLOBAL, kek))
    content = siglist.write_lists([Entry(kind=siglist.SHA256, owner=SHIM, data=bytes(32))])
    said = [
        ask(tmp_path, held, str(write(tmp_path, content, who, append=append)))
        for who in (own, stranger)
        for append in (True, False)
    ]
    refused = "it is signed under Signing Test Root, which is not in KEK"
    assert [status.update_refused for status in said] == ["", "", refused, refused]
    assert [Gap.UPDATE_REFUSED in gaps(status) for status in said] == [False, False, True, True]
    torn = write(tmp_path, content, own, append=True)
    torn.write_bytes(torn.read_bytes()[:-1] + b"x")
    assert ask(tmp_path, held, str(torn)).update_refused == "its signature does not fit it"
    mine = write(tmp_path, content, own, append=True).read_bytes()
    other = write(tmp_path, content, stranger, append=True).read_bytes()
    torn.write_bytes(with_a_signer_of(other, mine))
    two = "it cannot be read (a SignedData with 2 signers)"
    assert ask(tmp_path, held, str(torn)).update_refused == two


def write(folder: Path, content: bytes, who: Identity, *, append: bool) -> Path:
    """Return a file with a write of dbx that somebody signed."""
    (folder / "key.pem").write_bytes(encoded(who.key))
    (folder / "cert.pem").write_bytes(pem(who.certificate))
    with opened(f"file:{folder / 'key.pem'}", (str(folder / "cert.pem"),)) as credential:
        data = signed_update("dbx", content, credential, AT, append=append)
    (folder / "update.bin").write_bytes(data)
    return folder / "update.bin"


def test_microsoft_s_newest_list_stops_nothing_of_debian_s(root: Path, tmp_path: Path) -> None:
    info = schemas() / "dbx_info_msft_latest.json"
    status = ask(root, image(tmp_path / "v", UEFI_2011.name, UEFI_2023.name), str(info))
    assert starting(status, Scenario.WITH_DBX) == JUDGED
    assert status.dbx.missing == 672  # one of the 673 is there for two architectures
    digests = [bytes.fromhex(one["authenticodeHash"])
               for one in json.loads(info.read_text())["images"]["x64"]]  # fmt: skip
    whole = siglist.write_lists(
        Entry(kind=siglist.SHA256, owner=SHIM, data=digest) for digest in digests
    )
    current = ask(root, image(tmp_path / "w", UEFI_2023.name, dbx=whole))
    assert (str(current.dbx.newest_entry), current.dbx.entries) == ("2026-04-09", len(digests))
    assert Gap.DBX_OLD not in gaps(current)


def test_the_days_the_list_grew_are_microsoft_s() -> None:
    """Each day's one image has that day there; no architecture grew later than we know."""
    images = json.loads((schemas() / "dbx_info_msft_latest.json").read_text())["images"]
    for arch, days in _GREW.items():
        theirs = {(i["authenticodeHash"].lower(), i["dateOfAddition"]) for i in images[arch]}
        assert {(digest, day) for day, digest in days.items()} <= theirs
        assert max(days) == max(day for _, day in theirs)


def test_a_sbat_level_refuses_what_is_older(root: Path, tmp_path: Path) -> None:
    level = b"sbat,1,2026010100\nshim,4\ngrub,9\n"
    held = image(tmp_path / "v", UEFI_2023.name, SbatLevelRT=(SHIM, level))
    status = ask(root, held)
    refused = {file.path: file.starts[Scenario.NOW].why for file in status.files
               if file.starts[Scenario.NOW].starts is False}  # fmt: skip
    assert refused == {
        "/boot/efi/EFI/debian/grubx64.efi":
        "SBAT level 2026010100 asks for grub 9, it has grub,5",
    }  # fmt: skip
    assert Gap.REFUSED in gaps(status)
    assert status.sbat.level == "2026010100 shim,4 grub,9"


def test_users_own_keys_are_read_from_both_shapes(root: Path, tmp_path: Path) -> None:
    own = lists(UEFI_2023.name)
    for name in ("MokList", "MokListRT", "MokListRT1"):
        status = ask(root, image(tmp_path / "v", UEFI_2011.name, dbx=b"", **{name: (SHIM, own)}))
        assert [key.name for key in status.listing("MokList").certificates] == [UEFI_2023.name]


@pytest.mark.parametrize(
    ("more", "mode"),
    [
        ({}, Mode.ON),
        ({"SecureBoot": (GLOBAL, b"\0")}, Mode.OFF),
        ({"SecureBoot": (GLOBAL, b"\1"), "SetupMode": (GLOBAL, b"\0")}, Mode.ON),
        ({"SecureBoot": (GLOBAL, b"\0"), "SetupMode": (GLOBAL, b"\1")}, Mode.SETUP),
        ({"SecureBootEnable": ("f0a30bc7-af08-4556-99c4-001009c93a44", b"\0")}, Mode.OFF),
    ],
)
def test_the_mode_is_told(tmp_path: Path, more: dict[str, Held], mode: Mode) -> None:
    status = ask(tmp_path, image(tmp_path / "v", UEFI_2011.name, dbx=b"", **more))
    assert status.mode is mode
    assert (Gap.NOT_ON in gaps(status)) is (mode is not Mode.ON)


def test_an_empty_flash_image_is_in_setup_mode(tmp_path: Path) -> None:
    (tmp_path / "v").write_bytes(store([]))
    status = ask(tmp_path, str(tmp_path / "v"))
    assert status.mode is Mode.SETUP
    assert gaps(status) == {Gap.NOT_ON}


def test_some_variables_do_not_tell_the_mode(tmp_path: Path) -> None:
    (tmp_path / "db.esl").write_bytes(lists(UEFI_2023.name))
    status = ask(tmp_path, str(tmp_path))
    assert (status.mode, gaps(status) & {Gap.NOT_ON, Gap.NO_VARIABLES}) == (
        Mode.UNKNOWN, {Gap.NOT_ON},
    )  # fmt: skip
    assert run_code(tmp_path) == 1


def run_code(folder: Path) -> int:
    return main(["boot", "status", "--root", str(folder), "--vars", str(folder)])


def test_a_level_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    held = image(tmp_path / "v", UEFI_2011.name, SbatLevelRT=(SHIM, b"torn"))
    status = ask(tmp_path, held)
    assert [why.partition(":")[0] for why in status.unread] == ["SbatLevelRT"]
    assert Gap.UNREAD in gaps(status)


def test_shim_that_checks_nothing_is_told(tmp_path: Path) -> None:
    status = ask(tmp_path, image(tmp_path / "v", UEFI_2011.name, MokSBStateRT=(SHIM, b"\1")))
    assert not status.shim_validates
    assert Gap.SHIM_OFF in gaps(status)


def test_a_list_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    status = ask(tmp_path, image(tmp_path / "v", UEFI_2011.name, dbx=b"torn"))
    assert status.listing("dbx").fault
    assert Gap.UNREAD in gaps(status)


def test_a_torn_dbx_is_not_taken_for_an_empty_one(root: Path, tmp_path: Path) -> None:
    status = ask(root, image(tmp_path / "v", UEFI_2011.name, dbx=b"torn"))
    assert not starting(status, Scenario.NOW)
    shim = next(file for file in status.files if file.role == "shim")
    assert (shim.starts[Scenario.NOW].starts, shim.starts[Scenario.NOW].why) == (
        None, "dbx could not be read",
    )  # fmt: skip


@pytest.mark.parametrize("entry", [
    Entry(kind=siglist.X509, owner=SHIM, data=b"no certificate"),
    Entry(kind=siglist.X509_SHA256, owner=SHIM, data=bytes(32) + b"\xff" * 16),
])  # fmt: skip
def test_one_bad_entry_of_dbx_hides_no_other(root: Path, tmp_path: Path, entry: Entry) -> None:
    old = Entry(kind=siglist.X509, owner=SHIM, data=shipped()[UEFI_2011.name])
    held = image(tmp_path / "v", UEFI_2011.name, dbx=siglist.write_lists((entry, old)))
    status = ask(root, held)
    shim = next(file for file in status.files if file.role == "shim")
    assert shim.starts[Scenario.NOW].starts is False
    assert [key.name for key in status.listing("dbx").certificates] == [UEFI_2011.name]
    assert Gap.UNREAD in gaps(status)


def test_a_bad_certificate_in_db_takes_nothing_from_the_others(root: Path, tmp_path: Path) -> None:
    bad = Entry(kind=siglist.X509, owner=SHIM, data=b"no certificate")
    status = ask(root, image(tmp_path / "v", UEFI_2011.name, UEFI_2023.name))
    held = (IMAGE_SECURITY, siglist.write_lists([bad]) + lists(UEFI_2011.name))
    assert starting(ask(root, image(tmp_path / "w", db=held)), Scenario.NOW) == starting(
        status, Scenario.NOW
    )


def test_a_variable_that_is_closed_is_not_taken_for_absent(root: Path, tmp_path: Path) -> None:
    (tmp_path / f"db-{IMAGE_SECURITY}").write_bytes(b"\x27\0\0\0" + lists(UEFI_2011.name))
    dbx = tmp_path / f"dbx-{IMAGE_SECURITY}"
    dbx.mkdir()  # what cannot be read as a file
    status = ask(root, str(tmp_path))
    assert not starting(status, Scenario.NOW)
    assert status.unread


def test_what_shim_does_not_show_leaves_its_answers_open(root: Path, tmp_path: Path) -> None:
    (tmp_path / f"db-{IMAGE_SECURITY}").write_bytes(b"\x27\0\0\0" + lists(UEFI_2011.name))
    (tmp_path / f"MokListXRT1-{SHIM}").mkdir()
    found = starting(ask(root, str(tmp_path)), Scenario.NOW)
    assert not found & set(LOADED)
    (tmp_path / f"MokListXRT1-{SHIM}").rmdir()
    assert starting(ask(root, str(tmp_path)), Scenario.NOW) >= set(LOADED)


def test_boot_entries_are_followed_to_their_files(root: Path, tmp_path: Path) -> None:
    gone = "\\EFI\\gone\\x.efi".encode("utf-16-le") + b"\0\0"
    out = "\\..\\..\\etc".encode("utf-16-le") + b"\0\0"
    held = image(
        tmp_path / "v", UEFI_2023.name,
        BootOrder=(GLOBAL, b"\1\0\2\0\3\0"),
        Boot0001=(GLOBAL, option("debian", (4, 4, FILE.lower()), END)),
        Boot0002=(GLOBAL, option("gone", (4, 4, gone), END)),
        Boot0003=(GLOBAL, option("out", (4, 4, out), END)),
    )  # fmt: skip
    status = ask(root, held)
    assert [entry.found for entry in status.entries] == [True, False, False]
    advice = [one.found for one in status.advice if one.gap is Gap.ENTRY]
    assert advice[0] == "boot entry 0002 (gone) leads to /EFI/gone/x.efi, which is not on the ESP"


def test_what_the_fallback_program_would_enter_is_followed_too(tmp_path: Path) -> None:
    folder = tmp_path / "boot" / "efi" / "EFI" / "debian"
    folder.mkdir(parents=True)
    lines = "shimx64.efi,debian,,This is the boot entry\ngone.efi,Gone,,\n,,\n"
    (folder / "BOOTX64.CSV").write_bytes(b"\xff\xfe" + lines.encode("utf-16-le"))
    (folder / "shimx64.efi").write_bytes(b"MZ")
    status = ask(tmp_path, image(tmp_path / "v", UEFI_2023.name))
    assert [(entry.number, entry.title, entry.file, entry.found) for entry in status.entries] == [
        ("BOOTX64.CSV", "debian", "/EFI/debian/shimx64.efi", True),
        ("BOOTX64.CSV", "Gone", "/EFI/debian/gone.efi", False),
    ]
    (advice,) = [advice for advice in status.advice if advice.gap is Gap.ENTRY]
    assert advice.found.startswith("boot entry BOOTX64.CSV (Gone) leads to /EFI/debian/gone.efi")
    (folder / "BOOTX64.CSV").write_bytes(b"\xff\xfe\x00\xd8" + bytes(3))
    assert ask(tmp_path, image(tmp_path / "v", UEFI_2023.name)).entries == ()


def test_modules_are_counted_and_roms_named(root: Path) -> None:
    (held,) = modules(str(root))
    assert (held.kernel, held.modules, held.signed, held.packed) == (KERNEL, 4023, 4023, 0)
    (rom,) = option_roms(str(root))
    assert (rom.device, rom.ids, rom.kind) == ("0000:01:00.0", "10de:2684", "graphics")


def test_modules_of_other_origin_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "usr" / "lib" / "modules" / "6.6"
    for name in ("kernel/a.ko", "kernel/b.ko.xz", "updates/dkms/c.ko", "modules.dep"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\x7fELF")
    (folder / "kernel" / "a.ko").write_bytes(b"\x7fELF~Module signature appended~\n")
    (tmp_path / "lib").symlink_to("usr/lib")
    (held,) = modules(str(tmp_path))
    assert (held.modules, held.signed, held.packed, held.foreign) == (
        3,
        1,
        1,
        ("updates/dkms/c.ko",),
    )


def test_one_file_is_told_once_and_links_are_not_followed(tmp_path: Path, root: Path) -> None:
    esp = tmp_path / "efi" / "EFI" / "Linux"
    esp.mkdir(parents=True)
    shutil.copy(root / SHIMS[0][1:], esp / "a.efi")
    (esp / "b.EFI").hardlink_to(esp / "a.efi")
    (esp / "c.efi").symlink_to(esp / "a.efi")
    (esp / "readme.txt").write_text("x")
    assert [file.name for file in boot_files(str(tmp_path)).files] == ["/efi/EFI/Linux/a.efi"]
    named = boot_files(str(root), str(tmp_path / "efi")).files
    assert "/EFI/Linux/a.efi" in {file.name for file in named}


@pytest.mark.parametrize(
    ("name", "kernel"),
    [("vmlinuz-6.1", True), ("0123/6.1/linux", True), ("bzImage", True), ("linux-fw.img", False),
     (".vmlinuz-6.1.hmac", False), ("vmlinuz-6.1.old", False), ("initrd.img-6.1", False)],
)  # fmt: skip
def test_kernels_are_known_by_their_names(tmp_path: Path, name: str, kernel: bool) -> None:
    for place in ("efi/EFI/BOOT", f"efi/{name}"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "efi" / name).write_bytes(b"MZ")
    assert [file.name for file in boot_files(str(tmp_path)).files] == [f"/efi/{name}"] * kernel


def test_links_do_not_lead_to_another_machine_s_files(tmp_path: Path) -> None:
    """In a disk that is mounted somewhere, an absolute link means a place of its own."""
    host, disk = tmp_path / "host", tmp_path / "disk"
    for folder in ("efi/EFI", "boot", "modules/6.1", "shim"):
        (host / folder).mkdir(parents=True)
    for file in ("efi/EFI/x.efi", "boot/vmlinuz-1", "modules/6.1/a.ko", "shim/shimx64.efi"):
        (host / file).write_bytes(b"MZ")
    (disk / "usr" / "lib").mkdir(parents=True)
    for link, target in (("efi", "efi"), ("boot", "boot"), ("usr/lib/modules", "modules"),
                         ("usr/lib/shim", "shim")):  # fmt: skip
        (disk / link).symlink_to(host / target)
    found = boot_files(str(disk))
    assert not found.files
    assert [why.partition(":")[0] for why in found.unread] == ["/boot/efi", "/efi", "/boot"]
    assert not modules(str(disk))
    (disk / "efi").unlink()
    (host / "efi").rename(disk / "own")
    (disk / "efi").symlink_to("own")
    assert [file.name for file in boot_files(str(disk)).files] == ["/efi/EFI/x.efi"]


def test_an_esp_that_is_closed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: str) -> object:
        raise PermissionError(13, "Permission denied", folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert boot_files(str(tmp_path)).unread == (
        "/boot/efi: permission denied", "/efi: permission denied", "/boot: permission denied",
    )  # fmt: skip
    status = ask(tmp_path, image(tmp_path / "v", UEFI_2023.name))
    (advice,) = [advice for advice in status.advice if advice.gap is Gap.UNREAD]
    assert advice.todo == "run it as root: the ESP is closed to others"


def test_files_that_are_no_efi_programs_are_told(tmp_path: Path) -> None:
    esp = tmp_path / "boot" / "efi" / "EFI"
    esp.mkdir(parents=True)
    (esp / "x.efi").write_bytes(b"text")
    (esp / "torn.efi").write_bytes(b"MZ" + bytes(58) + b"\x40\0\0\0PE\0\0" + bytes(8))
    (tmp_path / "boot" / "vmlinuz-1").write_bytes(b"\x1f\x8b gzip")
    status = ask(tmp_path, image(tmp_path / "v", UEFI_2011.name))
    why = {file.path: file.starts[Scenario.NOW] for file in status.files}
    assert {ruling.starts for ruling in why.values()} == {None}
    assert why["/boot/vmlinuz-1"].why == "a kernel without an EFI stub"
    assert why["/boot/efi/EFI/x.efi"].why == "no EFI program"


def test_limits_hold(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walking, "MAX_FILES", 3)
    with pytest.raises(EvidenceError, match="more than 3 EFI files"):
        boot_files(str(root))
    monkeypatch.setattr(walking, "MAX_MODULES", 10)
    with pytest.raises(EvidenceError, match="more than 10 modules"):
        modules(str(root))


# --- the command -----------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["boot", "status", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_answer_begins_with_what_starts_and_ends_with_advice(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = image(tmp_path / "v", UEFI_2011.name)
    code, out, _ = run(capsys, "--root", str(root), "--vars", held, "--at", "2026-11-23")
    assert code == 1
    lines = out.splitlines()
    assert lines[0] == f"Secure Boot: on ({held}, a firmware's flash image)"
    assert lines[1] == "All 7 EFI files start under Secure Boot."
    assert lines[2] == "None of them would without Microsoft's certificates of 2011."
    assert re.search(r"db +may start +Microsoft Corporation UEFI CA 2011 +2026-06-27, ended", out)
    assert re.search(r"✓ starts +✕ refused +/boot/efi/EFI/debian/shimx64.efi +Microsoft Corp", out)
    assert re.search(r"grubx64.efi +Debian Secure Boot CA, through shimx64.efi", out)
    assert f"Modules of {KERNEL}: 4,023 signed." in out
    assert "Option ROMs not read: 0000:01:00.0 (graphics)" in out
    assert out.index("What to do:") > out.index("Modules of")
    assert out.rstrip().endswith("(!: something would not start)")


def test_json_says_all_of_it(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = image(tmp_path / "v", UEFI_2011.name, UEFI_2023.name)
    out = run(capsys, "--root", str(root), "--vars", held)[1]
    assert "All of them go on without Microsoft's certificates of 2011." in out
    assert "8 files would go on then, but not with these certificates in dbx" in " ".join(
        out.split()
    )
    code, out, err = run(capsys, "--root", str(root), "--vars", held, "--json")
    told = json.loads(out)
    assert (code, err, told["mode"]) == (1, "", "on")
    shim = next(file for file in told["files"] if file["path"] == SHIMS[1])
    assert shim["starts"]["without-2011"]["by"] == f"{UEFI_2023.name} (db)"
    assert {advice["gap"] for advice in told["advice"]} <= set(Gap)


def test_a_machine_with_nothing_to_do_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newest = [bytes.fromhex(days[max(days)]) for days in (_GREW["x64"],)]
    dbx = siglist.write_lists(Entry(kind=siglist.SHA256, owner=SHIM, data=d) for d in newest)
    held = image(tmp_path / "v", *(a.name for a in AUTHORITIES.values() if a.variable == "db"),
                 dbx=dbx)  # fmt: skip
    code, out, _ = run(capsys, "--root", str(tmp_path), "--vars", held)
    assert (code, out.splitlines()[-1]) == (0, "Nothing to do.")


def test_no_variables_cannot_tell(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--root", str(root))
    assert code == 3
    assert out.startswith("Secure Boot: unknown, as there are no UEFI variables in ")
    assert "signed under Microsoft Corporation UEFI CA 2011 and Microsoft UEFI CA 2023" in out


@pytest.mark.parametrize("flag", ["--root", "--esp", "--vars", "--with-dbx"])
def test_what_is_named_and_not_there_is_an_error(
    flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = [] if flag == "--root" else ["--root", str(tmp_path)]
    code, _, err = run(capsys, flag, str(tmp_path / "gone"), *more)
    assert code == 2
    assert "gone" in err


def test_nothing_is_written(root: Path, tmp_path: Path) -> None:
    def state() -> dict[Path, tuple[int, int]]:
        below = (path for path in root.rglob("*") if not path.is_symlink())
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in below}

    before = state()
    ask(root, image(tmp_path / "v", UEFI_2011.name))
    assert state() == before
    assert [path.name for path in tmp_path.iterdir()] == ["v"]


def test_names_cannot_write_to_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    esp = tmp_path / "boot" / "efi" / "EFI"
    esp.mkdir(parents=True)
    (esp / "\x1b[31m[bold]x.efi").write_bytes(b"text")
    title = option("\x1b]0;evil\x07", (4, 4, FILE), END)
    held = image(tmp_path / "v", UEFI_2011.name, BootOrder=(GLOBAL, b"\1\0"),
                 Boot0001=(GLOBAL, title))  # fmt: skip
    for more in ((), ("--json",)):
        _, out, _ = run(capsys, "--root", str(tmp_path), "--vars", held, *more)
        assert "\x1b" not in out
        assert "\x07" not in out
    assert "[bold]x.efi" in run(capsys, "--root", str(tmp_path), "--vars", held)[1]


def test_no_changed_octet_of_a_shim_lets_it_start(root: Path, tmp_path: Path) -> None:
    """At seeded offsets: what starts has the content that was signed; one signature is enough."""
    real = (root / SHIMS[1][1:]).read_bytes()
    keys = [load_certificate(der) for der in shipped().values()]
    firmware = Firmware(db=keys_of("db", (), keys), dbx=(), mok=keys_of("MokList", (), ()),
                        mokx=dbx_of("", ()))  # fmt: skip
    file = BootFile(path=str(tmp_path / "x.efi"), name="/x.efi")
    Path(file.path).write_bytes(real)
    signed = read_image(file).digests
    random_ = random.Random(47)
    for _ in range(2000):
        data, at = bytearray(real), random_.randrange(len(real))
        data[at] ^= 1 << random_.randrange(8)
        Path(file.path).write_bytes(data)
        image = read_image(file)
        assert image.digests == signed or not by_firmware(image, firmware).starts, at
