"""Signed lists that must not go backwards: manifests, and the Releases of package archives.

One is known by whoever signed it and by its own name, so that a new copy under another file name
is no news.
"""

from __future__ import annotations

import hashlib

from signward.errors import EvidenceError, OlderError
from signward.verbs.memory import Known, Memory, Step, state_memory, step


def check_news(path: str, signer: str, name: str, version: int, sha256: bytes) -> None:
    """Remember a list, unless it is older than what is remembered, or contradicts it.

    ``path`` is for messages, ``signer`` whoever signed it by an identity that lasts, ``sha256`` of
    the payload.  Only what is trusted may be brought here.  Raises ``OlderError``, and
    ``EvidenceError`` where nothing can be kept or two of one version differ.
    """
    memory = state_memory("manifests")
    if memory is None:
        raise EvidenceError(
            f"{path}: found no folder to remember its version in, required a home or "
            "$XDG_STATE_HOME"
        )
    known_by = hashlib.sha256(b"\0".join((signer.encode(), name.encode()))).hexdigest()
    new = Known(version=version, sha256=sha256.hex())
    try:
        with memory.held():
            _hold_against(path, _known(memory, known_by), new)
            memory.keep(known_by, new)
    except OSError as error:
        raise EvidenceError(
            f"{path}: its version cannot be remembered: {error.filename}: {error.strerror}"
        ) from None


def _hold_against(path: str, known: Known | None, new: Known) -> None:
    stands = step(known, new)
    if known is not None and stands is Step.OLDER:
        raise OlderError(f"{path}: found version {new.version}, required {known.version} or later")
    if stands is Step.OTHER:
        raise EvidenceError(f"{path}: found a second manifest of version {new.version}, required "
                            "the first")  # fmt: skip


def _known(memory: Memory, name: str) -> Known | None:
    """Return what is remembered; raise ``EvidenceError`` for what is no longer readable."""
    try:
        return memory.known(name)
    except (ValueError, RecursionError):
        place = memory.place(name)
        raise EvidenceError(f"{place}: found no version in it; remove it to begin anew") from None
