from __future__ import annotations

import pytest

from signward.findings import Code, Effect
from signward.trust.constraints import check_names
from signward.wire import der
from tests.builders import pki
from tests.builders.pki import CA, SIGNER, general_name, issue, root

EMAIL, DNS, DIRECTORY, URI, IP = 1, 2, 4, 6, 7
LOCALHOST6 = b"\0" * 15 + b"\1"


def base(tag: int, value: bytes | str) -> bytes:
    return general_name(tag, value.encode() if isinstance(value, str) else value)


def codes(
    names: tuple[bytes, ...],
    permitted: tuple[bytes, ...] = (),
    excluded: tuple[bytes, ...] = (),
    subject: bytes = b"",
) -> list[Code]:
    """Return what rejects a leaf of these names under a CA of these constraints."""
    ca = root("Root", *CA, pki.name_constraints(permitted, excluded)).load()
    alternative = (pki.alternative_names(*names),) if names else ()
    leaf = issue("Signer", "Root", *SIGNER, *alternative)
    if subject:
        leaf = leaf.but(subject=subject)
    findings = check_names((leaf.load(), ca))
    return [f.code for f in findings if f.effect is Effect.REJECT]


@pytest.mark.parametrize(
    ("tag", "constraint", "inside", "outside"),
    [
        (DNS, "example.com", "example.com", "example.org"),
        (DNS, "example.com", "WWW.Example.COM", "notexample.com"),
        (DNS, "", "anything.test", None),
        (EMAIL, "me@example.com", "me@EXAMPLE.com", "Me@example.com"),
        (EMAIL, "example.com", "me@example.com", "me@www.example.com"),
        (EMAIL, ".example.com", "me@www.example.com", "me@example.com"),
        (URI, "example.com", "https://u@example.com:8443/x", "https://www.example.com/"),
        (URI, ".example.com", "http://www.example.com?x", "http://example.com/"),
        (IP, b"\x0a\0\0\0\xff\0\0\0", b"\x0a\1\2\3", b"\x0b\1\2\3"),
        (IP, LOCALHOST6 + b"\xff" * 16, LOCALHOST6, b"\0" * 16),
        (IP, b"\0" * 8, b"\1\2\3\4", LOCALHOST6),
    ],
)
def test_inside_and_outside_of_a_subtree(
    tag: int, constraint: bytes | str, inside: bytes | str, outside: bytes | str | None
) -> None:
    tree = (base(tag, constraint),)
    assert codes((base(tag, inside),), permitted=tree) == []
    assert codes((base(tag, inside),), excluded=tree) == [Code.NAME_CONSTRAINTS]
    if outside is not None:
        assert codes((base(tag, outside),), permitted=tree) == [Code.NAME_CONSTRAINTS]
        assert codes((base(tag, outside),), excluded=tree) == []


def test_directory_names_by_prefix() -> None:
    tree = (general_name(DIRECTORY, der.sequence(pki.rdn("2.5.4.10", der.printable("TEST")))),)
    assert codes((), permitted=tree) == []
    assert codes((), excluded=tree) == [Code.NAME_CONSTRAINTS]
    stranger = der.sequence(pki.rdn("2.5.4.10", der.utf8("Other")))
    assert codes((), permitted=tree, subject=stranger) == [Code.NAME_CONSTRAINTS]
    assert codes((general_name(DIRECTORY, stranger),), permitted=tree) == [Code.NAME_CONSTRAINTS]


def test_the_subjects_e_mail_address_counts_unless_the_extension_names_one() -> None:
    subject = pki.name(
        "x", pki.rdn("1.2.840.113549.1.9.1", der.encode(der.IA5_STRING, b"me@bad.test"))
    )
    tree = (base(EMAIL, "good.test"),)
    assert codes((), permitted=tree, subject=subject) == [Code.NAME_CONSTRAINTS]
    assert codes((base(EMAIL, "me@good.test"),), permitted=tree, subject=subject) == []


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        (DNS, ".example.com"),
        (DNS, "a..example.com"),
        (DNS, "w*.example.com"),
        (DNS, "example.com\0.evil.test"),
        (EMAIL, "no address"),
        (EMAIL, "a@b@example.com"),
        (URI, "https://10.0.0.1/"),
        (URI, "https://[::1]/"),
        (URI, "urn:isbn:0"),
        (URI, "https://good.test\\@example.com/"),
        (IP, b"\x0a\0\0\0\xff\0\0\0"),
    ],
)
def test_a_malformed_name_of_a_constrained_kind_fails_closed(tag: int, name: bytes | str) -> None:
    constraint = b"\1\1\1\1\xff\xff\xff\xff" if tag == IP else "other.test"
    assert codes((base(tag, name),), excluded=(base(tag, constraint),)) == [Code.NAME_CONSTRAINTS]


def test_a_wildcard_touches_what_it_may_stand_for() -> None:
    """CVE-2025-61727."""
    name = (base(DNS, "*.example.com"),)
    assert codes(name, excluded=(base(DNS, "bar.example.com"),)) == [Code.NAME_CONSTRAINTS]
    assert codes(name, excluded=(base(DNS, "a.bar.example.com"),)) == []
    assert codes(name, permitted=(base(DNS, "bar.example.com"),)) == [Code.NAME_CONSTRAINTS]
    assert codes(name, permitted=(base(DNS, "example.com"),)) == []


def test_kinds_without_a_rule_fail_closed_only_when_they_occur() -> None:
    other = general_name(0, der.oid("1.2.3") + der.context(0, der.utf8("x")))
    assert codes((other,), excluded=(other,)) == [Code.NAME_CONSTRAINTS]
    assert codes((other,), permitted=(other,)) == [Code.NAME_CONSTRAINTS]
    assert codes((base(DNS, "a.test"),), excluded=(other,)) == []


@pytest.mark.parametrize(
    "bad",
    [
        base(DNS, "*.example.com"),
        base(IP, b"\x0a\0\0\0"),
        base(IP, b"\x0a\0\0\0\xff\0\xff\0"),
        base(EMAIL, "a@b@c"),
        base(URI, "http://example.com"),
        general_name(DIRECTORY, der.utf8("x")),
        der.context(9, b""),
        base(DNS, "a.test") + der.context(0, b"\1", constructed=False),
        base(DNS, "a.test") + der.context(1, b"\1", constructed=False),
    ],
)
def test_malformed_constraints_break_the_path(bad: bytes) -> None:
    assert codes((), permitted=(bad,)) == [Code.CERTIFICATE_MALFORMED]


def test_empty_constraints_are_malformed() -> None:
    ca = root("Root", *CA, ("2.5.29.30", True, der.sequence())).load()
    findings = check_names((issue("Signer", "Root", *SIGNER).load(), ca))
    assert [f.code for f in findings] == [Code.CERTIFICATE_MALFORMED]


def test_comparisons_are_bounded() -> None:
    names = tuple(base(DNS, f"n{n}.test") for n in range(200))
    trees = tuple(base(DNS, f"t{n}.test") for n in range(200))
    assert codes(names, excluded=trees) == [Code.LIMIT_EXCEEDED]
    assert codes(names[:50], excluded=trees) == []


def test_an_end_certificate_may_not_constrain_and_must_have_a_name() -> None:
    ca = root().load()
    constraining = issue("S", "Root", pki.name_constraints((base(DNS, "a.test"),))).load()
    assert [f.code for f in check_names((constraining, ca))] == [Code.NAME_CONSTRAINTS]
    names = (base(DNS, "a.test"),)
    for critical, count in ((False, 1), (True, 0)):
        nameless = issue("", "Root", pki.alternative_names(*names, critical=critical)).load()
        assert len(check_names((nameless, ca))) == count


def test_self_issued_certificates_are_exempt_unless_they_are_the_leaf() -> None:
    tree = (base(DNS, "a.test"),)
    ca = root("Root", *CA, pki.name_constraints(tree)).load()
    renewed = issue("Root", "Root", *CA, pki.alternative_names(base(DNS, "b.test"))).load()
    leaf = issue("Signer", "Root", *SIGNER).load()
    assert check_names((leaf, renewed, ca)) == []
    assert [f.code for f in check_names((renewed, ca))] == [Code.NAME_CONSTRAINTS]
