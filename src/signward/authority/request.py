"""Certification requests: PKCS#10 (RFC 2986), with proof that the asker holds the key.

What a request asks for is a wish: key, subject and alternative names are taken from it where
an officer leaves them to it; everything else is the profile's, and named if it was asked for.
"""

from __future__ import annotations

import binascii
import re

from signward import integrity
from signward.authority.names import MAX_ATTRIBUTES, MAX_NAMES, rewritten_alternative
from signward.errors import AuthorityError, LimitError, MalformedError
from signward.frozen import Frozen
from signward.trust.crl import read_extensions
from signward.trust.general_names import read_general_name
from signward.trust.names import name_text
from signward.trust.x509 import SUBJECT_ALT_NAME
from signward.wire import der
from signward.wire.algorithms import signature_algorithm

MAX_REQUEST_OCTETS = 64 * 1024
"""Largest request read; one with an ML-DSA-87 key has some 8 kB."""

_EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
_MICROSOFT_EXTENSIONS = "1.3.6.1.4.1.311.2.1.14"
_WHAT = "certification request"
_WEAK = frozenset({"md2", "md5", "sha1", "sha224"})
_PEM = re.compile(
    rb"-----BEGIN (NEW )?CERTIFICATE REQUEST-----([^-]*)-----END (NEW )?CERTIFICATE REQUEST-----"
)


class Request(Frozen, frozen=True, kw_only=True):
    """A request whose signature fits its key.

    ``subject`` is the raw Name (it may be empty), ``names`` the alternative names (raw
    GeneralNames), ``ignored`` the OIDs of further extensions that were asked for.
    """

    subject: bytes
    spki: bytes
    names: tuple[bytes, ...]
    ignored: tuple[str, ...]


def read_request(data: bytes) -> Request:
    """Read a PKCS#10 request, PEM or DER, and check its proof of possession.

    Raises ``BadInputError`` for what cannot be read, ``AuthorityError`` where the proof fails.
    """
    if len(data) > MAX_REQUEST_OCTETS:
        raise LimitError(_WHAT, f"{len(data)} octets", f"at most {MAX_REQUEST_OCTETS}")
    outer = der.parse(_unwrapped(data), _WHAT).fields(_WHAT, 3)
    if len(outer) != 3:
        raise MalformedError(_WHAT, f"{len(outer)} fields", "3", "RFC 2986 4.2")
    info, algorithm, value = outer
    fields = info.fields(_WHAT, 3)
    if fields[0].integer(_WHAT) != 0:
        raise MalformedError(_WHAT, "another version", "version 1 (0)", "RFC 2986 4.1")
    _check_subject(fields[1])
    spki = fields[2].expect(der.SEQUENCE, _WHAT).raw
    _check_proof(spki, algorithm, info, value)
    extensions = _extensions(fields[3:])
    names = extensions.pop(SUBJECT_ALT_NAME, b"")
    return Request(
        subject=fields[1].raw,
        spki=spki,
        names=_alternative_names(names) if names else (),
        ignored=tuple(sorted(extensions)),
    )


def _unwrapped(data: bytes) -> bytes:
    """Return the DER in a PEM block, or DER as it is."""
    if data[:1] == b"\x30":
        return data
    match = _PEM.search(data)
    if not match:
        raise MalformedError(_WHAT, "neither PEM nor DER", "a PKCS#10 request", "RFC 7468 7")
    try:
        return binascii.a2b_base64(match[2])
    except binascii.Error:
        raise MalformedError(_WHAT, "a damaged PEM block", "Base64", "RFC 7468") from None


def _check_subject(name: der.Node) -> None:
    """Refuse a name that cannot be read or is absurdly long."""
    if len(name.fields(_WHAT)) > MAX_ATTRIBUTES:
        raise LimitError(_WHAT, "a longer subject", f"at most {MAX_ATTRIBUTES} attributes")
    name_text(name.raw)


def _check_proof(spki: bytes, algorithm: der.Node, info: der.Node, value: der.Node) -> None:
    """Ask that the request's signature was made with the very key (RFC 2986 4.2)."""
    wanted = signature_algorithm(algorithm, what=_WHAT)
    if wanted.digest in _WEAK:
        raise AuthorityError(_WHAT, f"a signature by {wanted}", "SHA-256 or better", "CSBR 7.1.3")
    try:
        integrity.check_value(spki, wanted, info.raw, value.bits(_WHAT))
    except (integrity.ValueMismatchError, integrity.UnsupportedKeyError) as error:
        raise AuthorityError(
            _WHAT, str(error)[:200], "a signature made with the key it names", "RFC 2986 4.2",
            "whoever asks must hold the key: make the request anew with it",
        ) from None  # fmt: skip


def _extensions(fields: list[der.Node]) -> dict[str, bytes]:
    """Return the extensions that are asked for, by OID (RFC 2985 5.4.2)."""
    found: dict[str, bytes] = {}
    for attributes in fields:
        if attributes.tag != 0xA0:
            raise MalformedError(_WHAT, f"field {attributes.tag:#04x}", "[0]", "RFC 2986 4.1")
        for attribute in attributes.children():
            kind, values = attribute.fields(_WHAT, 2)[:2]
            if kind.oid(_WHAT) not in (_EXTENSION_REQUEST, _MICROSOFT_EXTENSIONS):
                continue
            for value in values.fields(_WHAT, 1, der.SET):
                asked = read_extensions(value)[0]
                if found.keys() & asked.keys():
                    raise MalformedError(_WHAT, "an extension asked for twice", "once",
                                         "RFC 2985 5.4.2")  # fmt: skip
                found.update(asked)
    return found


def _alternative_names(value: bytes) -> tuple[bytes, ...]:
    nodes = der.parse(value, "subjectAltName").fields("subjectAltName", 1)
    if len(nodes) > MAX_NAMES:
        raise LimitError("subjectAltName", f"{len(nodes)} names", f"at most {MAX_NAMES}")
    return tuple(rewritten_alternative(read_general_name(node), node.raw) for node in nodes)
