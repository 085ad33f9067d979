"""Who may call what: every route by every role, generated from the application's own routes."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from litestar import get
from litestar.routes import HTTPRoute

from signward.errors import RealmError
from signward.service.app import Service, build
from signward.service.authorise import access_of
from signward.service.logs import Journal
from signward.service.roles import Access, load_role, role_names
from signward.verbs.authority.realm import Realm
from tests.builders.served_authority import founded
from tests.builders.service import Planted, RolesByToken, Running, serving

ROLES = tuple(role for role in Access if role is not Access.PUBLIC)

EXAMPLES = {"name": "issuing", "question": "MEIwQDA", "place": "0/000", "id": "1"}
"""Values for the names in paths; any other name is a one."""

PUBLIC_POSTS = {"/ocsp/{name}", "/tsa"}
"""What anybody may send: questions about certificates, and imprints to be stamped."""


class Route(NamedTuple):
    """One operation: where, how, and who may."""

    method: str
    path: str
    access: frozenset[Access]

    @property
    def url(self) -> str:
        parts = self.path.split("/")
        return "/".join(EXAMPLES.get(p[1:-1], "1") if p[:1] == "{" else p for p in parts)


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    opened = Realm.open(founded(tmp_path_factory.mktemp("authority") / "data"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def running(realm: Realm) -> Iterator[Running]:
    with serving(realm, [load_role(name) for name in role_names()], log_all=True) as service:
        yield service


def routes_of(service: Service) -> list[Route]:
    return [
        Route(method, route.path_format, access_of(handler))
        for route in service.litestar.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        for method in sorted(handler.http_methods - {"OPTIONS"})
    ]


@pytest.fixture(scope="module")
def routes(realm: Realm) -> list[Route]:
    roles = [load_role(name) for name in role_names()]
    return routes_of(build(realm, roles, RolesByToken(), Journal()))


def test_every_role_has_routes(realm: Realm) -> None:
    for name in role_names():
        assert load_role(name).name == name
        assert load_role(name).help
        assert list(load_role(name).routes(realm)), name


def test_every_route_says_who_may_call_it(routes: list[Route]) -> None:
    assert [route for route in routes if not route.access] == []
    assert len(routes) >= 8


def test_a_route_that_does_not_say_who_may_call_it_keeps_the_service_from_starting(
    realm: Realm,
) -> None:
    @get("/forgotten")
    async def forgotten() -> None: ...

    with pytest.raises(RealmError, match="/forgotten"):
        build(realm, [Planted(forgotten)], RolesByToken(), Journal())


def test_what_anybody_may_call_changes_nothing(routes: list[Route]) -> None:
    public = {route for route in routes if Access.PUBLIC in route.access}
    assert {route.method for route in public} == {"GET", "POST"}
    assert {route.path for route in public if route.method == "POST"} <= PUBLIC_POSTS


def test_public_stands_alone(routes: list[Route]) -> None:
    assert [r for r in routes if Access.PUBLIC in r.access and len(r.access) > 1] == []


def test_nobody_may_call_what_is_not_public(running: Running, routes: list[Route]) -> None:
    guarded = [route for route in routes if Access.PUBLIC not in route.access]
    assert guarded
    for route in guarded:
        answer = running.ask(route.method, route.url, b"")
        assert answer.status == 401, route
        assert answer.headers["www-authenticate"].startswith("Bearer ")
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_call_its_routes_and_no_others(
    running: Running, routes: list[Route], role: Access
) -> None:
    for route in routes:
        answer = running.ask(route.method, route.url, b"", roles=role)
        forbidden = answer.status == 403 and answer.json["type"].endswith(":forbidden")
        let_in = bool(route.access & {role, Access.PUBLIC})
        assert forbidden is not let_in, (route, answer)
        assert answer.status != 401, route
        assert answer.status < 500, (route, answer)


@pytest.mark.parametrize("role", ["", "root", "admin ", "ADMIN", "public", "officer.", "*"])
def test_no_other_word_is_a_role(running: Running, routes: list[Route], role: str) -> None:
    for route in routes:
        if Access.PUBLIC not in route.access:
            assert running.ask(route.method, route.url, b"", roles=role).status in (401, 403)


def test_options_and_other_methods_tell_nobody_anything(
    running: Running, routes: list[Route]
) -> None:
    for route in routes:
        for method in ("OPTIONS", "DELETE", "PATCH", "PUT", "TRACE"):
            assert running.ask(method, route.url).status in (401, 405), (method, route)


def test_the_document_says_of_each_route_what_the_guard_asks(
    running: Running, routes: list[Route]
) -> None:
    paths: dict[str, Any] = running.ask("GET", "/openapi.json").json["paths"]
    said = {
        Route(method.upper(), path, frozenset(map(Access, operation["x-access"])))
        for path, item in paths.items()
        for method, operation in item.items()
    }
    assert said == set(routes)


def test_the_document_names_every_refusal(running: Running) -> None:
    for path, item in running.ask("GET", "/openapi.json").json["paths"].items():
        for method, operation in item.items():
            told = set(operation["responses"])
            assert {"400", "404", "503"} <= told, (path, method)
            guarded = operation["x-access"] != ["public"]
            assert ({"401", "403"} <= told) is guarded
            assert ("security" in operation) is guarded
            assert ({"408", "413"} <= told) is (method != "get")
            assert operation.get("description"), (path, method)
