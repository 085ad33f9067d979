"""PKCS#11 URIs, modules, and what a token's refusals are told as."""

from __future__ import annotations

import sys
from pathlib import Path

import pkcs11
import pytest
from pkcs11 import TokenFlag
from pkcs11.types import PROTECTED_AUTH

from signward.errors import KeyProviderError
from signward.keys import _pkcs11_uri as uris
from signward.keys import open_key
from signward.keys._pkcs11_token import _session, refusals
from signward.keys._pkcs11_uri import module_file, parse
from tests.builders.keyfiles import saying


def test_a_uri_is_taken_apart() -> None:
    found = parse(
        "token=My%20token%25;object=signer;id=%01%ff;type=private;serial=00%3B1"
        "?pin-source=file:/etc/pin&module-name=softhsm2&module-path=/opt/lib"
    )
    assert found.path == {"token": "My token%", "object": "signer", "serial": "00;1"}
    assert (found.id, found.pin_file) == (b"\x01\xff", "/etc/pin")
    assert (found.module_path, found.module_name) == ("/opt/lib", "softhsm2")
    assert str(found) == "pkcs11:token=My token%;object=signer;serial=00;1;id=01ff"


@pytest.mark.parametrize("source", ["file:/etc/pin", "file:///etc/pin", "file%3A/etc/pin"])
def test_a_pin_source_is_a_file(source: str) -> None:
    assert parse(f"token=a?pin-source={source}").pin_file == "/etc/pin"


@pytest.mark.parametrize(
    ("rest", "found"),
    [
        ("token=a?pin-value=1234", "pin-value"), ("token=a;pin-value=1234", "pin-value"),
        ("token=a?pin-source=|cat", "no file"), ("token=a?pin-source=/etc/pin", "no file"),
        ("token=a;token=b", "token twice"), ("token=%zz", "badly escaped"),
        ("token=%ff", "octets ff"), ("color=blue", "attribute 'color'"),
        ("token", "attribute 'token'"), ("type=cert", "type=cert"), ("slot-id=x", "slot-id=x"),
        ("token=a?color=blue", "attribute 'color'"),
    ],
)  # fmt: skip
def test_a_uri_that_cannot_be_meant_is_refused(rest: str, found: str) -> None:
    with pytest.raises(KeyProviderError) as caught:
        open_key(f"pkcs11:{rest}", saying("1234"))
    assert found in str(caught.value)
    assert "1234" not in str(caught.value)


def test_modules_are_found_by_path_by_folder_and_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pkcs11").mkdir()
    for name in ("libown.so", "pkcs11/p11-kit-proxy.so"):
        (tmp_path / name).write_bytes(b"")
    own = str(tmp_path / "libown.so")
    assert module_file(parse(f"?module-path={own}")) == own
    assert module_file(parse(f"?module-path={tmp_path}&module-name=own")) == own
    monkeypatch.setattr(uris, "MODULE_FOLDERS", (str(tmp_path),))
    assert module_file(parse("?module-name=own")) == own
    assert module_file(parse("token=a")) == str(tmp_path / "pkcs11/p11-kit-proxy.so")
    for query in ("module-name=absent", "module-path=/absent.so", "module-name=../own"):
        with pytest.raises(KeyProviderError, match=r"absent|without a path"):
            module_file(parse(f"?{query}"))


def test_a_file_that_is_no_module_is_refused(tmp_path: Path) -> None:
    (tmp_path / "not.so").write_bytes(b"no library")
    with pytest.raises(KeyProviderError, match="no usable PKCS#11 module"):
        open_key(f"pkcs11:token=a?module-path={tmp_path}/not.so", saying(None))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (pkcs11.PinLocked(), ("found a locked PIN", "PUK")),
        (pkcs11.PinExpired(), ("an expired PIN", "change it")),
        (pkcs11.UserPinNotInitialized(), ("never set",)),
        (pkcs11.DeviceRemoved(), ("was removed",)),
        (pkcs11.MechanismInvalid(), ("without this algorithm", "--list-mechanisms")),
        (pkcs11.GeneralError(), ("no answer of the token",)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_token_refuses_is_said_in_words(error: Exception, said: tuple[str, ...]) -> None:
    with pytest.raises(KeyProviderError) as caught, refusals("pkcs11:token=a"):
        raise error
    assert [one for one in said if one not in str(caught.value)] == []


class Token:
    """A token of some flags, which notes how it was opened."""

    label = "Pad"

    def __init__(self, flags: TokenFlag) -> None:
        self.flags, self.opened = flags, list[object]()

    def open(self, user_pin: object = None) -> str:
        self.opened.append(user_pin)
        return "session"


@pytest.mark.parametrize(
    ("flags", "pins", "asked"),
    [
        (TokenFlag.TOKEN_INITIALIZED, [None], []),
        (TokenFlag.LOGIN_REQUIRED, ["1234"], ["PIN of Pad"]),
        (TokenFlag.LOGIN_REQUIRED | TokenFlag.PROTECTED_AUTHENTICATION_PATH,
         [PROTECTED_AUTH], []),
    ],
)  # fmt: skip
def test_a_token_is_opened_as_its_flags_ask(
    flags: TokenFlag, pins: list[object], asked: list[str]
) -> None:
    token, said = Token(flags), list[str]()
    assert _session(token, parse("token=Pad"), saying("1234", said))[0] == "session"
    assert (token.opened, said) == (pins, asked)


def test_a_token_whose_pin_is_locked_is_not_tried() -> None:
    token, said = Token(TokenFlag.LOGIN_REQUIRED | TokenFlag.USER_PIN_LOCKED), list[str]()
    with pytest.raises(KeyProviderError, match="found a locked PIN"), refusals("pkcs11:token=Pad"):
        _session(token, parse("token=Pad"), saying("1234", said))
    assert (token.opened, said) == ([], [])


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    monkeypatch.delitem(sys.modules, "signward.keys._pkcs11_token", raising=False)
    with pytest.raises(KeyProviderError, match=r"signward\[hsm\]"):
        open_key("pkcs11:token=a", saying(None))
