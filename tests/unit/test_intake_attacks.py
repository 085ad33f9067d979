"""Intake attacked: archives that show one thing to the gate and another to whoever unpacks them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from signward.errors import PolicyError
from signward.state import Outcome
from tests.unit.test_intake import (
    DENY,
    POLICY,
    PROGRAM,
    SIGNED,
    judged,
    sha256,
    tarred,
    zipped,
)

TEXT = frozenset({"text"})


def named(*members: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, data in members:
            file.writestr(name, data)
    return out.getvalue()


def test_a_member_named_as_if_in_an_accepted_one_is_judged(tmp_path: Path) -> None:
    data = named(("a.exe", SIGNED), ("a.exe!/evil.exe", PROGRAM))
    assert judged(tmp_path, "x.zip", data).outcome is Outcome.REJECTED


def test_a_member_that_passes_by_kind_is_denied_all_the_same(tmp_path: Path) -> None:
    denied = POLICY + DENY % sha256(b"words")
    data = zipped(a__exe=SIGNED, readme__txt=b"words")
    assert judged(tmp_path, "x.zip", data, denied, TEXT).outcome is Outcome.REJECTED
    assert judged(tmp_path, "x.zip", data, POLICY, TEXT).outcome is Outcome.ACCEPTED


@pytest.mark.parametrize("name", ["x.bat", "x.sh", "x.pyz", "x", "x.zip.cmd", ".zip", "x.hta"])
def test_an_archive_named_as_something_that_runs_is_none(tmp_path: Path, name: str) -> None:
    """Its first member's name, gaps and comments are lines of a script to who starts it."""
    script = tarred(**{"calc & rem ": SIGNED})
    assert judged(tmp_path, "x.tar", script).outcome is Outcome.ACCEPTED
    for data in (script, zipped(a__exe=SIGNED)):
        assert judged(tmp_path, name, data).outcome is Outcome.REJECTED
        inner = named((name, data), ("b.exe", SIGNED))
        assert judged(tmp_path, "x.zip", inner).outcome is Outcome.REJECTED


@pytest.mark.parametrize("zeros", [512, 1024, 10_240])
def test_members_behind_the_end_of_a_tar_archive_are_no_secret(tmp_path: Path, zeros: int) -> None:
    first = tarred(**{"a.exe": SIGNED}).rstrip(b"\0")
    first += bytes(-len(first) % 512 + zeros)
    assert judged(tmp_path, "x.tar", first).outcome is Outcome.ACCEPTED
    data = first + tarred(**{"b.exe": PROGRAM})
    assert judged(tmp_path, "x.tar", data).outcome is not Outcome.ACCEPTED


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
@pytest.mark.parametrize("target", ["/etc", "../../etc"])
def test_members_that_reach_out_of_the_archive(tmp_path: Path, kind: bytes, target: str) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as file:
        link = tarfile.TarInfo("sub")
        link.type, link.linkname = kind, target
        file.addfile(link)
        entry = tarfile.TarInfo("sub/a.exe")
        entry.size = len(SIGNED)
        file.addfile(entry, io.BytesIO(SIGNED))
    assert judged(tmp_path, "x.tar", out.getvalue()).outcome is not Outcome.ACCEPTED


@pytest.mark.parametrize("name", ["../a.exe", "/a.exe", "sub/../../a.exe", "..\\a.exe", "C:a.exe"])
def test_members_that_leave_the_archive(tmp_path: Path, name: str) -> None:
    for data in (named((name, SIGNED)), tarred(**{name: SIGNED})):
        assert judged(tmp_path, "x.zip", data).outcome is not Outcome.ACCEPTED


def test_what_a_zip_archive_does_not_list_is_no_secret(tmp_path: Path) -> None:
    listed = zipped(a__exe=SIGNED)
    hidden = zipped(b__exe=PROGRAM)
    hidden = hidden[: hidden.index(b"PK\x01\x02")]
    for data in (listed + hidden, hidden + listed, listed + bytes(20)):
        assert judged(tmp_path, "x.zip", data).outcome is not Outcome.ACCEPTED


@pytest.mark.parametrize("where", ['path = ["**/tools/**"]', 'kind = ["executable"]'])
def test_no_exception_spares_what_is_in_the_right_place(tmp_path: Path, where: str) -> None:
    """Whoever delivers chooses the place."""
    spared = f"""
[[exception]]
id = "spare"
spares = ["withdrawn"]
{where}
reason = "needed"
owner = "somebody"
expires = 2126-01-01T00:00:00Z
"""
    with pytest.raises(PolicyError, match="exception spare"):
        judged(tmp_path, "a.exe", SIGNED, POLICY + DENY % sha256(SIGNED) + spared)


def test_a_refused_rule_says_what_it_goes_by(tmp_path: Path) -> None:
    weak = '\n[[rule]]\nid = "image"\naction = "allow"\norigin = { kind = "oci", name = "r/**" }\n'
    with pytest.raises(PolicyError) as caught:
        judged(tmp_path, "a.exe", SIGNED, POLICY + weak)
    told = str(caught.value)
    assert "rule image: found nothing but origin to let in by" in told
    assert "required one of publisher, signers, identity, digest, catalog as well" in told


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("x.hta", b"<script>run()</script>", "text"),
        ("x.desktop", b"[Desktop Entry]\nExec=id\n", "text"),
        ("x.reg", b"Windows Registry Editor Version 5.00\n", "text"),
        ("Makefile", b"all:\n\tid\n", "text"),
        (".bashrc", b"id\n", "text"),
        ("readme.txt ", b"id\n", "text"),
        ("x.js", b"GIF89a=1;run()//", "image"),
        ("x.bat", b"%PDF-1.4\r\ncalc\r\n", "pdf"),
        ("x.sh", b"-----BEGIN CERTIFICATE-----\nid\n", "x509"),
    ],
)
def test_what_passes_by_kind_is_named_so(tmp_path: Path, name: str, data: bytes, kind: str) -> None:
    passing = frozenset({kind})
    found = judged(tmp_path, name, data, passing=passing)
    assert found.outcome is not Outcome.ACCEPTED
    inner = named(("a.exe", SIGNED), (name, data))
    assert judged(tmp_path, "x.zip", inner, passing=passing).outcome is not Outcome.ACCEPTED


@pytest.mark.parametrize("name", ["README", "sub/LICENSE", "a.md", "A.TXT"])
def test_texts_pass(tmp_path: Path, name: str) -> None:
    inner = named(("a.exe", SIGNED), (name, b"words"))
    assert judged(tmp_path, "x.zip", inner, passing=TEXT).outcome is Outcome.ACCEPTED
