"""Signing for others, and the approvals that some keys ask for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import HeaderParameter, JSONBody, PathParameter

from signward.frozen import Frozen
from signward.keys._served import (
    IDEMPOTENCY,
    IDEMPOTENCY_HEADER,
    WHOLE_TEXT,
    Answer,
    KeyPage,
    Order,
)
from signward.service.handback import Handback
from signward.service.roles import Access, Task
from signward.service.tasks import living
from signward.verbs.authority import approvals, sign
from signward.verbs.authority.approvals import Answering, Waiting

if TYPE_CHECKING:
    from signward.verbs.authority.realm import Realm

SWEEP_SECONDS = 60.0
"""How often requests that nobody answered in time are ended."""

_SIGNED, _NOT_YET = 200, 202

Caller = Request[Any, Any, Any]
Name = Annotated[str, PathParameter(max_length=100, pattern=WHOLE_TEXT)]


class Said(Frozen, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an approver says of a request."""

    decision: Answering


class SignRole:
    """The ``ROLE``: signs with the keys of ``[sign.NAME]``."""

    name = "sign"
    help = "signs for others, under each key's rules"

    def routes(self, realm: Realm) -> Sequence[HTTPRouteHandler]:
        """Return the handlers (see ``Role``); none where no key is served."""
        return [*_keys(realm), *_requests(realm)] if realm.settings.sign else []

    def tasks(self, realm: Realm) -> Sequence[Task]:
        """End what waited too long, say that this process lives, and close what dead ones began."""
        if not realm.settings.sign:
            return []
        return [
            Task(name="requests", seconds=SWEEP_SECONDS, run=partial(approvals.sweep, realm)),
            *living(realm),
        ]


def _keys(realm: Realm) -> list[HTTPRouteHandler]:
    either = (Access.SIGNER, Access.APPROVER)
    handback: Handback[Future[Answer]] = Handback()

    @get("/keys/{name:str}", opt={"access": either}, sync_to_thread=True)
    def show_key(request: Caller, name: Name) -> KeyPage:
        """Return a key's certificates, and how it is used."""
        return sign.page(realm, name, request.user)

    @post("/keys/{name:str}/signatures", status_code=_SIGNED, opt={"access": Access.SIGNER})
    async def order_signature(
        request: Caller,
        name: Name,
        data: JSONBody[Order],
        idempotency: Annotated[
            str, HeaderParameter(name=IDEMPOTENCY_HEADER, pattern=IDEMPOTENCY, max_length=64)
        ],
    ) -> Response[Answer]:
        """Sign, or say which approvals are missing (202)."""

        def ask(tell: Callable[[Future[Answer]], None]) -> None:
            sign.ordered(realm, name, request.user, idempotency, data).add_done_callback(tell)

        answer = (await handback.made(ask)).result()
        return Response(answer, status_code=_SIGNED if answer.state == "signed" else _NOT_YET)

    @get("/keys/{name:str}/signatures/{number:str}", opt={"access": either}, sync_to_thread=True)
    def show_signature(request: Caller, name: Name, number: Name) -> Answer:
        """Return how far an order is."""
        return sign.look(realm, name, request.user, number)

    return [show_key, order_signature, show_signature]


def _requests(realm: Realm) -> list[HTTPRouteHandler]:
    @get("/requests", opt={"access": Access.APPROVER}, sync_to_thread=True)
    def list_requests(request: Caller) -> list[Waiting]:
        """Return the requests that wait for approvals which the caller may give."""
        return list(approvals.waiting(realm, request.user))

    @post(
        "/requests/{number:str}/approvals",
        status_code=200,
        opt={"access": (Access.SIGNER, Access.APPROVER)},
        sync_to_thread=True,
    )
    def answer_request(request: Caller, number: Name, data: JSONBody[Said]) -> Waiting:
        """Approve a request, or end it; whoever made it may end it too."""
        return approvals.answer(realm, request.user, number, data.decision)

    return [list_requests, answer_request]


ROLE = SignRole()
