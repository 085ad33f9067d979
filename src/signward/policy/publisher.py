"""Publishers: the identity of a signer that outlives its certificates.

A signing service may issue a leaf that lives three days and name the subscriber by an
EKU of its own (arc 1.3.6.1.4.1.311.97); two files of one subscriber are then one
publisher although no certificate is the same.
"""

from __future__ import annotations

from signward.state import Publisher, TrustedSignature
from signward.trust.profiles import SUBSCRIBER_ARC
from signward.trust.x509 import Certificate, load_certificate

_SUBSCRIBER_ARCS = 4
"""A subscriber's EKU has at least this many arcs below 311.97; shorter ones name services."""


def publisher_of(signature: TrustedSignature) -> Publisher:
    """Return the publisher of a trusted signature."""
    leaf = load_certificate(signature.basis.certificates[0])
    eku = subscriber_eku(leaf)
    name = leaf.organization or leaf.common_name or leaf.subject_text
    root = load_certificate(signature.basis.certificates[-1])
    identity = f"eku:{eku}@{root.sha256.hex()[:16]}" if eku else f"subject:{_lasting(leaf)}"
    return Publisher(name=name, identity=identity, subject=leaf.subject_text, subscriber_eku=eku)


def subscriber_eku(leaf: Certificate) -> str:
    """Return the EKU that names a subscriber of a signing service, or an empty string."""
    found = [
        eku
        for eku in sorted(leaf.ekus or ())
        if eku.startswith(SUBSCRIBER_ARC)
        and len(eku.removeprefix(SUBSCRIBER_ARC).split(".")) >= _SUBSCRIBER_ARCS
    ]
    return found[0] if found else ""


def _lasting(leaf: Certificate) -> str:
    """Return the parts of a subject that survive a renewal: organisation and common name."""
    parts = [p for p in (leaf.organization, leaf.common_name) if p]
    return "/".join(parts) or leaf.subject_text
