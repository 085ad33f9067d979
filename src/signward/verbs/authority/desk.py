"""Where approvers sit: at the authority's own folder, or at a service's URL."""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from signward.authority.access import Identity
from signward.keys import Secrets
from signward.keys._rest import Rest
from signward.keys.remote import service_at
from signward.verbs.authority import approvals
from signward.verbs.authority.approvals import Answering, Waiting
from signward.verbs.authority.realm import Realm


class Desk(Protocol):
    """What approvers can do."""

    def waiting(self) -> Sequence[Waiting]:
        """Return the requests that wait for the caller, oldest first."""

    def answer(self, identifier: str, said: Answering) -> Waiting:
        """Approve or deny a request; return it as it is then."""

    def close(self) -> None:
        """Let go of it."""


class OwnDesk:
    """In the authority's folder; the caller is who the operating system says."""

    def __init__(self, folder: Path, database: str) -> None:
        """Raise ``RealmError`` or ``StoreError``."""
        self._realm = Realm.open(folder, database=database)
        user = Identity(kind="local", subject=pwd.getpwuid(os.getuid()).pw_name)
        self._caller = self._realm.settings.access.known(user)

    def waiting(self) -> Sequence[Waiting]:
        """Return the requests (see ``Desk``)."""
        return approvals.waiting(self._realm, self._caller)

    def answer(self, identifier: str, said: Answering) -> Waiting:
        """Approve or deny (see ``Desk``).  Raises ``DeniedError``, ``ConflictError``."""
        return approvals.answer(self._realm, self._caller, identifier, said)

    def close(self) -> None:
        """Close the authority."""
        self._realm.close()


class ServiceDesk:
    """At a service; the caller is who the token or the client certificate says."""

    def __init__(self, url: str, secrets: Secrets) -> None:
        """Raise ``KeyProviderError`` for a URL that is none of a service."""
        self._rest: Rest = service_at(url, secrets)

    def waiting(self) -> Sequence[Waiting]:
        """Return the requests (see ``Desk``).  Raises ``KeyProviderError``."""
        return self._rest.get(tuple[Waiting, ...], "/requests")

    def answer(self, identifier: str, said: Answering) -> Waiting:
        """Approve or deny (see ``Desk``).  Raises ``KeyProviderError``."""
        path = f"/requests/{quote(identifier, safe='')}/approvals"
        return self._rest.post(Waiting, path, {"decision": said.value})

    def close(self) -> None:
        """Nothing is kept open."""
