"""Key files that OpenSSL wrote, and signatures that OpenSSL checks."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from conformance.authenticode.keys import key

from signward.keys import open_key
from signward.state import Algorithm
from tests.builders.keyfiles import pvk, saying
from tests.signing import identity

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed"),
]

SECRET = "correct horse"
_LEGACY = ["-provider", "legacy", "-provider", "default"]
_OUT = ["-passout", f"pass:{SECRET}"]

KEYS = {
    "pvk-none": ["rsa", "-outform", "PVK", "-pvk-none", *_LEGACY],
    "pvk-weak": ["rsa", "-outform", "PVK", "-pvk-weak", *_OUT, *_LEGACY],
    "pvk-strong": ["rsa", "-outform", "PVK", "-pvk-strong", *_OUT, *_LEGACY],
    "traditional": ["rsa", "-traditional"],
    "traditional-des3": ["rsa", "-traditional", "-des3", *_OUT],
    "traditional-aes256": ["rsa", "-traditional", "-aes256", *_OUT],
    "traditional-der": ["rsa", "-traditional", "-outform", "DER"],
    "pkcs8": ["pkcs8", "-topk8", "-nocrypt"],
    "pkcs8-aes": ["pkcs8", "-topk8", "-v2", "aes-256-cbc", *_OUT],
    "pkcs8-scrypt": ["pkcs8", "-topk8", "-scrypt", *_OUT],
    "pkcs8-3des-der": ["pkcs8", "-topk8", "-v2", "des3", "-outform", "DER", *_OUT],
}


def openssl(*arguments: str | Path) -> None:
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", KEYS)
def test_keys_that_openssl_wrote_are_read(kind: str, tmp_path: Path) -> None:
    (tmp_path / "in.pem").write_bytes(key().pem)
    openssl(*KEYS[kind], "-in", tmp_path / "in.pem", "-out", tmp_path / "out")
    assert open_key(f"file:{tmp_path}/out", saying(SECRET)).public_key == key().spki


@pytest.mark.parametrize("flags", [[], ["-legacy"], ["-keypbe", "NONE", "-certpbe", "NONE"]])
def test_pkcs12_that_openssl_wrote_is_read(flags: list[str], tmp_path: Path) -> None:
    who = identity()
    (tmp_path / "in.pem").write_bytes(who.key.pem + who.pem)
    openssl("pkcs12", "-export", *flags, *_OUT, "-in", tmp_path / "in.pem",
            "-out", tmp_path / "out")  # fmt: skip
    found = open_key(f"pkcs12:{tmp_path}/out", saying(SECRET))
    assert (found.public_key, found.certificates) == (who.key.spki, (who.certificate,))


@pytest.mark.parametrize("weak", [False, True])
def test_openssl_reads_the_pvk_that_the_tests_write(weak: bool, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(pvk(key(), SECRET, weak=weak))
    openssl("rsa", "-inform", "PVK", "-in", tmp_path / "in", "-passin", f"pass:{SECRET}",
            "-pubout", "-outform", "DER", "-out", tmp_path / "out", *_LEGACY)  # fmt: skip
    assert (tmp_path / "out").read_bytes() == key().spki


@pytest.mark.parametrize(
    ("kind", "algorithm", "flags"),
    [
        ("rsa2048", Algorithm(scheme="rsa-pkcs1v15", digest="sha256"), ["-sha256"]),
        ("p384", Algorithm(scheme="ecdsa", digest="sha384"), ["-sha384"]),
        (
            "rsa2048",
            Algorithm(scheme="rsa-pss", digest="sha512", mgf_digest="sha512", salt_length=64),
            ["-sha512", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:64"],
        ),
    ],
    ids=["rsa", "ecdsa", "pss"],
)
def test_openssl_checks_our_signatures(
    kind: str, algorithm: Algorithm, flags: list[str], tmp_path: Path
) -> None:
    (tmp_path / "key").write_bytes(key(kind).pem)
    (tmp_path / "spki").write_bytes(key(kind).spki)
    (tmp_path / "data").write_bytes(b"octets")
    value = open_key(f"file:{tmp_path}/key", saying(None)).sign(b"octets", algorithm)
    (tmp_path / "value").write_bytes(value)
    openssl("dgst", *flags, "-verify", tmp_path / "spki", "-keyform", "DER",
            "-signature", tmp_path / "value", tmp_path / "data")  # fmt: skip
