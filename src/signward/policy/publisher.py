"""Publishers: the identity of a signer that outlives its certificates.

A signing service may issue a leaf that lives three days and name the subscriber by an
EKU of its own (arc 1.3.6.1.4.1.311.97); two files of one subscriber are then one
publisher although no certificate is the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from signward.state import (
    KeylessIdentity,
    OpenPgpCert,
    Publisher,
    SshPrincipal,
    TrustedSignature,
    X509Path,
)
from signward.trust.profiles import SUBSCRIBER_ARC
from signward.trust.x509 import load_certificate

_SUBSCRIBER_ARCS = 4
"""A subscriber's EKU has at least this many arcs below 311.97; shorter ones name services."""


def publisher_of(signature: TrustedSignature) -> Publisher:
    """Return the publisher of a trusted signature."""
    if isinstance(signature.basis, X509Path):
        return _of_path(signature.basis)
    if isinstance(signature.basis, OpenPgpCert):
        return _of_openpgp(signature.basis)
    if isinstance(signature.basis, KeylessIdentity):
        return keyless(signature.basis.identity, signature.basis.issuer)
    basis = signature.basis
    if isinstance(basis, SshPrincipal):
        name = ", ".join(basis.principals) or f"SSH key {basis.key}"
        # Certified keys come and go: who they are is what their authority calls them.
        who = f"{name}@{basis.authority}" if basis.authority else basis.key
        names = basis.principals if basis.authority else _literal(basis.principals)
        return Publisher(name=name, identity=f"ssh:{who}", subject=name, names=names)
    name = f"{basis.kind} key {basis.key}"
    # Anybody can give a key of his the number of another's: the key itself is who he is.
    identity = f"{basis.kind}:{hashlib.sha256(signature.intact.key.holder).hexdigest()}"
    return Publisher(name=name, identity=identity, subject=name)


def _literal(lists: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names in lists of principals; a list with patterns names nobody by himself."""
    plain = (one for one in lists if not set(one) & set("*?!"))
    return tuple(name for one in plain for name in one.split(",") if name)


def _of_openpgp(basis: OpenPgpCert) -> Publisher:
    """Name a certificate's holder by his primary user id; the fingerprint is who he is."""
    identity = f"openpgp:{basis.fingerprint}"
    name = basis.user_ids[0] if basis.user_ids else identity
    return Publisher(name=name, identity=identity, subject=name)


def keyless(identity: str, issuer: str) -> Publisher:
    """Return who signed in as ``identity``: nobody without the provider that vouched for it."""
    name = f"{identity} ({issuer})"
    return Publisher(name=name, identity=f"keyless:{issuer} {identity}", subject=name)


def _of_path(path: X509Path) -> Publisher:
    leaf = load_certificate(path.certificates[0])
    eku = subscriber_eku(leaf.ekus or ())
    root = load_certificate(path.certificates[-1])
    lasting = lasting_name(leaf.organization, leaf.common_name, leaf.subject_text)
    return Publisher(
        name=leaf.organization or leaf.common_name or leaf.subject_text,
        identity=identity_of(eku, root.sha256.hex(), lasting),
        subject=leaf.subject_text,
        subscriber_eku=eku,
    )


def identity_of(eku: str, root: str, lasting: str) -> str:
    """Return the identity of whom a subscriber's EKU names under a root (SHA-256), or his name."""
    return f"eku:{eku}@{root[:16]}" if eku else f"subject:{lasting}"


def subscriber_eku(ekus: Iterable[str]) -> str:
    """Return the EKU that names a subscriber of a signing service, or an empty string."""
    found = [
        eku
        for eku in sorted(ekus)
        if eku.startswith(SUBSCRIBER_ARC)
        and len(eku.removeprefix(SUBSCRIBER_ARC).split(".")) >= _SUBSCRIBER_ARCS
    ]
    return found[0] if found else ""


def lasting_name(organization: str, common_name: str, whole: str) -> str:
    """Return the parts of a subject that survive a renewal: organisation and common name."""
    return "/".join(filter(None, (organization, common_name))) or whole
