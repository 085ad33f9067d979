"""CRLs: read back by our own reader and by the cryptography library."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509

from signward.authority import crl
from signward.authority.crl import Revoked
from signward.errors import AuthorityError
from signward.trust.crl import REASON_NAMES, is_signed_with, load_crl
from tests.builders.authority import NOW, Pure

PURE = Pure()
BEGIN = NOW.replace(microsecond=0)
END = BEGIN + timedelta(days=7)


def made(*revoked: Revoked, number: int = 1) -> bytes:
    draft = crl.draft(PURE.issuing, revoked, number, BEGIN, END)
    return draft.seal(PURE.issuing_key.sign(draft.to_be_signed, draft.algorithm))


def test_an_empty_list() -> None:
    ours, theirs = load_crl(made()), x509.load_der_x509_crl(made())
    assert is_signed_with(ours, PURE.issuing.certificate.spki)
    assert (ours.unusable, ours.improper, ours.number) == ("", "", 1)
    assert (ours.this_update, ours.next_update) == (BEGIN, END)
    assert ours.issuer == PURE.issuing.certificate.subject
    assert ours.authority_key_identifier == PURE.issuing.certificate.key_identifier
    assert ours.expired_since == PURE.issuing.certificate.not_before
    assert ours.scope is None
    assert len(theirs) == 0
    assert [e.critical for e in theirs.extensions] == [False, False, False]


@pytest.mark.parametrize(("name", "code"), crl.REASONS.items())
def test_entries_carry_their_reason(name: str, code: int) -> None:
    data = made(Revoked(serial=77, at=BEGIN, reason=code))
    ours = load_crl(data).entry(77, PURE.issuing.certificate.subject)
    theirs = x509.load_der_x509_crl(data).get_revoked_certificate_by_serial_number(77)
    assert ours is not None
    assert theirs is not None
    assert ours.revoked_at == theirs.revocation_date_utc == BEGIN
    if code == 0:  # told by saying nothing
        assert ours.reason == ""
        assert len(theirs.extensions) == 0
    else:
        assert ours.reason == REASON_NAMES[code] == name
        reason = theirs.extensions.get_extension_for_class(x509.CRLReason).value.reason
        assert reason.value == name


def test_entries_carry_their_invalidity_date() -> None:
    since = BEGIN - timedelta(days=30)
    data = made(Revoked(serial=2**158, at=BEGIN, invalid_from=since))
    ours = load_crl(data).entry(2**158, PURE.issuing.certificate.subject)
    assert ours is not None
    assert (ours.reason, ours.invalid_from) == ("", since)
    theirs = next(iter(x509.load_der_x509_crl(data)))
    invalid = theirs.extensions.get_extension_for_class(x509.InvalidityDate).value
    assert invalid.invalidity_date_utc == since


def test_the_order_of_what_was_revoked_does_not_matter() -> None:
    one, two = Revoked(serial=5, at=BEGIN), Revoked(serial=3, at=BEGIN)
    draft = crl.draft(PURE.issuing, (one, two), 9, BEGIN, END)
    assert draft == crl.draft(PURE.issuing, (two, one), 9, BEGIN, END)


def test_others_are_not_on_it() -> None:
    assert (
        load_crl(made(Revoked(serial=5, at=BEGIN))).entry(6, PURE.issuing.certificate.subject)
        is None
    )


@pytest.mark.parametrize("number", [0, -1, 2**159])
def test_odd_numbers_are_refused(number: int) -> None:
    with pytest.raises(AuthorityError, match=r"RFC 5280 5\.2\.3"):
        made(number=number)


def test_the_largest_number_is_read_back() -> None:
    assert load_crl(made(number=2**159 - 1)).number == 2**159 - 1


@pytest.mark.parametrize("code", [6, 7, 8, 10, 99])
def test_holds_and_removals_cannot_be_written(code: int) -> None:
    with pytest.raises(AuthorityError, match=r"RFC 5280 5\.3\.1"):
        made(Revoked(serial=1, at=BEGIN, reason=code))


def test_dates_must_be_a_period() -> None:
    with pytest.raises(AuthorityError, match="nextUpdate"):
        crl.draft(PURE.issuing, (), 1, BEGIN, BEGIN)


def test_no_tokens() -> None:
    with pytest.raises(AuthorityError):
        crl.draft(PURE.issuing, (), 1, BEGIN, END).seal(b"", (b"token",))
