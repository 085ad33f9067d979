"""Distribution points: which part of a CA's revocations a CRL holds (RFC 5280 4.2.1.13, 5.2.5).

Names are compared as ``(tag, octets)`` pairs: a directoryName by its normalized form,
every other GeneralName octet for octet.
"""

from __future__ import annotations

from signward.errors import MalformedError
from signward.frozen import Frozen
from signward.trust.names import normalized_name
from signward.wire import der

DIRECTORY_NAME = 0xA4
URI = 0x86
MAX_POINTS = 64
MAX_GENERAL_NAMES = 256

REASONS = (
    "unused",
    "keyCompromise",
    "cACompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
    "certificateHold",
    "privilegeWithdrawn",
    "aACompromise",
)
"""ReasonFlags by bit (RFC 5280 4.2.1.13)."""

ALL_REASONS = frozenset(REASONS[1:])

GeneralName = tuple[int, bytes]


class DistributionPoint(Frozen, frozen=True, kw_only=True):
    """One entry of a certificate's cRLDistributionPoints or freshestCRL.

    ``names`` is None where the field is absent; ``crl_issuers`` are the normalized
    names of cRLIssuer; ``reasons`` None means all.
    """

    names: frozenset[GeneralName] | None = None
    reasons: frozenset[str] | None = None
    crl_issuers: frozenset[bytes] = frozenset()
    urls: tuple[str, ...] = ()


class IssuingDistributionPoint(Frozen, frozen=True, kw_only=True):
    """A CRL's issuingDistributionPoint (RFC 5280 5.2.5)."""

    names: frozenset[GeneralName] | None = None
    only_users: bool = False
    only_cas: bool = False
    only_attributes: bool = False
    reasons: frozenset[str] | None = None
    indirect: bool = False


def read_points(value: bytes, issuer: bytes) -> tuple[DistributionPoint, ...]:
    """Read CRLDistributionPoints; ``issuer`` (raw Name) completes relative names."""
    nodes = der.parse(value, "cRLDistributionPoints").fields("cRLDistributionPoints", 1)
    if len(nodes) > MAX_POINTS:
        raise MalformedError("cRLDistributionPoints", f"{len(nodes)} points", f"<= {MAX_POINTS}")
    return tuple(_point(node, issuer) for node in nodes)


def _point(node: der.Node, issuer: bytes) -> DistributionPoint:
    fields = {field.tag: field for field in node.fields("distribution point")}
    issuers = _general_names(fields[0xA2]) if 0xA2 in fields else []
    directories = frozenset(name for tag, name in issuers if tag == DIRECTORY_NAME)
    base = _raw_directory(fields[0xA2]) if 0xA2 in fields else issuer
    names = _point_names(fields[0xA0], base or issuer) if 0xA0 in fields else None
    return DistributionPoint(
        names=names,
        reasons=_reasons(fields[0x81]) if 0x81 in fields else None,
        crl_issuers=directories,
        urls=_urls(fields[0xA0]) if 0xA0 in fields else (),
    )


def read_issuing_point(value: bytes, issuer: bytes) -> IssuingDistributionPoint:
    """Read IssuingDistributionPoint; ``issuer`` is the CRL issuer's raw Name.

    Raises ``MalformedError`` for a field that is not one of the six.
    """
    fields = der.parse(value, "issuingDistributionPoint").fields("issuingDistributionPoint")
    by_tag = {field.tag: field for field in fields}
    if len(by_tag) != len(fields) or by_tag.keys() - {0xA0, 0x81, 0x82, 0x83, 0x84, 0x85}:
        raise MalformedError(
            "issuingDistributionPoint", "fields it does not have", "[0] to [5], each once",
            "RFC 5280 5.2.5",
        )  # fmt: skip
    return IssuingDistributionPoint(
        names=_point_names(by_tag[0xA0], issuer) if 0xA0 in by_tag else None,
        only_users=_flag(by_tag.get(0x81)),
        only_cas=_flag(by_tag.get(0x82)),
        reasons=_reasons(by_tag[0x83]) if 0x83 in by_tag else None,
        indirect=_flag(by_tag.get(0x84)),
        only_attributes=_flag(by_tag.get(0x85)),
    )


def _flag(node: der.Node | None) -> bool:
    return node is not None and node.implicit(der.BOOLEAN).boolean()


def _reasons(node: der.Node) -> frozenset[str]:
    content = node.content
    if not content or content[0] > 7:
        raise MalformedError("ReasonFlags", "no bits", "a BIT STRING", "RFC 5280 4.2.1.13")
    flags = content[1:]
    return frozenset(
        name
        for bit, name in enumerate(REASONS)
        if bit and bit // 8 < len(flags) and flags[bit // 8] & 0x80 >> bit % 8
    )


def _point_names(node: der.Node, base: bytes) -> frozenset[GeneralName]:
    """Read DistributionPointName: full names, or one RDN behind the issuer's name."""
    choices = node.children()
    if len(choices) != 1 or choices[0].tag not in (0xA0, 0xA1):
        raise MalformedError("distributionPoint", "an odd name", "fullName or nameRelative")
    if choices[0].tag == 0xA0:
        return frozenset(_general_names(choices[0]))
    rdn = der.encode(der.SET, choices[0].content)
    name = der.encode(der.SEQUENCE, der.parse(base, "issuer name").content + rdn)
    return frozenset({(DIRECTORY_NAME, normalized_name(name))})


def _general_names(node: der.Node) -> list[GeneralName]:
    names = node.children()
    if len(names) > MAX_GENERAL_NAMES:
        raise MalformedError("GeneralNames", f"{len(names)} names", f"<= {MAX_GENERAL_NAMES}")
    return [general_name(name) for name in names]


def general_name(node: der.Node) -> GeneralName:
    """Return a GeneralName in the form that is compared here."""
    if node.tag == DIRECTORY_NAME:
        return DIRECTORY_NAME, normalized_name(_inner(node))
    return node.tag, node.content


def directory_names(value: der.Node) -> list[bytes]:
    """Return the normalized directoryNames among GeneralNames."""
    return [name for tag, name in _general_names(value) if tag == DIRECTORY_NAME]


def _inner(node: der.Node) -> bytes:
    inner = node.children()
    if len(inner) != 1:
        raise MalformedError("directoryName", f"{len(inner)} names", "1", "RFC 5280 4.2.1.6")
    return inner[0].raw


def _raw_directory(node: der.Node) -> bytes:
    return next((_inner(n) for n in node.children() if n.tag == DIRECTORY_NAME), b"")


def _urls(node: der.Node) -> tuple[str, ...]:
    choice = node.children()[0]
    names = choice.children() if choice.tag == 0xA0 else []
    return tuple(n.content.decode("ascii", "replace") for n in names if n.tag == URI)
