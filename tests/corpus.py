"""Where tests find real signed code and the shared vectors.

``require(name)`` returns a tree of real files (``demo.fetch`` says which there are),
fetching it the first time; ``vectors_root()`` the folder of shared vectors.  Both raise
``CorpusMissingError`` with the reason; the fixtures ``corpus`` and ``vectors`` of
``conftest.py`` turn that into a skip which names what is absent.

Run as ``python -m tests.corpus fetch [--set demo|test]``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from demo import fetch
from demo.fetch import CorpusMissingError, corpus_root, require, samples

__all__ = ["CorpusMissingError", "corpus_root", "pe_files", "require", "samples", "vectors_root"]

REPOSITORY = Path(__file__).resolve().parents[1]

PE_SUFFIXES = frozenset({".exe", ".dll", ".pyd", ".sys", ".efi", ".node"})


def vectors_root() -> Path:
    """Return the shared vectors: ``$SIGNWARD_VECTORS``, else ``../shared/vectors``.

    Raises ``CorpusMissingError`` where there is no ``EXPECTED.tsv`` in it.
    """
    named = os.environ.get("SIGNWARD_VECTORS")
    root = Path(named) if named else REPOSITORY.parent / "shared" / "vectors"
    if not (root / "EXPECTED.tsv").is_file():
        raise CorpusMissingError(f"the shared vectors are not in {root} (SIGNWARD_VECTORS)")
    return root


def pe_files(tree: Path) -> list[Path]:
    """Return the files below ``tree`` that a PE's extension and magic name, sorted."""
    named = sorted(p for p in tree.rglob("*") if p.suffix.lower() in PE_SUFFIXES and p.is_file())
    return [path for path in named if _starts_with_mz(path)]


def _starts_with_mz(path: Path) -> bool:
    with path.open("rb") as handle:
        return handle.read(2) == b"MZ"


def main(arguments: Sequence[str]) -> int:
    """Run the one command there is, ``fetch``."""
    if arguments[:1] != ["fetch"]:
        print("usage: python -m tests.corpus fetch [--set demo|test|all]", file=sys.stderr)
        return 2
    return fetch.main(arguments[1:])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
