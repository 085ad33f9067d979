"""NIST PKITS through ``find_path``, and with revocation where that is at hand."""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from signward.state import Status
from signward.trust.anchors import TrustStore, store_from_certificates
from signward.trust.path import AT_LEGACY, PathResult, Usage, find_path
from signward.trust.rules import AlgorithmPolicy
from signward.trust.x509 import Certificate, load_certificate
from tests.unit.pkits_cases import EXCLUDED, Case, cases

AT = datetime(2020, 6, 1, tzinfo=UTC)
ALGORITHMS = AlgorithmPolicy(name="PKITS", digests=AT_LEGACY.digests, min_dsa_bits=1024)
ALL = tuple(cases())
JUDGED = tuple(case for case in ALL if case.number not in EXCLUDED)
PATH_ALONE = tuple(case for case in JUDGED if case.valid or not case.crl)


@cache
def data_folder() -> Path:
    found = importlib.util.find_spec("cryptography_vectors")
    if found is None or found.origin is None:
        pytest.skip("the package cryptography-vectors (NIST PKITS) is absent")
    return Path(found.origin).parent / "x509" / "PKITS_data"


def certificate(name: str) -> Certificate:
    return load_certificate((data_folder() / "certs" / f"{name}.crt").read_bytes())


@cache
def everything() -> tuple[tuple[Certificate, ...], TrustStore]:
    names = sorted(path.stem for path in (data_folder() / "certs").glob("*.crt"))
    store = store_from_certificates("PKITS", [certificate("TrustAnchorRootCertificate").der])
    return tuple(certificate(name) for name in names), store


def judge(case: Case) -> PathResult:
    """Build from all 405 certificates: the names alone say which belong together."""
    pool, store = everything()
    return find_path(
        certificate(case.leaf), pool, store, AT, Usage(name="PKITS"), ALGORITHMS, case.rules
    )


@cache
def evidence() -> tuple[ModuleType, Any]:
    """Return the module and all 173 CRLs as a signature would carry them."""
    revocation = pytest.importorskip(
        "signward.trust.revocation", reason="signward.trust.revocation is absent"
    )
    crls = [path.read_bytes() for path in sorted((data_folder() / "crls").glob("*.crl"))]
    return revocation, revocation.Evidence().extended(crls=crls, certificates=everything()[0])


def revoked_or_unknown(path: tuple[Certificate, ...]) -> list[str]:
    """Return what revocation says against the path; PKITS takes unknown for invalid."""
    revocation, found = evidence()
    against = []
    for child, issuer in pairwise(path):
        status = revocation.revocation_status(
            child, issuer, found, AT, pool=everything()[0], anchor=path[-1]
        )
        if status.status is not Status.GOOD:
            against.append(f"{child.label}: {status.status} {status.why}")
    return against


def test_every_test_of_the_document_is_in_the_table() -> None:
    counts = {"4.1": 6, "4.2": 8, "4.3": 11, "4.4": 21, "4.5": 8, "4.6": 17, "4.7": 5, "4.8": 20}
    counts |= {"4.9": 8, "4.10": 14, "4.11": 11, "4.12": 10, "4.13": 38, "4.14": 35, "4.15": 10}
    counts["4.16"] = 2
    tests = {case.number.partition("/")[0] for case in ALL}
    found = dict.fromkeys(counts, 0)
    for number in tests:
        found[number.rpartition(".")[0]] += 1
    assert found == counts
    assert len({case.number for case in ALL}) == len(ALL) == 247
    assert set(EXCLUDED) <= tests


@pytest.mark.parametrize("case", PATH_ALONE, ids=lambda case: case.number)
def test_the_path_alone(case: Case) -> None:
    """All but the invalid ones that only a CRL gives away."""
    result = judge(case)
    assert result.trusted is case.valid, [str(f) for f in result.findings]


@pytest.mark.parametrize("case", JUDGED, ids=lambda case: case.number)
def test_the_path_and_its_revocation(case: Case) -> None:
    evidence()
    result = judge(case)
    against = [str(f) for f in result.findings] if not result.trusted else []
    against += revoked_or_unknown(result.path)
    assert (not against) is case.valid, against
