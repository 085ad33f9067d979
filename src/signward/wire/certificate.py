"""The outline of a certificate: what an envelope needs to find its signer's key.

Judging certificates is the business of ``trust``; this reads five fields and stops.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from signward.errors import BadInputError, MalformedError
from signward.frozen import Frozen
from signward.state import SignerId
from signward.wire import der
from signward.wire.repeated import CERTIFICATE_OCTETS, remembering

_WHAT = "certificate"
_SUBJECT_KEY_IDENTIFIER = der.oid("2.5.29.14")
_COMMON_NAME = "2.5.4.3"
_ORGANIZATION = "2.5.4.10"


class Outline(Frozen, frozen=True, kw_only=True):
    """Issuer and subject (raw DER Names), serial number, key (DER), its identifier."""

    issuer: bytes
    serial: int
    spki: bytes
    key_id: bytes
    subject: bytes


@remembering(4096, CERTIFICATE_OCTETS)
def outline(certificate: bytes) -> Outline:
    """Return the outline of a DER certificate (RFC 5280 4.1).

    Raises ``BadInputError``.  A certificate that is BER is read as it stands.
    """
    fields = der.parse(certificate, _WHAT).fields(_WHAT, 3)[0].fields(_WHAT, 6)
    if fields[0].tag == 0xA0:
        fields = fields[1:]
    if len(fields) < 6:
        raise MalformedError(_WHAT, f"{len(fields)} fields", "at least 6", "RFC 5280 4.1")
    serial, issuer, subject, spki = fields[0], fields[2], fields[4], fields[5]
    key_id = _key_id(fields[6:])
    return Outline(
        issuer=issuer.raw,
        serial=serial.integer(_WHAT),
        spki=spki.raw,
        key_id=key_id,
        subject=subject.raw,
    )


def common_name(certificate: bytes) -> str:
    """Return the subject's common name, for messages; empty where there is none or no telling."""
    with suppress(BadInputError):
        subject = der.parse(outline(certificate).subject, _WHAT)
        for rdn in subject.children():
            for attribute in rdn.children():
                kind, value = attribute.fields(_WHAT, 2)[:2]
                if kind.oid(_WHAT) == _COMMON_NAME:
                    return value.text(_WHAT)
    return ""


def organizations(certificate: bytes) -> tuple[str, ...]:
    """Return every organizationName of the subject (RFC 5280 A.1); empty where none can be told."""
    found = []
    with suppress(BadInputError):
        subject = der.parse(outline(certificate).subject, _WHAT)
        for rdn in subject.children():
            for attribute in rdn.children():
                kind, value = attribute.fields(_WHAT, 2)[:2]
                if kind.oid(_WHAT) == _ORGANIZATION:
                    found.append(value.text(_WHAT))
        return tuple(found)
    return ()


def signer_of(signer: SignerId, certificates: Sequence[bytes]) -> bytes:
    """Return the one of these certificates that an envelope names; empty for none or several."""
    found = set[bytes]()
    for certificate in certificates:
        with suppress(BadInputError):
            seen = outline(certificate)
            by_name = (seen.issuer, seen.serial) == (signer.issuer, signer.serial)
            if by_name or (signer.key_id and seen.key_id == signer.key_id):
                found.add(certificate)
    return found.pop() if len(found) == 1 else b""


def _key_id(fields: list[der.Node]) -> bytes:
    for field in fields:
        if field.tag != 0xA3:
            continue
        for extension in field.fields(_WHAT, 1, 0xA3)[0].children():
            if extension.content.startswith(_SUBJECT_KEY_IDENTIFIER):
                value = extension.fields(_WHAT, 2)[-1].octets()
                return der.parse(value, "subject key identifier").octets()
    return b""
