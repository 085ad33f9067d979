"""What App Control and AppLocker have in common: names, capitals, digests, paths, exceptions."""

from __future__ import annotations

import pytest

from signward.compilers._windows import (
    UniqueNames,
    digests_of,
    our_path,
    spares_in_part,
    upper,
    windows_path,
)
from signward.errors import PolicyError
from signward.policy.rules.model import Conditions
from tests.builders.policies import digest

FILE = tuple(digest("file", number) for number in range(3))
CODE = tuple(digest("authenticode", number) for number in range(3))
SHA1 = f"authenticode:sha1:{'ab' * 20}"


def test_many_rules_of_one_name_are_read_in_time() -> None:
    names = UniqueNames()
    taken = [names.take("same") for _ in range(50_000)]
    assert len(set(taken)) == len(taken)
    assert taken[:3] == ["same", "same.2", "same.3"]
    assert names.take("same.2") == "same.2.2"


@pytest.mark.parametrize(
    ("text", "capitals"),
    [("Löwe & Söhne", "LÖWE & SÖHNE"), ("Groß", "GROß"), ("ﬁn", "ﬁN"), ("ıi", "ıI"), ("ſs", "ſS")],
)
def test_capitals_are_those_that_lower_case_brings_back(text: str, capitals: str) -> None:
    assert upper(text) == capitals


@pytest.mark.parametrize(
    "wrong",
    [f"file:sha256:{'ab' * 20}", f"authenticode:sha1:{'ab' * 32}", f"file:sha512:{'ab' * 33}"],
)
def test_a_digest_has_the_length_of_its_algorithm(wrong: str) -> None:
    assert digests_of(Conditions(id="x", digest=(*FILE, SHA1)))
    with pytest.raises(PolicyError, match="hexadecimal digits"):
        digests_of(Conditions(id="x", digest=(*FILE, wrong)))


@pytest.mark.parametrize(
    ("denied", "spared", "in_part"),
    [
        (FILE, FILE[:1], False),
        (FILE[:1], FILE[:1], False),
        (FILE[:1], CODE[:1], True),
        ((CODE[0], SHA1), CODE[:1], True),
        ((CODE[0], SHA1), (CODE[0], SHA1), False),
        (FILE[:2], (FILE[0], CODE[0]), True),
    ],
)
def test_another_digest_of_a_spared_file_may_be_denied(
    denied: tuple[str, ...], spared: tuple[str, ...], *, in_part: bool
) -> None:
    rule, waiver = Conditions(id="out", digest=denied), Conditions(id="but", digest=spared)
    assert spares_in_part(rule, waiver) is in_part


@pytest.mark.parametrize(
    "place", ["C:\\a\ufffe", "C:\\a\x7f\x01", "C:\\a?", "C:\\*\\a", "C:\\a%b%"]
)
def test_paths_that_windows_takes_otherwise_have_no_form_there(place: str) -> None:
    assert windows_path(place, frozenset()) is None


def test_a_path_comes_back() -> None:
    for place in ("C:\\Program Files\\**", "**\\agent.exe", "%WINDIR%\\**"):
        there = windows_path(place, frozenset({"windir"}))
        assert there is not None
        assert our_path(there) == place
