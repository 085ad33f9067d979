r"""Events of App Control and AppLocker, from whatever log: a file, and what its signatures are.

Source: "Understanding App Control event IDs" and "... event tags" (Microsoft Learn).  3076 and 3077
(Code Integrity), 8028 and 8029 (scripts) name a file; 3089 tells one of its signatures, under the
same correlation identifier.  Fields are known by their names without blanks, in lower case: newer
versions of Windows write ``FileName`` for ``File Name``.

The publisher and issuer of a signature are those of the leaf and of the certificate that issued
it; what lies above is not told.  A signature counts as trusted if Windows found nothing wrong
with it but that a policy did not want it.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum

from signward.frozen import Frozen
from signward.policy.rules.subject import Signer, Subject, Version
from signward.state import Outcome

MAX_PENDING = 16_384
"""Files waiting for their signatures; Windows writes both within moments."""
MAX_PER_ACTIVITY = 64
"""Events under one identifier: a file, once per policy, and each of its signatures."""
MAX_TEXT = 4096
"""Characters of one field kept; Windows' longest path has 32,767, and policies have none such."""

NOT_TOLD = frozenset({
    "digest:cdhash", "digest:oci", "signers.certificate", "signers.tbs", "signers.ekus",
    "signers.key", "signers.subject", "proven-time", "revocation", "bundle-id", "origin",
    "catalog",
})  # fmt: skip
"""What no event of Windows tells; of a signature the leaf's and its issuer's name and TBS only."""

_INTACT = frozenset({0, 10, 12, 13, 14, 15, 16, 17, 18, 21, 26})
"""VerificationError where path and digest held: none (0), or a policy's demand that was not met:
page hashes (10), protected processes (12, 13), an EKU (14), WHQL (15), a level (16 to 18), the
policy itself (21, 26)."""
_BROKEN = frozenset({1, 3, 4, 5, 9, 11, 19, 27})
"""Where they did not: digest (1, 11), no signature (3), revoked (4, 19), expired (5), signing time
(9), path (27)."""

_ALGORITHMS = {40: "sha1", 64: "sha256", 96: "sha384", 128: "sha512"}
"""By the digits of a digest."""
_HEX = re.compile(r"(?:0x)?([0-9a-f]+)\Z")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_UNTOLD = frozenset({"", "unknown", "-", "n/a"})


class Sort(Enum):
    """What an event tells of."""

    IMAGE = "program, library or driver"
    SCRIPT = "script or installer"
    SIGNATURE = "signature"


class Event(Frozen, frozen=True, kw_only=True):
    """One event: ``fields`` by folded name, ``activity`` the correlation identifier."""

    sort: Sort
    host: str
    activity: str
    fields: Mapping[str, str]


def folded(fields: Mapping[str, object]) -> dict[str, str]:
    """Return fields by their folded names; values as text, at most `MAX_TEXT` of each."""
    return {
        name.replace(" ", "").casefold(): str(value)[:MAX_TEXT].strip("\0")
        for name, value in fields.items()
        if value is not None and not isinstance(value, (dict, list))
    }


class Correlator:
    """Joins files with their signatures, in whatever order they come, within bounds."""

    def __init__(self) -> None:
        self._pending: OrderedDict[tuple[str, str], list[Event]] = OrderedDict()

    def add(self, event: Event) -> Iterator[Subject]:
        """Take an event; yield what was complete, or had to make room."""
        if not event.activity:
            yield from _subjects([event])
            return
        key = (event.host, event.activity)
        events = self._pending.setdefault(key, [])
        events.append(event)
        if len(events) >= MAX_PER_ACTIVITY:
            yield from _subjects(self._pending.pop(key))
        if len(self._pending) > MAX_PENDING:
            yield from _subjects(self._pending.popitem(last=False)[1])

    def rest(self) -> Iterator[Subject]:
        """Yield what still waits; nothing more will come."""
        while self._pending:
            yield from _subjects(self._pending.popitem(last=False)[1])


def _subjects(events: Iterable[Event]) -> Iterator[Subject]:
    """Yield the files of one identifier: several policies tell of the same file several times.

    Of several files under one identifier nothing tells whose the signatures are.
    """
    events = list(events)
    signatures = [e.fields for e in events if e.sort is Sort.SIGNATURE]
    if len({_file_of(e.fields) for e in events if e.sort is not Sort.SIGNATURE}) > 1:
        signatures = []
    told: list[Subject] = []
    for event in events:
        if event.sort is not Sort.SIGNATURE:
            subject = _subject(event, signatures)
            if subject not in told:
                told.append(subject)
    yield from told


def _file_of(fields: Mapping[str, str]) -> tuple[str, ...]:
    """Return what tells one file from another: its path and its digests."""
    digests = (fields.get(f"{a}{of}hash", "") for a in ("sha1", "sha256") for of in ("", "flat"))
    return first(fields, "filename", "filepath").casefold(), *digests


def _subject(event: Event, signatures: list[Mapping[str, str]]) -> Subject:
    fields, unknown = event.fields, set(NOT_TOLD)
    path = first(fields, "filename", "filepath")
    if not is_drive_path(path):
        unknown.add("path")
    kind, classes = _kind(event)
    if len(classes) > 1:
        unknown.add("kind")
    digests = _digests(fields, unknown)
    signers, unsigned = _signers(signatures, unknown)
    return Subject(
        path=path,
        host=event.host,
        kind=kind,
        file_class=next(iter(classes)) if len(classes) == 1 else "",
        classes=classes if len(classes) > 1 else frozenset(),
        digests=digests,
        signers=signers,
        product=named(fields, "productname", "product", unknown),
        original_name=named(fields, "originalfilename", "original-name", unknown),
        internal_name=named(fields, "internalname", "internal-name", unknown),
        version=version(fields.get("fileversion", ""), unknown),
        outcome=worth(signers, unsigned=unsigned),
        cause="unsigned" if unsigned else "",
        unknown=frozenset(unknown | _unknown_host(event.host)),
    )


def worth(signers: tuple[Signer, ...], *, unsigned: bool) -> Outcome:
    """Return what the signature alone is worth."""
    if signers:
        return Outcome.ACCEPTED
    return Outcome.REJECTED if unsigned else Outcome.INDETERMINATE


def _unknown_host(host: str) -> frozenset[str]:
    return frozenset() if host else frozenset({"host"})


def is_drive_path(path: str) -> bool:
    r"""Say whether a path names its drive: ``\Device\HarddiskVolume3`` and ``%OSDRIVE%`` do not."""
    return bool(_DRIVE.match(path))


def _kind(event: Event) -> tuple[str, frozenset[str]]:
    """Return kind and class, or the classes it is one of: more is not told."""
    if event.sort is Sort.SCRIPT:
        return "", frozenset({"script", "installer"})
    scenario = event.fields.get("sisigningscenario")
    if scenario == "0":
        return "pe", frozenset({"driver"})
    user_mode = frozenset({"executable", "library"})
    return "pe", user_mode if scenario == "1" else user_mode | {"driver"}


def _digests(fields: Mapping[str, str], unknown: set[str]) -> frozenset[str]:
    """Return the digests told.

    Where a file has no Authenticode digest, Windows repeats the flat one in its place.
    """
    flat = {digest_of(fields.get(f"{a}flathash", "")) for a in ("sha1", "sha256")} - {""}
    code = {digest_of(fields.get(f"{a}hash", "")) for a in ("sha1", "sha256")} - {""} - flat
    if not flat:
        unknown.add("digest:file")
    if not code:
        unknown.add("digest:authenticode")
    return frozenset({f"file:{d}" for d in flat} | {f"authenticode:{d}" for d in code})


def digest_of(text: str) -> str:
    """Return ``ALGORITHM:HEX`` for the digits of a digest; empty for anything else."""
    match = _HEX.match(text.lower())
    algorithm = _ALGORITHMS.get(len(match[1])) if match else None
    return f"{algorithm}:{match[1]}" if match and algorithm and match[1].strip("0") else ""


def _signers(
    signatures: list[Mapping[str, str]], unknown: set[str]
) -> tuple[tuple[Signer, ...], bool]:
    """Return the trusted signers, and whether the file is told to have no signature at all."""
    counts = {number(s.get("totalsignaturecount", "")) for s in signatures}
    if counts == {0}:
        return (), True
    indexes = {s.get("signature", "") for s in signatures}
    if len(counts) != 1 or None in counts or len(indexes) < max(c or 0 for c in counts):
        unknown.add("signers")
    trusted: list[Signer] = []
    for signature in signatures:
        error = number(signature.get("verificationerror", ""))
        if error in _INTACT and _is_named(signature) and not _is_self_signed(signature):
            trusted.append(_signer(signature))
        elif error not in _BROKEN:
            unknown.add("signers")
    unique = [s for index, s in enumerate(trusted) if s not in trusted[:index]]
    return tuple(unique), False


def _is_self_signed(signature: Mapping[str, str]) -> bool:
    """Say whether the leaf issued itself: App Control asks for no root it knows, anybody can."""
    leaf, issuer = (digest_of(first(signature, f"{who}tbshash")) for who in ("publisher", "issuer"))
    return bool(leaf) and leaf == issuer


def _is_named(signature: Mapping[str, str]) -> bool:
    return first(signature, "publishername").casefold() not in _UNTOLD


def _signer(signature: Mapping[str, str]) -> Signer:
    names = [first(signature, name) for name in ("publishername", "issuername")]
    tbs = [digest_of(first(signature, name)) for name in ("publishertbshash", "issuertbshash")]
    return Signer(
        subject={"common_name": names[0]},
        names=tuple(name for name in names if name.casefold() not in _UNTOLD),
        tbs=tuple(value for value in tbs if value),
    )


def first(fields: Mapping[str, str], *names: str) -> str:
    """Return the first field there of these, empty where none is."""
    return next((fields[name] for name in names if fields.get(name)), "")


def named(fields: Mapping[str, str], field: str, name: str, unknown: set[str]) -> str:
    """Return a field of the version resource; ``name`` is unknown where the event has none."""
    if field not in fields:
        unknown.add(name)
        return ""
    return fields[field]


def number(text: str) -> int | None:
    """Return a number in decimal; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def version(text: str, unknown: set[str]) -> Version | None:
    """Return four numbers of 16 bits; unknown where they are not told."""
    parts = [number(part) for part in text.split(".")]
    if len(parts) == 4 and all(part is not None and part <= 0xFFFF for part in parts):
        one, two, three, four = (part or 0 for part in parts)
        return one, two, three, four
    unknown.add("version")
    return None
