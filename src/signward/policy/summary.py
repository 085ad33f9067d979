"""Verification summaries: that somebody judged a file by a policy, for others to rely on.

A statement (in-toto Statement v1) with the predicate of SLSA's Verification Summary Attestation,
version 1 (slsa.dev/verification_summary/v1); what is signed is its JSON, in a DSSE envelope of
type ``PAYLOAD_TYPE``.  Digests are lower-case hexadecimal, instants RFC 3339 in UTC.
Fields that nobody here knows are ignored on reading, as the parsing rules ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import msgspec

from signward.errors import EvidenceError
from signward.frozen import Frozen, decoder

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT: Literal["https://in-toto.io/Statement/v1"] = "https://in-toto.io/Statement/v1"
PREDICATE: Literal["https://slsa.dev/verification_summary/v1"] = (
    "https://slsa.dev/verification_summary/v1"
)

PASSED_LEVEL = "SIGNWARD_POLICY_ACCEPTED"
"""Level of what passed: no SLSA track was looked at, and other names must not begin ``SLSA_``."""

FAILED_LEVEL = "FAILED"

DECISION = "urn:signward:decision:1"
"""Field for what decided: producers name their own fields by URI (Parsing rules)."""

MAX_SUBJECTS = 10_000
"""Files that one summary may speak of."""

Result = Literal["PASSED", "FAILED"]


class Resource(Frozen, frozen=True, kw_only=True, omit_defaults=True):
    """A ResourceDescriptor, as far as summaries use it."""

    name: str = ""
    uri: str = ""
    digest: Mapping[str, str] = msgspec.field(default_factory=dict)


class Verifier(Frozen, frozen=True, kw_only=True):
    """Who judged, by a URI."""

    id: str


class Reason(Frozen, frozen=True, kw_only=True, omit_defaults=True):
    """What decided: the rule, the outcome, and why in one line; ``policies`` in layers."""

    outcome: str
    rule: str = ""
    why: str = ""
    policies: tuple[Resource, ...] = ()


class Predicate(Frozen, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """The summary itself (Fields)."""

    verifier: Verifier
    time_verified: datetime
    resource_uri: str
    policy: Resource
    verification_result: Result
    verified_levels: tuple[str, ...]
    slsa_version: str = ""
    reason: Reason | None = msgspec.field(default=None, name=DECISION)


class Statement(Frozen, frozen=True, kw_only=True, rename="camel"):
    """An in-toto Statement with a summary."""

    type: Literal["https://in-toto.io/Statement/v1"] = msgspec.field(
        default=STATEMENT, name="_type"
    )
    subject: tuple[Resource, ...]
    predicate_type: Literal["https://slsa.dev/verification_summary/v1"] = PREDICATE
    predicate: Predicate

    @property
    def passed(self) -> bool:
        """Whether the summary says that its subjects were accepted.

        Both fields must say so: a reader who looks at one of them must not be told otherwise.
        """
        predicate = self.predicate
        levels = predicate.verified_levels
        return predicate.verification_result == "PASSED" and FAILED_LEVEL not in levels

    def speaks_of(self, sha256: str) -> bool:
        """Say whether a file of this SHA-256 (hex) is among the subjects."""
        return any(subject.digest.get("sha256") == sha256 for subject in self.subject)


def encode(statement: Statement) -> bytes:
    """Return the statement's JSON; equal statements give equal octets."""
    return msgspec.json.encode(statement, order="deterministic")


def read(name: str, payload: bytes) -> Statement:
    """Return the statement in a payload whose signature was checked.  Raises ``EvidenceError``."""
    try:
        statement = decoder(Statement).decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EvidenceError(f"{name}: {str(error)[:200]}") from None
    if not 1 <= len(statement.subject) <= MAX_SUBJECTS:
        found = f"{len(statement.subject)} subjects"
        raise EvidenceError(f"{name}: found {found}, required 1 to {MAX_SUBJECTS}")
    if statement.predicate.time_verified.tzinfo is None:
        raise EvidenceError(f"{name}: found a time without its zone, required RFC 3339")
    return statement
