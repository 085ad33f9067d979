"""efitools and OpenSSL read the lists we compile and the updates we sign."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conformance.authenticode.pki import Identity, pem

from signward.compilers.uefi import COMPILER, Settings
from signward.errors import PolicyError, SigningError
from signward.frozen import replace
from signward.policy.rules.material import material
from signward.policy.rules.model import Action, PublisherMatch, Rule, RuleSet
from signward.verbs.policies.signing import Form, opened, seal
from signward.wire import siglist
from tests.builders.keyfiles import encoded
from tests.builders.policies import digest, rule_set
from tests.signing import identity

pytestmark = pytest.mark.interop

AT = datetime(2026, 11, 23, 20, 0, tzinfo=UTC)
OWNER = "77fa9abd-0359-4d32-bd60-28f4e78f784b"
CODE_SIGNED = identity()


def tool(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    command = [name, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def rules() -> RuleSet:
    key = material("own", pem(CODE_SIGNED.certificate))
    made = rule_set(
        Rule(id="own", action=Action.ALLOW, publisher=PublisherMatch(key="own")),
        Rule(id="one", action=Action.ALLOW, digest=(digest("authenticode", 0),)),
        Rule(id="bad", action=Action.DENY,
             digest=(digest("authenticode", 1), digest("authenticode", 2))),
    )  # fmt: skip
    return replace(made, keys={**made.keys, "own": key})


def compiled(folder: Path) -> Path:
    for file in COMPILER.compile(rules(), Settings(owner=OWNER, pk="own")).files:
        (folder / file.name).write_bytes(file.content)
    return folder


def key_of(who: Identity, folder: Path) -> tuple[str, str]:
    """Return the URI and the certificate's file of an identity."""
    (folder / "key.pem").write_bytes(encoded(who.key))
    (folder / "cert.pem").write_bytes(pem(who.certificate))
    return f"file:{folder / 'key.pem'}", str(folder / "cert.pem")


def sealed(form: Form, content: bytes, folder: Path, who: Identity = CODE_SIGNED) -> bytes:
    uri, certificate = key_of(who, folder)
    with opened(uri, (certificate,)) as credential:
        return seal(form, content, credential, AT)


def test_sig_list_to_certs_takes_our_lists_apart(tmp_path: Path) -> None:
    compiled(tmp_path)
    done = tool("sig-list-to-certs", tmp_path / "db.esl", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out-0.der").read_bytes() == CODE_SIGNED.certificate
    hashed = (tmp_path / "out-1.hash").read_bytes()
    assert hashed.hex() == digest("authenticode", 0).rpartition(":")[2]


def test_efi_readvar_shows_what_is_denied(tmp_path: Path) -> None:
    """It finds variables where mount says efivarfs is: here, a folder of the test's own."""
    variables = tmp_path / "vars"
    variables.mkdir()
    attributes = struct.pack("<I", siglist.ATTRIBUTES)
    lists = (compiled(tmp_path) / "dbx.esl").read_bytes()
    (variables / f"dbx-{siglist.VENDORS['dbx']}").write_bytes(attributes + lists)
    mount = tmp_path / "mount"
    mount.write_text(f"#!/bin/sh\necho 'efivarfs on {variables} type efivarfs (rw)'\n")
    mount.chmod(0o755)
    if shutil.which("efi-readvar") is None:
        pytest.skip("efi-readvar is not installed")
    done = subprocess.run(["efi-readvar", "-v", "dbx"], capture_output=True, text=True, timeout=60,
                          check=True, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})  # fmt: skip
    for number in (1, 2):
        assert f"Hash:{digest('authenticode', number).rpartition(':')[2]}" in done.stdout
    assert OWNER in done.stdout


def test_cert_to_efi_sig_list_writes_what_we_write(tmp_path: Path) -> None:
    _, certificate = key_of(CODE_SIGNED, tmp_path)
    done = tool("cert-to-efi-sig-list", "-g", OWNER, certificate, tmp_path / "theirs.esl")
    assert done.returncode == 0, done.stderr
    theirs = (tmp_path / "theirs.esl").read_bytes()
    assert theirs == (compiled(tmp_path) / "PK.esl").read_bytes()


@pytest.mark.parametrize(
    ("variable", "form"), [("db", Form.DB), ("dbx", Form.DBX), ("PK", Form.PK)]
)
def test_an_update_is_the_one_sign_efi_sig_list_makes(
    tmp_path: Path, variable: str, form: Form
) -> None:
    """What is signed is the same to the octet, and OpenSSL takes our signature over theirs."""
    source = compiled(tmp_path) / f"{variable}.esl"
    ours = sealed(form, source.read_bytes(), tmp_path)
    bundle = tmp_path / "bundle"
    append = ["-a"] if variable == "dbx" else []
    done = tool("sign-efi-sig-list", *append, "-t", "2026-11-23 20:00:00", "-g",
                siglist.VENDORS[variable], "-o", variable, source, bundle)  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    theirs = bundle.read_bytes()
    # Their signing takes the time from the clock where mktime says so; the time they wrote counts.
    at = datetime(*struct.unpack_from("<H5B", _time_of(theirs, variable)), tzinfo=UTC)  # type: ignore[misc]
    content = source.read_bytes()
    assert siglist.to_be_signed(variable, content, at, append=bool(append)) == theirs
    update = siglist.read_update(ours)
    assert (update.at, update.content) == (AT, content)
    (tmp_path / "p7").write_bytes(_with_content_info(update.signed_data))
    data = siglist.to_be_signed(variable, content, AT, append=bool(append))
    (tmp_path / "data").write_bytes(data)
    done = tool("openssl", "smime", "-verify", "-inform", "DER", "-in", tmp_path / "p7", "-binary",
                "-content", tmp_path / "data", "-noverify", "-out", tmp_path / "x")  # fmt: skip
    assert done.returncode == 0, done.stderr
    (tmp_path / "data").write_bytes(data + b"\0")
    done = tool("openssl", "smime", "-verify", "-inform", "DER", "-in", tmp_path / "p7", "-binary",
                "-content", tmp_path / "data", "-noverify", "-out", tmp_path / "x")  # fmt: skip
    assert done.returncode != 0


def _time_of(bundle: bytes, variable: str) -> bytes:
    at = 2 * len(variable) + 16 + 4
    return bundle[at : at + 7]


def _with_content_info(signed_data: bytes) -> bytes:
    from signward.envelopes.cms import SIGNED_DATA
    from signward.wire import der

    return der.sequence(der.oid(SIGNED_DATA), der.context(0, signed_data))


def test_we_read_what_sign_efi_sig_list_signed(tmp_path: Path) -> None:
    key_of(CODE_SIGNED, tmp_path)
    source = compiled(tmp_path) / "db.esl"
    done = tool("sign-efi-sig-list", "-t", "2026-11-23 20:00:00", "-k", tmp_path / "key.pem", "-c",
                tmp_path / "cert.pem", "db", source, tmp_path / "db.auth")  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    theirs = siglist.read_update((tmp_path / "db.auth").read_bytes())
    assert theirs.content == source.read_bytes()
    ours = siglist.read_update(sealed(Form.DB, source.read_bytes(), tmp_path))
    assert len(theirs.signed_data) == len(ours.signed_data)


def test_firmware_takes_rsa_alone(tmp_path: Path) -> None:
    with pytest.raises(SigningError, match="ecdsa"):
        sealed(Form.DB, b"", tmp_path, identity("p256"))


def test_only_a_list_becomes_an_update(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="signature list"):
        sealed(Form.DBX, b"no list", tmp_path)
