"""GeneralNames (RFC 5280 4.2.1.6) and the names a certificate speaks for."""

from __future__ import annotations

from typing import NamedTuple

from signward.errors import LimitError, MalformedError
from signward.trust.names import EMAIL_ADDRESS, attribute_values
from signward.trust.x509 import SUBJECT_ALT_NAME, Certificate, certificate_size
from signward.wire import der
from signward.wire.repeated import CERTIFICATE_OCTETS, remembering

MAX_GENERAL_NAMES = 10_000
"""Names in one extension; a CDN's certificate holds a few hundred."""

EMAIL, DNS, DIRECTORY, URI, IP = "e-mail", "DNS", "directory", "URI", "IP"

_KINDS = {
    0xA0: "other",
    0x81: EMAIL,
    0x82: DNS,
    0xA3: "X.400",
    0xA4: DIRECTORY,
    0xA5: "EDI",
    0x86: URI,
    0x87: IP,
    0x88: "registered OID",
}


class GeneralName(NamedTuple):
    """One name: its kind, and its octets (a directory name's raw DER Name)."""

    kind: str
    value: bytes

    def __str__(self) -> str:
        return f"{self.kind} name {self.value[:80]!r}"


def read_general_name(node: der.Node) -> GeneralName:
    """Read one GeneralName; raises ``MalformedError`` for a tag that is none."""
    kind = _KINDS.get(node.tag)
    if kind is None:
        raise MalformedError(
            "GeneralName", f"tag {node.tag:#04x}", "[0] to [8]", "RFC 5280 4.2.1.6",
            offset=node.offset,
        )  # fmt: skip
    if kind == DIRECTORY:
        inner = node.children()
        if len(inner) != 1:
            raise MalformedError("GeneralName", "an odd directoryName", "one Name", "RFC 5280 4.2")
        return GeneralName(kind, inner[0].raw)
    return GeneralName(kind, node.content)


@remembering(1024, CERTIFICATE_OCTETS, certificate_size)
def alternative_names(certificate: Certificate) -> tuple[GeneralName, ...]:
    """Return the names of the subjectAltName extension; empty if it is absent.

    Raises ``BadInputError``.
    """
    if SUBJECT_ALT_NAME not in certificate.extensions:
        return ()
    value = certificate.extensions[SUBJECT_ALT_NAME][1]
    nodes = der.parse(value, "subjectAltName").fields("subjectAltName", 1)
    if len(nodes) > MAX_GENERAL_NAMES:
        raise LimitError("subjectAltName", f"{len(nodes)} names", f"at most {MAX_GENERAL_NAMES}")
    return tuple(read_general_name(node) for node in nodes)


@remembering(1024, CERTIFICATE_OCTETS, certificate_size)
def constrained_names(certificate: Certificate) -> tuple[GeneralName, ...]:
    """Return every name that name constraints speak about (RFC 5280 4.2.1.10).

    The subject counts as a directory name unless it is empty, and its e-mail
    addresses count where the extension names none.
    """
    names = list(alternative_names(certificate))
    addressed = any(name.kind == EMAIL for name in names)
    if not addressed:
        addresses = attribute_values(certificate.subject, EMAIL_ADDRESS)
        names += [GeneralName(EMAIL, address.encode()) for address in addresses]
    if certificate.subject != b"\x30\x00":
        names.append(GeneralName(DIRECTORY, certificate.subject))
    return tuple(names)
