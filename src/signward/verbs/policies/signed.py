"""Signed policies: made, opened with the keys the caller trusts, and never older than the last.

What was accepted once is remembered by the policy's name, in a folder of state and no cache:
version and digest.  A lower version is refused, and so is another document of the same version;
whoever may sign can still go forward, and nobody who cannot is able to bring an old policy back.
The name alone counts, not the key: after a change of keys the old one signs nothing older either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from signward.errors import EvidenceError, PolicyError
from signward.policy.rules.model import Document
from signward.policy.rules.signed import PAYLOAD_TYPE, payload_of, read_payload
from signward.trust.sealed import open_sealed, read_keys
from signward.verbs.memory import Known, Memory, Step, state_memory, step
from signward.verbs.options import read_option
from signward.verbs.sealing import Sealer


class Opened(NamedTuple):
    """A policy whose signature was checked: ``sha256`` (hex) is of the payload."""

    document: Document
    keys: Mapping[str, bytes]
    sha256: str

    @property
    def known(self) -> Known:
        """What is remembered of it."""
        return Known(version=self.document.version, sha256=self.sha256)


def sign_policy(path: Path, data: bytes, read_key: Callable[[str], bytes], sealer: Sealer) -> bytes:
    """Return the signed form of the policy in ``data``, with the keys it names.

    Raises ``PolicyError`` and ``KeyProviderError``.
    """
    return sealer.seal(PAYLOAD_TYPE, payload_of(str(path), data, read_key))


def is_signed(data: bytes) -> bool:
    """Say whether a policy file is the signed form; TOML never begins with a brace."""
    return data.lstrip()[:1] == b"{"


def policy_keys(files: Sequence[str]) -> tuple[bytes, ...]:
    """Return the public keys (DER) in the files of ``--policy-key``.  Raises ``PolicyError``."""
    try:
        found = [key for path in files for key in read_keys(path, read_option(path))]
    except EvidenceError as error:
        raise PolicyError("--policy-key", str(error), "public keys or certificates") from None
    return tuple(dict.fromkeys(found))


def open_signed(name: str, data: bytes, keys: Sequence[bytes]) -> Opened:
    """Return the policy in an envelope that one of ``keys`` (DER) signed.

    Raises ``PolicyError``.  Whether it is the newest is asked of `Memory`.
    """
    try:
        payload = open_sealed(name, data, keys, PAYLOAD_TYPE)
    except EvidenceError as error:
        raise PolicyError(
            name, str(error).removeprefix(f"{name}: "), "a policy signed by a key of --policy-key"
        ) from None
    document, files = read_payload(name, payload)
    return Opened(document, files, hashlib.sha256(payload).hexdigest())


class Accepted:
    """The last version accepted of each policy."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    @contextmanager
    def advancing(self, opened: Sequence[Opened]) -> Iterator[None]:
        """Check the policies against the memory; when the body ends well, remember them.

        One process at a time does so: none puts an older one back.  Raises ``PolicyError``.
        """
        with ExitStack() as held:
            with _unkeepable():
                held.enter_context(self._memory.held())
            news = [one for one in opened if self._check(one)]
            yield
            with _unkeepable():
                for one in news:
                    self._memory.keep(one.document.name, one.known)

    def _check(self, opened: Opened) -> bool:
        """Say whether a policy is news.  Raises ``PolicyError`` for one that goes backwards."""
        name, version = opened.document.name, opened.document.version
        known, place = self._read(name), self._memory.place(name)
        stands = step(known, opened.known)
        if known is not None and stands is Step.OLDER:
            raise PolicyError(
                f"policy {name}", f"version {version}", f"{known.version} or later",
                hint=f"version {known.version} was accepted here before: {place}",
            )  # fmt: skip
        if stands is Step.OTHER:
            raise PolicyError(f"policy {name}", f"a second document of version {version}",
                              "the first, or a later version",
                              hint=f"the first is remembered in {place}")  # fmt: skip
        return stands is Step.NEWER

    def _read(self, name: str) -> Known | None:
        """Return what is remembered.  What cannot be read is no leave to start anew."""
        try:
            return self._memory.known(name)
        except (OSError, ValueError, RecursionError) as error:
            raise PolicyError(str(self._memory.place(name)), str(error)[:200],
                              "the last version accepted",
                              hint="remove it if you know why it is so") from None  # fmt: skip


@contextmanager
def _unkeepable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PolicyError(
            str(error.filename or "a signed policy"), (error.strerror or str(error)).lower(),
            "a folder to remember accepted versions in", hint="set XDG_STATE_HOME to one",
        ) from None  # fmt: skip


def default_memory() -> Accepted:
    """Return the memory of policies of this user.  Raises ``PolicyError`` without a home."""
    memory = state_memory("policies")
    if memory is None:
        raise PolicyError("a signed policy", "no folder to remember its version in",
                          "a home, or $XDG_STATE_HOME")  # fmt: skip
    return Accepted(memory)
