"""Patterns of paths and names, against a matcher that is slow and plain."""

from __future__ import annotations

import time
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signward.policy.rules.paths import name_pattern, path_pattern, prefixes_of


@cache
def plainly(pattern: str, path: str) -> bool:
    """Match by trying everything."""
    if not pattern:
        return not path
    if pattern.startswith("**"):
        rest = pattern.lstrip("*")
        return any(plainly(rest, path[at:]) for at in range(len(path) + 1))
    if pattern[0] == "*":
        end = path.find("/") if "/" in path else len(path)
        return any(plainly(pattern[1:], path[at:]) for at in range(end + 1))
    return path[:1] == pattern[0] and plainly(pattern[1:], path[1:])


@settings(max_examples=1500, deadline=None, derandomize=True)
@given(pattern=st.text("ab/*", max_size=9), path=st.text("ab/", max_size=9))
def test_patterns_match_as_trying_everything_does(pattern: str, path: str) -> None:
    assert path_pattern(pattern).fits(path) is plainly(pattern, path)
    assert bool(name_pattern(pattern).match(path)) is plainly(pattern, path)


@settings(max_examples=700, deadline=None, derandomize=True)
@given(pattern=st.text("ab/*", max_size=9), path=st.text("ab/", max_size=9))
def test_what_matches_lies_below_one_of_the_prefixes(pattern: str, path: str) -> None:
    made = path_pattern(pattern)
    if made.fits(path):
        assert set(made.prefixes) & set(prefixes_of(path, "/"))


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("/opt/*/bin", "/opt/x/bin", True),
        ("/opt/*/bin", "/opt/x/y/bin", False),
        ("/opt/**", "/opt/x/y", True),
        ("/opt/**", "/opt", False),
        ("/opt/X", "/opt/x", False),
        ("/opt/a.c", "/opt/abc", False),
        ("/opt/*", "/opt/a\nb", True),
        (r"C:\Tools\*.exe", r"c:\TOOLS\x.EXE", True),
        (r"C:\Tools\*.exe", "C:/Tools/x.exe", True),
        (r"C:\Tools\*.exe", r"C:\Tools\a\x.exe", False),
        (r"%ProgramFiles%\V\**", r"C:\Program Files (x86)\v\a\b.dll", True),
        (r"%PROGRAMFILES%\V\**", r"C:\Program Files\v\a.dll", True),
        (r"%OSDRIVE%\x", r"D:\x", False),
        (r"%System32%\*.dll", r"C:\Windows\System32\a.dll", True),
        (r"\\server\share\**", r"\\SERVER\share\a", True),
    ],
)
def test_patterns(pattern: str, path: str, fits: bool) -> None:
    assert path_pattern(pattern).fits(path) is fits


def test_a_variable_that_is_not_known_is_said_to_be() -> None:
    made = path_pattern(r"%REMOVABLE%\x.exe")
    assert made.unknown
    assert not made.fits(r"E:\x.exe")


@pytest.mark.parametrize("pattern", ["**a" * 12 + "b", "*a" * 12 + "b", "**a*b" * 8 + "c"])
def test_a_hostile_path_takes_no_time(pattern: str) -> None:
    started = time.process_time()
    assert not path_pattern("/" + pattern).fits("/" + "a" * 4096)
    assert time.process_time() - started < 1


def test_prefixes_are_bounded() -> None:
    assert len(list(prefixes_of("/x" * 5000, "/"))) == 65
    deep = "/x" * 100 + "/*"
    assert path_pattern(deep).prefixes == ("",)
    assert path_pattern(deep).fits("/x" * 100 + "/y")


@pytest.mark.parametrize(
    "made", ["C:\\WINDOW\u017f\\x.exe", "C:\\\u212aey\\x.exe", "C:\\stra\xdfe\\x"]
)
def test_a_folder_that_unicode_alone_takes_for_another_is_another(made: str) -> None:
    for pattern in ("%WINDIR%\\**", "C:\\key\\**", "C:\\strasse\\**"):
        assert not path_pattern(pattern).fits(made)


def test_letters_beyond_ascii_have_no_case_on_windows() -> None:
    assert path_pattern("C:\\L\xf6we\\**").fits("c:\\L\xd6WE\\x.exe")
    assert path_pattern("C:\\\u03a3\u03a3\\**").fits("c:\\\u03c3\u03c2\\x.exe")
