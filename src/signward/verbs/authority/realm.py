"""A realm: one organisation's authority, opened: its folder, settings, database and keys."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

from signward.errors import EvidenceError, RealmError
from signward.keys import Secrets, SigningKey, open_key
from signward.trust.pem import CERTIFICATES, blocks
from signward.verbs.authority.settings import FILE_NAME, KeySettings, Settings, load
from signward.verbs.credential import Credential

if TYPE_CHECKING:
    from signward.store.engine import Store

DATABASE_NAME = "signward.db"
FOLDER_VARIABLE = "SIGNWARD_DATA"
DEFAULT_FOLDER = "signward-data"

_PATH_SCHEMES = ("file", "pkcs12")
"""Key providers whose URI is a path."""

Clock = Callable[[], datetime]


def default_folder() -> Path:
    """Return the folder that is used where none is named."""
    return Path(os.environ.get(FOLDER_VARIABLE, "") or DEFAULT_FOLDER)


def system_clock() -> datetime:
    """Return the time, UTC."""
    return datetime.now(UTC)


class Realm:
    """Everything a deed of the authority needs.  Thread-safe."""

    def __init__(
        self, folder: Path, settings: Settings, store: Store, secrets: Secrets, clock: Clock
    ) -> None:
        self.folder, self.settings, self.store = folder, settings, store
        self.instance = token_hex(16)
        """Names this process where it announces what it begins (store/intents.py)."""
        self._secrets, self._clock = secrets, clock
        self._keys: dict[str, SigningKey] = {}
        self._credentials: dict[str, Credential] = {}
        self._opening = threading.RLock()

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        database: str = "",
        secrets: Secrets | None = None,
        clock: Clock = system_clock,
    ) -> Realm:
        """Open the authority in ``folder``; ``database`` is a URL, by default SQLite in it.

        Raises ``RealmError`` and ``StoreError``.
        """
        from signward.store.engine import Store
        from signward.verbs.secrets import SecretFinder

        settings = load(folder / FILE_NAME)
        url = database or f"sqlite:///{(folder / DATABASE_NAME).absolute()}"
        return cls(folder, settings, Store.open(url), secrets or SecretFinder(), clock)

    def now(self) -> datetime:
        """Return the time, UTC."""
        return self._clock()

    def key(self, name: str) -> SigningKey:
        """Return the key of ``[keys.NAME]`` alone, opened once (log keys have no certificate).

        Raises as `credential` does.
        """
        with self._opening:
            if name not in self._keys:
                wanted = self._key_settings(name)
                self._keys[name] = open_key(_absolute(wanted.uri, self.folder), self._secrets)
            return self._keys[name]

    def credential(self, name: str) -> Credential:
        """Return the key of ``[keys.NAME]`` with its certificates, opened once.

        Raises ``RealmError`` where there is none of that name, ``KeyProviderError`` where it
        cannot be opened.
        """
        with self._opening:
            if name not in self._credentials:
                given = self.certificates(self._key_settings(name))
                self._credentials[name] = Credential(self.key(name), given, digest="")
            return self._credentials[name]

    def _key_settings(self, name: str) -> KeySettings:
        if name not in self.settings.keys:
            raise RealmError(f"[keys.{name}]", "no such table", f"one in {FILE_NAME}")
        return self.settings.keys[name]

    def certificates(self, key: KeySettings) -> list[bytes]:
        """Return the certificates (DER) the settings name for a key.  Raises ``RealmError``."""
        if not key.certificates:
            return []
        path = self.folder / key.certificates
        try:
            return blocks(str(path), path.read_bytes(), CERTIFICATES)
        except OSError as error:
            raise RealmError(str(path), error.strerror or "no file", "certificates, PEM") from None
        except EvidenceError as error:
            raise RealmError(str(path), str(error), "certificates, PEM") from None

    def close(self) -> None:
        """Write what waits to be written; let go of database and keys."""
        self.store.close()
        for key in self._keys.values():
            key.close()


def _absolute(uri: str, folder: Path) -> str:
    """Return a key's URI with a relative path taken from the realm's folder."""
    scheme, colon, path = uri.partition(":")
    if scheme not in _PATH_SCHEMES or Path(path).is_absolute():
        return uri
    return f"{scheme}{colon}{folder / path}"
