"""The service's own log: one JSON object a line, and no secret in any.

What may stand in a line is what callers of :meth:`Journal.write` put there by name; heads and
bodies of requests are never among it.  Other libraries' messages pass through `masked`.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec

MAX_TEXT = 4000
"""Characters of a message or a traceback."""

_SECRETS = (
    (re.compile(r"(?i)(://[^/\s:@]*:)[^@/\s]+@"), r"\1***@"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), r"\1 ***"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*"), "***"),
    (re.compile(r"(?i)\b(password|passwd|pin|secret|token)(\s*[=:]\s*)[^\s&'\",;]+"), r"\1\2***"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END|$)", re.DOTALL), "***"),
)
"""What looks like a secret: passwords in URLs, tokens, words that name one, private keys."""


class Journal:
    """Writes lines.  Thread-safe; a line is written whole."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._lock = threading.Lock()

    def write(self, event: str, **fields: Any) -> None:
        """Write one line: the instant, ``event`` and those ``fields`` that say something."""
        said = {name: value for name, value in fields.items() if value not in (None, "")}
        line = {"at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}", "event": event, **said}
        text = msgspec.json.encode(line).decode() + "\n"
        with self._lock:
            self._stream.write(text)
            self._stream.flush()

    def error(self, event: str, error: BaseException, **fields: Any) -> None:
        """Write what went wrong, with where, for whoever mends it."""
        trace = "".join(traceback.format_exception(error))
        self.write(event, error=type(error).__name__, trace=masked(trace)[-MAX_TEXT:], **fields)

    def hear(self) -> None:
        """Write what libraries log (warnings and worse) in this form too."""
        handler = _Handler(self)
        logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
        logging.captureWarnings(True)  # noqa: FBT003 - the standard library's own switch


class _Handler(logging.Handler):
    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record as a line."""
        text = masked(self.format(record))[:MAX_TEXT]
        self._journal.write(
            "message", level=record.levelname.lower(), logger=record.name, text=text
        )


def masked(text: str) -> str:
    """Return ``text`` with stars for what looks like a secret."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text
