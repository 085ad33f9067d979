"""Loading a policy from files: the documents and the keys they name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from signward.errors import EvidenceError, PolicyError
from signward.policy.rules.model import RuleSet
from signward.policy.rules.reading import merge, read_document
from signward.verbs.options import read_option


def load_rules(paths: Sequence[Path]) -> RuleSet:
    """Return the policy in these files, the base first.  Raises ``PolicyError``.

    Keys are looked for beside the file that names them, and never above it.
    """
    documents = [read_document(str(path), _read(path)) for path in paths]
    folders = {d.name: path.parent for d, path in zip(documents, paths, strict=True)}

    def read_key(policy: str, file: str) -> bytes:
        folder = folders[policy].resolve()
        path = (folder / file).resolve()
        if not path.is_relative_to(folder):
            raise PolicyError(f"policy {policy}", f"key file {file!r}", "one below its folder")
        return _read(path)

    return merge(documents, read_key)


def _read(path: Path) -> bytes:
    try:
        return read_option(str(path))
    except EvidenceError as error:
        raise PolicyError(str(path), str(error), "a file that can be read") from None
