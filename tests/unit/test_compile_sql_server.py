"""SQL Server: the scripts, that a parser takes them, and that no text gets out of its quotes."""

from __future__ import annotations

import re
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from signward import compilers
from signward.compilers import Compiled, Towards
from signward.compilers._tsql import comment, identifier, octets, string
from signward.errors import PolicyError
from signward.frozen import replace
from signward.policy.rules.model import Action, Mode, PublisherMatch, Rule, RuleSet
from tests.builders.policies import publishers, rule_set

ONE, TWO = "ab" * 64, "cd" * 64
LISTED = Rule(id="listed", action=Action.ALLOW, digest=(f"file:sha512:{ONE}",))
SIGNED = Rule(id="signed", action=Action.ALLOW, publisher=PublisherMatch(key="first-leaf"))


def compiled(rules: RuleSet, **given: object) -> Compiled:
    compiler = compilers.load("sql-server")
    return compiler.compile(rules, compiler.settings(**given))


def script(made: Compiled, name: str = "apply.sql") -> str:
    return made.content(name).decode()


def lost(made: Compiled) -> set[tuple[str, str]]:
    """Return what is lost, but for what always is."""
    return {(loss.name, loss.rule) for loss in made.losses} - {("others", "")}


def test_what_others_let_in_is_a_loss() -> None:
    told = [(loss.name, loss.rule, loss.towards) for loss in compiled(rule_set()).losses]
    assert told == [("others", "", Towards.LOOSER)]


def test_assemblies_are_listed_under_strict_security() -> None:
    text = script(compiled(rule_set(replace(LISTED, note="it's"))))
    for option in ("clr enabled", "clr strict security"):
        assert f"EXEC sys.sp_configure N'{option}', 1;\nRECONFIGURE;" in text
    added = f"EXEC sys.sp_add_trusted_assembly 0x{ONE.upper()}, N'generated 1: listed it''s';"
    assert added in text


def test_what_is_not_listed_is_dropped() -> None:
    text = script(compiled(rule_set(LISTED)))
    assert f"INSERT INTO @named VALUES (0x{ONE.upper()});" in text
    for rules in (rule_set(LISTED), rule_set()):
        assert "WHERE [hash] NOT IN (SELECT [hash] FROM @named)" in script(compiled(rules))
    assert "INSERT INTO @named" not in script(compiled(rule_set()))


def test_others_stay_where_the_list_is_not_exclusive() -> None:
    denied = Rule(id="bad", action=Action.DENY, digest=(f"file:sha512:{TWO}",))
    assert "sp_drop_trusted" not in script(compiled(rule_set(LISTED), exclusive=False))
    text = script(compiled(rule_set(LISTED, denied), exclusive=False))
    assert f"INSERT INTO @named VALUES (0x{TWO.upper()});" in text
    assert f"INSERT INTO @named VALUES (0x{ONE.upper()});" not in text
    assert "WHERE [hash] IN (SELECT [hash] FROM @named)" in text


def test_a_denied_assembly_is_not_listed() -> None:
    denied = Rule(id="bad", action=Action.DENY, digest=LISTED.digest)
    made = compiled(rule_set(LISTED, denied))
    assert "sp_add_trusted_assembly" not in script(made)
    assert lost(made) == set()


def test_a_certificate_has_a_login_that_may_load() -> None:
    text = script(compiled(rule_set(SIGNED)))
    name = re.search(r"CREATE LOGIN (\[signward-first-leaf-[0-9a-f]{16}\]) FROM CERTIFICATE", text)
    assert name
    assert f"GRANT UNSAFE ASSEMBLY TO {name[1]};" in text
    certificate = publishers()[0].leaf
    octet = certificate.public_bytes(Encoding.DER).hex().upper()
    assert f"CREATE CERTIFICATE {name[1]} FROM BINARY = 0x{octet};" in text
    assert f"LIKE N'signward-%' AND [name] <> N'{name[1][1:-1]}')" in text


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (replace(LISTED, digest=(f"file:sha256:{ONE[:64]}",)), "digest"),
        (replace(LISTED, digest=(*LISTED.digest, f"authenticode:sha512:{ONE}")), "digest"),
        (replace(LISTED, publisher=SIGNED.publisher), "publisher"),
        (replace(SIGNED, id="listed", action=Action.DENY), "publisher"),
        (replace(LISTED, action=Action.AUDIT), "audit"),
    ],
)
def test_what_the_server_cannot_say_is_lost_whole(rule: Rule, name: str) -> None:
    made = compiled(rule_set(rule))
    assert lost(made) == {(name, "listed")}
    assert "sp_add_trusted" not in script(made)
    assert "CREATE LOGIN" not in script(made)


def test_of_a_ca_the_leaves_in_keys_have_logins() -> None:
    made = compiled(rule_set(replace(SIGNED, publisher=PublisherMatch(key="first-ca"))))
    assert script(made).count("CREATE LOGIN") == 1
    assert "[signward-first-leaf-" in script(made)
    assert lost(made) == {("key", "signed")}


def test_a_denial_by_digest_is_lost_where_certificates_let_in() -> None:
    denied = Rule(id="bad", action=Action.DENY, digest=LISTED.digest)
    made = compiled(rule_set(SIGNED, denied))
    assert lost(made) == {("digest", "bad")}
    assert {loss.towards for loss in made.losses} == {Towards.LOOSER}
    listed_too = compiled(rule_set(SIGNED, LISTED, denied))
    assert "sp_add_trusted_assembly" not in script(listed_too)


def test_watching_is_lost_and_other_kinds_are_skipped() -> None:
    made = compiled(rule_set(replace(LISTED, kind=("driver",)), mode=Mode.MONITOR))
    assert lost(made) == {("monitor", "")}
    assert made.skipped == ("listed",)


def test_a_digest_of_another_length_is_refused() -> None:
    with pytest.raises(PolicyError, match="128 digits"):
        compiled(rule_set(replace(LISTED, digest=("file:sha512:" + "ab" * 32,))))


def test_modules_and_assemblies_are_signed() -> None:
    made = compiled(rule_set(), signer="our key", modules=("dbo.p]roc",), assemblies=("a'b",))
    assert script(made, "sign.sql").splitlines()[1:] == [
        "ADD SIGNATURE TO OBJECT::[dbo].[p]]roc] BY CERTIFICATE [our key];",
        "ADD SIGNATURE TO ASSEMBLY::[a'b] BY CERTIFICATE [our key];",
    ]


@pytest.mark.parametrize(
    "given",
    [
        {"modules": ("dbo.x",)},
        {"modules": ("noschema",), "signer": "k"},
        {"modules": ("dbo.",), "signer": "k"},
        {"modules": ("dbo.a\nGO",), "signer": "k"},
        {"modules": ("dbo.$(x)",), "signer": "k"},
        {"assemblies": ("a" * 129,), "signer": "k"},
        {"assemblies": ("a",), "signer": "k\x00"},
    ],
)
def test_names_that_no_database_has_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(PolicyError):
        compiled(rule_set(), **given)


def _tokens(text: str) -> list[tuple[str, str]]:
    """Return what sqlfluff's lexer of Transact-SQL sees, without blanks."""
    core = pytest.importorskip("sqlfluff.core", reason="sqlfluff is not installed")
    found, problems = core.Lexer(config=core.FluffConfig(overrides={"dialect": "tsql"})).lex(text)
    assert problems == []
    return [(t.get_type(), t.raw) for t in found if t.raw.strip()]


HOSTILE = st.text(st.sampled_from("'\"[]-/*;\n\r\0$()GO: \u2028\u2019\uff07%_aé"), max_size=40)


@given(HOSTILE)
@settings(deadline=None, max_examples=150)
def test_no_string_leaves_its_quotes(text: str) -> None:
    tokens = _tokens(f"PRINT {string(text)};")
    assert [raw for _, raw in tokens] == ["PRINT", string(text), ";"]
    assert "\n" not in string(text)
    assert "$(" not in string(text)


@given(HOSTILE)
@settings(deadline=None, max_examples=150)
def test_no_identifier_leaves_its_brackets(text: str) -> None:
    try:
        quoted = identifier("test", text)
    except PolicyError:
        return
    assert quoted[1:-1].replace("]]", "").count("]") == 0
    assert quoted[1:-1].replace("]]", "]") == text
    assert not set(quoted) & set("\n\r\0\u2028")


@given(HOSTILE)
def test_no_comment_leaves_its_line(text: str) -> None:
    assert len(comment(text).splitlines()) == 1
    assert "$(" not in comment(text)


def test_octets_are_hexadecimal_only() -> None:
    assert octets("0aff") == "0x0AFF"
    for text in ("0", "0A", "1 --", "zz"):
        with pytest.raises(ValueError, match="hexadecimal"):
            octets(text)


@given(note=HOSTILE)
@settings(deadline=None, max_examples=40)
def test_a_note_changes_no_statement(note: str) -> None:
    """Whatever a note says, the script has the same words around it."""

    def shape(text: str) -> list[str]:
        return [kind if "quote" in kind or "comment" in kind else raw
                for kind, raw in _tokens(text)]  # fmt: skip

    plain = script(compiled(rule_set(LISTED, SIGNED)))
    hostile = script(compiled(rule_set(replace(LISTED, note=note), replace(SIGNED, note=note))))
    assert shape(hostile) == shape(plain)
    assert len(hostile.split("\n")) == len(plain.split("\n"))


@pytest.mark.interop
@pytest.mark.parametrize("exclusive", [True, False])
def test_a_parser_of_transact_sql_takes_the_script(*, exclusive: bool) -> None:
    """sqlfluff's grammar has no CREATE CERTIFICATE and no ADD SIGNATURE: the rest is parsed."""
    sqlfluff = pytest.importorskip("sqlfluff", reason="sqlfluff is not installed")
    denied = Rule(id="bad", action=Action.DENY, digest=(f"file:sha512:{TWO}",))
    text = script(compiled(rule_set(replace(LISTED, note="it's; GO"), denied), exclusive=exclusive))
    tree = sqlfluff.parse(text, dialect="tsql")
    assert "unparsable" not in str(tree)
    assert str(tree).count("while_statement") == 2
