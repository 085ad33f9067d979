"""Signing through ``signward serve`` itself: its process, its tokens, its receipts, its approvals.

What the application decides in one process, other modules test; here nothing is put in its place.
"""

from __future__ import annotations

import json
import os
import pwd
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from conformance.authenticode import pe
from joserfc import jwt
from joserfc.jwk import ECKey

from signward.cli.commands import run
from signward.errors import DeniedError
from signward.frozen import replace
from signward.keys import _rest
from signward.keys._served import Answer
from signward.verbs.authority import sign
from signward.verbs.authority.realm import Realm
from signward.verbs.authority.settings import IdentitySettings, IssuerSettings, Settings
from tests.builders import signing_service as service
from tests.builders.processes import Served, served
from tests.builders.signing_service import ALICE, CI
from tests.signing import authority
from tests.unit.test_sign_service import order

AUDIENCE = "signward-tests"
ALGORITHM = "ES256"


class Issuer(NamedTuple):
    """Somebody whose tokens count."""

    key: ECKey

    def token(self, who: str = CI, *, key: ECKey | None = None, **claims: Any) -> str:
        now = int(time.time())
        said = {"iss": service.ISSUER, "sub": who, "aud": AUDIENCE, "iat": now, "nbf": now,
                "exp": now + 600, **claims}  # fmt: skip
        return jwt.encode({"alg": ALGORITHM, "kid": "tests"}, said, key or self.key)

    def trusted(self, made: Settings, folder: Path) -> Settings:
        """Return settings by which this issuer's tokens count; its keys are in the folder."""
        (folder / "keys").mkdir(parents=True)
        public = {"keys": [self.key.as_dict(private=False)]}
        (folder / "keys/jwks.json").write_bytes(msgspec.json.encode(public))
        one = IssuerSettings(issuer=service.ISSUER, audience=AUDIENCE, jwks="keys/jwks.json",
                             algorithms=(ALGORITHM,))  # fmt: skip
        return replace(made, identity=IdentitySettings(issuers={"tests": one}))


def new_key() -> ECKey:
    return ECKey.generate_key("P-256", {"kid": "tests", "use": "sig", "alg": ALGORITHM})


class World:
    """A service in a process of its own, a file to sign, and what commands said."""

    def __init__(self, process: Served, issuer: Issuer, folder: Path, capsys: Any) -> None:
        self.process, self.issuer, self.folder, self._capsys = process, issuer, folder, capsys
        self.data = folder / "realm"
        self.url = f"http://127.0.0.1:{process.port}"
        self.file = folder / "setup.exe"
        self.file.write_bytes(pe.image())
        self.root = folder / "root.pem"
        self.root.write_bytes(authority().pem)

    def command(self, *words: object) -> tuple[int, str]:
        code = run([str(word) for word in words])
        said = self._capsys.readouterr()
        return code, said.out + said.err

    def sign(self, *words: object) -> tuple[int, str]:
        return self.command("sign", "--key", f"{self.url}/keys/release", *words, self.file)


@pytest.fixture
def world(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    monkeypatch.setattr(_rest, "FIRST_WAIT", 0.01)
    for name in ("SIGNWARD_TOKEN_FILE", "SIGNWARD_RUN", "SIGNWARD_LOG_KEY", "SIGNWARD_CLIENT_CERT"):
        monkeypatch.delenv(name, raising=False)
    issuer = Issuer(new_key())
    service.folder(tmp_path / "realm", issuer.trusted(service.settings(), tmp_path / "realm"))
    monkeypatch.setenv("SIGNWARD_TOKEN", issuer.token())
    with served(tmp_path / "realm", "--role", "sign", "--role", "log") as process:
        yield World(process, issuer, tmp_path, capsys)


def test_a_token_of_the_issuers_signs_twice_and_is_named_in_the_log(world: World) -> None:
    for _ in range(2):  # the second time its signature was checked before
        code, said = world.sign("--replace")
        assert code == 0, said
    assert world.command("verify", "--anchor", world.root, world.file)[0] == 0
    code, log = world.process.stop()
    asked = [line for line in log if line.get("method") == "POST"]
    assert (code, {line["by"] for line in asked}) == (0, {f"oidc:{CI}"})
    assert [line["status"] for line in asked] == [200, 200]


def expired(issuer: Issuer) -> str:
    now = int(time.time())
    return issuer.token(iat=now - 4000, nbf=now - 4000, exp=now - 400)


REFUSED = {
    "expired": expired,
    "for others": lambda issuer: issuer.token(aud="others"),
    "another key": lambda issuer: issuer.token(key=new_key()),
    "no signature": lambda issuer: issuer.token().rpartition(".")[0] + ".",
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_token_that_does_not_hold_signs_nothing(
    world: World, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = world.file.read_bytes()
    monkeypatch.setenv("SIGNWARD_TOKEN", REFUSED[what](world.issuer))
    code, said = world.sign()
    assert (code, world.file.read_bytes()) == (2, before), said
    _, log = world.process.stop()
    assert {line["status"] for line in log if line["event"] == "request"} == {401}


def test_a_stranger_whose_token_holds_signs_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNWARD_TOKEN", world.issuer.token(ALICE))
    before = world.file.read_bytes()
    code, said = world.sign()
    assert (code, world.file.read_bytes()) == (2, before), said


def test_the_receipt_speaks_of_the_signed_file_and_of_no_other(world: World) -> None:
    code, said = world.sign("--receipts", world.folder / "receipts")
    assert code == 0, said
    receipt = world.folder / "receipts" / "setup.exe.receipt"
    code, said = world.command("log", "verify", "--data", world.data, receipt, world.file)
    assert code == 0, said
    told = json.loads(said.splitlines()[-1])
    assert (told["kind"], told["by"], told["file"]) == ("signed", CI, "setup.exe")
    other = world.folder / "other.exe"
    other.write_bytes(pe.image(data=b"other"))
    code, said = world.command("log", "verify", "--data", world.data, receipt, other)
    assert code != 0
    assert "speaks of something else" in said
    damaged = bytearray(receipt.read_bytes())
    at = damaged.index(b"index ") - 3
    damaged[at] ^= 1
    receipt.write_bytes(damaged)
    code, said = world.command("log", "verify", "--data", world.data, receipt, world.file)
    assert code != 0, said


# --- approvals in the authority's own folder ---------------------------------------------------


class Own:
    """An authority's folder whose one approver is the user that runs the tests."""

    def __init__(self, folder: Path, approver: str, capsys: Any) -> None:
        self._folder, self._capsys = folder, capsys
        table = msgspec.to_builtins(service.settings({"approvals": 1, "approvers": [CI]}))
        table["access"]["identities"]["here"] = {"kind": "local", "subject": approver}
        table["sign"]["release"]["approvers"] = ["here"]
        service.folder(folder, msgspec.convert(table, Settings))

    def ask(self) -> Answer:
        with closing(Realm.open(self._folder)) as realm:
            return sign.sign(realm, "release", service.person(CI), "k" * 16, order())

    def requests(self, action: str, *words: str) -> tuple[int, str]:
        code = run(["requests", action, "--data", str(self._folder), *words])
        said = self._capsys.readouterr()
        return code, said.out + said.err


def test_who_the_system_says_approves_in_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = Own(tmp_path, pwd.getpwuid(os.getuid()).pw_name, capsys)
    assert "nothing waits for you" in own.requests("list")[1]
    asked = own.ask()
    assert (asked.state, asked.required) == ("pending", 1)
    code, said = own.requests("list", "--json")
    assert (code, json.loads(said)["id"]) == (0, asked.id)
    code, said = own.requests("approve", asked.id)
    assert (code, f"{asked.id}  pending, 1 of 1 approvals" in said) == (0, True), said
    code, said = own.requests("approve", asked.id)
    assert (code, "a second approval" in said) == (1, True), said
    assert own.ask().state == "signed"


def test_who_the_system_says_ends_a_request_in_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = Own(tmp_path, pwd.getpwuid(os.getuid()).pw_name, capsys)
    asked = own.ask()
    code, said = own.requests("deny", asked.id, "0" * 32)
    assert code == 1
    assert f"{asked.id}  denied" in said
    assert "none of that name" in said
    with pytest.raises(DeniedError, match="denied"):
        own.ask()


def test_another_user_of_the_machine_sees_and_approves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = Own(tmp_path, "somebody-else", capsys)
    asked = own.ask()
    assert "nothing waits for you" in own.requests("list")[1]
    for action in ("approve", "deny"):
        code, said = own.requests(action, asked.id)
        assert (code, "required an approver" in said or "one of its approvers" in said) == (1, True)
    assert own.ask().state == "pending"


def test_a_folder_that_is_none_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["requests", "list", "--data", str(tmp_path / "absent")])
    assert code == 2
    assert "Traceback" not in capsys.readouterr().err
