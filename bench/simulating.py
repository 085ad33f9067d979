"""Simulating measured: a policy of many rules on an inventory of a million sightings."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from tests.builders.fleets import NAMES, PRODUCTS, hosts, sha256, sightings, software
from tests.builders.policies import AT

from bench.measure import Row, bare_memory
from bench.signing import python
from signward.inventory.fleet import Fleet
from signward.policy.rules.model import (
    Action,
    Document,
    ProductMatch,
    PublisherMatch,
    Rule,
)
from signward.policy.rules.writing import to_toml

ROWS = 1_000_000
FILES = 50_000
HOSTS = 5_000
RULES = 10_000

_SIMULATE = """
import sys, time
from datetime import UTC, datetime
from pathlib import Path
from signward.inventory.fleet import Fleet
from signward.policy.rules.simulation import Wanted
from signward.verbs.policies.load import load_rules
from signward.verbs.policies.simulate import simulate
def peak():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1])
rules = load_rules([Path(sys.argv[2])])
before, started = peak(), time.perf_counter()
with Fleet(Path(sys.argv[1])) as fleet:
    found = simulate(rules, fleet, datetime(2026, 11, 23, 12, tzinfo=UTC), wanted=Wanted())
print(time.perf_counter() - started, peak(), found.seen.files, found.seen.sightings,
      len(found.proposals))
"""


def simulating(rounds: int) -> list[Row]:
    """Measure a simulation in a process of its own; proposals are thought of and tried in it."""
    with tempfile.TemporaryDirectory() as folder:
        fleet, policy = Path(folder, "fleet.db"), Path(folder, "policy.toml")
        make_fleet(fleet)
        policy.write_text(to_toml(_policy()))
        told = [python("-c", _SIMULATE, str(fleet), str(policy)).stdout.split()
                for _ in range(min(rounds, 3))]  # fmt: skip
        size = fleet.stat().st_size
    seconds = statistics.median(float(one[0]) for one in told)
    peak = statistics.median(int(one[1]) for one in told)
    bare = bare_memory()
    files, rows, proposals = map(int, told[0][2:])
    how = (
        f"{rows:,} sightings of {files:,} files on {HOSTS:,} hosts ({size / 1e6:.0f} MB), "
        f"{RULES:,} rules, {proposals} rules proposed; one process; rounds: {len(told)}"
    )
    return [
        Row("simulating a policy on a million sightings", f"{seconds:.1f} s", "<= 60 s", how),
        Row("peak memory of that, over the interpreter", f"{(peak - bare) / 1024:.0f} MB", "", how),
    ]


def make_fleet(path: Path, rows: int = ROWS, files: int = FILES, count: int = HOSTS) -> None:
    """Write an inventory of synthetic software (seed 1)."""
    at = int(AT.timestamp())
    with Fleet(path, create=True) as fleet, fleet.gathering(at, instead=True) as gathering:
        for subject in sightings(software(files), hosts(count), rows):
            gathering.add(subject)


def _policy() -> Document:
    """Return rules of which some match: two publishers, a product, denials, and many digests."""
    rules = [
        Rule(id="first", action=Action.ALLOW, publisher=PublisherMatch(organization=NAMES[0])),
        Rule(id="second", action=Action.AUDIT, publisher=PublisherMatch(organization=NAMES[1])),
        Rule(
            id="product",
            action=Action.ALLOW,
            publisher=PublisherMatch(organization=NAMES[2]),
            product=ProductMatch(product=f"{NAMES[2]} {PRODUCTS[0]}", minimum_version="5.0"),
        ),
    ]
    for number in range(RULES - len(rules)):
        action = Action.DENY if number % 2 else Action.ALLOW
        digest = f"file:sha256:{sha256(f'unseen {number}')}"
        rules.append(Rule(id=f"digest-{number}", action=action, digest=(digest,)))
    return Document(schema=1, name="bench", version=1, rule=tuple(rules))
