"""A bundle's code: Mach-O whose signature also speaks of files beside it."""

from __future__ import annotations

from collections.abc import Mapping

from signward.errors import BadInputError
from signward.formats.macho import FORMAT as MACHO
from signward.formats.macho import MachoLayout, parse_code
from signward.frozen import Frozen
from signward.state import Manifest, OwnRequirement, SignedArtifact, Source, Wanted
from signward.wire import superblob as sb
from signward.wire.requirement import (
    DESIGNATED,
    Expression,
    Op,
    read_requirements,
    write_requirement,
)
from signward.wire.requirement_text import parse_requirement, requirement_text

_FILES = ("special:info-plist", "special:resources")
"""Slots that every signature of a bundle must have: its property list's and its list's."""


class BundleCode(Frozen, frozen=True, kw_only=True):
    """A Mach-O, parsed (``formats.macho``)."""

    artifact: SignedArtifact

    @property
    def required(self) -> Mapping[str, frozenset[str]]:
        """Slots of files that each signature must have, by its label."""
        layout: MachoLayout = self.artifact.layout
        return {
            claim.label: frozenset(one.signature.prefix + name for name in _FILES)
            for one in layout.code
            if one.signature is not None
            for claim in one.signature.claimed
        }

    @property
    def sealed(self) -> frozenset[str]:
        """Slots of files that ad hoc signatures must have."""
        layout: MachoLayout = self.artifact.layout
        return frozenset(
            one.signature.prefix + name
            for one in layout.code
            if one.signature is not None and not one.signature.claimed
            for name in _FILES
        )

    @property
    def hashes(self) -> frozenset[bytes]:
        """The hash of each slice's best code directory (20 octets)."""
        layout: MachoLayout = self.artifact.layout
        return frozenset(
            one.signature.best.cdhash for one in layout.code if one.signature is not None
        )


def open_code(source: Source, parts: Mapping[int, bytes]) -> BundleCode:
    """Parse a Mach-O; ``parts`` is the content of its special slots that lies outside.

    Raises ``BadInputError``.
    """
    return BundleCode(artifact=parse_code(source, parts))


def code_digests(code: BundleCode, wanted: Wanted) -> Manifest:
    """Compute the wanted digests of pages and special slots."""
    return MACHO.digests(code.artifact, wanted)


def described_code(code: BundleCode) -> Mapping[str, str | int]:
    """Return what the code says of itself: libraries, entitlements, requirements."""
    return MACHO.with_facts(code.artifact).facts


def known_hashes(requirement: Expression) -> frozenset[bytes]:
    """Return the hashes of a requirement that names code by nothing else; none for another."""
    if requirement.op == Op.CDHASH:
        return frozenset((requirement.data,))
    if requirement.op != Op.OR:
        return frozenset()
    parts = [known_hashes(part) for part in requirement.parts]
    return frozenset().union(*parts) if all(parts) else frozenset()


def designated_text(code: BundleCode) -> str:
    """Return the requirement that code designates; ad hoc code is known by its hashes alone."""
    layout: MachoLayout = code.artifact.layout
    for one in layout.code:
        if one.signature is not None and one.signature.claimed and one.signature.requirements:
            try:
                found = read_requirements(one.signature.requirements).get(DESIGNATED)
            except BadInputError:
                continue
            if found is not None:
                return requirement_text(found)
    return " or ".join(f'cdhash H"{digest.hex()}"' for digest in sorted(code.hashes))


def read_demand(text: str) -> Expression:
    """Read the requirement that a list has for nested code.  Raises ``BadInputError``."""
    return parse_requirement(text)


def demand_of(requirement: Expression, inner: BundleCode) -> OwnRequirement:
    """Return a requirement together with what is known of the code that must meet it."""
    for claim in inner.artifact.signatures:
        if claim.own_requirement is not None:
            known = claim.own_requirement
            return OwnRequirement(
                requirement=write_requirement(requirement),
                identifier=known.identifier,
                cdhashes=known.cdhashes,
                info=known.info,
                entitlements=known.entitlements,
                platform=known.platform,
            )
    return OwnRequirement(
        requirement=write_requirement(requirement),
        identifier=str(inner.artifact.facts.get("identifier", "")),
        cdhashes=tuple(inner.hashes),
    )


INFO, RESOURCES = sb.INFO_SLOT, sb.RESOURCES_SLOT
"""Special slots whose content a bundle has outside its code."""
