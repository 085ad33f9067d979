"""CMS countersignatures (RFC 5652 11.4, PKCS#9): writing, in DER.

A countersignature is a SignerInfo over another signer's signature value, kept among that
signer's unsigned attributes.  Reading is in ``cms.open_countersignatures``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from signward.envelopes import Signer
from signward.envelopes.cms import CMS_TIMESTAMP, COUNTERSIGNATURE, DATA, MESSAGE_DIGEST
from signward.envelopes.cms_draft import (
    CmsDraft,
    Form,
    attribute,
    changed_signer,
    signer_info,
    with_unsigned,
)
from signward.errors import MalformedError
from signward.frozen import Frozen
from signward.state import Algorithm
from signward.wire import der


class CounterDraft(Frozen, frozen=True, kw_only=True):
    """A countersignature that lacks its value (an ``envelopes.Draft``).

    ``envelope`` is the SignedData whose first signer is countersigned.
    """

    envelope: bytes
    inner: CmsDraft

    @property
    def to_be_signed(self) -> bytes:
        """The signed attributes as a SET OF (RFC 5652 5.4)."""
        return self.inner.to_be_signed

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm the SignerInfo names."""
        return self.inner.algorithm

    def seal(self, value: bytes, tokens: Sequence[bytes] = ()) -> bytes:
        """Return the SignedData with the countersignature and its signer's certificates."""
        unsigned = [attribute(self.inner.token_oid, token) for token in tokens]
        added = attribute(COUNTERSIGNATURE, signer_info(self.inner, value, unsigned))
        return _with_certificates(
            with_unsigned(self.envelope, 0, added), self.inner.signer.certificates
        )


def draft_counter(
    envelope: bytes, value: bytes, signer: Signer, attributes: Sequence[bytes]
) -> CounterDraft:
    """Return the draft of a countersignature over ``value``, the first signer's value.

    ``attributes`` are further signed attributes; messageDigest is added, and contentType
    is not: a countersignature has none.
    """
    digest = hashlib.new(signer.digest, value, usedforsecurity=False).digest()
    own = attribute(MESSAGE_DIGEST, der.octet_string(digest))
    inner = CmsDraft(
        content_type=DATA,
        content=value,
        form=Form.DETACHED,
        signer=signer,
        attributes=b"".join(sorted((own, *attributes))),
        token_oid=CMS_TIMESTAMP,
    )
    return CounterDraft(envelope=envelope, inner=inner)


def with_unsigned_counter(envelope: bytes, number: int, added: bytes) -> bytes:
    """Return a SignedData with one more unsigned attribute on a countersignature.

    ``number`` counts the countersignatures of the first signer from 0, in the order of
    ``cms.open_countersignatures``.  What was signed stays as it was.  Raises ``MalformedError``.
    """
    what = "signature"
    outer = der.parse(envelope, what).fields(what, 2)
    fields = outer[1].children()[0].fields(what, 4)
    first, *others = (node.raw for node in fields[-1].fields(what, 1, der.SET))
    signer = der.parse(first, what).fields(what, 6)
    left, attributes = number, []
    for node in signer[-1].children():
        kind, values = node.fields(what, 2)[:2]
        raws = [value.raw for value in values.children()]
        if kind.oid(what) == COUNTERSIGNATURE:
            if 0 <= left < len(raws):
                raws[left] = changed_signer(raws[left], added)
            left -= len(raws)
        attributes.append(der.sequence(kind.raw, der.encode(der.SET, b"".join(raws))))
    if left >= 0:
        raise MalformedError(what, f"{number - left} countersignatures", f"at least {number + 1}")
    kept = (field.raw for field in signer[:-1])
    changed = der.sequence(*kept, der.context(1, b"".join(sorted(attributes))))
    body = (*(field.raw for field in fields[:-1]), der.set_of(changed, *others))
    return der.sequence(outer[0].raw, der.context(0, der.sequence(*body)))


def _with_certificates(envelope: bytes, added: Sequence[bytes]) -> bytes:
    """Return a SignedData that carries further certificates; those it has stay as they are."""
    what = "signature"
    outer = der.parse(envelope, what).fields(what, 2)
    fields = outer[1].children()[0].fields(what, 4)
    present = [node.raw for f in fields[3:-1] if f.tag == 0xA0 for node in f.children()]
    certificates = [*present, *(c for c in added if c not in present)]
    body = (
        *(field.raw for field in fields[:3]),
        der.context(0, b"".join(sorted(certificates))),
        *(field.raw for field in fields[3:] if field.tag != 0xA0),
    )
    return der.sequence(outer[0].raw, der.context(0, der.sequence(*body)))
