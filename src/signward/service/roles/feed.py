"""The revocation feed over HTTP: ``GET /feed``, conditional, and held until there is news.

With ``Prefer: wait=SECONDS`` (RFC 7240 4.3) and the tag of the version that a client has, the
answer comes when there is another one, or with status 304 when the time is over.  One look at
the database's version number serves all who wait; whoever comes when too many wait already is
answered at once, which the preference permits.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from litestar import Request, Response, get
from litestar.exceptions import ClientException, NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec

from signward.service.roles import Access, Task
from signward.store.published import Document
from signward.verbs.authority import feed

if TYPE_CHECKING:
    from litestar.types import Receive

    from signward.verbs.authority.realm import Realm

T = TypeVar("T")

MEDIA_TYPE = "application/vnd.dsse+json"

MAX_WAIT = 60.0
"""Seconds that a request is held at most: shorter than what proxies allow an answer."""

MAX_WAITERS = 1024
"""Requests of one process that are held at once; half of what the gate allows in all."""

LOOK_SECONDS = 0.25
"""How often the database is looked at while somebody waits."""

PUBLISH_SECONDS = 1.0
"""How often a process looks whether a version is due: so late is a revocation of another one."""

_CACHE = "no-cache"
"""Caches may keep it, and must ask each time whether it still is the newest (RFC 9111 5.2.2.4)."""

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,9})", re.IGNORECASE)


class FeedRole:
    """The ``ROLE``: serves the newest version, and makes a new one where one is due."""

    name = "feed"
    help = "serves the revocation feed, and signs its next version when one is due"

    def routes(self, realm: Realm) -> Sequence[HTTPRouteHandler]:
        """Return the handler (see ``Role``); none where no feed is set up."""
        return (_handler(Watch(realm)),) if realm.settings.feed else ()

    def tasks(self, realm: Realm) -> Sequence[Task]:
        """Return what publishes: every process looks, the store sees to one version at a time."""
        if realm.settings.feed is None:
            return ()
        publisher = feed.Publisher(realm)
        return (Task(name="feed", seconds=PUBLISH_SECONDS, run=publisher.publish_if_due),)


def _handler(watch: Watch) -> HTTPRouteHandler:
    @get(
        "/feed",
        opt={"access": Access.PUBLIC, "waits": True},
        media_type=MEDIA_TYPE,
        responses={304: ResponseSpec(None, description="There is no newer version.")},
    )
    async def newest(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Give the newest version of the revocation feed, a DSSE envelope."""
        known = request.headers.get("if-none-match", "")
        seconds = _seconds(request.headers.get("prefer", ""))
        document = await _unless_gone(request.receive, watch.newest(known, seconds))
        if document is None:
            raise NotFoundException("no version was published yet")
        headers = {"ETag": etag(document), "Cache-Control": _CACHE, "Vary": "Prefer"}
        if etag(document) in known:
            return Response(b"", status_code=304, headers=headers)
        return Response(document.body, headers=headers, media_type=MEDIA_TYPE)

    return newest


async def _unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Return what ``work`` comes to, which ends when the client has left.

    Else whoever asks and leaves, again and again, takes every place among those that wait.
    Raises ``ClientException``.
    """
    working, leaving = asyncio.create_task(work), asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait([working, leaving], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            leaving.result()
            raise ClientException("the client left")
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass  # the body of a GET, which says nothing


def _seconds(prefer: str) -> float:
    """Return how long a client prefers to wait (RFC 7240 4.3), within `MAX_WAIT`."""
    found = _WAIT.search(prefer)
    return min(float(found[1]), MAX_WAIT) if found else 0.0


def etag(document: Document) -> str:
    """Return a version's tag: its number, and a digest in case a database was taken back."""
    return f'"{document.version}-{hashlib.sha256(document.body).hexdigest()[:16]}"'


class Watch:
    """The newest version, read once however many ask, and watched while somebody waits."""

    def __init__(self, realm: Realm) -> None:
        self._realm = realm
        self._kept: Document | None = None
        self._reading = asyncio.Lock()
        self._news = asyncio.Event()
        self._waiting = 0
        self._watcher: asyncio.Task[None] | None = None

    async def newest(self, known: str, seconds: float) -> Document | None:
        """Return the newest version; while it is the ``known`` one, wait for the next.

        ``known`` is an If-None-Match.  Raises ``StoreError``.
        """
        document = await self._read()
        if not seconds or self._waiting >= MAX_WAITERS:
            return document
        self._waiting += 1
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    while document is not None and etag(document) in known:
                        news = self._watching()
                        if document is self._kept:  # else it came in between
                            await news.wait()
                        document = await self._read()
        finally:
            self._waiting -= 1
            if not self._waiting and self._watcher is not None:
                self._watcher.cancel()
        return document

    def _watching(self) -> asyncio.Event:
        """Return what is set with the next version; somebody looks from now on."""
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._watch())
        return self._news

    async def _watch(self) -> None:
        """Look for as long as somebody waits; however it ends, they wake up and look themselves."""
        try:
            while self._waiting:
                await asyncio.sleep(LOOK_SECONDS)
                before = self._kept
                if await self._read() is not before:
                    break
        finally:
            self._news.set()
            self._news = asyncio.Event()

    async def _read(self) -> Document | None:
        """Return the newest version; its body is read from the database once."""
        async with self._reading:
            version = await asyncio.to_thread(feed.version, self._realm)
            if self._kept is None or self._kept.version != version:
                self._kept = await asyncio.to_thread(feed.current, self._realm)
            return self._kept


ROLE = FeedRole()
