"""CRLs: what is read, what is refused, and that a large one is no burden."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from hypothesis import given, settings
from hypothesis import strategies as st

from signward.errors import BadInputError, LimitError
from signward.trust import crl as module
from signward.trust.crl import REASON_NAMES, is_signed_with, load_crl
from signward.wire import der
from tests.builders import revocation as build
from tests.builders.revocation import DAY, T0, Ca, entry

CA = Ca("issuer")
NAME = CA.raw_name


def test_frame() -> None:
    crl = load_crl(CA.crl(number=7, expired_since=T0 - 30 * DAY))
    assert (crl.number, crl.delta_base, crl.scope) == (7, None, None)
    assert crl.issuer == NAME
    assert (crl.this_update, crl.next_update) == (T0 - DAY, T0 + 6 * DAY)
    assert crl.expired_since == T0 - 30 * DAY
    assert crl.unusable == crl.improper == ""
    assert crl.label == "CRL 7 of CN=issuer, 2026-05-31 12:00"
    assert is_signed_with(crl, CA.spki)
    assert not is_signed_with(crl, Ca("other").spki)


def test_entries_with_every_extension() -> None:
    crl = load_crl(
        CA.crl(
            entry(1, T0 - DAY, "keyCompromise", T0 - 2 * DAY),
            entry(2, T0 - 3 * DAY),
            entry(3, datetime(2055, 1, 1, tzinfo=UTC)),
        )
    )
    first, second, third = (crl.entry(n, NAME) for n in (1, 2, 3))
    assert first is not None
    assert second is not None
    assert third is not None
    assert (first.reason, first.invalid_from) == ("keyCompromise", T0 - 2 * DAY)
    assert (second.revoked_at, second.reason, second.invalid_from) == (T0 - 3 * DAY, "", None)
    assert crl.entry(4, NAME) is None
    assert crl.entry(1, Ca("other").raw_name) is None


@pytest.mark.parametrize(
    "serial", [0, 1, 127, 128, 255, 256, -1, -128, -129, 2**159 - 1, 2**160, -(2**64)]
)
def test_serials_of_either_sign_and_any_size(serial: int) -> None:
    crl = load_crl(CA.crl(entry(serial)))
    assert crl.entry(serial, NAME) is not None
    for other in (serial + 1, serial - 1, -serial or 5, serial & 0xFF or 9):
        assert (crl.entry(other, NAME) is None) is (other != serial)


def test_a_padded_serial_is_the_same_serial() -> None:
    padded = der.sequence(b"\x02\x03\x00\x00\x05", der.utc_time(T0))
    assert load_crl(CA.crl(padded)).entry(5, NAME) is not None


def test_twins_count_from_the_earlier_date() -> None:
    crl = load_crl(CA.crl(entry(9, T0 - DAY), entry(9, T0 - 4 * DAY), entry(9, T0 - 2 * DAY)))
    found = crl.entry(9, NAME)
    assert found is not None
    assert found.revoked_at == T0 - 4 * DAY


def test_an_undefined_reason_keeps_its_number() -> None:
    odd = build.extension("2.5.29.21", b"\x0a\x01\x63")
    found = load_crl(CA.crl(entry(9, extra=odd))).entry(9, NAME)
    assert found is not None
    assert found.reason == "reason 99"


def test_a_certificate_issuer_in_a_direct_crl_is_malformed() -> None:
    crl = load_crl(CA.crl(entry(9, issuer=Ca("other").raw_name)))
    with pytest.raises(BadInputError, match="certificateIssuer"):
        crl.entry(9, NAME)


def test_weak_digests_never_count() -> None:
    md5 = der.sequence(der.oid("1.2.840.113549.1.1.4"), der.null())
    tbs = der.sequence(md5, NAME, der.utc_time(T0))
    crl = load_crl(der.sequence(tbs, md5, der.bit_string(b"x" * 64)))
    assert crl.algorithm.digest == "md5"
    assert not is_signed_with(crl, CA.spki)


def test_two_signature_algorithms_make_a_crl_unusable() -> None:
    node = der.parse(CA.crl(), "crl").children()
    other = der.sequence(der.oid("1.2.840.10045.4.3.3"))
    assert "two different" in load_crl(der.sequence(node[0].raw, other, node[2].raw)).unusable


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\x30\x00",
        der.sequence(der.sequence(), der.sequence(), der.bit_string(b"")),
        CA.crl() + b"\0",
        CA.crl(extra=build.extension("2.5.29.20", der.integer(1))),
        CA.crl(scope=der.context(9, b"x", constructed=False)),
        CA.crl(scope=build.flag(1) + build.flag(1)),
        CA.crl(version=2),
    ],
    ids=["empty", "no fields", "empty fields", "trailing", "twice", "field", "flags", "version"],
)
def test_frames_that_are_malformed(bad: bytes) -> None:
    with pytest.raises(BadInputError):
        load_crl(bad)


@pytest.mark.parametrize(
    "bad",
    [
        b"\x30\x00",
        b"\x30\x02\x02\x00",
        b"\x31" + entry(5)[1:],
        b"\x30\x05\x02\x01\x05\x17\x00\x01",
        b"\x30\x04\x02\x80\x05\x17",
        b"\x30\x84\x00\x00\x00\x02\x02\x01",
        b"\x30\x03\x04\x01\x05",
        b"\x30",
    ],
)
def test_entries_that_are_malformed(bad: bytes) -> None:
    with pytest.raises(BadInputError):
        load_crl(CA.crl(entry(1), bad)).entry(5, NAME)


def test_a_hundred_thousand_entries() -> None:
    """Not timed here; the bench prints the figures (0.1 s for the first look-up)."""
    plain = der.sequence(build.extension("2.5.29.21", b"\x0a\x01\x01"))
    date = der.utc_time(T0)
    rows = [
        der.sequence(der.integer(0x5A << 120 | n * 7919), date, plain if n % 2 else b"")
        for n in range(100_000)
    ]
    crl = load_crl(CA.crl(*rows))
    assert is_signed_with(crl, CA.spki)
    assert crl.entry(0x5A << 120 | 7919 * 77, NAME) == module.CrlEntry(
        revoked_at=T0, reason="keyCompromise"
    )
    assert crl.entry(0x5A << 120 | 7919 * 76, NAME) == module.CrlEntry(revoked_at=T0)
    assert crl.entry((0x5A << 120 | 7919 * 77) + 1, NAME) is None
    assert sum(map(len, crl.index[0].values())) == 100_000


def test_more_entries_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ENTRIES", 3)
    assert load_crl(CA.crl(*map(entry, range(3)), number=11)).entry(2, NAME)
    with pytest.raises(LimitError, match="over 3 entries"):
        load_crl(CA.crl(*map(entry, range(4)), number=11)).entry(2, NAME)


FULL = CA.crl(
    entry(1, reason="keyCompromise", invalid_from=T0 - 2 * DAY),
    entry(2, issuer=Ca("other").raw_name),
    scope=build.point_name(build.uri("http://a/")) + build.reason_flags(3, 1) + build.flag(4),
    expired_since=T0,
)


def test_truncation_anywhere_is_malformed() -> None:
    for size in range(len(FULL)):
        with pytest.raises(BadInputError):
            load_crl(FULL[:size])


def test_flipped_octets_never_crash_and_never_fit_the_key() -> None:
    random_ = random.Random(5280)
    for _ in range(2000):
        data = bytearray(FULL)
        data[random_.randrange(len(data))] ^= 1 << random_.randrange(8)
        try:
            crl = load_crl(bytes(data))
            crl.entry(1, NAME)
        except BadInputError:
            continue
        usable = not crl.unusable and is_signed_with(crl, CA.spki)
        assert not usable or crl.tbs == load_crl(FULL).tbs


_INSTANTS = st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1)).map(  # noqa: DTZ001
    lambda d: d.replace(microsecond=0, tzinfo=UTC)
)
_ENTRIES = st.dictionaries(
    st.integers(1, 2**159 - 1),
    st.tuples(
        _INSTANTS,
        st.none() | st.sampled_from([f for f in x509.ReasonFlags if f.value != "unspecified"]),
        st.none() | _INSTANTS,
    ),
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(entries=_ENTRIES, this=_INSTANTS, number=st.integers(0, 2**80))
def test_reads_what_cryptography_wrote(
    entries: dict[int, tuple[datetime, x509.ReasonFlags | None, datetime | None]],
    this: datetime,
    number: int,
) -> None:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(CA.subject)
        .last_update(this)
        .next_update(this + timedelta(days=7))
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    for serial, (when, reason, invalid) in entries.items():
        revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(when)
        if reason:
            revoked = revoked.add_extension(x509.CRLReason(reason), critical=False)
        if invalid:
            revoked = revoked.add_extension(x509.InvalidityDate(invalid), critical=False)
        builder = builder.add_revoked_certificate(revoked.build())
    theirs = builder.sign(CA.key, hashes.SHA256())
    ours = load_crl(theirs.public_bytes(serialization.Encoding.DER))
    assert is_signed_with(ours, CA.spki)
    assert (ours.this_update, ours.number) == (theirs.last_update_utc, number)
    assert ours.next_update == theirs.next_update_utc
    assert ours.tbs == theirs.tbs_certlist_bytes
    for serial, (when, reason, invalid) in entries.items():
        found = ours.entry(serial, NAME)
        assert found is not None
        assert found.revoked_at == when
        assert found.invalid_from == invalid
        assert _spelled(found.reason) == (reason.value if reason else "")


def _spelled(reason: str) -> str:
    """Return cryptography's spelling of a reason (RFC 5280 itself writes both)."""
    assert not reason or reason in REASON_NAMES.values()
    return reason
