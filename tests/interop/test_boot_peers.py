"""What starts a machine, as others see it: virt-firmware's reading, OVMF's and shim's own word."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conformance.authenticode.pki import pem

from signward.inventory.boot.files import BootFile
from signward.inventory.boot.variables import Variables, read_variables
from signward.policy.boot.status import BootStatus, Gap, Mode, Scenario
from signward.verbs.boot import Asked, boot_status
from signward.verbs.boot_images import read_image
from signward.wire.efi_compression import unpack
from signward.wire.option_rom import read_rom
from signward.wire.siglist import VENDORS
from tests.builders import vm
from tests.builders.booted import debian
from tests.builders.option_rom import image, packed
from tests.signing import identity, sign_bytes, strip_bytes

pytestmark = [pytest.mark.interop]

TOOL = Path(sys.executable).with_name("virt-fw-vars")
STORES = Path("/usr/share/OVMF")
OWNER = "77fa9abd-0359-4d32-bd60-28f4e78f784b"
OWN = identity()
AT = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _able() -> None:
    if not TOOL.exists():
        pytest.skip("virt-fw-vars is not installed")
    if not (STORES / "OVMF_VARS_4M.fd").exists():
        pytest.skip("ovmf is not installed")


def virt(source: Path, *arguments: str | Path) -> None:
    subprocess.run([TOOL, "-l", "error", "-i", source, *arguments], check=True,
                   capture_output=True)  # fmt: skip


def microsoft(name: str) -> Path:
    """Return one of the certificates that virt-firmware carries."""
    folder = TOOL.parents[1]
    (found,) = folder.glob(f"lib/python*/site-packages/virt/firmware/certs/*/{name}.pem")
    return found


@pytest.mark.parametrize("name", ["OVMF_VARS.fd", "OVMF_VARS.ms.fd", "OVMF_VARS_4M.fd",
                                  "OVMF_VARS_4M.ms.fd", "OVMF_VARS_4M.snakeoil.fd"])  # fmt: skip
def test_flash_images_hold_what_virt_firmware_finds(name: str, tmp_path: Path) -> None:
    virt(STORES / name, "--output-json", tmp_path / "v.json")
    ours, theirs = (read_variables(str(path)) for path in (STORES / name, tmp_path / "v.json"))
    assert ours.found == theirs.found
    assert bool(ours.found) is (".ms" in name or "snakeoil" in name)


def enrolled(target: Path, *more: str | Path) -> Path:
    """Return a store with Microsoft's keys of 2023 as owner and updater, and what is asked for."""
    virt(STORES / "OVMF_VARS_4M.fd", "--set-pk", OWNER, microsoft("ms-oem-pk-2023"), "--add-kek",
         OWNER, microsoft("ms-kek-2023"), *more, "--sb", "-o", target)  # fmt: skip
    return target


def in_db(*names: str) -> tuple[str | Path, ...]:
    return tuple(part for name in names for part in ("--add-db", OWNER, microsoft(name)))


REVOKED = ("--add-dbx-cert", OWNER)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, corpus: Callable[[str], Path]) -> Path:
    return debian(tmp_path_factory.mktemp("root"), corpus)


SHIM, GRUB = "/boot/efi/EFI/debian/shimx64.efi", "/boot/efi/EFI/debian/grubx64.efi"


def ask(root: Path, variables: Path) -> BootStatus:
    return boot_status(Asked(root=str(root), variables=str(variables)), AT)


def answer(status: BootStatus, path: str, scenario: Scenario = Scenario.NOW) -> bool | None:
    return next(file for file in status.files if file.path == path).starts[scenario].starts


SHIM_RUNS, DENIED = b"Failed to load image \\EFI\\BOOT\\grubx64.efi", b"Access Denied"


@pytest.mark.slow
@pytest.mark.corpus
@pytest.mark.parametrize(
    ("db", "dbx", "starts"),
    [
        (("ms-uefi-2011",), (), True),
        (("ms-uefi-2023",), (), True),
        (("windows-2023",), (), False),
        (("ms-uefi-2023",), ("ms-uefi-2011",), False),
    ],
)
def test_firmware_starts_a_shim_of_both_signatures_as_we_say(
    db: Sequence[str], dbx: Sequence[str], starts: bool, root: Path, tmp_path: Path
) -> None:
    """The last: one of its two signatures leads into dbx, which refuses it whatever db holds."""
    if why := vm.missing():
        pytest.skip(why)
    denied = tuple(part for name in dbx for part in (*REVOKED, microsoft(name)))
    variables = enrolled(tmp_path / "variables", *in_db(*db), *denied)
    assert answer(ask(root, variables), SHIM) is starts
    console = vm.start(tmp_path, root / SHIM[1:], variables, (SHIM_RUNS, DENIED)).encode()
    assert (SHIM_RUNS in console, DENIED in console) == (starts, not starts)


GRUB_RUNS, TOO_OLD = b"GNU GRUB", b"Security Violation"


@pytest.mark.slow
@pytest.mark.corpus
@pytest.mark.parametrize(("grub", "starts"), [(5, True), (9, False)])
def test_shim_loads_grub_by_its_sbat_level_as_we_say(
    grub: int, starts: bool, root: Path, tmp_path: Path
) -> None:
    if why := vm.missing():
        pytest.skip(why)
    (tmp_path / "level").write_bytes(b"sbat,1,2026010100\nshim,4\ngrub,%d\n" % grub)
    variables = enrolled(
        tmp_path / "variables", *in_db("ms-uefi-2023"), "--set-sbat-level", tmp_path / "level"
    )
    status = ask(root, variables)
    assert (status.sbat.level, answer(status, SHIM), answer(status, GRUB)) == (
        f"2026010100 shim,4 grub,{grub}", True, starts,
    )  # fmt: skip
    disk = tmp_path / "disk" / "EFI" / "BOOT"
    disk.mkdir(parents=True)
    shutil.copy(root / GRUB[1:], disk / "grubx64.efi")
    console = vm.start(tmp_path, root / SHIM[1:], variables, (GRUB_RUNS, TOO_OLD)).encode()
    assert (GRUB_RUNS in console, TOO_OLD in console) == (starts, not starts)


CARD = Path("/usr/lib/ipxe/qemu/efi-e1000.rom")


def test_others_unpack_what_we_unpack() -> None:
    """What uefi-firmware packs, of real drivers and of noise, comes out of our reader again."""
    peer = pytest.importorskip("uefi_firmware.efi_compressor", reason="uefi-firmware")
    noise = random.Random(1).randbytes(70_000)
    for data in (real_driver(), noise, b"a" * 100_000, noise[:3], b""):
        whole = peer.EfiCompress(data, len(data))
        assert unpack(whole) == data
        own = packed(data)
        assert peer.EfiDecompress(own, len(own)) == data


def real_driver() -> bytes:
    """Return the EFI driver in a real ROM: iPXE's for a network card."""
    if not CARD.exists():
        pytest.skip("ipxe-qemu is not installed")
    bios, efi = read_rom(CARD.read_bytes())
    assert (bios.code, bios.ids, efi.ids, efi.machine) == ("BIOS", "8086:100e", "8086:100e", "x64")
    assert efi.driver is not None
    return efi.driver


def test_sbverify_too_refuses_a_driver_with_octets_behind_it(tmp_path: Path) -> None:
    if shutil.which("sbverify") is None:
        pytest.skip("sbverify is not installed")
    (tmp_path / "own.pem").write_bytes(pem(OWN.certificate))
    signed = sign_bytes("driver.efi", real_driver(), who=OWN)
    for behind, good in ((0, True), (8, False)):
        (tmp_path / "driver.efi").write_bytes(signed + bytes(behind))
        ran = subprocess.run(["sbverify", "--cert", "own.pem", "driver.efi"], cwd=tmp_path,
                             capture_output=True, check=False)  # fmt: skip
        assert (ran.returncode == 0) is good
        image = read_image(BootFile(path=str(tmp_path / "driver.efi"), name="driver.efi"))
        assert bool(image.signers) is good


@pytest.mark.slow
def test_firmware_runs_the_driver_that_we_find_in_a_rom(tmp_path: Path) -> None:
    """OVMF asks db about no ROM: its host brings them.  That it runs ours: it reads them alike."""
    if why := vm.missing():
        pytest.skip(why)
    signed = sign_bytes("driver.efi", real_driver(), who=OWN)
    ids = (0x8086, 0x100E)
    (tmp_path / "card.rom").write_bytes(image(packed(signed), compression=1, ids=ids))
    shutil.copy(STORES / "OVMF_VARS_4M.fd", tmp_path / "variables")
    (found,) = read_rom((tmp_path / "card.rom").read_bytes())
    assert found.driver == signed
    console = vm.start_card(tmp_path, tmp_path / "card.rom", tmp_path / "variables",
                            (IPXE, b"Shell>"))  # fmt: skip
    assert IPXE in console.encode()


IPXE = b"iPXE 1.0"

DUMP = f"""{vm.PROLOGUE}
$B insmod /efivarfs.ko
$B mount -t efivarfs e /sys/firmware/efi/efivars || echo SW: no efivarfs
cd /sys/firmware/efi/efivars
for one in SecureBoot-* SetupMode-* PK-* KEK-* db-* dbx-* Boot0* BootOrder-*; do
  echo "SW: $one $($B xxd -p $one | $B tr -d '\\n')"
done
{vm.EPILOGUE}"""


@pytest.mark.slow
@pytest.mark.corpus
def test_a_running_machine_s_efivarfs_says_what_its_flash_does(root: Path, tmp_path: Path) -> None:
    """A copy of efivarfs and the flash image of one machine lead to the same answers."""
    if why := vm.missing():
        pytest.skip(why)
    source = vm.kernel()
    assert source is not None
    bare = strip_bytes("vmlinuz.efi", source.read_bytes())
    (tmp_path / "vmlinuz").write_bytes(sign_bytes("vmlinuz.efi", bare, who=OWN))
    (tmp_path / "own.pem").write_bytes(pem(OWN.certificate))
    variables = enrolled(
        tmp_path / "variables", *in_db("ms-uefi-2011"), "--add-db", OWNER, tmp_path / "own.pem"
    )
    console = vm.boot(tmp_path, vm.initramfs(DUMP, {"/efivarfs.ko": vm.efivarfs()}), "",
                      image=tmp_path / "vmlinuz", variables=variables)  # fmt: skip
    live, flash = copied(tmp_path / "efivars", console), read_variables(str(variables))
    for name, vendor in VENDORS.items():
        assert live.content(name, vendor) == flash.content(name, vendor)
    status, other = ask(root, tmp_path / "efivars"), ask(root, variables)
    assert (status.mode, other.mode) == (Mode.ON, Mode.ON)
    assert status.files == other.files
    assert [entry.title for entry in status.entries] == [entry.title for entry in other.entries]
    assert status.entries
    assert Gap.STRANDED in {advice.gap for advice in status.advice}


def copied(folder: Path, console: str) -> Variables:
    """Write what the machine told of its efivarfs as files, and read them."""
    folder.mkdir()
    for line in vm.said(console):
        name, _, content = line.partition(" ")
        (folder / name).write_bytes(bytes.fromhex(content))
    return read_variables(str(folder))
