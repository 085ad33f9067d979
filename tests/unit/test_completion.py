"""Shell completion: what each shell offers, asked of the shell itself."""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from signward.cli.commands import COMMANDS, build_parser, command_parsers, run
from signward.cli.completion import Argument, described
from signward.inventory.classify import KINDS
from signward.trust.profiles import PROFILES
from signward.verbs.stores import NAMED

SHELLS = ("bash", "zsh", "fish")


@pytest.fixture
def script(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> str:
    shell = request.param
    assert run(["completion", shell]) == 0
    return capsys.readouterr().out


def needed(tool: str) -> str:
    found = shutil.which(tool)
    if not found:
        pytest.skip(f"{tool} is not installed")
    return found


def said(command: Sequence[str], folder: Path) -> list[str]:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "set up.exe").touch()
    (tmp_path / "root.pem").touch()
    (tmp_path / "catalogs").mkdir()
    return tmp_path


def offered_by_bash(script: str, folder: Path, *words: str) -> set[str]:
    line = " ".join(map(shlex.quote, ("signward", *words)))
    program = (
        f"{script}\nCOMP_WORDS=({line})\nCOMP_CWORD={len(words)}\n_signward\n"
        "printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    return set(said([needed("bash"), "--norc", "-c", program], folder)) - {""}


def offered_by_fish(script: str, folder: Path, *words: str) -> set[str]:
    (folder / "signward.fish").write_text(script)
    line = "signward " + " ".join(words)
    command = f"source signward.fish; complete -C {shlex.quote(line)}"
    told = said([needed("fish"), "--no-config", "-c", command], folder)
    return {entry.partition("\t")[0] for entry in told} - {"signward.fish"}


QUESTIONS = [
    (("",), set(COMMANDS)),
    (("ver",), {"verify"}),
    (("verify", "--stage", ""), {"accepted", "trusted", "intact"}),
    (("verify", "--stage", "in"), {"intact"}),
    (("scan", "--fail-on", ""), {"rejected", "indeterminate", "unsigned"}),
    (("scan", "--only", "power"), {kind for kind in KINDS if kind.startswith("power")}),
    (("completion", ""), set(SHELLS)),
    (("verify", "--at", ""), set()),
]


@pytest.mark.parametrize("script", ["bash"], indirect=True)
@pytest.mark.parametrize(("words", "offered"), QUESTIONS)
def test_bash(script: str, folder: Path, words: tuple[str, ...], offered: set[str]) -> None:
    assert offered_by_bash(script, folder, *words) - {"--help", "--version"} == offered


@pytest.mark.parametrize("script", ["bash"], indirect=True)
def test_bash_completes_paths_with_spaces_folders_and_values_behind_equals(
    script: str, folder: Path
) -> None:
    assert offered_by_bash(script, folder, "verify", "set") == {"set up.exe"}
    assert offered_by_bash(script, folder, "verify", "--evidence", "") == {"catalogs"}
    assert offered_by_bash(script, folder, "verify", "--stage", "=", "tr") == {"trusted"}
    assert offered_by_bash(script, folder, "verify", "--stage", "=") == {
        "accepted", "trusted", "intact",
    }  # fmt: skip
    assert offered_by_bash(script, folder, "verify", "--store", "") == {
        *NAMED, "set up.exe", "root.pem", "catalogs",
    }  # fmt: skip


@pytest.mark.interop
@pytest.mark.parametrize("script", ["fish"], indirect=True)
@pytest.mark.parametrize(("words", "offered"), [q for q in QUESTIONS if q[0] != ("",)])
def test_fish(script: str, folder: Path, words: tuple[str, ...], offered: set[str]) -> None:
    needed("fish")
    assert offered_by_fish(script, folder, *words) == offered


@pytest.mark.interop
@pytest.mark.parametrize("script", ["fish"], indirect=True)
def test_fish_completes_commands_options_and_paths(script: str, folder: Path) -> None:
    needed("fish")
    assert offered_by_fish(script, folder, "''")
    assert {"verify", "scan"} <= offered_by_fish(script, folder, "")
    assert offered_by_fish(script, folder, "verify", "--exp") == {"--explain"}
    assert "set up.exe" in offered_by_fish(script, folder, "verify", "se")
    assert offered_by_fish(script, folder, "verify", "--evidence", "cat") == {"catalogs/"}


@pytest.mark.interop
@pytest.mark.parametrize("script", ["zsh"], indirect=True)
def test_zsh_loads_it_and_is_told_every_option(script: str, folder: Path) -> None:
    """Where zsh's own functions are replaced by ones that print what they are given."""
    (folder / "_signward").write_text(script)
    program = (
        "compdef() { print -r -- compdef $* }\n"
        "_arguments() { [[ $1 == -C ]] && { state=argument; return }; print -rl -- $@ }\n"
        "source ./_signward\nwords=(verify ''); _signward"
    )
    told = said([needed("zsh"), "-f", "-c", program], folder)
    assert told[0] == "compdef _signward signward"
    flags = {flag for a in described(command_parsers()["verify"]) for flag in a.flags}
    assert {re.sub(r"^\*|\[.*", "", spec) for spec in told[1:]} - {":FILE:_files"} >= flags
    assert "*:FILE:_files" in told
    assert any(s.startswith("--stage[") and s.endswith("(accepted trusted intact)") for s in told)


@pytest.mark.parametrize("shell", SHELLS)
def test_every_option_of_every_command_is_in_it(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["completion", shell])
    script = capsys.readouterr().out
    for name, parser in command_parsers().items():
        assert name in script
        for argument in described(parser):
            assert all(flag.lstrip("-") in script for flag in argument.flags)


def test_an_unknown_shell_is_an_error_of_the_command_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(["completion", "tcsh"])
    assert stopped.value.code == 2
    assert "tcsh" in capsys.readouterr().err


def test_arguments_are_described_as_a_shell_needs_them() -> None:
    told = {a.flags: a for a in described(command_parsers()["verify"])}
    assert told["--crl",] == Argument(
        flags=("--crl",), metavar="FILE", values=(), repeats=True,
        text="certificate revocation lists, DER or PEM",
    )  # fmt: skip
    assert told["--json",].metavar == ""
    assert (told["--evidence",].folders, told["--evidence",].files) == (True, False)
    assert told["--profile",].values == tuple(PROFILES)


def test_the_command_can_be_called_twice(capsys: pytest.CaptureFixture[str]) -> None:
    """A module named like the function in its package once took its place after one call."""
    for _ in range(2):
        assert importlib.import_module("signward.cli").main(["completion", "fish"]) == 0
    assert capsys.readouterr().out.count("# fish completion") == 2


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_eighty_columns(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = command_parsers()[command].format_help() if command else build_parser([]).format_help()
    assert [line for line in text.splitlines() if len(line) > 80] == []


def test_every_argument_has_a_line_of_help() -> None:
    silent = [
        (name, a) for name, parser in command_parsers().items() for a in described(parser)
        if not a.text
    ]  # fmt: skip
    assert silent == []


def test_examples_in_the_help_are_command_lines_that_parse() -> None:
    lines = [
        line.strip()
        for parser in (build_parser([]), *command_parsers().values())
        for line in (parser.epilog or "").splitlines()
        if line.startswith("  signward ")
    ]
    assert len(lines) > 15
    for line in lines:
        words = shlex.split(re.sub(r"  +.*| > .*", "", line))[1:]
        assert build_parser(words).parse_args(words).command == words[0]


def test_the_kinds_named_in_help_exist() -> None:
    assert {"pe", "powershell", "jar"} <= KINDS.keys()
