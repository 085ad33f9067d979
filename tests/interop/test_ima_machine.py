"""What we sign, Linux 6.1 of Debian runs, in a virtual machine; what we did not, it refuses.

The machine's disk is made from a tree that `signward sign --ima` signed, attributes and all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from conformance.authenticode.pki import Identity

import signward
from signward.cli.commands import run
from tests.builders import vm
from tests.builders.jail import libraries
from tests.builders.keyfiles import encoded
from tests.corpus import CorpusMissingError, require
from tests.signing import identity

pytestmark = [pytest.mark.interop, pytest.mark.slow]

OWN = identity()
STRANGER = identity("rsa2048", "Somebody Else")

RELEASE = "6.1.0-56-amd64"
MODULES = (
    "drivers/virtio/virtio_ring", "drivers/virtio/virtio", "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci_legacy_dev", "drivers/virtio/virtio_pci",
    "drivers/block/virtio_blk", "lib/crc16", "crypto/crc32c_generic", "fs/mbcache",
    "fs/jbd2/jbd2", "fs/ext4/ext4",
)  # fmt: skip
"""What a disk with ext4 needs, in the order that it is loaded."""

VERITY_OWNER = 1001
"""Who owns the files whose fs-verity digest IMA asks for: a rule can tell them by that."""

POLICY = f"""appraise func=BPRM_CHECK fsname=ext4 fowner={VERITY_OWNER} digest_type=verity \
appraise_type=sigv3
appraise func=BPRM_CHECK fsname=ext4 appraise_type=imasig
"""


@pytest.fixture(scope="module")
def linux() -> Path:
    """Return the tree of a kernel with its modules."""
    if why := vm.missing():
        pytest.skip(why)
    for name in ("fsverity", "mkfs.ext4"):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed")
    try:
        return require("linux-image")
    except CorpusMissingError as error:
        pytest.skip(str(error))


def modules(linux: Path) -> dict[str, bytes]:
    folder = linux / "lib" / "modules" / RELEASE / "kernel"
    return {
        f"/modules/{number:02}.ko": (folder / f"{name}.ko").read_bytes()
        for number, name in enumerate(MODULES)
    }


def key_of(who: Identity, folder: Path) -> str:
    path = folder / f"{who.certificate[-8:].hex()}.pem"
    path.write_bytes(encoded(who.key) + who.pem)
    return f"file:{path}"


def program(folder: Path) -> str:
    """Return the path of a program in a folder of its own: busybox asks by which name it runs."""
    path = folder / "busybox"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(vm.busybox())
    path.chmod(0o755)
    return str(path)


def sign(who: Identity, folder: Path, *words: str) -> None:
    assert run(["sign", "--quiet", "--key", key_of(who, folder), *words]) == 0


def tree_of(folder: Path) -> Path:
    """Return a tree of programs, signed by us, by somebody else, or not; some changed since."""
    tree = folder / "tree"
    for name in ("own", "changed"):
        program(tree / "signed" / name)
    try:
        sign(OWN, folder, "--ima", str(tree / "signed"))
    except AssertionError:
        pytest.skip("system: security.ima cannot be set here")
    with (tree / "signed" / "changed" / "busybox").open("ab") as file:
        file.write(b"\0")
    sign(STRANGER, folder, "--ima", program(tree / "signed" / "stranger"))
    assert run(["sign", "--quiet", "--ima-hash", program(tree / "signed" / "hashed")]) == 0
    program(tree / "signed" / "bare")
    for who, name in ((OWN, "own"), (STRANGER, "stranger"), (OWN, "plain"), (OWN, "off")):
        path = program(tree / "verity" / name)
        version = "2" if name == "plain" else "verity"
        sign(who, folder, "--ima", "--ima-version", version, path)
        os.chown(path, VERITY_OWNER, VERITY_OWNER)
    for who, name in ((OWN, "own"), (STRANGER, "stranger"), (OWN, "changed")):
        sign(who, folder, "--fs-verity", program(tree / "builtin" / name))
    with (tree / "builtin" / "changed" / "busybox").open("ab") as file:
        file.write(b"\0")
    program(tree / "builtin" / "bare")
    return tree


def disk_of(tree: Path, folder: Path, octets: str = "64M") -> Path:
    disk = folder / "disk"
    done = subprocess.run(["mkfs.ext4", "-q", "-b", "4096", "-O", "verity", "-d", str(tree),
                           str(disk), octets], capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return disk


MOUNT = """
for one in /modules/*.ko; do $B insmod $one || echo SW: no $one; done
$B mkdir -p /m
for _ in 1 2 3 4 5; do $B test -b /dev/vda && break; $B sleep 1; done
$B mount -t ext4 /dev/vda /m || echo SW: no disk
"""

START = f"""{vm.PROLOGUE}{MOUNT}
keyctl newring _ima @u >/dev/null
keyctl padd asymmetric "" %keyring:_ima </own.der >/dev/null && echo SW: key
keyctl padd asymmetric "" %keyring:.fs-verity </own.der >/dev/null && echo SW: verity key
echo 1 > /proc/sys/fs/verity/require_signatures
for one in own stranger changed; do
  file=/m/builtin/$one/busybox
  if fsverity enable $file --signature=$file.fsverity-sig 2>/dev/null
  then echo SW: builtin $one taken; else echo SW: builtin $one refused; fi
done
if fsverity enable /m/builtin/bare/busybox 2>/dev/null; then echo SW: bare taken; fi
echo 0 > /proc/sys/fs/verity/require_signatures
for one in own stranger plain; do fsverity enable /m/verity/$one/busybox || echo SW: no verity; done
$B cat /policy > /sys/kernel/security/ima/policy && echo SW: policy
for one in signed/own signed/changed signed/stranger signed/hashed signed/bare \
           verity/own verity/stranger verity/plain verity/off; do
  if /m/$one/busybox true 2>/dev/null; then echo SW: $one runs; else echo SW: $one stopped; fi
done
{vm.EPILOGUE}"""


@pytest.mark.confirms("ima", "sign", "Linux 6.1")
@pytest.mark.confirms("fs-verity", "sign", "Linux 6.1")
def test_linux_runs_what_we_sign_and_nothing_else(linux: Path, tmp_path: Path) -> None:
    disk = disk_of(tree_of(tmp_path), tmp_path)
    files = {"/own.der": OWN.certificate, "/policy": POLICY.encode(), **modules(linux),
             **vm.program("keyctl"), **vm.program("fsverity")}  # fmt: skip
    console = vm.boot(
        tmp_path, vm.initramfs(START, files), "ima_appraise=enforce", disk=disk,
        image=linux / "boot" / f"vmlinuz-{RELEASE}",
    )  # fmt: skip
    assert vm.said(console) == [
        "key", "verity key",
        "builtin own taken", "builtin stranger refused", "builtin changed refused",
        "policy",
        "signed/own runs", "signed/changed stopped", "signed/stranger stopped",
        "signed/hashed stopped", "signed/bare stopped",
        "verity/own runs", "verity/stranger stopped", "verity/plain stopped", "verity/off stopped",
    ], console[-3000:]  # fmt: skip


# --- what the kernel keeps, read by ourselves in the machine -------------------------------------

LEFT_OUT = shutil.ignore_patterns("test", "tests", "idlelib", "tkinter", "ensurepip", "lib2to3",
                                  "site-packages", "config-*", "turtledemo", "*.a")  # fmt: skip
PACKAGES = ("cryptography", "msgspec", "_cffi_backend*", "typing_extensions.py")


def interpreter_in(root: Path) -> str:
    """Put this interpreter, what it needs, and Signward below ``root``; return its path there."""
    home = Path(sys.base_prefix)
    binary = home / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    library = Path(sysconfig.get_path("stdlib"))
    shutil.copytree(library, root / library.relative_to("/"), ignore=LEFT_OUT)
    packages = root / "packages"
    packages.mkdir()
    installed = Path(sysconfig.get_path("purelib"))
    for pattern in PACKAGES:
        for found in installed.glob(pattern):
            copy = shutil.copytree if found.is_dir() else shutil.copy2
            copy(found, packages / found.name)
    shutil.copytree(Path(signward.__file__).parent, packages / "signward")
    copied = root / binary.relative_to("/")
    copied.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(binary, copied)
    for loaded in (binary, *library.glob("lib-dynload/*.so"), *packages.rglob("*.so")):
        for place, file in libraries(loaded).items():
            target = root / place.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                shutil.copy2(file, target)
    return str(binary)


VERIFY = """
$B mkdir -p /m/dev
$B mount -t devtmpfs d /m/dev
verify() {
  PYTHONPATH=/packages $B chroot /m @INTERPRETER -m signward verify \\
    --anchor /own.pem $1 > /x/told 2>&1
  echo SW: $1 $?
  $B sed 's/^/told: /' /x/told
}
"""


@pytest.mark.confirms("fs-verity", "verify", "Linux 6.1")
def test_what_the_kernel_keeps_is_read_and_judged(linux: Path, tmp_path: Path) -> None:
    """A file with verity enabled is judged by its built-in signature, which only ioctls tell."""
    tree = tree_of(tmp_path)
    python = interpreter_in(tree)
    (tree / "own.pem").write_bytes(OWN.pem)
    sign(OWN, tmp_path, "--fs-verity", "--fs-verity-salt", "abcd",
         program(tree / "builtin" / "salted"))  # fmt: skip
    disk = disk_of(tree, tmp_path, "384M")
    init = f"""{vm.PROLOGUE}{MOUNT}{VERIFY.replace("@INTERPRETER", python)}
keyctl padd asymmetric "" %keyring:.fs-verity </own.der >/dev/null && echo SW: verity key
verify /builtin/own/busybox
for one in own stranger salted; do
  salt=; [ $one = salted ] && salt=--salt=abcd
  file=/m/builtin/$one/busybox
  [ $one = stranger ] && keyctl padd asymmetric "" %keyring:.fs-verity </other.der >/dev/null
  fsverity enable $file $salt --signature=$file.fsverity-sig || echo SW: $one refused
done
for one in own stranger salted; do verify /builtin/$one/busybox; done
fsverity enable /m/verity/own/busybox || echo SW: no verity
verify /verity/own/busybox
verify /signed/own/busybox
{vm.EPILOGUE}"""
    files = {"/own.der": OWN.certificate, "/other.der": STRANGER.certificate, **modules(linux),
             **vm.program("keyctl"), **vm.program("fsverity")}  # fmt: skip
    console = vm.boot(
        tmp_path, vm.initramfs(init, files), "", disk=disk,
        image=linux / "boot" / f"vmlinuz-{RELEASE}",
    )  # fmt: skip
    assert vm.said(console) == [
        "verity key", "/builtin/own/busybox 4",
        "/builtin/own/busybox 0", "/builtin/stranger/busybox 3", "/builtin/salted/busybox 0",
        "/verity/own/busybox 0", "/signed/own/busybox 0",
    ], console[-6000:]  # fmt: skip
