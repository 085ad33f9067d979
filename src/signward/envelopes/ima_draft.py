"""The value of ``security.ima`` as a draft."""

from __future__ import annotations

from collections.abc import Sequence

from signward.frozen import Frozen
from signward.state import Algorithm
from signward.wire import ima


class ImaDraft(Frozen, frozen=True, kw_only=True):
    """An attribute's value that lacks the signature value (an ``envelopes.Draft``).

    ``kind`` is the value's first octet, ``digest`` hashlib's name, ``key_id`` the end of the
    certificate's key identifier.
    """

    kind: int
    version: int
    digest: str
    key_id: bytes
    to_be_signed: bytes
    algorithm: Algorithm

    def seal(self, value: bytes, _tokens: Sequence[bytes] = ()) -> bytes:
        """Return the attribute's value; there is no place for tokens."""
        return ima.write_signature(self.kind, self.version, self.digest, self.key_id, value)

    def stamped(self, _value: bytes) -> None:
        """Return nothing: there is no place for tokens."""
