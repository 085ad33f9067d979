"""Arista's images: Arista's swi-tools on ours, ours on theirs, and where we are stricter."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from conformance.authenticode.pki import issue, pem
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from signward.findings import Code
from signward.state import Outcome
from tests.builders.jail import PEERS
from tests.samples.swi import extension, image
from tests.signing import assess_bytes, authority, identity, sign_bytes

PYTHON = Path("/usr/bin/python3")
"""Debian's, which has M2Crypto: swi-tools needs it, and PyPI has no wheel of it."""

TOOLS = PEERS / "swi-tools"
COMMAND = "import sys; from switools import swisignature; sys.exit(swisignature.main())"


def _run(code: str, folder: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [PYTHON, "-W", "ignore", "-c", code, *words], cwd=folder, capture_output=True,
        check=False, timeout=60, env={"PYTHONPATH": str(TOOLS), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip


def _is_there() -> bool:
    found = PYTHON.exists() and TOOLS.is_dir() and shutil.which("zip")
    return bool(found) and _run("import switools", Path("/")).returncode == 0


pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(not _is_there(), reason="swi-tools with M2Crypto, or zip, is not installed"),
]

MADE = {"EOS.swi": image, "tool.swix": extension}
REJECTED = 4
"""What verify-swi exits with where the value does not fit."""


def _verify(name: str, folder: Path) -> int:
    """Return verify-swi's answer; of several images in a file it would ask a program inside."""
    (folder / "root.pem").write_bytes(pem(authority().certificate))
    code = ("import sys; from switools import verifyswi\n"
            f"sys.exit(verifyswi.verifySwi({name!r}, 'root.pem'))")  # fmt: skip
    run = _run(code, folder)
    assert not run.stderr, run.stderr
    return run.returncode


@pytest.mark.confirms("swi", "sign", "swi-tools")
@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("kind", ["rsa2048", "p256", "p384"])
def test_aristas_tool_accepts_what_we_sign(name: str, kind: str, tmp_path: Path) -> None:
    data = sign_bytes(name, MADE[name](), who=identity(kind))
    (tmp_path / name).write_bytes(data)
    assert _verify(name, tmp_path) == 0
    with zipfile.ZipFile(tmp_path / name) as archive:
        assert archive.testzip() is None, "the member's CRC-32 is as the archive says"
    assert subprocess.run(["unzip", "-tq", name], cwd=tmp_path, check=False,
                          capture_output=True).returncode == 0  # fmt: skip
    changed = bytearray(data)
    changed[data.index(b"version" if name == "EOS.swi" else b"primaryRpm") + 20] ^= 1
    (tmp_path / name).write_bytes(changed)
    assert _verify(name, tmp_path) == REJECTED


def _sign_with_tool(name: str, data: bytes, folder: Path, kind: str = "rsa2048") -> bytes:
    who = identity(kind)
    raw = who.key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(raw)
    (folder / "leaf.pem").write_bytes(pem(who.certificate))
    (folder / "root.pem").write_bytes(pem(authority().certificate))
    (folder / name).write_bytes(data)
    ready = _run(COMMAND, folder, "prepare", name, "--force-sign")
    assert ready.returncode == 0, ready.stderr
    room = (folder / name).read_bytes()
    assert assess_bytes(name, room, folder).cause is Code.UNSIGNED
    code = (
        "from switools import swisignature\n"
        f"swisignature.signSwi({name!r}, 'leaf.pem', 'root.pem', signingKeyFile='key.pem')"
    )
    run = _run(code, folder)
    assert run.returncode == 0, run.stderr
    return (folder / name).read_bytes()


@pytest.mark.confirms("swi", "verify", "swi-tools")
@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("kind", ["rsa2048", "p256"])
def test_we_accept_what_aristas_tool_signs(name: str, kind: str, tmp_path: Path) -> None:
    data = _sign_with_tool(name, MADE[name](), tmp_path, kind)
    verdict = assess_bytes(name, data, tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    changed = bytearray(data)
    changed[200] ^= 1
    assert assess_bytes(name, bytes(changed), tmp_path).outcome is Outcome.REJECTED


def test_the_whole_of_their_command_signs_an_image_that_we_accept(tmp_path: Path) -> None:
    _sign_with_tool("EOS.swi", image(), tmp_path)
    run = _run(COMMAND, tmp_path, "sign", "EOS.swi", "leaf.pem", "root.pem", "--key", "key.pem")
    assert run.returncode == 0, run.stderr
    verdict = assess_bytes("EOS.swi", (tmp_path / "EOS.swi").read_bytes(), tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED


def test_they_sign_anew_what_we_signed_and_we_what_they_did(tmp_path: Path) -> None:
    ours = sign_bytes("EOS.swi", image())
    theirs = _sign_with_tool("EOS.swi", ours, tmp_path)
    assert assess_bytes("EOS.swi", theirs, tmp_path).outcome is Outcome.ACCEPTED
    from signward.formats import Existing

    again = sign_bytes("EOS.swi", theirs, existing=Existing.REPLACE)
    (tmp_path / "EOS.swi").write_bytes(again)
    assert _verify("EOS.swi", tmp_path) == 0


def test_two_signature_members_of_one_name(tmp_path: Path) -> None:
    """Their reader takes the last, a switch perhaps the first: we take none (APPNOTE says none)."""
    data = sign_bytes("EOS.swi", image())
    path = tmp_path / "EOS.swi"
    path.write_bytes(data)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("swi-signature", bytes(8192))
    assert assess_bytes("EOS.swi", path.read_bytes(), tmp_path).cause is Code.AMBIGUOUS


def test_a_certificate_for_something_else_is_no_signer(tmp_path: Path) -> None:
    """verify-swi asks only who issued the certificate: a web server's does for it, not for us."""
    from conformance.authenticode.keys import key

    server = issue("web server", issuer=authority(), subject_key=key("rsa2048", "web"),
                   ekus=("1.3.6.1.5.5.7.3.1",))  # fmt: skip
    data = sign_bytes("EOS.swi", image(), who=server)
    (tmp_path / "EOS.swi").write_bytes(data)
    assert _verify("EOS.swi", tmp_path) == 0
    assert assess_bytes("EOS.swi", data, tmp_path).cause is Code.WRONG_USAGE
