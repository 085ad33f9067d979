"""Work that comes round: each task in a thread, again some seconds after it ended."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from signward.errors import SignwardError
from signward.service.logs import Journal
from signward.service.metrics import Metrics
from signward.service.roles import Task
from signward.verbs.authority import intents

if TYPE_CHECKING:
    from signward.verbs.authority.realm import Realm


SWEEP_SECONDS = 60.0
"""How often it is looked for what dead processes left."""


def living(realm: Realm) -> tuple[Task, ...]:
    """Return what roles have to do that announce deeds before they do them (intents).

    They say that this process lives, and close what dead ones left.
    """
    return (
        Task(
            name="heartbeat", seconds=intents.HEARTBEAT_SECONDS,
            run=partial(intents.heartbeat, realm),
        ),
        Task(name="sweep", seconds=SWEEP_SECONDS, run=partial(intents.sweep, realm)),
    )  # fmt: skip


class Rounds:
    """Runs tasks from `start` to `stop`."""

    def __init__(self, tasks: Iterable[Task], journal: Journal, metrics: Metrics) -> None:
        self._tasks = tuple(tasks)
        self._journal, self._metrics = journal, metrics
        self._ending = asyncio.Event()
        self._running: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Run every task at once, and then as it says."""
        self._running = [asyncio.create_task(self._go_round(task)) for task in self._tasks]

    async def stop(self) -> None:
        """Begin no further run, and wait for those under way."""
        self._ending.set()
        await asyncio.gather(*self._running)

    async def _go_round(self, task: Task) -> None:
        while not self._ending.is_set():
            outcome = await self._run(task)
            self._metrics.tasks.labels(task.name, outcome).inc()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), task.seconds)

    async def _run(self, task: Task) -> str:
        try:
            await asyncio.to_thread(task.run)
        except SignwardError as error:
            self._journal.write("task-failed", task=task.name, error=str(error))
        except Exception as error:  # noqa: BLE001 - one bad round must not end the rounds
            self._journal.error("task-failed", error, task=task.name)
        else:
            self._metrics.task_done.labels(task.name).set(time.time())
            return "done"
        return "failed"
