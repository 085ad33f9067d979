"""Distinguished names: comparison (RFC 5280 7.1) and text (RFC 4514).

A name is the raw DER of an RDNSequence.  Two names match when their RDNs match in
order; two values match when their text does after the preparation of RFC 4518
(compatibility normalisation, case folding, insignificant space), whatever string
type carries them.  Values that are no text match octet for octet.
"""

from __future__ import annotations

import unicodedata

from signward.errors import BadInputError, LimitError, MalformedError
from signward.wire import der
from signward.wire.repeated import CERTIFICATE_OCTETS, remembering

MAX_NAME_ATTRIBUTES = 4096
"""Attributes in one name; the largest real name seen has 14."""

COMMON_NAME = "2.5.4.3"
ORGANIZATION = "2.5.4.10"
EMAIL_ADDRESS = "1.2.840.113549.1.9.1"

_SHORT_NAMES = {
    COMMON_NAME: "CN",
    "2.5.4.4": "SN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    ORGANIZATION: "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "title",
    "2.5.4.15": "businessCategory",
    "2.5.4.17": "postalCode",
    "2.5.4.42": "givenName",
    "2.5.4.97": "organizationIdentifier",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    EMAIL_ADDRESS: "emailAddress",
}
"""RFC 4514 section 3 and the descriptors of RFC 4519 and RFC 2985 that certificates use."""

_SPECIAL = frozenset('"+,;<>\\')


@remembering(4096, CERTIFICATE_OCTETS)
def normalized_name(raw: bytes) -> bytes:
    """Return the form of a DER Name that equal names share (RFC 5280 7.1).

    Good as a dictionary key.  Raises ``BadInputError`` for what is no Name.
    """
    return b"".join(normalized_rdns(raw))


@remembering(4096, CERTIFICATE_OCTETS)
def normalized_rdns(raw: bytes) -> tuple[bytes, ...]:
    """Return one comparable element per RDN; a subtree's name is a prefix of its members'."""
    return tuple(
        der.encode(der.SET, b"".join(sorted(_comparable(a) for a in attributes)))
        for attributes in _rdns(raw)
    )


def same_name(a: bytes, b: bytes) -> bool:
    """Return whether two DER names match (RFC 5280 7.1).

    Names that are not well-formed match only octet for octet.
    """
    if a == b:
        return True
    try:
        return normalized_name(a) == normalized_name(b)
    except BadInputError:
        return False


def prepared(text: str) -> str:
    """Return ``text`` prepared for comparison (RFC 4518 2.2 to 2.6)."""
    if text.isascii():
        return " ".join(text.casefold().split())
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    kept = "".join(c for c in folded if c.isspace() or unicodedata.category(c) not in ("Cc", "Cf"))
    return " ".join(kept.split())


@remembering(4096, CERTIFICATE_OCTETS)
def name_text(raw: bytes) -> str:
    """Return a DER Name in the string form of RFC 4514, most specific RDN first.

    Characters that could steer a terminal are escaped as hexadecimal pairs.
    """
    rdns = ("+".join(_attribute_text(a) for a in attributes) for attributes in _rdns(raw))
    return ",".join(reversed(tuple(rdns)))


def name_texts(raw: bytes) -> list[str]:
    """Return the text of every attribute in a name that has one, least specific first."""
    texts = (_text(value) for attributes in _rdns(raw) for _, value in attributes)
    return [text for text in texts if text is not None]


def attribute_values(raw: bytes, oid: str) -> tuple[str, ...]:
    """Return the text of every attribute ``oid`` in a name, least specific first."""
    values = []
    for attributes in _rdns(raw):
        for attribute_oid, value in attributes:
            if attribute_oid == oid and (text := _text(value)) is not None:
                values.append(text)
    return tuple(values)


@remembering(4096, CERTIFICATE_OCTETS)
def _rdns(raw: bytes) -> tuple[tuple[tuple[str, der.Node], ...], ...]:
    """Read a Name (RFC 5280 4.1.2.4) into ``(type, value)`` pairs per RDN."""
    rdns, count = [], 0
    for rdn in der.parse(raw, "name").fields("name"):
        attributes = []
        for pair in rdn.fields("name", 1, der.SET):
            type_, *values = pair.fields("name attribute", 2)
            if len(values) != 1:
                raise MalformedError(
                    "name attribute", f"{len(values)} values", "one", "RFC 5280 4.1.2.4"
                )
            attributes.append((type_.oid("name attribute"), values[0]))
        rdns.append(tuple(attributes))
        count += len(attributes)
        if count > MAX_NAME_ATTRIBUTES:
            raise LimitError("name", f"over {MAX_NAME_ATTRIBUTES} attributes", "fewer")
    return tuple(rdns)


def _text(value: der.Node) -> str | None:
    try:
        return value.text()
    except BadInputError:
        return None


def _comparable(attribute: tuple[str, der.Node]) -> bytes:
    oid, value = attribute
    text = _text(value)
    body = value.raw if text is None else der.utf8(prepared(text))
    return der.sequence(der.oid(oid), body)


def _attribute_text(attribute: tuple[str, der.Node]) -> str:
    oid, value = attribute
    text = _text(value)
    if oid in _SHORT_NAMES and text is not None:
        return f"{_SHORT_NAMES[oid]}={_escaped(text)}"
    return f"{_SHORT_NAMES.get(oid, oid)}=#{value.raw.hex()}"


def _escaped(text: str) -> str:
    out = "".join(_escaped_character(c) for c in text)
    if text[:1] in ("#", " "):
        out = "\\" + out
    if len(text) > 1 and text[-1] == " ":
        out = out[:-1] + "\\ "
    return out


def _escaped_character(character: str) -> str:
    if character in _SPECIAL:
        return "\\" + character
    if character != " " and not character.isprintable():
        octets = character.encode("utf-8", "surrogatepass")
        return "".join(f"\\{octet:02X}" for octet in octets)
    return character
