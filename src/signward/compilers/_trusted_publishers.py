r"""Windows' stores of trusted and disallowed publishers, filled by a group policy.

A certificate of a policy stands below ``SystemCertificates\STORE\Certificates\THUMBPRINT`` in a
value ``Blob``: properties of three little-endian u32 (identifier, 1, octets) and their octets
(CertSerializeCertificateStoreElement, wincrypt.h).  Property 3 is the SHA-1 of the
certificate, 32 the certificate itself.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Collection, Mapping, Sequence

from signward.compilers import File, Towards, _by_certificate
from signward.compilers._by_certificate import (
    certificate_files,
    certificates_of,
    is_plain,
    thumbprint,
)
from signward.compilers._lossy import Ledger
from signward.frozen import Frozen
from signward.policy.rules.model import Action, Material, Rule, RuleSet
from signward.wire.registry_pol import Setting, binary

_STORES = r"Software\Policies\Microsoft\SystemCertificates"
_SHA1_PROPERTY, _CERTIFICATE_PROPERTY = 3, 32

LOSSES: Mapping[str, str] = {
    **_by_certificate.LOSSES,
    "wider-kind": "that a publisher is trusted with some kinds only: the machine has one store",
}
"""What a target by these stores loses."""


class Publishers(Frozen, frozen=True, kw_only=True):
    """Certificates for the two stores, and the rules they came from."""

    trusted: tuple[Material, ...]
    disallowed: tuple[Material, ...]
    kept: tuple[Rule, ...]


def publishers_of(
    ledger: Ledger, rules: RuleSet, governs: frozenset[str], kinds: frozenset[str]
) -> Publishers:
    """Return what the stores are to hold; the rest of the rules in scope is lost."""
    stores: dict[Action, list[Material]] = {Action.ALLOW: [], Action.DENY: []}
    kept: list[Rule] = []
    for rule in ledger.in_turn(rules, governs, kinds):
        if not is_plain(ledger, rules, rule, ("publisher",)):
            continue
        if _reaches_further(ledger, rule):
            continue
        materials = certificates_of(ledger, rules, rule)
        if materials and rule.kind:
            text = "whatever asks the machine's store of trusted publishers trusts it too"
            ledger.lose("wider-kind", rule.id, text, Towards.LOOSER)
        stores[rule.action].extend(materials)
        kept.extend([rule] if materials else [])
    denied = {thumbprint(material) for material in stores[Action.DENY]}
    trusted = [m for m in stores[Action.ALLOW] if thumbprint(m) not in denied]
    return Publishers(trusted=_unique(trusted), disallowed=_unique(stores[Action.DENY]),
                      kept=tuple(kept))  # fmt: skip


def _reaches_further(ledger: Ledger, rule: Rule) -> bool:
    """Lose a denial of some kinds: the store of the disallowed counts for every program."""
    if rule.action is Action.DENY and rule.kind:
        ledger.lose_rule("kind", rule, "a disallowed certificate is disallowed for every kind")
        return True
    return False


def _unique(materials: Collection[Material]) -> tuple[Material, ...]:
    found = {thumbprint(material): material for material in materials}
    return tuple(found[name] for name in sorted(found))


def store_settings(publishers: Publishers) -> list[Setting]:
    """Return the settings that fill both stores."""
    return [*_store("TrustedPublisher", publishers.trusted),
            *_store("Disallowed", publishers.disallowed)]  # fmt: skip


def store_files(publishers: Publishers) -> list[File]:
    """Return the certificates of both stores as files, for where no group policy is."""
    return [
        *certificate_files(publishers.trusted, "trusted-publishers",
                           "without a group policy: certutil -addstore TrustedPublisher FILE"),
        *certificate_files(publishers.disallowed, "disallowed",
                           "without a group policy: certutil -addstore Disallowed FILE"),
    ]  # fmt: skip


def _store(name: str, certificates: Sequence[Material]) -> list[Setting]:
    return [
        binary(rf"{_STORES}\{name}\Certificates\{thumbprint(m)}", "Blob", _blob(m.der))
        for m in certificates
    ]


def _blob(certificate: bytes) -> bytes:
    sha1 = hashlib.sha1(certificate, usedforsecurity=False).digest()
    return _property(_SHA1_PROPERTY, sha1) + _property(_CERTIFICATE_PROPERTY, certificate)


def _property(identifier: int, value: bytes) -> bytes:
    return struct.pack("<III", identifier, 1, len(value)) + value
