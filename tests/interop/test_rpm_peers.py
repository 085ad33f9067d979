"""RPM packages: rpmkeys on ours, ours on rpmsign's, and real packages of others.

rpm 4.18 knows format version 4 alone: of version 6 it checks the digests.  So of version 6 rpm-rs
is the other opinion, and made the public vectors.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conformance.authenticode import rpm
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from signward.cli.commands import run
from signward.envelopes.openpgp_packets import armour
from signward.findings import Code
from signward.policy.settings import Policy, SignatureRule
from signward.state import Outcome, TrustedSignature, Verdict
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.packages.rpmdb import read_rpmdb
from signward.verbs.verify import assess_path
from tests.builders import openpgp as pgp
from tests.interop.rpm_client import rpm_rs

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which("rpmkeys") is None, reason="rpmkeys is not installed"),
]

YESTERDAY = datetime.now(UTC) - timedelta(days=1)
NAME = "tool-1.0-1.noarch.rpm"


def tool(*words: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    if shutil.which(str(words[0])) is None:
        pytest.skip(f"{words[0]} is not installed")
    home = folder / "home"
    home.mkdir(mode=0o700, exist_ok=True)
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, cwd=folder,
                          env={**os.environ, "GNUPGHOME": str(home), "LC_ALL": "C"}, check=False,
                          timeout=60)  # fmt: skip


def rpmkeys(path: Path, folder: Path, *keys: Path) -> list[str]:
    """Return what rpmkeys says line by line; it knows the ``keys`` and no others."""
    database = folder / "rpmdb"
    shutil.rmtree(database, ignore_errors=True)
    database.mkdir()
    for key in keys:
        done = tool("rpmkeys", "--dbpath", database, "--import", key, folder=folder)
        assert done.returncode == 0, done.stderr
    done = tool("rpmkeys", "--dbpath", database, "-Kv", path, folder=folder)
    said = [line.strip() for line in (done.stdout + done.stderr).splitlines()[1:]]
    assert (done.returncode == 0) == all(line.endswith(": OK") for line in said), said
    return said


def judged(path: Path, *keys: Path) -> Verdict:
    return assess_path(path, Context(Options(keyrings=tuple(map(str, keys)))))


def key_files(folder: Path, kind: str, version: int = 4) -> tuple[Path, Path]:
    """Write a key (PKCS#8) and the certificate that holds it; return both."""
    own, born = pgp.Key(kind, version, YESTERDAY), YESTERDAY
    secret, public = folder / f"{kind}.pem", folder / f"{kind}.asc"
    secret.write_bytes(own.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    words = pgp.direct(own, made=born), pgp.user_id(own, made=born)
    certificate = pgp.certificate(own, *words[version == 4 :])
    public.write_bytes(armour(certificate, "PUBLIC KEY BLOCK"))
    return secret, public


@pytest.mark.confirms("rpm", "sign", "rpmkeys")
@pytest.mark.parametrize(
    ("kind", "digest"), [("rsa", "sha256"), ("rsa", "sha512"), ("eddsa", "sha512")]
)
@pytest.mark.parametrize("packed", ["gzip", "xz", "zstd"])
def test_rpmkeys_accepts_what_we_sign(kind: str, packed: str, digest: str, tmp_path: Path) -> None:
    secret, public = key_files(tmp_path, kind)
    path = tmp_path / NAME
    path.write_bytes(rpm.package(kind=packed))
    assert run(["sign", str(path), "--key", f"file:{secret}", "--cert", str(public),
                "--digest", digest, "--keyring", str(public)]) == 0  # fmt: skip
    said = rpmkeys(path, tmp_path, public)
    named = {"rsa": "RSA", "eddsa": "EdDSA"}[kind]
    assert any(f"V4 {named}/{digest.upper()} Signature" in line for line in said), said
    assert all(line.endswith(": OK") for line in said), said
    assert any(line.endswith(": NOKEY") for line in rpmkeys(path, tmp_path))
    assert run(["strip", str(path)]) == 0
    assert path.read_bytes() == rpm.package(kind=packed)


def test_both_refuse_the_same(tmp_path: Path) -> None:
    secret, public = key_files(tmp_path, "rsa")
    path = tmp_path / NAME
    path.write_bytes(rpm.package())
    assert run(["sign", str(path), "--key", f"file:{secret}", "--cert", str(public)]) == 0
    good = path.read_bytes()
    values, head, payload = rpm.split(good)
    renewed = {**values, **rpm.signature_values(head, payload[:-1] + b"\1", 4, 0)}
    cases = {
        "header": good.replace(b"a tool\0", b"a fool\0"),
        "payload": good[:-1] + bytes([good[-1] ^ 1]),
        "digests renewed": rpm.assembled(renewed, head, payload[:-1] + b"\1"),
    }
    for what, data in cases.items():
        path.write_bytes(data)
        assert not all(line.endswith(": OK") for line in rpmkeys(path, tmp_path, public)), what
        assert judged(path, public).outcome is Outcome.REJECTED, what


def gpg(folder: Path, *words: str | Path) -> str:
    done = tool("gpg", "--batch", "--quiet", "--yes", "--passphrase", "",
                "--pinentry-mode=loopback", *words, folder=folder)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.confirms("rpm", "verify", "rpmkeys, rpmsign")
@pytest.mark.parametrize("kind", ["rsa3072", "ed25519"])
@pytest.mark.parametrize("old", [False, True])
def test_we_accept_what_rpmsign_signs(kind: str, old: bool, tmp_path: Path) -> None:
    gpg(tmp_path, "--quick-gen-key", "Ann <ann@example.org>", kind, "sign", "1y")
    public = tmp_path / "ann.asc"
    public.write_text(gpg(tmp_path, "--armor", "--export"))
    path = tmp_path / NAME
    path.write_bytes(rpm.package())
    done = tool("rpmsign", "--define", "_gpg_name Ann", "--define",
                f"__gpg {shutil.which('gpg')}", *(["--rpmv3"] if old else []), "--addsign", path,
                folder=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    verdict = judged(path, public)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    assert len(verdict.signatures) == 2 if old else 1
    assert all(line.endswith(": OK") for line in rpmkeys(path, tmp_path, public))
    signed = path.read_bytes()
    assert tool("rpmsign", "--delsign", path, folder=tmp_path).returncode == 0
    assert judged(path, public).cause is Code.UNSIGNED
    path.write_bytes(signed)
    assert run(["strip", str(path)]) == 0
    assert judged(path, public).cause is Code.UNSIGNED


def test_our_space_is_rpmsign_s(tmp_path: Path) -> None:
    """What we sign rpmsign signs anew without moving anything, and so do we with what it signed."""
    gpg(tmp_path, "--quick-gen-key", "Ann <ann@example.org>", "rsa2048", "sign", "1y")
    secret, public = key_files(tmp_path, "rsa")
    path = tmp_path / NAME
    path.write_bytes(rpm.package())
    length = path.stat().st_size
    signing = ["sign", str(path), "--key", f"file:{secret}", "--cert", str(public)]
    assert run(signing) == 0
    assert path.stat().st_size == length
    done = tool("rpmsign", "--define", "_gpg_name Ann", "--define", f"__gpg {shutil.which('gpg')}",
                "--addsign", path, folder=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert path.stat().st_size == length
    assert run([*signing, "--replace"]) == 0
    assert path.stat().st_size == length
    assert all(line.endswith(": OK") for line in rpmkeys(path, tmp_path, public))


@pytest.mark.confirms("rpm", "sign", "rpm-rs")
@pytest.mark.parametrize("kind", ["rsa", "ed25519", "p256"])
def test_rpm_rs_accepts_what_we_sign_in_version_6(kind: str, tmp_path: Path) -> None:
    secret, public = key_files(tmp_path, kind, 6)
    path = tmp_path / NAME
    path.write_bytes(rpm.package(kind="", version=6, reserved=2048))
    length = path.stat().st_size
    assert run(["sign", str(path), "--key", f"file:{secret}", "--cert", str(public)]) == 0
    assert path.stat().st_size == length
    done = rpm_rs("verify", path, public)
    assert done.returncode == 0, done.stderr
    assert judged(path, public).outcome is Outcome.ACCEPTED
    data = path.read_bytes()
    path.write_bytes(data.replace(b"a tool\0", b"a fool\0"))
    assert rpm_rs("verify", path, public).returncode != 0
    assert judged(path, public).outcome is Outcome.REJECTED


@pytest.mark.confirms("rpm", "verify", "rpm-rs")
@pytest.mark.parametrize(("kind", "version"), [("rsa3072", 4), ("ed25519", 4), ("rsa3072", 6)])
def test_we_accept_what_rpm_rs_signs(kind: str, version: int, tmp_path: Path) -> None:
    gpg(tmp_path, "--quick-gen-key", "Ann <ann@example.org>", kind, "sign", "1y")
    public, secret = tmp_path / "ann.asc", tmp_path / "ann.sec"
    public.write_text(gpg(tmp_path, "--armor", "--export"))
    secret.write_text(gpg(tmp_path, "--armor", "--export-secret-keys"))
    path, made = tmp_path / NAME, tmp_path / "signed.rpm"
    path.write_bytes(rpm.package(version=version, reserved=4128))
    done = rpm_rs("sign", path, secret, made)
    assert done.returncode == 0, done.stderr
    verdict = judged(made, public)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]


# What rpm's own tests say of their packages, and what we say: see SAMPLES.md.
REAL = {
    "RPMS/hello-2.0-1.x86_64-signed.rpm": None,
    "RPMS/hello-2.0-1.x86_64-corrupted.rpm": Code.DIGEST_MISMATCH,
    "RPMS/hello-2.0-1.x86_64.rpm": Code.UNSIGNED,
    "RPMS/hello-2.0-1.i686.rpm": Code.UNSIGNED,
    "RPMS/hello-1.0-1.i386.rpm": Code.UNSIGNED,
    "RPMS/hello-1.0-1.ppc64.rpm": Code.UNSIGNED,
    "RPMS/imatest-1.0-1.fc34.noarch.rpm": Code.UNSIGNED,
    "RPMS/hlinktest-1.0-1.noarch.rpm": Code.UNSIGNED,
    "RPMS/capstest-1.0-1.noarch.rpm": Code.UNSIGNED,
    "RPMS/foo-1.0-1.noarch.rpm": Code.UNSIGNED,
    "SRPMS/foo-1.0-1.src.rpm": Code.UNSIGNED,
    "SRPMS/hello-1.0-1.src.rpm": Code.UNSIGNED,
}


def test_rpm_s_own_packages(corpus: Callable[[str], Path], tmp_path: Path) -> None:
    data = corpus("rpm") / "rpm-4.18.0" / "tests" / "data"
    key = data / "keys" / "rpm.org-rsa-2048-test.pub"
    for name, cause in REAL.items():
        verdict = judged(data / name, key)
        assert verdict.cause is cause, name
        said = rpmkeys(data / name, tmp_path, key)
        whole = all(line.endswith(": OK") for line in said)
        assert whole is (cause in (None, Code.UNSIGNED)), name
        assert any("Signature" in line for line in said) is (cause is not Code.UNSIGNED), name
    assert judged(data / "RPMS/imatest-1.0-1.fc34.noarch.rpm").facts["ima-signatures"] == 2


def test_vectors(vectors: Path) -> None:
    six = "rpm-rs/tests/assets"
    multiple = vectors / six / "RPMS/v6/signed/rpm-basic-multiple-signatures-2.3.4-5.el9.noarch.rpm"
    both = vectors / six / "signing_keys/v6/rpm-testkey-v6-keyring.asc"
    verdict = judged(multiple, both)
    assert verdict.outcome is Outcome.ACCEPTED
    assert len(verdict.signatures) == 2
    one = vectors / six / "signing_keys/v6/rpm-testkey-v6-ed25519.asc"
    assert judged(multiple, one).cause is None, "who is not asked for says nothing"
    everybody = Policy(signatures=SignatureRule.ALL)
    asked = Context(Options(keyrings=(str(one),), policy=everybody))
    assert assess_path(multiple, asked).cause is Code.KEY_MISSING
    rocky = vectors / "relic/functest/packages/rocky-basesystem-11-13.el9.noarch.rpm"
    assert judged(rocky).cause is Code.KEY_MISSING
    assert judged(rocky, vectors / "relic/functest/testkeys/rocky9.pgp").cause is None


@pytest.mark.parametrize("kind", ["rsa", "eddsa"])
def test_what_rpm_installed_is_vouched_for_by_its_signer(kind: str, tmp_path: Path) -> None:
    """rpm writes the database; rpm -V and our reading of it speak of the same files."""
    secret, public = key_files(tmp_path, kind)
    path, root = tmp_path / NAME, tmp_path / "root"
    path.write_bytes(rpm.package())
    assert run(["sign", str(path), "--key", f"file:{secret}", "--cert", str(public)]) == 0
    (root / "var/lib/rpm").mkdir(parents=True)
    rooted: list[str | Path] = ["rpm", "--root", root, "--dbpath", "/var/lib/rpm"]
    steps: tuple[list[str | Path], ...] = (
        ["--initdb"],
        ["--import", public],
        ["-i", "--nodeps", "--noscripts", "--ignoreos", "--ignorearch", "--force-debian", path],
    )
    for words in steps:
        done = tool(*rooted, *words, folder=tmp_path)
        if "chroot" in done.stderr:
            pytest.skip("rpm installs into a root for the superuser only")
        assert done.returncode == 0, done.stderr
    assert tool(*rooted, "-V", "--nodeps", "tool", folder=tmp_path).returncode == 0
    (holding,), troubles = read_rpmdb(str(root), Context(Options(keyrings=(str(public),))))
    assert not troubles
    assert isinstance(holding.warrant.signatures[0], TrustedSignature)
    listed = tool(*rooted, "-ql", "tool", folder=tmp_path).stdout.split()
    assert set(listed) - {"/var/log/tool"} == {entry.path for entry in holding.entries}
    for entry in holding.entries:
        if entry.kind == "file":
            content = (root / entry.path.lstrip("/")).read_bytes()
            assert hashlib.new(entry.algorithm, content).digest() == entry.digest
