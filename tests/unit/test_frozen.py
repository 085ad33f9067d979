"""Decoders of values: made by one thread at a time."""

import subprocess
import sys

RACE = """
import sys, threading
import msgspec
from signward.frozen import decoder

sys.setswitchinterval(1e-6)
TEXT = '''
from typing import Annotated, Literal
import msgspec
class A(msgspec.Struct):
    x: Annotated[str, msgspec.Meta(pattern="^[a-z]*$")]
    y: Literal["a", "b"] = "a"
class B(msgspec.Struct):
    a: tuple[A, ...]
    c: A | None = None
'''

def read(kind, barrier):
    barrier.wait()
    assert decoder(kind).decode(b'{"a":[{"x":"abc","y":"b"}],"c":{"x":"q"}}').c.x == "q"

for _ in range(500):
    scope = {}
    exec(TEXT, scope)
    barrier = threading.Barrier(4)
    threads = [threading.Thread(target=read, args=(scope["B"], barrier)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print("done")
"""


def test_threads_that_meet_a_class_at_once_do_not_end_the_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", RACE], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "done"), done.stderr[-2000:]
