"""Bundles and attestations changed at random, also within what they encode: never another answer.

The documents are JSON that holds octets in Base64, some of which are JSON again: a mutation works
on a value wherever it stands, so that most inputs still are what readers take for a bundle.
"""

from __future__ import annotations

import base64
import binascii
import json
import random
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from signward.findings import Code
from signward.formats._attested import AttestedFormat
from signward.policy.settings import Policy
from signward.state import KeylessIdentity, Outcome, TrustedSignature, Verdict
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.verify import assess_as
from signward.wire.source import BytesSource
from tests.builders import sigstore as made
from tests.builders.sigstore import PROVIDER, WORKFLOW, Sigstore, b64
from tests.fuzz.budget import rounds, watched

INPUTS = 600
CONTENT = b"what is signed"
WHEEL = "demo-1.0-py3-none-any.whl"
OURS = Sigstore()

ODD: tuple[Any, ...] = (
    None, 0, -1, 2**63, 10**400, "", "x", "AAAA", [], {}, [[]], 1.5, True, "\0", "9" * 30, "=",
    b64(b"{}"), b64(bytes(64)), "0" * 100_000, "sha256", "SHA2_512", "shake_128",
)  # fmt: skip
"""What stands in place of a value of any kind."""


@cache
def originals() -> dict[str, tuple[dict[str, Any], bytes, str]]:
    """Return documents, the files they are about, and these files' names."""
    wheel = made.wheel({"demo/__init__.py": b"x = 1\n"})
    return {
        "message": (OURS.message(CONTENT), CONTENT, "a"),
        "second": (OURS.message_2(CONTENT), CONTENT, "a"),
        "statement": (OURS.attested(made.statement("a", CONTENT)), CONTENT, "a"),
        "attestation": (OURS.attestation(WHEEL, wheel), wheel, WHEEL),
    }


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every member of a document: what holds it, and its key there."""
    keys: Any = value if isinstance(value, dict) else range(len(value))
    for key in list(keys):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def changed(document: Any, rng: random.Random) -> Any:
    """Return a document that differs in one to three members."""
    copy = json.loads(json.dumps(document))
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = list(_places(copy)) if isinstance(copy, dict | list) else []
        if not places:
            break
        holder, key = rng.choice(places)
        roll = rng.random()
        if roll < 0.25:
            holder[key] = rng.choice(ODD)
        elif roll < 0.35:
            del holder[key]
        elif roll < 0.45 and isinstance(holder, list):
            holder.append(holder[key])
        else:
            holder[key] = _value(holder[key], rng)
    return copy


def _value(value: Any, rng: random.Random) -> Any:
    if isinstance(value, int):
        return value + rng.choice((-1, 1))
    if not isinstance(value, str) or not value:
        return value
    try:
        raw = bytearray(binascii.a2b_base64(value, strict_mode=True))
    except (binascii.Error, ValueError):
        at = rng.randrange(len(value))
        return value[:at] + chr(rng.randrange(1, 0x180)) + value[at + rng.randrange(2) :]
    if raw[:1] == b"{":
        return b64(made.canonical(changed(json.loads(raw), rng)))
    for _ in range(rng.choice((1, 1, 4)) if raw else 0):
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    return base64.b64encode(raw[: rng.choice((len(raw), rng.randrange(len(raw) + 1)))]).decode()


@pytest.fixture(scope="module")
def judging(tmp_path_factory: pytest.TempPathFactory) -> Context:
    root = tmp_path_factory.mktemp("root") / "root.json"
    root.write_bytes(OURS.trusted_root())
    wanted = Policy(identity=WORKFLOW, issuer=PROVIDER)
    return Context(Options(trusted_root=str(root), policy=wanted))


def _judged(document: bytes, content: bytes, name: str, context: Context) -> Verdict:
    return assess_as(AttestedFormat(document), BytesSource(name, content), context)


@pytest.mark.parametrize("name", originals())
def test_changed_at_random(name: str, judging: Context) -> None:
    document, content, file = originals()[name]
    accepted = 0
    for seed in rounds(INPUTS):
        rng = random.Random(f"{name} {seed}")
        data = json.dumps(changed(document, rng) if seed else document).encode()
        if rng.random() < 0.05:
            data = data[: rng.randrange(len(data))] if seed else data
        with watched():
            verdict = _judged(data, content, file, judging)
            other = _judged(data, content + b"!", file, judging)
        assert verdict.cause is not Code.JUDGE_FAILED, (seed, verdict.findings)
        assert other.outcome is not Outcome.ACCEPTED, seed
        if verdict.outcome is Outcome.ACCEPTED:
            accepted += 1
            (signature,) = verdict.signatures
            assert isinstance(signature, TrustedSignature)
            assert isinstance(signature.basis, KeylessIdentity)
            assert signature.basis.identity == WORKFLOW
    assert accepted, "the original is accepted"
