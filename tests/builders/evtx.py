"""Windows event logs of our own making: one template and one record an event.

Sources: [MS-EVEN6] 2.2.12 to 2.2.17 (BinXML) and what is published of the file around it (libevtx's
description of the format).  Little-endian throughout; names and templates are written where they
are used, never shared, which is legal.
"""

from __future__ import annotations

import struct
import uuid
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

CHUNK = 65_536
RECORDS_AT = 512
WINDOWS_2026 = 134_000_000_000_000_000
"""An instant of 2025 as a FILETIME."""


@dataclass(frozen=True)
class Value:
    """A value that is substituted into the template: its BinXML type and octets."""

    type: int
    data: bytes


def text(value: str) -> Value:
    return Value(0x01, value.encode("utf-16-le"))


def u8(value: int) -> Value:
    return Value(0x04, bytes((value,)))


def u16(value: int) -> Value:
    return Value(0x06, struct.pack("<H", value))


def u32(value: int) -> Value:
    return Value(0x08, struct.pack("<I", value))


def binary(value: bytes) -> Value:
    return Value(0x0E, value)


def guid(value: str) -> Value:
    return Value(0x0F, uuid.UUID(value).bytes_le)


@dataclass(frozen=True)
class Node:
    """An element: attributes and children; a child that is no element is its text."""

    name: str
    attributes: Mapping[str, Value | str] = field(default_factory=dict)
    children: Sequence[Node | Value | str] = ()


class _Writer:
    """Writes BinXML at ``base`` of a chunk, and gathers the values to be substituted."""

    def __init__(self, base: int) -> None:
        self.out, self.base = bytearray(), base
        self.values: list[Value] = []

    def fragment(self, node: Node) -> None:
        self.out += b"\x0f\x01\x01\x00"
        self.element(node)
        self.out += b"\x00"

    def element(self, node: Node) -> None:
        self.out += (b"\x41" if node.attributes else b"\x01") + b"\xff\xff"
        size_at = self._reserve()
        self._name(node.name)
        if node.attributes:
            self._attributes(node.attributes)
        self.out += b"\x02"
        for child in node.children:
            if isinstance(child, Node):
                self.element(child)
            else:
                self._value(child)
        self.out += b"\x04"
        self._fill(size_at)

    def _attributes(self, attributes: Mapping[str, Value | str]) -> None:
        size_at = self._reserve()
        for number, (name, value) in enumerate(attributes.items(), 1):
            self.out += b"\x46" if number < len(attributes) else b"\x06"
            self._name(name)
            self._value(value)
        self._fill(size_at)

    def _value(self, value: Value | str) -> None:
        if isinstance(value, str):
            self.out += b"\x05\x01" + struct.pack("<H", len(value)) + value.encode("utf-16-le")
        else:
            self.out += struct.pack("<BHB", 0x0D, len(self.values), value.type)
            self.values.append(value)

    def _name(self, name: str) -> None:
        self.out += struct.pack("<I", self.base + len(self.out) + 4)
        value = 0
        for unit in name.encode("utf-16-le")[::2]:
            value = value * 65599 + unit
        self.out += struct.pack("<IHH", 0, value & 0xFFFF, len(name))
        self.out += name.encode("utf-16-le") + b"\0\0"

    def _reserve(self) -> int:
        self.out += bytes(4)
        return len(self.out)

    def _fill(self, at: int) -> None:
        self.out[at - 4 : at] = struct.pack("<I", len(self.out) - at)


def _record(number: int, at: int, node: Node) -> bytes:
    """Return the record of an event that begins at ``at`` of its chunk."""
    head = 24 + 4 + 10
    template = _Writer(at + head + 24)
    template.fragment(node)
    instance = b"\x0f\x01\x01\x00" + struct.pack("<BBII", 0x0C, 1, number, at + head)
    definition = struct.pack("<I", 0) + uuid.uuid5(uuid.NAMESPACE_OID, str(number)).bytes_le
    definition += struct.pack("<I", len(template.out)) + bytes(template.out)
    values = struct.pack("<I", len(template.values))
    values += b"".join(struct.pack("<HBB", len(v.data), v.type, 0) for v in template.values)
    values += b"".join(v.data for v in template.values)
    body = instance + definition + values + b"\0"
    size = 24 + len(body) + 4
    head_of = struct.pack("<IIQQ", 0x2A2A, size, number, WINDOWS_2026 + number)
    return head_of + body + struct.pack("<I", size)


def _chunk(first: int, records: Sequence[bytes]) -> bytes:
    data = b"".join(records)
    last = first + len(records) - 1
    last_at = RECORDS_AT + len(data) - len(records[-1])
    head = b"ElfChnk\0" + struct.pack(
        "<QQQQIIII", first, last, first, last, 128, last_at, RECORDS_AT + len(data),
        zlib.crc32(data),
    )  # fmt: skip
    head = head.ljust(124, b"\0")
    tables = bytes(64 * 4 + 32 * 4)
    head += struct.pack("<I", zlib.crc32(head[:120] + tables))
    return (head + tables + data).ljust(CHUNK, b"\0")


def log(events: Iterable[Node]) -> bytes:
    """Return the log of these events."""
    chunks: list[bytes] = []
    records: list[bytes] = []
    first = number = 1
    for event in events:
        record = _record(number, RECORDS_AT + sum(map(len, records)), event)
        if RECORDS_AT + sum(map(len, records)) + len(record) > CHUNK:
            chunks.append(_chunk(first, records))
            first, records = number, []
            record = _record(number, RECORDS_AT, event)
        records.append(record)
        number += 1
    if records:
        chunks.append(_chunk(first, records))
    head = b"ElfFile\0" + struct.pack(
        "<QQQIHHHH", 0, max(len(chunks) - 1, 0), number, 128, 1, 3, 4096, len(chunks)
    )
    head = head.ljust(120, b"\0")
    head += struct.pack("<II", 0, zlib.crc32(head))
    return head.ljust(4096, b"\0") + b"".join(chunks)


def event(
    provider: str,
    identifier: int,
    data: Mapping[str, Value | str],
    *,
    host: str = "PC1.example",
    activity: str = "",
    user_data: str = "",
) -> Node:
    """Return an event with ``EventData``, or the named element below ``UserData``."""
    provider_id = str(uuid.uuid5(uuid.NAMESPACE_DNS, provider))
    correlation = {"ActivityID": guid(activity)} if activity else {}
    system = Node("System", {}, (
        Node("Provider", {"Name": provider, "Guid": guid(provider_id)}),
        Node("EventID", {}, (u16(identifier),)),
        Node("Correlation", correlation),
        Node("Channel", {}, (f"{provider}/Operational",)),
        Node("Computer", {}, (text(host),)),
    ))  # fmt: skip
    if user_data:
        inner = Node(user_data, {}, tuple(Node(name, {}, (v,)) for name, v in data.items()))
        body = Node("UserData", {}, (inner,))
    else:
        body = Node("EventData", {}, tuple(
            Node("Data", {"Name": name}, (v,)) for name, v in data.items()
        ))  # fmt: skip
    return Node("Event", {"xmlns": "http://schemas.microsoft.com/win/2004/08/events/event"},
                (system, body))  # fmt: skip
