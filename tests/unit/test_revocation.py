"""Revocation status: each rule of DESIGN.md's "Revocation and time, exactly", one by one."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from cryptography import x509

from signward.errors import EvidenceError
from signward.state import RevocationStatus, Status
from signward.trust import revocation
from signward.trust.revocation import Evidence, effective_date, needed, revocation_status
from signward.trust.x509 import Certificate
from signward.wire import der
from tests.builders import revocation as build
from tests.builders.revocation import DAY, GOOD, T0, UNKNOWN, Ca, entry, revoked

CA = Ca("issuer")
OTHER = Ca("somebody else")
LEAF = CA.leaf()


def status(
    *crls: bytes,
    ocsp: tuple[bytes, ...] = (),
    leaf: Certificate = LEAF,
    at: datetime = T0,
    signed_at: datetime | None = None,
    pool: tuple[Certificate, ...] = (),
    anchor: Certificate | None = None,
) -> RevocationStatus:
    evidence = Evidence().extended(crls=crls, ocsp=ocsp)
    assert not evidence.problems
    return revocation_status(
        leaf, CA.certificate, evidence, at, signed_at=signed_at, pool=pool, anchor=anchor
    )


def test_no_evidence_is_unknown_and_says_so() -> None:
    found = status()
    assert found.status is Status.UNKNOWN
    assert found.why == "no CRL and no OCSP answer at hand"


def test_a_fresh_crl_without_the_serial_says_good_and_names_itself() -> None:
    found = status(CA.crl(entry(1), entry(2)))
    assert found.status is Status.GOOD
    assert "CRL 5 of CN=issuer" in found.source


def test_an_entry_gives_date_reason_and_invalidity() -> None:
    found = status(CA.crl(entry(0x77, T0 - 5 * DAY, "keyCompromise", T0 - 9 * DAY)))
    assert found.status is Status.REVOKED
    assert (found.revoked_at, found.reason) == (T0 - 5 * DAY, "keyCompromise")
    assert found.invalid_from == T0 - 9 * DAY == effective_date(found)


def test_no_reason_given_stays_distinct_from_unspecified() -> None:
    assert status(CA.crl(entry(0x77))).reason == ""
    assert status(CA.crl(entry(0x77, reason="unspecified"))).reason == "unspecified"


def test_a_crl_of_another_issuer_is_no_evidence() -> None:
    assert status(OTHER.crl(entry(0x77))).why == "no CRL and no OCSP answer at hand"


def test_a_crl_that_another_key_signed_is_no_evidence() -> None:
    found = status(CA.crl(entry(0x77), signer=OTHER))
    assert found.status is Status.UNKNOWN
    assert "no certificate at hand for the key of CN=issuer" in found.why


def test_only_the_first_few_pieces_are_explained() -> None:
    found = status(*(CA.crl(scope=build.flag(5), number=n) for n in range(9)))
    assert found.why.count("covers other certificates") == 4
    assert found.why.endswith("and 5 more")


def test_a_ca_without_crl_sign_cannot_speak() -> None:
    mute = Ca("mute", key_usage=("keyCertSign",))
    evidence = Evidence([mute.crl()])
    found = revocation_status(mute.leaf(), mute.certificate, evidence, T0)
    assert found.status is Status.UNKNOWN
    assert "key usage is not cRLSign" in found.why


class TestFreshness:
    def test_a_stale_crl_is_not_good(self) -> None:
        found = status(CA.crl(next_update=T0 - timedelta(seconds=1)))
        assert found.status is Status.UNKNOWN
        assert "ended 2026-06-01T11:59:59Z" in found.why

    def test_next_update_itself_is_still_fresh(self) -> None:
        assert status(CA.crl(next_update=T0)).status is Status.GOOD

    def test_a_stale_crl_still_revokes(self) -> None:
        assert status(CA.crl(entry(0x77), next_update=T0 - DAY)).status is Status.REVOKED

    def test_evidence_issued_after_the_instant_counts(self) -> None:
        later = CA.crl(this_update=T0 + DAY, next_update=T0 + 2 * DAY)
        assert status(later).status is Status.GOOD

    def test_without_next_update_only_later_evidence_counts(self) -> None:
        assert status(CA.crl(next_update=None)).status is Status.UNKNOWN
        assert status(CA.crl(this_update=T0, next_update=None)).status is Status.GOOD

    def test_evidence_older_than_the_proven_time_proves_nothing_about_it(self) -> None:
        crl = CA.crl(this_update=T0 - 2 * DAY, next_update=T0 + DAY)
        assert status(crl).status is Status.GOOD
        assert status(crl, signed_at=T0 - 3 * DAY).status is Status.GOOD
        found = status(crl, signed_at=T0 - DAY)
        assert found.status is Status.UNKNOWN
        assert "older than the proven time 2026-05-31T12:00:00Z" in found.why

    def test_an_entry_dated_after_the_instant_does_not_reject(self) -> None:
        crl = CA.crl(entry(0x77, T0 + DAY), this_update=T0 + 2 * DAY, next_update=T0 + 9 * DAY)
        found = status(crl)
        assert found.status is Status.GOOD
        assert found.revoked_at == T0 + DAY
        assert "revoked later" in found.why
        assert status(crl, at=T0 + DAY).status is Status.REVOKED

    def test_but_an_invalidity_date_before_the_instant_does(self) -> None:
        crl = CA.crl(entry(0x77, T0 + DAY, invalid_from=T0), this_update=T0 + 2 * DAY)
        assert status(crl).status is Status.REVOKED


class TestExpired:
    LEAF = CA.leaf(not_after=T0 - 10 * DAY)

    def test_a_crl_after_the_end_says_nothing(self) -> None:
        found = status(CA.crl(), leaf=self.LEAF)
        assert found.status is Status.UNKNOWN
        assert "after the certificate's end 2026-05-22" in found.why

    def test_unless_it_keeps_expired_certificates(self) -> None:
        reaching = CA.crl(expired_since=T0 - 10 * DAY)
        assert status(reaching, leaf=self.LEAF).status is Status.GOOD
        short = CA.crl(expired_since=T0 - 10 * DAY + timedelta(seconds=1))
        assert status(short, leaf=self.LEAF).status is Status.UNKNOWN

    def test_an_entry_counts_all_the_same(self) -> None:
        assert status(CA.crl(entry(0x77)), leaf=self.LEAF).status is Status.REVOKED

    def test_ocsp_after_the_end_needs_an_archive_cutoff_that_reaches_back(self) -> None:
        def about(cutoff: datetime | None) -> RevocationStatus:
            return status(ocsp=(CA.ocsp(0x77, GOOD, cutoff=cutoff),), leaf=self.LEAF)

        assert about(T0 - 10 * DAY).status is Status.GOOD
        assert about(None).status is Status.UNKNOWN
        assert "without an archive cutoff" in about(None).why
        beyond = about(T0 - 9 * DAY)
        assert beyond.status is Status.UNKNOWN
        assert "reaches back to 2026-05-23" in beyond.why


class TestHold:
    def test_a_hold_is_a_revocation_while_it_stands(self) -> None:
        found = status(CA.crl(entry(0x77, reason="certificateHold")))
        assert (found.status, found.reason) == (Status.REVOKED, "certificateHold")

    def test_a_newer_crl_without_it_lifts_it(self) -> None:
        old = CA.crl(entry(0x77, reason="certificateHold"), this_update=T0 - 3 * DAY)
        assert status(old, CA.crl(number=6)).status is Status.GOOD

    def test_a_stale_hold_is_unknown(self) -> None:
        held = CA.crl(entry(0x77, reason="certificateHold"), next_update=T0 - DAY / 2)
        assert status(held).status is Status.UNKNOWN

    def test_any_other_entry_stands_for_ever(self) -> None:
        old = CA.crl(entry(0x77, reason="superseded"), this_update=T0 - 3 * DAY)
        assert status(old, CA.crl(number=6)).status is Status.REVOKED


class TestDelta:
    BASE = CA.crl(entry(0x77, reason="certificateHold"), number=5)

    def delta(self, *entries: bytes, **options: object) -> bytes:
        fixed = {"number": 7, "delta_base": 5, "this_update": T0 - DAY / 2}
        return CA.crl(*entries, **(fixed | options))  # type: ignore[arg-type]

    def test_remove_from_crl_lifts_a_hold(self) -> None:
        removed = self.delta(entry(0x77, reason="removeFromCRL"))
        found = status(self.BASE, removed)
        assert found.status is Status.GOOD
        assert found.source.startswith("delta CRL 7")

    def test_a_delta_adds_an_entry(self) -> None:
        added = self.delta(entry(0x77, reason="keyCompromise"))
        assert status(CA.crl(number=5), added).reason == "keyCompromise"

    def test_a_delta_freshens_a_stale_base(self) -> None:
        stale = CA.crl(number=5, next_update=T0 - DAY / 3)
        assert status(stale).status is Status.UNKNOWN
        assert status(stale, self.delta()).status is Status.GOOD

    def test_a_delta_alone_is_nothing(self) -> None:
        found = status(self.delta())
        assert found.status is Status.UNKNOWN
        assert "without its base" in found.why

    @pytest.mark.parametrize(
        "options",
        [
            {"delta_base": 6},
            {"number": 5},
            {"scope": build.flag(1)},
            {"signer": OTHER},
            {"next_update": T0 - DAY / 3},
        ],
        ids=["base too old", "not newer", "other scope", "other key", "stale"],
    )
    def test_a_delta_that_does_not_fit_changes_nothing(self, options: dict[str, object]) -> None:
        removed = self.delta(entry(0x77, reason="removeFromCRL"), **options)
        assert status(self.BASE, removed).reason == "certificateHold"


class TestScope:
    URL = "http://crl.example/1.crl"

    def leaf(self, *points: bytes, **options: object) -> Certificate:
        value = der.sequence(*(der.sequence(point) for point in points))
        return CA.leaf(extensions=[("2.5.29.31", value)], **options)  # type: ignore[arg-type]

    def test_a_partition_covers_the_certificates_that_name_it(self) -> None:
        name = build.point_name(build.uri(self.URL))
        assert status(CA.crl(scope=name), leaf=self.leaf(name)).status is Status.GOOD
        other = build.point_name(build.uri("http://crl.example/2.crl"))
        elsewhere = status(CA.crl(scope=other), leaf=self.leaf(name))
        assert elsewhere.status is Status.UNKNOWN
        assert "covers other certificates" in elsewhere.why
        assert status(CA.crl(entry(0x77), scope=other), leaf=self.leaf(name)).status is (
            Status.UNKNOWN
        )

    def test_user_and_ca_partitions(self) -> None:
        users, cas = CA.crl(scope=build.flag(1)), CA.crl(scope=build.flag(2))
        below = Ca("below", parent=CA).certificate
        assert status(users).status is Status.GOOD
        assert status(cas).status is Status.UNKNOWN
        assert status(users, leaf=below).status is Status.UNKNOWN
        assert status(cas, leaf=below).status is Status.GOOD
        assert status(CA.crl(scope=build.flag(5))).status is Status.UNKNOWN

    def test_reasons_must_all_be_covered(self) -> None:
        some, rest = build.reason_flags(3, 1, 2), build.reason_flags(3, 3, 4, 5, 6, 7, 8)
        alone = status(CA.crl(scope=some))
        assert alone.status is Status.UNKNOWN
        assert "affiliationChanged" in alone.why
        assert status(CA.crl(scope=some), CA.crl(scope=rest)).status is Status.GOOD

    def test_a_relative_name_is_completed_with_the_issuer(self) -> None:
        rdn = der.sequence(der.oid("2.5.4.11"), der.utf8("part 1"))
        relative = der.context(0, der.context(1, rdn))
        full = x509.Name(
            [*CA.subject, x509.NameAttribute(x509.NameOID.ORGANIZATIONAL_UNIT_NAME, "part 1")]
        )
        name = build.point_name(der.context(4, full.public_bytes()))
        assert status(CA.crl(scope=name), leaf=self.leaf(relative)).status is Status.GOOD
        assert status(CA.crl(scope=relative), leaf=self.leaf(name)).status is Status.GOOD

    def test_an_unreadable_distribution_point_leaves_the_implied_one(self) -> None:
        leaf = CA.leaf(extensions=[("2.5.29.31", b"\x30\x03\x02\x01")])
        assert status(CA.crl(), leaf=leaf).status is Status.GOOD


class TestIndirect:
    ROOT = Ca("root")
    CA = Ca("indirect issuer", parent=ROOT, serial=0x2001)
    SIGNER = Ca("CRL signer", parent=ROOT, key_usage=("cRLSign",), serial=0x2002)
    POINT = der.sequence(
        der.sequence(
            build.point_name(build.uri("http://crl.example/i.crl")),
            der.context(2, der.context(4, SIGNER.raw_name)),
        )
    )
    LEAF = CA.leaf(extensions=[("2.5.29.31", POINT)])
    SCOPE = build.point_name(build.uri("http://crl.example/i.crl")) + build.flag(4)

    def ask(
        self, *entries: bytes, root_crl: bytes | None = None, scope: bytes = SCOPE
    ) -> RevocationStatus:
        crls = [self.SIGNER.crl(*entries, scope=scope), root_crl or self.ROOT.crl()]
        evidence = Evidence(crls, certificates=[self.SIGNER.certificate.der])
        return revocation_status(
            self.LEAF, self.CA.certificate, evidence, T0, anchor=self.ROOT.certificate
        )

    def test_silence_of_the_indirect_crl_is_good(self) -> None:
        assert self.ask().status is Status.GOOD

    def test_its_entries_are_the_named_issuers(self) -> None:
        assert self.ask(entry(0x77, issuer=self.CA.raw_name)).status is Status.REVOKED
        assert self.ask(entry(0x77, issuer=OTHER.raw_name)).status is Status.GOOD
        assert self.ask(entry(0x77)).status is Status.GOOD

    def test_a_named_issuer_holds_for_the_entries_that_follow(self) -> None:
        entries = entry(1, issuer=self.CA.raw_name), entry(0x77)
        assert self.ask(*entries).status is Status.REVOKED

    def test_without_the_indirect_flag_it_does_not_speak(self) -> None:
        scope = build.point_name(build.uri("http://crl.example/i.crl"))
        assert self.ask(scope=scope).status is Status.UNKNOWN

    def test_a_revoked_signer_is_not_heard(self) -> None:
        found = self.ask(root_crl=self.ROOT.crl(entry(0x2002)))
        assert found.status is Status.UNKNOWN
        assert "its signer is revoked" in found.why

    def test_a_signer_of_unknown_status_revokes_but_does_not_clear(self) -> None:
        stale = self.ROOT.crl(next_update=T0 - DAY / 2)
        found = self.ask(root_crl=stale)
        assert found.status is Status.UNKNOWN
        assert "the status of its signer" in found.why
        entries = entry(0x77, issuer=self.CA.raw_name)
        assert self.ask(entries, root_crl=stale).status is Status.REVOKED

    def test_many_crls_do_not_multiply_the_work(self, monkeypatch: pytest.MonkeyPatch) -> None:
        checks: list[list[Certificate]] = []
        plain = revocation._status

        def counted(question: revocation._Question, evidence: Evidence) -> RevocationStatus:
            checks.append(question.checks)
            return plain(question, evidence)

        monkeypatch.setattr(revocation, "_status", counted)
        signers = [self.SIGNER.crl(scope=self.SCOPE, number=n) for n in range(150)]
        evidence = Evidence([*signers, self.ROOT.crl()], certificates=[self.SIGNER.certificate.der])
        found = revocation_status(
            self.LEAF, self.CA.certificate, evidence, T0, anchor=self.ROOT.certificate
        )
        assert found.status is Status.GOOD
        assert len(checks) == revocation.MAX_SIGNER_CHECKS + 1
        assert all(shared is checks[0] for shared in checks)

    def test_without_an_anchor_another_signer_is_not_heard(self) -> None:
        evidence = Evidence(
            [self.SIGNER.crl(scope=self.SCOPE)], certificates=[self.SIGNER.certificate.der]
        )
        found = revocation_status(self.LEAF, self.CA.certificate, evidence, T0)
        assert "no anchor is given" in found.why

    def test_a_signer_under_another_anchor_is_not_heard(self) -> None:
        evidence = Evidence(
            [self.SIGNER.crl(scope=self.SCOPE)], certificates=[self.SIGNER.certificate.der]
        )
        found = revocation_status(
            self.LEAF, self.CA.certificate, evidence, T0, anchor=OTHER.certificate
        )
        assert found.status is Status.UNKNOWN
        assert "no path to the certificate's anchor" in found.why


class TestOcsp:
    def test_good_revoked_unknown(self) -> None:
        assert status(ocsp=(CA.ocsp(0x77, GOOD),)).status is Status.GOOD
        found = status(ocsp=(CA.ocsp(0x77, revoked(T0 - DAY, "superseded")),))
        assert (found.status, found.reason) == (Status.REVOKED, "superseded")
        assert found.revoked_at == T0 - DAY
        unknown = status(ocsp=(CA.ocsp(0x77, UNKNOWN),))
        assert unknown.status is Status.UNKNOWN
        assert "does not know the certificate" in unknown.why

    @pytest.mark.parametrize("digest", ["sha1", "sha256"])
    @pytest.mark.parametrize("by_key", [False, True])
    def test_every_way_to_name_issuer_and_responder(self, digest: str, by_key: bool) -> None:
        answer = CA.ocsp(0x77, GOOD, digest=digest, by_key=by_key)
        assert status(ocsp=(answer,)).status is Status.GOOD

    def test_an_answer_about_another_issuers_certificate_is_no_evidence(self) -> None:
        found = status(ocsp=(OTHER.ocsp(0x77, revoked()),))
        assert found.why == "no CRL and no OCSP answer at hand"

    def test_stale_answers(self) -> None:
        old = CA.ocsp(0x77, GOOD, next_update=T0 - timedelta(seconds=1))
        assert status(ocsp=(old,)).status is Status.UNKNOWN
        assert status(ocsp=(CA.ocsp(0x77, GOOD, next_update=None),)).status is Status.UNKNOWN
        now = CA.ocsp(0x77, GOOD, this_update=T0, next_update=None)
        assert status(ocsp=(now,)).status is Status.GOOD

    def test_revoked_beats_good_whichever_is_newer(self) -> None:
        good = CA.ocsp(0x77, GOOD, this_update=T0)
        assert status(CA.crl(entry(0x77)), ocsp=(good,)).status is Status.REVOKED
        assert status(CA.crl(), ocsp=(CA.ocsp(0x77, revoked()),)).status is Status.REVOKED

    def test_a_delegate_of_the_issuer(self) -> None:
        answer = CA.ocsp(0x77, GOOD, signer=CA.responder())
        assert status(ocsp=(answer,)).status is Status.GOOD

    @pytest.mark.parametrize(
        ("options", "why"),
        [
            ({"ocsp_signing": False}, "no id-kp-OCSPSigning"),
            ({"not_after": T0 - DAY / 2}, "not valid at 2026-06-01"),
            ({"usage": ("keyAgreement",)}, "key usage is not digitalSignature"),
        ],
    )
    def test_delegates_that_may_not(self, options: dict[str, object], why: str) -> None:
        answer = CA.ocsp(0x77, GOOD, signer=CA.responder(**options))  # type: ignore[arg-type]
        found = status(ocsp=(answer,))
        assert found.status is Status.UNKNOWN
        assert why in found.why

    def test_a_delegate_of_somebody_else(self) -> None:
        answer = CA.ocsp(0x77, GOOD, signer=OTHER.responder())
        assert "not made by the certificate's issuer" in status(ocsp=(answer,)).why

    def test_an_answer_without_its_signers_certificate(self) -> None:
        delegate = CA.responder()
        answer = CA.ocsp(0x77, GOOD, signer=delegate, embed=False)
        assert "no certificate of its signer" in status(ocsp=(answer,)).why
        assert status(ocsp=(answer,), pool=(delegate.certificate,)).status is Status.GOOD

    def test_a_delegate_without_nocheck_must_itself_be_good(self) -> None:
        point = der.sequence(der.sequence(build.point_name(build.uri("http://a.example/c.crl"))))
        answer = CA.ocsp(
            0x77, GOOD, signer=CA.responder(no_check=False, extensions=[("2.5.29.31", point)])
        )
        alone = status(ocsp=(answer,))
        assert alone.status is Status.UNKNOWN
        assert "the status of its signer" in alone.why
        scope = build.flag(1) + build.reason_flags(3, 1)
        assert status(CA.crl(scope=scope), ocsp=(answer,)).status is Status.UNKNOWN
        gone = status(CA.crl(entry(0x0C5B), next_update=T0 - DAY / 2), ocsp=(answer,))
        assert gone.status is Status.UNKNOWN
        assert "its signer is revoked" in gone.why

    def test_a_delegate_nobody_can_check_is_heard_unless_known_to_be_revoked(self) -> None:
        """RFC 6960 4.2.2.2.1: where the CA names no way, it is local policy."""
        answer = CA.ocsp(0x77, GOOD, signer=CA.responder(no_check=False))
        assert status(ocsp=(answer,)).status is Status.GOOD
        gone = status(CA.crl(entry(0x0C5B), next_update=T0 - DAY / 2), ocsp=(answer,))
        assert "its signer is revoked" in gone.why

    def test_a_nocheck_delegate_needs_no_evidence_of_its_own(self) -> None:
        answer = CA.ocsp(0x77, GOOD, signer=CA.responder(no_check=True))
        assert status(CA.crl(entry(0x0C5B)), ocsp=(answer,)).status is Status.GOOD

    def test_unknown_critical_extensions_forbid_use(self) -> None:
        odd = build.extension("1.2.3.4", b"\x05\0", critical=True)
        found = status(ocsp=(CA.ocsp(0x77, revoked(), extra=odd),))
        assert "unknown critical extension 1.2.3.4" in found.why


class TestCriticalExtensions:
    ODD = build.extension("1.2.3.4", b"\x05\0", critical=True)

    def test_in_the_crl(self) -> None:
        found = status(CA.crl(extra=self.ODD))
        assert found.status is Status.UNKNOWN
        assert "unknown critical extension 1.2.3.4" in found.why

    def test_in_any_entry(self) -> None:
        found = status(CA.crl(entry(1, extra=self.ODD)))
        assert found.status is Status.UNKNOWN
        assert "unknown critical extension 1.2.3.4" in found.why

    def test_version_1_may_have_none(self) -> None:
        assert "version 1 with extensions" in status(CA.crl(version=0)).why
        assert status(CA.crl(version=0, number=None)).status is Status.GOOD

    def test_silence_without_a_crl_number_proves_nothing(self) -> None:
        assert "no CRL number" in status(CA.crl(number=None)).why
        assert status(CA.crl(entry(0x77), number=None)).status is Status.REVOKED


def test_needed_names_ocsp_then_crls_until_the_status_is_known() -> None:
    points = der.sequence(der.sequence(build.point_name(build.uri("http://a.example/c.crl"))))
    access = der.sequence(
        der.sequence(der.oid("1.3.6.1.5.5.7.48.1"), build.uri("http://a.example/ocsp"))
    )
    freshest = der.sequence(der.sequence(build.point_name(build.uri("http://a.example/d.crl"))))
    leaf = CA.leaf(extensions=[("2.5.29.31", points), ("1.3.6.1.5.5.7.1.1", access)])
    delta = build.extension("2.5.29.46", freshest)
    urls = ("http://a.example/ocsp", "http://a.example/c.crl")
    assert needed(leaf, CA.certificate, Evidence(), T0) == urls
    stale = Evidence([CA.crl(next_update=T0 - DAY / 2, extra=delta)])
    assert needed(leaf, CA.certificate, stale, T0) == (*urls, "http://a.example/d.crl")
    assert needed(leaf, CA.certificate, Evidence([CA.crl()]), T0) == ()


class TestEvidence:
    def test_pem_and_der_files(self) -> None:
        crl = CA.crl()
        loaded = x509.load_der_x509_crl(crl)
        from cryptography.hazmat.primitives.serialization import Encoding

        both = Evidence([crl, loaded.public_bytes(Encoding.PEM)])
        assert len(both.crls) == 1
        assert both
        assert not Evidence()

    @pytest.mark.parametrize("junk", [b"", b"junk", b"\x30\x03\x02\x01", b"-----BEGIN X-----"])
    def test_junk_files_are_refused_by_name(self, junk: bytes) -> None:
        with pytest.raises(EvidenceError, match="CRL 2"):
            Evidence([CA.crl(), junk])
        with pytest.raises(EvidenceError, match="OCSP response 1"):
            Evidence(ocsp=[junk])

    def test_junk_in_a_signature_is_passed_over(self) -> None:
        evidence = Evidence().extended(crls=[b"junk", CA.crl()], ocsp=[b"\x30\x00"])
        assert len(evidence.crls) == 1
        assert len(evidence.problems) == 2

    def test_the_digest_changes_with_the_content(self) -> None:
        one = Evidence([CA.crl()])
        assert one.digest != Evidence().digest
        assert one.digest == Evidence().extended(crls=[one.crls[0].data]).digest
