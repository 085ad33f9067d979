"""Fleets to simulate policies on: hosts, and files by a few publishers and by nobody."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from signward.frozen import replace
from signward.policy.rules.fleet import Host, Known, Place
from signward.policy.rules.subject import Signer, Subject
from signward.state import Outcome, Status
from tests.builders.policies import BEGINS

NAMES = ("Nordlicht Software GmbH", "Kitsune Tools KK", "Fabrikam Drivers Ltd", "Contoso, Inc.",
         "Open Build Foundation", "Árvíztűrő Bt.", "Example Systems Corporation")  # fmt: skip
PRODUCTS = ("Suite", "Agent", "Updater", "Console", "Runtime", "Driver Pack")
FOLDERS = (r"C:\Program Files\Vendor", r"C:\Tools", "/opt/vendor/bin", "/usr/local/bin")
CLASSES = (("executable", "exe", "pe"), ("library", "dll", "pe"), ("driver", "sys", "pe"),
           ("script", "ps1", "powershell"))  # fmt: skip


def sha256(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def signer(name: str, **fields: Any) -> Signer:
    """Return a trusted signer called so."""
    plain = {
        "identity": f"subject:{name}/{name}",
        "subject": {"common_name": name, "organization": name, "country": "AT"},
        "certificates": (sha256(name), sha256("CA")),
        "key": sha256(f"key of {name}"),
        "key_kind": "rsa-3072",
        "digest": "sha256",
        "begins": BEGINS,
        "revocation": Status.GOOD,
    }
    return Signer(**{**plain, **fields})


def signed(name: str, by: str, product: str = "", **fields: Any) -> Subject:
    """Return a program signed by somebody trusted."""
    plain = {
        "path": "",
        "kind": "pe",
        "file_class": "executable",
        "digests": frozenset({f"file:sha256:{sha256(name)}"}),
        "signers": (signer(by),),
        "product": product,
        "version": (1, 0, 0, 0),
        "original_name": name,
        "outcome": Outcome.ACCEPTED,
    }
    return Subject(**{**plain, **fields})


def unsigned(name: str, cause: str = "unsigned", **fields: Any) -> Subject:
    """Return a program that nobody trusted has signed."""
    return signed(name, "", signers=(), outcome=Outcome.REJECTED, cause=cause, version=None,
                  **fields)  # fmt: skip


def hosts(count: int, tag: str = "desk") -> tuple[Host, ...]:
    """Return hosts called host-0 and so on; every third has ``tag``."""
    return tuple(
        Host(name=f"host-{n}", tags=frozenset({tag} if n % 3 == 0 else ())) for n in range(count)
    )


def known(*subjects: tuple[Subject, Sequence[int]]) -> list[Known]:
    """Return files, each on the hosts of these numbers, in one folder."""
    return [
        Known(number, subject, [Place(host, f"/opt/{subject.original_name}") for host in on])
        for number, (subject, on) in enumerate(subjects, 1)
    ]


def software(files: int, seed: int = 1) -> Iterator[Subject]:
    """Yield distinct files as a fleet of mixed software has them, without place."""
    dice = random.Random(seed)
    for number in range(files):
        file_class, ending, kind = dice.choices(CLASSES, (20, 60, 5, 15))[0]
        fields = {"file_class": file_class, "kind": kind}
        name = f"{dice.choice(('core', 'setup', 'agent', 'plugin'))}-{number}.{ending}"
        drawn = dice.random()
        if drawn < 0.10:
            yield unsigned(name, **fields)
        elif drawn < 0.11:
            yield unsigned(name, "digest-mismatch", **fields)
        else:
            version = (dice.randrange(20), dice.randrange(10), 0, 0)
            by = dice.choices(NAMES, range(len(NAMES), 0, -1))[0]
            yield signed(name, by, f"{by} {dice.choice(PRODUCTS)}", version=version, **fields)


def sightings(subjects: Iterable[Subject], fleet: Sequence[Host], rows: int) -> Iterator[Subject]:
    """Yield ``rows`` subjects where they were seen, each file on equally many hosts."""
    distinct = list(subjects)
    for row in range(rows):
        number = row % len(distinct)
        subject = distinct[number]
        host = fleet[(number + row // len(distinct)) % len(fleet)]
        path = f"{FOLDERS[row % len(FOLDERS)]}/{subject.original_name}"
        yield replace(subject, path=path, host=host.name, tags=host.tags)
