"""The service about itself: alive, ready, metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec

from signward.errors import AuthorityError, SignwardError
from signward.frozen import Frozen
from signward.service.logs import Journal
from signward.service.metrics import CONTENT_TYPE, Metrics
from signward.service.roles import Access

if TYPE_CHECKING:
    from signward.verbs.authority.realm import Realm
    from signward.verbs.authority.settings import Settings

CHECK_SECONDS = 5.0
"""After which a check that has not answered has failed."""

MAX_STEP = timedelta(seconds=1)
"""By how much the clock may go back before what is dated by it would contradict itself."""

Check = Callable[[], object]


class Health(Frozen, frozen=True, kw_only=True):
    """``ready`` if every check passed; ``checks`` by name, ``"good"`` or ``"failed"``."""

    ready: bool
    checks: Mapping[str, str]


def own_checks(realm: Realm, roles: Collection[str]) -> dict[str, Check]:
    """Return what must be right: for all roles, and the keys that these sign with."""
    names = keys_of(realm.settings, roles)
    latest = realm.now()

    def database() -> None:
        with realm.store.read() as connection:
            connection.exec_driver_sql("SELECT 1")

    def clock() -> None:
        nonlocal latest
        now = realm.now()
        if now < latest - MAX_STEP:
            found, required = f"{now:%Y-%m-%dT%H:%M:%SZ}", f"{latest:%Y-%m-%dT%H:%M:%SZ} or later"
            raise AuthorityError("the clock", found, required, hint="it was set back")
        latest = max(latest, now)

    def keys() -> None:
        for name in names:
            realm.key(name)

    checks: dict[str, Check] = {"database": database, "clock": clock}
    return checks | {"keys": keys} if names else checks


def keys_of(settings: Settings, roles: Collection[str]) -> tuple[str, ...]:
    """Return the names of the keys that roles sign with, of offline authorities none."""
    online = [ca for ca in settings.ca.values() if not ca.offline]
    used = {
        "ca": [ca.key for ca in online],
        "crl": [ca.key for ca in online],
        "ocsp": [ca.ocsp_key or ca.key for ca in online],
        "tsa": [settings.tsa.key] if settings.tsa else [],
        "log": [settings.log.key] if settings.log else [],
        "feed": [settings.feed.key] if settings.feed else [],
        "sign": [sign.key for sign in settings.sign.values()],
    }
    return tuple(sorted({key for role in roles for key in used.get(role, [])}))


def handlers(
    checks: Mapping[str, Check], journal: Journal, metrics: Metrics
) -> list[HTTPRouteHandler]:
    """Return the handlers of ``/healthz``, ``/readyz`` and ``/metrics``."""
    checked = {name: _Checked(name, check, journal) for name, check in checks.items()}

    @get("/healthz", opt={"access": Access.PUBLIC}, media_type="text/plain")
    async def healthz() -> str:
        """Say that the process answers."""
        return "alive\n"

    @get(
        "/readyz",
        opt={"access": Access.PUBLIC},
        responses={503: ResponseSpec(Health, description="Not ready, and why.")},
    )
    async def readyz() -> Response[Health]:
        """Say whether everything that answers depend on is there."""
        passed = await asyncio.gather(*(one.passes() for one in checked.values()))
        said = {n: "good" if good else "failed" for n, good in zip(checked, passed, strict=True)}
        health = Health(ready=all(passed), checks=said)
        return Response(health, status_code=200 if health.ready else 503)

    @get("/metrics", opt={"access": Access.OPERATOR}, media_type="text/plain")
    async def figures() -> Response[bytes]:
        """Tell Prometheus."""
        return Response(metrics.text(), headers=CONTENT_TYPE)

    return [healthz, readyz, figures]


class _Checked:
    """A check, run once at a time however many ask: one that hangs holds one thread."""

    def __init__(self, name: str, check: Check, journal: Journal) -> None:
        self._name, self._check, self._journal = name, check, journal
        self._running: asyncio.Task[bool] | None = None

    async def passes(self) -> bool:
        """Say whether it passes, within `CHECK_SECONDS`; what runs already is waited for."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        running = self._running
        await asyncio.wait([running], timeout=CHECK_SECONDS)
        if not running.done():
            why = f"no answer in {CHECK_SECONDS:.0f} s"
            self._journal.write("not-ready", check=self._name, error=why)
            return False
        return running.result()

    async def _run(self) -> bool:
        try:
            await asyncio.to_thread(self._check)
        except SignwardError as error:
            self._journal.write("not-ready", check=self._name, error=str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not ready
            self._journal.error("not-ready", error, check=self._name)
        else:
            return True
        return False
