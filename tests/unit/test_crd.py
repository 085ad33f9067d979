"""The strict reading of CustomResourceDefinitions itself."""

from __future__ import annotations

from typing import Any

import pytest

from tests.builders.crd import Definition

TEXT = """
spec:
  group: example.org
  names: {kind: Thing}
  versions:
  - name: v1
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [mode]
            properties:
              mode: {type: string, enum: [on, off]}
              port: {x-kubernetes-int-or-string: true}
              free: {type: object, x-kubernetes-preserve-unknown-fields: true}
              labels: {type: object, additionalProperties: {type: string}}
              items:
                type: array
                items: {type: object, properties: {name: {type: string}}}
"""


def thing(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "example.org/v1", "kind": "Thing", "metadata": {"name": "a"},
            "spec": {"mode": "on", **spec}}  # fmt: skip


@pytest.mark.parametrize(
    "spec",
    [{}, {"port": 1}, {"port": "http"}, {"free": {"any": {"deep": 1}}}, {"labels": {"a": "b"}},
     {"items": [{"name": "x"}]}],
)  # fmt: skip
def test_what_is_defined_passes(spec: dict[str, Any]) -> None:
    assert Definition(TEXT.replace("on,", "'on',").replace("off", "'off'"), "v1").faults(
        thing(**spec)
    ) == []  # fmt: skip


@pytest.mark.parametrize(
    "spec",
    [{"mood": 1}, {"mode": "maybe"}, {"port": []}, {"labels": {"a": 1}}, {"items": [{"nom": "x"}]},
     {"items": "x"}],
)  # fmt: skip
def test_what_is_not_defined_is_a_fault(spec: dict[str, Any]) -> None:
    text = TEXT.replace("on,", "'on',").replace("off", "'off'")
    assert len(Definition(text, "v1").faults(thing(**spec))) == 1


def test_kind_version_name_and_what_stands_beside_the_spec_are_looked_at() -> None:
    text = TEXT.replace("on,", "'on',").replace("off", "'off'")
    definition = Definition(text, "v1")
    assert definition.faults({**thing(), "kind": "Other"}) == ["example.org/v1 Other"]
    assert definition.faults({**thing(), "metadata": {"name": "A_b"}}) == ["metadata.name 'A_b'"]
    assert len(definition.faults({**thing(), "status": {}})) == 1
