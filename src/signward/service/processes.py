"""The processes of ``signward serve``: one, or several that share an address.

Further processes are started anew, not forked: a copy of a process with threads may hold
locks that nobody opens.  Whichever ends first ends all; starting again is for whoever started
us (systemd, a container's runtime), who also knows when to give up.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import uvloop

from signward.frozen import Frozen
from signward.service import limits, metrics
from signward.service.front import Tls, context_of
from signward.service.listen import DEFAULT, Listen, Reservation, read
from signward.service.logs import Journal
from signward.service.roles import load_role, role_names

MAX_WORKERS = 64
GRACE_SECONDS = 5.0
"""Beyond what a process may take to stop, before it is killed."""

EXIT_CUT = 1
"""Something was still under way when time was up, or a process died."""


class Options(Frozen, frozen=True, kw_only=True):
    """What ``signward serve`` was told.  No ``roles``: all that are set up."""

    data: Path
    database: str = ""
    roles: tuple[str, ...] = ()
    listen: str = DEFAULT
    certificates: str = ""
    """PEM, leaf first; with ``key`` TLS ends here."""
    key: str = ""
    behind_proxy: bool = False
    workers: int = 1
    log_all: bool = False


def serve(options: Options) -> int:
    """Serve until told to stop; return the exit code.

    Raises ``RealmError``, ``StoreError`` and ``KeyProviderError`` for what keeps it from starting.
    """
    reservation = Reservation(_listen(options))
    try:
        if options.workers == 1:
            return _work(options, reservation.listen)
        return _work_together(options, reservation.listen)
    finally:
        reservation.release()


def _listen(options: Options) -> Listen:
    """Return where to listen, with TLS as options and settings have it.  Raises ``RealmError``."""
    from signward.verbs.authority.settings import FILE_NAME, load

    tls = None
    if options.certificates:
        mtls = load(options.data / FILE_NAME).identity.mtls
        tls = Tls(
            certificates=Path(options.certificates),
            key=Path(options.key or options.certificates),
            client_ca=options.data / mtls.ca if mtls else None,
            client_crls=tuple(options.data / crl for crl in mtls.crls) if mtls else (),
        )
        context_of(tls)
    return read(options.listen, tls, behind_proxy=options.behind_proxy)


def _work(options: Options, listen: Listen, parent: Connection | None = None) -> int:
    """Serve in this process; with a ``parent``, until it is gone too."""
    from signward.service.app import build
    from signward.service.identity import Callers
    from signward.verbs.authority.realm import Realm
    from signward.verbs.authority.transparency import check_published

    journal = Journal()
    journal.hear()
    realm = Realm.open(options.data, database=options.database)
    try:
        check_published(realm)
        roles = [load_role(name) for name in options.roles or role_names()]
        service = build(
            realm, roles, Callers(realm), journal, wanted=options.roles, log_all=options.log_all
        )
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            if not runner.run(_serve(service, listen, journal, parent)):
                os._exit(EXIT_CUT)  # threads that wait for what never comes would hold us up
    finally:
        realm.close()
    return 0


async def _serve(service: Any, listen: Listen, journal: Journal, parent: Connection | None) -> bool:
    from signward.service.run import Process

    process = Process(service, listen, journal)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, process.stop)
    if parent:
        loop.add_reader(parent.fileno(), process.stop)
    try:
        return await process.serve(functools.partial(_say_ready, listen, journal, parent))
    finally:
        if parent:
            loop.remove_reader(parent.fileno())


def _say_ready(listen: Listen, journal: Journal, parent: Connection | None) -> None:
    gc.freeze()  # what is there now stays: looking through it again and again finds nothing
    journal.write("serving", url=listen.url, process=os.getpid())
    if parent:
        parent.send("ready")
    else:
        _announce(listen)


def _announce(listen: Listen) -> None:
    """Say on standard output, and to systemd, that requests are answered."""
    print(f"serving {listen.url}", flush=True)
    if address := os.environ.get("NOTIFY_SOCKET", ""):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            where = "\0" + address[1:] if address.startswith("@") else address
            with contextlib.suppress(OSError):
                notify.sendto(b"READY=1", where)


# --- several processes ---------------------------------------------------------------------


def _work_together(options: Options, listen: Listen) -> int:
    from signward.verbs.authority.realm import Realm

    Realm.open(options.data, database=options.database).close()  # once migrated, all can open it
    with tempfile.TemporaryDirectory(prefix="signward-metrics-") as folder:
        os.environ[metrics.MULTIPROCESS] = folder
        crew = _Crew(options, listen)
        with _on_signals(crew.stop):
            return crew.run()


class _Crew:
    """Processes that serve together."""

    def __init__(self, options: Options, listen: Listen) -> None:
        self._listen = listen
        context = multiprocessing.get_context("spawn")
        pipes = [context.Pipe() for _ in range(options.workers)]
        self._pipes = [ours for ours, _ in pipes]
        self._processes = [
            context.Process(target=_member, args=(options, listen, theirs)) for _, theirs in pipes
        ]
        self._stopped = False
        for process, (_, theirs) in zip(self._processes, pipes, strict=True):
            process.start()
            theirs.close()

    def stop(self) -> None:
        """Tell every process to stop."""
        self._stopped = True
        for process in self._processes:
            process.terminate()

    def run(self) -> int:
        """Wait for the processes; return the exit code."""
        if self._all_ready():
            _announce(self._listen)
            wait([process.sentinel for process in self._processes])
        asked = self._stopped
        if not asked:
            self.stop()
        for process in self._processes:
            process.join(limits.STOP_SECONDS + GRACE_SECONDS)
            if process.is_alive():
                process.kill()
                process.join()
        return EXIT_CUT if not asked or any(p.exitcode for p in self._processes) else 0

    def _all_ready(self) -> bool:
        """Wait until each answers requests; say whether none died before."""
        with contextlib.suppress(EOFError, OSError):
            return all(pipe.recv() == "ready" for pipe in self._pipes)
        return False


def _member(options: Options, listen: Listen, parent: Connection) -> None:
    from signward.errors import SignwardError

    try:
        code = _work(options, listen, parent)
    except SignwardError as error:
        print(f"signward: {error}", file=sys.stderr)
        code = EXIT_CUT
    sys.exit(code)


@contextlib.contextmanager
def _on_signals(stop: Callable[[], None]) -> Any:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: stop()) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
