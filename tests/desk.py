"""A desk to sign at from the command line, and a server that timestamps.

``tests/unit/conftest.py`` offers these fixtures to every unit test.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from conformance.authenticode import pe
from conformance.authenticode.pki import Identity
from conformance.authenticode.pki import pem as as_pem
from cryptography.hazmat.primitives import serialization

from signward.cli.commands import run
from signward.verbs import release as release_module
from tests.builders import tsa
from tests.builders.web import Server, running
from tests.signing import authority, identity


def write_key(path: Path, who: Identity, *, password: bytes = b"", certificate: bool = True) -> str:
    """Write a key (and its certificate) as PEM; return its URI."""
    locked = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    text: bytes = who.key.private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked
    )
    path.write_bytes(text + (as_pem(who.certificate) if certificate else b""))
    return f"file:{path}"


class Desk:
    """A folder with a key, a root and files to sign."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        self.key = write_key(folder / "key.pem", identity())
        (folder / "root.pem").write_bytes(as_pem(authority().certificate))
        self.exe = self.file("setup.exe", pe.image())
        self.out = self.err = ""

    def file(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path

    def run(self, *words: object) -> int:
        code = run([str(word) for word in words])
        self.out, self.err = self._capsys.readouterr()
        return code

    def sign(self, *words: object, key: str = "") -> int:
        return self.run("sign", "--key", key or self.key, *words)

    def verify(self, *paths: object) -> str:
        self.run("verify", "--json", "--anchor", self.folder / "root.pem", *paths)
        found = [json.loads(line) for line in self.out.splitlines()]
        return ",".join(one["cause"] or one["outcome"] for one in found)

    @property
    def leftovers(self) -> list[str]:
        return [p.name for p in self.folder.rglob(f"{release_module.PREFIX}*")]


def untouched(desk: Desk, *words: object, key: str = "", code: int = 1) -> str:
    """Sign in vain; return what was said."""
    before, status = desk.exe.read_bytes(), desk.exe.stat()
    assert desk.sign(*words, desk.exe, key=key) == code
    assert desk.exe.read_bytes() == before
    assert desk.exe.stat().st_ino == status.st_ino
    assert desk.leftovers == []
    assert "Traceback" not in desk.err
    return desk.err


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    """Return a desk with a key, a root and a file."""
    return Desk(tmp_path, capsys)


@pytest.fixture
def server() -> Iterator[Server]:
    """Run a web server on loopback; ``/tsa`` is a time-stamping authority."""
    with running() as made:
        made.routes["/tsa"] = tsa.answering()
        yield made
