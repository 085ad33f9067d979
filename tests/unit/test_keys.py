"""What every key provider owes, and that no URI brings one down."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signward import keys
from signward.errors import KeyProviderError
from signward.keys import _address, _pkcs11_uri, open_key, provider, schemes
from tests.builders.keyfiles import saying

SERVICES = [s for s in schemes() if s not in ("file", "pkcs12", "pkcs11")]


def test_a_file_in_the_folder_is_the_registration() -> None:
    files = {p.stem for p in Path(keys.__file__).parent.glob("[!_]*.py")}
    assert {scheme.replace("-", "_") for scheme in schemes()} == files


@pytest.mark.parametrize("scheme", schemes())
def test_a_provider_names_its_scheme_and_shows_its_uri(scheme: str) -> None:
    found = provider(scheme)
    assert found.scheme == scheme
    assert re.search(rf": {scheme}:\S+$", found.help)
    assert "\n" not in found.help


@pytest.mark.parametrize("scheme", schemes())
def test_no_secret_is_an_option_of_a_uri(scheme: str) -> None:
    for option in ("password=pw", "token=pw", "pin=pw", "pin-value=pw", "secret=pw"):
        with pytest.raises(KeyProviderError) as caught:
            open_key(f"{scheme}:a/b/c?{option}", saying(None))
        assert "=pw" not in str(caught.value).replace("a/b/c?" + option, "")


def test_a_scheme_that_is_none_is_told_the_others() -> None:
    for uri in ("ftp:key", "pkcs99:x"):
        with pytest.raises(KeyProviderError, match="vault"):
            open_key(uri, saying(None))
    with pytest.raises(KeyProviderError, match="no URI"):
        open_key("key.pem", saying(None))


@given(st.text(max_size=60))
def test_any_text_is_a_pkcs11_uri_or_refused(text: str) -> None:
    with suppress(KeyProviderError):
        found = _pkcs11_uri.parse(text)
        assert "pin-value" not in found.path


@given(st.text(max_size=60), st.sampled_from(SERVICES))
def test_any_text_is_an_address_or_refused(text: str, scheme: str) -> None:
    with suppress(KeyProviderError):
        name, options = _address.parse(scheme, text, "NAME")
        assert name.isprintable()
        assert set(options) <= {"endpoint"}


def test_this_machine_has_several_names() -> None:
    for host in ("localhost", "127.0.0.1", "127.8.8.8", "[::1]"):
        text = f"http://{host}:8080/base/"
        assert str(_address.endpoint("test", text)) == text.removesuffix("/")
    with pytest.raises(KeyProviderError, match="http to another machine"):
        _address.endpoint("test", "http://localhost.example/")


@given(st.one_of(st.text(max_size=60), st.text(max_size=40).map("https://{}".format)))
def test_any_text_is_an_endpoint_or_refused(text: str) -> None:
    with suppress(KeyProviderError):
        found = _address.endpoint("test", text)
        assert found.scheme == "https" or _address._is_loopback(found.host)
        assert 0 < found.port < 65536
