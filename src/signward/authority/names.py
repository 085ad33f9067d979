"""Names as people write them, into DER: subjects (RFC 4514) and GeneralNames (RFC 5280 4.2.1.6).

A subject is read in either order in which people write it, ``CN=…,O=…,C=…`` or ``C=…,O=…,CN=…``,
and always encoded from the country down to the common name, as public authorities do.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence

from signward.errors import AuthorityError
from signward.frozen import Frozen
from signward.trust.general_names import GeneralName
from signward.wire import der

MAX_ATTRIBUTES = 32
"""Attributes in a subject; real ones have about six."""

MAX_NAMES = 100
"""Alternative names in one certificate."""

_SUBJECT = "RFC 4514"
_ALTERNATIVE = "RFC 5280 4.2.1.6"


class _Attribute(Frozen, frozen=True, kw_only=True):
    """An attribute: its OID, its longest value in characters, its string type."""

    oid: str
    most: int
    encode: Callable[[str], bytes] = der.utf8
    least: int = 1


def _ia5(text: str) -> bytes:
    return der.encode(der.IA5_STRING, text.encode("ascii"))


ATTRIBUTES = {
    "C": _Attribute(oid="2.5.4.6", most=2, least=2, encode=der.printable),
    "DC": _Attribute(oid="0.9.2342.19200300.100.1.25", most=63, encode=_ia5),
    "ST": _Attribute(oid="2.5.4.8", most=128),
    "L": _Attribute(oid="2.5.4.7", most=128),
    "STREET": _Attribute(oid="2.5.4.9", most=128),
    "postalCode": _Attribute(oid="2.5.4.17", most=40),
    "O": _Attribute(oid="2.5.4.10", most=64),
    "organizationIdentifier": _Attribute(oid="2.5.4.97", most=256),
    "OU": _Attribute(oid="2.5.4.11", most=64),
    "title": _Attribute(oid="2.5.4.12", most=64),
    "serialNumber": _Attribute(oid="2.5.4.5", most=64, encode=der.printable),
    "SN": _Attribute(oid="2.5.4.4", most=40),
    "givenName": _Attribute(oid="2.5.4.42", most=64),
    "UID": _Attribute(oid="0.9.2342.19200300.100.1.1", most=256),
    "CN": _Attribute(oid="2.5.4.3", most=64),
}
"""What a subject may hold, in the order it is encoded in; bounds of RFC 5280 appendix A."""

SHORT_NAMES = {attribute.oid: short for short, attribute in ATTRIBUTES.items()}
"""OID to the name people write."""

_BY_LOWER_CASE = {short.lower(): short for short in ATTRIBUTES}
_COUNTRY = re.compile(r"[A-Z]{2}")
_PRINTABLE = re.compile(r"[A-Za-z0-9 '()+,./:=?-]*")


def subject(text: str) -> bytes:
    """Return the DER Name of ``CN=Release,O=Example Ltd,C=SE``.  Raises ``AuthorityError``.

    A comma, plus sign or backslash of a value's own stands behind a backslash.  An attribute
    may stand several times (OU, DC): those keep their order.
    """
    return _ordered([_pair(part) for part in _split(text)])


def _ordered(pairs: list[tuple[str, str]]) -> bytes:
    if not 0 < len(pairs) <= MAX_ATTRIBUTES:
        raise _odd_subject(f"{len(pairs)} attributes", f"1 to {MAX_ATTRIBUTES}")
    order = list(ATTRIBUTES)
    return name(sorted(pairs, key=lambda pair: order.index(pair[0])))


def rewritten(raw: bytes) -> bytes:
    """Return a DER Name written anew in our order and string types.

    Raises ``AuthorityError`` for attributes that are not in ``ATTRIBUTES`` or are no text, and
    ``BadInputError`` for what is no Name.
    """
    pairs = []
    for rdn in der.parse(raw, "subject").fields("subject"):
        for attribute in rdn.fields("subject", 1, der.SET):
            kind, value = attribute.fields("subject", 2)[:2]
            short = SHORT_NAMES.get(kind.oid("subject"))
            if short is None:
                raise _odd_subject(
                    f"attribute {kind.oid()}", f"known ones: {', '.join(ATTRIBUTES)}"
                )
            pairs.append((short, value.text("subject")))
    return _ordered(pairs)


def name(pairs: Sequence[tuple[str, str]]) -> bytes:
    """Return the DER Name of attributes, each its own RDN, in the order given.

    Raises ``AuthorityError`` for values that are too long or of the wrong characters.
    """
    return der.sequence(*(_rdn(short, value) for short, value in pairs))


def _rdn(short: str, value: str) -> bytes:
    attribute = ATTRIBUTES[short]
    if short == "C" and not _COUNTRY.fullmatch(value):
        raise AuthorityError("subject, C", repr(value[:80]), "two capitals, as in SE", "ISO 3166-1")
    if not attribute.least <= len(value) <= attribute.most:
        bounds = f"{attribute.least} to {attribute.most} characters"
        raise AuthorityError(f"subject, {short}", f"{len(value)} characters", bounds,
                             "RFC 5280 appendix A")  # fmt: skip
    if not value.isprintable() or value != value.strip():
        raise AuthorityError(f"subject, {short}", "control characters or space at an end", "text")
    if attribute.encode is der.printable and not _PRINTABLE.fullmatch(value):
        raise AuthorityError(f"subject, {short}", repr(value), "a PrintableString", "RFC 5280 A.1")
    try:
        encoded = attribute.encode(value)
    except UnicodeEncodeError:
        raise AuthorityError(f"subject, {short}", repr(value), "ASCII text") from None
    return der.set_of(der.sequence(der.oid(attribute.oid), encoded))


def _split(text: str) -> list[str]:
    """Return the parts between commas that no backslash precedes, escapes still in them."""
    parts, start, position = [], 0, 0
    while position < len(text):
        if text[position] == "\\":
            position += 1
        elif text[position] in ",+":
            if text[position] == "+":
                raise _odd_subject("a plus sign", "one attribute a part, or \\+")
            parts.append(text[start:position])
            start = position + 1
        position += 1
    return [part for part in (*parts, text[start:]) if part.strip()]


def _pair(part: str) -> tuple[str, str]:
    written, equals, value = part.partition("=")
    short = _BY_LOWER_CASE.get(written.strip().lower())
    if not equals or short is None:
        known = ", ".join(ATTRIBUTES)
        raise _odd_subject(repr(part.strip()[:80]), f"ATTRIBUTE=VALUE, with one of: {known}")
    return short, _unescaped(value.strip())


def _unescaped(value: str) -> str:
    r"""Undo ``\,`` and ``\C3\A4`` (RFC 4514 2.4)."""
    octets, position = bytearray(), 0
    while position < len(value):
        if value[position] != "\\":
            octets += value[position].encode("utf-8", "surrogatepass")
            position += 1
        elif re.fullmatch("[0-9A-Fa-f]{2}", value[position + 1 : position + 3]):
            octets.append(int(value[position + 1 : position + 3], 16))
            position += 3
        elif position + 1 < len(value):
            octets += value[position + 1].encode("utf-8", "surrogatepass")
            position += 2
        else:
            raise _odd_subject("a backslash at the end", "a character behind it")
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise _odd_subject("escapes that are no UTF-8", "UTF-8") from None


def _odd_subject(found: str, required: str) -> AuthorityError:
    return AuthorityError("subject", found, required, _SUBJECT, "as in: CN=Release,O=Example Ltd")


# --- alternative names ------------------------------------------------------------------------

_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}$)(?:{_LABEL}\.)*{_LABEL}")
_MAILBOX = re.compile(rf"[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@(?:{_LABEL}\.)*{_LABEL}")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]{1,2000}")

KINDS = {"email": 0x81, "dns": 0x82, "dir": 0xA4, "uri": 0x86, "ip": 0x87}
"""What people write before the colon, and the GeneralName's tag."""

_ADDRESS_OCTETS = (4, 16)


def alternative(text: str) -> bytes:
    """Return the GeneralName (DER) of what people write, as ``uri:https://example.org/x``.

    Kinds are those of `KINDS`.  Raises ``AuthorityError``.
    """
    kind, value = _kind(text)
    if kind == "dir":
        return der.encode(KINDS[kind], subject(value))
    if kind == "ip":
        return der.encode(KINDS[kind], _address(value, network=False))
    pattern = {"email": _MAILBOX, "dns": _HOST, "uri": _URI}[kind]
    if not pattern.fullmatch(value):
        raise _odd_alternative(text, f"a well-formed {kind} name")
    return der.encode(KINDS[kind], value.encode("ascii"))


def rewritten_alternative(name: GeneralName, raw: bytes) -> bytes:
    """Return a GeneralName (``raw`` is its DER) that somebody else wrote, held to `alternative`.

    Kinds that people cannot name are returned as they are: no profile allows them.  Raises
    ``AuthorityError`` and ``BadInputError``.
    """
    if raw[0] == KINDS["dir"]:
        return der.encode(raw[0], rewritten(name.value))
    if raw[0] == KINDS["ip"] and len(name.value) not in _ADDRESS_OCTETS:
        raise _odd_alternative(f"ip:{name.value.hex()}", "4 or 16 octets")
    for kind in ("email", "dns", "uri"):
        if raw[0] == KINDS[kind]:
            return alternative(f"{kind}:{name.value.decode('ascii', 'backslashreplace')}")
    return raw


def constraint(text: str) -> bytes:
    """Return the base of a GeneralSubtree (RFC 5280 4.2.1.10), written as for `alternative`.

    ``email:`` and ``uri:`` constrain hosts (``email:example.org``, ``uri:.example.org``),
    ``ip:`` networks (``ip:10.0.0.0/8``).  Raises ``AuthorityError``.
    """
    kind, value = _kind(text)
    if kind == "dir":
        return der.encode(KINDS[kind], subject(value))
    if kind == "ip":
        return der.encode(KINDS[kind], _address(value, network=True))
    host = value.removeprefix(".") if kind in ("email", "uri") else value
    if not _HOST.fullmatch(host) and not (kind == "email" and _MAILBOX.fullmatch(value)):
        raise _odd_alternative(text, "a host or domain")
    return der.encode(KINDS[kind], value.encode("ascii"))


def _kind(text: str) -> tuple[str, str]:
    kind, colon, value = text.partition(":")
    if not colon or kind.lower() not in KINDS:
        raise _odd_alternative(text, f"KIND:NAME, with one of: {', '.join(KINDS)}")
    return kind.lower(), value


def _address(value: str, *, network: bool) -> bytes:
    try:
        if not network:
            return ipaddress.ip_address(value).packed
        found = ipaddress.ip_network(value)
    except ValueError as error:
        raise _odd_alternative(f"ip:{value}", f"an address ({error})") from None
    return found.network_address.packed + found.netmask.packed


def _odd_alternative(text: str, required: str) -> AuthorityError:
    return AuthorityError("alternative name", repr(text[:200]), required, _ALTERNATIVE)
