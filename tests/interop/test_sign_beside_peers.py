"""What we sign with keys that no X.509 certificate holds, their own tools take; and their keys."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from signward.cli.commands import run
from signward.envelopes.openpgp_packets import armour
from tests.builders import openpgp as pgp

pytestmark = pytest.mark.interop

CONTENT = b"any file at all" * 1000
WORD = "correct horse"


class Place:
    """A folder with a file to sign, and other people's tools."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "file"
        self.file.write_bytes(CONTENT)
        (folder / "word").write_text(WORD)
        (folder / "home").mkdir(mode=0o700)

    def tool(self, *words: str | Path, text: str = "") -> int:
        name = str(words[0])
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed")
        done = subprocess.run(
            [str(word) for word in words], cwd=self.folder, capture_output=True, text=True,
            env={**os.environ, "GNUPGHOME": str(self.folder / "home")}, input=text, check=False,
            timeout=120,
        )  # fmt: skip
        self.said = done.stdout + done.stderr
        return done.returncode

    def gpg(self, *words: str, passphrase: str = "") -> None:
        loopback = "--batch", "--quiet", "--yes", "--pinentry-mode=loopback"
        assert self.tool("gpg", *loopback, "--passphrase", passphrase, *words) == 0, self.said

    def sign(self, key: str, *words: str) -> int:
        return run(["sign", "--key", f"file:{self.folder / key}", "--detached", "--pass-file",
                    str(self.folder / "word"), *words, str(self.file)])  # fmt: skip

    def altered(self) -> None:
        self.file.write_bytes(CONTENT + b"\0")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.confirms("openpgp", "sign", "gpg")
@pytest.mark.parametrize("word", ["", WORD])
@pytest.mark.parametrize("kind", ["rsa2048", "nistp256", "nistp521", "ed25519"])
def test_with_gpgs_own_secret_key(kind: str, word: str, place: Place) -> None:
    place.gpg("--quick-gen-key", "Ann <ann@example.org>", kind, "sign", "1y", passphrase=word)
    place.gpg("--armor", "--output", "key.asc", "--export-secret-keys", passphrase=word)
    place.gpg("--output", "ring.gpg", "--export")
    assert place.tool("gpgconf", "--kill", "all") == 0
    assert place.sign("key.asc") == 0
    words = "gpg", "--batch", "--no-autostart", "--verify", "file.asc", "file"
    assert place.tool(*words) == 0, place.said
    assert "Good signature" in place.said
    gpgv = "gpgv", "--keyring", place.folder / "ring.gpg", "file.asc", "file"
    assert place.tool(*gpgv) == 0, place.said
    place.altered()
    assert place.tool(*gpgv) == 1
    assert "BAD signature" in place.said


def test_with_the_subkey_that_gpg_would_take(place: Place) -> None:
    place.gpg("--quick-gen-key", "Ann <ann@example.org>", "rsa2048", "cert", "1y")
    place.tool("gpg", "--with-colons", "--list-keys")
    fingerprint = next(x for x in place.said.splitlines() if x.startswith("fpr")).split(":")[9]
    place.gpg("--quick-add-key", fingerprint, "cv25519", "encr", "1y")
    place.gpg("--quick-add-key", fingerprint, "ed25519", "sign", "1y")
    place.gpg("--output", "key.gpg", "--export-secret-subkeys")
    place.gpg("--output", "ring.gpg", "--export")
    assert place.tool("gpgconf", "--kill", "all") == 0
    assert place.sign("key.gpg") == 0  # the primary's secret is not in that file
    gpgv = "gpgv", "--keyring", place.folder / "ring.gpg", "file.asc", "file"
    assert place.tool(*gpgv) == 0, place.said


@pytest.mark.parametrize("kind", ["rsa", "p256", "eddsa"])
def test_gpg_takes_our_key_files_too(kind: str, place: Place) -> None:
    own = pgp.Key(kind)
    locked = pgp.secret_key(own, behind=pgp.secret(own, WORD.encode()))
    (place.folder / "key.asc").write_bytes(armour(locked, "PRIVATE KEY BLOCK"))
    place.gpg("--import", "key.asc", passphrase=WORD)
    place.gpg("--output", "theirs.sig", "--detach-sign", "file", passphrase=WORD)
    (place.folder / "ring.gpg").write_bytes(pgp.certificate(own))
    assert place.tool("gpgconf", "--kill", "all") == 0
    assert place.sign("key.asc") == 0
    for name in ("theirs.sig", "file.asc"):
        gpgv = "gpgv", "--keyring", place.folder / "ring.gpg", name, "file"
        assert place.tool(*gpgv) == 0, place.said


@pytest.mark.confirms("minisign", "sign", "minisign")
@pytest.mark.parametrize("locked", [False, True])
def test_with_minisigns_own_secret_key(locked: bool, place: Place) -> None:
    words = ("minisign", "-G", "-p", "k.pub", "-s", "k.key")
    if locked:
        place.tool(*words, text=f"{WORD}\n{WORD}\n")
    else:
        place.tool(*words, "-W")
    assert (place.folder / "k.key").exists(), place.said
    assert place.sign("k.key") == 0
    words = ("minisign", "-V", "-p", "k.pub", "-m", "file")
    assert place.tool(*words) == 0, place.said
    assert "\tfile:file\thashed" in place.said
    signature = place.folder / "file.minisig"
    signature.write_text(signature.read_text().replace("file:file", "file:filf"))
    assert place.tool(*words) != 0
    assert place.sign("k.key", "--replace") == 0
    place.altered()
    assert place.tool(*words) != 0


@pytest.mark.confirms("minisign", "sign", "signify")
@pytest.mark.parametrize("locked", [False, True])
def test_with_signifys_own_secret_key(locked: bool, place: Place) -> None:
    words = ("signify-openbsd", "-G", *(() if locked else ("-n",)), "-p", "k.pub", "-s", "k.sec")
    if locked and place.tool("script", "--version") != 0:
        pytest.skip("script is not installed")
    if locked:  # it asks at a terminal only, and forgets what was typed before it did
        typed = f"sleep 1; echo {WORD}; sleep 1; echo {WORD}; sleep 1"
        place.tool("sh", "-c", f"({typed}) | script -qec '{' '.join(words)}' /dev/null")
    else:
        place.tool(*words)
    assert (place.folder / "k.sec").exists(), place.said
    assert place.sign("k.sec") == 0
    words = ("signify-openbsd", "-V", "-p", "k.pub", "-m", "file", "-x", "file.sig")
    assert place.tool(*words) == 0, place.said
    place.altered()
    assert place.tool(*words) != 0


PRIVATE: dict[str, Any] = {
    "rsa": rsa.generate_private_key(65537, 3072),
    "p384": ec.generate_private_key(ec.SECP384R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
}
PSS = "-sigopt", "rsa_padding_mode:pss", "-sigopt"


def keys(place: Place, kind: str) -> None:
    private = PRIVATE[kind]
    form = serialization.PrivateFormat.PKCS8
    text = private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    (place.folder / "key.pem").write_bytes(text)
    assert place.tool("openssl", "pkey", "-in", "key.pem", "-pubout", "-out", "pub.pem") == 0


def accepts(place: Place) -> bool:
    return run(["verify", str(place.file), "--detached", f"{place.file}.sig", "--keyring",
                str(place.folder / "pub.pem")]) == 0  # fmt: skip


@pytest.mark.confirms("raw", "sign", "openssl dgst")
@pytest.mark.parametrize(
    ("kind", "words", "theirs"),
    [
        ("rsa", (), ("-sha256",)),
        ("rsa", ("--digest", "sha512"), ("-sha512",)),
        ("rsa", ("--pss",), ("-sha256", *PSS, "rsa_pss_saltlen:digest")),
        ("p384", (), ("-sha384",)),
    ],
)
def test_openssl_dgst_takes_our_values(
    kind: str, words: tuple[str, ...], theirs: tuple[str, ...], place: Place
) -> None:
    keys(place, kind)
    assert place.sign("key.pem", "--as", "raw", *words) == 0
    check = ("openssl", "dgst", *theirs, "-verify", "pub.pem", "-signature", "file.sig", "file")
    assert place.tool(*check) == 0, place.said
    place.altered()
    assert place.tool(*check) == 1
    assert not accepts(place)


@pytest.mark.confirms("raw", "verify", "openssl dgst")
@pytest.mark.parametrize("digest", ["-sha256", "-sha384", "-sha512"])
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("rsa", ()),
        ("rsa", (*PSS, "rsa_pss_saltlen:digest")),
        ("rsa", (*PSS, "rsa_pss_saltlen:max")),
        ("p384", ()),
    ],
)
def test_we_take_values_of_openssl_dgst(
    kind: str, words: tuple[str, ...], digest: str, place: Place
) -> None:
    keys(place, kind)
    made = ("openssl", "dgst", digest, *words, "-sign", "key.pem", "-out", "file.sig", "file")
    assert place.tool(*made) == 0, place.said
    assert accepts(place)
    place.altered()
    assert not accepts(place)


def test_sha1_is_not_taken(place: Place) -> None:
    keys(place, "rsa")
    made = ("openssl", "dgst", "-sha1", "-sign", "key.pem", "-out", "file.sig", "file")
    assert place.tool(*made) == 0
    check = ("openssl", "dgst", "-sha1", "-verify", "pub.pem", "-signature", "file.sig", "file")
    assert place.tool(*check) == 0  # OpenSSL takes what it is told to; SHA-1 is broken
    assert not accepts(place)


def test_ed25519_both_ways(place: Place) -> None:
    keys(place, "ed25519")
    made = ("openssl", "pkeyutl", "-sign", "-rawin", "-inkey", "key.pem", "-in", "file",
            "-out", "file.sig")  # fmt: skip
    assert place.tool(*made) == 0, place.said
    assert accepts(place)
    assert place.sign("key.pem", "--as", "raw", "--replace") == 0
    check = ("openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", "pub.pem", "-in",
             "file", "-sigfile", "file.sig")  # fmt: skip
    assert place.tool(*check) == 0, place.said
    place.altered()
    assert place.tool(*check) != 0
    assert not accepts(place)


def test_with_openssh_keys_of_ssh_keygen(place: Place) -> None:
    for word in ("", WORD):
        (place.folder / "id").unlink(missing_ok=True)
        made = ("ssh-keygen", "-q", "-t", "ed25519", "-N", word, "-f", "id")
        assert place.tool(*made) == 0, place.said
        assert place.sign("id", "--as", "raw", "--replace") == 0
        (place.folder / "id.pub").unlink()
