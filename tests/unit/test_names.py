from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signward.errors import BadInputError
from signward.trust.names import (
    EMAIL_ADDRESS,
    attribute_values,
    name_text,
    normalized_name,
    same_name,
)
from signward.wire import der
from tests.builders.pki import name, rdn

CN = "2.5.4.3"


def common(tag: int, text: str, codec: str) -> bytes:
    return der.sequence(rdn(CN, der.encode(tag, text.encode(codec))))


@pytest.mark.parametrize(
    ("tag", "codec"),
    [
        (der.PRINTABLE_STRING, "ascii"),
        (der.TELETEX_STRING, "latin-1"),
        (der.BMP_STRING, "utf-16-be"),
        (der.UNIVERSAL_STRING, "utf-32-be"),
        (der.IA5_STRING, "ascii"),
    ],
)
def test_string_types_do_not_tell_names_apart(tag: int, codec: str) -> None:
    assert same_name(common(tag, "Test CA", codec), common(der.UTF8_STRING, "Test CA", "utf-8"))


@pytest.mark.parametrize(
    "other", ["TEST ca", "  Test   CA ", "Test\u00a0CA", "Ｔest CA", "Te\u00adst CA"]
)
def test_case_space_and_compatibility_forms_do_not_either(other: str) -> None:
    assert same_name(common(der.UTF8_STRING, "Test CA", "utf-8"), common(12, other, "utf-8"))


def test_what_does_tell_names_apart() -> None:
    plain = name("Test CA")
    assert not same_name(plain, name("TestCA"))
    assert not same_name(plain, name("Test CA", rdn("2.5.4.11", der.utf8("Unit"))))
    assert not same_name(
        name("x", rdn("2.5.4.11", der.utf8("a"))), name("x", rdn(CN, der.utf8("a")))
    )
    one, two = rdn(CN, der.utf8("a")), rdn("2.5.4.11", der.utf8("b"))
    assert not same_name(der.sequence(one, two), der.sequence(two, one))


def test_one_rdn_of_two_attributes_is_not_two_rdns() -> None:
    pair = [
        der.sequence(der.oid(CN), der.utf8("a")),
        der.sequence(der.oid(EMAIL_ADDRESS), der.utf8("b")),
    ]
    together = der.sequence(der.encode(der.SET, b"".join(pair)))
    turned = der.sequence(der.encode(der.SET, b"".join(reversed(pair))))
    apart = der.sequence(*(der.set_of(part) for part in pair))
    assert same_name(together, turned)
    assert not same_name(together, apart)


def test_values_that_are_no_text_match_octet_for_octet() -> None:
    bad = der.sequence(rdn(CN, der.encode(der.UTF8_STRING, b"\xff\xfe")))
    assert same_name(bad, bytes(bad))
    assert not same_name(bad, der.sequence(rdn(CN, der.encode(der.UTF8_STRING, b"\xff\xfd"))))


@pytest.mark.parametrize(
    "junk", [b"", b"\x04\x00", b"\x30\x02\x31\x00", b"\x30\x04\x31\x02\x30\x00"]
)
def test_what_is_no_name_is_refused(junk: bytes) -> None:
    with pytest.raises(BadInputError):
        normalized_name(junk)
    assert not same_name(junk, name("x"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Sue, Grabbit and Runn", "CN=Sue\\, Grabbit and Runn,O=Test"),
        ('Before "after"', 'CN=Before \\"after\\",O=Test'),
        (" #x ", "CN=\\ #x\\ ,O=Test"),
        ("#x", "CN=\\#x,O=Test"),
        ("a\x1b[31m\u202e\n", "CN=a\\1B[31m\\E2\\80\\AE\\0A,O=Test"),
        ("Lučić", "CN=Lučić,O=Test"),
    ],
)
def test_text_of_rfc_4514_that_cannot_steer_a_terminal(value: str, text: str) -> None:
    assert name_text(name(value)) == text


def test_types_without_a_short_name_are_dotted_with_a_hexadecimal_value() -> None:
    odd = der.sequence(rdn("1.2.3.4", der.utf8("x")))
    assert name_text(odd) == "1.2.3.4=#0c0178"


def test_attribute_values_in_order() -> None:
    raw = der.sequence(rdn(CN, der.utf8("first")), rdn(CN, der.utf8("second")))
    assert attribute_values(raw, CN) == ("first", "second")
    assert attribute_values(raw, EMAIL_ADDRESS) == ()


@settings(max_examples=50, deadline=None)
@given(st.text(min_size=1, max_size=20))
def test_a_name_matches_itself_folded(text: str) -> None:
    try:
        raw = name(text)
    except UnicodeEncodeError:
        return
    assert same_name(raw, name(f" {text} "))
    assert name_text(raw).isprintable()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_name_or_bad_input(data: bytes) -> None:
    try:
        normalized_name(data), name_text(data)
    except BadInputError:
        return
