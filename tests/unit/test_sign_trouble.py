"""Signing where something goes wrong outside: signals, full outputs, odd names, odd images."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode import pe

from signward.cli.sign import EPILOG
from signward.errors import NotSignableError
from signward.formats._pe_layout import read_layout
from signward.formats._pe_sign import MAX_CONTENT, check_room
from signward.frozen import replace
from signward.verbs import stamping
from signward.verbs.outcome import FileResult
from signward.verbs.sign import Signatory
from signward.verbs.stamping import Stamper
from signward.wire.source import BytesSource
from tests.builders import tsa
from tests.builders.web import Server
from tests.desk import Desk, untouched

linux = pytest.mark.skipif(sys.platform != "linux", reason="signals and pipes as Linux has them")
SIGNWARD = [sys.executable, "-m", "signward"]


# --- what is said ----------------------------------------------------------------


@linux
def test_a_name_that_is_no_utf8_does_not_break_json(desk: Desk) -> None:
    name = os.fsencode(desk.folder) + b"/caf\xe9.exe"
    Path(os.fsdecode(name)).write_bytes(pe.image())
    command = [*SIGNWARD, "sign", "--json", "--key", desk.key, os.fsdecode(name)]
    done = subprocess.run(command, capture_output=True, check=True)
    told = json.loads(done.stdout)
    assert told["outcome"] == "signed"
    assert told["path"].endswith(r"caf\xe9.exe")
    assert next(iter(told)) == "path"


def test_the_help_tells_every_field_of_the_json() -> None:
    told = EPILOG[EPILOG.index("--json writes") : EPILOG.index("exit codes")]
    assert all(name in told for name in FileResult.__struct_fields__)


def test_a_hostile_name_or_authority_does_not_drive_the_terminal(
    desk: Desk, server: Server
) -> None:
    desk.exe = desk.file("a\x1b[2K\nSIGNED b.exe", pe.image())
    server.routes["/tsa"] = tsa.answering(status=2, text="no\x1b]0;owned\x07")
    said = untouched(desk, "--timestamp", server.url("/tsa"))
    assert "\x1b" not in said
    assert "\\x1b" in said
    assert "\nSIGNED" not in said
    assert desk.sign(desk.exe) == 0
    assert "\x1b" not in desk.out


@linux
@pytest.mark.parametrize("words", [[], ["--json"]])
def test_output_that_cannot_be_written_is_no_traceback(desk: Desk, words: list[str]) -> None:
    command = [*SIGNWARD, "sign", *words, "--key", desk.key, str(desk.exe)]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2
    assert b"No space left" in done.stderr
    assert b"Traceback" not in done.stderr


@linux
@pytest.mark.parametrize("words", [[], ["--json"]])
def test_output_that_is_closed_is_no_traceback_and_no_file_of_ours(
    desk: Desk, words: list[str]
) -> None:
    command = [*SIGNWARD, "sign", *words, "--key", desk.key, str(desk.exe)]
    shell = ["sh", "-c", 'exec "$@" >&- <&-', "sh", *command]
    done = subprocess.run(shell, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
    assert "accepted" in desk.verify(desk.exe)


# --- where it goes ---------------------------------------------------------------


def test_out_is_never_the_file_itself(desk: Desk) -> None:
    assert "the file itself" in untouched(desk, "--out", desk.folder)
    link = desk.folder / "link"
    link.symlink_to(desk.folder)
    assert "the file itself" in untouched(desk, "--out", link)


def test_out_that_is_a_file_is_said(desk: Desk) -> None:
    taken = desk.file("taken", b"")
    said = untouched(desk, "--out", taken)
    assert "file exists, required a place that can be written" in said


def test_two_names_of_one_file_are_not_signed_at_once(desk: Desk) -> None:
    second = desk.folder / "second.exe"
    os.link(desk.exe, second)
    assert desk.sign(desk.exe, second) == 1
    assert "a second name (hard link)" in desk.err
    assert desk.verify(desk.exe, second) == "accepted,unsigned"
    assert desk.sign(second) == 0
    assert desk.verify(desk.exe, second) == "accepted,accepted"


@linux
def test_extended_attributes_are_kept(desk: Desk) -> None:
    try:
        os.setxattr(desk.exe, "user.origin", b"build 7")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    assert desk.sign(desk.exe) == 0
    assert os.getxattr(desk.exe, "user.origin") == b"build 7"


# --- signals ---------------------------------------------------------------------


@pytest.fixture
def silent() -> Iterator[str]:
    """Yield the URL of an authority that takes questions and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"


def running(*words: str) -> subprocess.Popen[bytes]:
    # Tests in the background (nohup, a shell's ``&``) inherit ignored signals.
    hearing = ["env", "--default-signal=INT,HUP,TERM"]
    return subprocess.Popen(
        [*hearing, *SIGNWARD, "sign", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def awaited(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_though_an_authority_is_waited_for(
    desk: Desk, silent: str, number: signal.Signals
) -> None:
    process = running("--key", desk.key, "--timestamp", silent, str(desk.exe))
    awaited(lambda: len(os.listdir(f"/proc/{process.pid}/task")) > 3)  # noqa: PTH208
    time.sleep(0.3)  # while threads start, CPython may lose the exception that a signal raises
    begun = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert time.monotonic() - begun < 5
    assert process.returncode == 128 + number
    assert b"Traceback" not in said
    assert desk.leftovers == []


@linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_among_many_files_leaves_no_temporary_file(
    desk: Desk, number: signal.Signals
) -> None:
    image = pe.image(overlay=bytes(100_000))
    files = [desk.file(f"{n}.exe", image) for n in range(200)]
    process = running("--key", desk.key, *map(str, files))
    awaited(lambda: files[10].stat().st_size != len(image))
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert b"Traceback" not in said
    assert desk.leftovers == []
    unsigned = [path for path in files if path.stat().st_size == len(image)]
    assert len(unsigned) > 100
    assert all(path.read_bytes() == image for path in unsigned)


@linux
def test_a_copy_whose_parent_is_gone_does_not_sign_on(desk: Desk) -> None:
    image = pe.image(overlay=bytes(100_000))
    files = [desk.file(f"{n}.exe", image) for n in range(400)]
    process = running("--key", desk.key, *map(str, files))
    awaited(lambda: files[10].stat().st_size != len(image))
    process.kill()
    process.wait()
    assert process.stderr is not None
    process.stderr.read()  # until the copy, too, has ended
    process.stderr.close()
    assert sum(path.stat().st_size == len(image) for path in files) > 200


# --- authorities -----------------------------------------------------------------


def test_a_token_over_a_weaker_digest_than_asked_for_is_refused(server: Server) -> None:
    imprint = hashlib.sha1(b"value", usedforsecurity=False).digest()
    server.routes["/tsa"] = tsa.answering(imprint=imprint, imprint_digest="sha1")
    with pytest.raises(stamping.StampError, match="another digest"):
        Stamper([server.url("/tsa")], "sha256", datetime.now(UTC))(b"value")


def test_a_run_of_hours_is_no_clock_that_is_wrong(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.url("/tsa")
    server.routes["/tsa"] = tsa.answering()
    hours = timedelta(hours=3)
    stamp = Stamper([url], "sha256", datetime.now(UTC) - hours)
    monkeypatch.setattr(stamp, "_begun", time.monotonic() - hours.total_seconds())
    assert len(stamp(b"value")) == 1


def test_whoever_gives_up_waits_for_no_authority(silent: str) -> None:
    stamp = Stamper([silent], "sha256", datetime.now(UTC))
    threading.Timer(0.2, stamp.give_up).start()
    begun = time.monotonic()
    with pytest.raises(stamping.StampError, match="interrupted"):
        stamp(b"value")
    assert time.monotonic() - begun < 5


# --- catalogs --------------------------------------------------------------------


@linux
def test_a_catalog_of_a_name_that_is_no_utf8_is_refused(desk: Desk) -> None:
    name = os.fsdecode(os.fsencode(desk.folder) + b"/\xff.txt")
    Path(name).write_bytes(b"text")
    assert desk.run("catalog", name, "-o", desk.folder / "x.cat") == 1
    assert "no UTF-8" in desk.err
    assert not (desk.folder / "x.cat").exists()


def test_a_catalog_never_lacks_a_folder_in_silence(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = desk.folder / "hidden"
    hidden.mkdir()
    scandir = os.scandir

    def refusing(path: Any) -> Any:
        if str(path) == str(hidden):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert desk.run("catalog", desk.folder, "-o", desk.folder / "x.cat") == 1
    assert "hidden: found permission denied" in desk.err


# --- images ----------------------------------------------------------------------


@pytest.mark.parametrize("how", [["sign", "--replace"], ["sign", "--nested"], ["strip"]])
def test_bytes_behind_the_certificate_table_are_not_lost(desk: Desk, how: Sequence[str]) -> None:
    desk.sign(desk.exe)
    data = desk.exe.read_bytes() + b"data"
    desk.exe.write_bytes(data)
    words = [*how, "--key", desk.key] if how[0] == "sign" else how
    assert desk.run(*words, desk.exe) == 1
    assert "would be lost" in desk.err
    assert desk.exe.read_bytes() == data


@pytest.mark.parametrize("how", [["sign", "--replace"], ["strip"]])
def test_a_table_that_a_section_maps_is_not_cut_out_of_it(desk: Desk, how: Sequence[str]) -> None:
    desk.sign(desk.exe)
    data = bytearray(desk.exe.read_bytes())
    header = int.from_bytes(data[60:64], "little")
    count, size = struct.unpack_from("<H12xH", data, header + 6)
    last = header + 24 + size + 40 * (count - 1)
    start = int.from_bytes(data[last + 20 : last + 24], "little")
    struct.pack_into("<I", data, last + 16, len(data) - start)
    desk.exe.write_bytes(data)
    words = [*how, "--key", desk.key] if how[0] == "sign" else how
    assert desk.run(*words, desk.exe) == 1
    assert "would be lost" in desk.err
    assert desk.exe.read_bytes() == data


def test_an_image_too_long_for_a_table_is_refused() -> None:
    source = BytesSource("x.exe", pe.image())
    layout = read_layout(source)
    check_room(source, layout)
    with pytest.raises(NotSignableError, match="32 bits"):
        check_room(source, replace(layout, length=MAX_CONTENT + 1))


def test_an_overlay_is_covered(desk: Desk) -> None:
    desk.exe.write_bytes(pe.image(overlay=b"installer's data, of odd length"))
    assert desk.sign(desk.exe) == 0
    data = desk.exe.read_bytes()
    assert desk.verify(desk.exe) == "accepted"
    desk.exe.write_bytes(data.replace(b"installer's", b"somebody's "))
    assert desk.verify(desk.exe) == "digest-mismatch"


def test_one_key_and_file_give_one_result_in_every_process(desk: Desk) -> None:
    results = set()
    for seed in ("1", "2", "3"):
        out = desk.folder / seed
        words = ["--page-hashes", "--out", str(out), "--key", desk.key, str(desk.exe)]
        command = [*SIGNWARD, "sign", *words]
        subprocess.run(
            command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        )
        results.add((out / desk.exe.name).read_bytes())
    assert len(results) == 1


@linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_python_drops_ends_the_run_all_the_same(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """What a handler raises in a weak reference's callback is printed and forgotten."""
    paths = [desk.file(f"{n}.exe", pe.image()) for n in range(40)]
    signed: list[str] = []

    def results(_self: Signatory, names: Sequence[str]) -> Iterator[FileResult]:
        for name in names:
            with contextlib.suppress(BaseException):
                os.kill(os.getpid(), number)
            signed.append(name)
            yield FileResult(path=name, outcome="signed")

    monkeypatch.setattr(Signatory, "run", results)
    # As in a process of its own: coverage handles SIGTERM, and who runs tests may ignore SIGINT.
    usual: dict[int, Any] = {
        signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL,
    }  # fmt: skip
    before = {one: signal.signal(one, handler) for one, handler in usual.items()}
    try:
        if number == signal.SIGINT:
            assert desk.sign(*paths) == 130
        else:
            with pytest.raises(SystemExit, match=str(128 + number)):
                desk.sign(*paths)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    assert len(signed) == 1
