"""Whole signatures by keys that are elsewhere; osslsigncode says whether they are right."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from conformance.authenticode import pe
from conformance.authenticode.keys import key
from conformance.authenticode.pki import issue

from signward.cli.commands import run
from tests.builders import cloud
from tests.builders.token import PIN, SoftHsm, missing_tool, module
from tests.builders.web import Request
from tests.signing import authority, identity

_MISSING = "" if shutil.which("osslsigncode") else "osslsigncode is not installed"
pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(_MISSING), reason=_MISSING or "all is there"),
]


class Desk:
    """A folder with a root and files to sign, and what was said."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        (folder / "root.pem").write_bytes(authority().pem)
        (folder / "leaf.pem").write_bytes(identity().pem)
        (folder / "pass.txt").write_text(f"{PIN}\n")
        self.said = ""

    def file(self, name: str) -> Path:
        path = self.folder / name
        path.write_bytes(pe.image())
        return path

    def sign(self, uri: str, *words: str | Path) -> int:
        code = run(["sign", "--key", uri, *map(str, words)])
        self.said += "".join(self._capsys.readouterr())
        return code

    def accepted(self, path: Path) -> bool:
        """Say whether osslsigncode accepts ``path``, and refuses it with one octet changed."""
        changed = self.folder / "changed.exe"
        data = bytearray(path.read_bytes())
        data[0x210] ^= 1
        changed.write_bytes(data)
        return self._verified(path) and not self._verified(changed)

    def _verified(self, path: Path) -> bool:
        command = ["osslsigncode", "verify", "-CAfile", self.folder / "root.pem", "-in", path]
        return subprocess.run(list(map(str, command)), capture_output=True).returncode == 0


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capsys)


@pytest.fixture
def token(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> str:
    if missing_tool():
        pytest.skip(missing_tool())
    hsm = SoftHsm(tmp_path_factory.mktemp("softhsm"), monkeypatch)
    hsm.make_token("Signing")
    hsm.put_key("Signing", identity().key, "signer", "01")
    hsm.put_certificate("Signing", identity().certificate, "signer", "01")
    hsm.ready()
    return f"pkcs11:token=Signing;object=signer?module-path={module()}"


def test_with_a_key_on_a_token(desk: Desk, token: str) -> None:
    files = [desk.file(f"{number}.exe") for number in range(3)]
    assert desk.sign(token, "--pass-file", desk.folder / "pass.txt", *files) == 0
    assert all(map(desk.accepted, files))
    assert PIN not in desk.said


def test_a_wrong_pin_changes_nothing(desk: Desk, token: str) -> None:
    (desk.folder / "pass.txt").write_text("0 wrong 0")
    path = desk.file("setup.exe")
    before = path.read_bytes()
    assert desk.sign(token, "--pass-file", desk.folder / "pass.txt", path) == 2
    assert path.read_bytes() == before
    assert "found a wrong PIN" in desk.said
    assert "0 wrong 0" not in desk.said


def test_with_a_key_in_a_service_that_keeps_no_certificate(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", cloud.TOKEN)
    path = desk.file("setup.exe")
    with cloud.serving(cloud.Vault, identity()) as service:
        uri = f"vault:team/transit/release%20key?endpoint={service.server.url('')}"
        assert desk.sign(uri, "--cert", desk.folder / "leaf.pem", path) == 0
        assert service.problems == []
        other = desk.file("other.exe")
        service.who = identity("rsa2048", "Somebody Else")
        assert desk.sign(uri, "--cert", desk.folder / "leaf.pem", other) == 2
    assert desk.accepted(path)
    assert cloud.TOKEN not in desk.said


def test_a_leaf_that_rotates_between_two_files_loses_none(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_ACCESS_TOKEN", cloud.TOKEN)
    following = issue("Next leaf", issuer=authority(), subject_key=key("rsa2048", "next leaf"))
    files = [desk.file(f"{number}.exe") for number in range(6)]
    with cloud.serving(cloud.ArtifactSigning, identity()) as service:
        seen: list[str] = []

        def rotate(request: Request) -> None:
            seen.append(request.path)
            if len([path for path in seen if ":sign?" in path]) > 3:
                service.who = following

        service.fault = rotate
        uri = f"azure-artifact-signing:account/profile?endpoint={service.server.url('')}"
        assert desk.sign(uri, *files) == 0
        assert service.problems == []
    assert all(map(desk.accepted, files))
    leaves = {number for path in files for number, leaf in enumerate((identity(), following))
              if leaf.certificate in path.read_bytes()}  # fmt: skip
    assert leaves == {0, 1}
    assert cloud.TOKEN not in desk.said
