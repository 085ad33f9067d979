"""OCSP over HTTP: ``GET /ocsp/NAME/REQUEST`` and ``POST /ocsp/NAME`` (RFC 6960 A.1, RFC 9919 7)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Sequence
from email.utils import format_datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from litestar import Request, Response, get, post
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from signward.authority.ocsp import MAX_REQUEST_OCTETS
from signward.service.roles import Access, AtHand, Task
from signward.verbs.authority.respond import MAX_KEPT, Answer, Responder

if TYPE_CHECKING:
    from litestar.types import HTTPScope

    from signward.verbs.authority.realm import Realm

MAX_AGE = 60
"""Seconds for which proxies may give an answer again: so late can a revocation reach those who
ask through one.  Answers themselves are good for longer, so nothing expires on the way."""

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

    def tasks(self, realm: Realm) -> Sequence[Task]:  # noqa: ARG002 - the protocol's
        """Nothing comes round: answers are signed when they are asked for."""
        return ()


def _handlers(responders: dict[str, Responder]) -> tuple[HTTPRouteHandler, ...]:
    async def answered(name: str, data: bytes) -> Answer:
        responder = responders.get(name)
        if responder is None:
            raise NotFoundException(f"no authority {name[:40]!r} is answered for here")
        kept = responder.kept(data)
        return kept if kept is not None else await asyncio.to_thread(responder.answer, data)

    @post("/ocsp/{name:str}", media_type=MEDIA_TYPE, status_code=200, opt=_PUBLIC)
    async def ask(name: FromPath[str], request: Request[Any, Any, Any]) -> Response[bytes]:
        """Answer a request (DER) that is the body."""
        return _response(await answered(name, await request.body()))

    def at_hand(scope: HTTPScope) -> AtHand | None:
        """Return a kept answer to whoever does not say which one he knows."""
        path = scope["raw_path"]
        responder = responders.get(path.split(b"/", 3)[2].decode("ascii", "replace"))
        if responder is None or any(name == b"if-none-match" for name, _ in scope["headers"]):
            return None
        answer = responder.kept(decoded(path))
        return _octets(answer) if answer is not None and answer.made else None

    @get(
        "/ocsp/{name:str}/{question:path}",
        media_type=MEDIA_TYPE,
        opt={**_PUBLIC, "at_hand": at_hand},
    )
    async def look_up(
        name: FromPath[str],
        question: FromPath[str],  # noqa: ARG001 - as routed: slashes that are base64 are lost in it
        request: Request[Any, Any, Any],
    ) -> Response[bytes]:
        """Answer a request that stands in the path, in base64."""
        answer = await answered(name, decoded(request.scope["raw_path"]))
        return _response(answer, request.headers.get("if-none-match", ""))

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


def _response(answer: Answer, known: str = "") -> Response[bytes]:
    """Return the HTTP answer; 304 where the client has it (``known`` is If-None-Match)."""
    headers = _headers(answer) if answer.made else _NOT_CACHED
    if known and answer.made and headers["ETag"] in known:
        return Response(b"", status_code=304, headers=headers)
    return Response(answer.body, headers=headers, media_type=MEDIA_TYPE)


@lru_cache(maxsize=MAX_KEPT)
def _octets(answer: Answer) -> AtHand:
    heads = {"content-type": MEDIA_TYPE, **_headers(answer)}
    return AtHand(tuple((n.lower().encode(), v.encode()) for n, v in heads.items()), answer.body)


@lru_cache(maxsize=MAX_KEPT)
def _headers(answer: Answer) -> dict[str, str]:
    """Return what lets caches keep an answer (RFC 9919 7.2)."""
    assert answer.made is not None  # noqa: S101 - for the type checker
    return {
        "Cache-Control": _CACHED,
        "ETag": f'"{hashlib.sha256(answer.body).hexdigest()[:32]}"',
        "Last-Modified": format_datetime(answer.made, usegmt=True),
    }


ROLE = OcspRole()
