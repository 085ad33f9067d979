"""What ``policy seal`` signs for the kernel, held against OpenSSL, fsverity and veritysetup."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conformance.authenticode.pki import Identity, pem

from signward.cli import main
from signward.compilers.ipe import COMPILER as IPE
from signward.compilers.verity import COMPILER as VERITY
from signward.compilers.verity import Settings as VeritySettings
from signward.compilers.verity import Volume
from signward.errors import PolicyError
from signward.verbs.policies.signing import Form, opened, seal
from signward.wire import verity
from tests.builders.keyfiles import encoded
from tests.builders.policies import digest, rule_set
from tests.signing import identity

pytestmark = pytest.mark.interop

AT = datetime(2026, 11, 23, 20, 0, tzinfo=UTC)


def tool(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    command = [name, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(params=["rsa2048", "p256"])
def who(request: pytest.FixtureRequest) -> Identity:
    return identity(request.param)


def key_of(who: Identity, folder: Path) -> tuple[str, str]:
    (folder / "key.pem").write_bytes(encoded(who.key))
    (folder / "cert.pem").write_bytes(pem(who.certificate))
    return f"file:{folder / 'key.pem'}", str(folder / "cert.pem")


def sealed(form: Form, content: bytes, folder: Path, who: Identity) -> Path:
    uri, certificate = key_of(who, folder)
    with opened(uri, (certificate,)) as credential:
        (folder / "sealed").write_bytes(seal(form, content, credential, AT))
    return folder / "sealed"


def detached_ok(signature: Path, content: bytes, folder: Path) -> bool:
    (folder / "content").write_bytes(content)
    done = tool("openssl", "smime", "-verify", "-inform", "DER", "-in", signature, "-content",
                folder / "content", "-binary", "-noverify", "-nointern", "-certfile",
                folder / "cert.pem", "-out", folder / "out")  # fmt: skip
    return done.returncode == 0


def test_openssl_verifies_an_ipe_policy(who: Identity, tmp_path: Path) -> None:
    policy = IPE.compile(rule_set(), IPE.settings()).content("generated.pol")
    signature = sealed(Form.IPE, policy, tmp_path, who)
    command = ("openssl", "smime", "-verify", "-inform", "DER", "-in", signature, "-noverify",
               "-binary", "-out", tmp_path / "out")  # fmt: skip
    done = tool(*command)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_bytes() == policy
    signature.write_bytes(signature.read_bytes().replace(b"op=EXECUTE", b"op=executE"))
    assert tool(*command).returncode != 0


def test_our_ipe_signature_has_the_form_of_openssls(tmp_path: Path) -> None:
    """The guide's command, and ours, differ in the order of nothing: the octets are the same."""
    policy = IPE.compile(rule_set(), IPE.settings()).content("generated.pol")
    ours = sealed(Form.IPE, policy, tmp_path, identity()).read_bytes()
    (tmp_path / "policy").write_bytes(policy)
    done = tool("openssl", "smime", "-sign", "-in", tmp_path / "policy", "-signer",
                tmp_path / "cert.pem", "-inkey", tmp_path / "key.pem", "-noattr", "-nodetach",
                "-nosmimecap", "-binary", "-outform", "der",
                "-out", tmp_path / "theirs")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert ours == (tmp_path / "theirs").read_bytes()


def test_openssl_verifies_a_blacklist_entry(who: Identity, tmp_path: Path) -> None:
    entry = f"bin:{digest('file', 0).rpartition(':')[2]}".encode()
    signature = sealed(Form.BLACKLIST, entry + b"\n", tmp_path, who)
    assert detached_ok(signature, entry, tmp_path)
    assert not detached_ok(signature, entry.replace(b"bin", b"tbs"), tmp_path)


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 128 * 4096, 128 * 4096 + 1, 3_000_001])
def test_the_fs_verity_digest_is_fsveritys(size: int, tmp_path: Path) -> None:
    content = bytes(i * 7 & 0xFF for i in range(256)) * (size // 256 + 1)
    (tmp_path / "file").write_bytes(content[:size])
    done = tool("fsverity", "digest", "--compact", tmp_path / "file")
    assert done.returncode == 0, done.stderr
    assert verity.file_digest(content[:size]).hex() == done.stdout.strip()


def test_our_fs_verity_signature_is_fsveritys(tmp_path: Path) -> None:
    content = b"program" * 5000
    ours = sealed(Form.VERITY, content, tmp_path, identity())
    (tmp_path / "file").write_bytes(content)
    done = tool("fsverity", "sign", tmp_path / "file", tmp_path / "theirs",
                f"--key={tmp_path / 'key.pem'}", f"--cert={tmp_path / 'cert.pem'}")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert ours.read_bytes() == (tmp_path / "theirs").read_bytes()
    assert detached_ok(ours, verity.formatted(verity.file_digest(content)), tmp_path)


def test_the_plan_runs_as_far_as_a_machine_without_device_mapper_can(tmp_path: Path) -> None:
    """The lines that make and sign root hashes are executed; those that open volumes are not."""
    if shutil.which("veritysetup") is None:
        pytest.skip("veritysetup is not installed")
    data, hashes = tmp_path / "data", tmp_path / "hash"
    data.write_bytes(b"x" * 65536)
    made = VERITY.compile(rule_set(), VeritySettings(
        volumes=(Volume(name="vol", data=str(data), hashes=str(hashes)),),
        files=(str(tmp_path / "it's"),),
    ))  # fmt: skip
    script = made.content("verity.sh")
    (tmp_path / "verity.sh").write_bytes(script)
    assert tool("sh", "-n", tmp_path / "verity.sh").returncode == 0
    line = next(text for text in script.decode().splitlines() if "veritysetup format" in text)
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True,
                          timeout=60, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    root = (tmp_path / "vol.root").read_bytes()
    uri, certificate = key_of(identity(), tmp_path)
    assert main(["policy", "seal", str(tmp_path / "vol.root"), "--form", "root-hash", "--key", uri,
                 "--cert", certificate]) == 0  # fmt: skip
    assert detached_ok(tmp_path / "vol.root.p7s", root.strip(), tmp_path)
    done = tool("veritysetup", "verify", data, hashes, root.strip().decode())
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("form", "content"),
    [(Form.IPE, b"op=EXECUTE"), (Form.BLACKLIST, b"bin:xyz"), (Form.BLACKLIST, b"\xff"),
     (Form.ROOT_HASH, b"ABC"), (Form.PK, b"x")],
)  # fmt: skip
def test_what_is_no_such_thing_is_not_signed(form: Form, content: bytes, tmp_path: Path) -> None:
    with pytest.raises(PolicyError):
        sealed(form, content, tmp_path, identity())


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uri, certificate = key_of(identity("ed25519"), tmp_path)
    (tmp_path / "x.pol").write_bytes(b"policy_name=x policy_version=0.0.1\n")
    asked = ["policy", "seal", str(tmp_path / "x.pol"), "--form", "ipe", "--key", uri]
    assert main([*asked, "--cert", certificate]) == 2
    assert "ed25519" in capsys.readouterr().err
    assert not (tmp_path / "x.pol.p7b").exists()
