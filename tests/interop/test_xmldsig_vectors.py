"""Published XML signatures (``EXPECTED.tsv``, format xmldsig): the reader of the envelope.

No file format is judged here: a row is *valid* where every reference and the value fit.
"""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import pytest

from signward.envelopes.xmldsig import XmlSignature, ds, leaf_of, read_signature, referenced
from signward.errors import BadInputError
from signward.integrity import UnsupportedKeyError, ValueMismatchError, check_value
from signward.wire import xmltree
from signward.wire.algorithms import COMPUTABLE
from signward.wire.certificate import outline

pytestmark = pytest.mark.interop

REFUSED = {
    "signature-enveloping-keyinforeference-rsa.xml": "a key that is looked for elsewhere",
    "signature-enveloping-p256_sha1.xml": "ECDSA with SHA-1",
    "signature-enveloping-p521_sha1.xml": "ECDSA with SHA-1",
    "signature-enveloping-p256_sha224.xml": "SHA-224",
    "signature-enveloping-rsa-sha224.xml": "SHA-224",
    "signature-enveloping-b64-dsa.xml": "DSA",
    "signature-dsa-detached.xml": "DSA, over something on the network",
    "signature-dsa-manifest.xml": "DSA",
    "signature-enveloping-hmac-sha1.xml": "no signature but a MAC",
}
"""Rows that are valid, and are refused because of what is not on the allow-list."""

ELSEWHERE = {
    "enveloping-expired-cert.xml": "its certificate has expired, which trust says, not the reader",
    "signature-rsa-detached-xpath-transform.xml": "the transform is in a Manifest, which is signed",
}
"""Rows that are not valid for a reason the reader of a signature does not look at."""


def _intact(signature: XmlSignature) -> bool:
    """Say whether every reference and the value fit, as integrity would."""
    for reference in signature.references:
        if reference.algorithm not in COMPUTABLE:
            return False
        octets = referenced(reference, signature)
        if hashlib.new(reference.algorithm, octets).digest() != reference.digest:
            return False
    leaf = leaf_of(signature)
    key = signature.key or (outline(leaf).spki if leaf else b"")
    try:
        check_value(key, signature.algorithm, signature.signed_info, signature.value)
    except (ValueMismatchError, UnsupportedKeyError):
        return False
    return True


def _answer(path: Path) -> bool:
    try:
        tree = xmltree.parse(path.read_bytes(), path.name)
        element = next(tree.getroot().iter(ds("Signature")))
        return _intact(read_signature(element, path.name))
    except BadInputError:
        return False


def test_published_signatures_are_answered_as_expected(vectors: Path) -> None:
    with (vectors / "EXPECTED.tsv").open(newline="") as handle:
        rows = [r for r in csv.DictReader(handle, delimiter="\t") if r["format"] == "xmldsig"]
    assert len(rows) >= 30
    wrong = []
    for row in rows:
        name = row["path"].rpartition("/")[2]
        expected = {"valid": name not in REFUSED, "ambiguous": None}.get(row["expected"], False)
        if name in ELSEWHERE:
            expected = True
        if expected is not None and _answer(vectors / row["path"]) is not expected:
            wrong.append((row["expected"], row["path"]))
    assert wrong == []


def test_a_changed_octet_is_seen(vectors: Path, tmp_path: Path) -> None:
    folder = vectors / "signxml/test/interop/TR2012"
    data = (folder / "signature-enveloping-p256_sha256.xml").read_bytes()
    changed = tmp_path / "changed.xml"
    changed.write_bytes(data)
    assert _answer(changed)
    for mark in (
        b"<Object",
        b"<SignatureValue>",
        b"<DigestValue>",
        b"<ds:Object",
        b"<ds:Signature",
    ):
        at = data.find(b">", data.find(mark)) + 2
        if mark in data:
            changed.write_bytes(data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :])
            assert not _answer(changed), mark
