"""A time-stamping authority on loopback: real tokens, and every way of going wrong."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any

from conformance.authenticode import tsa
from conformance.authenticode.keys import key
from conformance.authenticode.pki import EKU_TIME_STAMPING, Identity, issue

from signward.wire import der
from tests.builders.web import Reply, Request
from tests.signing import authority


@cache
def stamper(name: str = "Signing Test TSA") -> Identity:
    """Return a time-stamping identity of the test authority."""
    return issue(
        name, issuer=authority(), subject_key=key("rsa2048", "signing-tsa"),
        ekus=(EKU_TIME_STAMPING,), eku_critical=True,
    )  # fmt: skip


def answering(
    who: Identity | None = None, *, status: int = 0, text: str = "", **defects: Any
) -> Callable[[Request], Reply]:
    """Return a handler that answers as an authority; ``defects`` go into the token."""

    def answer(request: Request) -> Reply:
        asked = der.parse(request.body, "request").fields("request", 3)
        algorithm, imprint = asked[1].fields("request", 2)
        nonce = next(f.integer() for f in asked[2:] if f.tag == der.INTEGER)
        made = {"at": datetime.now(UTC), "nonce": nonce, "imprint": imprint.octets(), **defects}
        assert algorithm.fields("request", 1)[0].oid() == "2.16.840.1.101.3.4.2.1"
        token = tsa.token_der(b"", who or stamper(), **made)
        said = der.sequence(der.utf8(text)) if text else b""
        info = der.sequence(der.integer(status), said)
        return Reply(der.sequence(info, token if status < 2 else b""))

    return answer
