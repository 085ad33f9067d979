"""Worker processes that outlive their own crashes.

A batch whose worker was killed is judged again file by file, each in a process of its
own, so that only the file that kills it stays without a verdict.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver

from signward.verbs.judging import failed, judge_task, run_tasks, start_worker
from signward.verbs.tasks import Job, Judge, Result, Task, entry_of, undecided

Results = tuple[Result, ...]

GRACE_SECONDS = 5
"""What a worker has to end by itself before it is made to."""


class Ticket:
    """A batch under way: its tasks and, if a worker has it, its future."""

    __slots__ = ("future", "tasks")

    def __init__(self, tasks: tuple[Task, ...], future: Future[Results] | None) -> None:
        self.tasks, self.future = tasks, future


class WorkerPool:
    """Judges batches in ``jobs`` processes, or in this one when there is little to do."""

    def __init__(self, job: Job, jobs: int) -> None:
        self.jobs = jobs
        self._job = job
        self._executor: ProcessPoolExecutor | None = None
        self._judge: Judge | None = None
        self._before = {child.pid for child in multiprocessing.active_children()}

    def stay_local(self) -> None:
        """Judge in this process: starting workers would take longer than the work."""
        self.jobs = 1

    def submit(self, tasks: tuple[Task, ...]) -> Ticket:
        """Hand a batch to the workers; nothing is judged yet when it stays here."""
        if self.jobs < 2 or not tasks:
            return Ticket(tasks, None)
        try:
            return Ticket(tasks, self._running().submit(run_tasks, tasks))
        except BrokenProcessPool:
            self._discard()
            return Ticket(tasks, self._running().submit(run_tasks, tasks))

    def collect(self, ticket: Ticket) -> Results:
        """Return a batch's results, one per task, in their order."""
        if ticket.future is None:
            return tuple(judge_task(task, self._job, self._local()) for task in ticket.tasks)
        try:
            return ticket.future.result()
        except BrokenProcessPool:
            self._discard()
            return tuple(self._alone(task) for task in ticket.tasks)

    def ready(self, ticket: Ticket) -> Results:
        """Return the results of a batch that is done; nothing for one under way."""
        future = ticket.future
        if future is None or not future.done() or future.cancelled() or future.exception():
            return ()
        return future.result()

    def close(self) -> None:
        """End the workers; batches under way are given up."""
        self._discard()

    def _local(self) -> Judge:
        if self._judge is None:
            self._judge = self._job.factory(self._job.options)
        return self._judge

    def _running(self) -> ProcessPoolExecutor:
        if self._executor is None:
            self._executor = self._start(self.jobs)
        return self._executor

    def _start(self, jobs: int) -> ProcessPoolExecutor:
        """Start workers from a server process: forking beside threads is not safe."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["signward.verbs.verify", "signward.verbs.scan"])
        _start_server()
        return ProcessPoolExecutor(
            jobs, mp_context=context, initializer=start_worker, initargs=(self._job,)
        )

    def _alone(self, task: Task) -> Result:
        """Judge one file in a process of its own."""
        executor = self._start(1)
        try:
            return executor.submit(run_tasks, (task,)).result()[0]
        except BrokenProcessPool:
            finding = failed(task.path, "a judge process that was killed")
            record = undecided(
                task.path, task.kind, (finding,), self._job.at, size=task.identity.size
            )
            return Result(entry_of((record,)))
        finally:
            executor.shutdown(cancel_futures=True)

    def _discard(self) -> None:
        executor, self._executor = self._executor, None
        if executor is None:
            return
        executor.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            if child.pid is not None and child.pid not in self._before:
                child.terminate()
                child.join(GRACE_SECONDS)
                child.kill()  # one that catches SIGTERM and waits for another that is gone
                child.join()


def _start_server() -> None:
    """Start the server with Ctrl-C ignored: its children inherit that from the first moment."""
    if threading.current_thread() is not threading.main_thread():
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, previous)
