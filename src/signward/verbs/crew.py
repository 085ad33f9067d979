"""Many files at once: threads of this process, and copies of it where they may sign too.

While one file waits for the disk, the key or an authority, others go on.  What is left is the
interpreter's own work, and one process does that on one core: so a key that is in memory signs
in copies (forks) of this process as well.  A copy has all there is, the open key included;
nothing is loaded or asked for twice and no secret travels (decision 25).

Tasks are handed out as GNU make hands out jobs: a pipe holds the tickets, and whoever is free
takes the next.  A copy whose parent is gone, or whose siblings have taken all, ends.
"""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from signward.verbs.outcome import FileResult

LANES = 8
"""First halves of tasks under way at once in a process that has no copies; one that has does
one at a time, as its threads would only wait for each other."""

WAITING = 4
"""Second halves under way at once in each process: the disk takes several at one go."""

PAYS_FROM = 12
"""Tasks of a process from which on it is worth being copied: a copy takes about as long to make
as some small files take to be signed."""

MOST_PROCESSES = 8
"""More processes than this wait for one disk."""

ENDING = (signal.SIGTERM, signal.SIGHUP)
"""Signals besides Ctrl-C that ask a process to end, and let it do so in order."""

_TICKET = 2
_TICKETS = 2048
"""Two octets each: together what a pipe holds on every system, however many its user has."""

Finish = Callable[[], FileResult]
"""The second half of a task, which waits for the disk."""

Task = Callable[[], Finish]

Report = Callable[[int, FileResult], None]
"""Takes a task's number and its result."""


class Crew:
    """Does tasks in threads, and in ``copies`` of this process besides.

    Copies are made at once: nobody may have started a thread by then (see `copies_for`).
    The first task is done before, so that what it loads is loaded once.  ``give_up`` is
    called when results are no longer wanted: what waits for somebody else may end.
    """

    def __init__(
        self,
        paths: Sequence[str],
        tasks: Sequence[Task],
        copies: int,
        give_up: Callable[[], None] = lambda: None,
    ) -> None:
        self._paths, self._tasks, self._give_up = paths, tasks, give_up
        self._done: list[Future[FileResult]] = [Future() for _ in tasks]
        self._begun = 0
        if copies:
            self._report(0, tasks[0]()())
            self._begun = 1
        self._lanes = 1 if copies else LANES
        self._share = -(-len(tasks) // _TICKETS)
        self._tickets, self._writer = os.pipe()
        self._copies = _Copies(self._serve, copies)

    def results(self) -> Iterator[FileResult]:
        """Yield results in the order of the tasks; end the copies when nobody asks any more.

        Only now are tickets handed out.  To be called once.
        """
        self._hand_out()
        try:
            with ThreadPoolExecutor(len(self._copies.connections) + 2) as pool:
                yield from self._results(pool)
        finally:
            self._copies.join()
            os.close(self._tickets)

    def _hand_out(self) -> None:
        numbers = range(0, len(self._tasks) - self._begun, self._share or 1)
        tickets = b"".join(n.to_bytes(_TICKET, "little") for n in range(len(numbers)))
        os.write(self._writer, tickets)
        os.close(self._writer)

    def _results(self, pool: ThreadPoolExecutor) -> Iterator[FileResult]:
        try:
            work = [pool.submit(self._work, self._report)]
            work += [pool.submit(self._receive, one) for one in self._copies.connections]
            end = pool.submit(self._tell_lost, work)
            for done in self._done:
                yield done.result()
            end.result()
        except BaseException:
            self._give_up()
            raise
        finally:
            self._take_all()  # the caller wants no more: whoever is free finds none

    def _take_all(self) -> None:
        """Take every ticket that is left; there is an end, as nobody writes any more."""
        while os.read(self._tickets, _TICKET):
            pass

    def _work(self, report: Report) -> None:
        """Do tasks until no ticket is left."""
        room = threading.Semaphore(self._lanes + WAITING)  # each half-done file is an open one
        with ThreadPoolExecutor(WAITING) as last, ThreadPoolExecutor(self._lanes) as first:

            def end(number: int, finish: Finish) -> None:
                try:
                    report(number, finish())
                finally:
                    room.release()

            def lane() -> list[Future[None]]:
                ends = []
                for number in self._numbers():
                    room.acquire()
                    ends.append(last.submit(end, number, self._tasks[number]()))
                return ends

            for ends in [first.submit(lane) for _ in range(self._lanes)]:
                for ended in ends.result():
                    ended.result()

    def _numbers(self) -> Iterator[int]:
        """Yield the numbers of tasks to do, as long as there are tickets."""
        while ticket := os.read(self._tickets, _TICKET):
            first = self._begun + int.from_bytes(ticket, "little") * self._share
            yield from range(first, min(first + self._share, len(self._tasks)))

    def _report(self, number: int, result: FileResult) -> None:
        self._done[number].set_result(result)

    def _serve(self, connection: Connection) -> None:
        """Do tasks in a copy; send each result, with its number, to the process copied."""
        os.close(self._writer)
        select.select([self._tickets], [], [])
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
        lock = threading.Lock()

        def send(number: int, result: FileResult) -> None:
            try:
                with lock:
                    connection.send((number, result))
            except BrokenPipeError:
                self._take_all()  # the parent is gone: nobody is to go on
                raise

        with suppress(BrokenPipeError):
            self._work(send)

    def _receive(self, connection: Connection) -> None:
        with suppress(EOFError, OSError):  # OSError: its end came in the middle of a message
            while True:
                self._report(*connection.recv())

    def _tell_lost(self, work: Sequence[Future[None]]) -> None:
        """When nobody works any more, say which tasks a killed copy took with it."""
        wait(work)
        for path, done in zip(self._paths, self._done, strict=True):
            if not done.done():
                done.set_result(_lost(path))
        for one in work:
            one.result()


def copies_for(tasks: int) -> int:
    """Return how many copies of this process pay for so many tasks; none where it has threads.

    A copy has only the thread that made it, and whatever lock another held stays held.  The
    system is asked (Linux tells): it knows of threads that are no Python's, and of those about
    to end.
    """
    try:
        threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208 - a count of names
    except OSError:
        return 0
    if threads > 1:
        return 0
    processes = min(len(os.sched_getaffinity(0)), MOST_PROCESSES, tasks // PAYS_FROM)
    return max(processes - 1, 0)


class _Copies:
    """Copies of this process, each doing ``work`` with a connection that leads back."""

    def __init__(self, work: Callable[[Connection], None], count: int) -> None:
        self.connections: list[Connection] = []
        self._processes: list[BaseProcess] = []
        context = multiprocessing.get_context("fork") if count else None
        for _ in range(count):
            assert context is not None  # noqa: S101 - for the type checker: `count` is not zero
            ours, theirs = context.Pipe(duplex=False)
            self.connections.append(ours)
            process = context.Process(target=self._run, args=(work, theirs), daemon=True)
            try:
                process.start()
            except OSError:  # the system has no room for another: those there are do the work
                self.connections.pop().close()
                break
            finally:
                theirs.close()
            self._processes.append(process)

    def _run(self, work: Callable[[Connection], None], connection: Connection) -> None:
        """Do the work, rid of what is the parent's.

        Signals that end it are for it to hear: from the first ticket on a copy puts its files in
        place first, and is handed none when the parent ends.  A pipe whose reader is held here
        too would never say that the parent is gone.
        """
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number in ENDING:
            signal.signal(number, signal.SIG_DFL)
        for other in self.connections:
            other.close()
        work(connection)

    def join(self) -> None:
        for process in self._processes:
            process.join()
        for connection in self.connections:
            connection.close()


def _lost(path: str) -> FileResult:
    return FileResult(
        path=path,
        outcome="failed",
        problem="found a process that was killed while it signed, required one that ends",
        hint="the file is as it was, or signed: signward verify says which",
    )
