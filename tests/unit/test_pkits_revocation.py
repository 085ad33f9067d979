"""NIST PKITS, the tests only a CRL decides: rejected for the reason the document gives.

``REVOKED`` names the tests whose document says that a certificate is revoked (with the
reason its CRL gives), ``UNKNOWN`` those where no usable CRL exists, with a word of why.
"""

from __future__ import annotations

from itertools import pairwise

import pytest

from signward.state import RevocationStatus, Status
from signward.trust.revocation import Evidence, revocation_status
from tests.unit.pkits_cases import EXCLUDED, Case
from tests.unit.test_pkits import ALL, AT, data_folder, everything, judge

COMPROMISED = [
    *["4.4.2", "4.4.3", "4.4.15", "4.4.18", "4.4.20", "4.5.2", "4.5.5", "4.5.7"],
    *["4.14.2", "4.14.6", "4.14.15", "4.14.20", "4.14.23", "4.14.31", "4.14.32", "4.14.34"],
    *["4.15.3", "4.15.4", "4.15.6", "4.15.9"],
]
REVOKED = dict.fromkeys(COMPROMISED, "keyCompromise")
REVOKED |= {"4.14.16": "certificateHold", "4.14.21": "affiliationChanged"}

UNKNOWN = {
    "4.4.1": "no CRL and no OCSP answer",
    "4.4.4": "not whole octets",
    "4.4.5": "no CRL and no OCSP answer",
    "4.4.6": "no CRL and no OCSP answer",
    "4.4.8": "unknown critical extension",
    "4.4.9": "unknown critical extension",
    "4.4.10": "unknown critical extension",
    "4.4.11": "ended 2010-01-02",
    "4.4.12": "ended 1999-01-01",
    "4.4.21": "its signer is revoked",
    "4.7.4": "key usage is not cRLSign",
    "4.7.5": "key usage is not cRLSign",
    "4.14.3": "covers other certificates",
    "4.14.8": "covers other certificates",
    "4.14.9": "covers other certificates",
    "4.14.11": "covers other certificates",
    "4.14.12": "covers other certificates",
    "4.14.14": "covers other certificates",
    "4.14.17": "no CRL covers the reasons",
    "4.14.26": "no CRL and no OCSP answer",
    "4.14.27": "covers other certificates",
    "4.14.35": "covers other certificates",
    "4.15.1": "without its base",
    "4.15.10": "ended 2010-06-01",
}

BY_PATH = {"4.5.8"}
"""Invalid because a CRL's key signed a certificate: the path's matter."""

CASES = {case.number: case for case in ALL if case.crl and not case.valid}


def statuses(case: Case) -> list[RevocationStatus]:
    pool, _ = everything()
    crls = [path.read_bytes() for path in sorted((data_folder() / "crls").glob("*.crl"))]
    evidence = Evidence().extended(crls=crls, certificates=pool)
    path = judge(case).path
    return [
        revocation_status(child, issuer, evidence, AT, pool=pool, anchor=path[-1])
        for child, issuer in pairwise(path)
    ]


def test_every_test_that_a_crl_decides_has_its_reason_here() -> None:
    judged = set(CASES) - set(EXCLUDED)
    assert judged == REVOKED.keys() | UNKNOWN.keys() | BY_PATH


@pytest.mark.parametrize("number", REVOKED)
def test_revoked(number: str) -> None:
    found = [s for s in statuses(CASES[number]) if s.status is not Status.GOOD]
    assert [(s.status, s.reason) for s in found] == [(Status.REVOKED, REVOKED[number])]
    assert found[0].revoked_at is not None


@pytest.mark.parametrize("number", UNKNOWN)
def test_unknown(number: str) -> None:
    found = [s for s in statuses(CASES[number]) if s.status is not Status.GOOD]
    assert [s.status for s in found] == [Status.UNKNOWN]
    assert UNKNOWN[number] in found[0].why
