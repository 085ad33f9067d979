"""Rows 15, 16 and 19 to 21: what a timestamp proves, and what it does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from conformance.authenticode import cms, tsa
from conformance.authenticode.cases.base import ACCEPTED, REJECTED, Case, case, signed_image
from conformance.authenticode.pki import (
    EKU_CODE_SIGNING,
    EKU_LIFETIME_SIGNING,
    EKU_TIME_STAMPING,
    Pki,
    authority,
    default_pki,
    instant,
    issue,
    make_pki,
    timestamper,
)
from conformance.authenticode.revocation import Revoked, crl
from signward.wire import der

_EXPIRED: dict[str, Any] = {"not_before": instant(2022), "not_after": instant(2025)}
_INSIDE, _AFTER = instant(2024), instant(2025, 6)
_RFC3161 = "RFC 3161 2.3, 2.4.2"


def cases() -> Iterator[Case]:
    """Yield the cases about proven time."""
    yield from _inside()
    yield from _outside()
    yield from _lifetime()
    yield from _authority_defects()
    yield from _token_defects()
    yield from _revoked_authority()
    yield from _several()


def expired_pki(**changes: Any) -> Pki:
    """Return a PKI whose leaf ended in 2025: only a proven time can save its signatures."""
    return make_pki(leaf=_EXPIRED, **changes)


def _stamped(pki: Pki, *stamps: cms.Unsigned, more: tuple[bytes, ...] = ()) -> bytes:
    certificates = (*pki.chain, *more)
    return signed_image(pki=pki, signer={"unsigned": stamps}, certificates=certificates)


def _inside() -> Iterator[Case]:
    pki = expired_pki()
    good = {
        "expired-token-inside-validity": tsa.token(pki.tsa, at=_INSIDE),
        "expired-token-sha512": tsa.token(
            pki.tsa, at=_INSIDE, digest="sha512", imprint_digest="sha512"
        ),
        "expired-token-ess-v1": tsa.token(pki.tsa, at=_INSIDE, ess="v1"),
        "expired-token-with-nonce": tsa.token(pki.tsa, at=_INSIDE, nonce=99),
        "expired-token-ber": tsa.token(pki.tsa, at=_INSIDE, indefinite=True),
        "expired-token-without-accuracy": tsa.token(pki.tsa, at=_INSIDE, accuracy_seconds=None),
        "expired-token-with-attribute-certificate": tsa.token(
            pki.tsa, at=_INSIDE, attribute_certificates=(cms.attribute_certificate(),)
        ),
    }
    for id_, stamp in good.items():
        yield case(
            id_,
            15,
            "an expired leaf, a timestamp inside its validity",
            _stamped(pki, stamp),
            ACCEPTED,
            pki=pki,
            clause=_RFC3161,
        )
    data = _stamped(pki, tsa.countersignature(pki.tsa, at=_INSIDE), more=(pki.tsa.certificate,))
    yield case(
        "expired-countersignature-inside-validity",
        15,
        "the same by PKCS#9",
        data,
        ACCEPTED,
        pki=pki,
        clause="RFC 5652 11.4",
    )
    both = make_pki(leaf=_EXPIRED, intermediate=_EXPIRED)
    yield case(
        "expired-intermediate-token-inside-validity",
        15,
        "leaf and authority expired since",
        _stamped(both, tsa.token(both.tsa, at=_INSIDE)),
        ACCEPTED,
        pki=both,
        clause="DESIGN.md, authenticode profile",
    )


def _outside() -> Iterator[Case]:
    pki = expired_pki()
    after = tsa.token(pki.tsa, at=_AFTER)
    yield case(
        "timestamp-after-certificate-end",
        16,
        "a timestamp made after the leaf had expired",
        _stamped(pki, after),
        REJECTED,
        "expired",
        pki=pki,
        findings=("timestamp-after-expiry",),
        clause="DESIGN.md, authenticode profile",
    )
    data = _stamped(pki, tsa.countersignature(pki.tsa, at=_AFTER), more=(pki.tsa.certificate,))
    yield case(
        "countersignature-after-certificate-end",
        16,
        "the same by PKCS#9",
        data,
        REJECTED,
        "expired",
        pki=pki,
        findings=("timestamp-after-expiry",),
        clause="DESIGN.md, authenticode profile",
    )
    before = tsa.token(pki.tsa, at=instant(2021))
    yield case(
        "timestamp-before-certificate-begin",
        16,
        "a timestamp older than the certificate",
        _stamped(pki, before),
        REJECTED,
        "not-yet-valid",
        pki=pki,
        clause="RFC 5280 6.1.3 (a)(2)",
    )


def _lifetime() -> Iterator[Case]:
    ekus = (EKU_CODE_SIGNING, EKU_LIFETIME_SIGNING)
    clause = "Authenticode, szOID_KP_LIFETIME_SIGNING"
    pki = make_pki(leaf={**_EXPIRED, "ekus": ekus})
    yield case(
        "lifetime-signing-expired",
        19,
        "a timestamp must not outlive this certificate",
        _stamped(pki, tsa.token(pki.tsa, at=_INSIDE)),
        REJECTED,
        "lifetime-signing",
        pki=pki,
        clause=clause,
    )
    pki = make_pki(leaf={"ekus": ekus})
    yield case(
        "lifetime-signing-still-valid",
        19,
        "lifetime signing inside its validity",
        _stamped(pki, tsa.token(pki.tsa, at=instant(2025))),
        ACCEPTED,
        pki=pki,
        clause=clause,
    )


def _authority_defects() -> Iterator[Case]:
    """Each TSA defect twice: the token is ignored, so the answer is that without it."""
    foreign = authority("Foreign Root")
    defects: dict[str, tuple[dict[str, Any], str]] = {
        "tsa-eku-code-signing": ({"ekus": (EKU_CODE_SIGNING,)}, "timestamp-usage"),
        "tsa-eku-absent": ({"ekus": None}, "timestamp-usage"),
        "tsa-eku-not-alone": ({"ekus": (EKU_TIME_STAMPING, EKU_CODE_SIGNING)}, "timestamp-usage"),
        "tsa-key-usage-wrong": ({"usage": ("keyEncipherment",)}, "timestamp-usage"),
        "tsa-expired-at-gen-time": (
            {"not_before": instant(2020), "not_after": instant(2023)},
            "timestamp-untrusted",
        ),
        "tsa-not-yet-valid-at-gen-time": ({"not_before": instant(2025)}, "timestamp-untrusted"),
        "tsa-of-unknown-root": ({"issuer": foreign}, "timestamp-untrusted"),
        "tsa-rsa-1024": ({"kind": "rsa1024"}, "timestamp-untrusted"),
    }
    for id_, (changes, code) in defects.items():
        pki = expired_pki(tsa=changes)
        stamp = tsa.token(pki.tsa, at=_INSIDE)
        yield case(
            id_,
            20,
            f"{id_.replace('-', ' ')}: the token is ignored",
            _stamped(pki, stamp),
            REJECTED,
            "expired",
            findings=(code,),
            pki=pki,
            clause=_RFC3161,
        )
    valid = make_pki(tsa={"ekus": (EKU_CODE_SIGNING,)})
    yield case(
        "tsa-eku-wrong-leaf-still-valid",
        20,
        "an ignored token harms nobody",
        _stamped(valid, tsa.token(valid.tsa, at=instant(2025))),
        ACCEPTED,
        findings=("timestamp-usage",),
        pki=valid,
        clause=_RFC3161,
    )
    soft = expired_pki(tsa={"eku_critical": False})
    yield case(
        "tsa-eku-not-critical",
        20,
        "the majority in the wild: only a finding",
        _stamped(soft, tsa.token(soft.tsa, at=_INSIDE)),
        ACCEPTED,
        findings=("timestamp-usage",),
        pki=soft,
        clause="RFC 3161 2.3",
    )
    old = expired_pki(tsa={"not_before": instant(2020), "not_after": instant(2024, 6)})
    yield case(
        "tsa-expired-since",
        20,
        "a TSA certificate that ended after genTime",
        _stamped(old, tsa.token(old.tsa, at=_INSIDE)),
        ACCEPTED,
        pki=old,
        clause="DESIGN.md, TSA path at genTime",
    )


def _token_defects() -> Iterator[Case]:
    pki = expired_pki()
    other = timestamper("Another Timestamp Service", pki.root)
    defects: dict[str, tuple[dict[str, Any], str]] = {
        "token-imprint-wrong": ({"imprint": bytes(32)}, "timestamp-mismatch"),
        "token-signature-wrong": ({"break_value": True}, "timestamp-mismatch"),
        "token-message-digest-wrong": ({"message_digest": bytes(32)}, "timestamp-mismatch"),
        "token-ess-v1-mismatch": (
            {"ess": "v1", "ess_certificate": other.certificate},
            "timestamp-mismatch",
        ),
        "token-ess-v2-mismatch": ({"ess_certificate": other.certificate}, "timestamp-mismatch"),
        "token-without-ess": ({"ess": ""}, "timestamp-malformed"),
        "token-content-type-wrong": ({"content_type": cms.DATA}, "timestamp-malformed"),
        "token-signed-attribute-type-wrong": (
            {"signed_attribute_type": cms.DATA},
            "timestamp-malformed",
        ),
        "token-accuracy-malformed": (
            {"accuracy": der.sequence(der.octet_string(b"soon"))},
            "timestamp-malformed",
        ),
        "token-without-certificate": ({"certificates": ()}, "timestamp-untrusted"),
    }
    for id_, (arguments, code) in defects.items():
        stamp = tsa.token(pki.tsa, at=_INSIDE, **arguments)
        yield case(
            id_,
            20,
            f"{id_.replace('-', ' ')}: the token is ignored",
            _stamped(pki, stamp),
            REJECTED,
            "expired",
            findings=(code,),
            pki=pki,
            clause=_RFC3161,
        )
    garbage = tsa.ready(cms.attribute(tsa.MS_TIMESTAMP, b"\x30\x03\x02\x01\x05"))
    yield case(
        "token-is-garbage",
        20,
        "a token that is no ContentInfo",
        _stamped(pki, garbage),
        REJECTED,
        "expired",
        findings=("timestamp-malformed",),
        pki=pki,
        clause=_RFC3161,
    )
    valid = default_pki()
    future = tsa.token(valid.tsa, at=instant(2026, 6))
    yield case(
        "token-of-the-future",
        20,
        "a genTime after the validation instant",
        _stamped(valid, future),
        ACCEPTED,
        findings=("timestamp-in-future",),
        pki=valid,
        clause="DESIGN.md: time is an argument",
    )
    for id_, wrong, code in (
        ("countersignature-digest-wrong", {"message_digest": bytes(32)}, "timestamp-mismatch"),
        ("countersignature-value-wrong", {"break_value": True}, "timestamp-mismatch"),
        ("countersignature-without-time", {"signing_time": False}, "timestamp-malformed"),
    ):
        stamp = tsa.countersignature(pki.tsa, at=_INSIDE, **wrong)
        yield case(
            id_,
            20,
            id_.replace("-", " "),
            _stamped(pki, stamp, more=(pki.tsa.certificate,)),
            REJECTED,
            "expired",
            findings=(code,),
            pki=pki,
            clause="RFC 5652 11.4, RFC 2985 5.3.6",
        )


def _revoked_authority() -> Iterator[Case]:
    """RFC 3161 section 4: which revocations of a TSA leave its earlier tokens good."""
    clause = "RFC 3161 4 (1)"
    for reason, good in (
        ("", False),
        ("keyCompromise", False),
        ("cACompromise", False),
        ("unspecified", True),
        ("affiliationChanged", True),
        ("superseded", True),
        ("cessationOfOperation", True),
    ):
        pki = expired_pki()
        entry = Revoked(serial=pki.tsa.serial, at=instant(2025), reason=reason)
        data = _stamped(pki, tsa.token(pki.tsa, at=_INSIDE))
        id_ = f"tsa-revoked-later-{reason or 'without-reason'}"
        what = f"a TSA revoked after genTime, {reason or 'no reason given'}"
        lists = (crl(pki.intermediate), crl(pki.root, [entry]))
        if good:
            yield case(id_, 20, what, data, ACCEPTED, pki=pki, crls=lists, clause=clause)
        else:
            yield case(
                id_,
                20,
                what,
                data,
                REJECTED,
                "expired",
                findings=("timestamp-revoked",),
                pki=pki,
                crls=lists,
                clause=clause,
            )
    pki = expired_pki()
    early = crl(pki.root, [Revoked(serial=pki.tsa.serial, at=instant(2023), reason="superseded")])
    yield case(
        "tsa-revoked-before-gen-time",
        20,
        "a token of a TSA already revoked",
        _stamped(pki, tsa.token(pki.tsa, at=_INSIDE)),
        REJECTED,
        "expired",
        findings=("timestamp-revoked",),
        pki=pki,
        crls=(crl(pki.intermediate), early),
        clause=clause,
    )


def _several() -> Iterator[Case]:
    pki = expired_pki()
    clause = "THREATS.md row 21: each token is judged alone"
    elsewhere = tsa.token(pki.tsa, at=_INSIDE)(b"another signature's value" * 10)
    yield case(
        "token-over-another-signature",
        21,
        "a token transplanted from elsewhere",
        _stamped(pki, tsa.ready(elsewhere)),
        REJECTED,
        "expired",
        findings=("timestamp-mismatch",),
        pki=pki,
        clause=clause,
    )
    good, late = tsa.token(pki.tsa, at=_INSIDE), tsa.token(pki.tsa, at=_AFTER)
    bad = tsa.token(pki.tsa, at=_INSIDE, break_value=True)
    yield case(
        "two-tokens-earliest-counts",
        21,
        "two good tokens, one of them too late",
        _stamped(pki, late, good),
        ACCEPTED,
        pki=pki,
        clause=clause,
    )
    yield case(
        "broken-token-beside-good-one",
        21,
        "a broken token beside a good one",
        _stamped(pki, bad, good),
        ACCEPTED,
        findings=("timestamp-mismatch",),
        pki=pki,
        clause=clause,
    )
    counter = tsa.countersignature(pki.tsa, at=_AFTER)
    both = _stamped(pki, counter, good, more=(pki.tsa.certificate,))
    yield case(
        "token-and-countersignature",
        21,
        "both kinds, the earlier one counts",
        both,
        ACCEPTED,
        pki=pki,
        clause=clause,
    )
    crowd = [tsa.token(pki.tsa, at=_INSIDE)] * 200
    yield case(
        "two-hundred-tokens",
        55,
        "timestamps beyond any use",
        _stamped(pki, *crowd),
        REJECTED,
        "limit-exceeded",
        pki=pki,
        clause="bounded counts",
    )
    middle = authority("Timestamp CA", issuer=pki.root)
    stamper = issue(
        "Deep Timestamp Service",
        issuer=middle,
        ekus=(EKU_TIME_STAMPING,),
        eku_critical=True,
        not_before=instant(2020),
        not_after=instant(2030),
    )
    yield case(
        "tsa-under-intermediate",
        15,
        "a TSA below an intermediate in its token",
        _stamped(pki, tsa.token(stamper, at=_INSIDE)),
        ACCEPTED,
        pki=pki,
        clause=_RFC3161,
    )
