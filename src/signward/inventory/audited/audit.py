"""The Linux audit log: decisions of fapolicyd that the kernel recorded (rules with ``_audit``).

Sources: audit(8), ausearch(8) ``--raw``; the kernel's ``audit_log_untrustedstring``, which writes a
name in quotes, or in hex where a quote, a blank or a control stands in it.  The records of one
event share ``msg=audit(TIME:SERIAL)`` and may stand between those of others: FANOTIFY is the
decision, PATH the file, SYSCALL what was asked, CWD what a relative name begins at.  An event
with more paths than one does not tell which was decided about.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path

from signward.inventory.audited.lines import lines_of
from signward.policy.rules.subject import Subject

MAX_PENDING = 4096
"""Events whose records are still coming: the kernel writes those of one event together."""
MAX_RECORDS = 64
"""Records of one event; a call of many paths has more, and no decision to tell."""

_RECORD = re.compile(
    r"(?:node=(?P<node>\S{1,255}) )?type=(?P<type>[A-Z_0-9]+) "
    r"msg=audit\((?P<event>\d+\.\d+:\d+)\): ?(?P<rest>.*)\Z"
)
_BEGINNING = re.compile(rb"(?:node=\S+ )?type=[A-Z_0-9]+ msg=audit\(\d+\.\d+:\d+\):")
_FIELD = re.compile(r'([a-z0-9_]+)=("[^"]*"|\S*)')
_HEX = re.compile(r"(?:[0-9A-F]{2})+\Z")

_TYPES = frozenset({"FANOTIFY", "PATH", "CWD", "SYSCALL"})
_EXECUTIONS = {("c000003e", "59"), ("c00000b7", "221")}
"""``execve`` on x86-64 and AArch64 (linux/audit.h, asm/unistd.h)."""
_CURRENT_FOLDER = "ffffff9c"
"""AT_FDCWD as the first argument: relative names begin at the current folder."""

_NOT_TOLD = frozenset({
    "digest:file", "digest:authenticode", "digest:cdhash", "digest:oci", "signers", "proven-time",
    "revocation", "product", "original-name", "internal-name", "bundle-id", "version", "origin",
    "catalog", "kind",
})  # fmt: skip

_Records = list[tuple[str, Mapping[str, str]]]


def is_mine(head: bytes) -> bool:
    """Say whether a file begins with a record of the audit log."""
    return _BEGINNING.match(head) is not None


def read(path: Path) -> Iterator[Subject]:
    """Yield the files that fanotify decided about, allowed or denied.  Raises ``LimitError``."""
    pending: OrderedDict[tuple[str, str], _Records] = OrderedDict()
    for line in lines_of(path):
        match = _RECORD.match(line)
        if match is None or match["type"] not in _TYPES:
            continue
        records = pending.setdefault((match["node"] or "", match["event"]), [])
        if len(records) < MAX_RECORDS:
            records.append((match["type"], dict(_FIELD.findall(match["rest"]))))
        if len(pending) > MAX_PENDING:
            yield from _told(*pending.popitem(last=False))
    while pending:
        yield from _told(*pending.popitem(last=False))


def _told(event: tuple[str, str], records: _Records) -> Iterator[Subject]:
    by_type = dict(records)
    if "FANOTIFY" not in by_type:
        return
    node, call = event[0], by_type.get("SYSCALL", {})
    files = [r for kind, r in records if kind == "PATH" and r.get("nametype") == "NORMAL"]
    path = _path(files[0], by_type.get("CWD", {}), call) if len(files) == 1 else ""
    unknown = _NOT_TOLD | ({"host"} if not node else set()) | ({"path"} if not path else set())
    executed = (call.get("arch", ""), call.get("syscall", "")) in _EXECUTIONS
    yield Subject(
        path=path,
        host=node,
        classes=frozenset({"executable", "script"} if executed and len(files) == 1 else ()),
        unknown=unknown,
    )


def _path(file: Mapping[str, str], folder: Mapping[str, str], call: Mapping[str, str]) -> str:
    """Return the absolute path of a file; empty where the records do not tell it."""
    name = _name(file.get("name", ""))
    if name.startswith("/"):
        return name
    executed = (call.get("arch", ""), call.get("syscall", "")) in _EXECUTIONS
    current = _name(folder.get("cwd", ""))
    if not name or not current.startswith("/"):
        return ""
    if not executed and call.get("a0") != _CURRENT_FOLDER:
        return ""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:  # through a symbolic link it leads elsewhere
        return ""
    return "/".join((current.rstrip("/"), *parts))


def _name(text: str) -> str:
    """Return a name as the kernel writes it, in quotes or in hex; empty for ``(null)``."""
    if text.startswith('"'):
        return text[1:-1]
    if _HEX.match(text):
        return bytes.fromhex(text).decode("utf-8", "backslashreplace")
    return ""
