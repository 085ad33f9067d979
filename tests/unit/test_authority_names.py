"""Subjects and alternative names as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signward.authority import names
from signward.errors import AuthorityError, BadInputError
from signward.trust.general_names import read_general_name
from signward.trust.names import name_text
from signward.wire import der


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("CN=Release,O=Example Ltd,C=SE", "CN=Release,O=Example Ltd,C=SE"),
        ("C=SE, O=Example Ltd, CN=Release", "CN=Release,O=Example Ltd,C=SE"),
        ("cn=Release,o=Example Ltd", "CN=Release,O=Example Ltd"),
        (r"CN=A\, B\+C,O=X", r"CN=A\, B\+C,O=X"),
        (r"CN=\C3\84rger,O=X", "CN=Ärger,O=X"),
        ("CN=Ärger,O=X", "CN=Ärger,O=X"),
        ("CN=a,OU=1,OU=2,O=X", "CN=a,OU=2,OU=1,O=X"),
        ("CN=a=b,O=X", "CN=a=b,O=X"),
    ],
)
def test_a_subject_is_read_in_either_order(written: str, read: str) -> None:
    assert name_text(names.subject(written)) == read


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("", "0 attributes"),
        ("Release", "ATTRIBUTE=VALUE"),
        ("XX=1", "ATTRIBUTE=VALUE"),
        ("CN=", "0 characters"),
        ("CN=" + "x" * 65, "65 characters"),
        ("C=Sweden", "two capitals"),
        ("C=se", "two capitals"),
        ("C=S1", "two capitals"),
        ("CN=a+O=b", "plus sign"),
        ("CN=a\\", "backslash"),
        (r"CN=\FF", "no UTF-8"),
        ("CN=a\nb", "control characters"),
        ("CN=a\u202eb", "control characters"),
        ("DC=ä", "ASCII"),
        ("serialNumber=a@b", "PrintableString"),
        (",".join(f"OU={n}" for n in range(33)), "33 attributes"),
    ],
)
def test_an_odd_subject_is_refused(written: str, said: str) -> None:
    with pytest.raises(AuthorityError, match=said):
        names.subject(written)


def test_string_types_are_those_of_rfc_5280() -> None:
    raw = names.subject("CN=a,O=b,C=SE,DC=example,serialNumber=1")
    tags = {name: value[0] for name, value in _values(raw)}
    assert tags == {"C": 0x13, "DC": 0x16, "O": 0x0C, "serialNumber": 0x13, "CN": 0x0C}


def _values(raw: bytes) -> list[tuple[str, bytes]]:
    pairs = [rdn.children()[0].children() for rdn in der.parse(raw, "n").children()]
    return [(names.SHORT_NAMES[kind.oid()], value.raw) for kind, value in pairs]


def test_a_requests_name_is_written_anew() -> None:
    teletex = der.encode(der.TELETEX_STRING, "Ärger".encode("latin-1"))
    rdn = der.set_of(der.sequence(der.oid("2.5.4.3"), teletex))
    other = der.set_of(der.sequence(der.oid("2.5.4.6"), der.utf8("SE")))
    assert names.rewritten(der.sequence(rdn, other)) == names.subject("C=SE,CN=Ärger")


def test_attributes_nobody_knows_are_not_taken_over() -> None:
    rdn = der.set_of(der.sequence(der.oid("1.2.3.4"), der.utf8("x")))
    with pytest.raises(AuthorityError, match=r"1\.2\.3\.4"):
        names.rewritten(der.sequence(rdn))
    with pytest.raises(BadInputError):
        names.rewritten(b"\x30\x03\x02\x01\x01")


@given(st.text(max_size=80))
def test_any_text_is_a_name_or_refused(text: str) -> None:
    try:
        raw = names.subject(text)
    except AuthorityError:
        return
    assert names.rewritten(raw) == raw


@pytest.mark.parametrize(
    ("written", "kind", "value"),
    [
        ("uri:https://github.com/a/b", "URI", b"https://github.com/a/b"),
        ("email:a.b@example.org", "e-mail", b"a.b@example.org"),
        ("dns:build.example.org", "DNS", b"build.example.org"),
        ("IP:192.0.2.1", "IP", bytes((192, 0, 2, 1))),
        ("ip:2001:db8::1", "IP", bytes.fromhex("20010db8000000000000000000000001")),
        ("dir:CN=a,O=b", "directory", names.subject("CN=a,O=b")),
    ],
)
def test_an_alternative_name(written: str, kind: str, value: bytes) -> None:
    found = read_general_name(der.parse(names.alternative(written), "name"))
    assert (found.kind, found.value) == (kind, value)


@pytest.mark.parametrize(
    "written",
    ["", "https://a", "uri:no scheme", "uri:", "email:a", "email:a@b c", "dns:-a", "dns:a..b",
     "dns:" + "a" * 64, "ip:300.1.1.1", "dir:x", "uri:https://ä.example", "rid:1.2"],
)  # fmt: skip
def test_an_odd_alternative_name_is_refused(written: str) -> None:
    with pytest.raises(AuthorityError):
        names.alternative(written)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("email:example.org", b"example.org"),
        ("email:a@example.org", b"a@example.org"),
        ("uri:.example.org", b".example.org"),
        ("ip:10.0.0.0/8", bytes((10, 0, 0, 0, 255, 0, 0, 0))),
        ("dir:O=Example Ltd", names.subject("O=Example Ltd")),
    ],
)
def test_a_constraint(written: str, value: bytes) -> None:
    assert read_general_name(der.parse(names.constraint(written), "name")).value == value


@pytest.mark.parametrize("written", ["ip:10.0.0.1/8", "dns:*", "uri:https://a", "x"])
def test_an_odd_constraint_is_refused(written: str) -> None:
    with pytest.raises(AuthorityError):
        names.constraint(written)
