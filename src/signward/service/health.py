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
        names = list(checks)
        passed = await asyncio.gather(*(_passes(n, checks[n], journal) for n in names))
        said = {n: "good" if good else "failed" for n, good in zip(names, passed, strict=True)}
        health = Health(ready=all(passed), checks=said)
        return Response(health, status_code=200 if health.ready else 503)

    @get("/metrics", opt={"access": Access.OPERATOR}, media_type="text/plain")
    async def figures() -> Response[bytes]:
        """Tell Prometheus."""
        return Response(metrics.text(), headers=CONTENT_TYPE)

    return [healthz, readyz, figures]


async def _passes(name: str, check: Check, journal: Journal) -> bool:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await asyncio.to_thread(check)
    except TimeoutError:
        journal.write("not-ready", check=name, error=f"no answer in {CHECK_SECONDS:.0f} s")
    except SignwardError as error:
        journal.write("not-ready", check=name, error=str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is not ready
        journal.error("not-ready", error, check=name)
    else:
        return True
    return False
