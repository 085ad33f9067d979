"""Rows 17, 18 and 22: revoked, signed before revocation, and unknown."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from conformance.authenticode import tsa
from conformance.authenticode.cases.base import (
    ACCEPTED,
    CANNOT_TELL,
    REJECTED,
    Case,
    case,
    signed_image,
)
from conformance.authenticode.keys import key
from conformance.authenticode.pki import (
    EKU_CODE_SIGNING,
    EKU_OCSP_SIGNING,
    Pki,
    authority,
    instant,
    issue,
    make_pki,
)
from conformance.authenticode.revocation import Revoked, crl, issuing_distribution_point, ocsp

_STAMP, _BEFORE, _LATER = instant(2025), instant(2024, 6), instant(2025, 6)
_TABLE = "DESIGN.md, authenticode profile: revoked certificate"


def cases() -> Iterator[Case]:
    """Yield the cases about revocation."""
    yield from _revoked()
    yield from _by_date()
    yield from _by_date_further()
    yield from _ocsp()
    yield from _good()
    yield from _unknown()
    yield from _expired_and_silent()


def _lists(pki: Pki, at: datetime, **entry: Any) -> tuple[bytes, bytes]:
    """Return the issuer's list with the leaf on it, and the root's: what a strict peer asks for."""
    revoked = [Revoked(serial=pki.leaf.serial, at=at, **entry)]
    return crl(pki.intermediate, revoked), crl(pki.root)


def _stamped(pki: Pki, at: datetime = _STAMP) -> bytes:
    return signed_image(pki=pki, signer={"unsigned": (tsa.token(pki.tsa, at=at),)})


def _revoked() -> Iterator[Case]:
    pki = make_pki()
    plain = signed_image(pki=pki)
    for reason in ("", "keyCompromise", "superseded", "certificateHold"):
        lists = _lists(pki, _LATER, reason=reason)
        id_ = f"revoked-{reason or 'without-reason'}-no-timestamp"
        yield case(
            id_,
            17,
            "a revoked leaf without proven time",
            plain,
            REJECTED,
            "revoked",
            pki=pki,
            crls=lists,
            clause=_TABLE,
        )
    middle = crl(pki.root, [Revoked(serial=pki.intermediate.serial, at=_BEFORE)])
    yield case(
        "revoked-intermediate",
        17,
        "a revoked authority",
        plain,
        REJECTED,
        "revoked",
        pki=pki,
        crls=(crl(pki.intermediate), middle),
        clause=_TABLE,
    )
    future = _lists(pki, instant(2026, 6))
    yield case(
        "revocation-dated-after-instant",
        17,
        "an entry dated after the validation instant",
        plain,
        ACCEPTED,
        pki=pki,
        crls=future,
        clause=_TABLE,
    )
    late = crl(
        pki.intermediate,
        [Revoked(serial=pki.leaf.serial, at=_LATER)],
        this_update=instant(2026, 3),
        next_update=instant(2026, 5),
    )
    yield case(
        "revoked-in-crl-issued-after-instant",
        17,
        "evidence issued later counts",
        plain,
        REJECTED,
        "revoked",
        pki=pki,
        crls=(late, crl(pki.root)),
        clause=_TABLE,
    )


def _by_date() -> Iterator[Case]:
    pki = make_pki()
    data = _stamped(pki)
    for id_, at, entry in (
        ("revoked-before-timestamp", _BEFORE, {}),
        ("revoked-before-timestamp-superseded", _BEFORE, {"reason": "superseded"}),
        ("revoked-at-timestamp", _STAMP, {}),
        (
            "invalidity-date-before-timestamp",
            _LATER,
            {"reason": "keyCompromise", "invalid_from": _BEFORE},
        ),
    ):
        yield case(
            id_,
            17,
            id_.replace("-", " "),
            data,
            REJECTED,
            "revoked",
            pki=pki,
            crls=_lists(pki, at, **entry),
            clause=_TABLE,
        )
    for reason in ("", "keyCompromise", "superseded"):
        id_ = f"signed-before-revocation{'-' + reason if reason else ''}"
        yield case(
            id_,
            18,
            "a timestamp older than the revocation",
            data,
            ACCEPTED,
            pki=pki,
            crls=_lists(pki, _LATER, reason=reason),
            clause=_TABLE,
            findings=("signed-before-revocation",),
        )


def _by_date_further() -> Iterator[Case]:
    pki = make_pki()
    data = _stamped(pki)
    compromised = _lists(pki, _LATER, reason="keyCompromise")
    yield case(
        "signed-before-revocation-distrust-compromised",
        18,
        "the same under a harder policy",
        data,
        REJECTED,
        "revoked",
        pki=pki,
        crls=compromised,
        clause=_TABLE,
        options=("distrust-compromised",),
    )
    invalid = _lists(pki, instant(2025, 9), invalid_from=_LATER)
    yield case(
        "invalidity-date-after-timestamp",
        18,
        "an invalidity date after the timestamp",
        data,
        ACCEPTED,
        pki=pki,
        crls=invalid,
        findings=("signed-before-revocation",),
        clause=_TABLE,
    )
    middle = crl(pki.root, [Revoked(serial=pki.intermediate.serial, at=_LATER)])
    yield case(
        "intermediate-revoked-after-timestamp",
        18,
        "an authority revoked later",
        data,
        ACCEPTED,
        pki=pki,
        crls=(crl(pki.intermediate), middle),
        findings=("signed-before-revocation",),
        clause=_TABLE,
    )
    two = signed_image(
        pki=pki,
        signer={
            "unsigned": (tsa.token(pki.tsa, at=instant(2025, 9)), tsa.token(pki.tsa, at=_STAMP))
        },
    )
    yield case(
        "two-tokens-around-revocation",
        21,
        "the earliest trusted token counts",
        two,
        ACCEPTED,
        pki=pki,
        crls=_lists(pki, _LATER),
        findings=("signed-before-revocation",),
        clause="THREATS.md row 21",
    )


def _ocsp() -> Iterator[Case]:
    pki = make_pki()
    plain, clause = signed_image(pki=pki), "RFC 6960 2.2, 3.2, 4.2.2.2"
    responder = issue("Responder", issuer=pki.intermediate, ekus=(EKU_OCSP_SIGNING,))
    for id_, arguments in (
        ("ocsp-revoked", {}),
        ("ocsp-revoked-by-delegate", {"responder": responder}),
        ("ocsp-revoked-with-nonce", {"nonce": b"12345678"}),
    ):
        answer = ocsp(pki.leaf, revoked_at=_LATER, **arguments)
        yield case(
            id_,
            17,
            id_.replace("-", " "),
            plain,
            REJECTED,
            "revoked",
            pki=pki,
            ocsp=(answer,),
            clause=clause,
        )
    answer = ocsp(pki.leaf, revoked_at=_LATER)
    yield case(
        "ocsp-signed-before-revocation",
        18,
        "a timestamp older than OCSP's revocation date",
        _stamped(pki),
        ACCEPTED,
        pki=pki,
        ocsp=(answer,),
        clause=_TABLE,
        findings=("signed-before-revocation",),
    )
    unauthorised = issue("No Responder", issuer=pki.intermediate, ekus=(EKU_CODE_SIGNING,))
    foreign = issue("Foreign Responder", issuer=authority("Foreign CA"), ekus=(EKU_OCSP_SIGNING,))
    stale: dict[str, Any] = {
        "produced_at": _BEFORE,
        "this_update": _BEFORE,
        "next_update": instant(2024, 7),
    }
    useless: dict[str, bytes] = {
        "ocsp-unknown": ocsp(pki.leaf, unknown=True),
        "ocsp-responder-without-eku": ocsp(pki.leaf, responder=unauthorised),
        "ocsp-responder-of-another-issuer": ocsp(pki.leaf, responder=foreign),
        "ocsp-signature-wrong": ocsp(pki.leaf, break_signature=True),
        "ocsp-stale": ocsp(pki.leaf, **stale),
    }
    for id_, answer in useless.items():
        yield from _both_policies(id_, plain, pki, ocsp=(answer,), clause=clause)


def _good() -> Iterator[Case]:
    pki = make_pki()
    plain = signed_image(pki=pki)
    root_list = crl(pki.root)
    fresh = (crl(pki.intermediate), root_list)
    options = ("revocation=require",)
    yield case(
        "crl-good",
        22,
        "fresh lists for the whole path",
        plain,
        ACCEPTED,
        pki=pki,
        crls=fresh,
        options=options,
        absent=("revocation-unknown",),
        clause="RFC 5280 6.3",
    )
    yield case(
        "ocsp-good",
        22,
        "a fresh answer for the leaf",
        plain,
        ACCEPTED,
        pki=pki,
        crls=(root_list,),
        ocsp=(ocsp(pki.leaf),),
        options=options,
        absent=("revocation-unknown",),
        clause="RFC 6960",
    )
    base = crl(pki.intermediate, number=5)
    delta = crl(
        pki.intermediate, [Revoked(serial=pki.leaf.serial, at=_LATER)], number=6, delta_base=5
    )
    yield case(
        "revoked-in-delta-crl",
        17,
        "a delta adds the revocation",
        plain,
        REJECTED,
        "revoked",
        pki=pki,
        crls=(base, delta, root_list),
        clause="RFC 5280 5.2.4",
    )
    lifted = crl(
        pki.intermediate,
        [Revoked(serial=pki.leaf.serial, at=_LATER, reason="removeFromCRL")],
        number=6,
        delta_base=5,
    )
    held = crl(
        pki.intermediate,
        number=5,
        revoked=[Revoked(serial=pki.leaf.serial, at=_BEFORE, reason="certificateHold")],
    )
    yield case(
        "hold-lifted-by-delta-crl",
        22,
        "a delta lifts the hold",
        plain,
        ACCEPTED,
        pki=pki,
        crls=(held, lifted, root_list),
        options=options,
        clause="RFC 5280 5.3.1",
    )


def _both_policies(id_: str, data: bytes, pki: Pki, **evidence: Any) -> Iterator[Case]:
    """Unknown is a finding by default, and cannot be told where evidence is required."""
    what = id_.replace("-", " ")
    yield case(id_, 22, what, data, ACCEPTED, pki=pki, findings=("revocation-unknown",), **evidence)
    yield case(
        f"{id_}-required",
        22,
        f"{what}, evidence required",
        data,
        CANNOT_TELL,
        "revocation-unknown",
        pki=pki,
        options=("revocation=require",),
        **evidence,
    )


def _unknown() -> Iterator[Case]:
    pki = make_pki()
    plain = signed_image(pki=pki)
    foreign = authority("Conformance Code Signing CA", subject_key=key("rsa2048", "foreign"))
    entry = [Revoked(serial=pki.leaf.serial, at=_LATER)]
    stale: dict[str, Any] = {"this_update": _BEFORE, "next_update": instant(2024, 7)}
    lists = {
        "no-revocation-evidence": (),
        "crl-stale": (crl(pki.intermediate, **stale),),
        "crl-signature-wrong": (crl(pki.intermediate, entry, break_signature=True),),
        "crl-of-another-key": (crl(foreign, entry),),
        "crl-delta-without-base": (crl(pki.intermediate, number=6, delta_base=5),),
        "crl-only-for-authorities": (
            crl(pki.intermediate, extensions=(issuing_distribution_point(only_ca=True),)),
        ),
        "crl-indirect-of-another-issuer": (
            crl(
                authority("List Issuer"),
                entry,
                extensions=(issuing_distribution_point(indirect=True),),
            ),
        ),
        "crl-critical-unknown-extension": (
            crl(pki.intermediate, extensions=(("1.3.6.1.4.1.99999.8", True, b"\5\0"),)),
        ),
    }
    for id_, given in lists.items():
        yield from _both_policies(id_, plain, pki, crls=given, clause="RFC 5280 5.2, 6.3.3")
    yield case(
        "no-revocation-evidence-ignored",
        22,
        "policy ignore says nothing",
        plain,
        ACCEPTED,
        pki=pki,
        options=("revocation=ignore",),
        absent=("revocation-unknown",),
        clause="DESIGN.md, Revocation and time",
    )


def _expired_and_silent() -> Iterator[Case]:
    """Yield lists that dropped expired certificates: they say nothing about one that has."""
    pki = make_pki(leaf={"not_before": instant(2022), "not_after": instant(2025, 6)})
    data, root_list = _stamped(pki), crl(pki.root)
    clause = "RFC 5280 5.1.2.6, X.509 9.5.2.8, RFC 6960 4.4.4"
    options = ("revocation=require",)
    yield from _both_policies(
        "crl-silent-about-expired",
        data,
        pki,
        crls=(crl(pki.intermediate), root_list),
        clause=clause,
    )
    keeps = crl(pki.intermediate, expired_certs_from=instant(2020))
    yield case(
        "crl-keeps-expired",
        22,
        "expiredCertsOnCRL reaches back far enough",
        data,
        ACCEPTED,
        pki=pki,
        crls=(keeps, root_list),
        options=options,
        clause=clause,
    )
    beyond = ocsp(pki.leaf, archive_cutoff=instant(2025, 9))
    yield from _both_policies(
        "ocsp-beyond-archive-cutoff", data, pki, crls=(root_list,), ocsp=(beyond,), clause=clause
    )
    within = ocsp(pki.leaf, archive_cutoff=instant(2020))
    yield case(
        "ocsp-within-archive-cutoff",
        22,
        "archiveCutoff reaches back far enough",
        data,
        ACCEPTED,
        pki=pki,
        crls=(root_list,),
        ocsp=(within,),
        options=options,
        clause=clause,
    )
