"""Signed policies: made, opened with the keys the caller trusts, and never older than the last.

What was accepted once is remembered by the policy's name, in a folder of state and no cache:
version and digest.  A lower version is refused, and so is another document of the same version;
whoever may sign can still go forward, and nobody who cannot is able to bring an old policy back.
The name alone counts, not the key: after a change of keys the old one signs nothing older either.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from signward.errors import EvidenceError, PolicyError
from signward.frozen import Frozen, decoder
from signward.policy.rules.model import Document
from signward.policy.rules.signed import PAYLOAD_TYPE, payload_of, read_payload
from signward.trust.sealed import open_sealed, read_keys
from signward.verbs.options import read_option
from signward.verbs.sealing import Sealer
from signward.wire.whole import write_whole

MAX_MEMORY_OCTETS = 4096
"""Largest file of the memory read: it holds a name, a number and a digest."""


class Opened(NamedTuple):
    """A policy whose signature was checked: ``sha256`` (hex) is of the payload."""

    document: Document
    keys: Mapping[str, bytes]
    sha256: str


class _Accepted(Frozen, frozen=True, kw_only=True):
    """What is remembered of a policy."""

    name: str
    version: int
    sha256: str


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


class Memory:
    """The last version accepted of each policy, in a folder of small files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def advancing(self, opened: Sequence[Opened]) -> Iterator[None]:
        """Check the policies against the memory; when the body ends well, remember them.

        One process at a time does so: none puts an older one back.  Raises ``PolicyError``.
        """
        with _unkeepable(self._folder):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = (self._folder / "lock").open("ab")
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            news = [one for one in opened if self._check(one)]
            yield
            for one in news:
                self._remember(one)

    def _check(self, opened: Opened) -> bool:
        """Say whether a policy is news.  Raises ``PolicyError`` for one that goes backwards."""
        name, version = opened.document.name, opened.document.version
        known = self._read(name)
        if known is None:
            return True
        if version < known.version:
            raise PolicyError(
                f"policy {name}", f"version {version}", f"{known.version} or later",
                hint=f"version {known.version} was accepted here before: {self._place(name)}",
            )  # fmt: skip
        if version == known.version and opened.sha256 != known.sha256:
            raise PolicyError(f"policy {name}", f"a second document of version {version}",
                              "the first, or a later version",
                              hint=f"the first is remembered in {self._place(name)}")  # fmt: skip
        return version > known.version

    def _read(self, name: str) -> _Accepted | None:
        """Return what is remembered.  What cannot be read is no leave to start anew."""
        place = self._place(name)
        try:
            with place.open("rb") as file:
                read = decoder(_Accepted).decode(file.read(MAX_MEMORY_OCTETS))
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise PolicyError(str(place), str(error)[:200], "the last version accepted",
                              hint="remove it if you know why it is so") from None  # fmt: skip
        return read

    def _remember(self, opened: Opened) -> None:
        document = opened.document
        kept = _Accepted(name=document.name, version=document.version, sha256=opened.sha256)
        with _unkeepable(self._folder):
            write_whole(self._place(document.name), msgspec.json.encode(kept))

    def _place(self, name: str) -> Path:
        return self._folder / f"{name}.json"  # a name has letters, digits and ._- only


@contextmanager
def _unkeepable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PolicyError(
            str(folder), (error.strerror or str(error)).lower(),
            "a folder to remember accepted versions in", hint="set XDG_STATE_HOME to one",
        ) from None  # fmt: skip


def default_memory() -> Memory:
    """Return the memory in ``$XDG_STATE_HOME/signward/policies``, or below ``~/.local/state``.

    Raises ``PolicyError`` without a home.
    """
    home = os.environ.get("XDG_STATE_HOME", "")
    try:
        base = Path(home) if home.startswith("/") else Path.home() / ".local" / "state"
    except RuntimeError:
        raise PolicyError("a signed policy", "no folder to remember its version in",
                          "a home, or $XDG_STATE_HOME") from None  # fmt: skip
    return Memory(base / "signward" / "policies")
