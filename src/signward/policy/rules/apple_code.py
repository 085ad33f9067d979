"""What a record of Apple's code tells the rules: its cdhashes, its identifier, its team."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from signward.findings import Code
from signward.policy.record import Record
from signward.trust.apple import ROOTS

KINDS = frozenset({"macho", "macho-fat", "dmg", "bundle"})
"""Kinds of files whose signatures have code directories."""

CDHASH, IDENTIFIER, TEAM = "cdhash", "identifier", "team-id"
"""Facts: cdhashes as hexadecimal with commas between (a universal file has one for each slice;
``sha1:`` before one that is not of a SHA-256 directory), the identifier and the team."""


APPLE = "Apple Inc."
"""The organization in the certificates that Apple signs with itself."""

PACKAGE = "toc-checksum"
"""A fact that installer packages have, and nothing else."""


def cdhashes(record: Record) -> Iterator[str]:
    """Yield the cdhashes, as rules write digests, of a record whose content they stand for.

    That is so where all digests were found right: in what is intact, or sealed by nobody.
    """
    right = record.cause == Code.AD_HOC or (
        bool(record.signatures) and all(s.state != "broken" for s in record.signatures)
    )
    for one in str(record.facts.get(CDHASH, "")).split(",") if right else ():
        algorithm, _, value = one.rpartition(":")
        if value:
            yield f"cdhash:{algorithm or 'sha256'}:{value}"


def team_id(facts: Mapping[str, str | int], unit: str, organization: str, root: str) -> str:
    """Return the team of a trusted signer; empty where nobody but the signer says so.

    ``unit`` is the organizational unit of the signer's certificate, in which Apple puts the
    team, ``organization`` its organization, and ``root`` the SHA-256 (hexadecimal) of the anchor:
    Apple's own stores sign with certificates of Apple's, of no team, and what they sign they have
    checked.  A package claims none: there Apple's certificate alone tells.
    """
    by_apple = bytes.fromhex(root) in ROOTS
    by_store = by_apple and (not unit or organization == APPLE)
    claimed = str(facts.get(TEAM, unit if by_apple and PACKAGE in facts else ""))
    return claimed if claimed and (unit == claimed or by_store) else ""
