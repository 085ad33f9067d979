"""A case: somebody's order for a signature with all that it is decided by, and its entries."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

import msgspec

from signward.authority.access import Decision, Identity
from signward.authority.log.entry import Kind, Value, encode
from signward.keys._served import Answer, Order
from signward.store.requests import State, StoredRequest
from signward.verbs.authority.authorities import micros
from signward.verbs.authority.settings import SignSettings

_HOUR = 3_600_000_000
"""Microseconds."""


class Case(NamedTuple):
    """An order with everything it is decided by.

    ``asked`` is the SHA-256 of the whole order, ``digest`` that of the octets to sign,
    ``requester`` the caller's ``unique``.
    """

    identifier: str
    name: str
    rules: SignSettings
    caller: Identity
    names: frozenset[str]
    requester: str
    idempotency: str
    order: Order
    asked: bytes
    digest: bytes
    at: datetime

    @property
    def fields(self) -> dict[str, Value]:
        """What every entry says of it."""
        return {"intent": self.identifier, "key": self.name, **named(self.caller)}

    @property
    def request(self) -> StoredRequest:
        """What is stored of it."""
        order, at = self.order, micros(self.at)
        return StoredRequest(
            id=self.identifier, key=self.name, requester=self.requester,
            idempotency=self.idempotency, asked=self.asked, state=State.PENDING,
            format=order.format, file=order.file, content=order.content, digest=self.digest,
            algorithm=str(order.algorithm.algorithm),
            at=at, expires=at + self.rules.approval_hours * _HOUR,
        )  # fmt: skip

    def request_entry(self) -> bytes:
        """Return the entry that says what was asked for."""
        return encode(Kind.SIGN_REQUEST, self._asked(), self.at)

    def result_entry(self, answer: Answer, at: datetime) -> bytes:
        """Return the entry that says what was signed."""
        told = {
            **self._asked(),
            "certificate": hashlib.sha256(answer.certificates[0]).hexdigest(),
            "value": digest_text(hashlib.sha256(answer.value).digest()),
            "timestamps": [digest_text(hashlib.sha256(one).digest()) for one in answer.tokens],
        }
        return encode(Kind.SIGNED, told, at)

    def failure_entry(self, error: Exception, at: datetime) -> bytes:
        """Return the entry that says that nothing was signed."""
        return encode(Kind.SIGN_FAILED, {**self.fields, "reason": type(error).__name__}, at)

    def _asked(self) -> Mapping[str, Value]:
        order = self.order
        return {
            **self.fields,
            "digest": digest_text(self.digest),
            "algorithm": str(order.algorithm.algorithm),
            "format": order.format,
            "file": order.file,
            "content": order.content,
        }


def opened(
    name: str,
    rules: SignSettings,
    caller: Identity,
    names: frozenset[str],
    idempotency: str,
    order: Order,
    at: datetime,
) -> Case:
    """Return the case of an order that was made just now."""
    return Case(
        secrets.token_hex(16), name, rules, caller, names, caller.unique, idempotency, order,
        hashlib.sha256(msgspec.json.encode(order)).digest(),
        hashlib.sha256(order.data).digest(), at,
    )  # fmt: skip


def decision_entry(fields: Mapping[str, Value], decision: Decision, at: datetime) -> bytes:
    """Return the entry that says what was decided, and why."""
    told = {"ruling": decision.ruling.value, "reason": decision.reason}
    return encode(Kind.SIGN_DECISION, {**fields, **told}, at)


def named(caller: Identity) -> dict[str, Value]:
    """Return how entries name somebody."""
    return {"by": caller.subject, "by-issuer": caller.issuer, "by-kind": caller.kind}


def digest_text(digest: bytes) -> str:
    """Return a SHA-256 as entries have it."""
    return f"sha256:{digest.hex()}"
