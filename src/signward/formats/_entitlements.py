"""Entitlements in DER, as Apple's code signatures carry them beside the property list.

Apple publishes no definition; what is written here are the octets its tools write:
[APPLICATION 16] { INTEGER 1, dictionary }, a dictionary is [16] { SEQUENCE { UTF8String key,
value } ... } in the order of the keys, an array a SEQUENCE.  (Tools of 2021 wrote a SET of such
pairs, as node's signatures have it still.)
"""

from __future__ import annotations

from collections.abc import Mapping

from signward.errors import BadInputError, NotSignableError
from signward.wire import der
from signward.wire.plist import read_plist

MAX_OCTETS = 1024 * 1024
"""Largest property list read; real ones have some 500 octets."""

MAX_DEPTH = 16
"""Deepest nesting written; real ones have two."""

_APPLICATION_16 = 0x70
_DICTIONARY = 0xB0
_WHAT = "entitlements"


def read_entitlements(text: bytes) -> Mapping[str, object]:
    """Return the entitlements in a property list (XML) somebody wants signed.

    Raises ``NotSignableError`` for what is none.
    """
    required = f"a property list in XML of at most {MAX_OCTETS} octets: a dictionary"
    if len(text) > MAX_OCTETS or not text.lstrip().startswith(b"<"):
        raise NotSignableError(_WHAT, f"{len(text)} octets", required)
    try:
        return read_plist(text, _WHAT)
    except BadInputError as error:
        raise NotSignableError(_WHAT, error.finding.found, required) from None


def entitlements_der(entitlements: Mapping[str, object]) -> bytes:
    """Return entitlements in DER.

    Raises ``NotSignableError`` for values they have no form for (times, fractions).
    """
    body = der.integer(1) + _dictionary(entitlements, MAX_DEPTH)
    return der.encode(_APPLICATION_16, body)


def _dictionary(entries: Mapping[str, object], depth: int) -> bytes:
    pairs = sorted(entries.items(), key=lambda pair: pair[0].encode())
    body = b"".join(der.sequence(der.utf8(key), _value(value, depth - 1)) for key, value in pairs)
    return der.encode(_DICTIONARY, body)


def _value(value: object, depth: int) -> bytes:
    if depth <= 0:
        raise NotSignableError(_WHAT, f"nesting beyond {MAX_DEPTH}", "less")
    match value:
        case bool():
            return der.boolean(value)
        case int():
            return der.integer(value)
        case str():
            return der.utf8(value)
        case bytes():
            return der.octet_string(value)
        case list():
            return der.sequence(*(_value(one, depth - 1) for one in value))
        case dict():
            return _dictionary(value, depth)
    raise NotSignableError(_WHAT, type(value).__name__, "texts, numbers, yes or no, and lists")
