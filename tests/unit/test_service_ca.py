"""Certificates and CRLs over HTTP, issuing and revoking by officers; over real sockets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from signward.errors import KeyProviderError, RealmError
from signward.service.roles import Task, Working, load_role
from signward.trust.crl import load_crl
from signward.verbs.authority import finding, publish_crl, revoke
from signward.verbs.authority.authorities import certificate_of
from signward.verbs.authority.issue import issue, order
from signward.verbs.authority.realm import Realm
from tests.builders.authority import Clock, founded, key, private
from tests.builders.service import Answer, Running, serving


def tasks_of(name: str, realm: Realm) -> Sequence[Task]:
    """Return what a role does though nobody asks."""
    role = load_role(name)
    assert isinstance(role, Working)
    return role.tasks(realm)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def realm(tmp_path: Path, clock: Clock) -> Iterator[Realm]:
    opened = founded(tmp_path / "data", clock)
    yield opened
    opened.close()


@pytest.fixture
def service(realm: Realm) -> Iterator[Running]:
    with serving(realm, [load_role("ca"), load_role("crl")]) as running:
        yield running


def request() -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    made = builder.sign(private("asker over HTTP"), hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


def post(service: Running, path: str, body: Any, roles: str = "officer") -> Answer:
    headers = {"Content-Type": "application/json"}
    return service.ask("POST", path, json.dumps(body).encode(), roles=roles, headers=headers)


def ordered(**changes: Any) -> dict[str, Any]:
    wanted = {"profile": "code-signing", "request": request(), "subject": "Release"}
    return {**wanted, **changes}


def test_anybody_gets_certificates(service: Running, realm: Realm) -> None:
    for name in ("root", "issuing"):
        got = service.ask("GET", f"/ca/{name}.cer")
        assert (got.status, got.headers["content-type"]) == (200, "application/pkix-cert")
        assert got.body == certificate_of(realm, name).der
    for path in ("/ca/nobody.cer", "/ca/root", "/ca/root.pem", "/ca/.cer"):
        assert service.ask("GET", path).status == 404


def test_anybody_gets_crls_and_is_told_of_news(service: Running, realm: Realm) -> None:
    got = service.ask("GET", "/crl/issuing.crl")
    assert (got.status, got.headers["content-type"]) == (200, "application/pkix-crl")
    assert load_crl(got.body).number == 1
    same = {"If-None-Match": got.headers["etag"]}
    again = service.ask("GET", "/crl/issuing.crl", headers=same)
    assert (again.status, again.body) == (304, b"")
    publish_crl.publish(realm, "issuing")
    news = service.ask("GET", "/crl/issuing.crl", headers=same)
    assert load_crl(news.body).number == 2
    for path in ("/crl/nobody.crl", "/crl/issuing", "/crl/.crl"):
        assert service.ask("GET", path).status == 404


def test_an_officer_issues(service: Running, realm: Realm) -> None:
    got = post(service, "/ca/issuing/certificates", ordered(valid="30d"))
    assert got.status == 201, got.body
    path = x509.load_pem_x509_certificates(got.json["path"].encode())
    assert path[0].public_key() == private("asker over HTTP").public_key()
    assert path[0].subject.rfc4514_string() == "CN=Release,O=Example Ltd,C=SE"
    assert [c.serial_number for c in path[1:]] == [
        certificate_of(realm, name).serial for name in ("issuing", "root")
    ]
    assert f"{path[0].serial_number:x}" == got.json["serial"]
    assert finding.with_serial(realm, got.json["serial"]).issued.holder == (
        "oidc:officer (https://tests.example)"
    )


def test_an_officer_revokes_and_the_crl_tells_it(service: Running) -> None:
    serial = post(service, "/ca/issuing/certificates", ordered()).json["serial"]
    body = {"serial": serial, "reason": "keyCompromise"}
    got = post(service, "/ca/issuing/revocations", body)
    assert got.status == 201, got.body
    assert (got.json["crl"], got.json["certificate"]["status"]) == (2, "revoked")
    crl = load_crl(service.ask("GET", "/crl/issuing.crl").body)
    assert crl.entry(int(serial, 16), crl.issuer) is not None
    again = post(service, "/ca/issuing/revocations", {**body, "reason": "superseded"})
    assert (again.status, again.json["type"]) == (409, "urn:signward:problem:conflict")


def test_officers_and_auditors_see_the_list(service: Running) -> None:
    for _ in range(3):
        post(service, "/ca/issuing/certificates", ordered())
    path = "/ca/issuing/certificates"
    whole = service.ask("GET", path, roles="auditor").json
    assert len(whole) == 4
    first = service.ask("GET", f"{path}?most=3", roles="officer").json
    rest = service.ask("GET", f"{path}?after={first[-1]['serial']}", roles="officer").json
    assert first + rest == whole
    assert service.ask("GET", f"{path}?revoked=true", roles="officer").json == []
    assert service.ask("GET", f"{path}?most=0", roles="officer").status == 400
    assert service.ask("GET", "/ca/nobody/certificates", roles="officer").status == 404


@pytest.mark.parametrize("roles", ["", "signer", "auditor,operator,admin,approver"])
def test_nobody_else_issues_or_revokes(service: Running, realm: Realm, roles: str) -> None:
    expected = 403 if roles else 401
    assert post(service, "/ca/issuing/certificates", ordered(), roles).status == expected
    body = {"serial": "1", "reason": "keyCompromise"}
    assert post(service, "/ca/issuing/revocations", body, roles).status == expected
    if "auditor" not in roles:
        assert service.ask("GET", "/ca/issuing/certificates", roles=roles).status == expected


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"profile": "sub-ca"}, 422, "one it may issue"),
        ({"valid": "500d"}, 422, "460 days"),
        ({"valid": "soon"}, 422, "365d"),
        ({"request": "x"}, 400, "PKCS#10"),
        ({"request": "-----BEGIN"}, 400, "PKCS#10"),
        ({"subject": ""}, 422, "subject"),
        ({"names": ["dns:example.org"]}, 422, "kinds"),
        ({"names": "x"}, 400, ""),
        ({"surprise": 1}, 400, ""),
    ],
)
def test_what_is_not_issued_is_told(
    service: Running, realm: Realm, changes: dict[str, Any], status: int, said: str
) -> None:
    got = post(service, "/ca/issuing/certificates", ordered(**changes))
    assert got.status == status, got.body
    assert said in json.dumps(got.json)
    assert len(service.ask("GET", "/ca/issuing/certificates", roles="auditor").json) == 1


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"serial": "abc"}, 422),
        ({"serial": ""}, 422),
        ({"serial": "/etc/passwd"}, 422),
        ({"reason": "certificateHold"}, 422),
        ({"invalidity_date": "2026-11-23T10:00:00"}, 422),
        ({"invalidity_date": "2030-01-01T00:00:00Z"}, 422),
        ({"invalidity_date": "soon"}, 400),
    ],
)
def test_what_is_not_revoked_is_told(
    service: Running, realm: Realm, changes: dict[str, Any], status: int
) -> None:
    serial = post(service, "/ca/issuing/certificates", ordered()).json["serial"]
    body = {"serial": serial, "reason": "superseded", **changes}
    assert post(service, "/ca/issuing/revocations", body).status == status
    revoked = service.ask("GET", "/ca/issuing/certificates?revoked=true", roles="auditor")
    assert revoked.json == []


def test_an_offline_root_issues_nothing_over_http(service: Running, realm: Realm) -> None:
    got = post(service, "/ca/root/certificates", ordered(profile="timestamping"))
    assert (got.status, got.json["found"]) == (422, "one that is offline")
    serial = f"{certificate_of(realm, 'issuing').serial:x}"
    got = post(service, "/ca/root/revocations", {"serial": serial, "reason": "cACompromise"})
    assert got.status == 201
    assert got.json["crl"] is None
    assert "signward ca crl --ca root" in got.json["warning"]
    assert load_crl(service.ask("GET", "/crl/root.crl").body).number == 1


def test_a_crl_that_could_not_be_signed_is_published_later(
    realm: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = order(realm, "issuing", "code-signing", key("late").public_key, subject="Late")
    made = issue(realm, "issuing", asked, "tester")
    with monkeypatch.context() as broken:

        def fail(*_: object) -> bytes:
            raise KeyProviderError("token", "no answer", "one")

        broken.setattr(realm.credential("issuing"), "sign", fail)
        done = revoke.revoke(realm, finding.find(realm, made.serial), "superseded", "tester")
        assert isinstance(done.published, str)
    (task,) = tasks_of("crl", realm)
    task.run()
    published = publish_crl.current(realm, "issuing")
    assert published is not None
    crl = load_crl(published.der)
    assert crl.entry(made.certificate.serial, crl.issuer) is not None
    assert task.run() == ()


def test_readiness_asks_for_crls_that_are_current(realm: Realm, clock: Clock) -> None:
    role: Any = load_role("crl")
    checks = role.checks(realm)
    assert set(checks) == {"crl-root", "crl-issuing"}
    for check in checks.values():
        check()
    clock.now += timedelta(days=8)
    checks["crl-root"]()
    with pytest.raises(RealmError, match="signward ca crl --ca issuing"):
        checks["crl-issuing"]()


def test_the_work_that_comes_round_says_that_we_live(realm: Realm) -> None:
    tasks = {task.name: task for task in tasks_of("ca", realm)}
    tasks["heartbeat"].run()
    assert tasks["sweep"].run() == 0


def test_a_folder_without_authorities_has_no_routes(tmp_path: Path) -> None:
    (tmp_path / "signward.toml").write_text('name = "Test"\nurl = "http://127.0.0.1"\n')
    bare = Realm.open(tmp_path)
    for name in ("ca", "crl"):
        assert load_role(name).routes(bare) == ()
    assert tasks_of("crl", bare) == ()
    bare.close()


@pytest.mark.parametrize("query", ["after=%00", "profile=%00", "after=xyz", "after=1%0A"])
def test_a_page_of_nothing_that_could_be_is_the_senders_fault(service: Running, query: str) -> None:
    answer = service.ask("GET", f"/ca/issuing/certificates?{query}", roles="auditor")
    assert answer.status == 400


def test_a_token_does_not_pass_for_a_user_of_the_system(service: Running, realm: Realm) -> None:
    """Its subject is what an issuer, or whoever it certifies, chose to write."""
    who = "local:root,officer"
    serial = post(service, "/ca/issuing/certificates", ordered(), who).json["serial"]
    body = {"serial": serial, "reason": "superseded"}
    assert post(service, "/ca/issuing/revocations", body, who).status == 201
    found = finding.with_serial(realm, serial)
    assert found.revocation is not None
    told = {found.issued.holder, found.revocation.revoked_by}
    assert told == {"oidc:local:root,officer (https://tests.example)"}
