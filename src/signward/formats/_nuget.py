"""NuGet's signatures: the signed content, the two roles, and what each must carry.

Sources: NuGet's "Package Signatures Technical Details" and "Repository Signatures" (its
wiki; "NuGet" in the clauses), RFC 5126 5.11.1 (commitment-type-indication), RFC 5035.

An *author* signature says who made the package (proof of origin), a *repository* signature
who received it (proof of receipt); a repository may sign the package itself, or countersign
the author's signature.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence

from signward.envelopes.cms import (
    DATA,
    NESTED_SIGNATURE,
    SIGNING_CERTIFICATE,
    SIGNING_CERTIFICATE_V2,
    open_countersignatures,
    open_signatures,
    with_findings,
)
from signward.errors import BadInputError, MalformedError
from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen
from signward.state import Algorithm, ClaimedSignature, Slot
from signward.wire import der
from signward.wire.algorithms import DIGESTS, digest_name, signature_algorithm
from signward.wire.certificate import outline

PACKAGE = "package"
"""The slot of the whole package without its signature."""

AUTHOR, REPOSITORY = "author", "repository"

COMMITMENT_TYPE = "1.2.840.113549.1.9.16.2.16"
"""id-aa-ets-commitmentType (RFC 5126 5.11.1)."""

ROLES = {
    "1.2.840.113549.1.9.16.6.1": AUTHOR,
    "1.2.840.113549.1.9.16.6.2": REPOSITORY,
}
"""What NuGet takes proof of origin and proof of receipt for."""

SERVICE_INDEX = "1.3.6.1.4.1.311.84.2.1.1.1"
"""nuget-v3-service-index-url: an IA5String."""

OWNERS = "1.3.6.1.4.1.311.84.2.1.1.2"
"""nuget-package-owners: a SEQUENCE of UTF8String."""

LIFETIME_SIGNING = "1.3.6.1.4.1.311.10.3.13"
"""Extended key usage: signatures end with their certificate.  NuGet takes none (NU3015)."""

DIGEST_NAMES = ("sha256", "sha384", "sha512")
MIN_RSA_BITS = 2048
MAX_OWNERS = 256
"""Owners one attribute may name; packages have a handful."""
MAX_TEXT = 2048
"""Characters of a service index URL or an owner's name."""

_EXTENDED_KEY_USAGE = "2.5.29.37"
_HASH_LINE = re.compile(r"([0-9.]+)-Hash")
_NAME = re.compile(r"[A-Za-z0-9.\-/]+")
_WHAT = "signature content"
CLAUSE = "NuGet package signatures"
ALLOWED = "RSA PKCS#1 v1.5 with SHA-256, SHA-384 or SHA-512"


class Role(Frozen, frozen=True, kw_only=True):
    """What a signature claims to be: ``author``, ``repository`` or neither (empty)."""

    name: str
    service_index: str = ""
    owners: tuple[str, ...] = ()


class Signatures(Frozen, frozen=True, kw_only=True):
    """The primary signature, the countersignatures over it, and what each claims to be."""

    primary: ClaimedSignature
    counters: tuple[ClaimedSignature, ...]
    facts: Mapping[str, str | int]


# --- reading ---------------------------------------------------------------------


def open_package_signature(blob: bytes) -> Signatures:
    """Return the signatures in ``.signature.p7s``, each with findings by NuGet's rules.

    A countersignature that is no repository's is left alone, as NuGet leaves it.  Raises
    ``BadInputError``.
    """
    opened = open_signatures(blob, read_content)
    primaries = [s for s in opened if "." not in s.label]
    if len(primaries) != 1:
        raise MalformedError("signature", f"{len(primaries)} signers", "one", CLAUSE)
    primary = primaries[0]
    role = read_role(primary)
    counters = [
        (counter, counter_role)
        for counter in open_countersignatures(primary)
        if (counter_role := read_role(counter)).name == REPOSITORY
    ]
    own = [*_rules(primary, role), *_counter_rules(primary, role, len(counters))]
    return Signatures(
        primary=with_findings(primary, own),
        counters=tuple(with_findings(one, _rules(one, its)) for one, its in counters),
        facts=_facts(role, [its for _, its in counters]),
    )


def _facts(role: Role, counters: Sequence[Role]) -> dict[str, str | int]:
    facts: dict[str, str | int] = {"signature-type": role.name or "unknown"}
    if counters:
        facts["countersignature"] = REPOSITORY
    for claimed in (role, *counters):
        if claimed.service_index:
            facts.setdefault("service-index", claimed.service_index)
        if claimed.owners:
            facts.setdefault("owners", ";".join(claimed.owners))
    return facts


def read_content(content_type: str, content: bytes) -> tuple[Slot, ...]:
    """Return the package digests in a signature's content.

    UTF-8 lines, ended by LF, CR LF or CR: a section with ``Version:1``, an empty line, a
    section with ``<digest OID>-Hash:<base64>``, an empty line; what follows is for later
    versions.  Each digest named is a slot of its own.  Raises ``MalformedError``.
    """
    if content_type != DATA:
        raise MalformedError("signature", f"content type {content_type}", DATA, CLAUSE)
    lines = _lines(content)
    header = _section(lines)
    if header.get("Version") != "1":
        found = f"version {header.get('Version', 'none')!r}"
        raise MalformedError(_WHAT, found, "version 1", CLAUSE)
    slots = []
    for name, value in _section(lines).items():
        match = _HASH_LINE.fullmatch(name)
        algorithm = DIGESTS.get(match[1], "") if match else ""
        if algorithm in DIGEST_NAMES:
            slots.append(Slot(name=PACKAGE, algorithm=algorithm, digest=_decoded(value)))
    if not slots:
        raise MalformedError(_WHAT, "no package digest", "one by SHA-2", CLAUSE)
    return tuple(slots)


def _lines(content: bytes) -> Iterator[str]:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise MalformedError(_WHAT, "bytes that are no text", "UTF-8", CLAUSE) from None
    *lines, rest = re.split("\r\n|\n|\r", text)
    return iter([*lines, rest] if rest else lines)


def _section(lines: Iterator[str]) -> dict[str, str]:
    """Return the names and values up to the next empty line, which must be there."""
    found: dict[str, str] = {}
    for line in lines:
        if not line:
            return found
        name, colon, value = line.partition(":")
        if not (colon and value and _NAME.fullmatch(name)) or name in found:
            raise MalformedError(_WHAT, repr(line[:80]), "name:value, each name once", CLAUSE)
        found[name] = value
    raise MalformedError(_WHAT, "a section without end", "an empty line behind it", CLAUSE)


def _decoded(value: str) -> bytes:
    try:
        digest = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if base64.b64encode(digest).decode() != value:
        raise MalformedError(_WHAT, repr(value[:80]), "a digest in base64", CLAUSE)
    return digest


def read_role(claimed: ClaimedSignature) -> Role:
    """Return what a signature claims to be; nothing where it says nothing, or two things.

    Raises ``BadInputError`` for attributes that cannot be read.
    """
    what = f"signature {claimed.label}"
    named = {
        ROLES[oid]
        for value in _values(claimed, COMMITMENT_TYPE)
        if (oid := der.parse(value, what).fields(what, 1)[0].oid(what)) in ROLES
    }
    name = named.pop() if len(named) == 1 else ""
    if name != REPOSITORY:
        return Role(name=name)
    urls = [
        der.parse(value, what).expect(der.IA5_STRING, what)
        for value in _values(claimed, SERVICE_INDEX)
    ]
    owners = [
        owner.text(what)
        for value in _values(claimed, OWNERS)
        for owner in der.parse(value, what).fields(what)
    ]
    url = urls[0].text(what) if len(urls) == 1 else ""
    return Role(name=name, service_index=url, owners=tuple(owners))


def _values(claimed: ClaimedSignature, oid: str) -> list[bytes]:
    return [value for a in claimed.signed_attributes if a.oid == oid for value in a.values]


def _rules(claimed: ClaimedSignature, role: Role) -> Iterator[Finding]:
    """Yield every rule of NuGet's that a signature breaks."""
    what = f"signature {claimed.label}"
    if not role.name:
        required = "commitment type proof of origin (author) or proof of receipt (repository)"
        yield _broken(what, "no one commitment type", required, "RFC 5126 5.11.1")
    if claimed.claimed_time is None:
        yield _broken(what, "no signing-time", "one", "RFC 5652 11.3")
    yield from _certificate_rules(what, claimed)
    if role.name == REPOSITORY:
        yield from _repository_rules(what, claimed, role)
    yield from _algorithm_rules(what, claimed)


def _certificate_rules(what: str, claimed: ClaimedSignature) -> Iterator[Finding]:
    """Ask for signing-certificate-v2 alone, with issuer and serial of the signer's own."""
    if _values(claimed, SIGNING_CERTIFICATE):
        yield _broken(what, "a signing-certificate of version 1", "version 2 alone", CLAUSE)
    values = _values(claimed, SIGNING_CERTIFICATE_V2)
    if len(values) != 1:
        found = f"{len(values)} signing-certificate-v2"
        yield _broken(what, found, "exactly one", "RFC 5035 3")
        return
    first = der.parse(values[0], what).fields(what, 1)[0].fields(what, 1)[0].fields(what, 1)
    algorithm = digest_name(first[0], what) if first[0].tag == der.SEQUENCE else "sha256"
    if algorithm not in DIGEST_NAMES:
        yield _unallowed(what, f"signing-certificate-v2 by {algorithm}", "SHA-256, 384 or 512")
    rest = first[2:] if first[0].tag == der.SEQUENCE else first[1:]
    leaf = signer_certificate(claimed)
    if not rest:
        yield _broken(what, "no issuerSerial", "the signer's issuer and serial", "RFC 5126 5.7.3.2")
    elif leaf and rest[0].raw != _issuer_serial(leaf):
        yield _broken(what, "another issuerSerial", "the signer's own", "RFC 5126 5.7.3.2")


def _issuer_serial(certificate: bytes) -> bytes:
    seen = outline(certificate)
    issuer = der.sequence(der.context(4, seen.issuer))
    return der.sequence(issuer, der.integer(seen.serial))


def signer_certificate(claimed: ClaimedSignature) -> bytes:
    """Return the embedded certificate that a signature names as its signer's, or nothing."""
    signer = claimed.claimed_signer
    for certificate in claimed.claimed_certificates:
        try:
            seen = outline(certificate)
        except BadInputError:
            continue
        by_key = bool(signer.key_id) and seen.key_id == signer.key_id
        if by_key or (seen.issuer, seen.serial) == (signer.issuer, signer.serial):
            return certificate
    return b""


def _repository_rules(what: str, claimed: ClaimedSignature, role: Role) -> Iterator[Finding]:
    count = len(_values(claimed, SERVICE_INDEX))
    if count != 1:
        yield _broken(what, f"{count} service index URLs", "exactly one", CLAUSE)
    elif not is_service_index(role.service_index):
        yield _broken(what, f"service index {role.service_index[:80]!r}", "an https URL", CLAUSE)
    attributes = len(_values(claimed, OWNERS))
    if attributes > 1 or (attributes and not role.owners) or not all(map(str.strip, role.owners)):
        yield _broken(what, "package owners without a name", "a name each, in one list", CLAUSE)


def is_service_index(url: str) -> bool:
    """Say whether ``url`` is an absolute https URL in printable ASCII."""
    from urllib.parse import urlsplit  # loaded where a repository's signature is met

    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    plain = url.isascii() and url.isprintable() and " " not in url and len(url) <= MAX_TEXT
    return plain and parts.scheme == "https" and bool(parts.hostname)


def _algorithm_rules(what: str, claimed: ClaimedSignature) -> Iterator[Finding]:
    """Ask for NuGet's algorithms of the value and of the signer's certificate."""
    if not is_allowed(claimed.algorithm):
        yield _unallowed(what, f"signature algorithm {claimed.algorithm}", ALLOWED)
    leaf = signer_certificate(claimed)
    if leaf and not is_allowed(certified_by(leaf)):
        yield _unallowed(what, f"a signer certified by {certified_by(leaf)}", ALLOWED)
    if leaf and LIFETIME_SIGNING in usages(leaf):
        yield _broken(what, "a signer's certificate for lifetime signing", "another", CLAUSE)


def usages(certificate: bytes) -> list[str]:
    """Return a certificate's extended key usages (RFC 5280 4.2.1.12)."""
    what = "certificate"
    body = der.parse(certificate, what).fields(what, 3)[0].fields(what, 6)
    extensions = [one for field in body if field.tag == 0xA3 for one in field.children()]
    found: list[str] = []
    for extension in (one for each in extensions for one in each.fields(what)):
        kind, *_, value = extension.fields(what, 2)
        if kind.oid(what) == _EXTENDED_KEY_USAGE:
            usages = der.parse(value.octets(what), what).fields(what)
            found += [usage.oid(what) for usage in usages]
    return found


def is_allowed(algorithm: Algorithm) -> bool:
    """Say whether NuGet accepts signatures by this algorithm."""
    return algorithm.scheme == "rsa-pkcs1v15" and algorithm.digest in DIGEST_NAMES


def certified_by(certificate: bytes) -> Algorithm:
    """Return the algorithm a certificate itself is signed with (RFC 5280 4.1.1.2)."""
    fields = der.parse(certificate, "certificate").fields("certificate", 3)
    return signature_algorithm(fields[1], what="certificate")


def _counter_rules(primary: ClaimedSignature, role: Role, count: int) -> Iterator[Finding]:
    what = f"signature {primary.label}"
    if count and role.name == REPOSITORY:
        found = "a repository's signature with a repository's countersignature"
        yield _broken(what, found, "one word of a repository", CLAUSE)
    elif count > 1:
        yield _broken(what, f"{count} repository countersignatures", "at most one", CLAUSE)
    for one in primary.unsigned_attributes:
        if one.oid == NESTED_SIGNATURE:
            yield Finding(
                code=Code.UNAUTHENTICATED_DATA,
                effect=Effect.NOTE,
                subject=what,
                found=f"{sum(map(len, one.values))} bytes of a nested signature",
                required="none: packages have no nested signatures",
                clause=CLAUSE,
            )


def _broken(what: str, found: str, required: str, clause: str) -> Finding:
    return Finding(
        code=Code.ATTRIBUTE_RULE, effect=Effect.REJECT, subject=what,
        found=found, required=required, clause=clause,
    )  # fmt: skip


def _unallowed(what: str, found: str, required: str) -> Finding:
    return Finding(
        code=Code.UNSUPPORTED_ALGORITHM, effect=Effect.REJECT, subject=what,
        found=found, required=required, clause=CLAUSE, hint="NuGet accepts no other",
    )  # fmt: skip
