"""Reports as text: lines, tables, JSON, CSV, SARIF; hostile names in each."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from signward.findings import Code, Effect
from signward.policy.record import Record, from_json
from signward.report import attack, jsonl, sarif, spreadsheet, table, text
from signward.report.display import day, minute, outcome_word, quantity, visible
from signward.state import Outcome, Stage
from tests.builders.records import accepted, finding, refused, scan

HOSTILE = (
    "<script>alert(1)</script>", "a\"b'c&d", "two\nlines\r\tand", "\x1b[31mred\x1b[0m",
    "gpj.\u202eexe", "zero\u200bwidth", "nul\x00", "\x9b31m", "\u2028", "[bold]rich[/bold]",
    "=cmd|' /C calc'!A0", "caf\\xe9",
)  # fmt: skip


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain name.exe", "plain name.exe"),
        ("né", "né"),
        ("gpj.\u202eexe", "gpj.\\u202eexe"),
        ("a\nb", "a\\x0ab"),
        ("\x1b[0m", "\\x1b[0m"),
        ("\udcff", "\\xff"),
        ("\u00a0", "\\xa0"),
        ("\U000e0041", "\\U000e0041"),
        ("בע", "בע"),
    ],
)
def test_what_hides_is_written_out(raw: str, shown: str) -> None:
    assert visible(raw) == shown


def test_small_words() -> None:
    assert quantity(1, "file") == "1 file"
    assert quantity(1234, "file") == "1,234 files"
    assert quantity(2, "entry", "entries") == "2 entries"
    assert (day(None), minute(None)) == ("", "")


def test_an_accepted_line_names_publisher_and_time() -> None:
    line = text.line(accepted("a.exe", "Contoso, Inc."))
    assert re.fullmatch(
        r"ACCEPTED +a\.exe  Contoso, Inc\.  \[signed 2024-06-06, timestamped\]", line
    )


@pytest.mark.parametrize(("effect", "told"), [(Effect.WARN, ", revoked since"), (Effect.NOTE, "")])
def test_an_accepted_line_hints_at_a_revocation_since(effect: Effect, told: str) -> None:
    """A note tells of a timestamp authority's certificate, which is not who signed."""
    found = finding(Code.SIGNED_BEFORE_REVOCATION, effect)
    record = msgspec.structs.replace(accepted("a.exe"), findings=(found,))
    assert text.line(record).endswith(f"[signed 2024-06-06, timestamped{told}]")


def test_a_rejected_line_names_cause_windows_name_and_fact() -> None:
    line = text.line(refused("b.exe", Code.DIGEST_MISMATCH))
    assert re.match(r"REJECTED +b\.exe: digest-mismatch \[TRUST_E_BAD_DIGEST\] - found ", line)


def test_an_indeterminate_line_is_neither() -> None:
    line = text.line(refused("c.jar", Code.UNSUPPORTED_KIND, Outcome.INDETERMINATE))
    assert line.startswith("INDETERMINATE  c.jar: unsupported-kind")


def test_a_stage_short_of_accepted_never_says_accepted() -> None:
    record = msgspec.structs.replace(accepted("a"), stage=Stage.INTACT)
    assert outcome_word(record) == "INTACT"
    assert "ACCEPTED" not in text.line(record)


def test_times_that_nobody_proved_say_so() -> None:
    (signature,) = accepted("a").signatures
    claimed = msgspec.structs.replace(signature, proven_time=None)
    bare = msgspec.structs.replace(claimed, claimed_time=None)
    lines = [
        text.line(msgspec.structs.replace(accepted("a"), signatures=(s,))) for s in (claimed, bare)
    ]
    assert lines[0].endswith("[claims 2024-06-06, no proven time]")
    assert lines[1].endswith("[no proven time]")


def test_a_verdict_without_findings_still_has_a_line() -> None:
    record = msgspec.structs.replace(refused("a"), findings=(), message="")
    assert text.line(record).endswith("decided by built-in strict")


def test_explain_gives_every_finding_gravest_first_with_clause_and_hint() -> None:
    told = text.explain(refused("b.exe", Code.EXPIRED))
    assert told.index("reject   expired") < told.index("note     revocation-unknown")
    assert told.count("(RFC 5652 5.4)") == 3
    assert told.count("hint: fetch the file again") == 2
    assert "signature 1: untrusted" in told


def test_colour_is_for_terminals_and_carries_nothing_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "1000")
    plain, shown = io.StringIO(), Terminal()
    records = [accepted("a"), refused("b")]
    text.write(records, plain, details=True)
    text.write(records, shown, details=True)
    assert "\x1b" not in plain.getvalue()
    assert "\x1b[32mACCEPTED" in shown.getvalue()
    assert re.sub(r"\x1b\[\d*m", "", shown.getvalue()) == plain.getvalue()


def test_on_a_terminal_text_is_folded_under_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    shown, plain = Terminal(), io.StringIO()
    records = [refused("b.exe"), accepted("deep/" * 30 + "a.exe", "Contoso, Inc.")]
    text.write(records, shown)
    text.write(records, plain)
    lines = shown.getvalue().splitlines()
    outcomes = [line.split()[0] for line in lines if not line.startswith(" " * 15)]
    assert outcomes == ["REJECTED", "ACCEPTED"]
    assert all(len(line) <= 80 or len(line.split()) <= 2 for line in lines)
    assert shown.getvalue().split() == plain.getvalue().split()
    assert len(plain.getvalue().splitlines()) == 2


def test_a_narrow_terminal_still_gets_whole_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "10")
    shown = Terminal()
    text.write([refused("b.exe", Code.EXPIRED)], shown, colour=False)
    lines = shown.getvalue().splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) > 40


def test_folding_cuts_and_loses_nothing() -> None:
    record = refused("b.exe", Code.EXPIRED)
    folded = text.explain(record, width=80)
    assert folded.split() == text.explain(record).split()
    assert len(folded.splitlines()) > len(text.explain(record).splitlines())


def test_a_line_tells_the_beginning_of_a_digest_and_explain_all_of_it() -> None:
    digest = "0123456789abcdef" * 4
    deciding = finding(Code.DIGEST_MISMATCH, Effect.REJECT, found=f"sha256 {digest}")
    record = msgspec.structs.replace(
        refused("b.exe", Code.DIGEST_MISMATCH), findings=(deciding,), message=""
    )
    assert "found sha256 0123456789ab..., required" in text.line(record)
    assert digest in text.explain(record)


def test_a_tally_counts_outcomes_and_their_causes() -> None:
    tally = text.Tally()
    for record in (
        accepted("a"), accepted("b"), refused("c", Code.EXPIRED), refused("d", Code.UNSIGNED),
        refused("e", Code.UNSIGNED), refused("f", Code.UNREADABLE, Outcome.INDETERMINATE),
    ):  # fmt: skip
        tally.add(record)
    assert tally.files == 6
    assert str(tally) == (
        "6 files: 3 rejected (2 unsigned, 1 expired), 2 accepted, 1 indeterminate (unreadable)"
    )


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colour_can_be_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert text.wants_colour(Terminal())
    monkeypatch.setenv(name, value)
    assert not text.wants_colour(Terminal())


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_on_their_line(name: str) -> None:
    publisher = accepted(name, name)
    out = io.StringIO()
    text.write([publisher, refused(name)], out)
    lines = out.getvalue().split("\n")
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_in_the_table_are_shown_not_obeyed(name: str) -> None:
    out = io.StringIO()
    table.write_table([accepted(name, name)], out, colour=False)
    flat = "".join(line.strip() for line in out.getvalue().splitlines())
    assert "\x1b" not in out.getvalue()
    assert "".join(visible(name).split())[:8] in "".join(flat.split())


def test_a_table_in_a_file_cuts_no_path() -> None:
    out, name = io.StringIO(), "/srv/" + "long/" * 60 + "end.dll"
    table.write_table([refused(name)], out)
    assert name in out.getvalue()


def test_the_summary_counts() -> None:
    records = [accepted("a"), accepted("b"), refused("c"), refused("d", Code.DIGEST_MISMATCH),
               refused("e", Code.UNSUPPORTED_KIND, Outcome.INDETERMINATE)]  # fmt: skip
    summary = table.summarise(records)
    out = io.StringIO()
    table.write_summary(summary, out, colour=False)
    told = out.getvalue()
    assert told.startswith("5 files judged: ✓ 2 accepted, ✕ 2 rejected, ? 1 indeterminate")
    assert re.search(r"Contoso, Inc\. +2", told)
    assert re.search(r"T1554 .+ 1\n", told)


def test_the_summary_counts_the_rest_together() -> None:
    records = [accepted(f"f{n}", f"Publisher {n:02}") for n in range(12)]
    out = io.StringIO()
    table.write_summary(table.summarise(records), out, colour=False)
    assert re.search(r"4 more +4", out.getvalue())


def test_json_lines_and_document_hold_the_records() -> None:
    records = list(scan(20))
    lines, document = io.BytesIO(), io.BytesIO()
    jsonl.write_lines(records, lines)
    jsonl.write_document(records, document)
    assert [from_json(line) for line in lines.getvalue().splitlines()] == records
    whole = json.loads(document.getvalue())
    assert whole["schema"] == 1
    assert [from_json(json.dumps(entry)) for entry in whole["records"]] == records


def test_no_records_make_a_document() -> None:
    out = io.BytesIO()
    jsonl.write_document([], out)
    assert json.loads(out.getvalue()) == {"schema": 1, "records": []}


def csv_rows(records: list[Record]) -> list[dict[str, str]]:
    out = io.BytesIO()
    spreadsheet.write(records, out)
    out.write(b"")  # still open
    return list(csv.DictReader(io.StringIO(out.getvalue().decode(), newline="")))


def test_csv_has_a_row_per_record() -> None:
    rows = csv_rows([accepted("a.exe"), refused("b.ps1", Code.REVOKED, kind="powershell")])
    assert [row["outcome"] for row in rows] == ["accepted", "rejected"]
    assert rows[0]["proven_time"].startswith("2024-06-06T")
    assert rows[1]["windows_name"] == "CERT_E_REVOKED"
    assert rows[1]["attack"] == "T1059.001"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "|", "%", " =", "＝"])
def test_a_cell_is_never_a_formula(start: str) -> None:
    (row,) = csv_rows([accepted(f"{start}HYPERLINK(1)", f"{start}x")])
    assert row["subject"].startswith("'")
    assert row["publisher"].startswith("'")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_keep_to_their_cell(name: str) -> None:
    rows = csv_rows([refused(name), refused("last")])
    assert [row["subject"] for row in rows][1] == "last"
    assert rows[0]["subject"].lstrip("'") == visible(name)


# SARIF: the official schema cannot be had offline, so its required properties and the
# rules of its text are checked by hand (SARIF 2.1.0, 3.13 log, 3.14 run, 3.19 tool component,
# 3.27 result, 3.29 physicalLocation, 3.30 region, 3.49 reportingDescriptor).


def sarif_log(records: list[Record]) -> dict[str, Any]:
    out = io.BytesIO()
    sarif.write(records, out)
    log = json.loads(out.getvalue())
    assert isinstance(log, dict)
    return log


def test_sarif_has_the_required_shape() -> None:
    log = sarif_log(list(scan(200)))
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "Signward"
    ids = [rule["id"] for rule in driver["rules"]]
    assert len(ids) == len(set(ids)) == len(Code)
    assert run["results"]
    for result in run["results"]:
        check_result(result, ids)


def check_result(result: dict[str, Any], ids: list[str]) -> None:
    assert result["message"]["text"]
    assert ids[result["ruleIndex"]] == result["ruleId"]
    assert result["level"] in ("error", "warning")
    assert result["kind"] == "fail"
    for location in result["locations"]:
        uri = location["physicalLocation"]["artifactLocation"]["uri"]
        assert re.fullmatch(r"[A-Za-z0-9/._~!:%-]+", uri)
    assert set(result["properties"]) <= {"tags", "outcome", "decided"}


def test_sarif_levels_follow_effects_and_notes_stay_out() -> None:
    record = msgspec.structs.replace(
        refused("a"),
        findings=tuple(finding(Code.EXPIRED, effect) for effect in Effect),
    )
    levels = [r["level"] for r in sarif_log([record])["runs"][0]["results"]]
    assert levels == ["warning", "warning", "error"]


def test_sarif_names_the_offset_and_the_techniques() -> None:
    found = finding(Code.DIGEST_MISMATCH, Effect.REJECT, offset=512)
    record = msgspec.structs.replace(refused("a.dll", Code.DIGEST_MISMATCH), findings=(found,))
    (result,) = sarif_log([record])["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["region"]["byteOffset"] == 512
    assert "external/attack/T1554" in result["properties"]["tags"]
    assert result["properties"]["decided"] is True


def test_sarif_rules_carry_technique_tags_and_windows_names() -> None:
    rules = {r["id"]: r["properties"] for r in sarif_log([])["runs"][0]["tool"]["driver"]["rules"]}
    assert "external/attack/T1036.001" in rules["untrusted-root"]["tags"]
    assert "external/attack/T1554" in rules["digest-mismatch"]["tags"]
    assert rules["revoked"]["windowsName"] == "CERT_E_REVOKED"


def test_sarif_uris_are_exact() -> None:
    plain = msgspec.structs.replace(refused("/srv/a b#c.exe"))
    octets = msgspec.structs.replace(refused("/caf\\xe9"), subject_hex=b"/caf\xe9".hex())
    uris = [
        r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        for r in sarif_log([plain, octets])["runs"][0]["results"]
    ]
    assert uris == ["file:///srv/a%20b%23c.exe", "file:///caf%E9"]


def test_sarif_fingerprints_tell_findings_apart() -> None:
    results = sarif_log([refused("a"), refused("b")])["runs"][0]["results"]
    prints = [r["partialFingerprints"]["signward/v1"] for r in results]
    assert len(set(prints)) == len(prints) == 2


def techniques(record: Record) -> set[str]:
    return set(attack.touched(record))


def attack_cases() -> Iterator[tuple[Record, set[str]]]:
    yield accepted("a.exe"), set()
    yield refused("a.exe"), set()
    yield refused("a.exe", Code.DIGEST_MISMATCH), {"T1036.001", "T1554"}
    yield refused("a.exe", Code.UNTRUSTED_ROOT), {"T1036.001"}
    yield refused("a.exe", Code.EXPIRED), set()
    yield refused("a.ps1", kind="powershell"), {"T1059.001"}
    yield refused("C:\\x\\Profile.ps1"), {"T1059.001", "T1546.013"}
    yield refused("drv/x.SYS"), {"T1543.003"}
    yield refused("native.exe", facts={"subsystem": "native"}), {"T1543.003"}
    yield refused("z.zip!/svchost.exe"), {"T1036.005"}
    yield accepted("svchost.exe", "Contoso, Inc."), {"T1036.005"}
    yield accepted("svchost.exe", "Microsoft Windows Publisher"), set()
    yield refused("svchost.exe", Code.UNREADABLE, Outcome.INDETERMINATE), set()
    yield refused("a.ps1", Code.KEY_MISSING, Outcome.INDETERMINATE), set()


@pytest.mark.parametrize(("record", "ids"), list(attack_cases()))
def test_verdicts_speak_for_techniques(record: Record, ids: set[str]) -> None:
    assert techniques(record) == ids


def test_coverage_counts_who_was_asked() -> None:
    ps = [
        accepted("a.ps1"),
        refused("b.ps1"),
        refused("c.ps1", Code.UNREADABLE, Outcome.INDETERMINATE),
    ]
    entry = attack.coverage(ps)["T1059.001"]
    assert (entry.concerned, entry.accepted, entry.unsettled) == (3, 1, 1)
    assert entry.touched == ["b.ps1"]


def test_the_issues_techniques_are_all_there() -> None:
    ids = [t.id for t in attack.TECHNIQUES]
    assert ids == ["T1036.001", "T1036.005", "T1554", "T1543.003", "T1059.001", "T1546.013"]
    assert attack.TECHNIQUES[0].url == "https://attack.mitre.org/techniques/T1036/001/"


def test_a_table_leaves_out_columns_with_nothing_in_them() -> None:
    empty, full = io.StringIO(), io.StringIO()
    bare = msgspec.structs.replace(refused("a.exe", Code.UNSIGNED), signatures=())
    table.write_table([bare], empty)
    table.write_table([bare, accepted("b.exe", "Contoso, Inc.")], full)
    assert empty.getvalue().split()[:3] == ["outcome", "file", "cause"]
    assert "publisher" not in empty.getvalue()
    assert full.getvalue().split()[:5] == ["outcome", "file", "cause", "publisher", "signed"]
