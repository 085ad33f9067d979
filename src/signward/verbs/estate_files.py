"""What is read into the estate: certificates in files and key stores, records of scans.

A file is known by its content: PEM, DER, PKCS#7 and PKCS#12 of certificates; JSON and JSON
lines of verdicts; a scan's cache.  Java's own key store (JKS) is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import msgspec

from signward.errors import BadInputError, EvidenceError
from signward.frozen import decoder
from signward.inventory.cache import remembered
from signward.keys import Secrets, open_key
from signward.policy.record import Record, from_json
from signward.trust import pem
from signward.verbs.options import read_option
from signward.wire import der

MAX_CERTIFICATES = 10_000
"""Certificates of one file; Windows' whole root list has 550."""

_JKS = (bytes.fromhex("feedfeed"), bytes.fromhex("cececece"))
"""How Java's key stores JKS and JCEKS begin."""

_SQLITE = b"SQLite format 3\0"


class Content(NamedTuple):
    """What a file holds: certificates (DER), or records of verdicts.

    ``key_location`` says where the key of the first certificate is, if the file holds it.
    """

    certificates: tuple[bytes, ...] = ()
    records: tuple[Record, ...] = ()
    key_location: str = ""


def read_file(path: str, secrets: Secrets) -> Content:
    """Return what a file holds.  Raises ``EvidenceError`` and ``KeyProviderError``."""
    head = _head(path)
    if head.startswith(_SQLITE):
        return Content(records=tuple(_records(path, remembered(Path(path)))))
    if head.startswith(_JKS):
        raise EvidenceError(
            f"{path}: found a Java key store, required PKCS#12\nhint: keytool -importkeystore "
            f"-srckeystore {path} -destkeystore {path}.p12 -deststoretype pkcs12"
        )
    data = read_option(path)
    if data.lstrip()[:1] == b"{":
        return Content(records=tuple(_records(path, _lines(data))))
    if _is_pkcs12(data):
        location = f"pkcs12:{path}"
        return Content(certificates=key_certificates(location, secrets), key_location=location)
    found = tuple(_certificates(path, data))
    if len(found) > MAX_CERTIFICATES:
        raise EvidenceError(f"{path}: {len(found)} certificates, at most {MAX_CERTIFICATES}")
    return Content(certificates=found)


def _head(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(len(_SQLITE))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "no such name"
        raise EvidenceError(f"{path}: {why}") from None


def key_certificates(uri: str, secrets: Secrets) -> tuple[bytes, ...]:
    """Return the certificates that a key's holder keeps beside it, leaf first.

    Raises ``KeyProviderError``.
    """
    with closing(open_key(uri, secrets)) as key:
        return key.certificates


def without_secrets(uri: str) -> str:
    """Return a key's URI without its query, where PINs may stand (RFC 7512 2.4)."""
    return uri.partition("?")[0]


def _is_pkcs12(data: bytes) -> bool:
    """Say whether it is a PFX (RFC 7292 4): a SEQUENCE that begins with version 3."""
    try:
        first = der.parse(data, "file").fields("file", 2)[0]
        return first.tag == der.INTEGER and first.integer() == 3
    except BadInputError:
        return False


def _certificates(path: str, data: bytes) -> Iterator[bytes]:
    labels = [label for label in (pem.CERTIFICATES, pem.BUNDLES)
              if re.search(f"-----BEGIN {label}-----".encode(), data)]  # fmt: skip
    for label in labels or [pem.CERTIFICATES]:
        for block in pem.blocks(path, data, label):
            bundled = pem.bundled(block)
            yield from [block] if bundled is None else bundled


class _Document(msgspec.Struct):
    """A report in JSON (``report.jsonl``)."""

    records: list[msgspec.Raw]


def _lines(data: bytes) -> Sequence[bytes]:
    """Return the records of a report in JSON, else what stands on each line."""
    try:
        return [bytes(one) for one in decoder(_Document).decode(data).records]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return [line for line in data.splitlines() if line.strip()]


def _records(path: str, lines: Sequence[bytes] | Iterator[bytes]) -> Iterator[Record]:
    for line in lines:
        try:
            yield from_json(line)
        except BadInputError as error:
            raise EvidenceError(f"{path}: {error}") from None
