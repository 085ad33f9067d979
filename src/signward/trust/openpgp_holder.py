"""What an OpenPGP certificate says of itself, as of an instant (RFC 9580 5.2.3.10, 10.1).

Of the holder's words about one thing the newest counts, whenever the judged signature was made:
an expiration that he moved since is moved for what was signed before, too.  A word counts if the
primary key made it, it is not dated after the instant and has not ended, nothing critical in it is
unknown, and its digest counts: SHA-1 only for words dated before the cut-off.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache

from signward import integrity
from signward.envelopes.openpgp_cert import Certificate, Component, read_certificate
from signward.envelopes.openpgp_keys import PublicKey
from signward.envelopes.openpgp_signature import (
    CERT_REVOCATION,
    DIRECT_KEY,
    GENERIC_CERT,
    KEY_EXPIRES,
    KEY_REVOCATION,
    POSITIVE_CERT,
    PRIMARY_BINDING,
    PRIMARY_USER_ID,
    REVOKER,
    SUBKEY_BINDING,
    SUBKEY_REVOCATION,
    Signature,
    read_signature,
)
from signward.errors import BadInputError, LimitError
from signward.frozen import Frozen, replace
from signward.trust.rules import STRICT
from signward.wire.algorithms import COMPUTABLE

MAX_CHECKED = 64
"""Values checked behind one part of a certificate, newest first; a holder renews once a year."""


class Instant(Frozen, frozen=True, kw_only=True):
    """When words are weighed, and the time before which SHA-1 counts in them."""

    at: datetime
    sha1_cutoff: datetime


class Holder(Frozen, frozen=True, kw_only=True):
    """A primary key's standing.

    ``words`` are the newest about the key itself, the one to be asked first in front;
    ``user_ids`` are bound and not withdrawn, the primary one first; ``weak`` says that words were
    left out for their digest; ``revocations`` are of the whole key; ``unchecked`` says that there
    is one that cannot be checked: by somebody else who may have been entitled to it, or with a
    digest that we do not compute.
    """

    words: tuple[Signature, ...]
    user_ids: tuple[str, ...]
    weak: bool
    revocations: tuple[Signature, ...]
    unchecked: bool

    @property
    def flags(self) -> int | None:
        """The primary key's flags; None where no word tells them."""
        return next((one.flags for one in self.words if one.flags is not None), None)

    def ends(self, key: PublicKey) -> datetime | None:
        """Return when the primary key expires; None for never."""
        told = (one.expires(KEY_EXPIRES) for one in self.words)
        period = next((one for one in told if one is not None), None)
        return None if period is None else key.created + period


class Bound(Frozen, frozen=True, kw_only=True):
    """A subkey's standing: its newest binding, and whether it has agreed to it itself.

    The rest is as `Holder` has it.
    """

    binding: Signature | None
    agreed: bool
    weak: bool
    revocations: tuple[Signature, ...]
    unchecked: bool

    def ends(self, key: PublicKey) -> datetime | None:
        """Return when the subkey expires; None for never."""
        period = self.binding.expires(KEY_EXPIRES) if self.binding else None
        return None if period is None else key.created + period


@lru_cache(maxsize=256)
def known_certificate(data: bytes) -> Certificate:
    """Return the certificate in ``data``, read once.  Raises `BadInputError`."""
    return read_certificate(data)


@lru_cache(maxsize=256)
def holder_of(certificate: Certificate, when: Instant) -> Holder:
    """Return what the holder says of his primary key."""
    primary = certificate.primary
    direct = _newest(certificate.signatures, {DIRECT_KEY}, primary, primary.hashed, when)
    named = _named(certificate, when)
    first = named[0][1] if named else None
    # A version 6 key speaks of itself by direct signatures alone (RFC 9580 10.1.1).
    asked = (direct,) if primary.version == 6 else (first, direct)
    words = tuple(word for word in asked if word is not None)
    own = _withdrawals(certificate.signatures, KEY_REVOCATION, primary, primary.hashed)
    return Holder(
        words=words,
        user_ids=tuple(component.user_id for component, _ in named),
        weak=not words and _has_weak(certificate, when),
        revocations=own,
        unchecked=_unknown_withdrawal(certificate.signatures, KEY_REVOCATION, primary)
        or _by_others(certificate, own, words),
    )


def _by_others(
    certificate: Certificate, own: tuple[Signature, ...], words: tuple[Signature, ...]
) -> bool:
    """Say whether somebody else withdrew the primary key whom its holder may have entitled to.

    No newer word takes that right away (RFC 9580 5.2.3.23): whoever stole the key could say it.
    """
    every = [one for one in certificate.signatures if one.kind == KEY_REVOCATION]
    if len(own) == len(every):
        return False
    primary = certificate.primary
    direct = _fitting(certificate.signatures, {DIRECT_KEY}, primary, primary.hashed)
    return any(one.told(REVOKER) for one in (*words, *direct))


def _named(certificate: Certificate, when: Instant) -> list[tuple[Component, Signature]]:
    """Return the user ids that stand, each with the newest word about it; the primary first."""
    kinds, primary = set(range(GENERIC_CERT, POSITIVE_CERT + 1)), certificate.primary
    found = list[tuple[Component, Signature]]()
    for one in certificate.user_ids:
        over = primary.hashed + one.hashed
        word = _newest(one.signatures, kinds, primary, over, when)
        withdrawn = _withdrawals(one.signatures, CERT_REVOCATION, primary, over)
        if word is not None and not any(w.created >= word.created for w in withdrawn):
            found.append((one, word))
    return sorted(found, key=lambda pair: (any(pair[1].told(PRIMARY_USER_ID) or b""),
                                           pair[1].created), reverse=True)  # fmt: skip


def bound_of(certificate: Certificate, subkey: Component, when: Instant) -> Bound:
    """Return what the holder says of a subkey, and whether it says so too (RFC 9580 5.2.1.9)."""
    primary, over = certificate.primary, certificate.primary.hashed + subkey.hashed
    binding = _newest(subkey.signatures, {SUBKEY_BINDING}, primary, over, when)
    fitting = _fitting(subkey.signatures, {SUBKEY_BINDING}, primary, over)
    key = subkey.key
    return Bound(
        binding=binding,
        agreed=binding is not None and key is not None and _agrees(binding, key, over, when),
        weak=binding is None and any(not _digest_counts(one, when) for one in fitting),
        revocations=_withdrawals(subkey.signatures, SUBKEY_REVOCATION, primary, over),
        unchecked=_unknown_withdrawal(subkey.signatures, SUBKEY_REVOCATION, primary),
    )


def _agrees(binding: Signature, key: PublicKey, over: bytes, when: Instant) -> bool:
    """Say whether a back signature by the subkey stands in its binding."""
    return _newest(tuple(_embedded(binding)), {PRIMARY_BINDING}, key, over, when) is not None


def _embedded(binding: Signature) -> Iterator[Signature]:
    for body in binding.embedded:
        try:
            yield read_signature(body)
        except BadInputError:
            continue  # as if it were not there


def _newest(
    signatures: Sequence[Signature], kinds: set[int], key: PublicKey, over: bytes, when: Instant
) -> Signature | None:
    """Return the newest signature by ``key`` over ``over`` that counts; None without any."""
    for one in _by_age(signatures, kinds):
        if _counts(one, when) and fits(one, key, over):
            return one
    return None


def _fitting(
    signatures: Sequence[Signature], kinds: set[int], key: PublicKey, over: bytes
) -> tuple[Signature, ...]:
    """Return the newest signatures by ``key`` over ``over``, whatever their digest and date."""
    return tuple(one for one in _by_age(signatures, kinds) if fits(one, key, over))


def _withdrawals(
    signatures: Sequence[Signature], kind: int, key: PublicKey, over: bytes
) -> tuple[Signature, ...]:
    """Return the revocations by ``key`` over ``over``, whatever their digest and date.

    To leave one out for being weak, or for standing behind many, would help the wrong side.
    Raises ``LimitError`` for more that name the key than are checked.
    """
    asked = [one for one in signatures if one.kind == kind and _may_be_by(one, key)]
    if len(asked) > MAX_CHECKED:
        raise LimitError(key.label, f"{len(asked)} revocations of one part",
                         f"at most {MAX_CHECKED}")  # fmt: skip
    return tuple(one for one in asked if fits(one, key, over))


def _unknown_withdrawal(signatures: Sequence[Signature], kind: int, key: PublicKey) -> bool:
    """Say whether there is a revocation that may be by ``key``, with a digest we cannot compute."""
    return any(
        one.kind == kind and _may_be_by(one, key) and one.algorithm.digest not in COMPUTABLE
        for one in signatures
    )


def _may_be_by(signature: Signature, key: PublicKey) -> bool:
    fingerprint, key_id = signature.issuer
    if fingerprint:
        return fingerprint == key.fingerprint
    return not key_id or key.version == 6 or key.fingerprint.endswith(key_id)


def _by_age(signatures: Sequence[Signature], kinds: set[int]) -> list[Signature]:
    asked = [one for one in signatures if one.kind in kinds]
    return sorted(asked, key=lambda one: one.created, reverse=True)[:MAX_CHECKED]


def _counts(word: Signature, when: Instant) -> bool:
    period = word.expires()
    ended = period is not None and word.created + period <= when.at
    known = word.unknown_critical is None
    return word.created <= when.at and not ended and known and _digest_counts(word, when)


def _digest_counts(word: Signature, when: Instant) -> bool:
    digest = word.algorithm.digest
    return digest in STRICT.digests or (digest == "sha1" and word.created < when.sha1_cutoff)


def _has_weak(certificate: Certificate, when: Instant) -> bool:
    """Say whether the holder's words about himself fit but for their digests."""
    primary = certificate.primary
    kinds = {DIRECT_KEY, *range(GENERIC_CERT, POSITIVE_CERT + 1)}
    parts = [(certificate.signatures, primary.hashed)]
    parts += [(one.signatures, primary.hashed + one.hashed) for one in certificate.user_ids]
    return any(
        not _digest_counts(word, when)
        for signatures, over in parts
        for word in _fitting(signatures, kinds, primary, over)
    )


def fits(signature: Signature, key: PublicKey, over: bytes) -> bool:
    """Say whether ``key`` made a signature over ``over`` (RFC 9580 5.2.4); versions go together."""
    if signature.version != key.version or signature.algorithm.digest not in COMPUTABLE:
        return False
    algorithm = replace(signature.algorithm, digested=True)
    try:
        integrity.check_value(key.spki, algorithm, signature.digest(over), signature.value)
    except (integrity.ValueMismatchError, integrity.UnsupportedKeyError):
        return False
    return True
