"""Detached signatures: any file, and its CMS signature in a file beside it."""

from __future__ import annotations

from signward.errors import UnreadableError
from signward.formats._detached import DetachedFormat
from signward.state import Verdict
from signward.verbs.context import Context
from signward.verbs.options import read_option
from signward.verbs.verify import assess_as, unreadable
from signward.wire.source import open_source

SUFFIX = ".p7s"
"""The extension of a detached signature's file (RFC 8551 3.2.1)."""


def assess_detached(path: str, signature: str, context: Context) -> Verdict:
    """Return the verdict on a file by a detached signature (DER or PEM) in another file.

    Never raises for what either holds.  Raises ``EvidenceError`` where the signature's file
    cannot be read.
    """
    blob = _decoded(signature)
    try:
        with open_source(path) as source:
            verdict = assess_as(DetachedFormat(blob), source, context)
            source.check_unchanged()
            return verdict
    except UnreadableError as error:
        return unreadable(path, error, context)


def _decoded(path: str) -> bytes:
    """Return the DER in a file that may be PEM (RFC 7468 9: label CMS or PKCS7)."""
    from signward.trust.pem import blocks

    data = read_option(path)
    return blocks(path, data, "(?:CMS|PKCS7)")[0] if b"-----BEGIN " in data[:1024] else data
