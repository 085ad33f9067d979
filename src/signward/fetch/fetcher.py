"""What is fetched for a certificate, and what an answer must be to count as one.

Each answer is parsed, and must speak about what was asked, before anybody sees it; it is
kept only where a key we know fits its signature, so that one forged answer on an
unprotected connection cannot occupy the cache.  Trust is judged elsewhere.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple
from urllib.parse import quote

from signward.errors import BadInputError, EvidenceError, FetchError, ReplayedError
from signward.fetch.cache import Cache, Cached, Header
from signward.fetch.http import MAX_SECONDS, Answer, Bounds, NoAnswerError, exchange
from signward.trust import ocsp
from signward.trust.crl import is_signed_with, load_crl
from signward.trust.pem import bundled
from signward.trust.x509 import Certificate, is_signed_by, load_certificate, same_name

MAX_ISSUER_OCTETS = 256 * 1024
"""Largest caIssuers answer; a PKCS#7 bundle of a few certificates has 10 KB."""

MAX_CRL_OCTETS = 64 * 1024 * 1024
"""Largest CRL fetched; the largest public one seen has 30 MB."""

MAX_OCSP_OCTETS = 64 * 1024
"""Largest OCSP answer; real ones have 0.5 to 3 KB."""

MAX_CRL_SECONDS = 60.0

OCSP_REQUEST = "application/ocsp-request"
"""Media type of a posted request (RFC 6960 A.1)."""

MAX_GET_CHARACTERS = 255
"""Longest URL for OCSP over GET (RFC 5019 5); longer requests are posted."""

NONCE_OCTETS = 32
"""Octets of a nonce (RFC 9654 2.1: clients should send 32)."""

MAX_AGE = timedelta(hours=24)
"""Nothing is used longer without asking again, whatever its nextUpdate promises."""

MAX_ISSUER_AGE = timedelta(days=30)
"""A certificate does not change; its server may be asked once a month."""

MAX_ISSUERS = 16
MAX_UNREACHABLE = 2
"""After so many failures of one host, it is not asked again in this run."""

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----([^-]*)-----END CERTIFICATE-----")


class _Request(NamedTuple):
    """What goes out: a GET of ``url``, or a POST of ``body`` to it.

    ``question`` is what both ways of asking have in common, URL and body: answers are kept by it.
    With ``anew`` what is kept does not do for an answer.
    """

    url: str
    bounds: Bounds
    question: tuple[str, bytes]
    body: bytes | None = None
    kind: str = ""
    anew: bool = False


class _Checked(NamedTuple):
    """An answer that parsed: until when it is fresh, None where it must not be kept.

    ``made`` is its thisUpdate; None where it has none, or does not come from who should sign it.
    """

    fresh_until: datetime | None
    made: datetime | None = None


Check = Callable[[bytes], _Checked]


class Fetcher:
    """Fetches for one run.  ``now`` is the wall clock's instant, for freshness only.

    With ``nonces`` every OCSP answer is asked for anew, under a nonce of its own.
    """

    def __init__(
        self, cache: Cache, now: datetime, *, private: bool = False, nonces: bool = False
    ) -> None:
        self._cache, self._now, self._private = cache, now, private
        self._nonces = nonces
        self._failed: dict[tuple[str, bytes], FetchError] = {}
        self._unreachable: dict[str, int] = {}

    def issuers(self, url: str, child: Certificate) -> tuple[Certificate, ...]:
        """Return the certificates at a caIssuers URL, one of which signed ``child``.

        DER, PEM or a PKCS#7 of certificates (RFC 5280 4.2.2.1).  Raises ``FetchError``.
        """

        def check(data: bytes) -> _Checked:
            if not any(_issued(one, child) for one in _certificates(data)):
                raise FetchError(f"{url}: no certificate of the issuer of {child.label}")
            return _Checked(self._now + MAX_ISSUER_AGE)

        bounds = Bounds(MAX_ISSUER_OCTETS, MAX_SECONDS, self._private)
        return _certificates(self._get(_Request(url, bounds, (url, b"")), check))

    def crl(self, url: str, issuer: Certificate) -> bytes:
        """Return the DER CRL at ``url``.  Raises ``FetchError``.

        One that ``issuer`` did not sign (an indirect CRL, or a forgery) is not kept.
        """

        def check(data: bytes) -> _Checked:
            crl = load_crl(_der(data, b"X509 CRL"))
            if crl.unusable or not is_signed_with(crl, issuer.spki):
                return _Checked(None)
            return _Checked(self._fresh(crl.this_update, crl.next_update), crl.this_update)

        bounds = Bounds(MAX_CRL_OCTETS, MAX_CRL_SECONDS, self._private)
        return _der(self._get(_Request(url, bounds, (url, b"")), check), b"X509 CRL")

    def ocsp(self, url: str, certificate: Certificate, issuer: Certificate) -> bytes:
        """Return the OCSP answer of ``url`` about ``certificate``.  Raises ``FetchError``.

        A small request goes by GET, which caches on the way may answer (RFC 5019 5), and
        by POST where that fails.  It has no nonce then: freshness comes from the answer's
        dates.
        """

        def check(data: bytes) -> _Checked:
            return self._check_ocsp(url, data, certificate, issuer)

        if self._nonces:
            return self._ocsp_anew(url, certificate, issuer)
        question = ocsp.request(certificate, issuer)
        bounds = Bounds(MAX_OCSP_OCTETS, MAX_SECONDS, self._private)
        posted = _Request(url, bounds, (url, question), question, OCSP_REQUEST)
        encoded = quote(base64.b64encode(question), safe="")
        small = f"{url.rstrip('/')}/{encoded}"
        if len(small) > MAX_GET_CHARACTERS:
            return self._get(posted, check)
        try:
            return self._get(posted._replace(url=small, body=None, kind=""), check)
        except FetchError as error:
            if self._is_unreachable(url):
                raise FetchError(str(error).replace(small, url), error.kept) from None
            return self._get(posted, check)

    def _ocsp_anew(self, url: str, certificate: Certificate, issuer: Certificate) -> bytes:
        """Post a request with a nonce, past every cache (RFC 9654).

        An answer without one counts by its dates (RFC 5019 4); one with another nonce is
        the answer to somebody else's question, and none to ours.
        """
        nonce = secrets.token_bytes(NONCE_OCTETS)

        def dated(data: bytes) -> _Checked:
            return self._check_ocsp(url, data, certificate, issuer)

        def check(data: bytes) -> _Checked:
            checked = dated(data)
            try:
                ocsp.check_nonce(ocsp.load_response(data), nonce)
            except EvidenceError as error:
                raise ReplayedError(f"{url}: {error}") from None
            return checked._replace(fresh_until=None)  # it answers this question alone

        bounds = Bounds(MAX_OCSP_OCTETS, MAX_SECONDS, self._private)
        asked = url, ocsp.request(certificate, issuer)
        body = ocsp.request(certificate, issuer, nonce)
        return self._get(_Request(url, bounds, asked, body, OCSP_REQUEST, anew=True), check, dated)

    def _check_ocsp(
        self, url: str, data: bytes, certificate: Certificate, issuer: Certificate
    ) -> _Checked:
        response = ocsp.load_response(data)
        about = [
            single
            for single in response.responses
            if single.cert_id.serial == certificate.serial
            and ocsp.names_issuer(single.cert_id, issuer)
        ]
        if not about:
            raise FetchError(f"{url}: an answer about another certificate")
        signed = not response.unusable and not isinstance(
            ocsp.responder(response, issuer, self._now), str
        )
        if not signed:
            return _Checked(None)
        dates = (self._fresh(one.this_update, one.next_update) for one in about)
        return _Checked(min(dates), min(one.this_update for one in about))

    def _fresh(self, this_update: datetime, next_update: datetime | None) -> datetime:
        """Return until when evidence of these dates need not be asked for again."""
        most = self._now + MAX_AGE
        return min(most, next_update) if next_update else min(most, this_update + MAX_AGE)

    # --- cache and network ---------------------------------------------------------

    def _get(self, request: _Request, check: Check, dated: Check | None = None) -> bytes:
        """Return a checked answer: a fresh one from the cache, else the server's.

        ``dated`` checks what came before, where that is not to pass ``check``.  Whoever stands
        between us and the server gains nothing by refusing: the error brings what was kept.
        """
        key = request.url, request.body or b""
        if key in self._failed:
            raise self._failed[key]
        kept = self._kept(request, dated or check)
        if kept and not request.anew and self._is_fresh(kept.header):
            return kept.body
        try:
            return self._ask(request, kept, check, dated or check)
        except FetchError as error:
            if kept and not request.anew:
                error.kept = kept.body
            self._failed[key] = error
            raise

    def _is_fresh(self, header: Header) -> bool:
        """Return whether an entry need not be asked for again; what this run asked for need not."""
        return header.fetched == self._now or header.fetched <= self._now < header.fresh_until

    def _kept(self, request: _Request, check: Check) -> Cached | None:
        kept = self._cache.read(*request.question, request.bounds.max_octets)
        if kept is None:
            return None
        try:
            check(kept.body)
        except (BadInputError, FetchError):
            self._cache.discard(*request.question)
            return None
        return kept

    def _ask(self, request: _Request, kept: Cached | None, check: Check, dated: Check) -> bytes:
        if self._is_unreachable(request.url):
            raise FetchError(f"{request.url}: its server did not answer before")
        headers = {"Content-Type": request.kind} if request.kind else {}
        if kept and not request.anew and kept.header.etag:
            headers["If-None-Match"] = kept.header.etag
        if kept and not request.anew and kept.header.last_modified:
            headers["If-Modified-Since"] = kept.header.last_modified
        try:
            answer = exchange(request.url, request.bounds, body=request.body, headers=headers)
        except NoAnswerError:
            host = _host(request.url)
            self._unreachable[host] = self._unreachable.get(host, 0) + 1
            raise
        self._unreachable.pop(_host(request.url), None)
        if answer.status == 304:
            if kept is None:
                raise FetchError(f"{request.url}: status 304, nothing was kept")
            answer = answer._replace(body=kept.body)
        try:
            checked = check(answer.body)
        except BadInputError as error:
            raise FetchError(f"{request.url}: {error}") from None
        if kept:
            self._check_newer(request.url, checked, kept.body, dated(kept.body))
        self._keep(request.question, answer, checked.fresh_until)
        return answer.body

    def _check_newer(self, url: str, answer: _Checked, kept: bytes, before: _Checked) -> None:
        """Raise ``FetchError`` where an answer may not take the place of the one before."""
        if before.made is None:
            return
        if answer.made is None:
            if before.fresh_until and before.fresh_until > self._now:
                raise FetchError(f"{url}: an answer that does not come from who should sign it")
            return
        if answer.made < before.made:
            raise ReplayedError(
                f"{url}: an answer of {answer.made:%Y-%m-%d %H:%M:%S}, older than the one "
                f"of {before.made:%Y-%m-%d %H:%M:%S} that came before",
                kept,
            )

    def _keep(self, key: tuple[str, bytes], answer: Answer, until: datetime | None) -> None:
        if until is not None and until > self._now:
            most = max_age(answer.headers.get("cache-control", ""))
            header = Header(
                url=key[0],
                question=key[1].hex(),
                fetched=self._now,
                fresh_until=until if most is None else min(until, self._now + most),
                etag=answer.headers.get("etag", "")[:256],
                last_modified=answer.headers.get("last-modified", "")[:64],
                sha256=hashlib.sha256(answer.body).hexdigest(),
            )
            self._cache.write(header, answer.body)

    def _is_unreachable(self, url: str) -> bool:
        return self._unreachable.get(_host(url), 0) >= MAX_UNREACHABLE


def max_age(cache_control: str) -> timedelta | None:
    """Return how long a server lets its answer be used again (RFC 9111 5.2.2); None: unsaid.

    An authority that says so is asked again that soon, for a revocation is to be heard of.
    """
    directives = [one.strip().lower() for one in cache_control.split(",")]
    if "no-store" in directives or "no-cache" in directives:
        return timedelta()
    ages = (
        one.removeprefix("max-age=").strip('"') for one in directives if one.startswith("max-age=")
    )
    seconds = next(ages, "")
    return timedelta(seconds=int(seconds[:9])) if seconds.isdecimal() else None


def _host(url: str) -> str:
    return url.partition("://")[2].partition("/")[0].lower()


def _issued(issuer: Certificate, child: Certificate) -> bool:
    return same_name(issuer.subject, child.issuer) and is_signed_by(child, issuer)


def _der(data: bytes, label: bytes) -> bytes:
    """Return DER, also where a server gives PEM instead."""
    marker = b"-----BEGIN " + label + b"-----"
    if marker not in data[:1024]:
        return data
    text = data.partition(marker)[2].partition(b"-----END")[0]
    try:
        return binascii.a2b_base64(text)
    except binascii.Error as error:
        raise FetchError(f"damaged PEM: {error}") from None


def _certificates(data: bytes) -> tuple[Certificate, ...]:
    """Return the certificates in DER, PEM or a PKCS#7 without content, those that parse."""
    blobs: list[bytes] = [data]
    if b"-----BEGIN" in data[:1024]:
        blobs = [_der(m[0], b"CERTIFICATE") for m in _PEM.finditer(data)]
    elif (bundle := bundled(data)) is not None:
        blobs = bundle
    found = []
    for blob in blobs[:MAX_ISSUERS]:
        try:
            found.append(load_certificate(blob))
        except BadInputError:
            continue
    return tuple(found)
