"""What firmware and shim refuse whoever signed it: dbx, and the SBAT level.

Given lists count for what is judged by profile ``uefi``; without any, nothing is looked up: the
lists of the machine that runs Signward are not those of the machine that will boot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from signward.errors import BadInputError, EvidenceError, UnreadableError
from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen, replace
from signward.state import (
    BrokenSignature,
    IntactSignature,
    JudgedSignature,
    Manifest,
    SignedArtifact,
    Stage,
    TrustedSignature,
    Wanted,
    path_of,
)
from signward.trust.profiles import UEFI_VARIABLE
from signward.verbs.options import Options, read_option
from signward.verbs.stores import shim_of

if TYPE_CHECKING:
    from signward.policy.dbx import Dbx
    from signward.trust.anchors import TrustStore
    from signward.verbs.context import Context
    from signward.wire.sbat import Level

LATEST = "latest"
"""The word for the newest SBAT level that we know of."""

_IMAGES = ("image", "image:padded")
"""Slots of an image's digest: as it stands, and as a signer would have padded it."""

_PROFILE = "uefi"


class Given(Frozen, frozen=True, kw_only=True):
    """The files about firmware that a run is given: names and octets."""

    dbx: tuple[tuple[str, bytes], ...] = ()
    dbt: tuple[tuple[str, bytes], ...] = ()
    level: tuple[str, bytes] | None = None


class Firmware(Frozen, frozen=True, kw_only=True):
    """What is refused, and whose timestamps count against a time in dbx (none: nobody's)."""

    lists: tuple[Dbx, ...]
    dbt: TrustStore | None
    level: Level | None


def read_given(options: Options) -> Given:
    """Return the octets of the files that options name.  Raises ``EvidenceError``.

    A shim that is a store brings what its vendor refuses.
    """
    from signward.wire import sbat

    level = options.sbat_level
    data = sbat.LATEST if level == LATEST else read_option(level) if level else b""
    return Given(
        dbx=(*((_name(path), read_option(path)) for path in options.dbx), *_of_vendors(options)),
        dbt=tuple((_name(path), read_option(path)) for path in options.dbt),
        level=(_name(level), data) if level else None,
    )


def asks_firmware(options: Options) -> bool:
    """Say whether a run has lists of what firmware or a shim refuses."""
    return bool(options.dbx or options.sbat_level or any(map(shim_of, options.stores)))


def _of_vendors(options: Options) -> Iterator[tuple[str, bytes]]:
    for path in filter(None, map(shim_of, options.stores)):
        from signward.verbs.boot_images import denied_by_vendor

        try:
            denied = denied_by_vendor(path)
        except (BadInputError, UnreadableError) as error:
            raise EvidenceError(f"{path}: {error}") from None
        if denied:
            yield f"built into {_name(path)}", denied


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def load_firmware(given: Given) -> Firmware:
    """Return what the given files say.  Raises ``EvidenceError``."""
    from signward.policy.dbx import read_dbx

    return Firmware(
        lists=tuple(read_dbx(name, data) for name, data in given.dbx),
        dbt=_authorities(given.dbt),
        level=_level(*given.level) if given.level else None,
    )


def _authorities(files: Sequence[tuple[str, bytes]]) -> TrustStore | None:
    """Return the timestamp authorities in lists or certificates; None without any file."""
    from signward.trust.anchors import joined, store_from_certificates, store_from_pem
    from signward.wire import siglist

    if not files:
        return None
    stores = []
    for name, data in files:
        if not (siglist.is_update(data) or siglist.is_content(data)):
            stores.append(store_from_pem(name, data))
            continue
        try:
            entries = siglist.read_lists(siglist.stored(data).content)
        except BadInputError as error:
            raise EvidenceError(f"{name}: {error}") from None
        ders = [entry.data for entry in entries if entry.kind == siglist.X509]
        stores.append(store_from_certificates(name, ders))
    return joined("dbt", stores)


def _level(name: str, data: bytes) -> Level:
    """Return the level in a text, a variable's file, or the latest one that a shim carries."""
    from signward.wire import sbat

    try:
        if data[:2] == b"MZ":
            return _of_shim(name, data)
        # Files of efivarfs begin with attributes of four octets.
        text = data[4:] if data[4:9] == b"sbat," else data
        return sbat.read_level(text)
    except BadInputError as error:
        raise EvidenceError(f"{name}: {error}") from None


def _of_shim(name: str, data: bytes) -> Level:
    from signward.formats._pe_boot import shim_levels
    from signward.formats._pe_layout import read_layout
    from signward.wire.source import BytesSource

    source = BytesSource(name, data)
    levels = shim_levels(source, read_layout(source))
    if levels is None:
        raise EvidenceError(f"{name}: a program without SBAT levels, required a shim or a level")
    return levels[1]


def listed_images(context: Context) -> Wanted:
    """Return the slots whose digests the run's dbx lists may name."""
    firmware = context.firmware
    if firmware is None:
        return frozenset()
    algorithms = frozenset[str]().union(*(dbx.algorithms for dbx in firmware.lists))
    return frozenset((slot, name) for slot in _IMAGES for name in algorithms)


def refused_by_firmware(
    artifact: SignedArtifact,
    judged: Sequence[JudgedSignature],
    computed: Manifest,
    context: Context,
) -> tuple[Finding, ...]:
    """Return why firmware with the run's lists, or shim with its level, would not start an image.

    One signature that leads to a listed certificate is enough, whatever the others are.  At
    the stage that asks only whether a file is unchanged they warn.
    """
    firmware = context.firmware
    if firmware is None or context.profile_for(artifact).name != _PROFILE:
        return ()
    found = [*_listed(firmware, artifact, judged, computed, context)]
    found += _generations(firmware.level, artifact) if firmware.level else ()
    if context.policy.stage is Stage.INTACT:
        found = [f.with_effect(Effect.WARN) if f.effect is Effect.REJECT else f for f in found]
    return tuple(dict.fromkeys(found))


def _listed(
    firmware: Firmware,
    artifact: SignedArtifact,
    judged: Sequence[JudgedSignature],
    computed: Manifest,
    context: Context,
) -> Iterator[Finding]:
    from signward.policy.dbx import image_findings, signer_findings, type_findings
    from signward.trust.judge import with_embedded
    from signward.trust.x509 import load_certificate

    digests = [(name, value) for (slot, name), value in computed.items() if slot in _IMAGES]
    for dbx in firmware.lists:
        yield from image_findings(dbx, digests)
        yield from type_findings(dbx)
    for intact in filter(None, map(_intact, judged)):
        profile = context.profile_for(artifact)
        grounds = with_embedded(intact, context.grounds(profile))
        pool = (*grounds.pool, *(anchor.certificate for anchor in grounds.store.anchors()))
        try:
            leaf = load_certificate(intact.key.holder)
        except BadInputError:
            continue  # trust has said that it cannot be read
        proven = _proven(intact, firmware, context)
        for dbx in firmware.lists:
            yield from signer_findings(dbx, leaf, pool, proven)


def _intact(signature: JudgedSignature) -> IntactSignature | None:
    if isinstance(signature, BrokenSignature):
        return None
    return signature if isinstance(signature, IntactSignature) else signature.intact


def _proven(intact: IntactSignature, firmware: Firmware, context: Context) -> datetime | None:
    """Return when a signature existed as a timestamp authority in dbt says."""
    if firmware.dbt is None or not any(dbx.tbs for dbx in firmware.lists):
        return None
    from signward.trust.judge import proven_time
    from signward.trust.profiles import UEFI

    grounds = replace(context.grounds(UEFI), tsa_store=firmware.dbt)
    return proven_time(intact, grounds)


def _generations(level: Level, artifact: SignedArtifact) -> Iterator[Finding]:
    from signward.formats._pe_boot import UNREADABLE

    told = str(artifact.facts.get("sbat", ""))
    if not told:
        yield _behind(Effect.NOTE, "no section .sbat", "one, or to be started by GRUB alone", level)
        return
    if told == UNREADABLE:
        yield _behind(Effect.REJECT, "a section .sbat that cannot be read", "SBAT.md", level)
        return
    for name, generation in (line.rsplit(",", 1) for line in told.split(" ")):
        least = level.least.get(name, 0)
        if int(generation) < least:
            yield _behind(Effect.REJECT, f"{name} {generation}", f"{name} {least} at least", level)


def _behind(effect: Effect, found: str, required: str, level: Level) -> Finding:
    return Finding(
        code=Code.SBAT_REVOKED,
        effect=effect,
        subject=f"SBAT level {level.date}",
        found=found,
        required=required,
        clause="SBAT.md",
    )


def replayed(
    artifact: SignedArtifact, judged: Sequence[JudgedSignature], context: Context
) -> tuple[Finding, ...]:
    """Return a finding if a write of a variable is not later than the last one.

    Firmware takes a write that replaces only if its time is later than that of the write before
    (``--after``); one that appends may be older.
    """
    time = artifact.facts.get("time")
    after = context.options.after
    if artifact.format != "efi-variable" or after is None or not isinstance(time, str):
        return ()
    from signward.formats.efi_variable import NO_TIME

    appending = any(s.claimed.read_as.endswith("append") for s in map(_intact, judged) if s)
    if appending or (time != NO_TIME and datetime.fromisoformat(time) > after):
        return ()
    return (
        Finding(
            code=Code.REPLAYED,
            effect=Effect.REJECT,
            subject=artifact.source.name,
            found=f"a write whose time is {time}",
            required=f"one later than {after:%Y-%m-%dT%H:%M:%SZ}, the last that was taken",
            clause="UEFI 2.10 8.2.2",
            hint="firmware refuses it: an old write would bring back what was revoked since",
        ),
    )


def beyond_kek(judged: Sequence[JudgedSignature]) -> tuple[Finding, ...]:
    """Return a finding for a write of PK or KEK that is trusted by a key exchange key alone.

    These may write db, dbx, dbt and dbr; PK and KEK are written by the key in PK, which only a
    caller can name.
    """
    for signature in judged:
        if not isinstance(signature, TrustedSignature):
            continue
        variable = signature.intact.claimed.read_as.partition(",")[0]
        path = path_of(signature.basis)
        if path and path.store == UEFI_VARIABLE.name and variable in ("PK", "KEK"):
            return (
                Finding(
                    code=Code.WRONG_USAGE,
                    effect=Effect.REJECT,
                    subject=f"signature {signature.intact.claimed.label}",
                    found=f"a write of {variable} by a key of KEK, {path.anchor}",
                    required="one by the key in PK (--anchor)",
                    clause="UEFI 2.10 8.2.2",
                ),
            )
    return ()


def signed_as(judged: Sequence[JudgedSignature]) -> dict[str, str]:
    """Return what the first signature proved to be over, where the file does not say it."""
    told = [intact.claimed.read_as for intact in map(_intact, judged) if intact]
    return {"signed-as": told[0]} if told and told[0] else {}
