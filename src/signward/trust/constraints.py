"""Name constraints (RFC 5280 4.2.1.10), at a bounded cost.

Everything fails closed: a constraint we cannot read, or a name it speaks about that
is no well-formed name of its kind, breaks the path.  A wildcard DNS name breaks an
exclusion as soon as one of the names it stands for would (CVE-2025-61727).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from signward.errors import BadInputError, LimitError, MalformedError
from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen
from signward.trust.general_names import (
    DIRECTORY,
    DNS,
    EMAIL,
    IP,
    URI,
    GeneralName,
    constrained_names,
    read_general_name,
)
from signward.trust.names import normalized_rdns
from signward.trust.x509 import (
    NAME_CONSTRAINTS,
    SUBJECT_ALT_NAME,
    Certificate,
    certificate_size,
    malformed_finding,
)
from signward.wire import der
from signward.wire.repeated import CERTIFICATE_OCTETS, remembering

MAX_COMPARISONS = 20_000
"""Names times subtrees compared for one path; real paths stay below 100."""

MAX_SUBTREES = 1024
"""Subtrees in one list; public name-constrained CAs list a few dozen."""

CLAUSE = "RFC 5280 4.2.1.10"

_DNS_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")


class Subtrees(Frozen, frozen=True, kw_only=True):
    """One nameConstraints extension: subtrees by kind of name."""

    permitted: dict[str, tuple[GeneralName, ...]]
    excluded: dict[str, tuple[GeneralName, ...]]


@remembering(512, CERTIFICATE_OCTETS, certificate_size)
def read_subtrees(certificate: Certificate) -> Subtrees | None:
    """Return the name constraints a certificate sets, or None.

    Raises ``BadInputError``.
    """
    if NAME_CONSTRAINTS not in certificate.extensions:
        return None
    value = certificate.extensions[NAME_CONSTRAINTS][1]
    fields = der.parse(value, "nameConstraints").fields("nameConstraints", 1)
    if [f.tag for f in fields] not in ([0xA0], [0xA1], [0xA0, 0xA1]):
        raise MalformedError("nameConstraints", "other fields", "[0], [1]", CLAUSE)
    lists = {field.tag: _by_kind(field) for field in fields}
    return Subtrees(permitted=lists.get(0xA0, {}), excluded=lists.get(0xA1, {}))


def _by_kind(field: der.Node) -> dict[str, tuple[GeneralName, ...]]:
    nodes = field.children()
    if not 0 < len(nodes) <= MAX_SUBTREES:
        raise LimitError("nameConstraints", f"{len(nodes)} subtrees", f"1 to {MAX_SUBTREES}")
    kinds: dict[str, list[GeneralName]] = {}
    for node in nodes:
        base = _read_subtree(node)
        kinds.setdefault(base.kind, []).append(base)
    return {kind: tuple(bases) for kind, bases in kinds.items()}


def _read_subtree(node: der.Node) -> GeneralName:
    """Read a GeneralSubtree; only minimum 0 and no maximum have a meaning."""
    base, *bounds = node.fields("subtree", 1)
    for bound in bounds:
        if bound.tag != 0x80 or bound.implicit(der.INTEGER).integer() != 0:
            raise MalformedError("nameConstraints", "a minimum or maximum", "none", CLAUSE)
    name = read_general_name(base)
    if name.kind in _WELL_FORMED_BASE and not _WELL_FORMED_BASE[name.kind](name.value):
        raise MalformedError("nameConstraints", f"{name}", f"a {name.kind} constraint", CLAUSE)
    return name


def check_names(path: Sequence[Certificate]) -> list[Finding]:
    """Return what is wrong with the names along ``path`` (leaf first, anchor last).

    A self-issued certificate is exempt from constraints unless it is the leaf
    (RFC 5280 6.1.3 b, c).
    """
    findings = _check_leaf(path[0]) if len(path) > 1 else []
    active: list[Subtrees] = []
    left = MAX_COMPARISONS
    for position in range(len(path) - 1, -1, -1):
        certificate = path[position]
        try:
            if position < len(path) - 1:
                names = constrained_names(certificate)
                if position == 0 or not certificate.self_issued:
                    left = _check_certificate(names, active, left)
            subtrees = read_subtrees(certificate) if position else None
        except _ForbiddenNameError as error:
            findings.append(_finding(certificate, *error.args))
        except BadInputError as error:
            return [*findings, malformed_finding(certificate, error)]
        else:
            active += [subtrees] if subtrees else []
    return findings


def _check_leaf(leaf: Certificate) -> list[Finding]:
    findings = []
    if NAME_CONSTRAINTS in leaf.extensions and not leaf.is_ca:
        findings.append(_finding(leaf, "name constraints in an end certificate", "none"))
    critical = leaf.extensions.get(SUBJECT_ALT_NAME, (True, b""))[0]
    if leaf.subject == b"\x30\x00" and not critical:
        finding = _finding(leaf, "no subject, and other names not critical", "a critical extension")
        findings.append(finding)
    return findings


class _ForbiddenNameError(Exception):
    """A name breaks a constraint: ``(found, required)``."""


def _check_certificate(names: tuple[GeneralName, ...], active: list[Subtrees], left: int) -> int:
    """Hold every name against every active constraint; return the comparisons left."""
    for subtrees in active:
        for name in names:
            permitted = subtrees.permitted.get(name.kind)
            excluded = subtrees.excluded.get(name.kind, ())
            left -= len(permitted or ()) + len(excluded)
            if left < 0:
                raise LimitError(
                    "nameConstraints", f"over {MAX_COMPARISONS} comparisons", "fewer", CLAUSE
                )
            if permitted is not None or excluded:
                _check_name(name, permitted, excluded)
    return left


def _check_name(
    name: GeneralName,
    permitted: tuple[GeneralName, ...] | None,
    excluded: tuple[GeneralName, ...],
) -> None:
    rule = _RULES.get(name.kind)
    if rule is None:
        raise _ForbiddenNameError(f"{name}", "no name of a kind whose constraints have no meaning")
    well_formed, within, touches = rule
    if not well_formed(name.value):
        raise _ForbiddenNameError(f"malformed {name}", "a well-formed name where it is constrained")
    if permitted is not None and not any(within(name.value, base.value) for base in permitted):
        raise _ForbiddenNameError(f"{name} outside every permitted subtree", "a name inside one")
    for base in excluded:
        if touches(name.value, base.value):
            raise _ForbiddenNameError(f"{name} in excluded {base}", "a name outside")


def _finding(certificate: Certificate, found: str, required: str) -> Finding:
    return Finding(
        code=Code.NAME_CONSTRAINTS,
        effect=Effect.REJECT,
        subject=certificate.label,
        found=found,
        required=required,
        clause=CLAUSE,
    )


def _labels(value: bytes) -> list[str] | None:
    """Return the labels of a host name in preferred syntax (RFC 1034 3.5), or None."""
    try:
        labels = value.decode("ascii").lower().split(".")
    except UnicodeDecodeError:
        return None
    good = len(value) <= 253 and all(0 < len(x) < 64 and set(x) <= _DNS_CHARACTERS for x in labels)
    return labels if good else None


def _is_dns_name(value: bytes) -> bool:
    return _labels(value.removeprefix(b"*.")) is not None


def _is_dns_base(value: bytes) -> bool:
    return not value or _labels(value) is not None


def _dns_within(value: bytes, base: bytes) -> bool:
    name, tree = value.lower(), base.lower()
    return not tree or name == tree or name.endswith(b"." + tree)


def _dns_touches(value: bytes, base: bytes) -> bool:
    if _dns_within(value, base):
        return True
    _, dot, parent = base.lower().partition(b".")
    return bool(dot) and value.lower() == b"*." + parent


# E-mail addresses (RFC 5280 4.2.1.10: exact address, host, or domain with a period).


def _mailbox(value: bytes) -> tuple[bytes, bytes] | None:
    local, at, host = value.partition(b"@")
    good = at and local and _labels(host) is not None and value.isascii()
    return (local, host.lower()) if good else None


def _is_mailbox(value: bytes) -> bool:
    return _mailbox(value) is not None


def _is_email_base(value: bytes) -> bool:
    return _is_mailbox(value) if b"@" in value else _is_host_base(value)


def _email_within(value: bytes, base: bytes) -> bool:
    box = _mailbox(value)
    if box is None:
        return False
    if b"@" in base:
        return box == _mailbox(base)
    return _host_within(box[1], base)


# URIs: the constraint speaks about the host alone.


def _is_host_base(value: bytes) -> bool:
    return not value or _labels(value.removeprefix(b".")) is not None


def _host_within(host: bytes, base: bytes) -> bool:
    tree = base.lower()
    if tree.startswith(b"."):
        return host.endswith(tree) and host != tree
    return not tree or host == tree


def _host(value: bytes) -> bytes | None:
    """Return the lower-case host name in a URI's authority, None if it has none."""
    _, separator, rest = value.partition(b"://")
    authority = rest
    for end in (b"/", b"?", b"#"):
        authority = authority.partition(end)[0]
    host = authority.rpartition(b"@")[2].partition(b":")[0].lower()
    labels = _labels(host)
    if not separator or labels is None or labels[-1].isdigit() or b"\\" in value:
        return None
    return host


def _is_uri(value: bytes) -> bool:
    return _host(value) is not None


def _uri_within(value: bytes, base: bytes) -> bool:
    host = _host(value)
    return host is not None and _host_within(host, base)


# IP addresses: four or sixteen octets, a constraint has the mask behind the address.


def _is_address(value: bytes) -> bool:
    return len(value) in (4, 16)


def _is_address_range(value: bytes) -> bool:
    if len(value) not in (8, 32):
        return False
    bits = f"{int.from_bytes(value[len(value) // 2 :], 'big'):0{len(value) * 4}b}"
    return "01" not in bits


def _address_within(value: bytes, base: bytes) -> bool:
    size = len(base) // 2
    if len(value) != size:
        return False
    address, network, mask = (int.from_bytes(x, "big") for x in (value, base[:size], base[size:]))
    return address & mask == network & mask


# Directory names: a subtree holds the names that begin with its own.


def _is_directory_name(value: bytes) -> bool:
    try:
        normalized_rdns(value)
    except BadInputError:
        return False
    return True


def _directory_within(value: bytes, base: bytes) -> bool:
    tree = normalized_rdns(base)
    return normalized_rdns(value)[: len(tree)] == tree


_WELL_FORMED_BASE: dict[str, Callable[[bytes], bool]] = {
    DNS: _is_dns_base,
    EMAIL: _is_email_base,
    URI: _is_host_base,
    IP: _is_address_range,
    DIRECTORY: _is_directory_name,
}

_Within = Callable[[bytes, bytes], bool]
_RULES: dict[str, tuple[Callable[[bytes], bool], _Within, _Within]] = {
    DNS: (_is_dns_name, _dns_within, _dns_touches),
    EMAIL: (_is_mailbox, _email_within, _email_within),
    URI: (_is_uri, _uri_within, _uri_within),
    IP: (_is_address, _address_within, _address_within),
    DIRECTORY: (_is_directory_name, _directory_within, _directory_within),
}
"""Per kind: is it well-formed, does a permitted subtree hold it, does an excluded one touch it."""
