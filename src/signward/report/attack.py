"""Which verdict facts speak for which MITRE ATT&CK technique (mitigation M1045, Code Signing).

A verdict is about a file, not about an attacker: it *touches* a technique when the
file is in the state that technique leaves behind or needs.  An indeterminate file
touches nothing; it is counted as not judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from signward.findings import Code
from signward.frozen import Frozen
from signward.policy.record import Gist, Record
from signward.state import Outcome

ATTACK_VERSION = "ATT&CK Enterprise, mitigation M1045"

BROKEN = frozenset(
    {
        Code.DIGEST_MISMATCH,
        Code.PAGE_HASH_MISMATCH,
        Code.SLOT_MISSING,
        Code.UNCOVERED_CONTENT,
        Code.SIGNATURE_MISMATCH,
        Code.ATTRIBUTE_RULE,
    }
)
"""The signature does not cover these bytes: they changed after signing, or it was copied here."""

INVALID = BROKEN | {
    Code.MALFORMED,
    Code.AMBIGUOUS,
    Code.ALGORITHM_INCONSISTENT,
    Code.EXPLICIT_CURVE,
    Code.NO_PATH,
    Code.UNTRUSTED_ROOT,
    Code.CERTIFICATE_MALFORMED,
    Code.CERTIFICATE_SIGNATURE,
    Code.BASIC_CONSTRAINTS,
    Code.PATH_LENGTH,
    Code.NAME_CONSTRAINTS,
    Code.CRITICAL_EXTENSION,
    Code.WRONG_USAGE,
    Code.PUBLISHER_MISMATCH,
}
"""The signature never was a good one here.  A real one that no longer counts (expired,
revoked, weak) is not among them: it is no mask."""

POWERSHELL = (".ps1", ".psm1", ".psd1", ".ps1xml", ".psc1", ".cdxml")
PROFILES = frozenset(
    {
        "profile.ps1",
        "microsoft.powershell_profile.ps1",
        "microsoft.powershellise_profile.ps1",
        "microsoft.vscode_profile.ps1",
    }
)
"""Scripts every PowerShell host runs at start (Microsoft, about_Profiles)."""

WINDOWS_PROGRAMS = frozenset(
    {
        "cmd.exe", "conhost.exe", "csrss.exe", "ctfmon.exe", "dllhost.exe", "dwm.exe",
        "explorer.exe", "lsaiso.exe", "lsass.exe", "msiexec.exe", "mshta.exe", "ntoskrnl.exe",
        "powershell.exe", "regsvr32.exe", "rundll32.exe", "runtimebroker.exe", "services.exe",
        "sihost.exe", "smss.exe", "spoolsv.exe", "svchost.exe", "taskhostw.exe", "taskmgr.exe",
        "userinit.exe", "wininit.exe", "winlogon.exe", "wmiprvse.exe", "wscript.exe",
        "cscript.exe", "kernel32.dll", "kernelbase.dll", "ntdll.dll", "user32.dll", "advapi32.dll",
    }
)  # fmt: skip
"""Names only Microsoft's own files have a reason to carry."""

_MICROSOFT = ("microsoft corporation", "microsoft windows")


class Technique(Frozen, frozen=True, kw_only=True):
    """One technique, what of a verdict speaks for it, and for which files it is asked."""

    id: str
    name: str
    speaks: str
    concerns: Callable[[Record | Gist], bool]
    touches: Callable[[Record | Gist], bool]

    @property
    def url(self) -> str:
        """Where MITRE describes the technique."""
        return f"https://attack.mitre.org/techniques/{self.id.replace('.', '/')}/"


class Coverage(msgspec.Struct):
    """What one set of files says about one technique, in files."""

    concerned: int = 0
    accepted: int = 0
    unsettled: int = 0
    touched: list[str] = []


def _basename(record: Record | Gist) -> str:
    name = record.subject.replace("\\", "/").rpartition("/")[2]
    return name.rpartition("!")[2].lower()


def _rejected(record: Record | Gist) -> bool:
    return record.outcome is Outcome.REJECTED


def _is_powershell(record: Record | Gist) -> bool:
    return _basename(record).endswith(POWERSHELL) or "powershell" in record.kind.lower()


def _is_profile(record: Record | Gist) -> bool:
    return _basename(record) in PROFILES


def _is_driver(record: Record | Gist) -> bool:
    return _basename(record).endswith(".sys") or record.facts.get("subsystem") in ("native", 1)


def _is_signed(record: Record | Gist) -> bool:
    return bool(record.signatures)


def _has_windows_name(record: Record | Gist) -> bool:
    return _basename(record) in WINDOWS_PROGRAMS


def _is_microsofts(record: Record | Gist) -> bool:
    return record.publisher is not None and record.publisher.name.lower().startswith(_MICROSOFT)


TECHNIQUES = (
    Technique(
        id="T1036.001",
        name="Masquerading: Invalid Code Signature",
        speaks="a signature is there and never was a good one: copied from another file, "
        "broken, self-made or without a path to a trusted root",
        concerns=_is_signed,
        touches=lambda r: _rejected(r) and _is_signed(r) and r.cause in INVALID,
    ),
    Technique(
        id="T1036.005",
        name="Masquerading: Match Legitimate Resource Name or Location",
        speaks="a Windows system file's name on a file that no trusted Microsoft signature "
        "stands behind",
        concerns=_has_windows_name,
        touches=lambda r: (
            _has_windows_name(r)
            and r.outcome is not Outcome.INDETERMINATE
            and not (r.outcome is Outcome.ACCEPTED and _is_microsofts(r))
        ),
    ),
    Technique(
        id="T1554",
        name="Compromise Host Software Binary",
        speaks="a signed program or script whose bytes are not the ones that were signed",
        concerns=_is_signed,
        touches=lambda r: _rejected(r) and r.cause in BROKEN,
    ),
    Technique(
        id="T1543.003",
        name="Create or Modify System Process: Windows Service",
        speaks="a driver or native program that is unsigned or rejected",
        concerns=_is_driver,
        touches=lambda r: _is_driver(r) and _rejected(r),
    ),
    Technique(
        id="T1059.001",
        name="Command and Scripting Interpreter: PowerShell",
        speaks="a PowerShell file that an AllSigned execution policy would refuse",
        concerns=_is_powershell,
        touches=lambda r: _is_powershell(r) and _rejected(r),
    ),
    Technique(
        id="T1546.013",
        name="Event Triggered Execution: PowerShell Profile",
        speaks="a PowerShell profile that is unsigned or rejected",
        concerns=_is_profile,
        touches=lambda r: _is_profile(r) and _rejected(r),
    ),
)


def touched(record: Record | Gist) -> tuple[str, ...]:
    """Return the ids of the techniques that this verdict speaks for."""
    return tuple(technique.id for technique in TECHNIQUES if technique.touches(record))


def count(coverage: Mapping[str, Coverage], record: Record | Gist) -> None:
    """Add one verdict to ``coverage`` (technique id to counts)."""
    for technique in TECHNIQUES:
        if technique.concerns(record):
            entry = coverage[technique.id]
            entry.concerned += 1
            entry.accepted += record.outcome is Outcome.ACCEPTED
            entry.unsettled += record.outcome is Outcome.INDETERMINATE
            if technique.touches(record):
                entry.touched.append(record.subject)


def coverage(records: Iterable[Record]) -> dict[str, Coverage]:
    """Return, per technique id, how many files it concerns and which touch it."""
    table = {technique.id: Coverage() for technique in TECHNIQUES}
    for record in records:
        count(table, record)
    return table
