"""What ssh-keygen signs we accept, what we sign it accepts, and we agree on who is allowed."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from signward.cli.commands import run
from signward.cli.verify import exit_code
from signward.findings import Code
from signward.policy.settings import Policy
from signward.state import Outcome, Verdict
from signward.trust.settings import TrustPolicy
from signward.verbs.context import Context
from signward.verbs.detached import assess_detached
from signward.verbs.options import Options

pytestmark = pytest.mark.interop

CONTENT = b"any file at all" * 1000
WHO = "ann@example.org"
BITS = {"ed25519": "256", "ecdsa": "521", "rsa": "3072"}


def ssh_keygen(folder: Path, *words: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")
    return subprocess.run(["ssh-keygen", *words], cwd=folder, input=data, check=False, timeout=60,
                          capture_output=True, env={**os.environ, "TZ": "UTC"})  # fmt: skip


def made(folder: Path, kind: str, namespace: str = "file", name: str = "key") -> None:
    """Make a key, sign ``file`` with it and write who is allowed."""
    (folder / "file").write_bytes(CONTENT)
    done = ssh_keygen(folder, "-q", "-t", kind, "-b", BITS[kind], "-N", "", "-C", "", "-f", name)
    assert done.returncode == 0, done.stderr
    (folder / "file.sig").unlink(missing_ok=True)
    done = ssh_keygen(folder, "-q", "-Y", "sign", "-n", namespace, "-f", name, "file")
    assert done.returncode == 0, done.stderr
    (folder / "allowed").write_text(f"{WHO} {(folder / f'{name}.pub').read_text()}")


def judged(
    folder: Path, namespace: str = "file", *, at: datetime | None = None, revoked: str = ""
) -> Verdict:
    options = Options(
        keyrings=(str(folder / "allowed"),),
        revoked=(str(folder / revoked),) if revoked else (),
        policy=Policy(trust=TrustPolicy(ssh_namespace=namespace)),
        at=at,
    )
    return assess_detached(str(folder / "file"), str(folder / "file.sig"), Context(options))


def peer_accepts(folder: Path, namespace: str = "file", *more: str) -> bool:
    done = ssh_keygen(folder, "-Y", "verify", "-f", "allowed", "-I", WHO, "-n", namespace,
                      "-s", "file.sig", *more, data=(folder / "file").read_bytes())  # fmt: skip
    return done.returncode == 0


@pytest.mark.confirms("sshsig", "verify", "ssh-keygen")
@pytest.mark.parametrize("kind", BITS)
def test_ssh_keygen_signs(kind: str, tmp_path: Path) -> None:
    made(tmp_path, kind)
    verdict = judged(tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
    assert verdict.publisher is not None
    assert verdict.publisher.name == WHO
    told = ssh_keygen(tmp_path, "-l", "-E", "sha256", "-f", "key.pub").stdout.split()[1].decode()
    assert verdict.publisher.identity == f"ssh:{told}"
    assert judged(tmp_path, "git").cause is Code.WRONG_USAGE
    (tmp_path / "file").write_bytes(CONTENT + b"\0")
    assert judged(tmp_path).cause is Code.SIGNATURE_MISMATCH
    assert not peer_accepts(tmp_path)


@pytest.mark.confirms("sshsig", "sign", "ssh-keygen")
@pytest.mark.parametrize("kind", BITS)
def test_ssh_keygen_takes_what_we_write(kind: str, tmp_path: Path) -> None:
    made(tmp_path, kind)
    key = serialization.load_ssh_private_key((tmp_path / "key").read_bytes(), None)
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    (tmp_path / "file.sig").unlink()
    words = ["sign", "--key", f"file:{tmp_path / 'key.pem'}", "--detached", "--as", "sshsig"]
    assert run([*words, str(tmp_path / "file")]) == 0
    assert peer_accepts(tmp_path)
    assert judged(tmp_path).outcome is Outcome.ACCEPTED
    assert not peer_accepts(tmp_path, "git")


@pytest.mark.confirms("sshsig", "sign", "ssh-keygen")
@pytest.mark.parametrize("kind", BITS)
def test_openssh_s_own_keys_sign_for_what_is_asked(kind: str, tmp_path: Path) -> None:
    made(tmp_path, kind)
    (tmp_path / "file.sig").unlink()
    words = ["sign", "--key", f"file:{tmp_path / 'key'}", "--detached", "--namespace", "git"]
    assert run([*words, str(tmp_path / "file")]) == 0
    assert peer_accepts(tmp_path, "git")
    assert not peer_accepts(tmp_path)
    assert judged(tmp_path, "git").outcome is Outcome.ACCEPTED


@pytest.mark.parametrize(
    ("options", "taken"),
    [
        ('namespaces="file"', True),
        ('namespaces="git,f*"', True),
        ('namespaces="*,!file"', False),
        ('namespaces="git"', False),
        ('valid-after="20200101Z"', True),
        ('valid-before="20200101Z"', False),
        ('valid-after="20990101Z",valid-before="21000101Z"', False),
        ("cert-authority", False),
    ],
)
def test_we_agree_on_who_is_allowed(options: str, taken: bool, tmp_path: Path) -> None:
    made(tmp_path, "ed25519")
    # Debian 12's OpenSSH 9.2 knows no Z behind a time; its zone is UTC here.
    key = (tmp_path / "key.pub").read_text()
    (tmp_path / "allowed").write_text(f"{WHO} {options.replace('Z', '')} {key}")
    assert peer_accepts(tmp_path) is taken
    assert (judged(tmp_path).outcome is Outcome.ACCEPTED) is taken


def test_we_agree_on_times(tmp_path: Path) -> None:
    made(tmp_path, "ed25519")
    key = (tmp_path / "key.pub").read_text()
    (tmp_path / "allowed").write_text(f'{WHO} valid-before="20300601120000" {key}')
    edge = datetime(2030, 6, 1, 12, tzinfo=UTC)
    for at in (edge - timedelta(seconds=1), edge, edge + timedelta(seconds=1)):
        taken = peer_accepts(tmp_path, "file", f"-Overify-time={at:%Y%m%d%H%M%S}")
        assert (judged(tmp_path, at=at).outcome is Outcome.ACCEPTED) is taken, at


@pytest.mark.parametrize("flags", [(), ("-z", "7")])
@pytest.mark.parametrize("spec", ["key", "sha1", "sha256", "text"])
def test_ssh_keygen_withdraws_a_key(spec: str, flags: tuple[str, ...], tmp_path: Path) -> None:
    made(tmp_path, "ecdsa")
    public = (tmp_path / "key.pub").read_text()
    listed = {"key": public, "text": public}.get(spec, f"{spec}: {public}")
    (tmp_path / "spec").write_text(listed)
    (tmp_path / "gone").write_text(public)
    if spec != "text":
        done = ssh_keygen(tmp_path, "-k", "-f", "gone", *flags, "spec")
        assert done.returncode == 0, done.stderr
    assert not peer_accepts(tmp_path, "file", "-r", "gone")
    assert judged(tmp_path, revoked="gone").cause is Code.REVOKED
    made(tmp_path, "ed25519", name="other")
    assert peer_accepts(tmp_path, "file", "-r", "gone")
    assert judged(tmp_path, revoked="gone").outcome is Outcome.ACCEPTED


def test_a_certificate_as_text_withdraws_its_key(tmp_path: Path) -> None:
    made(tmp_path, "rsa", name="authority")
    made(tmp_path, "ed25519")
    done = ssh_keygen(tmp_path, "-q", "-s", "authority", "-I", "one", "-n", WHO, "key.pub")
    assert done.returncode == 0, done.stderr
    assert peer_accepts(tmp_path)
    assert not peer_accepts(tmp_path, "file", "-r", "key-cert.pub")
    assert judged(tmp_path, revoked="key-cert.pub").cause is Code.REVOKED


def test_the_vectors_rows(vectors: Path, tmp_path: Path) -> None:
    house = vectors / "openssh-portable/regress/unittests/sshsig/testdata"
    rows = [(house / f"{name}.sig", house / "signed-data", house / f"{name}.pub",
             (house / "namespace").read_text()) for name in ("ecdsa", "ed25519")]  # fmt: skip
    rekor = vectors / "rekor/pkg/pki/ssh/testdata"
    rows.append((rekor / "hello_world.txt.sig", rekor / "hello_world.txt", rekor / "id_rsa.pub",
                 "file"))  # fmt: skip
    for signature, content, key, namespace in rows:
        options = Options(keyrings=(str(key),),
                          policy=Policy(trust=TrustPolicy(ssh_namespace=namespace)))  # fmt: skip
        changed = tmp_path / "changed"
        changed.write_bytes(content.read_bytes() + b"\0")
        verdict = assess_detached(str(content), str(signature), Context(options))
        assert exit_code(verdict) == 0, (signature, verdict.findings)
        broken = assess_detached(str(changed), str(signature), Context(options))
        assert broken.cause is Code.SIGNATURE_MISMATCH


@pytest.mark.parametrize(
    ("words", "who", "taken"),
    [
        (("-n", WHO), "*@example.org", True),
        (("-n", f"root,{WHO}"), WHO, True),
        (("-n", "root"), "*", False),
        (("-n", WHO), "*@example.com", False),
        (("-n", WHO, "-V", "20200101:20200201"), "*", False),
        (("-n", WHO, "-h"), "*", False),
        ((), "*", False),
    ],
)
def test_we_agree_on_certificates(
    words: tuple[str, ...], who: str, taken: bool, tmp_path: Path
) -> None:
    made(tmp_path, "rsa", name="authority")
    made(tmp_path, "ed25519")
    done = ssh_keygen(tmp_path, "-q", "-s", "authority", "-I", "one", *words, "key.pub")
    assert done.returncode == 0, done.stderr
    (tmp_path / "file.sig").unlink()
    # The private key beside: ssh-keygen reads it by the certificate's name.
    (tmp_path / "key-cert").write_bytes((tmp_path / "key").read_bytes())
    (tmp_path / "key-cert").chmod(0o600)
    done = ssh_keygen(tmp_path, "-q", "-Y", "sign", "-n", "file", "-f", "key-cert.pub", "file")
    assert done.returncode == 0, done.stderr
    public = (tmp_path / "authority.pub").read_text()
    (tmp_path / "allowed").write_text(f"{who} cert-authority {public}")
    assert peer_accepts(tmp_path) is taken
    verdict = judged(tmp_path)
    # The peer is asked about one principal, we about any that the list allows.
    expected = taken or words == ("-n", "root")
    assert (verdict.outcome is Outcome.ACCEPTED) is expected, verdict.findings
    (tmp_path / "allowed").write_text(f"{who} {public}")
    assert not peer_accepts(tmp_path)
    assert judged(tmp_path).outcome is Outcome.REJECTED


@pytest.mark.parametrize("spec", ["serial: 7", "serial: 1-9", "serial: 3\nserial: 7\nserial: 8",
                                  "id: one", "serial: 8", "id: two", "serial: 1-6"])  # fmt: skip
def test_ssh_keygen_withdraws_a_certificate(spec: str, tmp_path: Path) -> None:
    made(tmp_path, "ecdsa", name="authority")
    made(tmp_path, "ed25519")
    done = ssh_keygen(tmp_path, "-q", "-s", "authority", "-I", "one", "-n", WHO, "-z", "7",
                      "key.pub")  # fmt: skip
    assert done.returncode == 0, done.stderr
    (tmp_path / "file.sig").unlink()
    (tmp_path / "key-cert").write_bytes((tmp_path / "key").read_bytes())
    (tmp_path / "key-cert").chmod(0o600)
    ssh_keygen(tmp_path, "-q", "-Y", "sign", "-n", "file", "-f", "key-cert.pub", "file")
    (tmp_path / "allowed").write_text(
        f"{WHO} cert-authority {(tmp_path / 'authority.pub').read_text()}"
    )
    (tmp_path / "spec").write_text(spec + "\n")
    done = ssh_keygen(tmp_path, "-k", "-f", "gone", "-s", "authority.pub", "spec")
    assert done.returncode == 0, done.stderr
    taken = peer_accepts(tmp_path, "file", "-r", "gone")
    assert taken is (spec in ("serial: 8", "id: two", "serial: 1-6"))
    verdict = judged(tmp_path, revoked="gone")
    assert verdict.cause is (None if taken else Code.REVOKED), verdict.findings
