"""A system's databases, lists and packages, changed: no surprise, and no stray accepted."""

from __future__ import annotations

import random
from pathlib import Path

from signward.errors import EvidenceError
from signward.findings import Code
from signward.state import Outcome
from signward.verbs.context import Context
from signward.verbs.options import Options, PackageOptions
from signward.verbs.verify import assess_path
from tests.builders.debian import AT, KEYRING, PREFIX, Deb, File, Machine
from tests.fuzz.budget import rounds, watched

INPUTS = 150

OWN = Deb("tool", {"/usr/bin/tool": File(b"own" * 99, 0o755)}, pack=lambda data: data, suffix="")
OTHER = Deb("other", {"/usr/bin/other": File(b"other", 0o755)})
STRANGE = {"/usr/bin/sudo": b"other", "/usr/bin/stray": b"evil"}
"""Files that no package brings; the first has the content of one that a package does."""

CHANGED = (
    "/etc/apt/sources.list.d/sample.sources", KEYRING, "/var/lib/dpkg/diversions",
    "/var/lib/dpkg/status", "/var/lib/dpkg/statoverride", f"/var/lib/apt/lists/{PREFIX}InRelease",
    f"/var/lib/apt/lists/{PREFIX}main_binary-amd64_Packages", "/var/lib/dpkg/info/tool.list",
    f"/var/cache/apt/archives/{OWN.filename}",
)  # fmt: skip
WORDS = (b"/usr/bin/sudo", b"/usr/bin/stray", b"/usr/bin/other", b"\n\n", b"\n", b"\0", b"..",
         b"\xff", b"Package: ", b" ", b":", b"-----BEGIN PGP", b"99999999999999999999")  # fmt: skip


def changed(data: bytes, chance: random.Random) -> bytes:
    """Change octets, take some out, or put words or copies of others in."""
    out = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at, way = chance.randrange(len(out) + 1), chance.randrange(4)
        if way == 0 and at < len(out):
            out[at] = chance.randrange(256)
        elif way == 1:
            del out[at : at + chance.randrange(9)]
        elif way == 2:
            out[at:at] = chance.choice(WORDS)
        else:
            start = chance.randrange(len(out) + 1)
            out[at:at] = out[start : start + chance.randrange(80)]
    return bytes(out)


def test_changed_systems_end_in_no_surprise(tmp_path: Path) -> None:
    diversions = "/usr/bin/other\n/usr/bin/other.real\ntool\n"
    machine = Machine(tmp_path / "system", (OWN, OTHER), diversions=diversions).write()
    machine.put("/var/lib/dpkg/statoverride", b"root root 4755 /usr/bin/tool\n")
    for path, content in STRANGE.items():
        machine.put(path, content, 0o755)
    packages = PackageOptions(root=str(machine.root), ledger=str(tmp_path / "ledger"))
    for seed in rounds(INPUTS):
        chance = random.Random(seed)
        place = machine.root / chance.choice(CHANGED)[1:]
        before = place.read_bytes()
        place.write_bytes(changed(before, chance))
        context = Context(Options(at=AT, packages=packages))
        for path in (*OWN.files, *STRANGE):
            try:
                with watched():
                    verdict = assess_path(machine.root / path[1:], context)
            except EvidenceError:  # no system of dpkg's any more
                continue
            assert verdict.cause is not Code.JUDGE_FAILED, (seed, verdict.findings)
            assert path not in STRANGE or verdict.outcome is not Outcome.ACCEPTED, seed
        place.write_bytes(before)
