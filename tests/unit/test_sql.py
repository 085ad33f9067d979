"""Signatures of SQL Server modules: found and shown, never called good or bad."""

from __future__ import annotations

from pathlib import Path

import pytest

from signward.errors import LimitError
from signward.findings import Code
from signward.formats import sql
from signward.formats.sql import Statement, read_statements
from signward.state import Outcome, Verdict
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.verify import assess
from signward.wire.source import BytesSource

MODULE = "CREATE PROCEDURE dbo.uspPay AS SELECT 1;\r\nGO\r\n"
SIGNED = (
    "ADD SIGNATURE TO OBJECT::[dbo].[uspPay]\r\n"
    "    BY CERTIFICATE [Pay ]]Roll] WITH SIGNATURE = 0x831F5530;\r\n"
)


def judged(text: str, codec: str = "utf-8", mark: bytes = b"") -> Verdict:
    source = BytesSource("install.sql", mark + text.encode(codec))
    return assess(source, Context(Options()))


def test_shipped_signature_is_indeterminate_and_shown() -> None:
    verdict = judged(MODULE + SIGNED)
    assert (verdict.outcome, verdict.cause) == (Outcome.INDETERMINATE, Code.UNSUPPORTED_KIND)
    assert verdict.facts == {
        "module-signatures": 1,
        "module-1": "OBJECT::[dbo].[uspPay] signed by certificate Pay ]Roll, 4 bytes",
    }
    assert "published" in verdict.findings[0].required


@pytest.mark.parametrize(
    ("codec", "mark"),
    [("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff"), ("utf-8", b"\xef\xbb\xbf")],
)
def test_encodings(codec: str, mark: bytes) -> None:
    assert judged(MODULE + SIGNED, codec, mark).cause is Code.UNSUPPORTED_KIND


def test_script_without_signatures_is_unsigned() -> None:
    assert judged(MODULE).cause is Code.UNSIGNED
    signs_itself = "ADD SIGNATURE TO p BY CERTIFICATE c WITH PASSWORD = 'secret'"
    verdict = judged(signs_itself)
    assert verdict.cause is Code.UNSIGNED
    assert verdict.facts["module-1"] == "p signed by certificate c, made when the script runs"
    assert "secret" not in str(verdict)


@pytest.mark.parametrize(
    "hidden",
    [
        f"-- {SIGNED.replace(chr(13) + chr(10), ' ')}",
        f"/* outer /* inner */ {SIGNED} */",
        f"PRINT '{SIGNED}'",
        f'SELECT "{SIGNED}"',
        f"/* never closed {SIGNED}",
    ],
)
def test_comments_and_strings_hold_no_statement(hidden: str) -> None:
    assert list(read_statements(hidden)) == []


def test_several_signers_and_countersignatures() -> None:
    text = (
        "add counter /* so */ signature to tr by asymmetric key K with signature = 0xABC, "
        "certificate c2 WITH PASSWORD=N'x', certificate c3; add signature to x"
    )
    assert list(read_statements(text)) == [
        Statement(module="tr", by="asymmetric key K", counter=True, value=b"\x0a\xbc"),
        Statement(module="tr", by="certificate c2", counter=True, value=b""),
        Statement(module="tr", by="certificate c3", counter=True, value=b""),
    ]


@pytest.mark.parametrize("size", range(len(SIGNED)))
def test_cut_statements_are_no_error(size: int) -> None:
    verdict = judged(MODULE + SIGNED[:size])
    assert verdict.outcome is not Outcome.ACCEPTED
    assert verdict.cause in {Code.UNSIGNED, Code.UNSUPPORTED_KIND}


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "MAX_STATEMENTS", 2)
    with pytest.raises(LimitError):
        list(read_statements(SIGNED * 3))
    monkeypatch.setattr(sql, "MAX_TOKENS", 10)
    with pytest.raises(LimitError, match="tokens"):
        list(read_statements(SIGNED))
    monkeypatch.setattr(sql, "MAX_SCRIPT", 10)
    assert judged(MODULE).cause is Code.LIMIT_EXCEEDED


@pytest.mark.parametrize("text", ["[" * 200_000, "/*" * 200_000, "'" * 200_001, "0x" * 200_000])
def test_hostile_text_takes_little_time(text: str) -> None:
    assert list(read_statements(f"signature {text}")) == []


def test_only_the_extension_makes_a_script(tmp_path: Path) -> None:
    verdict = assess(BytesSource("install.txt", (MODULE + SIGNED).encode()), Context(Options()))
    assert verdict.cause is Code.UNSIGNED
    assert verdict.format == ""
