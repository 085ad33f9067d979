"""The contract every format keeps, run on what the conformance builders make.

A new format is picked up by adding its good cases to the conformance suite.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from conformance.authenticode.cases import all_cases
from conformance.authenticode.cases.base import Answer, Case

from signward.findings import Code
from signward.formats import Match, Peek, all_formats, peek_at
from signward.state import Outcome, Verdict
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.verify import assess
from signward.wire.source import BytesSource

MAX_FLIPPED = 10 * 1024
"""Builder-made samples up to this size are flipped at every byte."""

SAMPLES = (
    "good-pe32plus",
    "good-pe32-page-hashes",
    "good-efi",
    "good-utf-8-ps1",
    "good-utf-16-le-ps1xml",
    "good-utf-8-mof",
    "good-utf-8-js",
    "good-utf-8-vbs",
    "good-utf-8-wsf",
)

RIGHT_CAUSES = frozenset(
    {
        Code.DIGEST_MISMATCH,
        Code.PAGE_HASH_MISMATCH,
        Code.SLOT_MISSING,
        Code.SIGNATURE_MISMATCH,
        Code.CERTIFICATE_SIGNATURE,
        Code.CERTIFICATE_MALFORMED,
        Code.MALFORMED,
        Code.LIMIT_EXCEEDED,
        Code.AMBIGUOUS,
        Code.UNCOVERED_CONTENT,
        Code.ATTRIBUTE_RULE,
        Code.ALGORITHM_INCONSISTENT,
        Code.UNSUPPORTED_ALGORITHM,
        Code.UNSUPPORTED_KIND,
        Code.KEY_MISSING,
        Code.NO_PATH,
        Code.WEAK_DIGEST,
        Code.WEAK_KEY,
        Code.EXPLICIT_CURVE,
        Code.UNSIGNED,
        Code.SLICES_DISAGREE,
        Code.EXPIRED,
        Code.NOT_YET_VALID,
        Code.WRONG_USAGE,
        Code.BASIC_CONSTRAINTS,
        Code.CRITICAL_EXTENSION,
        Code.UNTRUSTED_ROOT,
    }
)
"""What a changed byte may be reported as; never revoked, timestamps or policy."""


@cache
def _cases() -> dict[str, Case]:
    return {case.id: case for case in all_cases()}


class Judge:
    """Judges variations of one case's bytes with the case's own anchors and instant."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case = case
        anchors = []
        for number, pem in enumerate(case.anchors):
            path = folder / f"anchor-{number}.pem"
            path.write_bytes(pem)
            anchors.append(str(path))
        self.context = Context(Options(anchors=tuple(anchors), at=case.at))

    def __call__(self, data: bytes) -> Verdict:
        return assess(BytesSource(self.case.file, data), self.context)


@pytest.fixture(params=SAMPLES)
def judge(request: pytest.FixtureRequest, tmp_path: Path) -> Judge:
    return Judge(_cases()[request.param], tmp_path)


def _exempt(case: Case) -> frozenset[int]:
    """Return offsets the specification leaves out of the digest: a PE's checksum field."""
    if case.data[:2] != b"MZ":
        return frozenset()
    header = int.from_bytes(case.data[60:64], "little")
    return frozenset(range(header + 24 + 64, header + 24 + 68))


def test_samples_are_accepted_and_small(judge: Judge) -> None:
    assert judge(judge.case.data).outcome is Outcome.ACCEPTED
    assert len(judge.case.data) <= MAX_FLIPPED


@pytest.mark.slow
def test_no_flipped_byte_is_accepted(judge: Judge) -> None:
    data, exempt = judge.case.data, _exempt(judge.case)
    accepted, causes = [], Counter[Code | None]()
    for offset in range(len(data)):
        changed = bytearray(data)
        changed[offset] ^= 1 << (offset * 5 % 8)
        verdict = judge(bytes(changed))
        causes[verdict.cause] += 1
        if verdict.outcome is Outcome.ACCEPTED:
            accepted.append(offset)
    assert set(accepted) == exempt
    assert set(causes) - {None} <= RIGHT_CAUSES


def test_no_truncation_is_accepted(judge: Judge) -> None:
    data = judge.case.data
    for size in itertools.chain(range(0, len(data), 37), range(len(data) - 64, len(data))):
        verdict = judge(data[:size])
        if verdict.outcome is Outcome.ACCEPTED:
            # Script families leave one line ending behind the end marker open.
            assert data[size:].replace(b"\0", b"") in (b"\r\n", b"\n")


def test_appended_bytes_are_not_accepted(judge: Judge) -> None:
    for tail in (b"\0", b"\0" * 8, b"x", b"\r\n\r\n", judge.case.data):
        assert judge(judge.case.data + tail).outcome is not Outcome.ACCEPTED


def test_parsing_twice_is_parsing_once(judge: Judge) -> None:
    assert judge(judge.case.data) == judge(judge.case.data)


def _peeks() -> Iterator[Peek]:
    for case in _cases().values():
        if case.data:
            yield peek_at(BytesSource(case.file, case.data))


def test_two_formats_never_claim_one_file() -> None:
    for peek in _peeks():
        matches = [m for f in all_formats() if (m := f.recognise(peek)) is not Match.NO]
        assert len(matches) == len(set(matches)), peek.name


def test_every_format_names_itself() -> None:
    names = [f.name for f in all_formats()]
    assert len(names) == len(set(names))
    assert all(f.spec and f.extensions for f in all_formats())


def test_no_refused_case_is_accepted(tmp_path: Path) -> None:
    """The conformance suite asserts causes; this is the one line that must never break."""
    for case in _cases().values():
        if (
            case.expected is Answer.REJECTED
            and case.stage == "accepted"
            and not (case.crls or case.ocsp or case.options or case.catalogs)
        ):
            assert Judge(case, tmp_path)(case.data).outcome is not Outcome.ACCEPTED, case.id
