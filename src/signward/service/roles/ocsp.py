"""OCSP over HTTP: ``GET /ocsp/NAME/REQUEST`` and ``POST /ocsp/NAME`` (RFC 6960 A.1, RFC 9919 7)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping, Sequence
from email.utils import format_datetime
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from litestar import Request, get, post
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.response.base import ASGIResponse

from signward.authority.ocsp import MAX_REQUEST_OCTETS
from signward.service.roles import Access
from signward.verbs.authority.ending import check_in_force
from signward.verbs.authority.respond import MAX_KEPT, Answer, Responder

if TYPE_CHECKING:
    from litestar.types import HTTPScope

    from signward.verbs.authority.realm import Realm

MAX_AGE = 1
"""Seconds for which an answer may be given again without asking: so late can a revocation reach
those who cache.  Answers themselves are good for longer, so nothing expires on the way, and
whoever has one asks with its ETag."""

MEDIA_TYPE = "application/ocsp-response"
_CACHED = f"max-age={MAX_AGE}, public, no-transform, must-revalidate"
_NOT_CACHED = {"Cache-Control": "no-store"}
_PUBLIC = {"access": Access.PUBLIC, "max_body": MAX_REQUEST_OCTETS}


class OcspRole:
    """The ``ROLE``: answers for every authority that the service holds an OCSP key of."""

    name = "ocsp"
    help = "answers whether certificates are revoked (RFC 6960)"

    def routes(self, realm: Realm) -> Sequence[HTTPRouteHandler]:
        """Return the handlers (see ``Role``); none where no authority is online."""
        responders = {
            name: Responder(realm, name)
            for name, settings in realm.settings.ca.items()
            if settings.ocsp_key or not settings.offline
        }
        return _handlers(responders) if responders else ()

    def checks(self, realm: Realm) -> Mapping[str, Callable[[], object]]:
        """Return what must hold: that the certificates which answer have not ended."""
        return {
            f"ocsp-{name}": partial(check_in_force, realm, one.ocsp_key or one.key)
            for name, one in realm.settings.ca.items()
            if one.ocsp_key or not one.offline
        }


def _handlers(responders: dict[str, Responder]) -> tuple[HTTPRouteHandler, ...]:
    async def answered(name: str, data: bytes) -> Answer:
        responder = responders.get(name)
        if responder is None:
            raise NotFoundException(f"no authority {name[:40]!r} is answered for here")
        kept = responder.kept(data)
        return kept if kept is not None else await asyncio.to_thread(responder.answer, data)

    @post("/ocsp/{name:str}", media_type=MEDIA_TYPE, status_code=200, opt=_PUBLIC)
    async def ask(name: FromPath[str], request: Request[Any, Any, Any]) -> ASGIResponse:
        """Answer a request (DER) that is the body."""
        return _response(await answered(name, await request.body()))

    def at_hand(scope: HTTPScope) -> ASGIResponse | None:
        """Return the response to a GET whose answer is kept; None for any other."""
        name = scope["path"].split("/", 3)[2:3]
        responder = responders.get(name[0]) if name else None
        kept = responder.kept(decoded(scope["raw_path"])) if responder else None
        return _response(kept, _if_none_match(scope)) if kept else None

    @get(
        "/ocsp/{name:str}/{question:path}",
        media_type=MEDIA_TYPE,
        opt={**_PUBLIC, "express": at_hand},
    )
    async def look_up(
        name: FromPath[str],
        question: FromPath[str],  # noqa: ARG001 - as routed: slashes that are base64 are lost in it
        request: Request[Any, Any, Any],
    ) -> ASGIResponse:
        """Answer a request that stands in the path, in base64."""
        answer = await answered(name, decoded(request.scope["raw_path"]))
        return _response(answer, _if_none_match(request.scope))

    return ask, look_up


def decoded(path: bytes) -> bytes:
    """Return the request behind ``/ocsp/NAME/`` in a raw path, base64 of DER; empty for none.

    Clients differ: its slashes may be escaped or not, the one before it may stand twice, padding
    may be absent.  DER never begins with a slash in base64: those in front are not part of it.
    """
    text = unquote(path.split(b"/", 3)[-1].decode("ascii", "replace")).lstrip("/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (ValueError, binascii.Error):
        return b""


def _if_none_match(scope: HTTPScope) -> str:
    found = (value for name, value in scope["headers"] if name == b"if-none-match")
    return next(found, b"").decode("latin-1")


def _response(answer: Answer, known: str = "") -> ASGIResponse:
    """Return the HTTP answer; 304 where the client has it (``known`` is If-None-Match)."""
    if answer.made is None:
        return ASGIResponse(body=answer.body, headers=_NOT_CACHED, media_type=MEDIA_TYPE)
    if known and _tag(answer) in known:
        return ASGIResponse(status_code=304, headers=_headers(answer))
    return _whole(answer)


@lru_cache(maxsize=MAX_KEPT)
def _whole(answer: Answer) -> ASGIResponse:
    """Return the response with a kept answer, kept itself: making one takes longer than sending."""
    return ASGIResponse(body=answer.body, headers=_headers(answer), media_type=MEDIA_TYPE)


def _headers(answer: Answer) -> dict[str, str]:
    """Return what lets caches keep an answer (RFC 9919 7.2)."""
    assert answer.made is not None  # noqa: S101 - for the type checker
    return {
        "Cache-Control": _CACHED,
        "ETag": _tag(answer),
        "Last-Modified": format_datetime(answer.made, usegmt=True),
    }


def _tag(answer: Answer) -> str:
    return f'"{hashlib.sha256(answer.body).hexdigest()[:32]}"'


ROLE = OcspRole()
