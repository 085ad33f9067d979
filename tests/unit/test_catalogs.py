"""Catalogs in reach: when a signed list vouches for a file, and when it does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conformance.authenticode.cases import all_cases

from signward.errors import EvidenceError
from signward.findings import Code
from signward.state import Outcome, Verdict
from signward.verbs import catalogs
from signward.verbs.beside import MAX_LISTS, assess_with_companions
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.verify import assess_path

GOOD = next(c for c in all_cases() if c.catalogs and c.expected == "accepted")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "anchor.pem").write_bytes(b"".join(GOOD.anchors))
    (tmp_path / GOOD.file).write_bytes(GOOD.data)
    (tmp_path / "catalogs").mkdir()
    for number, data in enumerate(GOOD.catalogs):
        (tmp_path / "catalogs" / f"{number}.cat").write_bytes(data)
    return tmp_path


def judge(place: Path, *reach: str, name: str = GOOD.file) -> Verdict:
    options = Options(
        anchors=(str(place / "anchor.pem"),),
        at=GOOD.at,
        catalogs=tuple(str(place / one) for one in reach),
    )
    return assess_path(place / name, Context(options))


def test_a_listed_file_is_accepted_by_catalog(place: Path) -> None:
    verdict = judge(place, "catalogs")
    assert (verdict.outcome, verdict.rule) == (Outcome.ACCEPTED, "by-catalog")
    assert Code.BY_CATALOG in {f.code for f in verdict.findings}
    assert verdict.publisher


def test_a_catalog_may_be_named_itself(place: Path) -> None:
    assert judge(place, "catalogs/0.cat").outcome is Outcome.ACCEPTED


def beside(place: Path) -> Verdict:
    options = Options(anchors=(str(place / "anchor.pem"),), at=GOOD.at)
    return assess_with_companions(str(place / GOOD.file), Context(options))


def test_a_catalog_beside_a_file_is_found(place: Path) -> None:
    """As a driver's lies beside it; without one nothing changes, and a changed file stays so."""
    assert beside(place).cause is Code.UNSIGNED
    (place / "driver.CAT").write_bytes(GOOD.catalogs[0])
    assert (beside(place).outcome, beside(place).rule) == (Outcome.ACCEPTED, "by-catalog")
    (place / GOOD.file).write_bytes(GOOD.data + b"12345678")
    assert beside(place).cause is Code.UNSIGNED


def test_what_only_looks_like_a_catalog_beside_says_nothing(place: Path) -> None:
    (place / "a.cat").mkdir()
    os.mkfifo(place / "b.manifest")
    assert beside(place).cause is Code.UNSIGNED


def test_few_catalogs_beside_are_read_those_of_the_name_first(place: Path) -> None:
    for number in range(MAX_LISTS + 5):
        (place / f"0{number}.cat").write_bytes(b"no catalog at all")
    (place / "zz.cat").write_bytes(GOOD.catalogs[0])
    assert beside(place).cause is Code.UNSIGNED
    stem = GOOD.file.partition(".")[0]
    (place / f"{stem}.cat").write_bytes(GOOD.catalogs[0])
    assert beside(place).outcome is Outcome.ACCEPTED


def test_without_the_catalog_it_is_unsigned(place: Path) -> None:
    assert judge(place).cause is Code.UNSIGNED


def test_an_unlisted_file_is_unsigned(place: Path) -> None:
    (place / "other.exe").write_bytes(GOOD.data + b"12345678")
    assert judge(place, "catalogs", name="other.exe").cause is Code.UNSIGNED


def test_what_is_no_catalog_is_passed_over(place: Path) -> None:
    (place / "catalogs" / "junk.cat").write_bytes(b"no catalog at all")
    (place / "catalogs" / "half.cat").write_bytes(GOOD.catalogs[0][:500])
    assert judge(place, "catalogs").outcome is Outcome.ACCEPTED


def test_a_changed_catalog_vouches_for_nothing(place: Path) -> None:
    data = bytearray(GOOD.catalogs[0])
    data[-3] ^= 1
    (place / "catalogs" / "0.cat").write_bytes(bytes(data))
    assert judge(place, "catalogs").outcome is not Outcome.ACCEPTED


def test_several_catalogs_the_best_word_counts(place: Path) -> None:
    data = bytearray(GOOD.catalogs[0])
    data[-3] ^= 1
    (place / "catalogs" / "00.cat").write_bytes(bytes(data))
    assert judge(place, "catalogs").outcome is Outcome.ACCEPTED


def test_too_many_catalogs_are_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogs, "MAX_CATALOGS", 0)
    with pytest.raises(EvidenceError, match="more than 0"):
        judge(place, "catalogs")
