"""Authorities for tests: in memory (pure core) and founded in a folder (deeds)."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa

from signward.authority import names
from signward.authority.certificate import (
    Application,
    Issuer,
    Permit,
    Prepared,
    prepare,
    prepare_root,
    serial_number,
    validity,
)
from signward.authority.lint import approve
from signward.authority.profiles import profile
from signward.frozen import replace
from signward.keys._local import LocalKey
from signward.trust.x509 import Certificate, load_certificate
from signward.verbs.authority.init import Founding, found
from signward.verbs.authority.realm import Realm
from signward.verbs.credential import algorithm_for
from signward.verbs.secrets import SecretFinder

NOW = datetime(2026, 11, 23, 16, 0, 0, 250_000, tzinfo=UTC)

_MAKERS: dict[str, Callable[[], Any]] = {
    "rsa-2048": lambda: rsa.generate_private_key(65537, 2048),
    "rsa-3072": lambda: rsa.generate_private_key(65537, 3072),
    "rsa-4096": lambda: rsa.generate_private_key(65537, 4096),
    "p-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "p-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ml-dsa-44": mldsa.MLDSA44PrivateKey.generate,
    "ml-dsa-65": mldsa.MLDSA65PrivateKey.generate,
    "ml-dsa-87": mldsa.MLDSA87PrivateKey.generate,
}


@cache
def private(name: str, kind: str = "p-256") -> Any:
    """Return the private key of this name and kind, made once for the test run."""
    return _MAKERS[kind]()


def key(name: str, kind: str = "p-256") -> LocalKey:
    """Return the same as signing key."""
    return LocalKey(name, private(name, kind))


def signed(permit: Permit, by: LocalKey) -> bytes:
    """Return the certificate that a permit allows, DER."""
    draft = permit.spend()
    return draft.seal(by.sign(draft.to_be_signed, draft.algorithm))


def application(
    subject: str, spki: bytes, profile_name: str, issuer: Certificate | None = None, **changes: Any
) -> Application:
    """Return an application of the profile's usual length."""
    begin, end = validity(profile(profile_name), issuer, NOW)
    made = Application(subject=names.subject(subject), spki=spki, not_before=begin, not_after=end)
    return replace(made, **changes)


class Pure:
    """A root and an issuing authority below it, in memory."""

    def __init__(self, kind: str = "p-256") -> None:
        self.root_key, self.issuing_key = key("root", kind), key("issuing", kind)
        self.root = self._root()
        self.issuing = self._issuing()

    def _root(self) -> Issuer:
        wanted = application("CN=Root,O=Example Ltd,C=SE", self.root_key.public_key, "root")
        algorithm, _ = algorithm_for(self.root_key.public_key)
        made = approve(prepare_root(wanted, profile("root"), algorithm, new_serial()))
        return _issuer("root", signed(made, self.root_key), self.root_key)

    def _issuing(self) -> Issuer:
        spki = self.issuing_key.public_key
        made = self.prepared("sub-ca", "CN=Issuing,O=Example Ltd,C=SE", spki, self.root)
        return _issuer("issuing", signed(approve(made), self.root_key), self.issuing_key)

    def prepared(
        self,
        profile_name: str,
        subject: str = "CN=Leaf,O=Example Ltd,C=SE",
        spki: bytes = b"",
        issuer: Issuer | None = None,
        **changes: Any,
    ) -> Prepared:
        """Return a certificate that is prepared, by the issuing authority unless told otherwise."""
        above = issuer or self.issuing
        spki = spki or key("leaf").public_key
        wanted = application(subject, spki, profile_name, above.certificate, **changes)
        return prepare(wanted, profile(profile_name), above, new_serial())


def _issuer(name: str, certificate: bytes, key: LocalKey) -> Issuer:
    return Issuer(
        certificate=load_certificate(certificate),
        algorithm=algorithm_for(key.public_key)[0],
        crl_url=f"http://ca.example/crl/{name}.crl",
        ocsp_url=f"http://ca.example/ocsp/{name}" if name == "issuing" else "",
        certificate_url=f"http://ca.example/ca/{name}.cer",
        policies="2.25.7",
    )


def new_serial() -> int:
    """Return a random serial number."""
    return serial_number(os.urandom(20))


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now

    def pass_by(self, **time: float) -> None:
        """Let time go by."""
        self.now += timedelta(**time)


def no_secrets(name: str) -> str | None:
    """Know no secret: nothing may be asked for."""
    raise AssertionError(f"asked for {name}")


def founded(
    folder: Path, clock: Clock, *, database: str = "", password: str = "", **wanted: Any
) -> Realm:
    """Found an authority in ``folder`` and open it."""
    ask = SecretFinder(environment={"SIGNWARD_PASSWORD": password}) if password else no_secrets
    founding = Founding(**{"name": "Example Ltd", "country": "SE", **wanted})
    found(folder, founding, ask, database=database, clock=clock)
    return Realm.open(folder, database=database, secrets=ask, clock=clock)
