"""Where secrets come from, and that they are seen nowhere."""

from __future__ import annotations

import getpass
import io
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conformance.authenticode.keys import key

from signward.errors import KeyProviderError
from signward.verbs.secrets import SecretFinder, new_password
from tests.builders.keyfiles import encoded

SECRET = "correct horse battery"
NAME = "password of release.p12"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_first_line_of_the_password_file_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(f"\ufeff{SECRET}\r\nnot this\n".encode())
    find = SecretFinder(str(path), environment={"SIGNWARD_PASSWORD": "other"})
    assert find(NAME) == SECRET


def test_the_environment_comes_next_under_the_name_asked_for() -> None:
    environment = {"SIGNWARD_PASSWORD": "one", "MINE": "two"}
    assert SecretFinder(environment=environment)(NAME) == "one"
    assert SecretFinder(variable="MINE", environment=environment)(NAME) == "two"


def test_an_empty_password_is_a_password() -> None:
    assert SecretFinder(environment={"SIGNWARD_PASSWORD": ""})(NAME) == ""


def test_a_prompt_is_last_and_only_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(prompt: str) -> str:
        asked.append(prompt)
        return SECRET

    monkeypatch.setattr(getpass, "getpass", answer)
    monkeypatch.setattr(sys, "stdin", io.StringIO("typed\n"))
    assert SecretFinder(environment={})(NAME) is None
    monkeypatch.setattr(sys, "stdin", None)
    assert SecretFinder(environment={})(NAME) is None
    assert asked == []
    monkeypatch.setattr(sys, "stdin", Terminal())
    find = SecretFinder(environment={})
    assert (find(NAME), find(NAME)) == (SECRET, SECRET)
    assert asked == [f"{NAME}: "]


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(prompt: str) -> str:
        raise EOFError

    monkeypatch.setattr(getpass, "getpass", end)
    monkeypatch.setattr(sys, "stdin", Terminal())
    assert SecretFinder(environment={})(NAME) is None


def test_a_token_is_its_variable_or_the_file_named_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal())  # and is never prompted for
    path = tmp_path / "token"
    path.write_text(f"{SECRET}\n")
    assert SecretFinder(environment={"VAULT_TOKEN": SECRET})("VAULT_TOKEN") == SECRET
    assert SecretFinder(environment={"VAULT_TOKEN_FILE": str(path)})("VAULT_TOKEN") == SECRET
    assert SecretFinder(environment={"SIGNWARD_PASSWORD": "x"})("VAULT_TOKEN") is None


def test_each_secret_is_looked_for_once(tmp_path: Path) -> None:
    environment = {"A_TOKEN": SECRET}
    find = SecretFinder(environment=environment)
    assert find("A_TOKEN") == SECRET
    environment["A_TOKEN"] = "changed"
    assert find("A_TOKEN") == SECRET
    assert find("B_TOKEN") is None


@pytest.mark.parametrize(
    ("data", "found"),
    [(None, "No such file"), (b"\xff\xfe", "no UTF-8"), (bytes(65537), "a larger file")],
)
def test_a_file_that_cannot_serve_is_named(data: bytes | None, found: str, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(KeyProviderError, match=found):
        SecretFinder(str(path), environment={})(NAME)


def test_a_secret_is_in_no_repr() -> None:
    find = SecretFinder(environment={"SIGNWARD_PASSWORD": SECRET})
    find(NAME)
    assert SECRET not in f"{find!r} {find!s}"


def test_a_real_terminal_echoes_nothing(tmp_path: Path) -> None:
    """The command itself, on a pseudo-terminal, with the password typed."""
    (tmp_path / "key.pem").write_bytes(encoded(key("p256"), password=SECRET) + b"\n")
    (tmp_path / "a.exe").write_bytes(b"MZ")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "signward", "sign", "--key", "file:key.pem", "a.exe"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    environment.pop("SIGNWARD_PASSWORD", None)
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path,
                          env=environment, start_new_session=True) as process:  # fmt: skip
        os.close(theirs)
        said = read_until(ours, b"password of key.pem: ")
        os.write(ours, SECRET.encode() + b"\n")
        said += read_until(ours, b"--cert")
        process.wait(30)
        os.close(ours)
    assert b"no certificate" in said  # it was opened: what is missing is the certificate
    assert SECRET.encode() not in said


def read_until(terminal: int, wanted: bytes) -> bytes:
    """Return what a terminal shows, up to ``wanted``; fail after thirty seconds."""
    said, deadline = b"", time.monotonic() + 30
    while wanted not in said:
        ready, _, _ = select.select([terminal], [], [], deadline - time.monotonic())
        assert ready, said
        said += os.read(terminal, 4096)
    return said


def test_a_new_password_is_typed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was mistyped once would lock a backup, or a key, for good."""
    typed = iter(["right", "right", "right", "wrogn", ""])
    monkeypatch.delenv("SIGNWARD_PASSWORD", raising=False)
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", lambda _: next(typed))
    assert new_password("password of a.key") == "right"
    with pytest.raises(KeyProviderError, match="two that differ"):
        new_password("password of a.key")
    assert not new_password("password of a.key")


def test_a_new_password_from_a_file_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("secret\n")
    assert new_password("password of a.key", str(tmp_path / "p")) == "secret"
