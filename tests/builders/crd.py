"""Strict validation against a CustomResourceDefinition: a field it does not know is a fault.

A Kubernetes API server drops unknown fields unless asked to refuse them (``kubectl apply
--validate=strict``), and what it drops no longer protects anything.
``x-kubernetes-preserve-unknown-fields`` is respected; CEL rules of the definition are not run.
"""

from __future__ import annotations

from typing import Any

import jsonschema
import yaml

from tests.schemas import schemas

_ROOT: dict[str, Any] = {
    "apiVersion": {"type": "string"},
    "kind": {"type": "string"},
    "metadata": {"type": "object"},
}
_KEPT = ("enum", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems",
         "minProperties", "maxProperties", "required", "type", "not", "oneOf", "anyOf",
         "allOf")  # fmt: skip
"""What is taken as it is: the words of validation whose schemas are no structure."""


class Definition:
    """One kind of resource in one version."""

    def __init__(self, text: str, version: str) -> None:
        found = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        spec = found["spec"]
        (self._schema,) = (v["schema"]["openAPIV3Schema"] for v in spec["versions"]
                           if v["name"] == version)  # fmt: skip
        self._api = f"{spec['group']}/{version}"
        self._kind = spec["names"]["kind"]
        strict = _strict(self._schema)
        strict["properties"] = {**strict["properties"], **_ROOT}
        self._validator = jsonschema.Draft202012Validator(strict)

    def faults(self, resource: Any) -> list[str]:
        """Return what is wrong with a resource."""
        found = [f"{'.'.join(map(str, e.absolute_path))}: {e.message}"
                 for e in self._validator.iter_errors(resource)]  # fmt: skip
        if (resource.get("apiVersion"), resource.get("kind")) != (self._api, self._kind):
            found.append(f"{resource.get('apiVersion')} {resource.get('kind')}")
        name = resource.get("metadata", {}).get("name", "")
        if not (0 < len(name) <= 253 and name.replace("-", "").replace(".", "").isalnum()
                and name == name.lower() and name[0].isalnum() and name[-1].isalnum()):  # fmt: skip
            found.append(f"metadata.name {name!r}")
        return found


def definition(name: str, version: str) -> Definition:
    """Return a definition of the shared schemas, or skip."""
    return Definition((schemas() / "crd" / name).read_text("utf-8"), version)


def resources(text: bytes) -> list[Any]:
    """Return the YAML documents."""
    return list(yaml.safe_load_all(text))


def _strict(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with every object closed that does not say otherwise."""
    made = {word: schema[word] for word in _KEPT if word in schema}
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    if schema.get("nullable"):
        made["type"] = [schema["type"], "null"]
    if "items" in schema:
        made["items"] = _strict(schema["items"])
    if schema.get("type") != "object":
        return made
    made["properties"] = {k: _strict(v) for k, v in schema.get("properties", {}).items()}
    more = schema.get("additionalProperties")
    if isinstance(more, dict):
        made["additionalProperties"] = _strict(more)
    elif more is not True and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made["additionalProperties"] = False
    return made
