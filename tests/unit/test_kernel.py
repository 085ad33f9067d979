"""Drivers: what each Windows generation loads, by who signed and when."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode import pe, tsa
from conformance.authenticode.pki import (
    EKU_CODE_SIGNING,
    NOW,
    Identity,
    default_pki,
    instant,
    issue,
    pem,
)

from signward.cli import arguments, main
from signward.findings import Code
from signward.formats import Existing
from signward.policy.record import record
from signward.policy.settings import Policy, SignatureRule
from signward.state import Outcome, TrustedSignature, Verdict
from signward.trust import kernel
from signward.trust.profiles import AUTHENTICODE, WINDOWS_KERNEL
from signward.trust.settings import TrustPolicy
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.stores import load_store
from signward.verbs.verify import assess
from signward.wire.source import BytesSource
from tests.signing import assess_bytes, authority, sign_bytes

NAME = "driver.sys"

CLIENTS = {"7", "8.1", "10-1507", "10-1607", "11-24h2-2026"}
SERVERS = {"server-2016", "server-2025-2026"}


def driver(who: Identity, **asked: Any) -> bytes:
    return sign_bytes(NAME, pe.image(driver=True), who=who, **asked)


def microsoft(*ekus: str) -> Identity:
    """A leaf under the root that a test's ``--anchor`` names in place of Microsoft's."""
    return issue("Hardware Publisher", issuer=authority(), ekus=(EKU_CODE_SIGNING, *ekus))


def judged(data: bytes, folder: Path, generation: str, **options: object) -> Verdict:
    policy = Policy(trust=TrustPolicy(windows_generation=generation))
    return assess_bytes(NAME, data, folder, profile="windows-kernel", policy=policy, **options)


def loading(data: bytes, folder: Path) -> set[str]:
    """Return the generations that load a driver; the others refuse it by their own rule."""
    verdicts = {name: judged(data, folder, name) for name in kernel.GENERATIONS}
    refused = {v.cause for v in verdicts.values() if v.outcome is not Outcome.ACCEPTED}
    assert refused <= {Code.KERNEL_POLICY}
    return {name for name, v in verdicts.items() if v.outcome is Outcome.ACCEPTED}


def test_every_generation_is_named() -> None:
    assert kernel.GENERATIONS.keys() == CLIENTS | SERVERS == set(arguments.GENERATIONS)
    assert arguments.GENERATIONS[0] == kernel.LATEST
    assert kernel.generation("").name == kernel.LATEST == TrustPolicy().windows_generation


@pytest.mark.parametrize("eku", [kernel.WHQL, kernel.WINDOWS])
def test_tested_drivers_and_windows_own_load_everywhere(eku: str, tmp_path: Path) -> None:
    assert loading(driver(microsoft(eku)), tmp_path) == CLIENTS | SERVERS


def test_attested_drivers_load_on_clients_from_windows_10(tmp_path: Path) -> None:
    assert loading(driver(microsoft(kernel.ATTESTED)), tmp_path) == CLIENTS - {"7", "8.1"}


def test_microsofts_ordinary_signature_is_not_for_drivers(tmp_path: Path) -> None:
    data = driver(microsoft())
    assert loading(data, tmp_path) == set()
    assert judged(data, tmp_path, "10-1607").cause is Code.KERNEL_POLICY


def test_another_root_is_no_microsoft(tmp_path: Path) -> None:
    verdict = loads(driver(microsoft(kernel.WHQL)), tmp_path, "7")
    assert verdict.cause in {Code.NO_PATH, Code.UNTRUSTED_ROOT}


# --- cross-signed --------------------------------------------------------------------


@pytest.fixture
def cross(monkeypatch: pytest.MonkeyPatch) -> Identity:
    """A CA's root as Microsoft's root cross-signed it, and as the list of such names it."""
    verification = issue("Code Verification Root", ca=True, ekus=None, usage=("keyCertSign",),
                         not_before=instant(2005), not_after=instant(2025))  # fmt: skip
    cross = issue("Commercial Root", issuer=verification, ca=True, ekus=None,
                  usage=("keyCertSign",), not_before=instant(2011),
                  not_after=instant(2021))  # fmt: skip
    listed = {hashlib.sha1(cross.certificate).digest(): "Commercial Root"}
    monkeypatch.setattr(kernel, "CROSS_CERTIFICATES", listed)
    return cross


def maker(cross: Identity, begin: datetime) -> Identity:
    return issue("Driver Maker", issuer=cross, not_before=begin, not_after=instant(2018))


def stamped(who: Identity, at: datetime) -> bytes:
    """A driver timestamped while its certificate was valid."""
    return driver(who, stamp=lambda value: tsa.token_der(value, default_pki().tsa, at=at))


def loads(data: bytes, folder: Path, generation: str) -> Verdict:
    """Judge with the timestamp authority's root among the anchors, the maker's not."""
    anchor = folder / "tsa.pem"
    anchor.write_bytes(pem(default_pki().root.certificate))
    policy = Policy(trust=TrustPolicy(windows_generation=generation))
    options = Options(anchors=(str(anchor),), at=NOW, profile="windows-kernel", policy=policy)
    return assess(BytesSource(NAME, data), Context(options))


OLD, NEW = instant(2015, 7, 28), instant(2015, 7, 29)


@pytest.mark.parametrize(
    ("issued", "expected"),
    [
        (OLD, {"7", "8.1", "10-1507", "10-1607", "server-2016"}),
        (NEW, {"7", "8.1", "10-1507"}),
    ],
)
def test_cross_signed_drivers(
    issued: datetime, expected: set[str], cross: Identity, tmp_path: Path
) -> None:
    data = stamped(maker(cross, issued), instant(2017))
    verdicts = {name: loads(data, tmp_path, name) for name in kernel.GENERATIONS}
    accepted = {n for n, v in verdicts.items() if v.outcome is Outcome.ACCEPTED}
    assert accepted == expected
    refused = {v.cause for n, v in verdicts.items() if n not in expected}
    assert refused == {Code.KERNEL_POLICY}


def test_dropping_cross_signed_drivers_names_the_allow_list(
    cross: Identity, tmp_path: Path
) -> None:
    verdict = loads(stamped(maker(cross, OLD), instant(2017)), tmp_path, "11-24h2-2026")
    (finding,) = [f for f in verdict.findings if f.code is Code.KERNEL_POLICY]
    assert "allow list" in finding.hint
    assert "11-24h2-2026" in finding.subject


def test_unlisted_cross_certificate_is_no_anchor(
    cross: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = stamped(maker(cross, OLD), instant(2017))
    monkeypatch.setattr(kernel, "CROSS_CERTIFICATES", {})
    verdict = loads(data, tmp_path, "7")
    assert verdict.cause in {Code.NO_PATH, Code.UNTRUSTED_ROOT}


def test_cross_signed_without_a_timestamp_has_expired(cross: Identity, tmp_path: Path) -> None:
    assert loads(driver(maker(cross, OLD)), tmp_path, "7").cause is Code.EXPIRED


def test_cross_certificates_are_anchors_of_this_profile_only(
    cross: Identity, tmp_path: Path
) -> None:
    data = stamped(maker(cross, OLD), instant(2017))
    assert assess_bytes(NAME, data, tmp_path).outcome is not Outcome.ACCEPTED


# --- what the verdict says -----------------------------------------------------------


def test_verdict_names_its_generation(tmp_path: Path) -> None:
    verdict = judged(driver(microsoft(kernel.WHQL)), tmp_path, "server-2025-2026")
    assert verdict.facts["windows-generation"] == "server-2025-2026"
    assert record(verdict).facts["windows-generation"] == "server-2025-2026"
    notes = [f for f in verdict.findings if f.code is Code.KERNEL_POLICY]
    assert ["server-2025-2026" in f.subject for f in notes] == [True]
    plain = assess_bytes(NAME, driver(microsoft(kernel.WHQL)), tmp_path)
    assert "windows-generation" not in plain.facts


def test_any_of_two_signatures_loads_a_driver(tmp_path: Path) -> None:
    first = driver(microsoft())
    both = sign_bytes(NAME, first, who=microsoft(kernel.WHQL), existing=Existing.NESTED)
    assert judged(both, tmp_path, "server-2016").outcome is Outcome.ACCEPTED
    policy = Policy(signatures=SignatureRule.ALL)
    every = assess_bytes(NAME, both, tmp_path, profile="windows-kernel", policy=policy)
    assert every.cause is Code.KERNEL_POLICY


def test_kernel_store_is_three_of_microsofts_roots() -> None:
    anchors = load_store("windows-kernel").anchors()
    assert {a.certificate.sha256 for a in anchors} == kernel.MICROSOFT_ROOTS
    assert all("Microsoft" in a.name for a in anchors)


def test_timestamps_are_judged_by_the_authenticode_store(tmp_path: Path) -> None:
    context = Context(Options(at=NOW))
    grounds = context.grounds(WINDOWS_KERNEL)
    assert grounds.tsa_store is not None
    assert len(grounds.tsa_store) > len(grounds.store) == 3
    assert context.grounds(AUTHENTICODE).tsa_store is None


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, anchor = tmp_path / NAME, tmp_path / "root.pem"
    path.write_bytes(driver(microsoft(kernel.ATTESTED)))
    anchor.write_bytes(pem(authority().certificate))
    words = ["verify", "--json", "--profile", "windows-kernel", "--anchor", str(anchor),
             "--at", "2026-01-01"]  # fmt: skip
    assert main([*words, str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["facts"]["windows-generation"] == kernel.LATEST
    assert main([*words, "--windows-generation", "7", str(path)]) == 1
    assert json.loads(capsys.readouterr().out)["cause"] == "kernel-policy"


def test_trusted_signature_still_needs_code_signing(tmp_path: Path) -> None:
    who = issue("No Code", issuer=authority(), ekus=(kernel.WHQL,))
    assert judged(driver(who), tmp_path, "10-1607").cause is Code.WRONG_USAGE


def test_judged_signature_is_trusted(tmp_path: Path) -> None:
    verdict = judged(driver(microsoft(kernel.WHQL)), tmp_path, "7")
    assert isinstance(verdict.signatures[0], TrustedSignature)
