"""What X.509 signs: SEQUENCE { content, AlgorithmIdentifier, BIT STRING value, ... }."""

from __future__ import annotations

from collections.abc import Sequence

from signward.authority.algorithm import identifier
from signward.errors import AuthorityError
from signward.frozen import Frozen
from signward.state import Algorithm
from signward.wire import der


def signed(content: bytes, algorithm: Algorithm, value: bytes, *further: bytes) -> bytes:
    """Return a signed structure; ``content`` (DER) is what the value is over.

    So are certificates, CRLs (RFC 5280 4.1, 5.1) and, with ``further`` elements behind, basic
    OCSP responses (RFC 6960 4.2.1).
    """
    return der.sequence(content, identifier(algorithm), der.bit_string(value), *further)


class SignedDraft(Frozen, frozen=True, kw_only=True):
    """A certificate or CRL (``what``) that lacks its signature value (an ``envelopes.Draft``)."""

    what: str
    to_be_signed: bytes
    algorithm: Algorithm

    def seal(self, value: bytes, tokens: Sequence[bytes] = ()) -> bytes:
        """Return the whole, DER; there is no place for ``tokens``.  Raises ``AuthorityError``."""
        if tokens:
            raise AuthorityError(self.what, "timestamp tokens", "none: it has no place for any")
        return signed(self.to_be_signed, self.algorithm, value)
