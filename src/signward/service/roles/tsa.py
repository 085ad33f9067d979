"""Time-stamping over HTTP: ``POST /tsa`` (RFC 3161 3.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler

from signward.authority.tsa import MAX_QUERY_OCTETS
from signward.service.express import Head
from signward.service.handback import Handback
from signward.service.roles import Access
from signward.verbs.authority.ending import check_in_force
from signward.verbs.authority.stamp import Stamper

if TYPE_CHECKING:
    from litestar.types import ASGIApp

    from signward.verbs.authority.realm import Realm

MEDIA_TYPE = "application/timestamp-reply"
_HEADERS = {"Cache-Control": "no-store"}


class TsaRole:
    """The ``ROLE``: stamps for anybody who asks, where the settings have ``[tsa]``."""

    name = "tsa"
    help = "timestamps (RFC 3161)"

    def routes(self, realm: Realm) -> Sequence[HTTPRouteHandler]:
        """Return the handler (see ``Role``)."""
        return () if realm.settings.tsa is None else (_handler(Stamper(realm)),)

    def checks(self, realm: Realm) -> Mapping[str, Callable[[], object]]:
        """Return what must hold: that the certificate has not ended."""
        settings = realm.settings.tsa
        return {} if settings is None else {"tsa": partial(check_in_force, realm, settings.key)}


def _handler(stamper: Stamper) -> HTTPRouteHandler:
    handback: Handback[bytes] = Handback()
    head = Head({"Content-Type": MEDIA_TYPE, **_HEADERS})

    async def stamped(query: bytes) -> ASGIApp:
        return head.response(await handback.made(partial(stamper.ask, query)))

    @post(
        "/tsa", media_type=MEDIA_TYPE, status_code=200,
        opt={"access": Access.PUBLIC, "max_body": MAX_QUERY_OCTETS, "express": stamped},
    )  # fmt: skip
    async def stamp(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Answer a timestamp query (DER); a refusal is an answer too."""
        answer = await handback.made(partial(stamper.ask, await request.body()))
        return Response(answer, headers=_HEADERS, media_type=MEDIA_TYPE)

    return stamp


ROLE = TsaRole()
