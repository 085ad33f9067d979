"""Who calls: by a bearer token, else by the client certificate that TLS was made with."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from litestar.exceptions import NotAuthorizedException

from signward.authority.access import FINGERPRINT, Identity
from signward.errors import BadInputError, DeniedError, RealmError
from signward.service.front import PEER, Peer
from signward.service.oidc import Tokens
from signward.service.roles import Access
from signward.trust.general_names import DNS, EMAIL, URI, alternative_names
from signward.trust.x509 import Certificate, load_certificate

if TYPE_CHECKING:
    from signward.service.authorise import Connection
    from signward.verbs.authority.realm import Realm

_CLAIMS = {DNS: "dns", EMAIL: "email", URI: "uri"}
"""Kind of an alternative name to the claim that it becomes."""


class Callers:
    """Knows callers as the realm's settings say (an ``authorise.Doorkeeper``)."""

    def __init__(self, realm: Realm) -> None:
        """Raise ``RealmError`` for settings that cannot be meant."""
        self._realm = realm
        self._access = realm.settings.access
        self._tokens = Tokens(realm.settings.identity.issuers, realm.folder)
        unknown = sorted(set(self._access.roles) - set(Access))
        if unknown:
            raise RealmError("[access.roles]", repr(unknown[0][:60]), ", ".join(Access))

    async def identify(self, connection: Connection) -> Identity | None:
        """Return who calls, None for nobody.

        A token that does not hold is refused even beside a certificate that does: whoever
        showed it meant it.  Raises ``NotAuthorizedException`` and ``FetchError``.
        """
        if given := connection.headers.get("authorization"):
            scheme, _, token = given.partition(" ")
            if scheme.lower() != "bearer":
                raise NotAuthorizedException("the Authorization head is not of scheme Bearer")
            return self._access.known(await self._by_token(token.strip()))
        peer: Peer | None = connection.scope["state"].get(PEER)
        if peer is None or not peer.certificate:
            return None
        return self._access.known(self._by_certificate(peer, peer.certificate))

    def _by_certificate(self, peer: Peer, certificate: bytes) -> Identity:
        """Return whom a connection's certificate speaks of: still, not only when it was made."""
        read = _read(certificate)
        if peer.is_outdated or self._realm.now() > read.not_after:
            why = "has expired" if self._realm.now() > read.not_after else "must be looked at anew"
            raise NotAuthorizedException(
                f"the client certificate {why}: connect again", headers={"Connection": "close"}
            )
        return _identity(read)

    async def _by_token(self, token: str) -> Identity:
        now = self._realm.now().timestamp()
        try:
            if known := self._tokens.recall(token, now):
                return known
            return await asyncio.to_thread(self._tokens.identify, token, now)
        except DeniedError as error:
            raise NotAuthorizedException(
                str(error),
                headers={"WWW-Authenticate": 'Bearer realm="signward", error="invalid_token"'},
            ) from None

    def roles_of(self, identity: Identity) -> frozenset[str]:
        """Return the roles that ``[access.roles]`` gives."""
        return self._access.roles_of(identity)


def identity_of(certificate: bytes) -> Identity:
    """Return whom a client certificate (DER, validated by TLS) speaks of.

    Claims: ``cn``, ``dns``, ``email``, ``uri`` and ``sha256``.  Raises
    ``NotAuthorizedException`` for one that OpenSSL reads and we do not.
    """
    return _identity(_read(certificate))


def _read(certificate: bytes) -> Certificate:
    try:
        read = load_certificate(certificate)
        alternative_names(read)
    except BadInputError:
        raise NotAuthorizedException("the client certificate cannot be read") from None
    return read


def _identity(read: Certificate) -> Identity:
    names = alternative_names(read)
    claims: dict[str, tuple[str, ...]] = {FINGERPRINT: (read.sha256.hex(),)}
    if read.common_name:
        claims["cn"] = (read.common_name,)
    for kind, claim in _CLAIMS.items():
        texts = tuple(one.value.decode("ascii", "replace") for one in names if one.kind == kind)
        if texts:
            claims[claim] = texts
    return Identity(kind="mtls", subject=read.subject_text, issuer=read.issuer_text, claims=claims)
