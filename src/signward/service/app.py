"""The application: the roles' routes behind one guard, one gate, one way to tell problems."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from litestar import Litestar, Request, Response
from litestar.handlers import HTTPRouteHandler

from signward.errors import RealmError
from signward.service import health, openapi
from signward.service.authorise import Doorkeeper, access_of, guarding
from signward.service.express import Express
from signward.service.gate import PASSAGE, Gate
from signward.service.logs import Journal
from signward.service.metrics import Metrics
from signward.service.problems import answer, is_fault, problem_of
from signward.service.reading import JsonRequest
from signward.service.roles import Checking, Role, Task, Working

if TYPE_CHECKING:
    from signward.verbs.authority.realm import Realm


class Service(NamedTuple):
    """What one process serves: the ASGI application and the work that comes round."""

    application: Gate
    litestar: Litestar
    tasks: tuple[Task, ...]
    metrics: Metrics


def build(
    realm: Realm,
    roles: Sequence[Role],
    doorkeeper: Doorkeeper,
    journal: Journal,
    *,
    wanted: Collection[str] = (),
    log_all: bool = False,
) -> Service:
    """Put the roles' routes together; of those ``wanted`` by name there must be some.

    Raises ``RealmError``, also for a route that nobody may call.
    """
    metrics = Metrics()
    checks = health.own_checks(realm, [role.name for role in roles])
    for role in roles:
        if isinstance(role, Checking):
            checks |= role.checks(realm)
    routes = [route for role in roles for route in _routes(role, realm, wanted=role.name in wanted)]
    routes += health.handlers(checks, journal, metrics)
    check_access(routes)
    routes.append(openapi.handler(routes))
    litestar = Litestar(
        routes,
        request_class=JsonRequest,
        middleware=[guarding(doorkeeper)],
        exception_handlers={Exception: _teller(journal)},
        openapi_config=None,  # openapi.handler has the document
        request_max_body_size=None,  # limits.Body has the route's own
        logging_config=None,
        debug=False,
    )
    working = [role for role in roles if isinstance(role, Working)]
    tasks = {task.name: task for role in working for task in role.tasks(realm)}
    gate = Gate(Express(litestar, routes), journal, metrics, log_all=log_all)
    return Service(gate, litestar, tuple(tasks.values()), metrics)


def _routes(role: Role, realm: Realm, *, wanted: bool) -> Sequence[HTTPRouteHandler]:
    routes = role.routes(realm)
    if wanted and not routes:
        raise RealmError(
            f"--role {role.name}", "nothing set up", "its table in the settings",
            hint=f"{role.name}: {role.help}",
        )  # fmt: skip
    return routes


def check_access(routes: Iterable[HTTPRouteHandler]) -> None:
    """Raise ``RealmError`` for a route that does not say who may call it."""
    for route in routes:
        if not access_of(route):
            raise RealmError(
                f"route {' '.join(sorted(route.paths))}", "no access", 'opt={"access": Access.…}'
            )


def _teller(journal: Journal) -> Callable[[Request[Any, Any, Any], Exception], Response[bytes]]:
    def tell(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
        number = request.scope["state"][PASSAGE].number
        problem = problem_of(error)
        if is_fault(problem, error):
            journal.error("failed", error, request=number)
        return answer(problem, number)

    return tell
