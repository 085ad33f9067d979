"""Who holds a key that no X.509 certificate holds, as data of a record."""

from __future__ import annotations

import msgspec

from signward.state import (
    X509,
    Basis,
    BrokenSignature,
    HeldKey,
    IntactSignature,
    JudgedSignature,
    KeylessIdentity,
    OpenPgpCert,
    PinnedKey,
    SshPrincipal,
    TrustedSignature,
)


class HolderRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What holds a key that no X.509 certificate holds.

    ``kind`` is its envelope's (``openpgp``, ``minisign``, ``signify``, ``sshsig``), ``key`` the
    name of the key that signed (a fingerprint or key id, hex; SSH's as SSH writes it),
    ``identity`` that of who holds it (an OpenPGP primary key's fingerprint, of the authority that
    certified an SSH key), ``names`` his user ids or principals and ``keyring`` where it was found.
    The last three are empty unless the signature was judged as far as that; ``publisher``, the
    lasting identity that rules ask for, unless it is trusted.
    """

    kind: str
    key: str
    identity: str = ""
    names: tuple[str, ...] = ()
    keyring: str = ""
    publisher: str = ""


class KeylessRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Who signed in for a certificate of some minutes, with which provider, and who logged it."""

    identity: str
    issuer: str
    logs: tuple[str, ...] = ()


def keyless_record(basis: Basis | None) -> KeylessRecord | None:
    """Return a keyless identity as data; None for any other basis."""
    from signward.policy.record import safe_text  # which imports this module

    if not isinstance(basis, KeylessIdentity):
        return None
    return KeylessRecord(
        identity=safe_text(basis.identity),
        issuer=safe_text(basis.issuer),
        logs=tuple(map(safe_text, basis.logs)),
    )


def holder_record(judged: JudgedSignature) -> HolderRecord | None:
    """Return what holds the key that a signature's value fits; None for X.509 and broken ones."""
    if isinstance(judged, BrokenSignature):
        return None
    if isinstance(judged, IntactSignature):
        return None if judged.key.kind == X509 else _held(judged.key, None)
    key = judged.intact.key
    if key.kind == X509:
        return None
    from signward.policy.publisher import publisher_of  # reads certificates: not for every scan

    held = _held(key, judged.basis)
    if not isinstance(judged, TrustedSignature):
        return held
    return msgspec.structs.replace(held, publisher=publisher_of(judged).identity)


def _held(key: HeldKey, basis: Basis | None) -> HolderRecord:
    from signward.envelopes.sshsig import KIND as SSHSIG  # for few records only
    from signward.envelopes.sshsig import fingerprint_text
    from signward.policy.record import safe_text  # which imports this module

    if isinstance(basis, OpenPgpCert):
        return HolderRecord(
            kind=key.kind,
            key=basis.key,
            identity=basis.fingerprint,
            names=tuple(map(safe_text, basis.user_ids)),
            keyring=safe_text(basis.keyring),
        )
    if isinstance(basis, PinnedKey):
        return HolderRecord(
            kind=key.kind, key=basis.key, identity=basis.key, keyring=safe_text(basis.keyring)
        )
    if isinstance(basis, SshPrincipal):
        return HolderRecord(
            kind=key.kind,
            key=basis.key,
            identity=basis.authority or basis.key,
            names=tuple(map(safe_text, basis.principals)),
            keyring=safe_text(basis.keyring),
        )
    name = fingerprint_text(key.key_id) if key.kind == SSHSIG else key.key_id.hex()
    return HolderRecord(kind=key.kind, key=name)
