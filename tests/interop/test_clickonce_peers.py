"""ClickOnce manifests: relic signs and verifies them too, xmlsec1 checks both signatures."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from signward.findings import Code
from signward.state import Outcome
from signward.verbs.verify import assess
from signward.wire import xmltree
from signward.wire.companions import MappedCompanions
from signward.wire.source import BytesSource
from tests.builders.clickonce import application, deployment
from tests.interop.relic import Relic, build
from tests.signing import context, identity, sign_bytes

pytestmark = pytest.mark.interop

PROGRAM = b"MZ program"
APPLICATION = application(PROGRAM, {})
MANIFESTS = {
    "App.exe.manifest": APPLICATION,
    "App.application": deployment("App.exe.manifest", APPLICATION),
}
FILES = MappedCompanions(
    {"App.exe": BytesSource("App.exe", PROGRAM),
     "App.exe.manifest": BytesSource("App.exe.manifest", APPLICATION)}
)  # fmt: skip


def flipped(data: bytes) -> bytes:
    """Change one octet of what the manifest says."""
    at = data.index(b"neutral")
    return data[:at] + b"N" + data[at + 1 :]


@pytest.fixture(scope="module")
def relic(tmp_path_factory: pytest.TempPathFactory) -> Relic:
    return Relic(build(), tmp_path_factory.mktemp("relic"), identity())


@pytest.mark.slow
@pytest.mark.confirms("clickonce", "sign", "relic")
@pytest.mark.parametrize("name", MANIFESTS)
def test_relic_takes_ours_and_not_when_changed(relic: Relic, name: str) -> None:
    signed = sign_bytes(name, MANIFESTS[name])
    assert relic.verify(name, signed)
    assert not relic.verify(name, flipped(signed))


@pytest.mark.slow
@pytest.mark.confirms("clickonce", "verify", "relic")
@pytest.mark.parametrize("name", MANIFESTS)
def test_we_take_relics_and_not_when_changed(relic: Relic, name: str, tmp_path: Path) -> None:
    signed = relic.sign(name, MANIFESTS[name], "--digest", "sha256")
    judging = context(tmp_path)
    verdict = assess(BytesSource(name, signed), judging, FILES)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    changed = assess(BytesSource(name, flipped(signed)), judging, FILES)
    assert changed.outcome is Outcome.REJECTED
    weak = relic.sign(name, MANIFESTS[name], "--digest", "sha1")
    assert assess(BytesSource(name, weak), judging, FILES).cause is Code.WEAK_DIGEST


@pytest.fixture(scope="module")
def xmlsec() -> str:
    program = shutil.which("xmlsec1")
    if program is None:
        pytest.skip("xmlsec1 is not installed")
    return program


def _parts(signed: bytes) -> dict[str, bytes]:
    """Return the document of each signature: the manifest, and the licence as its own."""
    tree = xmltree.parse(signed, "signed")
    licence = next(tree.getroot().iter("{urn:mpeg:mpeg21:2003:01-REL-R-NS}license"))
    inner = xmltree.canonical(xmltree.alone(licence), xmltree.Canonical(), "licence")
    # xmlsec1 takes the first Signature it meets; the outer one's licence holds another.
    return {"StrongNameSignature": signed, "AuthenticodeSignature": inner}


def _xmlsec_takes(xmlsec: str, folder: Path, data: bytes, identifier: str) -> bool:
    path = folder / "signed.xml"
    path.write_bytes(data)
    (folder / "leaf.pem").write_bytes(identity().pem)
    (folder / "root.pem").write_bytes(identity().path[-1].pem)
    # The outer KeyInfo holds a licence, which xmlsec1 does not know: it is given the key.
    outer = identifier.startswith("Strong")
    keys = ["--pubkey-cert-pem", "leaf.pem"] if outer else ["--trusted-pem", "root.pem"]
    named = ["--id-attr:Id", "Signature", "--node-id", identifier, path.name]
    command = [xmlsec, "--verify", *keys, *named]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=60)
    return done.returncode == 0


@pytest.mark.confirms("clickonce", "sign", "xmlsec1")
@pytest.mark.parametrize("identifier", ["StrongNameSignature", "AuthenticodeSignature"])
@pytest.mark.parametrize("asked", [{"options": {"algorithms": "w3c"}}, {"digest": "sha1"}])
def test_xmlsec_takes_either_signature_and_not_when_changed(
    xmlsec: str, tmp_path: Path, identifier: str, asked: dict[str, object]
) -> None:
    """Microsoft's names of SHA-256 are nobody else's: the standard's, or SHA-1, which has one."""
    document = _parts(sign_bytes("App.exe.manifest", APPLICATION, **asked))[identifier]
    assert _xmlsec_takes(xmlsec, tmp_path, document, identifier)
    assert not _xmlsec_takes(xmlsec, tmp_path, flipped(document), identifier)
    value = re.sub(rb"(<SignatureValue>)(.)", rb"\1/", document)
    assert not _xmlsec_takes(xmlsec, tmp_path, value, identifier)
