"""The reports of a simulation: their numbers, and hostile text that stays text."""

from __future__ import annotations

import io
import json
import re

import pytest

from signward.policy.rules.model import Action, Mode, ProductMatch, PublisherMatch, Rule, RuleSet
from signward.policy.rules.proposing import Proposing
from signward.policy.rules.simulated import Simulation
from signward.policy.rules.simulation import Rehearsal, Wanted
from signward.report import charts, simulation, simulation_page
from signward.report.display import visible
from tests.builders.fleets import NAMES, hosts, known, signed, software, unsigned
from tests.builders.policies import AT, rule_set
from tests.unit.test_report_page import HOSTILE, Elements

FILES = 400


def simulate(rules: RuleSet, files: list, wanted: Wanted = Wanted(hosts=1)) -> Simulation:  # type: ignore[type-arg]  # noqa: B008
    rehearsal = Rehearsal(rules, hosts(20), AT, wanted)
    for each in files:
        rehearsal.add(each)
    proposing = Proposing(rehearsal)
    proposing.try_on(files)
    return proposing.result()


@pytest.fixture(scope="module")
def mixed() -> Simulation:
    return mixture()


def mixture() -> Simulation:
    """Return a simulation in which everything occurs that a report tells of."""
    placed = [(subject, range(n % 4 + 1)) for n, subject in enumerate(software(FILES))]
    vague = signed("v.exe", NAMES[1], "Suite", version=None, unknown=frozenset({"version"}))
    rules = rule_set(
        Rule(id="first", action=Action.ALLOW, publisher=PublisherMatch(organization=NAMES[0])),
        Rule(id="watched", action=Action.AUDIT, publisher=PublisherMatch(organization=NAMES[2])),
        Rule(id="no-ps1", action=Action.DENY, kind=("script",)),
        Rule(id="idle", action=Action.ALLOW, publisher=PublisherMatch(organization="Nobody")),
        Rule(
            id="floor",
            action=Action.ALLOW,
            publisher=PublisherMatch(organization=NAMES[1]),
            product=ProductMatch(product="Suite", minimum_version="2.0"),
        ),
        mode=Mode.MONITOR,
    )
    files = known(*placed, (vague, (3,)), (unsigned("x.cat", kind="catalog", file_class=""), (0,)))
    return simulate(rules, files, Wanted(hosts=2))


def page(found: Simulation, title: str = "") -> tuple[str, Elements]:
    out = io.BytesIO()
    simulation_page.write(found, out, title=title)
    text = out.getvalue().decode()
    elements = Elements()
    elements.feed(text)
    return text, elements


def test_the_page_tells_the_numbers(mixed: Simulation) -> None:
    text, elements = page(mixed)
    assert f"Of {mixed.seen.files:,} files on {mixed.seen.hosts} hosts" in elements.text
    for tally in mixed.fates.values():
        assert f"{tally.sightings:,}" in elements.text
    for words in ("no rule lets it in", "denied by no-ps1", "version", "stops nothing yet",
                  "1 file that nothing starts", "Would also let in", "1 rule decided nothing",
                  "By digest", "were altered or withdrawn"):  # fmt: skip
        assert words in elements.text, words
    assert "$" not in re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)


def test_the_page_runs_no_script_and_loads_nothing(mixed: Simulation) -> None:
    text, elements = page(mixed)
    assert "script" not in {tag for tag, _ in elements.tags}
    policy = next(a["content"] for t, a in elements.tags if a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert not re.search(r'(?:src|href)="(?!data:|#)', text)


def test_every_file_listed_stands_there(mixed: Simulation) -> None:
    _, elements = page(mixed)
    rows = [tag for tag, a in elements.tags if a.get("class") == "where"]
    assert len(rows) == min(simulation_page.FILES, len(mixed.listed))
    assert mixed.listed[0].path in elements.text


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_only_ever_text(name: str) -> None:
    def tags(text: str) -> list[str]:
        wide = [(signed(f"{n}.exe", text, f"{text} {n}", cause=text), (0, 1)) for n in range(3)]
        lone = [(signed("lone.exe", text, text), (2,)), (unsigned(text, text), (1, 2))]
        rule = Rule(id="deny", action=Action.DENY, kind=("driver",), note=text[:99])
        found = simulate(rule_set(rule), known(*wide, *lone), Wanted(hosts=2))
        written, elements = page(found, text)
        assert visible(text) in elements.text
        assert "\u202e" not in written
        out = io.StringIO()
        simulation.write_text(found, out, colour=False)
        assert visible(text)[:20] in out.getvalue()
        assert json.loads(simulation.to_json(found))["schema"] == 1
        return [tag for tag, _ in elements.tags]

    assert tags(name) == tags("harmless")


def test_an_empty_fleet_has_a_page() -> None:
    _, elements = page(simulate(rule_set(), []))
    assert "No file is known" in elements.text
    assert "No file is stopped for want of a rule" in elements.text


def test_tables_tell_the_same(mixed: Simulation) -> None:
    out = io.StringIO()
    simulation.write_text(mixed, out, colour=False)
    text = out.getvalue()
    for words in ("would be stopped", "denied by no-ps1", "rule proposed", "not known", "more"):
        assert words in text
    assert f"{mixed.fates['stopped'].sightings:,}" in text  # type: ignore[index]


def test_json_comes_back(mixed: Simulation) -> None:
    import msgspec

    again = msgspec.json.decode(simulation.to_json(mixed), type=Simulation)
    assert again == mixed


def test_rules_with_many_digests_are_shown_short() -> None:
    digests = tuple(f"file:sha256:{n:064x}" for n in range(50))
    text = simulation.rule_toml(Rule(id="many", action=Action.ALLOW, digest=digests))
    assert text.startswith("[[rule]]\n")
    assert text.count("file:sha256:") == simulation.DIGESTS_SHOWN
    assert text.endswith("# and 42 more digests\n")


@pytest.mark.parametrize("steps", [1, charts.COLUMNS, charts.COLUMNS + 1, 300])
def test_a_cumulative_picture_has_so_many_columns(steps: int) -> None:
    svg = charts.cumulative([("plain", 1)] * steps, steps)
    columns = set(re.findall(r'<rect x="([\d.]+)%"', svg))
    assert len(columns) == min(steps, charts.COLUMNS)
    assert f"{steps} rules let in {steps} of {steps} files" in svg
    lowest = min(float(y) for y in re.findall(r'y="([\d.]+)"', svg))
    assert lowest >= 12, "nothing is drawn above the picture"
