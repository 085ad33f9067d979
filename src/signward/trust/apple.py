"""What Apple's certificates are for: the marks that it puts into them, held against the profile.

Source: "Apple Worldwide Developer Relations Certification Practice Statement" and "Developer ID
Certification Practice Statement", which name the extensions; the requirements that codesign
writes by default ask for the same.  All of Apple's certificates for code end at the same three
roots as those for mail, payment and devices: a path to a root says little without them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen
from signward.trust.names import attribute_values
from signward.trust.x509 import Certificate

ORGANIZATIONAL_UNIT = "2.5.4.11"

ROOTS = frozenset(
    map(
        bytes.fromhex,
        (
            "b0b1730ecbc7ff4505142c49f1295e6eda6bcaed7e2c68c5be91b5a11001f024",
            "c2b9b042dd57830e7d117dac55ac8ae19407d38e41d88f3215bc3a890444a050",
            "63343abfb89a6a03ebb57e9b3f5fa7be7c4f5c756f3017b3a8c488c3653e9179",
        ),
    )
)
"""SHA-256 of Apple Root CA, Apple Root CA - G2 and - G3, as Apple PKI publishes them."""

_ARC = "1.2.840.113635.100.6."
_WWDR, _DEVELOPER_ID = f"{_ARC}2.1", f"{_ARC}2.6"


class Mark(Frozen, frozen=True, kw_only=True):
    """One purpose: the extension of the leaf and that of its issuer, and what it is worth.

    ``limited`` says where code so signed runs, if not everywhere.  ``store`` marks the leaves that
    Apple signs with itself, for the teams whose code its stores sell.
    """

    text: str
    leaf: str
    issuer: str
    limited: str = ""
    store: bool = False


CODE_MARKS = (
    Mark(text="Developer ID", leaf=f"{_ARC}1.13", issuer=_DEVELOPER_ID),
    Mark(text="Mac App Store", leaf=f"{_ARC}1.9", issuer=_WWDR, store=True),
    Mark(text="App Store", leaf=f"{_ARC}1.3", issuer=_WWDR, store=True),
    Mark(text="Mac development", leaf=f"{_ARC}1.12", issuer=_WWDR, limited="its maker's Macs"),
    Mark(text="Apple development", leaf=f"{_ARC}1.2", issuer=_WWDR, limited="its maker's devices"),
    Mark(text="submission to the Mac App Store", leaf=f"{_ARC}1.7", issuer=_WWDR,
         limited="nowhere before Apple signs it anew"),
    Mark(text="submission to the App Store", leaf=f"{_ARC}1.4", issuer=_WWDR,
         limited="devices that its profile names"),
)  # fmt: skip
"""What programs and bundles are signed for."""

INSTALLER_MARKS = (
    Mark(text="Developer ID Installer", leaf=f"{_ARC}1.14", issuer=_DEVELOPER_ID),
    Mark(text="submission to the Mac App Store", leaf=f"{_ARC}1.8", issuer=_WWDR,
         limited="nowhere before Apple signs it anew"),
)  # fmt: skip
"""What installer packages are signed for."""

KNOWN_CRITICAL = frozenset(
    {mark.leaf for mark in (*CODE_MARKS, *INSTALLER_MARKS)} | {f"{_ARC}1.18", f"{_ARC}1.33"}
)
"""Extensions that mark purposes; 18 allows kernel extensions too, 33 tells when Developer ID came
to be issued.  They are critical in leaves."""

OWN_AUTHORITIES = frozenset(
    {"Apple Code Signing Certification Authority", "Apple Software Update Certification Authority"}
)
"""Who issues the certificates of Apple's own software; they carry no marks."""

_CLAUSE = "Apple Developer ID CPS, certificate extensions"


def is_apple(anchor: Certificate) -> bool:
    """Say whether an anchor is one of Apple's roots."""
    return anchor.sha256 in ROOTS


def check_signer(
    path: Sequence[Certificate], anchor: Certificate, marks: Sequence[Mark], team: str
) -> Iterator[Finding]:
    """Say what a path (leaf first) to one of Apple's roots is for, or that it is not for this.

    ``team`` is the one that the code claims, if any; Apple puts it into a developer's
    certificate as organizational unit; the leaves of its stores have another unit (``iPhone``),
    and the team is what the store checked (``SecStaticCode::isAppleDeveloperCert``).  Other
    anchors' certificates carry no marks and are asked for nothing.
    """
    if not is_apple(anchor) or len(path) < 2 or not marks:
        return
    yield from _check_purpose(path[0], path[1], marks)
    if any(mark.store and mark.leaf in path[0].extensions for mark in marks):
        return
    units = attribute_values(path[0].subject, ORGANIZATIONAL_UNIT)
    if team and units and team not in units:
        yield _finding(
            path[0], Effect.REJECT, f"a certificate of team {units[-1]}",
            f"one of team {team}, which the code claims", code=Code.REQUIREMENT_FAILED,
        )  # fmt: skip


def _check_purpose(
    leaf: Certificate, issuer: Certificate, marks: Sequence[Mark]
) -> Iterator[Finding]:
    if issuer.common_name in OWN_AUTHORITIES and issuer.organization == "Apple Inc.":
        yield _finding(leaf, Effect.NOTE, "Apple's own software", "a purpose for code")
        return
    for mark in marks:
        if mark.leaf in leaf.extensions and mark.issuer in issuer.extensions:
            effect = Effect.WARN if mark.limited else Effect.NOTE
            required = "one for code that goes to everybody" if mark.limited else "a purpose"
            hint = f"runs on: {mark.limited}" if mark.limited else ""
            yield _finding(leaf, effect, f"a certificate for {mark.text}", required, hint)
            return
    known = " or ".join(f"{mark.text} ({mark.leaf})" for mark in marks if not mark.limited)
    yield _finding(leaf, Effect.REJECT, "a certificate of Apple's for other things", known)


def _finding(
    leaf: Certificate,
    effect: Effect,
    found: str,
    required: str,
    hint: str = "",
    code: Code = Code.WRONG_USAGE,
) -> Finding:
    return Finding(
        code=code,
        effect=effect,
        subject=leaf.label,
        found=found,
        required=required,
        clause=_CLAUSE,
        hint=hint,
    )
