"""The command line: exit codes, help, JSON, and errors as a newcomer meets them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conformance.authenticode import pe, rpm
from conformance.authenticode.cases.base import signed_image
from conformance.authenticode.pki import NOW, default_pki

from signward import __version__
from signward.cli import main
from signward.policy.record import from_json

AT = f"{NOW:%Y-%m-%dT%H:%M:%SZ}"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Write one file for every exit code, and the anchor."""
    (tmp_path / "root.pem").write_bytes(default_pki().root.pem)
    good = signed_image()
    (tmp_path / "good.exe").write_bytes(good)
    (tmp_path / "bad.exe").write_bytes(good[:700] + b"X" + good[701:])
    (tmp_path / "unsigned.exe").write_bytes(pe.image())
    (tmp_path / "a.rpm").write_bytes(rpm.delta())
    return tmp_path


def verify(files: Path, *names: str, options: tuple[str, ...] = ()) -> int:
    paths = [str(files / name) for name in names]
    return main(["verify", "--anchor", str(files / "root.pem"), "--at", AT, *options, *paths])


@pytest.mark.parametrize(
    ("name", "code"),
    [("good.exe", 0), ("bad.exe", 1), ("a.rpm", 3), ("unsigned.exe", 4), ("absent", 3), (".", 3)],
)
def test_exit_codes(files: Path, name: str, code: int) -> None:
    assert verify(files, name) == code


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (("good.exe", "unsigned.exe"), 4),
        (("unsigned.exe", "a.rpm"), 3),
        (("a.rpm", "bad.exe", "unsigned.exe"), 1),
        (("good.exe", "good.exe"), 0),
    ],
)
def test_the_worst_file_decides(files: Path, names: tuple[str, ...], code: int) -> None:
    assert verify(files, *names) == code


def test_one_line_per_file(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verify(files, "good.exe", "bad.exe")
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("ACCEPTED")
    assert "Conformance" in first
    assert second.startswith("REJECTED")
    assert "digest-mismatch" in second
    assert "TRUST_E_BAD_DIGEST" in second


def test_several_files_are_summed_up_on_stderr(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verify(files, "good.exe", "bad.exe", "unsigned.exe")
    told = capsys.readouterr().err
    assert told.startswith("signward: 3 files: 2 rejected (")
    assert all(word in told for word in ("1 digest-mismatch", "1 unsigned", "1 accepted"))


@pytest.mark.parametrize(
    ("names", "options"), [(("good.exe",), ()), (("good.exe",) * 2, ("--json",))]
)
def test_one_file_and_json_need_no_sum(
    files: Path,
    capsys: pytest.CaptureFixture[str],
    names: tuple[str, ...],
    options: tuple[str, ...],
) -> None:
    verify(files, *names, options=options)
    assert capsys.readouterr().err == ""


def test_json_is_a_record(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verify(files, "bad.exe", options=("--format", "json"))
    record = from_json(capsys.readouterr().out)
    assert (record.outcome, record.cause) == ("rejected", "digest-mismatch")
    assert record.windows_name == "TRUST_E_BAD_DIGEST"


def test_explain_names_every_finding(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verify(files, "good.exe", options=("--explain",))
    out = capsys.readouterr().out
    assert "revocation-unknown" in out
    assert "RFC 5280 6.3" in out
    assert "hint:" in out


def test_policy_switches_reach_the_judgement(files: Path) -> None:
    assert verify(files, "good.exe", options=("--revocation", "require")) == 3
    assert verify(files, "good.exe", options=("--publisher", "Nobody")) == 1
    assert verify(files, "good.exe", options=("--store", "uefi")) == 0
    assert main(["verify", "--at", AT, str(files / "good.exe")]) == 1
    assert main(["verify", "--at", AT, "--stage", "intact", str(files / "good.exe")]) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--anchor", "absent.pem"), "no such file"),
        (("--store", "nowhere"), "windows-kernel or a path"),
        (("--catalog", "nowhere"), "catalog nowhere"),
    ],
)
def test_bad_options_are_exit_code_2(
    files: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], words: str
) -> None:
    path = str(files / "unsigned.exe" if "--catalog" in options else files / "good.exe")
    assert main(["verify", *options, path]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["verify"], ["verify", "--at", "soon", "x"], ["nonsense"]])
def test_a_wrong_command_line_is_exit_code_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2


def test_a_junk_anchor_is_named(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    junk = files / "junk.pem"
    junk.write_bytes(b"nothing of the kind")
    assert main(["verify", "--anchor", str(junk), str(files / "good.exe")]) == 2
    assert "junk.pem" in capsys.readouterr().err
    junk.write_bytes(b"\x30\x03\x02\x01\x01")
    for flag in ("--anchor", "--certificate", "--crl", "--ocsp"):
        assert main(["verify", flag, str(junk), str(files / "good.exe")]) == 2


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    for words, text in ((["--version"], __version__), (["verify", "--help"], "examples:")):
        with pytest.raises(SystemExit) as caught:
            main(words)
        assert caught.value.code == 0
        assert text in capsys.readouterr().out


def test_as_a_module_and_into_a_closed_pipe(files: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "signward", "show", "--json", str(files / "good.exe")]
    whole = subprocess.run(command, capture_output=True, env=environment, timeout=60)
    assert whole.returncode == 0
    assert json.loads(whole.stdout)
    names = "good.exe " * 2000
    script = f"{sys.executable} -m signward verify --stage intact {names} | head -c 10"
    cut = subprocess.run(
        script, shell=True, capture_output=True, env=environment, timeout=60, cwd=files
    )
    assert len(cut.stdout) == 10
    assert b"Traceback" not in cut.stderr
