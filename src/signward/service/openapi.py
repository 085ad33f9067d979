"""The OpenAPI document: every route, what it answers when it refuses, and whom it asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from litestar import Litestar, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.routes import HTTPRoute

from signward import __version__
from signward.service.authorise import access_of
from signward.service.problems import MEDIA_TYPE
from signward.service.roles import Access

PATH = "/openapi.json"

_BODIES = frozenset({"post", "put", "patch"})
_NEEDS = "x-access"
"""Where an operation says which roles may call it, any one of them."""

_MEMBERS = ("type", "title", "detail", "found", "required", "clause", "hint", "request")
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "request"],
    "properties": {
        "status": {"type": "integer"},
        "errors": {},
        **{name: {"type": "string"} for name in _MEMBERS},
    },
}
_REF = {"$ref": "#/components/schemas/Problem"}

_ALWAYS = {
    "400": "The request is malformed.",
    "404": "There is no such thing here.",
    "503": "Too busy, or the database or a key does not answer; see Retry-After.",
}
_GUARDED = {
    "401": "Nobody, or a proof that does not hold.",
    "403": "Somebody who may not.",
    "422": "What is asked for breaks a rule.",
}
_WITH_BODY = {
    "408": "The body did not end in time.",
    "409": "It was done already, or otherwise.",
    "413": "The body is too large.",
    "415": "The body is of another type.",
}
_SCHEMES = {
    "mtls": {"type": "mutualTLS", "description": "A client certificate."},
    "oidc": {"type": "http", "scheme": "bearer", "description": "An OpenID Connect token."},
}


def handler(routes: Sequence[HTTPRouteHandler]) -> HTTPRouteHandler:
    """Return the route that hands out the document of ``routes`` and of itself."""
    document = b""

    @get(PATH, opt={"access": Access.PUBLIC}, media_type="application/json")
    async def openapi() -> Response[bytes]:
        """Describe every route of this service."""
        return Response(document, media_type="application/json")

    document = msgspec.json.encode(_described([*routes, openapi]))
    return openapi


def _described(routes: Sequence[HTTPRouteHandler]) -> dict[str, Any]:
    """Return the document of an application that is made for its sake only.

    Litestar serves a document together with pages of its own at paths of its own choice.
    """
    application = Litestar(routes, openapi_config=_CONFIG, logging_config=None)
    document: dict[str, Any] = application.openapi_schema.to_schema()
    components = document.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = _PROBLEM
    components["securitySchemes"] = _SCHEMES
    for path, method, wanted in _operations(application):
        _complete(document["paths"][path][method], wanted, has_body=method in _BODIES)
    return document


_CONFIG = OpenAPIConfig(
    title="Signward",
    version=__version__,
    description="A code-signing authority: certificates, revocation, timestamps, signatures.",
    use_handler_docstrings=True,
    path="/openapi",
)


def _operations(application: Litestar) -> Iterator[tuple[str, str, frozenset[Access]]]:
    for route in application.routes:
        for one in route.route_handlers if isinstance(route, HTTPRoute) else ():
            if one.resolve_include_in_schema():
                for method in one.http_methods:
                    yield route.path_format, method.lower(), access_of(one)


def _complete(operation: dict[str, Any], wanted: frozenset[Access], *, has_body: bool) -> None:
    guarded = Access.PUBLIC not in wanted
    _open_encoded(operation["responses"])
    operation[_NEEDS] = sorted(wanted)
    told = _ALWAYS | (_GUARDED if guarded else {}) | (_WITH_BODY if has_body else {})
    for status, description in told.items():
        problem = {"description": description, "content": {MEDIA_TYPE: {"schema": _REF}}}
        _merge(operation["responses"], status, problem)
    if guarded:
        operation["security"] = [{name: []} for name in _SCHEMES]


def _open_encoded(responses: dict[str, Any]) -> None:
    """Let JSON that a handler has encoded already be any: only the octets' type is declared."""
    for response in responses.values():
        for kind, content in response.get("content", {}).items():
            if kind.endswith("json") and content.get("schema") == {"type": "string"}:
                content["schema"] = {}


def _merge(responses: dict[str, Any], status: str, problem: dict[str, Any]) -> None:
    """Add a problem to what a route says of a status itself; what Litestar guesses gives way."""
    own = responses.get(status)
    if own is None or own.get("description", "").startswith("Bad request syntax"):
        responses[status] = problem
    else:
        own.setdefault("content", {}).update(problem["content"])
