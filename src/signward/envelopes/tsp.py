"""RFC 3161 TSTInfo: what a time-stamping authority signed."""

from __future__ import annotations

from datetime import datetime

from signward.errors import MalformedError
from signward.frozen import Frozen
from signward.wire import der
from signward.wire.algorithms import digest_name

TST_INFO = "1.2.840.113549.1.9.16.1.4"
_WHAT = "timestamp token"
_CLAUSE = "RFC 3161 2.4.2"


class TstInfo(Frozen, frozen=True, kw_only=True):
    """The fields of a TSTInfo that a verifier or a client needs (times in UTC)."""

    policy: str
    imprint_algorithm: str
    imprint: bytes
    serial: int
    time: datetime
    accuracy_seconds: float
    nonce: int | None


def read_tst_info(content: bytes) -> TstInfo:
    """Decode a TSTInfo (RFC 3161 2.4.2).  Raises ``MalformedError``."""
    fields = der.parse(content, _WHAT).fields(_WHAT, 5)
    if fields[0].integer(_WHAT) != 1:
        raise MalformedError(_WHAT, f"version {fields[0].integer()}", "version 1", _CLAUSE)
    imprint = fields[2].fields(_WHAT, 2)
    accuracy, nonce = 0.0, None
    for field in fields[5:]:
        if field.tag == der.SEQUENCE:
            accuracy = _accuracy(field)
        elif field.tag == der.INTEGER:
            nonce = field.integer(_WHAT)
    return TstInfo(
        policy=fields[1].oid(_WHAT),
        imprint_algorithm=digest_name(imprint[0], _WHAT),
        imprint=imprint[1].octets(_WHAT),
        serial=fields[3].integer(_WHAT),
        time=fields[4].expect(der.GENERALIZED_TIME, _WHAT).time(_WHAT),
        accuracy_seconds=accuracy,
        nonce=nonce,
    )


def _accuracy(node: der.Node) -> float:
    units = {der.INTEGER: 1.0, 0x80: 1e-3, 0x81: 1e-6}
    total = 0.0
    for field in node.children():
        if field.tag not in units or field.end - field.start > 4:
            raise MalformedError(_WHAT, "an odd accuracy", "seconds, millis, micros", _CLAUSE)
        total += units[field.tag] * field.implicit(der.INTEGER).integer(_WHAT)
    return total
