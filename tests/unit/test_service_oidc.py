"""Bearer tokens: what holds, and everything that does not (RFC 7519, RFC 8725)."""

import base64
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from litestar import Request, get

from signward.errors import DeniedError, FetchError, RealmError
from signward.service import oidc
from signward.service.identity import Callers
from signward.service.oidc import Issuer, Tokens, read_keys
from signward.service.roles import Access
from signward.verbs.authority.realm import Realm
from signward.verbs.authority.settings import IssuerSettings
from tests.builders.service import Answer, Planted, Running, serving
from tests.builders.web import running as publishing

NOW = 1_790_000_000.0
ISSUER = "https://token.actions.githubusercontent.com"
RSA = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
EC = ECKey.generate_key("P-256", {"kid": "two", "alg": "ES256"})
EDWARDS = OKPKey.generate_key("Ed25519", {"kid": "three"})

CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "aud": "signward",
    "sub": "repo:example/app:ref:refs/tags/v1.0",
    "repository": "example/app",
    "ref": "refs/tags/v1.0",
    "run_attempt": 2,
    "groups": ["build", "release"],
    "iat": NOW - 5,
    "nbf": NOW - 5,
    "exp": NOW + 300,
}


def key_set(*keys: Any) -> bytes:
    return json.dumps({"keys": [key.as_dict(private=False) for key in keys]}).encode()


def token(key: Any = RSA, algorithm: str = "RS256", head: Any = None, **changes: Any) -> str:
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not None}
    header = {"alg": algorithm, "kid": key.kid} if head is None else head
    return jwt.encode(header, claims, key, algorithms=[algorithm])


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    (tmp_path / "jwks.json").write_bytes(key_set(RSA, EC, EDWARDS))
    settings = IssuerSettings(
        issuer=ISSUER, audience="signward", jwks="jwks.json",
        algorithms=("RS256", "ES256", "Ed25519"),
    )  # fmt: skip
    return Tokens({"github": settings}, tmp_path)


@pytest.mark.parametrize(
    ("key", "algorithm"), [(RSA, "RS256"), (EC, "ES256"), (EDWARDS, "Ed25519")]
)
def test_a_token_says_who_calls(tokens: Tokens, key: Any, algorithm: str) -> None:
    who = tokens.identify(token(key, algorithm), NOW)
    assert (who.kind, who.issuer) == ("oidc", ISSUER)
    assert who.subject == "repo:example/app:ref:refs/tags/v1.0"
    assert who.claims["repository"] == ("example/app",)
    assert who.claims["groups"] == ("build", "release")
    assert who.claims["run_attempt"] == ("2",)


def test_a_list_of_audiences_may_hold_ours(tokens: Tokens) -> None:
    assert tokens.identify(token(aud=["other", "signward"]), NOW).kind == "oidc"


def test_a_token_is_remembered_but_what_it_claims_is_checked_each_time(tokens: Tokens) -> None:
    shown = token()
    assert tokens.recall(shown, NOW) is None
    who = tokens.identify(shown, NOW)
    assert tokens.recall(shown, NOW + 300) == who
    assert tokens.recall(shown[:-8] + "AAAAAAAA", NOW) is None
    with pytest.raises(DeniedError, match="another expiry"):
        tokens.recall(shown, NOW + 300 + oidc.LEEWAY_SECONDS)
    with pytest.raises(DeniedError, match="another time"):
        tokens.recall(shown, NOW - 6 - oidc.LEEWAY_SECONDS)


def test_what_was_refused_is_not_remembered(tokens: Tokens) -> None:
    late = token(exp=NOW - 100, iat=NOW - 200, nbf=NOW - 200)
    for _ in range(2):
        assert tokens.recall(late, NOW) is None
        with pytest.raises(DeniedError):
            tokens.identify(late, NOW)


def test_a_token_is_forgotten_when_keys_are_read_anew_and_when_others_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, (first, second) = [0.0], (token(), token(jti="2"))
    monkeypatch.setattr(oidc, "MAX_REMEMBERED", 1)
    (tmp_path / "jwks.json").write_bytes(key_set(RSA, EC))
    settings = IssuerSettings(issuer=ISSUER, audience="signward", jwks="jwks.json",
                              algorithms=("RS256", "ES256"))  # fmt: skip
    issuer = oidc.Issuer(settings, tmp_path, "here", lambda: at[0])
    tokens = Tokens({}, tmp_path)
    tokens._issuers[ISSUER] = issuer
    assert tokens.identify(first, NOW) == tokens.recall(first, NOW)
    assert tokens.identify(second, NOW) == tokens.recall(second, NOW)
    assert tokens.recall(first, NOW) is None
    at[0] += oidc.REFRESH_SECONDS + 1
    assert tokens.recall(second, NOW) is None
    (tmp_path / "jwks.json").write_bytes(key_set(EC))
    with pytest.raises(DeniedError, match="a published key"):
        tokens.identify(second, NOW)
    tokens.identify(token(EC, "ES256"), NOW)
    assert tokens.recall(second, NOW) is None


def forged(change: Callable[[list[str]], list[str]]) -> str:
    return ".".join(change(token().split(".")))


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


OTHER = RSAKey.generate_key(2048, {"kid": "one"})


def keyed_with_what_is_public() -> str:
    """Return a token with a MAC whose key everybody knows: the octets of the public key."""
    text = f"{part({'alg': 'HS256', 'kid': 'one'})}.{part(CLAIMS)}"
    mac = hmac.digest(RSA.as_pem(private=False), text.encode(), "sha256")
    return f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


REFUSED = {
    "expired": lambda: token(exp=NOW - 61),
    "no expiry": lambda: token(exp=None),
    "an expiry that is text": lambda: token(exp="never"),
    "an expiry that is a truth": lambda: token(exp=True),
    "an expiry that is no float": lambda: token(exp=10**400),
    "a beginning that is no float": lambda: token(nbf=10**400),
    "not yet": lambda: token(nbf=NOW + 61),
    "issued later": lambda: token(iat=NOW + 61, nbf=None),
    "no time of issue": lambda: token(iat=None),
    "for a year": lambda: token(exp=NOW + 365 * 86400),
    "another audience": lambda: token(aud="other"),
    "an audience that begins like ours": lambda: token(aud="signward.evil"),
    "no audience": lambda: token(aud=None),
    "another issuer": lambda: token(iss="https://evil.example"),
    "no issuer": lambda: token(iss=None),
    "no subject": lambda: token(sub=None),
    "an empty subject": lambda: token(sub=""),
    "a subject with NUL": lambda: token(sub="a\0b"),
    "a subject of two lines": lambda: token(sub="a\nb"),
    "a subject that is no text": lambda: token(sub=7),
    "another key": lambda: token(OTHER),
    "an unknown key identifier": lambda: token(head={"alg": "RS256", "kid": "nine"}),
    "no key identifier, several keys": lambda: token(head={"alg": "RS256"}, key=OTHER),
    "an algorithm of a public key's octets": keyed_with_what_is_public,
    "an algorithm that is not allowed": lambda: token(RSA, "RS512"),
    "an algorithm of another kind of key": lambda: token(
        EC, "ES256", {"alg": "ES256", "kid": "one"}
    ),
    "no algorithm": lambda: forged(lambda p: [part({"alg": "none"}), p[1], ""]),
    "no algorithm, spelt otherwise": lambda: forged(lambda p: [part({"alg": "nOnE"}), p[1], ""]),
    "no signature": lambda: forged(lambda p: [p[0], p[1], ""]),
    "other claims": lambda: forged(lambda p: [p[0], part(CLAIMS | {"ref": "refs/tags/v2"}), p[2]]),
    "a key of its own": lambda: jwt.encode(
        {"alg": "RS256", "jwk": OTHER.as_dict(private=False), "kid": "one"}, CLAIMS, OTHER
    ),
    "an unknown critical head": lambda: forged(
        lambda p: [part({"alg": "RS256", "kid": "one", "crit": ["x"], "x": 1}), p[1], p[2]]
    ),
    "two parts": lambda: forged(lambda p: p[:2]),
    "no JSON": lambda: "abc.def.ghi",
    "JSON that is no object": lambda: f"{part([1])}.{part([2])}.x",
    "deep JSON": lambda: f"{part({'alg': 'RS256'})}."
    + base64.urlsafe_b64encode(b'{"iss":' + b"[" * 5000).decode() + ".x",
    "no ASCII": lambda: "ä.b.c",
    "nothing": lambda: "",
    "ten thousand characters": lambda: token(long="x" * 10_000),
    "a key identifier that is a number": lambda: forged(
        lambda p: [part({"alg": "RS256", "kid": 1}), p[1], p[2]]
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_a_token_that_does_not_hold_is_refused(tokens: Tokens, what: str) -> None:
    with pytest.raises(DeniedError):
        tokens.identify(REFUSED[what](), NOW)


def test_clocks_may_differ_by_a_minute(tokens: Tokens) -> None:
    assert tokens.identify(token(exp=NOW - 59), NOW).kind == "oidc"
    assert tokens.identify(token(nbf=NOW + 59, iat=NOW + 59), NOW).kind == "oidc"


def test_no_message_repeats_the_token(tokens: Tokens) -> None:
    shown = token(aud="other")
    with pytest.raises(DeniedError) as caught:
        tokens.identify(shown, NOW)
    assert not any(part in str(caught.value) for part in shown.split("."))


class Published:
    """An issuer's keys, counted readings, a stopwatch that is set by hand."""

    def __init__(self, *keys: Any) -> None:
        self.keys, self.readings, self.at, self.gone = keys, 0, 1000.0, False
        self.held = oidc.Keys(self.read, lambda: self.at)

    def read(self) -> bytes:
        self.readings += 1
        if self.gone:
            raise FetchError("gone")
        return key_set(*self.keys)


def test_keys_are_read_once_and_anew_after_a_while() -> None:
    published = Published(RSA)
    for _ in range(5):
        published.held.find("one", "RS256")
    assert published.readings == 1
    published.at += oidc.REFRESH_SECONDS + 1
    published.held.find("one", "RS256")
    assert published.readings == 2


def test_a_new_key_is_found_at_once_and_made_up_ones_cost_little() -> None:
    published = Published(RSA)
    published.held.find("one", "RS256")
    published.keys = (RSA, EC)
    published.at += oidc.RETRY_SECONDS
    assert published.held.find("two", "ES256").kid == "two"
    for number in range(50):
        with pytest.raises(DeniedError):
            published.held.find(f"made-up-{number}", "RS256")
    assert published.readings == 2


def test_the_last_good_keys_serve_while_the_issuer_is_gone_but_not_for_ever() -> None:
    published = Published(RSA)
    published.held.find("one", "RS256")
    published.gone = True
    published.at += oidc.KEEP_SECONDS - 10
    assert published.held.find("one", "RS256").kid == "one"
    published.at += 60
    with pytest.raises(FetchError):
        published.held.find("one", "RS256")


def test_a_slow_issuer_holds_one_thread_only() -> None:
    published = Published(RSA)
    published.held.find("one", "RS256")
    published.at += oidc.REFRESH_SECONDS + 1
    asked, go_on = threading.Event(), threading.Event()
    read = published.held._read

    def slowly() -> bytes:
        asked.set()
        assert go_on.wait(30)
        return read()

    published.held._read = slowly
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(published.held.find, "one", "RS256")
        assert asked.wait(30)
        assert published.held.find("one", "RS256").kid == "one"
        with pytest.raises(FetchError, match="ask again"):
            published.held.find("made-up", "RS256")
        go_on.set()
        assert first.result(30).kid == "one"


def test_a_slow_issuer_whose_keys_were_never_read_holds_one_thread_only() -> None:
    """Tokens that anybody can make up would hold all the others for as long as it is slow."""
    published = Published(RSA)
    asked, go_on = threading.Event(), threading.Event()
    read = published.held._read

    def slowly() -> bytes:
        asked.set()
        assert go_on.wait(30)
        return read()

    published.held._read = slowly
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(published.held.find, "one", "RS256")
        assert asked.wait(30)
        second = pool.submit(published.held.find, "one", "RS256")
        with pytest.raises(FetchError, match="ask again"):
            second.result(5)
        go_on.set()
        assert first.result(30).kid == "one"
    assert published.held.find("one", "RS256").kid == "one"


def test_keys_that_were_never_read_are_an_error_of_ours() -> None:
    published = Published()
    published.gone = True
    with pytest.raises(FetchError):
        published.held.find("one", "RS256")


def test_keys_that_must_not_check_signatures_are_left_out() -> None:
    for_encryption = RSAKey.generate_key(2048, {"kid": "enc", "use": "enc"})
    secret = OctKey.generate_key(256, {"kid": "secret"})
    entries: list[Any] = [one.as_dict(private=False) for one in (for_encryption, EC)]
    entries += [secret.as_dict(private=True), OTHER.as_dict(private=True)]
    entries += [RSA.as_dict(private=False) | {"n": "A" * 171}]
    entries += [{"kty": "XYZ", "kid": "x"}, {"kty": "RSA"}, {"kty": "RSA", "n": 1, "e": "AQAB"}]
    found = read_keys(json.dumps({"keys": [*entries, 7, None]}).encode())
    assert [key.kid for key in found] == ["two"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys": 1}',
        b"\xff",
        b'{"keys": [',
        b'{"keys": "\xff"}',
        b'{"keys": ' + b"[" * 100_000,
    ],
)
def test_what_is_no_key_set_is_refused(data: bytes) -> None:
    with pytest.raises(FetchError):
        read_keys(data)


def test_more_keys_than_any_issuer_has_are_refused() -> None:
    with pytest.raises(FetchError, match="at most"):
        read_keys(json.dumps({"keys": [{}] * (oidc.MAX_KEYS + 1)}).encode())


@pytest.mark.parametrize(
    "changes",
    [
        {"algorithms": ("HS256",)},
        {"algorithms": ("none",)},
        {"algorithms": ()},
        {"audience": ""},
        {"issuer": ""},
        {"jwks": "http://issuer.example/jwks"},
        {"jwks": "http://127.0.0.1@evil.example/jwks"},
        {"jwks": "ftp://issuer.example/jwks"},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(tmp_path: Path, changes: Any) -> None:
    given = {"issuer": ISSUER, "audience": "signward", "jwks": "jwks.json"} | changes
    with pytest.raises(RealmError):
        Issuer(IssuerSettings(**given), tmp_path, "[identity.issuers.x]")


def test_one_issuer_is_set_up_once(tmp_path: Path) -> None:
    one = IssuerSettings(issuer=ISSUER, audience="a", jwks="one.json")
    with pytest.raises(RealmError, match="twice"):
        Tokens({"a": one, "b": one}, tmp_path)


# --- over HTTP, with an issuer that publishes its keys ----------------------------------------

SETTINGS = """
name = "Test"
url = "http://127.0.0.1"
[identity.issuers.github]
issuer = "{issuer}"
audience = "signward"
jwks = "http://127.0.0.1:{port}/jwks"
[access.identities.release]
kind = "oidc"
issuer = "{issuer}"
claims = {{ repository = "example/app", ref = "refs/tags/v*" }}
[access.roles]
signer = ["release"]
"""


@get("/work", opt={"access": Access.SIGNER}, media_type="text/plain")
async def work(request: Request[Any, Any, Any]) -> str:
    """Say who works."""
    return str(request.user.subject)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with publishing() as issuer:
        issuer.serve("/jwks", key_set(RSA))
        text = SETTINGS.format(issuer=ISSUER, port=issuer.port)
        (tmp_path / "signward.toml").write_text(text)
        realm = Realm.open(tmp_path, clock=lambda: datetime.fromtimestamp(NOW, UTC))
        with serving(realm, [Planted(work)], Callers(realm)) as service:
            yield service
        realm.close()


def shown(running: Running, given: str) -> Answer:
    return running.ask("GET", "/work", headers={"Authorization": given})


def test_a_job_has_the_role_of_its_repository_and_ref(running: Running) -> None:
    answer = shown(running, f"Bearer {token()}")
    assert (answer.status, answer.body) == (200, b"repo:example/app:ref:refs/tags/v1.0")
    assert shown(running, f"bearer   {token()}").status == 200


@pytest.mark.parametrize(
    "claims",
    [
        {"repository": "example/app-evil"},
        {"repository": "evil-example/app"},
        {"repository": "example/app\n"},
        {"repository": ["example"]},
        {"repository": None},
        {"ref": "refs/heads/main"},
        {"ref": "refs/tags/v1/../../heads/main"},
        {"ref": "x/refs/tags/v1"},
    ],
)
def test_another_job_has_not(running: Running, claims: Any) -> None:
    answer = shown(running, f"Bearer {token(**claims)}")
    assert (answer.status, answer.json["type"]) == (403, "urn:signward:problem:forbidden")


@pytest.mark.parametrize(
    "given", ["Basic dXNlcjpwYXNz", "Bearer", "Bearer x.y.z", "Bearer  ", "x" * 9000, "Bearer ü"]
)
def test_what_is_no_token_is_unauthorized(running: Running, given: str) -> None:
    answer = shown(running, given)
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Bearer ")


def test_a_token_that_does_not_hold_is_told_so_and_not_logged(running: Running) -> None:
    given = token(exp=NOW - 100)
    answer = shown(running, f"Bearer {given}")
    assert answer.status == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert given not in str(running.log)


def test_an_issuer_that_does_not_answer_is_nobody_s_fault(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any) -> Any:
        raise FetchError("gone")

    monkeypatch.setattr(oidc, "exchange", gone)
    answer = shown(running, f"Bearer {token()}")
    assert answer.status == 503
    assert answer.headers["retry-after"]
