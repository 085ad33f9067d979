"""Somebody between us and the authority answers with what was true before: a CRL, OCSP, a feed.

The authority is real (commands and a service, each in a process of its own); whoever is in the
middle passes everything on and writes it down, until he begins to answer by what he wrote down.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conformance.authenticode import pe

from tests.builders.processes import START, Organisation, findings, served
from tests.builders.web import Reply, Request, Server, running

pytestmark = pytest.mark.interop

NEXT_SECOND = 1.1
"""Until what is issued anew has a later date: CRLs and answers are dated in whole seconds."""

HEARD = 1.5
"""Until a verifier asks again, who was just answered."""

_PASSED_ON = ("etag", "cache-control", "last-modified", "content-type")


class Middle:
    """Whoever is in the middle: passes on, and replays the first answer under ``replayed``."""

    def __init__(self, server: Server) -> None:
        self.backend = 0
        self.replayed: tuple[str, ...] = ()
        self.withheld: tuple[str, ...] = ()
        self._first: dict[str, Reply] = {}
        server.routes[""] = self._answer

    def _answer(self, request: Request) -> Reply:
        if request.path.startswith(self.withheld):
            return Reply(status=503)
        place = "/".join(request.path.split("/")[:3])  # OCSP is asked by GET and by POST
        if place.startswith(self.replayed) and place in self._first:
            return self._first[place]
        reply = self._pass_on(request)
        if reply.status == 200:
            self._first.setdefault(place, reply)
        return reply

    def _pass_on(self, request: Request) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.backend, timeout=START)
        heads = {n: v for n, v in request.headers.items() if n not in {"host", "connection"}}
        try:
            connection.request(request.method, request.path, request.body, heads)
            answer = connection.getresponse()
            kept = {n: v for n, v in answer.getheaders() if n.lower() in _PASSED_ON}
            return Reply(answer.read(), answer.status, kept)
        finally:
            connection.close()


class World:
    """An organisation whose every answer goes through the middle, and a file it signed."""

    def __init__(self, folder: Path, url: str, way: str) -> None:
        self.organisation = own = Organisation(folder, url)
        settings = own.data / "signward.toml"
        if way == "crl":  # its certificates name no responder
            settings.write_text(settings.read_text().replace('ocsp_key = "issuing-ocsp"\n', ""))
        own.issue("release")
        own.run("feed", "publish", "--data", own.data, "-o", "feed.json", "--key-out", "feed.pem")
        self.file = folder / "setup.exe"
        self.file.write_bytes(pe.image())
        own.sign("release", self.file)

    def verify(self, who: str, *options: str) -> str:
        return self.organisation.verify(self.file, *options, who=who)[0]

    def refused(self, who: str, *options: str) -> list[str]:
        """Judge, which must reject as revoked; return what was found odd with the evidence."""
        told, record = self.organisation.verify(self.file, *options, who=who)
        assert told == "rejected: revoked"
        odd = [*findings(record, "revocation-evidence"), *findings(record, "revocation-feed")]
        return [one["found"] for one in odd if one["effect"] == "warn"]


@pytest.fixture
def middle() -> Iterator[tuple[Middle, Server]]:
    with running() as server:
        yield Middle(server), server


def later(**time_from_now: float) -> str:
    """Return an instant to judge at, as ``--at`` takes it."""
    return f"{datetime.now(UTC) + timedelta(**time_from_now):%Y-%m-%dT%H:%M:%SZ}"


ENDS = {"crl": 8, "ocsp": 2}
"""Days after which a document of today has ended: CRLs live for seven, answers for one."""


@pytest.mark.parametrize("way", ["crl", "ocsp"])
def test_who_has_seen_the_newer_one_refuses_the_older(
    tmp_path: Path, middle: tuple[Middle, Server], way: str
) -> None:
    between, server = middle
    world = World(tmp_path, server.url(""), way)
    with served(world.organisation.data) as service:
        between.backend = service.port
        assert world.verify("somebody", "--revocation", "require") == "accepted"  # written down
        time.sleep(NEXT_SECOND)
        world.organisation.revoke("release")
        time.sleep(HEARD)
        assert world.refused("seen") == []
        between.replayed = (f"/{way}/issuing",)
        time.sleep(HEARD)
        (odd,) = world.refused("seen")
        assert "older than the one" in odd
        # Nothing tells whoever asks for the first time but the document's own end.
        required = ("--revocation", "require")
        assert world.verify("new", *required) == "accepted"
        ended = ("--at", later(days=ENDS[way]))
        if way == "ocsp":  # then the CRL is asked for
            assert world.verify("new", *required, *ended) == "rejected: revoked"
            between.withheld = ("/crl/issuing",)
        told = world.verify("another", *required, *ended)
        assert told == "indeterminate: revocation-unknown"


def test_an_older_crl_does_not_help_where_ocsp_was_heard(
    tmp_path: Path, middle: tuple[Middle, Server]
) -> None:
    """Withholding one kind of evidence and replaying the other."""
    between, server = middle
    world = World(tmp_path, server.url(""), "ocsp")
    with served(world.organisation.data) as service:
        between.backend, between.withheld = service.port, ("/ocsp",)
        assert world.verify("somebody") == "accepted"  # by the CRL, which is written down
        time.sleep(NEXT_SECOND)
        world.organisation.revoke("release")
        time.sleep(HEARD)
        between.replayed, between.withheld = ("/crl",), ()
        assert world.refused("seen") == []  # by OCSP
        between.withheld = ("/ocsp",)
        time.sleep(HEARD)
        (odd,) = world.refused("seen")
        assert "status 503" in odd
        assert world.verify("new", "--revocation", "require") == "accepted"


def test_an_older_feed_is_refused(tmp_path: Path, middle: tuple[Middle, Server]) -> None:
    between, server = middle
    world = World(tmp_path, server.url(""), "ocsp")
    with served(world.organisation.data) as service:
        between.backend = service.port
        between.withheld = ("/crl", "/ocsp")
        feed = ("--feed", server.url("/feed"), "--feed-key", "feed.pem")
        assert world.verify("seen", *feed) == "accepted"
        world.organisation.revoke("release")
        time.sleep(HEARD)
        assert world.refused("seen", *feed) == []
        between.replayed = ("/feed",)
        odd = world.refused("seen", *feed)
        assert any("version 1" in one for one in odd), odd
        assert world.verify("new", *feed) == "accepted"
        told, record = world.organisation.verify(
            world.file, *feed, "--at", later(days=2), who="new"
        )
        assert told == "accepted"
        assert [one for one in record["findings"] if one["code"] == "revocation-feed"], record
