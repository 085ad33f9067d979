"""Subjects of records: what a verdict, just reached or kept by a scan, tells the rules.

A record tells all of a file's signatures, but neither on which host it lies nor what brought it,
and digests only as far as somebody asked; what it does not tell is named in ``unknown``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from signward.findings import Code, Effect
from signward.policy.case import LISTED_BY
from signward.policy.holders import HolderRecord
from signward.policy.publisher import identity_of, keyless, lasting_name, subscriber_eku
from signward.policy.record import PathRecord, Record, SignatureRecord
from signward.policy.rules import apple_code
from signward.policy.rules.kinds import class_of
from signward.policy.rules.subject import Signer, Subject, Version
from signward.state import Outcome, Stage, Status

Facts = Mapping[str, str | int]

WHOLE_FILE = "whole"
"""How a record's digests of all of a file's octets begin: ``whole-sha256``."""

CATALOG = "catalog"
"""The fact of a record that names the catalog which lists an unsigned file, ``sha256:HEX``."""

NUMBERS = "numbered-version"
"""The fact of a record with a version's four numbers, where no Windows resource has them."""

CONTENT = ("image", "text", "content", "cabinet")
"""Slots by which an Authenticode signature covers an image, a script, an installer, a cabinet."""

_SUBJECT_FIELDS = {
    "CN": "common_name", "O": "organization", "OU": "unit", "L": "locality", "ST": "state",
    "C": "country", "serialNumber": "serial_number",
}  # fmt: skip
"""RFC 4514 names of `model.PublisherMatch`'s fields."""

_AUTHENTICODE = frozenset(
    {"pe", "msi", "cab", "powershell", "javascript", "vbscript", "wsf", "mof"}
)
_MACHO = apple_code.KINDS | {"pkg"}
_NAMES = ("product", "original-name", "internal-name", "version")
_UNCOVERED = frozenset({Code.UNCOVERED_CONTENT, Code.AMBIGUOUS})
_OPEN_ENDED = frozenset({"msi", "cab"})
"""Formats whose content digest leaves something of the file out, signature aside."""
_UNREAD = {
    "pe": ("dll", frozenset({"executable", "library", "driver", "firmware"})),
    "elf": ("elf-role", frozenset({"executable", "library"})),
    **dict.fromkeys(
        ("macho", "macho-fat"), ("type", frozenset({"executable", "library", "kernel-module"}))
    ),
}
"""The fact that tells what a file is, and what one may be of which it could not be read."""

_PART = re.compile(r"((?:[^,+\\]|\\.)*)([,+]|\Z)", re.DOTALL)
_ESCAPED = re.compile(r"\\([0-9A-F]{2}|.)", re.DOTALL)
_VERSION = re.compile(r"(\d{1,5})\.(\d{1,5})\.(\d{1,5})\.(\d{1,5})")


def subject_of(
    record: Record, host: str = "", tags: frozenset[str] = frozenset(), path: str = ""
) -> Subject:
    """Return what rules are held against.

    ``path`` is where the file really lies, if the record's own name of it does not say so.
    """
    facts = record.facts
    outcome, cause = _unruled(record)
    kind = record.kind or record.format
    whole, content = frozenset(_whole_digests(record)), frozenset(_content_digests(record))
    content |= frozenset(apple_code.cdhashes(record))
    covered = _is_covered(record)
    catalog = str(facts.get(CATALOG, "")) if outcome is Outcome.ACCEPTED else ""
    unread = _is_unread(kind, facts)
    return Subject(
        path=path or record.subject,
        host=host,
        tags=tags,
        kind=kind,
        file_class="" if unread else class_of(kind, facts),
        classes=_UNREAD[kind][1] if unread else frozenset(),
        digests=whole | content if covered else whole,
        partial=frozenset() if covered else content,
        signers=_signers(record) if _is_signed(record, outcome) else (),
        product=_text(facts, "product"),
        original_name=_text(facts, "original-name"),
        internal_name=_text(facts, "internal-name"),
        bundle_id=_text(facts, "bundle-id") or _text(facts, apple_code.IDENTIFIER),
        version=_version(facts),
        catalogs=(catalog,) if catalog else (),
        outcome=outcome,
        cause=cause,
        unknown=frozenset(_unknown(record, kind, outcome, whole | content, host)),
    )


def _is_signed(record: Record, outcome: Outcome) -> bool:
    """Say whether signers are the file's: who signed a list that names it is none of them."""
    return outcome is Outcome.ACCEPTED and LISTED_BY not in record.facts


def _is_unread(kind: str, facts: Mapping[str, str | int]) -> bool:
    """Say whether what a file is to whoever starts it could not be read."""
    return kind in _UNREAD and _UNREAD[kind][0] not in facts


def _unruled(record: Record) -> tuple[Outcome, str]:
    """Return what the signatures alone are worth.

    A trusted one that is not of a publisher asked for then is worth no less, and one whose trust
    nobody asked about may be worth anything.
    """
    worth = record.unruled or record
    if worth.outcome is Outcome.ACCEPTED and record.stage is Stage.INTACT:
        return Outcome.INDETERMINATE, ""
    if worth.cause == Code.PUBLISHER_MISMATCH:
        open_ = any(finding.effect is Effect.UNKNOWN for finding in record.findings)
        return (Outcome.INDETERMINATE if open_ else Outcome.ACCEPTED), ""
    return worth.outcome, worth.cause or ""


def _text(facts: Mapping[str, str | int], name: str) -> str:
    return str(facts.get(name, ""))


def _version(facts: Mapping[str, str | int]) -> Version | None:
    found = _VERSION.fullmatch(_text(facts, "fixed-file-version") or _text(facts, NUMBERS))
    return (int(found[1]), int(found[2]), int(found[3]), int(found[4])) if found else None


def _whole_digests(record: Record) -> Iterator[str]:
    for name, value in record.digests.items():
        slot, _, algorithm = name.rpartition("-")
        if slot == WHOLE_FILE:
            yield f"file:{algorithm}:{value}"


def _content_digests(record: Record) -> Iterator[str]:
    for name, value in record.digests.items():
        slot, _, algorithm = name.rpartition("-")
        if slot in CONTENT:
            yield f"authenticode:{algorithm}:{value}"


def _is_covered(record: Record) -> bool:
    """Say whether a content digest answers for all of a file.

    That of an installer or a cabinet does so only under a signature that holds: it knows neither
    the names of streams nor what lies behind, and only with a signature are both looked at.
    """
    if any(finding.code in _UNCOVERED for finding in record.findings):
        return False
    if "," in _text(record.facts, apple_code.CDHASH):
        return False  # each answers for one slice
    holds = any(s.state != "broken" and not s.countersigns for s in record.signatures)
    return holds or record.format not in _OPEN_ENDED


def _unknown(
    record: Record, kind: str, outcome: Outcome, digests: Iterable[str], host: str
) -> Iterator[str]:
    yield "origin"
    if not host:
        yield "host"
    if outcome is Outcome.INDETERMINATE:
        yield "signers"
    if CATALOG not in record.facts or outcome is Outcome.INDETERMINATE:
        yield "catalog"
    told = {digest.partition(":")[0] for digest in digests}
    if "file" not in told:
        yield "digest:file"
    if "authenticode" not in told and kind in _AUTHENTICODE:
        yield "digest:authenticode"
    if kind in _MACHO and not record.facts.keys() & {apple_code.IDENTIFIER, "architecture"}:
        yield from ("digest:cdhash", "bundle-id")
    if kind == "oci-image":
        yield "digest:oci"
    if _is_unread(kind, record.facts):
        yield from ("kind", *_NAMES) if kind == "pe" else ("kind",)
    if any(not s.tbs and s.holder is None for s in record.signatures if s.state == "trusted"):
        yield from ("signers.tbs", "signers.ekus", "signers.key")


def _signers(record: Record) -> tuple[Signer, ...]:
    """Return the trusted signers; who countersigned is no maker of the file."""
    trusted = [s for s in record.signatures if s.state == "trusted" and not s.countersigns]
    return tuple(
        _signer(signature, signature.path, record.facts)
        if signature.path
        else _holder(signature, signature.holder)
        for signature in trusted
        if signature.path or signature.holder
    )


def _holder(signature: SignatureRecord, holder: HolderRecord | None) -> Signer:
    """Return a signer whose key no X.509 certificate holds: he has an identity, and no subject."""
    return Signer(
        identity=holder.publisher if holder else "",
        key=signature.key,
        key_kind=signature.key_kind,
        digest=signature.digest,
    )


def _signer(signature: SignatureRecord, path: PathRecord, facts: Facts) -> Signer:
    leaf, root = path.certificates[0], path.certificates[-1]
    fields = subject_fields(leaf.subject)
    named = lasting_name(
        fields.get("organization", ""), fields.get("common_name", ""), leaf.subject
    )
    who, lasting = (
        signature.keyless,
        identity_of(subscriber_eku(signature.ekus), root.sha256, named),
    )
    return Signer(
        identity=keyless(who.identity, who.issuer).identity if who else lasting,
        keyless_identity=who.identity if who else "",
        keyless_issuer=who.issuer if who else "",
        logged=bool(who and who.logs),
        subject=fields,
        certificates=tuple(certificate.sha256 for certificate in path.certificates),
        names=tuple(subject_fields(c.subject).get("common_name", "") for c in path.certificates),
        tbs=tuple(filter(None, signature.tbs)),
        ekus=signature.ekus,
        key=signature.key,
        key_kind=signature.key_kind,
        digest=signature.digest,
        team_id=apple_code.team_id(
            facts, fields.get("unit", ""), fields.get("organization", ""), root.sha256
        ),
        begins=leaf.not_before,
        proven=signature.proven_time.instant if signature.proven_time else None,
        revocation=_revocation(path),
    )


def _revocation(path: PathRecord) -> Status:
    """Return the worst status along a path, the anchor aside."""
    known = {c.revocation.status if c.revocation else Status.UNKNOWN
             for c in path.certificates[:-1]}  # fmt: skip
    if Status.REVOKED in known:
        return Status.REVOKED
    return Status.GOOD if known == {Status.GOOD} else Status.UNKNOWN


def subject_fields(text: str) -> dict[str, str]:
    """Return the fields of a name in the form of RFC 4514 that rules may ask for.

    Of several values the most specific counts, the one that stands first.
    """
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        part = _PART.match(text, at)
        if part is None:
            return found
        name, _, value = part[1].partition("=")
        field = _SUBJECT_FIELDS.get(name)
        if field and not value.startswith("#"):
            found.setdefault(field, _unescaped(value))
        at = part.end()
    return found


def _unescaped(text: str) -> str:
    """Undo the escapes of RFC 4514 2.4: hexadecimal pairs are octets of UTF-8."""
    if "\\" not in text:
        return text
    out = bytearray()
    at = 0
    for escaped in _ESCAPED.finditer(text):
        out += text[at : escaped.start()].encode("utf-8", "surrogatepass")
        pair = escaped[1]
        out += bytes.fromhex(pair) if len(pair) == 2 else pair.encode("utf-8", "surrogatepass")
        at = escaped.end()
    out += text[at:].encode("utf-8", "surrogatepass")
    return out.decode("utf-8", "replace")
