"""JAR signatures as Android takes them: its scheme v1."""

from __future__ import annotations

from collections.abc import Sequence

from signward.frozen import replace
from signward.state import ClaimedSignature
from signward.wire.certificate import outline


def as_android(claimed: ClaimedSignature) -> ClaimedSignature:
    """Label a signature by its scheme, its signer's issuer in the octets that the certificate has.

    Old writers put the same name down as another kind of string, and Android compares names as
    people read them.  Nothing hangs on it: the value must fit that certificate's key.
    """
    label = f"v1:{claimed.label}"
    serial = claimed.claimed_signer.serial
    issuers = [
        seen.issuer for seen in map(outline, claimed.claimed_certificates) if seen.serial == serial
    ]
    if claimed.claimed_signer.key_id or len(issuers) != 1:
        return replace(claimed, label=label)
    named = replace(claimed.claimed_signer, issuer=issuers[0])
    return replace(claimed, label=label, claimed_signer=named)


def signers(claims: Sequence[ClaimedSignature]) -> list[bytes]:
    """Return the certificates that signatures say are their signers', each once."""
    found: dict[bytes, None] = {}
    for claimed in claims:
        wanted = claimed.claimed_signer
        for certificate in claimed.claimed_certificates:
            seen = outline(certificate)
            if (seen.issuer, seen.serial) == (wanted.issuer, wanted.serial):
                found[certificate] = None
    return list(found)
