"""x509-limbo (C2SP): how its cases are read, and where we differ on purpose.

The suite judges TLS servers.  It is read past its server names and TLS purpose: the
expected peer name is not compared, and the purpose is the case's own EKU or none.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from signward.trust.anchors import TrustStore, store_from_certificates
from signward.trust.path import PathRules, Usage
from signward.trust.x509 import Certificate, load_certificate

CASES = 138

NOW = datetime(2026, 1, 1, tzinfo=UTC)
"""Instant of the cases that give none; fixed, so that the suite goes on meaning the same."""

SERVER_NAME = "a server's name is compared, which code signing has none of (RFC 9525)"
CA_DUTY = (
    "the rule binds the CA that issues (RFC 5280 section 4), no step of validation "
    "(section 6) asks for it, and code signing chains in use break it: "
)

ACCEPTED_HERE = {
    "rfc5280::san::ip-in-dns": SERVER_NAME,
    "rfc5280::ca-as-leaf-wrong-san": SERVER_NAME,
    "rfc5280::san::underscore-dns": "preferred name syntax is a rule for " + SERVER_NAME,
    "rfc5280::serial::zero": "RFC 5280 4.1.2.2: users SHOULD gracefully handle them; 18 roots of "
    "the Microsoft list have serial number zero",
    "rfc5280::serial::negative": "RFC 5280 4.1.2.2: users SHOULD gracefully handle them; PKITS "
    "4.4.14 expects acceptance",
    "rfc5280::aki::leaf-missing-aki": CA_DUTY + "VeriSign's of the 1990s have no key identifiers",
    "rfc5280::aki::intermediate-missing-aki": CA_DUTY + "Microsoft Code Signing PCA of 2000",
    "rfc5280::aki::cross-signed-root-missing-aki": CA_DUTY + "and an anchor's own signature is "
    "not judged (6.1.1 d)",
    "rfc5280::ski::root-missing-ski": CA_DUTY + "9 roots of the Microsoft list have none",
    "rfc5280::ski::intermediate-missing-ski": CA_DUTY + "key identifiers only help to choose",
    "rfc5280::root-missing-basic-constraints": "an anchor is a name and a key (RFC 5280 6.1.1 d); "
    "Microsoft Root Authority of 1997 has none",
    "rfc5280::root-non-critical-basic-constraints": CA_DUTY + "30 roots of the Microsoft list; "
    "PKITS 4.6.4 expects acceptance",
    "rfc5280::nc::permitted-dns-match-noncritical": CA_DUTY + "and the constraint is applied all "
    "the same",
    "rfc5280::pc::ica-noncritical-pc": CA_DUTY + "PKITS 4.8.6 and 27 more expect acceptance; the "
    "constraint is applied all the same",
}
"""Expected FAILURE, trusted here, and why."""

NEEDS_CRL = frozenset(
    {
        "crl::revoked-certificate-with-crl",
        "crl::crlnumber-missing",
        "crl::crlnumber-critical",
        "crl::issuer-missing-crlsign",
    }
)
"""Expected FAILURE that only the CRL gives away."""

_EKUS = {"serverAuth": "1.3.6.1.5.5.7.3.1", "clientAuth": "1.3.6.1.5.5.7.3.2"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case, with its certificates and CRLs as DER."""

    id: str
    valid: bool
    leaf: bytes
    pool: tuple[bytes, ...]
    anchors: tuple[bytes, ...]
    crls: tuple[bytes, ...]
    at: datetime
    usage: Usage
    rules: PathRules

    def store(self) -> TrustStore:
        """Return the case's anchors; raises ``EvidenceError``."""
        return store_from_certificates("limbo", list(self.anchors))

    def certificates(self) -> tuple[Certificate, list[Certificate]]:
        """Return leaf and pool; raises ``BadInputError``."""
        return load_certificate(self.leaf), [load_certificate(c) for c in self.pool]


def _der(pem: str) -> bytes:
    return base64.b64decode("".join(pem.strip().splitlines()[1:-1]))


def read_cases(path: Path) -> dict[str, Case]:
    """Return every case in ``limbo.json`` by its name."""
    return {raw["id"]: _case(raw) for raw in json.loads(path.read_text())["testcases"]}


def _case(raw: dict[str, Any]) -> Case:
    purposes = raw["extended_key_usage"]
    return Case(
        id=raw["id"],
        valid=raw["expected_result"] == "SUCCESS",
        leaf=_der(raw["peer_certificate"]),
        pool=tuple(map(_der, raw["untrusted_intermediates"])),
        anchors=tuple(map(_der, raw["trusted_certs"])),
        crls=tuple(map(_der, raw.get("crls") or ())),
        at=datetime.fromisoformat(raw["validation_time"]) if raw.get("validation_time") else NOW,
        usage=Usage(name="limbo", eku=_EKUS[purposes[0]] if purposes else None),
        rules=PathRules(max_intermediates=raw.get("max_chain_depth")),
    )
