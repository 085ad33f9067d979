"""Signing with keys that no X.509 certificate holds: files beside files, judged by keyrings."""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from signward.cli.commands import run
from signward.envelopes.openpgp_packets import armour
from signward.errors import KeyProviderError
from signward.findings import Code
from signward.keys import held_with, open_key
from signward.keys._commented import MAX_COST, scrypt_parameters
from signward.keys._openpgp import stretched
from signward.state import Outcome, Verdict
from signward.verbs.context import Context
from signward.verbs.detached import AS, assess_detached
from signward.verbs.options import Options
from tests.builders import openpgp as pgp
from tests.builders.openpgp import BORN, Key
from tests.desk import write_key
from tests.signing import identity

CONTENT = b"any file at all" * 1000
WORD = "correct horse"


class Bench:
    """A folder with a file to sign, and keys."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        self.file = self.put("file.bin", CONTENT)
        self.put("word", WORD.encode())
        self.out = self.err = ""

    def put(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path

    def sign(self, key: str, *words: object, file: str = "file.bin") -> int:
        return self.run(
            "sign", "--key", f"file:{self.folder / key}", "--detached",
            "--pass-file", self.folder / "word", *words, self.folder / file,
        )  # fmt: skip

    def run(self, *words: object) -> int:
        code = run([str(word) for word in words])
        self.out, self.err = self._capsys.readouterr()
        return code

    def verify(self, suffix: str, keys: str, *words: object) -> int:
        return self.run("verify", self.file, "--detached", f"{self.file}{suffix}",
                        "--keyring", self.folder / keys, *words)  # fmt: skip

    def verdict(self, suffix: str, keys: str) -> Verdict:
        context = Context(Options(keyrings=(str(self.folder / keys),)))
        return assess_detached(str(self.file), f"{self.file}{suffix}", context)

    def cause(self, suffix: str, keys: str) -> Code | None:
        return self.verdict(suffix, keys).cause


@pytest.fixture
def bench(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Bench:
    return Bench(tmp_path, capsys)


# --- OpenPGP ----------------------------------------------------------------------------


@pytest.mark.parametrize("locked", [False, True])
@pytest.mark.parametrize(
    ("kind", "version"),
    [("rsa", 4), ("p256", 4), ("eddsa", 4), ("ed25519", 4), ("rsa", 6), ("ed25519", 6)],
)
def test_an_openpgp_secret_key(kind: str, version: int, locked: bool, bench: Bench) -> None:
    own = Key(kind, version)
    parts = pgp.direct(own), pgp.user_id(own)
    bench.put("ring.gpg", pgp.certificate(own, *parts))
    behind = pgp.secret(own, WORD.encode()) if locked else None
    bench.put("key.gpg", pgp.secret_key(own, *parts, behind=behind))
    assert bench.sign("key.gpg") == 0, bench.err
    assert (bench.folder / "file.bin.asc").read_bytes().startswith(b"-----BEGIN PGP SIGNATURE-----")
    assert bench.verify(".asc", "ring.gpg") == 0, bench.out
    bench.file.write_bytes(CONTENT + b"!")
    assert bench.verify(".asc", "ring.gpg") == 1
    assert bench.cause(".asc", "ring.gpg") is Code.SIGNATURE_MISMATCH


@pytest.mark.parametrize("digest", ["sha1", "sha256"])
def test_a_passphrase_opens_it_and_no_other(digest: str, bench: Bench) -> None:
    own = Key("eddsa")
    behind = pgp.secret(own, WORD.encode(), digest=digest)
    text = armour(pgp.secret_key(own, behind=behind), "PRIVATE KEY BLOCK")
    path = bench.put("key.asc", text)
    key = open_key(f"file:{path}", lambda _: WORD)
    assert held_with(key)[0].key_id == own.fingerprint
    for word, found in (("wrong", "a password that does not open it"), (None, "no password")):
        with pytest.raises(KeyProviderError, match=found):
            open_key(f"file:{path}", {f"password of {path}": word}.get)


def test_the_newest_subkey_that_may_sign_signs(bench: Bench) -> None:
    own, old, new, withdrawn, encrypts = (
        Key("eddsa", born=BORN + timedelta(days=days)) for days in (0, 1, 2, 3, 4)
    )
    gone = pgp.revocation(own, own.hashed + withdrawn.hashed, kind=0x28, reason=1)
    parts = (
        pgp.user_id(own), pgp.secret_subkey(own, old), pgp.secret_subkey(own, new),
        pgp.secret_subkey(own, withdrawn) + gone,
        pgp.secret_subkey(own, encrypts, more=(pgp.flags(0x0C),)),
    )  # fmt: skip
    path = bench.put("key.gpg", pgp.secret_key(own, *parts, behind=pgp.ELSEWHERE))
    (held,) = held_with(open_key(f"file:{path}", lambda _: None))
    assert held.key_id == new.fingerprint
    assert bench.sign("key.gpg") == 0, bench.err
    elsewhere = [pgp.secret_subkey(own, one, pgp.ELSEWHERE) for one in (old, new)]
    path = bench.put("key.gpg", pgp.secret_key(own, pgp.user_id(own), *elsewhere))
    (held,) = held_with(open_key(f"file:{path}", lambda _: None))
    assert held.key_id == own.fingerprint  # it is the only one whose secret is here


def damages(own: Key) -> dict[str, bytes]:
    whole = pgp.secret_key(own)
    locked = pgp.secret(own, b"x")
    other = pgp.secret_key(own, behind=pgp.secret(Key("eddsa")))
    return {
        "a secret key that is not the public one's": other,
        "a checksum that does not fit": pgp.secret_key(own, behind=pgp.secret(own)[:-1] + b"x"),
        "several primary keys": whole + whole,
        "none with its secret": pgp.secret_key(own, behind=pgp.ELSEWHERE),
        "found AEAD": pgp.secret_key(own, behind=b"\xfd" + locked[1:]),
        "found protection 255": pgp.secret_key(own, behind=b"\xff" + locked[1:]),
        "found cipher 3": pgp.secret_key(own, behind=locked[:1] + b"\x03" + locked[2:]),
        "way 4 and digest 2": pgp.secret_key(own, behind=locked[:2] + b"\x04" + locked[3:]),
        "way 3 and digest 1": pgp.secret_key(own, behind=locked[:3] + b"\x01" + locked[4:]),
        "found 17 locked octets": pgp.secret_key(own, behind=locked[:29] + bytes(17)),
        "octets behind its last field": pgp.secret_key(own, behind=b"\0" + bytes(64)),
    }


def test_damaged_secret_keys_are_told(bench: Bench) -> None:
    for found, data in damages(Key("eddsa")).items():
        path = bench.put("key.gpg", data)
        with pytest.raises(KeyProviderError) as caught:
            open_key(f"file:{path}", lambda _: "x")
        assert found in str(caught.value), caught.value


def test_a_truncated_secret_key_is_never_opened(bench: Bench) -> None:
    whole = pgp.secret_key(Key("eddsa"))
    for size in range(1, len(whole), 7):
        path = bench.put("key.gpg", whole[:size])
        with pytest.raises(KeyProviderError):
            open_key(f"file:{path}", lambda _: None)


def test_no_changed_secret_key_brings_anything_unexpected(bench: Bench) -> None:
    own = Key("eddsa")
    for whole in (pgp.secret_key(own), pgp.secret_key(own, behind=pgp.secret(own, b"x"))):
        for at in range(0, len(whole), 2):
            path = bench.put("key.gpg", whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :])
            try:
                key = open_key(f"file:{path}", lambda _: "x")
            except KeyProviderError:
                continue
            assert held_with(key)[0].spki == key.public_key


def test_keys_are_stretched_as_rfc_9580_says() -> None:
    salted = b"saltsaltpassphrase"
    count = 70_000
    repeated = (salted * count)[:count]
    made = hashlib.sha1(repeated).digest() + hashlib.sha1(b"\0" + repeated).digest()
    assert stretched("sha1", salted, count, 32) == made[:32]
    assert stretched("sha256", salted, 0, 16) == hashlib.sha256(salted).digest()[:16]


def unfit() -> dict[str, bytes]:
    own, sub = Key("eddsa"), Key("eddsa")
    ended = (pgp.flags(3), pgp.seconds(9, 86400))
    return {
        "required after the signature": pgp.secret_key(own, pgp.user_id(own, more=ended)),
        "revoked 2020": pgp.secret_key(own, pgp.revocation(own, own.hashed), pgp.user_id(own)),
        "no self-signature that counts": pgp.secret_key(own, pgp.user_id(sub)),
        "a back signature": pgp.secret_key(own, pgp.user_id(own),
                                           pgp.secret_subkey(own, sub, back=b"")),
        "before the signature": pgp.secret_key(
            late := Key("eddsa", born=datetime.now(UTC) + timedelta(days=9)), pgp.user_id(late)),
    }  # fmt: skip


def test_a_key_that_nobody_would_accept_signs_nothing(bench: Bench) -> None:
    for found, data in unfit().items():
        bench.put("key.gpg", data)
        assert bench.sign("key.gpg") == 1, found
        assert found in bench.err + bench.out, (found, bench.err, bench.out)
        assert not (bench.folder / "file.bin.asc").exists()


# --- a key elsewhere, and its certificate ----------------------------------------------


def pem(private: Any) -> bytes:
    none = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    return bytes(private.private_bytes(serialization.Encoding.PEM, form, none))


def public_pem(private: Any) -> bytes:
    return bytes(private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))  # fmt: skip


@pytest.mark.parametrize("armoured", [False, True])
@pytest.mark.parametrize("kind", ["rsa", "p256", "eddsa"])
def test_any_key_with_its_openpgp_certificate(kind: str, armoured: bool, bench: Bench) -> None:
    own, sub = Key("eddsa"), Key(kind)
    ring = pgp.certificate(own, pgp.user_id(own), pgp.subkey(own, sub))
    bench.put("ring.gpg", armour(ring, "PUBLIC KEY BLOCK") if armoured else ring)
    bench.put("key.pem", pem(sub.private))
    assert bench.sign("key.pem", "--cert", bench.folder / "ring.gpg") == 0, bench.err
    assert sub.fingerprint.hex() in bench.out
    assert bench.verify(".asc", "ring.gpg") == 0, bench.out


def test_a_certificate_of_another_key(bench: Bench) -> None:
    bench.put("ring.gpg", pgp.certificate(Key("eddsa")))
    bench.put("key.pem", pem(ed25519.Ed25519PrivateKey.generate()))
    assert bench.sign("key.pem", "--cert", bench.folder / "ring.gpg") == 2
    assert "none of which is the key's" in bench.err


def test_a_key_that_may_only_encrypt(bench: Bench) -> None:
    own, sub = Key("eddsa"), Key("rsa")
    ring = pgp.certificate(own, pgp.user_id(own),
                           pgp.subkey(own, sub, more=(pgp.flags(0x0C),)))  # fmt: skip
    bench.put("ring.gpg", ring)
    bench.put("key.pem", pem(sub.private))
    assert bench.sign("key.pem", "--cert", bench.folder / "ring.gpg") == 1
    assert "key flags 0x0c" in bench.err + bench.out


def test_the_callers_keyring_takes_the_warning_away(bench: Bench) -> None:
    own = Key("eddsa")
    bench.put("ring.gpg", pgp.certificate(own))
    bench.put("key.gpg", pgp.secret_key(own))
    assert bench.sign("key.gpg") == 0
    assert "a certificate of no keyring" in bench.out + bench.err
    words = "--replace", "--keyring", bench.folder / "ring.gpg", "--require-accepted"
    assert bench.sign("key.gpg", *words) == 0, bench.err
    assert "of no keyring" not in bench.out + bench.err
    bench.put("ring.gpg", pgp.certificate(Key("eddsa")))
    assert bench.sign("key.gpg", *words) == 1


# --- minisign and signify ---------------------------------------------------------------

NUMBER = bytes(range(1, 9))
SEED = ed25519.Ed25519PrivateKey.generate()


def commented(raw: bytes) -> bytes:
    return b"untrusted comment: a key\n" + b64encode(raw) + b"\n"


def secret_half() -> bytes:
    return SEED.private_bytes_raw() + SEED.public_key().public_bytes_raw()


def minisign_key(passphrase: str = "", limits: tuple[int, int] = (32768, 16 * 2**20)) -> bytes:
    digest = hashlib.blake2b(b"Ed" + NUMBER + secret_half(), digest_size=32).digest()
    inside = NUMBER + secret_half() + digest
    salt = bytes(range(32))
    if passphrase:
        cost, parallel = scrypt_parameters(*limits)
        mask = Scrypt(salt=salt, length=104, n=cost, r=8, p=parallel).derive(passphrase.encode())
        inside = bytes(a ^ b for a, b in zip(inside, mask, strict=True))
    told = b"".join(limit.to_bytes(8, "little") for limit in limits)
    return commented(b"Ed" + (b"Sc" if passphrase else b"\0\0") + b"B2" + salt + told + inside)


def unlocked_minisign_key() -> bytes:
    """As minisign itself writes it: with limits and a checksum of zeros."""
    inside = NUMBER + secret_half() + bytes(32)
    return commented(b"Ed\0\0B2" + bytes(48) + inside)


def signify_key(passphrase: str = "", rounds: int = 4) -> bytes:
    secret, salt = secret_half(), bytes(range(16))
    digest = hashlib.sha512(secret).digest()[:8]
    if passphrase:
        import bcrypt

        mask = bcrypt.kdf(passphrase.encode(), salt, 64, rounds, ignore_few_rounds=True)
        secret = bytes(a ^ b for a, b in zip(secret, mask, strict=True))
    count = (rounds if passphrase else 0).to_bytes(4, "big")
    return commented(b"EdBK" + count + salt + digest + NUMBER + secret)


def public_file() -> bytes:
    return commented(b"Ed" + NUMBER + SEED.public_key().public_bytes_raw())


@pytest.mark.parametrize("word", ["", WORD])
@pytest.mark.parametrize(("made", "suffix"), [(minisign_key, ".minisig"), (signify_key, ".sig")])
def test_secret_keys_of_minisign_and_signify(
    made: Any, suffix: str, word: str, bench: Bench
) -> None:
    bench.put("secret", made(word))
    bench.put("public", public_file())
    assert bench.sign("secret") == 0, bench.err
    assert bench.verify(suffix, "public") == 0, bench.out
    bench.put("unlocked", unlocked_minisign_key())
    assert bench.sign("unlocked", "--as", "minisign", "--replace") == 0, bench.err
    lines = Path(f"{bench.file}{suffix}").read_text().splitlines()
    assert len(lines) == (4 if suffix == ".minisig" else 2)
    bench.file.write_bytes(CONTENT + b"!")
    assert bench.cause(suffix, "public") is Code.SIGNATURE_MISMATCH
    if word:
        bench.put("word", b"wrong")
        assert bench.sign("secret", "--replace") == 2
        assert "a password that does not open it" in bench.err


@pytest.mark.parametrize("kind", ["minisign", "signify"])
def test_any_key_with_its_commented_public_key(kind: str, bench: Bench) -> None:
    bench.put("key.pem", pem(SEED))
    bench.put("public", public_file())
    assert bench.sign("key.pem", "--cert", bench.folder / "public", "--as", kind) == 0, bench.err
    assert bench.verify(AS[kind].suffix, "public") == 0, bench.out


def test_minisigns_comment_names_the_file_and_nothing_else(bench: Bench) -> None:
    bench.put("secret", minisign_key())
    name = "a\x1b[31m\u202eb.bin"
    bench.put(name, CONTENT)
    assert bench.sign("secret", file=name) == 0, bench.err
    comment = (bench.folder / f"{name}.minisig").read_text().splitlines()[2]
    assert comment.startswith("trusted comment: timestamp:")
    assert comment.endswith("\tfile:a?[31m?b.bin\thashed")


def commented_damages() -> dict[str, bytes]:
    mini, signify = b64decode(minisign_key().splitlines()[1]), b64decode(
        signify_key().splitlines()[1])  # fmt: skip
    huge = minisign_key(limits=(2**40, 2**40))
    foreign = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    swapped = SEED.private_bytes_raw() + foreign
    digest = hashlib.blake2b(b"Ed" + NUMBER + swapped, digest_size=32).digest()
    return {
        "a checksum that does not fit": commented(mini[:-1] + bytes([mini[-1] ^ 1])),
        "found letters 45644241": commented(b"EdBA" + signify[4:]),
        "found a checksum": commented(signify[:-1] + bytes([signify[-1] ^ 1])),
        "found letters 456453644232": commented(b"EdSdB2" + mini[6:]),
        "scrypt with N": b"untrusted comment: x\n" + b64encode(
            b"EdScB2" + b64decode(huge.splitlines()[1])[6:]) + b"\n",
        "rounds": commented(signify[:4] + b"\0\xff\0\0" + signify[8:]),
        "not the public one's": commented(mini[:62] + swapped + digest),
        "158 or 104": commented(mini[:-1]),
    }  # fmt: skip


def test_damaged_commented_keys_are_told(bench: Bench) -> None:
    for found, data in commented_damages().items():
        path = bench.put("secret", data)
        with pytest.raises(KeyProviderError) as caught:
            open_key(f"file:{path}", lambda _: "x")
        assert found in str(caught.value), (found, caught.value)


def test_scrypts_parameters_are_libsodiums() -> None:
    assert scrypt_parameters(33554432, 1073741824) == (MAX_COST // 2, 1)  # "sensitive"
    assert scrypt_parameters(524288, 16777216) == (2**14, 1)  # "interactive"
    assert scrypt_parameters(32768, 2**30) == (2**10, 1)
    assert scrypt_parameters(2**30, 2**20)[1] > 1


# --- bare values ------------------------------------------------------------------------

PRIVATE: dict[str, Any] = {
    "rsa": rsa.generate_private_key(65537, 2048),
    "p256": ec.generate_private_key(ec.SECP256R1()),
    "p521": ec.generate_private_key(ec.SECP521R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
}


def public_der(private: Any) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return bytes(private.public_key().public_bytes(serialization.Encoding.DER, form))


def named(private: Any) -> str:
    return f"raw:{hashlib.sha256(public_der(private)).hexdigest()}"


def identity_of(verdict: Verdict) -> str:
    assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
    assert verdict.publisher is not None
    return verdict.publisher.identity


@pytest.mark.parametrize("form", ["binary", "base64", "der"])
@pytest.mark.parametrize(
    ("kind", "words"),
    [("rsa", ()), ("rsa", ("--digest", "sha512")), ("rsa", ("--pss",)),
     ("rsa", ("--pss", "--digest", "sha384")), ("p256", ()), ("p521", ()), ("ed25519", ())],
)  # fmt: skip
def test_a_bare_value(kind: str, words: tuple[str, ...], form: str, bench: Bench) -> None:
    private = PRIVATE[kind]
    bench.put("key.pem", pem(private))
    bench.put("public", public_der(private) if form == "der" else public_pem(private))
    assert bench.sign("key.pem", "--as", "raw", *words) == 0, bench.err
    value = Path(f"{bench.file}.sig")
    if form == "base64":
        value.write_bytes(b64encode(value.read_bytes()) + b"\n")
    assert bench.verify(".sig", "public") == 0, bench.out
    assert identity_of(bench.verdict(".sig", "public")) == named(private)
    bench.file.write_bytes(CONTENT + b"!")
    assert bench.cause(".sig", "public") is Code.SIGNATURE_MISMATCH
    bench.file.write_bytes(CONTENT)
    for name, other in PRIVATE.items():
        if name != kind:
            bench.put("other", public_pem(other))
            assert bench.verify(".sig", "other") != 0


def test_of_several_named_keys_the_one_that_fits_is_told(bench: Bench) -> None:
    bench.put("key.pem", pem(PRIVATE["p521"]))
    bench.put("public", b"".join(map(public_pem, PRIVATE.values())))
    assert bench.sign("key.pem", "--as", "raw") == 0
    assert identity_of(bench.verdict(".sig", "public")) == named(PRIVATE["p521"])


def test_no_named_key_is_no_answer(bench: Bench) -> None:
    bench.put("key.pem", pem(PRIVATE["rsa"]))
    bench.put("public", public_file())
    assert bench.sign("key.pem", "--as", "raw") == 0
    assert bench.verify(".sig", "public") != 0
    assert "accepted" not in bench.out


def test_a_weak_named_key_is_not_accepted(bench: Bench) -> None:
    weak = rsa.generate_private_key(65537, 1024)
    bench.put("key.pem", pem(weak))
    bench.put("public", public_pem(weak))
    assert bench.sign("key.pem", "--as", "raw") == 0, bench.err
    assert bench.cause(".sig", "public") is Code.WEAK_KEY


def test_changed_bare_values_never_fit(bench: Bench) -> None:
    bench.put("key.pem", pem(PRIVATE["p256"]))
    bench.put("public", public_pem(PRIVATE["p256"]))
    assert bench.sign("key.pem", "--as", "raw") == 0
    path = Path(f"{bench.file}.sig")
    value, context = path.read_bytes(), Context(Options(keyrings=(str(bench.folder / "public"),)))
    for at in range(len(value)):
        path.write_bytes(value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :])
        verdict = assess_detached(str(bench.file), str(path), context)
        assert verdict.outcome is not Outcome.ACCEPTED, at
    for size in (*range(len(value)), 20_000):
        path.write_bytes((value * 300)[:size])
        verdict = assess_detached(str(bench.file), str(path), context)
        assert verdict.outcome is not Outcome.ACCEPTED, size


def test_no_public_key_in_a_keyring(bench: Bench) -> None:
    bench.put("public", b"-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----\n")
    bench.put("file.bin.sig", bytes(64))
    assert bench.verify(".sig", "public") == 2
    assert "public key" in bench.err


# --- which is written -------------------------------------------------------------------


def test_an_openssh_key_has_no_certificate_either(bench: Bench) -> None:
    private = PRIVATE["ed25519"]
    for word in (b"", WORD.encode()):
        locked = (serialization.BestAvailableEncryption(word) if word
                  else serialization.NoEncryption())  # fmt: skip
        text = private.private_bytes(serialization.Encoding.PEM,
                                     serialization.PrivateFormat.OpenSSH, locked)  # fmt: skip
        bench.put("key", text)
        bench.put("public", public_pem(private))
        assert bench.sign("key", "--as", "raw", "--replace") == 0, bench.err
        assert bench.verify(".sig", "public") == 0
    bench.put("word", b"wrong")
    assert bench.sign("key", "--as", "raw", "--replace") == 2


def test_a_certificate_still_means_cms(bench: Bench) -> None:
    write_key(bench.folder / "key.pem", identity())
    assert bench.sign("key.pem") == 0, bench.err
    assert Path(f"{bench.file}.p7s").exists()
    assert bench.sign("key.pem", "--as", "cms", "--replace") == 0
    assert bench.sign("key.pem", "--as", "raw") == 0
    assert bench.sign("key.pem", "--as", "openpgp") == 2
    assert "no public key as openpgp has it" in bench.err


def test_keys_that_cannot_sign_so(bench: Bench) -> None:
    bench.put("secret", minisign_key())
    bench.put("key.pem", pem(PRIVATE["rsa"]))
    assert bench.sign("secret", "--as", "cms") == 2
    assert bench.sign("secret", "--as", "openpgp") == 2
    assert "required one of these, or raw" in bench.err
    assert bench.sign("key.pem") == 2
    assert "--as raw needs none" in bench.err
    key = f"file:{bench.folder / 'secret'}"
    assert bench.run("sign", "--key", key, "--as", "raw", bench.file) == 2
    assert "--as: found it without --detached" in bench.err


def test_formats_of_certificates_refuse_other_keys(bench: Bench) -> None:
    from conformance.authenticode import pe

    exe = bench.put("setup.exe", pe.image())
    bench.put("secret", minisign_key())
    assert bench.run("sign", "--key", f"file:{bench.folder / 'secret'}", exe) == 1
    assert "no X.509 certificate" in bench.out + bench.err
    assert exe.read_bytes() == pe.image()


# --- found by its name ------------------------------------------------------------------


def test_a_signature_beside_a_file_is_found(bench: Bench) -> None:
    bench.put("secret", minisign_key())
    bench.put("public", public_file())
    words = "verify", bench.file, "--keyring", bench.folder / "public"
    before = bench.run(*words)
    assert before != 0
    assert bench.sign("secret") == 0
    assert bench.run(*words) == 0, bench.out
    bench.file.write_bytes(CONTENT + b"!")
    assert bench.run(*words) == 1
    bench.file.write_bytes(CONTENT)
    assert bench.run("verify", bench.file) == 3  # nobody here knows the key
    Path(f"{bench.file}.minisig").write_bytes(b"-----BEGIN what nobody reads")
    assert bench.run(*words) == before


def test_one_of_several_is_enough(bench: Bench) -> None:
    bench.put("secret", minisign_key())
    bench.put("public", public_file())
    own = Key("eddsa")
    bench.put("key.gpg", pgp.secret_key(own))
    assert bench.sign("key.gpg") == 0
    assert bench.sign("secret") == 0
    assert bench.run("verify", bench.file, "--keyring", bench.folder / "public") == 0
    bench.put("ring.gpg", pgp.certificate(own))
    assert bench.run("verify", bench.file, "--keyring", bench.folder / "ring.gpg") == 0
    bench.put("other.gpg", pgp.certificate(Key("eddsa")))
    assert bench.run("verify", bench.file, "--keyring", bench.folder / "other.gpg") == 3


def test_what_a_file_carries_goes_before(bench: Bench) -> None:
    from conformance.authenticode import pe

    key = write_key(bench.folder / "x509.pem", identity())
    exe = bench.put("setup.exe", pe.image())
    assert bench.run("sign", "--key", key, exe) == 0
    bench.put("secret", minisign_key())
    bench.put("public", public_file())
    assert bench.sign("secret", file="setup.exe") == 0
    assert bench.run("verify", exe, "--keyring", bench.folder / "public") == 1
