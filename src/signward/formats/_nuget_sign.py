"""Writing NuGet's signatures: the content, what each role must carry, and who may sign.

Sources as in ``_nuget``, the reading side.
"""

from __future__ import annotations

import base64

from signward.envelopes import Signer
from signward.envelopes.cms import COUNTERSIGNATURE
from signward.envelopes.cms_draft import attribute, signing_certificate, signing_time
from signward.errors import NotSignableError
from signward.formats import Request
from signward.formats._nuget import (
    ALLOWED,
    AUTHOR,
    CLAUSE,
    COMMITMENT_TYPE,
    DIGEST_NAMES,
    LIFETIME_SIGNING,
    MAX_OWNERS,
    MAX_TEXT,
    MIN_RSA_BITS,
    OWNERS,
    REPOSITORY,
    ROLES,
    SERVICE_INDEX,
    Role,
    Signatures,
    certified_by,
    is_allowed,
    is_service_index,
    usages,
)
from signward.wire import der
from signward.wire.algorithms import DIGEST_OIDS, RSA
from signward.wire.certificate import outline

_OIDS_OF = {role: oid for oid, role in ROLES.items()}


def write_content(algorithm: str, digest: bytes) -> bytes:
    """Return the content a signature is made over: the package digest by ``algorithm``.

    Lines end as NuGet's own writer ends them, with a line feed alone.
    """
    encoded = base64.b64encode(digest).decode()
    return f"Version:1\n\n{DIGEST_OIDS[algorithm]}-Hash:{encoded}\n\n".encode()


def asked_role(request: Request) -> Role:
    """Return the role a request asks for.  Raises ``NotSignableError`` for what has no sense."""
    options = request.options
    name = options.get("type", AUTHOR)
    url, owners = options.get("service-index", ""), options.get("owners", "")
    if name not in (AUTHOR, REPOSITORY):
        raise NotSignableError("type", repr(name), f"{AUTHOR} or {REPOSITORY}")
    if name == AUTHOR and (url or owners):
        raise NotSignableError("type", AUTHOR, f"{REPOSITORY}, with a service index or owners")
    if name == REPOSITORY and not is_service_index(url):
        raise NotSignableError("service-index", repr(url), "the repository's https URL")
    names = tuple(one.strip() for one in owners.split(";")) if owners else ()
    if not all(names) or len(names) > MAX_OWNERS or any(len(n) > MAX_TEXT for n in names):
        raise NotSignableError("owners", repr(owners[:80]), "names, a semicolon between them")
    return Role(name=name, service_index=url, owners=names)


def check_signer(signer: Signer) -> None:
    """Raise ``NotSignableError`` for a signer whose signatures NuGet would not accept."""
    if not is_allowed(signer.algorithm) or signer.digest not in DIGEST_NAMES:
        raise NotSignableError(
            "algorithm", f"{signer.algorithm} with {signer.digest}", ALLOWED,
            hint="NuGet accepts no other",
        )  # fmt: skip
    leaf = signer.certificates[0]
    if not is_allowed(certified_by(leaf)):
        raise NotSignableError("certificate", f"one signed by {certified_by(leaf)}", ALLOWED)
    if LIFETIME_SIGNING in usages(leaf):
        raise NotSignableError("certificate", "one for lifetime signing", "another", CLAUSE)
    bits = _rsa_bits(outline(leaf).spki)
    if bits < MIN_RSA_BITS:
        raise NotSignableError("key", f"rsa, {bits} bits", f"at least {MIN_RSA_BITS}")


def _rsa_bits(spki: bytes) -> int:
    """Return the length of the modulus in a SubjectPublicKeyInfo, 0 for another key."""
    what = "public key"
    algorithm, key = der.parse(spki, what).fields(what, 2)[:2]
    if algorithm.fields(what, 1)[0].oid(what) != RSA:
        return 0
    return der.parse(key.bits(what), what).fields(what, 2)[0].integer(what).bit_length()


def role_attributes(role: Role, request: Request) -> tuple[bytes, ...]:
    """Return the signed attributes of a role, contentType and messageDigest apart."""
    signer = request.signer
    commitment = attribute(COMMITMENT_TYPE, der.sequence(der.oid(_OIDS_OF[role.name])))
    attributes = [
        signing_time(request.at),
        commitment,
        signing_certificate(signer.certificates[:1], signer.digest),
    ]
    if role.service_index:
        url = der.encode(der.IA5_STRING, role.service_index.encode())
        attributes.append(attribute(SERVICE_INDEX, url))
    if role.owners:
        names = der.sequence(*(der.utf8(name) for name in role.owners))
        attributes.append(attribute(OWNERS, names))
    return tuple(attributes)


def check_countersignable(signatures: Signatures) -> None:
    """Raise ``NotSignableError`` where a repository may not countersign."""
    if signatures.facts["signature-type"] != AUTHOR:
        found = f"a signature of type {signatures.facts['signature-type']}"
        raise NotSignableError(
            "package", found, "an author's",
            hint="--replace puts the new signature in its place",
        )  # fmt: skip
    if any(a.oid == COUNTERSIGNATURE for a in signatures.primary.unsigned_attributes):
        raise NotSignableError("package", "a countersignature", "none: a package has at most one")
