"""OpenSSH's certificates (PROTOCOL.certkeys): who says whose a key is.  Read, not judged.

Behind the key's own fields: a number, what it is for, a name for logs, the principals, two
instants, options, and the authority's key and value over all octets before.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from signward.envelopes.sshsig import Key, Made, Strings, begin_key, read_key, read_value
from signward.errors import MalformedError
from signward.frozen import Frozen

USER = 1
"""What certificates of people are for; those of hosts have 2."""

MAX_PRINCIPALS = 256
"""Principals of one certificate, as many as OpenSSH takes (SSHKEY_CERT_MAX_PRINCIPALS)."""

_WHAT = "SSH certificate"
_CLAUSE = "PROTOCOL.certkeys"
_LAST = 253_402_300_799
"""Seconds since 1970 of the last one that a datetime can hold (9999-12-31T23:59:59Z)."""


class SshCertificate(Frozen, frozen=True, kw_only=True):
    """A certificate: valid from ``after`` until before ``before`` (None: for ever).

    ``critical`` are the names of options that whoever does not know them must refuse; ``made`` is
    what the authority's value claims to be.
    """

    number: int
    purpose: int
    name: bytes
    principals: tuple[str, ...]
    after: datetime
    before: datetime | None
    critical: tuple[str, ...]
    authority: Key
    made: Made


def read_certificate(blob: bytes) -> SshCertificate:
    """Return what a certificate says.  Raises ``MalformedError``."""
    fields = Strings(blob)
    if not begin_key(fields, blob).certified:
        raise MalformedError(_WHAT, "a key without one", "one", _CLAUSE)
    number, purpose = _long(fields), fields.number()
    name, principals = fields.string(), tuple(_names(fields.string()))
    after, before = _long(fields), _long(fields)
    critical = tuple(_options(fields.string()))
    fields.string()  # extensions: what a login may do
    fields.string()  # reserved
    authority = read_key(fields.string())
    signed, value = fields.seen, fields.string()
    fields.end()
    if authority.certified:
        raise MalformedError(_WHAT, "an authority that is certified itself", "a key", _CLAUSE)
    return SshCertificate(
        number=number,
        purpose=purpose,
        name=name,
        principals=principals,
        after=datetime.fromtimestamp(min(after, _LAST), UTC),
        before=datetime.fromtimestamp(before, UTC) if before <= _LAST else None,
        critical=critical,
        authority=authority,
        made=read_value(authority, value, signed),
    )


def _long(fields: Strings) -> int:
    return int.from_bytes(fields.octets(8), "big")


def _names(data: bytes) -> Iterator[str]:
    fields, count = Strings(data), 0
    while fields.left:
        count += 1
        if count > MAX_PRINCIPALS:
            raise MalformedError(_WHAT, f"more than {MAX_PRINCIPALS} principals", "fewer", _CLAUSE)
        yield _text(fields.string())


def _options(data: bytes) -> Iterator[str]:
    fields = Strings(data)
    while fields.left:
        yield _text(fields.string())
        fields.string()


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "backslashreplace")
