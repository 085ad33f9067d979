"""The service's roles: one file per role; a file in this folder is its registration.

Each module offers ``ROLE``, an object with the attributes of :class:`Role`.  A handler parses
what it is sent, calls a verb and answers; it decides nothing.  Errors of the package raised by
a verb become answers by themselves (``service/problems.py``).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from litestar.handlers import HTTPRouteHandler

from signward.errors import RealmError
from signward.frozen import Frozen

if TYPE_CHECKING:
    from signward.verbs.authority.realm import Realm


class Access(StrEnum):
    """What a route asks of its caller, in its ``opt={"access": ...}``.

    Each but the first is a role that ``[access.roles]`` gives to identities; none contains
    another, and nobody has one without being named.
    """

    PUBLIC = "public"
    """Anybody: verification material (certificates, CRLs, answers, the log, the feed)."""
    SIGNER = "signer"
    """Asks for signatures; which keys sign for whom, each key's own rules say."""
    APPROVER = "approver"
    """Approves or denies what a signer asked for."""
    OFFICER = "officer"
    """Issues and revokes certificates."""
    ADMIN = "admin"
    """Changes the service itself."""
    AUDITOR = "auditor"
    """Reads what was done."""
    OPERATOR = "operator"
    """Reads metrics."""


class Task(Frozen, frozen=True, kw_only=True):
    """Work that comes round: ``run`` is called in a thread, ``seconds`` after its last end.

    With several processes each runs its tasks, so a task must find out for itself whether
    there is anything left to do.  What it raises is logged and counted, and it comes round
    again.
    """

    name: str
    seconds: float
    run: Callable[[], object]


class Role(Protocol):
    """What a role module's ``ROLE`` offers."""

    name: str
    help: str
    """One line."""

    def routes(self, realm: Realm) -> Sequence[HTTPRouteHandler]:
        """Return the handlers, each with ``opt={"access": Access.X}``; none if not set up.

        ``"access"`` may also be a tuple: any one of those roles will do.  Further options:
        ``"max_body"``, the most octets of a request (default ``limits.MAX_BODY``), and
        ``"waits": True`` for a handler that holds a request until something happens,
        ``"express"`` on a public route (``service/express.py``).
        """


@runtime_checkable
class Working(Protocol):
    """A role that has something to do though nobody asks."""

    def tasks(self, realm: Realm) -> Sequence[Task]:
        """Return the work that comes round; of those with one name the service does one."""


@runtime_checkable
class Checking(Protocol):
    """A role that knows what must be right for it to answer: ``GET /readyz`` asks."""

    def checks(self, realm: Realm) -> Mapping[str, Callable[[], object]]:
        """Return checks by name; each is fast, and raises ``SignwardError`` when it fails."""


@lru_cache(maxsize=1)
def role_names() -> tuple[str, ...]:
    """Return every role's name; none is imported for that."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(name for name in names if name[0] != "_")


def load_role(name: str) -> Role:
    """Return the role of a name.  Raises ``RealmError``."""
    if name not in role_names():
        raise RealmError("--role", repr(name[:40]), f"one of {', '.join(role_names())}")
    role: Role = importlib.import_module(f"{__name__}.{name}").ROLE
    return role
