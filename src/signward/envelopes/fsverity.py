"""fs-verity built-in signatures: CMS without signed attributes over a structure of one digest.

Source: Linux Documentation/filesystems/fsverity.rst, "Built-in signature verification".
"""

from __future__ import annotations

from collections.abc import Callable

from signward.envelopes.cms_external import open_external
from signward.errors import MalformedError
from signward.frozen import replace
from signward.state import ClaimedSignature, Slot
from signward.wire import verity

_WHAT = "fs-verity signature"
_CLAUSE = "fsverity.rst, built-in signature verification"


def open_built_in(blob: bytes, compute: Callable[[str], Slot]) -> tuple[ClaimedSignature, ...]:
    """Return the signatures in a message; ``compute`` gives the slot by a signer's own digest.

    They do not say which digest was signed: only whether the value fits tells if it is the
    computed one.  Raises ``MalformedError`` for what is no such message.
    """
    if len(blob) > verity.MAX_SIGNATURE:
        raise MalformedError(
            _WHAT, f"{len(blob)} octets", f"at most {verity.MAX_SIGNATURE}", _CLAUSE
        )
    opened = open_external(blob, "", bytes)
    for claimed in opened:
        if claimed.signed_attributes:
            raise MalformedError(_WHAT, "signed attributes", "none", _CLAUSE)
        if claimed.algorithm.digest not in verity.NUMBERS:
            raise MalformedError(_WHAT, f"digest {claimed.algorithm.digest or 'unknown'}",
                                 "sha256 or sha512", _CLAUSE)  # fmt: skip
    return tuple(_over(claimed, compute(claimed.algorithm.digest)) for claimed in opened)


def _over(claimed: ClaimedSignature, slot: Slot) -> ClaimedSignature:
    signed = verity.formatted(slot.digest, slot.algorithm)
    return replace(claimed, over="", slots=(slot,), to_be_verified=signed)
