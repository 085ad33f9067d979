"""What Cisco's devices print of their images: told as a claim, never a reason to accept."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signward.cli.commands import run
from signward.errors import BadInputError, EvidenceError, LimitError, MalformedError
from signward.findings import Code, Effect
from signward.inventory import authenticity
from signward.inventory.authenticity import read_authenticity
from signward.state import Outcome, Verdict
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.verify import assess_path

IMAGE = "c3900-universalk9-mz.SPA.152-4.M6.bin"
PRINTED = f"""
Router# show software authenticity file flash0:{IMAGE}

File Name                     : flash0:{IMAGE}
Image type                    : Production
    Signer Information
        Common Name           : CiscoSystems
        Organization Unit     : C3900
        Organization Name     : CiscoSystems
    Certificate Serial Number : 4AE1A3D1
    Hash Algorithm            : SHA512
    Signature Algorithm       : 2048-bit RSA
    Key Version               : A
    Verifier Information
        Verifier Name         : ROMMON 1
"""


def judged(folder: Path, printed: str, name: str = IMAGE) -> Verdict:
    (folder / "said.txt").write_text(printed)
    (folder / name).write_bytes(b"\x7fELF\x01\x02\x01" + bytes(100))
    options = Options(device_claims=(str(folder / "said.txt"),))
    return assess_path(str(folder / name), Context(options))


def test_it_is_told_and_decides_nothing(tmp_path: Path) -> None:
    verdict = judged(tmp_path, PRINTED)
    assert (verdict.outcome, verdict.cause) == (Outcome.INDETERMINATE, Code.UNSUPPORTED_KIND)
    (told,) = [finding for finding in verdict.findings if finding.code is Code.CLAIMED]
    assert told.effect is Effect.NOTE
    assert "Common Name CiscoSystems" in told.found
    assert "Key Version A" in told.found
    assert "ROMMON" not in told.found


def test_special_images_are_warned_of(tmp_path: Path) -> None:
    verdict = judged(tmp_path, PRINTED.replace("Production", "Special"))
    assert [f.effect for f in verdict.findings if f.code is Code.CLAIMED] == [Effect.WARN]


def test_a_word_about_another_file_is_not_told(tmp_path: Path) -> None:
    verdict = judged(tmp_path, PRINTED, "another.SPA.bin")
    assert Code.CLAIMED not in {finding.code for finding in verdict.findings}


def test_several_images() -> None:
    text = "File Name : bootflash:/a/one.SPA.bin\nKey Version : A\nKey Version : Z\n"
    text += "File Name: two.SPA.bin\nImage type: Development\n"
    first, second = read_authenticity("x", text.encode())
    assert (first.base, dict(first.told)) == ("one.SPA.bin", {"Key Version": "A"})
    assert (second.base, dict(second.told)) == ("two.SPA.bin", {"Image type": "Development"})


def test_what_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MalformedError):
        read_authenticity("x", b"hello: world\n")
    with pytest.raises(EvidenceError, match="no file name"):
        judged(tmp_path, "nothing")
    monkeypatch.setattr(authenticity, "MAX_OCTETS", 10)
    with pytest.raises(LimitError):
        read_authenticity("x", PRINTED.encode())


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judged(tmp_path, PRINTED)
    words = ["verify", "--explain", "--device-says", str(tmp_path / "said.txt")]
    assert run([*words, str(tmp_path / IMAGE)]) == 3
    assert "claimed:" in capsys.readouterr().out


@given(st.binary(max_size=300))
def test_any_octets_say_something_or_nothing(data: bytes) -> None:
    with suppress(BadInputError):
        assert read_authenticity("x", data)


def test_a_line_of_any_length_takes_no_time() -> None:
    long = b"Image type : Spec" + b" " * 900_000 + b"ial\n"
    start = time.process_time()
    (claim,) = read_authenticity("x", b"File Name : flash:a.bin\n" + long)
    assert dict(claim.told) == {}
    assert time.process_time() - start < 1
