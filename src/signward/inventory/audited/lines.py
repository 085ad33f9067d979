"""Lines of a log, within bounds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from signward.errors import LimitError

MAX_LINE = 1024 * 1024
"""Octets of one line: arguments of a program may stand there."""


def lines_of(path: Path) -> Iterator[str]:
    r"""Yield the lines of a log without their ends; octets that are no UTF-8 appear as ``\xNN``.

    Raises ``LimitError`` for a line that is too long.
    """
    with path.open("rb") as stream:
        while line := stream.readline(MAX_LINE + 1):
            if len(line) > MAX_LINE:
                raise LimitError(str(path), "a longer line", f"at most {MAX_LINE} octets in one")
            yield line.rstrip(b"\r\n").decode("utf-8", "backslashreplace")
