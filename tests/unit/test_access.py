"""Who may do what: patterns cover values whole, rules fail closed, decisions by early returns."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from signward.authority.access import (
    MAX_VALUE,
    AccessRules,
    Asked,
    Identity,
    IdentityRule,
    KeyRules,
    Ruling,
    claims_from,
    covers,
    decide,
    decide_approval,
    decide_denial,
    parse_hours,
)

GITHUB = "https://token.actions.example"
MONDAY = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


def job(**claims: str) -> Identity:
    said = {"repository": "acme/app", "ref": "refs/tags/v1.2", **claims}
    return Identity(kind="oidc", subject=f"repo:{said['repository']}:ref:{said['ref']}",
                    issuer=GITHUB, claims=claims_from(said))  # fmt: skip


def rule(**fields: Any) -> IdentityRule:
    given = {"kind": "oidc", "issuer": GITHUB, **fields}
    return msgspec.convert(given, IdentityRule)


# --- patterns ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "value", "expected"),
    [
        ("acme/app", "acme/app", True),
        ("acme/app", "acme/app2", False),
        ("acme/app", "evil/acme/app", False),
        ("acme/app", "acme/app\n", False),
        ("acme/app", "Acme/app", False),
        ("acme.app", "acmexapp", False),
        ("acme/*", "acme/app", True),
        ("acme/*", "acme/app/evil", False),
        ("acme/**", "acme/app/evil", True),
        ("acme/*", "acme/", True),
        ("refs/tags/v*", "refs/tags/v1.2", True),
        ("refs/tags/v*", "refs/heads/refs/tags/v1", False),
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "a.example.com.evil.test", False),
        ("a*b*c", "aXbYbZc", True),
        ("a*b*c", "aXbYbZ", False),
        ("**/x", "a/b/x", True),
        ("*/x", "a/b/x", False),
        ("***", "a/b", True),
        ("[a-z]+", "abc", False),
        ("a|b", "a", False),
        ("*", "", True),
        ("x", "", False),
    ],
)
def test_a_pattern_covers_a_value_whole_or_not_at_all(
    pattern: str, value: str, expected: bool
) -> None:
    assert covers(pattern, value) is expected


@given(st.text("ab/*", max_size=8), st.text("ab/", max_size=12))
@example("****", "")
def test_patterns_agree_with_the_regular_expression_they_stand_for(
    pattern: str, value: str
) -> None:
    parts = re.split(r"(\*+)", pattern)
    stars = {"": "", "*": "[^/]*"}
    text = "".join(
        stars.get(part, "(?s:.*)") if part.startswith("*") else re.escape(part) for part in parts
    )
    assert covers(pattern, value) is bool(re.fullmatch(text, value))


def test_a_long_value_and_many_stars_end_soon() -> None:
    assert not covers("*a" * 200 + "b", "a" * MAX_VALUE)
    assert not covers("a*", "a" * (MAX_VALUE + 1))


# --- identities -------------------------------------------------------------------------------


def test_claims_are_texts_and_what_has_none_is_left_out() -> None:
    document = {"a": "x", "n": 7, "t": True, "l": ["p", 2], "none": None, "o": {"a": 1},
                "mixed": ["p", {}], "f": 1.5, "empty": []}  # fmt: skip
    assert claims_from(document) == {"a": ("x",), "n": ("7",), "t": ("true",), "l": ("p", "2")}


def test_identities_are_one_when_kind_issuer_and_subject_are() -> None:
    one = Identity(kind="oidc", subject="b", issuer="a")
    assert one.unique == Identity(kind="oidc", subject="b", issuer="a", claims={"x": ("y",)}).unique
    others = [Identity(kind="mtls", subject="b", issuer="a"), Identity(kind="oidc", subject="a\"b"),
              Identity(kind="oidc", subject="", issuer="ab")]  # fmt: skip
    assert len({one.unique, *(other.unique for other in others)}) == 4


def test_a_rule_matches_what_all_its_parts_match() -> None:
    release = rule(claims={"repository": "acme/app", "ref": "refs/tags/v*"})
    assert release.matches(job())
    assert not release.matches(job(repository="acme/app-fork"))
    assert not release.matches(job(repository="evil/acme/app"))
    assert not release.matches(job(ref="refs/heads/main"))
    assert not release.matches(job().__class__(kind="mtls", subject="x", issuer=GITHUB,
                                               claims=job().claims))  # fmt: skip
    elsewhere = Identity(kind="oidc", subject="x", issuer=f"{GITHUB}/", claims=job().claims)
    assert not release.matches(elsewhere)
    assert not rule(claims={"environment": "release"}).matches(job())


def test_one_of_several_values_of_a_claim_is_enough() -> None:
    people = rule(claims={"groups": "signers"})
    assert people.matches(Identity(kind="oidc", subject="a", issuer=GITHUB,
                                   claims=claims_from({"groups": ["all", "signers"]})))  # fmt: skip
    assert not people.matches(Identity(kind="oidc", subject="a", issuer=GITHUB,
                                       claims=claims_from({"groups": ["co-signers"]})))  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "matches everybody"),
        ({"subject": "*"}, "matches everybody"),
        ({"subject": "**", "claims": {"a": "*"}}, "matches everybody"),
        ({"subject": "a", "claims": {"a": ""}}, "1 to 512"),
        ({"subject": "a" * 513}, "1 to 512"),
        ({"subject": "a", "issuer": ""}, "no issuer"),
        ({"issuer": "", "kind": "oidc", "claims": {"sha256": "ab" * 32}}, "no issuer"),
        ({"issuer": "", "kind": "mtls", "subject": "a", "claims": {"sha256": "**"}}, "no issuer"),
        ({"issuer": "", "kind": "mtls", "claims": {"sha256": "ab" * 31 + "*"}}, "no issuer"),
        ({"subject": "a", "kind": "basic"}, "kind 'basic'"),
        ({"subject": "a", "isuer": "x"}, "isuer"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=re.escape(said)):
        rule(**fields)


def test_a_client_certificate_may_be_named_by_its_fingerprint_alone() -> None:
    digest = "ab" * 32
    alice = msgspec.convert({"kind": "mtls", "claims": {"sha256": digest}}, IdentityRule)
    assert alice.matches(Identity(kind="mtls", subject="CN=a", claims={"sha256": (digest,)}))
    assert not alice.matches(Identity(kind="mtls", subject="CN=a", claims={"sha256": ("cd",)}))


ACCESS = {
    "identities": {
        "ci": {"kind": "oidc", "issuer": GITHUB, "claims": {"repository": "acme/*"}},
        "alice": {"kind": "local", "subject": "alice"},
    },
    "roles": {"signer": ["ci", "alice"], "admin": ["alice"]},
}


def test_roles_are_held_by_names_and_nobody_else_holds_any() -> None:
    rules = msgspec.convert(ACCESS, AccessRules)
    alice = Identity(kind="local", subject="alice")
    assert rules.names_of(job()) == {"ci"}
    assert rules.roles_of(job()) == {"signer"}
    assert rules.roles_of(alice) == {"signer", "admin"}
    assert rules.roles_of(Identity(kind="local", subject="bob")) == frozenset()
    assert AccessRules().roles_of(alice) == frozenset()


def test_a_role_of_nobody_known_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="'bob' in role 'admin'"):
        msgspec.convert({**ACCESS, "roles": {"admin": ["bob"]}}, AccessRules)


# --- decisions --------------------------------------------------------------------------------


def rules(**fields: Any) -> KeyRules:
    return msgspec.convert({"signers": ["ci"], **fields}, KeyRules)


def ask(of: KeyRules, **fields: Any) -> tuple[Ruling, str]:
    asked = {"names": frozenset({"ci"}), "format": "pe", "at": MONDAY,
             "used": (0,) * len(of.rate), **fields}  # fmt: skip
    decision = decide(of, Asked(**asked))
    return decision.ruling, decision.reason


ALLOWED, DENIED, WAITING = Ruling.ALLOWED, Ruling.DENIED, Ruling.WAITING


def test_a_signer_without_further_limits_is_allowed() -> None:
    assert ask(rules()) == (ALLOWED, "allowed")


def test_nobody_signs_by_default() -> None:
    assert ask(KeyRules()) == (DENIED, "no-signer")
    assert ask(rules(), names=frozenset({"other"})) == (DENIED, "no-signer")
    assert ask(rules(), names=frozenset()) == (DENIED, "no-signer")


def test_file_types() -> None:
    assert ask(rules(formats=["pe", "msi"])) == (ALLOWED, "allowed")
    assert ask(rules(formats=["msi"])) == (DENIED, "file-type")
    assert ask(rules(formats=["pe"]), format="PE") == (DENIED, "file-type")


@pytest.mark.parametrize(
    ("hours", "hour", "expected"),
    [
        (["Mon-Fri 08:00-18:00"], 0, ALLOWED),
        (["Mon-Fri 09:31-18:00"], 0, DENIED),
        (["Mon-Fri 08:00-09:30"], 0, DENIED),
        (["Mon-Fri 08:00-09:31"], 0, ALLOWED),
        (["Tue-Fri 08:00-18:00"], 0, DENIED),
        (["Sat-Mon 08:00-18:00"], 0, ALLOWED),
        (["Mon 09:30-09:31"], 0, ALLOWED),
        (["00:00-24:00"], 0, ALLOWED),
        (["Sun 00:00-24:00"], 0, DENIED),
        (["22:00-24:00", "00:00-06:00"], 14, ALLOWED),
        (["22:00-24:00", "00:00-06:00"], 0, DENIED),
    ],
)
def test_hours_are_of_utc_and_end_before_their_end(
    hours: list[str], hour: int, expected: Ruling
) -> None:
    at = MONDAY + timedelta(hours=hour)
    assert ask(rules(hours=hours), at=at)[0] is expected


def test_whoever_comes_out_of_hours_is_told_when_to_come() -> None:
    only = rules(hours=["Sat 10:00-11:00", "Mon 09:00-09:15"])
    decision = decide(only, Asked(names=frozenset({"ci"}), format="pe", at=MONDAY))
    back = MONDAY + timedelta(seconds=decision.retry_seconds)
    assert ask(only, at=back) == (ALLOWED, "allowed")
    assert back.strftime("%a %H:%M") == "Sat 10:00"


@pytest.mark.parametrize("text", ["8-18", "Mon-Fri 8:00-18:00", "Mon 18:00-08:00", "25:00-26:00",
                                  "08:00-24:01", "Mo 08:00-09:00", "08:00-08:00"])  # fmt: skip
def test_hours_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="found hours"):
        rules(hours=[text])


def test_rates_count_in_their_own_windows() -> None:
    limited = rules(rate=["2/minute", "5/day"])
    assert ask(limited, used=(1, 4)) == (ALLOWED, "allowed")
    assert ask(limited, used=(2, 2)) == (DENIED, "rate")
    assert ask(limited, used=(0, 5)) == (DENIED, "rate")
    minute, day = limited.windows(MONDAY.replace(second=59))
    assert (minute.start, day.start) == (
        int(MONDAY.timestamp()), int(MONDAY.replace(hour=0, minute=0).timestamp())
    )  # fmt: skip
    decision = decide(limited, Asked(names=frozenset({"ci"}), format="pe", used=(2, 2),
                                     at=MONDAY.replace(second=50)))  # fmt: skip
    assert decision.retry_seconds == 10
    with pytest.raises(ValueError, match="zip"):
        ask(limited, used=(0,))


@pytest.mark.parametrize("text", ["0/minute", "5", "5/week", "-1/day", "1.5/day", "5/ day"])
def test_rates_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="found rate"):
        rules(rate=[text])


def test_approvals_are_waited_for_last() -> None:
    two = rules(approvals=2, approvers=["leads"], formats=["pe"])
    assert ask(two) == (WAITING, "approvals")
    assert ask(two, approvals=1) == (WAITING, "approvals")
    assert ask(two, approvals=2) == (ALLOWED, "allowed")
    assert ask(two, approvals=2, format="msi") == (DENIED, "file-type")
    assert ask(two, approvals=2, names=frozenset({"leads"})) == (DENIED, "no-signer")


@pytest.mark.parametrize("fields", [{"approvals": 1}, {"approvals": -1, "approvers": ["a"]},
                                    {"approval_hours": 0}, {"approval_hours": 721}])  # fmt: skip
def test_approvals_that_nobody_could_give_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        rules(**fields)


def test_approvers_are_others_and_each_counts_once() -> None:
    two = rules(approvals=2, approvers=["leads"])
    alice, bob = (Identity(kind="oidc", subject=name, issuer=GITHUB) for name in ("alice", "bob"))

    def approve(who: Identity, given: tuple[str, ...] = (), name: str = "leads") -> str:
        return decide_approval(two, who, {name}, job().unique, given).reason

    assert approve(alice) == "allowed"
    assert approve(alice, name="ci") == "no-approver"
    assert approve(job()) == "own-request"
    assert approve(alice, (alice.unique,)) == "approved-already"
    assert approve(bob, (alice.unique,)) == "allowed"


def test_approvers_and_the_requester_end_a_request_and_nobody_else() -> None:
    two = rules(approvals=2, approvers=["leads"])
    alice = Identity(kind="oidc", subject="alice", issuer=GITHUB)
    assert decide_denial(two, alice, {"leads"}, job().unique).ruling is ALLOWED
    assert decide_denial(two, job(), {"ci"}, job().unique).ruling is ALLOWED
    assert decide_denial(two, alice, {"ci"}, job().unique).reason == "no-approver"


@given(st.datetimes(timezones=st.just(UTC)), st.integers(0, 1439), st.integers(1, 1440))
def test_hours_hold_whole_minutes(at: datetime, start: int, end: int) -> None:
    if start >= end:
        return
    hours = parse_hours(f"{start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}")
    assert hours.hold(at) is (start <= at.hour * 60 + at.minute < end)


def test_whoever_has_two_proofs_is_one_person() -> None:
    """Else one approver with a card and an account would be two of two."""
    access = msgspec.convert(
        {
            "identities": {
                "card": {"kind": "mtls", "issuer": "CN=Cards", "subject": "CN=alice"},
                "account": {"kind": "oidc", "issuer": GITHUB, "subject": "alice"},
                "bob": {"kind": "oidc", "issuer": GITHUB, "subject": "bob"},
            },
            "people": {"alice": ["card", "account"]},
        },
        AccessRules,
    )
    card, account, bob = (
        access.known(one)
        for one in (
            Identity(kind="mtls", subject="CN=alice", issuer="CN=Cards"),
            Identity(kind="oidc", subject="alice", issuer=GITHUB),
            Identity(kind="oidc", subject="bob", issuer=GITHUB),
        )
    )
    rules = KeyRules(approvers=("card", "account", "bob"), approvals=2)
    twice = decide_approval(rules, account, {"account"}, "", [card.unique])
    own = decide_approval(rules, account, {"account"}, card.unique, [])
    assert (twice.reason, own.reason) == ("approved-already", "own-request")
    assert decide_approval(rules, bob, {"bob"}, card.unique, []).ruling is Ruling.ALLOWED
    assert card.unique == '["person","","alice"]'
    assert bob.unique == f'["oidc","{GITHUB}","bob"]'


def test_a_person_of_no_known_name_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="'card' in person 'alice'"):
        msgspec.convert({"people": {"alice": ["card"]}}, AccessRules)
