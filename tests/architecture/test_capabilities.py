"""What a line of code may touch: sockets, the clock, processes, signature primitives."""

from dataclasses import dataclass, field

import pytest

from tests.architecture.code import Module, modules, parse_module


@dataclass(frozen=True)
class Rule:
    """Names that only ``rooms`` may import or call (a name covers what is below it)."""

    rooms: tuple[str, ...]
    imports: frozenset[str] = field(default=frozenset())
    calls: frozenset[str] = field(default=frozenset())


RULES = {
    # Sockets are made in one place, which reaches no further than those who may have them.
    "sockets": Rule(
        rooms=("wire.deadline", "fetch", "keys", "service", "guard"),
        imports=frozenset(
            {"socket", "ssl", "http", "urllib.request", "socketserver", "ftplib", "smtplib"}
            | {"asyncio", "xmlrpc", "requests", "httpx", "httpx2", "aiohttp", "urllib3"}
            | {"signward.wire.deadline"}
        ),
    ),
    # Google's token grant is dated by who asks for it (RFC 7523 3), and by nobody above.
    "the wall clock": Rule(
        rooms=("verbs", "cli", "service", "guard", "keys.gcp_kms"),
        calls=frozenset(
            {"datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today"}
            | {"datetime.date.today", "time.time", "time.time_ns", "time.gmtime"}
            | {"time.localtime", "time.ctime", "time.strftime", "time.clock_gettime"}
        ),
    ),
    # A stopwatch is no clock: it measures how long, never when.  Progress and time-outs need it.
    "a stopwatch": Rule(
        rooms=(
            "verbs",
            "cli",
            "service",
            "guard",
            "store",
            "inventory",
            "fetch",
            "keys",
            "wire.deadline",
        ),
        calls=frozenset(
            {"time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.perf_counter_ns"}
            | {"time.sleep", "time.process_time"}
        ),
    ),
    # Only at the caller's own word (--fetch-debs), and told before it is done.
    "other processes": Rule(
        rooms=("cli.fetch_debs",),
        imports=frozenset({"subprocess", "pty", "popen2", "asyncio.subprocess"}),
        calls=frozenset(
            {"os.system", "os.popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.posix_spawnp"}
            | {f"os.exec{kind}" for kind in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")}
            | {f"os.spawn{kind}" for kind in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")}
        ),
    ),
    "signature primitives": Rule(
        rooms=("integrity", "keys", "authority"),
        imports=frozenset(
            {"cryptography.hazmat.primitives.asymmetric", "cryptography.x509.verification"}
            | {"cryptography.hazmat.primitives.serialization.pkcs7", "cryptography.hazmat.bindings"}
        ),
    ),
}


def violations(module: Module, rule: Rule) -> list[str]:
    """Name each import and call in ``module`` that ``rule`` keeps to other rooms."""
    if module.is_in(*rule.rooms):
        return []
    found = [f"{module.name} imports {name}" for name in sorted(module.imports())
             if _covered(name, rule.imports)]  # fmt: skip
    return found + [
        f"{module.name}:{call.lineno} calls {name}"
        for call, name in module.calls()
        if name in rule.calls
    ]


def _covered(name: str, forbidden: frozenset[str]) -> bool:
    parts = name.split(".")
    return any(".".join(parts[: i + 1]) in forbidden for i in range(len(parts)))


@pytest.mark.parametrize("what", RULES)
def test_only_its_rooms_touch(what: str) -> None:
    assert [v for module in modules() for v in violations(module, RULES[what])] == []


PLANTED = [
    ("sockets", "import socket\n"),
    ("sockets", "def f():\n    from urllib.request import urlopen\n"),
    ("sockets", "import http.client as web\n"),
    ("sockets", "from urllib import request\n"),
    ("sockets", "from signward.wire.deadline import Connection\n"),
    ("the wall clock", "from datetime import datetime\ndatetime.now()\n"),
    ("the wall clock", "import datetime as d\nd.datetime.now(d.UTC)\n"),
    ("the wall clock", "import time\ntime.time()\n"),
    ("the wall clock", "from time import time as t\nt()\n"),
    ("a stopwatch", "from time import monotonic\nmonotonic()\n"),
    ("other processes", "import subprocess\n"),
    ("other processes", "import os\nos.system('x')\n"),
    ("signature primitives", "from cryptography.hazmat.primitives.asymmetric import rsa\n"),
    ("signature primitives", "from cryptography.hazmat.primitives.asymmetric.rsa import X\n"),
    ("signature primitives", "from cryptography.hazmat.primitives import asymmetric\n"),
]


@pytest.mark.parametrize(("what", "planted"), PLANTED)
def test_a_planted_violation_is_found(what: str, planted: str) -> None:
    module = parse_module("signward.trust.planted", planted)
    assert len(violations(module, RULES[what])) == 1


@pytest.mark.parametrize(
    ("what", "room", "text"),
    [
        ("sockets", "fetch.crl", "import http.client\n"),
        ("sockets", "trust.path", "from urllib.parse import urlsplit\n"),
        ("the wall clock", "verbs.verify", "from datetime import datetime\ndatetime.now()\n"),
        ("the wall clock", "trust.path", "from datetime import datetime\ndatetime(2020, 1, 1)\n"),
        ("signature primitives", "integrity", PLANTED[-2][1]),
    ],
)
def test_what_is_allowed_is_let_through(what: str, room: str, text: str) -> None:
    assert violations(parse_module(f"signward.{room}", text), RULES[what]) == []
