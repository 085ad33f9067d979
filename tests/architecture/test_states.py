"""A trust state is built by its one producer and by nobody else (DESIGN: trust is a type)."""

import dataclasses
import re

import pytest

import signward.state
from tests.architecture.code import Module, modules, parse_module

PRODUCERS = {
    "ClaimedSignature": "envelopes",
    "ClaimedTimestamp": "envelopes",
    "SignedArtifact": "formats",
    "IntactSignature": "integrity",
    "IntactTimestamp": "integrity",
    "BrokenSignature": "integrity",
    "ProvenTime": "trust",
    "X509Path": "trust",
    "RevocationStatus": "trust",
    "TrustedSignature": "trust",
    "UntrustedSignature": "trust",
    "Verdict": "policy",
    "Publisher": "policy",
    "Accepted": "verbs",
}

_REPLACERS = {"dataclasses.replace", "copy.replace"}


def violations(module: Module) -> list[str]:
    """Name each call that builds a trust state in a room that is not its producer."""
    foreign = {
        f"signward.state.{name}" for name, room in PRODUCERS.items() if not module.is_in(room)
    }
    found = [f"{module.name}:{line} builds {name}" for line, name in module.calls()
             if name in foreign]  # fmt: skip
    handled = sorted(module.imports() & foreign)
    found += [f"{module.name}:{line} replaces fields beside {', '.join(handled)}"
              for line, name in module.calls() if name in _REPLACERS and handled]  # fmt: skip
    return found


def test_each_state_is_built_by_its_producer_only() -> None:
    assert [v for module in modules() for v in violations(module)] == []


def test_the_table_is_the_one_the_docstrings_state() -> None:
    stated = {}
    for name, value in vars(signward.state).items():
        if dataclasses.is_dataclass(value) and value.__module__ == signward.state.__name__:
            producer = re.search(r"Producer: ``(\w+)``", value.__doc__ or "")
            if producer:
                stated[name] = producer[1]
    assert stated == PRODUCERS


@pytest.mark.parametrize("name", PRODUCERS)
def test_every_state_is_frozen_slotted_and_keyword_only(name: str) -> None:
    state = getattr(signward.state, name)
    parameters = state.__dataclass_params__
    assert parameters.frozen
    assert "__slots__" in vars(state)
    assert all(field.kw_only for field in dataclasses.fields(state))


@pytest.mark.parametrize(
    "planted",
    [
        "from signward.state import IntactSignature\nIntactSignature(claimed=c)\n",
        "from signward.state import IntactSignature as F\ndef f():\n    return F(claimed=c)\n",
        "from signward import state\nstate.Verdict(subject='x')\n",
        "import signward.state\nsignward.state.Accepted(verdict=v)\n",
        "import signward.state as s\ns.ProvenTime(instant=t)\n",
        "import dataclasses as d\nfrom signward.state import Verdict\nd.replace(v, cause=None)\n",
    ],
)
def test_a_planted_violation_is_found(planted: str) -> None:
    assert len(violations(parse_module("signward.report.planted", planted))) == 1


def test_the_producer_itself_may_build() -> None:
    text = "from signward.state import IntactSignature\nIntactSignature(claimed=c)\n"
    assert violations(parse_module("signward.integrity", text)) == []
    assert violations(parse_module("signward.integrity.cms", text)) == []
    assert len(violations(parse_module("signward.integrity_helper", text))) == 1
