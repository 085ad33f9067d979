"""Configuration profiles: payloads in their envelope, as ``profiles`` and an MDM install them.

Keys: Apple's device management schema, ``TopLevel`` and ``CommonPayloadKeys``.  UUIDs are version 5
of the policy's own identifier, so that a profile replaces its forerunner.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from signward.compilers import _plist
from signward.policy.rules.model import RuleSet

Payload = tuple[str, str, Mapping[str, Any]]
"""PayloadType, a name that is unique in the profile, and the payload's own keys."""


def profile(
    rules: RuleSet, target: str, title: str, organization: str, payloads: Sequence[Payload]
) -> bytes:
    """Return a ``.mobileconfig`` for the whole machine that users cannot remove."""
    identifier = f"{rules.name}.{target}"
    content = [
        {
            "PayloadType": kind,
            **_common(rules, f"{identifier}.{name}"),
            "PayloadDisplayName": f"{title} ({name})",
            **keys,
        }
        for kind, name, keys in payloads
    ]
    return _plist.write({
        "PayloadType": "Configuration",
        **_common(rules, identifier),
        "PayloadDisplayName": f"{title}: {rules.name} {rules.version}",
        "PayloadDescription": rules.note or f"Compiled from the policy {rules.name}",
        **({"PayloadOrganization": organization} if organization else {}),
        "PayloadScope": "System",
        "PayloadRemovalDisallowed": True,
        "PayloadContent": content,
    })  # fmt: skip


def _common(rules: RuleSet, identifier: str) -> dict[str, Any]:
    made = uuid.uuid5(uuid.UUID(rules.id), identifier)
    return {
        "PayloadVersion": 1,
        "PayloadIdentifier": identifier,
        "PayloadUUID": str(made).upper(),
    }
