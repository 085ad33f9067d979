"""Code requirements: a rule's conditions in Apple's Code Signing Requirement Language.

Source: Code Signing Guide, "Code Signing Requirement Language".  A certificate is named there by
its SHA-1, so one that a rule gives by SHA-256 must stand in ``[keys]``.  A rule that lets in
excludes what is denied, ``and !(...)``; what an exception spares is let back in there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

from signward.compilers._lossy import UnsayableError
from signward.errors import PolicyError
from signward.policy.rules.model import (
    Conditions,
    KeyKind,
    Material,
    ProductMatch,
    PublisherMatch,
)

_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,254}\Z")
"""Identifiers that need no escapes between quotes."""
_WHY = {
    "identity": "programs on macOS are not signed with keyless identities",
    "path": "Gatekeeper's rules are not by path",
    "origin": "Gatekeeper does not know what brought a file",
    "catalog": "there are no catalogs on macOS",
    "hosts": "a profile is for every machine it is sent to",
}


def requirement(asked: Conditions, keys: Mapping[str, Material]) -> str:
    """Return what code must be to meet the conditions (all but ``kind``).

    Raises `UnsayableError`, and ``PolicyError`` for a CDHash of another length than 20 octets.
    """
    for field, why in _WHY.items():
        if getattr(asked, field):
            raise UnsayableError(field, why)
    parts = [*_digests(asked), *_publishers(asked, keys)]
    if asked.product:
        parts.append(_program(asked.product))
    if not parts:
        raise UnsayableError("kind", "a requirement speaks of a signature, not of a kind of file")
    return " and ".join(parts)


def excluding(wanted: str, denied: Iterable[str]) -> str:
    """Return the requirement with what is denied taken away."""
    return " and ".join((_group(wanted), *(f"!({text})" for text in denied)))


def any_of(parts: Iterable[str]) -> str:
    """Return the requirement that one of these be met."""
    several = list(parts)
    return several[0] if len(several) == 1 else f"({' or '.join(map(_group, several))})"


def _group(text: str) -> str:
    return f"({text})" if " or " in text or " and " in text else text


def _digests(asked: Conditions) -> Iterable[str]:
    if asked.digest:
        yield any_of(_cdhash(asked.id, text) for text in asked.digest)


def _cdhash(rule: str, text: str) -> str:
    kind, _, value = text.rpartition(":")
    if kind != "cdhash:sha256":
        raise UnsayableError("digest", f"a requirement compares CDHashes, not {kind}")
    if len(value) != 40:
        raise PolicyError(f"rule {rule}", f"{len(value) // 2} octets in {kind}", "20")
    return f'cdhash H"{value}"'


def _publishers(asked: Conditions, keys: Mapping[str, Material]) -> Iterable[str]:
    if asked.publisher:
        yield _publisher(asked.publisher, keys)
    if asked.signers:
        if asked.signers.least != 1:
            raise UnsayableError("signers", "code has one signer on macOS")
        yield any_of(_publisher(one, keys) for one in asked.signers.of)


def _publisher(match: PublisherMatch, keys: Mapping[str, Material]) -> str:
    asked = {field for field in match.__struct_fields__ if getattr(match, field)}
    if asked == {"team_id"}:
        return f'anchor apple generic and certificate leaf[subject.OU] = "{match.team_id}"'
    if asked == {"certificate"}:
        pinned = _sha1(match.certificate.removeprefix("sha256:"), keys)
        return f'(anchor apple generic or anchor trusted) and certificate leaf = H"{pinned}"'
    name = next((field for field in ("key", "eku") if field in asked), "publisher")
    raise UnsayableError(name, "a requirement names a team or the signer's own certificate")


def _sha1(sha256: str, keys: Mapping[str, Material]) -> str:
    for key in keys.values():
        if key.kind is KeyKind.CERTIFICATE and hashlib.sha256(key.der).hexdigest() == sha256:
            return hashlib.sha1(key.der, usedforsecurity=False).hexdigest()
    raise UnsayableError("publisher", "a requirement needs the certificate itself, in [keys]")


def _program(product: ProductMatch) -> str:
    asked = {field for field in product.__struct_fields__ if getattr(product, field)}
    if asked & {"minimum_version", "maximum_version"}:
        raise UnsayableError("version-floor", "what a bundle says of its version is not signed "
                             "where a requirement is asked")  # fmt: skip
    if asked != {"bundle_id"} or not _IDENTIFIER.match(product.bundle_id):
        raise UnsayableError("product", "a requirement names code by its plain identifier")
    return f'identifier "{product.bundle_id}"'
