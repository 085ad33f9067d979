"""``python -m demo``: fetch the demonstration corpus, scan it, write ``report.html``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from demo.fetch import fetch

INSIDE = {
    "node-liquibase": "package/dist/drivers",
    "rpm": "rpm-4.18.0/tests/data/RPMS",
}
"""Where what is to be shown lies in a sample that holds much else."""

KEYS = {"rpm": "rpm-4.18.0/tests/data/keys/rpm.org-rsa-2048-test.pub"}
"""Public keys that samples bring along, for signatures that no certificate authority knows."""

COMMAND_LINE_ERROR = 2
"""The only exit code of `signward scan` that means it did not scan."""


SLICE = ("/usr/bin/diff", "/usr/bin/cmp", "/usr/bin/hostname", "/usr/share/doc/diffutils",
         "/usr/bin/python3")  # fmt: skip
"""Files of this machine whose packages are asked: of two small ones, and of one not fetched."""

FETCHED = ("/usr/bin/diff", "/usr/bin/hostname")


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 when the corpus was scanned and the report written."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--report", type=Path, default=Path("report.html"))
    report: Path = parser.parse_args(arguments).report
    trees, missing = fetch("demo")
    for name, reason in missing.items():
        print(f"left out: {name}: {reason}", file=sys.stderr)
    if not trees:
        print("nothing could be fetched, so there is nothing to scan", file=sys.stderr)
        return 1
    return _scan(trees, report)


def _stores(trees: Mapping[str, Path]) -> Iterator[str]:
    """Yield whom the corpus is judged by: the usual roots, and what Debian built in."""
    yield from ("authenticode", "apple", "uefi")
    if "shim" in trees:
        yield f"shim:{trees['shim'] / 'usr/lib/shim/shimx64.efi.signed'}"
    if "linux-image" in trees:
        yield from (f"kernel:{image}" for image in trees["linux-image"].glob("boot/vmlinuz-*"))


def _keyrings(trees: Mapping[str, Path]) -> Iterator[str]:
    """Yield the keys that samples are judged by; nobody pins the Android package's signer."""
    yield from (str(trees[name] / key) for name, key in KEYS.items() if name in trees)


def _scan(trees: Mapping[str, Path], report: Path) -> int:
    from signward.cli import main as signward

    stores = [word for store in _stores(trees) for word in ("--store", store)]
    keyrings = [word for key in _keyrings(trees) for word in ("--keyring", key)]
    shown = [str(tree / INSIDE.get(name, "")) for name, tree in trees.items()]
    command = ["scan", *shown, *stores, *keyrings, "--html", str(report)]
    print("$ signward " + " ".join(command), flush=True)
    report.unlink(missing_ok=True)
    code = signward(command)
    if code == COMMAND_LINE_ERROR or not report.is_file():
        return code or 1
    print(f"\nopen {report.absolute()} in a browser")
    return _slice(signward)


def _slice(signward: Callable[[Sequence[str]], int]) -> int:
    """Say who vouches for a few files of this machine, where it is a Debian one."""
    there = [path for path in SLICE if Path(path).exists()]
    if not Path("/var/lib/dpkg/status").is_file() or not there:
        print("left out: a slice of /usr: no packages of dpkg here", file=sys.stderr)
        return 0
    fetched = [path for path in FETCHED if Path(path).exists()]
    signward(["verify", "--fetch-debs", *fetched])
    command = ["scan", "--all", *there]
    print("\n$ signward " + " ".join(command), flush=True)
    return 1 if signward(command) == COMMAND_LINE_ERROR else 0


if __name__ == "__main__":
    raise SystemExit(main())
