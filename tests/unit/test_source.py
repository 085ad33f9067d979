"""Sources: bounded reads, one pass, and what happens when the file is no file or changes."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

import pytest

from signward.errors import MalformedError, UnreadableError
from signward.findings import Code
from signward.wire.source import APART, WHOLE, BytesSource, open_source


@pytest.fixture(params=[100, WHOLE + 100_001, APART + 100_001], ids=["small", "large", "apart"])
def sample(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "sample"
    path.write_bytes(os.urandom(request.param))
    return path


def test_reads_and_feeds_what_is_there(sample: Path) -> None:
    data = sample.read_bytes()
    with open_source(sample) as source:
        assert source.length == len(data)
        assert source.read(7, 50) == data[7:57]
        first, second = hashlib.sha256(), hashlib.sha1(usedforsecurity=False)
        source.feed([(0, 10), (20, len(data))], [first, second])
        source.check_unchanged()
    assert first.digest() == hashlib.sha256(data[:10] + data[20:]).digest()
    assert second.digest() == hashlib.sha1(data[:10] + data[20:], usedforsecurity=False).digest()


@pytest.mark.parametrize(("offset", "size"), [(-1, 5), (0, -1), (99, 2**62), (10**9, 1)])
def test_reads_outside_are_malformed(sample: Path, offset: int, size: int) -> None:
    with open_source(sample) as source, pytest.raises(MalformedError):
        source.read(offset, size)
    with pytest.raises(MalformedError):
        BytesSource("b", b"abc").feed([(0, 4)], [hashlib.sha256()])


@pytest.mark.parametrize("size", [WHOLE + 10, APART + 10])
def test_a_file_that_shrinks_is_reported(tmp_path: Path, size: int) -> None:
    path = tmp_path / "shrinks"
    path.write_bytes(bytes(size))
    with open_source(path) as source:
        os.truncate(path, 10)
        with pytest.raises(UnreadableError) as caught:
            source.feed([(0, WHOLE)], [hashlib.sha256(), hashlib.sha512()])
        assert caught.value.finding.code is Code.CHANGED_WHILE_READ
        with pytest.raises(UnreadableError):
            source.read(100, 10)
        with pytest.raises(UnreadableError):
            source.check_unchanged()


def test_what_is_no_file_is_never_read(tmp_path: Path) -> None:
    fifo, link, server = tmp_path / "fifo", tmp_path / "link", tmp_path / "socket"
    os.mkfifo(fifo)
    link.symlink_to(tmp_path / "nowhere")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(server))
        for path, word in (
            (tmp_path, "directory"),
            (fifo, "FIFO"),
            (Path("/dev/null"), "character device"),
            (link, "no such file"),
            (server, "no such device"),
        ):
            with pytest.raises(UnreadableError) as caught, open_source(path):
                pass
            assert word in caught.value.finding.found


def test_a_name_with_a_nul_is_unreadable() -> None:
    with pytest.raises(UnreadableError), open_source("a\0b"):
        pass
