"""SSH's lists of allowed signers (ssh-keygen(1), "ALLOWED SIGNERS"): read, not judged.

A line: principals, options if there are any, the kind of a key and the key in Base64.  Empty lines
and those that begin with ``#`` say nothing.  Times without a ``Z`` are taken as UTC: OpenSSH takes
them in the zone of whatever machine reads them.  A line that begins with a key (``id.pub``) names
it for nobody in particular, and for every namespace.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache

from signward.envelopes.sshsig import KIND, decoded, read_key
from signward.errors import BadInputError, LimitError, MalformedError
from signward.frozen import Frozen
from signward.state import HeldKey

MAX_LINES = 20_000
"""Lines of one list."""

_WHAT = "allowed signers"
_CLAUSE = "ssh-keygen(1), ALLOWED SIGNERS"
_KEY_KIND = rb"(?:sk-)?(?:ssh-|ecdsa-sha2-)[\w.@-]+"
_LINE = re.compile(
    rb'[ \t]*(?P<principals>"[^"]*"|[^\s"#][^\s"]*)[ \t]+'
    rb"(?:(?!" + _KEY_KIND + rb'[ \t])(?P<options>(?:[^\s"]|"[^"]*")+)[ \t]+)?'
    rb"(?P<kind>" + _KEY_KIND + rb")[ \t]+(?P<key>[A-Za-z0-9+/=]+)(?:[ \t].*)?"
)
_BARE = re.compile(
    rb"[ \t]*(?P<kind>" + _KEY_KIND + rb")[ \t]+(?P<key>AAAA[A-Za-z0-9+/=]+)(?:[ \t].*)?"
)
"""A public key file.  A key begins with the length of its kind, so that Base64 begins with AAAA."""

_OPTION = re.compile(r'(?P<name>[A-Za-z-]+)(?:="(?P<value>[^"]*)")?(?:,|$)')
_TIME = re.compile(r"\d{8}(?:\d{4}(?:\d{2})?)?")


class Entry(Frozen, frozen=True, kw_only=True):
    """One line.  ``namespaces`` is a list of patterns, None where any is allowed.

    ``principals`` is empty for a bare key.  ``authority`` says that the key certifies other keys
    and signs for nobody itself.
    """

    principals: str
    blob: bytes
    authority: bool = False
    namespaces: str | None = None
    after: datetime | None = None
    before: datetime | None = None


def is_list(data: bytes) -> bool:
    """Say whether the first line that says something is one of allowed signers."""
    lines = (line for line in data[:65536].splitlines() if _says(line))
    first = next(lines, b"")
    return (_BARE.fullmatch(first) or _LINE.fullmatch(first)) is not None


def _says(line: bytes) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith(b"#")


def read_line(line: bytes) -> Entry:
    """Return what one line says.  Raises ``MalformedError``, for an unknown option, too."""
    bare = _BARE.fullmatch(line)
    if bare is not None:
        return Entry(principals="", blob=_blob(bare["kind"], bare["key"]))
    found = _LINE.fullmatch(line)
    if found is None:
        told = line[:80].decode("utf-8", "backslashreplace")
        raise MalformedError(_WHAT, f"line {told!r}", "principals, options, a key", _CLAUSE)
    options = _options((found["options"] or b"").decode("utf-8", "backslashreplace"))
    principals = found["principals"].strip(b'"').decode("utf-8", "backslashreplace")
    if all(one.startswith("!") or not one for one in principals.split(",")):
        # OpenSSH lets nobody sign by it; here it would look like a key of no matter whom.
        raise MalformedError(_WHAT, f"principals {principals!r}", "somebody", _CLAUSE)
    return Entry(
        principals=principals,
        blob=_blob(found["kind"], found["key"]),
        authority="cert-authority" in options,
        namespaces=options.get("namespaces"),
        after=_time(options.get("valid-after")),
        before=_time(options.get("valid-before")),
    )


def _blob(kind: bytes, text: bytes) -> bytes:
    """Return a key's octets.  Raises ``MalformedError`` where they are of another kind."""
    blob = decoded(text)
    if read_key(blob).kind != kind:
        raise MalformedError(_WHAT, "a key of another kind", kind.decode(), _CLAUSE)
    return blob


def _options(text: str) -> dict[str, str]:
    """Return the options by name; a flag has an empty value."""
    options, position = dict[str, str](), 0
    while position < len(text):
        found = _OPTION.match(text, position)
        name = found["name"].lower() if found else ""
        valued = name in ("namespaces", "valid-after", "valid-before")
        if found is None or name in options or (found["value"] is not None) != valued:
            raise MalformedError(_WHAT, f"options {text!r}", "each once, as described", _CLAUSE)
        if not valued and name != "cert-authority":
            raise MalformedError(_WHAT, f"option {name}", "a known one", _CLAUSE)
        options[name] = found["value"] or ""
        position = found.end()
    return options


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    digits = text.removesuffix("Z")
    try:
        if _TIME.fullmatch(digits):
            return datetime.strptime(digits.ljust(14, "0"), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        pass
    raise MalformedError(_WHAT, f"time {text!r}", "YYYYMMDD[HHMM[SS]][Z]", _CLAUSE)


def read_list(data: bytes) -> Iterator[tuple[bytes, Entry]]:
    """Yield each line that says something, and what.  Raises as `read_line`, and ``LimitError``."""
    lines = [line for line in data.splitlines() if _says(line)]
    if len(lines) > MAX_LINES:
        raise LimitError(_WHAT, f"{len(lines)} lines", f"at most {MAX_LINES}")
    for line in lines:
        yield line, read_line(line)


def allowed_keys(data: bytes) -> tuple[HeldKey, ...]:
    """Return the keys of a list that can be checked with; what holds each are its lines.

    A certificate in such a place allows nobody.  Raises ``MalformedError`` and ``LimitError``.
    """
    lines = dict[bytes, list[bytes]]()
    for line, entry in read_list(data):
        lines.setdefault(entry.blob, []).append(line)
    keys = ((read_key(blob), b"\n".join(own)) for blob, own in lines.items())
    return tuple(
        HeldKey(kind=KIND, key_id=key.fingerprint, spki=key.spki, holder=holder)
        for key, holder in keys
        if key.spki and not key.certified
    )


@lru_cache(maxsize=1024)
def entries(holder: bytes) -> tuple[Entry, ...]:
    """Return what the lines say that hold one key; none where they are no such lines."""
    try:
        return tuple(entry for _, entry in read_list(holder))
    except BadInputError:
        return ()


def matches(patterns: str, text: str) -> bool:
    """Say whether a list of patterns has the text (ssh_config(5), PATTERNS).

    ``*`` and ``?`` stand for others, ``!`` before one takes back what the list has otherwise.
    """
    found = False
    for pattern in patterns.split(","):
        denied = pattern.startswith("!")
        escaped = re.escape(pattern.removeprefix("!")).replace(r"\*", ".*").replace(r"\?", ".")
        if re.fullmatch(escaped, text, re.DOTALL):
            if denied:
                return False
            found = True
    return found
