"""fapolicyd (Linux): decisions in the journal, in syslog or on its standard error.

Source: fapolicyd.conf(5), ``syslog_format``.  A line is ``rule=N dec=... perm=... ... exe=PATH :
path=PATH ftype=MIME trust=N``, in the order the configuration gives, as they are: a path may hold
blanks, line ends and whole fields of its own making.  Where a line can be read in two ways, or
nothing stands behind the path, so that it may go on in the next line, or more than in other lines,
path, kind and digest are unknown.  Signatures are not fapolicyd's matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from signward.inventory.audited.lines import lines_of
from signward.policy.rules.subject import Subject

MAX_OBJECT = 8192
"""Characters of an object that are looked at: a path has 4,096 octets, escapes make more."""

_DECISION = re.compile(r"\bdec=(?:allow|deny)(?:_\w+)? (?P<subject>.*? : )(?P<object>.*)\Z")
_OBJECT = re.compile(
    r"(?:path|file)=(?P<path>.*?)(?P<rest>(?: (?:ftype|trust|sha256hash|filehash|device|mode)="
    r"[^ ]*)*)\Z"
)
_PERMISSION = re.compile(r"\bperm=(\w+)")
_HOST = re.compile(
    r"(?:[A-Z][a-z]{2} [ \d]\d [\d:]{8}|\d{4}-\d\d-\d\dT\S{8,32}) (?P<host>\S{1,255}) fapolicyd"
    r"(?:\[\d+\])?: "
)
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")

_NOT_TOLD = frozenset({
    "digest:authenticode", "digest:cdhash", "digest:oci", "signers", "proven-time", "revocation",
    "product", "original-name", "internal-name", "bundle-id", "version", "origin", "catalog",
})  # fmt: skip

_SCRIPTS: Mapping[str, str] = {
    "text/x-shellscript": "shell",
    "text/x-python": "python",
    "text/x-perl": "perl",
    "text/x-ruby": "ruby",
    "text/x-php": "php",
    "text/x-lua": "lua",
    "text/x-tcl": "tcl",
    "text/x-awk": "awk",
    "application/javascript": "javascript",
    "text/javascript": "javascript",
}
_PROGRAMS = frozenset({"application/x-executable", "application/x-pie-executable"})
_ELF = _PROGRAMS | {"application/x-sharedlib"}


def is_mine(head: bytes) -> bool:
    """Say whether some line there is a decision of fapolicyd."""
    return re.search(rb"\bdec=(?:allow|deny)\w* .{0,200}perm=", head) is not None


def read(path: Path) -> Iterator[Subject]:
    """Yield the files decided about, allowed or denied.  Raises ``LimitError``."""
    fewest = _fewest(path)
    for line in lines_of(path):
        match = _DECISION.search(line)
        if match:
            yield _subject(line, match, fewest)


def _fewest(path: Path) -> tuple[str, ...]:
    """Return the fields behind the path in the line that has fewest.

    The configuration is the same for every line: where a line has more, its name may bring them.
    """
    matches = filter(None, (_DECISION.search(line) for line in lines_of(path)))
    orders = {tuple(told) for told in (_object(match)[1] for match in matches) if told}
    return min(orders, key=lambda order: (len(order), order), default=())


def _subject(line: str, match: re.Match[str], fewest: tuple[str, ...]) -> Subject:
    unknown = set(_NOT_TOLD)
    source = _HOST.match(line)
    if source is None:
        unknown.add("host")
    path, told = _object(match)
    if not path.startswith("/") or tuple(told) != fewest:
        unknown |= {"path", "kind", "digest:file"}
        path, told = "", {}
    kind, classes = _kind(match["subject"], told.get("ftype", ""))
    if len(classes) != 1:
        unknown.add("kind")
    digest = told.get("sha256hash") or told.get("filehash") or ""
    if not _SHA256.match(digest):
        unknown.add("digest:file")
    return Subject(
        path=path,
        host=source["host"] if source else "",
        kind=kind,
        file_class=next(iter(classes)) if len(classes) == 1 else "",
        classes=classes if len(classes) > 1 else frozenset(),
        digests=frozenset({f"file:sha256:{digest}"} if _SHA256.match(digest) else ()),
        unknown=frozenset(unknown),
    )


def _object(match: re.Match[str]) -> tuple[str, Mapping[str, str]]:
    """Return path and fields of the object; an empty path where they can be read in two ways."""
    text = match["object"]
    found = _OBJECT.match(text) if len(text) <= MAX_OBJECT and " : " not in text else None
    if found is None:
        return "", {}
    pairs = [field.split("=", 1) for field in found["rest"].split(" ")[1:]]
    told = dict(pairs)
    if not told or len(told) < len(pairs) or re.search(r" \w+=", found["path"]):
        return "", {}
    return found["path"], told


def _kind(subject: str, mime: str) -> tuple[str, frozenset[str]]:
    """Return kind and class, or the classes it is one of.

    libc is of the type of a program and is loaded, the loader of the type of a library and is
    executed: type and permission have to agree.
    """
    permission = _PERMISSION.search(subject)
    executed = permission is not None and permission[1] == "execute"
    if mime in _ELF:
        if mime in _PROGRAMS and executed:
            return "elf", frozenset({"executable"})
        if mime not in _PROGRAMS and not executed:
            return "elf", frozenset({"library"})
        return "elf", frozenset({"executable", "library"})
    script = _SCRIPTS.get(mime, "")
    return script, frozenset({"script"} if script else ())
