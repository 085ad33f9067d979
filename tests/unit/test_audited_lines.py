"""Logs of lines: Santa's executions and fapolicyd's decisions."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signward.errors import LimitError
from signward.inventory.audited import Seen, fapolicyd, lines, read, santa
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
    ("mime", "permission", "kind", "file_class"),
    [
        ("application/x-sharedlib", "open", "elf", "library"),
        ("application/x-sharedlib", "execute", "elf", "executable"),
        ("application/x-pie-executable", "open", "elf", "executable"),
        ("text/x-shellscript", "execute", "shell", "script"),
        ("text/x-python", "open", "python", "script"),
        ("application/x-bad-elf", "open", "", ""),
    ],
)
def test_types_are_kinds(
    tmp_path: Path, mime: str, permission: str, kind: str, file_class: str
) -> None:
    line = FAPOLICYD.replace("application/x-executable", mime).replace("=execute", f"={permission}")
    subject = only(tmp_path, line)
    assert (subject.kind, subject.file_class) == (kind, file_class)
    assert ("kind" in subject.unknown) is (not kind)


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


PIECES = st.sampled_from([
    "action=EXEC|", "santad: ", "path=/a", "|", "=", "sha256=", FILE, " dec=deny perm=open ", " : ",
    " ftype=", "trust=1", " ", "fapolicyd[1]: ", "Nov 23 10:00:00 h ", "\\", "<pipe>", "é",
])  # fmt: skip


@given(st.lists(PIECES, max_size=40).map("".join))
def test_any_line_is_read(tmp_path_factory: pytest.TempPathFactory, line: str) -> None:
    path = tmp_path_factory.mktemp("lines") / "log"
    path.write_text(line + "\n", "utf-8")
    for reader in (santa, fapolicyd):
        for subject in reader.read(path):
            assert subject.unknown <= UNKNOWABLE
