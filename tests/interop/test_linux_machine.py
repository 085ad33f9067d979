"""Our policies in Linux 6.12 of Debian, in a virtual machine: IMA, UEFI variables, IPE."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode.pki import Identity, pem

from signward.compilers import ima, ipe, kernel_blacklist, uefi
from signward.formats import Existing
from signward.frozen import replace
from signward.policy.rules.material import material
from signward.policy.rules.model import Action, PublisherMatch, Rule, RuleSet
from signward.state import Outcome
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.policies.signing import Form, opened, seal, signed_update
from signward.verbs.verify import assess
from signward.wire import siglist
from signward.wire.source import BytesSource
from tests.builders import vm
from tests.builders.keyfiles import encoded
from tests.builders.policies import digest, rule_set
from tests.signing import identity, sign_bytes, strip_bytes

pytestmark = [pytest.mark.interop, pytest.mark.slow]

OWN = identity()
STRANGER = identity("rsa2048", "Somebody Else")


@pytest.fixture(autouse=True)
def _able() -> None:
    if why := vm.missing():
        pytest.skip(why)


def rules(who: Identity = OWN) -> RuleSet:
    """Let in what one signer signed."""
    own = Rule(id="own", action=Action.ALLOW, publisher=PublisherMatch(key="own"))
    made = rule_set(own)
    return replace(made, keys={"own": material("own", pem(who.certificate))})


def imasig(content: bytes, who: Identity, folder: Path) -> bytes:
    """Return the value of security.ima that evmctl makes."""
    (folder / "key.pem").write_bytes(encoded(who.key))
    (folder / "file").write_bytes(content)
    subprocess.run(["evmctl", "ima_sign", "--sigfile", "--hashalgo", "sha256", "--key",
                    str(folder / "key.pem"), str(folder / "file")], check=True,
                   capture_output=True)  # fmt: skip
    return (folder / "file.sig").read_bytes()


def test_ima_runs_what_our_signer_signed_and_nothing_else(tmp_path: Path) -> None:
    made = ima.COMPILER.compile(rules(), ima.Settings(modsig=False))
    own, other = (imasig(vm.busybox(), who, tmp_path).hex() for who in (OWN, STRANGER))
    init = f"""{vm.PROLOGUE}
for one in own other unsigned; do $B mkdir /x/$one; $B cp /bin/busybox /x/$one/; done
setfattr -n security.ima -v 0x{own} /x/own/busybox || echo SW: no xattr
setfattr -n security.ima -v 0x{other} /x/other/busybox
keyctl newring _ima @u >/dev/null
keyctl padd asymmetric "" %keyring:_ima </keys/own.der >/dev/null && echo SW: key
$B cat /ima-policy > /sys/kernel/security/ima/policy && echo SW: policy
for one in own other unsigned; do
  if /x/$one/busybox true 2>/dev/null; then echo SW: $one runs; else echo SW: $one stopped; fi
done
{vm.EPILOGUE}"""
    files = {f"/{file.name}": file.content for file in made.files}
    archive = vm.initramfs(init, {**files, **vm.program("keyctl"), **vm.program("setfattr")})
    console = vm.boot(tmp_path, archive, made.content("cmdline").decode().strip())
    assert vm.said(console) == ["key", "policy", "own runs", "other stopped", "unsigned stopped"], (
        console[-3000:]
    )


PLATFORM = identity("rsa2048", "Platform Owner")
AT = datetime(2026, 11, 23, 20, 0, tzinfo=UTC)


def firmware_rules() -> RuleSet:
    """Our signer may boot; one digest may not."""
    own = rules()
    denied = Rule(id="bad", action=Action.DENY, digest=(digest("authenticode", 0),))
    gone = Rule(id="gone", action=Action.DENY, publisher=PublisherMatch(tbs="sha256:" + "5a" * 32))
    keys = {**own.keys, "platform": material("platform", pem(PLATFORM.certificate))}
    return replace(own, rules=(*own.rules, denied, gone), keys=keys)


def update(variable: str, content: bytes, who: Identity, folder: Path, **how: Any) -> bytes:
    """Return a variable's content as efivarfs takes it: attributes, then the signed update."""
    (folder / "key.pem").write_bytes(encoded(who.key))
    (folder / "cert.pem").write_bytes(pem(who.certificate))
    attributes = siglist.ATTRIBUTES | (siglist.APPEND if how.get("append") else 0)
    with opened(f"file:{folder / 'key.pem'}", (str(folder / "cert.pem"),)) as credential:
        at = how.pop("at", AT)
        data = signed_update(variable, content, credential, at, **how)
    return attributes.to_bytes(4, "little") + data


def signed_kernel(folder: Path) -> Path:
    """Return the kernel with our signer's signature in place of the distribution's."""
    source = vm.kernel()
    assert source is not None
    content = strip_bytes("vmlinuz.efi", source.read_bytes())
    (folder / "vmlinuz").write_bytes(sign_bytes("vmlinuz.efi", content, who=OWN))
    return folder / "vmlinuz"


ENROL = """
vars=/sys/firmware/efi/efivars
$B insmod /efivarfs.ko
$B mount -t efivarfs e $vars || echo SW: no efivarfs
write() {
  chattr -i $2 2>/dev/null
  if $B cat $1 > $2 2>/dev/null;  then echo SW: $1 written; else echo SW: $1 refused; fi
}
"""


def place(variable: str) -> str:
    return f"$vars/{variable}-{siglist.VENDORS[variable]}"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Return a variable store that firmware filled with our updates, and what it said."""
    if why := vm.missing():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("uefi")
    shutil.copy(vm.VARIABLES, folder / "variables")
    made = uefi.COMPILER.compile(firmware_rules(), uefi.Settings(pk="platform", kek=("platform",)))
    later = AT + timedelta(hours=1)
    files = {
        "/db": update("db", made.content("db.esl"), PLATFORM, folder),
        "/KEK": update("KEK", made.content("KEK.esl"), PLATFORM, folder),
        "/PK": update("PK", made.content("PK.esl"), PLATFORM, folder),
        "/strangers": update("dbx", made.content("dbx.esl"), STRANGER, folder, append=True),
        "/dbx": update("dbx", made.content("dbx.esl"), PLATFORM, folder, append=True),
        "/older": update("db", made.content("db.esl"), PLATFORM, folder, at=AT - timedelta(1)),
        "/newer": update("db", made.content("db.esl"), PLATFORM, folder, at=later),
        "/efivarfs.ko": vm.efivarfs(),
        **vm.program("chattr"),
    }  # fmt: skip
    steps = [("db", "db"), ("KEK", "KEK"), ("PK", "PK"), ("strangers", "dbx"), ("dbx", "dbx"),
             ("older", "db"), ("newer", "db")]  # fmt: skip
    lines = "\n".join(f"write /{file} {place(variable)}" for file, variable in steps)
    shown = f"echo SW: dbx $($B xxd -p {place('dbx')} | $B tr -d '\\n')"
    init = f"{vm.PROLOGUE}{ENROL}{lines}\n{shown}\n{vm.EPILOGUE}"
    console = vm.boot(folder, vm.initramfs(init, files), "", variables=folder / "variables")
    return folder, vm.said(console)


def test_firmware_takes_our_updates_and_no_stranger_s(machine: tuple[Path, list[str]]) -> None:
    _, said = machine
    assert said[:-1] == [
        "/db written", "/KEK written", "/PK written", "/strangers refused", "/dbx written",
        "/older refused", "/newer written",
    ]  # fmt: skip
    made = uefi.COMPILER.compile(firmware_rules(), uefi.Settings())
    assert said[-1] == f"dbx 27000000{made.content('dbx.esl').hex()}"


def test_the_kernel_denies_what_dbx_does(machine: tuple[Path, list[str]], tmp_path: Path) -> None:
    """What the kernel makes of dbx are the entries that we write for its own list."""
    folder, _ = machine
    init = f"{vm.PROLOGUE}keyctl show %:.blacklist | $B sed 's/^/SW: /'{vm.EPILOGUE}"
    archive = vm.initramfs(init, vm.program("keyctl"))
    console = vm.boot(tmp_path, archive, "", variables=folder / "variables")
    parts = [line.partition("blacklist: ") for line in vm.said(console)]
    shown = {entry for _, found, entry in parts if found}
    ours = kernel_blacklist.COMPILER.compile(firmware_rules(), kernel_blacklist.Settings())
    image, certificate = ours.content("blacklist.txt").decode().split()
    # Linux 6.12 takes the time of an EFI_CERT_X509_SHA256 for a part of its digest, so that such
    # an entry of dbx denies nothing there; the entry of its own list does.
    assert shown == {image, certificate + 16 * "00"}


DENIED, STARTED = "Access Denied", "UEFI Secure Boot is enabled."


def test_firmware_starts_what_our_db_knows(machine: tuple[Path, list[str]], tmp_path: Path) -> None:
    """The distribution's own signature is nothing to a db that holds only our signer."""
    folder, _ = machine
    theirs = vm.kernel()
    assert theirs is not None
    answers = []
    for name, image in (("theirs", theirs), ("ours", signed_kernel(tmp_path))):
        (tmp_path / name).mkdir()
        ends = (DENIED.encode(), STARTED.encode())
        console = vm.start(tmp_path / name, image, folder / "variables", ends)
        answers.append((DENIED in console, STARTED in console))
    assert answers == [(True, False), (False, True)]


@pytest.mark.confirms("kernel-module", "sign", "Linux 6.12")
@pytest.mark.confirms("kernel-module", "verify", "Linux 6.12")
def test_the_kernel_loads_the_modules_that_our_signer_signed(
    machine: tuple[Path, list[str]], tmp_path: Path
) -> None:
    """Debian's kernel takes module signatures by keys of db, and under Secure Boot no others."""
    folder, _ = machine
    theirs = vm.efivarfs()
    bare = strip_bytes("efivarfs.ko", theirs)
    own = sign_bytes("efivarfs.ko", bare, who=OWN)
    modules = {
        "theirs": theirs,
        "bare": bare,
        "own": own,
        "by-key": sign_bytes("efivarfs.ko", bare, who=OWN, options={"key-id": "yes"}),
        "sha384": sign_bytes("efivarfs.ko", bare, who=OWN, digest="sha384"),
        "strangers": sign_bytes("efivarfs.ko", bare, who=STRANGER),
        "changed": own.replace(b"license=GPL", b"license=gpl", 1),
        "appended": own + b"\n",
    }
    init = f"""{vm.PROLOGUE}
for one in {" ".join(modules)}; do
  if $B insmod /$one.ko 2>/dev/null
  then echo SW: $one loaded; $B rmmod efivarfs; else echo SW: $one refused; fi
done
{vm.EPILOGUE}"""
    archive = vm.initramfs(init, {f"/{name}.ko": data for name, data in modules.items()})
    console = vm.boot(tmp_path, archive, "module.sig_enforce=1", image=signed_kernel(tmp_path),
                      variables=folder / "variables")  # fmt: skip
    assert vm.said(console) == [
        "theirs loaded", "bare refused", "own loaded", "by-key loaded", "sha384 loaded",
        "strangers refused", "changed refused", "appended refused",
    ], console[-3000:]  # fmt: skip
    (tmp_path / "own.pem").write_bytes(pem(OWN.certificate))
    keyring = Context(Options(anchors=(str(tmp_path / "own.pem"), str(vm.kernel()))))
    ours = [
        f"{name} {'loaded' if accepted(data, keyring) else 'refused'}"
        for name, data in modules.items()
    ]
    assert ours == vm.said(console)


@pytest.mark.confirms("kernel-module", "sign", "Linux 6.12")
def test_the_kernel_unpacks_what_we_packed(machine: tuple[Path, list[str]], tmp_path: Path) -> None:
    """Handed a packed module (MODULE_INIT_COMPRESSED_FILE), it unpacks one stream by itself."""
    if shutil.which("perl") is None:
        pytest.skip("perl is not installed")
    folder, _ = machine
    theirs = vm.packed_efivarfs()
    own = sign_bytes("efivarfs.ko.xz", strip_bytes("efivarfs.ko.xz", theirs), who=OWN)
    modules = {
        "theirs": theirs,
        "own": own,
        "strangers": sign_bytes("efivarfs.ko.xz", theirs, who=STRANGER, existing=Existing.REPLACE),
        "bare": strip_bytes("efivarfs.ko.xz", theirs),
        "cut": own[:-8],
    }
    load = "open F, q(<), $ARGV[0]; $no = q(); exit(syscall(313, fileno(F), $no, 4) != 0)"
    init = f"""{vm.PROLOGUE}
echo SW: $($B cat /sys/module/compression)
for one in {" ".join(modules)}; do
  if perl -e '{load}' /$one.ko.xz
  then echo SW: $one loaded; $B rmmod efivarfs; else echo SW: $one refused; fi
done
{vm.EPILOGUE}"""
    files = {f"/{name}.ko.xz": data for name, data in modules.items()}
    archive = vm.initramfs(init, {**files, **vm.program("perl")})
    console = vm.boot(tmp_path, archive, "module.sig_enforce=1", image=signed_kernel(tmp_path),
                      variables=folder / "variables")  # fmt: skip
    assert vm.said(console) == [
        "xz", "theirs loaded", "own loaded", "strangers refused", "bare refused", "cut refused",
    ], console[-3000:]  # fmt: skip


def accepted(data: bytes, keyring: Context) -> bool:
    return assess(BytesSource("efivarfs.ko", data), keyring).outcome is Outcome.ACCEPTED


def test_ipe_runs_what_it_is_told(machine: tuple[Path, list[str]], tmp_path: Path) -> None:
    """Under Secure Boot our db is a keyring of the kernel, which then takes our IPE policy."""
    folder, _ = machine
    settings = ipe.Settings(boot_verified=True, also=())
    made = ipe.COMPILER.compile(rules(), settings).content("generated.pol")
    files = {
        "/own": sealed_ipe(made, OWN, tmp_path),
        "/strangers": sealed_ipe(made, STRANGER, tmp_path),
    }
    init = f"""{vm.PROLOGUE}
ipe=/sys/kernel/security/ipe
$B cp /bin/busybox /x/busybox
for one in strangers own; do
  if $B cat /$one > $ipe/new_policy 2>/dev/null
  then echo SW: $one taken; else echo SW: $one refused; fi
done
/x/busybox true && echo SW: before
echo 1 > $ipe/policies/generated/active && echo SW: active
$B true && echo SW: of the boot
/x/busybox true 2>/dev/null || echo SW: copy stopped
{vm.EPILOGUE}"""
    console = vm.boot(tmp_path, vm.initramfs(init, files), "", image=signed_kernel(tmp_path),
                      variables=folder / "variables")  # fmt: skip
    assert vm.said(console) == [
        "strangers refused", "own taken", "before", "active", "of the boot", "copy stopped",
    ], console[-3000:]  # fmt: skip


def sealed_ipe(policy: bytes, who: Identity, folder: Path) -> bytes:
    (folder / "key.pem").write_bytes(encoded(who.key))
    (folder / "cert.pem").write_bytes(pem(who.certificate))
    with opened(f"file:{folder / 'key.pem'}", (str(folder / "cert.pem"),)) as credential:
        return seal(Form.IPE, policy, credential, AT)
