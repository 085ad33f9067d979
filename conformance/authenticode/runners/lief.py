"""LIEF: ``Binary.verify_signature`` as a caller gets it by default (PE only).

It checks digests, signature values and timestamps; it is given neither anchors nor
revocation evidence nor an instant, because its interface takes none there.
"""

from __future__ import annotations

import importlib.metadata

from conformance.authenticode.cases.base import Answer
from conformance.authenticode.runners import Reply, main
from conformance.authenticode.suite import Request


def version() -> str:
    """Return LIEF's version, empty when it is absent."""
    try:
        return importlib.metadata.version("lief")
    except importlib.metadata.PackageNotFoundError:
        return ""


def answer(request: Request) -> Reply:
    """Parse the file and have every signature verified."""
    import lief

    lief.logging.disable()
    if request.file.read_bytes()[:2] != b"MZ":
        return Reply(answer=Answer.CANNOT_TELL, why="no PE image")
    binary = lief.PE.parse(str(request.file))
    if binary is None:
        return Reply(answer=Answer.CANNOT_TELL, why="not parsed")
    flags = binary.verify_signature()
    flag = lief.PE.Signature.VERIFICATION_FLAGS
    why = str(flags).removeprefix("VERIFICATION_FLAGS.")
    if flags == flag.OK:
        return Reply(answer=Answer.ACCEPTED)
    if flags == flag.NO_SIGNATURE:
        return Reply(answer=Answer.UNSIGNED)
    return Reply(answer=Answer.REJECTED, why=why)


if __name__ == "__main__":
    raise SystemExit(main(answer))
