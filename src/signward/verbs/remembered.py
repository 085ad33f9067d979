"""The highest version of each manifest that counted here: what older ones are refused by.

State, not cache: who clears it takes that measure away.  A manifest is known by whoever signed
it and by its own name, so that a new copy under another file name is no news.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path

import msgspec

from signward.errors import EvidenceError, OlderError
from signward.frozen import Frozen, decoder
from signward.wire.whole import write_whole

MAX_OCTETS = 4096
"""Largest file of state read; ours have some hundred."""


class Known(Frozen, frozen=True, kw_only=True):
    """The newest manifest seen; ``sha256`` (hexadecimal) is of its payload."""

    version: int
    sha256: str


def check_news(path: str, signer: str, name: str, version: int, sha256: bytes) -> None:
    """Remember a manifest, unless it is older than what is remembered, or contradicts it.

    ``path`` is for messages, ``signer`` whoever signed it by an identity that lasts, ``sha256`` of
    the payload.  Only what is trusted may be brought here.  Raises ``OlderError``, and
    ``EvidenceError`` where nothing can be kept or two of one version differ.
    """
    folder = default_folder()
    if folder is None:
        raise EvidenceError(
            f"{path}: found no folder to remember its version in, required a home or "
            "$XDG_STATE_HOME"
        )
    known_by = hashlib.sha256(b"\0".join((signer.encode(), name.encode()))).hexdigest()
    place = folder / f"{known_by}.json"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with place.with_suffix(".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _hold_against(path, _known(place), version, sha256.hex())
            write_whole(place, msgspec.json.encode(Known(version=version, sha256=sha256.hex())))
    except OSError as error:
        raise EvidenceError(
            f"{path}: its version cannot be remembered: {error.filename}: {error.strerror}"
        ) from None


def _hold_against(path: str, known: Known | None, version: int, sha256: str) -> None:
    if known is None:
        return
    if version < known.version:
        raise OlderError(f"{path}: found version {version}, required {known.version} or later")
    if version == known.version and sha256 != known.sha256:
        raise EvidenceError(f"{path}: found a second manifest of version {version}, required the "
                            "first")  # fmt: skip


def _known(place: Path) -> Known | None:
    """Return what is remembered; raise ``EvidenceError`` for what is no longer readable."""
    try:
        with place.open("rb") as file:
            return decoder(Known).decode(file.read(MAX_OCTETS))
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise EvidenceError(f"{place}: found no version in it; remove it to begin anew") from None


def default_folder() -> Path | None:
    """Return ``$XDG_STATE_HOME/signward/manifests``, or below ``~/.local/state``; None without."""
    home = os.environ.get("XDG_STATE_HOME", "")
    try:
        base = Path(home) if home.startswith("/") else Path.home() / ".local" / "state"
    except RuntimeError:
        return None
    return base / "signward" / "manifests"
