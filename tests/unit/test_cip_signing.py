"""Signed App Control policies: what is around them, what openssl says, and what is refused."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from conformance.authenticode.keys import key
from conformance.authenticode.pki import NOW, Identity, issue, pem
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from signward.cli import main
from signward.compilers._cip import claimed_content, read_cip
from signward.compilers.app_control import COMPILER, AppControlSettings
from signward.compilers.arbiters.app_control import ARBITER
from signward.errors import PolicyError, SigningError
from signward.keys import open_key
from signward.policy.rules.material import material
from signward.policy.rules.model import Action, PublisherMatch, Rule, RuleSet
from signward.policy.rules.subject import Subject
from signward.verbs.credential import Credential
from signward.verbs.policies.cip import signed_cip
from signward.verbs.secrets import SecretFinder
from tests.builders.policies import rule_set
from tests.signing import authority, identity

PE = Subject(path=r"C:\x.exe", file_class="executable", kind="pe")


@contextmanager
def _credential(folder: Path, who: Identity) -> Iterator[Credential]:
    path = folder / "key.pem"
    private = who.key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + pem(who.certificate))
    opened = open_key(f"file:{path}", SecretFinder(""))
    try:
        yield Credential(opened, [], "sha256")
    finally:
        opened.close()


def _rules(guard: Identity) -> RuleSet:
    rule = Rule(id="own", action=Action.ALLOW, publisher=PublisherMatch(key="first-ca"))
    rules = rule_set(rule)
    return msgspec.structs.replace(
        rules, keys={**rules.keys, "guard": material("guard", pem(guard.certificate))}
    )


def _cip(guard: Identity, **settings: object) -> bytes:
    made = COMPILER.compile(_rules(guard), AppControlSettings(**settings))  # type: ignore[arg-type]
    return next(f.content for f in made.files if f.name.endswith(".cip"))


def _guarded(guard: Identity) -> bytes:
    return _cip(guard, update_signers=("guard",))


def test_a_signed_policy_is_read_and_judged_as_before(tmp_path: Path) -> None:
    who, content = identity(), _guarded(identity())
    with _credential(tmp_path, who) as credential:
        signed = signed_cip(content, credential, NOW)
        assert signed_cip(content, credential, NOW) == signed
    assert claimed_content("test", signed) == content
    assert read_cip("test", signed) == read_cip("test", content)
    assert ARBITER.judge({"p.cip": signed}, PE) is False


@pytest.mark.interop
def test_openssl_finds_the_signature_good_and_the_content_whole(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    content = _guarded(identity())
    with _credential(tmp_path, identity()) as credential:
        signed = signed_cip(content, credential, NOW)
    (tmp_path / "root.pem").write_bytes(pem(authority().certificate))

    def verified(data: bytes) -> bool:
        (tmp_path / "p.cip").write_bytes(data)
        command = [openssl, "cms", "-verify", "-inform", "DER", "-in", "p.cip", "-binary",
                   "-CAfile", "root.pem", "-purpose", "any", "-out", "content"]  # fmt: skip
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=False)
        return done.returncode == 0 and (tmp_path / "content").read_bytes() == content

    assert verified(signed)
    at = signed.index(content) + 100
    assert not verified(signed[:at] + bytes([signed[at] ^ 1]) + signed[at + 1 :])
    command = [openssl, "asn1parse", "-inform", "DER", "-in", "p.cip"]
    listed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "1.3.6.1.4.1.311.79.1" in listed.stdout


@pytest.mark.parametrize("kind", ["rsa1024", "p256"])
def test_keys_that_windows_does_not_start_with_are_refused(tmp_path: Path, kind: str) -> None:
    who = identity(kind, f"Guard {kind}")
    content = _guarded(identity())
    with _credential(tmp_path, who) as credential, pytest.raises(SigningError, match="RSA"):
        signed_cip(content, credential, NOW)


def test_certificates_that_are_over_or_for_something_else_are_refused(tmp_path: Path) -> None:
    content = _guarded(identity())
    with _credential(tmp_path, identity()) as credential, pytest.raises(SigningError):
        signed_cip(content, credential, datetime(2060, 1, 1, tzinfo=UTC))
    mail = issue("Mail", issuer=authority(), subject_key=key("rsa2048", "mail"),
                 ekus=("1.3.6.1.5.5.7.3.4",))  # fmt: skip
    with _credential(tmp_path, mail) as credential, pytest.raises(SigningError):
        signed_cip(_guarded(mail), credential, NOW)


def test_policies_that_nobody_could_change_again_are_refused(tmp_path: Path) -> None:
    other = identity(name="Another Guard")
    with _credential(tmp_path, identity()) as credential:
        signed = signed_cip(_guarded(identity()), credential, NOW)
        for content in (_cip(identity()), _guarded(other), signed, b"no policy"):
            with pytest.raises(PolicyError):
                signed_cip(content, credential, NOW)


def test_the_command_signs_what_was_compiled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with _credential(tmp_path, identity()):
        uri = f"file:{tmp_path / 'key.pem'}"
    path = tmp_path / "base.cip"
    path.write_bytes(_guarded(identity()))
    asked = ["policy", "seal", str(path), "--form", "cip", "--key", uri, "--at", f"{NOW:%FT%TZ}"]
    assert main(asked) == 0
    signed = (tmp_path / "base.cip.p7b").read_bytes()
    assert claimed_content("test", signed) == path.read_bytes()
    path.write_bytes(_cip(identity()))
    assert main(asked) == 2
    assert "update_signers" in capsys.readouterr().err
