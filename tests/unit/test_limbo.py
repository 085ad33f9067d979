"""All 138 cases of x509-limbo through ``find_path`` (and revocation where it is at hand)."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import pytest

from signward.errors import BadInputError, EvidenceError
from signward.findings import Code, Effect
from signward.state import Status
from signward.trust import building
from signward.trust.path import STRICT, PathResult, find_path
from signward.trust.x509 import Certificate, is_signed_by
from tests.corpus import CorpusMissingError, vectors_root
from tests.unit.limbo_cases import (
    ACCEPTED_HERE,
    CASES,
    NEEDS_CRL,
    Case,
    read_cases,
)

CAUSES = {
    "rfc5280::eku::ee-wrong-eku": Code.WRONG_USAGE,
    "rfc5280::nc::permitted-dns-mismatch": Code.NAME_CONSTRAINTS,
    "rfc5280::nc::excluded-ipv6-match": Code.NAME_CONSTRAINTS,
    "rfc5280::nc::excluded-dn-match": Code.NAME_CONSTRAINTS,
    "rfc5280::nc::nc-forbids-othername": Code.NAME_CONSTRAINTS,
    "rfc5280::nc::nc-permits-invalid-email-san": Code.NAME_CONSTRAINTS,
    "cve::cve-2025-61727": Code.NAME_CONSTRAINTS,
    "pathological::nc-dos-1": Code.LIMIT_EXCEEDED,
    "pathological::nc-dos-2": Code.LIMIT_EXCEEDED,
    "pathlen::intermediate-violates-pathlen-0": Code.PATH_LENGTH,
    "pathlen::max-chain-depth-1-exhausted": Code.PATH_LENGTH,
    "rfc5280::validity::expired-root": Code.EXPIRED,
    "rfc5280::validity::not-yet-valid-1-second": Code.NOT_YET_VALID,
    "rfc5280::duplicate-extensions": Code.CERTIFICATE_MALFORMED,
    "rfc5280::mismatching-signature-algorithm": Code.ALGORITHM_INCONSISTENT,
    "rfc5280::unknown-critical-extension-intermediate": Code.CRITICAL_EXTENSION,
    "rfc5280::chain-untrusted-root": Code.UNTRUSTED_ROOT,
    "rfc5280::intermediate-ca-without-ca-bit": Code.BASIC_CONSTRAINTS,
    "rfc5280::root-inconsistent-ca-extensions": Code.WRONG_USAGE,
    "rfc5280::ica-ku-keycertsign": Code.NO_PATH,  # the case lacks its intermediate
    "invalid::invalid-issuer-key": Code.CERTIFICATE_SIGNATURE,
}
"""Rejected for the wrong reason is wrong: the first rejecting finding of these."""


@cache
def limbo() -> dict[str, Case]:
    path = vectors_root() / "x509-limbo" / "limbo.json"
    if not path.is_file():
        raise CorpusMissingError(f"x509-limbo is not at {path}")
    return read_cases(path)


try:
    NAMES = tuple(limbo())
    ABSENT = ""
except CorpusMissingError as error:
    NAMES, ABSENT = ("x509-limbo",), str(error)

pytestmark = pytest.mark.skipif(bool(ABSENT), reason=ABSENT or "present")


def judge(case: Case) -> PathResult:
    leaf, pool = case.certificates()
    return find_path(leaf, pool, case.store(), case.at, case.usage, STRICT, case.rules)


def trusted(case: Case) -> bool:
    """Return whether the path is trusted; a certificate that cannot be read is not."""
    try:
        return judge(case).trusted
    except (BadInputError, EvidenceError):
        return False


def test_every_case_is_there_and_every_exclusion_is_one_of_them() -> None:
    assert len(limbo()) == CASES
    assert ACCEPTED_HERE.keys() <= limbo().keys()
    assert limbo().keys() >= NEEDS_CRL
    assert not any(limbo()[name].valid for name in ACCEPTED_HERE.keys() | NEEDS_CRL)


@pytest.mark.parametrize("name", NAMES)
def test_the_path(name: str) -> None:
    case = limbo()[name]
    expected = case.valid or name in ACCEPTED_HERE or name in NEEDS_CRL
    assert trusted(case) is expected


@pytest.mark.parametrize("name", CAUSES)
def test_rejected_for_the_right_reason(name: str) -> None:
    rejecting = [f.code for f in judge(limbo()[name]).findings if f.effect is Effect.REJECT]
    assert rejecting[0] is CAUSES[name]


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("pathological::")])
def test_hostile_pools_stay_within_the_signature_checks_allowed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def counted(child: Certificate, issuer: Certificate) -> bool:
        nonlocal calls
        calls += 1
        return is_signed_by(child, issuer)

    monkeypatch.setattr(building, "is_signed_by", counted)
    case = limbo()[name]
    leaf, pool = case.certificates()
    building.build(leaf, pool, case.store())
    assert 0 < calls <= building.MAX_SIGNATURE_CHECKS


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("crl::")])
def test_the_path_and_its_crls(name: str) -> None:
    revocation = pytest.importorskip(
        "signward.trust.revocation", reason="signward.trust.revocation is absent"
    )
    case = limbo()[name]
    result = judge(case)
    evidence = revocation.Evidence(crls=case.crls)
    pairs = pairwise(result.path)
    statuses = {
        revocation.revocation_status(child, issuer, evidence, case.at).status
        for child, issuer in pairs
    }
    assert result.trusted
    assert (statuses == {Status.GOOD}) is case.valid
