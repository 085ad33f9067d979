"""Revocation beside pyhanko-certvalidator: OpenSSL's OCSP files, and PKIs made here.

The OCSP files (expired responses of real CAs of 2012, and damaged ones) are OpenSSL's,
as certvalidator's source archive carries them with the verdict it expects.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from signward.state import Status
from signward.trust.anchors import store_from_certificates
from signward.trust.path import ANY_USAGE, AT_LEGACY, find_path
from signward.trust.pem import CERTIFICATES, blocks
from signward.trust.revocation import Evidence, revocation_status
from signward.trust.x509 import Certificate, load_certificate
from signward.wire import der
from tests.builders import revocation as build
from tests.builders.revocation import DAY, T0, Ca, entry

pytestmark = pytest.mark.interop

CASES = 29
ELSEWHERE = {
    "delegated_with_intermediate_success": "nothing is at hand about the intermediate: soft there"
}
"""Cases whose verdict speaks of more than the leaf's status."""


@pytest.fixture(scope="module")
def ocsp_files(corpus: Callable[[str], Path]) -> Path:
    tree = corpus("certvalidator")
    (found,) = tree.rglob("openssl-ocsp.json")
    return found.parent


def load(folder: Path, name: str) -> Certificate:
    return load_certificate(blocks(name, (folder / name).read_bytes(), CERTIFICATES)[0])


def statuses(folder: Path, case: dict[str, Any]) -> list[Status]:
    """Return the status of each certificate below the root, leaf first."""
    at = datetime.fromisoformat(case["moment"])
    root, leaf = load(folder, case["root"]), load(folder, case["cert"])
    pool = [load(folder, name) for name in case.get("other_certs", ())]
    store = store_from_certificates("test", [root.der])
    path = find_path(leaf, pool, store, at, ANY_USAGE, AT_LEGACY).path
    assert len(path) == case["path_len"]
    answers = [base64.b64decode((folder / name).read_bytes()) for name in case["ocsps"]]
    evidence = Evidence().extended(ocsp=answers)
    assert not evidence.problems
    return [
        revocation_status(child, issuer, evidence, at, anchor=path[-1]).status
        for child, issuer in pairwise(path)
    ]


@pytest.mark.parametrize("number", range(CASES))
def test_openssl_ocsp_files(ocsp_files: Path, number: int) -> None:
    cases = json.loads((ocsp_files / "openssl-ocsp.json").read_text())
    assert len(cases) == CASES
    case = cases[number]
    found = statuses(ocsp_files, case)
    assert Status.REVOKED not in found
    if case["name"] in ELSEWHERE:
        assert found == [Status.GOOD, Status.UNKNOWN]
    else:
        assert (set(found) == {Status.GOOD}) is ("error" not in case)


ISSUER, STRANGER = Ca("issuer"), Ca("stranger")
LEAF = ISSUER.leaf()
SCOPES = {
    "whole": None,
    "users": build.flag(1),
    "CAs": build.flag(2),
    "attributes": build.flag(5),
    "some reasons": build.reason_flags(3, 1, 2),
    "elsewhere": build.point_name(build.uri("http://elsewhere.example/")),
    "the issuer": build.point_name(der.context(4, ISSUER.raw_name)),
}


def their_verdict(crls: list[bytes]) -> Status:
    """Judge LEAF with certvalidator, revocation information required."""
    asn1_crl = pytest.importorskip("asn1crypto.crl", reason="asn1crypto is absent")
    asn1 = pytest.importorskip("asn1crypto.x509", reason="asn1crypto is absent")
    theirs = pytest.importorskip("pyhanko_certvalidator", reason="pyhanko-certvalidator is absent")
    from pyhanko_certvalidator.errors import PathValidationError, RevokedError

    context = theirs.ValidationContext(
        trust_roots=[asn1.Certificate.load(ISSUER.certificate.der)],
        crls=[asn1_crl.CertificateList.load(crl) for crl in crls],
        moment=T0,
        revocation_mode="require",
    )
    validator = theirs.CertificateValidator(
        asn1.Certificate.load(LEAF.der), validation_context=context
    )
    try:
        asyncio.run(validator.async_validate_usage({"digital_signature"}))
    except RevokedError:
        return Status.REVOKED
    except PathValidationError:
        return Status.UNKNOWN
    return Status.GOOD


_CRLS = st.lists(
    st.builds(
        lambda listed, scope, signer, ends: ISSUER.crl(
            *([entry(0x77, T0 - 9 * DAY, listed)] if listed is not None else []),
            entry(0x78),
            scope=SCOPES[scope],
            signer=signer,
            next_update=T0 + ends,
        ),
        st.sampled_from([None, None, None, "", "keyCompromise", "superseded"]),
        st.sampled_from(sorted(SCOPES)),
        st.sampled_from([ISSUER, ISSUER, STRANGER]),
        st.sampled_from([DAY, DAY, -DAY / 2]),
    ),
    max_size=2,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(crls=_CRLS)
def test_generated_crls_get_the_same_answer(crls: list[bytes]) -> None:
    """But that a revocation known from a stale CRL stays known here (DESIGN.md).

    It does not see a stale list at all: unknown alone, good beside a fresh list of the same
    issuer that no longer names the certificate.  Only expiry drops an entry that is no hold
    (RFC 5280 3.3), so the older list's word still holds.
    """
    ours = revocation_status(LEAF, ISSUER.certificate, Evidence(crls), T0).status
    theirs = their_verdict(crls)
    if ours is not theirs:
        assert ours is Status.REVOKED
        assert theirs in (Status.UNKNOWN, Status.GOOD)
        fresh = [c for c in Evidence(crls).crls if c.next_update and c.next_update >= T0]
        assert revocation_status(
            LEAF, ISSUER.certificate, Evidence([c.data for c in fresh]), T0
        ).status is not (Status.REVOKED)
