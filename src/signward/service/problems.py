"""Errors as answers: problem details in JSON (RFC 9457), never a traceback.

Members beside the standard's: ``found``, ``required``, ``clause``, ``hint`` as the package's
errors have them, and ``request``, the identifier under which the log has the whole story.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, NotAuthorizedException

from signward import errors
from signward.authority.log.faults import LogFaultError

MEDIA_TYPE = "application/problem+json"

RETRY_SECONDS = 5
"""After which a client may try again what failed for want of a database, a key or room."""

_TYPE = "urn:signward:problem:"
RETRY = {"Retry-After": str(RETRY_SECONDS)}

STATUSES: Mapping[type[Exception], tuple[str, int]] = {
    errors.DeniedError: ("denied", 403),
    errors.LimitedError: ("limited", 429),
    errors.ConflictError: ("conflict", 409),
    errors.LintError: ("lint", 422),
    errors.StoreError: ("store", 503),
    errors.RealmError: ("set-up", 503),
    LogFaultError: ("log", 503),
    errors.StatedError: ("refused", 422),
    errors.KeyProviderError: ("key", 503),
    errors.SigningError: ("not-signable", 422),
    errors.ExtraMissingError: ("set-up", 503),
    errors.BadInputError: ("bad-input", 400),
    errors.EvidenceError: ("bad-input", 400),
    errors.FetchError: ("fetch", 503),
}
"""Error to the problem's name and status; the nearest class in an error's line counts."""

_OURS = frozenset({"set-up", "log", "key", "fetch"})
"""Problems of the service's own, whose particulars are for its log and not for callers."""

Whom = Request[Any, Any, Any]


class Problem(NamedTuple):
    """What is said about an error; ``members`` are the further ones of the JSON object."""

    name: str
    status: int
    detail: str
    members: Mapping[str, Any] = {}
    headers: Mapping[str, str] = {}


def problem_of(error: Exception) -> Problem:
    """Return what a caller may hear about ``error``."""
    if isinstance(error, HTTPException):
        return _of_http(error)
    for kind in type(error).__mro__:
        if kind in STATUSES:
            name, status = STATUSES[kind]
            return _of_package(name, status, error)
    return Problem("internal", 500, "something went wrong that is not the request's fault")


def _of_http(error: HTTPException) -> Problem:
    phrase = HTTPStatus(error.status_code).phrase
    name = phrase.lower().replace(" ", "-")
    headers = dict(error.headers or {})
    if isinstance(error, NotAuthorizedException):
        headers.setdefault("WWW-Authenticate", 'Bearer realm="signward"')
    if error.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR.value and not headers:
        return Problem(name, error.status_code, phrase)
    members = {"errors": error.extra} if error.extra else {}
    return Problem(name, error.status_code, error.detail, members, headers)


def _of_package(name: str, status: int, error: Exception) -> Problem:
    headers = RETRY if status == HTTPStatus.SERVICE_UNAVAILABLE.value else {}
    if isinstance(error, errors.LimitedError):
        headers = {"Retry-After": str(error.retry_seconds)}
    if name in _OURS:
        return Problem(name, status, "the service lacks something it needs", {}, headers)
    said = getattr(error, "finding", error)
    names = ("found", "required", "clause", "hint")
    members = {name: text for name in names if (text := getattr(said, name, ""))}
    return Problem(name, status, str(error).partition("\nhint: ")[0], members, headers)


def is_fault(problem: Problem, error: Exception) -> bool:
    """Say whether the service's log is to have the whole story of an error."""
    fault = problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR.value
    return fault and not isinstance(error, HTTPException)


def answer(problem: Problem, request_id: str) -> Response[bytes]:
    """Return the response that tells a problem."""
    return Response(
        body(problem, request_id),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=dict(problem.headers),
    )


def body(problem: Problem, request_id: str) -> bytes:
    """Return the JSON of a problem."""
    return msgspec.json.encode(
        {
            "type": _TYPE + problem.name,
            "title": HTTPStatus(problem.status).phrase,
            "status": problem.status,
            "detail": problem.detail,
            **problem.members,
            "request": request_id,
        }
    )
