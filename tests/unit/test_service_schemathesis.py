"""Requests that schemathesis makes up from the OpenAPI document: none is answered by a 5xx.

What comes back is as documented too: status, media type, shape.  Everything is asked by somebody
with every role, so that what lies behind the guard is reached; the authority is thrown away.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings, strategies
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi import checks

from signward.service.roles import Access, load_role, role_names
from signward.verbs.authority.realm import Realm
from tests.builders.served_authority import founded
from tests.builders.service import Running, serving

EXAMPLES = 25
"""Requests to each operation: the suite's share; run with more before a release."""

EVERY_ROLE = ",".join(role for role in Access if role is not Access.PUBLIC)

CHECKS = (
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    realm = Realm.open(founded(tmp_path_factory.mktemp("authority") / "data"))
    with serving(realm, [load_role(name) for name in role_names()]) as service:
        yield service
    realm.close()


def test_what_is_made_up_is_answered_as_documented(running: Running) -> None:
    schema = schemathesis.openapi.from_url(f"{running.url}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    assert len(operations) == len(list(schema.get_all_operations())) > 0
    for operation in operations:
        _try(operation)


def _try(operation: APIOperation[Any, Any, Any, Any]) -> None:
    """Send made-up requests to one operation; what it says wrong is raised."""

    @given(case=operation.as_strategy(), known=strategies.booleans())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    def answered(case: schemathesis.Case[Any], *, known: bool) -> None:
        if known and "name" in case.path_parameters:
            case.path_parameters["name"] = "release" if "/keys/" in case.path else "issuing"
        headers = {"Authorization": f"Bearer {EVERY_ROLE}"}
        case.call_and_validate(headers=headers, checks=list(CHECKS))

    answered()


def test_nothing_went_wrong_inside(running: Running) -> None:
    """Runs last in this module: no request above made the service write of a failure."""
    assert [line for line in running.log if line["event"] == "failed"] == []
