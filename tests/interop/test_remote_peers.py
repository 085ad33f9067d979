"""What a service's key signs for us, other programs accept; what was changed since they refuse."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conformance.authenticode import pe

from signward.cli.commands import run
from tests.builders import signing_service as service
from tests.builders.signing_service import CI
from tests.interop.test_sign_peers import said, tool
from tests.signing import authority

pytestmark = pytest.mark.interop


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve a key with timestamps; yield its URL."""
    monkeypatch.setenv("SIGNWARD_TOKEN", f"{CI}-token")
    with service.realm(tmp_path / "realm") as realm, service.running(realm) as served:
        yield f"{served.url}/keys/release"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root.pem"
    path.write_bytes(authority().pem)
    return path


@pytest.mark.confirms("pe", "sign", "osslsigncode")
def test_osslsigncode_accepts_what_a_service_signed(key: str, root: Path, tmp_path: Path) -> None:
    path = tmp_path / "setup.exe"
    path.write_bytes(pe.image())
    check = [tool("osslsigncode"), "verify", "-CAfile", root, "-TSA-CAfile", root,
             "-time", int(time.time()), "-in", path]  # fmt: skip
    assert run(["sign", "--key", key, str(path)]) == 0
    code, text = said(*check)
    assert code == 0, text
    assert "Signature verification: ok" in text
    assert "Timestamp Server Signature verification: ok" in text
    signed = bytearray(path.read_bytes())
    signed[0x400] ^= 1
    path.write_bytes(signed)
    assert said(*check)[0] != 0


@pytest.mark.confirms("detached", "sign", "openssl cms")
def test_openssl_accepts_what_a_service_signed(key: str, root: Path, tmp_path: Path) -> None:
    path = tmp_path / "image.bin"
    path.write_bytes(b"an image of some machine\n" * 100)
    assert run(["sign", "--key", key, "--detached", str(path)]) == 0
    (signature,) = (one for one in tmp_path.glob("image.bin.*") if one.is_file())
    check = [tool("openssl"), "cms", "-verify", "-inform", "DER", "-in", signature, "-binary",
             "-content", path, "-CAfile", root, "-purpose", "any", "-out", "/dev/null"]  # fmt: skip
    code, text = said(*check)
    assert code == 0, text
    path.write_bytes(path.read_bytes() + b"!")
    assert said(*check)[0] != 0
