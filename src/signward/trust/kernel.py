"""Kernel drivers: what each Windows generation asks of the signature of a driver it loads.

Sources, all Microsoft Learn: "Driver signing policy" (Windows 10 version 1607, the date of 29
July 2015), "Driver signing offerings" (attestation: Windows 10 desktop and later), "Cross-
Certificates for Kernel Mode Code Signing" (the list), and the Windows IT Pro blog of March
2026 on removing trust for the cross-signed driver program.  What they leave open stands in
docs/limits.md.

Three kinds of signature exist.  Microsoft signs drivers that passed its tests (WHQL) and,
on the maker's word alone, attested ones; the leaf's EKU tells which.  And a maker could sign
himself, with a certificate whose root Microsoft had cross-signed: such a path ends in one of
the listed cross-certificates, which the signature embeds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen
from signward.trust.anchors import TrustAnchor, TrustStore, joined
from signward.trust.x509 import Certificate

WHQL = "1.3.6.1.4.1.311.10.3.5"
ATTESTED = "1.3.6.1.4.1.311.10.3.5.1"
WINDOWS = "1.3.6.1.4.1.311.10.3.6"
"""Windows System Component Verification: drivers that are part of Windows."""

CROSS_CUTOFF = datetime(2015, 7, 29, tzinfo=UTC)
"""Windows 10 version 1607 trusts cross-signed drivers whose leaf was issued before this."""

CROSS_STORE = "cross-certificates"

MICROSOFT_ROOTS = frozenset(
    map(
        bytes.fromhex,
        (
            "f38406e540d7a9d90cb4a9479299640ffb6df9e224ecc7a01c0d9558d8dad77d",
            "885de64c340e3ea70658f01e1145f957fcda27aabeea1ab9faa9fdb0102d4077",
            "df545bf919a2439c36983b54cdfc903dfa4f37d3996d8d84b4c31eec6f3c163e",
        ),
    )
)
"""SHA-256 of Microsoft's product roots of 1997, 2001 and 2010."""

CROSS_CERTIFICATES: dict[bytes, str] = {
    bytes.fromhex(thumbprint): name
    for thumbprint, name in (
        ("a75ac657aa7a4cdfe5f9de393e69efcab659d250", "AddTrust External CA Root"),
        ("06af96ac6c4ab476aae91506d37c2b1b488897e9", "Baltimore CyberTrust Root"),
        ("55435515fdd2486575fdc5cf3bad00c913123d03", "Certum Trusted Network CA"),
        ("ba3ea54d72c145d37c255e1ea40afbc63348b96e", "DigiCert Assured ID Root CA"),
        ("c9833919f1f36a6348111e93026fd40eb96fbc34", "DigiCert Global Root CA"),
        ("2f2513af3992db0a3f79709ff8143b3f7bd2d143", "DigiCert High Assurance EV Root CA"),
        ("00a3e6009eaa739b3deef4b506649d8a1a7ad33a", "Entrust.net Certification Authority (2048)"),
        ("d8fc248748585e173efbfb3075c4b4d60f9d8d08", "Entrust Root Certification Authority - G2"),
        ("e86e8082990e3dfaed816d9eb1720f91a4f1a185", "GeoTrust Primary Certification Authority"),
        (
            "b2bbbdfac8f1a8ad5895cd49384b22ca19db2d1f",
            "GeoTrust Primary Certification Authority - G3",
        ),
        ("cc1deebf6d55c2c9061ba16f10a0bfa6979a4a32", "GlobalSign Root CA"),
        ("842c5cb34b73bbc5ed8564bdeda786967d7b42ef", "Go Daddy Root Certificate Authority - G2"),
        ("d9612472ef0f2787e2b2d9e063a06b32fa5e333d", "Go Daddy Class 2 Certification Authority"),
        ("894f1d2897aa4c074dcd85c5fc09ee73b95104d8", "NetLock Arany (Class Gold)"),
        ("97dd74971620572941dc800c2fd80a48077d10b0", "NetLock Platina (Class Platinum)"),
        ("41f28ce56fd8b9cb467fb5032a3cae1cdc9d8648", "Security Communication RootCA1"),
        ("40c20a9a33fad036acbfe82d6cbbee1b429b86de", "Starfield Root Certificate Authority - G2"),
        ("f8fc7f3cdd5176add27cf97f73965909466d9a22", "Starfield Class 2 Certification Authority"),
        ("e6069e048dea8d817afc4188b1bef1d888d0af17", "StartCom Certification Authority"),
        ("4262ff7d897066aae77580d33ad28803f9a11a62", "TC TrustCenter Class 2 CA II"),
        ("5538e9fec14030b740152349e115a1165d29074a", "Thawte Primary Root CA"),
        ("ba57ca5e78dd2d1d7476aebee9953e396fd05546", "Thawte Primary Root CA - G3"),
        ("ae1e25260130a30b1bc2202935653be5a723bef5", "UTN-USERFirst-Object"),
        ("57534ccc33914c41f70e2cbb2103a1db18817d8b", "VeriSign Class 3 Public Primary - G5"),
        ("9ed8cd5601f0105651ebbb3f57f03182e5fa7e01", "VeriSign Universal Root"),
    )
}
"""The published cross-certificates, by SHA-1 of the certificate, as Microsoft lists them.

To pass for one of them takes a second preimage of SHA-1, which nobody can make; that
collisions can be made is of no use here.
"""

_CLAUSE = "Microsoft Learn, Driver signing policy"
_REMOVAL = "Windows IT Pro blog, March 2026: removing trust for the cross-signed driver program"


class Generation(Frozen, frozen=True, kw_only=True):
    """What one generation of Windows loads, in its strictest ordinary state.

    That is: installed afresh, Secure Boot on, no test signing, policies enforced.
    ``cross_before``: cross-signed drivers load where their leaf was issued before this
    (aware UTC); None: none do.
    """

    name: str
    text: str
    attested: bool
    cross_before: datetime | None


_ALWAYS = datetime(9999, 1, 1, tzinfo=UTC)

GENERATIONS = {
    generation.name: generation
    for generation in (
        Generation(name="7", text="Windows 7 and Server 2008 R2",
                   attested=False, cross_before=_ALWAYS),
        Generation(name="8.1", text="Windows 8.1 and Server 2012 R2",
                   attested=False, cross_before=_ALWAYS),
        Generation(name="10-1507", text="Windows 10 before version 1607",
                   attested=True, cross_before=_ALWAYS),
        Generation(name="10-1607", text="Windows 10 from version 1607, Windows 11 until 2026",
                   attested=True, cross_before=CROSS_CUTOFF),
        Generation(name="server-2016", text="Server 2016 to Server 2025 until 2026",
                   attested=False, cross_before=CROSS_CUTOFF),
        Generation(name="11-24h2-2026", text="Windows 11 from 24H2 with the updates of 2026",
                   attested=True, cross_before=None),
        Generation(name="server-2025-2026", text="Server 2025 with the updates of 2026",
                   attested=False, cross_before=None),
    )
}  # fmt: skip

LATEST = "11-24h2-2026"
"""The generation a run speaks for that names none."""


def generation(name: str) -> Generation:
    """Return the generation of that name; the latest client's for an empty one."""
    return GENERATIONS[name or LATEST]


def with_cross_certificates(store: TrustStore, pool: Sequence[Certificate]) -> TrustStore:
    """Return ``store`` and those certificates of ``pool`` that are listed cross-certificates.

    Their issuer, the Microsoft Code Verification Root, is no part of signatures and of no
    published list: the cross-certificates themselves are the anchors.
    """
    anchors = []
    for certificate in pool:
        thumbprint = hashlib.sha1(certificate.der, usedforsecurity=False).digest()
        name = CROSS_CERTIFICATES.get(thumbprint)
        if name:
            anchors.append(TrustAnchor(certificate=certificate, name=name, store=CROSS_STORE))
    if not anchors:
        return store
    return joined(f"{store.name}+{CROSS_STORE}", [store, TrustStore(CROSS_STORE, anchors)])


def check_driver(leaf: Certificate, anchor: TrustAnchor, asked: Generation) -> Iterator[Finding]:
    """Say by which rule the generation loads what ``leaf`` signed, or why it does not."""
    if anchor.store == CROSS_STORE:
        yield _cross_signed(leaf, anchor, asked)
        return
    ekus = leaf.ekus or frozenset()
    if WHQL in ekus or WINDOWS in ekus:
        what = "tested by Microsoft (WHQL)" if WHQL in ekus else "part of Windows"
        yield _finding(leaf, asked, Effect.NOTE, f"a driver {what}", "one that Microsoft signed")
    elif ATTESTED in ekus:
        yield _attested(leaf, asked)
    else:
        yield _finding(leaf, asked, Effect.REJECT, "no EKU for drivers",
                       f"{WHQL} (WHQL), {ATTESTED} (attested) or {WINDOWS} (Windows)",
                       "Microsoft signs ordinary programs without it")  # fmt: skip


def _attested(leaf: Certificate, asked: Generation) -> Finding:
    effect = Effect.NOTE if asked.attested else Effect.REJECT
    required = "a driver that Microsoft signed" if asked.attested else "one tested by it (WHQL)"
    return _finding(leaf, asked, effect, "a driver that its maker attested", required)


def _cross_signed(leaf: Certificate, anchor: TrustAnchor, asked: Generation) -> Finding:
    before = asked.cross_before
    found = f"a cross-signed driver ({anchor.name}), its certificate of {leaf.not_before:%Y-%m-%d}"
    if before is None:
        hint = (
            "an allow list that Microsoft keeps is not at hand, and a system still evaluating "
            "the new policy loads it yet"
        )
        return _finding(leaf, asked, Effect.REJECT, found, "one that Microsoft signed", hint,
                        _REMOVAL)  # fmt: skip
    if leaf.not_before < before:
        return _finding(leaf, asked, Effect.NOTE, found, "one that this generation trusts")
    return _finding(
        leaf, asked, Effect.REJECT, found, f"one issued before {before:%Y-%m-%d}",
        "systems without Secure Boot, or upgraded from an older Windows, load it",
    )  # fmt: skip


def _finding(
    leaf: Certificate,
    asked: Generation,
    effect: Effect,
    found: str,
    required: str,
    hint: str = "",
    clause: str = _CLAUSE,
) -> Finding:
    return Finding(
        code=Code.KERNEL_POLICY,
        effect=effect,
        subject=f"{leaf.label} for {asked.name} ({asked.text})",
        found=found,
        required=required,
        clause=clause,
        hint=hint,
    )
