"""Credentials: a key, what holds it for those who verify, and how it signs.

That is a certification path (X.509), or where there is none an OpenPGP certificate, or the public
key itself as a file of minisign, signify or OpenSSL has it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from signward.envelopes import Signer
from signward.envelopes.openpgp_cert import KIND as OPENPGP
from signward.envelopes.raw import KIND as RAW
from signward.envelopes.raw import named_key
from signward.envelopes.sshsig import KIND as SSHSIG
from signward.errors import BadInputError, KeyProviderError, SigningError
from signward.findings import Effect
from signward.frozen import replace
from signward.integrity import (
    UnsupportedKeyError,
    ValueMismatchError,
    check_value,
    key_size,
    usual_algorithm,
)
from signward.keys import Purpose, RotatedError, Signed, SigningKey, held_with, sign_for
from signward.state import X509, Algorithm, HeldKey
from signward.trust.pinned import key_name
from signward.trust.profiles import Profile
from signward.trust.settings import TrustPolicy
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
    """Who signs at present: the key as verifiers hold it, and the signer a request names.

    ``certificate`` is the leaf where an X.509 certificate holds it.
    A value: a file that was begun with one leaf is finished with it, whatever the service
    does meanwhile.
    """

    held: HeldKey
    signer: Signer
    certificate: Certificate | None = None

    @property
    def leaf(self) -> Certificate:
        """The X.509 certificate.  Raises ``SigningError`` where none holds the key."""
        if self.certificate is None:
            raise SigningError("--key", f"{self.label}, and no X.509 certificate", "one",
                               hint="--cert FILE names it")  # fmt: skip
        return self.certificate

    @property
    def label(self) -> str:
        """How messages name the key."""
        if self.certificate is not None:
            return self.certificate.label
        return f"{self.held.kind} key {key_name(self.held)}"

    @property
    def name(self) -> str:
        """Who signs, as results tell it."""
        return self.certificate.subject_text if self.certificate is not None else self.label

    def check_fitness(self, profile: Profile, at: datetime) -> None:
        """Raise ``SigningError`` if the key cannot sign for ``profile`` at ``at``."""
        if profile.keys:
            self._check_key(at)
        else:
            self._check_certificate(profile, at)

    def _check_key(self, at: datetime) -> None:
        if self.held.kind == X509:
            raise SigningError(
                "--key", f"{self.label}, an X.509 certificate", "a key that no such holds",
                hint="--cert FILE names an OpenPGP certificate, or a public key",
            )  # fmt: skip
        if self.held.kind != OPENPGP:
            return  # such keys have no dates and no usage
        from signward.trust.openpgp import signing_findings  # for few runs only

        try:
            findings = signing_findings(self.held, at, TrustPolicy())
        except BadInputError as error:
            raise SigningError("--cert", str(error), "an OpenPGP certificate") from None
        for finding in findings:
            if finding.effect in (Effect.REJECT, Effect.UNKNOWN):
                raise SigningError(finding.subject, finding.found, finding.required,
                                   hint="no verifier would accept what it signs now")  # fmt: skip

    def _check_certificate(self, profile: Profile, at: datetime) -> None:
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
        self,
        key: SigningKey,
        given: Sequence[bytes],
        digest: str,
        *,
        pss: bool = False,
        held: Sequence[HeldKey] = (),
        kind: str = "",
    ) -> None:
        """Take an open key.

        ``given`` are certificates (DER), ``held`` public keys that no such certificate holds;
        ``kind`` says as what the key is to sign (`HeldKey.kind`), where several are possible.
        """
        self._key, self._given, self._digest, self._pss = key, tuple(given), digest, pss
        self._held, self._kind = tuple(held), kind
        self._lock = threading.Lock()
        self._turns = threading.BoundedSemaphore(self.parallel)
        self.standing = self._read()

    def _read(self) -> Standing:
        public_key = self._key.public_key
        algorithm, digest = algorithm_for(public_key, self._digest, pss=self._pss)
        held = self._holder(public_key)
        if held is not None:
            signer = Signer(certificates=(), algorithm=algorithm, digest=digest, holder=held)
            return Standing(held, signer)
        certificates = [_loaded(one) for one in (*self._given, *self._key.certificates)]
        leaf = _leaf(certificates, public_key)
        path = _path(leaf, certificates)
        signer = Signer(
            certificates=tuple(certificate.der for certificate in path),
            algorithm=algorithm,
            digest=digest,
        )
        held = HeldKey(kind=X509, key_id=b"", spki=leaf.spki, holder=leaf.der)
        return Standing(held, signer, leaf)

    def _holder(self, public_key: bytes) -> HeldKey | None:
        """Return what holds the key; None where that is an X.509 certificate.

        What the caller names comes before what is kept with the key.
        """
        if self._kind == RAW:
            return named_key(public_key)
        if self._kind == SSHSIG:
            from signward.envelopes.sshsig_draft import ssh_key  # for few runs only

            return ssh_key(public_key)
        if self._kind == X509 or (self._given and not self._kind):
            return None
        if self._key.certificates and not (self._held or self._kind):
            return None
        held = (*self._held, *held_with(self._key))
        fitting = [one for one in held if one.spki == public_key]
        wanted = [one for one in fitting if self._kind in ("", one.kind)]
        if wanted:
            return wanted[0]
        if fitting:
            kinds = " and ".join(one.kind for one in fitting)
            raise KeyProviderError("--as", f"{self._kind}, and a key as {kinds} have it",
                                   "one of these, or raw")  # fmt: skip
        if held or self._kind:
            raise KeyProviderError(
                "--cert", "public keys, none of which is the key's" if held else
                f"no public key as {self._kind} has it", "that of the key",
            )  # fmt: skip
        return None

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
            check_value(standing.held.spki, algorithm, data, signed.value)
        except KeyProviderError as error:
            with self._lock:  # a refresh under way ends first
                current = self.standing is standing
            if current:
                raise
            # Another file's refresh came between: the key open now may be of another kind.
            raise RotatedError(error.subject, error.found, error.required, error.hint) from None
        except (ValueMismatchError, UnsupportedKeyError) as error:
            raise RotatedError(
                "--key", f"a signature that does not fit {standing.label} ({error})",
                "one made with the key that was opened",
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
            hint="the key's holder keeps none beside it: give it, and its issuers, with --cert "
            "(--detached --as raw needs none)",
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
