"""Loading a policy from files: the documents and the keys they name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from signward.errors import EvidenceError, PolicyError
from signward.policy.rules.model import Document, RuleSet
from signward.policy.rules.reading import merge, read_document
from signward.verbs.options import read_option
from signward.verbs.policies.signed import (
    Opened,
    default_memory,
    is_signed,
    open_signed,
    policy_keys,
)


def load_rules(
    paths: Sequence[Path], key_files: Sequence[str] = (), *, remember: bool = True
) -> RuleSet:
    """Return the policy in these files, the base first.  Raises ``PolicyError``.

    With ``key_files`` (public keys or certificates) each document must be signed by one of them,
    and none may be older than the last that was accepted here (unless nothing is to ``remember``:
    then it is only looked at); the keys it names are those it carries.  Keys of an unsigned policy
    are looked for beside the file that names them, and never above it.
    """
    if key_files:
        return _load_signed(paths, policy_keys(key_files), remember=remember)
    documents: list[Document] = []
    readers: dict[str, Callable[[str], bytes]] = {}
    for path in paths:
        document = read_document(str(path), _unsigned(path))
        documents.append(document)
        readers[document.name] = key_reader(document.name, path.parent)
    return merge(documents, lambda policy, file: readers[policy](file))


def _load_signed(paths: Sequence[Path], keys: Sequence[bytes], *, remember: bool) -> RuleSet:
    opened = [_opened(path, keys) for path in paths]
    carried = {one.document.name: one.keys for one in opened}

    def read_key(policy: str, file: str) -> bytes:
        if file not in carried[policy]:
            raise PolicyError(f"policy {policy}", f"no file {file[:80]!r} in it", "its keys")
        return carried[policy][file]

    with default_memory().advancing(opened) if remember else nullcontext():
        return merge([one.document for one in opened], read_key)


def _opened(path: Path, keys: Sequence[bytes]) -> Opened:
    data = read_policy(path)
    if not is_signed(data):
        raise PolicyError(str(path), "a policy without a signature", "one signed by --policy-key",
                          hint="signward policy sign signs it")  # fmt: skip
    return open_signed(str(path), data, keys)


def _unsigned(path: Path) -> bytes:
    data = read_policy(path)
    if is_signed(data):
        raise PolicyError(str(path), "a signed policy", "the key it is signed by: --policy-key")
    return data


def key_reader(policy: str, folder: Path) -> Callable[[str], bytes]:
    """Return what reads the files of ``[keys]`` below a folder, raising ``PolicyError``."""
    root = folder.resolve()

    def read(file: str) -> bytes:
        try:
            path = (root / file).resolve()
        except (ValueError, RuntimeError) as error:  # a NUL, or links in a circle
            raise PolicyError(f"policy {policy}", f"key file {file!r}: {error}",
                              "a file's name") from None  # fmt: skip
        if not path.is_relative_to(root):
            raise PolicyError(f"policy {policy}", f"key file {file!r}", "one below its folder")
        return read_policy(path)

    return read


def read_policy(path: Path) -> bytes:
    """Return the octets of a policy or of a key it names.  Raises ``PolicyError``."""
    try:
        return read_option(str(path))
    except EvidenceError as error:
        raise PolicyError(str(path), str(error), "a file that can be read") from None
