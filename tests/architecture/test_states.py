"""A trust state is built by its one producer and by nobody else (DESIGN: trust is a type)."""

import ast
import re

import msgspec
import pytest

import signward.state
from signward.frozen import Frozen
from tests.architecture.code import Module, modules, parse_module

PRODUCERS = {
    "ClaimedSignature": "envelopes",
    "ClaimedTimestamp": "envelopes",
    "ClaimedLogEntry": "envelopes",
    "SignedArtifact": "formats",
    "IntactSignature": "integrity",
    "IntactTimestamp": "integrity",
    "BrokenSignature": "integrity",
    "ProvenTime": "trust",
    "X509Path": "trust",
    "OpenPgpCert": "trust",
    "PinnedKey": "trust",
    "SshPrincipal": "trust",
    "KeylessIdentity": "trust",
    "RevocationStatus": "trust",
    "TrustedSignature": "trust",
    "UntrustedSignature": "trust",
    "Unruled": "policy",
    "Verdict": "policy",
    "Publisher": "policy",
    "Accepted": "verbs",
}

EXEMPT = {
    # authroot.stl is a signed list, not a file of any format: trust wraps it as an artifact
    # without slots, so that the one integrity check serves it too.
    ("signward.trust.authroot", "SignedArtifact"),
}

_REPLACERS = {
    "dataclasses.replace",
    "copy.replace",
    "msgspec.structs.replace",
    "signward.frozen.replace",
}


_RECORDS = "signward.policy.record"
"""Replaces a field of its own record, data that no trust state is made of."""


def violations(module: Module) -> list[str]:
    """Name each call that builds a trust state in a room that is not its producer."""
    foreign = {name for name, room in PRODUCERS.items()
               if not module.is_in(room) and (module.name, name) not in EXEMPT}  # fmt: skip
    imported = {name for name in foreign if f"signward.state.{name}" in module.imports()}
    found = []
    for call, name in module.calls():
        if name.removeprefix("signward.state.") in foreign and name.startswith("signward.state."):
            found.append(f"{module.name}:{call.lineno} builds {name}")
        elif name in _REPLACERS and module.name != _RECORDS:
            found += [f"{module.name}:{call.lineno} may replace fields of {state}"
                      for state in sorted(imported) if _fits(call, state)]  # fmt: skip
    return found


def _fits(call: ast.Call, state: str) -> bool:
    """Say whether every field that a `replace` call names is one of the state's."""
    fields = set(getattr(signward.state, state).__struct_fields__)
    return all(keyword.arg is None or keyword.arg in fields for keyword in call.keywords)


def test_each_state_is_built_by_its_producer_only() -> None:
    assert [v for module in modules() for v in violations(module)] == []


def test_the_table_is_the_one_the_docstrings_state() -> None:
    stated = {}
    for name, value in vars(signward.state).items():
        if isinstance(value, type) and issubclass(value, msgspec.Struct) and value is not Frozen:
            producer = re.search(r"Producer: ``(\w+)``", value.__doc__ or "")
            if producer:
                stated[name] = producer[1]
    assert stated == PRODUCERS


@pytest.mark.parametrize("name", PRODUCERS)
def test_every_state_is_frozen_slotted_and_keyword_only(name: str) -> None:
    config = getattr(signward.state, name).__struct_config__
    assert config.frozen
    with pytest.raises(TypeError, match="positional"):
        getattr(signward.state, name)(None)


@pytest.mark.parametrize(
    "planted",
    [
        "from signward.state import IntactSignature\nIntactSignature(claimed=c)\n",
        "from signward.state import IntactSignature as F\ndef f():\n    return F(claimed=c)\n",
        "from signward import state\nstate.Verdict(subject='x')\n",
        "import signward.state\nsignward.state.Accepted(verdict=v)\n",
        "import signward.state as s\ns.ProvenTime(instant=t)\n",
        "from msgspec import structs\nfrom signward.state import Verdict\nstructs.replace(v)\n",
    ],
)
def test_a_planted_violation_is_found(planted: str) -> None:
    assert len(violations(parse_module("signward.report.planted", planted))) == 1


def test_another_class_may_be_replaced_beside_a_state() -> None:
    text = "from dataclasses import replace\nfrom signward.state import Verdict\n"
    module = parse_module("signward.report.planted", text + "replace(layout, page_size=4096)\n")
    assert violations(module) == []


def test_the_producer_itself_may_build() -> None:
    text = "from signward.state import IntactSignature\nIntactSignature(claimed=c)\n"
    assert violations(parse_module("signward.integrity", text)) == []
    assert violations(parse_module("signward.integrity.cms", text)) == []
    assert len(violations(parse_module("signward.integrity_helper", text))) == 1
