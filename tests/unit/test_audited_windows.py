"""Windows' logs of what App Control and AppLocker saw, as .evtx and as Defender's export."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

from signward.errors import ExtraMissingError, LimitError, MalformedError, UnreadableError
from signward.inventory import audited
from signward.inventory.audited import Seen, defender, evtx, lines, read, windows
from signward.policy.rules.decide import decide
from signward.policy.rules.index import Index
from signward.policy.rules.model import Action, PublisherMatch, Rule
from signward.policy.rules.subject import UNKNOWABLE, Signer
from signward.state import Outcome
from tests.builders.evtx import Node, Value, binary, event, log, text, u8, u16, u32
from tests.builders.policies import AT, rule_set

CI, APPLOCKER = "Microsoft-Windows-CodeIntegrity", "Microsoft-Windows-AppLocker"
ONE = "e4db489e-1037-0002-799d-f2e43710da01"
TWO = "e4db489e-1037-0002-799d-f2e43710da02"
CODE, FLAT = bytes(range(32)), bytes(range(32, 64))
LEAF, ISSUER = b"\xaa" * 32, b"\xbb" * 48


def image(
    identifier: int = 3076, activity: str = ONE, fields: Mapping[str, Value] | None = None
) -> Node:
    told = {
        "FileNameLength": u16(3),
        "File Name": text(r"C:\Tools\agent.exe"),
        "SHA256 Hash Size": u32(32),
        "SHA256 Hash": binary(CODE),
        "SHA256 Flat Hash": binary(FLAT),
        "SI Signing Scenario": u32(1),
        "PolicyName": text("fleet"),
        "OriginalFileName": text("agent.exe"),
        "InternalName": text("agent"),
        "ProductName": text("Agent"),
        "FileVersion": text("2.5.0.1"),
    }
    return event(CI, identifier, told | dict(fields or {}), activity=activity)


def signature(number: int = 0, total: int = 1, error: int = 0, activity: str = ONE) -> Node:
    return event(
        CI,
        3089,
        {
            "TotalSignatureCount": u32(total),
            "Signature": u32(number),
            "VerificationError": u8(error),
            "PublisherName": text("Example Ltd"),
            "IssuerName": text("Example CA"),
            "PublisherTBSHash": binary(LEAF),
            "IssuerTBSHash": binary(ISSUER),
        },
        activity=activity,
    )


def ruled(identifier: int = 8003, **fields: Value) -> Node:
    told = {
        "PolicyName": text("EXE"),
        "FilePath": text(r"%OSDRIVE%\TOOLS\AGENT.EXE"),
        "FileHash": binary(CODE),
        "Fqbn": text("O=EXAMPLE LTD, L=WIEN, C=AT\\AGENT\\AGENT.EXE\\2.5.0.1"),
        "FullFilePath": text(r"C:\Tools\agent.exe"),
    }
    return event(APPLOCKER, identifier, told | fields, user_data="RuleAndFileData")


def seen(tmp_path: Path, *events: Node) -> list[Seen]:
    path = tmp_path / "log.evtx"
    path.write_bytes(log(events))
    return list(read(path))


SIGNER = Signer(
    subject={"common_name": "Example Ltd"},
    names=("Example Ltd", "Example CA"),
    tbs=(f"sha256:{LEAF.hex()}", f"sha384:{ISSUER.hex()}"),
)


@pytest.mark.parametrize("identifier", [3076, 3077])
def test_an_image_and_its_signature_are_joined(tmp_path: Path, identifier: int) -> None:
    (one,) = seen(tmp_path, image(identifier), signature())
    subject, host, times = one
    assert (host, times) == ("PC1.example", 1)
    assert subject.path == r"C:\Tools\agent.exe"
    assert subject.kind == "pe"
    assert subject.classes == {"executable", "library"}
    assert subject.digests == {f"authenticode:sha256:{CODE.hex()}", f"file:sha256:{FLAT.hex()}"}
    assert subject.signers == (SIGNER,)
    assert (subject.original_name, subject.internal_name, subject.product) == (
        "agent.exe", "agent", "Agent",
    )  # fmt: skip
    assert subject.version == (2, 5, 0, 1)
    assert subject.outcome is Outcome.ACCEPTED
    assert subject.unknown == windows.NOT_TOLD | {"kind"}
    assert subject.unknown <= UNKNOWABLE


def test_signatures_may_come_first_and_between(tmp_path: Path) -> None:
    other = image(activity=TWO, fields={"File Name": text(r"C:\b.dll")})
    told = seen(tmp_path, signature(), other, image(), signature(activity=TWO, error=4))
    assert {s.subject.path: len(s.subject.signers) for s in told} == {
        r"C:\Tools\agent.exe": 1, r"C:\b.dll": 0,
    }  # fmt: skip


def test_several_policies_tell_of_one_file(tmp_path: Path) -> None:
    again = image(fields={"PolicyName": text("other")})
    assert [s.times for s in seen(tmp_path, image(), again, signature())] == [1]


def test_signatures_of_several_files_are_nobodys(tmp_path: Path) -> None:
    """One identifier for two files: nothing tells whose the signature is."""
    evil = image(fields={"File Name": text(r"C:\evil.exe"), "SHA256 Hash": binary(b"\1" * 32)})
    for told in seen(tmp_path, image(), evil, signature()):
        assert told.subject.signers == ()
        assert "signers" in told.subject.unknown
        assert told.subject.outcome is Outcome.INDETERMINATE


def test_who_issued_itself_is_not_trusted(tmp_path: Path) -> None:
    """Anybody makes a certificate in Microsoft's name, and App Control knows of no roots."""
    own = event(CI, 3089, {
        "TotalSignatureCount": u32(1), "Signature": u32(0), "VerificationError": u8(0),
        "PublisherName": text("Microsoft Corporation"), "PublisherTBSHash": binary(LEAF),
        "IssuerName": text("Microsoft Corporation"), "IssuerTBSHash": binary(LEAF),
    }, activity=ONE)  # fmt: skip
    (one,) = seen(tmp_path, image(), own)
    assert one.subject.signers == ()
    assert "signers" in one.subject.unknown


def test_the_same_file_again_counts(tmp_path: Path) -> None:
    events = [image(), signature(), image(activity=TWO), signature(activity=TWO)]
    assert [s.times for s in seen(tmp_path, *events)] == [2]


@pytest.mark.parametrize(
    ("error", "trusted", "unknown"),
    [(0, 1, False), (18, 1, False), (21, 1, False), (4, 0, False), (1, 0, False), (7, 0, True),
     (200, 0, True)],
)  # fmt: skip
def test_what_windows_found_decides_who_is_trusted(
    tmp_path: Path, error: int, trusted: int, *, unknown: bool
) -> None:
    (one,) = seen(tmp_path, image(), signature(error=error))
    assert len(one.subject.signers) == trusted
    assert ("signers" in one.subject.unknown) is unknown


def test_an_unsigned_file_is_told_to_be_one(tmp_path: Path) -> None:
    (one,) = seen(tmp_path, image(), signature(total=0, error=3))
    assert one.subject.signers == ()
    assert (one.subject.outcome, one.subject.cause) == (Outcome.REJECTED, "unsigned")
    assert "signers" not in one.subject.unknown


@pytest.mark.parametrize(
    "events",
    [(image(),), (image(), signature(total=2)), (image(), signature(activity=TWO)),
     (image(activity=""), signature())],
)  # fmt: skip
def test_signatures_that_are_not_all_there_are_unknown(
    tmp_path: Path, events: Iterable[Node]
) -> None:
    (one,) = seen(tmp_path, *events)
    assert "signers" in one.subject.unknown
    assert one.subject.outcome is not Outcome.REJECTED


def test_all_of_several_signatures_are_known(tmp_path: Path) -> None:
    (one,) = seen(tmp_path, image(), signature(0, 2, 18), signature(1, 2))
    assert one.subject.signers == (SIGNER,)
    assert "signers" not in one.subject.unknown


def test_drivers_are_told_apart(tmp_path: Path) -> None:
    (one,) = seen(tmp_path, image(fields={"SI Signing Scenario": u32(0)}), signature())
    assert one.subject.file_class == "driver"
    assert "kind" not in one.subject.unknown


def test_what_an_event_lacks_is_named(tmp_path: Path) -> None:
    bare = event(CI, 3077, {"FileName": text(r"\Device\HarddiskVolume3\x.exe")}, activity=ONE)
    (one,) = seen(tmp_path, bare)
    assert one.subject.path == r"\Device\HarddiskVolume3\x.exe"
    assert one.subject.unknown == windows.NOT_TOLD | {
        "path", "kind", "digest:file", "digest:authenticode", "signers", "product",
        "original-name", "internal-name", "version",
    }  # fmt: skip


def test_a_flat_digest_is_not_taken_for_another(tmp_path: Path) -> None:
    (one,) = seen(tmp_path, image(fields={"SHA256 Hash": binary(FLAT)}), signature())
    assert one.subject.digests == {f"file:sha256:{FLAT.hex()}"}
    assert "digest:authenticode" in one.subject.unknown


@pytest.mark.parametrize("identifier", [8028, 8029])
def test_scripts_have_no_class_and_no_flat_digest(tmp_path: Path, identifier: int) -> None:
    fields = {"FilePath": text(r"C:\s.ps1"), "Sha256Hash": binary(CODE)}
    (one,) = seen(tmp_path, event(APPLOCKER, identifier, fields, activity=ONE))
    assert one.subject.path == r"C:\s.ps1"
    assert one.subject.digests == {f"authenticode:sha256:{CODE.hex()}"}
    assert {"kind", "digest:file", "signers"} <= one.subject.unknown


@pytest.mark.parametrize("identifier", [8003, 8004])
def test_applocker_tells_publisher_product_and_class(tmp_path: Path, identifier: int) -> None:
    (one,) = seen(tmp_path, ruled(identifier))
    subject = one.subject
    assert subject.path == r"C:\Tools\agent.exe"
    assert (subject.kind, subject.file_class) == ("pe", "executable")
    assert subject.digests == {f"authenticode:sha256:{CODE.hex()}"}
    assert [dict(s.subject) for s in subject.signers] == [
        {"organization": "EXAMPLE LTD", "locality": "WIEN", "country": "AT"}
    ]
    assert (subject.product, subject.original_name) == ("AGENT", "AGENT.EXE")
    assert subject.version == (2, 5, 0, 1)
    assert subject.unknown == windows.NOT_TOLD | {"digest:file", "internal-name"}


@pytest.mark.parametrize(
    ("fqbn", "organization", "unknown"),
    [
        ('O="ZOOM, INC.", C=US\\A\\B\\1.0.0.0', "ZOOM, INC.", False),
        ('O="A ""B"" C"\\A\\B\\1.0.0.0', 'A "B" C', False),
        ("O=ZOOM, INC., C=US\\A\\B\\1.0.0.0", None, True),
        ("O=A, O=B\\A\\B\\1.0.0.0", None, True),
        ("X=A\\A\\B\\1.0.0.0", None, True),
        ("O=ACME\\SONS, C=AT\\A\\B\\1.0.0.0", None, True),
        ("-", None, False),
        ("", None, True),
    ],
)
def test_names_of_publishers_are_read_one_way_or_not_at_all(
    tmp_path: Path, fqbn: str, organization: str | None, *, unknown: bool
) -> None:
    (one,) = seen(tmp_path, ruled(Fqbn=text(fqbn)))
    found = [s.subject.get("organization") for s in one.subject.signers]
    assert found == ([organization] if organization else [])
    assert ("signers" in one.subject.unknown) is unknown
    assert (one.subject.cause == "unsigned") is (fqbn == "-")


def test_a_macro_in_a_path_is_not_expanded(tmp_path: Path) -> None:
    (one,) = seen(tmp_path, ruled(FullFilePath=text(""), PolicyName=text("SCRIPT")))
    assert one.subject.path == r"%OSDRIVE%\TOOLS\AGENT.EXE"
    assert one.subject.file_class == "script"
    assert {"path", "digest:authenticode"} <= one.subject.unknown


def test_other_events_and_other_providers_tell_of_nothing(tmp_path: Path) -> None:
    assert seen(tmp_path, event("Somebody", 3076, {"File Name": text(r"C:\x")}),
                event(CI, 3099, {"PolicyNameBuffer": text("p")})) == []  # fmt: skip


def test_an_empty_log_tells_of_nothing(tmp_path: Path) -> None:
    assert seen(tmp_path) == []


@pytest.mark.parametrize(
    ("kinds", "outcome"),
    [
        (("executable", "library"), Outcome.ACCEPTED),
        (("pe",), Outcome.ACCEPTED),
        (("executable",), Outcome.INDETERMINATE),
        (("driver", "script"), Outcome.REJECTED),
    ],
)
def test_a_class_that_is_one_of_two_decides_where_both_do(
    tmp_path: Path, kinds: tuple[str, ...], outcome: Outcome
) -> None:
    (one,) = seen(tmp_path, image(), signature())
    allow = Rule(id="ours", action=Action.ALLOW, kind=kinds,
                 publisher=PublisherMatch(common_name="Example Ltd"))  # fmt: skip
    assert decide(Index(rule_set(allow)), one.subject, AT).outcome is outcome


def test_a_kind_of_script_is_never_ruled_out(tmp_path: Path) -> None:
    fields = {"FilePath": text(r"C:\s.ps1"), "Sha256Hash": binary(CODE)}
    (one,) = seen(tmp_path, event(APPLOCKER, 8028, fields))
    allow = Rule(id="ours", action=Action.ALLOW, kind=("powershell",), path=(r"C:\s.ps1",))
    decided = decide(Index(rule_set(allow)), one.subject, AT)
    assert (decided.outcome, decided.missing) == (Outcome.INDETERMINATE, ("kind",))


def test_a_rule_by_the_issuers_tbs_decides(tmp_path: Path) -> None:
    (one,) = seen(tmp_path, image(), signature(error=21))
    allow = Rule(id="issuer", action=Action.ALLOW,
                 publisher=PublisherMatch(tbs=f"sha384:{ISSUER.hex()}"))  # fmt: skip
    root = Rule(id="root", action=Action.ALLOW,
                publisher=PublisherMatch(tbs="sha256:" + "0" * 63 + "1"))  # fmt: skip
    assert decide(Index(rule_set(allow)), one.subject, AT).rule == "issuer"
    decided = decide(Index(rule_set(root)), one.subject, AT)
    assert (decided.outcome, decided.missing) == (Outcome.INDETERMINATE, ("signers.tbs",))


def test_more_than_fits_is_told_without_its_signatures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "MAX_PENDING", 1)
    told = seen(tmp_path, image(), image(activity=TWO), signature(), signature(activity=TWO))
    assert [("signers" in s.subject.unknown, s.times) for s in told] == [(True, 2)]


def test_one_activity_does_not_gather_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "MAX_PER_ACTIVITY", 4)
    told = seen(tmp_path, *[image() for _ in range(10)])
    assert sum(s.times for s in told) == 3


def test_subjects_are_counted_within_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audited, "MAX_GATHERED", 2)
    names = ("a", "b", "a", "c")
    told = seen(tmp_path, *[ruled(FullFilePath=text(rf"C:\{n}")) for n in names])
    assert sum(s.times for s in told) == 4
    assert len(told) == 4


def test_a_log_of_several_chunks_is_read(tmp_path: Path) -> None:
    (one,) = seen(tmp_path, *[ruled() for _ in range(300)])
    assert one.times == 300


def test_broken_logs_are_malformed(tmp_path: Path) -> None:
    whole = log([image(), signature()])
    path = tmp_path / "log.evtx"
    for broken in (whole[:8], whole[:4096] + bytes(100), whole[:-1]):
        path.write_bytes(broken)
        with pytest.raises(MalformedError):
            list(read(path))


def test_flipped_octets_are_bad_input_or_read(tmp_path: Path) -> None:
    whole = log([image(), signature()])
    path = tmp_path / "log.evtx"
    for at in range(0, 4096 + 3000, 37):
        path.write_bytes(whole[:at] + bytes((whole[at] ^ 0x41,)) + whole[at + 1 :])
        try:
            list(read(path))
        except MalformedError:
            continue


def test_without_the_library_nothing_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "evtx", None)
    with pytest.raises(ExtraMissingError, match=r"signward\[events\]"):
        seen(tmp_path, image())


def test_a_log_that_is_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evtx, "MAX_FILE", 100)
    with pytest.raises(LimitError, match="at most 100"):
        seen(tmp_path, image())


@pytest.mark.interop
def test_another_reader_takes_the_logs_we_make(tmp_path: Path) -> None:
    other = pytest.importorskip("Evtx.Evtx", reason="python-evtx is not installed")
    path = tmp_path / "log.evtx"
    path.write_bytes(log([image(), signature(), ruled()]))
    with other.Evtx(str(path)) as opened:
        told = [record.xml() for record in opened.records()]
    assert [
        f"<EventID>{n}</EventID>" in xml for n, xml in zip((3076, 3089, 8003), told, strict=True)
    ]
    assert '<Data Name="File Name">C:\\Tools\\agent.exe</Data>' in told[0]
    assert "<FullFilePath>C:\\Tools\\agent.exe</FullFilePath>" in told[2]


@pytest.mark.corpus
def test_a_log_that_windows_wrote_is_read(corpus: Callable[[str], Path]) -> None:
    """It is of another program: every record is read, and none tells of a file."""
    path = corpus("windows-event-log") / "dissect_eventlog-3.11/tests/_data/TestLogX.evtx"
    assert [r["System"]["Provider"]["#attributes"]["Name"] for r in evtx._records(path)] == [
        "TestAppX"
    ] * 5
    assert list(read(path)) == []


def export(rows: Iterable[Mapping[str, object]]) -> str:
    rows = list(rows)
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, names)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


AUDITED = {
    "Timestamp": "2026-11-20T10:00:00Z",
    "DeviceName": "pc1.example",
    "ActionType": "AppControlCodeIntegrityPolicyAudited",
    "FileName": "agent.exe",
    "FolderPath": r"C:\Tools",
    "SHA256": CODE.hex(),
    "AdditionalFields": json.dumps({
        "EtwActivityId": ONE, "Sha256FlatHash": FLAT.hex(), "SiSigningScenario": 1,
        "OriginalFileName": "agent.exe", "ProductName": "Agent, the", "FileVersion": "2.5.0.1",
    }),
}  # fmt: skip
SIGNING = {
    "DeviceName": "pc1.example",
    "ActionType": "AppControlCodeIntegritySigningInformation",
    "AdditionalFields": json.dumps({
        "EtwActivityId": ONE, "TotalSignatureCount": 1, "Signature": 0, "VerificationError": 21,
        "PublisherName": "Example Ltd", "IssuerName": "Example CA",
        "PublisherTBSHash": LEAF.hex(), "IssuerTBSHash": ISSUER.hex(),
    }),
}  # fmt: skip


def exported(tmp_path: Path, *rows: Mapping[str, object], bom: str = "") -> list[Seen]:
    path = tmp_path / "export.csv"
    path.write_text(bom + export(rows), "utf-8")
    return list(read(path))


@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_an_export_of_defender_tells_the_same(tmp_path: Path, bom: str) -> None:
    (one,) = exported(tmp_path, SIGNING, AUDITED, bom=bom)
    subject = one.subject
    assert (one.host, subject.path) == ("pc1.example", r"C:\Tools\agent.exe")
    assert subject.digests == {f"authenticode:sha256:{CODE.hex()}", f"file:sha256:{FLAT.hex()}"}
    assert subject.signers == (SIGNER,)
    assert subject.product == "Agent, the"
    assert subject.unknown == windows.NOT_TOLD | {"kind", "internal-name"}


def test_columns_of_the_query_count_too(tmp_path: Path) -> None:
    extended = {
        "DeviceName": "pc1.example", "ActionType": "AppControlCodeIntegrityPolicyBlocked",
        "FileName": "agent.exe", "FolderPath": r"C:\Tools\agent.exe", "EtwCorrelationId": ONE,
        "InternalName": "agent",
    }  # fmt: skip
    (one,) = exported(tmp_path, extended)
    assert one.subject.path == r"C:\Tools\agent.exe"
    assert one.subject.internal_name == "agent"
    assert {"digest:file", "digest:authenticode", "signers"} <= one.subject.unknown


def test_the_same_activity_on_two_hosts_is_two(tmp_path: Path) -> None:
    told = exported(tmp_path, AUDITED, SIGNING, {**AUDITED, "DeviceName": "pc2.example"})
    assert {s.host: len(s.subject.signers) for s in told} == {"pc1.example": 1, "pc2.example": 0}


def test_the_digest_of_a_script_is_not_known_to_be_any(tmp_path: Path) -> None:
    (one,) = exported(tmp_path, {**AUDITED, "ActionType": "AppControlCIScriptAudited"})
    assert {d.split(":")[0] for d in one.subject.digests} == {"file"}
    assert "digest:authenticode" in one.subject.unknown


def test_other_actions_tell_of_nothing(tmp_path: Path) -> None:
    assert exported(tmp_path, {**AUDITED, "ActionType": "ProcessCreated"}) == []


@pytest.mark.parametrize("fields", ["{", "[1]", '{"a": ' * 5000, '{"FileVersion": ' + "9" * 5000])
def test_additional_fields_that_are_no_json_tell_nothing(tmp_path: Path, fields: str) -> None:
    (one,) = exported(tmp_path, {**AUDITED, "AdditionalFields": fields})
    assert one.subject.path == r"C:\Tools\agent.exe"
    assert "version" in one.subject.unknown


@pytest.mark.parametrize(
    "rows", ['a,"b\n', "a,b,c,d,e,f\n", '"' + "x" * 200_000 + '",b\n']
)  # fmt: skip
def test_what_is_no_csv_is_malformed(tmp_path: Path, rows: str) -> None:
    path = tmp_path / "export.csv"
    path.write_text("ActionType,DeviceName\n" + rows, "utf-8")
    with pytest.raises(MalformedError):
        list(read(path))


def test_rows_and_lines_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defender, "MAX_ROWS", 1)
    with pytest.raises(LimitError, match="at most 1"):
        exported(tmp_path, AUDITED, AUDITED)
    monkeypatch.setattr(lines, "MAX_LINE", 20)
    with pytest.raises(LimitError, match="longer line"):
        exported(tmp_path, AUDITED)


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"something else\n")
    with pytest.raises(MalformedError, match="no log that is known"):
        list(read(path))
    with pytest.raises(UnreadableError):
        list(read(tmp_path / "absent"))
