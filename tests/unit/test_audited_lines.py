"""Logs of lines: Santa's executions and fapolicyd's decisions."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signward.errors import LimitError
from signward.inventory.audited import Seen, audit, fapolicyd, lines, read, santa
from signward.policy.rules.subject import UNKNOWABLE, Signer, Subject
from signward.state import Outcome

FILE, LEAF, CODE = "a" * 64, "b" * 64, "c" * 40
SANTA = (
    "[2026-11-20T10:00:00.123Z] I santad: action=EXEC|decision=ALLOW|reason=UNKNOWN|explain=x|"
    f"sha256={FILE}|cert_sha256={LEAF}|cert_cn=Developer ID Application: Example (EXAMPLE001)|"
    f"teamid=EXAMPLE001|signingid=EXAMPLE001:com.example.agent|cdhash={CODE}|pid=12|ppid=1|"
    "uid=501|user=me|mode=M|path=/Applications/Agent.app/Contents/MacOS/agent|args=agent -x|"
    "machineid=mac-1"
)
FAPOLICYD = (
    "Nov 23 10:00:00 web1 fapolicyd[812]: rule=13 dec=deny_audit perm=execute auid=1000 pid=1100 "
    "exe=/usr/bin/bash : path=/opt/a b/tool ftype=application/x-executable trust=0"
)


def seen(tmp_path: Path, *text: str) -> list[Seen]:
    path = tmp_path / "log"
    path.write_text("\n".join(text) + "\n", "utf-8")
    return list(read(path))


def only(tmp_path: Path, *text: str) -> Subject:
    (one,) = seen(tmp_path, *text)
    return one.subject


def test_an_execution_is_told(tmp_path: Path) -> None:
    (one,) = seen(tmp_path, "other line", SANTA, SANTA.replace("ALLOW", "DENY"))
    assert (one.host, one.times) == ("mac-1", 2)
    subject = one.subject
    assert subject.path == "/Applications/Agent.app/Contents/MacOS/agent"
    assert (subject.kind, subject.file_class) == ("macho", "executable")
    assert subject.digests == {f"file:sha256:{FILE}", f"cdhash:sha256:{CODE}"}
    name = "Developer ID Application: Example (EXAMPLE001)"
    assert subject.signers == (
        Signer(subject={"common_name": name}, certificates=(LEAF,), names=(name,),
               team_id="EXAMPLE001"),
    )  # fmt: skip
    assert subject.outcome is Outcome.ACCEPTED
    assert not subject.unknown & {"path", "host", "kind", "digest:file", "digest:cdhash", "signers"}
    assert subject.unknown <= UNKNOWABLE


@pytest.mark.parametrize(
    ("old", "new", "unknown"),
    [
        (f"sha256={FILE}", "sha256=", "digest:file"),
        (f"cdhash={CODE}|", "", "digest:cdhash"),
        ("|machineid=mac-1", "", "host"),
        ("MacOS/agent", "MacOS/a<pipe>b", "path"),
        ("MacOS/agent", "MacOS/a\\nb", "path"),
        ("path=/App", "path=App", "path"),
        ("|teamid=EXAMPLE001", "", "signers"),
        ("teamid=EXAMPLE001", "teamid=(null)", "signers"),
    ],
)
def test_what_santa_does_not_tell_is_unknown(
    tmp_path: Path, old: str, new: str, unknown: str
) -> None:
    line = SANTA.replace("signingid=EXAMPLE001:com.example.agent", "signingid=-")
    assert old in line
    assert unknown in only(tmp_path, line.replace(old, new)).unknown


def test_apples_own_has_no_team(tmp_path: Path) -> None:
    line = SANTA.replace("|teamid=EXAMPLE001", "").replace("EXAMPLE001:com", "platform:com")
    subject = only(tmp_path, line)
    assert subject.signers[0].team_id == ""
    assert "signers" not in subject.unknown


def test_without_a_certificate_nobody_trusted_signed(tmp_path: Path) -> None:
    subject = only(tmp_path, SANTA.replace(f"cert_sha256={LEAF}|", ""))
    assert subject.signers == ()
    assert "signers" not in subject.unknown


def test_the_first_of_a_repeated_field_counts(tmp_path: Path) -> None:
    forged = SANTA.replace("args=agent -x", f"args=x|sha256={'d' * 64}|path=/usr/bin/true")
    assert only(tmp_path, forged).digests == {f"file:sha256:{FILE}", f"cdhash:sha256:{CODE}"}


def test_other_actions_tell_of_nothing(tmp_path: Path) -> None:
    assert seen(tmp_path, SANTA.replace("action=EXEC", "action=WRITE")) == []


def test_a_decision_is_told(tmp_path: Path) -> None:
    (one,) = seen(tmp_path, "Nov 23 10:00:00 web1 systemd[1]: started", FAPOLICYD, FAPOLICYD)
    assert (one.host, one.times) == ("web1", 2)
    subject = one.subject
    assert subject.path == "/opt/a b/tool"
    assert (subject.kind, subject.file_class) == ("elf", "executable")
    assert subject.digests == frozenset()
    assert {"digest:file", "signers", "origin"} <= subject.unknown
    assert not subject.unknown & {"path", "kind", "host"}
    assert subject.unknown <= UNKNOWABLE


@pytest.mark.parametrize(
    ("mime", "permission", "kind", "classes"),
    [
        ("application/x-sharedlib", "open", "elf", {"library"}),
        ("application/x-sharedlib", "execute", "elf", {"executable", "library"}),
        ("application/x-pie-executable", "open", "elf", {"executable", "library"}),
        ("application/x-executable", "execute", "elf", {"executable"}),
        ("text/x-shellscript", "execute", "shell", {"script"}),
        ("text/x-python", "open", "python", {"script"}),
        ("application/x-bad-elf", "open", "", set()),
    ],
)
def test_types_are_kinds(
    tmp_path: Path, mime: str, permission: str, kind: str, classes: set[str]
) -> None:
    line = FAPOLICYD.replace("application/x-executable", mime).replace("=execute", f"={permission}")
    subject = only(tmp_path, line)
    assert subject.kind == kind
    assert (subject.classes or {subject.file_class} - {""}) == classes
    assert ("kind" in subject.unknown) is (len(classes) != 1)


@pytest.mark.parametrize("field", ["sha256hash", "filehash"])
def test_a_digest_that_is_told_counts(tmp_path: Path, field: str) -> None:
    subject = only(tmp_path, f"{FAPOLICYD} {field}={FILE}")
    assert subject.digests == {f"file:sha256:{FILE}"}
    assert "digest:file" not in subject.unknown


@pytest.mark.parametrize(
    "name",
    [
        "/tmp/x ftype=application/x-executable trust=1",
        "/tmp/x trust=1",
        "/tmp/x path=/usr/bin/true",
        "/tmp/x : path=/usr/bin/true",
        f"/tmp/x sha256hash={FILE}",
        "relative",
        "/" + "x" * 9000,
    ],
)
def test_a_name_that_could_be_fields_is_unknown(tmp_path: Path, name: str) -> None:
    line = FAPOLICYD.replace("/opt/a b/tool", name)
    if "sha256hash" in name:
        line += f" sha256hash={'d' * 64}"
    subject = only(tmp_path, line)
    assert subject.path == ""
    assert subject.digests == frozenset()
    assert {"path", "kind", "digest:file"} <= subject.unknown


@pytest.mark.parametrize("field", [f"filehash={FILE}", f"sha256hash={FILE}", "device=1", "mode=1"])
def test_a_name_brings_no_field_that_other_lines_lack(tmp_path: Path, field: str) -> None:
    forged = FAPOLICYD.replace("/opt/a b/tool", f"/tmp/x {field}")
    told = [one.subject for one in seen(tmp_path, forged, FAPOLICYD)]
    assert [subject.path for subject in told] == ["", "/opt/a b/tool"]
    assert not any(subject.digests for subject in told)
    assert {"path", "kind", "digest:file"} <= told[0].unknown


@pytest.mark.parametrize("blank", ["\x0b", "\x1c", "\x85", "\xa0", "\u2003"])
def test_blanks_of_all_sorts_in_a_name_are_read(tmp_path: Path, blank: str) -> None:
    line = FAPOLICYD.replace("/opt/a b/tool", f"/tmp/x mode=a{blank}b")
    assert {s.subject.path for s in seen(tmp_path, line, FAPOLICYD)} == {"", "/opt/a b/tool"}


def test_a_name_that_may_go_on_in_the_next_line_is_unknown(tmp_path: Path) -> None:
    subject = only(tmp_path, FAPOLICYD.replace("/opt/a b/tool", "/opt/a\nb"))
    assert subject.path == ""
    assert {"path", "kind"} <= subject.unknown


def test_a_program_of_that_name_forges_no_object(tmp_path: Path) -> None:
    line = FAPOLICYD.replace("exe=/usr/bin/bash", "exe=/tmp/a : path=/usr/bin/true trust=1")
    assert "path" in only(tmp_path, line).unknown


def test_standard_error_has_no_host(tmp_path: Path) -> None:
    subject = only(tmp_path, FAPOLICYD.partition("]: ")[2])
    assert subject.path == "/opt/a b/tool"
    assert "host" in subject.unknown
    stamped = FAPOLICYD.replace("Nov 23 10:00:00", "2026-11-23T10:00:00+00:00")
    assert only(tmp_path, stamped).host == "web1"


def test_octets_that_are_no_text_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(FAPOLICYD.encode().replace(b"/opt/a b", b"/opt/\xff"))
    (one,) = read(path)
    assert one.subject.path == r"/opt/\xff/tool"


def test_lines_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE", 100)
    with pytest.raises(LimitError):
        seen(tmp_path, SANTA)


EVENT = "msg=audit(1600385147.372:590):"
AUDITED = (
    f'type=PATH {EVENT} item=0 name="./evil" inode=1 dev=fc:03 mode=0100755 nametype=NORMAL',
    f'type=CWD {EVENT} cwd="/home/me"',
    f'type=SYSCALL {EVENT} arch=c000003e syscall=59 success=no exit=-1 a0=32cb3fca90 exe="/bin/sh"',
    f"type=FANOTIFY {EVENT} resp=2 fan_type=1 fan_info=3137 subj_trust=3 obj_trust=5",
    f"type=PROCTITLE {EVENT} proctitle=2E2F6576696C",
)


def test_the_audit_log_tells_what_was_decided(tmp_path: Path) -> None:
    (one,) = seen(tmp_path, *AUDITED)
    subject = one.subject
    assert subject.path == "/home/me/evil"
    assert subject.classes == {"executable", "script"}
    assert {"kind", "signers", "host", "digest:file"} <= subject.unknown <= UNKNOWABLE
    assert "path" not in subject.unknown


def test_records_of_two_events_and_hosts_may_mix(tmp_path: Path) -> None:
    first = [f"node=web1 {line}" for line in AUDITED]
    second = [f"node=web2 {line}".replace("./evil", "/b") for line in AUDITED]
    mixed = [line for pair in zip(first, second, strict=True) for line in pair]
    told = {s.host: s.subject.path for s in seen(tmp_path, *mixed)}
    assert told == {"web1": "/home/me/evil", "web2": "/b"}


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ('"./evil"', '"/opt/x"', "/opt/x"),
        ('"./evil"', "2F6F70742F6120622220633D", '/opt/a b" c='),
        ('"./evil"', "(null)", ""),
        ('"./evil"', '"../x"', ""),
        ('cwd="/home/me"', "cwd=(null)", ""),
        ("syscall=59", "syscall=257", ""),
        ("syscall=59 success=no exit=-1 a0=32cb3fca90", "syscall=257 a0=ffffff9c", "/home/me/evil"),
        ("nametype=NORMAL", "nametype=PARENT", ""),
    ],
)
def test_names_are_told_only_where_they_are_sure(
    tmp_path: Path, old: str, new: str, path: str
) -> None:
    subject = only(tmp_path, *(line.replace(old, new) for line in AUDITED))
    assert subject.path == path
    assert ("path" in subject.unknown) is (not path)


def test_two_files_of_one_event_are_not_told_apart(tmp_path: Path) -> None:
    subject = only(tmp_path, *AUDITED, AUDITED[0].replace("item=0", "item=1"))
    assert subject.path == ""
    assert subject.classes == frozenset()


def test_events_without_a_decision_tell_of_nothing(tmp_path: Path) -> None:
    assert seen(tmp_path, *AUDITED[:3]) == []


def test_events_waiting_for_records_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "MAX_PENDING", 1)
    monkeypatch.setattr(audit, "MAX_RECORDS", 2)
    many = [line.replace(":590)", f":{n})") for n in range(3) for line in AUDITED[2:4]]
    assert [(s.subject.path, s.times) for s in seen(tmp_path, *many)] == [("", 3)]


PIECES = st.sampled_from([
    "action=EXEC|", "santad: ", "path=/a", "|", "=", "sha256=", FILE, " dec=deny perm=open ", " : ",
    " ftype=", "trust=1", " ", "fapolicyd[1]: ",
    "type=FANOTIFY msg=audit(1.2:3):", "type=PATH msg=audit(1.2:3):", "name=",
    "Nov 23 10:00:00 h ", "\\", "<pipe>", "é",
])  # fmt: skip


@given(st.lists(PIECES, max_size=40).map("".join))
def test_any_line_is_read(tmp_path_factory: pytest.TempPathFactory, line: str) -> None:
    path = tmp_path_factory.mktemp("lines") / "log"
    path.write_text(line + "\n", "utf-8")
    for reader in (santa, fapolicyd, audit):
        for subject in reader.read(path):
            assert subject.unknown <= UNKNOWABLE
