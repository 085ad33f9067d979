"""Bearer tokens: OpenID Connect's, judged by the keys that an issuer publishes.

The steps are those of RFC 7519 section 7.2 under the advice of RFC 8725: the issuer is looked
up by what the token claims, and everything else (which algorithms, which keys, which audience)
comes from the settings of that issuer, never from the token.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, OKPKey, RSAKey

from signward.authority.access import Identity, claims_from
from signward.errors import DeniedError, FetchError, RealmError
from signward.fetch.http import Bounds, exchange
from signward.verbs.authority.settings import IssuerSettings

ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"} | {"Ed25519"}
)
"""Those with a public key: whoever can check a token cannot make one."""

MAX_TOKEN = 8 * 1024
"""Characters; a job's token has 2,000."""

_LOOPBACK = ("127.0.0.1", "::1")

MAX_REMEMBERED = 1024
"""Tokens whose signature need not be checked again: a job shows its own for each file it has
signed, and claims of 8 kB each are 8 MiB."""

MAX_JWKS = 256 * 1024
MAX_KEYS = 64
MIN_RSA_BITS = 2048

LEEWAY_SECONDS = 60
"""By how much the clocks of issuer and service may differ."""

MAX_AGE_SECONDS = 24 * 3600
"""Between a token's ``iat`` and ``exp``: what lives longer is no proof of who calls now."""

_MAX_INSTANT = 1e15
"""Seconds since 1970: later than any, and an integer that is larger need be no float."""

REFRESH_SECONDS = 600.0
"""After which keys are read anew."""

RETRY_SECONDS = 30.0
"""At least between two readings, whatever key identifiers tokens make up."""

KEEP_SECONDS = 24 * 3600.0
"""How long the last good keys serve while the issuer does not answer."""

Key = RSAKey | ECKey | OKPKey
_KINDS = frozenset({"RSA", "EC", "OKP"})
_KEY_KINDS: Mapping[str, type[RSAKey | ECKey | OKPKey]] = {
    "RS": RSAKey,
    "PS": RSAKey,
    "ES": ECKey,
    "Ed": OKPKey,
}


class Keys:
    """An issuer's keys, read when they are needed and kept for a while.  Thread-safe."""

    def __init__(self, read: Callable[[], bytes], stopwatch: Callable[[], float]) -> None:
        self._read, self._stopwatch = read, stopwatch
        self._lock = threading.Lock()
        self._keys: tuple[Key, ...] = ()
        self._good_at = self._tried_at = float("-inf")

    def find(self, kid: str | None, algorithm: str) -> Key:
        """Return the key that a token names.

        Raises ``DeniedError`` if there is none, ``FetchError`` if nobody can tell.
        """
        now = self._stopwatch()
        found = _fitting(self._keys, kid, algorithm)
        if not found or now - self._good_at > REFRESH_SECONDS:
            self._look_again(now, needed=not found)
            found = _fitting(self._keys, kid, algorithm)
        if len(found) != 1:
            many = "several keys without saying which" if found else f"key {kid!r}"[:100]
            raise DeniedError("the token", many, f"a published key for {algorithm}")
        return found[0]

    def holds(self, key: Key) -> bool:
        """Say whether a key is among those that were read last, and not so long ago."""
        fresh = self._stopwatch() - self._good_at <= REFRESH_SECONDS
        return fresh and any(one is key for one in self._keys)

    def _look_again(self, now: float, *, needed: bool) -> None:
        """Read the keys anew, one thread at a time; nobody waits for another who reads.

        A slow issuer and made-up tokens could otherwise hold every thread.
        """
        if self._lock.acquire(blocking=False):
            try:
                self._refresh(now)
            finally:
                self._lock.release()
        elif needed:
            raise FetchError("the issuer's keys are being read: ask again")
        if now - self._good_at > KEEP_SECONDS:
            raise FetchError("the issuer's keys could not be read")

    def _refresh(self, now: float) -> None:
        """Read the keys anew if that is due; those that were there stay where it fails."""
        if now - self._tried_at < RETRY_SECONDS:
            return
        self._tried_at = now
        with contextlib.suppress(FetchError):
            self._keys = read_keys(self._read())
            self._good_at = now


def read_keys(data: bytes) -> tuple[Key, ...]:
    """Return the keys of a JWK set that can check signatures.  Raises ``FetchError``.

    Those of kinds we do not know, of other uses, private or too weak are left out.
    """
    try:
        given = msgspec.json.decode(data)["keys"]
        entries = [one for one in given if isinstance(one, dict)]
    except (ValueError, RecursionError, KeyError, TypeError):
        raise FetchError("the issuer's keys: found no JWK set, required one") from None
    if len(entries) > MAX_KEYS:
        raise FetchError(f"the issuer's keys: found {len(entries)}, required at most {MAX_KEYS}")
    return tuple(key for one in entries if (key := _read_key(one)) is not None)


def _read_key(entry: dict[str, Any]) -> Key | None:
    if entry.get("kty") not in _KINDS or "d" in entry or entry.get("use", "sig") != "sig":
        return None
    modulus = str(entry.get("n", ""))
    if entry["kty"] == "RSA" and len(modulus) * 6 < MIN_RSA_BITS:
        return None
    try:
        key = JWKRegistry.import_key(entry)
        return key if isinstance(key, RSAKey | ECKey | OKPKey) else None
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _fitting(keys: tuple[Key, ...], kid: str | None, algorithm: str) -> list[Key]:
    kind = _KEY_KINDS[algorithm[:2]]
    return [
        key
        for key in keys
        if isinstance(key, kind)
        and (kid is None or key.kid == kid)
        and key.as_dict(private=False).get("alg", algorithm) == algorithm
    ]


class _Claimed(NamedTuple):
    """What a token says of itself before anything of it is believed."""

    issuer: str
    algorithm: str
    kid: str | None


class Checked(NamedTuple):
    """A token whose signature was checked: by whose key, what it claims, of whom it speaks."""

    issuer: Issuer
    key: Key
    claims: Mapping[str, Any]
    identity: Identity


class Issuer:
    """One issuer whose tokens count.  Raises ``RealmError`` for settings that cannot be meant."""

    def __init__(
        self,
        settings: IssuerSettings,
        folder: Path,
        where: str,
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        unknown = sorted(set(settings.algorithms) - ALGORITHMS)
        if unknown or not settings.algorithms:
            found = unknown[0] if unknown else "no algorithm"
            raise RealmError(where, found, f"some of {', '.join(sorted(ALGORITHMS))}")
        if not settings.issuer or not settings.audience:
            raise RealmError(where, "no issuer or audience", "both, as its tokens have them")
        self.settings = settings
        self._keys = Keys(_reader(settings.jwks, folder, where), stopwatch)

    def check(self, token: str, claimed: _Claimed, now: float) -> Checked:
        """Return what a token of this issuer says at ``now`` (seconds since 1970 UTC).

        Raises ``DeniedError`` and ``FetchError``.
        """
        if claimed.algorithm not in self.settings.algorithms:
            allowed = ", ".join(self.settings.algorithms)
            raise DeniedError("the token", f"algorithm {claimed.algorithm[:20]!r}", allowed)
        key = self._keys.find(claimed.kid, claimed.algorithm)
        try:
            claims = jwt.decode(token, key, algorithms=[claimed.algorithm]).claims
        except (JoseError, ValueError, TypeError):
            raise DeniedError("the token", "no signature of its issuer's", "one") from None
        self.check_claims(claims, now)
        identity = Identity(
            kind="oidc",
            subject=claims["sub"],
            issuer=self.settings.issuer,
            claims=claims_from(claims),
        )
        return Checked(self, key, claims, identity)

    def holds(self, key: Key) -> bool:
        """Say whether a key still is one of the issuer's, as far as is known without asking."""
        return self._keys.holds(key)

    def check_claims(self, claims: Mapping[str, Any], now: float) -> None:
        """Raise ``DeniedError`` for a token for others, or not of ``now``."""
        audience = claims.get("aud")
        given = audience if isinstance(audience, list) else [audience]
        _require(claims.get("iss") == self.settings.issuer, "issuer", self.settings.issuer)
        _require(self.settings.audience in given, "audience", self.settings.audience)
        subject = claims.get("sub")
        named = isinstance(subject, str) and subject and subject.isprintable()
        _require(named, "subject", "one that can be printed")
        expires, issued = _instant(claims, "exp"), _instant(claims, "iat")
        begins = _instant(claims, "nbf") if "nbf" in claims else issued
        _require(now < expires + LEEWAY_SECONDS, "expiry", "a token that has not expired")
        _require(max(issued, begins) <= now + LEEWAY_SECONDS, "time", "a token of now, not later")
        most = f"at most {MAX_AGE_SECONDS // 3600} hours"
        _require(expires - issued <= MAX_AGE_SECONDS, "lifetime", most)


def _require(holds: object, what: str, required: str) -> None:
    if not holds:
        raise DeniedError("the token", f"another {what}", required)


def _instant(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DeniedError("the token", f"no {name}", "a number of seconds since 1970")
    return float(max(-_MAX_INSTANT, min(value, _MAX_INSTANT)))


class Tokens:
    """The issuers whose tokens count."""

    def __init__(self, issuers: Mapping[str, IssuerSettings], folder: Path) -> None:
        made = [Issuer(one, folder, f"[identity.issuers.{n}]") for n, one in issuers.items()]
        self._issuers = {one.settings.issuer: one for one in made}
        if len(self._issuers) != len(made):
            raise RealmError("[identity.issuers]", "one issuer twice", "each once")
        self._checked: dict[bytes, Checked] = {}
        self._checking = threading.Lock()

    def recall(self, token: str, now: float) -> Identity | None:
        """Return whom a token speaks of whose signature was checked before; None for others.

        All but the signature is checked anew, and the key must still be its issuer's.  Does not
        wait.  Raises ``DeniedError``.
        """
        checked = self._checked.get(_digest(token))
        if checked is None or not checked.issuer.holds(checked.key):
            return None
        checked.issuer.check_claims(checked.claims, now)
        return checked.identity

    def identify(self, token: str, now: float) -> Identity:
        """Return whom ``token`` speaks of.  Raises ``DeniedError`` and ``FetchError``.

        May wait for an issuer's keys.
        """
        checked = self._check(token, now)
        with self._checking:
            if len(self._checked) >= MAX_REMEMBERED:
                self._checked.pop(next(iter(self._checked)))
            self._checked[_digest(token)] = checked
        return checked.identity

    def _check(self, token: str, now: float) -> Checked:
        claimed = _claimed(token)
        issuer = self._issuers.get(claimed.issuer)
        if issuer is None:
            raise DeniedError("the token", "an issuer that is not set up here", "a known issuer")
        return issuer.check(token, claimed, now)


def _digest(token: str) -> bytes:
    """Return what a token is remembered by: not itself, with which others could call."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _claimed(token: str) -> _Claimed:
    parts = token.split(".")
    if len(token) > MAX_TOKEN or len(parts) != 3 or not token.isascii():
        raise DeniedError("the token", "something else", "a signed JSON Web Token")
    head, claims = _object(parts[0]), _object(parts[1])
    kid = head.get("kid")
    if not isinstance(claims.get("iss"), str) or not isinstance(kid, str | None):
        raise DeniedError("the token", "no issuer", "one that says who issued it")
    return _Claimed(claims["iss"], str(head.get("alg", "none")), kid)


def _object(part: str) -> dict[str, Any]:
    try:
        data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
        value = msgspec.json.decode(data)
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise DeniedError("the token", "a part that is no JSON object", "a JSON Web Token")
    return value


def _reader(jwks: str, folder: Path, where: str) -> Callable[[], bytes]:
    """Return what reads a key set.  Raises ``RealmError`` for an address anybody could forge."""
    parts = urlsplit(jwks)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        return lambda: exchange(jwks, Bounds(MAX_JWKS, private=True)).body
    if "://" in jwks:
        raise RealmError(where, jwks[:200], "keys at an https URL or in a file")

    def read() -> bytes:
        try:
            with (folder / jwks).open("rb") as file:
                return file.read(MAX_JWKS)
        except OSError as error:
            raise FetchError(f"{jwks}: {error.strerror}") from None

    return read
