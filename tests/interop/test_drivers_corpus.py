"""A real driver package: .sys, .cat and .inf of ViGEmBus, and what Windows would make of it.

The driver is signed by Microsoft (WHQL) and, nested in that, by its maker, whose signature
embeds DigiCert's cross-certificate: the one real witness of a cross-signed path here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from signward.envelopes.cms import NESTED_SIGNATURE
from signward.findings import Code
from signward.formats import ParseOptions
from signward.formats.pe import FORMAT as PE
from signward.policy.settings import Policy
from signward.state import Outcome, Verdict
from signward.trust.kernel import GENERATIONS
from signward.trust.settings import TrustPolicy
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.verify import assess, assess_path
from signward.wire.patch import Patched, pieces
from signward.wire.source import BytesSource

AT = datetime(2026, 11, 23, tzinfo=UTC)

TBS_OF_THIRD_PARTY_CA_2014 = "D8BE9E4D9074088EF818BC6F6FB64955E90378B2754155126FEEBBBD969CF0AE"
"""As Microsoft's published block list writes it."""

pytestmark = [pytest.mark.corpus]


@pytest.fixture(params=["vigem-x64", "vigem-x86"])
def package(request: pytest.FixtureRequest, corpus: Callable[[str], Path]) -> dict[str, Path]:
    """The package's driver, catalog and information file, by extension."""
    tree = corpus(request.param)
    return {name: next(tree.rglob(f"ViGEmBus.{name}")) for name in ("sys", "cat", "inf")}


def options(generation: str, **more: object) -> Options:
    policy = Policy(trust=TrustPolicy(windows_generation=generation))
    return Options(at=AT, profile="windows-kernel", policy=policy, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("generation", GENERATIONS)
def test_driver_package_is_whole_for_every_generation(
    generation: str, package: dict[str, Path]
) -> None:
    """The .inf names its catalog; the catalog vouches for .inf and .sys; both load."""
    text = package["inf"].read_text("utf-16" if b"\0" in package["inf"].read_bytes() else "utf-8")
    named = re.search(r"(?im)^\s*CatalogFile\S*\s*=\s*(\S+)", text)
    assert named
    assert named[1].lower() == package["cat"].name.lower()
    context = Context(options(generation, catalogs=(str(package["cat"]),)))
    listed = assess_path(package["inf"], context)
    assert (listed.outcome, listed.rule) == (Outcome.ACCEPTED, "by-catalog")
    for part in ("sys", "cat"):
        verdict = assess_path(package[part], context)
        assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
        assert verdict.facts["windows-generation"] == generation


def test_catalog_vouches_for_the_stripped_driver(package: dict[str, Path]) -> None:
    data = package["sys"].read_bytes()
    source = BytesSource("ViGEmBus.sys", data)
    stripped = b"".join(pieces(Patched(source, PE.embed(source, ()))))
    context = Context(options("server-2016", catalogs=(str(package["cat"]),)))
    verdict = assess(BytesSource("ViGEmBus.sys", stripped), context)
    assert (verdict.outcome, verdict.rule) == (Outcome.ACCEPTED, "by-catalog")
    changed = stripped[:-1] + bytes((stripped[-1] ^ 1,))
    assert assess(BytesSource("ViGEmBus.sys", changed), context).cause is Code.UNSIGNED


def makers_own(path: Path) -> bytes:
    """Return the driver with the maker's signature alone."""
    source = BytesSource(path.name, path.read_bytes())
    outer = PE.parse(source, ParseOptions()).signatures[0]
    nested = [a.values[0] for a in outer.unsigned_attributes if a.oid == NESTED_SIGNATURE]
    return b"".join(pieces(Patched(source, PE.embed(source, (nested[0],)))))


def test_the_makers_own_signature_is_cross_signed_in_2019(package: dict[str, Path]) -> None:
    data = makers_own(package["sys"])

    def judged(generation: str) -> Verdict:
        return assess(BytesSource("ViGEmBus.sys", data), Context(options(generation)))

    verdicts = {name: judged(name) for name in GENERATIONS}
    accepted = {n for n, v in verdicts.items() if v.outcome is Outcome.ACCEPTED}
    assert accepted == {"7", "8.1", "10-1507"}
    causes = {v.cause for n, v in verdicts.items() if n not in accepted}
    assert causes == {Code.KERNEL_POLICY}
    (note,) = [f for f in verdicts["7"].findings if f.code is Code.KERNEL_POLICY]
    assert "DigiCert High Assurance EV Root CA" in note.found


def test_rule_of_the_published_list_knows_the_signers_ca(
    package: dict[str, Path], tmp_path: Path
) -> None:
    """The TBS hash in Microsoft's own list is the one we compute from the real certificate."""
    rules = tmp_path / "list.xml"
    rules.write_text(
        '<SiPolicy xmlns="urn:schemas-microsoft-com:sipolicy"><VersionEx>1.0.0.0</VersionEx>'
        '<Signers><Signer ID="ID_SIGNER_F_2" Name="Microsoft Windows Third Party Component CA '
        f'2014"><CertRoot Type="TBS" Value="{TBS_OF_THIRD_PARTY_CA_2014}" /><CertPublisher '
        'Value="Microsoft Windows Hardware Compatibility Publisher" /></Signer></Signers>'
        '<SigningScenarios><SigningScenario Value="131" ID="ID_SIGNINGSCENARIO_A">'
        '<ProductSigners><DeniedSigners><DeniedSigner SignerId="ID_SIGNER_F_2" />'
        "</DeniedSigners></ProductSigners></SigningScenario></SigningScenarios></SiPolicy>"
    )
    verdict = assess_path(package["sys"], Context(options("7", block_lists=(str(rules),))))
    assert verdict.cause is Code.BLOCKED
