"""Publisher names of MSIX manifests, as Windows writes and compares them.

``Identity/@Publisher`` is an X.500 name in the string form of ``CertNameToStr`` with
``CERT_X500_NAME_STR`` and ``CERT_NAME_STR_REVERSE_FLAG``: most specific RDN first, commas
between RDNs, ``+`` between the attributes of one, Microsoft's own key words, and values
that hold a special character in double quotes, a quote inside doubled.  No backslashes.

Names are compared parsed, so that spaces around separators, the spelling of key words and
needless quotes do not matter.  Order, case and spaces inside values do: package family
names are made from the very characters.
"""

from __future__ import annotations

import re

from signward.errors import BadInputError, LimitError, MalformedError
from signward.wire import der

MAX_NAME = 8192
"""Characters in a publisher's name; the manifest schema allows 8192."""

_WHAT = "publisher"
_CLAUSE = "package manifest schema: Identity/@Publisher"

_KEY_WORDS = {
    "CN": "2.5.4.3",
    "SN": "2.5.4.4",
    "SERIALNUMBER": "2.5.4.5",
    "C": "2.5.4.6",
    "L": "2.5.4.7",
    "S": "2.5.4.8",
    "ST": "2.5.4.8",
    "STREET": "2.5.4.9",
    "O": "2.5.4.10",
    "OU": "2.5.4.11",
    "T": "2.5.4.12",
    "TITLE": "2.5.4.12",
    "DESCRIPTION": "2.5.4.13",
    "POSTALCODE": "2.5.4.17",
    "POBOX": "2.5.4.18",
    "PHONE": "2.5.4.20",
    "X21ADDRESS": "2.5.4.24",
    "G": "2.5.4.42",
    "GN": "2.5.4.42",
    "GIVENNAME": "2.5.4.42",
    "I": "2.5.4.43",
    "INITIALS": "2.5.4.43",
    "DNQUALIFIER": "2.5.4.46",
    "DC": "0.9.2342.19200300.100.1.25",
    "E": "1.2.840.113549.1.9.1",
    "EMAIL": "1.2.840.113549.1.9.1",
}
"""Microsoft's key words (CertStrToName); case does not matter."""

_WORDS: dict[str, str] = {}
for _word, _oid in _KEY_WORDS.items():
    _WORDS.setdefault(_oid, _word)
_SPELLED = {
    "DESCRIPTION": "Description", "POSTALCODE": "PostalCode", "POBOX": "POBox",
    "PHONE": "Phone", "X21ADDRESS": "X21Address", "DNQUALIFIER": "dnQualifier",
}  # fmt: skip

_ATTRIBUTE = re.compile(
    r"""\s*(?:OID\.)?(?P<type>[A-Za-z][A-Za-z0-9]*|[0-9.]+)\s*=\s*
        (?:"(?P<quoted>(?:[^"]|"")*)"|(?P<plain>[^",;+=<>\r\n]*))\s*(?P<next>[,;+]|\Z)""",
    re.VERBOSE | re.IGNORECASE,
)
_SPECIAL = re.compile(r'[,;+="<>#\r\n]|\A\s|\s\Z|\A\Z')

Attribute = tuple[str, str]
"""Dotted OID and text; a value that is no string is ``#`` and the hexadecimal of its DER."""

Name = tuple[tuple[Attribute, ...], ...]
"""RDNs, most specific first; the attributes of one in order."""


def parse_name(text: str) -> Name:
    """Return a publisher's name.  Raises ``MalformedError`` for what is no X.500 string."""
    if len(text) > MAX_NAME:
        raise LimitError(_WHAT, f"{len(text)} characters", f"at most {MAX_NAME}", _CLAUSE)
    rdns: list[list[Attribute]] = [[]]
    at = 0
    while True:
        match = _ATTRIBUTE.match(text, at)
        if match is None:
            raise MalformedError(
                _WHAT, repr(text[at : at + 64]), "an attribute such as CN=Name", _CLAUSE
            )
        rdns[-1].append((_type(match["type"]), _value(match)))
        at = match.end()
        if not match["next"]:
            return tuple(tuple(sorted(rdn)) for rdn in rdns)
        if match["next"] != "+":
            rdns.append([])


def _type(word: str) -> str:
    oid = word if word[0].isdigit() else _KEY_WORDS.get(word.upper(), "")
    if not oid:
        raise MalformedError(_WHAT, f"the key word {word[:32]}", "one of Microsoft's", _CLAUSE)
    return oid


def _value(match: re.Match[str]) -> str:
    quoted = match["quoted"]
    return match["plain"].strip() if quoted is None else quoted.replace('""', '"')


def name_of(subject: bytes) -> Name:
    """Return a DER Name (RFC 5280 4.1.2.4) in the order of a publisher's name."""
    rdns = [
        tuple(sorted(_pair(pair) for pair in rdn.fields(_WHAT, 1, der.SET)))
        for rdn in der.parse(subject, _WHAT).fields(_WHAT)
    ]
    return tuple(reversed(rdns))


def _pair(pair: der.Node) -> Attribute:
    kind, value = pair.fields(_WHAT, 2)[:2]
    try:
        return kind.oid(_WHAT), value.text()
    except BadInputError:
        return kind.oid(_WHAT), f"#{value.raw.hex()}"


def name_text(name: Name) -> str:
    """Return a name as Windows writes it, which is what a manifest must say."""
    return ", ".join(" + ".join(_attribute_text(*pair) for pair in rdn) for rdn in name)


def _attribute_text(oid: str, value: str) -> str:
    word = _WORDS.get(oid, f"OID.{oid}")
    if _SPECIAL.search(value):
        value = '"' + value.replace('"', '""') + '"'
    return f"{_SPELLED.get(word, word)}={value}"
