"""evmctl signs and we verify, we sign and evmctl verifies; the same with fsverity."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conformance.authenticode.pki import Identity

from signward.cli.commands import run
from signward.findings import Code
from signward.formats._ima import ImaFormat
from signward.state import Outcome, Verdict
from signward.verbs.detached import assess_detached
from signward.verbs.verify import assess_path
from signward.wire import verity
from signward.wire.source import BytesSource
from signward.wire.verity import Parameters
from tests.builders.keyfiles import encoded
from tests.signing import authority, context, identity, sign_beside

pytestmark = pytest.mark.interop

CONTENT = b"a program, or whatever else runs\n" * 3000
KEYS = [("rsa2048", "sha256"), ("rsa3072", "sha512"), ("p256", "sha256"), ("p384", "sha384")]


def tool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    name = str(words[0])
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    return subprocess.run([str(word) for word in words], capture_output=True, text=True,
                          check=False, timeout=60)  # fmt: skip


class Desk:
    """A file, a key and its certificate in a folder; judges with the certificate as anchor."""

    def __init__(self, folder: Path, who: Identity) -> None:
        self.folder, self.who = folder, who
        self.file, self.key, self.pem = (folder / n for n in ("program", "key.pem", "cert.pem"))
        self.der, self.both = folder / "cert.der", folder / "both.pem"
        self.file.write_bytes(CONTENT)
        self.key.write_bytes(encoded(who.key))
        self.pem.write_bytes(who.pem)
        self.der.write_bytes(who.certificate)
        self.both.write_bytes(encoded(who.key) + who.pem)

    def judged(self, signature: Path | None = None) -> Verdict:
        judging = context(self.folder, self.who)
        if signature:
            return assess_detached(str(self.file), str(signature), judging)
        return assess_path(self.file, judging)

    def sign(self, *words: str) -> int:
        return run(["sign", "--key", f"file:{self.both}", *words, str(self.file)])

    def evmctl_accepts(self, *words: str) -> bool:
        done = tool("evmctl", "ima_verify", *words, "--key", self.der, self.file)
        return done.returncode == 0 and "verification is OK" in done.stdout + done.stderr


@pytest.fixture(params=KEYS, ids="-".join)
def signing(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Desk, str]:
    kind, digest = request.param
    return Desk(tmp_path, identity(kind)), digest


@pytest.mark.confirms("ima", "verify", "evmctl")
def test_what_evmctl_signs_is_accepted(signing: tuple[Desk, str]) -> None:
    desk, digest = signing
    done = tool("evmctl", "ima_sign", "--sigfile", "--hashalgo", digest, "--key", desk.key,
                desk.file)  # fmt: skip
    assert done.returncode == 0, done.stderr
    signature = desk.folder / "program.sig"
    assert desk.judged(signature).outcome is Outcome.ACCEPTED
    for at in (0, len(CONTENT) // 2, len(CONTENT) - 1):
        changed = bytearray(CONTENT)
        changed[at] ^= 1
        desk.file.write_bytes(changed)
        assert desk.judged(signature).cause is Code.SIGNATURE_MISMATCH


@pytest.mark.confirms("ima", "sign", "evmctl")
def test_evmctl_accepts_what_we_sign(signing: tuple[Desk, str]) -> None:
    desk, digest = signing
    assert desk.sign("--ima-sigfile", "--digest", digest) == 0
    assert desk.evmctl_accepts("--sigfile")
    desk.file.write_bytes(CONTENT + b"x")
    assert not desk.evmctl_accepts("--sigfile")


def test_our_value_is_evmctl_s(tmp_path: Path) -> None:
    """With an RSA key every octet is given."""
    desk = Desk(tmp_path, identity())
    done = tool("evmctl", "ima_sign", "--sigfile", "--hashalgo", "sha256", "--key", desk.key,
                desk.file)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sign_beside(ImaFormat(), CONTENT) == (tmp_path / "program.sig").read_bytes()


def test_in_attributes_both_ways(tmp_path: Path) -> None:
    desk = Desk(tmp_path, identity())
    done = tool("evmctl", "ima_sign", "--hashalgo", "sha256", "--key", desk.key, desk.file)
    if done.returncode:
        pytest.skip("system: security.ima cannot be set here")
    assert desk.judged().outcome is Outcome.ACCEPTED
    theirs = os.getxattr(desk.file, "security.ima")
    os.removexattr(desk.file, "security.ima")
    assert desk.sign("--ima") == 0
    assert os.getxattr(desk.file, "security.ima") == theirs
    assert desk.evmctl_accepts()
    desk.file.write_bytes(CONTENT[1:])
    assert not desk.evmctl_accepts()
    assert desk.judged().cause is Code.SIGNATURE_MISMATCH


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_our_digest_is_evmctl_s(digest: str, tmp_path: Path) -> None:
    desk = Desk(tmp_path, identity())
    done = tool("evmctl", "ima_hash", "--hashalgo", digest, desk.file)
    if done.returncode:
        pytest.skip("system: security.ima cannot be set here")
    theirs = os.getxattr(desk.file, "security.ima")
    assert desk.judged().cause is Code.AD_HOC
    os.removexattr(desk.file, "security.ima")
    assert run(["sign", "--ima-hash", "--digest", digest, str(desk.file)]) == 0
    assert os.getxattr(desk.file, "security.ima") == theirs


# --- fs-verity -----------------------------------------------------------------------------------

VERITY_KEYS = [("rsa2048", "sha256"), ("rsa3072", "sha512"), ("p256", "sha256")]


@pytest.fixture(params=VERITY_KEYS, ids="-".join)
def sealing(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Desk, str]:
    kind, digest = request.param
    return Desk(tmp_path, identity(kind)), digest


@pytest.mark.confirms("fs-verity", "verify", "fsverity")
def test_what_fsverity_signs_is_accepted(sealing: tuple[Desk, str]) -> None:
    desk, digest = sealing
    signature = desk.folder / "theirs"
    done = tool("fsverity", "sign", desk.file, signature, f"--key={desk.key}",
                f"--cert={desk.pem}", f"--hash-alg={digest}")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert desk.judged(signature).outcome is Outcome.ACCEPTED
    desk.file.write_bytes(b"A" + CONTENT[1:])
    assert desk.judged(signature).cause is Code.SIGNATURE_MISMATCH


@pytest.mark.confirms("fs-verity", "sign", "openssl")
def test_openssl_accepts_our_signature_of_fsverity_s_digest(sealing: tuple[Desk, str]) -> None:
    desk, digest = sealing
    assert desk.sign("--fs-verity", "--digest", digest) == 0
    signature, content = desk.folder / "program.fsverity-sig", desk.folder / "content"

    def accepted() -> bool:
        told = tool("fsverity", "digest", "--for-builtin-sig", "--compact",
                    f"--hash-alg={digest}", desk.file)  # fmt: skip
        content.write_bytes(bytes.fromhex(told.stdout))
        done = tool("openssl", "cms", "-verify", "-binary", "-noverify", "-inform", "DER", "-in",
                    signature, "-content", content, "-certfile", desk.pem, "-out", os.devnull,
                    "-nointern")  # fmt: skip
        return done.returncode == 0

    assert accepted()
    desk.file.write_bytes(CONTENT[:-1])
    assert not accepted()


@pytest.mark.confirms("fs-verity", "sign", "fsverity")
@pytest.mark.parametrize("digest", ["sha256", "sha512"])
@pytest.mark.parametrize(("block", "salt"), [(4096, ""), (1024, "00ff"), (2048, "ab" * 32)])
def test_our_signature_is_fsverity_s(digest: str, block: int, salt: str, tmp_path: Path) -> None:
    """With an RSA key every octet is given; so another content has another signature."""
    desk = Desk(tmp_path, identity())
    words = ["--fs-verity", "--digest", digest, "--fs-verity-block", str(block)]
    assert desk.sign(*words, *(["--fs-verity-salt", salt] if salt else [])) == 0
    ours = (tmp_path / "program.fsverity-sig").read_bytes()

    def theirs() -> bytes:
        given = [f"--key={desk.key}", f"--cert={desk.pem}", f"--hash-alg={digest}",
                 f"--block-size={block}", *([f"--salt={salt}"] if salt else [])]  # fmt: skip
        done = tool("fsverity", "sign", desk.file, tmp_path / "theirs", *given)
        assert done.returncode == 0, done.stderr
        return (tmp_path / "theirs").read_bytes()

    assert ours == theirs()
    desk.file.write_bytes(CONTENT + b"\0")
    assert ours != theirs()


@pytest.mark.parametrize("size", [0, 1, 1024, 4096, 4097, 32 * 4096, 128 * 4096 + 1, 3_000_001])
@pytest.mark.parametrize(("digest", "block", "salt"), [("sha512", 4096, ""), ("sha256", 1024, ""),
                                                       ("sha512", 2048, "0102")])  # fmt: skip
def test_our_fs_verity_digest_is_fsverity_s(
    size: int, digest: str, block: int, salt: str, tmp_path: Path
) -> None:
    content = (bytes(range(251)) * (size // 251 + 1))[:size]
    (tmp_path / "file").write_bytes(content)
    given = [f"--hash-alg={digest}", f"--block-size={block}"]
    done = tool("fsverity", "digest", "--compact", *given, *([f"--salt={salt}"] if salt else []),
                tmp_path / "file")  # fmt: skip
    assert done.returncode == 0, done.stderr
    parameters = Parameters(algorithm=digest, block=block, salt=bytes.fromhex(salt))
    ours = verity.source_digest(BytesSource("file", content), parameters)
    assert ours.hex() == done.stdout.strip()


@pytest.mark.confirms("detached", "verify", "openssl cms")
@pytest.mark.parametrize("kind", ["rsa2048", "p256"])
@pytest.mark.parametrize("flags", [(), ("-keyid",), ("-nocerts",), ("-md", "sha512")])
def test_a_message_of_openssl_without_attributes_is_over_the_file(
    kind: str, flags: tuple[str, ...], tmp_path: Path
) -> None:
    desk, signature = Desk(tmp_path, identity(kind)), tmp_path / "program.p7s"
    made = tool("openssl", "cms", "-sign", "-binary", "-noattr", "-outform", "DER", *flags,
                "-signer", desk.pem, "-inkey", desk.key, "-in", desk.file,
                "-out", signature)  # fmt: skip
    assert made.returncode == 0, made.stderr
    judging = context(tmp_path, authority(), certificates=(str(desk.pem),))
    verdict = assess_detached(str(desk.file), str(signature), judging)
    assert (verdict.outcome, verdict.format) == (Outcome.ACCEPTED, "detached")
    desk.file.write_bytes(CONTENT + b"x")
    changed = assess_detached(str(desk.file), str(signature), judging)
    assert changed.cause is Code.SIGNATURE_MISMATCH
