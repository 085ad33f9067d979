"""Profile sigstore: a certificate of minutes, a log that knows it, and who signed in for it.

The steps of Sigstore's client specification (section 4, "Verification"), in its order:

1. times: what timestamp authorities of the trust root, and the log in its promise, vouch for;
2. the certificate leads to an authority of the trust root at every one of these times;
3. a log of certificates of the trust root knows the certificate;
4. it is for signing code, and names one identity and the provider that vouched for it;
5. every log entry is one of a log of the trust root: proof, checkpoint and promise hold, and the
   certificate in it is this one.

What a trust root names no log or authority of is not asked for.  That the value is the key's and
that the entry is about it are integrity's and the envelope's; whose identity is wanted is policy's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from signward import integrity
from signward.envelopes.raw import KIND as RAW
from signward.errors import BadInputError
from signward.findings import Code, Effect, Finding, worst
from signward.frozen import replace
from signward.logged import ClaimedLogEntry, LogProof
from signward.state import (
    X509,
    IntactSignature,
    IntactTimestamp,
    KeylessIdentity,
    ProvenTime,
    TrustedSignature,
    UntrustedSignature,
    X509Path,
)
from signward.trust.anchors import TrustStore, store_from_certificates
from signward.trust.identity import SigningIdentity, identity_of
from signward.trust.judge import Grounds
from signward.trust.path import CODE_SIGNING, STRICT, TIME_STAMPING, PathResult, Usage, find_path
from signward.trust.pinned import judge_pinned
from signward.trust.sct import read_timestamps, vouches
from signward.trust.sigstore_root import Authority, Log, TrustedRoot
from signward.trust.x509 import Certificate, load_certificate
from signward.wire import note
from signward.wire.merkle import inclusion_root, leaf_hash

_CLAUSE = "Sigstore client specification 4"


def judge_sigstore(
    intact: IntactSignature, grounds: Grounds
) -> TrustedSignature | UntrustedSignature:
    """Judge an intact signature of a Sigstore bundle: by a certificate, or by a key given."""
    root = grounds.sigstore or TrustedRoot(name="none")
    if intact.key.kind not in (X509, RAW):
        return _unreadable(intact, grounds.at, _foreign(intact))
    if intact.key.kind != X509:
        return _by_key(intact, grounds, root)
    times, findings = _times(intact, grounds, root)
    proven = min(times, key=lambda one: one.instant, default=None)
    try:
        leaf = load_certificate(intact.key.holder)
    except BadInputError as error:
        return _unreadable(intact, grounds.at, error.finding)
    # Without a time it is rejected anyhow; its first instant tells best what else is wrong.
    at = proven.instant if proven else leaf.not_before
    result = _fulcio_path(leaf, root, at)
    findings += result.findings
    for one in times:
        if one is not proven:
            findings += _fulcio_path(leaf, root, one.instant).findings
    findings += _certificate_logged(leaf, result, root)
    findings += _entries(intact, root, at)
    identity, faults = _identity(leaf)
    findings += faults
    findings += _timeless(intact) if proven is None else []
    findings += grounds.notes
    return _judged(intact, result, root, identity, at, proven, (*intact.findings, *findings))


def _judged(
    intact: IntactSignature,
    result: PathResult,
    root: TrustedRoot,
    identity: SigningIdentity | None,
    at: datetime,
    proven: ProvenTime | None,
    findings: tuple[Finding, ...],
) -> TrustedSignature | UntrustedSignature:
    path = _x509_path(result)
    basis = None
    if path is not None and identity is not None:
        logs = {log.log_id: log.url for log in root.logs}
        known = (logs[e.log_id] for e in intact.claimed.log_entries if e.log_id in logs)
        basis = KeylessIdentity(
            identity=identity.name, issuer=identity.issuer, path=path,
            logs=tuple(dict.fromkeys(known)),
        )  # fmt: skip
    if basis is not None and worst(findings) in (Effect.NOTE, Effect.WARN):
        return TrustedSignature(
            intact=intact, basis=basis, judged_at=at, proven_time=proven, revocation=(),
            findings=findings,
        )  # fmt: skip
    return UntrustedSignature(
        intact=intact, basis=basis or path, judged_at=at, proven_time=proven, revocation=(),
        findings=findings,
    )  # fmt: skip


def _unreadable(intact: IntactSignature, at: datetime, finding: Finding) -> UntrustedSignature:
    return UntrustedSignature(
        intact=intact, basis=None, judged_at=at, proven_time=None, revocation=(),
        findings=(*intact.findings, finding),
    )  # fmt: skip


def _foreign(intact: IntactSignature) -> Finding:
    """Object to a key that other rules know more of: its dates, what it is for, who withdrew it."""
    return Finding(
        code=Code.WRONG_USAGE, effect=Effect.REJECT,
        subject=f"signature {intact.claimed.label}", found=f"a {intact.key.kind} key",
        required="a certificate, or a public key by itself", clause=_CLAUSE,
    )  # fmt: skip


def _by_key(
    intact: IntactSignature, grounds: Grounds, root: TrustedRoot
) -> TrustedSignature | UntrustedSignature:
    """Judge by a key that the caller named; what its log entries say must hold all the same."""
    judged = judge_pinned(intact, grounds)
    faults = tuple(_entries(intact, root, grounds.at, required=False))
    findings = (*judged.findings, *faults)
    if isinstance(judged, TrustedSignature) and not faults:
        return judged
    return UntrustedSignature(
        intact=intact, basis=judged.basis, judged_at=judged.judged_at, proven_time=None,
        revocation=(), findings=findings,
    )  # fmt: skip


def _x509_path(result: PathResult) -> X509Path | None:
    if not result.path:
        return None
    anchor = result.anchor
    return X509Path(
        certificates=tuple(certificate.der for certificate in result.path),
        anchor=anchor.name if anchor else "",
        store=anchor.store if anchor else "",
    )


# --- times -----------------------------------------------------------------------


def _times(
    intact: IntactSignature, grounds: Grounds, root: TrustedRoot
) -> tuple[list[ProvenTime], list[Finding]]:
    """Return every time that is vouched for, and why others are not (which warns)."""
    found, findings = list[ProvenTime](), list[Finding]()
    for stamp in intact.timestamps:
        proven, faults = _stamped(stamp, grounds, root)
        findings += faults
        found += [proven] if proven else []
    for entry in intact.claimed.log_entries:
        log = _log_of(entry, root.logs)
        at = entry.claimed_time
        if log and at and entry.promise and at <= grounds.at and _promise_holds(entry, log):
            by = X509Path(certificates=(), anchor=log.url, store=root.name)
            found.append(ProvenTime(instant=at, kind="log", authority=log.url, path=by))
    return found, findings


def _stamped(
    stamp: IntactTimestamp, grounds: Grounds, root: TrustedRoot
) -> tuple[ProvenTime | None, list[Finding]]:
    """Return the time of a token of the trust root's own authorities, judged at that time."""
    try:
        leaf = load_certificate(stamp.signature.key.holder)
    except BadInputError as error:
        return None, [error.finding.with_effect(Effect.WARN, Code.TIMESTAMP_UNTRUSTED)]
    result = _path(leaf, root.timestamping, root.name, stamp.time, TIME_STAMPING)
    grave = [f for f in result.findings if f.effect in (Effect.REJECT, Effect.UNKNOWN)]
    if stamp.time > grounds.at:
        grave.append(_in_future(stamp, grounds.at))
    path = _x509_path(result)
    if grave or path is None:
        return None, [f.with_effect(Effect.WARN, Code.TIMESTAMP_UNTRUSTED) for f in grave]
    authority = leaf.common_name or leaf.subject_text
    proven = ProvenTime(instant=stamp.time, kind=stamp.claimed.kind, authority=authority, path=path)
    return proven, [f for f in result.findings if f not in grave]


def _in_future(stamp: IntactTimestamp, at: datetime) -> Finding:
    return Finding(
        code=Code.TIMESTAMP_IN_FUTURE,
        effect=Effect.REJECT,
        subject=stamp.signature.claimed.label,
        found=_told(stamp.time),
        required=f"a time not after the validation time {_told(at)}",
    )


def _timeless(intact: IntactSignature) -> list[Finding]:
    return [
        Finding(
            code=Code.NO_PROVEN_TIME,
            effect=Effect.REJECT,
            subject=f"signature {intact.claimed.label}",
            found="no time that the trust root's logs or timestamp authorities vouch for",
            required="one: the certificate counts for some minutes only",
            clause=_CLAUSE,
        )
    ]


# --- the certificate -------------------------------------------------------------


def _fulcio_path(leaf: Certificate, root: TrustedRoot, at: datetime) -> PathResult:
    """Return the path to an authority that served at an instant, as of that instant."""
    return _path(leaf, root.authorities, root.name, at, CODE_SIGNING)


def _path(
    leaf: Certificate, authorities: Sequence[Authority], name: str, at: datetime, usage: Usage
) -> PathResult:
    """Return the path to one of the authorities that served at an instant, by its own chain.

    What stands beside a signature is no part of it: authorities may share a root, and one of them
    may have served its time.  A chain that begins with a signer's own certificate is his alone.
    """
    serving = [one for one in authorities if one.window.holds(at)]
    chains = [one.chain for one in serving if one.chain[0].is_ca or one.chain[0].der == leaf.der]
    found = [
        find_path(leaf, chain[:-1], store_from_certificates(name, [chain[-1].der]), at, usage,
                  STRICT)
        for chain in chains
    ]  # fmt: skip
    found = found or [find_path(leaf, (), TrustStore(name, ()), at, usage, STRICT)]
    return min(found, key=lambda one: (not one.trusted, one.anchor is None))


def _certificate_logged(
    leaf: Certificate, result: PathResult, root: TrustedRoot
) -> Iterator[Finding]:
    """Ask for a timestamp of a log of certificates, where the trust root names such logs."""
    if not root.certificate_logs or len(result.path) < 2:
        return
    fault = ""
    try:
        timestamps = read_timestamps(leaf)
        for stamp in timestamps:
            logs = [x for x in root.certificate_logs if x.log_id == stamp.log_id]
            served = [x for x in logs if x.window.holds(stamp.time)]
            if any(vouches(stamp, leaf, result.path[1], log.spki) for log in served):
                return
        fault = "none that holds, of a log of the trust root" if timestamps else "none"
    except BadInputError as error:
        fault = str(error.finding)
    yield Finding(
        code=Code.LOG_ENTRY,
        effect=Effect.REJECT,
        subject=f"{leaf.label}, timestamp of a certificate log",
        found=fault,
        required="one: whoever issues in secret cannot be found out",
        clause="RFC 6962 3.2",
    )


def _identity(leaf: Certificate) -> tuple[SigningIdentity | None, list[Finding]]:
    try:
        return identity_of(leaf), []
    except BadInputError as error:
        finding = error.finding
        return None, [replace(finding, code=Code.CERTIFICATE_MALFORMED)]


# --- log entries -----------------------------------------------------------------


def _entries(
    intact: IntactSignature, root: TrustedRoot, at: datetime, *, required: bool = True
) -> Iterator[Finding]:
    """Report every log entry that does not hold, and that there is none."""
    claimed = intact.claimed
    if not claimed.log_entries and required and root.logs:
        yield _fault(f"signature {claimed.label}", "no log entry", "one of a log that is trusted")
    for number, entry in enumerate(claimed.log_entries, 1):
        what = f"signature {claimed.label}, log entry {number}"
        fault = _entry_fault(intact, entry, root, at)
        if fault:
            yield _fault(what, fault, "one that a log of the trust root vouches for")


def _entry_fault(
    intact: IntactSignature, entry: ClaimedLogEntry, root: TrustedRoot, at: datetime
) -> str:
    """Say why an entry proves nothing; empty where it does."""
    log = _log_of(entry, root.logs)
    if log is None:
        return f"a log that the trust root does not name ({entry.log_id.hex()[:16]})"
    # Nobody vouches for a time without a promise: then the signature's own decides.
    seen = entry.claimed_time if entry.promise and entry.claimed_time else at
    if not log.window.holds(seen):
        return f"a time at which {log.url} did not serve"
    if entry.verifier != (intact.key.holder if intact.key.kind == X509 else intact.key.spki):
        return "another signer in it"
    if entry.promise and not _promise_holds(entry, log):
        return f"a promise that {log.url} did not make"
    if entry.proof is not None:
        return _proof_fault(entry, entry.proof, log)
    return "" if entry.promise else "neither a promise nor a proof"


def _log_of(entry: ClaimedLogEntry, logs: Sequence[Log]) -> Log | None:
    return next((log for log in logs if log.log_id == entry.log_id), None)


def _promise_holds(entry: ClaimedLogEntry, log: Log) -> bool:
    return _fits(log, entry.promised, entry.promise)


def _proof_fault(entry: ClaimedLogEntry, proof: LogProof, log: Log) -> str:
    """Say why a proof of inclusion fails; the checkpoint must be one that the log signed."""
    root = inclusion_root(leaf_hash(entry.body), proof.index, proof.size, proof.hashes)
    if root != proof.root:
        return "a proof that leads elsewhere"
    if not proof.checkpoint:
        return "" if entry.promise else "a proof without a checkpoint"
    try:
        claimed = note.parse(proof.checkpoint)
        head = note.parse_text(claimed.text)
    except BadInputError as error:
        return str(error.finding)
    if (head.root, head.size) != (proof.root, proof.size):
        return "a checkpoint of another tree"
    own = [s for s in claimed.signatures if s.key_id == log.log_id[: note.ID_OCTETS]]
    if not own or not all(_fits(log, claimed.text.encode(), one.value) for one in own):
        return f"a checkpoint that {log.url} did not sign"
    return ""


def _fits(log: Log, data: bytes, value: bytes) -> bool:
    try:
        integrity.check_value(log.spki, log.algorithm, data, value)
    except (integrity.ValueMismatchError, integrity.UnsupportedKeyError):
        return False
    return True


def _fault(subject: str, found: str, required: str) -> Finding:
    return Finding(
        code=Code.LOG_ENTRY, effect=Effect.REJECT, subject=subject, found=found,
        required=required, clause=_CLAUSE,
    )  # fmt: skip


def _told(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}"
