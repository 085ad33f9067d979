"""Certificate trust lists: PKCS#7 SignedData about certificates, not about parts of a file.

Not a format to verify files in (Windows has its own tools for .stl): ``trust.authroot``
reads the one list that anchors come from.
"""

from __future__ import annotations

from signward.envelopes import cms
from signward.state import SignedArtifact
from signward.wire.source import BytesSource

CTL_CONTENT = "1.3.6.1.4.1.311.10.1"
"""szOID_CTL."""


def read_trust_list(data: bytes) -> SignedArtifact:
    """Return a trust list with its signatures; each claims the list in its content.

    Raises ``BadInputError``.
    """
    signatures = cms.open_signatures(data, cms.no_slots)
    return SignedArtifact(
        format="ctl", source=BytesSource("root list", data), signatures=signatures
    )
