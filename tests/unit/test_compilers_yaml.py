"""YAML as compilers write it: what a reader gets is what was meant."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from signward.compilers._yaml import documents, text

TEXTS = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ("", "yes", "No", "null", "~", "1", "1.5", "0x1", "2026-01-01", "a: b", "- x", "#x", "{a}",
     "*x", "&x", "!x", "a\nb\n", "a\n", "\n\n", " a\nb\n", "a\n b\nc\n", "x\u2028y", "x\x85y",
     "\ufeff",
     "---", "...", "a #b", "\U0001f600", "on", "y", "=", "<<", "1:30", "a.b.c", "a..b")
)  # fmt: skip
VALUES = st.recursive(
    TEXTS | st.booleans() | st.integers(-(2**40), 2**40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=600, deadline=None, derandomize=True)
@given(value=st.dictionaries(TEXTS, VALUES, min_size=1, max_size=4))
def test_what_is_written_is_read(value: dict[str, Any]) -> None:
    assert yaml.safe_load(text(value)) == value


@pytest.mark.parametrize("title", ["a 1", "x\n---\nkind: Evil", "\u2028\x85\r# x"])
def test_a_title_stays_a_comment(title: str) -> None:
    assert list(yaml.safe_load_all(documents([{"a": "b"}, {"c": "d"}], title))) == [
        {"a": "b"}, {"c": "d"}
    ]  # fmt: skip


def test_keys_and_certificates_stand_as_they_are() -> None:
    pem = "-----BEGIN X-----\nAAAA\n-----END X-----\n"
    assert text({"data": pem}) == (
        "data: |\n  -----BEGIN X-----\n  AAAA\n  -----END X-----\n"
    )  # fmt: skip
