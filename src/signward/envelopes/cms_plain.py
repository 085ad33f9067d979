"""CMS without signed attributes (RFC 5652 5.4): the value is over the content itself.

So sign firmware and the Linux kernel: authenticated variables (UEFI 2.10 8.2.2), modules, IPE
policies, fs-verity digests, dm-verity root hashes, entries of the ``.blacklist`` keyring.  Nothing
claims a time, so the same content gives the same octets with an RSA key.
"""

from __future__ import annotations

from collections.abc import Sequence

from signward.envelopes import Signer
from signward.envelopes.cms import DATA, SIGNED_DATA
from signward.envelopes.cms_draft import digest_algorithm, signature_algorithm, signer_id
from signward.frozen import Frozen
from signward.state import Algorithm
from signward.wire import der
from signward.wire.algorithms import DIGEST_OIDS
from signward.wire.certificate import outline


class PlainDraft(Frozen, frozen=True, kw_only=True):
    """A SignedData over ``content`` that lacks its value (an ``envelopes.Draft``).

    The content is inside if ``attached``, and the signer's path if ``certificates``.  The
    signer is named by issuer and serial number, or ``by_key``: by its certificate's key identifier.
    A digest is named with NULL parameters, as firmware and old readers expect, or without
    (``nulls``), as OpenSSL and RFC 5754 2 have it.
    """

    content: bytes
    signer: Signer
    attached: bool
    certificates: bool
    by_key: bool = False
    nulls: bool = True

    @property
    def to_be_signed(self) -> bytes:
        """The content."""
        return self.content

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm the SignerInfo names."""
        return self.signer.algorithm

    def stamped(self, _value: bytes) -> None:
        """Return nothing: there is no place for tokens."""

    def seal(self, value: bytes, _tokens: Sequence[bytes] = ()) -> bytes:
        """Return the ContentInfo; there is no place for tokens."""
        return der.sequence(der.oid(SIGNED_DATA), der.context(0, self.signed_data(value)))

    def signed_data(self, value: bytes) -> bytes:
        """Return the SignedData without the ContentInfo around it, as UEFI wants it."""
        inside = der.context(0, der.octet_string(self.content)) if self.attached else b""
        path = b"".join(sorted(set(self.signer.certificates)))
        digest = self._digest()
        info = der.sequence(
            self._signer_id(),
            digest,
            signature_algorithm(self.algorithm),
            der.octet_string(value),
        )
        return der.sequence(
            der.integer(3 if self.by_key else 1),
            der.set_of(digest),
            der.sequence(der.oid(DATA), inside),
            der.context(0, path) if self.certificates else b"",
            der.set_of(info),
        )

    def _digest(self) -> bytes:
        """Return the digest's AlgorithmIdentifier."""
        name = self.signer.digest
        return digest_algorithm(name) if self.nulls else der.sequence(der.oid(DIGEST_OIDS[name]))

    def _signer_id(self) -> bytes:
        """Return a SignerInfo's version and the signer's name (RFC 5652 5.3)."""
        if not self.by_key:
            return signer_id(self.signer)
        key_id = outline(self.signer.certificates[0]).key_id
        return der.integer(3) + der.context(0, key_id, constructed=False)
