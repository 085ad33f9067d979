"""Founding an authority: keys, an offline root, an issuing CA, responders' certificates, CRLs.

Everything is made in a folder beside the one that is wanted, and put in place whole.
"""

from __future__ import annotations

import re
import secrets as random
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import Connection, select

from signward.authority import names
from signward.authority.certificate import Application, prepare_root, validity
from signward.authority.faults import refuse_grave
from signward.authority.lint import approve
from signward.authority.log.entry import Kind, encode
from signward.authority.profiles import ROOT, profile
from signward.authority.signed import SignedDraft
from signward.authority.subject_keys import check_key, kind_of
from signward.errors import ConflictError, RealmError, SigningError
from signward.frozen import Frozen
from signward.integrity import UnsupportedKeyError, ValueMismatchError, check_value
from signward.keys import Secrets, open_key
from signward.keys._generate import GENERATED, generate
from signward.state import Algorithm
from signward.store.tables import certificate as certificate_table
from signward.trust.x509 import Certificate
from signward.verbs.authority.export import pem
from signward.verbs.authority.files import replace_file
from signward.verbs.authority.issue import Order, issue, new_serial, sign
from signward.verbs.authority.publish_crl import publish
from signward.verbs.authority.realm import Clock, Realm, system_clock
from signward.verbs.authority.settings import (
    FILE_NAME,
    CaSettings,
    FeedSettings,
    KeySettings,
    LogSettings,
    Settings,
    TsaSettings,
    dump,
    load,
)
from signward.verbs.credential import algorithm_for
from signward.verbs.release import settle

ISSUING = "issuing"
ROOT_KEY, ISSUING_KEY, OCSP_KEY, TSA_KEY, LOG_KEY, FEED_KEY = (
    "root", "issuing", "issuing-ocsp", "tsa", "log", "feed",
)  # fmt: skip

BARE_KEYS = (LOG_KEY, FEED_KEY)
"""Keys that sign without a certificate, with Ed25519: their readers are given the public key."""

KEY_PROFILES = {
    ROOT_KEY: ROOT,
    ISSUING_KEY: "sub-ca",
    OCSP_KEY: "ocsp-responder",
    TSA_KEY: "timestamping",
}
"""The keys that are certified, and by which profile."""

ALL_KEYS = (*KEY_PROFILES, *BARE_KEYS)
ROOT_PROFILES = ("sub-ca", "timestamping")
ISSUING_PROFILES = ("code-signing", "kernel-module", "ci-identity", "ocsp-responder")

ROOT_CRL_DAYS = 180
"""A root's CRL is made by hand, when somebody fetches its key; CSBR 4.9.7 allows a year."""

ROOT_CRL_AHEAD_HOURS = 30 * 24
"""How long before its end we begin to ask for the next."""

TSA_POLICY_ARC = 100
_OID = re.compile(r"[0-2](\.(0|[1-9][0-9]{0,38})){1,30}")
_MAX_COMMON_NAME = 64
_BY = "ca init"


class Founding(Frozen, frozen=True, kw_only=True):
    """What to found.

    ``keys`` are URIs of keys that exist, by name (`ALL_KEYS`); the others are made, of kind
    ``root_kind`` or ``kind``, and encrypted where ``encrypted`` names them.  ``policies`` is
    the OID for policies; empty: one of a new UUID (ITU-T X.667).
    """

    name: str
    url: str = "http://127.0.0.1:8650"
    country: str = ""
    root_kind: str = "p-384"
    kind: str = "p-256"
    keys: Mapping[str, str] = {}
    encrypted: tuple[str, ...] = ()
    policies: str = ""


class Founded(Frozen, frozen=True, kw_only=True):
    """What was made: by key's name its URI and kind, and the certificates."""

    folder: str
    settings: Settings
    kinds: dict[str, str]
    certificates: dict[str, Certificate]
    warnings: tuple[str, ...]


def check(folder: Path, wanted: Founding, secrets: Secrets) -> dict[str, str]:
    """Return the kind of every key, of those that exist by opening them; nothing is made.

    Raises ``AuthorityError`` and ``KeyProviderError`` for what would stop `found`.
    """
    _check_free(folder)
    _subject(wanted, "Root")
    _check_texts(wanted)
    for name in (*wanted.keys, *wanted.encrypted):
        if name not in ALL_KEYS:
            raise RealmError("--key", repr(name[:60]), f"a key among {', '.join(ALL_KEYS)}")
    for name in wanted.encrypted:
        if name in wanted.keys:
            raise RealmError(f"key {name}", "one that exists", "one that is made, to encrypt it")
    kinds = {name: _given_kind(name, wanted, secrets) for name in wanted.keys}
    return {name: kinds.get(name) or _made_kind(name, wanted) for name in ALL_KEYS}


def _check_texts(wanted: Founding) -> None:
    """Refuse what could not stand in certificates."""
    if not _is_address(wanted.url):
        raise RealmError("--url", repr(wanted.url[:200]), "one such as http://ca.example.org",
                         "RFC 5280 4.2.1.13")  # fmt: skip
    if wanted.policies and not _OID.fullmatch(wanted.policies):
        raise RealmError("--policies", repr(wanted.policies[:80]), "an OID such as 1.3.6.1.4.1.1")


def _is_address(url: str) -> bool:
    """Say whether a URL is plain enough to stand in certificates, with paths put behind it."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    plain = url.isascii() and url.isprintable() and not parts.query and not parts.fragment
    named = bool(parts.hostname) and "@" not in parts.netloc and " " not in url and port != 0
    return plain and named and parts.scheme in ("http", "https")


def _given_kind(name: str, wanted: Founding, secrets: Secrets) -> str:
    key = open_key(wanted.keys[name], secrets)
    try:
        _check_kind(name, key.public_key)
        return kind_of(key.public_key)
    finally:
        key.close()


def _check_kind(name: str, spki: bytes) -> None:
    allowed = ("ed25519",) if name in BARE_KEYS else profile(KEY_PROFILES[name]).keys
    refuse_grave(check_key(spki, allowed))


def _made_kind(name: str, wanted: Founding) -> str:
    if name in BARE_KEYS:
        return "ed25519"
    kind = wanted.root_kind if name == ROOT_KEY else wanted.kind
    if kind not in GENERATED:
        raise RealmError("--algorithm", repr(kind[:40]), f"one of {', '.join(GENERATED)}")
    return kind


def _check_free(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConflictError(
            str(folder), "something there already", "a new or empty folder",
            hint="an authority is founded once; name another place with --data",
        )  # fmt: skip


def found(
    folder: Path,
    wanted: Founding,
    secrets: Secrets,
    *,
    database: str = "",
    clock: Clock = system_clock,
) -> Founded:
    """Found an authority in ``folder``, which is new or empty.

    Raises ``AuthorityError``, ``KeyProviderError`` and ``SigningError``; then ``folder`` is as it
    was.
    """
    kinds = check(folder, wanted, secrets)
    with _made_beside(folder) as place:
        settings = _write_settings(place, wanted, _make_keys(place, wanted, kinds, secrets))
        realm = Realm.open(place, database=database, secrets=secrets, clock=clock)
        try:
            _check_empty(realm)
            made, warnings = _certify(realm, wanted)
        finally:
            realm.close()
    return Founded(
        folder=str(folder), settings=settings, kinds=kinds, certificates=made, warnings=warnings
    )


@contextmanager
def _made_beside(folder: Path) -> Iterator[Path]:
    """Give a new folder (0700) that becomes ``folder`` at the end, or goes if anything fails."""
    place = folder.absolute().with_name(f".{folder.name}.{random.token_hex(4)}")
    try:
        place.mkdir(mode=0o700, parents=True)
        try:
            yield place
            place.rename(folder)
            settle(str(place.parent))
        finally:
            if place.exists():
                shutil.rmtree(place)
    except OSError as error:
        raise RealmError(
            str(folder), error.strerror or "no such place", "a folder to make"
        ) from None


# --- keys and settings --------------------------------------------------------------------------


def _make_keys(
    place: Path, wanted: Founding, kinds: Mapping[str, str], secrets: Secrets
) -> dict[str, KeySettings]:
    (place / "keys").mkdir(mode=0o700)
    (place / "certificates").mkdir(mode=0o755)
    made = {}
    for name in ALL_KEYS:
        uri = wanted.keys.get(name) or _generated(place, name, kinds[name], wanted, secrets)
        certificates = "" if name in BARE_KEYS else f"certificates/{name}.pem"
        made[name] = KeySettings(uri=_absolute(uri), certificates=certificates)
    return made


def _generated(place: Path, name: str, kind: str, wanted: Founding, secrets: Secrets) -> str:
    password = None
    if name in wanted.encrypted:
        password = secrets(f"password of keys/{name}.pem")
        if not password:
            raise RealmError(f"key {name}", "no password", "one to encrypt it with",
                             hint="--pass-file FILE, or SIGNWARD_PASSWORD")  # fmt: skip
    generate(kind, place / "keys" / f"{name}.pem", password)
    return f"file:keys/{name}.pem"


def _absolute(uri: str) -> str:
    """Return the URI of a key that exists independent of the working folder."""
    scheme, colon, path = uri.partition(":")
    if scheme not in ("file", "pkcs12") or path.startswith("keys/"):
        return uri
    return f"{scheme}{colon}{Path(path).absolute()}"


def _write_settings(place: Path, wanted: Founding, keys: dict[str, KeySettings]) -> Settings:
    policies = wanted.policies or f"2.25.{uuid.uuid4().int}"
    settings = Settings(
        name=wanted.name,
        url=wanted.url.rstrip("/"),
        keys=keys,
        ca={
            ROOT: CaSettings(
                key=ROOT_KEY, offline=True, crl_days=ROOT_CRL_DAYS,
                crl_ahead_hours=ROOT_CRL_AHEAD_HOURS, profiles=ROOT_PROFILES, policies=policies,
            ),
            ISSUING: CaSettings(
                key=ISSUING_KEY, ocsp_key=OCSP_KEY, profiles=ISSUING_PROFILES, policies=policies
            ),
        },
        tsa=TsaSettings(key=TSA_KEY, policy=f"{policies}.{TSA_POLICY_ARC}"),
        log=LogSettings(key=LOG_KEY, origin=_origin(wanted)),
        feed=FeedSettings(key=FEED_KEY),
    )  # fmt: skip
    replace_file(place / FILE_NAME, dump(settings).encode(), mode=0o600)
    return load(place / FILE_NAME)


def _origin(wanted: Founding) -> str:
    """Return the log's name: the service's address without a scheme (C2SP tlog-checkpoint)."""
    return f"{wanted.url.partition('://')[2].strip('/')}/log"


# --- certificates -------------------------------------------------------------------------------


def _check_empty(realm: Realm) -> None:
    with realm.store.read() as connection:
        if _has_certificates(connection):
            raise ConflictError("the database", "another authority's", "an empty one")


def _has_certificates(connection: Connection) -> bool:
    chosen = select(certificate_table.c.serial).limit(1)
    return connection.execute(chosen).first() is not None


def _certify(realm: Realm, wanted: Founding) -> tuple[dict[str, Certificate], tuple[str, ...]]:
    """Make every certificate and the first CRLs."""
    fields = {"deed": "init", "name": wanted.name, "by": _BY}
    realm.store.append(encode(Kind.ADMIN, fields, realm.now())).result()
    root, warnings = _root(realm, wanted)
    made = {ROOT_KEY: root}
    _write_path(realm, ROOT_KEY, [root])
    for name, issuer, title in (
        (ISSUING_KEY, ROOT, "CA"),
        (TSA_KEY, ROOT, "Timestamping"),
        (OCSP_KEY, ISSUING, "OCSP"),
    ):
        order = Order(
            profile=KEY_PROFILES[name], subject=_subject(wanted, title),
            spki=realm.key(name).public_key,
        )  # fmt: skip
        issued = issue(realm, issuer, order, _BY)
        made[name], warnings = issued.certificate, (*warnings, *issued.warnings)
        _write_path(realm, name, list(issued.path))
    publish(realm, ROOT)
    publish(realm, ISSUING)
    return made, tuple(dict.fromkeys(warnings))


def _root(realm: Realm, wanted: Founding) -> tuple[Certificate, tuple[str, ...]]:
    """Issue the root, which signs itself."""
    key, chosen = realm.key(ROOT_KEY), profile(ROOT)
    algorithm, _ = algorithm_for(key.public_key)
    begin, end = validity(chosen, None, realm.now())
    application = Application(
        subject=_subject(wanted, "Root"), spki=key.public_key, not_before=begin, not_after=end
    )
    permit = approve(prepare_root(application, chosen, algorithm, new_serial()))

    def signer(draft: SignedDraft) -> bytes:
        value = key.sign(draft.to_be_signed, draft.algorithm)
        _check_value(key.public_key, draft.algorithm, draft.to_be_signed, value)
        return value

    made, _ = sign(realm, permit, ROOT, signer, _BY)
    return made, permit.warnings


def _check_value(spki: bytes, algorithm: Algorithm, data: bytes, value: bytes) -> None:
    try:
        check_value(spki, algorithm, data, value)
    except (ValueMismatchError, UnsupportedKeyError) as error:
        raise SigningError("key root", str(error), "one that signs") from None


def _subject(wanted: Founding, title: str) -> bytes:
    full = f"{wanted.name} Code Signing {title}"
    common = full if len(full) <= _MAX_COMMON_NAME else f"Code Signing {title}"
    country = [("C", wanted.country)] if wanted.country else []
    return names.name([*country, ("O", wanted.name), ("CN", common)])


def _write_path(realm: Realm, key: str, path: list[Certificate]) -> None:
    target = realm.folder / realm.settings.keys[key].certificates
    replace_file(target, "".join(pem(one.der) for one in path).encode())
