"""Making UEFI signature lists: what is to be let in (db) or refused (dbx), before it is signed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from datetime import datetime

from signward.errors import BadInputError, EvidenceError, UnreadableError
from signward.formats import ParseOptions
from signward.formats.pe import FORMAT, IMAGE
from signward.trust.pem import CERTIFICATES, blocks
from signward.trust.x509 import Certificate, load_certificate
from signward.verbs.options import read_option
from signward.wire import siglist
from signward.wire.source import open_source

NOBODY = "00000000-0000-0000-0000-000000000000"
"""The owner of entries that nobody claims; he is noted with each, and decides nothing."""

_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}\Z")


def signature_list(
    *,
    certificates: Sequence[str] = (),
    tbs: Sequence[str] = (),
    images: Sequence[str] = (),
    digests: Sequence[str] = (),
    since: datetime | None = None,
    owner: str = NOBODY,
) -> tuple[bytes, int]:
    """Return a signature list (UEFI 2.10 32.4.1) and how many entries it has.

    ``certificates`` are files whose certificates stand in it whole, ``tbs`` files of which only
    the TBSCertificates' SHA-256 does, from ``since`` on (None: ever); ``images`` boot programs,
    ``digests`` SHA-256 in hexadecimal.  Raises ``EvidenceError``.
    """
    if not _GUID.match(owner.lower()):
        raise EvidenceError(f"owner {owner!r}: required a GUID")
    pairs = [
        *((siglist.X509, one.der) for one in _certificates(certificates)),
        *((siglist.X509_SHA256, siglist.revoked_tbs(_tbs(c), since)) for c in _certificates(tbs)),
        *((siglist.SHA256, _image(path)) for path in images),
        *((siglist.SHA256, _digest(text)) for text in digests),
    ]
    if not pairs:
        raise EvidenceError("found nothing to be listed, required a certificate, image or digest")
    if since and not tbs:
        raise EvidenceError("a time since when: found no TBSCertificate that it would go with")
    entries = [
        siglist.Entry(kind=kind, owner=owner.lower(), data=data)
        for kind, data in dict.fromkeys(pairs)
    ]
    return siglist.write_lists(entries), len(entries)


def _certificates(paths: Sequence[str]) -> Iterator[Certificate]:
    for path in paths:
        for der in blocks(path, read_option(path), CERTIFICATES):
            try:
                yield load_certificate(der)
            except BadInputError as error:
                raise EvidenceError(f"{path}: {error}") from None


def _tbs(certificate: Certificate) -> bytes:
    return hashlib.sha256(certificate.tbs).digest()


def _image(path: str) -> bytes:
    """Return the Authenticode digest of a boot program, as firmware computes it."""
    try:
        with open_source(path) as source:
            artifact = FORMAT.parse(source, ParseOptions())
            computed = FORMAT.digests(artifact, frozenset({(IMAGE, "sha256")}))
            source.check_unchanged()
            return computed[IMAGE, "sha256"]
    except (BadInputError, UnreadableError) as error:
        raise EvidenceError(f"{path}: {error}") from None


def _digest(text: str) -> bytes:
    if not _SHA256.match(text):
        raise EvidenceError(f"digest {text[:80]!r}: required SHA-256 in hexadecimal")
    return bytes.fromhex(text)
