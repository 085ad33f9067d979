"""The signing role over HTTP: statuses, bounds, and who gets in at all."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.builders import signing_service as service
from tests.builders.service import Answer, Running
from tests.builders.signing_service import ALICE, BOB, CI, EVE
from tests.unit.test_octets import attributes

TWO: dict[str, Any] = {"approvals": 2, "approvers": [ALICE, BOB]}


@pytest.fixture
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    rules = getattr(request, "param", {})
    with service.realm(tmp_path, rules) as realm, service.running(realm) as running:
        yield running


def order(**fields: Any) -> dict[str, Any]:
    return {
        "data": base64.b64encode(attributes()).decode(), "format": "pe", "file": "setup.exe",
        "algorithm": {"scheme": "rsa-pkcs1v15", "digest": "sha256"}, **fields,
    }  # fmt: skip


def post(
    served: Running, body: Any, who: str = CI, key: str = "k" * 16, path: str = "release"
) -> Answer:
    heads = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return served.ask("POST", f"/keys/{path}/signatures", data,
                      roles=f"{who}-token" if who else "", headers=heads)  # fmt: skip


def test_an_order_is_signed_and_told_as_json(served: Running) -> None:
    answer = post(served, order())
    assert answer.status == 200
    assert set(answer.json) >= {"id", "state", "value", "certificates", "receipt"}
    assert answer.headers["cache-control"] == "no-store"
    again = served.ask("GET", f"/keys/release/signatures/{answer.json['id']}", roles="ci-token")
    assert again.json["value"] == answer.json["value"]


@pytest.mark.parametrize(
    ("who", "path", "status"),
    [("", "release", 401), ("nobody", "release", 401), (EVE, "release", 403),
     (ALICE, "release", 403), (CI, "other", 403), (CI, "..%2Fca", 404)],
)  # fmt: skip
def test_who_gets_in(served: Running, who: str, path: str, status: int) -> None:
    answer = post(served, order(), who, path=path)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert "value" not in answer.json


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'{"data": 1}',
        {k: v for k, v in order().items() if k != "format"},
        order(extra=1), order(data="*"), order(data=""), order(format="PE"), order(format="../pe"),
        order(format="pe\n"), order(content="\n"),
        order(file=""), order(file="x" * 1025), order(content="sha256:zz"), order(content="md5:00"),
        order(algorithm={"scheme": "rsa-pkcs1v15", "digest": "sha1"}),
        order(algorithm={"scheme": "dsa", "digest": "sha256"}),
        order(algorithm={"scheme": "rsa-pss", "digest": "sha256", "salt_length": -1}),
        order(file="\ud800"),
    ],
    ids=range(21),
)  # fmt: skip
def test_orders_that_are_none_are_refused(served: Running, body: Any) -> None:
    answer = post(served, body)
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"


def test_octets_that_are_not_of_the_format_are_refused(served: Running) -> None:
    answer = post(served, order(format="vsix"))
    assert (answer.status, answer.json["found"]) == (422, "1.3.6.1.4.1.311.2.1.4")


@pytest.mark.parametrize("key", ["", "short", "k" * 65, "k" * 16 + "\tx", "schlüssel-und-mehr"])
def test_an_idempotency_key_is_required_and_bounded(served: Running, key: str) -> None:
    if not key.isascii():
        key = key.encode().decode("latin-1")
    assert post(served, order(), key=key).status == 400


def test_a_body_has_a_bound(served: Running) -> None:
    assert post(served, order(file="x" * 70_000)).status == 413
    assert post(served, order(data=base64.b64encode(bytes(41 * 1024)).decode())).status == 400


def test_another_order_under_the_same_idempotency_key_is_a_conflict(served: Running) -> None:
    assert post(served, order()).status == 200
    assert post(served, order(file="other.exe")).status == 409
    assert post(served, order()).status == 200


@pytest.mark.parametrize("served", [{"rate": ["1/day"]}], indirect=True)
def test_over_the_rate_is_told_when_to_come_again(served: Running) -> None:
    assert post(served, order()).status == 200
    answer = post(served, order(), key="n" * 16)
    assert answer.status == 429
    assert 0 < int(answer.headers["retry-after"]) <= 86400


@pytest.mark.parametrize("served", [TWO], indirect=True)
def test_requests_are_approved_and_denied_over_http(served: Running) -> None:
    answer = post(served, order())
    assert (answer.status, answer.json["state"]) == (202, "pending")
    assert "value" not in answer.json or answer.json["value"] == ""
    number = answer.json["id"]

    def say(who: str, said: Any, which: str = number) -> Answer:
        return served.ask(
            "POST", f"/requests/{which}/approvals", json.dumps(said).encode(),
            roles=f"{who}-token", headers={"Content-Type": "application/json"},
        )  # fmt: skip

    assert [one["id"] for one in served.ask("GET", "/requests", roles="alice-token").json] == [
        number
    ]
    assert served.ask("GET", "/requests", roles="ci-token").status == 403
    assert served.ask("GET", "/requests").status == 401
    assert say(CI, {"decision": "approve"}).status == 403
    assert say(EVE, {"decision": "deny"}).status == 403
    assert say(ALICE, {"decision": "maybe"}).status == 400
    assert say(ALICE, {"decision": "approve", "for": BOB}).status == 400
    assert say(ALICE, {"decision": "approve"}).json["approvals"] == [ALICE]
    assert say(ALICE, {"decision": "approve"}).status == 403
    assert say(BOB, {"decision": "approve"}, "0" * 32).status == 403
    assert say(BOB, {"decision": "approve"}).status == 200
    path = f"/keys/release/signatures/{number}"
    assert served.ask("GET", path, roles="ci-token").json["state"] == "approved"
    assert post(served, order()).status == 200
    assert say(BOB, {"decision": "deny"}).status == 409
    assert served.ask("GET", path, roles="eve-token").status == 403


def test_a_service_without_keys_has_no_such_routes(tmp_path: Path) -> None:
    from signward.service.roles.sign import SignRole
    from tests.builders.signing_service import settings

    made = settings()
    empty = made.__class__(name="x", url="y")

    class Bare:
        settings = empty

    assert SignRole().routes(Bare()) == []  # type: ignore[arg-type]
    assert SignRole().tasks(Bare()) == []  # type: ignore[arg-type]


def test_text_that_no_database_takes_is_the_senders_fault(
    tmp_path: Path, database_url: str
) -> None:
    """PostgreSQL stores no NUL: an answer that says so is no fault of the service's."""
    with (
        service.realm(tmp_path, TWO, database=database_url) as realm,
        service.running(realm) as served,
    ):
        assert post(served, order(file="a\0b")).status == 400
        for path in ("/keys/release/signatures/a%00b", "/keys/a%00b"):
            assert served.ask("GET", path, roles="ci-token").status == 400
        said = served.ask(
            "POST", "/requests/a%00b/approvals", b'{"decision": "approve"}',
            roles="alice-token", headers={"Content-Type": "application/json"},
        )  # fmt: skip
        assert said.status == 400
        assert not [line for line in served.log if line["event"] == "failed"]
