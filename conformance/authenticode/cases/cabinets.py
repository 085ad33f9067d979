"""Row 25: cabinets."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from conformance.authenticode import cab, cms, script
from conformance.authenticode.cab import FILES, POINTER, cabinet, put, signed
from conformance.authenticode.cases.base import ACCEPTED, REJECTED, UNSIGNED, Case, case

_COVERED = "the digest covers the cabinet but for reserved1, the area sizes and the pointer"
_BEHIND = "bytes that no signature covers are not accepted in silence"
_STRUCTURE = "[MS-CAB] 2.1"


def cases() -> Iterator[Case]:
    """Yield the cases about cabinets."""
    yield from _good()
    yield from _changed()
    yield from _hidden()
    yield from _structure()


def _one(id_: str, row: int | str, what: str, data: bytes, *answer: Any, **fields: Any) -> Case:
    fields.setdefault("file", "files.cab")
    return case(id_, row, what, data, *answer, **fields)


def _good() -> Iterator[Case]:
    for name, what, data in (
        ("good-cab", "a signed cabinet", signed()),
        ("good-cab-sha384", "a signature with SHA-384", signed(digest="sha384")),
        ("good-cab-of-a-set", "a cabinet that names its set", signed(cabinet(set_id=0xBEEF))),
        ("good-cab-empty", "a cabinet whose file is empty", signed(cabinet({"empty": b""}))),
    ):
        yield _one(name, "design", what, data, ACCEPTED, clause=_COVERED)
    inner = cms.nested(cab.envelope(cab.content_digest(cabinet(), "sha384"), "sha384"))
    yield _one("good-cab-nested", 9, "a nested signature", signed(unsigned=(inner,)), ACCEPTED,
               clause=_COVERED)  # fmt: skip
    for name, what, data in (
        ("unsigned-cab", "a cabinet nobody signed", cabinet(room=False)),
        ("unsigned-cab-with-room", "a reserve area that points nowhere", cabinet()),
    ):
        yield _one(name, 56, what, data, UNSIGNED, "unsigned", clause=_COVERED)


def _changed() -> Iterator[Case]:
    """Yield cabinets that hold something else than what was signed."""
    name_at, data_at = cabinet().index(b"one.txt"), cabinet().index(FILES["one.txt"])
    for name, what, change in (
        ("cab-content-changed", "a file's content changed", put(data_at, b"X")),
        ("cab-name-changed", "a file's name changed", put(name_at, b"0ne.txt")),
        ("cab-set-changed", "the cabinet moved to another set (setID)", put(32, b"\x08")),
        ("cab-number-changed", "another place in its set (iCabinet)", put(34, b"\1")),
        ("cab-time-changed", "a file's time changed", put(name_at - 3, b"\0")),
    ):
        yield _one(name, 25, what, signed(change=change), REJECTED, "digest-mismatch",
                   clause=_COVERED)  # fmt: skip
    yield _one("cab-of-another-kind-of-content", 8, "a digest said to be of a script",
               signed(kind=script.SPC_SIP_INFO), REJECTED, "malformed",
               clause="SpcIndirectDataContent names what was digested")  # fmt: skip


def _hidden() -> Iterator[Case]:
    """Yield cabinets with bytes that no digest reaches."""
    for name, what, data in (
        ("cab-behind-the-signature", "bytes behind the signature", signed(behind=b"evil")),
        ("cab-between-cabinet-and-signature", "bytes before the signature",
         signed(between=b"evil" * 2)),
        ("cab-behind-the-pkcs7", "bytes behind the PKCS#7 inside the pointer's size",
         signed(padding=b"evil")),
        ("cab-in-the-pointer", "bytes behind offset and size in the reserve area",
         signed(change=put(POINTER + 8, b"hidden"))),
    ):  # fmt: skip
        yield _one(name, 25, what, data, REJECTED, "uncovered-content", clause=_BEHIND)


def _structure() -> Iterator[Case]:
    """Yield cabinets whose header lies."""
    whole = len(signed())
    for name, what, change in (
        ("cab-pointer-beyond-the-file", "a signature beyond the file's end",
         put(POINTER, struct.pack("<I", whole))),
        ("cab-pointer-into-the-cabinet", "a signature inside the cabinet",
         put(POINTER, struct.pack("<I", 60))),
        ("cab-signature-of-no-size", "a pointer to no octets",
         put(POINTER + 4, bytes(4))),
        ("cab-longer-than-the-file", "cbCabinet beyond the file's end",
         put(8, struct.pack("<I", whole + 1))),
        ("cab-reserved1-in-use", "reserved1, which no digest covers, is not zero",
         put(4, b"evil")),
    ):  # fmt: skip
        yield _one(name, 25, what, signed(change=change), REJECTED, "malformed",
                   clause=_STRUCTURE)  # fmt: skip
