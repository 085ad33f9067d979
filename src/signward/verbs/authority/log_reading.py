"""What anybody does with a log: prove an entry, check a receipt, follow it from day to day."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from signward.authority.log import monitor
from signward.authority.log.checkpoint import Checkpoint, Policy, SignedCheckpoint, open_checkpoint
from signward.authority.log.entry import MAX_ENTRY, Entry, Kind, decode, texts
from signward.authority.log.faults import NotIncludedError, NotSignedError
from signward.authority.log.monitor import Followed
from signward.authority.log.note import MAX_NOTE, VerifierKey, read_key
from signward.authority.log.proof import (
    MAX_RECEIPT,
    Hashes,
    Proven,
    Receipt,
    check_inclusion,
    inclusion,
    open_receipt,
)
from signward.authority.log.tiles import ENTRIES, WIDTH, Tile, split_bundle, width
from signward.authority.log.tree import leaf_hash
from signward.errors import AuthorityError, BadInputError, EvidenceError, LimitError
from signward.trust.pem import CERTIFICATES, blocks
from signward.trust.x509 import load_certificate
from signward.verbs.authority.files import check_place, replace_file
from signward.verbs.authority.log_source import LogSource
from signward.verbs.show import parsed
from signward.wire.source import open_source, whole_digest

MAX_KEY_FILE = 4096
"""Octets of a file that holds a verifier key."""

MAX_CERTIFICATES_FILE = 1024 * 1024
"""Octets of a PEM file of certificates to watch for."""


def latest(source: LogSource, policy: Policy) -> SignedCheckpoint:
    """Return a log's latest checkpoint, checked.

    Raises ``BadInputError``, ``LogFaultError``, ``FetchError``.
    """
    return open_checkpoint(source.checkpoint(), policy)


def prove(source: LogSource, policy: Policy, index: int) -> bytes:
    """Return a receipt for the entry at ``index``, made from the log's tiles and checked.

    Raises as `latest` does, and ``AuthorityError`` where there is no such entry.
    """
    signed = latest(source, policy)
    head = signed.checkpoint
    if not 0 <= index < head.size:
        last = f"0 to {head.size - 1}" if head.size else "a log that has any"
        raise AuthorityError(f"entry {index}", f"a log of {head.size} entries", last)
    path = inclusion(Hashes(head.size, source.tile), index)
    number, place = divmod(index, WIDTH)
    tile = Tile(ENTRIES, number, width(ENTRIES, number, head.size))
    entry = split_bundle(source.tile(tile), tile)[place]
    check_inclusion(leaf_hash(entry), index, head, path)
    return Receipt(index=index, path=path, note=signed.note, entry=entry).text


def verify(receipt: bytes, policy: Policy, entry: bytes | None = None, file: str = "") -> Proven:
    """Return the entry that a receipt proves, and that speaks of ``file`` if one is named.

    It does if it tells of a signature or a timestamp over the SHA-256 of the file, or of what
    one of the file's signatures is over, or of a signature's value.  Raises ``BadInputError``,
    ``LogFaultError``, ``UnreadableError``.
    """
    proven = open_receipt(receipt, policy, entry)
    if file:
        _check_speaks_of(decode(proven.entry), file)
    return proven


def _check_speaks_of(entry: Entry, file: str) -> None:
    """Raise ``NotIncludedError`` for an entry that was not made of the very file.

    Neither wishes count nor fields whose words were the asker's: he might name any file.
    """
    if entry.kind not in (Kind.SIGNED, Kind.TIMESTAMPED):
        raise NotIncludedError(file, f"an entry that tells of {entry.kind.value}",
                               "one that tells of a signature or a timestamp")  # fmt: skip
    named = texts([entry.fields.get("digest"), entry.fields.get("value")])
    if not named & frozenset(digests_of(file)):
        raise NotIncludedError(
            file, "an entry of the log that speaks of something else",
            "its SHA-256, or that of one of its signatures",
        )  # fmt: skip


def digests_of(file: str) -> Iterator[str]:
    """Yield the digests by which entries can name a file.  Raises ``UnreadableError``."""
    with open_source(file) as source:
        yield f"sha256:{whole_digest(source, 'sha256').hex()}"
        artifact = parsed(source)
        for signature in artifact.signatures if artifact else ():
            for data in (signature.to_be_verified, signature.value):
                yield f"sha256:{hashlib.sha256(data).hexdigest()}"
        source.check_unchanged()


def watch(
    source: LogSource, policy: Policy, state: Path, watched: frozenset[str] | None
) -> tuple[Followed, Callable[[], None]]:
    """Follow a log from the checkpoint kept in ``state`` to its latest.

    ``state`` holds the note as the log signed it; where there is none, the log is read from
    its first entry.  Returns also what keeps the latest: to be called once what was found
    is told.  Raises ``BadInputError``, ``LogFaultError``, ``FetchError``, ``EvidenceError``.
    """
    check_place(state)
    before = _kept(state, policy)
    signed = latest(source, policy)
    old = before or monitor.empty(signed.checkpoint.origin)
    followed = monitor.follow(old, signed.checkpoint, source.tile, watched)

    def keep() -> None:
        """Replace the state, whole.  Raises ``RealmError``."""
        if before is None or followed.head.size > before.size:
            replace_file(state, signed.note)

    return followed, keep


def _kept(state: Path, policy: Policy) -> Checkpoint | None:
    if not state.exists():
        return None
    log_alone = Policy(log=policy.log, origin=policy.origin)
    try:
        return open_checkpoint(read_bounded(state, MAX_NOTE), log_alone).checkpoint
    except (BadInputError, NotSignedError) as error:
        raise EvidenceError(
            f"{state}: {error}\nhint: the state is not a checkpoint of this log; with another one "
            "a monitor begins anew, and notices nothing that was changed before"
        ) from None


def read_policy(
    key: str, witnesses: Sequence[str], quorum: int | None, own: VerifierKey | None = None
) -> Policy:
    """Return the policy that the command line asks for: verifier keys, or files that hold them.

    ``own`` is the log's key where it is known without; all witnesses must have signed unless
    ``quorum`` says how many.  Raises ``EvidenceError``, ``BadInputError``.
    """
    if not key and own is None:
        raise EvidenceError(
            "--log-key: found none, required the key to check the log with\n"
            "hint: whoever keeps the log tells it: signward log key --data DIR"
        )
    log = _key(key) if key else own
    assert log is not None  # noqa: S101 - one of the two, see above
    known = tuple(_key(one) for one in witnesses)
    count = len(known) if quorum is None else quorum
    if not 0 <= count <= len(known):
        raise EvidenceError(f"--quorum: found {count}, required at most {len(known)} witnesses")
    return Policy(log=log, witnesses=known, quorum=count)


def _key(text: str) -> VerifierKey:
    if "+" in text and not Path(text).is_file():
        return read_key(text)
    return read_key(read_bounded(Path(text), MAX_KEY_FILE).decode("utf-8", "replace"))


def watched_texts(certificates: Sequence[str], given: Sequence[str]) -> frozenset[str]:
    """Return what entries are watched for.

    A certificate (PEM or DER file) is watched by its digest, its key's and its serial number.
    Raises ``EvidenceError``, ``BadInputError``.
    """
    found = set(given)
    for path in certificates:
        for der in blocks(path, read_bounded(Path(path), MAX_CERTIFICATES_FILE), CERTIFICATES):
            certificate = load_certificate(der)
            found |= {hashlib.sha256(x).hexdigest() for x in (der, certificate.spki)}
            serial = f"{certificate.serial:x}"
            found |= {serial, serial.zfill(len(serial) + len(serial) % 2)}
    return frozenset(found)


def read_receipt_file(path: str) -> bytes:
    """Return a receipt's octets.  Raises ``EvidenceError``, ``LimitError``."""
    return read_bounded(Path(path), MAX_RECEIPT)


def read_entry_file(path: str) -> bytes:
    """Return an entry's octets.  Raises ``EvidenceError``, ``LimitError``."""
    return read_bounded(Path(path), MAX_ENTRY)


def read_bounded(path: Path, most: int) -> bytes:
    """Return a small file's octets.  Raises ``EvidenceError``, ``LimitError``."""
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "no such name"
        raise EvidenceError(f"{path}: found {why.lower()}, required a file to read") from None
    if len(data) > most:
        raise LimitError(str(path), "a larger file", f"at most {most} octets")
    return data
