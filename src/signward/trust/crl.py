"""Certificate revocation lists: full, delta, indirect, partitioned (RFC 5280 5).

A CRL is read in two steps.  The frame (issuer, dates, extensions, signature) is read
at once; the entries are indexed by serial number when the first one is asked for, in
one pass that decodes nothing but serials and notes what is unusual.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any

from signward import integrity
from signward.errors import LimitError, MalformedError
from signward.frozen import Frozen
from signward.state import Algorithm
from signward.trust.distribution import (
    IssuingDistributionPoint,
    directory_names,
    read_issuing_point,
    read_points,
)
from signward.trust.names import name_text, normalized_name
from signward.wire import der
from signward.wire.algorithms import signature_algorithm

MAX_CRL_OCTETS = 128 * 1024 * 1024
"""Largest CRL read; the largest public one seen has 30 MB."""

MAX_ENTRIES = 1_000_000
MAX_EXTENSIONS = 32

CRL_NUMBER, DELTA_CRL, ISSUING_POINT = "2.5.29.20", "2.5.29.27", "2.5.29.28"
AUTHORITY_KEY, FRESHEST_CRL, EXPIRED_CERTS = "2.5.29.35", "2.5.29.46", "2.5.29.60"
REASON_CODE, INVALIDITY_DATE, CERTIFICATE_ISSUER = "2.5.29.21", "2.5.29.24", "2.5.29.29"
_HOLD_INSTRUCTION = "2.5.29.23"

_KNOWN = frozenset(
    {CRL_NUMBER, DELTA_CRL, ISSUING_POINT, AUTHORITY_KEY, FRESHEST_CRL, EXPIRED_CERTS}
)
_KNOWN_IN_ENTRY = frozenset({REASON_CODE, INVALIDITY_DATE, CERTIFICATE_ISSUER, _HOLD_INSTRUCTION})

REASON_NAMES = {
    0: "unspecified",
    1: "keyCompromise",
    2: "cACompromise",
    3: "affiliationChanged",
    4: "superseded",
    5: "cessationOfOperation",
    6: "certificateHold",
    8: "removeFromCRL",
    9: "privilegeWithdrawn",
    10: "aACompromise",
}
"""CRLReason (RFC 5280 5.3.1)."""

HOLD, REMOVED = "certificateHold", "removeFromCRL"

_WEAK_DIGESTS = frozenset({"md2", "md5"})
"""Refused whatever the date: who can forge an MD5 value can forge a CRL."""

_UTC_TIME_OCTETS = 15
_NO_ENTRIES: dict[bytes, int] = {}

_PLAIN_REASON = bytes.fromhex("300c300a0603551d1504030a01")
"""Extensions that hold a reasonCode, not critical, and nothing else: nearly all of them."""


class CrlEntry(Frozen, frozen=True, kw_only=True):
    """One revoked certificate.  ``reason`` is empty where none was given."""

    revoked_at: datetime
    reason: str = ""
    invalid_from: datetime | None = None


class Crl(Frozen, frozen=True, kw_only=True, eq=False, dict=True, gc=True):
    """One CRL; equal when its DER is.  Not slotted: the index is built when asked for.

    ``issuer`` is the raw Name, ``delta_base`` the BaseCRLNumber of a delta CRL.
    ``unusable`` is why the CRL must not be used whatever it says, ``improper`` which
    rule for its issuer it breaks, so that silence proves nothing (empty: none).
    """

    sha256: bytes
    data: bytes
    issuer: bytes
    this_update: datetime
    next_update: datetime | None
    tbs: bytes
    algorithm: Algorithm
    value: bytes
    number: int | None
    delta_base: int | None
    scope: IssuingDistributionPoint | None
    scope_raw: bytes
    authority_key_identifier: bytes | None
    authority_key_raw: bytes
    expired_since: datetime | None
    freshest_urls: tuple[str, ...]
    unusable: str
    improper: str
    entries: tuple[int, int]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Crl):
            return NotImplemented
        return self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __repr__(self) -> str:
        return f"<Crl {self.label}>"

    @property
    def label(self) -> str:
        """How messages name this CRL."""
        kind = "CRL" if self.delta_base is None else "delta CRL"
        number = "" if self.number is None else f" {self.number}"
        return f"{kind}{number} of {name_text(self.issuer)}, {self.this_update:%Y-%m-%d %H:%M}"

    @property
    def indirect(self) -> bool:
        """Whether entries may speak of other issuers' certificates."""
        return self.scope is not None and self.scope.indirect

    def entry(self, serial: int, issuer: bytes) -> CrlEntry | None:
        """Return what is said about ``serial`` of ``issuer`` (raw Name), or None.

        Where a serial stands twice, the entry of the earlier revocation date counts.
        Raises ``BadInputError`` for entries that cannot be read.
        """
        key = _serial_key(serial)
        name = normalized_name(issuer)
        index, twins = self.index
        offset = index.get(name, _NO_ENTRIES).get(key)
        offsets = () if offset is None else (offset, *twins.get((name, key), ()))
        entries = [_read_entry(self.data, offset) for offset in offsets]
        return min(entries, key=lambda e: e.revoked_at, default=None)

    @cached_property
    def index(self) -> tuple[dict[bytes, dict[bytes, int]], dict[tuple[bytes, bytes], list[int]]]:
        """Offsets of entries by normalized issuer and serial octets, and those of twins.

        Raises ``BadInputError`` where an entry is malformed or carries a critical
        extension that is not known (RFC 5280 5.3: such a CRL must not be used).
        """
        return _Indexer(self).run()


@lru_cache(maxsize=256)
def load_crl(data: bytes) -> Crl:
    """Read one DER CRL (RFC 5280 5.1).  Raises ``BadInputError``."""
    if len(data) > MAX_CRL_OCTETS:
        raise LimitError("CRL", f"{len(data)} bytes", f"at most {MAX_CRL_OCTETS}")
    outer = der.parse(data, "CRL").fields("CRL", 3)
    if len(outer) != 3:
        raise MalformedError("CRL", f"{len(outer)} fields", "3", "RFC 5280 5.1.1")
    tbs, algorithm, value = outer
    frame = _Frame(tbs)
    unusable = frame.unusable
    if frame.algorithm.raw != algorithm.raw:
        unusable = "two different signature algorithms (RFC 5280 5.1.1.2)"
    bits = value.expect(der.BIT_STRING, "CRL signature").content
    if bits[:1] != b"\0":
        unusable = "a signature value that is not whole octets"
    return Crl(
        sha256=hashlib.sha256(data).digest(),
        data=data,
        issuer=frame.issuer,
        this_update=frame.this_update,
        next_update=frame.next_update,
        tbs=tbs.raw,
        algorithm=signature_algorithm(algorithm, what="CRL"),
        value=bits[1:],
        entries=frame.entries,
        unusable=unusable,
        improper=frame.improper,
        **frame.extension_fields(),
    )


@lru_cache(maxsize=1024)
def is_signed_with(crl: Crl, spki: bytes) -> bool:
    """Return whether the key made the CRL's signature; MD2 and MD5 never count."""
    if crl.algorithm.digest in _WEAK_DIGESTS:
        return False
    try:
        integrity.check_value(spki, crl.algorithm, crl.tbs, crl.value)
    except (integrity.ValueMismatchError, integrity.UnsupportedKeyError):
        return False
    return True


class _Frame:
    """Reads TBSCertList but for its entries."""

    def __init__(self, tbs: der.Node) -> None:
        fields = tbs.fields("CRL", 3)
        self.unusable = self.improper = ""
        version = fields.pop(0).integer("CRL version") if fields[0].tag == der.INTEGER else 0
        if version not in (0, 1) or len(fields) < 3:
            raise MalformedError("CRL", f"version {version + 1}", "1 or 2", "RFC 5280 5.1.2.1")
        self.algorithm, issuer, this_update, *rest = fields
        self.issuer, self.this_update = issuer.raw, this_update.time("thisUpdate")
        normalized_name(self.issuer)
        self.next_update = None
        if rest and rest[0].tag in (der.UTC_TIME, der.GENERALIZED_TIME):
            self.next_update = rest.pop(0).time("nextUpdate")
        self.entries = (0, 0)
        if rest and rest[0].tag == der.SEQUENCE:
            revoked = rest.pop(0)
            self.entries = (revoked.start, revoked.end)
        self.extensions: dict[str, bytes] = {}
        if rest and rest[0].tag == 0xA0:
            self._read_extensions(rest.pop(0))
        if rest:
            raise MalformedError("CRL", f"field {rest[0].tag:#04x}", "none", "RFC 5280 5.1.2")
        if version == 1 and CRL_NUMBER not in self.extensions:
            self.improper = "no CRL number (RFC 5280 5.2.3)"
        if self.extensions and version != 1:
            self.unusable = "version 1 with extensions (RFC 5280 5.1.2.1)"

    def _read_extensions(self, field: der.Node) -> None:
        inner = field.children()
        if len(inner) != 1:
            raise MalformedError("CRL", "odd extensions", "one SEQUENCE", "RFC 5280 5.1.2.7")
        self.extensions, critical = read_extensions(inner[0])
        unknown = next(iter(critical - _KNOWN), "")
        if CRL_NUMBER in critical:
            self.improper = "a critical CRL number (RFC 5280 5.2.3)"
        if unknown:
            self.unusable = f"unknown critical extension {unknown} (RFC 5280 5.2)"

    def extension_fields(self) -> dict[str, Any]:
        """Return the fields of ``Crl`` that come from extensions."""
        found = self.extensions
        scope_raw, key = found.get(ISSUING_POINT, b""), found.get(AUTHORITY_KEY, b"")
        freshest = found.get(FRESHEST_CRL)
        points = read_points(freshest, self.issuer) if freshest else ()
        return {
            "number": _number(found.get(CRL_NUMBER)),
            "delta_base": _number(found.get(DELTA_CRL)),
            "scope": read_issuing_point(scope_raw, self.issuer) if scope_raw else None,
            "scope_raw": scope_raw,
            "authority_key_identifier": _key_identifier(key) if key else None,
            "authority_key_raw": key,
            "expired_since": _time(found.get(EXPIRED_CERTS)),
            "freshest_urls": tuple(url for point in points for url in point.urls),
        }


def read_extensions(node: der.Node) -> tuple[dict[str, bytes], frozenset[str]]:
    """Return extension values by OID, and which of them are critical."""
    values: dict[str, bytes] = {}
    critical = set()
    nodes = node.fields("extensions")
    if len(nodes) > MAX_EXTENSIONS:
        raise LimitError("extensions", f"{len(nodes)} of them", f"at most {MAX_EXTENSIONS}")
    for extension in nodes:
        parts = extension.fields("extension", 2)
        oid = parts[0].oid("extension")
        if oid in values or len(parts) > 3:
            raise MalformedError("extension", f"{oid} twice or odd", "each once", "RFC 5280 4.2")
        if len(parts) == 3 and parts[1].boolean("critical"):
            critical.add(oid)
        values[oid] = parts[-1].octets("extension")
    return values, frozenset(critical)


def _number(value: bytes | None) -> int | None:
    return None if value is None else der.parse(value, "CRL number").integer("CRL number")


def _time(value: bytes | None) -> datetime | None:
    return None if value is None else der.parse(value, "expiredCertsOnCRL").time()


def _key_identifier(value: bytes) -> bytes | None:
    fields = der.parse(value, "authorityKeyIdentifier").fields("authorityKeyIdentifier")
    return next((field.content for field in fields if field.tag == 0x80), None)


class _Indexer:
    """Walks the entries of one CRL once."""

    def __init__(self, crl: Crl) -> None:
        self.crl, self.data = crl, crl.data
        self.issuer = normalized_name(crl.issuer)

    def run(self) -> tuple[dict[bytes, dict[bytes, int]], dict[tuple[bytes, bytes], list[int]]]:
        """Return the offset of each entry by issuer and serial, and further ones of the same."""
        data, issuer = self.data, self.issuer
        own: dict[bytes, int] = {}
        index, twins = {issuer: own}, dict[tuple[bytes, bytes], list[int]]()
        position, end = self.crl.entries
        count = 0
        while position < end:
            start, stop, serial = _entry_frame(data, position, end)
            if start + _UTC_TIME_OCTETS < stop:
                named = self._entry_issuer(start, stop, issuer)
                if named != issuer:
                    issuer, own = named, index.setdefault(named, {})
            if serial in own:
                twins.setdefault((issuer, serial), []).append(position)
            else:
                own[serial] = position
            position = stop
            count += 1
            if count > MAX_ENTRIES:
                raise LimitError("CRL", f"over {MAX_ENTRIES} entries", "fewer", offset=position)
        return index, twins

    def _entry_issuer(self, start: int, stop: int, issuer: bytes) -> bytes:
        """Return whose certificate an entry with extensions is (RFC 5280 5.3.3)."""
        data = self.data
        extensions = start + 2 + data[start + 1]
        if stop - extensions == 14 and data.startswith(_PLAIN_REASON, extensions):
            return issuer
        if extensions >= stop:
            return issuer
        node = der.parse(data[extensions:stop], "CRL entry")
        values, critical = read_extensions(node)
        unknown = min(critical - _KNOWN_IN_ENTRY, default="")
        if unknown:
            raise MalformedError(
                "CRL entry", f"unknown critical extension {unknown}", "none", "RFC 5280 5.3",
                offset=extensions,
            )  # fmt: skip
        named = values.get(CERTIFICATE_ISSUER)
        if named is None:
            return issuer
        names = directory_names(der.parse(named, "certificateIssuer"))
        if len(names) != 1 or not self.crl.indirect:
            raise MalformedError(
                "CRL entry", "an odd certificateIssuer", "one directoryName in an indirect CRL",
                "RFC 5280 5.3.3", offset=extensions,
            )  # fmt: skip
        return names[0]


def _entry_frame(data: bytes, position: int, end: int) -> tuple[int, int, bytes]:
    """Return where revocationDate begins, where the entry ends, and its serial's octets.

    Hand-made for speed: ``SEQUENCE`` of at most 65,535 octets, ``INTEGER`` of at most
    127, every length inside its parent.
    """
    try:
        length, serial = data[position + 1], position + 2
        if length & 0x80:
            if length not in (0x81, 0x82):
                raise _odd_entry(position)
            serial += length & 0x7F
            length = int.from_bytes(data[position + 2 : serial], "big")
        stop = serial + length
        start = serial + 2 + data[serial + 1]
        if data[position] != 0x30 or data[serial] != 0x02 or stop > end or start + 2 > stop:
            raise _odd_entry(position)
        if not 0 < data[serial + 1] < 0x80 or start + 2 + data[start + 1] > stop:
            raise _odd_entry(position)
    except IndexError:
        raise _odd_entry(position) from None
    key = data[serial + 2 : start]
    if len(key) > 1 and key[0] in (0, 0xFF):
        key = _serial_key(int.from_bytes(key, "big", signed=True))
    return start, stop, key


def _odd_entry(position: int) -> MalformedError:
    return MalformedError(
        "CRL entry", "an odd structure", "serial, date and extensions", "RFC 5280 5.1.2.6",
        offset=position,
    )  # fmt: skip


def _serial_key(serial: int) -> bytes:
    """Return the fewest octets of a two's complement integer (X.690 8.3)."""
    magnitude = serial if serial >= 0 else ~serial
    return serial.to_bytes(magnitude.bit_length() // 8 + 1, "big", signed=True)


def _read_entry(data: bytes, position: int) -> CrlEntry:
    _, stop, _ = _entry_frame(data, position, len(data))
    fields = der.parse(data[position:stop], "CRL entry").fields("CRL entry", 2)
    values = read_extensions(fields[2])[0] if len(fields) > 2 else {}
    invalid = values.get(INVALIDITY_DATE)
    return CrlEntry(
        revoked_at=fields[1].time("revocationDate"),
        reason=read_reason(values[REASON_CODE]) if REASON_CODE in values else "",
        invalid_from=der.parse(invalid, "invalidityDate").time() if invalid else None,
    )


def read_reason(value: bytes) -> str:
    """Read a CRLReason ENUMERATED; a number nobody defined keeps its number."""
    code = der.parse(value, "reasonCode").integer("reasonCode", der.ENUMERATED)
    return REASON_NAMES.get(code, f"reason {code}")
