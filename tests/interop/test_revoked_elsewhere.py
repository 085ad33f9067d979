"""Revoked in one process, refused by the next within two seconds: commands and a service only.

Nothing of the package is called here: an authority is made by ``signward ca``, served by
``signward serve``, and files are signed and judged by processes of their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conformance.authenticode import pe

from tests.builders.processes import Organisation, Served, findings, free_port, served

pytestmark = pytest.mark.interop

HEARD = 1.5
"""Seconds from the end of ``ca revoke`` to the start of a verification that must refuse: half a
second less than is promised, for that process to start."""

NEXT_SECOND = 1.1
"""Revocations are dated in whole seconds: one in the second of a timestamp is not after it."""

WAYS = ("ocsp", "crl", "both")
"""How a revocation is told: the certificate names no OCSP responder, the service serves no CRL, or
neither of these."""


class House:
    """An organisation, and where its service will listen."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.listen = f"127.0.0.1:{port}"
        self.organisation = Organisation(folder, f"http://{self.listen}")
        self._settings = self.organisation.data / "signward.toml"
        self._numbers = iter(range(1000))

    @contextmanager
    def serving(self, way: str, workers: int = 1) -> Iterator[Served]:
        """Serve so that a revocation can be heard of in one way."""
        roles = {"ocsp": ("ca", "ocsp", "tsa"), "crl": ("ca", "crl", "tsa")}.get(way, ())
        chosen = [word for role in roles for word in ("--role", role)]
        options = ("--listen", self.listen, "--workers", str(workers), *chosen)
        with served(self.organisation.data, *options) as service:
            yield service

    def certified(self, way: str) -> str:
        """Certify a new key; return its name.  For ``crl`` the certificate names no responder."""
        name, whole = f"release-{next(self._numbers)}", self._settings.read_text()
        if way == "crl":
            self._settings.write_text(whole.replace('ocsp_key = "issuing-ocsp"\n', ""))
        self.organisation.issue(name)
        self._settings.write_text(whole)
        return name

    def signed(self, name: str, *options: str) -> Path:
        """Return a new image that was signed with the key of that name."""
        file = self.organisation.folder / f"{name}-{next(self._numbers)}.exe"
        file.write_bytes(pe.image())
        self.organisation.sign(name, file, *options)
        return file

    def stamped(self, name: str) -> Path:
        """Return the same, timestamped by the authority."""
        return self.signed(name, "--timestamp", f"{self.organisation.url}/tsa")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(tmp_path_factory.mktemp("house"))


@pytest.fixture
def verify(house: House) -> Callable[..., str]:
    def told(file: Path, who: str, *options: str) -> str:
        return house.organisation.verify(file, *options, who=who)[0]

    return told


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("way", WAYS)
def test_a_revoked_signer_is_refused_within_two_seconds(
    house: House, verify: Callable[..., str], way: str, workers: int
) -> None:
    """By who never asked, and by who has just been told that it was good."""
    known = ("--revocation", "require") if way != "ocsp" else ()  # the root's CRL is not served
    cached, fresh = f"asked {way} {workers}", f"new {way} {workers}"
    with house.serving(way, workers):
        name = house.certified(way)
        plain, stamped = house.signed(name), house.stamped(name)
        assert verify(plain, cached, *known) == "accepted"
        assert verify(stamped, cached) == "accepted"  # a CRL of before tells nothing of that time
        time.sleep(NEXT_SECOND)
        house.organisation.revoke(name)
        time.sleep(HEARD)
        assert verify(plain, cached, *known) == "rejected: revoked"
        assert verify(plain, fresh, *known) == "rejected: revoked"
        told, record = house.organisation.verify(stamped, who=cached)
        assert told == "accepted"
        (since,) = findings(record, "signed-before-revocation")
        assert since["effect"] == "warn"
        assert "reason keyCompromise" in since["found"]


def test_the_issuer_that_a_signature_lacks_is_fetched(
    house: House, verify: Callable[..., str]
) -> None:
    """By AIA, and then its CRL and the leaf's status too."""
    with house.serving("both"):
        name = house.certified("both")
        path = house.organisation.folder / f"{name}.pem"
        leaf = path.read_text().partition("-----END CERTIFICATE-----")
        path.write_text(leaf[0] + leaf[1] + "\n")
        file = house.signed(name)
        required = ("--revocation", "require")
        assert verify(file, "first", *required) == "accepted"
        house.organisation.revoke(name)
        time.sleep(HEARD)
        assert verify(file, "first", *required) == "rejected: revoked"
    offline = house.organisation.run("verify", "--anchor", "root.pem", file, code=1, who="offline")
    assert "no-path" in offline


def test_what_was_signed_before_stays_and_says_so(house: House, verify: Callable[..., str]) -> None:
    """In the one line, in every finding, and otherwise where somebody wants it otherwise."""
    with house.serving("both"):
        name = house.certified("both")
        file = house.stamped(name)
        time.sleep(NEXT_SECOND)
        house.organisation.revoke(name)
        time.sleep(HEARD)
        words = ("verify", "--online", "--online-private", "--anchor", "root.pem")
        line = house.organisation.run(*words, file)
        assert line.startswith("ACCEPTED")
        assert line.endswith(", timestamped, revoked since]\n")
        explained = house.organisation.run(*words, "--explain", file)
        assert "  warn     signed-before-revocation: certificate CN=" in explained
        assert "--distrust-compromised" in explained
        assert verify(file, "somebody", "--distrust-compromised") == "rejected: revoked"
        late = house.stamped(name)
        assert verify(late, "somebody") == "rejected: revoked"


def test_an_invalidity_date_reaches_back_over_timestamps(
    house: House, verify: Callable[..., str]
) -> None:
    with house.serving("both"):
        early, later = house.certified("both"), house.certified("both")
        files = {name: house.stamped(name) for name in (early, later)}
        time.sleep(NEXT_SECOND)
        now = datetime.now(UTC)
        for name, at in ((early, now - timedelta(minutes=1)), (later, now)):
            assert verify(files[name], "somebody") == "accepted"
            house.organisation.revoke(name, "--invalidity-date", f"{at:%Y-%m-%dT%H:%M:%SZ}")
        time.sleep(HEARD)
        assert verify(files[early], "somebody") == "rejected: revoked"
        told, record = house.organisation.verify(files[later])
        assert told == "accepted", record
        assert findings(record, "signed-before-revocation")


def test_a_service_that_is_gone_does_not_make_verifiers_forget(
    house: House, verify: Callable[..., str]
) -> None:
    with house.serving("both"):
        name = house.certified("both")
        file = house.signed(name)
        house.organisation.revoke(name)
        assert verify(file, "who heard") == "rejected: revoked"
    time.sleep(HEARD)  # what was heard may not be used unasked any more
    told, record = house.organisation.verify(file, who="who heard")
    assert told == "rejected: revoked"
    assert any(one["effect"] == "warn" for one in findings(record, "revocation-evidence"))
    assert verify(file, "who never asked") == "accepted"
    assert verify(file, "who never asked", "--revocation", "require") == (
        "indeterminate: revocation-unknown"
    )
