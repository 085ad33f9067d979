"""Keys on a SoftHSM token; OpenSSL and pkcs11-tool say whether the values are right."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pkcs11
import pytest
from conformance.authenticode.keys import key

from signward.cli.commands import run
from signward.errors import KeyProviderError
from signward.frozen import replace
from signward.integrity import check_value
from signward.keys import SigningKey, open_key
from signward.state import Algorithm
from tests.builders import openpgp as pgp
from tests.builders.keyfiles import saying
from tests.builders.token import PIN, SoftHsm, missing_tool, module
from tests.signing import authority, identity

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(missing_tool()), reason=missing_tool() or "all is there"),
]

DATA = b"octets to sign" * 1000
RSA = Algorithm(scheme="rsa-pkcs1v15", digest="sha256")
PSS = Algorithm(scheme="rsa-pss", digest="sha384", mgf_digest="sha384", salt_length=48)
GENERATED = {
    "rsa": ("rsa:2048", "01", (RSA, Algorithm(scheme="rsa-pkcs1v15", digest="sha512"), PSS)),
    "p256": ("EC:prime256v1", "02", (Algorithm(scheme="ecdsa", digest="sha256"),
                                     Algorithm(scheme="ecdsa", digest="sha512"))),
    "p384": ("EC:secp384r1", "03", (Algorithm(scheme="ecdsa", digest="sha384"),)),
    "p521": ("EC:secp521r1", "04", (Algorithm(scheme="ecdsa", digest="sha512"),)),
    "ed25519": ("EC:edwards25519", "05", (Algorithm(scheme="ed25519"),)),
}  # fmt: skip


@pytest.fixture(scope="module")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftHsm]:
    with pytest.MonkeyPatch.context() as patch:
        made = SoftHsm(tmp_path_factory.mktemp("softhsm"), patch)
        made.make_token("Release keys")
        for label, (kind, identifier, _) in GENERATED.items():
            made.generate("Release keys", kind, label, identifier)
        made.make_token("Twin")
        made.make_token("Twin")
        made.make_token("Imported")
        who = identity()
        made.put_key("Imported", who.key, "signer", "a1b2")
        made.put_certificate("Imported", authority().certificate, "issuer", "ff")
        made.put_certificate("Imported", who.certificate, "a name of its own", "a1b2")
        made.put_key("Imported", key("p256", "second"), "second", "c3")
        made.put_key("Imported", key("p256", "third"), "second", "c4")
        made.put_key("Imported", key("p384", "stranger"), "stranger", "d5")
        made.put_certificate("Imported", who.certificate, "not its own", "d5")
        made.make_token("Careful")
        made.tool("Careful", "--keypairgen", "--key-type", "rsa:2048", "--label", "each time",
                  "--id", "09", "--always-auth")  # fmt: skip
        made.ready()
        yield made


def uri(path: str, query: str = "") -> str:
    """Return a URI for SoftHSM's module."""
    return f"pkcs11:{path}?module-path={module()}" + (f"&{query}" if query else "")


def opened(path: str, query: str = "", pin: str | None = PIN) -> SigningKey:
    return open_key(uri(path, query), saying(pin))


def refusal(path: str, query: str = "", pin: str | None = PIN) -> str:
    with pytest.raises(KeyProviderError) as caught:
        opened(path, query, pin).close()
    text = "".join(traceback.format_exception(caught.value))
    assert PIN not in text
    assert not pin or pin not in text
    return str(caught.value)


def openssl_accepts(folder: Path, spki: bytes, algorithm: Algorithm, value: bytes) -> bool:
    (folder / "spki").write_bytes(spki)
    (folder / "data").write_bytes(DATA)
    (folder / "value").write_bytes(value)
    public = ["-inkey", folder / "spki", "-keyform", "DER", "-pubin"]
    command = ["openssl", "pkeyutl", "-verify", *public, "-rawin",
               "-in", folder / "data", "-sigfile", folder / "value"]  # fmt: skip
    if algorithm.digest:
        command += ["-digest", algorithm.digest]
    if algorithm.scheme == "rsa-pss":
        command += ["-pkeyopt", "rsa_padding_mode:pss", "-pkeyopt", "rsa_pss_saltlen:48"]
    return subprocess.run(list(map(str, command)), capture_output=True).returncode == 0


@pytest.mark.parametrize("label", GENERATED)
def test_values_are_right_to_openssl_under_the_key_that_pkcs11_tool_tells(
    label: str, hsm: SoftHsm, tmp_path: Path
) -> None:
    _, identifier, algorithms = GENERATED[label]
    found = opened(f"token=Release%20keys;object={label};type=private")
    if label not in ("ed25519", "p384"):  # OpenSC 0.23 tells neither
        assert hsm.public_key("Release keys", identifier) == found.public_key
    for algorithm in algorithms:
        value = found.sign(DATA, algorithm)
        check_value(found.public_key, algorithm, DATA, value)
        assert openssl_accepts(tmp_path, found.public_key, algorithm, value)
        if algorithm.digest:  # a digest that is given is not hashed once more
            digest = hashlib.new(algorithm.digest, DATA).digest()
            given = found.sign(digest, replace(algorithm, digested=True))
            assert openssl_accepts(tmp_path, found.public_key, algorithm, given)
        wrong = bytes([value[0]]) + value[1:-1] + bytes([value[-1] ^ 1])
        assert not openssl_accepts(tmp_path, found.public_key, algorithm, wrong)
    assert found.certificates == ()
    found.close()


def test_pkcs11_tool_accepts_the_value(hsm: SoftHsm) -> None:
    found = opened("token=Release%20keys;object=rsa")
    (hsm.folder / "data").write_bytes(DATA)
    (hsm.folder / "value").write_bytes(found.sign(DATA, RSA))
    found.close()
    files: list[str | Path] = ["-i", hsm.folder / "data", "--signature-file", hsm.folder / "value"]
    said = hsm.tool("Release keys", "--verify", "-m", "SHA256-RSA-PKCS", "--id", "01", *files)
    assert b"Signature is valid" in said


def test_certificates_are_found_by_the_keys_identifier_and_led_to_their_issuer(
    hsm: SoftHsm,
) -> None:
    who = identity()
    found = opened("token=Imported;id=%a1%b2")
    assert found.public_key == who.key.spki
    assert found.certificates == (who.certificate, authority().certificate)
    found.refresh()
    assert found.certificates[0] == who.certificate
    check_value(who.key.spki, RSA, DATA, found.sign(DATA, RSA))
    found.close()


def test_another_keys_certificate_under_the_identifier_is_refused(hsm: SoftHsm) -> None:
    assert "all of other keys" in refusal("token=Imported;object=stranger")


def test_the_token_is_found_by_each_of_its_attributes(hsm: SoftHsm) -> None:
    slots = hsm.run("softhsm2-util", "--show-slots").decode()
    part = next(p for p in slots.split("\nSlot ")[1:] if "Release keys" in p)
    serial = part.partition("Serial number:")[2].split()[0]
    named = f"token=Release%20keys;manufacturer=SoftHSM%20project;serial={serial}"
    for path in (f"slot-id={part.split()[0]}", f"serial={serial}", named):
        found = opened(f"{path};object=p256")
        found.close()


def test_the_pin_comes_from_the_file_that_the_uri_names(hsm: SoftHsm, tmp_path: Path) -> None:
    (tmp_path / "pin").write_text(f"{PIN}\n")
    opened("token=Imported;object=signer", f"pin-source=file:{tmp_path}/pin", None).close()
    (tmp_path / "pin").write_bytes(b"\xff")
    text = refusal("token=Imported;object=signer", f"pin-source=file:{tmp_path}/pin", None)
    assert "no UTF-8" in text


def test_the_pin_is_asked_for_by_the_tokens_name(hsm: SoftHsm) -> None:
    asked: list[str] = []
    open_key(uri("token=Imported;object=signer"), saying(PIN, asked)).close()
    assert asked == ["PIN of Imported"]


@pytest.mark.parametrize(
    ("path", "pin", "said"),
    [
        ("token=Imported;object=signer", "1 wrong 1", ("a wrong PIN", "lock the token")),
        ("token=Imported;object=signer", None, ("no PIN", "--pass-file")),
        ("token=Absent;object=signer", PIN, ("no such tokens", "'Imported', 'Release keys'")),
        ("token=Twin;object=signer", PIN, ("2 such tokens", "'Twin'")),
        ("token=Imported;object=absent", PIN, ("no such key", "object=signer;id=%a1%b2")),
        ("token=Imported;id=%00", PIN, ("no such key", "object=signer;id=%a1%b2")),
        ("token=Imported;object=second", PIN, ("2 such keys", "object=second;id=%c3")),
        ("token=Imported", PIN, ("4 such keys",)),
    ],
)
def test_what_cannot_be_opened_says_why(
    path: str, pin: str | None, said: tuple[str, ...], hsm: SoftHsm
) -> None:
    text = refusal(path, pin=pin)
    assert [one for one in said if one not in text] == []


def test_one_of_two_with_a_label_is_named_by_its_identifier(hsm: SoftHsm) -> None:
    found = opened("token=Imported;object=second;id=%c4")
    assert found.public_key == key("p256", "third").spki
    found.close()


def test_an_algorithm_that_does_not_fit_is_refused(hsm: SoftHsm) -> None:
    found = opened("token=Imported;object=signer")
    for algorithm in (
        Algorithm(scheme="ecdsa", digest="sha256"),
        Algorithm(scheme="ed25519"),
        Algorithm(scheme="rsa-pkcs1v15", digest="sha3_256"),
    ):
        with pytest.raises(KeyProviderError, match=algorithm.scheme):
            found.sign(DATA, algorithm)
    found.close()


def test_threads_share_one_key(hsm: SoftHsm) -> None:
    found = opened("token=Release%20keys;object=p256")
    assert found.parallel == 1
    algorithm = Algorithm(scheme="ecdsa", digest="sha256")
    with ThreadPoolExecutor(4) as pool:
        values = list(pool.map(lambda n: found.sign(b"%d" % n, algorithm), range(40)))
    for number, value in enumerate(values):
        check_value(found.public_key, algorithm, b"%d" % number, value)
    found.close()


def test_a_key_that_asks_for_the_pin_at_every_use_gets_it(hsm: SoftHsm) -> None:
    """As a PIV token's signature slot does (CKA_ALWAYS_AUTHENTICATE)."""
    asked: list[str] = []
    found = open_key(uri("token=Careful"), saying(PIN, asked))
    for number in range(3):
        check_value(found.public_key, RSA, b"%d" % number, found.sign(b"%d" % number, RSA))
    assert asked == ["PIN of Careful"]
    assert PIN not in repr(found)
    found.close()


def test_two_keys_of_one_token_are_open_at_once(hsm: SoftHsm) -> None:
    first = opened("token=Release%20keys;object=rsa")
    second = opened("token=Release%20keys;object=p256")
    algorithm = Algorithm(scheme="ecdsa", digest="sha256")
    check_value(second.public_key, algorithm, DATA, second.sign(DATA, algorithm))
    check_value(first.public_key, RSA, DATA, first.sign(DATA, RSA))
    second.close()
    check_value(first.public_key, RSA, DATA, first.sign(DATA, RSA))
    first.close()


@pytest.fixture
def lone(hsm: SoftHsm) -> Iterator[Path]:
    """Yield the folder of all tokens, and see to it that the module finds them again."""
    yield hsm.folder / "tokens"
    hsm.ready()


def test_a_token_that_was_away_is_used_again(lone: Path) -> None:
    first = opened("token=Release%20keys;object=rsa")
    other = opened("token=Imported;object=signer")
    away = lone.with_name("away")
    for _ in range(2):
        lone.rename(away)
        for _ in range(2):
            with pytest.raises(KeyProviderError, match=r"no answer of the token|no usable"):
                first.sign(DATA, RSA)
        away.rename(lone)
        for found in (first, other, first):
            check_value(found.public_key, RSA, DATA, found.sign(DATA, RSA))
    before = other.certificates
    other.refresh()
    assert other.certificates == before
    first.close()
    other.close()


def test_a_pin_that_is_refused_when_a_token_is_back_is_not_tried_again(lone: Path) -> None:
    """Three wrong ones lock many a token."""
    given = [PIN, "wrong 1", PIN]
    found = open_key(uri("token=Careful"), lambda _: given.pop(0))
    pkcs11.lib(module()).reinitialize()
    for _ in range(3):
        with pytest.raises(KeyProviderError, match="wrong PIN"):
            found.sign(DATA, RSA)
    assert given == [PIN]
    assert lone.is_dir()


@pytest.mark.parametrize("kind", ["rsa", "p256"])
def test_a_token_signs_with_an_openpgp_certificate(kind: str, hsm: SoftHsm, tmp_path: Path) -> None:
    held = key("rsa2048" if kind == "rsa" else kind, f"openpgp-{kind}")
    label = f"openpgp-{kind}"
    hsm.put_key("Imported", held, label, "e1" if kind == "rsa" else "e2")
    own = pgp.Key(kind, private=held.private)
    (tmp_path / "ring.gpg").write_bytes(pgp.certificate(own))
    (tmp_path / "file").write_bytes(DATA)
    (tmp_path / "pin").write_text(PIN)
    words = ["sign", "--key", uri(f"token=Imported;object={label};type=private"), "--cert",
             str(tmp_path / "ring.gpg"), "--pass-file", str(tmp_path / "pin"), "--detached",
             str(tmp_path / "file")]  # fmt: skip
    assert run(words) == 0
    gpgv = ["gpgv", "--keyring", "./ring.gpg", "file.asc", "file"]
    if shutil.which("gpgv") is None:
        pytest.skip("gpgv is not installed")
    done = subprocess.run(gpgv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("label", ["rsa", "p521", "ed25519"])
def test_a_token_makes_bare_values(label: str, hsm: SoftHsm, tmp_path: Path) -> None:
    key_uri = uri(f"token=Release%20keys;object={label};type=private")
    (tmp_path / "file").write_bytes(DATA)
    (tmp_path / "pin").write_text(PIN)
    words = ["sign", "--key", key_uri, "--pass-file", str(tmp_path / "pin"), "--detached",
             "--as", "raw", str(tmp_path / "file")]  # fmt: skip
    assert run(words) == 0
    found = opened(f"token=Release%20keys;object={label};type=private")
    value = (tmp_path / "file.sig").read_bytes()
    assert openssl_accepts(tmp_path, found.public_key, GENERATED[label][2][0], value)
    found.close()
