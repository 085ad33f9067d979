"""A process that appends to a store's log and tells what was answered: for races and for kills.

``python -m tests.builders.appender URL NAME COUNT`` opens the store, prints ``ready``, waits for
a line, and then appends ``COUNT`` entries from two threads, each with a number leased from one
counter; for each answer it prints position, number and the tree's size.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path

from sqlalchemy import Connection

from signward.store.counters import lease
from signward.store.engine import Outcome, Store, Written

REPOSITORY = Path(__file__).resolve().parents[2]
THREADS = 2
COUNTER = "serial"


def entry(name: str, number: int) -> bytes:
    """Return the entry of whoever was given ``number``."""
    return b"%s %d" % (name.encode(), number)


def main() -> int:
    """Append until done."""
    url, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    store = Store.open(url)
    say("ready")
    sys.stdin.readline()

    def job(connection: Connection) -> Outcome[int]:
        number = lease(connection, COUNTER)
        return Outcome(number, (entry(name, number),))

    def tell(future: Future[Written[int]]) -> None:
        written = future.result()
        say(f"{written.first} {written.value} {written.size}")

    def work() -> None:
        for _ in range(count // THREADS):
            tell(store.write(job))

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    return 0


def say(line: str) -> None:
    """Print a line whole: it is out when the process is killed after this."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def start(url: str, name: str, count: int) -> subprocess.Popen[str]:
    """Start such a process; wait until its store is open."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.builders.appender", url, name, str(count)],
        cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    """Let it append."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


if __name__ == "__main__":
    raise SystemExit(main())
