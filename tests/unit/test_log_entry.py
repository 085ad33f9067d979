"""Log entries: one fact has one spelling, and nothing else is read."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from signward.authority.log.entry import MAX_ENTRY, Kind, decode, encode, texts
from signward.errors import BadInputError, LimitError, MalformedError

AT = datetime(2026, 11, 23, 16, 10, 18, 5, tzinfo=UTC)

_NAMES = st.from_regex(r"[a-z][a-z0-9_-]{0,20}", fullmatch=True)
_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
_FIELDS = st.dictionaries(_NAMES.filter(lambda n: n not in {"at", "kind"}), _VALUES, max_size=6)


def test_an_entry_is_spelt_in_one_way() -> None:
    data = encode(Kind.REVOKED, {"serial": "0a", "ca": "issuing", "reason": 1}, AT)
    assert data == (
        b'{"at":"2026-11-23T16:10:18.000005Z","ca":"issuing","kind":"revoked",'
        b'"reason":1,"serial":"0a"}'
    )


def test_instants_are_written_in_utc() -> None:
    elsewhere = AT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert encode(Kind.CRL, {}, elsewhere) == encode(Kind.CRL, {}, AT)
    assert decode(encode(Kind.CRL, {}, elsewhere)).at == AT


@given(kind=st.sampled_from(Kind), fields=_FIELDS, at=st.datetimes(timezones=st.just(UTC)))
def test_what_is_written_is_read(kind: Kind, fields: dict[str, Any], at: datetime) -> None:
    try:
        data = encode(kind, fields, at)
    except ValueError as error:
        assert "levels" in str(error)  # noqa: PT017 - hypothesis nests deeper than we do
        return
    entry = decode(data)
    assert (entry.kind, entry.at, dict(entry.fields)) == (kind, at, fields)
    whole = {**fields, "at": json.loads(data)["at"], "kind": kind.value}
    assert (
        data
        == json.dumps(whole, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    )


@given(data=st.binary() | st.text().map(str.encode) | _FIELDS.map(lambda f: json.dumps(f).encode()))
@example(b"[" * 60_000)
@example(b'{"a":' * 10_000)
@example(b"9" * 60_000)
def test_other_octets_are_refused(data: bytes) -> None:
    with pytest.raises(BadInputError):
        decode(data)


@pytest.mark.parametrize(
    "change",
    [
        (b",", b", "), (b'"ca":"issuing"', b'"ca":"issu\\u0069ng"'),
        (b'"reason":1', b'"reason":1.0'),
        (b'2026-11-23T16:10:18.000005Z', b'9999-12-31T23:59:59-05:00'),
        (b'"kind":"revoked"', b'"kind":"undone"'), (b"16:10:18.000005Z", b"16:10:18Z"),
        (b'"serial":"0a"', b'"serial":"0a","serial":"0a"'), (b"2026-11", b"2026-13"),
        (b'"reason":1', b'"Reason":1'), (b'"reason":1', b'"reason":9007199254740992'),
        (b'"kind":"revoked",', b""), (b'"0a"}', b'"0a"}\n'), (b'"reason":1', b'"reason":01'),
    ],
)  # fmt: skip
def test_another_spelling_is_refused(change: tuple[bytes, bytes]) -> None:
    data = encode(Kind.REVOKED, {"serial": "0a", "ca": "issuing", "reason": 1}, AT)
    assert change[0] in data
    with pytest.raises(MalformedError, match="log entry"):
        decode(data.replace(*change))


def test_an_entry_fits_16_bits_of_length() -> None:
    room = MAX_ENTRY - len(encode(Kind.ADMIN, {"text": ""}, AT))
    assert len(encode(Kind.ADMIN, {"text": "x" * room}, AT)) == MAX_ENTRY
    with pytest.raises(LimitError):
        encode(Kind.ADMIN, {"text": "x" * (room + 1)}, AT)
    with pytest.raises(LimitError):
        decode(bytes(MAX_ENTRY + 1))


def test_text_that_is_no_utf8_is_the_senders_fault() -> None:
    with pytest.raises(MalformedError, match="surrogates"):
        encode(Kind.SIGN_REQUEST, {"name": b"\xff.exe".decode("utf-8", "surrogateescape")}, AT)


@pytest.mark.parametrize(
    "fields",
    [{"at": "x"}, {"kind": "x"}, {"a": 1.5}, {"a": b"x"}, {"A": 1}, {"a": 2**53}, {"a": {1: 2}}],
)  # fmt: skip
def test_fields_of_another_form_are_mistakes(fields: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        encode(Kind.ADMIN, fields, AT)
    with pytest.raises(ValueError, match="time zone"):
        encode(Kind.ADMIN, {}, AT.replace(tzinfo=None))


def test_texts_are_found_at_any_depth() -> None:
    assert texts({"a": ["b", {"c": "d", "e": 1}], "f": None}) == {"b", "d"}
