"""Kernel modules against the kernel's own signing tool, OpenSSL, kmod, and Debian's 4,023."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from conformance.authenticode.pki import NOW, Identity, pem

from signward.state import Outcome, TrustedSignature, Verdict
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.verify import assess, assess_path
from signward.wire.compressed import pack
from signward.wire.module_trailer import read_trailer, write_trailer
from signward.wire.source import BytesSource
from tests.builders import elf
from tests.builders.keyfiles import encoded
from tests.contract.test_formats import RIGHT_CAUSES
from tests.signing import identity, sign_bytes, strip_bytes

pytestmark = pytest.mark.interop

SIGN_FILE = sorted(Path("/usr/lib").glob("linux-kbuild-*/scripts/sign-file"))
"""The kernel's own tool, as Debian's package linux-kbuild brings it."""

STRIDE = 13
"""Every so many of Debian's modules are judged: some 310 of them."""

FLIPS = 2000
"""Bytes of a real module changed, one at a time."""

MODULE = elf.module()


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def judged(data: bytes, who: Identity, folder: Path, name: str = "a.ko") -> Verdict:
    (folder / "anchor.pem").write_bytes(pem(who.certificate))
    keyring = Context(Options(anchors=(str(folder / "anchor.pem"),), at=NOW))
    return assess(BytesSource(name, data), keyring)


def by_sign_file(data: bytes, who: Identity, digest: str, folder: Path, *flags: str) -> bytes:
    """Return a module as the kernel's tool signs it."""
    if not SIGN_FILE:
        pytest.skip("sign-file (linux-kbuild) is not installed")
    (folder / "key.pem").write_bytes(encoded(who.key))
    (folder / "cert.der").write_bytes(who.certificate)
    (folder / "in.ko").write_bytes(data)
    names = [str(folder / name) for name in ("key.pem", "cert.der", "in.ko", "out.ko")]
    subprocess.run([SIGN_FILE[-1], *flags, digest, *names], check=True, capture_output=True)
    return (folder / "out.ko").read_bytes()


@pytest.mark.confirms("kernel-module", "verify", "sign-file")
@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("kind", ["rsa2048", "rsa3072", "p256", "p384"])
@pytest.mark.parametrize("flags", [(), ("-k",)])
def test_what_the_kernels_tool_signs(
    kind: str, digest: str, flags: tuple[str, ...], tmp_path: Path
) -> None:
    who = identity(kind, f"Module Signer {kind}")
    data = by_sign_file(MODULE, who, digest, tmp_path, *flags)
    verdict = judged(data, who, tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    assert strip_bytes("a.ko", data) == MODULE


@pytest.mark.confirms("kernel-module", "sign", "sign-file")
@pytest.mark.parametrize("options", [{}, {"key-id": "yes"}])
def test_ours_is_octet_for_octet_the_tools(options: dict[str, str], tmp_path: Path) -> None:
    """RSA signs the same way each time, and the message says nothing else."""
    who = identity("rsa2048", "Module Signer")
    flags = ("-k",) if options else ()
    theirs = by_sign_file(MODULE, who, "sha256", tmp_path, *flags)
    assert sign_bytes("a.ko", MODULE, who=who, options=options) == theirs


def openssl_takes(data: bytes, certificate: bytes, folder: Path) -> bool:
    """Say whether ``openssl cms`` verifies the message in a trailer over what stands before it."""
    trailer = read_trailer(BytesSource("a", data))
    assert trailer is not None
    (folder / "content").write_bytes(data[: trailer.start])
    (folder / "message").write_bytes(data[trailer.start : trailer.end])
    (folder / "signer.pem").write_bytes(pem(certificate))
    command = [tool("openssl"), "cms", "-verify", "-binary", "-noverify", "-inform", "DER",
               "-in", str(folder / "message"), "-content", str(folder / "content"),
               "-certfile", str(folder / "signer.pem"), "-out", "/dev/null"]  # fmt: skip
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.confirms("kernel-module", "sign", "openssl cms")
@pytest.mark.confirms("elf", "sign", "openssl cms")
@pytest.mark.parametrize("kind", ["rsa2048", "rsa3072", "p256", "p384", "p521"])
@pytest.mark.parametrize("options", [{}, {"key-id": "yes"}])
@pytest.mark.parametrize("name", ["a.ko", "program"])
def test_openssl_takes_ours(kind: str, options: dict[str, str], name: str, tmp_path: Path) -> None:
    content = MODULE if name == "a.ko" else elf.linked(interpreter=elf.LOADER)
    who = identity(kind, f"Module Signer {kind}")
    data = sign_bytes(name, content, who=who, options=options)
    assert openssl_takes(data, who.certificate, tmp_path)
    assert not openssl_takes(data.replace(b"\xc3\xc3", b"\xc3\x90", 1), who.certificate, tmp_path)


@pytest.mark.confirms("elf", "verify", "openssl cms")
@pytest.mark.parametrize("flags", [(), ("-keyid",), ("-noattr",), ("-noattr", "-keyid")])
def test_a_message_of_openssl_in_a_program(flags: tuple[str, ...], tmp_path: Path) -> None:
    who, content = identity("rsa2048", "Module Signer"), elf.linked(flags=elf.PIE)
    (tmp_path / "key.pem").write_bytes(encoded(who.key))
    (tmp_path / "cert.pem").write_bytes(pem(who.certificate))
    (tmp_path / "content").write_bytes(content)
    command = [tool("openssl"), "cms", "-sign", "-binary", "-nocerts", "-nosmimecap", *flags,
               "-signer", str(tmp_path / "cert.pem"), "-inkey", str(tmp_path / "key.pem"),
               "-in", str(tmp_path / "content"), "-outform", "DER"]  # fmt: skip
    message = subprocess.run(command, capture_output=True, check=True).stdout
    verdict = judged(content + write_trailer(message), who, tmp_path, "program")
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]


@pytest.mark.confirms("kernel-module", "sign", "modinfo")
@pytest.mark.parametrize(("name", "kind"), [("a.ko", ""), ("a.ko.xz", "xz"), ("a.ko.zst", "zstd")])
def test_modinfo_reads_ours(name: str, kind: str, tmp_path: Path) -> None:
    who = identity("rsa2048", "Module Signer")
    unsigned = pack(kind, MODULE, name) if kind else MODULE
    path = tmp_path / name
    path.write_bytes(sign_bytes(name, unsigned, who=who))
    found = subprocess.run([tool("modinfo"), str(path)], check=True, capture_output=True,
                           text=True, encoding="utf-8").stdout  # fmt: skip
    told = dict(line.partition(":")[::2] for line in found.splitlines())
    assert told["sig_id"].strip() == "PKCS#7"
    assert told["sig_hashalgo"].strip() == "sha256"
    assert told["signer"].strip() == "Signing Test Root"  # kmod tells the issuer


def real(tree: Path) -> tuple[list[Path], Context]:
    """Return Debian's modules and a context whose keys are in the kernel beside them."""
    (image,) = tree.glob("boot/vmlinuz-*")
    return sorted(tree.rglob("*.ko")), Context(Options(anchors=(str(image),)))


@pytest.mark.slow
@pytest.mark.confirms("kernel-module", "verify", "openssl cms")
def test_debians_modules(corpus: Callable[[str], Path], tmp_path: Path) -> None:
    """The kernel that loads them carries the certificate of the key that signed them."""
    modules, keyring = real(corpus("linux-image"))
    assert len(modules) == 4023
    chosen = modules[::STRIDE]
    answers = Counter(assess_path(path, keyring).outcome for path in chosen)
    assert answers == {Outcome.ACCEPTED: len(chosen)}
    for path in chosen[::30]:
        verdict = assess_path(path, keyring)
        (signature,) = verdict.signatures
        assert isinstance(signature, TrustedSignature)
        assert openssl_takes(path.read_bytes(), signature.intact.key.holder, tmp_path)


@pytest.mark.slow
def test_no_changed_byte_of_a_real_module_is_accepted(corpus: Callable[[str], Path]) -> None:
    modules, keyring = real(corpus("linux-image"))
    path = next(path for path in modules if path.name == "efivarfs.ko")
    data = path.read_bytes()
    causes: Counter[object] = Counter()
    for at in random.Random(46).sample(range(len(data)), FLIPS):
        changed = bytearray(data)
        changed[at] ^= 1 << (at % 8)
        verdict = assess(BytesSource(path.name, bytes(changed)), keyring)
        assert verdict.outcome is not Outcome.ACCEPTED, at
        causes[verdict.cause] += 1
    assert set(causes) <= RIGHT_CAUSES


@pytest.mark.slow
def test_every_changed_byte_of_a_real_trailer(corpus: Callable[[str], Path]) -> None:
    modules, keyring = real(corpus("linux-image"))
    path = modules[0]
    data = path.read_bytes()
    trailer = read_trailer(BytesSource(path.name, data))
    assert trailer is not None
    for at in range(trailer.start, len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[at] ^= 1 << bit
            verdict = assess(BytesSource(path.name, bytes(changed)), keyring)
            assert verdict.outcome is not Outcome.ACCEPTED, (at - trailer.start, bit)


@pytest.mark.slow
def test_a_real_module_signed_anew(corpus: Callable[[str], Path], tmp_path: Path) -> None:
    """Its content is what the kernel's tool signed, octet for octet."""
    modules, keyring = real(corpus("linux-image"))
    data = modules[0].read_bytes()
    bare = strip_bytes("a.ko", data)
    who = identity("rsa2048", "Module Signer")
    ours = sign_bytes("a.ko", bare, who=who)
    assert ours == by_sign_file(bare, who, "sha256", tmp_path)
    theirs = assess(BytesSource("a.ko", data), keyring)
    assert theirs.digests == judged(ours, who, tmp_path).digests
