"""CRLs over HTTP: ``GET /crl/NAME.crl``, conditional; and their republishing ahead of time."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from email.utils import format_datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from litestar import Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath

from signward.errors import RealmError
from signward.service.roles import Access, Task
from signward.verbs.authority import publish_crl
from signward.verbs.authority.publish_crl import PublishedCrl

if TYPE_CHECKING:
    from signward.verbs.authority.realm import Realm

MEDIA_TYPE = "application/pkix-crl"
"""RFC 2585 4.2."""

SUFFIX = ".crl"
PUBLISH_SECONDS = 60.0
"""How often a process looks whether a CRL is due; what is revoked is published at once anyway."""

_CACHE = "no-cache"
"""Caches may keep it, and must ask each time whether it still is the newest (RFC 9111 5.2.2.4)."""


class CrlRole:
    """The ``ROLE``: serves every authority's CRL, and signs the next of those that are online."""

    name = "crl"
    help = "serves CRLs, and signs the next ones ahead of time (RFC 5280)"

    def routes(self, realm: Realm) -> Sequence[HTTPRouteHandler]:
        """Return the handler (see ``Role``); none where there is no authority."""
        return (_handler(realm),) if realm.settings.ca else ()

    def tasks(self, realm: Realm) -> Sequence[Task]:
        """Return what publishes; of several processes the store keeps the newest CRL."""
        if all(one.offline for one in realm.settings.ca.values()):
            return ()
        run = partial(publish_crl.publish_due, realm)
        return (Task(name="crl", seconds=PUBLISH_SECONDS, run=run),)

    def checks(self, realm: Realm) -> Mapping[str, Callable[[], object]]:
        """Return what must hold for every authority: a CRL that is not past its end."""
        return {f"crl-{name}": partial(_check, realm, name) for name in realm.settings.ca}


def _check(realm: Realm, name: str) -> None:
    found = publish_crl.current(realm, name)
    if found is None or found.next_update <= realm.now():
        raise RealmError(
            f"CRL of {name}", "none that is current", "one", "RFC 5280 5.1.2.5",
            f"signward ca crl --ca {name}",
        )  # fmt: skip


def _handler(realm: Realm) -> HTTPRouteHandler:
    @get(
        "/crl/{name:str}",
        opt={"access": Access.PUBLIC},
        media_type=MEDIA_TYPE,
        responses={304: ResponseSpec(None, description="There is no newer CRL.")},
    )
    async def newest(name: FromPath[str], request: Request[Any, Any, Any]) -> Response[bytes]:
        """Give an authority's newest CRL (DER); ``name`` is the authority's, and ``.crl``."""
        ca = name.removesuffix(SUFFIX)
        if ca == name or ca not in realm.settings.ca:
            raise NotFoundException(f"no CRL {name[:40]!r} here")
        found = await asyncio.to_thread(publish_crl.current, realm, ca)
        if found is None:
            raise NotFoundException("no CRL was published yet")
        return _response(found, request.headers.get("if-none-match", ""))

    return newest


def _response(found: PublishedCrl, known: str) -> Response[bytes]:
    """Return the CRL, or 304 where the client has it (``known`` is If-None-Match)."""
    tag = f'"{found.number}-{hashlib.sha256(found.der).hexdigest()[:16]}"'
    headers = {
        "ETag": tag,
        "Cache-Control": _CACHE,
        "Last-Modified": format_datetime(found.this_update, usegmt=True),
    }
    if tag in known:
        return Response(b"", status_code=304, headers=headers)
    return Response(found.der, headers=headers, media_type=MEDIA_TYPE)


ROLE = CrlRole()
