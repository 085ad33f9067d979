"""VSIX packages: relic signs and verifies them too, xmlsec1 checks the signature part.

relic knows no selection of relationships, and takes a package's own away when it signs: it
is compared on packages without any.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from signward.state import Outcome
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.verify import assess, assess_path
from signward.wire.source import BytesSource
from tests.builders.vsix import extension, members, related
from tests.interop.relic import Relic, build
from tests.signing import context, identity, sign_bytes

pytestmark = pytest.mark.interop


def flipped(data: bytes) -> bytes:
    """Change one octet of the program, and what its checksums say (relic looks at both)."""
    from tests.builders.vsix import archive

    parts = members(data)
    parts["Sample.dll"] = parts["Sample.dll"][:-1] + b"X"
    return archive(parts)


@pytest.fixture(scope="module")
def relic(tmp_path_factory: pytest.TempPathFactory) -> Relic:
    return Relic(build(), tmp_path_factory.mktemp("relic"), identity())


@pytest.mark.slow
@pytest.mark.confirms("vsix", "sign", "relic")
def test_relic_takes_ours_and_not_when_changed(relic: Relic) -> None:
    signed = sign_bytes("a.vsix", extension())
    assert relic.verify("a.vsix", signed)
    assert not relic.verify("a.vsix", flipped(signed))


@pytest.mark.slow
@pytest.mark.confirms("vsix", "verify", "relic")
@pytest.mark.parametrize("options", [(), ("--detach-certs",)])
def test_we_take_relics_and_not_when_changed(
    relic: Relic, options: tuple[str, ...], tmp_path: Path
) -> None:
    signed = relic.sign("b.vsix", extension(), "--digest", "sha256", *options)
    judging = context(tmp_path)
    verdict = assess(BytesSource("b.vsix", signed), judging)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    changed = assess(BytesSource("b.vsix", flipped(signed)), judging)
    assert changed.outcome is Outcome.REJECTED


@pytest.mark.confirms("vsix", "sign", "xmlsec1")
@pytest.mark.parametrize("kind", ["rsa2048", "p256", "p384", "p521"])
def test_xmlsec_takes_the_signature_and_not_when_changed(kind: str, tmp_path: Path) -> None:
    xmlsec = shutil.which("xmlsec1")
    if xmlsec is None:
        pytest.skip("xmlsec1 is not installed")
    digest = {"p384": "sha384", "p521": "sha512"}.get(kind, "sha256")
    who = identity(kind, f"VSIX {kind}")
    parts = members(sign_bytes("c.vsix", related(), who=who, digest=digest))
    part = next(data for name, data in parts.items() if name.endswith(".psdsxs"))
    (tmp_path / "root.pem").write_bytes(who.path[-1].pem)
    # The Manifest's references lead into the package, which xmlsec1 does not see.
    command = [xmlsec, "--verify", "--ignore-manifests", "--trusted-pem", "root.pem",
               "--id-attr:Id", "Object", "signature.xml"]  # fmt: skip

    def takes(data: bytes) -> bool:
        (tmp_path / "signature.xml").write_bytes(data)
        return subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0

    assert takes(part)
    assert not takes(part.replace(b"/Sample.dll?", b"/Sample.dlx?"))


def test_the_published_package_with_wrong_overrides_is_malformed(vectors: Path) -> None:
    path = (
        vectors / "dotnet-sign/test/Sign.Core.Test/TestAssets/VSIXSamples"
        / "OpenVsixSignToolTest-InvalidOverrides.vsix"
    )  # fmt: skip
    verdict = assess_path(path, Context(Options()))
    assert verdict.outcome is Outcome.REJECTED
    assert "PartName '/extensionless/'" in str(verdict.findings)
