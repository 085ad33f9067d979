"""Credentials: a key, the certificates that speak for it, and how it signs."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from signward.envelopes import Signer
from signward.errors import BadInputError, KeyProviderError, SigningError
from signward.frozen import replace
from signward.integrity import (
    UnsupportedKeyError,
    ValueMismatchError,
    check_value,
    key_size,
    usual_algorithm,
)
from signward.keys import Purpose, RotatedError, Signed, SigningKey, sign_for
from signward.state import Algorithm
from signward.trust.profiles import Profile
from signward.trust.x509 import Certificate, is_signed_by, load_certificate
from signward.wire.algorithms import COMPUTABLE

DIGESTS = ("sha256", "sha384", "sha512")
"""Digests to sign with."""

_OWN_DIGEST = {
    "ed25519": "sha512",
    "ml-dsa-44": "sha256",
    "ml-dsa-65": "sha384",
    "ml-dsa-87": "sha512",
}
"""What content is hashed with for schemes that hash for themselves: EdDSA's is fixed
(RFC 8419 3.1), ML-DSA's is at least as strong as the key (RFC 9882 3.3)."""

_MOST_PATH = 16
"""Certificates put beside a signature."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Who signs at present: the leaf, and the signer a request names.

    A value: a file that was begun with one leaf is finished with it, whatever the service
    does meanwhile.
    """

    leaf: Certificate
    signer: Signer

    def check_fitness(self, profile: Profile, at: datetime) -> None:
        """Raise ``SigningError`` if the certificate cannot sign for ``profile`` at ``at``."""
        leaf, usage = self.leaf, profile.usage
        if profile.rules.judge_validity and not leaf.not_before <= at <= leaf.not_after:
            raise _outside_validity(leaf, at)
        if usage.eku_required and not usage.ekus & (leaf.ekus or frozenset()):
            raise SigningError(
                leaf.label, f"extended key usage {', '.join(sorted(leaf.ekus or ())) or 'none'}",
                f"{usage.eku} ({usage.name})", hint="this certificate is for something else",
            )  # fmt: skip
        if usage.key_usage and leaf.key_usage is not None and not usage.key_usage & leaf.key_usage:
            raise SigningError(
                leaf.label, f"key usage {', '.join(sorted(leaf.key_usage)) or 'none'}",
                " or ".join(sorted(usage.key_usage)),
            )  # fmt: skip


class Credential:
    """An open key with its certification path.

    Not the same for ever: a service may rotate its leaf, then `refresh` reads the next.
    """

    def __init__(
        self, key: SigningKey, given: Sequence[bytes], digest: str, *, pss: bool = False
    ) -> None:
        self._key, self._given, self._digest, self._pss = key, tuple(given), digest, pss
        self._lock = threading.Lock()
        self._turns = threading.BoundedSemaphore(self.parallel)
        self.standing = self._read()

    def _read(self) -> Standing:
        certificates = [_loaded(one) for one in (*self._given, *self._key.certificates)]
        leaf = _leaf(certificates, self._key.public_key)
        path = _path(leaf, certificates)
        algorithm, digest = algorithm_for(self._key.public_key, self._digest, pss=self._pss)
        signer = Signer(
            certificates=tuple(certificate.der for certificate in path),
            algorithm=algorithm,
            digest=digest,
        )
        return Standing(leaf, signer)

    @property
    def parallel(self) -> int:
        """How many signatures the key makes at once."""
        return max(1, self._key.parallel)

    def sign(self, standing: Standing, data: bytes, algorithm: Algorithm) -> bytes:
        """Return the value over ``data``, checked against the certificate before anyone uses it.

        Raises ``RotatedError`` where it was made with another key than ``standing``'s.
        """
        return self.sign_for(standing, data, algorithm, _no_purpose).value

    def sign_for(
        self,
        standing: Standing,
        data: bytes,
        algorithm: Algorithm,
        purpose: Callable[[], Purpose],
    ) -> Signed:
        """Return the value, checked as `sign` does, and what the key's holder gives beside it.

        A receipt was checked too; tokens are as they came: see ``Stamper.check``.
        """
        try:
            with self._turns:
                signed = sign_for(self._key, data, algorithm, purpose)
            check_value(standing.leaf.spki, algorithm, data, signed.value)
        except KeyProviderError as error:
            with self._lock:  # a refresh under way ends first
                current = self.standing is standing
            if current:
                raise
            # Another file's refresh came between: the key open now may be of another kind.
            raise RotatedError(error.subject, error.found, error.required, error.hint) from None
        except (ValueMismatchError, UnsupportedKeyError) as error:
            raise RotatedError(
                "--key", f"a signature that does not fit {standing.leaf.label} ({error})",
                "one made with the certificate's key",
            ) from None  # fmt: skip
        if signed.receipt or signed.log:
            from signward.verbs.receipts import check_receipt  # loads what reads logs

            check_receipt(signed, data, standing.leaf.der)
        return signed

    def refresh(self, stale: Standing) -> None:
        """Read key and certificates anew, unless another thread has already."""
        with self._lock:
            if self.standing is stale:
                self._key.refresh()
                self.standing = self._read()


def _no_purpose() -> Purpose:
    return Purpose(format="other", name="octets")


def _outside_validity(leaf: Certificate, at: datetime) -> SigningError:
    expired = at > leaf.not_after
    return SigningError(
        leaf.label,
        f"validity {leaf.not_before:%Y-%m-%d} to {leaf.not_after:%Y-%m-%d}",
        f"one that includes {at:%Y-%m-%d}",
        hint="the certificate has expired: get a new one" if expired else
        "the certificate is not valid yet: check the machine's clock",
    )  # fmt: skip


def _loaded(der: bytes) -> Certificate:
    try:
        return load_certificate(der)
    except BadInputError as error:
        raise KeyProviderError("--cert", str(error), "X.509 certificates") from None


def _leaf(certificates: Sequence[Certificate], public_key: bytes) -> Certificate:
    for certificate in certificates:
        if certificate.spki == public_key:
            return certificate
    if not certificates:
        raise KeyProviderError(
            "--cert", "no certificate", "the certificate of the key",
            hint="the key's holder keeps none beside it: give it, and its issuers, with --cert",
        )  # fmt: skip
    raise KeyProviderError(
        "--cert", f"certificates of other keys ({certificates[0].label})",
        "the certificate of the key", hint="the certificate does not match the key",
    )  # fmt: skip


def _path(leaf: Certificate, certificates: Sequence[Certificate]) -> list[Certificate]:
    """Return the leaf and its issuers as far as they are at hand, without a root.

    Whoever verifies has the root from elsewhere, or does not trust it.
    """
    path = [leaf]
    while len(path) < _MOST_PATH:
        issuers = (c for c in certificates if c not in path and c.subject == path[-1].issuer)
        issuer = next((c for c in issuers if is_signed_by(path[-1], c)), None)
        if issuer is None or issuer.self_issued:
            break
        path.append(issuer)
    return path


def algorithm_for(
    public_key: bytes, digest: str = "", *, pss: bool = False
) -> tuple[Algorithm, str]:
    """Return how a key signs, and the digest of content; without ``digest`` what suits the key.

    Raises ``SigningError``.
    """
    family, _ = key_size(public_key)
    try:
        usual = usual_algorithm(public_key)
    except UnsupportedKeyError:
        usual = Algorithm(scheme=family)
    if usual.scheme in _OWN_DIGEST:
        least = _OWN_DIGEST[usual.scheme]
        if digest and DIGESTS.index(digest) < DIGESTS.index(least):
            raise SigningError("--digest", digest, f"{least} or longer with a {usual.scheme} key")
        return usual, digest or least
    if not usual.digest:
        raise SigningError("--key", f"a {family} key", "an RSA, EC, Ed25519 or ML-DSA key")
    chosen = digest or usual.digest
    if pss and usual.scheme == "rsa-pkcs1v15":
        size = {"sha256": 32, "sha384": 48, "sha512": 64}[chosen]
        pss_algorithm = Algorithm(
            scheme="rsa-pss", digest=chosen, mgf_digest=chosen, salt_length=size
        )
        return pss_algorithm, chosen
    return replace(usual, digest=chosen), chosen


@lru_cache(maxsize=64)
def permitted(public_key: bytes) -> frozenset[Algorithm]:
    """Return the algorithms that a key (DER SubjectPublicKeyInfo) may sign by."""
    found = set()
    for digest in DIGESTS:
        for pss in (False, True):
            with contextlib.suppress(SigningError):  # a digest too short for the key
                found.add(algorithm_for(public_key, digest, pss=pss)[0])
    return frozenset(found)


assert set(DIGESTS) <= COMPUTABLE  # noqa: S101 - the two tables belong together
