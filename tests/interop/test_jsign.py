"""Scripts signed by jsign: the only independent signer of JScript, VBScript and WSF here.

jsign 7.4 comes from Maven Central by name and stays in Maven's own cache.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from conformance.authenticode.pki import NOW, default_pki

from signward.state import Outcome
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.verify import assess_path

VERSION = "7.4"

XML = '<?xml version="1.0"?>\r\n<a>\u00e4</a>\r\n'
JOBS = (
    '<package>\r\n<job id="1">\r\n<script language="JScript">WScript.Echo(1);</script>\r\n</job>'
    '\r\n<job id="2">\r\n<script language="VBScript">WScript.Echo "2"</script>\r\n</job>\r\n'
    "</package>\r\n"
)
SCRIPTS = {
    "a.ps1": 'Write-Output "one"\r\n',
    "a.psm1": "function One { 1 }\r\n",
    "a.psd1": "@{ ModuleVersion = '1.0' }\r\n",
    "a.ps1xml": XML,
    "a.js": "var a = 1;\r\nWScript.Echo(a);\r\n",
    "a.vbs": "Dim a\r\na = 1\r\n",
    "a.wsf": "<job>\r\n<script language='JScript'>WScript.Echo(1);</script>\r\n</job>\r\n",
    "b.wsf": JOBS,
}

pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.confirms("script", "verify", "jsign"),
]


@pytest.fixture(scope="module")
def jsign() -> list[str]:
    """Return jsign's command line, fetched by name where Maven does not have it yet."""
    java, maven = shutil.which("java"), shutil.which("mvn")
    if java is None or maven is None:
        pytest.skip("jsign needs java and mvn")
    jar = Path.home() / f".m2/repository/net/jsign/jsign/{VERSION}/jsign-{VERSION}.jar"
    if not jar.is_file():
        artifact = f"-Dartifact=net.jsign:jsign:{VERSION}"
        subprocess.run([maven, "-q", "dependency:get", artifact, "-Dtransitive=false"], timeout=300)
    if not jar.is_file():
        pytest.skip(f"jsign {VERSION} could not be fetched")
    return [java, "-jar", str(jar)]


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Write the test PKI's root, leaf path and key; return the root and jsign's arguments."""
    folder = tmp_path_factory.mktemp("identity")
    pki = default_pki()
    root, chain, key = folder / "root.pem", folder / "chain.pem", folder / "key.pem"
    root.write_bytes(pki.root.pem)
    chain.write_bytes(pki.leaf.pem + pki.intermediate.pem)
    key.write_bytes(pki.leaf.key.pem)
    return root, ["--keyfile", str(key), "--certfile", str(chain)]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["bare", "utf-8-mark"])
def test_what_jsign_signs_is_accepted(
    mark: bytes,
    jsign: list[str],
    identity: tuple[Path, list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    root, arguments = identity
    for name, text in SCRIPTS.items():
        (tmp_path / name).write_bytes(mark + text.encode())
    subprocess.run([*jsign, *arguments, *SCRIPTS], check=True, capture_output=True, timeout=120)
    context = Context(Options(anchors=(str(root),), at=NOW))
    for name in SCRIPTS:
        verdict = assess_path(tmp_path / name, context)
        assert verdict.outcome is Outcome.ACCEPTED, (name, verdict.findings)
        changed = tmp_path / f"changed-{name}"
        changed.write_bytes((tmp_path / name).read_bytes().replace(b"1", b"3", 1))
        assert assess_path(changed, context).outcome is not Outcome.ACCEPTED
