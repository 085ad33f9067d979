"""Every case of the Authenticode conformance suite: Signward's answer, and its peers'.

Signward must give the expected answer for the expected cause.  The peers' wrong answers are
recorded in ``peer_answers.json`` (``python -m conformance.authenticode run --runner
osslsigncode,lief,signify --record tests/interop/peer_answers.json``): a peer that answers
otherwise now has changed, or a case has.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode.cases import all_cases
from conformance.authenticode.cases.base import Case
from conformance.authenticode.cases.peers import available
from conformance.authenticode.runner import Result, run, wrong_answers
from conformance.authenticode.runners import find
from conformance.authenticode.runners.signward import answer
from conformance.authenticode.suite import build, request, write_case

_RECORDED = json.loads(Path(__file__).with_name("peer_answers.json").read_text("utf-8"))

DISAGREEMENTS: dict[str, str] = {}
"""Cases Signward answers otherwise today, and why; strict: an agreement must be struck out."""


def _parameter(one: Case) -> Any:
    reason = DISAGREEMENTS.get(one.id)
    marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
    return pytest.param(one, id=one.id, marks=marks)


@pytest.mark.parametrize("one", [_parameter(one) for one in all_cases()])
def test_signward_answers_as_expected(one: Case, tmp_path: Path) -> None:
    entry = write_case(tmp_path, one)
    result = Result(entry=entry, runner="signward", reply=answer(request(tmp_path, entry)))
    assert result.complaints == ()


def test_every_disagreement_is_a_case() -> None:
    assert DISAGREEMENTS.keys() <= {one.id for one in all_cases()}


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suite")
    build(folder, all_cases())
    return folder


@pytest.mark.interop
@pytest.mark.parametrize("peer", sorted(_RECORDED))
def test_peer_answers_as_recorded(peer: str, suite: Path) -> None:
    try:
        runner, version = find(peer)
    except LookupError as error:
        pytest.skip(str(error))
    recorded = _RECORDED[peer]
    if version != recorded["version"]:
        pytest.skip(f"answers are recorded for {peer} {recorded['version']}, here is {version}")
    found = wrong_answers(list(run(suite, [(peer, runner)])), {peer: version})[peer]["wrong"]
    present = {one.id for one in all_cases()}
    assert found == {id_: said for id_, said in recorded["wrong"].items() if id_ in present}


@pytest.mark.interop
def test_osslsigncode_made_its_cases() -> None:
    if not available():
        pytest.skip("osslsigncode with -TSA-certs (2.9 or newer) is not installed")
    assert sum(one.maker == "osslsigncode" for one in all_cases()) >= 14


def test_the_comparison_page_is_what_was_recorded() -> None:
    page = Path(__file__).parents[2] / "docs/comparison.md"
    lines = page.read_text("utf-8").partition("| row | case |")[2].splitlines()
    header = lines[0].strip(" |").split(" | ")
    rows = [line.strip("| ").split(" | ") for line in lines[2:] if line]
    shown = {row[1].strip("`"): dict(zip(header, row[2:], strict=True)) for row in rows}
    cases = {one.id: one for one in all_cases()}
    peers_made = {id_ for id_ in shown if id_.startswith("peer-")}
    assert shown.keys() - peers_made == cases.keys() - {c for c in cases if c.startswith("peer-")}
    for id_, answers in shown.items():
        said = {name: text.strip("*") for name, text in answers.items()}
        assert said["signward"] == said["expected"], id_
        for peer, recorded in _RECORDED.items():
            assert said[peer] == recorded["wrong"].get(id_, said["expected"]), (id_, peer)
