"""RFC 3161: what a time-stamping authority signed, how it is asked, how it answers."""

from __future__ import annotations

from datetime import datetime

from signward.errors import MalformedError
from signward.frozen import Frozen
from signward.wire import der
from signward.wire.algorithms import DIGEST_OIDS, digest_name

TST_INFO = "1.2.840.113549.1.9.16.1.4"
_WHAT = "timestamp token"
_CLAUSE = "RFC 3161 2.4.2"

MAX_STATUS_TEXT = 400
"""Characters of an authority's own words that are passed on."""


class TstInfo(Frozen, frozen=True, kw_only=True):
    """The fields of a TSTInfo that a verifier or a client needs (times in UTC)."""

    policy: str
    imprint_algorithm: str
    imprint: bytes
    serial: int
    time: datetime
    accuracy_seconds: float
    nonce: int | None


class Answer(Frozen, frozen=True, kw_only=True):
    """A TimeStampResp: its status, what the authority says of it, and the token if granted."""

    status: int
    text: str
    token: bytes

    @property
    def granted(self) -> bool:
        """Whether there is a token: status granted or grantedWithMods."""
        return self.status in (0, 1) and bool(self.token)


def write_request(digest: str, imprint: bytes, nonce: int) -> bytes:
    """Return a TimeStampReq (RFC 3161 2.4.1) that asks for the certificates too."""
    algorithm = der.sequence(der.oid(DIGEST_OIDS[digest]), der.null())
    return der.sequence(
        der.integer(1),
        der.sequence(algorithm, der.octet_string(imprint)),
        der.integer(nonce),
        der.boolean(True),  # noqa: FBT003 - certReq
    )


def read_answer(data: bytes) -> Answer:
    """Decode a TimeStampResp (RFC 3161 2.4.2).  Raises ``MalformedError``."""
    what = "timestamp response"
    fields = der.parse(data, what).fields(what, 1)
    status = fields[0].fields(what, 1)
    texts = [
        node.text(what)
        for part in status[1:] if part.tag == der.SEQUENCE
        for node in part.children()
    ]  # fmt: skip
    return Answer(
        status=status[0].integer(what),
        text="; ".join(texts)[:MAX_STATUS_TEXT],
        token=fields[1].raw if len(fields) > 1 else b"",
    )


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
