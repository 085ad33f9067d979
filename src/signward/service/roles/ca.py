"""The authority over HTTP: its certificates for everybody, issuing and revoking for officers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from litestar import Request, Response, get, post
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from signward.authority.profiles import duration
from signward.authority.request import MAX_REQUEST_OCTETS, read_request
from signward.errors import AuthorityError
from signward.frozen import Frozen, replace
from signward.service.roles import Access, Task
from signward.service.tasks import living
from signward.verbs.authority import ending, export, finding, revoke
from signward.verbs.authority.authorities import certificate_of, micros, settings_of
from signward.verbs.authority.issue import IssuedCertificate, issue, order
from signward.verbs.authority.listing import CertificateLine, line, listing
from signward.verbs.authority.publish_crl import PublishedCrl

if TYPE_CHECKING:
    from signward.verbs.authority.realm import Realm

MEDIA_TYPE = "application/pkix-cert"
"""RFC 2585 4.1."""

SUFFIX = ".cer"
MAX_BODY = 2 * MAX_REQUEST_OCTETS
"""Octets of what officers send: a request in PEM, in JSON, and some names."""

MAX_PAGE = 1000
"""Certificates in one answer."""

NAME, MAX_NAME = r"^[a-z0-9-]*$(?!\n)", 60
"""Names of profiles."""
SERIAL = r"^[0-9a-f]{0,40}$(?!\n)"
"""Serial numbers as they are stored, and none."""

ENDS_SECONDS = 3600.0
"""How often the journal and a metric tell of our own certificates that end soon."""

_CACHE = "public, max-age=3600"
_OFFICER = {"access": Access.OFFICER, "max_body": MAX_BODY}


class Wanted(Frozen, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be issued; what is empty is the request's or the profile's.

    ``request`` is PKCS#10 in PEM, ``subject`` a common name or ``CN=…,O=…``, ``names`` are written
    ``uri:https://…``, ``valid`` as ``90d``, ``permitted`` and ``excluded`` are subtrees of names.
    """

    profile: str
    request: str
    subject: str = ""
    names: tuple[str, ...] = ()
    valid: str = ""
    permitted: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()


class Issued(Frozen, frozen=True, kw_only=True):
    """What was issued: the certification path in PEM, leaf first, root last."""

    serial: str
    path: str
    log_entry: int
    warnings: tuple[str, ...]


class Withdrawal(Frozen, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be revoked: a serial number in hexadecimal, and why.

    ``invalidity_date``: what was signed and timestamped from then on is refused too.
    """

    serial: str
    reason: str
    invalidity_date: datetime | None = None


class Withdrawn(Frozen, frozen=True, kw_only=True):
    """What was revoked; ``crl`` is the number of the CRL that tells it, null while none does.

    ``same_key``: serial numbers of further certificates of a key that was compromised.
    """

    certificate: CertificateLine
    log_entry: int
    crl: int | None
    warning: str = ""
    same_key: tuple[str, ...] = ()


class CaRole:
    """The ``ROLE``."""

    name = "ca"
    help = "gives the authorities' certificates; issues and revokes for officers"

    def routes(self, realm: Realm) -> Sequence[HTTPRouteHandler]:
        """Return the handlers (see ``Role``); none where there is no authority."""
        if not realm.settings.ca:
            return ()
        return _public(realm), _list(realm), _issue(realm), _revoke(realm)

    def tasks(self, realm: Realm) -> Sequence[Task]:
        """Say that this process lives, close what dead ones left, and look ahead."""
        ends = Task(
            name="certificates", seconds=ENDS_SECONDS, run=partial(ending.check_ends, realm)
        )
        return *living(realm), ends


def _known(realm: Realm, name: str) -> str:
    if name not in realm.settings.ca:
        raise NotFoundException(f"no authority {name[:40]!r} here")
    return name


def _online(realm: Realm, name: str) -> str:
    """Return the name of an authority whose key the service may use."""
    if settings_of(realm, _known(realm, name)).offline:
        raise AuthorityError(
            f"authority {name}", "one that is offline", "one that is online",
            hint="what it issues and revokes is done where its key is, with signward ca",
        )  # fmt: skip
    return name


def _public(realm: Realm) -> HTTPRouteHandler:
    @get("/ca/{name:str}", opt={"access": Access.PUBLIC}, media_type=MEDIA_TYPE)
    async def certificate(name: FromPath[str]) -> Response[bytes]:
        """Give an authority's certificate (DER); ``name`` is the authority's, and ``.cer``."""
        if not name.endswith(SUFFIX):
            raise NotFoundException(f"no certificate {name[:40]!r} here")
        ca = _known(realm, name.removesuffix(SUFFIX))
        made = await asyncio.to_thread(certificate_of, realm, ca)
        return Response(made.der, headers={"Cache-Control": _CACHE}, media_type=MEDIA_TYPE)

    return certificate


def _list(realm: Realm) -> HTTPRouteHandler:
    @get(
        "/ca/{name:str}/certificates",
        opt={"access": (Access.OFFICER, Access.AUDITOR)},
    )
    async def certificates(
        name: FromPath[str],
        profile: Annotated[str, QueryParameter(max_length=MAX_NAME, pattern=NAME)] = "",
        revoked: FromQuery[bool] = False,  # noqa: FBT002 - a parameter of the query
        after: Annotated[
            str, QueryParameter(description="only greater serial numbers", pattern=SERIAL)
        ] = "",
        most: Annotated[int, QueryParameter(ge=1, le=MAX_PAGE)] = MAX_PAGE,
    ) -> list[CertificateLine]:
        """Tell what an authority issued, by serial number; ``after`` asks for the next page."""
        return await asyncio.to_thread(
            listing, realm, ca=_known(realm, name), profile=profile, only_revoked=revoked,
            least_serial=after, most=most,
        )  # fmt: skip

    return certificates


def _issue(realm: Realm) -> HTTPRouteHandler:
    @post("/ca/{name:str}/certificates", opt=_OFFICER)
    async def ask(
        name: FromPath[str], data: JSONBody[Wanted], request: Request[Any, Any, Any]
    ) -> Issued:
        """Issue a certificate for the key in a request."""
        by = request.user.subject
        made = await asyncio.to_thread(_issued, realm, _online(realm, name), data, by)
        path = "".join(export.pem(one.der) for one in made.path)
        return Issued(
            serial=made.serial, path=path, log_entry=made.position, warnings=made.warnings
        )

    return ask


def _issued(realm: Realm, ca: str, wanted: Wanted, by: str) -> IssuedCertificate:
    request = read_request(wanted.request.encode())
    asked = order(
        realm, ca, wanted.profile, request.spki, subject=wanted.subject,
        alternative=wanted.names, request=request,
        lifetime=duration(wanted.valid) if wanted.valid else None,
        permitted=wanted.permitted, excluded=wanted.excluded,
    )  # fmt: skip
    return issue(realm, ca, asked, by)


def _revoke(realm: Realm) -> HTTPRouteHandler:
    @post("/ca/{name:str}/revocations", opt=_OFFICER)
    async def withdraw(
        name: FromPath[str], data: JSONBody[Withdrawal], request: Request[Any, Any, Any]
    ) -> Withdrawn:
        """Revoke a certificate for good; the CRL tells it when the answer comes."""
        by = request.user.subject
        return await asyncio.to_thread(_withdrawn, realm, _known(realm, name), data, by)

    return withdraw


def _withdrawn(realm: Realm, ca: str, wanted: Withdrawal, by: str) -> Withdrawn:
    """Revoke; an offline authority's revocation stands too, and waits for its next CRL."""
    when = wanted.invalidity_date
    if when is not None and when.tzinfo is None:
        raise AuthorityError("invalidity_date", when.isoformat(), "a time with its zone, as …Z")
    found = finding.with_serial(realm, finding.serial_of(wanted.serial), ca)
    online = not settings_of(realm, ca).offline
    done = revoke.revoke(realm, found, wanted.reason, by, invalidity=when, publish=online)
    told = done.published if online else f"its CRL is published with signward ca crl --ca {ca}"
    now = replace(found, revocation=done.revocation)
    told_line = line(now, micros(realm.now()))
    number, warning = (told.number, "") if isinstance(told, PublishedCrl) else (None, told)
    return Withdrawn(
        certificate=told_line, log_entry=done.position, crl=number, warning=warning,
        same_key=done.same_key,
    )  # fmt: skip


ROLE = CaRole()
