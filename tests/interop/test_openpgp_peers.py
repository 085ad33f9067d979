"""What GnuPG, minisign and signify sign we accept, and where we accept so do they."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from signward.errors import EvidenceError
from signward.findings import Code
from signward.state import Outcome, Verdict
from signward.verbs.context import Context
from signward.verbs.detached import assess_detached
from signward.verbs.keyrings import load_keyrings
from signward.verbs.options import Options
from tests.builders import openpgp as pgp

pytestmark = pytest.mark.interop

CONTENT = b"any file at all" * 1000
LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)
HOUSE = Path("/usr/share/keyrings")
"""Where Debian keeps its own keyrings."""


def tool(*words: str | Path, folder: Path, text: str = "") -> subprocess.CompletedProcess[str]:
    name = str(words[0])
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    home = folder / "home"
    home.mkdir(mode=0o700, exist_ok=True)
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, cwd=folder,
                          env={**os.environ, "GNUPGHOME": str(home)}, input=text, check=False,
                          timeout=60)  # fmt: skip


def gpg(folder: Path, *words: str | Path) -> str:
    done = tool("gpg", "--batch", "--quiet", "--yes", "--passphrase", "", "--no-autostart"
                if words[0] == "--export" else "--pinentry-mode=loopback", *words,
                folder=folder)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def judged(folder: Path, signature: str, keys: str, at: datetime | None = None) -> Verdict:
    context = Context(Options(keyrings=(str(folder / keys),), at=at))
    return assess_detached(str(folder / "file"), str(folder / signature), context)


def made(folder: Path, kind: str, *words: str, subkey: str = "") -> None:
    """Make a key, sign ``file`` with it and write its keyring."""
    (folder / "file").write_bytes(CONTENT)
    gpg(
        folder, "--quick-gen-key", "Ann <ann@example.org>", kind, "cert" if subkey else "sign", "1y"
    )
    if subkey:
        listed = gpg(folder, "--with-colons", "--list-keys").splitlines()
        fingerprint = next(line for line in listed if line.startswith("fpr")).split(":")[9]
        gpg(folder, "--quick-add-key", fingerprint, subkey, "sign", "1y")
    gpg(folder, *words, "--output", "file.sig", "--detach-sign", "file")
    gpg(folder, "--output", "ring.gpg", "--export")
    tool("gpgconf", "--kill", "all", folder=folder)


@pytest.mark.confirms("openpgp", "verify", "gpg")
@pytest.mark.parametrize("words", [(), ("--armor", "--digest-algo", "SHA512")])
@pytest.mark.parametrize("kind", ["rsa2048", "dsa2048", "nistp256", "nistp521", "ed25519"])
def test_gpg_signs(kind: str, words: tuple[str, ...], tmp_path: Path) -> None:
    made(tmp_path, kind, *words)
    verdict = judged(tmp_path, "file.sig", "ring.gpg")
    assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
    assert verdict.publisher is not None
    assert verdict.publisher.name == "Ann <ann@example.org>"
    later = judged(tmp_path, "file.sig", "ring.gpg", datetime.now(UTC) + timedelta(days=900))
    assert later.outcome is Outcome.ACCEPTED  # made while the key was alive
    (tmp_path / "file").write_bytes(CONTENT + b"\0")
    assert judged(tmp_path, "file.sig", "ring.gpg").cause is Code.SIGNATURE_MISMATCH


def test_gpg_signs_with_a_subkey_and_revokes_it(tmp_path: Path) -> None:
    made(tmp_path, "ed25519", subkey="rsa2048")
    verdict = judged(tmp_path, "file.sig", "ring.gpg")
    assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
    steps = "key 1\nrevkey\ny\n1\nlost\n\ny\nsave\n"
    done = tool("gpg", "--command-fd", "0", "--pinentry-mode=loopback", "--passphrase", "", "--yes",
                "--expert", "--no-tty", "--edit-key", "ann@example.org",
                folder=tmp_path, text=steps)  # fmt: skip
    gpg(tmp_path, "--output", "ring.gpg", "--export")
    tool("gpgconf", "--kill", "all", folder=tmp_path)
    assert judged(tmp_path, "file.sig", "ring.gpg").cause is Code.REVOKED, done.stderr


@pytest.mark.parametrize("kind", ["rsa", "dsa", "p256", "eddsa"])
def test_gpgv_takes_what_the_builder_writes(kind: str, tmp_path: Path) -> None:
    own = pgp.Key(kind)
    (tmp_path / "file").write_bytes(CONTENT)
    (tmp_path / "file.sig").write_bytes(pgp.packet(2, own.sign(CONTENT)))
    (tmp_path / "ring.gpg").write_bytes(pgp.certificate(own))
    done = tool("gpgv", "--keyring", tmp_path / "ring.gpg", "file.sig", "file", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert judged(tmp_path, "file.sig", "ring.gpg").outcome is Outcome.ACCEPTED


@pytest.mark.parametrize("kind", ["rsa", "dsa", "p256", "eddsa"])
def test_gpg_and_we_agree_on_a_subkey_that_never_agreed(kind: str, tmp_path: Path) -> None:
    own, sub = pgp.Key("eddsa"), pgp.Key(kind)
    (tmp_path / "file").write_bytes(CONTENT)
    (tmp_path / "file.sig").write_bytes(pgp.packet(2, sub.sign(CONTENT)))
    for back, taken in ((None, True), (b"", False)):
        ring = pgp.certificate(own, pgp.user_id(own), pgp.subkey(own, sub, back=back))
        (tmp_path / "ring.gpg").write_bytes(ring)
        done = tool("gpgv", "--keyring", tmp_path / "ring.gpg", "file.sig", "file", folder=tmp_path)
        assert (done.returncode == 0) is taken, done.stderr
        verdict = judged(tmp_path, "file.sig", "ring.gpg")
        assert (verdict.outcome is Outcome.ACCEPTED) is taken


@pytest.mark.skipif(not HOUSE.is_dir(), reason="no keyrings of Debian's own on this machine")
def test_gpg_lists_the_keys_that_we_read_in_debians_keyrings(tmp_path: Path) -> None:
    paths = sorted(path for path in HOUSE.iterdir() if path.suffix in (".gpg", ".asc"))
    for path in paths:
        told = tool("gpg", "--batch", "--with-colons", "--show-keys", path, folder=tmp_path).stdout
        theirs = {line.split(":")[9].lower() for line in told.splitlines() if line[:3] == "fpr"}
        ours = {key.key_id.hex() for key in load_keyrings((str(path),)).keys}
        assert ours, path
        assert ours <= theirs, path


def test_gpg_signs_text(tmp_path: Path) -> None:
    made(tmp_path, "ed25519", "--textmode")
    file = tmp_path / "file"
    unix, windows = b"#!/bin/sh\ntrue\n", b"#!/bin/sh\r\ntrue\r\n"
    file.write_bytes(unix)
    gpg(tmp_path, "--textmode", "--output", "file.sig", "--detach-sign", "file")
    tool("gpgconf", "--kill", "all", folder=tmp_path)
    words = "gpgv", "--keyring", tmp_path / "ring.gpg", "file.sig", "file"
    for text, outcome in ((windows, Outcome.ACCEPTED), (unix, Outcome.INDETERMINATE),
                          (b"#!/bin/sh\ntrue\r\n", Outcome.INDETERMINATE)):  # fmt: skip
        file.write_bytes(text)
        # gpgv takes all three for one text; RFC 9580 5.2.1.2 leaves their line endings open.
        assert tool(*words, folder=tmp_path).returncode == 0
        assert judged(tmp_path, "file.sig", "ring.gpg").outcome is outcome
    file.write_bytes(windows + b"x")
    assert tool(*words, folder=tmp_path).returncode != 0
    assert judged(tmp_path, "file.sig", "ring.gpg").cause is Code.SIGNATURE_MISMATCH


@pytest.mark.parametrize("kind", ["rsa", "p256"])
def test_the_start_of_the_digest_is_nothing_to_gpg(kind: str, tmp_path: Path) -> None:
    """RFC 9580 5.2.4 lets a reader refuse by it: nothing else notices that it was changed."""
    own = pgp.Key(kind)
    (tmp_path / "file").write_bytes(CONTENT)
    (tmp_path / "ring.gpg").write_bytes(pgp.certificate(own))
    body = own.sign(CONTENT)
    at = 6 + int.from_bytes(body[4:6], "big") + 2
    changed = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
    for blob, cause in ((body, None), (changed, Code.SIGNATURE_MISMATCH)):
        (tmp_path / "file.sig").write_bytes(pgp.packet(2, blob))
        words = "gpgv", "--keyring", tmp_path / "ring.gpg", "file.sig", "file"
        assert tool(*words, folder=tmp_path).returncode == 0
        assert judged(tmp_path, "file.sig", "ring.gpg").cause is cause


@pytest.mark.confirms("minisign", "verify", "minisign")
@pytest.mark.parametrize("legacy", [False, True])
def test_minisign_signs(legacy: bool, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    tool("minisign", "-G", "-W", "-p", "k.pub", "-s", "k.key", folder=tmp_path)
    words = ["minisign", "-S", *(["-l"] if legacy else []), "-s", "k.key", "-m", "file",
             "-t", "who is told"]  # fmt: skip
    done = tool(*words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    verdict = judged(tmp_path, "file.minisig", "k.pub")
    assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
    assert verdict.facts["trusted-comment"] == "who is told"
    assert verdict.publisher is not None
    # minisign leaves out the zeros in front of a key's name
    name = verdict.publisher.name.removeprefix("minisign key ")
    assert name.lstrip("0") in (tmp_path / "k.pub").read_text()
    text = (tmp_path / "file.minisig").read_text()
    (tmp_path / "file.minisig").write_text(text.replace("who is told", "who is tolt"))
    assert tool("minisign", "-Vm", "file", "-p", "k.pub", folder=tmp_path).returncode != 0
    assert judged(tmp_path, "file.minisig", "k.pub").cause is Code.SIGNATURE_MISMATCH
    (tmp_path / "file.minisig").write_text(text)
    (tmp_path / "file").write_bytes(CONTENT + b"\0")
    assert judged(tmp_path, "file.minisig", "k.pub").cause is Code.SIGNATURE_MISMATCH


@pytest.mark.confirms("minisign", "verify", "signify")
def test_signify_signs(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    tool("signify-openbsd", "-G", "-n", "-p", "k.pub", "-s", "k.sec", folder=tmp_path)
    tool("signify-openbsd", "-S", "-s", "k.sec", "-m", "file", folder=tmp_path)
    verdict = judged(tmp_path, "file.sig", "k.pub")
    assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
    assert verdict.publisher is not None
    assert verdict.publisher.identity.startswith("signify:")
    (tmp_path / "file").write_bytes(CONTENT + b"\0")
    assert judged(tmp_path, "file.sig", "k.pub").cause is Code.SIGNATURE_MISMATCH


# --- vectors -------------------------------------------------------------------------


def _rekor(vectors: Path, kind: str) -> Path:
    return vectors / "rekor" / "pkg" / "pki" / kind / "testdata"


def test_rekors_openpgp_keys(vectors: Path) -> None:
    folder = _rekor(vectors, "pgp")
    for name in ("valid_armored_public", "valid_binary_public", "valid_armored_complex_public",
                 "valid_binary_complex_public"):  # fmt: skip
        assert load_keyrings((str(folder / f"{name}.pgp"),)).keys, name
    with pytest.raises(EvidenceError):  # EXPECTED.tsv: malformed
        load_keyrings((str(folder / "bogus_armored.pgp"),))


def test_rekors_openpgp_signatures(vectors: Path) -> None:
    folder = _rekor(vectors, "pgp")
    for name in ("hello_world.txt.v3.sig", "hello_world.txt.asc.v3.sig"):
        context = Context(Options(keyrings=(str(folder / "valid_binary_public.pgp"),)))
        verdict = assess_detached(str(folder / "hello_world.txt"), str(folder / name), context)
        assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
        assert verdict.publisher is not None
        assert verdict.publisher.name == "not@real.com"
        other = Context(Options(keyrings=(str(folder / "valid_armored_public.pgp"),), at=LONG_AGO))
        early = assess_detached(str(folder / "hello_world.txt"), str(folder / name), other)
        assert early.outcome is not Outcome.ACCEPTED


def test_rekors_minisign(vectors: Path) -> None:
    folder = _rekor(vectors, "minisign")
    signature = str(folder / "hello_world_hashed.txt.minisig")
    for key, cause in (("minisign_hashed", None), ("minisign", Code.KEY_MISSING),
                       ("minisign_key_only", Code.KEY_MISSING)):  # fmt: skip
        context = Context(Options(keyrings=(str(folder / f"{key}.pub"),)))
        verdict = assess_detached(str(folder / "hello_world.txt"), signature, context)
        assert verdict.cause is cause
