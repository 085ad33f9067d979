"""The JSON Schema of a policy file (``docs/policy.schema.json``), for editors and other tools.

TOML's tables are JSON's objects and its date-times strings of RFC 3339.  What is required across
fields (a rule has a condition) stands in descriptions alone.
"""

from __future__ import annotations

from typing import Any

import msgspec

from signward.policy.rules.model import SCHEMA_VERSION, Document


def schema() -> dict[str, object]:
    """Return the JSON Schema (2020-12) of one policy file."""
    (reference,), definitions = msgspec.json.schema_components([Document])
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Signward policy, schema version {SCHEMA_VERSION}",
        **reference,
        "$defs": dict(sorted(definitions.items())),
    }
    plain: dict[str, object] = _portable(msgspec.json.decode(msgspec.json.encode(whole)))
    return plain


def _portable(value: Any) -> Any:
    r"""Return a schema with patterns as ECMA 262 writes them: ``$`` is the end, ``\Z`` is a Z."""
    if isinstance(value, dict):
        return {
            key: item.replace(r"\Z", "$")
            if key == "pattern" and isinstance(item, str)
            else _portable(item)
            for key, item in value.items()
        }
    return [_portable(item) for item in value] if isinstance(value, list) else value
