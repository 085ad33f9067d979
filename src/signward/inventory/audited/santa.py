"""Santa (macOS): executions in its log of lines (``EventLogType`` filelog or syslog).

Source: santad's BasicString serializer.  A line is ``[TIME] I santad: action=EXEC|decision=...|``
with ``key=value`` between bars; in values a bar is written ``<pipe>`` and a line end as an escape,
which a name may also contain: such a path is unknown.  The certificate is the leaf's; it counts
as trusted with a team identifier or as Apple's own (``signingid=platform:``), for a certificate
of one's own making is logged just the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from signward.inventory.audited.lines import lines_of
from signward.inventory.audited.windows import first, worth
from signward.policy.rules.subject import Signer, Subject

MAX_FIELDS = 256
"""Fields of one line; an execution has some 25."""

_EXECUTION = re.compile(r"\bsantad?(?:\[\d+\])?: (action=EXEC\|.*)\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_CDHASH = re.compile(r"[0-9a-f]{40}\Z")
_TEAM = re.compile(r"[A-Z0-9]{10}\Z")

_NOT_TOLD = frozenset({
    "digest:authenticode", "digest:oci", "signers.tbs", "signers.ekus", "signers.key",
    "signers.subject", "proven-time", "revocation", "product", "original-name", "internal-name",
    "bundle-id", "version", "origin", "catalog",
})  # fmt: skip


def is_mine(head: bytes) -> bool:
    """Say whether some line there is Santa's."""
    return b"santad: action=" in head or re.search(rb"santad?\[\d+\]: action=", head) is not None


def read(path: Path) -> Iterator[Subject]:
    """Yield what was executed, allowed or denied.  Raises ``LimitError``."""
    for line in lines_of(path):
        match = _EXECUTION.search(line)
        if match:
            yield _subject(_fields(match[1]))


def _fields(text: str) -> Mapping[str, str]:
    """Return the fields by name, of a repeated one the first."""
    found: dict[str, str] = {}
    for part in text.split("|", MAX_FIELDS)[:MAX_FIELDS]:
        name, equals, value = part.partition("=")
        if equals:
            found.setdefault(name, value)
    return found


def _subject(fields: Mapping[str, str]) -> Subject:
    unknown, host = set(_NOT_TOLD), fields.get("machineid", "")
    path = fields.get("path", "")
    if not path.startswith("/") or "<pipe>" in path or "\\" in path:
        unknown.add("path")
    if not host:
        unknown.add("host")
    signers = _signers(fields, unknown)
    return Subject(
        path=path,
        host=host[:255],
        kind="macho",
        file_class="executable",
        digests=_digests(fields, unknown),
        signers=signers,
        outcome=worth(signers, unsigned=False),
        unknown=frozenset(unknown),
    )


def _digests(fields: Mapping[str, str], unknown: set[str]) -> frozenset[str]:
    file, code = fields.get("sha256", ""), fields.get("cdhash", "")
    found = set()
    if _SHA256.match(file):
        found.add(f"file:sha256:{file}")
    else:
        unknown.add("digest:file")
    if _CDHASH.match(code):
        found.add(f"cdhash:sha256:{code}")
    else:
        unknown.add("digest:cdhash")
    return frozenset(found)


def _signers(fields: Mapping[str, str], unknown: set[str]) -> tuple[Signer, ...]:
    """Return the trusted signer; without a certificate told, nothing is: ad hoc, or none at all."""
    certificate, name = fields.get("cert_sha256", ""), fields.get("cert_cn", "")
    team = first(fields, "teamid", "team_id")
    by_apple = first(fields, "signingid", "signing_id").startswith("platform:")
    if not _SHA256.match(certificate):
        return ()
    if not (_TEAM.match(team) or by_apple):
        unknown.add("signers")
        return ()
    return (
        Signer(
            subject={"common_name": name} if name else {},
            certificates=(certificate,),
            names=(name,) if name else (),
            team_id=team if _TEAM.match(team) else "",
        ),
    )
