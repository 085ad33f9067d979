"""Whom a keyless certificate names: an identity, and the provider that vouched for it.

Fulcio writes one subject alternative name and the provider's address in an extension of its own
(``fulcio/docs/oid-info.md``): 1.3.6.1.4.1.57264.1.8 as UTF8String, or formerly 1.1 as bare
octets.  A name without its provider is nobody's: two of them may give it to different people.
"""

from __future__ import annotations

from signward.errors import MalformedError
from signward.frozen import Frozen
from signward.trust.general_names import EMAIL, URI, GeneralName, alternative_names
from signward.trust.x509 import Certificate
from signward.wire import der

ISSUER, OLD_ISSUER = "1.3.6.1.4.1.57264.1.8", "1.3.6.1.4.1.57264.1.1"
USER_NAME = "1.3.6.1.4.1.57264.1.7"
"""An otherName that holds a user's name, as a UTF8String."""

MAX_OCTETS = 4096
"""Octets of either name."""

_WHAT = "signing identity"
_CLAUSE = "fulcio, oid-info"


class SigningIdentity(Frozen, frozen=True, kw_only=True):
    """An e-mail address, a URI or a user's name, and the OpenID provider's address."""

    name: str
    issuer: str


def identity_of(leaf: Certificate) -> SigningIdentity:
    """Return whom a certificate names.  Raises ``BadInputError`` where that is not one."""
    names = alternative_names(leaf)
    if len(names) != 1:
        raise MalformedError(_WHAT, f"{len(names)} names", "one", _CLAUSE)
    return SigningIdentity(name=_name(names[0]), issuer=_issuer(leaf))


def _name(name: GeneralName) -> str:
    if name.kind in (EMAIL, URI):
        return _text(name.value)
    if name.kind != "other":
        raise MalformedError(_WHAT, f"a {name.kind} name", "an address, URI or user", _CLAUSE)
    kind, rest = _split(name.value)
    if kind.oid(_WHAT) != USER_NAME:
        raise MalformedError(_WHAT, f"a name of kind {kind.oid(_WHAT)}", USER_NAME, _CLAUSE)
    return _utf8(der.parse(der.parse(rest, _WHAT).content, _WHAT))


def _split(data: bytes) -> tuple[der.Node, bytes]:
    first = der.parse(data, _WHAT, trailing=True)
    return first, data[first.next :]


def _issuer(leaf: Certificate) -> str:
    """Return the provider; where a certificate says it in both ways, they must agree."""
    new = leaf.extensions.get(ISSUER)
    old = leaf.extensions.get(OLD_ISSUER)
    told = {_utf8(der.parse(new[1], _WHAT))} if new else set()
    told |= {_text(old[1])} if old else set()
    if len(told) != 1:
        raise MalformedError(_WHAT, f"{len(told)} issuers", "one", _CLAUSE)
    return told.pop()


def _utf8(node: der.Node) -> str:
    return _text(node.expect(der.UTF8_STRING, _WHAT).content)


def _text(octets: bytes) -> str:
    """Return printable text.  Raises ``MalformedError``: names are compared and shown."""
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        text = ""
    if not text or len(octets) > MAX_OCTETS or not text.isprintable():
        raise MalformedError(_WHAT, repr(octets[:80]), "printable text", _CLAUSE)
    return text
