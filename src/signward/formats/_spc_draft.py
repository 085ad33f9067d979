"""Authenticode's SpcIndirectDataContent and signed attributes, as a signer writes them.

Source: "Windows Authenticode Portable Executable Signature Format", 2008.  The reading side
is ``_spc``.  Every Windows format whose signature is a PKCS#7 of that kind drafts it here.
"""

from __future__ import annotations

from functools import lru_cache

from signward.envelopes.cms_draft import CmsDraft, attribute, digest_algorithm, draft
from signward.errors import NotSignableError
from signward.formats import Request
from signward.formats._spc import INDIRECT_DATA
from signward.wire import der

_OPUS_INFO = "1.3.6.1.4.1.311.2.1.12"
_STATEMENT_TYPE = "1.3.6.1.4.1.311.2.1.11"
_INDIVIDUAL = "1.3.6.1.4.1.311.2.1.21"
MAX_DESCRIPTION = 1024
"""UTF-16 units in a description; Windows' prompts show far fewer."""


def draft_indirect(request: Request, kind: str, value: bytes, digest: bytes) -> CmsDraft:
    """Return the draft of an Authenticode signature.

    ``kind`` is the OID of what was digested, ``value`` its DER, ``digest`` the octets, made
    with the request's digest.  Raises ``NotSignableError`` for a description or URL that
    cannot be written.
    """
    content = indirect_data(kind, value, request.signer.digest, digest)
    attributes = (_opus_info(request.description, request.url), _statement_type())
    return draft(INDIRECT_DATA, content, request.signer, attributes=attributes)


def indirect_data(kind: str, value: bytes, algorithm: str, digest: bytes) -> bytes:
    """Return SpcIndirectDataContent: what was digested, how, and the digest."""
    info = der.sequence(digest_algorithm(algorithm), der.octet_string(digest))
    return der.sequence(der.sequence(der.oid(kind), value), info)


def sip_info(package: bytes, version: int = 1) -> bytes:
    """Return SpcSipInfo: a version, a subject interface package (GUID, 16 octets), five zeros."""
    return der.sequence(
        der.integer(version), der.octet_string(package), *(der.integer(0) for _ in range(5))
    )


@lru_cache(maxsize=1)
def obsolete_link() -> bytes:
    """Return the SpcLink that says nothing: the file name ``<<<Obsolete>>>``."""
    text = der.context(0, "<<<Obsolete>>>".encode("utf-16-be"), constructed=False)
    return der.context(2, text)


@lru_cache(maxsize=1)
def _statement_type() -> bytes:
    return attribute(_STATEMENT_TYPE, der.sequence(der.oid(_INDIVIDUAL)))


@lru_cache(maxsize=16)
def _opus_info(description: str, url: str) -> bytes:
    """Return SpcSpOpusInfo: the description as a BMPString, the URL as an IA5String."""
    parts = b""
    if description:
        text = description.encode("utf-16-be", "surrogatepass")
        if len(text) > 2 * MAX_DESCRIPTION:
            raise NotSignableError(
                "--description", f"{len(text) // 2} UTF-16 units", f"at most {MAX_DESCRIPTION}"
            )
        parts += der.context(0, der.context(0, text, constructed=False))
    if url:
        if not (url.isascii() and url.isprintable()):
            raise NotSignableError("--url", repr(url), "printable ASCII")
        parts += der.context(1, der.context(0, url.encode(), constructed=False))
    return attribute(_OPUS_INFO, der.sequence(parts))
