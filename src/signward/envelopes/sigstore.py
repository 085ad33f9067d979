"""Sigstore: bundles of a signature with all that is known of it, and PyPI's attestations.

A bundle (protobuf-specs, ``sigstore_bundle.proto``, versions 0.1 to 0.3, as JSON) holds a value
over a file's digest or a DSSE envelope, the signer's certificate or the name of his key, what a
transparency log says of it, and timestamps.  A PEP 740 attestation holds the same under other
names; of both there are collections (PyPI's provenance files, npm's lists, one bundle a line),
each of whose members is a signature here.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from signward.envelopes import dsse
from signward.envelopes.cms import open_token
from signward.envelopes.intoto import PAYLOAD_TYPE, Statement, read_statement
from signward.envelopes.sigstore_entry import Logged, read_body, unbase64
from signward.envelopes.tsp import read_answer
from signward.errors import LimitError, MalformedError, NewerError
from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen, decoder, replace
from signward.logged import ClaimedLogEntry, LogProof
from signward.state import (
    Algorithm,
    ClaimedSignature,
    ClaimedTimestamp,
    SignerId,
    Slot,
)
from signward.wire import der
from signward.wire.certificate import outline
from signward.wire.merkle import HASH_OCTETS, MAX_PATH
from signward.wire.note import MAX_NOTE, MAX_SIZE
from signward.wire.spki import claimed_algorithm

_Kind = TypeVar("_Kind")

KIND = "sigstore"
"""The envelope's name."""

MAX_OCTETS = 16 * 1024 * 1024
"""Largest file of bundles read; one with a provenance of GitHub's has some 12 kB."""

MAX_BUNDLES = 32
"""Bundles of one file; npm's lists have two, PyPI's provenance files one or two a publisher."""

MAX_ENTRIES = 8
"""Log entries and timestamps of one bundle; there is one of each."""

MAX_CERTIFICATES = 10
"""Certificates beside a signature: only version 0.1 and 0.2 have more than one."""

LAST_SECOND = 253_402_300_799
"""The last second of the year 9999: later ones are no instants here."""

_VERSIONS = {
    "application/vnd.dev.sigstore.bundle+json;version=0.1": (0, 1),
    "application/vnd.dev.sigstore.bundle+json;version=0.2": (0, 2),
    "application/vnd.dev.sigstore.bundle+json;version=0.3": (0, 3),
    "application/vnd.dev.sigstore.bundle.v0.3+json": (0, 3),
}
_BUNDLE = "application/vnd.dev.sigstore.bundle"
_WHAT = "Sigstore bundle"
_CLAUSE = "sigstore_bundle.proto"
_DIGESTS = {"SHA2_256": "sha256", "SHA2_384": "sha384", "SHA2_512": "sha512"}


class Chosen(Frozen, frozen=True, kw_only=True):
    """What a statement claims of an artifact, and what is wrong with the statement."""

    slots: tuple[Slot, ...]
    findings: tuple[Finding, ...] = ()


SlotChooser = Callable[[Statement, bool], Chosen]
"""Reads a statement of an artifact; told too whether it is an attestation of PEP 740."""

Number = int | str
"""64-bit integers are strings in JSON (protobuf, JSON mapping); both are read."""


class _Bytes(msgspec.Struct, frozen=True, rename="camel"):
    raw_bytes: str


class _Chain(msgspec.Struct, frozen=True):
    certificates: tuple[_Bytes, ...] = ()


class _Hint(msgspec.Struct, frozen=True):
    hint: str = ""


class _LogId(msgspec.Struct, frozen=True, rename="camel"):
    key_id: str


class _KindVersion(msgspec.Struct, frozen=True):
    kind: str = ""
    version: str = ""


class _Promise(msgspec.Struct, frozen=True, rename="camel"):
    signed_entry_timestamp: str


class _Checkpoint(msgspec.Struct, frozen=True):
    envelope: str = ""


class _Proof(msgspec.Struct, frozen=True, rename="camel"):
    root_hash: str
    tree_size: Number
    log_index: Number = 0
    hashes: tuple[str, ...] = ()
    checkpoint: _Checkpoint = _Checkpoint()


class _Entry(msgspec.Struct, frozen=True, rename="camel"):
    log_id: _LogId
    canonicalized_body: str
    log_index: Number = 0
    kind_version: _KindVersion = _KindVersion()
    integrated_time: Number = 0
    inclusion_promise: _Promise | None = None
    inclusion_proof: _Proof | None = None


class _Stamp(msgspec.Struct, frozen=True, rename="camel"):
    signed_timestamp: str


class _Stamps(msgspec.Struct, frozen=True, rename="camel"):
    rfc3161_timestamps: tuple[_Stamp, ...] = ()


class _Material(msgspec.Struct, frozen=True, rename={
    "chain": "x509CertificateChain", "public_key": "publicKey", "entries": "tlogEntries",
    "stamps": "timestampVerificationData",
}):  # fmt: skip
    chain: _Chain | None = None
    certificate: _Bytes | None = None
    public_key: _Hint | None = None
    entries: tuple[_Entry, ...] = ()
    stamps: _Stamps | None = None


class _Digest(msgspec.Struct, frozen=True):
    algorithm: str
    digest: str


class _Message(msgspec.Struct, frozen=True, rename="camel"):
    signature: str
    message_digest: _Digest | None = None


class _Bundle(msgspec.Struct, frozen=True, rename="camel"):
    media_type: str
    verification_material: _Material
    message_signature: _Message | None = None
    dsse_envelope: msgspec.Raw = msgspec.Raw(b"")


class _PepMaterial(msgspec.Struct, frozen=True):
    certificate: str
    transparency_entries: tuple[_Entry, ...]


class _PepEnvelope(msgspec.Struct, frozen=True):
    statement: str
    signature: str


class _Attestation(msgspec.Struct, frozen=True):
    """PEP 740, attestation objects."""

    version: int
    verification_material: _PepMaterial
    envelope: _PepEnvelope


class _NpmItem(msgspec.Struct, frozen=True):
    bundle: msgspec.Raw


class _PypiItem(msgspec.Struct, frozen=True):
    attestations: tuple[msgspec.Raw, ...]


class _Any(msgspec.Struct, frozen=True, rename={"media_type": "mediaType"}):
    """What tells the kinds of documents apart."""

    media_type: str = ""
    version: int = 0
    verification_material: msgspec.Raw = msgspec.Raw(b"")
    attestation_bundles: tuple[_PypiItem, ...] = ()
    attestations: tuple[_NpmItem, ...] = ()


class _Opened(Frozen, frozen=True, kw_only=True):
    """One bundle in the words that both formats share; ``version`` is the bundle format's."""

    version: tuple[int, int]
    certificates: tuple[bytes, ...]
    entries: tuple[_Entry, ...]
    tokens: tuple[bytes, ...]
    value: bytes
    digest: Slot | None = None
    envelope: dsse.DsseEnvelope | None = None
    pep740: bool = False


def is_sigstore(data: bytes) -> bool:
    """Say whether a file is of bundles or attestations, as far as its shape tells."""
    if data[:64].lstrip()[:1] != b"{" or len(data) > MAX_OCTETS:
        return False
    try:
        return bool(_documents(data))
    except (MalformedError, LimitError):
        return False


def open_bundles(data: bytes, whole: str, choose: SlotChooser) -> tuple[ClaimedSignature, ...]:
    """Return every signature in a file; ``whole`` is the slot of all of an artifact's octets.

    Raises ``MalformedError``, ``LimitError`` and ``NewerError``.
    """
    if len(data) > MAX_OCTETS:
        raise LimitError(_WHAT, f"{len(data)} octets", f"at most {MAX_OCTETS}")
    documents = _documents(data)
    if not documents:
        raise MalformedError(_WHAT, "something else", "a bundle or an attestation", _CLAUSE)
    opened = (_open(document) for document in documents)
    return tuple(_claim(one, str(n), whole, choose) for n, one in enumerate(opened, 1))


def _documents(data: bytes) -> list[bytes]:
    """Return the octets of each bundle and attestation; none where the file has another shape."""
    found = list[bytes]()
    for line in _lines(data):
        head = _decode(line, _Any)
        if head.media_type.startswith(_BUNDLE) or bytes(head.verification_material):
            found.append(line)
        found += (bytes(one.bundle) for one in head.attestations)
        found += (bytes(a) for one in head.attestation_bundles for a in one.attestations)
        if len(found) > MAX_BUNDLES:
            raise LimitError(_WHAT, "more bundles", f"at most {MAX_BUNDLES}")
    return found


def _lines(data: bytes) -> Sequence[bytes]:
    """Return the file, or its lines where each is a JSON object (JSON Lines)."""
    lines = list[bytes]()
    for line in filter(bytes.strip, io.BytesIO(data)):
        if not line.startswith(b"{") or not line.rstrip().endswith(b"}"):
            return [data]
        if len(lines) == MAX_BUNDLES:
            raise LimitError(_WHAT, "more lines", f"at most {MAX_BUNDLES}")
        lines.append(line)
    return lines if len(lines) > 1 else [data]


def _open(document: bytes) -> _Opened:
    head = _decode(document, _Any)
    if not head.media_type:
        return _open_attestation(_decode(document, _Attestation))
    version = _VERSIONS.get(head.media_type)
    if version is None:
        raise NewerError(_WHAT, f"media type {head.media_type[:80]!r}", "version 0.1 to 0.3")
    return _open_bundle(_decode(document, _Bundle), version)


def _open_attestation(read: _Attestation) -> _Opened:
    if read.version != 1:
        raise NewerError("attestation", f"version {read.version}", "version 1")
    material, payload = read.verification_material, unbase64(read.envelope.statement)
    value = unbase64(read.envelope.signature)
    _check_count("log entries", len(material.transparency_entries))
    return _Opened(
        version=(0, 3),
        certificates=(unbase64(material.certificate),),
        entries=material.transparency_entries,
        tokens=(),
        value=value,
        envelope=dsse.DsseEnvelope(
            claimed_type=PAYLOAD_TYPE,
            claimed_payload=payload,
            signatures=(dsse.DsseSignature(claimed_key_id="", value=value),),
        ),
        pep740=True,
    )


def _open_bundle(read: _Bundle, version: tuple[int, int]) -> _Opened:
    material, message = read.verification_material, read.message_signature
    raw = bytes(read.dsse_envelope)
    if (message is None) == (not raw):
        raise MalformedError(_WHAT, "two contents or none", "a value or an envelope", _CLAUSE)
    tokens = material.stamps.rfc3161_timestamps if material.stamps else ()
    _check_count("log entries", len(material.entries))
    _check_count("timestamps", len(tokens))
    opened = _Opened(
        version=version,
        certificates=_certificates(material),
        entries=material.entries,
        tokens=tuple(unbase64(one.signed_timestamp) for one in tokens),
        value=b"",
    )
    if message is not None:
        return replace(opened, value=unbase64(message.signature), digest=_stated(message))
    envelope = dsse.open_envelope(raw)
    if len(envelope.signatures) != 1:
        raise MalformedError(_WHAT, f"{len(envelope.signatures)} signatures", "one", _CLAUSE)
    return replace(opened, value=envelope.signatures[0].value, envelope=envelope)


def _check_count(what: str, count: int) -> None:
    if count > MAX_ENTRIES:
        raise LimitError(_WHAT, f"{count} {what}", f"at most {MAX_ENTRIES}")


def _certificates(material: _Material) -> tuple[bytes, ...]:
    """Return the signer's certificate and others beside it; none where a key is only named."""
    given = (material.chain, material.certificate, material.public_key)
    if sum(one is not None for one in given) != 1:
        raise MalformedError(_WHAT, "several signers or none", "a certificate or a key", _CLAUSE)
    if material.public_key is not None:
        return ()
    chain = material.chain.certificates if material.chain else ()
    raw = (material.certificate,) if material.certificate else chain
    if not 1 <= len(raw) <= MAX_CERTIFICATES:
        raise LimitError(_WHAT, f"{len(raw)} certificates", f"1 to {MAX_CERTIFICATES}")
    return tuple(unbase64(one.raw_bytes) for one in raw)


def _stated(message: _Message) -> Slot | None:
    """Return the digest that a bundle states; nobody signed it, but it may not be another."""
    if message.message_digest is None:
        return None
    stated = message.message_digest
    name = _DIGESTS.get(stated.algorithm, stated.algorithm)
    return Slot(name="", algorithm=name, digest=unbase64(stated.digest))


def _claim(one: _Opened, label: str, whole: str, choose: SlotChooser) -> ClaimedSignature:
    what = f"signature {label}"
    read = [_entry(entry) for entry in one.entries]
    logged = [said for _, said in read if said is not None]
    verifier = one.certificates[0] if one.certificates else logged[0].verifier if logged else b""
    claimed = ClaimedSignature(
        label=label,
        envelope=KIND,
        slots=(),
        bindings=(),
        algorithm=_algorithm(verifier, certified=bool(one.certificates)),
        to_be_verified=b"",
        value=one.value,
        claimed_signer=_signer(verifier, certified=bool(one.certificates)),
        claimed_certificates=one.certificates,
        claimed_time=next((e.claimed_time for e, _ in read if e.claimed_time), None),
        timestamps=tuple(_timestamps(one, what)),
        findings=tuple(_faults(one, read, what)),
        log_entries=tuple(entry for entry, _ in read),
    )
    if one.envelope is not None:
        return _over_envelope(claimed, one, one.envelope, choose)
    return _over_file(claimed, one, logged, whole)


def _over_file(
    claimed: ClaimedSignature, one: _Opened, logged: list[Logged], whole: str
) -> ClaimedSignature:
    """Return a signature over a file's digest, which the log and the bundle may state."""
    stated = [(said.algorithm, said.digest) for said in logged]
    stated += [(one.digest.algorithm, one.digest.digest)] if one.digest else []
    findings, digest = claimed.findings, stated[0][0] if stated else claimed.algorithm.digest
    if not claimed.algorithm.digest:
        findings = (*findings, _unsupported(f"signature {claimed.label}", str(claimed.algorithm)))
    slots = dict.fromkeys(Slot(name=whole, algorithm=name, digest=raw) for name, raw in stated)
    return replace(
        claimed,
        slots=tuple(slots),
        over=whole,
        algorithm=replace(claimed.algorithm, digest=digest),
        findings=findings,
    )


def _over_envelope(
    claimed: ClaimedSignature, one: _Opened, envelope: dsse.DsseEnvelope, choose: SlotChooser
) -> ClaimedSignature:
    """Return a signature over a DSSE envelope, whose statement speaks of files by digests."""
    if envelope.claimed_type != PAYLOAD_TYPE:
        found = f"payload type {envelope.claimed_type[:80]!r}"
        raise MalformedError(_WHAT, found, PAYLOAD_TYPE, _CLAUSE)
    statement = read_statement(envelope.claimed_payload)
    chosen = choose(statement, one.pep740)
    return replace(
        claimed,
        to_be_verified=envelope.to_be_verified,
        content_type=statement.predicate_type,
        content=envelope.claimed_payload,
        slots=chosen.slots,
        findings=(*claimed.findings, *chosen.findings),
    )


def _signer(verifier: bytes, *, certified: bool) -> SignerId:
    """Name the signer: by his certificate, or his key by the SHA-256 of it that the log has."""
    if not certified:
        return SignerId(key_id=hashlib.sha256(verifier).digest() if verifier else b"")
    seen = outline(verifier)
    return SignerId(issuer=seen.issuer, serial=seen.serial)


def _algorithm(verifier: bytes, *, certified: bool) -> Algorithm:
    spki = outline(verifier).spki if certified else verifier
    if spki[:1] != bytes([der.SEQUENCE]):
        return Algorithm(scheme="unknown")
    return claimed_algorithm(spki) or Algorithm(scheme="unknown")


def _timestamps(one: _Opened, what: str) -> Iterator[ClaimedTimestamp]:
    for number, response in enumerate(one.tokens, 1):
        answer = read_answer(response)
        if not answer.granted:
            raise MalformedError(f"{what}, timestamp {number}", f"status {answer.status}",
                                 "a token", "RFC 3161 2.4.2")  # fmt: skip
        yield open_token(answer.token, one.value, f"{what}, timestamp {number}")


def _entry(entry: _Entry) -> tuple[ClaimedLogEntry, Logged | None]:
    """Return what a log says, and what its entry holds where the kind is known."""
    index, seconds = _number(entry.log_index), _number(entry.integrated_time)
    body, log = unbase64(entry.canonicalized_body), unbase64(entry.log_id.key_id)
    logged = read_body(body, entry.kind_version.kind, entry.kind_version.version)
    if seconds > LAST_SECOND:
        raise MalformedError("log entry", f"second {seconds}", "an instant", _CLAUSE)
    promise = entry.inclusion_promise
    claimed = ClaimedLogEntry(
        log_id=log,
        body=body,
        verifier=logged.verifier if logged else b"",
        claimed_time=datetime.fromtimestamp(seconds, UTC) if seconds else None,
        promised=_promised(body, seconds, log, index),
        promise=unbase64(promise.signed_entry_timestamp) if promise else b"",
        proof=_proof(entry.inclusion_proof) if entry.inclusion_proof else None,
    )
    return claimed, logged


def _promised(body: bytes, seconds: int, log: bytes, index: int) -> bytes:
    """Return what a log signs at once: JSON in canonical form (RFC 8785)."""
    encoded = base64.b64encode(body).decode()
    return (
        f'{{"body":"{encoded}","integratedTime":{seconds},"logID":"{log.hex()}",'
        f'"logIndex":{index}}}'
    ).encode()


def _proof(proof: _Proof) -> LogProof:
    hashes = tuple(unbase64(one) for one in proof.hashes[: MAX_PATH + 1])
    root, note = unbase64(proof.root_hash), proof.checkpoint.envelope.encode()
    if len(hashes) > MAX_PATH or len(note) > MAX_NOTE:
        raise LimitError("inclusion proof", "more octets", f"{MAX_PATH} hashes, {MAX_NOTE} octets")
    if any(len(one) != HASH_OCTETS for one in (root, *hashes)):
        raise MalformedError("inclusion proof", "a hash of another length", f"{HASH_OCTETS} octets")
    index, size = _number(proof.log_index), _number(proof.tree_size)
    return LogProof(index=index, size=size, root=root, hashes=hashes, checkpoint=note)


def _number(value: Number) -> int:
    """Return a 64-bit integer that is not negative.  Raises ``MalformedError``."""
    text = str(value)
    if not text.isascii() or not text.isdecimal() or len(text) > 19 or int(text) > MAX_SIZE:
        raise MalformedError(_WHAT, f"number {text[:40]!r}", f"0 to {MAX_SIZE}", _CLAUSE)
    return int(text)


def _faults(
    one: _Opened, read: Sequence[tuple[ClaimedLogEntry, Logged | None]], what: str
) -> Iterator[Finding]:
    """Report entries that are not about this signature, or lack what their version asks for."""
    for number, (entry, logged) in enumerate(read, 1):
        name = f"{what}, log entry {number}"
        if logged is None:
            yield _unsupported(name, "a kind that is not known")
        elif fault := _unlike(one, logged):
            yield _fault(name, fault, "what this bundle holds")
        elif one.version == (0, 1) and not entry.promise:
            yield _fault(name, "no promise of the log", "one, in version 0.1")
        elif one.version > (0, 1) and (entry.proof is None or not entry.proof.checkpoint):
            yield _fault(name, "no proof of inclusion with a checkpoint", "one, since version 0.2")


def _unlike(one: _Opened, logged: Logged) -> str:
    """Say what an entry has that its bundle has not; empty where it has none."""
    if logged.value != one.value:
        return "another signature value"
    if one.certificates and logged.verifier != one.certificates[0]:
        return "another certificate"
    if one.envelope is None:
        return "a DSSE envelope's digest" if logged.of_payload else ""
    signed = one.envelope.claimed_payload if logged.of_payload else one.envelope.to_be_verified
    fits = hashlib.new(logged.algorithm, signed).digest() == logged.digest
    return "" if fits else "another payload's digest"


def _fault(subject: str, found: str, required: str) -> Finding:
    return Finding(
        code=Code.LOG_ENTRY, effect=Effect.REJECT, subject=subject, found=found,
        required=required, clause="Sigstore client specification, log entry",
    )  # fmt: skip


def _unsupported(subject: str, found: str) -> Finding:
    return Finding(
        code=Code.UNSUPPORTED_ALGORITHM, effect=Effect.UNKNOWN, subject=subject, found=found,
        required="one that can be checked",
    )  # fmt: skip


def _decode(data: bytes, kind: type[_Kind]) -> _Kind:
    try:
        return decoder(kind).decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(_WHAT, str(error)[:200], "its JSON", _CLAUSE) from None
